# pyright: basic
"""A small CNN trained on the CIFAR-10 training images, and its hidden features of the test images.

The human labels of CIFAR-10H are of test images, which the net never sees in training. Its last two
hidden layers are the features: 512 and 64 activations.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from torch import nn

from kleiber.experiment import CNN, Adam, Cosine, Experiment, ImageTask
from kleiber.networks.loop import train_nets
from kleiber.networks.net import Activation

WIDE, NARROW = 512, 64  # features of the last hidden layer but one, and of the last
CHUNK = 1000  # images at a time


def backbone_spec(
    seed: int = 0,
    *,
    dataset: Literal["digits", "cifar10"] = "cifar10",
    steps: int = 4000,
    batch: int = 64,
) -> Experiment:
    """Return the Experiment of the backbone; by default 5.1 passes over 50,000 images."""
    return Experiment(
        task=ImageTask(dataset=dataset, flip=dataset == "cifar10"),
        net=CNN(channels=(16, 32, 64), pool_after=(1, 2, 3), hidden=(WIDE, NARROW)),
        optimiser=Adam(rate=1e-3),
        schedule=Cosine(),
        steps=steps,
        batch=batch,
        checkpoints=(steps,),
        measures=("loss", "error"),
        seeds=(seed,),
    )


def train_backbone(experiment: Experiment) -> pl.DataFrame:
    """Train and return a row for each test image: image, the net's error on all of them, and the
    lists wide and narrow of its features.

    Made for ``sweep(..., run=train_backbone)``.
    """
    trained = train_nets(experiment)
    (module,) = trained.modules()
    data = trained.stacks[0].feed.data
    images = np.asarray(data.prepare(data.test[0]), np.float32)
    parts = [hidden(module, images[low : low + CHUNK]) for low in range(0, len(images), CHUNK)]
    wide, narrow = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    made = {
        "image": np.arange(len(images)),
        "wide": pl.Series(wide, dtype=pl.Array(pl.Float32, wide.shape[1])).cast(
            pl.List(pl.Float32)
        ),
        "narrow": pl.Series(narrow, dtype=pl.Array(pl.Float32, narrow.shape[1])).cast(
            pl.List(pl.Float32)
        ),
    }
    return pl.DataFrame(made).with_columns(error=pl.lit(float(trained.table["error"][-1])))


def hidden(
    module: nn.Module, images: Float[np.ndarray, "images channels rows columns"]
) -> list[Float[np.ndarray, "images units"]]:
    """Return the activations of each full hidden layer of a chain of layers."""
    found: list[np.ndarray] = []
    h = torch.tensor(images)
    module.eval()
    with torch.no_grad():
        for layer in module.children():
            h = layer(h)
            if isinstance(layer, Activation) and h.ndim == 2:
                found.append(h.numpy())
    return found
