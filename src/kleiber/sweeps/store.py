"""Where finished runs are kept: one Parquet file for each Experiment, named by its key.

    runs/KEY.parquet        a finished run, all its seeds; its spec is JSON in the file's metadata
    runs/failed/KEY.json    a run that raised: the error, the step, the traceback, the spec
    runs/aside/             files that were found in runs/ and are no finished runs
    runs/.claims/KEY        locks of the runs that some process works on now
    runs/.states/KEY.pt     how far long runs have come that were not finished

Files appear whole or not at all, and a finished file is never written again, so stores are merged
by copying their files together.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import polars as pl

from kleiber.errors import BadTable, listed, reason, shown
from kleiber.files import check_ordinary, land
from kleiber.sweeps.locks import Release, claim
from kleiber.sweeps.runs import (
    RunFile,
    Spec,
    is_store,
    parquets,
    read_runs,
    run_bytes,
    run_file,
    set_aside,
    survey,
    warn_of,
)

FORGOTTEN = 3600.0  # seconds after which a temporary file is what a killed process left behind
MOST_BYTES = 100_000_000  # of the record of a failure
KINDS: Mapping[str, Any] = {  # what the fields of such a record are
    "key": str,
    "error": str,
    "step": int | None,
    "traceback": str,
    "lost": bool,
    "when": int | float,
    "spec": dict,
}
KEY = re.compile(r"[A-Za-z0-9_-]{1,200}")


@dataclass(frozen=True)
class Failure:
    """A run that raised: what, at which step if known, and where in the code.

    `lost` is a run whose worker died under it (killed, or out of memory): nothing is wrong with
    its spec, so the next sweep tries it again without being asked.
    """

    key: str
    error: str
    step: int | None = None
    traceback: str = ""
    lost: bool = False
    when: float = 0.0  # seconds since 1970
    spec: Mapping[str, Any] = field(default_factory=dict[str, Any])


@runtime_checkable
class Store(Protocol):
    """Any place that keeps finished runs; StoreContract in the tests says what it must do."""

    def finished(self) -> frozenset[str]:
        """The keys of the finished runs; what is no run is set aside and named in a warning."""
        ...

    def holds(self, key: str) -> bool:
        """Whether that run is finished, as of now."""
        ...

    def claim(self, key: str) -> Release | None:
        """Reserve a run for this caller until the given function is called or the process ends;
        None if it is reserved already."""
        ...

    def keep(self, spec: Spec, table: pl.DataFrame) -> None:
        """Land a finished run, whole or not at all, and forget that it ever failed."""
        ...

    def record(self, failure: Failure) -> None:
        """Land the record of a run that failed."""
        ...

    def failures(self) -> Mapping[str, Failure]:
        """The runs that failed and have not finished since."""
        ...

    def failure(self, key: str) -> Failure | None:
        """The record of that run if it failed and has not finished since, as of now."""
        ...

    def read(self, keys: Iterable[str] | None = None) -> pl.DataFrame:
        """The rows of all finished runs, or of those, in one table: the key as `run`, the fields
        of the spec, the run's own columns."""
        ...


