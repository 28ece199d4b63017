"""Two laws from learning curves: how the error falls with a norm, and where it is least.

    error = k1 norm^-gamma_1 early in training, norm_opt = k2 n_data^gamma_2,

and where the rescaled curves error/error_opt against norm/norm_opt fall onto one another, these two
give error_opt ~ n_data^-(gamma_1 gamma_2) (D'Amico, Bocchi and Negri 2025, arXiv 2505.13230).

By the rule "authors" this is their notebook's protocol, so that their numbers come out to the
digit; by "robust" it is ours: the least error from a parabola through the bottom of the mean curve,
the same n_data for all three exponents, errors by a bootstrap over seeds where there are several
(or from the fits, if those are larger), to which that of gamma_1 adds how far the slope varies in
the window, and Student's intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.claim import Estimate, estimate, student
from kleiber.errors import BadTable, nearest
from kleiber.maths.seeds import stream
from kleiber.reduce.collapse_curves import (
    LABELS,
    Curves,
    find_lowest,
    find_optimum,
    read_curves,
    rescale,
)
from kleiber.reduce.collapse_fit import (
    Exponents,
    Goodness,
    fit_exponents,
    judge_fit,
    redraw,
)
from kleiber.reduce.collapse_record import NAMES, Collapse, find_flags
from kleiber.reduce.collapse_window import Window, choose_window, upper_half
from kleiber.table import as_frame, numbers, read_table, require

RULES = ("authors", "robust")
DRAWS = 200
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
    """gamma_1, gamma_2, gamma_predicted and gamma_measured of the curves in a table.

    Arguments and errors as for `measure_collapse`, which returns all that they rest on.
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
    """The two laws of learning curves of one model on one data set, and how well they hold.

    The table has columns n_data, norm (or log_norm), error; with ``seed`` and ``step`` if there are
    several runs of one n_data. ``optima`` (n_data, norm_opt_mean_over_seeds) replaces norm_opt in
    the law of gamma_2 by the authors' rule; without it this is the mean over seeds, or the mean
    curve's own. ``window`` is a range (low, high) of norm/norm_opt where gamma_1 is fitted; None is
    the authors' one for their published curves and a rule of ours (`choose_window`) for all others.
    ``min_data`` leaves out smaller n_data (by the authors' rule gamma_measured keeps all). ``seed``
    is that of the bootstrap. Raises BadTable.
    """
    if rule not in RULES:
        raise BadTable(
            f"rule is one of {', '.join(RULES)}, got {rule!r}.{nearest(str(rule), RULES)}"
        )
    robust = rule == "robust"
    curves = read_curves(table, share=0.5 if robust else 0.0)
    if min_data is not None and (curves.n_data >= min_data).sum() < 2:
        raise BadTable(
            f"min_data = {min_data:g} leaves fewer than 2 of the {len(curves.n_data)} n_data, "
            f"which go up to {curves.n_data[-1]:g}."
        )
    best = _optima(curves, robust)
    positions = best[:, 0] if robust else _positions(curves, best, optima)
    chosen = choose_window(curves, best, window, least=min_data, rule=rule)
    chosen, fit = _fitted(curves, best, positions, chosen, robust, window is None)
    goodness = judge_fit(curves, best, chosen, fit)
    errors = _bootstrap(curves, chosen, fit, seed) if robust else {}
    return _record(curves, rule, chosen, (best, positions), (fit, goodness), errors)


def _optima(curves: Curves, robust: bool) -> Float[np.ndarray, "sizes 2"]:
    find = find_optimum if robust else find_lowest
    return np.array([find(item) for item in curves.items])


def _positions(curves: Curves, best: Float[np.ndarray, "sizes 2"], optima: object) -> Sizes:
    """log norm_opt by the authors' rule: given, or the mean over seeds, or the mean curve's."""
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
    """The logarithm of the arithmetic mean."""
    return float(logs.max() + np.log(np.exp(logs - logs.max()).mean()))


def _fitted(
    curves: Curves,
    best: Float[np.ndarray, "sizes 2"],
    positions: Sizes,
    window: Window,
    same: bool,
    free: bool,
) -> tuple[Window, Exponents]:
    """The exponents; a window of ours that holds too little is widened, one given is refused."""
    wider = [window]
    if free:
        before = "automatic: everything before the optimum"
        wider += [replace(window, low=0.0, high=1.0, source=before)]
        all_of_it = "automatic: the whole curves, as they have hardly a point before the optimum"
        wider += [replace(window, low=0.0, high=np.inf, source=all_of_it)]
        wider += [replace(wider[-1], least_early=0.0)]
    for item in wider:
        fit = fit_exponents(curves, best, positions, item, same=same)
        if fit is not None:
            return item, fit
    x = [item.log_norm[0] - u for item, u in zip(curves.items, best[:, 0], strict=True)]
    raise BadTable(
        f"The window {window.low:g} to {window.high:g} of norm/norm_opt holds 3 points of fewer "
        f"than 2 curves with n_data of at least {window.least_early:g}; the curves begin at "
        f"{np.exp(max(min(x), -700.0)):.3g} to {np.exp(max(x)):.3g}."
    )


