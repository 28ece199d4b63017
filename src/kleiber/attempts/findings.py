"""What the joint likelihood of a series says: growth, saturation and scatter, each with a sentence
and an interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from kleiber.attempts.batch import Batch
from kleiber.attempts.family import Family
from kleiber.attempts.growth import (
    ALPHA,
    MAX_SHARE,
    Evidence,
    Grouping,
    Ratio,
    Scatter,
    curve_ties,
    fit_curves,
    profile_ends,
    weigh_evidence,
)
from kleiber.attempts.newton import Peak, maximise
from kleiber.attempts.tied import Tie, Wide, invert, tie_groups, widen
from kleiber.attempts.trend import Departure, Finding
from kleiber.fitting.spread.intervals import Interval

LARGE_FACTOR = 2.0  # change over the measured range that "no growth seen" excludes
LEAST_SHARE = -9.0  # logit of the share of a plateau below which the curve is the power
STEEP = 6.0  # rate over the range of z from which a search for a plateau starts too


@dataclass(frozen=True)
class Joint:
    """The joint likelihood of groups along a column: curves, their maxima, and the evidence."""

    family: Family
    wide: Wide
    at: Grouping
    ties: Mapping[str, Tie]
    peaks: Mapping[str, Peak]
    found: Evidence
    x: Float[np.ndarray, "groups"]
    problems: int
    along: str
    level: float


@dataclass(frozen=True)
class Series:
    """Groups along a column ``x``, with their own maxima ``peak``, and the cells of their problems
    (``place_problems``)."""

    family: Family
    batch: Batch
    peak: Peak
    places: Int[np.ndarray, "groups problems"]
    x: Float[np.ndarray, "groups"]


def fit_joint(one: Series, of: Int[np.ndarray, "groups"], along: str, level: float) -> Joint:
    """Fit the curves to the groups of one or several series, the series ``of`` each."""
    at = Grouping(np.log(one.x) - float(np.log(one.x).mean()), of)
    wide = widen(one.batch, len(one.batch))
    names = ["constant", "power"]
    if at.shared_parameters == 2:
        names.append("saturating")
    if at.series > 1:
        names.append("own")
    peaks = fit_curves(one.family, wide, at, one.peak, tuple(names))
    found = weigh_evidence(one.family, wide, at, one.peak, peaks, one.places[None])
    ties = curve_ties(at, one.peak.u.shape[1])
    problems = int((one.places >= 0).any(0).sum())
    return Joint(one.family, wide, at, ties, peaks, found, one.x, problems, along, level)


def find_growth(joint: Joint) -> Finding:
    """Return whether the exponent grows, with the interval of the rate by the profile of the joint
    likelihood, or by the regression where the groups scatter."""
    ratio, power, place = joint.found.growth, joint.peaks["power"], joint.at.series
    rate = float(joint.found.rate[0])
    if joint.found.scatter.seen[0]:
        half = abs(rate) * np.sqrt(ratio.drop(joint.level)[0] / ratio.statistic[0])
        ends = (rate - float(half), rate + float(half))
        return growth_finding(rate, ratio, Interval(*ends), joint.x, joint.along)
    drop = float(ratio.drop(joint.level)[0])
    covariance = invert(-power.hessian)
    error = float(np.sqrt(covariance[0, place, place]))
    ends = profile_ends(
        joint.family, joint.ties["power"], joint.wide, power, place, drop, 3 * np.sqrt(drop) * error
    )
    return growth_finding(rate, ratio, Interval(*ends), joint.x, joint.along)


def growth_finding(
    rate: float, ratio: Ratio, interval: Interval, x: np.ndarray, along: str
) -> Finding:
    """Return the finding on growth, with a sentence."""
    p = float(ratio.p_value[0])
    span = float(np.log(x.max() / x.min()))
    with np.errstate(over="ignore"):
        change = [float(np.exp(np.clip(r * span, -700, 700))) for r in (rate, *interval)]
    factor = f"by a factor of {change[0]:.3g} [{change[1]:.3g}, {change[2]:.3g}]"
    where = f"from {x.min():.3g} to {x.max():.3g}"
    supported = p < ALPHA
    if supported:
        verdict = "grows" if rate > 0 else "falls"
        says = f"the exponent {verdict} along {along}, {factor} {where}"
    else:
        small = change[2] < LARGE_FACTOR and change[1] > 1 / LARGE_FACTOR
        verdict = "no growth seen" if small else "cannot be told"
        says = (
            f"{'no growth seen: ' * small}these counts do not say whether the exponent grows along "
            f"{along} ({factor} {where})"
        )
    return Finding(
        supported, max(float(ratio.statistic[0]), 0.0), p, interval, says, verdict, rate,
        float(ratio.divisor[0]), float(ratio.degrees_of_freedom[0]),
    )  # fmt: skip


def find_saturation(joint: Joint, *, grows: bool, of_plateau: bool) -> Finding | None:
    """Return whether the growth slows down towards a plateau; None where groups are too few.

    The interval is that of the plateau, or of the share of it that is reached at the last value.
    """
    ratio, place = joint.found.saturation, joint.at.series + 1
    if ratio is None:
        return None
    p = float(ratio.p_value[0]) / 2
    supported = p < ALPHA and grows
    peak = joint.peaks["saturating"].u[0]
    reached = float(cast("float", special.expit(peak[place])))
    share = (reached, 0.0, 1.0)
    if supported or not of_plateau:
        share = (reached, *_share_ends(joint, place))
    says = "these counts do not say whether its growth slows down"
    if supported:
        says = (
            f"its growth slows down towards a plateau, of which {share[0]:.0%} [{share[1]:.0%}, "
            f"{share[2]:.0%}] is reached at {joint.x.max():.3g}"
        )
    elif p < ALPHA:
        says += ", as growth itself is not sure"
    value, ends = reached, share[1:]
    if of_plateau:
        value = float(np.exp(peak[0])) if peak[place] > LEAST_SHARE else np.inf
        ends = _plateau_ends(joint, place)
    return Finding(
        supported, max(float(ratio.statistic[0]), 0.0), p, Interval(ends[0], ends[1]), says,
        "saturates" if supported else "cannot be told", value, float(ratio.divisor[0]),
        float(ratio.degrees_of_freedom[0]),
    )  # fmt: skip


def _share_ends(joint: Joint, place: int) -> tuple[float, float]:
    """Return the interval of the share of the plateau that is reached at the last value."""
    last = _last_level(joint, place)
    t = np.linspace(-MAX_SHARE, MAX_SHARE, 25)
    low, high = _accepted(joint, place, t, {0: last + np.logaddexp(0, -t)})
    shares = special.expit([low, high])
    return (
        0.0 if low <= -MAX_SHARE else float(shares[0]),
        1.0 if high >= MAX_SHARE else float(shares[1]),
    )


def _plateau_ends(joint: Joint, place: int) -> tuple[float, float]:
    """Return the interval of the plateau of a single series, 0 or infinite where it does not
    end."""
    last = _last_level(joint, place)
    above = np.concatenate([np.linspace(-1.5, 1.0, 20), np.geomspace(1.2, 8.0, 10)])
    t = -np.log(np.expm1(np.maximum(above, 1e-3)))
    low, high = _accepted(joint, 0, last + above, {place: t})
    ends = np.exp([low, high])
    return (
        0.0 if low <= last + above[0] else float(ends[0]),
        np.inf if high >= last + above[-1] else float(ends[1]),
    )


def _last_level(joint: Joint, place: int) -> float:
    """Return the log exponent of the first series at the largest value, by the saturating curve."""
    peak = joint.peaks["saturating"].u[0]
    return float(peak[0] - np.logaddexp(0, -peak[place]))


def _accepted(
    joint: Joint,
    index: int,
    values: Float[np.ndarray, "values"],
    along: Mapping[int, Float[np.ndarray, "values"]],
) -> tuple[float, float]:
    """Return the range of values of a parameter of the saturating curve, others at their best,
    that the joint likelihood does not exclude; searches start from the values of ``along``."""
    tie, peak = joint.ties["saturating"], joint.peaks["saturating"]
    drop = float(joint.found.plateau.drop(joint.level)[0])
    start = np.tile(peak.u[0], (2 * len(values), 1))
    start[:, index] = np.tile(values, 2)
    for place, moved in along.items():
        shift = np.tile(moved, 2) - peak.u[0, place]
        start[:, place] = peak.u[0, place] + shift
        if place == 0:  # the levels of all series move together
            start[:, 1 : joint.at.series] += shift[:, None]
    start[len(values) :, joint.at.series] = STEEP / float(np.ptp(joint.at.z))
    law = tie_groups(joint.family, tie)
    start = np.clip(start, law.low, law.high)
    rows = joint.wide.take(np.zeros(len(start), int))
    found = maximise(law, rows, start=start, max_iterations=30, fixed=(index,)).value
    fall = 2 * (peak.value[0] - found.reshape(2, -1).max(0))
    return accepted_range(values, fall - drop)


def accepted_range(
    values: Float[np.ndarray, "values"], excess: Float[np.ndarray, "values"]
) -> tuple[float, float]:
    """Return the ends of the range where the excess is negative, on lines between the values."""
    inside = np.flatnonzero(excess <= 0)
    if not len(inside):
        inside = np.array([int(excess.argmin())])
    ends: list[float] = []
    for place, step in ((int(inside[0]), -1), (int(inside[-1]), 1)):
        beyond = place + step
        end = float(values[place])
        if 0 <= beyond < len(values):
            share = -excess[place] / max(float(excess[beyond] - excess[place]), 1e-12)
            end += float(np.clip(share, 0, 1)) * float(values[beyond] - values[place])
        ends.append(end)
    return ends[0], ends[1]


def find_scatter(scatter: Scatter) -> Departure:
    """Return whether the groups scatter about the curves, with a sentence."""
    seen, p = bool(scatter.seen[0]), float(scatter.p_value[0])
    says = "no scatter of the groups about the curve is seen"
    if not scatter.degrees_of_freedom[0]:
        says = "there are too few groups to see whether they scatter about the curve"
    elif seen:
        says = (
            "the groups scatter about the curve by more than the sampling of problems explains "
            f"(p = {p:.2g}), which is counted in"
        )
    return Departure(seen, max(float(scatter.statistic[0]), 0.0), p, says)
