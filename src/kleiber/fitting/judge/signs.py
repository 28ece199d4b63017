"""Test of whether a parameter at its bound 0 should be negative.

A positive parameter that went to 0 means one of two things: the data do not need its term, or they
need it with the other sign. The two are distinguished by a search in which the parameters at the
bound may have either sign. The gain counts if it is significant, with Q the objective and tau the
dispersion of the noise model,

    (Q_bound - Q_free)/tau > chi2(0.999; parameters freed)/2        (likelihood ratio, Wilks 1938)

and large: the objective falls to MAX_LEFT of its value or less, at an optimum that the table
determines. A law that is slightly more or less curved than the data has its floor at 0 on many real
tables, and fits them better with a floor far below 0 and an exponent near 0; that is no
contradiction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy import special

from kleiber.errors import BadLaw
from kleiber.fitting.engine.noise import Noise, evaluate_loss
from kleiber.fitting.engine.problem import Problem, pose, residuals
from kleiber.fitting.engine.search import Optimum, descend_fully, search
from kleiber.fitting.engine.starts import linear_params, start_ranges
from kleiber.fitting.judge.status import ROUNDING, Status
from kleiber.fitting.options import Options
from kleiber.fitting.spread.covariance import estimate_covariance
from kleiber.law import Domain, Law

SIGNIFICANCE = 1e-3  # chance of so large a gain where the bound is the truth
MIN_DECREASE = 0.01  # fall of the objective beyond which the other sign is worth a word
MAX_LEFT = 0.8  # of the objective is left at most, where the other sign is called clearly better


@dataclass(frozen=True)
class OtherSign:
    """A better optimum with some parameters below 0: the law that allows them (``law``, with real
    domains for ``names``), its problem, and the optimum. ``share`` of the objective is left;
    ``clear`` says whether the gain is significant and large."""

    names: tuple[str, ...]
    law: Law
    problem: Problem
    best: Optimum
    share: float
    clear: bool

    def values(self) -> dict[str, float]:
        """Return the parameters below 0."""
        theta = self.problem.from_coordinate(self.best.point[None])[0]
        found = dict(zip(self.problem.law.params, theta.tolist(), strict=True))
        return {name: found[name] for name in self.names}


def allow_both_signs(law: Law, names: tuple[str, ...]) -> Law:
    """Return the law with parameters of either sign; raise BadLaw for an unknown name."""
    for name in names:
        if name not in law.domains:
            raise BadLaw(
                f"Law {law.name} has no parameter {name!r} to be real; it has "
                f"{', '.join(law.params)}."
            )
    domains = {n: Domain("real") if n in names else d for n, d in law.domains.items()}
    return replace(law, domains=domains)


def estimate_dispersion(problem: Problem, best: Optimum) -> float:
    """Return tau of the noise model: the mean of rho'(r) r over the residual degrees of freedom."""
    if problem.noise.dof is not None:
        return 1.0  # its loss function is a log likelihood already
    r = residuals(problem, best.point[None])
    terms = evaluate_loss(problem.noise, r, np.array([best.scale]))
    rows = int((problem.weights > 0).sum())
    mean = float((problem.weights * terms.psi[0] * r[0]).sum() / problem.weights.sum())
    return max(mean * rows / max(rows - len(best.point), 1), 1e-300)


def try_other_sign(
    law: Law, problem: Problem, best: Optimum, hit: Mapping[int, float], seed: int
) -> OtherSign | None:
    """Return the best optimum with parameters at the bound 0 set free if it is lower, else None.

    ``law`` is the free law in its own domains and ``problem`` the one made from it. Coefficients at
    the bound are freed first; exponents, and coefficients away from the bound, follow only if that
    is clearly better still.
    """
    names = problem.law.params
    at_zero = [names[k] for k, bound in hit.items() if bound == 0 and _positive(law, names[k])]
    rows = int((problem.weights > 0).sum())
    if not at_zero or rows <= len(names) or problem.prior is not None or _is_exact(problem, best):
        return None
    linear_positive = [name for name in linear_params(problem.law) if _positive(law, name)]
    linear = tuple(name for name in at_zero if name in linear_positive)
    # an exponent at 0 may stand for a coefficient of the wrong sign, not at its own bound
    candidates = tuple(dict.fromkeys((*at_zero, *linear_positive)))
    found: OtherSign | None = None
    for freed in dict.fromkeys((linear, tuple(at_zero), candidates)):
        if not freed:
            continue
        trial = _fit_with_signs(law, problem, best, freed, seed)
        if trial is None:
            continue
        if found is None or (trial.clear and _share_left(trial, found.best, len(freed)) < MAX_LEFT):
            found = trial
    return found


def _is_exact(problem: Problem, best: Optimum) -> bool:
    """Return whether all residuals are rounding errors, so that no other fit can be better."""
    if problem.noise.dof is not None:
        return False
    rounding = ROUNDING * (np.abs(problem.target) + (problem.noise.scale == "log"))
    return best.objective <= 100 * float((problem.weights * rounding**2).sum())


def _positive(law: Law, name: str) -> bool:
    return law.domains[name].bounds[0] == 0 and law.domains[name].kind != "fraction"


