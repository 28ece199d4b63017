"""Assembly of a Fit from an optimum and its draws: intervals, final status, and notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from kleiber.fitting.best_runs import find_best_runs, find_outermost
from kleiber.fitting.engine.problem import Problem, residuals
from kleiber.fitting.judge.inspection import inspect_fit
from kleiber.fitting.judge.status import Status, join_words, judge_intervals
from kleiber.fitting.judge.units import note_units
from kleiber.fitting.options import Options
from kleiber.fitting.record import IDLE_VALUE, Fit, complete
from kleiber.fitting.solution import FEW_GROUPS, SOME_GROUPS, Solution
from kleiber.fitting.spread.components import measure_components
from kleiber.fitting.spread.exchangeable import align_draws, find_exchangeable_terms
from kleiber.fitting.spread.student import FEW_ROWS, count_residual_dof
from kleiber.fitting.spread.wild import (
    Moments,
    measure_influence,
    measure_moments,
    stretch_residuals,
)
from kleiber.law import Law


def build_fit(
    options: Options,
    solution: Solution,
    values: Float[np.ndarray, "draws params"],
    *,
    unconverged: int,
    seconds: float,
) -> Fit:
    """Build the Fit from the parameters of the draws (``values``), of which ``unconverged`` did not
    converge."""
    law, problem, point, spread = solution.law, solution.problem, solution.point, solution.spread
    if solution.status is Status.TOO_FEW_POINTS:
        nothing = np.full_like(spread.sandwich, np.nan)
        spread = replace(spread, classical=nothing, sandwich=nothing)
    if len(values) and (exchangeable := find_exchangeable_terms(problem, point)):
        values = problem.from_coordinate(
            align_draws(problem.to_coordinate(values), point, exchangeable)
        )
    params = fitted_params(options, solution)
    misfit = inspect_fit(
        problem, point, (*solution.hit, *solution.idle), law, params, solution.rows, options
    )
    fit = Fit(
        law=law,
        params=params,
        status=solution.status,
        reason=solution.reason,
        objective=solution.best.objective,
        residuals=residuals(problem, point[None])[0],
        condition=solution.spread.condition,
        draws=_all_draws(law, problem, values, options) if len(values) else {},
        ranges=_ranges({**solution.rows.columns, options.target: solution.rows.target}),
        digest=solution.rows.digest,
        options=options,
        rows=len(solution.rows),
        units=int((problem.weights > 0).sum())
        if solution.groups is None
        else int(solution.groups.max()) + 1,
        free=problem.law.params,
        covariance=_covariance_in_domains(law, problem, point, spread.sandwich),
        stderr=_stderr(replace(solution, spread=spread), values, options),
        starts=solution.starts,
        seconds=seconds,
        resample=solution.resampling,
        quadratic_share=_quadratic_share(problem, point, options),
        moments=_moments(law, solution) if solution.resampling == "wild" else None,
        linear=solution.linear
        and solution.resampling == "even"
        and not (solution.hit or options.priors),
        unknown=tuple(problem.law.params[k] for k in solution.idle),
        outermost=find_outermost(problem.columns),
        best_runs=_best_runs(problem, options),
        components=measure_components(problem, point, solution.groups),
        notes=(
            *misfit.notes,
            *note_units(law, problem.columns, params),
            *_notes(solution, unconverged, len(values), options),
        ),
        misfit=misfit,
    )
    return _judge_intervals(fit, solution, unconverged)


def _ranges(columns: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """Return the smallest and largest value of each column."""
    return {name: (float(values.min()), float(values.max())) for name, values in columns.items()}


def _judge_intervals(fit: Fit, solution: Solution, unconverged: int) -> Fit:
    """Return the fit with the status and reason that its intervals allow."""
    if fit.status not in (Status.CONVERGED, Status.BOUND_HIT):
        return fit
    excluded = {solution.problem.law.params[k] for k in (*solution.hit, *solution.idle)}
    known = {
        name: (fit.params[name], fit.interval(name))
        for name in fit.free
        if name not in excluded and fit.law.domains[name].bounds[0] == 0
    }
    status, reason = judge_intervals(known, unconverged, fit.n_draws) or (fit.status, fit.reason)
    if status is Status.CONVERGED and fit.status is Status.BOUND_HIT:
        return fit  # which says already that not all is determined
    return replace(fit, status=status, reason=reason)


def _quadratic_share(problem: Problem, point: np.ndarray, options: Options) -> float:
    """Return the share of the rows' weight whose residuals lie inside the Huber width."""
    if options.noise.delta is None:
        return 1.0
    near = np.abs(residuals(problem, point[None])[0]) <= options.noise.delta
    return float((problem.weights * near).sum() / problem.weights.sum())


