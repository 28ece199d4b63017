"""The grid on which a theory is solved: crossed columns, or the rows of a table."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sized
from typing import Any, cast

import numpy as np
import polars as pl

from kleiber.arguments import check_memory
from kleiber.errors import BadTable, listed, nearest, shown
from kleiber.table import as_frame

MAX_ROWS = 5_000_000  # largest crossed grid


def rows_of(grid: Any, known: Collection[str], predicted: Iterable[str]) -> pl.DataFrame:
    """Return the rows of a grid.

    A mapping of columns to a value or values is crossed, the last column running fastest; its
    columns must be among the `known`. The rows of a data frame are taken as they are, with any
    other columns they have. Raises BadTable, also for a column that is to be `predicted`.
    """
    frame = (
        crossed(cast("Mapping[str, Any]", grid), known)
        if isinstance(grid, Mapping)
        else as_frame(grid)
    )
    if frame.height == 0:
        raise BadTable("The grid has no rows; it needs at least one.")
    if taken := [name for name in predicted if name in frame.columns]:
        raise BadTable(
            f"The grid has a column {taken[0]!r} already, which is to be predicted; rename it."
        )
    return frame


def check_rows(rows: int, columns: int) -> None:
    """Raise ValueError if a simulated table of that many rows would not fit in memory."""
    check_memory(f"a table of {rows:,} rows", 8 * rows * columns, "ask for fewer seeds or points")


def crossed(grid: Mapping[str, Any], known: Collection[str]) -> pl.DataFrame:
    """Return every combination of the columns' values.

    Raises BadTable for an unknown name, an empty column or more than 5 million rows.
    """
    columns: dict[str, np.ndarray] = {}
    for name, values in grid.items():
        if name not in known:
            raise BadTable(
                f"The grid has no use for {shown(name)}; it takes {listed(known)}."
                f"{nearest(name, known)}"
            )
        accepted = f"Column {name!r} of the grid must be a value or a list of values"
        if isinstance(values, Sized) and not isinstance(values, str) and len(values) > MAX_ROWS:
            raise BadTable(
                f"Column {name!r} of the grid has {len(values):,} values; it may have up to "
                f"{MAX_ROWS:,}."
            )
        try:
            columns[name] = np.atleast_1d(np.asarray(values))
        except (ValueError, TypeError):
            raise BadTable(f"{accepted}, got {shown(values)}.") from None
        if columns[name].ndim > 1 or not columns[name].size or columns[name].dtype.kind in "OcV":
            raise BadTable(f"{accepted}, got {shown(values)}.")
    if not columns:
        raise BadTable(f"The grid has no columns; it takes {listed(known)}.")
    rows = math.prod(item.size for item in columns.values())
    if rows > MAX_ROWS:
        sizes = " x ".join(f"{item.size} {name}" for name, item in columns.items())
        raise BadTable(f"The grid has {rows:,} rows ({sizes}); it may have up to {MAX_ROWS:,}.")
    mesh = np.meshgrid(*columns.values(), indexing="ij")
    return pl.DataFrame({name: item.ravel() for name, item in zip(columns, mesh, strict=True)})
