"""Refits to resampled tables: the draws behind every interval.

Each draw is a true refit: rows (or whole groups) are drawn with replacement (Efron 1979; Field &
Welsh 2007 for groups), and the objective is minimised again from the fitted optimum, all draws
advancing together. Numbers are drawn in draw order from one stream, so the result does not depend
on how the work is cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from kleiber.fitting.linear import tangent_refits
from kleiber.fitting.problem import Problem, minimise
from kleiber.maths.levenberg import Descent

MEMORY = 4_000_000  # entries of the weight matrix held at once
TOLERANCE = 1e-10  # relative, on the objective of each draw


@dataclass(frozen=True)
class Refits:
    """A run of consecutive draws: coordinates, objective at each, and whether it converged."""

    point: Float[np.ndarray, "draws params"]
    objective: Float[np.ndarray, "draws"]
    converged: Bool[np.ndarray, "draws"]
    total: int


def resample_weights(
    rng: np.random.Generator, draws: int, rows: int, groups: Int[np.ndarray, "rows"] | None
) -> Float[np.ndarray, "draws rows"]:
    """How often each row is drawn, for each draw."""
    units = rows if groups is None else int(groups.max()) + 1
    picked = rng.integers(0, units, size=(draws, units))
    picked += units * np.arange(draws)[:, None]
    counts = np.bincount(picked.ravel(), minlength=draws * units).reshape(draws, units)
    return (counts if groups is None else counts[:, groups]).astype(float)


def refit(
    problem: Problem,
    starts: Float[np.ndarray, "starts params"],
    scale: float,
    *,
    draws: int,
    groups: Int[np.ndarray, "rows"] | None,
    rng: np.random.Generator,
) -> Iterator[Refits]:
    """Yield the draws in runs that fit in memory, in order; each keeps the best of its starts."""
    rows = len(problem.target)
    chunk = max(1, min(500, MEMORY // rows))
    for first in range(0, draws, chunk):
        count = min(chunk, draws - first)
        weights = resample_weights(rng, count, rows, groups) * problem.weights
        if problem.kernel is None:
            near = tangent_refits(problem, starts[0], scale, weights)
        else:  # a compiled look at the law is as cheap as one at its tangent
            near = np.repeat(starts[:1], count, 0)
        best = _descend(problem, near, weights, scale)
        _retry(problem, best, starts[0], weights, scale, ~best.converged)
        for u in starts[1:]:
            _retry(problem, best, u, weights, scale, np.ones(count, bool))
        yield Refits(best.point, best.objective, best.converged, draws)


def _descend(problem: Problem, start: np.ndarray, weights: np.ndarray, scale: float) -> Descent:
    size = np.full(len(start), scale)
    return minimise(problem, start, weights, scale=size, exact=True, tolerance=TOLERANCE)[0]


def _retry(
    problem: Problem,
    best: Descent,
    u: np.ndarray,
    weights: np.ndarray,
    scale: float,
    which: np.ndarray,
) -> None:
    """Descend the draws ``which`` again from ``u`` and keep what ends lower."""
    rows = np.flatnonzero(which)
    if not rows.size:
        return
    again = _descend(problem, np.repeat(u[None], len(rows), 0), weights[rows], scale)
    lower = again.objective < best.objective[rows] * (1 - 1e-9)
    lower |= again.converged & ~best.converged[rows] & (again.objective <= best.objective[rows])
    best.point[rows[lower]] = again.point[lower]
    best.objective[rows[lower]] = again.objective[lower]
    best.converged[rows[lower]] = again.converged[lower]