def _moments(law: Law, solution: Solution) -> Moments:
    """Return the moments behind the variance of wild draws, in the coordinates of the law's own
    domains."""
    problem, point, groups = solution.problem, solution.point, solution.groups
    stretched = stretch_residuals(problem, point, residuals(problem, point[None])[0], groups)
    moves = measure_influence(problem, point, stretched, groups)
    return measure_moments(moves * _coordinate_change(law, problem, point)[:, None])


def _covariance_in_domains(
    law: Law, problem: Problem, point: np.ndarray, covariance: np.ndarray
) -> Float[np.ndarray, "free free"] | None:
    """Return the covariance in the coordinates of the law's own domains; None if it is not
    finite."""
    if not np.isfinite(covariance).all():
        return None
    change = _coordinate_change(law, problem, point)
    return covariance * np.outer(change, change)


def _coordinate_change(law: Law, problem: Problem, point: np.ndarray) -> Float[np.ndarray, "free"]:
    """Return the derivative of the coordinates of the law's own domains with respect to those of
    the fit."""
    change = np.ones(len(point))
    for k, (name, domain) in enumerate(problem.law.domains.items()):
        value = float(domain.from_coordinate(point[k]))
        there = float(law.domains[name].derivative(law.domains[name].to_coordinate(value)))
        change[k] = float(domain.derivative(point[k])) / there if there else 0.0
    return change


def _best_runs(problem: Problem, options: Options) -> tuple[Mapping[str, float], ...]:
    """Return the measured runs that a plan is compared with, without rows of weight 0."""
    used = problem.weights > 0
    y = np.exp(problem.target) if options.noise.scale == "log" else problem.target
    columns = {name: values[used] for name, values in problem.columns.items()}
    return find_best_runs(columns, options.target, y[used])


def fitted_params(options: Options, solution: Solution) -> dict[str, float]:
    """Return every parameter of the law at the optimum, fixed and tied ones too."""
    law, names = solution.law, solution.problem.law.params
    theta = solution.problem.from_coordinate(solution.point[None])[0]
    theta[list(solution.hit)] = list(solution.hit.values())
    theta[list(solution.idle)] = IDLE_VALUE
    free = dict(zip(names, theta.tolist(), strict=True))
    full = complete({**free, **{k: float(v) for k, v in options.fixed.items()}}, options.tied)
    return {name: full[name] for name in law.params}


def _all_draws(
    law: Law, problem: Problem, values: np.ndarray, options: Options
) -> dict[str, Float[np.ndarray, "draws"]]:
    free: dict[str, Any] = {name: values[:, k] for k, name in enumerate(problem.law.params)}
    fixed = {name: np.full(len(values), float(v)) for name, v in options.fixed.items()}
    full = complete({**free, **fixed}, options.tied)
    return {name: np.broadcast_to(full[name], (len(values),)) for name in law.params}


