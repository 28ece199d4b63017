"""From a table to its optimum, and what is known of it before there are draws."""

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
from kleiber.fitting.judge.remedy import collinear_variables, offer
from kleiber.fitting.judge.signs import allow_signs, dispersion, judge_bounds, try_other_sign
from kleiber.fitting.judge.status import (
    Status,
    bounds_hit,
    idle_params,
    join_words,
    judge,
    judge_rows,
)
from kleiber.fitting.options import Options
from kleiber.fitting.spread.bootstrap import Lift
from kleiber.fitting.spread.covariance import Spread, measure_spread
from kleiber.fitting.spread.student import FEW, even_covariance, is_straight, spare_rows
from kleiber.fitting.table_problem import pose_rows, take_table
from kleiber.law import Law, restrict
from kleiber.measurements import Measurements

INNER = 2  # inner points that show draws the way off a bound
BESIDE = 1e-7  # share of the way from a bound to an inner point that counts as beside it
FEW_GROUPS, SOME_GROUPS = 10, 20


@dataclass(frozen=True)
class Posed:
    """A problem, the table it is of, and the ranges of starts."""

    problem: Problem
    rows: Measurements
    starts: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Solved:
    """A posed problem and its optimum.

    ``law`` is the law as fitted, in which parameters ``decided`` by the data to be below 0 are
    real; ``point`` is the optimum with parameters that went to a bound put on it (``hit``: position
    to bound); ``idle`` are the positions of parameters on which nothing depends then; ``made`` says
    how draws are made, ``straight`` that the law is a straight line.
    """

    law: Law
    problem: Problem
    rows: Measurements
    starts: Mapping[str, tuple[float, float]]
    best: Optimum
    point: Float[np.ndarray, "params"]
    hit: Mapping[int, float]
    spread: Spread
    status: Status
    reason: str
    made: str
    straight: bool
    idle: tuple[int, ...]
    decided: tuple[str, ...] = ()

    @property
    def groups(self) -> Int[np.ndarray, "rows"] | None:
        """The group of each row, where rows are grouped."""
        return self.rows.groups


def solve(law: Law, table: Any, ask: Options) -> Solved:
    """Pose the table, find the optimum, and judge it."""
    if ask.real:
        law = allow_signs(law, tuple(ask.real))
    rows = take_table(law, table, ask)
    problem = pose_rows(law, rows, ask)
    y = _plain_target(problem)
    starts = start_ranges(problem.law, problem.columns, y) if ask.start is None else {}
    best = _optimum(problem, starts, ask)
    if ask.priors:
        tau = dispersion(problem, best)
        problem = replace(problem, prior=make_prior(law, problem.law, ask.priors, tau))
        best = _optimum(problem, starts, ask)
    return judge_optimum(law, Posed(problem, rows, starts), best, ask)


def judge_optimum(law: Law, posed: Posed | Solved, best: Optimum, ask: Options) -> Solved:
    """What an optimum says of itself: bounds hit, what the table determines, status and reason.

    Where parameters at the bound 0 are clearly better below it, a formula is solved again with
    these real, and a law that declares its domains is unfit.
    """
    problem, rows, starts = posed.problem, posed.rows, posed.starts
    hit = bounds_hit(problem, best.point, best.objective, best.scale)
    free = restrict(law, fixed=ask.fixed, tied=ask.tied) if ask.fixed or ask.tied else law
    other = try_other_sign(free, problem, best, hit, ask.seed) if hit else None
    if other is not None and other.clear and set(other.names) <= law.open_signs:
        signed = allow_signs(law, other.names)
        ranges = start_ranges(other.problem.law, problem.columns, _plain_target(problem))
        solved = judge_optimum(signed, Posed(other.problem, rows, ranges), other.best, ask)
        return replace(solved, decided=tuple(dict.fromkeys((*other.names, *solved.decided))))
    point = best.point.copy()
    for k, bound in hit.items():
        point[k] = list(problem.law.domains.values())[k].approach(bound)
    idle = idle_params(problem, point, hit)
    met, hit = hit, {k: bound for k, bound in hit.items() if k not in idle}
    spread = measure_spread(problem, best.point, best.scale, rows.groups, (*hit, *idle))
    # a descent that crawls along what the table does not determine has told what there is to tell
    settled = best.converged or (bool(spread.lost) and not hit)
    status, reason = judge(
        problem,
        converged=settled,
        hit=hit,
        idle=idle,
        spread=spread,
        evaluations=best.iterations,
    )
    if settled and (verdict := judge_bounds(free, problem, point, met, other, ask)):
        status, reason = verdict
    elif status is Status.CONVERGED and idle:
        gone = join_words(problem.law.params[k] for k in idle)
        status = Status.BOUND_HIT
        reason = f"the term of {gone} went to 0, so that the table says nothing of them"
    elif status is Status.CONVERGED and (pair := collinear_variables(problem)):
        status = Status.FLAT
        reason = (
            f"{pair[1]} is a power of {pair[0]} in every row, so that their terms can be "
            "exchanged: other values fit as well. Add runs that vary them separately"
        )
    elif status is Status.FLAT and (remedy := offer(problem, best.point, best.scale)):
        reason += f". What would settle it here: {remedy}"
    made = "even" if _few(problem, ask) else "wild" if ask.wild else "rows"
    if made == "even":
        spread = replace(spread, sandwich=even_covariance(problem, point, best.scale))
    straight = is_straight(problem, best.point)
    status, reason = judge_rows(problem, straight) or (status, reason)
    return Solved(
        law, problem, rows, starts, best, point, hit, spread, status, reason,
        made, straight, idle,
    )  # fmt: skip


