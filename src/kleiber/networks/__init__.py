"""Networks: tasks, nets and the loop that trains them (extra ``train``; only here is torch)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import polars as pl

from kleiber.experiment import Experiment, read_experiment
from kleiber.progress import Progress, check_progress


def train(
    experiment: Experiment | str | os.PathLike[str] | Mapping[str, Any],
    *,
    resume: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
) -> pl.DataFrame:
    """Train every seed of an Experiment; one row for each seed and checkpoint.

    The Experiment may be given as the name of its TOML file or as its fields.

    Columns: seed, n_params, width and depth where the net has them, n_data, batch_size, flops (of
    training one seed up to the step), time (the sum of the rates, for plain SGD), step, the
    measures, and diverged. A seed whose loss is no longer finite ends with a row that has diverged
    true, the step of that loss, and no measures. With `resume` the state is kept in that file every
    minute, and a killed run called again goes on from it, bit for bit; the file is removed at the
    end. `progress` is called with (steps done, steps in all, "steps").

    Raises BadExperiment for a bad spec, for a device or data that cannot be had or a `resume` of
    another Experiment, and ImportError without torch.
    """
    if not isinstance(experiment, Experiment):
        experiment = read_experiment(experiment)
    check_progress(progress)
    return _loop().train(experiment, resume=resume, progress=progress, device=device)


def check_device(device: str) -> None:
    """Raise BadExperiment unless torch computes on the device, ImportError without torch."""
    _loop().check_device(device)


def _loop() -> ModuleType:
    """The module that trains, loaded when it is first needed."""
    try:
        from kleiber.networks import loop
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError(
            "training networks needs torch: pip install 'kleiber[train]'", name="torch"
        ) from None
    return loop
