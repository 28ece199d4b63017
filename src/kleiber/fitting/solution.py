"""The optimum of a law on a table, and what is known about it before there are draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from kleiber.errors import BadLaw, nearest
from kleiber.fitting.engine.prior import make_prior
from kleiber.fitting.engine.problem import Problem
from kleiber.fitting.engine.search import (
    N_STARTS,
    Optimum,
    descend_from_start,
    search,
    select_lowest,
    subsample,
)
from kleiber.fitting.engine.starts import draw_starts, start_ranges
from kleiber.fitting.judge.remedy import collinear_variables, suggest_remedy
from kleiber.fitting.judge.signs import (
    allow_both_signs,
    estimate_dispersion,
    judge_bounds,
    try_other_sign,
)
from kleiber.fitting.judge.status import (
    Status,
    find_bounds_hit,
    find_idle_params,
    join_words,
    judge,
    judge_row_count,
)
from kleiber.fitting.options import Options
from kleiber.fitting.spread.bootstrap import BoundEscape
from kleiber.fitting.spread.covariance import CovarianceEstimate, estimate_covariance
from kleiber.fitting.spread.student import (
    FEW_ROWS,
    count_residual_dof,
    equal_noise_covariance,
    is_linear,
)
from kleiber.fitting.table_problem import pose_rows, read_measurements
from kleiber.law import Law, restrict
from kleiber.measurements import Measurements

N_INNER = 2  # inner points that show draws the way off a bound
BESIDE_BOUND = 1e-7  # share of the way from a bound to an inner point that counts as beside it
FEW_GROUPS, SOME_GROUPS = 10, 20


@dataclass(frozen=True)
class Posed:
    """A problem, the table it was made from, and the ranges of starts."""

    problem: Problem
    rows: Measurements
    starts: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Solution:
    """The optimum of a law on a table.

    ``law`` is the law as fitted, in which parameters that the data made negative (``sign_changed``)
    are real. ``point`` is the optimum with parameters that went to a bound put on it (``hit``:
    position to bound). ``idle`` are the positions of parameters on which nothing depends then,
    ``resampling`` is the method of the draws, and ``linear`` says that the law is linear in its
    coordinates.
    """

    law: Law
    problem: Problem
    rows: Measurements
    starts: Mapping[str, tuple[float, float]]
    best: Optimum
    point: Float[np.ndarray, "params"]
    hit: Mapping[int, float]
    spread: CovarianceEstimate
    status: Status
    reason: str
    resampling: str
    linear: bool
    idle: tuple[int, ...]
    sign_changed: tuple[str, ...] = ()

    @property
    def groups(self) -> Int[np.ndarray, "rows"] | None:
        """The group of each row, if rows are grouped."""
        return self.rows.groups


def solve(law: Law, table: Any, options: Options) -> Solution:
    """Check the table, find the optimum, and assess it."""
    if options.real:
        law = allow_both_signs(law, tuple(options.real))
    rows = read_measurements(law, table, options)
    problem = pose_rows(law, rows, options)
    y = _plain_target(problem)
    starts = start_ranges(problem.law, problem.columns, y) if options.start is None else {}
    best = find_optimum(problem, starts, options)
    if options.priors:
        tau = estimate_dispersion(problem, best)
        problem = replace(problem, prior=make_prior(law, problem.law, options.priors, tau))
        best = find_optimum(problem, starts, options)
    return assess_optimum(law, Posed(problem, rows, starts), best, options)


def assess_optimum(law: Law, posed: Posed | Solution, best: Optimum, options: Options) -> Solution:
    """Assess an optimum: the bounds it hit, what the table determines, its status and reason.

    If parameters at the bound 0 are clearly better below it, a formula is solved again with these
    real, and a law that declares its domains gets the status unfit.
    """
    problem, rows, starts = posed.problem, posed.rows, posed.starts
    hit = find_bounds_hit(problem, best.point, best.objective, best.scale)
    free = (
        restrict(law, fixed=options.fixed, tied=options.tied)
        if options.fixed or options.tied
        else law
    )
    other = try_other_sign(free, problem, best, hit, options.seed) if hit else None
    if other is not None and other.clear and set(other.names) <= law.open_signs:
        signed = allow_both_signs(law, other.names)
        ranges = start_ranges(other.problem.law, problem.columns, _plain_target(problem))
        solution = assess_optimum(signed, Posed(other.problem, rows, ranges), other.best, options)
        return replace(
            solution, sign_changed=tuple(dict.fromkeys((*other.names, *solution.sign_changed)))
        )
    point = best.point.copy()
    for k, bound in hit.items():
        point[k] = list(problem.law.domains.values())[k].coordinate_near(bound)
    idle = find_idle_params(problem, point, hit)
    all_hit, hit = hit, {k: bound for k, bound in hit.items() if k not in idle}
    spread = estimate_covariance(problem, best.point, best.scale, rows.groups, (*hit, *idle))
    # a descent that crawls along what the table does not determine has told what there is to tell
    settled = best.converged or (bool(spread.undetermined) and not hit)
    status, reason = judge(
        problem,
        converged=settled,
        hit=hit,
        idle=idle,
        spread=spread,
        evaluations=best.iterations,
    )
    if settled and (verdict := judge_bounds(free, problem, point, all_hit, other, options)):
        status, reason = verdict
    elif status is Status.CONVERGED and idle:
        params_at_zero = join_words(problem.law.params[k] for k in idle)
        status = Status.BOUND_HIT
        reason = f"the term of {params_at_zero} went to 0, so that the table says nothing of them"
    elif status is Status.CONVERGED and (pair := collinear_variables(problem)):
        status = Status.FLAT
        reason = (
            f"{pair[1]} is a power of {pair[0]} in every row, so that their terms can be "
            "exchanged: other values fit as well. Add runs that vary them separately"
        )
    elif status is Status.FLAT and (remedy := suggest_remedy(problem, best.point, best.scale)):
        reason += f". What would settle it here: {remedy}"
    resampling = "even" if has_few_rows(problem, options) else "wild" if options.wild else "rows"
    if resampling == "even":
        spread = replace(spread, sandwich=equal_noise_covariance(problem, point, best.scale))
    linear = is_linear(problem, best.point)
    status, reason = judge_row_count(problem, linear) or (status, reason)
    return Solution(
        law, problem, rows, starts, best, point, hit, spread, status, reason,
        resampling, linear, idle,
    )  # fmt: skip


def has_few_rows(problem: Problem, options: Options) -> bool:
    """Return whether the table leaves few residual degrees of freedom and the default resampling
    applies."""
    return (
        options.resample == "auto"
        and options.by is None
        and count_residual_dof(problem) <= FEW_ROWS
    )


def _plain_target(problem: Problem) -> Float[np.ndarray, "rows"]:
    return np.exp(problem.target) if problem.noise.scale == "log" else problem.target


def find_optimum(
    problem: Problem, starts: Mapping[str, tuple[float, float]], options: Options
) -> Optimum:
    """Return the best optimum of a search, or the end of one descent from the given start."""
    if options.start is None:
        return search(problem, starts, options.seed)
    free = problem.law.params
    for name in options.start:
        if name not in (*free, *options.fixed, *options.tied):
            raise BadLaw(
                f"Start names {name!r}; law {problem.law.name} has {', '.join(free)}."
                f"{nearest(name, free)}"
            )
    best = descend_from_start(problem, read_start(problem, options.start))
    if not np.isfinite(best.objective):
        raise BadLaw(
            f"Law {problem.law.name} has no finite value at the start {dict(options.start)}."
        )
    return best


def read_start(problem: Problem, start: Mapping[str, float]) -> Float[np.ndarray, "params"]:
    values: list[float] = []
    for name, domain in problem.law.domains.items():
        if name not in start:
            raise BadLaw(f"Start gives no value for {name!r}; it gives {', '.join(start)}.")
        if not domain.contains(float(start[name])):
            low, high = domain.bounds
            raise BadLaw(f"Start {name} = {start[name]} does not lie inside {low:g} and {high:g}.")
        values.append(float(start[name]))
    return problem.to_coordinate(np.array([values]))[0]


@dataclass(frozen=True)
class DrawStarts:
    """Starting points of the draws: the optimum and, if parameters went to a bound, inner points
    and escapes from the bounds."""

    starts: Float[np.ndarray, "starts params"]
    escapes: tuple[BoundEscape, ...] | None


def find_draw_starts(solution: Solution, seed: int) -> DrawStarts:
    """Return the starting points of the draws: the optimum, and ways off the bounds that it has
    hit, from which no descent returns by itself."""
    if not solution.hit:
        return DrawStarts(solution.point[None], None)
    if not solution.starts:
        return DrawStarts(np.stack([solution.point, solution.best.point]), None)
    sample = subsample(solution.problem, seed)
    u = draw_starts(sample, solution.starts, count=N_STARTS, seed=seed)
    inner = select_lowest(sample, u, N_INNER)
    if not len(inner):
        return DrawStarts(solution.point[None], None)
    return DrawStarts(
        np.concatenate([solution.point[None], inner[:1]]), _find_escapes(solution, inner)
    )


def _find_escapes(
    solution: Solution, inner: Float[np.ndarray, "inner params"]
) -> tuple[BoundEscape, ...]:
    """Return ways off each bound. If a term has vanished, the parameters that only it depends on
    (its exponent) have no effect at the bound and are taken from an inner point."""
    idle = list(solution.idle)
    domains = list(solution.problem.law.domains.values())
    escapes: list[BoundEscape] = []
    for k in solution.hit:
        bound = solution.hit[k]
        for inside in inner if idle else inner[:1]:
            distance = float(domains[k].from_coordinate(inside[k])) - bound
            point = np.full(len(inside), np.nan)
            point[idle] = inside[idle]
            point[k] = domains[k].to_coordinate(bound + BESIDE_BOUND * distance)
            escapes.append(BoundEscape(k, point, float(np.sign(distance)), abs(distance)))
    return tuple(escapes)
