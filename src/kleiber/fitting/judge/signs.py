"""The other sign: whether a parameter at its bound of 0 wants to be below it.

A positive parameter that went to 0 says one of two things: the data do not need its term, or they
need it with the other sign. Both are told apart by a search in which the parameters at the bound
may have either sign. What that gains counts when it is significant, Q the objective and tau the
dispersion of the noise model,

    (Q_bound - Q_free)/tau > chi2(0.999; parameters freed)/2        (likelihood ratio, Wilks 1938)

and large: the objective falls by a fifth or more (LARGE), at an optimum that the table determines.
A law whose shape bends a little too much or too little has its floor at 0 on many real tables, and
far below 0, with an exponent near 0, fits them better still; that is no contradiction.
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
from kleiber.fitting.judge.status import EXACT, Status
from kleiber.fitting.options import Options
from kleiber.fitting.spread.covariance import measure_spread
from kleiber.law import Domain, Law

SURE = 1e-3  # chance of so large a gain where the bound is the truth
SLIGHT = 0.01  # fall of the objective beyond which the other sign is worth a word
LARGE = 0.8  # of the objective is left at most, where the other sign is called clearly better


@dataclass(frozen=True)
class OtherSign:
    """A better optimum with some parameters below 0: the law that allows them (``law``, with real
    domains for ``names``), its posed problem, and the optimum. ``share`` of the objective is left;
    ``clear`` says whether that is significant and large."""

    names: tuple[str, ...]
    law: Law
    problem: Problem
    best: Optimum
    share: float
    clear: bool

    def values(self) -> dict[str, float]:
        """The parameters below 0."""
        theta = self.problem.outer(self.best.point[None])[0]
        found = dict(zip(self.problem.law.params, theta.tolist(), strict=True))
        return {name: found[name] for name in self.names}


def allow_signs(law: Law, names: tuple[str, ...]) -> Law:
    """The law with parameters of either sign; raises BadLaw for a name that it does not have."""
    for name in names:
        if name not in law.domains:
            raise BadLaw(
                f"Law {law.name} has no parameter {name!r} to be real; it has "
                f"{', '.join(law.params)}."
            )
    domains = {n: Domain("real") if n in names else d for n, d in law.domains.items()}
    return replace(law, domains=domains)


def dispersion(problem: Problem, best: Optimum) -> float:
    """tau of the noise model: the mean of rho'(r) r, over the rows left after the parameters."""
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
    """The best optimum with parameters at the bound 0 set free, where it is lower; else None.

    ``law`` is the free law in its own domains and ``problem`` what was posed of it. Coefficients
    at the bound are freed alone first; exponents, and coefficients that are not at it, follow only
    where that is clearly better still.
    """
    names = problem.law.params
    at_zero = [names[k] for k, bound in hit.items() if bound == 0 and _positive(law, names[k])]
    rows = int((problem.weights > 0).sum())
    if not at_zero or rows <= len(names) or problem.prior is not None or _exact(problem, best):
        return None
    every = [name for name in linear_params(problem.law) if _positive(law, name)]
    linear = tuple(name for name in at_zero if name in every)
    # an exponent at 0 may stand for a coefficient of the wrong sign, not at its own bound
    more = tuple(dict.fromkeys((*at_zero, *every)))
    found: OtherSign | None = None
    for freed in dict.fromkeys((linear, tuple(at_zero), more)):
        if not freed:
            continue
        trial = _free(law, problem, best, freed, seed)
        if trial is None:
            continue
        if found is None or (trial.clear and _gain(trial, found.best, len(freed)) < LARGE):
            found = trial
    return found


def _exact(problem: Problem, best: Optimum) -> bool:
    """Whether all residuals are rounding, so that no other fit is better."""
    if problem.noise.dof is not None:
        return False
    rounding = EXACT * (np.abs(problem.target) + (problem.noise.scale == "log"))
    return best.objective <= 100 * float((problem.weights * rounding**2).sum())


def _positive(law: Law, name: str) -> bool:
    return law.domains[name].bounds[0] == 0 and law.domains[name].kind != "fraction"


def _free(
    law: Law, problem: Problem, best: Optimum, freed: tuple[str, ...], seed: int
) -> OtherSign | None:
    """The optimum with ``freed`` of either sign; those above 0 there keep their own domain."""
    whole = _pose_again(allow_signs(law, freed), problem)
    try:
        there = search(whole, _ranges(whole), seed)
    except BadLaw:  # no finite value anywhere with these signs
        return None
    theta = whole.outer(there.point[None])
    below = tuple(n for n in freed if theta[0, whole.law.params.index(n)] < 0)
    if not below or not there.objective < best.objective:
        return None
    signed = allow_signs(law, below)
    own = _pose_again(signed, problem)
    start = own.inner(theta)
    if not np.isfinite(start).all():
        start = np.nan_to_num(start, neginf=-700.0)
    end = descend_fully(own, start)
    share = _share(problem.noise, end, best, float(problem.weights.sum()))
    trial = OtherSign(below, signed, own, end, share, clear=False)
    known = not measure_spread(own, end.point, end.scale, None, ()).lost
    return replace(trial, clear=known and _gain(trial, best, len(below)) < LARGE)


