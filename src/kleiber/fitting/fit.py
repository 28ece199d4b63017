"""The verb: fit a law to a table."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from kleiber.errors import BadLaw, BadTable, nearest
from kleiber.fitting.bootstrap import refit
from kleiber.fitting.covariance import Spread, measure_spread
from kleiber.fitting.intervals import check_level
from kleiber.fitting.noise import Noise
from kleiber.fitting.problem import Problem, pose, residuals
from kleiber.fitting.record import Fit, complete
from kleiber.fitting.search import DRAWN, Optimum, finish, lowest, search
from kleiber.fitting.starts import draw_starts, start_ranges
from kleiber.fitting.status import bounds_hit, judge
from kleiber.formula import walk
from kleiber.law import Law, restrict
from kleiber.laws import find
from kleiber.maths.seeds import stream
from kleiber.table import as_frame, digest, numbers, ranges, warn_duplicates

DEFAULT_NOISE = Noise("log", delta=1e-3)  # the field's convention since Hoffmann et al. 2022
INNER = 4  # further starts of each draw when a parameter sits at its bound
FEW_GROUPS = 10


@dataclass(frozen=True)
class Settings:
    """What a fit was asked to do, beyond the law and the table."""

    target: str
    noise: Noise
    draws: int
    level: float
    by: str | None
    weights: str | None
    fixed: Mapping[str, float]
    tied: Mapping[str, str]
    start: Mapping[str, float] | None
    seed: int


class Progress(NamedTuple):
    """How many draws are done, of how many."""

    done: int
    total: int


def fit(
    law: Law | str,
    table: Any,
    *,
    target: str = "loss",
    noise: Noise | None = None,
    draws: int = 1000,
    level: float = 0.95,
    by: str | None = None,
    weights: str | None = None,
    fixed: Mapping[str, float] | None = None,
    tied: Mapping[str, str] | None = None,
    start: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Fit:
    """Fit ``law`` (a Law, a catalogue name, a formula, or file.py:name) to a table of runs.

    ``noise`` defaults to Huber 1e-3 on log residuals (Hoffmann et al. 2022). ``draws`` refits to
    resampled rows, or to resampled groups of the column ``by``, give the intervals; ``weights``
    names a column that multiplies each row's charge; ``fixed`` holds parameters at numbers and
    ``tied`` at formulas of others; ``start`` replaces the search by one descent.

    Raises BadTable, BadLaw or BadFormula for input that cannot be fitted. How the fit ended is in
    ``status`` and ``reason``.
    """
    steps = fit_steps(
        law, table, target=target, noise=noise, draws=draws, level=level, by=by, weights=weights,
        fixed=fixed, tied=tied, start=start, seed=seed,
    )  # fmt: skip
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def fit_steps(
    law: Law | str,
    table: Any,
    *,
    target: str = "loss",
    noise: Noise | None = None,
    draws: int = 1000,
    level: float = 0.95,
    by: str | None = None,
    weights: str | None = None,
    fixed: Mapping[str, float] | None = None,
    tied: Mapping[str, str] | None = None,
    start: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Generator[Progress, None, Fit]:
    """``fit`` in steps, for callers that show progress: yields after every run of draws."""
    frame = as_frame(table)
    if isinstance(law, str):
        law = find(law, [name for name in frame.columns if name != target])
    if isinstance(draws, bool) or draws < 0 or draws == 1:
        raise ValueError(f"draws must be 0 (none) or at least 2, got {draws}")
    setting = Settings(
        target, noise or DEFAULT_NOISE, int(draws), check_level(level), by, weights,
        dict(fixed or {}), dict(tied or {}), start, seed,
    )  # fmt: skip
    return _steps(law, frame, setting)


def _steps(law: Law, frame: pl.DataFrame, ask: Settings) -> Generator[Progress, None, Fit]:
    began = time.perf_counter()
    problem, groups = _pose(law, frame, ask)
    columns = problem.columns
    y = np.exp(problem.target) if ask.noise.scale == "log" else problem.target
    starts = start_ranges(problem.law, columns, y)
    best = _optimum(problem, starts, ask)
    hit = bounds_hit(problem, best.point, best.objective, best.scale)
    spread = measure_spread(problem, best.point, best.scale, groups, tuple(hit))
    status, reason = judge(
        problem, converged=best.converged, hit=hit, spread=spread, evaluations=best.iterations
    )
    point = best.point.copy()
    for k, bound in hit.items():
        point[k] = list(problem.law.domains.values())[k].approach(bound)
    drawn, unsettled = [], 0
    if len(problem.target) > len(point):
        rng = stream(ask.seed, "resample")
        around = _around(problem, point, starts, ask) if hit else point[None]
        for run in refit(problem, around, best.scale, draws=ask.draws, groups=groups, rng=rng):
            drawn.append(problem.outer(run.point))
            unsettled += int((~run.converged).sum())
            yield Progress(sum(len(item) for item in drawn), run.total)
    values = np.concatenate(drawn) if drawn else np.empty((0, len(point)))
    theta = problem.outer(point[None])[0]
    theta[list(hit)] = list(hit.values())
    named = dict(zip(problem.law.params, theta.tolist(), strict=True))
    return Fit(
        law=law,
        params=_all_params(law, named, ask),
        status=status,
        reason=reason,
        objective=best.objective,
        residuals=residuals(problem, point[None])[0],
        condition=spread.condition,
        draws=_all_draws(law, problem, values, ask) if len(values) else {},
        ranges=ranges(frame, [*law.variables, ask.target]),
        digest=digest(frame),
        noise=ask.noise,
        target=ask.target,
        rows=len(frame),
        units=len(frame) if groups is None else int(groups.max()) + 1,
        free=problem.law.params,
        covariance=_in_domains(law, problem, point, spread.sandwich),
        stderr=_stderr(problem, point, spread, values, ask),
        starts=starts,
        fixed=ask.fixed,
        tied=ask.tied,
        level=ask.level,
        seconds=time.perf_counter() - began,
        by=ask.by,
        outermost=_outermost(columns),
        notes=_notes(problem, groups, hit, unsettled, len(values), ask),
    )


def _pose(
    law: Law, frame: pl.DataFrame, ask: Settings
) -> tuple[Problem, Int[np.ndarray, "rows"] | None]:
    """Check the table at the door and pose the problem."""
    if ask.target in law.variables:
        raise BadTable(f"the target {ask.target!r} is also a variable of law {law.name}")
    free = restrict(law, fixed=ask.fixed, tied=ask.tied) if ask.fixed or ask.tied else law
    columns = {name: numbers(frame, name) for name in law.variables}
    y = numbers(frame, ask.target, positive=ask.noise.scale == "log")
    for name in positive_columns(law):
        numbers(frame, name, positive=True)
    w = np.ones(len(y)) if ask.weights is None else numbers(frame, ask.weights)
    if (w < 0).any() or not (w > 0).any():
        raise BadTable(f"weights in {ask.weights!r} must be non-negative and not all zero")
    used = int((w > 0).sum())
    if used < len(free.params):
        raise BadTable(
            f"law {law.name} has {len(free.params)} free parameters and the table has only {used} "
            f"rows{' of positive weight' if ask.weights else ''}; add runs, or fix or tie parameters"
        )
    warn_duplicates(frame, [*law.variables, ask.target])
    groups = None
    if ask.by is not None:
        if ask.by not in frame.columns:
            raise BadTable(
                f"no column {ask.by!r} to group by; the table has {', '.join(frame.columns)}."
                f"{nearest(ask.by, frame.columns)}"
            )
        groups = frame[ask.by].rank("dense").to_numpy().astype(np.int64) - 1
    return pose(free, ask.noise, columns, y, w), groups


def positive_columns(law: Law) -> list[str]:
    """Variables whose logarithm, or power to a fitted exponent, the law takes directly."""
    if law.expr is None:
        return []
    found = []
    for node in walk(law.expr):
        fitted = node.op == "pow" and node.args[1].op != "number"
        if (node.op == "log" or fitted) and node.args[0].op == "symbol":
            name = str(node.args[0].value)
            if name in law.variables and name not in found:
                found.append(name)
    return found


def _optimum(problem: Problem, starts: Mapping[str, tuple[float, float]], ask: Settings) -> Optimum:
    """The best optimum of a search, or the end of one descent from the start given."""
    if ask.start is None:
        return search(problem, starts, ask.seed)
    best = finish(problem, _given_start(problem, ask.start))
    if not np.isfinite(best.objective):
        raise BadLaw(f"law {problem.law.name} has no finite value at the start {dict(ask.start)}")
    return best


def _around(
    problem: Problem, point: np.ndarray, starts: Mapping[str, tuple[float, float]], ask: Settings
) -> Float[np.ndarray, "starts params"]:
    """The optimum at its bound, and inner starts: from the bound itself no draw could return."""
    u = draw_starts(problem, starts, count=DRAWN, seed=ask.seed)
    return np.concatenate([point[None], lowest(problem, u, INNER)])


def _given_start(problem: Problem, start: Mapping[str, float]) -> np.ndarray:
    values = []
    for name, domain in problem.law.domains.items():
        if name not in start:
            raise BadLaw(f"start gives no value for {name!r}; it gives {', '.join(start)}")
        if not domain.contains(float(start[name])):
            raise BadLaw(f"start {name} = {start[name]} is outside its domain ({domain.kind})")
        values.append(float(start[name]))
    return problem.inner(np.array([values]))


def _in_domains(
    law: Law, problem: Problem, point: np.ndarray, covariance: np.ndarray
) -> Float[np.ndarray, "free free"] | None:
    """The covariance in the coordinates of the law's own domains; None if it is not finite."""
    if not np.isfinite(covariance).all():
        return None
    change = np.ones(len(point))
    for k, (name, domain) in enumerate(problem.law.domains.items()):
        value = float(domain.outer(point[k]))
        there = float(law.domains[name].stretch(law.domains[name].inner(value)))
        change[k] = float(domain.stretch(point[k])) / there if there else 0.0
    return covariance * np.outer(change, change)