def _stderr(solution: Solution, values: np.ndarray, options: Options) -> dict[str, float]:
    """Return standard errors: the classical ones for plain least squares of rows, otherwise the
    standard deviation of the draws, or that of the sandwich if there are none. For a parameter at
    its bound only the draws give one."""
    problem, point, spread = solution.problem, solution.point, solution.spread
    plain = options.noise.delta is None and options.noise.dof is None and options.by is None
    with np.errstate(over="ignore", invalid="ignore"):  # of draws that ran off
        drawn = values.std(axis=0, ddof=1) if len(values) else np.full(len(point), np.nan)
    drawn[list(solution.idle)] = np.nan
    if len(values) and not plain and solution.resampling != "even":
        return dict(zip(problem.law.params, drawn.tolist(), strict=True))
    matrix = spread.classical if plain and solution.resampling != "even" else spread.sandwich
    size = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    kinds = problem.law.domains.values()
    stretch = [float(d.derivative(u)) for d, u in zip(kinds, point, strict=True)]
    known = [k not in (*solution.hit, *solution.idle) for k in range(len(point))]
    sizes = np.where(known, size * stretch, drawn).tolist()
    return dict(zip(problem.law.params, sizes, strict=True))


def _notes(solution: Solution, unconverged: int, draws: int, options: Options) -> tuple[str, ...]:
    notes: list[str] = []
    problem, groups = solution.problem, solution.groups
    names = problem.law.params
    count = np.inf if groups is None else int(groups.max()) + 1
    if count < FEW_GROUPS:
        notes.append(
            f"Only {count} groups in {options.by!r}: intervals from fewer than {FEW_GROUPS} groups "
            "are too narrow to trust."
        )
    elif count < SOME_GROUPS and options.noise.delta is not None:
        notes.append(
            f"{count} groups in {options.by!r}: under a Huber loss intervals from fewer than "
            f"{SOME_GROUPS} are often longer than they need be (docs/coverage.md)."
        )
    for name, (value, width) in options.priors.items():
        notes.append(
            f"The prior on {name} is {value:g}, with spread {width:g} in its own coordinate."
        )
    if solution.sign_changed:
        each = ", ".join(solution.sign_changed)
        notes.append(
            f"The data want {each} below 0, so that {each} may have either sign in this fit; "
            f"--real {','.join(solution.sign_changed)} declares it."
        )
    if solution.hit:
        notes.append(f"Intervals of {', '.join(names[k] for k in solution.hit)} start at a bound.")
    if solution.idle:
        them, verb = ("it", "is") if len(solution.idle) == 1 else ("them", "are")
        idle = join_words(names[k] for k in solution.idle)
        notes.append(
            f"{idle} {verb} unknown: nothing depends on {them} without the term that went to 0."
        )
    if solution.status is Status.FLAT and solution.spread.undetermined:
        loose = sorted({k for each in solution.spread.undetermined for k in each})
        notes.append(
            f"The table does not determine {', '.join(names[k] for k in loose)}: intervals of them "
            "are too narrow, whatever they are."
        )
    if unconverged:
        stopped = f" (of {options.draws} that were requested)" if draws < options.draws else ""
        notes.append(
            f"{unconverged} of {draws} draws{stopped} had not converged; intervals include them."
        )
    notes.extend(_note_few_rows(solution, options))
    if solution.status is not Status.TOO_FEW_POINTS and not draws:
        notes.append("There are no draws: intervals of the fit come from the covariance alone.")
    return tuple(notes)


def _note_few_rows(solution: Solution, options: Options) -> list[str]:
    """Return the notes for a table with few residual degrees of freedom."""
    dof = count_residual_dof(solution.problem)
    rows = f"Only {dof} row{'s' * (dof != 1)} more than parameters"
    degrees = f"{dof} degree{'s' * (dof != 1)}"
    if solution.status is Status.TOO_FEW_POINTS:
        why = "with as many parameters as rows the noise cannot be estimated"
        return [f"There are no intervals: {rows[0].lower() + rows[1:] if dof > 0 else why}."]
    if solution.resampling == "even":
        return [
            f"{rows}: intervals are Student's of {degrees} of freedom, and hold if the "
            "noise is normal and as large in every row."
        ]
    if dof <= FEW_ROWS and options.by is None:
        return [
            f"{rows}: intervals of resample={options.resample!r} are too narrow to trust; those of "
            "the default are Student's."
        ]
    return []
