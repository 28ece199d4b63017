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

MIN_LOGIT, MAX_LOGIT = -45.0, 36.0  # of logit p: from 3e-20 to within rounding of 1
TINY = 1e-300
NEGLIGIBLE_LOG = -90.0  # log of a kernel that counts as zero
BLOCK = 4_000_000  # numbers in one block of masses or kernels


@dataclass(frozen=True)
class Grid:
    """Bins of the success probability, and the kernel of each distinct count in each bin.

    ``edges`` and ``middle`` are logits; ``log_p`` and ``log_rest`` are log p and log(1 - p) at the
    middles; ``kernel`` (pairs, bins) is divided by its maximum, whose logarithm is ``peak``.
    """

    edges: Float[np.ndarray, "edges"]
    middle: Float[np.ndarray, "bins"]
    log_p: Float[np.ndarray, "bins"]
    log_rest: Float[np.ndarray, "bins"]
    kernel: sparse.csr_array
    peak: Float[np.ndarray, "pairs"]


def build_grid(
    pairs: Float[np.ndarray, "pairs 2"], spacing: float = 0.1, sharpest: float = np.inf
) -> Grid:
    """Build the grid for distinct counts; ``spacing`` is in units of the kernels' widths.

    Kernels sharper than n p (1-p) = ``sharpest`` are widened to it with the same integral over
    logit p, which makes no difference to a distribution that is smooth on that scale.
    """
    attempts = float(pairs[:, 0].max())
    logit = np.linspace(MIN_LOGIT, MAX_LOGIT, 40_001)
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
    """Return the kernel of each pair divided by its maximum, and the logarithm of that, in
    blocks."""
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
    scale = np.minimum(1.0, sharpest / np.maximum(c * (n - c) / n, 1e-9))
    inner = scale[:, 0] < 1
    gain = np.zeros(len(pairs))
    gain[inner] = special.betaln(c, n - c)[inner, 0]
    n, c = n * scale, c * scale
    gain[inner] -= special.betaln(c, n - c)[inner, 0]
    log = c * log_p + (n - c) * log_rest
    peak = log.max(1)
    log -= peak[:, None]
    kernel = sparse.csr_array(
        np.where(log > NEGLIGIBLE_LOG, np.exp(np.maximum(log, NEGLIGIBLE_LOG)), 0.0)
    )
    return kernel, peak + gain


def likelihood(
    grid: Grid, masses: Float[np.ndarray, "groups bins"], batch: Batch
) -> Float[np.ndarray, "groups cells"]:
    """Return the log-likelihood of each cell for the masses in the grid's bins."""
    likelihoods = np.asarray(grid.kernel @ np.ascontiguousarray(masses.T)).T
    log = np.log(np.maximum(likelihoods, TINY)) + grid.peak
    return np.take_along_axis(log, batch.pair_index, axis=1)


def interpolate_masses(
    grid: Grid, logit: Float[np.ndarray, "groups nodes"], mass: Float[np.ndarray, "groups nodes"]
) -> Float[np.ndarray, "groups bins"]:
    """Distribute masses at any logits over the grid's bins, each to the four nearest middles.

    The shares are those of cubic Lagrange interpolation, so that a sum over the bins is the
    interpolated value at the node, without kinks where a node crosses into the next bin.
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
    pair_index = (lower + bins * np.arange(len(logit))[:, None]).ravel()
    size = bins * len(logit)
    out = np.zeros(size)
    for offset, share in zip((-1, 0, 1, 2), shares, strict=True):
        out += np.bincount(pair_index + offset, (mass * share).ravel(), size)
    return out.reshape(len(logit), bins)


Masses = Callable[[Coordinates], Float[np.ndarray, "groups bins"]]


def mixture(grid: Grid, masses: Masses) -> Cells:
    """Return the log-likelihood of each cell as a function, for a distribution given by its bin
    masses."""

    def cells(u: Coordinates, batch: Batch) -> Float[np.ndarray, "groups cells"]:
        out = np.empty(batch.weights.shape)
        step = max(BLOCK // len(grid.middle), 1)
        for first in range(0, len(u), step):  # blocks bound the memory; groups within are one array
            rows = slice(first, first + step)
            out[rows] = likelihood(grid, masses(u[rows]), batch.take(np.arange(len(u))[rows]))
        return out

    return cells


def mixture_failure(grid: Grid, masses: Masses) -> Callable[..., np.ndarray]:
    """Return the log of the mean of (1 - p)**k over the masses, as a function."""

    def log_failure(u: Coordinates, k: Float[np.ndarray, "k"]) -> Float[np.ndarray, "groups k"]:
        with np.errstate(under="ignore"):
            power = np.exp(grid.log_rest[:, None] * k)
            return np.log(np.maximum(masses(u) @ power, TINY))

    return log_failure


def best_candidate(
    value: Value, candidates: Float[np.ndarray, "groups tries coordinates"], batch: Batch
) -> Coordinates:
    """Return the candidate with the largest value in each group."""
    groups, count, p = candidates.shape
    repeated = np.asarray(np.arange(groups * count) // count, dtype=np.int64)
    again = batch.take(repeated)
    at = value(candidates.reshape(-1, p), again).reshape(groups, count)
    return candidates[np.arange(groups), at.argmax(1)]
