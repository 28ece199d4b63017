"""Errors of the unbiased pass@k in closed form.

The estimate of a group is the mean of its problems' own unbiased estimates h_i, a U-statistic of
two stages (problems, then attempts; Hoeffding 1948), and there are two questions to its error:

fresh problems  s^2/m, s^2 the sample variance of the h_i over m problems: unbiased for problems
                drawn from a population; it holds what attempts add within problems already.
fixed problems  sum_i (f_i(k)^2 - f_i(2k))/m^2, f_i(k) the unbiased estimate of (1 - p_i)^k:
                unbiased for new attempts at these very problems. It needs 2k attempts at each.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import special

from kleiber.errors import BadTable
from kleiber.maths.gamma import log_rising

ALONE = "One problem has no spread over problems."
EQUAL = "All {m} problems have the same estimate."


class Errors(NamedTuple):
    """A mean over problems at each k, its standard errors and interval; NaN where unknown.

    ``stderr`` and the interval are for fresh problems, ``fixed`` is for fresh attempts at these
    problems. ``why`` says for each k what makes the first unknown, "" where it is known.
    """

    mean: Float[np.ndarray, "k"]
    stderr: Float[np.ndarray, "k"]
    fixed: Float[np.ndarray, "k"]
    low: Float[np.ndarray, "k"]
    high: Float[np.ndarray, "k"]
    why: tuple[str, ...]


def failure_of(
    attempts: Float[np.ndarray, "..."],
    successes: Float[np.ndarray, "..."],
    k: Float[np.ndarray, "..."],
) -> Float[np.ndarray, "..."]:
    """The unbiased estimate of (1 - p)**k from c successes in n attempts, for k up to n.

    C(n - c, k)/C(n, k), 0 where k > n - c: one minus the pass@k of Chen et al. 2021
    (arXiv 2107.03374), eq. 1. Written with the smaller of c and k, so that nothing cancels.
    """
    n, c, k = np.broadcast_arrays(*(np.asarray(x, float) for x in (attempts, successes, k)))
    less = np.minimum(c, k)
    inside = n - c - k >= 0
    start = np.where(inside, n - c - k + 1, 1.0)
    log = log_rising(start, less) - log_rising(n - less + 1, less)
    return np.where(inside, np.exp(np.minimum(log, 0.0)), 0.0)


def mean_failure(
    attempts: Float[np.ndarray, "problems"],
    successes: Float[np.ndarray, "problems"],
    k: Float[np.ndarray, "k"],
    level: float,
) -> Errors:
    """The unbiased failure of one group at each k, with its errors."""
    n, c = attempts[:, None], successes[:, None]
    each = failure_of(n, c, k)
    m, mean = len(each), each.mean(0)
    fixed = np.full(len(k), np.nan)
    if (near := 2 * k <= attempts.min()).any():
        twice = failure_of(n, c, 2 * k[near])
        fixed[near] = np.sqrt(np.maximum((each[:, near] ** 2 - twice).sum(0), 0.0)) / m
    if m == 1:
        unknown = np.full(len(k), np.nan)
        return Errors(mean, unknown, fixed, unknown, unknown, (ALONE,) * len(k))
    spread = each.std(0, ddof=1) / np.sqrt(m)
    equal = np.ptp(each, axis=0) == 0
    low, high = share_interval(mean, spread, m, level)
    between = equal & (mean > 0) & (mean < 1)
    low[between], high[between] = np.nan, np.nan
    stderr = np.where(equal, np.nan, spread)
    why = tuple(EQUAL.format(m=m) if flat else "" for flat in equal)
    return Errors(mean, stderr, fixed, low, high, why)


def check_level(level: float) -> None:
    """BadTable unless the level lies strictly between 0 and 1."""
    if not 0 < level < 1:
        raise BadTable(f"The level of an interval lies between 0 and 1, got {level}.")


def share_interval(
    mean: Float[np.ndarray, "k"], stderr: Float[np.ndarray, "k"], problems: int, level: float
) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"]]:
    """Interval of a mean of numbers from 0 to 1, after Korn and Graubard (1998).

    That of Clopper and Pearson (1934) for as many trials as would give the same standard error,
    fewer by (z/t)^2 for the degrees of freedom that the standard error has; for as many as there
    are problems where all are 0 or all are 1.
    """
    t = float(special.stdtrit(problems - 1, 0.5 + level / 2))
    z = float(special.ndtri(0.5 + level / 2))
    ends = (mean <= 0) | (mean >= 1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        trials = np.where(ends, problems, mean * (1 - mean) / stderr**2 * (z / t) ** 2)
    trials = np.clip(trials, 1e-9, 1e15)
    hits = trials * mean
    tail = (1 - level) / 2
    low = special.betaincinv(np.maximum(hits, 1e-12), trials - hits + 1, tail)
    high = special.betaincinv(hits + 1, np.maximum(trials - hits, 1e-12), 1 - tail)
    low, high = (np.where(np.isfinite(end), end, mean) for end in (low, high))
    low = np.where(mean <= 0, 0.0, np.minimum(low, mean))
    return low, np.where(mean >= 1, 1.0, np.maximum(high, mean))
