# pyright: basic
"""Training on the circle with the residual of each Fourier mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.errors import BadExperiment
from kleiber.experiment import CircleTask, Experiment
from kleiber.networks.loop import train_nets
from kleiber.networks.net_stack import NetStack


def residual(mode: int) -> str:
    """Return the column name of a mode's residual."""
    return f"residual_{mode}"


def residuals(
    outputs: Float[np.ndarray, "members points"], decay: float, modes: tuple[int, ...]
) -> Float[np.ndarray, "members modes"]:
    """Return 1 - a_k/k^-decay of each mode: 1 before a mode is learned, 0 after.

    a_k is the coefficient of cos(k theta) of the outputs on the whole grid.
    """
    points = outputs.shape[-1]
    found = 2 * np.fft.rfft(outputs).real[..., list(modes)] / points
    return 1 - found * np.asarray(modes, float) ** decay


def train_with_modes(
    experiment: Experiment, modes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)
) -> pl.DataFrame:
    """Train and return the table of kleiber.train with a column residual_k for each mode.

    Made for `sweep(..., run=train_with_modes)`. Raises BadExperiment for a task that is not the
    circle, or whose test set is not the whole grid.
    """
    task = experiment.task
    if not isinstance(task, CircleTask) or task.n_test is not None:
        raise BadExperiment("Residuals of modes need a task of kind 'circle' without n_test.")
    most = task.modes or task.points // 2 - 1
    kept = tuple(mode for mode in modes if 1 <= mode <= most)
    rows: list[dict[str, Any]] = []

    def watch(step: int, stack: NetStack) -> None:
        outputs = stack.outputs(stack.feed.data.test[0][None]).astype(np.float64)[..., 0]
        for seed, values in zip(stack.seeds, residuals(outputs, task.decay, kept), strict=True):
            named = dict(zip(map(residual, kept), values.tolist(), strict=True))
            rows.append({"seed": seed, "step": step, **named})

    table = train_nets(experiment, watch=watch).table
    kinds: dict[str, Any] = {"seed": pl.Int64, "step": pl.Int64}
    kinds |= dict.fromkeys(map(residual, kept), pl.Float64)
    return table.join(pl.DataFrame(rows, schema=kinds), on=["seed", "step"], how="left")
