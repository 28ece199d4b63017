"""From a table to its optimum, and from the optimum and its draws to the Fit that is handed out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from kleiber.errors import BadLaw, nearest
from kleiber.fitting.best import find_best_runs
from kleiber.fitting.covariance import Spread, measure_spread
from kleiber.fitting.noise import charge
from kleiber.fitting.posing import Settings, pose_table
from kleiber.fitting.prior import read_priors
from kleiber.fitting.problem import Problem, residuals
from kleiber.fitting.record import Fit, complete
from kleiber.fitting.remedy import collinear_variables, offer
from kleiber.fitting.search import DRAWN, Optimum, descend_from, lowest, search, thin
from kleiber.fitting.starts import draw_starts, start_ranges
from kleiber.fitting.status import Status, bounds_hit, judge
from kleiber.fitting.wild import Moments, find_moves, measure_moments, stretch_residuals
from kleiber.law import Law
from kleiber.table import digest, ranges

INNER = 4  # further starts of each draw when a parameter sits at its bound
FEW_GROUPS, SOME_GROUPS = 10, 20


@dataclass(frozen=True)
class Solved:
    """A posed problem and its optimum. ``point`` is the optimum with parameters that went to a
    bound put on it (``hit``: position to bound)."""

    problem: Problem
    groups: Int[np.ndarray, "rows"] | None
    starts: Mapping[str, tuple[float, float]]
    best: Optimum
    point: Float[np.ndarray, "params"]
    hit: Mapping[int, float]
    spread: Spread
    status: Status
    reason: str


def solve(law: Law, frame: pl.DataFrame, ask: Settings) -> Solved:
    """Pose the table, find the optimum, and judge it."""
    problem, groups = pose_table(law, frame, ask)
    y = np.exp(problem.target) if ask.noise.scale == "log" else problem.target
    starts = start_ranges(problem.law, problem.columns, y) if ask.start is None else {}
    best = _optimum(problem, starts, ask)
    if ask.priors:
        prior = read_priors(law, problem.law, ask.priors, dispersion(problem, best))
        problem = replace(problem, prior=prior)
        best = _optimum(problem, starts, ask)
    hit = bounds_hit(problem, best.point, best.objective, best.scale)
    spread = measure_spread(problem, best.point, best.scale, groups, tuple(hit))
    # a descent that crawls along what the table does not determine has told what there is to tell
    settled = best.converged or (bool(spread.lost) and not hit)
    status, reason = judge(
        problem, converged=settled, hit=hit, spread=spread, evaluations=best.iterations
    )
    if status is Status.CONVERGED and (pair := collinear_variables(problem)):
        status = Status.FLAT
        reason = (
            f"{pair[1]} is a power of {pair[0]} in every row, so that their terms can be "
            "exchanged: other values fit as well. Add runs that vary them separately"
        )
    elif status is Status.FLAT and (remedy := offer(problem, best.point, best.scale)):
        reason += f". What would settle it here: {remedy}"
    point = best.point.copy()
    for k, bound in hit.items():
        point[k] = list(problem.law.domains.values())[k].approach(bound)
    return Solved(problem, groups, starts, best, point, hit, spread, status, reason)


def dispersion(problem: Problem, best: Optimum) -> float:
    """tau of the noise model: the mean of rho'(r) r, over the rows left after the parameters."""
    if problem.noise.dof is not None:
        return 1.0  # its charge is a log likelihood already
    r = residuals(problem, best.point[None])
    paid = charge(problem.noise, r, np.array([best.scale]))
    rows = int((problem.weights > 0).sum())
    mean = float((problem.weights * paid.psi[0] * r[0]).sum() / problem.weights.sum())
    return max(mean * rows / max(rows - len(best.point), 1), 1e-300)


