"""Intervals for tables with hardly more rows than parameters.

With f = n - p residual degrees of freedom, f at most ``FEW_ROWS``, neither resampled rows nor
single residuals show how large the noise is: only their sum of squares does. A draw is then a refit
to the fitted values plus normal noise e scaled so that a fit leaves as much of it as is left of the
table,

    |(I - H) e| = |(I - H) r|,

where H is the hat matrix of the law's tangent and r the residuals. For a law that is linear in its
coordinates, under least squares, refits of such tables follow Student's t with f degrees of freedom
about the estimate (as for any equivariant estimator they follow the distribution of its error in
units of the remaining residuals), so that their plain percentiles are Student's interval. The noise
is assumed normal and equal in every row, for there are too few rows to check.

Without draws the covariance is kappa s^2 (J'WJ)^-1 with s^2 = |(I - H) r|^2 / f. kappa is 1 for
least squares. A narrow Huber loss is nearly that of absolute residuals, whose variance is pi/2
times as large (Laplace) with many degrees of freedom and the same with one: in between it is what
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
from kleiber.fitting.spread.covariance import prior_jacobian

FEW_ROWS = 8  # rows beyond the number of parameters, at most, that count as few
MAX_NOISE_RATIO = 1e4  # times the size of its own residuals that a draw's noise may be
ABSOLUTE_VARIANCE = math.pi / 2  # variance of least absolute residuals over that of least squares
ABSOLUTE_DOF = 7  # rows to spare with which it is reached
RANK_TOLERANCE = 1e-10  # share of the longest direction below which one counts as none
LINEAR_TOLERANCE = 1e-9  # relative departure from a straight line that is rounding


def count_residual_dof(problem: Problem) -> int:
    """Return the number of rows of positive weight beyond the number of parameters."""
    return int((problem.weights > 0).sum()) - len(problem.law.params)


def draw_equal_noise(
    problem: Problem,
    u: Float[np.ndarray, "params"],
    residual: Float[np.ndarray, "rows"],
    rng: np.random.Generator,
    draws: int,
) -> Float[np.ndarray, "draws rows"]:
    """Draw normal noise of which a fit leaves as much as is left of the residuals."""
    jac, root = _tangent(problem, u)
    q = _orthonormal_basis(jac)
    noise = rng.standard_normal((draws, len(root)))
    size = np.sqrt((_residual_part(q, noise * (root > 0)) ** 2).sum(axis=1))
    size_of_residuals = float(np.sqrt((_residual_part(q, root * residual) ** 2).sum()))
    smallest = math.sqrt(max(count_residual_dof(problem), 1)) / MAX_NOISE_RATIO
    noise *= (size_of_residuals / np.maximum(size, smallest))[:, None]
    return np.divide(noise, root, out=np.zeros_like(noise), where=root > 0)


def equal_noise_covariance(
    problem: Problem, u: Float[np.ndarray, "params"], scale: float
) -> Float[np.ndarray, "params params"]:
    """Return kappa s^2 (J'WJ)^-1 including priors; zeros for parameters at a bound, which no row
    affects."""
    dof = count_residual_dof(problem)
    jac, root = _tangent(problem, u)
    r = residuals(problem, u[None])[0]
    size_of_residuals = float((_residual_part(_orthonormal_basis(jac), root * r) ** 2).sum())
    variance = size_of_residuals / dof if dof > 0 else math.nan
    variance *= _variance_factor(problem, r, scale, dof)
    if problem.prior is not None:
        jac = np.concatenate(
            [jac, prior_jacobian(problem, u) * math.sqrt(variance / problem.prior.tau)]
        )
    size = np.sqrt((jac**2).sum(axis=0))
    moving = size > 0
    pseudo_inverse = np.zeros_like(jac.T)
    if np.isfinite(jac).all():
        pseudo_inverse[moving] = np.linalg.pinv(jac[:, moving] / size[moving]) / size[moving, None]
    return variance * (pseudo_inverse @ pseudo_inverse.T)


def is_linear(problem: Problem, u: Float[np.ndarray, "params"]) -> bool:
    """Return whether the law is linear in every coordinate on the scale of the noise."""
    r, jac = residuals(problem, u[None])[0], problem.differentiate(u[None], False).jacobian[0].T
    steps = np.concatenate([np.eye(len(u)), -0.5 * np.eye(len(u)), np.full((1, len(u)), 0.7)])
    steps *= np.maximum(np.abs(u), 1.0)
    line = steps @ jac.T
    with np.errstate(all="ignore"):
        gap = residuals(problem, u + steps) - r - line
    return bool((np.abs(gap) <= LINEAR_TOLERANCE * (1 + np.abs(line).max())).all())


def linear_interval(
    what: Callable[[Float[np.ndarray, "params"]], Float[np.ndarray, "quantities"]],
    u: Float[np.ndarray, "params"],
    covariance: Float[np.ndarray, "params params"],
    dof: int,
    level: float,
) -> tuple[Float[np.ndarray, "quantities"], Float[np.ndarray, "quantities"]]:
    """Return Student's interval of quantities that are exactly linear in the coordinates, or whose
    logarithm is; NaN for others."""
    step = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    sides = np.concatenate([np.zeros((1, len(u))), np.eye(len(u)), -np.eye(len(u))])
    with np.errstate(all="ignore"):
        values = np.stack([what(u + side * step) for side in sides])
        both = what(u + 0.5 * step)
        unit = np.divide(1.0, step, out=np.zeros_like(step), where=step > 0)
        related = covariance * np.outer(unit, unit)
        t = float(special.stdtrit(dof, 0.5 + level / 2)) if dof > 0 else math.nan
        low, high = np.full((2, values.shape[1]), np.nan)
        for change, back in ((_identity, _identity), (np.log, np.exp)):
            z, further = change(values), change(both)
            slope = 0.5 * (z[1 : len(u) + 1] - z[len(u) + 1 :])
            line = z[0] + sides @ slope
            rounding = LINEAR_TOLERANCE * (np.abs(z[0]) + np.abs(slope).max(axis=0)) + 1e-300
            good = (np.abs(z - line) <= rounding).all(axis=0)
            good &= (np.abs(further - z[0] - 0.5 * slope.sum(axis=0)) <= rounding) & np.isnan(low)
            size = t * np.sqrt(np.maximum(np.einsum("pq,pr,rq->q", slope, related, slope), 0.0))
            low = np.where(good, back(z[0] - size), low)
            high = np.where(good, back(z[0] + size), high)
    return low, high


def _identity(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return values


def _variance_factor(problem: Problem, r: np.ndarray, scale: float, dof: int) -> float:
    """Return kappa, the ratio of the variance under the given loss to that under least squares."""
    if problem.noise.delta is None:
        return 1.0
    width = len(problem.law.params)
    counted = problem.weights > 0
    curvature = evaluate_loss(problem.noise, r[None], np.array([scale])).curvature[0][counted]
    inside = min(max((float(curvature.sum()) - width) / max(dof, 1), 0.0), 1.0)
    growth = min(1.0, (dof - 1) / (ABSOLUTE_DOF - 1))
    return 1 + (1 - inside) * growth * (ABSOLUTE_VARIANCE - 1)


def _tangent(
    problem: Problem, u: Float[np.ndarray, "params"]
) -> tuple[Float[np.ndarray, "rows params"], Float[np.ndarray, "rows"]]:
    """Return the weighted Jacobian and the square roots of the weights."""
    root = np.sqrt(problem.weights)
    return problem.differentiate(u[None], False).jacobian[0].T * root[:, None], root


def _orthonormal_basis(jac: Float[np.ndarray, "rows params"]) -> Float[np.ndarray, "rows rank"]:
    """Return an orthonormal basis of the directions that the fit can follow."""
    size = np.sqrt((jac**2).sum(axis=0))
    if not (size > 0).any():
        return np.zeros((len(jac), 0))
    left, spread, _ = np.linalg.svd(jac[:, size > 0] / size[size > 0], full_matrices=False)
    return left[:, spread > RANK_TOLERANCE * spread[0]]


def _residual_part(
    q: Float[np.ndarray, "rows moving"], values: Float[np.ndarray, "... rows"]
) -> Float[np.ndarray, "... rows"]:
    """Return the part of values that a fit leaves."""
    return values - (values @ q) @ q.T
