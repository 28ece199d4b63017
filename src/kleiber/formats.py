"""Table files: conversion of CSV, Parquet, JSON Lines and NPZ to a polars frame and back.

A reader either returns every row or raises BadTable with one sentence that names the file and its
fault. CSV and JSON Lines are read in `text_tables.py`.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Int

from kleiber.arguments import machine_memory
from kleiber.errors import BadTable, nearest, reason
from kleiber.files import write_atomically
from kleiber.text_tables import (
    POLARS_FAILURES,
    csv_row_numbers,
    json_row_numbers,
    named,
    read_csv,
    read_json_lines,
)

HEAD_BYTES = 4096  # bytes looked at to tell what a file is
MAGIC = (  # first bytes of a file, and what they show it to be
    (b"PAR1", "Parquet"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "gzip-compressed (decompress it first)"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed (decompress it first)"),
    (b"BZh", "bzip2-compressed (decompress it first)"),
    (b"\xfd7zXZ", "xz-compressed (decompress it first)"),
    (b"\x93NUMPY", "a single NumPy array (.npy); save named columns with numpy.savez"),
    (b"ARROW1", "an Arrow file"),
    (b"\xff\xfe", "UTF-16 text; save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text; save it as UTF-8"),
    (b"%PDF", "a PDF document"),
)
# What reading damaged bytes as NPZ raises, beside OSError.
NPZ_FAILURES = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    EOFError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    ValueError,
)


def read_file(path: str | os.PathLike[str]) -> pl.DataFrame:
    """Read one table file by its suffix; raise BadTable if it cannot be read."""
    file = Path(path)
    try:
        reader = READERS[check_file(file)]
        frame = reader(file)
    except OSError as error:
        raise BadTable(f"Cannot read {named(file)}: {error.strerror or error}.") from error
    if frame.height == 0 or frame.width == 0:
        raise BadTable(f"{named(file)} has column names but no rows; a table needs at least one.")
    return frame


def number_rows(path: str | os.PathLike[str], frame: pl.DataFrame) -> Int[np.ndarray, "rows"]:
    """Return the number of each row of a frame in its file, from 1; for a text file, its line
    number."""
    file = Path(path)
    numberers = {".csv": csv_row_numbers, ".jsonl": json_row_numbers, ".ndjson": json_row_numbers}
    numberer = numberers.get(file.suffix.lower())
    return np.arange(frame.height) + 1 if numberer is None else numberer(file, frame)


def check_file(file: Path) -> str:
    """Return the lower-case suffix of a table file that is readable, not empty, and of the content
    that its suffix promises."""
    _check_ordinary(file)
    suffix = check_suffix(file)
    _check_head(file, suffix, EXPECTED_FORMAT[suffix])
    return suffix


def _check_ordinary(file: Path) -> None:
    """Raise BadTable for a path that is not an ordinary file."""
    if not file.exists() and file.is_symlink():
        raise BadTable(f"{named(file)} is a link to a file that does not exist, or to itself.")
    if not file.exists():
        siblings = [item.name for item in file.parent.iterdir()] if file.parent.is_dir() else []
        raise BadTable(f"There is no file {named(file)}.{nearest(file.name, siblings)}")
    if file.is_dir():
        raise BadTable(f"{named(file)} is a folder; give a file, or read_tables for its Parquet.")
    if not file.is_file():
        raise BadTable(f"{named(file)} is not an ordinary file.")


def check_content(file: Path, suffix: str, wanted: str) -> None:
    """Raise BadTable unless a file is readable, not empty, and of the wanted content."""
    _check_ordinary(file)
    _check_head(file, suffix, wanted)


def _check_head(file: Path, suffix: str, wanted: str) -> None:
    """Raise BadTable unless the first bytes of a file show the wanted content."""
    if file.stat().st_size == 0:
        raise BadTable(f"{named(file)} is empty.")
    with file.open("rb") as handle:
        found = detect_format(handle.read(HEAD_BYTES))
    if not found.startswith(wanted):
        raise BadTable(
            f"{named(file)} is named {suffix} but is not {wanted}; it looks like {found}."
        )


def check_suffix(file: Path) -> str:
    """Return the lower-case suffix if it names a format, else raise BadTable with the known
    formats."""
    suffix = file.suffix.lower()
    if suffix in READERS:
        return suffix
    if suffix == ".json":
        raise BadTable(
            f"{named(file)} is one JSON document, and a table has a line for each row: kleiber "
            "read makes a table of it, or write its rows as JSON Lines (.jsonl) or .csv."
        )
    given = f"has the unknown suffix {suffix!r}" if suffix else "has no suffix"
    raise BadTable(
        f"{named(file)} {given}; tables are .csv, .parquet, .jsonl, .ndjson or .npz files, and "
        f"kleiber read makes one of logs and of other tables."
        f"{nearest(suffix, READERS)}"
    )


def detect_format(head: bytes) -> str:
    """Return the kind of file that the first bytes show; plain text that is not JSON counts as
    CSV."""
    for magic, what in MAGIC:
        if head.startswith(magic):
            return "an Excel workbook; save it as CSV" if b"[Content_Types]" in head else what
    if b"\0" in head or any(byte < 9 or 13 < byte < 32 for byte in head):
        return "binary data"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        return "blank"
    if text[:1] == b"{":
        return "JSON Lines"
    if text[:1] == b"[":
        return "a JSON array; write one object per line"
    if text[:1] == b"<":
        return "HTML or XML"
    return "CSV"


def read_parquet(file: Path) -> pl.DataFrame:
    """Read a Parquet file into memory (never mapped: the file may change afterwards)."""
    size = file.stat().st_size
    with file.open("rb") as handle:
        handle.seek(max(size - 4, 0))
        if size < 12 or handle.read() != b"PAR1":
            raise BadTable(f"{named(file)} is a truncated Parquet file; copy or write it again.")
        try:
            fields = pl.scan_parquet(file)
            width = len(fields.collect_schema())
            refuse_beyond_memory(file, 8 * width * fields.select(pl.len()).collect().item())
            handle.seek(0)
            return pl.read_parquet(handle, memory_map=False)
        except POLARS_FAILURES as error:
            raise BadTable(f"{named(file)} is a damaged Parquet file: {reason(error)}.") from error


def refuse_beyond_memory(file: Path, bytes_needed: int) -> None:
    """Raise BadTable for a file that claims to hold more numbers than half of the memory."""
    if bytes_needed > machine_memory() / 2:
        raise BadTable(
            f"{named(file)} says that it holds {bytes_needed / 2**30:,.1f} GiB of numbers, which "
            f"the memory ({machine_memory() / 2**30:,.1f} GiB) has no room for."
        )


def load_npz(file: Path) -> dict[str, np.ndarray]:
    """Load the arrays of an NPZ file; pickled objects are refused unread."""
    arrays: dict[str, np.ndarray] = {}
    try:
        with file.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            refuse_beyond_memory(file, sum(item.file_size for item in archive.zip.infolist()))
            for name in archive.files:
                arrays[name] = np.asarray(archive[name])
    except BadTable:
        raise
    except NPZ_FAILURES as error:
        if "allow_pickle" in str(error):
            raise BadTable(f"{named(file)} holds Python objects, not arrays of numbers.") from error
        raise BadTable(f"{named(file)} is a damaged NPZ file: {reason(error)}.") from error
    return arrays


def read_npz(file: Path) -> pl.DataFrame:
    """Read the 1-D arrays of an NPZ file as columns."""
    arrays = load_npz(file)
    lengths = {name: len(array) for name, array in arrays.items() if array.ndim == 1}
    for name, array in arrays.items():
        if array.dtype.kind not in "biufUMm":
            raise BadTable(f"{named(file)}: array {name!r} is of type {array.dtype}, not numbers.")
        if array.ndim != 1:
            raise BadTable(f"{named(file)}: array {name!r} has shape {array.shape}, not one axis.")
    if len(set(lengths.values())) > 1:
        sizes = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
        raise BadTable(f"{named(file)}: the arrays differ in length: {sizes}.")
    return pl.DataFrame([pl.Series(name, to_native(array)) for name, array in arrays.items()])


def to_native(array: np.ndarray) -> np.ndarray:
    """Convert an array to this machine's byte order and to a width that polars has."""
    if array.dtype.kind == "f" and array.dtype.itemsize != 4:
        return array.astype(np.float64)
    return array.astype(array.dtype.newbyteorder("="))


