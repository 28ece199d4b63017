"""Measurements: the columns of a table as checked arrays."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from kleiber.errors import BadTable, listed, nearest
from kleiber.frames import as_frame
from kleiber.rows import given_columns
from kleiber.table import check_weights, digest, numbers


@dataclass(frozen=True, eq=False)
class Measurements:
    """The rows of a table as arrays: variables, target, weights (1 without a column of weights),
    and the number of each row's group if rows are grouped.

    ``frame`` is the table itself, for row names in messages and for columns that no law reads.
    """

    frame: pl.DataFrame
    columns: Mapping[str, Float[np.ndarray, "rows"]]
    target: Float[np.ndarray, "rows"]
    weights: Float[np.ndarray, "rows"]
    groups: Int[np.ndarray, "rows"] | None

    def __len__(self) -> int:
        return len(self.target)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the whole table (``table.digest``)."""
        return digest(self.frame)


def take_columns(
    table: Any, names: Iterable[str], positive: Collection[str] = ()
) -> tuple[pl.DataFrame, dict[str, Float[np.ndarray, "rows"]]]:
    """Return a table as a frame, and some of its columns as finite numbers. Raises BadTable."""
    frame = as_frame(table)
    return frame, {name: numbers(frame, name, positive=name in positive) for name in names}


def take_measurements(
    table: Any,
    variables: Iterable[str],
    target: str,
    *,
    positive: Collection[str] = (),
    weights: str | None = None,
    by: str | None = None,
) -> Measurements:
    """Return the rows of a table with what a fit needs of them; raise BadTable for a wrong cell.

    ``positive`` names the variables, or the target, whose logarithm is taken; ``weights`` and
    ``by`` name the columns of row weights and of groups.
    """
    frame, columns = take_columns(table, variables, positive)
    y = numbers(frame, target, positive=target in positive)
    w = np.ones(len(y)) if weights is None else check_weights(frame, weights)
    return Measurements(frame, columns, y, w, None if by is None else number_groups(frame, by))


def number_groups(frame: pl.DataFrame, by: str) -> Int[np.ndarray, "rows"]:
    """Return the number, from 0, of each row's group: its value in the column ``by``."""
    if by not in frame.columns:
        raise BadTable(
            f"No column {by!r} to group by; the table has {listed(given_columns(frame))}."
            f"{nearest(by, given_columns(frame))}"
        )
    series = frame[by]
    missing = series.is_null() | (series.is_nan() if series.dtype.is_float() else False)
    if missing.any():
        raise BadTable(
            f"Column {by!r} to group by has a missing value, in row "
            f"{(missing.arg_max() or 0) + 1} of {len(frame)}."
        )
    return series.rank("dense").to_numpy().astype(np.int64) - 1
