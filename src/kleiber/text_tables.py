"""Text tables: conversion of CSV and JSON Lines to a polars frame, with the line of every fault.

A file is first scanned in pieces, so that an endless line is refused before it fills the memory.
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
from jaxtyping import Int

from kleiber.errors import BadTable, reason, shown

MAX_LINE = 16 * 2**20  # bytes; a longer line is no table of runs
PIECE_BYTES = 2**20  # bytes scanned at a time
TYPED_ROWS = 2**12  # rows of which the types of a CSV file's columns are read first
LONG_INTEGER = 10**17  # integers this long may not fit in 64 bits
LONG_DIGITS = re.compile(r"\d{18}")
# What damaged data makes polars raise: its own errors, and a panic of its compiled core.
POLARS_FAILURES = (pl.exceptions.PolarsError, pl.exceptions.PanicException)


def named(file: Path) -> str:
    """Return the name of a file in messages."""
    return repr(str(file))


def scan_lines(file: Path) -> None:
    """Refuse, without loading it, a text file with a line over MAX_LINE or a NUL byte."""
    length = 0
    with file.open("rb") as handle:
        while piece := handle.read(PIECE_BYTES):
            end = piece.find(b"\n")
            if length + (len(piece) if end < 0 else end) > MAX_LINE:
                raise BadTable(
                    f"{named(file)} has a line longer than {MAX_LINE // 2**20} MB; "
                    "it is no table with one row on each line."
                )
            length = length + len(piece) if end < 0 else len(piece) - 1 - piece.rfind(b"\n")
            if b"\0" in piece:
                raise BadTable(f"{named(file)} holds binary data, not text.")


def read_csv(file: Path) -> pl.DataFrame:
    """Read a CSV file with a header; refuse rows of the wrong length and repeated names."""
    scan_lines(file)
    names = header(file)
    try:
        frame = _parse_csv(file)
    except POLARS_FAILURES as error:
        list(csv_rows(file, len(names)))  # says which line is the wrong one, if it is the length
        raise BadTable(f"{named(file)} cannot be read as CSV: {reason(error)}.") from error
    if frame.width != len(names):
        raise BadTable(
            f"{named(file)} cannot be read as CSV: check the quotes and line ends of its header."
        )
    frame.columns = names
    if frame.width > 1 and frame.height and frame.to_series(-1).null_count():
        blank = [row for row, cells in enumerate(csv_rows(file, len(names))) if not cells]
        keep = np.ones(frame.height, dtype=bool)
        keep[blank] = False
        frame = frame.filter(pl.Series(keep))
    return frame.with_columns(
        parse_numbers(series) for series in frame.get_columns() if series.dtype == pl.String
    )


def _parse_csv(file: Path) -> pl.DataFrame:
    """Parse a CSV file with the types of its first rows; with those of all rows where later ones
    are of another type, or the first ones hold nothing."""
    with contextlib.suppress(*POLARS_FAILURES), file.open("rb") as handle:
        frame = pl.read_csv(handle, infer_schema_length=TYPED_ROWS)
        first = frame.head(TYPED_ROWS)
        if frame.height == first.height or not any(
            series.null_count() == first.height for series in first
        ):
            return frame
    with file.open("rb") as handle:
        return pl.read_csv(handle, infer_schema_length=None)


def header(file: Path) -> list[str]:
    """Read and check the column names on the first line of a CSV file."""
    with file.open(encoding="utf-8-sig", newline="") as handle:
        try:
            first = next((row for row in csv.reader(handle) if row), [""])
            names = [name.strip() for name in first]
        except UnicodeDecodeError as error:
            raise BadTable(f"{named(file)} is not UTF-8 text; save it as UTF-8.") from error
        except csv.Error as error:
            raise BadTable(f"{named(file)} has a broken header line: {error}.") from error
    if len(names) == 1 and (mark := next((mark for mark in ";\t|" if mark in names[0]), "")):
        raise BadTable(f"{named(file)} is separated by {mark!r}; separate the values by commas.")
    if all(is_number(name) for name in names):
        raise BadTable(f"{named(file)} starts with numbers; its first line must be column names.")
    check_names(names, named(file))
    return names


def csv_row_numbers(file: Path, frame: pl.DataFrame) -> Int[np.ndarray, "rows"]:
    """Return the line of a CSV file on which each row of its frame ends, counted from 1."""
    with file.open("rb") as handle:
        breaks = 0
        while piece := handle.read(PIECE_BYTES):
            breaks += piece.count(b"\n")
        handle.seek(-1, 2)
        ended = handle.read() == b"\n"
    if breaks + (not ended) == frame.height + 1:
        return np.arange(frame.height) + 2
    at: list[int] = []
    with file.open(encoding="utf-8-sig", newline="") as handle, contextlib.suppress(csv.Error):
        lines = csv.reader(handle)
        at = [lines.line_num for cells in lines if cells][1:]
    return np.array(at if len(at) == frame.height else range(2, frame.height + 2))


def json_row_numbers(file: Path, frame: pl.DataFrame) -> Int[np.ndarray, "rows"]:
    """Return the line of a JSON Lines file that holds each row of its frame, counted from 1."""
    with file.open("rb") as handle:
        at = [number for number, line in enumerate(handle, start=1) if line.strip()]
    return np.array(at if len(at) == frame.height else range(1, frame.height + 1))


def check_names(names: Sequence[str], where: str) -> None:
    """Refuse column names that occur twice."""
    seen = set[str]()
    twice = next((name for name in names if name in seen or seen.add(name)), None)
    if twice is not None:
        raise BadTable(f"{where} has two columns called {twice!r}; names must differ.")


def is_number(text: str) -> bool:
    """Return whether the text is a number, as float() reads it."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def csv_rows(file: Path, width: int) -> Iterator[list[str]]:
    """Yield the rows after the header, blank lines as []; raise BadTable at the first of another
    length."""
    with file.open(encoding="utf-8-sig", newline="") as handle:
        lines = csv.reader(handle, strict=True)
        try:
            while not next(lines, ["end"]):
                pass
            for cells in lines:
                if len(cells) not in (0, width):
                    raise BadTable(
                        f"{named(file)}: line {lines.line_num} has {len(cells)} values where the "
                        f"header has {width} names."
                    )
                yield cells
        except UnicodeDecodeError as error:
            raise BadTable(f"{named(file)} is not UTF-8 text; save it as UTF-8.") from error
        except csv.Error as error:
            raise BadTable(f"{named(file)}: line {lines.line_num}: {error}.") from error


