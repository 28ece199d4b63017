"""The Fit that is handed out, from an optimum and its draws: intervals, the last word on its
status, and notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from kleiber.fitting.best_runs import find_best_runs
from kleiber.fitting.engine.problem import Problem, residuals
from kleiber.fitting.judge.inspection import inspect_fit
from kleiber.fitting.judge.status import Status, join_words, judge_intervals
from kleiber.fitting.judge.units import note_units
from kleiber.fitting.options import Options
from kleiber.fitting.record import ANY, Fit, complete
from kleiber.fitting.solution import FEW_GROUPS, SOME_GROUPS, Solved
from kleiber.fitting.spread.components import measure_components
from kleiber.fitting.spread.exchangeable import align_draws, find_twins
from kleiber.fitting.spread.student import FEW, spare_rows
from kleiber.fitting.spread.wild import Moments, find_moves, measure_moments, stretch_residuals
from kleiber.law import Law


def conclude(
    ask: Options,
    solved: Solved,
    values: Float[np.ndarray, "draws params"],
    *,
    unsettled: int,
    seconds: float,
) -> Fit:
    """The Fit. ``values`` are the draws' parameters, ``unsettled`` how many did not converge."""
    law, problem, point, spread = solved.law, solved.problem, solved.point, solved.spread
    if solved.status is Status.TOO_FEW_POINTS:
        nothing = np.full_like(spread.sandwich, np.nan)
        spread = replace(spread, classical=nothing, sandwich=nothing)
    if len(values) and (twins := find_twins(problem, point)):
        values = problem.outer(align_draws(problem.inner(values), point, twins))
    params = fitted_params(ask, solved)
    misfit = inspect_fit(problem, point, (*solved.hit, *solved.idle), law, params, solved.rows, ask)
    made = Fit(
        law=law,
        params=params,
        status=solved.status,
        reason=solved.reason,
        objective=solved.best.objective,
        residuals=residuals(problem, point[None])[0],
        condition=solved.spread.condition,
        draws=_all_draws(law, problem, values, ask) if len(values) else {},
        ranges=_ranges({**solved.rows.columns, ask.target: solved.rows.target}),
        digest=solved.rows.digest,
        options=ask,
        rows=len(solved.rows),
        units=int((problem.weights > 0).sum())
        if solved.groups is None
        else int(solved.groups.max()) + 1,
        free=problem.law.params,
        covariance=_in_domains(law, problem, point, spread.sandwich),
        stderr=_stderr(replace(solved, spread=spread), values, ask),
        starts=solved.starts,
        seconds=seconds,
        resample=solved.made,
        inside=_inside(problem, point, ask),
        moments=_moments(law, solved) if solved.made == "wild" else None,
        straight=solved.straight and solved.made == "even" and not (solved.hit or ask.priors),
        unknown=tuple(problem.law.params[k] for k in solved.idle),
        outermost=_outermost(problem.columns),
        best_runs=_best_runs(problem, ask),
        components=measure_components(problem, point, solved.groups),
        notes=(
            *misfit.notes,
            *note_units(law, problem.columns, params),
            *_notes(solved, unsettled, len(values), ask),
        ),
        misfit=misfit,
    )
    return _judged(made, solved, unsettled)


