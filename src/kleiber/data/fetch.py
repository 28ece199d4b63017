"""Finding the files of a data set: in $KLEIBER_DATA, among earlier downloads, or by downloading.

What there is, with licences and citations, is in registry.toml. Checksums are of downloads only.
"""

from __future__ import annotations

import importlib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kleiber.errors import BadTable, nearest, reason
from kleiber.progress import Progress, check_progress


@dataclass(frozen=True)
class File:
    """One file: its path below $KLEIBER_DATA, other paths there, and its public original."""

    path: str
    url: str
    checksum: str
    other: tuple[str, ...] = ()
    origin: str = ""


@dataclass(frozen=True)
class Source:
    """A data set of the registry: its kind (images, labels or table) and its files by role."""

    name: str
    says: str
    kind: str
    licence: str
    citation: str
    files: Mapping[str, File]


class _Bytes:
    """An adapter from pooch's progress bar, which sets ``total`` and calls ``update``, to our
    Progress."""

    def __init__(self, progress: Progress, name: str) -> None:
        self.progress, self.name, self.total, self.done = progress, name, 0, 0

    def update(self, count: int, /) -> None:
        self.done += count
        self.progress(self.done, self.total, self.name)

    def reset(self) -> None:  # pooch then says the total once more
        self.done = 0

    def close(self) -> None: ...


@cache
def catalogue() -> Mapping[str, Source]:
    """Return every data set by name."""
    text = resources.files("kleiber.data").joinpath("registry.toml").read_text(encoding="utf-8")
    return MappingProxyType(
        {name: _source(name, item) for name, item in tomllib.loads(text).items()}
    )


def _source(name: str, item: Mapping[str, Any]) -> Source:
    files = {
        role: File(
            each["path"],
            each["url"],
            each["checksum"],
            tuple(each.get("other", ())),
            each.get("from", ""),
        )
        for role, each in item.get("files", {}).items()
    }
    return Source(
        name,
        item["says"],
        item["kind"],
        item["licence"],
        item["citation"],
        MappingProxyType(files),
    )


def find(name: str, *kinds: str) -> Source:
    """Return the data set of a name. Raises BadTable."""
    known = {n: item for n, item in catalogue().items() if not kinds or item.kind in kinds}
    if name not in known:
        what = " or ".join(kinds) if kinds else "data"
        raise BadTable(
            f"There are no {what} named {name!r}; known are {', '.join(known)}."
            f"{nearest(name, known)}"
        )
    return known[name]


def fetch(name: str, *, progress: Progress | None = None) -> dict[str, Path]:
    """Return the paths of the files of a data set by role, downloading those that are missing.

    Looks in $KLEIBER_DATA first, then among earlier downloads. Raises BadTable for an unknown name
    and FileNotFoundError, which says what to put where, when a file cannot be had. ``progress``
    is called with (bytes done, bytes in all, name of the file).
    """
    source, heard = find(name), check_progress(progress)
    return {
        role: local(file) or _download(source, file, heard) for role, file in source.files.items()
    }


def local(file: File) -> Path | None:
    """Return the path of the file in $KLEIBER_DATA, or None."""
    folder = os.environ.get("KLEIBER_DATA")
    if not folder:
        return None
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"KLEIBER_DATA is {folder!r}, which is no folder.")
    places = [Path(folder) / place for place in (file.path, *file.other)]
    return next((place for place in places if place.is_file()), None)


def _download(source: Source, file: File, progress: Progress) -> Path:
    if not file.url:
        raise FileNotFoundError(
            f"{source.name} cannot be downloaded in this form: put {file.path} into the folder "
            f"that KLEIBER_DATA names; it is made from {file.origin}."
        )
    pooch: Any = importlib.import_module("pooch")  # here: only who downloads pays for it

    place = Path(file.path)
    pooch.get_logger().setLevel("ERROR")
    try:
        found = pooch.retrieve(
            file.url,
            known_hash=file.checksum or None,
            fname=place.name,
            path=Path(pooch.os_cache("kleiber")) / place.parent,
            downloader=pooch.HTTPDownloader(progressbar=_Bytes(progress, place.name), timeout=30),
        )
    except ValueError as error:  # how pooch says that the checksum differs
        raise FileNotFoundError(
            f"What {file.url} gave for {source.name} is not the known file: {reason(error)}."
        ) from error
    except OSError as error:
        raise FileNotFoundError(
            f"Cannot download {source.name} from {file.url} ({type(error).__name__}); offline, put "
            f"the file at {file.path} in a folder and name that folder in KLEIBER_DATA."
        ) from error
    return Path(found)
