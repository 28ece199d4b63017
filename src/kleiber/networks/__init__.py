"""Networks: tasks, nets and the training loop (extra ``train``; torch is used only here)."""

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
    """Train every seed of an Experiment, with the extra ``train`` (PyTorch).

    Parameters
    ----------
    experiment
        An ``Experiment``, the name of its TOML file, or its fields.
    resume
        A file that keeps the state every minute. A killed run that is called again goes on from it,
        bit for bit; the file is removed at the end.
    progress
        Called with (steps done, steps in all, "steps").
    device
        Where torch computes, such as ``"cpu"`` or ``"cuda"``.

    Returns
    -------
    polars.DataFrame
        One row for each seed and checkpoint: seed; n_params; width and depth where the net has
        them; n_data; batch_size; flops, of training one seed up to the step; time, the sum of the
        learning rates, for plain SGD; step; the measures; and diverged. A seed whose loss is no
        longer finite ends with a row that has diverged true, the step of that loss, and no
        measures.

    Raises
    ------
    BadExperiment
        For a bad spec, a device or data that cannot be had, or a ``resume`` of another Experiment.
    ImportError
        Without torch.

    Examples
    --------
    >>> import kleiber
    >>> spec = {"task": {"kind": "formula", "formula": "x**2"}, "net": {"kind": "mlp", "width": 8},
    ...         "batch": 64, "steps": 20, "checkpoints": [0, 20]}
    >>> table = kleiber.train(spec)
    >>> table.select("seed", "step", "n_params", "diverged").rows()
    [(0, 0, 25, False), (0, 20, 25, False)]
    """
    if not isinstance(experiment, Experiment):
        experiment = read_experiment(experiment)
    check_progress(progress)
    return _loop().train(experiment, resume=resume, progress=progress, device=device)


def check_device(device: str) -> None:
    """Raise BadExperiment unless torch computes on the device, ImportError without torch."""
    _loop().check_device(device)


def _loop() -> ModuleType:
    """Return the module that trains, loaded when it is first needed."""
    try:
        from kleiber.networks import loop
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError(
            "Training networks needs torch: pip install 'kleiber[train]'.", name="torch"
        ) from None
    return loop
