"""Filters: one SQL condition on the rows of a table.

A condition may only read the columns of its own table. Queries inside it, which could read other
files and the network through table functions, are refused before anything is parsed. Arithmetic is
done in float64, because integers would overflow.
"""

from __future__ import annotations

import re

import polars as pl

from kleiber.errors import BadTable, shown

MAX_LENGTH = 10_000  # characters; polars' SQL parser recurses without a limit of its own
CONDITION = "\0 kept"  # a column name that no table has
ARITHMETIC = re.compile(r"[-+*/%(]")  # what a filter that computes contains
TOKEN = re.compile(
    r"(?P<comment>--|/\*|#)|(?P<text>'(?:[^']|'')*')|(?P<name>\"(?:[^\"]|\"\")*\"|`[^`]*`)"
    r"|(?P<word>\w+)|(?P<other>[$;])",
    re.DOTALL,
)
QUERY = frozenset("select from table values with union intersect except join into lateral".split())
READERS = re.compile(r"(read|scan)_\w+$")


def check_condition(where: str) -> None:
    """Raise BadTable unless a filter is one condition: no query, no comment, no statement."""
    if len(where) > MAX_LENGTH:
        raise BadTable(f"The filter has {len(where)} characters; at most {MAX_LENGTH} are read.")
    for token in TOKEN.finditer(where):
        word = (token["word"] or "").lower()
        if token["comment"] or token["other"]:
            raise BadTable(
                f"The filter {shown(where)} holds {token.group()!r}; a filter is one condition on "
                "the columns, without comments and statements."
            )
        if word in QUERY or READERS.match(word) or READERS.match(_strip_quotes(token["name"])):
            raise BadTable(
                f"The filter {shown(where)} holds {token.group()!r}; a filter is one condition on "
                "the columns of its own table, never a query. A column of that name is written in "
                "double quotes."
            )


def retype(kept: pl.DataFrame, whole: pl.DataFrame) -> pl.DataFrame:
    """Convert text columns of the kept rows to numbers if only dropped rows held other text."""
    if kept.height == whole.height:
        return kept
    changed: list[pl.Series] = []
    for series in kept.get_columns():
        if series.dtype != pl.String or series.null_count() == len(series):
            continue
        as_numbers = series.str.strip_chars().cast(pl.Float64, strict=False)
        if as_numbers.null_count() == series.null_count():
            changed.append(as_numbers)
    return kept.with_columns(changed)


def mark_missing(series: pl.Series) -> pl.Series:
    """Mark where a column has no value: null, NaN, or an empty text."""
    missing = series.is_null()
    if series.dtype.is_float():
        return missing | series.is_nan().fill_null(False)
    if series.dtype == pl.String:
        empty = series.str.strip_chars().str.to_lowercase().is_in(["", "nan", "na", "null", "none"])
        return missing | empty.fill_null(False)
    return missing


def _strip_quotes(name: str | None) -> str:
    """Return a quoted name without its quotes."""
    return (name or "")[1:-1].lower()


def mark_rows(table: pl.DataFrame, where: str, condition: pl.Expr) -> pl.Series:
    """Return the value of the condition in every row, its arithmetic in float64."""
    if ARITHMETIC.search(where):
        table = table.with_columns(
            pl.col(name).cast(pl.Float64)
            for name, kind in table.schema.items()
            if kind.is_numeric()
        )
    return table.with_columns(condition.alias(CONDITION))[CONDITION]
