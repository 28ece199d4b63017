"""A weak prior: -log pass@k is nearly a power law of k from the first attempt on.

Studies of repeated sampling report this (Hughes et al. 2024, Brown et al. 2024 (arXiv 2407.21787),
Schaeffer et al. 2025), and it links what few attempts cannot show to what they can: if hardly any
problem is solved, the likelihood alone leaves the tail undetermined.

symbol     meaning
s(i, j)    slope of log(-log pass@k) against log k between k = i and k = j; n attempts were made
curvature  log of s(n, 100 n)/s(1, n), 0 for a power law, with standard deviation CURVATURE_STD
total      log of exponent/(1/-log pass@1), last slope over first, with standard deviation TOTAL_STD

Both have Student's t distribution with DEGREES_OF_FREEDOM: nearly normal if counts and prior agree,
and flat far away, so that counts that contradict the prior overrule it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from kleiber.attempts.batch import Batch
from kleiber.attempts.family import Coordinates, Family, Score, finite_difference_score
from kleiber.attempts.grid import best_candidate
from kleiber.attempts.newton import maximise

CURVATURE_STD, TOTAL_STD = 0.1, 0.5
DEGREES_OF_FREEDOM = 3.0
FAR_RATIO = 100.0


def departures(family: Family, u: Coordinates, batch: Batch) -> Float[np.ndarray, "2 groups"]:
    """Return the curvature and the total change of slope of each group, over their standard
    deviations."""
    attempts = np.where(batch.weights > 0, batch.attempts, 0.0).max(1)
    n = np.maximum(attempts, 2.0)
    each = np.unique(n)
    k = np.unique(np.concatenate([[1.0], each, FAR_RATIO * each]))
    log_pass = np.log(np.maximum(-np.expm1(family.log_failure(u, k)), 1e-300))
    level = np.log(np.maximum(-log_pass, 1e-300))
    rows = np.arange(len(u))
    at_n, beyond = (level[rows, np.searchsorted(k, x)] for x in (n, FAR_RATIO * n))
    before, after = (level[:, 0] - at_n) / np.log(n), (at_n - beyond) / np.log(FAR_RATIO)
    curvature = np.log(np.maximum(after, 1e-9)) - np.log(np.maximum(before, 1e-9))
    total = u[:, 0] + level[:, 0]
    return np.stack([curvature / CURVATURE_STD, total / TOTAL_STD])


def normal_penalty(family: Family, u: Coordinates, batch: Batch) -> Float[np.ndarray, "groups"]:
    """Return the logarithm of a normal prior with the same standard deviations, used only for a
    start."""
    return -0.5 * (departures(family, u, batch) ** 2).sum(0)


def penalty(family: Family, u: Coordinates, batch: Batch) -> Float[np.ndarray, "groups"]:
    """Return the logarithm of the prior, up to a constant."""
    squared = departures(family, u, batch) ** 2
    return -0.5 * (DEGREES_OF_FREEDOM + 1) * np.log1p(squared / DEGREES_OF_FREEDOM).sum(0)


def add_straight_prior(family: Family) -> Family:
    """Return the family with the prior added to its log-likelihood.

    The prior is flat far from a power law, so there may be two maxima: the search begins at the
    better of the likelihood's own maximum and the maximum with a normal prior.
    """
    with_prior, with_normal = _add_prior(family, penalty), _add_prior(family, normal_penalty)

    def start(batch: Batch) -> Coordinates:
        candidates = np.stack([maximise(law, batch).u for law in (family, with_normal)], 1)
        return best_candidate(with_prior.value, candidates, batch)

    return replace(with_prior, start=start)


def _add_prior(family: Family, prior: Callable[[Family, Coordinates, Batch], np.ndarray]) -> Family:
    def value(u: Coordinates, batch: Batch) -> Float[np.ndarray, "groups"]:
        return family.value(u, batch) + prior(family, u, batch)

    prior_score = finite_difference_score(lambda u, batch: prior(family, u, batch), 1e-3)

    def score(u: Coordinates, batch: Batch) -> Score:
        return Score(
            *(a + b for a, b in zip(family.score(u, batch), prior_score(u, batch), strict=True))
        )

    return replace(family, value=value, score=score, tolerance=max(family.tolerance, 1e-7))
