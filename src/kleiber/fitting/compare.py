"""Which law extrapolates: rolling origins, the whole comparison resampled.

At each origin the laws are fitted to the runs up to a threshold of one column and judged on the
runs beyond it: the error of a law is the mean absolute residual there (log residuals for log
noise), averaged over origins. Rows beyond an origin share one fit, so their residuals are anything
but independent; the interval of a difference therefore comes from resampling rows (or groups) and
repeating every fit, all laws on the same resamples. Two laws whose difference has an interval that
holds zero cannot be told apart. A law that predicts what log residuals cannot measure (nothing
above zero) is infinitely wrong there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special

from kleiber.claim import Estimate
from kleiber.errors import BadTable, nearest, shown
from kleiber.fitting.bootstrap import resample_weights
from kleiber.fitting.intervals import check_level, draws_level, percentile_interval
from kleiber.fitting.noise import Noise
from kleiber.fitting.outcome import FEW_GROUPS
from kleiber.fitting.posing import Settings, number_groups, pose_table
from kleiber.fitting.problem import Problem, minimise, pose
from kleiber.fitting.search import search
from kleiber.fitting.starts import start_ranges
from kleiber.law import Law
from kleiber.laws import find
from kleiber.maths.seeds import stream
from kleiber.table import as_frame, numbers

ORIGINS = (0.4, 0.5, 0.6, 0.7, 0.8)  # quantiles of the column's distinct values
SPARE = 2  # rows beyond the number of parameters that a fit at an origin needs
HUGE = 1e300  # what an infinite error counts as between two others


@dataclass(frozen=True)
class Contender:
    """One law's record: its ``error`` beyond the origins, AICc of least squares on all rows, and
    ``behind``: its error minus the best law's, with interval. ``verdict`` is "best", "worse" or
    "cannot tell" (against the best)."""

    law: str
    n_params: int
    error: Estimate
    aicc: float
    behind: Estimate
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """Laws from least to most extrapolation error. ``origins`` are the thresholds used."""

    contenders: tuple[Contender, ...]
    beyond: str
    origins: tuple[float, ...]
    level: float
    verdict: str
    notes: tuple[str, ...] = ()


def compare(
    table: Any,
    laws: Sequence[Law | str],
    *,
    beyond: str,
    target: str = "loss",
    noise: Noise | None = None,
    origins: Sequence[float] | None = None,
    by: str | None = None,
    draws: int = 400,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Rank laws by how well they extrapolate beyond thresholds of the column ``beyond``.

    ``origins`` are the thresholds; by default the column's quantiles from 0.4 to 0.8. Each of the
    ``draws`` repeats the whole comparison on resampled rows, or groups of the column ``by``. Raises
    BadTable when no origin leaves enough rows on either side, ValueError for fewer than two draws.
    """
    frame = as_frame(table)
    if isinstance(laws, str) or len(laws) < 2:
        given = shown(laws) if isinstance(laws, str) else len(laws)
        raise BadTable(f"compare needs a list of at least two laws, got {given}")
    if isinstance(draws, bool) or draws < 2:
        raise ValueError(f"draws must be at least 2, got {draws}")
    if beyond not in frame.columns:
        raise BadTable(
            f"no column {beyond!r} to extrapolate along; the table has "
            f"{', '.join(frame.columns)}.{nearest(beyond, frame.columns)}"
        )
    known = [name for name in frame.columns if name != target]
    found = [find(law, known) if isinstance(law, str) else law for law in laws]
    charge = noise or Noise("log", delta=1e-3)
    ask = Settings(target, charge, draws, check_level(level), by, None, {}, {}, None, seed)
    problems = [pose_table(law, frame, ask)[0] for law in found]
    groups = None if by is None else number_groups(frame, by)
    x = numbers(frame, beyond)
    cuts = choose_origins(x, origins, max(len(p.law.params) for p in problems))
    errors, points = _errors(problems, x, cuts, groups, ask)
    judges = _judges(x, cuts, groups)
    trial = _Trial(tuple(_names(found)), tuple(problems), errors, points, groups, judges, ask)
    notes = _notes(trial, cuts, origins)
    contenders = _rank(trial)
    return Comparison(contenders, beyond, cuts, ask.level, _verdict(contenders), notes)


@dataclass(frozen=True)
class _Trial:
    """What laws came to: each one's error on every resample, and on the table itself."""

    names: tuple[str, ...]
    problems: tuple[Problem, ...]
    errors: Float[np.ndarray, "laws draws"]
    points: Float[np.ndarray, "laws"]
    groups: Int[np.ndarray, "rows"] | None
    judges: float  # rows or groups beyond an origin, on average
    ask: Settings

    @property
    def units(self) -> int:
        """How many rows or groups were resampled."""
        return len(self.problems[0].target) if self.groups is None else int(self.groups.max()) + 1

    @property
    def level(self) -> float:
        """Where percentiles are read: as many rivals, as many chances to err."""
        each = 1 - (1 - self.ask.level) / (len(self.problems) - 1)
        widest = max(len(p.law.params) for p in self.problems)
        return float(draws_level(each, self.units, widest if self.groups is None else 1))


