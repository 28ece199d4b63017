"""The runs of two systems as the rows of one law: pairs of equal size as means and differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Array = np.ndarray
SAME = 0.02  # largest difference of logs of columns that count as the same size
OTHER, DIFFERENCE, MEAN = 0, 1, 2  # kinds of rows


@dataclass(frozen=True)
class Runs:
    """The runs of one system: logs of their columns and target, one row a size, and the number of
    runs of that size."""

    x: Float[np.ndarray, "sizes columns"]
    y: Float[np.ndarray, "sizes"]
    count: Float[np.ndarray, "sizes"]


@dataclass(frozen=True)
class Sites:
    """Rows of the joint law: a row is ``first`` log L_A + ``second`` log L_B at x."""

    x: Float[np.ndarray, "rows columns"]
    y: Float[np.ndarray, "rows"]
    first: Float[np.ndarray, "rows"]
    second: Float[np.ndarray, "rows"]
    count: Float[np.ndarray, "rows"]
    kind: Float[np.ndarray, "rows"]

    @property
    def pairs(self) -> int:
        """Number of sizes that both systems have."""
        return int((self.kind == DIFFERENCE).sum())

    @property
    def factor(self) -> Float[np.ndarray, "rows"]:
        """What rows are multiplied by so that independent noise is the same in all."""
        return np.choose(self.kind.astype(int), [2**-0.5, 0.5, 1.0])


def average_sizes(x: Float[Array, "rows columns"], y: Float[Array, "rows"]) -> Runs:
    """Return the mean log target of the runs of each size."""
    sizes, places, counts = np.unique(x, axis=0, return_inverse=True, return_counts=True)
    means = np.bincount(places.ravel(), weights=y, minlength=len(sizes)) / counts
    return Runs(sizes, means, counts.astype(float))


def join_systems(a: Runs, b: Runs) -> Sites:
    """Return the rows of both systems, those of the same size as their mean and difference."""
    gaps = np.abs(a.x[:, None] - b.x[None]).max(axis=-1)
    partner = {i: int(gaps[i].argmin()) for i in range(len(a.y)) if gaps[i].min() < SAME}
    taken: dict[int, int] = {}
    for i, j in partner.items():
        if j not in taken or gaps[i, j] < gaps[taken[j], j]:
            taken[j] = i
    rows: list[tuple[Array, float, float, float, float, int]] = []
    for j, i in taken.items():
        count = 2 / (1 / a.count[i] + 1 / b.count[j])
        rows.append((a.x[i], (a.y[i] + b.y[j]) / 2, 0.5, 0.5, count, MEAN))
        rows.append((a.x[i], b.y[j] - a.y[i], -1.0, 1.0, count, DIFFERENCE))
    for i in set(range(len(a.y))) - set(taken.values()):
        rows.append((a.x[i], a.y[i], 1.0, 0.0, a.count[i], OTHER))
    for j in set(range(len(b.y))) - set(taken):
        rows.append((b.x[j], b.y[j], 0.0, 1.0, b.count[j], OTHER))
    columns = [np.array(each, dtype=float) for each in zip(*rows, strict=True)]
    return Sites(*columns)