def _ranges(columns: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """The smallest and largest value of each column."""
    return {name: (float(values.min()), float(values.max())) for name, values in columns.items()}


def _judged(made: Fit, solved: Solved, unsettled: int) -> Fit:
    """The fit, its status and reason those that its intervals allow."""
    if made.status not in (Status.CONVERGED, Status.BOUND_HIT):
        return made
    left = {solved.problem.law.params[k] for k in (*solved.hit, *solved.idle)}
    known = {
        name: (made.params[name], made.interval(name))
        for name in made.free
        if name not in left and made.law.domains[name].bounds[0] == 0
    }
    status, reason = judge_intervals(known, unsettled, made.n_draws) or (made.status, made.reason)
    if status is Status.CONVERGED and made.status is Status.BOUND_HIT:
        return made  # which says already that not all is determined
    return replace(made, status=status, reason=reason)


def _inside(problem: Problem, point: np.ndarray, ask: Options) -> float:
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


def _best_runs(problem: Problem, ask: Options) -> tuple[Mapping[str, float], ...]:
    """The measured runs that a plan is held against, rows without weight left out."""
    used = problem.weights > 0
    y = np.exp(problem.target) if ask.noise.scale == "log" else problem.target
    columns = {name: values[used] for name, values in problem.columns.items()}
    return find_best_runs(columns, ask.target, y[used])


def fitted_params(ask: Options, solved: Solved) -> dict[str, float]:
    """Every parameter of the law at the optimum, fixed and tied ones too."""
    law, names = solved.law, solved.problem.law.params
    theta = solved.problem.outer(solved.point[None])[0]
    theta[list(solved.hit)] = list(solved.hit.values())
    theta[list(solved.idle)] = ANY
    free = dict(zip(names, theta.tolist(), strict=True))
    full = complete({**free, **{k: float(v) for k, v in ask.fixed.items()}}, ask.tied)
    return {name: full[name] for name in law.params}


def _all_draws(
    law: Law, problem: Problem, values: np.ndarray, ask: Options
) -> dict[str, Float[np.ndarray, "draws"]]:
    free: dict[str, Any] = {name: values[:, k] for k, name in enumerate(problem.law.params)}
    held = {name: np.full(len(values), float(v)) for name, v in ask.fixed.items()}
    full = complete({**free, **held}, ask.tied)
    return {name: np.broadcast_to(full[name], (len(values),)) for name in law.params}


def _stderr(solved: Solved, values: np.ndarray, ask: Options) -> dict[str, float]:
    """Standard errors: for plain least squares of rows the classical ones, which that noise model
    implies; otherwise the standard deviation of the draws, or the sandwich's where there are none.
    Of a parameter at its bound only the draws know one.
    """
    problem, point, spread = solved.problem, solved.point, solved.spread
    plain = ask.noise.delta is None and ask.noise.dof is None and ask.by is None
    with np.errstate(over="ignore", invalid="ignore"):  # of draws that ran off
        drawn = values.std(axis=0, ddof=1) if len(values) else np.full(len(point), np.nan)
    drawn[list(solved.idle)] = np.nan
    if len(values) and not plain and solved.made != "even":
        return dict(zip(problem.law.params, drawn.tolist(), strict=True))
    matrix = spread.classical if plain and solved.made != "even" else spread.sandwich
    size = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    kinds = problem.law.domains.values()
    stretch = [float(d.stretch(u)) for d, u in zip(kinds, point, strict=True)]
    known = [k not in (*solved.hit, *solved.idle) for k in range(len(point))]
    sizes = np.where(known, size * stretch, drawn).tolist()
    return dict(zip(problem.law.params, sizes, strict=True))


def _notes(solved: Solved, unsettled: int, draws: int, ask: Options) -> tuple[str, ...]:
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
    if solved.decided:
        each = ", ".join(solved.decided)
        notes.append(
            f"The data want {each} below 0, so that {each} may have either sign in this fit; "
            f"--real {','.join(solved.decided)} declares it"
        )
    if solved.hit:
        notes.append(f"intervals of {', '.join(names[k] for k in solved.hit)} start at a bound")
    if solved.idle:
        them = "it" if len(solved.idle) == 1 else "them"
        idle = join_words(names[k] for k in solved.idle)
        notes.append(f"{idle} unknown: nothing depends on {them} without the term that went to 0")
    if solved.status is Status.FLAT and solved.spread.lost:
        loose = sorted({k for each in solved.spread.lost for k in each})
        notes.append(
            f"the table does not determine {', '.join(names[k] for k in loose)}: intervals of them "
            "are too narrow, whatever they are"
        )
    if unsettled:
        stopped = f", of {ask.draws} that were asked for," if draws < ask.draws else ""
        notes.append(
            f"{unsettled} of {draws} draws{stopped} had not settled; intervals include them as is"
        )
    notes.extend(_few_rows(solved, ask))
    if solved.status is not Status.TOO_FEW_POINTS and not draws:
        notes.append("no draws: intervals of the fit come from the covariance alone")
    return tuple(notes)


def _few_rows(solved: Solved, ask: Options) -> list[str]:
    """What a table with few rows to spare must be said."""
    spare = spare_rows(solved.problem)
    rows = f"only {spare} row{'s' * (spare != 1)} more than parameters"
    degrees = f"{spare} degree{'s' * (spare != 1)}"
    if solved.status is Status.TOO_FEW_POINTS:
        why = "as many parameters as rows leave nothing to judge noise from"
        return [f"no intervals: {rows if spare > 0 else why}"]
    if solved.made == "even":
        return [
            f"{rows}: intervals are Student's of {degrees} of freedom, and hold if the "
            "noise is normal and as large in every row"
        ]
    if spare <= FEW and ask.by is None:
        return [
            f"{rows}: intervals of resample={ask.resample!r} are too narrow to trust; those of the "
            "default are Student's"
        ]
    return []
