"""What a sweep takes: specs, a store, an executor, each as it comes, or one sentence."""

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

Given: TypeAlias = Spec | Mapping[str, Any] | str | os.PathLike[str]


def specs_of(given: Any) -> list[Spec]:
    """The specs of a sweep file or a mapping of its form, of one spec alone, or of each given."""
    if isinstance(given, str | os.PathLike | Mapping):
        return list(read_sweep(cast(Any, given)))
    if isinstance(given, Spec) or not isinstance(given, Iterable):
        return [spec_of(given)]
    return [spec_of(item) for item in cast("Iterable[Any]", given)]


def spec_of(given: Any) -> Spec:
    """A spec as it is, or the Experiment of a TOML file or of a mapping; else BadExperiment."""
    if isinstance(given, str | os.PathLike | Mapping):
        return read_experiment(cast(Any, given))
    if isinstance(given, Spec) and not isinstance(given, type):
        return given
    raise BadExperiment(
        f"a sweep takes Experiments, their TOML files or their fields, got {shown(given)}"
    )


def store_of(store: Any) -> Store:
    """A store as it is, or the folder of that name as one; BadExperiment for anything else."""
    if isinstance(store, str | os.PathLike):
        return Folder(Path(cast("str | os.PathLike[str]", store)))
    if not callable(getattr(store, "finished", None)):
        raise BadExperiment(f"a store is a folder's path or a Store, got {shown(store)}")
    return store


def check_own(store: Store) -> None:
    """BadExperiment for a folder that holds somebody's Parquet files and no run of kleiber."""
    if isinstance(store, Folder) and (count := store.strangers()):
        files = "1 Parquet file" if count == 1 else f"{count} Parquet files"
        raise BadExperiment(
            f"The folder {str(store.path)!r} holds {files} and no run of kleiber, so it may be "
            "somebody else's; give another folder, or --adopt (adopt=True in Python) to set them "
            "aside and go on."
        )


def check_executor(given: Any) -> None:
    """BadExperiment unless runs can be submitted to it."""
    if isinstance(given, type) or not callable(getattr(given, "submit", None)):
        raise BadExperiment(
            f"an executor has a method submit, as in concurrent.futures; got {shown(given)}"
        )
