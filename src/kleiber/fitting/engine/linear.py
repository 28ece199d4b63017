"""Refits of the law's tangent at a point: where a draw's own descent should begin.

Near the optimum a refit is nearly a refit of the linear model r + J s, whose rows and derivatives
all draws share, so that an iteration of all of them is three matrix products. Only from its end
does each draw evaluate the law itself.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from kleiber.fitting.engine.compiled import tangent_kernel
from kleiber.fitting.engine.levenberg import Local, descend
from kleiber.fitting.engine.noise import charge
from kleiber.fitting.engine.problem import Problem

BLOCK = 12_000  # weights worked on at once
STEPS = 12  # of a tangent's refit
TOLERANCE = 1e-3  # relative, on its objective
FARTHEST = 1.0  # in any coordinate: beyond this the tangent says nothing


def tangent_refits(
    problem: Problem,
    u: Float[np.ndarray, "params"],
    scale: float,
    weights: Float[np.ndarray, "draws rows"],
) -> Float[np.ndarray, "draws params"]:
    """Coordinates at which the tangent's refit to each row of weights ends."""
    slopes = problem.differentiate(u[None], False)
    r, jac = slopes.residual[0], slopes.slopes[0].T
    if problem.kernel is None:
        end = _descend(problem, r, jac, scale, weights)
    else:
        kernel = tangent_kernel(problem.kernel, r, np.ascontiguousarray(jac.T))
        start, size = np.zeros((len(weights), len(u))), np.full(len(weights), scale)
        nowhere = np.full(len(u), -np.inf)
        end = kernel.polish(start, weights, size, None, nowhere, TOLERANCE, STEPS).point
    size = np.abs(end).max(axis=1, keepdims=True)
    moved = u + end * np.minimum(1.0, FARTHEST / np.maximum(size, 1e-300))
    floor = np.array([item.floor for item in problem.law.domains.values()])
    return np.maximum(moved, np.where(np.isfinite(floor), 0.9 * floor + 0.1 * u, -np.inf))


def _descend(
    problem: Problem,
    r: Float[np.ndarray, "rows"],
    jac: Float[np.ndarray, "rows params"],
    scale: float,
    weights: Float[np.ndarray, "draws rows"],
) -> Float[np.ndarray, "draws params"]:
    """Steps at which the refits of r + J s end."""
    width = jac.shape[1]
    low = np.tril_indices(width)
    products = jac[:, low[0]] * jac[:, low[1]]
    block = max(1, BLOCK // len(r))
    where = np.zeros((width, width), dtype=int)
    where[low] = where[low[1], low[0]] = np.arange(len(low[0]))

    def look(s: np.ndarray, w: np.ndarray) -> Local:
        paid = charge(problem.noise, r + s @ jac.T, np.full(len(s), scale))
        gauss = ((w * paid.weight) @ products)[:, where]
        newton = ((w * paid.curve) @ products)[:, where]
        total = np.einsum("mr,mr->m", w, paid.rho)
        return Local(total, (w * paid.psi) @ jac, gauss, newton)

    def blocked(s: np.ndarray, who: np.ndarray) -> Local:
        parts = [
            look(s[i : i + block], weights[who[i : i + block]]) for i in range(0, len(s), block)
        ]
        return Local(
            np.concatenate([item.objective for item in parts]),
            np.concatenate([item.gradient for item in parts]),
            np.concatenate([item.gauss for item in parts]),
            np.concatenate([item.newton for item in parts]),
        )

    start = np.zeros((len(weights), width))
    return descend(
        blocked, start, max_iterations=STEPS, tolerance=TOLERANCE, damping=0.0, exact=True
    ).point
