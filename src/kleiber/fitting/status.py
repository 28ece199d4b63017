"""How a fit ended, in one word and one sentence."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from jaxtyping import Float

from kleiber.fitting.covariance import Spread
from kleiber.fitting.problem import Problem, look


class Status(StrEnum):
    """The ways a fit ends."""

    CONVERGED = "converged"
    BOUND_HIT = "bound_hit"
    MAX_EVALUATIONS = "max_evaluations"
    FLAT = "flat"
    TOO_FEW_POINTS = "too_few_points"
    UNFIT = "unfit"


SAME = 1e-9  # relative change of the objective that is no change
EXACT = 4e-15  # relative size of residuals that are rounding, that of exp(-alpha log x) included


def bounds_hit(
    problem: Problem, u: Float[np.ndarray, "params"], objective: float, scale: float
) -> dict[int, float]:
    """Positions of parameters whose bound (0, or 1 for a fraction) fits as well as their value."""
    hit: dict[int, float] = {}
    rounding = EXACT * (np.abs(problem.target) + (problem.noise.scale == "log"))
    nothing = 0.0 if problem.noise.dof else float((problem.weights * rounding**2).sum())
    for k, domain in enumerate(problem.law.domains.values()):
        for bound in (end for end in domain.bounds if np.isfinite(end)):
            moved = u.copy()
            moved[k] = domain.approach(bound)
            there = look(
                problem, moved[None], problem.weights[None], np.array([scale]), second=False
            ).objective[0]
            if there <= objective + SAME * abs(objective) + nothing:
                hit[k] = bound
    return hit


def judge(
    problem: Problem, *, converged: bool, hit: dict[int, float], spread: Spread, evaluations: int
) -> tuple[Status, str]:
    """The status of a fit and the sentence that explains it."""
    names = problem.law.params
    if not converged:
        return Status.MAX_EVALUATIONS, (
            f"the descent had not settled after {evaluations} iterations; "
            "the values are the best seen, not an optimum"
        )
    if hit:
        each = ", ".join(f"{names[k]} went to {bound:g}" for k, bound in hit.items())
        held = ", ".join(f"{names[k]!r}: {bound:g}" for k, bound in hit.items())
        return Status.BOUND_HIT, (
            f"{each}: the data do not need that term, and its interval is one-sided at best; "
            f"drop it or fix it (fixed={{{held}}})"
        )
    if spread.lost:
        distinct = dict.fromkeys(" and ".join(names[k] for k in each) for each in spread.lost)
        single = all(len(each) == 1 for each in spread.lost)
        verb = "cannot be determined" if single else "trade off"
        return Status.FLAT, (
            f"{'; '.join(distinct)} {verb} on this table (condition {spread.condition:.1e}): other "
            "values fit as well. Add runs that vary what they depend on, or fix or tie one of them"
        )
    return Status.CONVERGED, "every parameter is determined by the table"
