"""Which law extrapolates: rolling origins, the whole comparison resampled.

At each origin the laws are fitted to the runs up to a threshold of one column and judged on the
runs beyond it: the error of a law is the mean absolute residual there (log residuals for log
noise), averaged over origins. Rows beyond an origin share one fit, so their residuals are anything
but independent; the interval of a difference therefore comes from resampling rows (or groups) and
repeating every fit, all laws on the same resamples. Two laws whose difference has an interval that
holds zero cannot be told apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from kleiber.claim import Estimate
from kleiber.errors import BadTable, nearest
from kleiber.fitting.bootstrap import resample_weights
from kleiber.fitting.intervals import check_level, draws_level, percentile_interval
from kleiber.fitting.noise import Noise
from kleiber.fitting.posing import Settings, number_groups, pose_table
from kleiber.fitting.problem import Problem, minimise
from kleiber.fitting.search import search
from kleiber.fitting.starts import start_ranges
from kleiber.law import Law
from kleiber.laws import find
from kleiber.maths.seeds import stream
from kleiber.table import as_frame, numbers

ORIGINS = (0.4, 0.5, 0.6, 0.7, 0.8)  # quantiles of the column's distinct values
SPARE = 2  # rows beyond the number of parameters that a fit at an origin needs


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

    ``origins`` are the thresholds; by default the column's quantiles from 0.4 to 0.8. Raises
    BadTable when no origin leaves enough rows on either side.
    """
    frame = as_frame(table)
    if len(laws) < 2:
        raise BadTable(f"compare needs at least two laws, got {len(laws)}")
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
    names = _names(found)
    return _rank(names, problems, errors, points, cuts, beyond, frame, groups, ask)


def choose_origins(
    x: Float[np.ndarray, "rows"], origins: Sequence[float] | None, params: int
) -> tuple[float, ...]:
    """Thresholds with enough rows below to fit every law, and rows beyond. Raises BadTable."""
    if origins is None:
        values = np.unique(x)
        origins = np.unique(np.quantile(values, ORIGINS, method="lower")).tolist()
    need = params + SPARE
    good = tuple(float(t) for t in origins if (x <= t).sum() >= need and (x > t).any())
    if not good:
        raise BadTable(
            f"no origin leaves {need} rows to fit and any row beyond: the column runs from "
            f"{x.min():.4g} to {x.max():.4g} in {len(np.unique(x))} distinct values; "
            "give origins, add runs, or compare smaller laws"
        )
    return good


def _errors(
    problems: Sequence[Problem],
    x: np.ndarray,
    cuts: tuple[float, ...],
    groups: Int[np.ndarray, "rows"] | None,
    ask: Settings,
) -> tuple[Float[np.ndarray, "laws draws"], Float[np.ndarray, "laws"]]:
    """Each law's error on every resample, and on the table itself; laws share the resamples."""
    weights = resample_weights(stream(ask.seed, "compare"), ask.draws, len(x), groups)
    drawn, whole = [], []
    for problem in problems:
        parts = [_at_origin(problem, x <= cut, weights, ask.seed) for cut in cuts]
        with np.errstate(invalid="ignore"):
            drawn.append(np.nanmean([part[0] for part in parts], axis=0))
        whole.append(float(np.mean([part[1] for part in parts])))
    return np.array(drawn), np.array(whole)


def _at_origin(
    problem: Problem, train: Bool[np.ndarray, "rows"], weights: np.ndarray, seed: int
) -> tuple[Float[np.ndarray, "draws"], float]:
    """Mean absolute residual beyond one origin, for every resample and for the table."""
    inside = replace(problem, weights=problem.weights * train)
    y = np.exp(problem.target) if problem.noise.scale == "log" else problem.target
    kept = {name: values[train] for name, values in problem.columns.items()}
    best = search(inside, start_ranges(problem.law, kept, y[train]), seed)
    start = np.repeat(best.point[None], len(weights), 0)
    found, _ = minimise(inside, start, weights * train, exact=True, tolerance=1e-8)
    beyond = weights * ~train
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.abs(_residuals(problem, found.point))
        drawn = np.where(beyond > 0, beyond * r, 0.0).sum(axis=1) / beyond.sum(axis=1)
    own = np.abs(_residuals(problem, best.point[None]))[0][~train].mean()
    return drawn, float(own)


def _residuals(problem: Problem, u: np.ndarray) -> np.ndarray:
    theta = problem.outer(u)
    named = {name: theta[:, [k]] for k, name in enumerate(problem.law.params)}
    if problem.law.expr is None:
        each = [dict(zip(problem.law.params, row.tolist(), strict=True)) for row in theta]
        value = np.array([problem.law(**problem.columns, **params) for params in each])
    else:
        value = problem.law(**problem.columns, **named)
    value = np.broadcast_to(value, (len(u), len(problem.target)))
    if problem.noise.scale == "log":
        with np.errstate(all="ignore"):
            value = np.log(np.where(value > 0, value, np.nan))
    return value - problem.target


def _rank(
    names: Sequence[str],
    problems: Sequence[Problem],
    errors: np.ndarray,
    points: np.ndarray,
    cuts: tuple[float, ...],
    beyond: str,
    frame: pl.DataFrame,
    groups: np.ndarray | None,
    ask: Settings,
) -> Comparison:
    order = np.argsort(points)
    best = int(order[0])
    units = len(frame) if groups is None else int(groups.max()) + 1
    each = 1 - (1 - ask.level) / (len(problems) - 1)  # as many rivals, as many chances to err
    level = draws_level(each, units, max(len(p.law.params) for p in problems))
    contenders = []
    for k in order:
        behind = _estimate(points[k] - points[best], errors[k] - errors[best], level)
        told = k != best and behind.low > 0
        verdict = "best" if k == best else "worse" if told else "cannot tell"
        error = _estimate(points[k], errors[k], level)
        aicc = corrected_aic(problems[k], ask.seed)
        width = len(problems[k].law.params)
        contenders.append(Contender(names[k], width, error, aicc, behind, verdict))
    rivals = [item.law for item in contenders[1:] if item.verdict == "cannot tell"]
    if rivals:
        verdict = f"cannot tell {names[best]} from {', '.join(rivals)}"
    else:
        verdict = f"{names[best]} extrapolates best"
    notes = () if len(cuts) > 1 else ("one origin only: the ranking rests on a single split",)
    return Comparison(tuple(contenders), beyond, cuts, ask.level, verdict, notes)


def _estimate(value: float, draws: np.ndarray, level: float) -> Estimate:
    known = draws[np.isfinite(draws)]
    low, high = percentile_interval(known, level)
    spread = float(known.std(ddof=1)) if len(known) > 1 else math.nan
    return Estimate(float(value), spread, float(low), float(high))


def corrected_aic(problem: Problem, seed: int) -> float:
    """AICc = n log(RSS/n) + 2k + 2k(k+1)/(n-k-1) of least squares on the noise model's scale, with
    k the parameters and the variance (Hurvich & Tsai 1989); infinite where n <= k + 1."""
    plain = replace(problem, noise=Noise(problem.noise.scale))
    y = np.exp(problem.target) if problem.noise.scale == "log" else problem.target
    best = search(plain, start_ranges(problem.law, problem.columns, y), seed)
    n, k = len(y), len(problem.law.params) + 1
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
