"""Refitting parts of two-layer nets to a target: a scale and a constant, or all outer weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from kleiber.errors import BadTable
from kleiber.systems.lottery_tickets.nets import Points

POINTS_PER_NEURON = 4  # fewer, and least squares fits the points, not the function


def refit_scale(some: Float[np.ndarray, "rows points"], y: Points) -> Float[np.ndarray, "rows"]:
    """The errors of a f + c on y at the best a and c."""
    bent = some - some.mean(1, keepdims=True)
    squares, target = (bent**2).mean(1), y - y.mean()
    along = np.divide(bent @ target / y.size, squares, out=np.zeros(len(some)), where=squares > 0)
    return ((target - along[:, None] * bent) ** 2).mean(1)


def solve_outer(
    parts: Float[np.ndarray, "units points"], y: Points
) -> Float[np.ndarray, "coefficients"]:
    """v and c of least squares in float64."""
    design = np.concatenate([parts, np.ones((1, y.size))]).T
    return np.linalg.lstsq(design, y, rcond=None)[0]


def solved_error(parts: Float[np.ndarray, "units points"], y: Points) -> float:
    """The error at the v and c of least squares."""
    found = solve_outer(parts, y)
    return float(((found[:-1] @ parts + found[-1] - y) ** 2).mean())


def make_basis(rows: Float[np.ndarray, "rows points"]) -> Float[np.ndarray, "basis points"]:
    """An orthonormal basis of the span of functions, by Gram and Schmidt; what adds nothing is left
    out."""
    basis: list[Points] = []
    for row in rows:
        rest = row.copy()
        for one in (*basis, *basis):
            rest -= (rest @ one) * one
        if float(rest @ rest) > 1e-20 * float(row @ row):
            basis.append(rest / np.sqrt(rest @ rest))
    return np.stack(basis)


def check_sizes(sizes: Sequence[int], most: int, what: str = "neurons") -> list[int]:
    """Whole numbers from 1 to ``most``, ascending. Raises BadTable."""
    count = [int(n) for n in sizes]
    if not count or any(n < 1 or n > most for n in count) or count != list(sizes):
        raise BadTable(f"Numbers of {what} must be whole and from 1 to {most}, got {list(sizes)}.")
    return sorted(set(count))