def _optimum(problem: Problem, starts: Mapping[str, tuple[float, float]], ask: Settings) -> Optimum:
    """The best optimum of a search, or the end of one descent from the start given."""
    if ask.start is None:
        return search(problem, starts, ask.seed)
    free = problem.law.params
    for name in ask.start:
        if name not in (*free, *ask.fixed, *ask.tied):
            raise BadLaw(
                f"start names {name!r}; law {problem.law.name} has {', '.join(free)}."
                f"{nearest(name, free)}"
            )
    best = descend_from(problem, _given_start(problem, ask.start))
    if not np.isfinite(best.objective):
        raise BadLaw(f"law {problem.law.name} has no finite value at the start {dict(ask.start)}")
    return best


def _given_start(problem: Problem, start: Mapping[str, float]) -> Float[np.ndarray, "params"]:
    values: list[float] = []
    for name, domain in problem.law.domains.items():
        if name not in start:
            raise BadLaw(f"start gives no value for {name!r}; it gives {', '.join(start)}")
        if not domain.contains(float(start[name])):
            low, high = domain.bounds
            raise BadLaw(f"start {name} = {start[name]} does not lie inside {low:g} and {high:g}")
        values.append(float(start[name]))
    return problem.inner(np.array([values]))[0]


def draw_from(solved: Solved, seed: int) -> Float[np.ndarray, "starts params"]:
    """Where each draw's descent starts: the optimum; if a parameter went to its bound, from which
    no draw could return, inner points too."""
    if not solved.hit:
        return solved.point[None]
    if not solved.starts:
        return np.stack([solved.point, solved.best.point])
    fewer = thin(solved.problem, seed)
    u = draw_starts(fewer, solved.starts, count=DRAWN, seed=seed)
    return np.concatenate([solved.point[None], lowest(fewer, u, INNER)])


def conclude(
    law: Law,
    frame: pl.DataFrame,
    ask: Settings,
    solved: Solved,
    values: Float[np.ndarray, "draws params"],
    *,
    unsettled: int,
    seconds: float,
) -> Fit:
    """The Fit. ``values`` are the draws' parameters, ``unsettled`` how many did not converge."""
    problem, point = solved.problem, solved.point
    theta = problem.outer(point[None])[0]
    theta[list(solved.hit)] = list(solved.hit.values())
    named = dict(zip(problem.law.params, theta.tolist(), strict=True))
    return Fit(
        law=law,
        params=_all_params(law, named, ask),
        status=solved.status,
        reason=solved.reason,
        objective=solved.best.objective,
        residuals=residuals(problem, point[None])[0],
        condition=solved.spread.condition,
        draws=_all_draws(law, problem, values, ask) if len(values) else {},
        ranges=ranges(frame, [*law.variables, ask.target]),
        digest=digest(frame),
        noise=ask.noise,
        target=ask.target,
        rows=len(frame),
        units=len(frame) if solved.groups is None else int(solved.groups.max()) + 1,
        free=problem.law.params,
        covariance=_in_domains(law, problem, point, solved.spread.sandwich),
        stderr=_stderr(solved, values, ask),
        starts=solved.starts,
        fixed=ask.fixed,
        tied=ask.tied,
        priors=ask.priors,
        level=ask.level,
        seconds=seconds,
        by=ask.by,
        weights=ask.weights,
        resample="wild" if ask.wild else "rows",
        inside=_inside(problem, point, ask),
        moments=_moments(law, solved) if ask.wild else None,
        outermost=_outermost(problem.columns),
        best_runs=_best_runs(problem, ask),
        notes=_notes(solved, unsettled, len(values), ask),
    )


def _inside(problem: Problem, point: np.ndarray, ask: Settings) -> float:
    """The share of the rows' weight whose residuals lie inside the Huber width."""
    if ask.noise.delta is None:
        return 1.0
    near = np.abs(residuals(problem, point[None])[0]) <= ask.noise.delta
    return float((problem.weights * near).sum() / problem.weights.sum())


def _moments(law: Law, solved: Solved) -> Moments:
    """What wild draws' variances rest on, in the coordinates of the law's own domains."""
    problem, point, groups = solved.problem, solved.point, solved.groups
    stretched = stretch_residuals(problem, point, residuals(problem, point[None])[0], groups)
    moves = find_moves(problem, point, stretched, groups)
    return measure_moments(moves * _change(law, problem, point)[:, None])