def parse_numbers(series: pl.Series) -> pl.Series:
    """Convert a text column to numbers if every value is one (' 2', 'nan', '-Infinity')."""
    first: Any = series.first(ignore_nulls=True)
    if first is not None and first.strip() and not is_number(first):
        return series
    text = series.str.strip_chars()
    text = text.set(text == "", None)
    for dtype in (pl.Int64, pl.Float64):
        values = text.cast(dtype, strict=False)
        if values.null_count() == text.null_count() < len(text):
            return values
    return series


def read_json_lines(file: Path) -> pl.DataFrame:
    """Read JSON Lines, one object a line; a key that a line lacks is a missing value there."""
    scan_lines(file)
    plain = _parse_plain(file.read_bytes())
    if plain is not None:
        return plain
    with file.open("rb") as handle:
        objects = [
            json_object(line, f"{named(file)}: line {number}")
            for number, line in enumerate(handle, start=1)
            if line.strip()
        ]
    names = dict.fromkeys(name for each in objects for name in each)
    columns = {name: [each.get(name) for each in objects] for name in names}
    try:
        return pl.DataFrame([series_of(name, values) for name, values in columns.items()])
    except UnicodeEncodeError as error:
        raise BadTable(f"{named(file)} holds text that is no Unicode: {error.reason}.") from error


def _parse_plain(data: bytes) -> pl.DataFrame | None:
    """Parse JSON Lines at once where that cannot differ from line by line, else return None.

    It cannot where each line is a flat object whose values are of one type for each key: the marks
    ``:`` and ``"`` are then as many as the cells say. Keys that stand twice, nested values, mixed
    types and escapes break one of the counts; a null could hide one of these.
    """
    if b"\\" in data or b"null" in data:
        return None
    try:
        data.decode("utf-8")
        frame = pl.read_ndjson(data, infer_schema_length=None)
    except (UnicodeDecodeError, *POLARS_FAILURES):
        return None
    known = {pl.Int64, pl.Float64, pl.Boolean, pl.String}
    rows = sum(1 for line in data.split(b"\n") if line.strip())
    if not {*frame.dtypes} <= known or frame.height != rows or "" in frame.columns:
        return None
    cells: dict[Any, int] = dict.fromkeys(known, 0)
    for series in frame:
        cells[series.dtype] += rows - series.null_count()
    keys = sum(cells.values())
    counts = (
        data.count(b":") == keys,
        data.count(b'"') == 2 * (keys + cells[pl.String]),
        data.count(b"true") + data.count(b"false") == cells[pl.Boolean],
    )
    within = pl.col(pl.Int64).is_between(-LONG_INTEGER, LONG_INTEGER, closed="none").all()
    short = all(frame.select(within).rows()[0]) if cells[pl.Int64] else True
    if not (all(counts) and short):
        return None
    first = {  # each colon follows a key, so that this is where the key stands first
        name: re.search(rb'"%s"\s*:' % re.escape(name).encode(), data) for name in frame.columns
    }
    return frame.select(sorted(first, key=lambda name: at.start() if (at := first[name]) else -1))


def json_object(line: bytes, where: str) -> dict[str, Any]:
    """Read the object on one line of JSON Lines; integers too long for 64 bits become floats."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        check_names([name for name, _ in pairs], where)
        return dict(pairs)

    def whole(text: str) -> int | float:
        return int(text) if len(text) < 19 else float(text)

    try:
        text = line.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
        value: Any = json.loads(text)
        flat = isinstance(value, dict) and text.count(":") == len(cast("dict[str, Any]", value))
        if not flat or LONG_DIGITS.search(text):
            value = json.loads(text, parse_int=whole, object_pairs_hook=unique)
    except UnicodeDecodeError as error:
        raise BadTable(f"{where} is not UTF-8 text; save it as UTF-8.") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadTable(f"{where} is not valid JSON: {error}.") from error
    if not isinstance(value, dict):
        raise BadTable(f"{where} is {shown(value)}, not a JSON object with a value per column.")
    return cast("dict[str, Any]", value)


def series_of(name: str, values: Sequence[Any]) -> pl.Series:
    """Make one column from Python values: of their common type, else as text, so that nothing is
    lost."""
    kinds: set[type] = {type(value) for value in values if value is not None}
    if kinds == {int} and all(value is None or -(2**63) <= value < 2**63 for value in values):
        return pl.Series(name, values, dtype=pl.Int64)
    if kinds and kinds <= {int, float}:
        numbers = [value if value is None else to_float(value) for value in values]
        return pl.Series(name, numbers, dtype=pl.Float64)
    if len(kinds) <= 1 and kinds <= {bool, str}:
        return pl.Series(name, values)
    texts = [
        value if value is None or isinstance(value, str) else json.dumps(value, default=str)
        for value in values
    ]
    return pl.Series(name, texts, dtype=pl.String)


def to_float(value: float) -> float:
    """Convert a number to a float, infinite if it is an integer beyond the largest float."""
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value > 0 or -1)
