"""How failure falls with training and attempts according to counts of successes along training.

Each group of the counts has a law of its own, with coordinates (log a, log b/a[, logit zero]) of
the beta-binomial law; each of these follows a line along training (``planning.lines``). The form of
the exponent's line is the one that the counts' trend prefers, that of the others has the smallest
AIC. Every draw has forms drawn by their weights, fitted to the groups' refits to resampled
problems.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import expit

from kleiber.attempts.gamma import log_rising
from kleiber.attempts.record import USABLE, CountFit
from kleiber.attempts.trend import Trend
from kleiber.errors import BadPlan
from kleiber.fitting.record import Fit
from kleiber.maths.seeds import stream
from kleiber.planning.along_training import (
    Line,
    Weighed,
    draw_lines,
    fit_line,
    shares_of,
    weigh_forms,
)
from kleiber.planning.curve import Array, FailureCurve, Values
from kleiber.planning.plan import check_support

FAMILIES = ("beta_binomial", "zero_inflated")


def counts_curve(fit: CountFit, law: Fit | None = None) -> FailureCurve:
    """The curve of a law of counts fitted along a column (``fit_counts(..., along=...)``).

    With a loss ``law``, whose target is that column, training chooses the law's variables. Raises
    BadPlan where the counts cannot support a plan.
    """
    trend = _trend(fit)
    if law is not None:
        check_support(law)
        if law.target != trend.along:
            raise BadPlan(
                f"the loss law predicts {law.target}, but the counts were fitted along "
                f"{trend.along}: fit one of them along the other's column"
            )
    rows = np.array([status in USABLE for status in fit.statuses])
    x = fit.counts.keys[trend.along].to_numpy().astype(float)[rows]
    middle = float(np.log(x).mean())
    z = np.log(x) - middle
    way = -1.0 if np.polyfit(z, fit.peak.u[rows, 1], 1)[0] > 0 else 1.0  # b/a falls with training
    lines, many = _lines(fit, rows, z, way, trend)
    draws = len(fit.drawn) if law is None else min(len(fit.drawn), law.n_draws)

    def resource(values: Values, some: int) -> Array:
        """log of the training column, of the best estimate or of some draws."""
        if law is None:
            return np.log(values[trend.along]) - middle
        params = {n: x[:some, None] for n, x in law.draws.items()} if some else law.params
        columns = {name: values[name] for name in law.law.variables}
        return np.log(np.asarray(law.law(**columns, **params), float)) - middle

    return FailureCurve(
        f"{fit.family.name} along {trend.along}",
        (trend.along,) if law is None else law.law.variables,
        lambda values, k: _failure(lines, resource(values, 0), k),
        lambda values, k, some: _failure(
            [line.of(slice(some)) for line in many], resource(values, some), k
        ),
        draws,
        ranges=_ranges(fit, law, trend.along, x),
        notes=_notes(fit, law, lines, draws, trend.along),
    )


def _trend(fit: CountFit) -> Trend:
    trend: Any = fit.trend
    if trend is None:
        raise BadPlan(
            "the counts were not fitted along training; fit them with along='n_tokens', say"
        )
    if isinstance(trend, Mapping):
        names = ", ".join(str(name) for name in cast("Mapping[str, Trend]", trend))
        raise BadPlan(
            f"the counts hold several series along training: keep the rows of one ({names})"
        )
    if fit.family.name not in FAMILIES:
        raise BadPlan(
            f"a plan takes counts fitted with the family {' or '.join(FAMILIES)}, not "
            f"{fit.family.name}"
        )
    return trend


def _lines(
    fit: CountFit,
    rows: Bool[np.ndarray, "groups"],
    z: Float[np.ndarray, "groups"],
    way: float,
    trend: Trend,
) -> tuple[list[Line], list[Line]]:
    """Each coordinate's line, of the best estimate and of every draw."""
    coordinates = fit.peak.u.shape[1]
    curvature = -fit.peak.hessian[rows] + 1e-3 * np.eye(coordinates)
    variances = np.clip(np.linalg.inv(curvature).diagonal(axis1=1, axis2=2), 1e-6, 4.0)
    lines, many = list[Line](), list[Line]()
    rng = stream(0, "lines along training")
    for j in range(coordinates):
        u, own = fit.peak.u[rows, j], variances[:, j]
        weighed = weigh_forms(u, z, own, way)
        if j == 0:
            weighed = _as_the_trend(trend, weighed)
        spread = weighed.spreads[weighed.best]
        lines.append(fit_line(weighed.best, u[None], z, own + spread, way).of(0))
        many.append(draw_lines(weighed, fit.drawn[:, rows, j], z, own, way, rng))
    return lines, many


def _as_the_trend(trend: Trend, weighed: Weighed) -> Weighed:
    """The forms of the exponent weighed by the joint likelihood of the counts."""
    criteria = {form: trend.curves[form].aicc for form in weighed.weights if form in trend.curves}
    if "saturating" in criteria and "offset" in trend.curves:  # which levels off too
        criteria["saturating"] = min(criteria["saturating"], trend.curves["offset"].aicc)
    return replace(weighed, weights=shares_of(criteria)) if criteria else weighed


def _failure(lines: list[Line], z: Array, k: Array) -> Array:
    """E (1 - p)^k for p of the (zero-inflated) beta distribution with the lines' coordinates."""
    u = [line.at(z) for line in lines]
    a, b = np.exp(np.clip(u[0], -16, 25)), np.exp(np.clip(u[0] + u[1], -30, 50))
    failure = np.exp(np.minimum(log_rising(b, k) - log_rising(a + b, k), 0.0))
    if len(u) == 2:
        return failure
    zero = expit(u[2])
    return zero + (1 - zero) * failure


def _ranges(
    fit: CountFit, law: Fit | None, along: str, x: Float[np.ndarray, "groups"]
) -> dict[str, tuple[float, float]]:
    """What was measured: of the training variables, and of attempts."""
    most = {"k": (1.0, float(fit.counts.attempts.max()))}
    if law is None:
        return {along: (float(x.min()), float(x.max()))} | most
    return {n: ends for n, ends in law.ranges.items() if n in law.law.variables} | most


def _notes(
    fit: CountFit, law: Fit | None, lines: list[Line], draws: int, along: str
) -> tuple[str, ...]:
    notes = list(fit.notes)
    if not len(fit.drawn):
        notes.append("the counts have no draws: fit them again with draws=200")
    elif law is not None and not draws:
        notes.append("the loss law has no draws: fit it again with draws=1000")
    if all(not line.slope.any() and not line.size.any() for line in lines):
        notes.append(f"as far as these counts tell, failure does not depend on {along}")
    return tuple(notes)
