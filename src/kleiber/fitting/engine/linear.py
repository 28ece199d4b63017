"""Refits of the law's linearisation at the optimum, which give each draw a close start.

Near the optimum a refit is nearly a refit of the linear model r + J s, whose rows and derivatives
are the same for all draws, so that one iteration of all draws is three matrix products. The law
itself is evaluated only from the ends of these refits.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from kleiber.fitting.engine.compiled import tangent_kernel
from kleiber.fitting.engine.levenberg import LocalModel, descend
from kleiber.fitting.engine.noise import evaluate_loss
from kleiber.fitting.engine.problem import Problem

BLOCK_SIZE = 12_000  # weights worked on at once
MAX_ITERATIONS = 12  # of a tangent's refit
TOLERANCE = 1e-3  # relative, on its objective
MAX_STEP = 1.0  # in any coordinate: beyond this the tangent says nothing


def tangent_refits(
    problem: Problem,
    u: Float[np.ndarray, "params"],
    scale: float,
    weights: Float[np.ndarray, "draws rows"],
) -> Float[np.ndarray, "draws params"]:
    """Return the coordinates at which the refit of the linearised law ends for each row of
    weights."""
    derivatives = problem.differentiate(u[None], False)
    r, jac = derivatives.residual[0], derivatives.jacobian[0].T
    if problem.kernel is None:
        end = _descend_tangent(problem, r, jac, scale, weights)
    else:
        kernel = tangent_kernel(problem.kernel, r, np.ascontiguousarray(jac.T))
        start, size = np.zeros((len(weights), len(u))), np.full(len(weights), scale)
        no_floor = np.full(len(u), -np.inf)
        end = kernel.descend(start, weights, size, None, no_floor, TOLERANCE, MAX_ITERATIONS).point
    size = np.abs(end).max(axis=1, keepdims=True)
    moved = u + end * np.minimum(1.0, MAX_STEP / np.maximum(size, 1e-300))
    floor = np.array([item.floor for item in problem.law.domains.values()])
    return np.maximum(moved, np.where(np.isfinite(floor), 0.9 * floor + 0.1 * u, -np.inf))


def _descend_tangent(
    problem: Problem,
    r: Float[np.ndarray, "rows"],
    jac: Float[np.ndarray, "rows params"],
    scale: float,
    weights: Float[np.ndarray, "draws rows"],
) -> Float[np.ndarray, "draws params"]:
    """Return the steps s at which the refits of r + J s end."""
    width = jac.shape[1]
    low = np.tril_indices(width)
    products = jac[:, low[0]] * jac[:, low[1]]
    block = max(1, BLOCK_SIZE // len(r))
    where = np.zeros((width, width), dtype=int)
    where[low] = where[low[1], low[0]] = np.arange(len(low[0]))

    def evaluate(s: np.ndarray, w: np.ndarray) -> LocalModel:
        terms = evaluate_loss(problem.noise, r + s @ jac.T, np.full(len(s), scale))
        gauss = ((w * terms.weight) @ products)[:, where]
        newton = ((w * terms.curvature) @ products)[:, where]
        total = np.einsum("mr,mr->m", w, terms.rho)
        return LocalModel(total, (w * terms.psi) @ jac, gauss, newton)

    def evaluate_blocks(s: np.ndarray, index: np.ndarray) -> LocalModel:
        parts = [
            evaluate(s[i : i + block], weights[index[i : i + block]])
            for i in range(0, len(s), block)
        ]
        return LocalModel(
            np.concatenate([item.objective for item in parts]),
            np.concatenate([item.gradient for item in parts]),
            np.concatenate([item.gauss for item in parts]),
            np.concatenate([item.newton for item in parts]),
        )

    start = np.zeros((len(weights), width))
    return descend(
        evaluate_blocks,
        start,
        max_iterations=MAX_ITERATIONS,
        tolerance=TOLERANCE,
        damping=0.0,
        exact=True,
    ).point
