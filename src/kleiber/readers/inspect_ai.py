# pyright: basic
# (the values of foreign documents have no types)
"""Logs of inspect_ai: JSON, and ``.eval``, a zip archive whose entries are zstd-compressed."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kleiber.errors import BadTable
from kleiber.readers.columns import frame_of_rows
from kleiber.readers.record import Logs, Reader

ZSTD = 93  # compression method of a zip entry
MOST = 2**28  # bytes that one entry may come to
RIGHT = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}


def _is_json(path: Path, head: bytes) -> bool:
    return path.suffix == ".json" and b'"eval"' in head and b'"task_id"' in head


def _is_archive(path: Path, head: bytes) -> bool:
    return path.suffix == ".eval" and head.startswith(b"PK")


def _read_json(path: Path) -> Logs:
    given: Any = json.loads(path.read_text(encoding="utf-8"))
    return _count(given["eval"], given.get("samples") or [], given.get("status", ""))


def _read_archive(path: Path) -> Logs:
    with zipfile.ZipFile(path) as archive:
        entries = {item.filename: item for item in archive.infolist()}
        name = "header.json" if "header.json" in entries else "_journal/start.json"
        header: Any = json.loads(_entry(path, archive, entries[name]))
        samples = (
            json.loads(_entry(path, archive, item))
            for each, item in entries.items()
            if each.startswith("samples/")
        )
        return _count(header["eval"], samples, header.get("status", ""))


def _entry(path: Path, archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> bytes:
    """Return the bytes of an entry, which zipfile itself cannot decompress before Python 3.14."""
    if item.file_size > MOST:
        raise BadTable(f"{path.name} holds an entry of {item.file_size:,} bytes.")
    if item.compress_type != ZSTD:
        return archive.read(item)
    try:
        import zstandard
    except ImportError as error:
        raise ImportError(
            "An .eval log needs zstandard, which is not installed: pip install 'kleiber[logs]'."
        ) from error
    with path.open("rb") as file:
        file.seek(item.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
        file.seek(item.header_offset + 30 + name + extra)
        packed = file.read(item.compress_size)
    return zstandard.ZstdDecompressor().decompressobj().decompress(packed)[: MOST + 1]


def _count(evaluation: Any, samples: Iterable[Any], status: str) -> Logs:
    """Return attempts and successes of each problem, an epoch an attempt."""
    counts: dict[str, list[float]] = {}
    unscored = 0
    for sample in samples:
        values = list(_scores(sample))
        if values:
            counts.setdefault(str(sample["id"]), []).append(values[0])
        else:
            unscored += 1
    rows = [
        {"run": evaluation.get("model", ""), "task": evaluation.get("task", ""), "problem": name,
         "attempts": len(values), "successes": sum(value >= 1 for value in values)}
        for name, values in counts.items()
    ]  # fmt: skip
    if not rows:
        raise BadTable("The log of inspect_ai holds no scored sample.")
    notes: list[str] = []
    if unscored:
        notes.append(f"{unscored} samples without a score were left out.")
    if status and status != "success":
        notes.append(f"The evaluation ended as {status}.")
    if any(0 < value < 1 for values in counts.values() for value in values):
        notes.append("Partly right answers count as wrong.")
    return Logs(frame_of_rows(rows), tuple(notes))


def _scores(sample: Any) -> Iterator[float]:
    for score in (sample.get("scores") or {}).values():
        value = score.get("value")
        if isinstance(value, str) and value in RIGHT:
            yield RIGHT[value]
        elif isinstance(value, int | float):
            yield float(value)


READERS = (
    Reader("inspect", "log of inspect_ai (.json)", _is_json, _read_json),
    Reader("inspect_archive", "log of inspect_ai (.eval)", _is_archive, _read_archive),
)