def choose_origins(
    x: Float[np.ndarray, "rows"], origins: Sequence[float] | None, params: int
) -> tuple[float, ...]:
    """Thresholds with enough rows below to fit every law, and rows beyond. Raises BadTable."""
    if origins is None:
        quantiles = np.quantile(np.unique(x), ORIGINS, method="lower")
        origins = [float(cut) for cut in np.unique(quantiles)]
    need = params + SPARE
    good = tuple(float(t) for t in origins if (x <= t).sum() >= need and (x > t).any())
    if not good:
        raise BadTable(
            f"no origin leaves {need} rows to fit and any row beyond: the column runs from "
            f"{x.min():.4g} to {x.max():.4g} in {len(np.unique(x))} distinct values; "
            "give origins, add runs, or compare smaller laws"
        )
    return good


def _judges(
    x: np.ndarray, cuts: tuple[float, ...], groups: Int[np.ndarray, "rows"] | None
) -> float:
    """How many rows or groups lie beyond an origin, on average."""
    units = np.arange(len(x)) if groups is None else groups
    return float(np.mean([len(np.unique(units[x > cut])) for cut in cuts]))


def _errors(
    problems: Sequence[Problem],
    x: np.ndarray,
    cuts: tuple[float, ...],
    groups: Int[np.ndarray, "rows"] | None,
    ask: Settings,
) -> tuple[Float[np.ndarray, "laws draws"], Float[np.ndarray, "laws"]]:
    """Each law's error on every resample, and on the table itself; laws share the resamples."""
    weights = resample_weights(stream(ask.seed, "compare"), ask.draws, len(x), groups)
    drawn: list[np.ndarray] = []
    whole: list[float] = []
    for problem in problems:
        parts = [_at_origin(problem, x <= cut, weights, ask.seed) for cut in cuts]
        drawn.append(_known_mean(np.array([part[0] for part in parts])))
        whole.append(float(np.mean([part[1] for part in parts])))
    return np.array(drawn), np.array(whole)


def _known_mean(parts: Float[np.ndarray, "origins draws"]) -> Float[np.ndarray, "draws"]:
    """The mean over origins that are known; NaN where none is."""
    known = ~np.isnan(parts)
    total, count = np.where(known, parts, 0.0).sum(axis=0), known.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _at_origin(
    problem: Problem, train: Bool[np.ndarray, "rows"], weights: np.ndarray, seed: int
) -> tuple[Float[np.ndarray, "draws"], float]:
    """Mean absolute residual beyond one origin, for every resample (NaN for one that left no row
    on either side) and for the table. The fits see no row beyond."""
    inside, far = _rows(problem, train), _rows(problem, ~train)
    best = search(inside, start_ranges(inside.law, inside.columns, _plain_target(inside)), seed)
    own, beyond = weights[:, train], weights[:, ~train]
    bare = (own.sum(axis=1) == 0) | (beyond.sum(axis=1) == 0)
    own[bare], beyond[bare] = 1.0, 1.0
    start = np.repeat(best.point[None], len(weights), 0)
    found, _ = minimise(inside, start, own, exact=True, tolerance=1e-8)
    with np.errstate(invalid="ignore"):
        size = np.where(beyond > 0, beyond * _misses(far, found.point), 0.0)
    drawn = np.where(bare, np.nan, size.sum(axis=1) / beyond.sum(axis=1))
    return drawn, float(_misses(far, best.point[None]).mean())


def _rows(problem: Problem, which: Bool[np.ndarray, "rows"]) -> Problem:
    """The problem of some of the rows."""
    columns = {name: values[which] for name, values in problem.columns.items()}
    y = _plain_target(problem)[which]
    return pose(problem.law, problem.noise, columns, y, problem.weights[which])


def _plain_target(problem: Problem) -> Float[np.ndarray, "rows"]:
    return np.exp(problem.target) if problem.noise.scale == "log" else problem.target


def _misses(
    problem: Problem, u: Float[np.ndarray, "members params"]
) -> Float[np.ndarray, "members rows"]:
    """Absolute residuals at each member's u; infinite where the law has no value to compare."""
    theta = problem.outer(u)
    if problem.law.expr is None:
        each = [dict(zip(problem.law.params, row.tolist(), strict=True)) for row in theta]
        value = np.array([problem.law(**problem.columns, **params) for params in each])
    else:
        named = {name: theta[:, [k]] for k, name in enumerate(problem.law.params)}
        value = problem.law(**problem.columns, **named)
    value = np.broadcast_to(value, (len(u), len(problem.target)))
    with np.errstate(divide="ignore"):
        if problem.noise.scale == "log":
            value = np.log(np.where(value > 0, value, 0.0))
        miss = np.abs(value - problem.target)
    return np.where(np.isnan(miss), np.inf, miss)


