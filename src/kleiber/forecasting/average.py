"""The average of members: its weights, and the mean and variance of log forecasts.

A member's weight is that of its family times that of its recency,

    family:   prior exp(tau (log evidence - greatest)),  tau = 0.2 min(1, log 2/H),
    recency:  1, 1, 0.5, 0.25,

times (MSE + 0.3 median MSE)^(-1/2 min(1, tested/H)) of its back-tests. The evidence of rows near
the frontier says less and less about a forecast the farther it goes, so both are tempered with the
log distance H. A constant is judged by the whole evidence: it has weight only where recent rows
show no trend.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from kleiber.forecasting.families import Family, evaluate_with_slopes
from kleiber.forecasting.members import RECENCY_PRIOR, Members, Origin
from kleiber.forecasting.search import FREEDOM, Found

Array = np.ndarray
TEMPER, NEAR = 0.2, np.log(2.0)
POWER, SOFTEN = 0.5, 0.3
NOISE = FREEDOM / (FREEDOM - 2)  # variance of Student's t over its squared scale


@dataclass(frozen=True)
class Weights:
    """The weight of each member, [families, recencies]; their sum is 1."""

    values: Float[np.ndarray, "families recencies"]

    def mean(self, values: Float[np.ndarray, "families recencies ..."]) -> Array:
        """Return the weighted mean over members."""
        return np.tensordot(self.values, values, axes=2)


@dataclass(frozen=True)
class BackTest:
    """Rows after an earlier origin: their distance from it, log errors of the average (measured
    less forecast), the standard deviations that it gave them, and each member's mean squared
    error."""

    horizon: float
    rows: Array  # indices of the rows that were tested
    distance: Float[np.ndarray, "rows"]
    forecast: Float[np.ndarray, "rows"]
    error: Float[np.ndarray, "rows"]
    spread: Float[np.ndarray, "rows"]
    member_errors: Float[np.ndarray, "families recencies"]


def evidence_weights(
    known: tuple[Family, ...], evidence: Float[np.ndarray, "families recencies"], horizon: float
) -> Float[np.ndarray, "families recencies"]:
    """Return the weights by evidence and priors alone."""
    gap = evidence - evidence.max(axis=0)
    temper = TEMPER * min(1.0, NEAR / horizon)
    each = np.array([1.0 if family.level else temper for family in known])[:, None]
    weights = np.exp(each * gap) * np.array([family.prior for family in known])[:, None]
    weights = weights / weights.sum(axis=0) * np.array(RECENCY_PRIOR)
    return weights / weights.sum()


def weigh(members: Members, tests: list[BackTest]) -> Weights:
    """Return the weights of members at the frontier."""
    horizon = members.curve.horizon
    weights = evidence_weights(members.families, _evidence(members, 0), horizon)
    if tests:
        errors = np.mean([test.member_errors for test in tests], axis=0)
        power = POWER * min(1.0, max(test.horizon for test in tests) / horizon)
        weights = weights * (errors + SOFTEN * np.median(errors) + 1e-7) ** -power
    return Weights(weights / weights.sum())


def _evidence(members: Members, origin: int) -> Array:
    return np.stack([found.evidence[origin] for found in members.found])


def back_test(members: Members) -> list[BackTest]:
    """Return how the average would have done from the earlier origins."""
    return [_back_test(members, k, origin) for k, origin in enumerate(members.origins) if k > 0]


def _back_test(members: Members, k: int, origin: Origin) -> BackTest:
    curve = members.curve
    rows = np.flatnonzero(~origin.known)
    z = (curve.x[rows] - origin.frontier)[None]
    pairs = [
        find_moments(f, found, k, z)
        for f, found in zip(members.families, members.found, strict=True)
    ]
    mean, variance = (np.stack([pair[i] for pair in pairs]) for i in (0, 1))
    scale = np.stack([found.scale[k] for found in members.found])
    weights = Weights(evidence_weights(members.families, _evidence(members, k), origin.horizon))
    centre, spread = combine(weights, mean, variance, scale)
    measured = curve.y[rows]
    return BackTest(
        origin.horizon,
        rows,
        curve.progress[rows] - curve.progress[origin.known].max(),
        centre,
        measured - centre,
        spread,
        ((mean - measured) ** 2).mean(axis=-1),
    )


def find_moments(
    family: Family, found: Found, k: int, z: Float[np.ndarray, "1 rows columns"]
) -> tuple[Float[np.ndarray, "recencies rows"], Float[np.ndarray, "recencies rows"]]:
    """Return mean and variance of log L from one origin, by the delta method."""
    value, slopes = evaluate_with_slopes(family, found.theta[k], z)
    return value, np.einsum("srp,spq,srq->sr", slopes, found.covariance[k], slopes)


def combine(
    weights: Weights, mean: Array, variance: Array, scale: Float[np.ndarray, "families recencies"]
) -> tuple[Float[np.ndarray, "rows"], Float[np.ndarray, "rows"]]:
    """Return the mean of log L and the standard deviation of a new measurement's."""
    centre = weights.mean(mean)
    between = weights.mean(variance + (mean - centre) ** 2)
    return centre, np.sqrt(between + NOISE * weights.mean(scale**2))
