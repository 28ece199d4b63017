"""The errors of the four exponents, by the authors' rule and by ours.

By the authors' rule, intervals are 2 standard errors of the fits. By ours they are Student's, from
the scatter about the laws over n_data and, with several seeds, from a bootstrap over seeds. If the
fit's variance is the smaller of the two, they are pooled by their degrees of freedom; if it is the
larger, the law does not hold within the scatter of seeds, and the fit's variance alone is used.

The slope varies within the window of gamma_1. With b its standard deviation there, the mean m is
below the steepest slope by sqrt(3) b if it varies evenly, and the early law is steeper still if the
window does not reach it: gamma_1 may be anywhere between m and m + 3 b. So the intervals of gamma_1
and of the product are not symmetric about the values, which belong to m. The errors of gamma_1 and
gamma_2 enter the product with their covariance over draws of seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from kleiber.claim import Estimate, estimate, student
from kleiber.maths.seeds import stream
from kleiber.systems.implicit_bias.collapse_curves import Curves, find_optima
from kleiber.systems.implicit_bias.collapse_fit import Exponents, fit_exponents, redraw
from kleiber.systems.implicit_bias.collapse_record import NAMES
from kleiber.systems.implicit_bias.collapse_window import Window

DRAWS = 200
LEVEL = 0.95
REACH = 3.0  # largest excess of the early law's slope, in standard deviations of the local slope


@dataclass(frozen=True)
class Drawn:
    """Results of resampling seeds: standard errors of the four exponents, the covariance of gamma_1
    and gamma_2, and the degrees of freedom of the seeds."""

    spread: Mapping[str, float]
    covariance: float
    degrees_of_freedom: int


def four_values(fit: Exponents) -> dict[str, float]:
    """Return the four exponents by name."""
    values = fit.gamma_1, fit.optimum.slope, fit.predicted, -fit.errors.slope
    return dict(zip(NAMES, values, strict=True))


def bootstrap(curves: Curves, window: Window, fit: Exponents, seed: int) -> Drawn | None:
    """Resample the seeds at each n_data in the same window; None without several seeds."""
    counts = [item.n_seeds if item.parts is not None else 1 for item in curves.items]
    if min(counts) < 2:
        return None
    rng = stream(seed, "collapse")
    drawn: list[list[float]] = []
    for _ in range(DRAWS):
        again = redraw(curves, rng)
        best = find_optima(again, smooth=True)
        made = fit_exponents(again, best, best[:, 0], window, same=True)
        if made is not None and (made.early == fit.early).all():
            drawn.append(list(four_values(made).values()))
    if len(drawn) < DRAWS // 2:
        return None
    # a bootstrap of n seeds lacks the factor n/(n - 1)
    moments = np.cov(np.array(drawn).T) * min(counts) / (min(counts) - 1)
    errors = map(float, np.sqrt(np.diagonal(moments)))
    spread: dict[str, float] = dict(zip(NAMES, errors, strict=True))
    early = [count - 1 for count, row in zip(counts, fit.early, strict=True) if row]
    return Drawn(spread, float(moments[0, 1]), sum(early))


def authors_estimates(fit: Exponents) -> dict[str, Estimate]:
    """Return the four exponents with 2 standard errors by the authors' rule.

    The error of gamma_1 is the root mean square of the slopes' errors.
    """
    values = four_values(fit)
    fit_error = float(np.sqrt((fit.slope_errors**2).mean()))
    stderr = {
        "gamma_1": fit_error,
        "gamma_2": fit.optimum.stderr,
        "gamma_measured": fit.errors.stderr,
    }
    product_error = np.hypot(
        values["gamma_1"] * stderr["gamma_2"], values["gamma_2"] * stderr["gamma_1"]
    )
    stderr["gamma_predicted"] = float(product_error)
    return {name: estimate(values[name], stderr[name]) for name in NAMES}


def robust_estimates(fit: Exponents, drawn: Drawn | None) -> dict[str, Estimate]:
    """Return the four exponents with intervals of 95% by our rule; see the module."""
    n, values = len(fit.slopes), four_values(fit)
    scatter = float(fit.slopes.std(ddof=1) / np.sqrt(n))
    fitted = float(np.sqrt((fit.slope_errors**2).sum())) / n
    error_1 = _pool_errors("gamma_1", max(scatter, fitted), n - 1, drawn)
    error_2 = _pool_errors("gamma_2", fit.optimum.stderr, n - 2, drawn)
    measured = _pool_errors("gamma_measured", fit.errors.stderr, n - 2, drawn)
    g1, g2 = values["gamma_1"], values["gamma_2"]
    parts = np.array([g2 * error_1[0], g1 * error_2[0]])
    shared = 0.0 if drawn is None else 2 * g1 * g2 * drawn.covariance
    variance = max(float(parts @ parts) + shared, float((parts**2).max()))
    degrees_of_freedom = float(
        (parts @ parts) ** 2 / (parts**4 / [error_1[1], max(error_2[1], 1e-9)]).sum()
    )
    product = float(np.sqrt(variance)), degrees_of_freedom
    slope_spread = float(np.copysign(fit.slope_spread, g1))
    return {
        "gamma_1": _shifted_interval(g1, error_1, slope_spread),
        "gamma_2": student(g2, *error_2),
        "gamma_predicted": _shifted_interval(values["gamma_predicted"], product, g2 * slope_spread),
        "gamma_measured": student(values["gamma_measured"], *measured),
    }


def _pool_errors(
    name: str, fit_error: float, degrees_of_freedom: int, drawn: Drawn | None
) -> tuple[float, float]:
    """Pool the standard errors of the fit and of the draws of seeds, with degrees of freedom."""
    if drawn is None:
        return fit_error, degrees_of_freedom
    seed_error, seed_degrees = drawn.spread[name], drawn.degrees_of_freedom
    if degrees_of_freedom < 1 or not fit_error < seed_error:
        return fit_error, degrees_of_freedom
    total = degrees_of_freedom + seed_degrees
    return float(
        np.sqrt((degrees_of_freedom * fit_error**2 + seed_degrees * seed_error**2) / total)
    ), total


def _shifted_interval(value: float, error: tuple[float, float], slope_spread: float) -> Estimate:
    """Return the interval of a value that may be too small by up to REACH slope spreads."""
    stderr, degrees_of_freedom = error
    middle = value + REACH * slope_spread / 2
    whole = float(np.hypot(stderr, slope_spread))
    if not (np.isfinite(stderr) and degrees_of_freedom > 0):
        return Estimate(value, whole, float("nan"), float("nan"))
    sampling = float(special.stdtrit(degrees_of_freedom, 0.5 + LEVEL / 2)) * stderr
    half_width = float(np.hypot(sampling, REACH * slope_spread / 2))
    return Estimate(value, whole, min(middle - half_width, value), max(middle + half_width, value))
