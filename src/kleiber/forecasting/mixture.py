"""Mixture: what a forecast says at any row, kept as draws of all members with their weights.

The forecast is the mean of log L over members and draws. The variance of the log of a new
measurement is the spread of draws and members about that mean, times a factor that back-tests may
enlarge, and that of the noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy import special

from kleiber.forecasting.average import NOISE, BackTest, Weights, weigh
from kleiber.forecasting.families import Family, evaluate
from kleiber.forecasting.members import Members
from kleiber.forecasting.search import Found

DRAWS = 32  # of each member
CELLS = 2 * 10**6  # values that are computed at a time
HIDDEN = 2.0  # how much larger noise is taken where smoothing has hidden it
DIGITS = 6  # of parameters, after the point
LEAST = 1e-4  # weight of a family that is kept


@dataclass(frozen=True)
class Drawn:
    """Draws of one family's parameters at the frontier, for each recency, and their weights."""

    family: Family
    theta: Float[np.ndarray, "recencies draws parameters"]
    weights: Float[np.ndarray, "recencies"]


@dataclass(frozen=True)
class Mixture:
    """Draws of all members with their weights.

    ``frontier`` is the log of the point at which coordinates are centred; ``noise`` the standard
    deviation of the log of a measurement; ``widening`` the factor of variances; and where
    ``reverse`` is true, it is 1 - target that was forecast.
    """

    frontier: Float[np.ndarray, "columns"]
    members: tuple[Drawn, ...]
    noise: float
    widening: float = 1.0
    reverse: bool = False

    def log_draws(self, x: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "draws rows"]:
        """Return the log of the forecast quantity for every draw of every member."""
        z = (np.log(x) - self.frontier)[None, None]
        parts = [evaluate(member.family, member.theta, z) for member in self.members]
        return np.concatenate([part.reshape(-1, len(x)) for part in parts])

    @property
    def draw_weights(self) -> Float[np.ndarray, "draws"]:
        """Return the weight of each draw; their sum is 1."""
        parts = [
            np.repeat(member.weights / member.theta.shape[1], member.theta.shape[1])
            for member in self.members
        ]
        return np.concatenate(parts)

    def moments(
        self, x: Float[np.ndarray, "rows columns"]
    ) -> tuple[Float[np.ndarray, "rows"], Float[np.ndarray, "rows"]]:
        """Return the mean of the log and the standard deviation of a new measurement's log."""
        weights, step = self.draw_weights, max(1, CELLS // len(self.draw_weights))
        centre, variance = np.empty(len(x)), np.empty(len(x))
        for low in range(0, len(x), step):
            part = slice(low, low + step)
            logs = self.log_draws(x[part])
            centre[part] = weights @ logs
            variance[part] = weights @ (logs - centre[part]) ** 2
        return centre, np.sqrt(self.widening * variance + self.widening * self.noise**2)

    def interval(
        self, x: Float[np.ndarray, "rows columns"], level: float
    ) -> tuple[Float[np.ndarray, "rows"], Float[np.ndarray, "rows"], Float[np.ndarray, "rows"]]:
        """Return the forecast of a new measurement and the ends of its interval."""
        centre, spread = self.moments(x)
        half = float(special.ndtri((1 + level) / 2)) * spread
        value, low, high = np.exp(centre), np.exp(centre - half), np.exp(centre + half)
        if self.reverse:
            return 1 - value, np.maximum(1 - high, 0.0), 1 - low
        return value, low, high

    def log_score(
        self, x: Float[np.ndarray, "rows columns"], measured: Float[np.ndarray, "rows"]
    ) -> tuple[Float[np.ndarray, "rows"], Float[np.ndarray, "rows"]]:
        """Return the log error of each measurement, and the log of its probability density (of the
        log)."""
        centre, spread = self.moments(x)
        error = np.log(1 - measured if self.reverse else measured) - centre
        density = -((error / spread) ** 2) / 2 - np.log(spread) - np.log(2 * np.pi) / 2
        return error, density


def make_mixture(
    members: Members,
    tests: list[BackTest],
    rng: np.random.Generator,
    *,
    hidden: bool,
    reverse: bool,
) -> Mixture:
    """Return the mixture of the members at the frontier."""
    weights = weigh(members, tests)
    each = [
        Drawn(family, _draw(found, rng), weights.values[k])
        for k, (family, found) in enumerate(zip(members.families, members.found, strict=True))
    ]
    kept = [item for item in each if item.weights.sum() > LEAST]
    total = sum(float(item.weights.sum()) for item in kept)
    drawn = tuple(replace(item, weights=item.weights / total) for item in kept)
    noise = noise_of(members, weights) * (HIDDEN if hidden else 1.0)
    return Mixture(members.origins[0].frontier, drawn, noise, widening_of(tests), reverse)


def noise_of(members: Members, weights: Weights) -> float:
    """Return the standard deviation of the log of a measurement about its law."""
    scale = np.stack([found.scale[0] for found in members.found])
    return float(np.sqrt(NOISE * weights.mean(scale**2)))


def widening_of(tests: list[BackTest]) -> float:
    """Return the factor of variances: the mean squared standardised error of back-tests, with one
    more test of 1, and at least 1."""
    squares = [float(np.mean((test.error / test.spread) ** 2)) for test in tests]
    return max(1.0, (1 + sum(squares)) / (1 + len(squares)))


def _draw(
    found: Found, rng: np.random.Generator
) -> Float[np.ndarray, "recencies draws parameters"]:
    """Return draws whose mean is the most probable point."""
    values, vectors = np.linalg.eigh(found.covariance[0])
    root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    noise = rng.standard_normal((len(values), DRAWS, values.shape[1]))
    noise -= noise.mean(axis=1, keepdims=True)
    drawn = found.theta[0][:, None] + noise @ root.swapaxes(1, 2)
    return drawn.round(DIGITS)