def _outermost(columns: Mapping[str, np.ndarray]) -> tuple[Mapping[str, float], ...]:
    """The rows that no other row exceeds in every variable (at most 100, largest first)."""
    rows = np.unique(np.stack(list(columns.values()), axis=1), axis=0)[::-1]
    front: list[np.ndarray] = []
    for row in rows:
        if not any((row <= other).all() for other in front):
            front.append(row)
        if len(front) == 100:
            break
    return tuple(dict(zip(columns, row.tolist(), strict=True)) for row in front)


def _all_params(law: Law, free: Mapping[str, float], ask: Settings) -> dict[str, float]:
    full = complete({**free, **{k: float(v) for k, v in ask.fixed.items()}}, ask.tied)
    return {name: full[name] for name in law.params}


def _all_draws(
    law: Law, problem: Problem, values: np.ndarray, ask: Settings
) -> dict[str, Float[np.ndarray, "draws"]]:
    free: dict[str, Any] = {name: values[:, k] for k, name in enumerate(problem.law.params)}
    held = {name: np.full(len(values), float(v)) for name, v in ask.fixed.items()}
    full = complete({**free, **held}, ask.tied)
    return {name: np.broadcast_to(full[name], (len(values),)) for name in law.params}


def _stderr(
    problem: Problem, point: np.ndarray, spread: Spread, values: np.ndarray, ask: Settings
) -> dict[str, float]:
    """Standard errors: for plain least squares of rows the classical ones, which that noise model
    implies; otherwise the standard deviation of the draws, or the sandwich's where there are none.
    """
    plain = ask.noise.delta is None and ask.noise.dof is None and ask.by is None
    if len(values) and not plain:
        return dict(zip(problem.law.params, values.std(axis=0, ddof=1).tolist(), strict=True))
    matrix = spread.classical if plain else spread.sandwich
    size = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    kinds = problem.law.domains.values()
    stretch = [float(d.stretch(u)) for d, u in zip(kinds, point, strict=True)]
    return {n: float(size[k] * stretch[k]) for k, n in enumerate(problem.law.params)}


def _notes(
    problem: Problem,
    groups: np.ndarray | None,
    hit: Mapping[int, float],
    unsettled: int,
    draws: int,
    ask: Settings,
) -> tuple[str, ...]:
    notes = []
    names = problem.law.params
    if groups is not None and groups.max() + 1 < FEW_GROUPS:
        notes.append(
            f"only {groups.max() + 1} groups in {ask.by!r}: intervals from fewer than "
            f"{FEW_GROUPS} groups are too narrow to trust"
        )
    if hit:
        notes.append(f"intervals of {', '.join(names[k] for k in hit)} start at a bound")
    if unsettled:
        notes.append(f"{unsettled} of {draws} draws had not settled; intervals include them as is")
    if len(problem.target) <= len(names):
        notes.append(
            "no intervals: as many parameters as rows leave nothing to estimate noise from"
        )
    elif not draws:
        notes.append("no draws: intervals come from the covariance alone")
    return tuple(notes)
