"""Ratios of the errors of laws, with intervals from resamples.

With e_o a law's mean absolute residual beyond origin o, its error is the weighted geometric mean
over origins,

    log error = sum_o w_o log e_o,    w_o proportional to 1 / s_o^2,

where s_o is the spread over resamples of log e_o about its mean over laws: an origin counts more
the better it distinguishes laws. Errors are positive and skewed, so laws are compared by the
logarithm of their ratio. Rows beyond an origin share one fit, and origins share rows, so residuals
are far from independent; the spread of the log ratio therefore comes from resamples on which every
fit was repeated. Its interval is Student's, with as many degrees of freedom as there are test rows
or groups, minus one, or the percentiles where they reach farther. Refits of m resampled rows spread
by sqrt((m-p)/m) too little (Hesterberg 2015, section 5), which Student's interval corrects.
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
from kleiber.fitting.spread.intervals import percentile_interval, percentile_level

LOG_INFINITE = 690.0  # log of what an infinite error counts as between two others
MIN_ERROR = 1e-12  # error below which all is rounding
MIN_SPREAD = 0.1  # spread of a log error below which an origin gains no further weight
RESOLUTION = 1e-6  # difference of two errors that refits do not resolve, relative to the target


@dataclass(frozen=True)
class Trial:
    """Results of a comparison: the logarithm of each law's error on every resample, and on the
    table."""

    names: tuple[str, ...]
    problems: tuple[Problem, ...]
    draws: Float[np.ndarray, "laws draws"]
    points: Float[np.ndarray, "laws"]
    groups: Int[np.ndarray, "rows"] | None
    test_units: float  # rows or groups beyond an origin, on average
    inflation: float  # sqrt(m/(m-p)), with m the rows or groups up to an origin, on average
    options: Options

    @property
    def units(self) -> int:
        """The number of rows or groups that were resampled."""
        return len(self.problems[0].target) if self.groups is None else int(self.groups.max()) + 1

    @property
    def level(self) -> float:
        """The level of each ratio's interval, corrected for all pairs of laws (Bonferroni) because
        the best law is chosen by its error. NaN if there is too little to resample."""
        enough = self.units > _most_parameters(self.problems, self.groups)
        return _level_of_pair(self.options.level, len(self.names)) if enough else math.nan

    @property
    def read_at(self) -> float:
        """The level at which percentiles of one law's error are taken."""
        each = _level_of_pair(self.options.level, len(self.names))
        return float(
            percentile_level(each, self.units, _most_parameters(self.problems, self.groups))
        )


def _level_of_pair(level: float, laws: int) -> float:
    return 1 - (1 - level) / (laws * (laws - 1) / 2)


def _most_parameters(problems: Sequence[Problem], groups: Int[np.ndarray, "rows"] | None) -> int:
    """Return the parameters of the largest law; a group counts as one degree of freedom, as in a
    fit."""
    return max(len(p.law.params) for p in problems) if groups is None else 1


def compare_errors(
    names: Sequence[str],
    problems: Sequence[Problem],
    errors: Errors,
    groups: Int[np.ndarray, "rows"] | None,
    units: Float[np.ndarray, "sides origins"],
    options: Options,
) -> Trial:
    """Combine the origins, weighted by how well each distinguishes laws."""
    points, draws = (np.log(np.maximum(item, MIN_ERROR)) for item in (errors.points, errors.draws))
    share = _shares(draws)
    known = ~np.isnan(draws)
    part = np.where(known, share[:, None], 0.0)
    total = np.where(known, draws, 0.0) * part
    whole = part.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = np.where(whole > 0, total.sum(axis=1) / whole, np.nan)
    train, test_units = units
    spare = np.maximum(train - _most_parameters(problems, groups), 1.0)
    mean, inflation = float(share @ test_units), math.sqrt(share @ (train / spare))
    score = points @ share
    return Trial(tuple(names), tuple(problems), drawn, score, groups, mean, inflation, options)


