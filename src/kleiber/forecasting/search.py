"""The most probable parameters of a family, for many sets of weights at once.

Minimises, over the parameters theta and the scale sigma,

    sum_i w_i (nu + 1)/2 log(1 + r_i^2/(nu sigma^2)) + (sum_i w_i) log sigma
    + |theta - centre|^2/(2 spread^2) + |log(e/0.4)|^2/(2 0.7^2)
    + (log sigma^2 + sigma_0^2/sigma^2)/2,

r_i the residual of log L: Student's t with nu = 4 (Lange, Little and Taylor 1989, JASA 84, 881), by
Levenberg-Marquardt on reweighted rows and the scale in turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from jaxtyping import Float

from kleiber.forecasting.families import (
    EXPONENT,
    EXPONENT_SD,
    Family,
    evaluate,
    evaluate_with_slopes,
    exponents_in_logs,
)

Array = np.ndarray
FREEDOM = 4.0  # degrees of freedom of the residuals
SCALE = 0.01  # the scale that is expected before the data are seen; its weight is one row's
ITERATIONS = 40
ENOUGH = 1e-5  # a step that lowers the objective by less ends the search
STEP = 2.0  # in standard deviations of the prior's order, at most
TINY = 1e-8


@dataclass(frozen=True)
class Found:
    """The most probable parameters, their covariance, the scale of residuals, and the log of the
    evidence (Laplace's approximation; between families with the same weights only)."""

    theta: Float[np.ndarray, "batch parameters"]
    covariance: Float[np.ndarray, "batch parameters parameters"]
    scale: Float[np.ndarray, "batch"]
    evidence: Float[np.ndarray, "batch"]


@dataclass(frozen=True)
class Rows:
    """Rows in coordinates of the frontier, with weights, for each member of a batch."""

    z: Float[np.ndarray, "batch rows columns"]
    y: Float[np.ndarray, "batch rows"]
    weight: Float[np.ndarray, "batch rows"]

    def pick(self, chosen: Array) -> Rows:
        """Return some members of the batch."""
        return Rows(self.z[chosen], self.y[chosen], self.weight[chosen])


@dataclass
class _State:
    theta: Array
    squared: Array  # sigma^2
    damping: Array
    objective: Array


def search(family: Family, rows: Rows) -> Found:
    """Return the most probable parameters for each member of a batch."""
    size = rows.weight.sum(axis=1)
    centre = np.tile(family.centre, (len(size), 1))
    centre[:, 0] = (rows.weight * rows.y).sum(axis=1) / size
    residual = rows.y - evaluate(family, centre, rows.z)
    squared = np.maximum((rows.weight * residual**2).sum(axis=1) / size, TINY)
    state = _State(centre.copy(), squared, np.full(len(size), 1e-2), np.empty(len(size)))
    state.objective = _objective(family, rows, centre, state.theta, squared)
    active = np.arange(len(size))
    for _ in range(ITERATIONS):
        part = _State(
            state.theta[active], state.squared[active], state.damping[active],
            state.objective[active],
        )  # fmt: skip
        ended = _step(family, rows.pick(active), centre[active], part)
        state.theta[active], state.squared[active] = part.theta, part.squared
        state.damping[active], state.objective[active] = part.damping, part.objective
        active = active[~ended]
        if not len(active):
            break
    return _conclude(family, rows, centre, state)


def _step(family: Family, rows: Rows, centre: Array, state: _State) -> Array:
    """Take one step of each member in place; return which have ended."""
    residual, gradient, curvature = _linearise(family, rows, centre, state)
    diagonal = np.einsum("bpp->bp", curvature)
    damped = curvature + (state.damping[:, None] * diagonal)[:, :, None] * np.eye(len(diagonal[0]))
    step = cast("Any", np.linalg.solve(damped, gradient[..., None]))[..., 0]
    theta: Array = state.theta + np.clip(step, -STEP, STEP)
    trial = _objective(family, rows, centre, theta, state.squared)
    better = trial <= state.objective
    state.theta = np.where(better[:, None], theta, state.theta)
    state.damping = np.where(
        better, np.maximum(state.damping / 5, 1e-9), np.minimum(state.damping * 6, 1e8)
    )
    residual = np.where(better[:, None], rows.y - evaluate(family, state.theta, rows.z), residual)
    use = rows.weight * _robust(residual, state.squared)
    state.squared = ((use * residual**2).sum(axis=1) + SCALE**2) / (rows.weight.sum(axis=1) + 1)
    objective = _loss(rows, residual, state.squared) + _penalty(family, centre, state.theta)
    ended = (better & (state.objective - objective < ENOUGH)) | (state.damping > 1e6)
    state.objective = objective
    return ended


def _robust(residual: Array, squared: Array) -> Array:
    """Return the factor by which Student's t reweights a row."""
    return (FREEDOM + 1) / (FREEDOM + residual**2 / squared[:, None])


def _linearise(
    family: Family, rows: Rows, centre: Array, state: _State
) -> tuple[Array, Array, Array]:
    """Return residuals, the gradient (downhill) and the curvature of the objective."""
    value, jacobian = evaluate_with_slopes(family, state.theta, rows.z)
    residual = rows.y - value
    use = rows.weight * _robust(residual, state.squared) / state.squared[:, None]
    logs, slopes = exponents_in_logs(family, state.theta)
    precision = 1 / family.spread**2
    scaled = jacobian * use[..., None]
    gradient = np.einsum("bnp,bn->bp", scaled, residual) - (state.theta - centre) * precision
    gradient -= np.einsum("bkp,bk->bp", slopes, (logs - EXPONENT) / EXPONENT_SD**2)
    curvature = jacobian.swapaxes(1, 2) @ scaled + np.diag(precision)
    curvature += slopes.swapaxes(1, 2) @ slopes / EXPONENT_SD**2
    return residual, gradient, curvature


def _loss(rows: Rows, residual: Array, squared: Array) -> Array:
    inner = np.log1p(residual**2 / (FREEDOM * squared[:, None]))
    data = (FREEDOM + 1) / 2 * (rows.weight * inner).sum(axis=1)
    return (
        data
        + rows.weight.sum(axis=1) / 2 * np.log(squared)
        + (np.log(squared) + SCALE**2 / squared) / 2
    )


def _penalty(family: Family, centre: Array, theta: Array) -> Array:
    prior = (((theta - centre) / family.spread) ** 2).sum(axis=1) / 2
    logs, _ = exponents_in_logs(family, theta)
    return prior + (((logs - EXPONENT) / EXPONENT_SD) ** 2).sum(axis=1) / 2


def _objective(family: Family, rows: Rows, centre: Array, theta: Array, squared: Array) -> Array:
    residual = rows.y - evaluate(family, theta, rows.z)
    return _loss(rows, residual, squared) + _penalty(family, centre, theta)


def _conclude(family: Family, rows: Rows, centre: Array, state: _State) -> Found:
    _, _, curvature = _linearise(family, rows, centre, state)
    covariance = np.linalg.inv(curvature)
    covariance = (covariance + covariance.swapaxes(1, 2)) / 2
    volume = np.linalg.slogdet(curvature)[1]
    evidence = -state.objective - volume / 2 - np.log(family.spread).sum()
    return Found(state.theta, covariance, np.sqrt(state.squared), evidence)
