"""The networks that the claims on learning curves train: cases, sizes and seeds at each scale.

At "laptop" the paper's nets are scaled down: a quarter of its widths, pixels averaged two by two,
P from 188 to 6,000, three seeds, and steps that grow with P; at "full" they are those of its code
(arXiv 2505.13230, github.com/Francill99/deep_norm). Adam or AdamW at a constant rate, batch 128, no
weight decay. Training examples are drawn anew for each seed, as there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from kleiber.claim import Context
from kleiber.experiment import NORMS, Experiment
from kleiber.sweeps.run import sweep

BATCH = 128
FOLDER = "implicit_bias_networks"  # where the runs are saved
MEASURED = tuple(name for name in NORMS if name != "log_path")
ADAM: Mapping[str, Any] = {"kind": "adam", "rate": 1e-3}
ADAMW: Mapping[str, Any] = {"kind": "adamw", "rate": 3e-4}
SIZES = (188, 375, 750, 1500, 3000, 6000)


@dataclass(frozen=True)
class Case:
    """One net on one data set: `steps` for each P, or `epochs` for all of them."""

    name: str
    net: Mapping[str, Any]
    optimiser: Mapping[str, Any]
    task: Mapping[str, Any]
    sizes: tuple[int, ...]
    steps: tuple[int, ...] = ()
    epochs: int = 0
    seeds: int = 3
    marks: int = 28  # checkpoints
    first: int = 8  # the step of the first of them, where steps are given

    @property
    def augmented(self) -> bool:
        """Whether training images are flipped or shifted."""
        return bool(self.task.get("shift") or self.task.get("flip"))


def experiments(case: Case, seed: int) -> list[Experiment]:
    """Return the experiments of a case, one for each P and seed; seeds start at `seed`."""
    return [
        _experiment(case, place, seed + member)
        for place in range(len(case.sizes))
        for member in range(case.seeds)
    ]


def _experiment(case: Case, place: int, seed: int) -> Experiment:
    n_data = case.sizes[place]
    batch = min(BATCH, n_data)
    if case.epochs:
        marks = epoch_marks(n_data, batch, case.epochs, case.marks)
    else:
        spread = np.geomspace(case.first, case.steps[place], case.marks)
        marks = tuple(sorted({round(float(step)) for step in spread}))
    more = ("error_augmented",) if case.augmented else ()
    return Experiment(
        task={"kind": "images", **case.task, "n_data": n_data, "data_seed": seed},
        net=dict(case.net),
        optimiser=dict(case.optimiser),
        batch=batch,
        steps=marks[-1],
        checkpoints=marks,
        measures=("error", *more, *MEASURED),
        seeds=(seed,),
    )


def epoch_marks(n_data: int, batch: int, epochs: int, count: int) -> tuple[int, ...]:
    """Return log-spaced whole epochs as steps, at most `count` of them."""
    whole = np.unique(np.geomspace(1, epochs, count).round().astype(int))
    return tuple(sorted({max(1, round(int(epoch) * n_data / batch)) for epoch in whole}))


def cases(scale: str) -> tuple[Case, ...]:
    """Return the cases of a scale."""
    return {"quick": quick, "laptop": laptop, "full": full}[scale]()


def quick() -> tuple[Case, ...]:
    """Return a tiny CNN on the package's digits, which only tests the implementation."""
    net = {"kind": "cnn", "channels": [6, 12], "hidden": [32]}
    task = {"dataset": "digits"}
    steps = (100, 140, 200, 280)
    return (Case("CNN digits", net, ADAM, task, (100, 200, 400, 800), steps, seeds=2, marks=16),)


