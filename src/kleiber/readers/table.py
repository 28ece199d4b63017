# pyright: basic
# (the values of foreign documents have no types)
"""Tables as spreadsheets and programs give them: separators, commas in numbers, gzip, JSON."""

from __future__ import annotations

import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import polars as pl

from kleiber.errors import BadTable
from kleiber.readers.columns import as_number, flatten, frame_of_rows, read_suffix
from kleiber.readers.record import Logs, Reader
from kleiber.table import read_table

TEXT = (".csv", ".tsv", ".txt")
FRAMES = (".parquet", ".npz")
ARROW = (".arrow", ".feather", ".ipc")
JSON = (".json", ".jsonl", ".ndjson")
EXCEL = (".xlsx", ".xls", ".ods")
THOUSANDS = re.compile(r"^-?\d{1,3}(,\d{3})+(\.\d+)?$")
DECIMAL = re.compile(r"^-?\d+,\d+([eE][+-]?\d+)?$")
MOST = 2**30


def _suffix(path: Path) -> str:
    inner = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return inner.suffix.lower()


def _sniff(path: Path, head: bytes) -> bool:
    return path.is_file() and _suffix(path) in (*TEXT, *FRAMES, *ARROW, *JSON, *EXCEL)


def _read(path: Path) -> Logs:
    kind = _suffix(path)
    if kind in ARROW:
        return Logs(_plain(pl.read_ipc(path.read_bytes())))
    if kind in EXCEL:
        return Logs(_excel(path))
    if kind in FRAMES:
        return Logs(_plain(read_table(path)))
    raw = _bytes(path)
    if kind in JSON:
        return Logs(_json(path, raw, lines=kind != ".json"))
    return _text(path, raw)


def _bytes(path: Path) -> bytes:
    if path.suffix.lower() != ".gz":
        return path.read_bytes()
    with gzip.open(path) as file:
        raw = file.read(MOST + 1)
    if len(raw) > MOST:
        raise BadTable(f"{path.name} is larger than {MOST:,} bytes when it is decompressed.")
    return raw


def _excel(path: Path) -> pl.DataFrame:
    try:
        return pl.read_excel(path)
    except ImportError as error:
        raise ImportError(
            "A spreadsheet needs fastexcel, which is not installed: pip install 'kleiber[logs]'."
        ) from error


def _plain(table: pl.DataFrame) -> pl.DataFrame:
    """Return a table whose nested columns have become columns joined by dots."""
    while nested := [n for n, kind in table.schema.items() if kind == pl.Struct]:
        for name in nested:
            fields = table[name].struct.fields
            inner = table[name].struct.unnest().rename({f: f"{name}.{f}" for f in fields})
            table = pl.concat([table.drop(name), inner], how="horizontal")
    return table


def _json(path: Path, raw: bytes, *, lines: bool) -> pl.DataFrame:
    text = raw.decode("utf-8")
    given: Any = (
        [json.loads(line) for line in text.splitlines() if line.strip()]
        if lines
        else json.loads(text)
    )
    if isinstance(given, dict) and all(isinstance(v, list) for v in given.values()):
        given = [dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True)]
    if not isinstance(given, list) or not all(isinstance(row, dict) for row in given):
        raise BadTable(f"{path.name} holds neither a list of rows nor columns of equal length.")
    return frame_of_rows(flatten(row) for row in given)


def _text(path: Path, raw: bytes) -> Logs:
    """Read text with the separator of its header; numbers may have commas or suffixes."""
    text = raw.decode("utf-8-sig", "replace")
    first = text.partition("\n")[0]
    separator = max("\t;,", key=first.count)
    table = pl.read_csv(io.StringIO(text), separator=separator, infer_schema=False)
    notes: set[str] = set()
    columns = [_column(table[name], separator, notes) for name in table.columns]
    return Logs(pl.DataFrame(columns), tuple(sorted(notes)))


def _column(series: pl.Series, separator: str, notes: set[str]) -> pl.Series:
    """Return a column as numbers, if all of its cells are."""
    cells = [None if v is None or not v.strip() else v.strip() for v in series.to_list()]
    known = [cell for cell in cells if cell is not None]
    if not known:
        return series
    if all(THOUSANDS.match(c) or _is_number(c) for c in known) and any("," in c for c in known):
        if separator == ";" and any(DECIMAL.match(c) for c in known):
            raise BadTable(
                f"{series.name!r} has commas that may be decimal or of thousands; rewrite it."
            )
        notes.add(f"Commas in {series.name} are read as separators of thousands.")
        cells = [None if c is None else c.replace(",", "") for c in cells]
    elif separator == ";" and all(DECIMAL.match(c) or _is_number(c) for c in known):
        if any("," in c for c in known):
            notes.add(f"Commas in {series.name} are read as decimal points.")
        cells = [None if c is None else c.replace(",", ".") for c in cells]
    elif any(read_suffix(c) is not None for c in known):
        values = [None if c is None else read_suffix(c) for c in cells]
        pairs = list(zip(values, cells, strict=True))
        if all(v is not None or c is None or _is_number(c) for v, c in pairs):
            notes.add(f"Values of {series.name} such as {known[0]} are read as numbers.")
            cells = [c if v is None else repr(v) for v, c in pairs]
    numbers = [as_number(c) for c in cells]
    if not all(v is None or isinstance(v, float) for v in numbers):
        return series
    made = pl.Series(series.name, numbers, dtype=pl.Float64)
    whole = all("." not in c and "e" not in c.lower() for c in cells if c is not None)
    exact = made.drop_nulls()
    if whole and (exact.abs() < 2**53).all():
        return made.cast(pl.Int64)
    return made


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_wide(path: Path) -> Logs:
    """Read a wide table, a column for each run beside that of the steps, in long form."""
    logs = _read(path)
    steps, *runs = logs.table.columns
    numeric = [name for name in runs if logs.table[name].dtype.is_numeric()]
    if not numeric:
        raise BadTable(f"{path.name} has no columns of numbers beside {steps!r} to melt.")
    long = logs.table.unpivot(numeric, index=steps, variable_name="run", value_name="value")
    return Logs(long.drop_nulls("value"), logs.notes)


READER = Reader("table", "table (CSV, TSV, JSON, Parquet, Arrow, Excel, gzip)", _sniff, _read)
