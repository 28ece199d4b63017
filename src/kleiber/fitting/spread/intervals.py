"""Intervals from draws, and from a covariance where there are none.

Draws are read at a level widened for small samples, so that coverage holds there too. Draws of
resampled rows: Phi(sqrt(n/(n-p)) t_{n-p}) (expanded percentiles, Hesterberg 2015, section 5); wild
draws, whose residuals already carry their leverage: Phi(t_f) with f the degrees of freedom that
the variance of the quantity is known with (``wild.py``), at most n-p. A loss that is quadratic for
a share of the rows only (a narrow Huber loss) needs only that share of the widening. For the rest
it is nearly the sum of absolute residuals, whose fit passes through p rows, and so does each refit,
through others: draws of resampled rows then spread too far, and are read at Phi((1 - p/n) z) (found
by measurement; not so for groups, of which each holds several rows). With many rows all are plain
percentiles, and none depends on how a quantity is parametrised. Their measured coverage is in
docs/coverage.md.
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


def draws_level(
    level: float,
    units: int,
    params: int,
    *,
    wild: bool = False,
    freedom: float | Float[np.ndarray, "quantities"] = math.inf,
    inside: float = 1.0,
    through: float = 0.0,
) -> Float[np.ndarray, "..."]:
    """The level at which percentiles of draws are read, for ``units`` rows or groups.

    ``wild`` says how the draws were made and ``freedom`` how well the variance of each quantity is
    known, ``inside`` for what share of rows the loss is quadratic, and ``through`` the share of the
    rows that the fit passes through where it is not. NaN when no degree of freedom is left.
    """
    spare = units - params
    if spare <= 0:
        return np.full(np.shape(freedom), np.nan)
    t = np.asarray(special.stdtrit(np.minimum(spare, freedom), 0.5 + level / 2))
    stretch = 1.0 if wild else math.sqrt(units / spare)
    z = special.ndtri(0.5 + level / 2)
    wide, narrow = _within(np.asarray(stretch * t)), _within(np.asarray((1 - through) * z))
    return np.asarray(inside * wide + (1 - inside) * narrow)


def _within(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Share of a normal variable within -+ x."""
    return np.asarray(2 * special.ndtr(x) - 1)


def percentile_interval(
    draws: Float[np.ndarray, "draws ..."], level: float | Float[np.ndarray, "..."]
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """Equal-tailed percentiles of the draws, along their first axis; infinities are kept. The level
    is one number, or one for each quantity."""
    if len(draws) < 2:
        gap = np.full(draws.shape[1:], np.nan)
        return gap, gap.copy()
    share = np.broadcast_to(level, draws.shape[1:]).ravel()
    ordered = np.sort(draws.reshape(len(draws), -1), axis=0)
    low, high = (_quantile(ordered, 0.5 + side * share / 2) for side in (-1, 1))
    return low.reshape(draws.shape[1:]), high.reshape(draws.shape[1:])


def _quantile(
    ordered: Float[np.ndarray, "draws quantities"], share: Float[np.ndarray, "quantities"]
) -> Float[np.ndarray, "quantities"]:
    """Hazen's quantile, also between infinities of one sign; NaN for a share that is NaN."""
    last = len(ordered) - 1.0
    place = np.clip(np.nan_to_num(share, nan=0.5) * len(ordered) - 0.5, 0.0, last)
    first = np.floor(place)
    below, above = _at(ordered, first), _at(ordered, np.ceil(place))
    with np.errstate(invalid="ignore"):
        between = np.where(place > first, below + (place - first) * (above - below), below)
    between = np.where(below == above, below, between)
    unknown = np.isnan(ordered[-1]) | np.isnan(share)  # NaN is sorted last
    return np.where(unknown, np.nan, between)


def _at(
    ordered: Float[np.ndarray, "draws quantities"], place: Float[np.ndarray, "quantities"]
) -> Float[np.ndarray, "quantities"]:
    """Of each quantity the draw at its place."""
    return np.take_along_axis(ordered, place.astype(int)[None], axis=0)[0]


def bca_interval(
    draws: Float[np.ndarray, "draws"],
    value: float,
    influence: Float[np.ndarray, "units"],
    level: float,
) -> tuple[float, float]:
    """Bias-corrected and accelerated percentiles (Efron 1987): ``influence`` is how much each row
    or group moves the quantity, from which the acceleration sum U^3 / (6 (sum U^2)^1.5)."""
    below = np.clip(np.mean(draws < value), 1 / (len(draws) + 1), len(draws) / (len(draws) + 1))
    z0 = float(special.ndtri(below))
    speed = float((influence**3).sum() / (6 * max(float((influence**2).sum()), 1e-300) ** 1.5))
    ends: list[float] = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        z = z0 + float(special.ndtri(tail))
        share = float(special.ndtr(z0 + z / (1 - speed * z)))
        ends.append(float(np.quantile(draws, np.clip(share, 0, 1), method="hazen")))
    return ends[0], ends[1]


def normal_interval(
    value: Float[np.ndarray, "..."], stderr: Float[np.ndarray, "..."], level: float, spare: int
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """value -+ t stderr with ``spare`` degrees of freedom; NaN where there are none."""
    t = float(special.stdtrit(spare, 0.5 + level / 2)) if spare > 0 else math.nan
    return value - t * stderr, value + t * stderr
