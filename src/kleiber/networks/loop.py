# pyright: basic
"""Training an Experiment: all its seeds, measured at its checkpoints, as one long table."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Shaped

from kleiber.errors import BadExperiment, reason
from kleiber.experiment import MLP, Experiment
from kleiber.experiment.memory import check_memory
from kleiber.networks.measure import as_table, measure
from kleiber.networks.members import Members, make_members
from kleiber.networks.resume import Saved, saved_at
from kleiber.networks.task import Data, make_data
from kleiber.progress import Progress

SAVE_EVERY = 60.0  # seconds between checkpoints of a long run
LOOK_EVERY = 1.0  # seconds between reports of progress, about
FIRST_STRIDE, STRIDE = 8, 2_000  # steps between reports: the first, and the most
ROWS = 2048  # rows of a full batch where the spec does not say
CACHE = 1 << 20  # bytes of activations that a stack may need, so that it stays in cache


@dataclass(frozen=True, eq=False)
class Trained:
    """What came of an Experiment: the table, and each seed's net.

    `params` are the final parameters, first axis over seeds in order.
    """

    experiment: Experiment
    table: pl.DataFrame
    params: dict[str, Shaped[np.ndarray, "seeds ..."]]
    stacks: tuple[Members, ...]

    def modules(self) -> list[torch.nn.Module]:
        """Each seed's net as a torch module; an MLP's scales are folded into its weights, and
        what a centred net was at the start is not subtracted."""
        return [module for stack in self.stacks for module in stack.modules()]

    def predict(self, x: Shaped[np.ndarray, "rows ..."]) -> Float[np.ndarray, "seeds rows outputs"]:
        """The outputs of every seed's net on common inputs (pixels prepared as in training)."""
        return np.concatenate([stack.outputs(x[None]) for stack in self.stacks])


def train(
    experiment: Experiment,
    *,
    resume: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
) -> pl.DataFrame:
    """The table of kleiber.train, which says what is in it."""
    return train_nets(experiment, resume=resume, progress=progress, device=device).table


def train_nets(
    experiment: Experiment,
    *,
    resume: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
    watch: Callable[[int, Members], None] | None = None,
    compiled: bool = True,
) -> Trained:
    """Train as kleiber.train does, and keep the nets; `watch(step, stack)` is called at each
    checkpoint. Without `compiled` two-layer nets are trained in torch too."""
    check_device(device)
    check_memory(experiment)
    data = make_data(experiment)
    stacks: list[Members] = []
    rows: list[dict[str, Any]] = []
    groups = seed_groups(experiment)
    saved = saved_at(resume, experiment, SAVE_EVERY)
    with threads(1):
        for number, seeds in enumerate(groups):
            stack = make_members(experiment, data, seeds, device, compiled=compiled)
            tell = teller(progress, number * experiment.steps, len(groups) * experiment.steps)
            rows += run_stack(number, stack, data, saved=saved, tell=tell, watch=watch)
            stacks.append(stack)
    saved.remove()
    n_train = 0 if data.train is None else len(data.train[1])
    params = [stack.params() for stack in stacks]
    return Trained(
        experiment,
        as_table(experiment, rows, n_train),
        {name: np.concatenate([each[name] for each in params]) for name in params[0]},
        tuple(stacks),
    )


def check_device(device: str) -> None:
    """BadExperiment unless torch can put numbers on the device and take them back."""
    try:
        torch.empty(0, device=device).cpu()
    except (RuntimeError, AssertionError, TypeError, ImportError) as error:
        raise BadExperiment(f"device {device!r} cannot be used: {reason(error)}") from None


def run_stack(
    number: int,
    stack: Members,
    data: Data,
    *,
    saved: Saved,
    tell: Callable[[int], None],
    watch: Callable[[int, Members], None] | None,
) -> list[dict[str, Any]]:
    """Train one stack from its saved state, or the start, to the end; its rows."""
    done, steps = saved.restore(number, stack), stack.experiment.steps
    begun, stride = time.monotonic() - done.seconds, FIRST_STRIDE
    marks = stack.experiment.measured_steps()
    for mark in marks if marks[-1] == steps else (*marks, steps):
        while done.step < mark:
            until = min(mark, done.step + stride)
            stack.advance(done.step, until)
            before, done.seconds = done.seconds, time.monotonic() - begun
            pace = (until - done.step) / max(done.seconds - before, 1e-3)  # steps per second
            done.step, stride = until, max(1, min(round(pace * LOOK_EVERY), STRIDE))
            tell(until)
            saved.keep(number, stack, done)
        if done.measured < mark and mark in marks:
            done.rows += measure(stack, data, mark, time.monotonic() - begun)
            done.measured = mark
            if watch is not None:
                watch(mark, stack)
    saved.keep(number, stack, done)
    deaths = {stack.seeds[member]: step for member, step in stack.died.items()}
    alive = [row for row in done.rows if row["step"] < deaths.get(row["seed"], steps + 1)]
    return alive + [{"seed": seed, "step": step, "diverged": True} for seed, step in deaths.items()]


def teller(progress: Progress | None, before: int, total: int) -> Callable[[int], None]:
    """Report a stack's step as one of all steps of all stacks."""

    def tell(step: int) -> None:
        if progress is not None:
            progress(before + step, total, "steps")

    return tell


def seed_groups(experiment: Experiment) -> list[tuple[int, ...]]:
    """The seeds as stacks that are trained together: few enough to stay in cache."""
    seeds = experiment.seeds
    if not isinstance(experiment.net, MLP):
        return [(seed,) for seed in seeds]
    task, net = experiment.task, experiment.net
    rows = experiment.batch or task.n_data or ROWS
    each = rows * net.width * net.depth * (8 if experiment.dtype == "float64" else 4)
    size = max(1, CACHE // each)
    return [seeds[low : low + size] for low in range(0, len(seeds), size)]


@contextmanager
def threads(count: int) -> Generator[None]:
    """So many threads for torch: on matrices of this size more of them only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
