# pyright: basic
"""The state of a run in progress, in one file: a killed run goes on from it bit for bit."""

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
        """Put a stack back where it was; it is left at the start where nothing was kept, and where
        what was kept is none of its states, of which a warning tells."""
        if self.path is None or number not in self.stacks:
            return Done()
        start = deepcopy(stack.state())
        try:
            held = self.stacks[number]
            done = checked(Done(**held["done"]), stack.experiment.steps)
            check_state(start, held["state"])
            stack.restore(held["state"])
        except Exception as error:  # of whatever kind the damage makes it
            set_aside(self.path, reason(error))
            self.stacks.clear()
            stack.restore(start)
            return Done()
        return done

    def remove(self) -> None:
        """Forget the state: the run has finished."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def checked(done: Done, steps: int) -> Done:
    """What was done, if a run of so many steps can have done it; else ValueError."""
    numbers = {"step": done.step, "measured": done.measured, "seconds": done.seconds}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"its {name} is {shown(value)}")
    if not (-1 <= done.measured <= done.step <= steps and done.step >= 0 <= done.seconds):
        raise ValueError(f"its step is {done.step} of {steps}")
    rows: Any = done.rows
    if not isinstance(rows, list) or not all({"seed", "step"} <= row.keys() for row in rows):
        raise ValueError("its rows are no measures of seeds")
    return done


def check_state(start: dict[str, Any], held: dict[str, Any]) -> None:
    """ValueError unless what was kept is of the same form as the state at the start."""
    for kind in ("params", "buffers", "optimiser"):
        for name, value in start[kind].items():
            if name != "state" and form(value) != form(held[kind][name]):
                raise ValueError(f"its {name} is of another form")


def form(value: Any) -> Any:
    """The types and shapes of a value, without its numbers."""
    match value:
        case torch.Tensor():
            return value.dtype, tuple(value.shape)
        case dict():
            return {key: form(inner) for key, inner in value.items()}
        case list() | tuple():
            return [form(inner) for inner in value]
        case bool() | None | str():
            return type(value)
        case _:
            return "number" if isinstance(value, int | float) else type(value)


def saved_at(path: str | os.PathLike[str] | None, experiment: Experiment, every: float) -> Saved:
    """The state kept in a file for an Experiment, empty where there is none yet.

    A file that cannot be read is set aside with a warning, and the run starts afresh; so is
    whatever stands under the run's own name, as in a store. Raises BadExperiment for another folder
    and for the state of another Experiment in a file of another name.
    """
    key = experiment.key()
    own = path is not None and Path(path).stem == key
    if path is None or not Path(path).exists():
        return Saved(None if path is None else Path(path), key, every)
    try:
        if not Path(path).is_file():  # reading a pipe would wait for ever
            raise OSError("it is no ordinary file")
        held = torch.load(path, weights_only=True)
        format_, owner, stacks = held["format"], held["key"], held["stacks"]
    except Exception as error:  # torch raises what pickle, zip and the file system raise
        set_aside(Path(path), reason(error), folders=own)
        return Saved(Path(path), key, every)
    if not isinstance(stacks, dict) or (own and (format_ != FORMAT or owner != key)):
        set_aside(Path(path), f"it is the state of {shown(owner)}")
        return Saved(Path(path), key, every)
    if format_ != FORMAT or owner != key:
        raise BadExperiment(
            f"{str(path)!r} holds the state of another Experiment ({owner}, not {key}); "
            "give another file, or remove it"
        )
    return Saved(Path(path), key, every, stacks)


def set_aside(path: Path, why: str, *, folders: bool = False) -> None:
    """Rename a file that holds no state of a run, and say so; BadExperiment if that cannot be."""
    aside = path.with_name(f"{path.name}.unreadable")
    try:
        if path.is_dir() and not folders:
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
