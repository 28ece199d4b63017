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

from kleiber.fitting.problem import Problem, minimise

MEMORY = 4_000_000  # entries of the weight matrix held at once


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
        ends = [
            minimise(
                problem,
                np.repeat(u[None], count, 0),
                weights,
                scale=np.full(count, scale),
                exact=True,
            )[0]
            for u in starts
        ]
        which = np.argmin([end.objective for end in ends], axis=0), np.arange(count)
        yield Refits(
            np.array([end.point for end in ends])[which],
            np.array([end.objective for end in ends])[which],
            np.array([end.converged for end in ends])[which],
            draws,
        )
