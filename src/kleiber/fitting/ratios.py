"""How many times larger one law's error is than another's, from the errors of resamples.

With e_o a law's mean absolute residual beyond origin o, its error is the weighted geometric mean
over origins,

    log error = sum_o w_o log e_o,    w_o proportional to 1 / s_o^2,

s_o the spread over resamples of log e_o about its mean over laws: an origin counts as far as it
tells laws apart. Errors are positive and skewed, so laws are compared by the logarithm of their
ratio. Rows beyond an origin share one fit, and origins share rows, so residuals are anything but
independent; the spread of the log ratio therefore comes from resamples on which every fit was
repeated. Its interval is Student's, with as many degrees of freedom as rows or groups judge, less
one, or the percentiles where they reach farther. Refits of m resampled rows spread by sqrt((m-p)/m)
too little (Hesterberg 2015, section 5), which Student's interval makes good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from kleiber.claim import Estimate
from kleiber.fitting.engine.problem import Problem
from kleiber.fitting.options import Options
from kleiber.fitting.origins import Errors
from kleiber.fitting.spread.intervals import draws_level, percentile_interval

HUGE = 690.0  # log of what an infinite error counts as between two others
LEAST = 1e-12  # error below which all is rounding
EVEN = 0.1  # spread of a log error below which an origin gains no further weight
RESOLUTION = 1e-6  # difference of two errors that refits do not resolve, relative to the target


@dataclass(frozen=True)
class Trial:
    """What laws came to: the logarithm of each one's error on every resample, and on the table."""

    names: tuple[str, ...]
    problems: tuple[Problem, ...]
    draws: Float[np.ndarray, "laws draws"]
    points: Float[np.ndarray, "laws"]
    groups: Int[np.ndarray, "rows"] | None
    judges: float  # rows or groups beyond an origin, on average
    stretch: float  # sqrt(m/(m-p)), with m the rows or groups up to an origin, on average
    ask: Options

    @property
    def units(self) -> int:
        """How many rows or groups were resampled."""
        return len(self.problems[0].target) if self.groups is None else int(self.groups.max()) + 1

    @property
    def level(self) -> float:
        """The level of each ratio's interval: the best law is chosen for its error, so that any
        pair of laws may err (Bonferroni). NaN where there is too little to resample."""
        enough = self.units > _widest(self.problems, self.groups)
        return _each(self.ask.level, len(self.names)) if enough else math.nan

    @property
    def read_at(self) -> float:
        """Where percentiles of one law's error are read."""
        each = _each(self.ask.level, len(self.names))
        return float(draws_level(each, self.units, _widest(self.problems, self.groups)))


def _each(level: float, laws: int) -> float:
    return 1 - (1 - level) / (laws * (laws - 1) / 2)


def _widest(problems: Sequence[Problem], groups: Int[np.ndarray, "rows"] | None) -> int:
    """Parameters of the largest law; a group is worth one degree of freedom, as in a fit."""
    return max(len(p.law.params) for p in problems) if groups is None else 1


def weigh(
    names: Sequence[str],
    problems: Sequence[Problem],
    errors: Errors,
    groups: Int[np.ndarray, "rows"] | None,
    units: Float[np.ndarray, "sides origins"],
    ask: Options,
) -> Trial:
    """Origins put together, by how well each tells laws apart."""
    points, draws = (np.log(np.maximum(item, LEAST)) for item in (errors.points, errors.draws))
    share = _shares(draws)
    known = ~np.isnan(draws)
    part = np.where(known, share[:, None], 0.0)
    total = np.where(known, draws, 0.0) * part
    whole = part.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = np.where(whole > 0, total.sum(axis=1) / whole, np.nan)
    train, judges = units
    spare = np.maximum(train - _widest(problems, groups), 1.0)
    mean, stretch = float(share @ judges), math.sqrt(share @ (train / spare))
    score = points @ share
    return Trial(tuple(names), tuple(problems), drawn, score, groups, mean, stretch, ask)


