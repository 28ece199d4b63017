"""How a fit ended, in one word and one sentence."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum

import numpy as np
from jaxtyping import Float

from kleiber.fitting.engine.problem import Problem, evaluate_objective, residuals
from kleiber.fitting.spread.covariance import VAGUE, Spread
from kleiber.fitting.spread.intervals import Interval
from kleiber.fitting.spread.student import spare_rows


class Status(StrEnum):
    """How a fit ended, in one word; ``Fit.reason`` is the sentence to it.

    Attributes
    ----------
    CONVERGED
        The optimum was found. Whether every parameter is determined by the table is in the reason.
    BOUND_HIT
        A parameter went to the end of its domain: the data do not need that term of the law.
    FLAT
        Parameters trade off or are unknown by more than a factor of 20: other values fit as well.
    TOO_FEW_POINTS
        The table has too few rows to tell its noise from the law.
    MAX_EVALUATIONS
        The descent, or more than a tenth of the refits, had not settled.
    UNFIT
        The data contradict the law: they clearly want a parameter below 0 that the law keeps above,
        or no term that depends on a column is left.

    Examples
    --------
    >>> import kleiber
    >>> kleiber.Status("converged") is kleiber.Status.CONVERGED
    True
    >>> kleiber.Status.FLAT == "flat"
    True
    """

    CONVERGED = "converged"
    BOUND_HIT = "bound_hit"
    MAX_EVALUATIONS = "max_evaluations"
    FLAT = "flat"
    TOO_FEW_POINTS = "too_few_points"
    UNFIT = "unfit"


SAME = 1e-9  # relative change of the objective that is no change
ELSEWHERE = 0.6  # a value in every domain, to try whether anything depends on a parameter
Z = 1.96  # standard errors either way, of an interval of 95%
APART = 20.0  # times its value, either way, that a determined parameter's interval may reach
UNSETTLED = 0.1  # share of draws that had not settled past which no interval is trusted
FEWEST = 3  # rows to spare below which no interval of a curved law holds (docs/coverage.md)
DETERMINED = "every parameter is determined by the table"
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
            there = evaluate_objective(
                problem, moved[None], problem.weights[None], np.array([scale]), second=False
            ).objective[0]
            if there <= objective + SAME * abs(objective) + nothing:
                hit[k] = bound
    return hit


def idle_params(
    problem: Problem, point: Float[np.ndarray, "params"], hit: Collection[int]
) -> tuple[int, ...]:
    """Positions of parameters on which no row depends once those in ``hit`` are at their bounds:
    the exponent of a term whose coefficient went to 0."""
    if not hit:
        return ()
    moved = np.repeat(point[None], len(point) + 1, 0)
    for k, domain in enumerate(problem.law.domains.values()):
        within = float(domain.inner(ELSEWHERE))
        moved[k + 1, k] = within if point[k] != within else within / 2
    r = np.where(problem.weights > 0, residuals(problem, moved), 0.0)
    return tuple(k for k in range(len(point)) if np.array_equal(r[k + 1], r[0]))


def judge(
    problem: Problem,
    *,
    converged: bool,
    hit: Mapping[int, float],
    idle: Collection[int],
    spread: Spread,
    evaluations: int,
) -> tuple[Status, str]:
    """The status of a fit and the sentence that explains it, before there are draws."""
    names = problem.law.params
    if not converged:
        return Status.MAX_EVALUATIONS, (
            f"the descent had not settled after {evaluations} iterations; "
            "the values are the best seen, not an optimum"
        )
    gone = ", ".join(f"{names[k]} went to {bound:g}" for k, bound in hit.items())
    if spread.lost:
        distinct = dict.fromkeys(" and ".join(names[k] for k in each) for each in spread.lost)
        single = all(len(each) == 1 for each in spread.lost)
        verb = "cannot be determined" if single else "trade off"
        return Status.FLAT, (
            f"{gone + '; ' if hit else ''}{'; '.join(distinct)} {verb} on this table (condition "
            f"{spread.condition:.1e}): other values fit as well. Add runs that vary what they "
            "depend on, or fix or tie one of them"
        )
    if hit:
        held = ", ".join(f"{names[k]!r}: {bound:g}" for k, bound in hit.items())
        idle_ones = [names[k] for k in idle]
        nothing = f"; without it {join_words(idle_ones)} cannot be known" if idle else ""
        return Status.BOUND_HIT, (
            f"{gone}: the data do not need that term, and its interval is one-sided at best"
            f"{nothing}; drop it or fix it (fixed={{{held}}})"
        )
    return Status.CONVERGED, DETERMINED


def judge_rows(problem: Problem, straight: bool) -> tuple[Status, str] | None:
    """What is to say of a table with too few rows to tell its noise; None of others."""
    spare, params = spare_rows(problem), len(problem.law.params)
    if spare > 0 and (straight or spare >= FEWEST):
        return None
    rows = f"{params + spare} rows for {params} parameters"
    if spare <= 0:
        why = "leave nothing to tell the noise from, nor whether the law holds"
    else:
        why = (
            f"leave {spare} to tell the noise from; a law that is no straight line needs "
            f"{FEWEST} or more for its intervals to hold"
        )
    return Status.TOO_FEW_POINTS, f"{rows} {why}. Add runs, or fix or tie parameters"


def judge_intervals(
    known: Mapping[str, tuple[float, Interval]], unsettled: int, draws: int
) -> tuple[Status, str] | None:
    """What the intervals of a fit that has an optimum say; None where nothing speaks against it.

    ``known`` are positive parameters and fractions with their intervals.
    """
    vague = [name for name, (value, ends) in known.items() if _is_vague(value, ends)]
    listed = f"{join_words(vague)} {'is' if len(vague) == 1 else 'are'}" if vague else ""
    apart = f"{listed} unknown by more than a factor of {APART:g} on this table: " + ", ".join(
        f"{n} = {known[n][0]:.4g} [{known[n][1].low:.4g}, {known[n][1].high:.4g}]" for n in vague
    )
    if len(vague) > 1 or any(_is_lost(*known[name]) for name in vague):
        what = "it depends" if len(vague) == 1 else "they depend"
        return Status.FLAT, (
            f"{apart}. Add runs that vary what {what} on, or fix or tie one of them"
        )
    if unsettled > UNSETTLED * draws:
        return Status.MAX_EVALUATIONS, (
            f"{unsettled} of {draws} refits had not settled, so that no interval can be trusted: "
            "the law has more freedom than this table settles. Add runs, or fix or tie parameters"
        )
    if vague:
        return Status.CONVERGED, f"an optimum, but {apart}"
    dark = [name for name, (_, ends) in known.items() if not ends.low <= ends.high]
    if dark:
        return Status.CONVERGED, f"an optimum, but no interval of {join_words(dark)} is known"
    zero = [name for name, (_, ends) in known.items() if ends.low == 0]
    if zero:
        which = "its interval starts" if len(zero) == 1 else "their intervals start"
        return Status.CONVERGED, (
            f"an optimum, but the table does not tell {join_words(zero)} from 0: {which} there"
        )
    return None


def _is_vague(value: float, ends: Interval) -> bool:
    """Whether an interval reaches farther than a factor of ``APART`` from the value, to either
    side. One that starts at 0 is one-sided: its upper end alone counts."""
    return ends.high > APART * value or 0 < ends.low < value / APART


def _is_lost(value: float, ends: Interval) -> bool:
    """Whether an interval of 95% is that of a logarithm whose standard error is ``VAGUE``."""
    low, errors = (ends.low, 2 * Z) if ends.low > 0 else (value, Z)
    return ends.high > low * math.exp(errors * VAGUE)


def join_words(words: Iterable[str]) -> str:
    """Words as a sentence lists them: a, b and c."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
