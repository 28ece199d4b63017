# pyright: basic
"""The measures of the nets at a checkpoint, and the table of all checkpoints."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Float

from kleiber.experiment import SGD, Experiment, rate_factor
from kleiber.experiment.counts import measure_net, task_outputs, task_shape
from kleiber.maths.seeds import stream
from kleiber.networks.net_stack import NetStack, loss_of
from kleiber.networks.norms import NORMS, measure_norms
from kleiber.networks.task import Data, Examples

CHUNK = 1 << 14  # examples prepared at a time


def measure(stack: NetStack, data: Data, step: int, seconds: float) -> list[dict[str, Any]]:
    """Return one row for each net that has not diverged; a net with a measure that is not finite
    has diverged."""
    wanted = stack.experiment.measures
    found: dict[str, Float[np.ndarray, "nets"]] = {}
    if names := {"loss", "error"} & set(wanted):
        found |= evaluate_stack(stack, data, data.test, names)
    if names := {"train_loss", "train_error"} & set(wanted):
        short = {name.removeprefix("train_") for name in names}
        judged = evaluate_stack(stack, data, data.train, short, step)
        found |= {f"train_{name}": values for name, values in judged.items()}
    if "error_augmented" in wanted:
        moved = augment_test(data, stack.experiment, step)
        found["error_augmented"] = evaluate_stack(stack, data, moved, {"error"})["error"]
    if "weight_norm" in wanted:
        found["weight_norm"] = weight_norm(stack)
    if names := {name for name in NORMS if name in wanted}:
        found |= log_norms(stack, names)
    if "seconds" in wanted:
        found["seconds"] = np.full(len(stack.seeds), seconds)
    values = np.stack([found[name] for name in wanted], axis=1)
    rows: list[dict[str, Any]] = []
    for index, seed in enumerate(stack.seeds):
        if index not in stack.died and not np.isfinite(values[index]).all():
            stack.died[index] = step
        if index not in stack.died:
            measures = dict(zip(wanted, values[index].tolist(), strict=True))
            rows.append({"seed": seed, "step": step, **measures, "diverged": False})
    return rows


def evaluate_stack(
    stack: NetStack, data: Data, examples: Examples | None, names: set[str], step: int = 0
) -> dict[str, Float[np.ndarray, "nets"]]:
    """Return the mean loss and the error rate of each net, on the examples of the next step if none
    are given."""
    if examples is None:
        x, y = stack.feed.take(step, 1)
    else:
        x, y = examples[0][None], examples[1][None]
    totals = {name: np.zeros(len(stack.seeds)) for name in names}
    rows = x.shape[1]
    size = max(1, CHUNK // math.prod(y.shape[2:]))
    for low in range(0, rows, size):
        part, answers = x[:, low : low + size], y[:, low : low + size]
        if examples is not None:
            part = data.prepare(part[0])[None]
        outputs = stack.outputs(part).astype(np.float64)
        for name in names:
            share = _weight(name, answers) / _weight(name, y)
            totals[name] += share * _evaluate_batch(name, stack.experiment, outputs, answers)
    return totals


def _weight(name: str, answers: np.ndarray) -> int:
    """Return how many terms the mean of a measure has: rows, or the answers' tokens for a loss."""
    if name == "loss" and answers.ndim == 3 and answers.dtype.kind == "i":
        return int((answers >= 0).sum())
    return answers.shape[1]


def _evaluate_batch(
    name: str, experiment: Experiment, outputs: np.ndarray, answers: np.ndarray
) -> Float[np.ndarray, "nets"]:
    if name == "loss":
        loss = loss_of(experiment.task.loss, torch.tensor(outputs), torch.tensor(answers))
        return loss.numpy()
    labels = answers if answers.dtype.kind == "i" else answers.argmax(-1)
    if outputs.ndim == 4:  # one wrong token makes an answer wrong
        return ((outputs.argmax(-1) != labels) & (labels >= 0)).any(-1).mean(1)
    with np.errstate(invalid="ignore"):
        return (outputs.argmax(-1) != labels).mean(1)


def weight_norm(stack: NetStack) -> Float[np.ndarray, "nets"]:
    """Return the root of the sum of squares of all parameters of each net."""
    with np.errstate(all="ignore"):  # what is not finite is dealt with as divergence
        squares = [
            (value.astype(np.float64) ** 2).reshape(len(stack.seeds), -1).sum(1)
            for value in stack.params().values()
        ]
        return np.sqrt(np.sum(squares, axis=0))


def augment_test(data: Data, experiment: Experiment, step: int) -> Examples:
    """Return the test images flipped and shifted as training images are, anew at each
    checkpoint."""
    assert data.augment is not None
    rng = stream(experiment.task.data_seed, f"augment test {step}")
    return data.augment(rng, data.test[0]), data.test[1]


def log_norms(stack: NetStack, names: set[str]) -> dict[str, Float[np.ndarray, "nets"]]:
    """Return the logs of norms of each net; iterations start where those of the last call ended."""
    shape = stack.feed.data.shape
    found: dict[str, list[float]] = {name: [] for name in names}
    for seed, module in zip(stack.seeds, stack.modules(), strict=True):
        warm = stack.warm.setdefault(str(seed), {})
        for name, value in measure_norms(module, shape=shape, names=names, warm=warm).items():
            found[name].append(value)
    return {name: np.array(values) for name, values in found.items()}


def as_table(experiment: Experiment, rows: list[dict[str, Any]], n_train: int) -> pl.DataFrame:
    """Return the rows in order of seed and step, with columns of the spec; `n_train` is the number
    of training examples, 0 if each step draws fresh ones."""
    task, net = experiment.task, experiment.net
    size = measure_net(net, task_shape(task), task_outputs(task))
    batch = experiment.batch or n_train
    kinds: dict[str, Any] = {"seed": pl.Int64, "step": pl.Int64}
    kinds |= dict.fromkeys(experiment.measures, pl.Float64) | {"diverged": pl.Boolean}
    table = pl.DataFrame(rows, schema=kinds).sort("seed", "step")
    examples_seen = pl.col("step") * batch
    known: dict[str, Any] = {"n_params": pl.lit(size.n_params, pl.Int64)}
    known |= {
        name: pl.lit(getattr(net, name), pl.Int64)
        for name in ("width", "depth")
        if hasattr(net, name)
    }
    known["n_data"] = pl.lit(n_train, pl.Int64) if n_train else examples_seen
    known["batch_size"] = pl.lit(batch, pl.Int64)
    known["flops"] = examples_seen.cast(pl.Float64) * float(size.step)  # whole numbers would wrap
    if isinstance(experiment.optimiser, SGD) and experiment.optimiser.momentum == 0:
        known["time"] = pl.Series(gradient_time(experiment)).gather(table["step"])
    added = table.with_columns(**known)
    return added.select("seed", *known, "step", *experiment.measures, "diverged")


def gradient_time(experiment: Experiment) -> Float[np.ndarray, "steps"]:
    """Return the sum of the learning rates of all steps before each step."""
    spec, steps = experiment.schedule, experiment.steps
    factors = [rate_factor(spec, step / steps) for step in range(steps)]
    return experiment.optimiser.rate * np.concatenate([[0.0], np.cumsum(factors)])
