"""The most probable parameters of a family, for many sets of weights at once.

Minimises, over the parameters theta and the scale sigma,

    sum_i w_i (nu + 1)/2 log(1 + r_i^2/(nu sigma^2)) + (sum_i w_i) log sigma
    + |theta - centre|^2/(2 spread^2) + |log(e/0.4)|^2/(2 0.7^2)
    + (log sigma^2 + sigma_0^2/sigma^2)/2,

r_i the residual of log L: Student's t with nu = 4 (Lange, Little and Taylor 1989, JASA 84, 881), by
Levenberg-Marquardt on reweighted rows and the scale in turn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, cast, runtime_checkable

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

    theta: Float[np.ndarray, "*batch parameters"]
    covariance: Float[np.ndarray, "*batch parameters parameters"]
    scale: Float[np.ndarray, "*batch"]
    evidence: Float[np.ndarray, "*batch"]


@dataclass(frozen=True)
class Rows:
    """Rows in coordinates of the frontier, with weights, for each member of a batch."""

    z: Float[np.ndarray, "batch rows columns"]
    y: Float[np.ndarray, "batch rows"]
    weight: Float[np.ndarray, "batch rows"]
    scale: float = SCALE

    def pick(self, chosen: Array) -> Rows:
        """Return some members of the batch."""
        return Rows(self.z[chosen], self.y[chosen], self.weight[chosen], self.scale)


@runtime_checkable
class Model(Protocol):
    """What is searched: parameters with normal priors, the log of the target at z with its
    Jacobian, and the logs of exponents, which have a prior of their own."""

    @property
    def centre(self) -> Float[np.ndarray, "parameters"]: ...

    @property
    def spread(self) -> Float[np.ndarray, "parameters"]: ...

    def value(self, theta: Array, z: Array) -> Array: ...

    def value_with_slopes(self, theta: Array, z: Array) -> tuple[Array, Array]: ...

    def exponents(self, theta: Array) -> tuple[Array, Array]: ...


@dataclass(frozen=True)
class Plain:
    """A family as it is."""

    family: Family

    @property
    def centre(self) -> Float[np.ndarray, "parameters"]:
        """Means of the priors."""
        return self.family.centre

    @property
    def spread(self) -> Float[np.ndarray, "parameters"]:
        """Standard deviations of the priors."""
        return self.family.spread

    def value(self, theta: Array, z: Array) -> Array:
        """Return log L at z."""
        return evaluate(self.family, theta, z)

    def value_with_slopes(self, theta: Array, z: Array) -> tuple[Array, Array]:
        """Return log L at z and its Jacobian."""
        return evaluate_with_slopes(self.family, theta, z)

    def exponents(self, theta: Array) -> tuple[Array, Array]:
        """Return the logs of exponents and their Jacobian."""
        return exponents_in_logs(self.family, theta)


@dataclass
class _State:
    theta: Array
    squared: Array  # sigma^2
    damping: Array
    objective: Array


def search(family: Family, rows: Rows) -> Found:
    """Return the most probable parameters of a family for each member of a batch."""
    level = (rows.weight * rows.y).sum(axis=1) / rows.weight.sum(axis=1)
    return search_model(Plain(family), rows, level)


def search_model(
    model: Model, rows: Rows, level: Float[np.ndarray, "batch"], *, scale: float = SCALE
) -> Found:
    """Return the most probable parameters of a model, whose first one is about ``level``; ``scale``
    is the noise that is expected before the data are seen."""
    rows = replace(rows, scale=scale)
    size = rows.weight.sum(axis=1)
    centre = np.tile(model.centre, (len(size), 1))
    centre[:, 0] = level
    residual = rows.y - model.value(centre, rows.z)
    squared = np.maximum((rows.weight * residual**2).sum(axis=1) / size, TINY)
    state = _State(centre.copy(), squared, np.full(len(size), 1e-2), np.empty(len(size)))
    state.objective = _objective(model, rows, centre, state.theta, squared)
    active = np.arange(len(size))
    for _ in range(ITERATIONS):
        part = _State(
            state.theta[active], state.squared[active], state.damping[active],
            state.objective[active],
        )  # fmt: skip
        ended = _step(model, rows.pick(active), centre[active], part)
        state.theta[active], state.squared[active] = part.theta, part.squared
        state.damping[active], state.objective[active] = part.damping, part.objective
        active = active[~ended]
        if not len(active):
            break
    return _conclude(model, rows, centre, state)


def _step(model: Model, rows: Rows, centre: Array, state: _State) -> Array:
    """Take one step of each member in place; return which have ended."""
    residual, gradient, curvature = _linearise(model, rows, centre, state)
    diagonal = np.einsum("bpp->bp", curvature)
    damped = curvature + (state.damping[:, None] * diagonal)[:, :, None] * np.eye(len(diagonal[0]))
    step = cast("Any", np.linalg.solve(damped, gradient[..., None]))[..., 0]
    theta: Array = state.theta + np.clip(step, -STEP, STEP)
    moved = rows.y - model.value(theta, rows.z)
    trial = _loss(rows, moved, state.squared) + _penalty(model, centre, theta)
    better = trial <= state.objective
    state.theta = np.where(better[:, None], theta, state.theta)
    state.damping = np.where(
        better, np.maximum(state.damping / 5, 1e-9), np.minimum(state.damping * 6, 1e8)
    )
    residual = np.where(better[:, None], moved, residual)
    use = rows.weight * _robust(residual, state.squared)
    state.squared = ((use * residual**2).sum(axis=1) + rows.scale**2) / (
        rows.weight.sum(axis=1) + 1
    )
    objective = _loss(rows, residual, state.squared) + _penalty(model, centre, state.theta)
    ended = (better & (state.objective - objective < ENOUGH)) | (state.damping > 1e6)
    state.objective = objective
    return ended


def _robust(residual: Array, squared: Array) -> Array:
    """Return the factor by which Student's t reweights a row."""
    return (FREEDOM + 1) / (FREEDOM + residual**2 / squared[:, None])


def _linearise(
    model: Model, rows: Rows, centre: Array, state: _State
) -> tuple[Array, Array, Array]:
    """Return residuals, the gradient (downhill) and the curvature of the objective."""
    value, jacobian = model.value_with_slopes(state.theta, rows.z)
    residual = rows.y - value
    use = rows.weight * _robust(residual, state.squared) / state.squared[:, None]
    logs, slopes = model.exponents(state.theta)
    precision = 1 / model.spread**2
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
        + (np.log(squared) + rows.scale**2 / squared) / 2
    )


def _penalty(model: Model, centre: Array, theta: Array) -> Array:
    prior = (((theta - centre) / model.spread) ** 2).sum(axis=1) / 2
    logs, _ = model.exponents(theta)
    return prior + (((logs - EXPONENT) / EXPONENT_SD) ** 2).sum(axis=1) / 2


def _objective(model: Model, rows: Rows, centre: Array, theta: Array, squared: Array) -> Array:
    residual = rows.y - model.value(theta, rows.z)
    return _loss(rows, residual, squared) + _penalty(model, centre, theta)


def _conclude(model: Model, rows: Rows, centre: Array, state: _State) -> Found:
    _, _, curvature = _linearise(model, rows, centre, state)
    covariance = np.linalg.inv(curvature)
    covariance = (covariance + covariance.swapaxes(1, 2)) / 2
    volume = np.linalg.slogdet(curvature)[1]
    evidence = -state.objective - volume / 2 - np.log(model.spread).sum()
    return Found(state.theta, covariance, np.sqrt(state.squared), evidence)