def write_file(table: pl.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table in the format of the suffix, atomically."""
    file = Path(path)
    writer = WRITERS[check_suffix(file)]
    with write_atomically(file) as temporary:
        try:
            writer(table, temporary)
        except (*POLARS_FAILURES, TypeError) as error:
            raise BadTable(
                f"The table cannot be written to {named(file)}: {reason(error)}."
            ) from error


def write_csv(table: pl.DataFrame, file: Path) -> None:
    """Write CSV; floats in the shortest form that reads back as the same number."""
    table.write_csv(file)


def write_parquet(table: pl.DataFrame, file: Path) -> None:
    """Write Parquet."""
    table.write_parquet(file)


def write_json_lines(table: pl.DataFrame, file: Path) -> None:
    """Write JSON Lines; JSON has no NaN or infinity, so a table that holds one is refused."""
    for name, dtype in table.schema.items():
        if dtype.is_float() and not table[name].is_finite().all():
            raise BadTable(
                f"Column {name!r} holds NaN or infinity, which JSON cannot; use .parquet."
            )
    table.write_ndjson(file)


def write_npz(table: pl.DataFrame, file: Path) -> None:
    """Write NPZ: one array per column; missing values, which arrays cannot hold, are refused."""
    with zipfile.ZipFile(file, "w") as archive:
        for series in table.get_columns():
            if series.null_count() or series.dtype.is_nested() or series.dtype == pl.Object:
                what = "missing values" if series.null_count() else f"type {series.dtype}"
                raise BadTable(f"Column {series.name!r} has {what}, which NPZ cannot hold.")
            array = series.to_numpy()
            array = array.astype(np.str_) if array.dtype == object else array
            with archive.open(f"{series.name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


READERS: Mapping[str, Callable[[Path], pl.DataFrame]] = {
    ".csv": read_csv,
    ".parquet": read_parquet,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".npz": read_npz,
}
WRITERS: Mapping[str, Callable[[pl.DataFrame, Path], None]] = {
    ".csv": write_csv,
    ".parquet": write_parquet,
    ".jsonl": write_json_lines,
    ".ndjson": write_json_lines,
    ".npz": write_npz,
}
EXPECTED_FORMAT: Mapping[str, str] = {  # what `content` says of a file of each suffix
    ".csv": "CSV",
    ".parquet": "Parquet",
    ".jsonl": "JSON Lines",
    ".ndjson": "JSON Lines",
    ".npz": "a zip archive",
}
