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

from kleiber import arguments
from kleiber.attempts.gamma import log_rising
from kleiber.errors import BadTable

ALONE = "One problem has no spread over problems."
EQUAL = "All {m} problems have the same estimate."


class Errors(NamedTuple):
    """A mean over problems at each k, its standard errors and its interval, NaN if unknown.

    ``stderr`` and the interval are for fresh problems, ``fixed`` is for fresh attempts at these
    problems. ``why`` explains for each k why the first is unknown ("" if it is known).
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
    """Return the unbiased estimate of (1 - p)**k from c successes in n attempts, for k up to n.

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
    """Return the unbiased failure of one group at each k, with its errors."""
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
    low, high = share_interval(each, level)
    between = equal & (mean > 0) & (mean < 1)
    low[between], high[between] = np.nan, np.nan
    stderr = np.where(equal, np.nan, spread)
    why = tuple(EQUAL.format(m=m) if flat else "" for flat in equal)
    return Errors(mean, stderr, fixed, low, high, why)


def check_level(level: float) -> float:
    """Return the level as a float; raise BadTable unless it lies strictly between 0 and 1."""
    return arguments.check_level(level, error=BadTable)


def share_interval(
    each: Float[np.ndarray, "problems k"], level: float
) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"]]:
    """Return the interval of the mean of two or more numbers from 0 to 1, after Korn and Graubard
    (1998).

    That of Clopper and Pearson (1934) for as many trials as would give the same standard error,
    fewer by (z/t)^2 for the degrees of freedom that the standard error has; for as many as there
    are problems where all are 0 or all are 1. A mean that a few large numbers carry has a standard
    error that is too small as often as not: with w = (sum x)^2/sum x^2 of them (x counted from 0 or
    1, whichever is nearer) there are at most (w/2)^2 trials for each problem, and one at least.
    """
    problems, mean = len(each), each.mean(0)
    t = float(special.stdtrit(problems - 1, 0.5 + level / 2))
    z = float(special.ndtri(0.5 + level / 2))
    x = np.where(mean > 0.5, 1 - each, each)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        max_trials = problems * np.maximum(x.sum(0) ** 2 / (x**2).sum(0) / 2, 1.0) ** 2
        trials = mean * (1 - mean) / (each.var(0, ddof=1) / problems) * (z / t) ** 2
    trials = np.where((mean <= 0) | (mean >= 1), problems, np.fmin(trials, max_trials))
    hits, tail = trials * mean, (1 - level) / 2
    low, high = (
        np.asarray(special.betaincinv(np.maximum(a, 1e-12), np.maximum(b, 1e-12), share), float)
        for a, b, share in ((hits, trials - hits + 1, tail), (hits + 1, trials - hits, 1 - tail))
    )
    low, high = np.fmin(low, mean), np.fmax(high, mean)
    return np.where(mean <= 0, 0.0, low), np.where(mean >= 1, 1.0, high)
