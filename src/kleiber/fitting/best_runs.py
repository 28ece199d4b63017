"""The best measured runs: those better than every smaller one, in one direction or the other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

MAX_RUNS = 100  # runs kept for one way to order them by size


def find_best_runs(
    columns: Mapping[str, Float[np.ndarray, "rows"]],
    target: str,
    y: Float[np.ndarray, "rows"],
) -> tuple[Mapping[str, float], ...]:
    """Return the runs whose target is lower, or higher, than that of all smaller runs, where size
    is the product of all variables or any one of them.

    Each run has its variables and its target. If there are more than 100 of an order, an even
    selection that keeps the best is returned.
    """
    with np.errstate(divide="ignore"):
        logs = [np.log(np.where(values > 0, values, np.nan)) for values in columns.values()]
    product = np.sum(logs, axis=0)
    sizes = [product, *columns.values()] if np.isfinite(product).all() else [*columns.values()]
    kept: set[int] = set()
    for size in sizes:
        for sign in (1.0, -1.0):
            kept.update(_find_records(size, sign * y).tolist())
    order = sorted(kept, key=lambda row: (float(y[row]), row))
    return tuple(
        {**{name: float(values[row]) for name, values in columns.items()}, target: float(y[row])}
        for row in order
    )


def _find_records(
    size: Float[np.ndarray, "rows"], y: Float[np.ndarray, "rows"]
) -> Int[np.ndarray, "records"]:
    """Return the rows whose value is below that of all smaller rows; of equal sizes the lowest."""
    order = np.lexsort((y, size))
    lowest = np.minimum.accumulate(y[order])
    rows = order[np.concatenate([[True], lowest[1:] < lowest[:-1]])]
    if len(rows) <= MAX_RUNS:
        return rows
    return rows[np.unique(np.linspace(0, len(rows) - 1, MAX_RUNS).round().astype(int))]


def find_outermost(
    columns: Mapping[str, Float[np.ndarray, "rows"]],
) -> tuple[Mapping[str, float], ...]:
    """Return the rows that no other row exceeds in every variable (at most 100, largest first)."""
    rows = np.unique(np.stack(list(columns.values()), axis=1), axis=0)[::-1]
    front: list[np.ndarray] = []
    for row in rows:
        if not any((row <= other).all() for other in front):
            front.append(row)
        if len(front) == MAX_RUNS:
            break
    return tuple(dict(zip(columns, row.tolist(), strict=True)) for row in front)
