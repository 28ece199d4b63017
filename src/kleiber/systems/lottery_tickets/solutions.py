"""Refitting parts of two-layer nets to a target: a scale and a constant, or all outer weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from kleiber.errors import BadTable
from kleiber.systems.lottery_tickets.nets import Points

POINTS_PER_NEURON = 4  # with fewer, least squares fits the points and not the function


def refit_scale(
    functions: Float[np.ndarray, "rows points"], y: Points
) -> Float[np.ndarray, "rows"]:
    """Return the errors of a f + c on y with the best a and c, for each function f."""
    centred = functions - functions.mean(1, keepdims=True)
    squares, target = (centred**2).mean(1), y - y.mean()
    along = np.divide(
        centred @ target / y.size, squares, out=np.zeros(len(functions)), where=squares > 0
    )
    return ((target - along[:, None] * centred) ** 2).mean(1)


def solve_outer(
    parts: Float[np.ndarray, "units points"], y: Points
) -> Float[np.ndarray, "coefficients"]:
    """Return v and c of least squares in float64."""
    design = np.concatenate([parts, np.ones((1, y.size))]).T
    return np.linalg.lstsq(design, y, rcond=None)[0]


def solved_error(parts: Float[np.ndarray, "units points"], y: Points) -> float:
    """Return the error with the v and c of least squares."""
    found = solve_outer(parts, y)
    return float(((found[:-1] @ parts + found[-1] - y) ** 2).mean())


def make_basis(rows: Float[np.ndarray, "rows points"]) -> Float[np.ndarray, "basis points"]:
    """Return an orthonormal basis of the span of functions, by the Gram-Schmidt process."""
    basis: list[Points] = []
    for row in rows:
        remainder = row.copy()
        for one in (*basis, *basis):
            remainder -= (remainder @ one) * one
        if float(remainder @ remainder) > 1e-20 * float(row @ row):
            basis.append(remainder / np.sqrt(remainder @ remainder))
    return np.stack(basis)


def check_sizes(sizes: Sequence[int], maximum: int, what: str = "neurons") -> list[int]:
    """Return the whole numbers from 1 to ``maximum`` in ascending order. Raises BadTable."""
    count = [int(n) for n in sizes]
    if not count or any(n < 1 or n > maximum for n in count) or count != list(sizes):
        raise BadTable(
            f"The numbers of {what} must be whole and from 1 to {maximum}, got {list(sizes)}."
        )
    return sorted(set(count))
