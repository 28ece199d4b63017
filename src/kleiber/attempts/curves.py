"""Curves of an exponent along a training resource, fitted to the likelihoods of all groups.

log a scatters about a curve m(x) with spread tau (a random effect), so the joint likelihood is the
product over groups of the integral of N(s; m(x), tau^2) L_g(s) ds, L_g the group's own likelihood
of its log exponent s, its other parameters maximised out.

curve       log of                                   where
constant    a                                        no growth
power       a (x/x0)**rate                           growth without end
saturating  beta/(1 + (x_half/x)**rate)              Levi 2026, beta - Delta/(1 + c x**rate) with
                                                     Delta = beta: power is its limit x_half -> inf
offset      beta - Delta/(1 + (x/x_half)**rate)      the same with Delta free; from 6 groups
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import special

from kleiber.attempts.batch import Batch
from kleiber.attempts.family import Coordinates, Family, finite_difference_score
from kleiber.attempts.newton import maximise

TAU_RANGE = (0.02, 2.0)  # of tau

Mean = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (fits, params), (groups) -> (fits, groups)


@dataclass(frozen=True)
class Profiles:
    """The log-likelihood of each group at values ``s`` of its log exponent, and its resource
    ``x``."""

    x: Float[np.ndarray, "groups"]
    x0: float
    s: Float[np.ndarray, "groups steps"]
    value: Float[np.ndarray, "groups steps"]

    @property
    def z(self) -> Float[np.ndarray, "groups"]:
        """Logarithm of the resource over its geometric mean."""
        return np.log(self.x / self.x0)

    @property
    def mode(self) -> Float[np.ndarray, "groups"]:
        """Log exponent of the largest likelihood of each group."""
        return self.s[np.arange(len(self.s)), self.value.argmax(1)]


@dataclass(frozen=True)
class CurveFit:
    """A fitted curve: its parameters (log tau last) and its log-likelihood."""

    name: str
    q: Float[np.ndarray, "params"]
    value: float


def _constant(q: np.ndarray, z: np.ndarray) -> np.ndarray:
    return q[:, :1] + 0 * z


def _power(q: np.ndarray, z: np.ndarray) -> np.ndarray:
    return q[:, :1] + q[:, 1:2] * z


def _saturating(q: np.ndarray, z: np.ndarray) -> np.ndarray:
    return q[:, :1] - np.logaddexp(0, -q[:, 1:2] * (z - q[:, 2:3]))


def _offset(q: np.ndarray, z: np.ndarray) -> np.ndarray:
    late = special.expit(-q[:, 1:2] * (z - q[:, 2:3]))
    return q[:, :1] + np.log1p(-special.expit(q[:, 3:4]) * late * (1 - 1e-12))


MEANS: Mapping[str, Mean] = {
    "constant": _constant,
    "power": _power,
    "saturating": _saturating,
    "offset": _offset,
}


def joint_log_likelihood(profiles: Profiles, mean: np.ndarray, tau: np.ndarray) -> np.ndarray:
    """Return the log of the integral over each group's exponent about the mean: (fits, groups).

    A tau below the spacing of a group's grid, over which its likelihood hardly changes, is replaced
    by that spacing.
    """
    step = np.gradient(profiles.s, axis=1)
    width = np.maximum(tau[:, None], np.median(step, axis=1))[:, :, None]
    with np.errstate(under="ignore"):
        exponent = profiles.value - 0.5 * ((profiles.s - mean[:, :, None]) / width) ** 2
        peak = exponent.max(2)
        area = (np.exp(exponent - peak[:, :, None]) * step).sum(2)
    return peak + np.log(area / (width[:, :, 0] * np.sqrt(2 * np.pi)))


def _bounds(name: str, profiles: Profiles) -> list[tuple[float, float]]:
    z, mode = profiles.z, profiles.mode
    span = float(np.ptp(z))
    size = (float(mode.min()) - 3, float(mode.max()) + 4)
    half = (float(z.min()) - span, float(z.max()) + 3 * span)
    each = {
        "constant": [size],
        "power": [size, (-3.0, 6.0)],
        "saturating": [size, (0.0, 8.0), half],
        "offset": [size, (0.0, 8.0), half, (-6.0, 8.0)],
    }
    return [*each[name], (float(np.log(TAU_RANGE[0])), float(np.log(TAU_RANGE[1])))]


def _starts(name: str, profiles: Profiles) -> list[list[float]]:
    z, mode = profiles.z, profiles.mode
    slope, level = (float(x) for x in np.polyfit(z, mode, 1))
    top, rate = float(mode.max()), max(abs(slope), 0.1)
    each = {
        "constant": [[level]],
        "power": [[level, slope]],
        "saturating": [
            [top + 0.1, 0.7, float(z.min())],
            [top + 0.1, 2 * rate, 0.0],
            [top + 1, 1.5 * rate, float(z.max())],
            [top + 2, rate, float(z.max()) + 0.5 * float(np.ptp(z))],
        ],
        "offset": [
            [top + 0.1, 1.0, 0.0, 1.0],
            [top + 0.1, 0.5, float(z.min()), 2.0],
            [top + 0.1, 3.0, 0.0, 0.0],
        ],
    }
    return [[*q, t] for q in each[name] for t in (-2.5, -1.2)]


def _law(name: str, profiles: Profiles) -> Family:
    """Return the joint likelihood as a family in which every row of coordinates is one fit."""

    def value(q: Coordinates, _: Batch) -> Float[np.ndarray, "groups"]:
        mean = MEANS[name](q[:, :-1], profiles.z)
        return joint_log_likelihood(profiles, mean, np.exp(q[:, -1])).sum(1)

    low, high = zip(*_bounds(name, profiles), strict=True)
    return Family(
        name=name, doc="", params=(), exponent="", start=lambda batch: np.zeros((0, 0)),
        to_params=lambda u: {}, value=value, score=finite_difference_score(value, 2e-3),
        log_failure=lambda u, k: np.zeros((0, 0)), low=low, high=high, limits={}, tolerance=1e-6,
    )  # fmt: skip


def _empty_batch(count: int) -> Batch:
    """Return a batch of ``count`` fits; their likelihood contains its own data."""
    one = np.ones((count, 1))
    return Batch(one, one, one, np.zeros((count, 1), int), np.ones((1, 2)))


def fit_curve(name: str, profiles: Profiles, *extra_starts: list[float]) -> CurveFit:
    """Fit a curve by maximum joint likelihood, from several starts at once."""
    law = _law(name, profiles)
    starts = np.array([*_starts(name, profiles), *extra_starts])
    peak = maximise(law, _empty_batch(len(starts)), start=starts, max_iterations=80)
    best = int(peak.value.argmax())
    return CurveFit(name, peak.u[best], float(peak.value[best]))