@dataclass(frozen=True)
class Folder:
    """A store in a folder, made when something lands in it."""

    path: Path

    def finished(self) -> frozenset[str]:
        """The keys of the finished runs; files that are none move to aside/ with a warning."""
        runs, strangers = survey(self.path)
        for file, why in strangers.items():
            set_aside(file, why)
        _sweep_up(self.path)
        return frozenset(runs)

    def strangers(self) -> int:
        """The number of Parquet files in a folder that no sweep has ever worked in, else 0."""
        files = parquets(self.path)
        ours = (self.path / ".claims").is_dir() or is_store(self.path)
        return 0 if ours else len(files)

    def holds(self, key: str) -> bool:
        """Whether that run is finished, as of now."""
        return isinstance(run_file(self._file(key)), RunFile)

    def claim(self, key: str) -> Release | None:
        """A lock file in .claims/."""
        place = self.path / ".claims"
        try:
            place.mkdir(parents=True, exist_ok=True)
            return claim(place / key)
        except OSError as error:
            raise self._unwritable(error) from error

    def keep(self, spec: Spec, table: pl.DataFrame) -> None:
        """Write KEY.parquet; OSError with one sentence if it cannot land."""
        content, file = run_bytes(spec, table), self._file(spec.key())
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            _make_room(file)
            with land(file) as temporary:
                temporary.write_bytes(content)
        except OSError as error:
            raise self._unwritable(error) from error
        with contextlib.suppress(OSError):  # a finished run has not failed, whatever is there
            (self.path / "failed" / file.name).with_suffix(".json").unlink()

    def record(self, failure: Failure) -> None:
        """Write failed/KEY.json."""
        try:
            file = self.path / "failed" / f"{failure.key}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(file) and not file.is_file():
                set_aside(file, "it is no record of a failed run")
            with land(file) as temporary:
                temporary.write_text(json.dumps(asdict(failure), indent=1) + "\n")
        except OSError as error:
            raise self._unwritable(error) from error

    def failures(self) -> Mapping[str, Failure]:
        """The records in failed/ of runs that have not finished since."""
        keys = sorted(file.stem for file in (self.path / "failed").glob("[!.]*.json"))
        found = {key: self.failure(key) for key in keys}
        return {key: failure for key, failure in found.items() if failure is not None}

    def failure(self, key: str) -> Failure | None:
        """The record in failed/ of that run; one that cannot be read is none, with a warning."""
        file = self.path / "failed" / f"{key}.json"
        try:
            return None if self.holds(key) else _failure(file)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, RecursionError) as error:
            warn_of(f"{str(file)!r} is no record of a failed run: {reason(error)}.")
            return None

    def read(self, keys: Iterable[str] | None = None) -> pl.DataFrame:
        """All finished runs, or those of `keys`, in the order of their names; nothing is moved.

        Files that are no finished runs are named in a warning. Raises BadTable if none is left.
        """
        runs, strangers = survey(self.path)
        if keys is None:
            for file, why in strangers.items():
                warn_of(f"{str(file)!r} is left out: {why}.")
        wanted = sorted(runs if keys is None else runs.keys() & set(keys))
        table = read_runs([runs[key] for key in wanted])
        if table.height == 0:
            raise BadTable(f"The store {str(self.path)!r} holds no finished run of these.")
        return table

    def _file(self, key: str) -> Path:
        if not KEY.fullmatch(key):
            raise ValueError(f"a run's key must be letters, digits, - and _, got {shown(key)}")
        return self.path / f"{key}.parquet"

    def _unwritable(self, error: OSError) -> OSError:
        """The error with the store's name and what is still safe."""
        why = error.strerror or reason(error).rpartition("': ")[2]  # the store says where
        made = OSError(
            f"Cannot write into the store {str(self.path)!r}: {why}. "
            "What has finished is kept; put that right and give the same command again."
        )
        made.errno = error.errno
        return made


def _make_room(file: Path) -> None:
    """Set aside what has the name of a finished run and is none."""
    if os.path.lexists(file) and isinstance(why := run_file(file), str):
        set_aside(file, why)


def _sweep_up(folder: Path) -> None:
    """Remove temporary files that a killed process left an hour ago or more."""
    for place in (folder, folder / "failed", folder / ".states"):
        for file in place.glob(".kleiber-*"):
            with contextlib.suppress(OSError):
                if time.time() - file.stat().st_mtime > FORGOTTEN:
                    file.unlink()


def _failure(file: Path) -> Failure:
    """The record in a file; ValueError or TypeError if it is none."""
    check_ordinary(file, MOST_BYTES)
    record = json.loads(file.read_text(encoding="utf-8"))
    names = {item.name for item in fields(Failure)}
    if not isinstance(record, dict) or not names >= cast("dict[str, Any]", record).keys():
        raise ValueError(f"it must be an object with {listed(sorted(names))}")
    made = Failure(**cast("dict[str, Any]", record))
    for name, kinds in KINDS.items():
        given: Any = getattr(made, name)
        if not isinstance(given, kinds) or (isinstance(given, bool) and name != "lost"):
            raise ValueError(f"its {name} is {shown(given)}")
    if made.key != file.stem:
        raise ValueError(f"it is the record of {shown(made.key)}")
    return made
