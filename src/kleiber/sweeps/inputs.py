"""The inputs of a sweep: specs, a store, an executor, checked with one sentence for each fault."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, cast

from kleiber.errors import BadExperiment, shown
from kleiber.experiment import read_experiment
from kleiber.sweeps.grid import read_sweep
from kleiber.sweeps.runs import Spec
from kleiber.sweeps.store import Folder, Store

SpecLike: TypeAlias = Spec | Mapping[str, Any] | str | os.PathLike[str]


def read_specs(given: Any) -> list[Spec]:
    """Return the specs of a sweep file or a mapping of its form, of a single spec, or of each one
    given."""
    if isinstance(given, str | os.PathLike | Mapping):
        return list(read_sweep(cast(Any, given)))
    if isinstance(given, Spec) or not isinstance(given, Iterable):
        return [read_spec(given)]
    return [read_spec(item) for item in cast("Iterable[Any]", given)]


def read_spec(given: Any) -> Spec:
    """Return a spec as it is, or the Experiment of a TOML file or of a mapping; raise BadExperiment
    otherwise."""
    if isinstance(given, str | os.PathLike | Mapping):
        return read_experiment(cast(Any, given))
    if isinstance(given, Spec) and not isinstance(given, type):
        return given
    raise BadExperiment(
        f"A sweep takes Experiments, their TOML files or their fields, got {shown(given)}."
    )


def open_store(store: Any) -> Store:
    """Return a store as it is, or the store in a folder; raise BadExperiment for anything else."""
    if isinstance(store, str | os.PathLike):
        return Folder(Path(cast("str | os.PathLike[str]", store)))
    if not callable(getattr(store, "finished", None)):
        raise BadExperiment(f"A store must be a folder's path or a Store, got {shown(store)}.")
    return store


def check_own(store: Store) -> None:
    """Raise BadExperiment for a folder that holds Parquet files but no run of kleiber."""
    if isinstance(store, Folder) and (count := store.other_files()):
        files = "1 Parquet file" if count == 1 else f"{count} Parquet files"
        raise BadExperiment(
            f"The folder {str(store.path)!r} holds {files} and no run of kleiber, so it may be "
            "somebody else's; give another folder, or --adopt (adopt=True in Python) to set them "
            "aside and go on."
        )


def check_executor(given: Any) -> None:
    """Raise BadExperiment unless runs can be submitted to the executor."""
    if isinstance(given, type) or not callable(getattr(given, "submit", None)):
        raise BadExperiment(
            f"An executor must have a method submit, as in concurrent.futures, got {shown(given)}."
        )