def _four(fit: Exponents) -> dict[str, float]:
    values = fit.gamma_1, fit.optimum.slope, fit.predicted, -fit.errors.slope
    return dict(zip(NAMES, values, strict=True))


def _bootstrap(curves: Curves, window: Window, fit: Exponents, seed: int) -> dict[str, float]:
    """Standard errors from seeds drawn anew at each n_data, the window kept; {} without seeds."""
    fewest = min(item.n_seeds if item.parts is not None else 1 for item in curves.items)
    if fewest < 2:
        return {}
    rng = stream(seed, "collapse")
    drawn: list[list[float]] = []
    for _ in range(DRAWS):
        again = redraw(curves, rng)
        best = _optima(again, robust=True)
        made = fit_exponents(again, best, best[:, 0], window, same=True)
        if made is not None and (made.early == fit.early).all():
            drawn.append(list(_four(made).values()))
    if len(drawn) < DRAWS // 2:
        return {}
    spread = np.std(drawn, axis=0, ddof=1) * np.sqrt(fewest / (fewest - 1))
    return dict(zip(NAMES, map(float, spread), strict=True))


def _estimates(fit: Exponents, rule: str, errors: Mapping[str, float]) -> dict[str, Estimate]:
    """The four exponents; by the authors' rule value +- 2 stderr, else Student's intervals."""
    n, values = len(fit.slopes), _four(fit)
    own = float(np.sqrt((fit.slope_errors**2).sum() / n))
    if rule == "robust":
        scatter = float(fit.slopes.std(ddof=1) / np.sqrt(n))
        own = max(scatter, own / np.sqrt(n))
    stderr = {"gamma_1": own, "gamma_2": fit.optimum.stderr, "gamma_measured": fit.errors.stderr}
    stderr = {name: _larger(value, errors.get(name)) for name, value in stderr.items()}
    if rule == "robust":
        stderr["gamma_1"] = float(np.hypot(stderr["gamma_1"], fit.bend))
    both = np.hypot(values["gamma_1"] * stderr["gamma_2"], values["gamma_2"] * stderr["gamma_1"])
    stderr["gamma_predicted"] = _larger(float(both), errors.get("gamma_predicted"))
    if rule == "authors":
        return {name: estimate(values[name], stderr[name]) for name in NAMES}
    freedom = {name: n - 2 for name in NAMES} | {"gamma_1": n - 1}
    return {name: student(values[name], stderr[name], freedom[name]) for name in NAMES}


def _larger(own: float, other: float | None) -> float:
    return own if other is None else float(np.fmax(own, other))


def _record(
    curves: Curves,
    rule: str,
    window: Window,
    at: tuple[Float[np.ndarray, "sizes 2"], Sizes],
    made: tuple[Exponents, Goodness],
    errors: Mapping[str, float],
) -> Collapse:
    (best, positions), (fit, goodness) = at, made
    estimates = _estimates(fit, rule, errors)
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
    """The exponents with half the window, with a wider one, and with other n_data."""
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
        same = rule == "robust" or name.endswith("n_data")
        if made := fit_exponents(curves, best, positions, trial, same=same):
            found[name] = _four(made)
    return found


def rescale_curves(found: Collapse) -> pl.DataFrame:
    """The curves in long form with columns n_data, norm, error, x = norm/norm_opt (of the mean
    curve's least error) and y = error/error_opt; where they collapse, y is a function of x."""
    rows: list[pl.DataFrame] = []
    find = find_optimum if found.rule == "robust" else find_lowest
    for item in found.curves.items:
        u, y = find(item)
        columns = {"norm": item.log_norm, "error": item.log_error}
        columns |= {"x": item.log_norm - u, "y": item.log_error - y}
        frame = pl.DataFrame({name: np.exp(column) for name, column in columns.items()})
        rows.append(frame.select(pl.lit(item.n_data).alias("n_data"), pl.all()))
    return pl.concat(rows)


def average_rescaled(
    found: Collapse, grid: Float[np.ndarray, "points"]
) -> Float[np.ndarray, "points"]:
    """The mean over the early curves of log(error/error_opt) at log(norm/norm_opt) = grid, NaN
    where one of them has no value."""
    best = _optima(found.curves, found.rule == "robust")[found.early]
    items = [item for item, row in zip(found.curves.items, found.early, strict=True) if row]
    return rescale(items, best, grid).mean(0)