def _fit_with_signs(
    law: Law, problem: Problem, best: Optimum, freed: tuple[str, ...], seed: int
) -> OtherSign | None:
    """Return the optimum with ``freed`` of either sign; those above 0 there keep their own
    domain."""
    both_signs = _pose_again(allow_both_signs(law, freed), problem)
    try:
        there = search(both_signs, _start_ranges(both_signs), seed)
    except BadLaw:  # no finite value anywhere with these signs
        return None
    theta = both_signs.from_coordinate(there.point[None])
    below = tuple(n for n in freed if theta[0, both_signs.law.params.index(n)] < 0)
    if not below or not there.objective < best.objective:
        return None
    signed = allow_both_signs(law, below)
    signed_problem = _pose_again(signed, problem)
    start = signed_problem.to_coordinate(theta)
    if not np.isfinite(start).all():
        start = np.nan_to_num(start, neginf=-700.0)
    end = descend_fully(signed_problem, start)
    share = _compare_objectives(problem.noise, end, best, float(problem.weights.sum()))
    trial = OtherSign(below, signed, signed_problem, end, share, clear=False)
    known = not estimate_covariance(signed_problem, end.point, end.scale, None, ()).undetermined
    return replace(trial, clear=known and _share_left(trial, best, len(below)) < MAX_LEFT)


def _share_left(trial: OtherSign, best: Optimum, freed: int) -> float:
    """Return the share of another optimum's objective that the trial leaves; 1 if the decrease is
    not significant."""
    problem = trial.problem
    tau = estimate_dispersion(problem, trial.best)
    decrease = (best.objective - trial.best.objective) / tau
    if not decrease > 0.5 * float(special.chdtri(freed, SIGNIFICANCE)):
        return 1.0
    return _compare_objectives(problem.noise, trial.best, best, float(problem.weights.sum()))


def _compare_objectives(noise: Noise, end: Optimum, best: Optimum, rows: float) -> float:
    """Return the ratio of two objectives; for Student-t noise, that of the geometric means of
    residuals."""
    if noise.dof is not None:
        return float(np.exp((end.objective - best.objective) / rows))
    return end.objective / best.objective if best.objective > 0 else 1.0


def _pose_again(law: Law, problem: Problem) -> Problem:
    y = np.exp(problem.target) if problem.noise.scale == "log" else problem.target
    return pose(law, problem.noise, problem.columns, y, problem.weights)


def _start_ranges(problem: Problem) -> dict[str, tuple[float, float]]:
    y = np.exp(problem.target) if problem.noise.scale == "log" else problem.target
    return start_ranges(problem.law, problem.columns, y)


def judge_bounds(
    law: Law,
    problem: Problem,
    point: Float[np.ndarray, "params"],
    hit: Mapping[int, float],
    other: OtherSign | None,
    options: Options,
) -> tuple[Status, str] | None:
    """Return the status and reason of a fit with parameters at a bound if the data say more than
    that a term is not needed; else None."""
    if not hit:
        return None
    names = problem.law.params
    each = ", ".join(f"{names[k]} went to {bound:g}" for k, bound in hit.items())
    if other is not None and other.clear:
        return Status.UNFIT, _describe_contradiction(law, problem, point, other, options)
    if lost_columns := _find_lost_columns(problem, point):
        suggestion = ""
        if other is not None and other.share < MAX_LEFT:
            names_below = ", ".join(other.names)
            suggestion = (
                f". With {names_below} below 0 (--real {','.join(other.names)}) it fits better"
            )
        return Status.UNFIT, (
            f"{each}: no term that depends on {lost_columns} is left, so that the law is the same "
            f"{options.target} in every row{suggestion}"
        )
    if other is not None and other.share < 1 - MIN_DECREASE:
        suggestion = ", ".join(other.names)
        return Status.BOUND_HIT, (
            f"{each}, the end of its domain; a value of {suggestion} below 0 would lower the "
            f"objective by {1 - other.share:.1%}: the law is not curved quite as the data are"
        )
    return None


def _describe_contradiction(
    law: Law,
    problem: Problem,
    point: Float[np.ndarray, "params"],
    other: OtherSign,
    options: Options,
) -> str:
    """Describe what the data need that the law does not allow, and what to type."""
    values = ", ".join(f"{name} = {value:.3g}" for name, value in other.values().items())
    before, after = (
        float(np.median(np.abs(residuals(item, at[None])[0])))
        for item, at in ((problem, point), (other.problem, other.best.point))
    )
    what = (
        f"from {math.expm1(before):.2g} to {math.expm1(after):.2g} of the value"
        if problem.noise.scale == "log"
        else f"from {before:.3g} to {after:.3g}"
    )
    floor = ""
    if options.fixed:
        y = np.exp(problem.target) if problem.noise.scale == "log" else problem.target
        lowest = problem.target + residuals(problem, point[None])[0]
        lowest = np.exp(lowest) if problem.noise.scale == "log" else lowest
        if lowest.min() >= y.max():
            fixed = ", ".join(f"{name} = {value:g}" for name, value in options.fixed.items())
            floor = (
                f"With {fixed} the law cannot go below {lowest.min():.4g}, above every measured "
                f"{options.target} ({y.min():.4g} to {y.max():.4g}). "
            )
    plural = len(other.names) > 1
    return (
        f"{floor}The data want {values}, which brings the typical residual {what}; law {law.name} "
        f"keeps {'them' if plural else 'it'} above 0. Choose a law that allows "
        f"{'them' if plural else 'it'}, or add --real {','.join(other.names)} "
        f"(real={list(other.names)!r} in Python)"
    )


def _find_lost_columns(problem: Problem, point: Float[np.ndarray, "params"]) -> str:
    """Return the varying columns that no longer affect a law whose prediction is the same in all
    rows while the target varies; else ""."""
    r = residuals(problem, point[None])[0]
    predicted = r + problem.target
    size = max(float(np.abs(predicted).max()), 1e-300)
    moving = [name for name, x in problem.columns.items() if np.ptp(x) > 0]
    constant = np.ptp(predicted) <= 1e-9 * size and np.ptp(problem.target) > 1e-9 * size
    return " or ".join(moving) if constant and moving else ""
