"""The status of a fit: one word, and one sentence."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum

import numpy as np
from jaxtyping import Float

from kleiber.fitting.engine.problem import Problem, evaluate_objective, residuals
from kleiber.fitting.spread.covariance import MAX_LOG_STDERR, CovarianceEstimate
from kleiber.fitting.spread.intervals import Interval
from kleiber.fitting.spread.student import count_residual_dof


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


RELATIVE_ROUNDING = 1e-9  # relative change of the objective that is no change
TRIAL_VALUE = 0.6  # a value in every domain, to try whether anything depends on a parameter
Z_95 = 1.96  # standard errors either way, of an interval of 95%
MAX_FACTOR = 20.0  # times its value, either way, that a determined parameter's interval may reach
MAX_UNCONVERGED = 0.1  # share of draws that had not settled past which no interval is trusted
MIN_DOF = 3  # rows to spare below which no interval of a curved law holds (docs/coverage.md)
DETERMINED = "every parameter is determined by the table"
ROUNDING = 4e-15  # relative size of residuals that are rounding, that of exp(-alpha log x) included


def find_bounds_hit(
    problem: Problem, u: Float[np.ndarray, "params"], objective: float, scale: float
) -> dict[int, float]:
    """Return the positions of parameters whose bound (0, or 1 for a fraction) fits as well as their
    value."""
    hit: dict[int, float] = {}
    rounding = ROUNDING * (np.abs(problem.target) + (problem.noise.scale == "log"))
    nothing = 0.0 if problem.noise.dof else float((problem.weights * rounding**2).sum())
    for k, domain in enumerate(problem.law.domains.values()):
        for bound in (end for end in domain.bounds if np.isfinite(end)):
            moved = u.copy()
            moved[k] = domain.coordinate_near(bound)
            there = evaluate_objective(
                problem, moved[None], problem.weights[None], np.array([scale]), second=False
            ).objective[0]
            if there <= objective + RELATIVE_ROUNDING * abs(objective) + nothing:
                hit[k] = bound
    return hit


def find_idle_params(
    problem: Problem, point: Float[np.ndarray, "params"], hit: Collection[int]
) -> tuple[int, ...]:
    """Return the positions of parameters that affect no row once those in ``hit`` are at their
    bounds, such as the exponent of a term whose coefficient went to 0."""
    if not hit:
        return ()
    moved = np.repeat(point[None], len(point) + 1, 0)
    for k, domain in enumerate(problem.law.domains.values()):
        within = float(domain.to_coordinate(TRIAL_VALUE))
        moved[k + 1, k] = within if point[k] != within else within / 2
    r = np.where(problem.weights > 0, residuals(problem, moved), 0.0)
    return tuple(k for k in range(len(point)) if np.array_equal(r[k + 1], r[0]))


def judge(
    problem: Problem,
    *,
    converged: bool,
    hit: Mapping[int, float],
    idle: Collection[int],
    spread: CovarianceEstimate,
    evaluations: int,
) -> tuple[Status, str]:
    """Return the status of a fit and the sentence that explains it, before there are draws."""
    names = problem.law.params
    if not converged:
        return Status.MAX_EVALUATIONS, (
            f"the descent had not converged after {evaluations} iterations; "
            "the values are the best seen, not an optimum"
        )
    at_bounds = ", ".join(f"{names[k]} went to {bound:g}" for k, bound in hit.items())
    if spread.undetermined:
        distinct = dict.fromkeys(
            " and ".join(names[k] for k in each) for each in spread.undetermined
        )
        single = all(len(each) == 1 for each in spread.undetermined)
        verb = "cannot be determined" if single else "trade off"
        return Status.FLAT, (
            f"{at_bounds + '; ' if hit else ''}{'; '.join(distinct)} {verb} on this table "
            f"(condition {spread.condition:.1e}): other values fit as well. Add runs that vary "
            "what they depend on, or fix or tie one of them"
        )
    if hit:
        held = ", ".join(f"{names[k]!r}: {bound:g}" for k, bound in hit.items())
        idle_ones = [names[k] for k in idle]
        nothing = f"; without it {join_words(idle_ones)} cannot be known" if idle else ""
        return Status.BOUND_HIT, (
            f"{at_bounds}: the data do not need that term, and its interval is one-sided at best"
            f"{nothing}; drop it or fix it (fixed={{{held}}})"
        )
    return Status.CONVERGED, DETERMINED


def judge_row_count(problem: Problem, linear: bool) -> tuple[Status, str] | None:
    """Return the status and reason of a table with too few rows to estimate its noise; None for
    others."""
    dof, params = count_residual_dof(problem), len(problem.law.params)
    if dof > 0 and (linear or dof >= MIN_DOF):
        return None
    rows = f"{params + dof} rows for {params} parameters"
    if dof <= 0:
        why = "leave nothing to estimate the noise from, or to test the law with"
    else:
        why = (
            f"leave {dof} to estimate the noise from; a law that is not linear needs "
            f"{MIN_DOF} or more for its intervals to hold"
        )
    return Status.TOO_FEW_POINTS, f"{rows} {why}. Add runs, or fix or tie parameters"


def judge_intervals(
    known: Mapping[str, tuple[float, Interval]], unconverged: int, draws: int
) -> tuple[Status, str] | None:
    """Return the status that the intervals of a fit give it, or None if nothing speaks against it.

    ``known`` are positive parameters and fractions with their intervals.
    """
    vague = [name for name, (value, ends) in known.items() if _is_vague(value, ends)]
    subject = f"{join_words(vague)} {'is' if len(vague) == 1 else 'are'}" if vague else ""
    sentence = (
        f"{subject} unknown by more than a factor of {MAX_FACTOR:g} on this table: "
        + ", ".join(
            f"{n} = {known[n][0]:.4g} [{known[n][1].low:.4g}, {known[n][1].high:.4g}]"
            for n in vague
        )
    )
    if len(vague) > 1 or any(_is_undetermined(*known[name]) for name in vague):
        what = "it depends" if len(vague) == 1 else "they depend"
        return Status.FLAT, (
            f"{sentence}. Add runs that vary what {what} on, or fix or tie one of them"
        )
    if unconverged > MAX_UNCONVERGED * draws:
        return Status.MAX_EVALUATIONS, (
            f"{unconverged} of {draws} refits had not converged, so that no interval can be "
            "trusted: the table does not determine all of the parameters. Add runs, or fix or "
            "tie parameters"
        )
    if vague:
        return Status.CONVERGED, f"an optimum, but {sentence}"
    unknown = [name for name, (_, ends) in known.items() if not ends.low <= ends.high]
    if unknown:
        return Status.CONVERGED, f"an optimum, but no interval of {join_words(unknown)} is known"
    zero = [name for name, (_, ends) in known.items() if ends.low == 0]
    if zero:
        which = "its interval starts" if len(zero) == 1 else "their intervals start"
        return Status.CONVERGED, (
            f"an optimum, but the table does not tell {join_words(zero)} from 0: {which} there"
        )
    return None


def _is_vague(value: float, ends: Interval) -> bool:
    """Return whether an interval reaches farther than a factor of ``MAX_FACTOR`` from the value to
    either side. If it starts at 0 its upper end alone counts."""
    return ends.high > MAX_FACTOR * value or 0 < ends.low < value / MAX_FACTOR


def _is_undetermined(value: float, ends: Interval) -> bool:
    """Return whether an interval of 95% is that of a logarithm with a standard error of
    ``MAX_LOG_STDERR``."""
    low, errors = (ends.low, 2 * Z_95) if ends.low > 0 else (value, Z_95)
    return ends.high > low * math.exp(errors * MAX_LOG_STDERR)


def join_words(words: Iterable[str]) -> str:
    """Join words as in a sentence: a, b and c."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
