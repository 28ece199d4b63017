"""Eigenvalues and target powers of a Gram matrix or of features."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.sparse.linalg import eigsh, svds

from kleiber.errors import BadTable, NotConverged, nearest
from kleiber.maths.seeds import stream

Vector = Float[np.ndarray, "modes"]
Kind = Literal["gram", "features", "eigenvalues"]
KINDS = ("gram", "features", "eigenvalues")
ALL = 4000  # samples up to which every mode is computed
TOP = 500  # modes computed beyond


@dataclass(frozen=True)
class Modes:
    """Modes in order of falling eigenvalue.

    With samples, these are the eigenvalues of K/P and the power (u_k . y)^2/P that the targets have
    along each, and `rest_*` sum up the modes that were not computed. `n_data` is 0 for modes that
    are known in themselves, without samples; `width` is the number of random features, if small;
    `dimension` that of the features, beyond which the population has no modes.
    """

    eigenvalues: Vector
    powers: Vector
    n_data: int
    rest_count: int = 0
    rest_trace: float = 0.0
    rest_power: float = 0.0
    outputs: int = 1
    width: float = math.inf
    dimension: float = math.inf

    @property
    def rank(self) -> int:
        """The number of eigenvalues that are not zero to rounding."""
        floor = self.eigenvalues[0] * max(self.n_data, 1) * 4 * np.finfo(float).eps
        positive = int((self.eigenvalues > floor).sum())
        return positive + (self.rest_count if self.rest_trace > floor else 0)


@dataclass(frozen=True)
class Samples:
    """A Gram matrix or features, and targets, of the same samples."""

    kind: Kind
    given: Float[np.ndarray, "samples columns"]
    targets: Float[np.ndarray, "samples outputs"]

    def part(self, rows: np.ndarray) -> Samples:
        """Return the samples of the given rows."""
        given = self.given[np.ix_(rows, rows)] if self.kind == "gram" else self.given[rows]
        return Samples(self.kind, given, self.targets[rows])


def read_samples(given: ArrayLike, targets: ArrayLike, kind: str | None) -> Samples | Modes:
    """Check the input and return samples, or the modes themselves. Raises BadTable.

    Without a `kind`, one dimension is eigenvalues, a symmetric square matrix a Gram matrix, and any
    other matrix features with a row for each sample.
    """
    array, y = np.asarray(given, float), np.asarray(targets, float)
    if kind is not None and kind not in KINDS:
        raise BadTable(
            f"A spectrum is taken of {', '.join(KINDS)}, got {kind!r}.{nearest(str(kind), KINDS)}"
        )
    if not (np.isfinite(array).all() and np.isfinite(y).all()):
        raise BadTable("Eigenvalues, features, Gram matrix and targets must be finite numbers.")
    found = kind or _kind_of(array)
    if array.ndim != (1 if found == "eigenvalues" else 2) or y.shape[:1] != array.shape[:1]:
        raise BadTable(
            f"An array of shape {array.shape} with targets of shape {y.shape} is not accepted as "
            f"{found}; targets have one row for each row (sample or mode)."
        )
    if found == "eigenvalues":
        return _modes_as_given(array, y)
    if not y.any():
        raise BadTable("The targets are all 0, so there is nothing to learn.")
    if found == "gram" and not is_symmetric(array):
        raise BadTable(f"A Gram matrix must be square and symmetric, got {_asymmetry(array)}.")
    return Samples(found, array, y.reshape(len(y), -1))


def modes_of(
    samples: Samples,
    top: int | None = None,
    seed: int = 0,
    width: float = math.inf,
    dimension: float | None = None,
) -> Modes:
    """Compute the modes of K/P: all up to 4000 samples or features, else the `top` (500) largest.

    The largest are found by Lanczos iteration. `dimension` is by default the number of features, or
    the rank of a Gram matrix if it is well below its size; random features (`width`) have none.
    Raises BadTable for a matrix with negative eigenvalues, and NotConverged.
    """
    n, small = len(samples.targets), min(samples.given.shape)
    power = float((samples.targets**2).sum()) / n
    wanted = top if top is not None else (small if small <= ALL else TOP)
    if not 1 <= wanted:
        raise BadTable(f"At least one mode must be computed, got {wanted}.")
    whole = wanted >= small - 1
    find = _whole if whole else _largest
    values, along = find(samples, min(wanted, small), seed)
    values, along = values / n, along / n
    order = np.argsort(-values)
    values, along = values[order], along[order]
    if values[-1] < -1e-8 * values[0]:
        raise BadTable(
            f"The Gram matrix has a negative eigenvalue, {values[-1]:.3g}, beside {values[0]:.3g}; "
            "a kernel must not have any."
        )
    values = np.maximum(values, 0.0)
    trace = (
        float(np.trace(samples.given) if samples.kind == "gram" else (samples.given**2).sum()) / n
    )
    left = 0.0 if whole else max(trace - float(values.sum()), 0.0)
    rest = max(power - float(along.sum()), 0.0)
    outputs = samples.targets.shape[1]
    found = Modes(values, along, n, n - values.size, left, rest, outputs, width)
    if dimension is None:
        deficient = found.rank < 0.9 * n
        features = math.inf if samples.kind == "gram" else samples.given.shape[1]
        ends = min(features, found.rank if deficient else math.inf)
        dimension = float(ends) if math.isinf(width) else math.inf
    return replace(found, dimension=float(dimension))


def _whole(samples: Samples, count: int, seed: int) -> tuple[Vector, Vector]:
    """Return every eigenvalue of K, and (u_k . y)^2, from the smaller of the two Gram matrices."""
    x, y = samples.given, samples.targets
    if samples.kind == "features" and x.shape[1] < x.shape[0]:
        values, vectors = np.linalg.eigh(x.T @ x)
        floor = values[-1] * x.shape[0] * np.finfo(float).eps
        along = ((vectors.T @ (x.T @ y)) ** 2).sum(axis=1)
        return values, np.where(values > floor, along / np.maximum(values, floor), 0.0)
    values, vectors = np.linalg.eigh(x if samples.kind == "gram" else x @ x.T)
    return values, ((vectors.T @ y) ** 2).sum(axis=1)


def _largest(samples: Samples, count: int, seed: int) -> tuple[Vector, Vector]:
    """Return the largest eigenvalues of K, and (u_k . y)^2."""
    smaller = int(min(samples.given.shape))
    start = stream(seed, "spectrum start").standard_normal(smaller)
    decompose = cast("Callable[..., tuple[Vector, ...]]", eigsh if samples.kind == "gram" else svds)
    try:
        found = decompose(samples.given, k=count, v0=start)
    except ArithmeticError as error:
        raise NotConverged(f"The largest modes were not found: {error}.", np.nan, 0) from error
    values, vectors = found if samples.kind == "gram" else (found[1] ** 2, found[0])
    return values, ((vectors.T @ samples.targets) ** 2).sum(axis=1)


def _kind_of(array: np.ndarray) -> Kind:
    if array.ndim == 1:
        return "eigenvalues"
    return "gram" if array.ndim == 2 and is_symmetric(array) else "features"


def is_symmetric(array: np.ndarray) -> bool:
    """Return whether a matrix is square and symmetric to rounding."""
    if array.shape[0] != array.shape[1]:
        return False
    return bool(np.abs(array - array.T).max() <= 1e-6 * np.abs(array).max())


def _asymmetry(array: np.ndarray) -> str:
    """Describe why a matrix is not a Gram matrix."""
    if array.shape[0] != array.shape[1]:
        return f"shape {array.shape}"
    row, column = np.unravel_index(np.abs(array - array.T).argmax(), array.shape)
    there, back = float(array[row, column]), float(array[column, row])
    return f"{there:.6g} at [{row}, {column}] and {back:.6g} at [{column}, {row}]"


def _modes_as_given(eigenvalues: Vector, powers: np.ndarray) -> Modes:
    """Return given modes by falling eigenvalue. Raises BadTable unless they are positive."""
    total = powers.reshape(len(powers), -1).sum(axis=1)
    if not (eigenvalues > 0).all() or not (total >= 0).all() or not total.any():
        raise BadTable(
            "Eigenvalues must be positive, and the powers along them (squares of the target's "
            "coefficients) not negative and not all 0."
        )
    order = np.argsort(-eigenvalues)
    return Modes(eigenvalues[order], total[order], 0)
