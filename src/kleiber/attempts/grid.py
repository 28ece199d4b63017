"""Likelihoods by quadrature over a fixed grid of success probabilities.

The kernel p**c (1-p)**(n-c) of each distinct count is tabulated once on the grid; a distribution
over problems is then a row of masses, and the likelihoods of all groups are one matrix product.
The grid is uniform in z, dz = sqrt(1 + n p (1-p)) d logit p, so that every kernel is resolved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Float
from scipy import sparse, special

from kleiber.attempts.batch import Batch
from kleiber.attempts.family import Cells, Coordinates, Value

BOTTOM, TOP = -45.0, 36.0  # of logit p: from 3e-20 to within rounding of 1
TINY = 1e-300
NOTHING = -90.0  # log of a kernel that counts as zero
BLOCK = 4_000_000  # numbers in one block of masses or kernels


@dataclass(frozen=True)
class Grid:
    """Bins of the success probability, and the kernel of each distinct count in each bin.

    ``edges`` and ``middle`` are logits; ``log_p`` and ``log_rest`` are log p and log(1 - p) of the
    middles; ``kernel`` (pairs, bins) is divided by its largest value, whose logarithm is ``peak``.
    """

    edges: Float[np.ndarray, "edges"]
    middle: Float[np.ndarray, "bins"]
    log_p: Float[np.ndarray, "bins"]
    log_rest: Float[np.ndarray, "bins"]
    kernel: sparse.csr_array
    peak: Float[np.ndarray, "pairs"]


def lay_grid(
    pairs: Float[np.ndarray, "pairs 2"], spacing: float = 0.1, sharpest: float = np.inf
) -> Grid:
    """The grid for these distinct counts; ``spacing`` in units of the kernels' widths.

    Kernels that are sharper than n p (1-p) = ``sharpest`` are widened to that, with their integral
    over logit p kept, which a distribution that is smooth on that scale cannot tell.
    """
    attempts = float(pairs[:, 0].max())
    logit = np.linspace(BOTTOM, TOP, 40_001)
    p = special.expit(logit)
    rate = np.sqrt(1 + np.minimum(attempts * p * special.expit(-logit), sharpest))
    z = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2 * np.diff(logit))])
    count = int(z[-1] / spacing) + 2
    steps = z[-1] / (count - 1) * np.arange(count)
    edges = cast("np.ndarray", np.interp(steps, z, logit))
    middle = (edges[1:] + edges[:-1]) / 2
    log_p, log_rest = -np.logaddexp(0, -middle), -np.logaddexp(0, middle)
    kernel, top = _tabulate(pairs, log_p, log_rest, sharpest)
    return Grid(edges, middle, log_p, log_rest, kernel, top)


def _tabulate(
    pairs: Float[np.ndarray, "pairs 2"], log_p: np.ndarray, log_rest: np.ndarray, sharpest: float
) -> tuple[sparse.csr_array, Float[np.ndarray, "pairs"]]:
    """The kernel of each pair over its largest value, and the logarithm of that; in blocks."""
    step = max(BLOCK // len(log_p), 1)
    parts = [
        _kernel(pairs[first : first + step], log_p, log_rest, sharpest)
        for first in range(0, len(pairs), step)
    ]
    kernel = sparse.csr_array(sparse.vstack([part for part, _ in parts], format="csr"))
    return kernel, np.concatenate([top for _, top in parts])


def _kernel(
    pairs: Float[np.ndarray, "some 2"], log_p: np.ndarray, log_rest: np.ndarray, sharpest: float
) -> tuple[sparse.csr_array, Float[np.ndarray, "some"]]:
    n, c = pairs[:, :1], pairs[:, 1:]
    wide = np.minimum(1.0, sharpest / np.maximum(c * (n - c) / n, 1e-9))
    inner = wide[:, 0] < 1
    gain = np.zeros(len(pairs))
    gain[inner] = special.betaln(c, n - c)[inner, 0]
    n, c = n * wide, c * wide
    gain[inner] -= special.betaln(c, n - c)[inner, 0]
    log = c * log_p + (n - c) * log_rest
    peak = log.max(1)
    log -= peak[:, None]
    kernel = sparse.csr_array(np.where(log > NOTHING, np.exp(np.maximum(log, NOTHING)), 0.0))
    return kernel, peak + gain


def likelihood(
    grid: Grid, masses: Float[np.ndarray, "groups bins"], batch: Batch
) -> Float[np.ndarray, "groups cells"]:
    """Log-likelihood of each cell under masses in the grid's bins."""
    likely = np.asarray(grid.kernel @ np.ascontiguousarray(masses.T)).T
    log = np.log(np.maximum(likely, TINY)) + grid.peak
    return np.take_along_axis(log, batch.place, axis=1)


def deposit(
    grid: Grid, logit: Float[np.ndarray, "groups nodes"], mass: Float[np.ndarray, "groups nodes"]
) -> Float[np.ndarray, "groups bins"]:
    """Masses at any logits on the grid's middles, each shared by the four around it.

    The shares are those of cubic interpolation (Lagrange's), so that what is summed over the bins
    is the interpolated value at the node, without kinks where a node moves to the next bin.
    """
    bins = len(grid.middle)
    at = np.interp(logit, grid.middle, np.arange(float(bins)))
    lower = np.clip(at.astype(int), 1, bins - 3)
    x = at - lower
    shares = (
        -x * (x - 1) * (x - 2) / 6,
        (x + 1) * (x - 1) * (x - 2) / 2,
        -(x + 1) * x * (x - 2) / 2,
        (x + 1) * x * (x - 1) / 6,
    )
    place = (lower + bins * np.arange(len(logit))[:, None]).ravel()
    size = bins * len(logit)
    out = np.zeros(size)
    for offset, share in zip((-1, 0, 1, 2), shares, strict=True):
        out += np.bincount(place + offset, (mass * share).ravel(), size)
    return out.reshape(len(logit), bins)


Masses = Callable[[Coordinates], Float[np.ndarray, "groups bins"]]


def mixture(grid: Grid, masses: Masses) -> Cells:
    """The log-likelihood of each cell under a distribution given by its masses in the bins."""

    def cells(u: Coordinates, batch: Batch) -> Float[np.ndarray, "groups cells"]:
        out = np.empty(batch.weights.shape)
        step = max(BLOCK // len(grid.middle), 1)
        for first in range(0, len(u), step):  # blocks bound the memory; groups within are one array
            rows = slice(first, first + step)
            out[rows] = likelihood(grid, masses(u[rows]), batch.take(np.arange(len(u))[rows]))
        return out

    return cells


def mixture_failure(grid: Grid, masses: Masses) -> Callable[..., np.ndarray]:
    """log of the mean of (1 - p)**k over the masses."""

    def log_failure(u: Coordinates, k: Float[np.ndarray, "k"]) -> Float[np.ndarray, "groups k"]:
        with np.errstate(under="ignore"):
            power = np.exp(grid.log_rest[:, None] * k)
            return np.log(np.maximum(masses(u) @ power, TINY))

    return log_failure


def best_of(
    value: Value, tries: Float[np.ndarray, "groups tries coordinates"], batch: Batch
) -> Coordinates:
    """The best of some candidates, group by group."""
    groups, count, p = tries.shape
    repeated = np.asarray(np.arange(groups * count) // count, dtype=np.int64)
    again = batch.take(repeated)
    at = value(tries.reshape(-1, p), again).reshape(groups, count)
    return tries[np.arange(groups), at.argmax(1)]