def _in_domains(
    law: Law, problem: Problem, point: np.ndarray, covariance: np.ndarray
) -> Float[np.ndarray, "free free"] | None:
    """The covariance in the coordinates of the law's own domains; None if it is not finite."""
    if not np.isfinite(covariance).all():
        return None
    change = _change(law, problem, point)
    return covariance * np.outer(change, change)


def _change(law: Law, problem: Problem, point: np.ndarray) -> Float[np.ndarray, "free"]:
    """How fast the coordinates of the law's own domains change with those of the fit."""
    change = np.ones(len(point))
    for k, (name, domain) in enumerate(problem.law.domains.items()):
        value = float(domain.outer(point[k]))
        there = float(law.domains[name].stretch(law.domains[name].inner(value)))
        change[k] = float(domain.stretch(point[k])) / there if there else 0.0
    return change


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


def _best_runs(problem: Problem, ask: Settings) -> tuple[Mapping[str, float], ...]:
    """The measured runs that a plan is held against, rows without weight left out."""
    used = problem.weights > 0
    y = np.exp(problem.target) if ask.noise.scale == "log" else problem.target
    columns = {name: values[used] for name, values in problem.columns.items()}
    return find_best_runs(columns, ask.target, y[used])


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


def _stderr(solved: Solved, values: np.ndarray, ask: Settings) -> dict[str, float]:
    """Standard errors: for plain least squares of rows the classical ones, which that noise model
    implies; otherwise the standard deviation of the draws, or the sandwich's where there are none.
    Of a parameter at its bound only the draws know one.
    """
    problem, point, spread = solved.problem, solved.point, solved.spread
    plain = ask.noise.delta is None and ask.noise.dof is None and ask.by is None
    with np.errstate(over="ignore"):  # of draws that ran off
        drawn = values.std(axis=0, ddof=1) if len(values) else np.full(len(point), np.nan)
    if len(values) and not plain:
        return dict(zip(problem.law.params, drawn.tolist(), strict=True))
    matrix = spread.classical if plain else spread.sandwich
    size = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    kinds = problem.law.domains.values()
    stretch = [float(d.stretch(u)) for d, u in zip(kinds, point, strict=True)]
    known = [k not in solved.hit for k in range(len(point))]
    sizes = np.where(known, size * stretch, drawn).tolist()
    return dict(zip(problem.law.params, sizes, strict=True))


def _notes(solved: Solved, unsettled: int, draws: int, ask: Settings) -> tuple[str, ...]:
    notes: list[str] = []
    problem, groups = solved.problem, solved.groups
    names = problem.law.params
    count = np.inf if groups is None else int(groups.max()) + 1
    if count < FEW_GROUPS:
        notes.append(
            f"only {count} groups in {ask.by!r}: intervals from fewer than {FEW_GROUPS} groups "
            "are too narrow to trust"
        )
    elif count < SOME_GROUPS and ask.noise.delta is not None:
        notes.append(
            f"{count} groups in {ask.by!r}: under a Huber loss intervals from fewer than "
            f"{SOME_GROUPS} are often longer than they need be (docs/coverage.md)"
        )
    for name, (value, width) in ask.priors.items():
        notes.append(f"prior on {name}: {value:g}, spread {width:g} in its own coordinate")
    if solved.hit:
        notes.append(f"intervals of {', '.join(names[k] for k in solved.hit)} start at a bound")
    if solved.status is Status.FLAT and solved.spread.lost:
        loose = sorted({k for each in solved.spread.lost for k in each})
        notes.append(
            f"the table does not determine {', '.join(names[k] for k in loose)}: intervals of them "
            "are too narrow, whatever they are"
        )
    if unsettled:
        notes.append(f"{unsettled} of {draws} draws had not settled; intervals include them as is")
    if len(problem.target) <= len(names):
        notes.append("no intervals: as many parameters as rows leave nothing to judge noise from")
    elif not draws:
        notes.append("no draws: intervals of the fit come from the covariance alone")
    return tuple(notes)
