"""Family: a distribution of the success probability over problems.

A family has unbounded coordinates u, one row for each group; its named parameters are functions of
u. All log-likelihoods leave out the binomial coefficients, so they also hold for attempts that
stopped on success: only p**c (1-p)**(n-c) enters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from kleiber.attempts.batch import Batch

Coordinates = Float[np.ndarray, "groups coordinates"]
Value = Callable[[Coordinates, Batch], Float[np.ndarray, "groups"]]
Cells = Callable[[Coordinates, Batch], Float[np.ndarray, "groups cells"]]


class Score(NamedTuple):
    """The log-likelihood with its first and second derivatives with respect to the coordinates."""

    value: Float[np.ndarray, "groups"]
    gradient: Float[np.ndarray, "groups coordinates"]
    hessian: Float[np.ndarray, "groups coordinates coordinates"]


@dataclass(frozen=True)
class Family:
    """A named distribution over problems.

    ``params`` are the names of the values that ``to_params`` returns for coordinates; ``exponent``
    is the power of k with which failure falls for large k. ``limits`` maps the end of a
    coordinate's range, beyond which the law no longer changes, to the sentence that describes that
    limit. ``tolerance`` is the gain in log-likelihood at which a fit stops; ``rays`` is the number
    of rays of a contour; ``cells`` is the log-likelihood of each cell, whose weighted sum is
    ``value``.
    """

    name: str
    doc: str
    params: tuple[str, ...]
    exponent: str
    start: Callable[[Batch], Coordinates]
    to_params: Callable[[Coordinates], Mapping[str, Float[np.ndarray, "groups"]]]
    value: Value
    score: Callable[[Coordinates, Batch], Score]
    log_failure: Callable[[Coordinates, Float[np.ndarray, "k"]], Float[np.ndarray, "groups k"]]
    low: tuple[float, ...]
    high: tuple[float, ...]
    limits: Mapping[tuple[int, str], str]
    tolerance: float = 1e-9
    rays: int | None = None
    cells: Cells | None = None


def sum_cells(cells: Cells) -> Value:
    """Return the log-likelihood of each group as a function, from that of its cells."""

    def value(u: Coordinates, batch: Batch) -> Float[np.ndarray, "groups"]:
        return (batch.weights * cells(u, batch)).sum(1)

    return value


def finite_difference_score(
    value: Value, step: float = 1e-3
) -> Callable[[Coordinates, Batch], Score]:
    """Return the score of a log-likelihood by central differences.

    All points of the stencil are evaluated in one call.
    """

    def score(u: Coordinates, batch: Batch) -> Score:
        groups, p = u.shape
        pairs = [(i, j) for i in range(p) for j in range(i)]
        offsets: list[np.ndarray] = [np.zeros(p)]
        for i in range(p):
            offsets += [step * np.eye(p)[i], -step * np.eye(p)[i]]
        for i, j in pairs:
            both = step * (np.eye(p)[i] + np.eye(p)[j])
            offsets += [both, -both]
        points = (np.stack(offsets)[:, None, :] + u[None]).reshape(-1, p)
        repeated = np.asarray(np.arange(len(offsets) * groups) % groups, dtype=np.int64)
        again = batch.take(repeated)
        at = value(points, again).reshape(len(offsets), groups)
        up, down = at[1 : 2 * p + 1 : 2], at[2 : 2 * p + 1 : 2]
        gradient = (up - down).T / (2 * step)
        hessian = np.empty((groups, p, p))
        diagonal = (up + down - 2 * at[0]) / step**2
        for i in range(p):
            hessian[:, i, i] = diagonal[i]
        for n, (i, j) in enumerate(pairs):
            cross = at[2 * p + 1 + 2 * n] + at[2 * p + 2 + 2 * n] - 2 * at[0]
            hessian[:, i, j] = hessian[:, j, i] = (cross / step**2 - diagonal[i] - diagonal[j]) / 2
        return Score(at[0], gradient, hessian)

    return score
