"""Growth along training of several series (models) together.

Each series has a level of its own. Their rates are tied (one rate) unless the counts say that the
rates differ, or that the groups scatter about the curves; then the rate is random: series i has
rate_i ~ N(rate, spread^2), spread by restricted maximum likelihood, and the error of the mean is
that of Hartung and Knapp (2001), with as many degrees of freedom as series less one. In both the
errors are those of problems resampled whole, the same problems for all groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import special

from kleiber.attempts.findings import (
    Joint,
    Series,
    find_growth,
    find_saturation,
    find_scatter,
    fit_joint,
    growth_finding,
)
from kleiber.attempts.growth import ALPHA, Evidence, Grouping, Ratio
from kleiber.attempts.newton import Peak
from kleiber.attempts.scattered import regress
from kleiber.attempts.tied import Tie, invert
from kleiber.attempts.trend import Departure, Finding, summarise_finding
from kleiber.errors import BadTable, nearest
from kleiber.fitting.spread.intervals import Interval


@dataclass(frozen=True)
class SeriesRate:
    """The rate of one series by itself, with its interval, and its exponent ``level`` at x0."""

    value: float
    low: float
    high: float
    level: float


@dataclass(frozen=True)
class PooledTrend:
    """One law along a column for several series, such as models: the log exponent of each is
    level + rate log(x/x0).

    Attributes
    ----------
    along
        The column.
    groups, x
        The groups of all series that have two values of the column, and their values.
    x0
        The geometric mean of ``x``.
    series
        The rate of each series by itself, and its exponent at x0.
    rates
        ``"tied"``: one rate for all; ``"random"``: rates that differ, of which the mean is given.
    spread
        The standard deviation of random rates over series; 0 for tied ones.
    growth
        Whether the exponent grows, with the interval of the rate.
    saturation
        Whether the growth slows down, with the interval of the share of each series' plateau that
        is reached at the largest value; None where there are too few groups.
    differ
        Whether the rates of the series differ.
    scatter
        Whether the groups scatter about the curves.
    """

    along: str
    groups: tuple[str, ...]
    x: tuple[float, ...]
    x0: float
    series: Mapping[str, SeriesRate]
    rates: str
    spread: float
    growth: Finding
    saturation: Finding | None
    differ: Departure
    scatter: Departure

    def predict(self, series: str, x: object) -> Float[np.ndarray, "..."]:
        """Return the exponent of a series at values of the column, by the pooled rate."""
        if series not in self.series:
            raise BadTable(
                f"There is no series {series!r}; there are {', '.join(self.series)}."
                f"{nearest(series, self.series)}"
            )
        rate = self.growth.value or 0.0
        return np.asarray(self.series[series].level * (np.asarray(x, float) / self.x0) ** rate)

    def summary(self) -> str:
        """Return a few sentences that summarise the pooled law."""
        parts = [f"{len(self.series)} series together, {self.rates} rates"]
        parts.append(summarise_finding(self.growth, "rate"))
        if self.saturation is not None:
            parts.append(summarise_finding(self.saturation, "share of the plateau reached"))
        parts += [item.says for item in (self.differ, self.scatter) if item.seen]
        return "; ".join(parts)


def fit_pooled(
    one: Series, names: tuple[str, ...], along: str, level: float, groups: tuple[str, ...]
) -> PooledTrend:
    """Fit one law to the groups of several series, the ``names`` of each group's series."""
    distinct = list(dict.fromkeys(names))
    joint = fit_joint(one, np.array([distinct.index(name) for name in names]), along, level)
    rates = weigh_rates(joint.at, joint.ties, joint.peaks, joint.found)
    own, covariance = rates.value[0], rates.covariance[0]
    random, spread = bool(rates.random[0]), 0.0
    if random:
        growth, spread = _random_growth(joint, own, covariance)
    else:
        growth = find_growth(joint)
    saturation = find_saturation(joint, grows=growth.verdict == "grows", of_plateau=False)
    return PooledTrend(
        along, groups, tuple(one.x.tolist()), float(np.exp(np.log(one.x).mean())),
        _each(joint, distinct, own, covariance), "random" if random else "tied", spread,
        growth, saturation, _find_difference(rates), find_scatter(joint.found.scatter),
    )  # fmt: skip


@dataclass(frozen=True)
class Rates:
    """The rate of each series by itself, their covariance over problems, and the test whether they
    differ; ``random`` says whether they are taken as random."""

    value: Float[np.ndarray, "rows series"]
    covariance: Float[np.ndarray, "rows series series"]
    statistic: Float[np.ndarray, "rows"]
    p_value: Float[np.ndarray, "rows"]
    random: Bool[np.ndarray, "rows"]


def weigh_rates(
    at: Grouping, ties: Mapping[str, Tie], peaks: Mapping[str, Peak], found: Evidence
) -> Rates:
    """Return the rates of the series, for every row."""
    count, halves = at.series, found.halves
    own, power = (
        ties[name].jacobian(peaks[name].u)[:, :, 0, : count + more]
        for name, more in (("own", count), ("power", 1))
    )
    turned = np.swapaxes(own, 1, 2)
    naive = invert(turned @ halves.precision @ own)
    robust = naive @ turned @ halves.spread @ own @ naive
    statistic = np.maximum(2 * (peaks["own"].value - peaks["power"].value), 0.0)
    weights = halves.inflation(own, power)
    scaled = statistic / weights.mean * weights.count / (count - 1)
    p_value = np.asarray(special.chdtrc(weights.count, scaled))
    return Rates(
        peaks["own"].u[:, count : 2 * count], robust[:, count:, count:], statistic, p_value,
        (p_value < ALPHA) | found.scatter.seen,
    )  # fmt: skip


def _find_difference(rates: Rates) -> Departure:
    """Return whether the rates of the series differ, with a sentence."""
    p = float(rates.p_value[0])
    says = (
        f"the rates of the series differ (p = {p:.2g}), so their mean is given"
        if p < ALPHA
        else "no difference between the rates of the series is seen"
    )
    return Departure(p < ALPHA, float(rates.statistic[0]), p, says)


def _random_growth(
    joint: Joint, rates: Float[np.ndarray, "series"], covariance: Float[np.ndarray, "series series"]
) -> tuple[Finding, float]:
    """Return the mean of random rates as a finding, and the spread of the rates.

    The likelihood ratio of the finding is the square of the mean over its error.
    """
    mean, error, spread, _ = regress(rates, covariance, np.ones((len(rates), 1)))
    dof = float(len(rates) - 1)
    t = float(special.stdtrit(dof, 0.5 + joint.level / 2))
    ratio = Ratio(np.array([(mean / error) ** 2]), np.ones(1), np.array([dof]))
    ends = Interval(mean - t * error, mean + t * error)
    return growth_finding(mean, ratio, ends, joint.x, joint.along), spread


def _each(
    joint: Joint,
    names: list[str],
    rates: Float[np.ndarray, "series"],
    covariance: Float[np.ndarray, "series series"],
) -> dict[str, SeriesRate]:
    """Return the rate of each series, with intervals that rest on the sampling of problems."""
    t = float(special.stdtrit(joint.problems - 1, 0.5 + joint.level / 2))
    errors = t * np.sqrt(np.diag(covariance))
    levels = np.exp(joint.peaks["power"].u[0, : len(names)])
    return {
        name: SeriesRate(float(r), float(r - e), float(r + e), float(a))
        for name, r, e, a in zip(names, rates, errors, levels, strict=True)
    }
