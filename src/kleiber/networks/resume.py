# pyright: basic
"""The state of a run in progress, in one file: a killed run goes on from it bit for bit."""

from __future__ import annotations

import os
import time
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from kleiber.errors import BadExperiment, reason
from kleiber.experiment import Experiment
from kleiber.files import land
from kleiber.networks.members import Members

FORMAT = 1


@dataclass
class Done:
    """How far a stack has come, and what was measured on the way."""

    step: int = 0
    measured: int = -1  # the last checkpoint
    seconds: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass(eq=False)
class Saved:
    """The file of an Experiment's state, or none; each stack of seeds has its entry in it."""

    path: Path | None
    key: str
    every: float  # seconds from one writing to the next
    stacks: dict[int, dict[str, Any]] = field(default_factory=dict)
    written: float = field(default_factory=time.monotonic)

    def keep(self, number: int, stack: Members, done: Done) -> None:
        """Take in the state of a stack, and write those of all stacks when it is time."""
        if self.path is None:
            return
        due = time.monotonic() - self.written >= self.every
        if due or done.step == stack.experiment.steps:  # a copy of all rows: not at every stride
            self.stacks[number] = {"done": asdict(done), "state": stack.state()}
        if due:
            with land(self.path) as temporary:
                torch.save({"format": FORMAT, "key": self.key, "stacks": self.stacks}, temporary)
            self.written = time.monotonic()

    def restore(self, number: int, stack: Members) -> Done:
        """Put a stack back where it was; it is left at the start where nothing was kept."""
        if number not in self.stacks:
            return Done()
        stack.restore(self.stacks[number]["state"])
        return Done(**self.stacks[number]["done"])

    def remove(self) -> None:
        """Forget the state: the run has finished."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def saved_at(path: str | os.PathLike[str] | None, experiment: Experiment, every: float) -> Saved:
    """The state kept in a file for an Experiment, empty where there is none yet.

    A file that cannot be read is set aside with a warning, and the run starts afresh. Raises
    BadExperiment for a folder and for the state of another Experiment.
    """
    key = experiment.key()
    if path is None or not Path(path).exists():
        return Saved(None if path is None else Path(path), key, every)
    try:
        held = torch.load(path, weights_only=True)
        format_, owner, stacks = held["format"], held["key"], held["stacks"]
    except Exception as error:  # torch raises what pickle, zip and the file system raise
        set_aside(Path(path), reason(error))
        return Saved(Path(path), key, every)
    if format_ != FORMAT or owner != key:
        raise BadExperiment(
            f"{str(path)!r} holds the state of another Experiment ({owner}, not {key}); "
            "give another file, or remove it"
        )
    return Saved(Path(path), key, every, stacks)


def set_aside(path: Path, why: str) -> None:
    """Rename a file that holds no state of a run, and say so; BadExperiment if that cannot be."""
    aside = path.with_name(f"{path.name}.unreadable")
    try:
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        path.replace(aside)
    except OSError as error:
        raise BadExperiment(
            f"{str(path)!r} holds no state of a run: {error.strerror or error}"
        ) from None
    warnings.warn(
        f"{str(path)!r} holds no state of a run ({why}); it is set aside as {str(aside)!r} and "
        "the run starts afresh.",
        UserWarning,
        stacklevel=2,
    )
