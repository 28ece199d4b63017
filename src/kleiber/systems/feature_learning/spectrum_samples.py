"""What the reduction `spectrum` takes beside tables: arrays, their files, and an Experiment, whose
tangent kernel is computed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float

from kleiber.arguments import check_memory
from kleiber.arrays import check_matrix, check_names, read_arrays
from kleiber.errors import BadTable, listed, nearest
from kleiber.experiment import Experiment, read_experiment
from kleiber.maths.seeds import stream
from kleiber.systems.feature_learning.spectrum_modes import is_symmetric

MATRICES = ("gram", "features")
ACCEPTED = "a spectrum takes the arrays 'gram' or 'features', and 'targets'"


@dataclass(frozen=True)
class Given:
    """A matrix and the targets of its samples, and what is to be said about them."""

    kind: str
    matrix: Float[np.ndarray, "samples *columns"]
    targets: Float[np.ndarray, "samples *outputs"]
    notes: tuple[str, ...] = ()


def read_source(source: Any) -> Any:
    """Return what a file holds: an Experiment, arrays by their names, or the array of an .npy
    file."""
    path = Path(source)
    if path.suffix.lower() == ".toml":
        return read_experiment(path)
    arrays = read_arrays(path)
    return next(iter(arrays.values())) if path.suffix.lower() == ".npy" else arrays


def take_arrays(given: Any, targets: Any = None, kind: str | None = None) -> Given:
    """Check a matrix with the targets, which may be among the arrays or beside them. Raises
    BadTable."""
    if isinstance(targets, str | os.PathLike):
        targets = _only(targets)
    if isinstance(given, np.ndarray):
        if targets is None:
            raise BadTable(
                "A matrix alone has no targets; give targets, one row for each sample, in an array "
                "or an .npy file."
            )
        name, matrix = kind or "matrix", cast("np.ndarray", given)
    else:
        found = [each for each in MATRICES if each in given and kind in (None, each)]
        if len(found) > 1:
            raise BadTable(
                "There are both arrays 'gram' and 'features'; the kind says which is meant."
            )
        if not found:
            hint = "".join(nearest(each, given) for each in MATRICES)
            raise BadTable(f"There is no such array; {ACCEPTED}, got {listed(given)}.{hint}")
        if targets is None:
            check_names(given, ["targets"], ACCEPTED)
            targets = given["targets"]
        name, matrix = found[0], given[found[0]]
    matrix = check_matrix(name, matrix, "two axes and a row for each sample")
    targets = check_matrix("targets", targets, "one or two axes and a row for each sample", (1, 2))
    if len(matrix) != len(targets):
        raise BadTable(
            f"The array {name!r} has {len(matrix):,} rows and targets has {len(targets):,}; both "
            "have one for each sample."
        )
    return Given(_kind_of(name, matrix), matrix, targets)


def _only(path: Any) -> np.ndarray:
    """Return the only array of a file."""
    arrays = read_arrays(path)
    if len(arrays) != 1:
        raise BadTable(
            f"The targets are the only array of a file, and {os.fspath(path)!r} has {len(arrays)}."
        )
    return next(iter(arrays.values()))


def _kind_of(name: str, matrix: Float[np.ndarray, "samples columns"]) -> str:
    """Return whether a matrix is a Gram matrix or features. Raises BadTable for one that could be
    either."""
    if name != "matrix":
        return name
    if matrix.shape[0] != matrix.shape[1]:
        return "features"
    if not is_symmetric(matrix):
        raise BadTable(
            f"A matrix of shape {matrix.shape} that is not symmetric may be features or a Gram "
            "matrix with a fault; give the kind, gram or features."
        )
    return "gram"


def kernel_of(experiment: Experiment, samples: int) -> Given:
    """Compute the tangent kernel of an Experiment's first net before training, on its own
    examples; labels of classes are one-hot without their means. Raises BadTable and ImportError."""
    from kleiber.networks import check_device

    check_device("cpu")  # the sentence about torch, where that is absent
    from kleiber.networks.ntk import initial_ntk
    from kleiber.networks.task import make_data

    check_memory(f"a kernel of {samples:,} samples", 16 * samples**2, "ask for fewer samples")
    data, seed = make_data(experiment), experiment.seeds[0]
    if data.train is None:
        assert data.draw is not None
        x, y = data.draw(stream(seed, "spectrum kernel"), samples)
    elif len(data.train[1]) < samples:
        raise BadTable(
            f"The Experiment has {len(data.train[1]):,} training examples, and the kernel is to be "
            f"taken on {samples:,}; ask for fewer samples."
        )
    else:
        x, y = (part[:samples] for part in data.train)
    words = "the targets as they are"
    if data.classes:
        y = np.eye(data.outputs)[y] if y.ndim == 1 else y
        y, words = y - y.mean(axis=0), "one-hot labels less their means"
    gram = initial_ntk(experiment, data.prepare(x), seed=seed, data=data)
    note = (
        f"The kernel is the tangent kernel of the net of seed {seed} before training, on {samples} "
        f"training examples, with {words}; a net that learns features leaves it, and other seeds "
        "have others."
    )
    return Given("gram", gram, np.asarray(y, float), (note,))
