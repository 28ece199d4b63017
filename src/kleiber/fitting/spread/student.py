"""Few rows to spare: what a table with hardly more rows than parameters says of its own noise.

With f = n - p rows to spare, f at most ``FEW``, neither rows drawn anew nor the residuals one by
one tell how large the noise is: only their sum does. A draw is then a refit to the fitted values
plus normal noise e of which a fit would leave just as much as is left of the table,

    |(I - H) e| = |(I - H) r|,

H the hat matrix of the law's tangent, r the residuals. For a straight line under least squares,
refits of such tables follow Student's t with f degrees of freedom about the estimate (as for any
estimator that shifts and stretches with the data they follow the distribution of its error in
units of the residuals that are left), so that plain percentiles of them are Student's interval.
The noise is taken to be normal and even, for there are no rows to tell otherwise.

Without draws the covariance is kappa s^2 (J'WJ)^-1 with s^2 = |(I - H) r|^2 / f. kappa is 1 for
least squares; a narrow Huber loss is nearly that of absolute residuals, whose variance is pi/2
times as large (Laplace) with many rows to spare, and the same with one: in between it is what
simulation found (docs/coverage.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy import special

from kleiber.fitting.engine.noise import evaluate_loss
from kleiber.fitting.engine.problem import Problem, residuals
from kleiber.fitting.spread.covariance import prior_rows

FEW = 8  # rows beyond the number of parameters, at most, that count as few
LONGEST = 1e4  # times the size of its own residuals that a draw's noise may be
ABSOLUTE = math.pi / 2  # variance of least absolute residuals over that of least squares
REACHED = 7  # rows to spare with which it is reached
SINGULAR = 1e-10  # share of the longest direction below which one counts as none
EXACT = 1e-9  # relative departure from a straight line that is rounding


def spare_rows(problem: Problem) -> int:
    """Rows of positive weight beyond the number of parameters."""
    return int((problem.weights > 0).sum()) - len(problem.law.params)


def even_noise(
    problem: Problem,
    u: Float[np.ndarray, "params"],
    residual: Float[np.ndarray, "rows"],
    rng: np.random.Generator,
    draws: int,
) -> Float[np.ndarray, "draws rows"]:
    """Normal noise of which a fit leaves as much as is left of the residuals."""
    jac, root = _tangent(problem, u)
    q = _base(jac)
    noise = rng.standard_normal((draws, len(root)))
    size = np.sqrt((_left(q, noise * (root > 0)) ** 2).sum(axis=1))
    own = float(np.sqrt((_left(q, root * residual) ** 2).sum()))
    least = math.sqrt(max(spare_rows(problem), 1)) / LONGEST
    noise *= (own / np.maximum(size, least))[:, None]
    return np.divide(noise, root, out=np.zeros_like(noise), where=root > 0)


def even_covariance(
    problem: Problem, u: Float[np.ndarray, "params"], scale: float
) -> Float[np.ndarray, "params params"]:
    """kappa s^2 (J'WJ)^-1, priors counted; zeros for parameters at a bound, on which no row
    pulls."""
    spare = spare_rows(problem)
    jac, root = _tangent(problem, u)
    r = residuals(problem, u[None])[0]
    own = float((_left(_base(jac), root * r) ** 2).sum())
    variance = own / spare if spare > 0 else math.nan
    variance *= _widening(problem, r, scale, spare)
    if problem.prior is not None:
        jac = np.concatenate(
            [jac, prior_rows(problem, u) * math.sqrt(variance / problem.prior.tau)]
        )
    size = np.sqrt((jac**2).sum(axis=0))
    moving = size > 0
    half = np.zeros_like(jac.T)
    if np.isfinite(jac).all():
        half[moving] = np.linalg.pinv(jac[:, moving] / size[moving]) / size[moving, None]
    return variance * (half @ half.T)


def is_straight(problem: Problem, u: Float[np.ndarray, "params"]) -> bool:
    """Whether the law is a straight line: linear in every coordinate on the noise's scale."""
    r, jac = residuals(problem, u[None])[0], problem.differentiate(u[None], False).jacobian[0].T
    steps = np.concatenate([np.eye(len(u)), -0.5 * np.eye(len(u)), np.full((1, len(u)), 0.7)])
    steps *= np.maximum(np.abs(u), 1.0)
    line = steps @ jac.T
    with np.errstate(all="ignore"):
        gap = residuals(problem, u + steps) - r - line
    return bool((np.abs(gap) <= EXACT * (1 + np.abs(line).max())).all())


def straight_interval(
    what: Callable[[Float[np.ndarray, "params"]], Float[np.ndarray, "quantities"]],
    u: Float[np.ndarray, "params"],
    covariance: Float[np.ndarray, "params params"],
    spare: int,
    level: float,
) -> tuple[Float[np.ndarray, "quantities"], Float[np.ndarray, "quantities"]]:
    """Student's interval of quantities that are linear in the coordinates, or whose logarithm is,
    exactly; NaN for others."""
    step = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    sides = np.concatenate([np.zeros((1, len(u))), np.eye(len(u)), -np.eye(len(u))])
    with np.errstate(all="ignore"):
        values = np.stack([what(u + side * step) for side in sides])
        both = what(u + 0.5 * step)
        unit = np.divide(1.0, step, out=np.zeros_like(step), where=step > 0)
        related = covariance * np.outer(unit, unit)
        t = float(special.stdtrit(spare, 0.5 + level / 2)) if spare > 0 else math.nan
        low, high = np.full((2, values.shape[1]), np.nan)
        for change, back in ((_same, _same), (np.log, np.exp)):
            z, further = change(values), change(both)
            slope = 0.5 * (z[1 : len(u) + 1] - z[len(u) + 1 :])
            line = z[0] + sides @ slope
            rounding = EXACT * (np.abs(z[0]) + np.abs(slope).max(axis=0)) + 1e-300
            good = (np.abs(z - line) <= rounding).all(axis=0)
            good &= (np.abs(further - z[0] - 0.5 * slope.sum(axis=0)) <= rounding) & np.isnan(low)
            size = t * np.sqrt(np.maximum(np.einsum("pq,pr,rq->q", slope, related, slope), 0.0))
            low = np.where(good, back(z[0] - size), low)
            high = np.where(good, back(z[0] + size), high)
    return low, high


def _same(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return values


def _widening(problem: Problem, r: np.ndarray, scale: float, spare: int) -> float:
    """kappa: by how much the variance of the asked-for loss exceeds that of least squares."""
    if problem.noise.delta is None:
        return 1.0
    width = len(problem.law.params)
    used = problem.weights > 0
    near = evaluate_loss(problem.noise, r[None], np.array([scale])).curvature[0][used]
    inside = min(max((float(near.sum()) - width) / max(spare, 1), 0.0), 1.0)
    grown = min(1.0, (spare - 1) / (REACHED - 1))
    return 1 + (1 - inside) * grown * (ABSOLUTE - 1)


def _tangent(
    problem: Problem, u: Float[np.ndarray, "params"]
) -> tuple[Float[np.ndarray, "rows params"], Float[np.ndarray, "rows"]]:
    """The weighted Jacobian and the roots of the weights."""
    root = np.sqrt(problem.weights)
    return problem.differentiate(u[None], False).jacobian[0].T * root[:, None], root


def _base(jac: Float[np.ndarray, "rows params"]) -> Float[np.ndarray, "rows rank"]:
    """An orthonormal base of what the fit can follow."""
    size = np.sqrt((jac**2).sum(axis=0))
    if not (size > 0).any():
        return np.zeros((len(jac), 0))
    left, spread, _ = np.linalg.svd(jac[:, size > 0] / size[size > 0], full_matrices=False)
    return left[:, spread > SINGULAR * spread[0]]


def _left(
    q: Float[np.ndarray, "rows moving"], values: Float[np.ndarray, "... rows"]
) -> Float[np.ndarray, "... rows"]:
    """What a fit leaves of values."""
    return values - (values @ q) @ q.T
