"""Batch: the distinct counts of many groups as rectangular arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from jaxtyping import Float, Int

from kleiber.attempts.table import Counts


@dataclass(frozen=True)
class Batch:
    """The distinct (attempts, successes) of each group, and how many problems have each of them.

    Rows are padded with cells of weight 0. Weights need not be whole. ``pairs`` are the distinct
    (attempts, successes) of all groups, and ``pair_index`` is the row of ``pairs`` of each cell.
    """

    attempts: Float[np.ndarray, "groups cells"]
    successes: Float[np.ndarray, "groups cells"]
    weights: Float[np.ndarray, "groups cells"]
    pair_index: Int[np.ndarray, "groups cells"]
    pairs: Float[np.ndarray, "pairs 2"]

    def __len__(self) -> int:
        return len(self.weights)

    def take(self, which: Int[np.ndarray, "some"]) -> Batch:
        """Return some of the groups, which may repeat."""
        return Batch(
            self.attempts[which],
            self.successes[which],
            self.weights[which],
            self.pair_index[which],
            self.pairs,
        )

    @property
    def problems(self) -> Float[np.ndarray, "groups"]:
        """Number of problems of each group."""
        return self.weights.sum(1)

    @property
    def solved(self) -> Float[np.ndarray, "groups"]:
        """Number of problems with at least one success."""
        return (self.weights * (self.successes > 0)).sum(1)

    @property
    def mean(self) -> Float[np.ndarray, "groups"]:
        """Mean share of successes over problems."""
        return (self.weights * self.successes / self.attempts).sum(1) / self.problems


def pack(counts: Counts, multiplicity: Float[np.ndarray, "draws problems"] | None = None) -> Batch:
    """Return the counts as a batch, or as ``draws`` batches one after the other (draw-major).

    ``multiplicity`` is the weight of each distinct problem in each draw, equal in all groups, so
    that groups that share problems are resampled together.
    """
    groups = len(counts.names)
    cells, row_cell, column = _distinct_cells(counts)
    pairs, cell_pair = np.unique(cells[1:].T, axis=0, return_inverse=True)
    owner = cells[0].astype(int)
    width = int(np.bincount(owner, minlength=groups).max())
    pair_index = np.zeros((groups, width), int)
    pair_index[owner, column] = cell_pair.ravel()
    draws = 1 if multiplicity is None else len(multiplicity)
    weights = np.zeros((draws, groups, width))
    each = 1.0 if multiplicity is None else multiplicity[:, counts.problem]
    where: Any = (slice(None), owner[row_cell], column[row_cell])
    np.add.at(weights, where, each)
    again = np.tile(pair_index, (draws, 1))
    return Batch(
        pairs[again, 0], pairs[again, 1], weights.reshape(draws * groups, width), again, pairs
    )


def place_problems(counts: Counts) -> Int[np.ndarray, "groups problems"]:
    """Return the column of ``pack(counts)`` that holds each problem of each group, -1 where a
    group does not have the problem."""
    _, row_cell, column = _distinct_cells(counts)
    out = np.full((len(counts.names), int(counts.problem.max()) + 1), -1)
    out[counts.group, counts.problem] = column[row_cell]
    return out


def _distinct_cells(counts: Counts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct (group, attempts, successes), the cell of each row, and the place of each
    cell within its group."""
    code = np.stack([counts.group, counts.attempts, counts.successes])
    cells, row_cell = np.unique(code, axis=1, return_inverse=True)
    first = cast("np.ndarray", np.searchsorted(cells[0], cells[0]))
    return cells, row_cell.ravel(), np.arange(len(first)) - first
