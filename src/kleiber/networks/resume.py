# pyright: basic
"""The saved state of a run in progress, from which a killed run continues bit for bit."""

from __future__ import annotations

import os
import time
import warnings
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from kleiber.errors import BadExperiment, reason, shown
from kleiber.experiment import Experiment
from kleiber.files import write_atomically
from kleiber.networks.net_stack import NetStack

FORMAT = 1


@dataclass
class StackProgress:
    """The steps that a stack has taken, and its measures so far."""

    step: int = 0
    measured: int = -1  # the last checkpoint
    seconds: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass(eq=False)
class Saved:
    """The file with an Experiment's state, if any; each stack of seeds has its entry in it."""

    path: Path | None
    key: str
    every: float  # seconds from one writing to the next
    stacks: dict[int, dict[str, Any]] = field(default_factory=dict)
    written: float = field(default_factory=time.monotonic)

    def keep(self, number: int, stack: NetStack, progress: StackProgress) -> None:
        """Keep the state of a stack, and write the states of all stacks when it is time."""
        if self.path is None:
            return
        due = time.monotonic() - self.written >= self.every
        if (
            due or progress.step == stack.experiment.steps
        ):  # a copy of all rows: not at every stride
            self.stacks[number] = {"done": asdict(progress), "state": stack.state()}
        if due:
            with write_atomically(self.path) as temporary:
                torch.save({"format": FORMAT, "key": self.key, "stacks": self.stacks}, temporary)
            self.written = time.monotonic()

    def restore(self, number: int, stack: NetStack) -> StackProgress:
        """Restore a stack; it stays at its start if nothing was kept, or, with a warning, if what
        was kept is not one of its states."""
        if self.path is None or number not in self.stacks:
            return StackProgress()
        start = deepcopy(stack.state())
        try:
            saved_state = self.stacks[number]
            progress = check_progress(StackProgress(**saved_state["done"]), stack.experiment.steps)
            check_state(start, saved_state["state"])
            stack.restore(saved_state["state"])
        except Exception as error:  # of whatever kind the damage makes it
            set_aside(self.path, reason(error))
            self.stacks.clear()
            stack.restore(start)
            return StackProgress()
        return progress

    def remove(self) -> None:
        """Remove the file after the run has finished."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def check_progress(progress: StackProgress, steps: int) -> StackProgress:
    """Return the progress if a run of so many steps can have it; raise ValueError otherwise."""
    numbers = {"step": progress.step, "measured": progress.measured, "seconds": progress.seconds}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"its {name} is {shown(value)}")
    if not (
        -1 <= progress.measured <= progress.step <= steps and progress.step >= 0 <= progress.seconds
    ):
        raise ValueError(f"its step is {progress.step} of {steps}")
    rows: Any = progress.rows
    if not isinstance(rows, list) or not all({"seed", "step"} <= row.keys() for row in rows):
        raise ValueError("its rows are no measures of seeds")
    return progress


def check_state(start: dict[str, Any], saved_state: dict[str, Any]) -> None:
    """Raise ValueError unless a saved state has the same structure as the state at the start."""
    for kind in ("params", "buffers", "optimiser"):
        for name, value in start[kind].items():
            if name != "state" and structure(value) != structure(saved_state[kind][name]):
                raise ValueError(f"its {name} is of another form")


def structure(value: Any) -> Any:
    """Return the types and shapes of a value, without its numbers."""
    match value:
        case torch.Tensor():
            return value.dtype, tuple(value.shape)
        case dict():
            return {key: structure(inner) for key, inner in value.items()}
        case list() | tuple():
            return [structure(inner) for inner in value]
        case bool() | None | str():
            return type(value)
        case _:
            return "number" if isinstance(value, int | float) else type(value)


def read_saved(path: str | os.PathLike[str] | None, experiment: Experiment, every: float) -> Saved:
    """Return the state saved in a file for an Experiment, empty if there is none yet.

    A file that cannot be read is set aside with a warning, and the run starts afresh; so is
    whatever stands under the run's own name, as in a store. Raises BadExperiment for another folder
    and for the state of another Experiment in a file of another name.
    """
    key = experiment.key()
    own_name = path is not None and Path(path).stem == key
    if path is None or not Path(path).exists():
        return Saved(None if path is None else Path(path), key, every)
    try:
        if not Path(path).is_file():  # reading a pipe would wait for ever
            raise OSError("it is no ordinary file")
        saved_state = torch.load(path, weights_only=True)
        format_, owner, stacks = saved_state["format"], saved_state["key"], saved_state["stacks"]
    except Exception as error:  # torch raises what pickle, zip and the file system raise
        set_aside(Path(path), reason(error), folders=own_name)
        return Saved(Path(path), key, every)
    if not isinstance(stacks, dict) or (own_name and (format_ != FORMAT or owner != key)):
        set_aside(Path(path), f"it is the state of {shown(owner)}")
        return Saved(Path(path), key, every)
    if format_ != FORMAT or owner != key:
        raise BadExperiment(
            f"{str(path)!r} holds the state of another Experiment ({owner}, not {key}); "
            "give another file, or remove it."
        )
    return Saved(Path(path), key, every, stacks)


def set_aside(path: Path, why: str, *, folders: bool = False) -> None:
    """Rename a file that holds no state of a run, with a warning; raise BadExperiment if that
    fails."""
    aside = path.with_name(f"{path.name}.unreadable")
    try:
        if path.is_dir() and not folders:
            raise IsADirectoryError("it is a folder")
        path.replace(aside)
    except OSError as error:
        raise BadExperiment(
            f"{str(path)!r} holds no state of a run: {error.strerror or error}."
        ) from None
    warnings.warn(
        f"{str(path)!r} holds no state of a run ({why}); it is set aside as {str(aside)!r} and "
        "the run starts afresh.",
        UserWarning,
        stacklevel=2,
    )