def _shares(draws: Float[np.ndarray, "laws origins draws"]) -> Float[np.ndarray, "origins"]:
    """Weights of the origins: 1 / s^2, with s the spread of a log error about the laws' mean (of
    several laws their median)."""
    logs = np.clip(draws, -HUGE, HUGE)
    spreads = _spread(logs - logs.mean(axis=0))
    spread = np.median(np.nan_to_num(spreads, nan=HUGE), axis=0)
    share = 1 / np.maximum(spread, EVEN) ** 2
    return share / share.sum()


def _spread(draws: Float[np.ndarray, "... draws"]) -> Float[np.ndarray, "..."]:
    """Half the distance between the percentiles that lie a standard deviation either side of the
    median of a normal variable; NaN where fewer than two draws are known."""
    if draws.shape[-1] < 2:
        return np.full(draws.shape[:-1], np.nan)
    few = (~np.isnan(draws)).sum(axis=-1, keepdims=True) < 2
    safe = np.where(few, 0.0, draws)
    low, high = np.nanquantile(safe, special.ndtr([-1.0, 1.0]), axis=-1)
    return np.where(few[..., 0], np.nan, 0.5 * (high - low))


def take_error(point: float, draws: Float[np.ndarray, "draws"], level: float) -> Estimate:
    """A law's error with percentiles of its draws; infinite ones count in order."""
    known = draws[~np.isnan(draws)]
    finite = np.exp(known[np.isfinite(known)])
    low, high = _percentiles(known, level)
    spread = float(finite.std(ddof=1)) if len(finite) > 1 else math.nan
    return Estimate(_exp(point), spread, _exp(low), _exp(high))


def _percentiles(logs: Float[np.ndarray, "draws"], level: float) -> tuple[float, float]:
    """Percentiles of logarithms, of which infinite ones are as far as can be."""
    ends = np.array(percentile_interval(np.clip(logs, -HUGE, HUGE), level))
    ends = np.where(np.abs(ends) > 0.5 * HUGE, np.copysign(np.inf, ends), ends)
    return float(ends[0]), float(ends[1])


def take_ratio(trial: Trial, k: int, best: int) -> Estimate:
    """The ratio of two errors: percentiles of its logarithm, reaching at least to Student's
    interval where that is finite. Percentiles alone tell equals apart a little too often (few rows
    judge), Student's interval alone where a parameter sits at a bound in most resamples."""
    if k == best:
        return Estimate(1.0, 0.0, 1.0, 1.0)
    level = trial.level
    with np.errstate(invalid="ignore"):  # two infinite errors have no ratio
        point = float(trial.points[k] - trial.points[best])
        gap = trial.draws[k] - trial.draws[best]
    gap = gap[~np.isnan(gap)]
    low, high = _percentiles(gap, level)
    spread = _deviation(gap)
    if math.isfinite(point + spread + level):
        t = float(special.stdtrit(max(trial.judges - 1, 1.0), 0.5 + level / 2))
        half = t * spread * trial.stretch
        low, high = min(low, point - half), max(high, point + half)
    if not _exp(float(trial.points[k])) - _exp(float(trial.points[best])) > _resolved(trial):
        low = min(low, 0.0)  # equal, as far as refits can tell
    value = _exp(point)
    return Estimate(value, value * spread, _exp(low), _exp(high))


def _deviation(gap: Float[np.ndarray, "draws"]) -> float:
    """Standard deviation of draws, far ones pulled in to five robust deviations (none where most
    are equal, as at a bound); NaN for fewer than two."""
    if len(gap) < 2:
        return math.nan
    gap, most = np.clip(gap, -HUGE, HUGE), 5 * float(_spread(np.clip(gap, -HUGE, HUGE)))
    middle = float(np.median(gap))
    near = np.clip(gap, middle - most, middle + most) if most > 0 else gap
    return float(near.std(ddof=1))


def _exp(x: float) -> float:
    return math.exp(x) if x < 709 else x if math.isnan(x) else math.inf


def _resolved(trial: Trial) -> float:
    """The least difference of two errors that is no matter of rounding."""
    log = trial.ask.noise.scale == "log"
    size = 1.0 if log else float(np.median(np.abs(trial.problems[0].target)))
    return RESOLUTION * size