def _few(problem: Problem, ask: Options) -> bool:
    """Whether the table leaves few rows to spare, and nothing else was asked for."""
    return ask.resample == "auto" and ask.by is None and spare_rows(problem) <= FEW


def _plain_target(problem: Problem) -> Float[np.ndarray, "rows"]:
    return np.exp(problem.target) if problem.noise.scale == "log" else problem.target


def _optimum(problem: Problem, starts: Mapping[str, tuple[float, float]], ask: Options) -> Optimum:
    """The best optimum of a search, or the end of one descent from the start given."""
    if ask.start is None:
        return search(problem, starts, ask.seed)
    free = problem.law.params
    for name in ask.start:
        if name not in (*free, *ask.fixed, *ask.tied):
            raise BadLaw(
                f"Start names {name!r}; law {problem.law.name} has {', '.join(free)}."
                f"{nearest(name, free)}"
            )
    best = descend_from_start(problem, _given_start(problem, ask.start))
    if not np.isfinite(best.objective):
        raise BadLaw(f"Law {problem.law.name} has no finite value at the start {dict(ask.start)}.")
    return best


def _given_start(problem: Problem, start: Mapping[str, float]) -> Float[np.ndarray, "params"]:
    values: list[float] = []
    for name, domain in problem.law.domains.items():
        if name not in start:
            raise BadLaw(f"Start gives no value for {name!r}; it gives {', '.join(start)}.")
        if not domain.contains(float(start[name])):
            low, high = domain.bounds
            raise BadLaw(f"Start {name} = {start[name]} does not lie inside {low:g} and {high:g}.")
        values.append(float(start[name]))
    return problem.inner(np.array([values]))[0]


@dataclass(frozen=True)
class Begin:
    """Where draws begin: the optimum and, where parameters went to a bound, inner points;
    ``lifts`` as ``refit`` has them."""

    starts: Float[np.ndarray, "starts params"]
    lifts: tuple[Lift, ...] | None


def draw_from(solved: Solved, seed: int) -> Begin:
    """Where each draw's descent starts: the optimum, and ways off the bounds that it has hit, from
    which no descent returns by itself."""
    if not solved.hit:
        return Begin(solved.point[None], None)
    if not solved.starts:
        return Begin(np.stack([solved.point, solved.best.point]), None)
    fewer = subsample(solved.problem, seed)
    u = draw_starts(fewer, solved.starts, count=N_STARTS, seed=seed)
    inner = select_lowest(fewer, u, INNER)
    if not len(inner):
        return Begin(solved.point[None], None)
    return Begin(np.concatenate([solved.point[None], inner[:1]]), _lifts(solved, inner))


def _lifts(solved: Solved, inner: Float[np.ndarray, "inner params"]) -> tuple[Lift, ...]:
    """Ways off each bound. Where a term has vanished, what it depends on (its exponent) is at the
    bound too without any effect, and is taken from an inner point."""
    idle = list(solved.idle)
    domains = list(solved.problem.law.domains.values())
    lifts: list[Lift] = []
    for k in solved.hit:
        bound = solved.hit[k]
        for inside in inner if idle else inner[:1]:
            room = float(domains[k].outer(inside[k])) - bound
            point = np.full(len(inside), np.nan)
            point[idle] = inside[idle]
            point[k] = domains[k].inner(bound + BESIDE * room)
            lifts.append(Lift(k, point, float(np.sign(room)), abs(room)))
    return tuple(lifts)
