"""The store of finished runs: one Parquet file for each Experiment, named by its key.

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
from kleiber.files import check_regular_file, write_atomically
from kleiber.sweeps.locks import Release, claim
from kleiber.sweeps.runs import (
    RunFile,
    Spec,
    find_runs,
    is_store,
    list_parquet_files,
    read_runs,
    run_bytes,
    run_file,
    set_aside,
    warn_user,
)

STALE_SECONDS = 3600.0  # seconds after which a temporary file is what a killed process left behind
MAX_BYTES = 100_000_000  # of the record of a failure
FIELD_TYPES: Mapping[str, Any] = {  # what the fields of such a record are
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
    """A run that raised: its error, its step if known, and the traceback.

    `lost` is a run whose worker died (killed, or out of memory): its spec is not at fault, so the
    next sweep tries it again without being asked.
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
    """Any place that keeps finished runs; StoreContract in the tests specifies what it must do."""

    def finished(self) -> frozenset[str]:
        """Return the keys of the finished runs; anything else is set aside and named in a
        warning."""
        ...

    def holds(self, key: str) -> bool:
        """Return whether that run is finished now."""
        ...

    def claim(self, key: str) -> Release | None:
        """Reserve a run for this caller until the returned function is called or the process ends;
        return None if it is already reserved."""
        ...

    def keep(self, spec: Spec, table: pl.DataFrame) -> None:
        """Store a finished run, whole or not at all, and delete the record of its failure."""
        ...

    def record(self, failure: Failure) -> None:
        """Store the record of a run that failed."""
        ...

    def failures(self) -> Mapping[str, Failure]:
        """Return the runs that failed and have not finished since."""
        ...

    def failure(self, key: str) -> Failure | None:
        """Return the record of that run if it failed and has not finished since."""
        ...

    def read(self, keys: Iterable[str] | None = None) -> pl.DataFrame:
        """Return the rows of all finished runs, or of the given keys, in one table: the key as
        `run`, the fields of the spec, and the run's own columns."""
        ...


@dataclass(frozen=True)
class Folder:
    """A store in a folder, which is made when the first file is written."""

    path: Path

    def finished(self) -> frozenset[str]:
        """Return the keys of the finished runs; other files move to aside/ with a warning."""
        runs, other_files = find_runs(self.path)
        for file, why in other_files.items():
            set_aside(file, why)
        _remove_stale_files(self.path)
        return frozenset(runs)

    def other_files(self) -> int:
        """Return the number of Parquet files in a folder in which no sweep has ever worked, else
        0."""
        files = list_parquet_files(self.path)
        ours = (self.path / ".claims").is_dir() or is_store(self.path)
        return 0 if ours else len(files)

    def holds(self, key: str) -> bool:
        """Return whether that run is finished now."""
        return isinstance(run_file(self._file(key)), RunFile)

    def claim(self, key: str) -> Release | None:
        """Lock a file in .claims/."""
        place = self.path / ".claims"
        try:
            place.mkdir(parents=True, exist_ok=True)
            return claim(place / key)
        except OSError as error:
            raise self._unwritable(error) from error

    def keep(self, spec: Spec, table: pl.DataFrame) -> None:
        """Write KEY.parquet; raise OSError with one sentence if that fails."""
        content, file = run_bytes(spec, table), self._file(spec.key())
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            _clear_path(file)
            with write_atomically(file) as temporary:
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
            with write_atomically(file) as temporary:
                temporary.write_text(json.dumps(asdict(failure), indent=1) + "\n")
        except OSError as error:
            raise self._unwritable(error) from error

    def failures(self) -> Mapping[str, Failure]:
        """Return the records in failed/ of runs that have not finished since."""
        keys = sorted(file.stem for file in (self.path / "failed").glob("[!.]*.json"))
        found = {key: self.failure(key) for key in keys}
        return {key: failure for key, failure in found.items() if failure is not None}

    def failure(self, key: str) -> Failure | None:
        """Return the record in failed/ of that run; warn about one that cannot be read."""
        file = self.path / "failed" / f"{key}.json"
        try:
            return None if self.holds(key) else _failure(file)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, RecursionError) as error:
            warn_user(f"{str(file)!r} is no record of a failed run: {reason(error)}.")
            return None

    def read(self, keys: Iterable[str] | None = None) -> pl.DataFrame:
        """Return all finished runs, or those of `keys`, in the order of their names; no file is
        moved.

        Files that are not finished runs are named in a warning. Raises BadTable if no run remains.
        """
        runs, other_files = find_runs(self.path)
        if keys is None:
            for file, why in other_files.items():
                warn_user(f"{str(file)!r} is left out: {why}.")
        selected = sorted(runs if keys is None else runs.keys() & set(keys))
        table = read_runs([runs[key] for key in selected])
        if table.height == 0:
            raise BadTable(f"The store {str(self.path)!r} holds no finished run of these.")
        return table

    def _file(self, key: str) -> Path:
        if not KEY.fullmatch(key):
            raise ValueError(
                f"The key of a run must be letters, digits, - and _, got {shown(key)}."
            )
        return self.path / f"{key}.parquet"

    def _unwritable(self, error: OSError) -> OSError:
        """Return the error with the store's name and what is still safe."""
        why = error.strerror or reason(error).rpartition("': ")[2]  # the store says where
        made = OSError(
            f"Cannot write into the store {str(self.path)!r}: {why}. "
            "What has finished is kept; put that right and give the same command again."
        )
        made.errno = error.errno
        return made


def _clear_path(file: Path) -> None:
    """Set aside a file that has the name of a finished run but is none."""
    if os.path.lexists(file) and isinstance(why := run_file(file), str):
        set_aside(file, why)


def _remove_stale_files(folder: Path) -> None:
    """Remove temporary files that a killed process left an hour ago or more."""
    for place in (folder, folder / "failed", folder / ".states"):
        for file in place.glob(".kleiber-*"):
            with contextlib.suppress(OSError):
                if time.time() - file.stat().st_mtime > STALE_SECONDS:
                    file.unlink()


def _failure(file: Path) -> Failure:
    """Return the record in a file; raise ValueError or TypeError if it is none."""
    check_regular_file(file, MAX_BYTES)
    record = json.loads(file.read_text(encoding="utf-8"))
    names = {item.name for item in fields(Failure)}
    if not isinstance(record, dict) or not names >= cast("dict[str, Any]", record).keys():
        raise ValueError(f"it must be an object with {listed(sorted(names))}")
    made = Failure(**cast("dict[str, Any]", record))
    for name, kinds in FIELD_TYPES.items():
        given: Any = getattr(made, name)
        if not isinstance(given, kinds) or (isinstance(given, bool) and name != "lost"):
            raise ValueError(f"its {name} is {shown(given)}")
    if made.key != file.stem:
        raise ValueError(f"it is the record of {shown(made.key)}")
    return made
