"""What the joint likelihood of a series says: growth, saturation and scatter, each with a sentence
and an interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from kleiber.attempts.batch import Batch
from kleiber.attempts.family import Family
from kleiber.attempts.growth import (
    ALPHA,
    Evidence,
    Grouping,
    Ratio,
    Scatter,
    curve_ties,
    fit_curves,
    profile_ends,
    weigh_evidence,
)
from kleiber.attempts.newton import Peak
from kleiber.attempts.tied import Tie, Wide, invert, widen
from kleiber.attempts.trend import Departure, Finding
from kleiber.fitting.spread.intervals import Interval

LARGE_FACTOR = 2.0  # change over the measured range that "no growth seen" excludes
FAR_LEVEL, FAR_SHARE = 3.5, 20.0  # of log plateau and of the logit of its share, from the estimate


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
    if at.curvature == 2:
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
    likelihood."""
    ratio, power, place = joint.found.growth, joint.peaks["power"], joint.at.series
    drop = float(ratio.drop(joint.level)[0])
    covariance = invert(-power.hessian)
    error = float(np.sqrt(covariance[0, place, place]))
    ends = profile_ends(
        joint.family, joint.ties["power"], joint.wide, power, place, drop, 3 * np.sqrt(drop) * error
    )
    rate = float(joint.found.rate[0])
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
    share = _share(joint, place)
    if of_plateau:
        value = float(np.exp(joint.peaks["saturating"].u[0, 0]))
        ends = np.exp(_profile(joint, 0, FAR_LEVEL))
    else:
        value, *ends = share
    says = "these counts do not say whether its growth slows down"
    if supported:
        says = (
            f"its growth slows down towards a plateau, of which {share[0]:.0%} [{share[1]:.0%}, "
            f"{share[2]:.0%}] is reached at {joint.x.max():.3g}"
        )
    elif p < ALPHA:
        says += ", as growth itself is not sure"
    return Finding(
        supported, max(float(ratio.statistic[0]), 0.0), p, Interval(float(ends[0]), float(ends[1])),
        says, "saturates" if supported else "cannot be told", value,
        float(ratio.divisor[0]), float(ratio.degrees_of_freedom[0]),
    )  # fmt: skip


def _share(joint: Joint, place: int) -> tuple[float, float, float]:
    """Return the share of the plateau that is reached at the last value, with its interval."""
    peak = joint.peaks["saturating"]
    low, high = special.expit(_profile(joint, place, FAR_SHARE))
    return float(special.expit(peak.u[0, place])), float(low), float(high)


def _profile(joint: Joint, index: int, far: float) -> tuple[float, float]:
    """Return the interval of a parameter of the saturating curve."""
    tie, peak = joint.ties["saturating"], joint.peaks["saturating"]
    params = len(tie.low)
    full = tie.jacobian(peak.u)[:, :, tie.axis, :params]
    inflation = joint.found.halves.inflation(full, np.delete(full, index, axis=2)).mean
    problems = np.array([float(joint.problems)])
    ratio = joint.found.scatter.ratio(np.zeros(1), inflation, problems)
    drop = float(ratio.drop(joint.level)[0])
    return profile_ends(joint.family, tie, joint.wide, peak, index, drop, far)


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
