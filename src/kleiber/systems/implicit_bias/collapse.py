"""Two laws of learning curves: how the error falls with a norm, and where it is smallest.

    error = k1 norm^-gamma_1 early in training, norm_opt = k2 n_data^gamma_2,

and if the rescaled curves error/error_opt against norm/norm_opt coincide, these two imply
error_opt ~ n_data^-(gamma_1 gamma_2) (D'Amico, Bocchi and Negri 2025, arXiv 2505.13230).

The rule "authors" is their notebook's protocol and reproduces their numbers to the digit; "robust"
is ours: the smallest error from a parabola through the bottom of the mean curve, the same n_data
for all three exponents, and the intervals of `collapse_errors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.arguments import check_number, check_text, check_whole
from kleiber.claim import Estimate
from kleiber.errors import BadTable, nearest, shown
from kleiber.systems.implicit_bias.collapse_curves import (
    LABELS,
    Curves,
    find_lowest,
    find_optima,
    find_optimum,
    read_curves,
)
from kleiber.systems.implicit_bias.collapse_errors import (
    authors_estimates,
    bootstrap,
    four_values,
    robust_estimates,
)
from kleiber.systems.implicit_bias.collapse_fit import Exponents, Goodness, fit_exponents, judge_fit
from kleiber.systems.implicit_bias.collapse_record import Collapse, find_flags
from kleiber.systems.implicit_bias.collapse_window import Window, choose_window, upper_half
from kleiber.table import as_frame, numbers, read_table, require

RULES = ("authors", "robust")
Sizes = Float[np.ndarray, "sizes"]


def dynamical_exponents(
    table: object,
    optima: object = None,
    rule: str = "authors",
    window: Window | Sequence[float | None] | None = None,
    min_data: float | None = None,
    *,
    seed: int = 0,
) -> Mapping[str, Estimate]:
    """Give the exponents of two laws of learning curves in the norm of the weights.

    error = k1 norm^-gamma_1 early in training, and norm_opt = k2 n_data^gamma_2; where the rescaled
    curves collapse, error_opt ~ n_data^-(gamma_1 gamma_2) (D'Amico, Bocchi & Negri 2025,
    arXiv:2505.13230).

    Parameters
    ----------
    table
        Any data frame with columns n_data, norm (or log_norm) and error of one model on one data
        set, and seed and step where there are several runs of one n_data.
    optima
        A table with columns n_data and norm_opt_mean_over_seeds that replaces norm_opt in the law
        of gamma_2, by the rule ``"authors"``.
    rule
        ``"authors"``, the protocol of the paper, or ``"robust"``, ours: least errors from
        parabolas, and intervals from a bootstrap.
    window
        The range (low, high) of norm/norm_opt where gamma_1 is fitted; None for the authors' own on
        their published curves, and a rule of ours for all others.
    min_data
        Smaller n_data are left out (by the authors' rule gamma_measured keeps all).
    seed
        The seed of the bootstrap.

    Returns
    -------
    mapping of Estimate
        gamma_1, gamma_2, gamma_predicted = gamma_1 gamma_2, and gamma_measured.

    Raises
    ------
    BadTable
        For missing columns, values that are not positive, and fewer than 2 n_data with 3 norms
        each.

    Examples
    --------
    >>> import kleiber
    >>> points = [(d, 0.02 * 1.2**j) for d in (100, 200, 400, 800) for j in range(36)]
    >>> curves = {"n_data": [d for d, _ in points], "norm": [x * d**0.6 for d, x in points]}
    >>> curves["error"] = [d**-0.24 * (x**-0.4 + 0.5 * x**0.3) for d, x in points]
    >>> found = kleiber.reduce.dynamical_exponents(curves, rule="robust")
    >>> round(found["gamma_2"].value, 2), round(found["gamma_measured"].value, 2)
    (0.6, 0.24)
    """
    found = measure_collapse(table, optima, rule, window, min_data, seed=seed)
    return found.estimates


def measure_collapse(
    table: object,
    optima: object = None,
    rule: str = "authors",
    window: Window | Sequence[float | None] | None = None,
    min_data: float | None = None,
    *,
    seed: int = 0,
) -> Collapse:
    """Fit the two laws of learning curves of one model on one data set, and measure their quality.

    The table has columns n_data, norm (or log_norm), error; with ``seed`` and ``step`` if there are
    several runs of one n_data. ``optima`` (n_data, norm_opt_mean_over_seeds) replaces norm_opt in
    the law of gamma_2 by the authors' rule; without it this is the mean over seeds, or the mean
    curve's own. ``window`` is a range (low, high) of norm/norm_opt where gamma_1 is fitted; None is
    the authors' one for their published curves and a rule of ours (`choose_window`) for all others.
    ``min_data`` leaves out smaller n_data (by the authors' rule gamma_measured keeps all). ``seed``
    is that of the bootstrap. Raises BadTable.
    """
    if check_text("rule", rule, f"one of {', '.join(RULES)}") not in RULES:
        raise BadTable(
            f"The rule is one of {', '.join(RULES)}, got {shown(rule)}.{nearest(rule, RULES)}"
        )
    if min_data is not None:
        check_number("min_data", min_data, "a number of data or None", error=BadTable)
    seed = check_whole("seed", seed)
    robust = rule == "robust"
    curves = read_curves(table, share=0.5 if robust else 0.0)
    if min_data is not None and (curves.n_data >= min_data).sum() < 2:
        raise BadTable(
            f"The min_data of {min_data:g} leaves fewer than 2 of the {len(curves.n_data)} n_data, "
            f"which go up to {curves.n_data[-1]:g}."
        )
    best = find_optima(curves, robust)
    positions = best[:, 0] if robust else _optimum_norms(curves, best, optima)
    chosen = choose_window(curves, best, window, least=min_data, rule=rule)
    chosen, fit = _fit_window(curves, best, positions, chosen, robust, window is None)
    goodness = judge_fit(curves, best, chosen, fit)
    drawn = bootstrap(curves, chosen, fit, seed) if robust else None
    estimates = robust_estimates(fit, drawn) if robust else authors_estimates(fit)
    return _record(curves, rule, chosen, (best, positions), (fit, goodness), estimates)


def _optimum_norms(curves: Curves, best: Float[np.ndarray, "sizes 2"], optima: object) -> Sizes:
    """Return log norm_opt by the authors' rule: given, the mean over seeds, or the mean curve's."""
    if optima is None:
        return np.array(
            [
                at if item.seed_optima is None else _log_mean(item.seed_optima)
                for item, at in zip(curves.items, best[:, 0], strict=True)
            ]
        )
    frame = read_table(optima) if isinstance(optima, str) else as_frame(optima)
    require(frame, ["n_data", "norm_opt_mean_over_seeds"])
    for name, wanted in zip(LABELS, (curves.model, curves.dataset), strict=True):
        if name in frame.columns and wanted:
            frame = frame.filter(pl.col(name) == wanted)
    sizes = numbers(frame, "n_data", positive=True)
    logs = np.log(numbers(frame, "norm_opt_mean_over_seeds", positive=True))
    known = dict(zip(sizes, logs, strict=True))
    if len(known) < len(sizes):
        raise BadTable("The optima have several rows of one n_data; keep one model and data set.")
    missing = [f"{size:g}" for size in curves.n_data if size not in known]
    if missing:
        raise BadTable(f"The optima have no row of n_data = {', '.join(missing)}.")
    return np.array([known[size] for size in curves.n_data])


def _log_mean(logs: Float[np.ndarray, "seeds"]) -> float:
    """Return the logarithm of the arithmetic mean."""
    return float(logs.max() + np.log(np.exp(logs - logs.max()).mean()))


def _fit_window(
    curves: Curves,
    best: Float[np.ndarray, "sizes 2"],
    positions: Sizes,
    window: Window,
    same: bool,
    free: bool,
) -> tuple[Window, Exponents]:
    """Fit the exponents; an automatic window with too few points is widened.

    Raises BadTable if a given window has too few points.
    """
    candidates = [window]
    if free:
        before = "automatic: everything before the optimum"
        candidates += [replace(window, low=0.0, high=1.0, source=before)]
        all_of_it = "automatic: the whole curves, as they have hardly a point before the optimum"
        candidates += [replace(window, low=0.0, high=np.inf, source=all_of_it)]
        candidates += [replace(candidates[-1], least_early=0.0)]
    for item in candidates:
        fit = fit_exponents(curves, best, positions, item, same=same)
        if fit is not None:
            return item, fit
    x = [item.log_norm[0] - u for item, u in zip(curves.items, best[:, 0], strict=True)]
    raise BadTable(
        f"The window {window.low:g} to {window.high:g} of norm/norm_opt has 3 points of fewer "
        f"than 2 curves with n_data of at least {window.least_early:g}; the curves begin at "
        f"{np.exp(max(min(x), -700.0)):.3g} to {np.exp(max(x)):.3g}."
    )


def _record(
    curves: Curves,
    rule: str,
    window: Window,
    at: tuple[Float[np.ndarray, "sizes 2"], Sizes],
    made: tuple[Exponents, Goodness],
    estimates: Mapping[str, Estimate],
) -> Collapse:
    (best, positions), (fit, goodness) = at, made
    elbow = np.full(len(curves.items), np.nan)
    elbow[fit.early] = goodness.elbows
    ends = [int(np.argmin(item.log_error)) == len(item.log_error) - 1 for item in curves.items]
    sigma = np.hypot(estimates["gamma_predicted"].stderr, estimates["gamma_measured"].stderr)
    record = Collapse(
        rule=rule,
        curves=curves,
        window=window,
        estimates=estimates,
        sigma=float(sigma),
        log_norm_opt=positions,
        log_error_opt=best[:, 1],
        at_end=np.array(ends),
        early=fit.early,
        late=fit.late,
        measured=fit.measured,
        log_elbow=elbow,
        log_k1=float(goodness.log_k1.mean()),
        log_k2=fit.optimum.start,
        drift=goodness.drift.fall,
        overlap=goodness.overlap,
        quality=goodness.collapse,
        decades=goodness.decades,
        sensitivity=_sensitivity(curves, best, positions, window, fit, rule),
        flags=(),
    )
    return replace(record, flags=find_flags(record))


def _sensitivity(
    curves: Curves,
    best: Float[np.ndarray, "sizes 2"],
    positions: Sizes,
    window: Window,
    fit: Exponents,
    rule: str,
) -> dict[str, dict[str, float]]:
    """Return the exponents for halves of the window, a wider window, and other n_data.

    With all n_data, curves with too few points in the window enter gamma_2 and gamma_measured too.
    """
    starts = np.array([item.log_norm[0] for item in curves.items]) - best[:, 0]
    low, high = window.logs
    low = max(low, float(np.median(starts[fit.early])))
    high = min(high, float(np.median([c.log_norm[-1] for c in curves.items] - best[:, 0])))
    middle, half = (low + high) / 2, (high - low) / 2
    ranges = {
        "lower half of the window": (low, middle),
        "upper half of the window": (middle, high),
        "window twice as wide": (low - half, high + half),
    }
    trials = {
        name: replace(window, low=float(np.exp(max(a, -700))), high=float(np.exp(max(b, -690))))
        for name, (a, b) in ranges.items()
        if a < b
    }
    large = float(upper_half(curves.n_data)[0])
    trials["large n_data"] = replace(window, least_early=large, least_optimum=large)
    trials["all n_data"] = replace(window, least_early=0.0, least_optimum=0.0)
    found: dict[str, dict[str, float]] = {}
    for name, trial in trials.items():
        same = name == "large n_data" or (rule == "robust" and name != "all n_data")
        if made := fit_exponents(curves, best, positions, trial, same=same):
            found[name] = four_values(made)
    return found


def rescale_curves(found: Collapse) -> pl.DataFrame:
    """Return the curves as n_data, norm, error, x = norm/norm_opt and y = error/error_opt.

    norm_opt is that of the mean curve's smallest error; if curves collapse, y is a function of x.
    """
    rows: list[pl.DataFrame] = []
    find = find_optimum if found.rule == "robust" else find_lowest
    for item in found.curves.items:
        u, y = find(item)
        columns = {"norm": item.log_norm, "error": item.log_error}
        columns |= {"x": item.log_norm - u, "y": item.log_error - y}
        frame = pl.DataFrame({name: np.exp(column) for name, column in columns.items()})
        rows.append(frame.select(pl.lit(item.n_data).alias("n_data"), pl.all()))
    return pl.concat(rows)
