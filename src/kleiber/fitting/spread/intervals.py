"""Intervals from draws, or from a covariance if there are no draws.

Percentiles of draws are taken at a level that is widened for small samples, so that coverage holds
there too. Draws of resampled rows: Phi(sqrt(n/(n-p)) t_{n-p}) (expanded percentiles, Hesterberg
2015, section 5); wild draws, whose residuals already carry their leverage: Phi(t_f) with f the
degrees of freedom of the quantity's variance (``wild.py``), at most n-p. A loss that is quadratic
for a share of the rows only (a narrow Huber loss) needs only that share of the widening. For the
rest it is nearly the sum of absolute residuals, whose fit passes through p rows, and each refit
through p others: draws of resampled rows then spread too far, and percentiles are taken at Phi((1 -
p/n) z) (found by measurement; not so for groups, each of which holds several rows). With many rows
all of these are plain percentiles, and none depends on how a quantity is parametrised. Their
measured coverage is in docs/coverage.md.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import special

from kleiber.arguments import check_level as check_level


class Interval(NamedTuple):
    """The two ends of an interval.

    Attributes
    ----------
    low, high
        The ends, in the unit of the quantity; NaN where none can be given, and then the notes of
        the fit say why.

    Examples
    --------
    >>> import kleiber
    >>> low, high = kleiber.Interval(0.35, 0.41)
    >>> low
    0.35
    """

    low: float
    high: float


def percentile_level(
    level: float,
    units: int,
    params: int,
    *,
    wild: bool = False,
    degrees_of_freedom: float | Float[np.ndarray, "quantities"] = math.inf,
    quadratic_share: float = 1.0,
    interpolated_share: float = 0.0,
) -> Float[np.ndarray, "..."]:
    """Return the level at which percentiles of draws are taken, for ``units`` rows or groups.

    ``wild`` says how the draws were made, ``degrees_of_freedom`` how well the variance of each
    quantity is known, ``quadratic_share`` for what share of rows the loss is quadratic, and
    ``interpolated_share`` the share of rows that the fit passes through where it is not. NaN if no
    degree of freedom is left.
    """
    dof = units - params
    if dof <= 0:
        return np.full(np.shape(degrees_of_freedom), np.nan)
    t = np.asarray(special.stdtrit(np.minimum(dof, degrees_of_freedom), 0.5 + level / 2))
    inflation = 1.0 if wild else math.sqrt(units / dof)
    z = special.ndtri(0.5 + level / 2)
    wide, narrow = (
        _central_probability(np.asarray(inflation * t)),
        _central_probability(np.asarray((1 - interpolated_share) * z)),
    )
    return np.asarray(quadratic_share * wide + (1 - quadratic_share) * narrow)


def _central_probability(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return the probability that a standard normal variable lies between -x and x."""
    return np.asarray(2 * special.ndtr(x) - 1)


def percentile_interval(
    draws: Float[np.ndarray, "draws ..."], level: float | Float[np.ndarray, "..."]
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """Return equal-tailed percentiles of the draws along their first axis, infinities included. The
    level is one number, or one for each quantity."""
    if len(draws) < 2:
        missing = np.full(draws.shape[1:], np.nan)
        return missing, missing.copy()
    share = np.broadcast_to(level, draws.shape[1:]).ravel()
    ordered = np.sort(draws.reshape(len(draws), -1), axis=0)
    low, high = (_quantile(ordered, 0.5 + side * share / 2) for side in (-1, 1))
    return low.reshape(draws.shape[1:]), high.reshape(draws.shape[1:])


def _quantile(
    ordered: Float[np.ndarray, "draws quantities"], share: Float[np.ndarray, "quantities"]
) -> Float[np.ndarray, "quantities"]:
    """Return Hazen's quantile, also between infinities of one sign; NaN for a share that is NaN."""
    last = len(ordered) - 1.0
    position = np.clip(np.nan_to_num(share, nan=0.5) * len(ordered) - 0.5, 0.0, last)
    first = np.floor(position)
    below, above = _take_at(ordered, first), _take_at(ordered, np.ceil(position))
    with np.errstate(invalid="ignore"):
        between = np.where(position > first, below + (position - first) * (above - below), below)
    between = np.where(below == above, below, between)
    unknown = np.isnan(ordered[-1]) | np.isnan(share)  # NaN is sorted last
    return np.where(unknown, np.nan, between)


def _take_at(
    ordered: Float[np.ndarray, "draws quantities"], position: Float[np.ndarray, "quantities"]
) -> Float[np.ndarray, "quantities"]:
    """Return the draw at the given position for each quantity."""
    return np.take_along_axis(ordered, position.astype(int)[None], axis=0)[0]


def bca_interval(
    draws: Float[np.ndarray, "draws"],
    value: float,
    influence: Float[np.ndarray, "units"],
    level: float,
) -> tuple[float, float]:
    """Return bias-corrected and accelerated percentiles (Efron 1987). ``influence`` is the effect
    of each row or group U on the quantity, from which the acceleration is sum U^3 / (6 (sum
    U^2)^1.5)."""
    below = np.clip(np.mean(draws < value), 1 / (len(draws) + 1), len(draws) / (len(draws) + 1))
    z0 = float(special.ndtri(below))
    acceleration = float(
        (influence**3).sum() / (6 * max(float((influence**2).sum()), 1e-300) ** 1.5)
    )
    ends: list[float] = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        z = z0 + float(special.ndtri(tail))
        share = float(special.ndtr(z0 + z / (1 - acceleration * z)))
        ends.append(float(np.quantile(draws, np.clip(share, 0, 1), method="hazen")))
    return ends[0], ends[1]


def normal_interval(
    value: Float[np.ndarray, "..."], stderr: Float[np.ndarray, "..."], level: float, dof: int
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """Return value -+ t stderr with ``spare`` degrees of freedom; NaN if there are none."""
    t = float(special.stdtrit(dof, 0.5 + level / 2)) if dof > 0 else math.nan
    return value - t * stderr, value + t * stderr
