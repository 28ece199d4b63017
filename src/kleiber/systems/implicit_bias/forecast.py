"""Forecast of the smallest error of a run in training, from complete runs on fewer data.

Two forecasts are averaged. The power law extrapolates log error_opt of the complete runs against
log n_data and does not use the run. The collapse divides the run's own error so far by the master
curve Phi of the complete runs, error/error_opt = Phi(norm/norm_opt) with norm_opt = k2
n_data^gamma_2 extrapolated (the two laws of D'Amico, Bocchi and Negri 2025, arXiv 2505.13230). Both
are tried on the complete runs, each cut where the run is now and forecast over the same ratio of
n_data from those on fewer data. The squared errors determine the weights, and those of the weighted
forecast its interval. No forecast is above the smallest error that the run has had.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from kleiber.claim import Estimate, student
from kleiber.errors import BadTable
from kleiber.fitting.spread.intervals import check_level
from kleiber.systems.implicit_bias.collapse import measure_collapse
from kleiber.systems.implicit_bias.collapse_curves import (
    FLAT,
    MeanCurve,
    find_optimum,
    read_curves,
    read_items,
)
from kleiber.systems.implicit_bias.collapse_curves import rescale as rescale_items
from kleiber.systems.implicit_bias.collapse_fit import fit_line

MODELS = 5  # number of complete runs, of the largest n_data, in the master curve
LAST = 3  # number of last points of the run that are compared with the master curve
MIN_COUNT = 3  # complete n_data
REASONS = {
    "forecast": "The run's own errors have weight {weight:.0%}, the power law in n_data the rest.",
    "passed": "The run has passed its smallest error, which is reported as measured.",
    "too_early": "The run has not reached the elbow of the early law, before which curves of all "
    "n_data are alike, so this is the power law in n_data without the run's own errors.",
    "power_law_only": "The run, or too many complete runs cut in the same way, cannot be compared "
    "with the master curve, so this is the power law in n_data.",
}
SLACK = 1.05  # factor within which ratios of n_data count as the same


@dataclass(frozen=True)
class NormForecast:
    """The smallest error that a run will reach, and the norm of the weights at that point.

    Attributes
    ----------
    n_data
        The number of training examples of the run.
    error
        The smallest error, an ``Estimate`` in the unit of the table's errors.
    log10_norm
        The decimal logarithm of the norm at the smallest error, an ``Estimate``.
    status, reason
        ``"forecast"``; ``"too_early"`` (curves of all n_data are still alike, so the run's own
        errors are uninformative) or ``"power_law_only"`` (they cannot be compared with the
        complete runs), where only the power law is used; or ``"passed"`` (the smallest error has
        been measured). The reason is a sentence that explains the status.
    weight
        The weight of the collapse in the forecast, from 0 to 1; the rest is that of the power law.
    forecasts
        The ``Estimate`` of both, by the names ``"power_law"`` and ``"collapse"``.
    reached
        The share of log norm covered, from the run's start to the expected optimum.
    trials
        The number of complete runs that determined the weight and the interval.
    level
        The level of the intervals.

    Examples
    --------
    >>> import kleiber
    >>> def curve(n_data, points):  # error/error_opt is one function of norm/norm_opt
    ...     x = [0.02 * 1.2**j for j in range(points)]
    ...     y = [n_data**-0.24 * (u**-0.4 + 0.5 * u**0.3) for u in x]
    ...     return [(n_data, u * n_data**0.6, e) for u, e in zip(x, y)]
    >>> def table(rows):
    ...     return dict(zip(("n_data", "norm", "error"), zip(*rows)))
    >>> complete = table([row for n in (100, 200, 400, 800) for row in curve(n, 30)])
    >>> found = kleiber.forecast_from_norm(complete, table(curve(1600, 28)))
    >>> found.status, found.trials
    ('forecast', 2)
    """

    n_data: float
    error: Estimate
    log10_norm: Estimate
    status: str
    reason: str
    weight: float
    forecasts: Mapping[str, Estimate]
    reached: float
    trials: int
    level: float

    @property
    def norm(self) -> float:
        """The norm at the least error."""
        return 10.0**self.log10_norm.value


@dataclass(frozen=True)
class _Guess:
    """Log error_opt by both methods (NaN: none) and log norm_opt, each with its expected error."""

    power: float
    collapse: float
    log_norm: float
    power_error: float
    collapse_error: float
    norm_error: float


@dataclass(frozen=True)
class _Trials:
    """Errors of the forecasts of complete runs: forecast - truth, in logarithms."""

    power: Float[np.ndarray, "trials"]
    collapse: Float[np.ndarray, "trials"]
    log_norm: Float[np.ndarray, "trials"]


def forecast_from_norm(curves: object, partial: object, *, level: float = 0.95) -> NormForecast:
    """Forecast the smallest error of a partly trained run, and the norm at which it is reached.

    Two forecasts are averaged. The power law extrapolates the smallest error of
    complete runs in n_data. The collapse divides the run's own errors by the master curve of the
    complete runs, error/error_opt = Phi(norm/norm_opt), norm_opt = k2 n_data^gamma_2 (D'Amico,
    Bocchi & Negri 2025, arXiv:2505.13230). Both are tried on the complete runs, and their errors
    there determine their weights and the forecast's interval.

    Parameters
    ----------
    curves
        Any data frame of complete runs with columns n_data, norm (or log_norm) and error, and seed
        where there are several, on at least 3 different n_data.
    partial
        The same columns of the run, of one n_data, with at least 3 norms.
    level
        The level of the intervals, Student's in log error and log norm.

    Returns
    -------
    NormForecast
        ``error`` and ``log10_norm`` with intervals, and how the forecast was made.

    Raises
    ------
    BadTable
        For missing columns, too few runs or norms, and a run of several n_data.

    Examples
    --------
    >>> import kleiber
    >>> def curve(n_data, points):  # error/error_opt is one function of norm/norm_opt
    ...     x = [0.02 * 1.2**j for j in range(points)]
    ...     y = [n_data**-0.24 * (u**-0.4 + 0.5 * u**0.3) for u in x]
    ...     return [(n_data, u * n_data**0.6, e) for u, e in zip(x, y)]
    >>> def table(rows):
    ...     return dict(zip(("n_data", "norm", "error"), zip(*rows)))
    >>> complete = table([row for n in (100, 200, 400, 800) for row in curve(n, 30)])
    >>> found = kleiber.forecast_from_norm(complete, table(curve(1600, 18)))
    >>> least = min(error for _, _, error in curve(1600, 30))
    >>> abs(found.error.value / least - 1) < 0.01
    True
    """
    level = check_level(level)
    known = read_curves(curves, share=0.5).items
    runs = read_items(partial)
    if len(runs) > 1:
        sizes = ", ".join(f"{item.n_data:g}" for item in runs)
        raise BadTable(f"The partly trained run has one n_data, got {sizes}.")
    run = runs[0]
    known = tuple(item for item in known if item.n_data != run.n_data)
    if len(known) < MIN_COUNT:
        raise BadTable(
            f"A forecast needs complete runs on at least {MIN_COUNT} n_data other than the run's "
            f"{run.n_data:g}, got {len(known)}."
        )
    best = np.array([find_optimum(item) for item in known])
    guess = _guess(known, best, run)
    reached = (run.log_norm[-1] - run.log_norm[0]) / max(guess.log_norm - run.log_norm[0], 1e-9)
    trials = _run_trials(known, best, run.n_data / known[-1].n_data, float(reached))
    early = run.log_norm[-1] < guess.log_norm + _elbow(curves)
    choice = _weigh(run, guess, trials, bool(early))
    return _record(run, guess, trials, choice, float(reached), level)


def _elbow(curves: object) -> float:
    """Return the median log(norm/norm_opt) at which complete runs leave the early law, else 0."""
    found = measure_collapse(curves, rule="robust")
    gaps = found.log_elbow - found.log_norm_opt
    return float(np.nanmedian(gaps)) if np.isfinite(gaps).any() else 0.0


def _guess(
    known: Sequence[MeanCurve], best: Float[np.ndarray, "sizes 2"], run: MeanCurve
) -> _Guess:
    """Forecast the run by both methods from the complete runs."""
    x = np.log([item.n_data for item in known])
    at = math.log(run.n_data)
    (power, power_error), (log_norm, norm_error) = (_extend(x, best[:, k], at) for k in (1, 0))
    grid = run.log_norm[-LAST:] - log_norm
    slack = norm_error * np.array([[-1.0], [0.0], [1.0]])
    masters = [_master(known, best, grid - shift) for shift in slack]
    known_points = np.isfinite(masters[1])
    if not known_points.any():
        return _Guess(power, math.nan, log_norm, power_error, math.nan, norm_error)
    collapse = float((run.log_error[-LAST:] - masters[1])[known_points].mean())
    shifts = [
        float(np.abs(item - masters[1])[known_points].mean()) for item in (masters[0], masters[2])
    ]
    return _Guess(power, collapse, log_norm, power_error, float(np.nanmax(shifts)), norm_error)


def _master(
    known: Sequence[MeanCurve],
    best: Float[np.ndarray, "sizes 2"],
    grid: Float[np.ndarray, "points"],
) -> Float[np.ndarray, "points"]:
    """Return log Phi at log(norm/norm_opt), NaN if fewer than 2 complete runs have a value."""
    values = rescale_items(known[-MODELS:], best[-MODELS:], grid)
    known_points = np.isfinite(values).sum(0) >= 2
    made = np.full(len(grid), np.nan)
    made[known_points] = np.nanmean(values[:, known_points], axis=0)
    return made


def _extend(
    x: Float[np.ndarray, "sizes"], y: Float[np.ndarray, "sizes"], at: float
) -> tuple[float, float]:
    """Extrapolate a least-squares line; return the value and its prediction error (0 for 2
    points)."""
    line = fit_line(x, y)
    value = line.start + line.slope * at
    if len(x) < 3:
        return value, 0.0
    residuals = y - line.start - line.slope * x
    centred = x - x.mean()
    share = 1 + 1 / len(x) + (at - x.mean()) ** 2 / (centred @ centred)
    return value, float(np.sqrt(residuals @ residuals / (len(x) - 2) * share))


def _run_trials(
    known: Sequence[MeanCurve], best: Float[np.ndarray, "sizes 2"], ratio: float, reached: float
) -> _Trials:
    """Try both methods on each complete run, cut at the same share, from those on fewer data."""
    made: list[tuple[float, float, float]] = []
    for k in range(2, len(known)):
        few = sum(item.n_data <= SLACK * known[k].n_data / max(ratio, 1.0) for item in known[:k])
        few = max(2, few)
        whole = known[k]
        expected, _ = _extend(
            np.log([item.n_data for item in known[:few]]), best[:few, 0], math.log(whole.n_data)
        )
        start = whole.log_norm[0]
        keep = whole.log_norm <= start + reached * (expected - start) + 1e-9
        if keep.sum() < LAST:
            continue
        cut = replace(whole, log_norm=whole.log_norm[keep], log_error=whole.log_error[keep])
        guess = _guess(known[:few], best[:few], cut)
        truth = best[k]
        made.append((guess.power - truth[1], guess.collapse - truth[1], guess.log_norm - truth[0]))
    columns = np.array(made).reshape(-1, 3).T
    return _Trials(columns[0], columns[1], columns[2])


@dataclass(frozen=True)
class _Choice:
    """The forecast and its weight of the collapse, with the spreads of all log errors."""

    status: str
    reason: str
    weight: float
    log_error: float
    log_norm: float
    power_spread: float
    collapse_spread: float
    spread: float


def _weigh(run: MeanCurve, guess: _Guess, trials: _Trials, early: bool) -> _Choice:
    """Average the two forecasts by the errors of the trials, or explain why only one is used."""
    known_points = np.isfinite(trials.collapse)
    power, collapse = trials.power, trials.collapse[known_points]
    power_spread = _pool_errors(power, guess.power_error)
    collapse_spread = _pool_errors(collapse, guess.collapse_error)
    share = power_spread**2 + collapse_spread**2
    weight = power_spread**2 / share if share > 0 else 1.0
    passed = find_passed(run)
    at, own = passed or (max(guess.log_norm, float(run.log_norm[-1])), guess.collapse)
    if passed:
        status, weight = "passed", 1.0
    elif early:
        status, weight = "too_early", 0.0
    elif not (math.isfinite(guess.collapse) and known_points.any()):
        status, weight = "power_law_only", 0.0
    else:
        status = "forecast"
    value = guess.power if weight == 0 else (1 - weight) * guess.power + weight * own
    mixed = power if weight == 0 else (1 - weight) * power[known_points] + weight * collapse
    expected = power_spread if weight == 0 else 0.0
    if weight:
        expected = (1 - weight) * power_spread + weight * collapse_spread
    return _Choice(
        status,
        REASONS[status].format(weight=weight),
        weight,
        min(value, float(run.log_error.min())),
        at,
        power_spread,
        collapse_spread,
        _pool_errors(mixed, expected),
    )


def _record(
    run: MeanCurve, guess: _Guess, trials: _Trials, choice: _Choice, reached: float, level: float
) -> NormForecast:
    count = int(np.isfinite(trials.collapse).sum())
    trained = len(trials.power) if choice.weight == 0 else count
    norm_spread = _pool_errors(trials.log_norm, guess.norm_error)
    norm = student(choice.log_norm, norm_spread, len(trials.log_norm) + 1, level)
    ten = math.log(10)
    both = {
        "power_law": student(guess.power, choice.power_spread, len(trials.power) + 1, level),
        "collapse": student(guess.collapse, choice.collapse_spread, count + 1, level),
    }
    return NormForecast(
        n_data=run.n_data,
        error=_exp(student(choice.log_error, choice.spread, trained + 1, level)),
        log10_norm=Estimate(norm.value / ten, norm.stderr / ten, norm.low / ten, norm.high / ten),
        status=choice.status,
        reason=choice.reason,
        weight=choice.weight,
        forecasts={name: _exp(item) for name, item in both.items()},
        reached=reached,
        trials=trained,
        level=level,
    )


def find_passed(run: MeanCurve) -> tuple[float, float] | None:
    """Return log norm and log error of the run's optimum if it is in the past.

    It is if the error has since risen by more than 3%, in at least 2 points.
    """
    u, y = find_optimum(run)
    after = run.log_error[run.log_norm > u]
    return (u, y) if len(after) >= 2 and bool((after[-2:] > y + FLAT).all()) else None


def _pool_errors(errors: Float[np.ndarray, "trials"], prior: float) -> float:
    """Return the root mean square of the errors and one more of the size expected beforehand."""
    if not math.isfinite(prior):
        return math.nan
    return float(np.sqrt((errors @ errors + prior**2) / (len(errors) + 1)))


def _exp(logs: Estimate) -> Estimate:
    if math.isnan(logs.value):
        return logs
    value = math.exp(logs.value)
    return Estimate(value, value * logs.stderr, math.exp(logs.low), math.exp(logs.high))
