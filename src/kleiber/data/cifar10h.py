"""CIFAR-10H: labels that people gave to the CIFAR-10 test images, and a network's probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float64, Int64

from kleiber.data.fetch import fetch
from kleiber.errors import BadTable

CLASSES = 10


@dataclass(frozen=True)
class HumanLabels:
    """Counts of human labels and network probabilities; rows are images in the order of CIFAR-10's
    test batch.

    ``counts``: how many people chose each class (Peterson et al. 2019). ``probabilities``: what a
    network that never saw the image gives each class (Northcutt et al. 2021).
    """

    counts: Int64[np.ndarray, "images classes"]
    probabilities: Float64[np.ndarray, "images classes"]


def load_cifar10h() -> HumanLabels:
    """Load the counts and probabilities of all 10,000 images.

    Raises FileNotFoundError where a file cannot be had, BadTable where one is not
    what it should be.
    """
    files = fetch("cifar10h")
    counts, probabilities = (_array(files[role]) for role in ("counts", "probabilities"))
    if counts.dtype.kind not in "iu" or counts.min() < 0 or counts.sum(axis=1).min() < 1:
        raise BadTable(f"{files['counts']} holds no counts of labels, at least one a row.")
    if len(counts) != len(probabilities):
        raise BadTable(
            f"CIFAR-10H has {len(counts)} counts but {len(probabilities)} probabilities."
        )
    whole = probabilities.sum(axis=1)
    if not (np.isfinite(whole).all() and probabilities.min() >= 0 and abs(whole - 1).max() < 1e-3):
        raise BadTable(f"{files['probabilities']} holds no probabilities that sum to one.")
    return HumanLabels(counts.astype(np.int64), probabilities.astype(np.float64))


def _array(path: Path) -> np.ndarray:
    try:
        array: Any = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadTable(f"{path} is not a whole .npy file: {error}.") from None
    if not isinstance(array, np.ndarray) or cast("np.ndarray", array).shape[1:] != (CLASSES,):
        raise BadTable(f"{path} holds no table of {CLASSES} columns.")
    return cast("np.ndarray", array)