def laptop() -> tuple[Case, ...]:
    """Return the cases with a quarter of the paper's widths and half the resolution."""
    cnn = {"kind": "cnn", "channels": [8, 16, 32], "hidden": [128]}
    mnist = {"dataset": "mnist", "shrink": 2, "n_test": 2500}
    cifar = {"dataset": "cifar10", "shrink": 2, "n_test": 2500}
    moved = {**mnist, "shift": 1}
    resnet = {"kind": "resnet", "width": 4, "blocks": [1, 1, 1, 1]}
    vit = {"kind": "vit", "patch": 7, "width": 32, "depth": 4, "heads": 4}
    small = {**cnn, "init_scale": 0.05}
    slow, few = (500, 500, 700, 900, 1200, 1500), (600, 800, 1000, 1300, 1700, 2200)
    return (
        Case("CNN MNIST", small, ADAM, mnist, SIZES, (1200, 1200, 1600, 2200, 3000, 4000)),
        Case("CNN CIFAR10", cnn, ADAM, cifar, SIZES, (400, 500, 700, 1000, 1500, 2200)),
        Case("ResNet MNIST", resnet, ADAM, moved, SIZES, slow, marks=24),
        Case("ViT MNIST", vit, ADAMW, moved, SIZES, few, marks=24),
    )


def full() -> tuple[Case, ...]:
    """Return the paper's nets, sizes and numbers of seeds, without rotations of MNIST images."""
    doubled = tuple(188 * 2**k for k in range(8))
    mnist = (375, 750, 1500, 3000, 6000, 12000, 24000, 30000, 36000, 42000, 48000)
    few, many = tuple(range(6000, 46001, 5000)), tuple(range(4000, 48001, 4000))
    cnn: dict[str, Any] = {"kind": "cnn"}
    deep = {
        "kind": "cnn", "channels": [64, 128, 256, 512], "pool_after": [2, 4],
        "hidden": [1024, 512], "dropout": 0.1,
    }  # fmt: skip
    narrow, wide = {"kind": "resnet", "width": 16}, {"kind": "resnet", "width": 64}
    deeper = {**wide, "blocks": [3, 4, 6, 3]}
    patches = {"kind": "vit", "patch": 7, "width": 128, "depth": 4, "heads": 4}
    small = {"kind": "vit", "width": 192, "depth": 6, "heads": 3, "init_scale": 0.005}
    large = {**small, "width": 256, "heads": 4}
    digits, ten, hundred = ({"dataset": name} for name in ("mnist", "cifar10", "cifar100"))
    shifted = {**digits, "shift": 3}
    cropped, cropped_hundred = ({**task, "shift": 4, "flip": True} for task in (ten, hundred))
    return tuple(
        Case(name, net, rule, task, sizes, epochs=epochs, seeds=seeds, marks=50)
        for name, net, rule, task, sizes, epochs, seeds in (
            ("CNN MNIST", {**cnn, "init_scale": 0.05}, ADAM, digits, mnist, 500, 31),
            ("CNN CIFAR10", cnn, ADAM, ten, many, 500, 30),
            ("CNN CIFAR100", deep, ADAM, hundred, many, 500, 18),
            ("ResNet MNIST", narrow, ADAM, shifted, (89, *doubled, 36000, 48000), 50, 29),
            ("ResNet CIFAR10", {**wide, "init_scale": 0.05}, ADAM, cropped, few, 350, 12),
            ("ResNet CIFAR100", deeper, ADAM, cropped_hundred, few, 400, 5),
            ("ViT MNIST", patches, ADAMW, shifted, (*doubled, 36000, 48000), 600, 10),
            ("ViT CIFAR10", small, ADAMW, ten, few, 600, 30),
            ("ViT CIFAR100", large, ADAMW, hundred, few, 600, 5),
        )
    )


def learning_curves(context: Context, case: Case) -> pl.DataFrame:
    """Return the table of a case, trained once and saved in the context's folder if it has one.

    Columns model and dataset as the paper writes them, n_data, seed, step, error, the logs of the
    norms. An interrupted check continues where it stopped; two checks share the runs.
    """

    def make() -> pl.DataFrame:
        wanted = experiments(case, context.seed)
        if context.keep is not None:
            return sweep(wanted, context.keep / FOLDER)
        with tempfile.TemporaryDirectory() as folder:
            return sweep(wanted, Path(folder) / "runs")

    model, _, dataset = case.name.partition(" ")
    table = context.share(f"curves of {case.name}", make)
    return table.with_columns(model=pl.lit(model), dataset=pl.lit(dataset))
