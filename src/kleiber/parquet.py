"""What the footer of a Parquet file promises, read before the file is: polars allocates what a
damaged footer says, and a number of rows of 2^60 ends the process.

The footer is a Thrift struct in the compact protocol (Apache Parquet format, parquet.thrift): of
its fields only the numbers of rows and values are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kleiber.errors import BadTable

# Fields by their path of ids in FileMetaData: 3 num_rows, 4 row_groups (1 columns (3 meta_data
# (5 num_values)), 3 num_rows).
ROWS, GROUP_ROWS, VALUES = (3,), (4, 3), (4, 1, 3, 5)
DEEP = 20  # levels of structs; the format has 8
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)


def promised_rows(file: Path) -> int:
    """The number of rows that a Parquet file says it holds, the largest where it contradicts
    itself; BadTable for a footer that is none."""
    size = file.stat().st_size
    with file.open("rb") as handle:
        handle.seek(max(size - 8, 0))
        tail = handle.read()
        length = int.from_bytes(tail[:4], "little")
        if size < 12 or tail[4:] != b"PAR1" or length > size - 12:
            raise BadTable(f"{str(file)!r} is a truncated Parquet file; copy or write it again.")
        handle.seek(size - 8 - length)
        footer = handle.read(length)
    try:
        counts = list(_walk(footer, [0], (), 0))
    except (IndexError, ValueError, RecursionError):
        raise BadTable(f"{str(file)!r} is a damaged Parquet file; copy or write it again.") from None
    rows = [count for path, count in counts if path == ROWS]
    groups = [count for path, count in counts if path == GROUP_ROWS]
    if len(rows) != 1 or sum(groups) != rows[0] or any(count < 0 for _, count in counts):
        raise BadTable(
            f"{str(file)!r} is a damaged Parquet file: its parts do not add up to its rows."
        )
    return max(count for _, count in counts)


def _walk(
    data: bytes, at: list[int], path: tuple[int, ...], depth: int
) -> Iterator[tuple[tuple[int, ...], int]]:
    """The counts of a struct, each with its path of field ids; ``at`` is moved behind it."""
    if depth > DEEP:
        raise ValueError("too deep")
    field = 0
    while head := _byte(data, at):
        step, kind = head >> 4, head & 15
        field = field + step if step else _zigzag(_varint(data, at))
        yield from _value(data, at, kind, (*path, field), depth, in_list=False)


def _value(
    data: bytes, at: list[int], kind: int, path: tuple[int, ...], depth: int, *, in_list: bool
) -> Iterator[tuple[tuple[int, ...], int]]:
    """The counts inside one value of a type."""
    if kind in (TRUE, FALSE):
        at[0] += in_list
    elif kind == BYTE:
        at[0] += 1
    elif kind in (I16, I32, I64):
        number = _zigzag(_varint(data, at))
        if path in (ROWS, GROUP_ROWS, VALUES):
            yield path, number
    elif kind == DOUBLE:
        at[0] += 8
    elif kind == BINARY:
        length = _varint(data, at)  # moves `at` itself
        at[0] += length
    elif kind in (LIST, SET):
        head = _byte(data, at)
        count = head >> 4 if head >> 4 != 15 else _varint(data, at)
        for _ in range(_checked(count, data)):
            yield from _value(data, at, head & 15, path, depth, in_list=True)
    elif kind == MAP:
        count = _checked(_varint(data, at), data)
        kinds = _byte(data, at) if count else 0
        for _ in range(count):
            yield from _value(data, at, kinds >> 4, path, depth, in_list=True)
            yield from _value(data, at, kinds & 15, path, depth, in_list=True)
    elif kind == STRUCT:
        yield from _walk(data, at, path, depth + 1)
    else:
        raise ValueError(f"no type {kind}")


def _checked(count: int, data: Sequence[Any]) -> int:
    """A number of items, of which each takes a byte at least."""
    if count > len(data):
        raise ValueError("more items than bytes")
    return count


def _byte(data: bytes, at: list[int]) -> int:
    at[0] += 1
    return data[at[0] - 1]


def _varint(data: bytes, at: list[int]) -> int:
    """An unsigned number of 7 bits a byte."""
    number = shift = 0
    while (byte := _byte(data, at)) & 128:
        number |= (byte & 127) << shift
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
    return number | byte << shift


def _zigzag(number: int) -> int:
    return (number >> 1) ^ -(number & 1)
