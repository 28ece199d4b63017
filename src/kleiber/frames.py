"""Conversion of data frames of any library to polars, and back to the library that they came
from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.errors import BadTable, reason, shown
from kleiber.text_tables import POLARS_FAILURES, check_names, series_of


def as_frame(source: Any) -> pl.DataFrame:
    """Convert any data frame (polars, pandas, pyarrow, others through narwhals) or mapping to
    polars.

    The result shares no memory that the giver could still change. Raises BadTable.
    """
    if isinstance(source, pl.DataFrame):
        return source.clone()
    if isinstance(source, pl.LazyFrame):
        return source.collect()
    if isinstance(source, Mapping):
        return frame_of(cast("Mapping[Any, Any]", source))
    return foreign_frame(source)


def add_columns(source: Any, columns: Mapping[str, Float[np.ndarray, "rows"] | pl.Series]) -> Any:
    """Return a data frame with additional columns, in the library that it came from (a mapping as
    polars)."""
    if isinstance(source, pl.DataFrame | pl.LazyFrame | Mapping):
        frame = as_frame(cast("Any", source))
        return frame.with_columns(pl.Series(name, values) for name, values in columns.items())
    import narwhals as nw  # here, so that reading a file does not pay for its import

    frame = nw.from_native(source, eager_only=True)
    kind = frame.implementation
    own = {n: v.to_list() if isinstance(v, pl.Series) else v.copy() for n, v in columns.items()}
    added = [nw.new_series(name, values, backend=kind) for name, values in own.items()]
    return frame.with_columns(added).to_native()


def frame_of(source: Mapping[Any, Any]) -> pl.DataFrame:
    """Convert a mapping from names to equally long arrays or sequences to a frame."""
    for name, values in source.items():
        if isinstance(values, str) or not hasattr(values, "__len__") or np.ndim(values) == 0:
            raise BadTable(f"Column {name!r} is {shown(values)}, not a sequence of values.")
    lengths = {str(name): len(values) for name, values in source.items()}
    if len(set(lengths.values())) > 1:
        sizes = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
        raise BadTable(f"The columns differ in length: {sizes}.")
    check_names([str(name) for name in source], "The table")
    return copy_frame(pl.DataFrame([column_of(str(name), item) for name, item in source.items()]))


def foreign_frame(source: Any) -> pl.DataFrame:
    """Convert a data frame of another library to polars, column by column."""
    import narwhals as nw  # here, so that reading a file does not pay for its import

    try:
        frame = nw.from_native(source, eager_only=True)
        check_names([str(name) for name in frame.columns], "The table")
        columns = [(str(name), frame[name]) for name in frame.columns]
    except (TypeError, nw.exceptions.NarwhalsError) as error:
        raise BadTable(
            f"A table cannot be made from {type(source).__name__}: {reason(error)}; "
            "give a file name or a data frame."
        ) from error
    return copy_frame(pl.DataFrame([column_of(name, series) for name, series in columns]))


def column_of(name: str, values: Any) -> pl.Series:
    """Make one column from an array, a sequence or a narwhals series; mixed types become text."""
    if isinstance(values, list | tuple):
        return series_of(name, [_plain(item) for item in cast("list[Any]", values)])
    try:
        series = values.to_polars() if hasattr(values, "to_polars") else pl.Series(values)
        if series.dtype != pl.Object:
            return series.alias(name)
    except (ImportError, TypeError, ValueError, OverflowError, *POLARS_FAILURES):
        pass  # a column of mixed kinds: taken value by value below, where NaN is a missing value
    items = [_plain(item) for item in values]
    return series_of(name, [None if item != item else item for item in items])


def _plain(item: Any) -> Any:
    """Convert a NumPy scalar to a Python one, so that a list may hold both."""
    return cast("Any", item).item() if isinstance(item, np.generic) else item


def copy_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """Copy a frame into memory of its own (polars wraps NumPy, pandas and Arrow buffers without a
    copy)."""
    return frame.select(pl.all().gather(pl.int_range(pl.len()))) if frame.width else frame
