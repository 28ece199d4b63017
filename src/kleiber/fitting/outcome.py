"""From a table to its optimum, and what is known of it before there are draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from kleiber.errors import BadLaw, nearest
from kleiber.fitting.covariance import Spread, measure_spread
from kleiber.fitting.noise import charge
from kleiber.fitting.posing import Settings, pose_table
from kleiber.fitting.prior import read_priors
from kleiber.fitting.problem import Problem, residuals
from kleiber.fitting.remedy import collinear_variables, offer
from kleiber.fitting.search import DRAWN, Optimum, descend_from, lowest, search, thin
from kleiber.fitting.starts import draw_starts, start_ranges
from kleiber.fitting.status import (
    Status,
    bounds_hit,
    idle_params,
    judge,
    judge_rows,
)
from kleiber.fitting.student import FEW, even_covariance, is_straight, spare_rows
from kleiber.law import Law

INNER = 4  # further starts of each draw when a parameter sits at its bound
FEW_GROUPS, SOME_GROUPS = 10, 20


@dataclass(frozen=True)
class Solved:
    """A posed problem and its optimum.

    ``point`` is the optimum with parameters that went to a bound put on it (``hit``: position to
    bound); ``idle`` are the positions of parameters on which nothing depends then; ``made`` says
    how draws are made, ``straight`` that the law is a straight line.
    """

    problem: Problem
    groups: Int[np.ndarray, "rows"] | None
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
    point = best.point.copy()
    for k, bound in hit.items():
        point[k] = list(problem.law.domains.values())[k].approach(bound)
    idle = idle_params(problem, point, hit)
    hit = {k: bound for k, bound in hit.items() if k not in idle}
    spread = measure_spread(problem, best.point, best.scale, groups, (*hit, *idle))
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
    if status is Status.CONVERGED and (pair := collinear_variables(problem)):
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
        problem, groups, starts, best, point, hit, spread, status, reason, made, straight, idle
    )


def _few(problem: Problem, ask: Settings) -> bool:
    """Whether the table leaves few rows to spare, and nothing else was asked for."""
    return ask.resample == "auto" and ask.by is None and spare_rows(problem) <= FEW


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
