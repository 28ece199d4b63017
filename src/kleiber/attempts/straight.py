"""A weak prior: -log pass@k is nearly a power law of k, from the first attempt on.

That is what studies of repeated sampling report (Hughes et al. 2024, Brown et al. 2024
(arXiv 2407.21787), Schaeffer et al. 2025), and it ties what few attempts cannot see to what they
can: where hardly any problem is solved, the likelihood alone leaves the tail open.

symbol    meaning
s(i, j)   slope of log(-log pass@k) against log k between k = i and k = j; n attempts were made
bend      log of s(n, 100 n)/s(1, n): 0 for a power law; spread BEND
turn      log of exponent/(1/-log pass@1), the last slope over the first; spread TURN

Both have Student's t distribution with FREEDOM degrees of freedom: nearly normal where counts and
prior agree, and flat far away, so that counts which say otherwise overrule the prior.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from kleiber.attempts.batch import Batch
from kleiber.attempts.family import Coordinates, Family, Score, differenced
from kleiber.attempts.grid import best_of
from kleiber.attempts.newton import maximise

BEND, TURN = 0.1, 0.5
FREEDOM = 3.0
REACH = 100.0


def departures(family: Family, u: Coordinates, batch: Batch) -> Float[np.ndarray, "2 groups"]:
    """Bend and turn of each group, in their spreads."""
    attempts = np.where(batch.weights > 0, batch.attempts, 0.0).max(1)
    n = np.maximum(attempts, 2.0)
    each = np.unique(n)
    k = np.unique(np.concatenate([[1.0], each, REACH * each]))
    log_pass = np.log(np.maximum(-np.expm1(family.log_failure(u, k)), 1e-300))
    level = np.log(np.maximum(-log_pass, 1e-300))
    rows = np.arange(len(u))
    at_n, beyond = (level[rows, np.searchsorted(k, x)] for x in (n, REACH * n))
    before, after = (level[:, 0] - at_n) / np.log(n), (at_n - beyond) / np.log(REACH)
    bend = np.log(np.maximum(after, 1e-9)) - np.log(np.maximum(before, 1e-9))
    turn = u[:, 0] + level[:, 0]
    return np.stack([bend / BEND, turn / TURN])


def normal(family: Family, u: Coordinates, batch: Batch) -> Float[np.ndarray, "groups"]:
    """The logarithm of a normal prior of the same spreads: a way to a start, and no more."""
    return -0.5 * (departures(family, u, batch) ** 2).sum(0)


def penalty(family: Family, u: Coordinates, batch: Batch) -> Float[np.ndarray, "groups"]:
    """The logarithm of the prior, up to a constant."""
    squared = departures(family, u, batch) ** 2
    return -0.5 * (FREEDOM + 1) * np.log1p(squared / FREEDOM).sum(0)


def straighten(family: Family) -> Family:
    """The family with the prior added to its log-likelihood.

    The prior is flat far from a power law, so there may be two maxima: the ascent begins at the
    better of the likelihood's own maximum and that with a normal prior.
    """
    tied, pulled = _with(family, penalty), _with(family, normal)

    def start(batch: Batch) -> Coordinates:
        tries = np.stack([maximise(law, batch).u for law in (family, pulled)], 1)
        return best_of(tied.value, tries, batch)

    return replace(tied, start=start)


def _with(family: Family, prior: Callable[[Family, Coordinates, Batch], np.ndarray]) -> Family:
    def value(u: Coordinates, batch: Batch) -> Float[np.ndarray, "groups"]:
        return family.value(u, batch) + prior(family, u, batch)

    slopes = differenced(lambda u, batch: prior(family, u, batch), 1e-3)

    def score(u: Coordinates, batch: Batch) -> Score:
        return Score(
            *(a + b for a, b in zip(family.score(u, batch), slopes(u, batch), strict=True))
        )

    return replace(family, value=value, score=score, settled=max(family.settled, 1e-7))