def _rank(trial: _Trial) -> tuple[Contender, ...]:
    """The laws from least to most error, each against the first."""
    order: list[int] = np.argsort(trial.points, kind="stable").tolist()
    best, level = order[0], trial.level
    contenders: list[Contender] = []
    for k in order:
        with np.errstate(invalid="ignore"):  # two infinite errors have no difference
            gap = trial.errors[k] - trial.errors[best]
            behind = _estimate(float(trial.points[k] - trial.points[best]), gap, level)
            behind = _widen(behind, trial.judges, level)
        told = k != best and behind.low > 0
        verdict = "best" if k == best else "worse" if told else "cannot tell"
        contenders.append(
            Contender(
                trial.names[k],
                len(trial.problems[k].law.params),
                _estimate(float(trial.points[k]), trial.errors[k], level),
                corrected_aic(trial.problems[k], trial.ask.seed),
                behind,
                verdict,
            )
        )
    return tuple(contenders)


def _verdict(contenders: Sequence[Contender]) -> str:
    best, *others = contenders
    rivals = [item.law for item in others if item.verdict == "cannot tell"]
    if rivals:
        return f"cannot tell {best.law} from {', '.join(rivals)}"
    return f"{best.law} extrapolates best"


def _notes(
    trial: _Trial, cuts: tuple[float, ...], origins: Sequence[float] | None
) -> tuple[str, ...]:
    notes: list[str] = []
    if len(cuts) == 1:
        notes.append("one origin only: the ranking rests on a single split")
    gone = [f"{cut:g}" for cut in origins or () if cut not in cuts]
    if gone:
        notes.append(f"too few rows up to, or none beyond, {', '.join(gone)}: left out")
    lost = [n for n, error in zip(trial.names, trial.points, strict=True) if np.isinf(error)]
    if lost:
        notes.append(
            f"{', '.join(lost)}: infinite error, since some prediction beyond an origin is no "
            f"{'positive number' if trial.ask.noise.scale == 'log' else 'finite number'}"
        )
    what = "rows" if trial.groups is None else f"groups in {trial.ask.by!r}"
    if math.isnan(trial.level):
        notes.append(f"no intervals: {trial.units} {what} are too few to resample")
    elif trial.groups is not None and trial.units < FEW_GROUPS:
        notes.append(
            f"only {trial.units} {what}: intervals from fewer than {FEW_GROUPS} groups are too "
            "narrow to trust"
        )
    return tuple(notes)


def _estimate(value: float, draws: Float[np.ndarray, "draws"], level: float) -> Estimate:
    """Value, spread and interval from the draws that are known; infinite ones count in order."""
    known = draws[~np.isnan(draws)]
    finite = known[np.isfinite(known)]
    ends = np.array(percentile_interval(np.clip(known, -HUGE, HUGE), level))
    low, high = np.where(np.abs(ends) > 1e-6 * HUGE, np.sign(ends) * np.inf, ends).tolist()
    spread = float(finite.std(ddof=1)) if len(finite) > 1 else math.nan
    return Estimate(value, spread, low, high)


def _widen(behind: Estimate, judges: float, level: float) -> Estimate:
    """The interval reaching at least to value -+ t stderr, with t of as many degrees of freedom as
    rows or groups judge, less one: percentiles alone tell equals apart a little too often."""
    if not math.isfinite(behind.value + behind.stderr + level):
        return behind
    t = float(special.stdtrit(max(judges - 1, 1.0), 0.5 + level / 2))
    low, high = behind.value - t * behind.stderr, behind.value + t * behind.stderr
    return replace(behind, low=min(behind.low, low), high=max(behind.high, high))


def corrected_aic(problem: Problem, seed: int) -> float:
    """AICc = n log(RSS/n) + 2k + 2k(k+1)/(n-k-1) of least squares on the noise model's scale, with
    k the parameters and the variance (Hurvich & Tsai 1989); infinite where n <= k + 1."""
    plain = replace(problem, noise=Noise(problem.noise.scale))
    ranges = start_ranges(problem.law, problem.columns, _plain_target(problem))
    best = search(plain, ranges, seed)
    n, k = len(problem.target), len(problem.law.params) + 1
    if n <= k + 1:
        return math.inf
    rss = max(2 * best.objective, 1e-300)
    return float(n * np.log(rss / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1))


def _names(laws: Sequence[Law]) -> list[str]:
    """A name per law; formulas, which share one, by their text."""
    first = [law.formula if law.name == "formula" else law.name for law in laws]
    return [f"{name} ({i + 1})" if first.count(name) > 1 else name for i, name in enumerate(first)]


def describe_comparison(made: Comparison) -> Mapping[str, Any]:
    """The document that ``compare --json`` prints."""

    def ends(item: Estimate) -> dict[str, float | None]:
        parts = {"value": item.value, "low": item.low, "high": item.high}
        return {key: x if math.isfinite(x) else None for key, x in parts.items()}

    return {
        "beyond": made.beyond,
        "origins": list(made.origins),
        "level": made.level,
        "verdict": made.verdict,
        "laws": [
            {
                "law": item.law,
                "n_params": item.n_params,
                "error": ends(item.error),
                "aicc": item.aicc if math.isfinite(item.aicc) else None,
                "behind": ends(item.behind),
                "verdict": item.verdict,
            }
            for item in made.contenders
        ],
        "notes": list(made.notes),
    }
