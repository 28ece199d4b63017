"""Family: a distribution of the success probability over problems, as the fit needs it.

A family lives in unbounded coordinates u, one row of them for each group; its parameters in words
are functions of u. All logarithms of likelihoods leave out the binomial coefficients, so they hold
for attempts that stopped on success too: only p**c (1-p)**(n-c) enters.
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
    """Log-likelihood with its first and second derivatives by the coordinates."""

    value: Float[np.ndarray, "groups"]
    gradient: Float[np.ndarray, "groups coordinates"]
    hessian: Float[np.ndarray, "groups coordinates coordinates"]


@dataclass(frozen=True)
class Family:
    """A named distribution over problems.

    ``params`` are the names of what ``outer`` returns for coordinates; ``exponent`` is the one
    that is the power of k with which failure falls in the end. ``limits`` are the coordinates
    beyond which the law no longer changes, and what it has become there. ``settled`` is the gain
    in log-likelihood at which a fit stops; ``rays`` are as many as a contour is traced along;
    ``cells`` is the log-likelihood of each cell, of which ``value`` is the weighted sum.
    """

    name: str
    doc: str
    params: tuple[str, ...]
    exponent: str
    start: Callable[[Batch], Coordinates]
    outer: Callable[[Coordinates], Mapping[str, Float[np.ndarray, "groups"]]]
    value: Value
    score: Callable[[Coordinates, Batch], Score]
    log_failure: Callable[[Coordinates, Float[np.ndarray, "k"]], Float[np.ndarray, "groups k"]]
    low: tuple[float, ...]
    high: tuple[float, ...]
    limits: Mapping[tuple[int, str], str]
    settled: float = 1e-9
    rays: int | None = None
    cells: Cells | None = None


def summed(cells: Cells) -> Value:
    """The log-likelihood of each group from that of its cells."""

    def value(u: Coordinates, batch: Batch) -> Float[np.ndarray, "groups"]:
        return (batch.weights * cells(u, batch)).sum(1)

    return value


def differenced(value: Value, step: float = 1e-3) -> Callable[[Coordinates, Batch], Score]:
    """Score of a log-likelihood without derivatives of its own, by central differences.

    All points of the stencil are evaluated in one call.
    """

    def score(u: Coordinates, batch: Batch) -> Score:
        groups, p = u.shape
        pairs = [(i, j) for i in range(p) for j in range(i)]
        moves: list[np.ndarray] = [np.zeros(p)]
        for i in range(p):
            moves += [step * np.eye(p)[i], -step * np.eye(p)[i]]
        for i, j in pairs:
            both = step * (np.eye(p)[i] + np.eye(p)[j])
            moves += [both, -both]
        points = (np.stack(moves)[:, None, :] + u[None]).reshape(-1, p)
        repeated = np.asarray(np.arange(len(moves) * groups) % groups, dtype=np.int64)
        again = batch.take(repeated)
        at = value(points, again).reshape(len(moves), groups)
        up, down = at[1 : 2 * p + 1 : 2], at[2 : 2 * p + 1 : 2]
        gradient = (up - down).T / (2 * step)
        hessian = np.empty((groups, p, p))
        own = (up + down - 2 * at[0]) / step**2
        for i in range(p):
            hessian[:, i, i] = own[i]
        for n, (i, j) in enumerate(pairs):
            cross = at[2 * p + 1 + 2 * n] + at[2 * p + 2 + 2 * n] - 2 * at[0]
            hessian[:, i, j] = hessian[:, j, i] = (cross / step**2 - own[i] - own[j]) / 2
        return Score(at[0], gradient, hessian)

    return score
