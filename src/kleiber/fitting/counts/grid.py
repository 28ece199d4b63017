"""Likelihoods by quadrature over a fixed grid of success probabilities.

The kernel p**c (1-p)**(n-c) of each distinct count is tabulated once on the grid; a distribution
over problems is then a row of masses, and the likelihoods of all groups are one matrix product.
The grid is uniform in z, dz = sqrt(1 + n p (1-p)) d logit p, so that every kernel is resolved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Float
from scipy import sparse, special

from kleiber.fitting.counts.batch import Batch
from kleiber.fitting.counts.beta import HIGH, LIMITS, LOW, beta_binomial
from kleiber.fitting.counts.family import Coordinates, Family, Value, differenced
from kleiber.fitting.counts.newton import maximise

BOTTOM, TOP = -45.0, 36.0  # of logit p: from 3e-20 to within rounding of 1
TINY = 1e-300
NOTHING = -90.0  # log of a kernel that counts as zero
MOST = 9.0  # of logit scale, which stands for a scale of 1
BLOCK = 4_000_000  # numbers in one block of masses


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
    top: np.ndarray = peak + gain
    return Grid(edges, middle, log_p, log_rest, kernel, top)


def likelihood(
    grid: Grid, masses: Float[np.ndarray, "groups bins"], batch: Batch
) -> Float[np.ndarray, "groups"]:
    """Log-likelihood of each group under masses in the grid's bins."""
    likely = np.asarray(grid.kernel @ np.ascontiguousarray(masses.T)).T
    log = np.log(np.maximum(likely, TINY)) + grid.peak
    return (batch.weights * np.take_along_axis(log, batch.place, axis=1)).sum(1)


def deposit(
    grid: Grid, logit: Float[np.ndarray, "groups nodes"], mass: Float[np.ndarray, "groups nodes"]
) -> Float[np.ndarray, "groups bins"]:
    """Masses at any logits on the grid's middles, each shared by the two that enclose it."""
    bins = len(grid.middle)
    at = np.interp(logit, grid.middle, np.arange(float(bins)))
    lower = np.minimum(at.astype(int), bins - 2)
    part = at - lower
    place = (lower + bins * np.arange(len(logit))[:, None]).ravel()
    size = bins * len(logit)
    out = np.bincount(place, (mass * (1 - part)).ravel(), size)
    out += np.bincount(place + 1, (mass * part).ravel(), size)
    return out.reshape(len(logit), bins)


Masses = Callable[[Coordinates], Float[np.ndarray, "groups bins"]]


