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
from kleiber.networks.net_stack import NetStack, make_stack
from kleiber.networks.resume import Saved, read_saved
from kleiber.networks.task import Data, make_data
from kleiber.progress import Progress

SAVE_EVERY = 60.0  # seconds between checkpoints of a long run
REPORT_EVERY = 1.0  # seconds between reports of progress, about
FIRST_STRIDE, STRIDE = 8, 2_000  # steps between reports: the first, and the most
ROWS = 2048  # rows of a full batch where the spec does not say
CACHE = 1 << 20  # bytes of activations that a stack may need, so that it stays in cache


@dataclass(frozen=True, eq=False)
class Trained:
    """The result of training an Experiment: the table, and the net of each seed.

    `params` are the final parameters, first axis over seeds in order.
    """

    experiment: Experiment
    table: pl.DataFrame
    params: dict[str, Shaped[np.ndarray, "seeds ..."]]
    stacks: tuple[NetStack, ...]

    def modules(self) -> list[torch.nn.Module]:
        """Return the net of each seed as a torch module; an MLP's scales are folded into its
        weights, and the initial output of a centred net is not subtracted."""
        return [module for stack in self.stacks for module in stack.modules()]

    def predict(self, x: Shaped[np.ndarray, "rows ..."]) -> Float[np.ndarray, "seeds rows outputs"]:
        """Return the outputs of every seed's net on common inputs (pixels prepared as in
        training)."""
        return np.concatenate([stack.outputs(x[None]) for stack in self.stacks])


def train(
    experiment: Experiment,
    *,
    resume: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
) -> pl.DataFrame:
    """Train an Experiment and return its table (see ``kleiber.train``)."""
    return train_nets(experiment, resume=resume, progress=progress, device=device).table


def train_nets(
    experiment: Experiment,
    *,
    resume: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
    watch: Callable[[int, NetStack], None] | None = None,
    compiled: bool = True,
) -> Trained:
    """Train as kleiber.train does, and keep the nets; `watch(step, stack)` is called at each
    checkpoint. Without `compiled`, two-layer nets are trained in torch too."""
    check_device(device)
    check_memory(experiment)
    data = make_data(experiment)
    stacks: list[NetStack] = []
    rows: list[dict[str, Any]] = []
    groups = seed_groups(experiment)
    saved = read_saved(resume, experiment, SAVE_EVERY)
    with threads(1):
        for number, seeds in enumerate(groups):
            stack = make_stack(experiment, data, seeds, device, compiled=compiled)
            report = make_report(
                progress, number * experiment.steps, len(groups) * experiment.steps
            )
            rows += run_stack(number, stack, data, saved=saved, report=report, watch=watch)
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
    """Raise BadExperiment unless torch can move numbers to the device and back."""
    try:
        torch.empty(0, device=device).cpu()
    except (RuntimeError, AssertionError, TypeError, ImportError) as error:
        raise BadExperiment(f"The device {device!r} cannot be used: {reason(error)}.") from None


def run_stack(
    number: int,
    stack: NetStack,
    data: Data,
    *,
    saved: Saved,
    report: Callable[[int], None],
    watch: Callable[[int, NetStack], None] | None,
) -> list[dict[str, Any]]:
    """Train one stack from its saved state, or from the start, to the end, and return its rows."""
    progress, steps = saved.restore(number, stack), stack.experiment.steps
    started, stride = time.monotonic() - progress.seconds, FIRST_STRIDE
    marks = stack.experiment.measured_steps()
    for mark in marks if marks[-1] == steps else (*marks, steps):
        while progress.step < mark:
            until = min(mark, progress.step + stride)
            stack.advance(progress.step, until)
            before, progress.seconds = progress.seconds, time.monotonic() - started
            seconds = max(progress.seconds - before, 1e-3)
            pace = (until - progress.step) / seconds
            progress.step, stride = until, max(1, min(round(pace * REPORT_EVERY), STRIDE))
            report(until)
            saved.keep(number, stack, progress)
        if progress.measured < mark and mark in marks:
            progress.rows += measure(stack, data, mark, time.monotonic() - started)
            progress.measured = mark
            if watch is not None:
                watch(mark, stack)
    saved.keep(number, stack, progress)
    divergences = {stack.seeds[index]: step for index, step in stack.died.items()}
    alive = [row for row in progress.rows if row["step"] < divergences.get(row["seed"], steps + 1)]
    return alive + [
        {"seed": seed, "step": step, "diverged": True} for seed, step in divergences.items()
    ]


def make_report(progress: Progress | None, before: int, total: int) -> Callable[[int], None]:
    """Return a function that reports a stack's step as one of all steps of all stacks."""

    def report(step: int) -> None:
        if progress is not None:
            progress(before + step, total, "steps")

    return report


def seed_groups(experiment: Experiment) -> list[tuple[int, ...]]:
    """Return the seeds in groups that are trained together, each small enough to stay in cache."""
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
    """Limit torch to a number of threads; for matrices of this size more threads only wait for each
    other."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