def _shares(draws: Float[np.ndarray, "laws origins draws"]) -> Float[np.ndarray, "origins"]:
    """Return the weights of the origins: 1 / s^2, with s the spread of a log error about the mean
    of the laws (for several laws the median of s)."""
    logs = np.clip(draws, -LOG_INFINITE, LOG_INFINITE)
    spreads = _spread(logs - logs.mean(axis=0))
    spread = np.median(np.nan_to_num(spreads, nan=LOG_INFINITE), axis=0)
    share = 1 / np.maximum(spread, MIN_SPREAD) ** 2
    return share / share.sum()


def _spread(draws: Float[np.ndarray, "... draws"]) -> Float[np.ndarray, "..."]:
    """Return half the distance between the percentiles one standard deviation either side of the
    median of a normal variable; NaN if fewer than two draws are known."""
    if draws.shape[-1] < 2:
        return np.full(draws.shape[:-1], np.nan)
    too_few = (~np.isnan(draws)).sum(axis=-1, keepdims=True) < 2
    safe = np.where(too_few, 0.0, draws)
    low, high = np.nanquantile(safe, special.ndtr([-1.0, 1.0]), axis=-1)
    return np.where(too_few[..., 0], np.nan, 0.5 * (high - low))


def take_error(point: float, draws: Float[np.ndarray, "draws"], level: float) -> Estimate:
    """Return a law's error with percentiles of its draws, infinite ones included in order."""
    known = draws[~np.isnan(draws)]
    finite = np.exp(known[np.isfinite(known)])
    low, high = _percentiles(known, level)
    spread = float(finite.std(ddof=1)) if len(finite) > 1 else math.nan
    return Estimate(_exp(point), spread, _exp(low), _exp(high))


def _percentiles(logs: Float[np.ndarray, "draws"], level: float) -> tuple[float, float]:
    """Return percentiles of logarithms; infinite ones count as the largest or smallest."""
    ends = np.array(percentile_interval(np.clip(logs, -LOG_INFINITE, LOG_INFINITE), level))
    ends = np.where(np.abs(ends) > 0.5 * LOG_INFINITE, np.copysign(np.inf, ends), ends)
    return float(ends[0]), float(ends[1])


def take_ratio(trial: Trial, k: int, best: int) -> Estimate:
    """Return the ratio of two errors: percentiles of its logarithm, extended at least to Student's
    interval if that is finite. Percentiles alone distinguish equal laws a little too often (with
    few test rows), Student's interval alone does so where a parameter sits at a bound in most
    resamples."""
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
        t = float(special.stdtrit(max(trial.test_units - 1, 1.0), 0.5 + level / 2))
        half = t * spread * trial.inflation
        low, high = min(low, point - half), max(high, point + half)
    if not _exp(float(trial.points[k])) - _exp(float(trial.points[best])) > _resolution(trial):
        low = min(low, 0.0)  # equal, as far as refits can tell
    value = _exp(point)
    return Estimate(value, value * spread, _exp(low), _exp(high))


def _deviation(gap: Float[np.ndarray, "draws"]) -> float:
    """Return the standard deviation of draws, with far ones clipped at five robust deviations
    (unless most are equal, as at a bound); NaN for fewer than two."""
    if len(gap) < 2:
        return math.nan
    gap, limit = (
        np.clip(gap, -LOG_INFINITE, LOG_INFINITE),
        5 * float(_spread(np.clip(gap, -LOG_INFINITE, LOG_INFINITE))),
    )
    centre = float(np.median(gap))
    clipped = np.clip(gap, centre - limit, centre + limit) if limit > 0 else gap
    return float(clipped.std(ddof=1))


def _exp(x: float) -> float:
    return math.exp(x) if x < 709 else x if math.isnan(x) else math.inf


def _resolution(trial: Trial) -> float:
    """Return the smallest difference of two errors that is not rounding."""
    log = trial.options.noise.scale == "log"
    size = 1.0 if log else float(np.median(np.abs(trial.problems[0].target)))
    return RESOLUTION * size