def mixture(grid: Grid, masses: Masses) -> Value:
    """The log-likelihood of a distribution given by its masses in the grid's bins."""

    def value(u: Coordinates, batch: Batch) -> Float[np.ndarray, "groups"]:
        out = np.empty(len(u))
        step = max(BLOCK // len(grid.middle), 1)
        for first in range(0, len(u), step):  # blocks bound the memory; groups within are one array
            rows = slice(first, first + step)
            out[rows] = likelihood(grid, masses(u[rows]), batch.take(np.arange(len(u))[rows]))
        return out

    return value


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


def _differences(below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Masses of bins from the distribution function and its complement at the edges.

    Whichever of the two is smaller is differenced; the outermost bins hold the tails.
    """
    below[:, 0], above[:, -1] = 0.0, 0.0
    below[:, -1], above[:, 0] = 1.0, 1.0
    lower, upper = np.diff(below, axis=1), -np.diff(above, axis=1)
    return np.maximum(np.where(below[:, 1:] < 0.5, lower, upper), 0.0)


def kumaraswamy(pairs: Float[np.ndarray, "pairs 2"]) -> Family:
    """Kumaraswamy's distribution, Pr(p <= x) = 1 - (1 - x**a)**b; u = (log a, log(b)/a)."""
    grid = lay_grid(pairs, 0.05)
    log_edge = -np.logaddexp(0, -grid.edges)

    def shapes(u: Coordinates) -> tuple[np.ndarray, np.ndarray]:
        a = np.exp(u[:, 0])
        return a, np.exp(np.clip(a * u[:, 1], -100, 400))

    def masses(u: Coordinates) -> Float[np.ndarray, "groups bins"]:
        a, b = shapes(u)
        with np.errstate(divide="ignore", under="ignore", over="ignore"):
            rest = -np.expm1(np.minimum(a[:, None] * log_edge, -TINY))  # 1 - x**a
            log_above = b[:, None] * np.log(rest)
            return _differences(-np.expm1(log_above), np.exp(log_above))

    value = mixture(grid, masses)

    def start(batch: Batch) -> Coordinates:
        log_a, log_ratio = maximise(beta_binomial, batch).u.T
        log_a = np.clip(log_a, -5.0, 4.0)
        tries = [np.stack([log_a + d, log_ratio + e], 1) for d in (0.0, 0.4) for e in (0, 1.5, 4)]
        return best_of(value, np.stack(tries, 1), batch)

    return Family(
        name="kumaraswamy",
        doc="Pr(p <= x) = 1 - (1 - x**a)**b; failure falls as k**-a in the end.",
        params=("a", "b"),
        exponent="a",
        start=start,
        outer=lambda u: dict(zip(("a", "b"), shapes(u), strict=True)),
        value=value,
        score=differenced(value),
        log_failure=mixture_failure(grid, masses),
        low=(-8.0, -20.0),
        high=(12.0, 600.0),
        limits={(0, "high"): LIMITS[0, "high"], (0, "low"): LIMITS[0, "low"]},
        settled=1e-7,
    )


def scaled_beta(pairs: Float[np.ndarray, "pairs 2"]) -> Family:
    """p = scale * v with v ~ Beta(a, b); u = (log a, log b/a, logit scale).

    The family of Schaeffer et al. 2025 (arXiv 2502.17578), here with all three parameters by
    maximum likelihood and no bound on a and b.
    """
    grid = lay_grid(pairs, 0.08)
    width = np.diff(grid.edges)

    def masses(u: Coordinates) -> Float[np.ndarray, "groups bins"]:
        a, b = np.exp(u[:, :1]), np.exp(u[:, :1] + u[:, 1:2])
        norm = special.betaln(a, b)
        with np.errstate(under="ignore"):
            mass = np.exp(a * grid.log_p + b * grid.log_rest - norm) * width
            mass[:, :1] += np.exp(a * grid.edges[0] - norm) / a  # what lies beyond the ends
            mass[:, -1:] += np.exp(-b * grid.edges[-1] - norm) / b
        # logit(scale v), with log(1 - scale v) = log(1 - v + v (1 - scale))
        log_scale, log_off = -np.logaddexp(0, -u[:, 2:3]), -np.logaddexp(0, u[:, 2:3])
        logit = grid.log_p + log_scale - np.logaddexp(grid.log_rest, grid.log_p + log_off)
        return deposit(grid, logit, mass)

    value = mixture(grid, masses)

    def start(batch: Batch) -> Coordinates:
        plain = maximise(beta_binomial, batch).u  # its mean is kept at half and a tenth the scale
        smaller = [plain + np.array([0.0, np.log(s)]) for s in (1.0, 0.5, 0.1)]
        each = zip(smaller, (6.0, 0.0, -2.2), strict=True)
        tries = np.stack([np.column_stack([u, np.full(len(u), t)]) for u, t in each], 1)
        return best_of(value, tries, batch)

    limits: Mapping[tuple[int, str], str] = {
        **LIMITS,
        (2, "high"): "the scale went to 1: the plain beta-binomial law",
        (2, "low"): "hardly any attempt succeeds",
    }

    def outer(u: Coordinates) -> dict[str, np.ndarray]:
        return {
            "a": np.exp(u[:, 0]),
            "b": np.exp(u[:, 0] + u[:, 1]),
            "scale": np.where(u[:, 2] >= MOST, 1.0, special.expit(u[:, 2])),
        }

    return Family(
        name="scaled_beta",
        doc="p = scale v with v ~ Beta(a, b); failure falls as k**-a in the end.",
        params=("a", "b", "scale"),
        exponent="a",
        start=start,
        outer=outer,
        value=value,
        score=differenced(value, 1e-2),
        log_failure=mixture_failure(grid, masses),
        low=(-8.0, LOW, -20.0),
        high=(14.0, HIGH, MOST),
        limits=limits,
        settled=1e-6,
        rays=200,
    )