def _gain(trial: OtherSign, best: Optimum, freed: int) -> float:
    """The share of the objective that the trial leaves of another optimum's; 1 where the fall is
    not significant."""
    problem = trial.problem
    tau = dispersion(problem, trial.best)
    fall = (best.objective - trial.best.objective) / tau
    if not fall > 0.5 * float(special.chdtri(freed, SURE)):
        return 1.0
    return _share(problem.noise, trial.best, best, float(problem.weights.sum()))


def _share(noise: Noise, end: Optimum, best: Optimum, rows: float) -> float:
    """What is left of the objective; of Student-t noise, of the geometric mean of residuals."""
    if noise.dof is not None:
        return float(np.exp((end.objective - best.objective) / rows))
    return end.objective / best.objective if best.objective > 0 else 1.0


def _pose_again(law: Law, problem: Problem) -> Problem:
    y = np.exp(problem.target) if problem.noise.scale == "log" else problem.target
    return pose(law, problem.noise, problem.columns, y, problem.weights)


def _ranges(problem: Problem) -> dict[str, tuple[float, float]]:
    y = np.exp(problem.target) if problem.noise.scale == "log" else problem.target
    return start_ranges(problem.law, problem.columns, y)


def judge_bounds(
    law: Law,
    problem: Problem,
    point: Float[np.ndarray, "params"],
    hit: Mapping[int, float],
    other: OtherSign | None,
    ask: Options,
) -> tuple[Status, str] | None:
    """The status of a fit with parameters at a bound where the data say more of it than that they
    do not need a term; else None."""
    if not hit:
        return None
    names = problem.law.params
    each = ", ".join(f"{names[k]} went to {bound:g}" for k, bound in hit.items())
    if other is not None and other.clear:
        return Status.UNFIT, _contradiction(law, problem, point, other, ask)
    if gone := _vanished(problem, point):
        want = ""
        if other is not None and other.share < LARGE:
            names_below = ", ".join(other.names)
            want = f". With {names_below} below 0 (--real {','.join(other.names)}) it fits better"
        return Status.UNFIT, (
            f"{each}: no term that depends on {gone} is left, so that the law says nothing about "
            f"{ask.target} but its level{want}"
        )
    if other is not None and other.share < 1 - SLIGHT:
        want = ", ".join(other.names)
        return Status.BOUND_HIT, (
            f"{each}, the end of its domain; a value of {want} below 0 would lower the objective "
            f"by {1 - other.share:.1%}: the law bends a little otherwise than the data"
        )
    return None


def _contradiction(
    law: Law,
    problem: Problem,
    point: Float[np.ndarray, "params"],
    other: OtherSign,
    ask: Options,
) -> str:
    """What the data want of a law that does not allow it, and what to type."""
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
    if ask.fixed:
        y = np.exp(problem.target) if problem.noise.scale == "log" else problem.target
        least = problem.target + residuals(problem, point[None])[0]
        least = np.exp(least) if problem.noise.scale == "log" else least
        if least.min() >= y.max():
            held = ", ".join(f"{name} = {value:g}" for name, value in ask.fixed.items())
            floor = (
                f"With {held} the law cannot go below {least.min():.4g}, above every measured "
                f"{ask.target} ({y.min():.4g} to {y.max():.4g}). "
            )
    plural = len(other.names) > 1
    return (
        f"{floor}The data want {values}, which brings the typical residual {what}; law {law.name} "
        f"keeps {'them' if plural else 'it'} above 0. Choose a law that allows "
        f"{'them' if plural else 'it'}, or add --real {','.join(other.names)} "
        f"(real={list(other.names)!r} in Python)"
    )


def _vanished(problem: Problem, point: Float[np.ndarray, "params"]) -> str:
    """The varying columns that a fitted law has lost, if it is the same in all rows while the
    target is not; else nothing."""
    r = residuals(problem, point[None])[0]
    predicted = r + problem.target
    size = max(float(np.abs(predicted).max()), 1e-300)
    moving = [name for name, x in problem.columns.items() if np.ptp(x) > 0]
    constant = np.ptp(predicted) <= 1e-9 * size and np.ptp(problem.target) > 1e-9 * size
    return " or ".join(moving) if constant and moving else ""
