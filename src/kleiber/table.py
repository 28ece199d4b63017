"""Tables: a polars frame in long form, one row for each measurement, checked when it is read.

`read_table` takes a file or any data frame and applies, in this order, rename, derive, where.
Columns are checked when they are used as numbers, so unused columns may hold anything. Rows are
counted from 1 without the header, or as in the file if the command line read it. Every error is a
BadTable (BadFormula for a derived column that cannot be parsed) with one sentence.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.columns import COLUMNS, FILE_ROW
from kleiber.errors import BadTable, listed, nearest, reason, shown
from kleiber.filters import check_condition, mark_missing, mark_rows, retype
from kleiber.formats import number_rows, read_file, write_file
from kleiber.formula import evaluate, parse, symbols
from kleiber.frames import add_columns as add_columns
from kleiber.frames import as_frame as as_frame
from kleiber.rows import given_columns, name_row
from kleiber.text_tables import POLARS_FAILURES


def read_table(
    source: Any,
    *,
    rename: Mapping[str, str] | None = None,
    where: str | None = None,
    derive: Mapping[str, str] | None = None,
    weights: str | None = None,
    skip_missing: str | Sequence[str] = (),
    keep_rows: bool = False,
) -> pl.DataFrame:
    """Read a table of runs from a file or from any data frame.

    The steps are done in this order: rename, derive, where, skip missing values.

    Parameters
    ----------
    source
        A path to a .csv, .parquet, .jsonl, .ndjson or .npz file, a data frame (polars, pandas,
        pyarrow and others), or a mapping from names to columns.
    rename
        New names of columns, ``{old: new}``.
    where
        A SQL expression for which rows are kept, such as ``"epoch_kept = true"``.
    derive
        Columns to add, each from a formula of others: ``{"flops": "6*n_params*n_tokens"}``.
    weights
        A column that must hold weights that a fit can use: finite, none negative, not all zero.
    skip_missing
        A column, or several: rows without a value in it are dropped, with a warning that says how
        many.
    keep_rows
        Whether to add the column ``file_row``, by which messages name a row as it is numbered in
        the file.

    Returns
    -------
    polars.DataFrame
        One row for each measurement. Columns that nobody asked for pass through and may hold
        anything.

    Raises
    ------
    BadTable
        For a file that cannot be read, a column that is missing, and a table without rows.
    BadFormula
        For a formula in ``derive`` that cannot be parsed.

    Examples
    --------
    >>> import kleiber
    >>> log = {"Model Size": [1e6, 1e7], "loss": [3.2, 2.9], "state": ["done", "crashed"]}
    >>> runs = kleiber.read_table(
    ...     log,
    ...     rename={"Model Size": "n_params"},
    ...     derive={"flops": "120 * n_params**2"},
    ...     where="state = 'done'",
    ... )
    >>> runs.select("n_params", "loss", "flops").rows()
    [(1000000.0, 3.2, 120000000000000.0)]
    """
    if isinstance(source, str | os.PathLike):
        place = cast("str | os.PathLike[str]", source)
        table = read_file(place)
        rows = number_rows(place, table) if keep_rows else np.arange(0)
    else:
        table = as_frame(source)
        rows = np.arange(table.height) + 1
    if keep_rows and FILE_ROW not in table.columns:
        table = table.with_columns(pl.Series(FILE_ROW, rows))
    if table.height == 0 or table.width == 0:
        raise BadTable("The table has no rows; it needs at least one.")
    table = renamed(table, rename or {})
    table = derived(table, derive or {})
    if where is not None:
        table = filtered(table, where, renames=rename or {})
    for column in [skip_missing] if isinstance(skip_missing, str) else skip_missing:
        table = without_missing(table, column)
    for column in derive or {}:
        numbers(table, column)
    if weights is not None:
        check_weights(table, weights)
    return table


def write_table(table: Any, path: str | os.PathLike[str]) -> None:
    """Write a table to a file, which appears whole or not at all.

    Parameters
    ----------
    table
        Any data frame, or a mapping from names to columns.
    path
        A path that ends in .csv, .parquet, .jsonl, .ndjson or .npz, which says the format.

    Raises
    ------
    BadTable
        For any other suffix, and for values that the format cannot hold.
    OSError
        Where the file cannot be written.

    Examples
    --------
    >>> import kleiber, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "runs.csv"
    >>> kleiber.write_table({"n_params": [1e6, 1e7], "loss": [3.2, 2.9]}, path)
    >>> print(path.read_text().strip())
    n_params,loss
    1000000.0,3.2
    10000000.0,2.9
    """
    write_file(as_frame(table), path)


def read_tables(folder: str | os.PathLike[str]) -> pl.DataFrame:
    """Read all Parquet files of a folder, in the order of their names, as one table.

    A column that a file lacks is missing (null) in its rows. Raises BadTable.
    """
    place = Path(folder)
    if not place.is_dir():
        raise BadTable(f"There is no folder {str(place)!r} to read Parquet files from.")
    files = sorted(file for file in place.glob("*.parquet") if not file.name.startswith("."))
    if not files:
        raise BadTable(f"The folder {str(place)!r} holds no .parquet files.")
    tables = [read_file(file) for file in files]
    kinds: dict[str, tuple[str, Path]] = {}
    for file, table in zip(files, tables, strict=True):
        for series in table.get_columns():
            if (kind := kind_of(series)) == "nothing":
                continue
            before, first = kinds.setdefault(series.name, (kind, file))
            if kind != before:
                raise BadTable(
                    f"Column {series.name!r} holds {before} in {str(first)!r} but {kind} in "
                    f"{str(file)!r}."
                )
    try:
        return pl.concat(tables, how="diagonal_relaxed")
    except POLARS_FAILURES as error:
        raise BadTable(f"The files of {str(place)!r} cannot be joined: {reason(error)}.") from error


def renamed(table: pl.DataFrame, rename: Mapping[str, str]) -> pl.DataFrame:
    """Rename columns by {old: new}; a rename in the wrong direction raises a BadTable that says
    so."""
    for old, new in rename.items():
        if old not in table.columns and new in table.columns:
            raise BadTable(
                f"The rename of {new!r} to {old!r} is the wrong way round: in Python write "
                f"rename={{{new!r}: {old!r}}}, on the command line --rename {old}={_quoted(new)}."
            )
        if old not in table.columns:
            known = given_columns(table)
            raise BadTable(
                f"Cannot rename {old!r} to {new!r}: the table has no column {old!r}; it has "
                f"{listed(known)}.{nearest(old, known)} (Renames read {{old: new}} in Python, "
                "new=old on the command line.)"
            )
    after = [rename.get(name, name) for name in table.columns]
    for old, new in rename.items():
        if after.count(new) > 1:
            raise BadTable(f"Cannot rename {old!r} to {new!r}: there is a column {new!r} already.")
    return table.rename(dict(rename))


def derived(table: pl.DataFrame, derive: Mapping[str, str]) -> pl.DataFrame:
    """Add columns computed from formulas, in order; later ones may use earlier ones.

    A missing input gives NaN here; `read_table` refuses what is left of them after the filter.
    """
    for name, text in derive.items():
        if name in table.columns:
            raise BadTable(f"Cannot derive {name!r}: the table has a column {name!r} already.")
        formula = parse(text)
        names = sorted(symbols(formula))
        require(table, names)
        values = evaluate(formula, {column: floats(table, column) for column in names})
        table = table.with_columns(pl.Series(name, np.broadcast_to(values, table.height).copy()))
    return table


def filtered(table: pl.DataFrame, where: str, *, renames: Mapping[str, str]) -> pl.DataFrame:
    """Return the rows for which the SQL expression `where` holds; raise BadTable if there are
    none."""
    check_condition(where)
    try:
        condition = pl.sql_expr(where)
        for name in condition.meta.root_names():
            if name in table.columns:
                continue
            hint = nearest(name, given_columns(table))
            if name in renames:
                hint = f" It was renamed to {renames[name]!r}."
            elif f'"{name}"' in where:
                hint += f" Text values go in single quotes, '{name}'."
            raise BadTable(
                f"The filter {shown(where)} uses the column {name!r}, which the table lacks; it "
                f"has {listed(given_columns(table))}.{hint}"
            )
        mask = mark_rows(table, where, condition)
        if mask.dtype != pl.Boolean and mask.dtype != pl.Null:
            raise BadTable(f"The filter {shown(where)} is {kind_of(mask)}, not true or false.")
        kept = table.filter(mask)
    except POLARS_FAILURES as error:
        raise BadTable(
            f"The filter {shown(where)} does not work: {reason(error)}; write SQL such as "
            '"epoch_kept = true" or "n_params > 1e6", names with spaces in double quotes.'
        ) from error
    if kept.height == 0:
        raise BadTable(f"The filter {shown(where)} keeps none of the {table.height} rows.")
    return retype(kept, table)


def without_missing(table: pl.DataFrame, column: str) -> pl.DataFrame:
    """Return the rows that have a value in a column, with a warning that counts the others."""
    require(table, [column])
    missing = mark_missing(table[column])
    if not missing.any():
        return table
    kept = table.filter(~missing)
    if kept.height == 0:
        raise BadTable(f"None of the {table.height} rows has a value in column {column!r}.")
    warnings.warn(
        f"{table.height - kept.height} of {table.height} rows have no value in column {column!r} "
        "and are left out.",
        UserWarning,
        stacklevel=3,
    )
    return retype(kept, table)


def require(table: pl.DataFrame, columns: Iterable[str]) -> None:
    """Raise BadTable, with the nearest name there is, for the first column the table lacks."""
    for name in columns:
        if name in table.columns:
            continue
        given = given_columns(table)
        aliases = COLUMNS[name].aliases if name in COLUMNS else ()
        known = next((alias for alias in aliases if alias in given), None)
        hint = f" Did you mean {known!r}?" if known else nearest(name, given)
        old = known or (hint.split("'")[1] if hint else "old")
        raise BadTable(
            f"The table has no column {name!r}; it has {listed(given)}.{hint} To rename, "
            f"write rename={{{old!r}: {name!r}}} in Python, --rename {name}={_quoted(old)} on the "
            "command line."
        )


def _quoted(name: str) -> str:
    """Return a name as it is typed in a shell."""
    return f'"{name}"' if " " in name else name


def kind_of(series: pl.Series) -> str:
    """Return what a column holds in a word for messages; "nothing" if it has no value at all."""
    dtype = series.dtype
    if series.null_count() == len(series):
        return "nothing"
    if dtype.is_numeric():
        return "numbers"
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return "text"
    words = {"Boolean": "booleans", "Binary": "bytes"}
    return words.get(str(dtype), f"values of type {dtype}")


def floats(table: pl.DataFrame, column: str) -> Float[np.ndarray, "rows"]:
    """Return a column of numbers as float64, missing values as NaN; raise BadTable for anything
    else."""
    require(table, [column])
    series = table[column]
    kind = kind_of(series)
    if kind == "text":
        text = series.cast(pl.String)
        wrong = (text.cast(pl.Float64, strict=False).is_null() & text.is_not_null()).arg_max() or 0
        raise BadTable(
            f"Column {column!r} must hold numbers but holds text: {shown(text[wrong])} in "
            f"{name_row(table, wrong)}."
        )
    if kind == "nothing":
        return np.full(table.height, np.nan)
    if kind != "numbers":
        raise BadTable(f"Column {column!r} must hold numbers but holds {kind}.")
    return series.cast(pl.Float64).to_numpy(writable=True)


def numbers(
    table: pl.DataFrame, column: str, *, positive: bool = False
) -> Float[np.ndarray, "rows"]:
    """Return a column as finite float64 numbers in a new writable array, in the unit of the column.

    Raises BadTable with row and value for text, booleans, missing values, NaN and infinities, and
    with `positive` (where a logarithm is taken) for zero and negative numbers.
    """
    values = floats(table, column)
    missing = table[column].is_null().to_numpy()
    for wrong, what in (
        (missing, "a missing value"),
        (~np.isfinite(values), "a value that is not finite"),
        (values <= 0 if positive else np.zeros(len(values), bool), "a value that is not positive"),
    ):
        if wrong.any():
            row = int(np.argmax(wrong))
            value = "" if wrong is missing else f", {values[row]:g}"
            why = "; its logarithm is needed" if positive and np.isfinite(values[row]) else ""
            if not np.isfinite(values[row]):
                why = f" (to drop such rows: skip_missing={column!r}, --skip-missing)"
            raise BadTable(f"Column {column!r} has {what}{value}, in {name_row(table, row)}{why}.")
    return values


def check_weights(table: pl.DataFrame, column: str) -> Float[np.ndarray, "rows"]:
    """Return the weights in a column; raise BadTable unless they are finite, not negative, and not
    all zero."""
    values = numbers(table, column)
    if (values < 0).any():
        row = int(np.argmax(values < 0))
        raise BadTable(
            f"Weight {values[row]:g} in {name_row(table, row)} of {column!r} is negative."
        )
    if not values.any():
        raise BadTable(f"All weights in column {column!r} are zero.")
    return values


def warn_duplicates(table: pl.DataFrame, columns: Iterable[str]) -> None:
    """Warn, once, with the number of rows that repeat an earlier row in all of `columns`."""
    names = list(columns)
    require(table, names)
    repeats = table.height - table.select(names).n_unique()
    if repeats:
        warnings.warn(
            f"{repeats} of {table.height} rows repeat an earlier row in {listed(names)}; each is "
            "counted as a measurement of its own.",
            UserWarning,
            stacklevel=3,
        )


def digest(table: pl.DataFrame) -> str:
    """Return a SHA-256 of the rows, the same for the same values in any file format and column
    order.

    Numbers count as float64, so 1 and 1.0 are the same; the order of the rows matters.
    """
    total = hashlib.sha256(str(table.height).encode())
    for name in sorted(given_columns(table)):
        series = table[name]
        kind = kind_of(series)
        missing = series.is_null().to_numpy()
        if kind in ("numbers", "nothing"):
            values = floats(table, name) + 0.0  # -0.0 is 0.0
            values[np.isnan(values)] = np.nan  # all NaN have the same bits
            data = values.astype("<f8").tobytes()
        else:
            data = json.dumps([None if item is None else str(item) for item in series]).encode()
        for part in (name.encode(), kind.encode(), data):
            total.update(len(part).to_bytes(8, "little") + part)
        total.update(missing.tobytes())
    return total.hexdigest()
