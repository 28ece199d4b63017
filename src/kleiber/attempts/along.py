"""A joint law over training and attempts: how the exponent depends on a training resource."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from jaxtyping import Float
from scipy import special

from kleiber.attempts.batch import Batch
from kleiber.attempts.curves import MEANS, CurveFit, Profiles, fit_curve, profile_interval
from kleiber.attempts.family import Family
from kleiber.attempts.newton import Peak, maximise
from kleiber.attempts.shared import fit_shared
from kleiber.attempts.table import Counts
from kleiber.attempts.trend import ExponentCurve, Finding, Trend
from kleiber.errors import BadTable
from kleiber.fitting.spread.intervals import Interval

PROFILE_POINTS = 61  # of each group's profile likelihood of the exponent
REACH = 6.0  # standard errors that they span
ALPHA = 0.05


def fit_along(
    family: Family,
    counts: Counts,
    batch: Batch,
    peak: Peak,
    usable: np.ndarray,
    along: str,
    level: float,
) -> Trend | dict[str, Trend]:
    """Fit the joint law of each series of groups that differ in ``along`` alone.

    Where every other key has a single value of ``along`` (one size per model), all groups are one
    series. Raises BadTable unless a series has three distinct values.
    """
    x = counts.keys[along].to_numpy().astype(float)
    others = [name for name in counts.keys.columns if name != along]
    names = ["all"] * len(x)
    if others:
        names = [", ".join(str(v) for v in row) for row in counts.keys.select(others).rows()]
    if len(set(names)) == len(names):
        names = ["all"] * len(x)
    found: dict[str, Trend] = {}
    for name in dict.fromkeys(names):
        rows = np.flatnonzero(np.array([n == name for n in names]) & usable)
        if len(np.unique(x[rows])) < 3:
            continue
        selected, groups = batch.take(rows), tuple(counts.names[g] for g in rows)
        if family.name == "lid":
            found[name] = fit_shared(family, selected, peak.u[rows], x[rows], along, groups, level)
        else:
            profiles = profile_exponent(family, selected, peak, rows, x[rows])
            found[name] = fit_trend(profiles, along, level, groups, int(selected.problems.sum()))
    if not found:
        raise BadTable(
            f"A law along {along!r} needs at least 3 groups with different values of it whose "
            f"exponents can be fitted; the table has {int(usable.sum())} usable groups with "
            f"{len(np.unique(x))} values."
        )
    return found["all"] if list(found) == ["all"] else found


def profile_exponent(
    family: Family, batch: Batch, peak: Peak, rows: np.ndarray, x: Float[np.ndarray, "groups"]
) -> Profiles:
    """Return each group's profile log-likelihood of the log exponent (coordinate 0 of every
    family)."""
    curvature = -peak.hessian[rows]
    curvature = curvature + 1e-3 * np.eye(curvature.shape[1])
    error = np.sqrt(np.clip(np.linalg.inv(curvature)[:, 0, 0], 1e-4, 1.0))
    s = peak.u[rows, :1] + error[:, None] * np.linspace(-REACH, REACH, PROFILE_POINTS)
    again = np.repeat(np.arange(len(rows)), PROFILE_POINTS)
    start = peak.u[rows][again]
    start[:, 0] = np.clip(s.ravel(), family.low[0], family.high[0])
    found = maximise(family, batch.take(again), start=start, max_iterations=40, fixed=(0,))
    value = found.value.reshape(s.shape)
    return Profiles(x, float(np.exp(np.log(x).mean())), s, value - value.max(1, keepdims=True))


def fit_trend(
    profiles: Profiles, along: str, level: float, groups: tuple[str, ...], problems: int
) -> Trend:
    """Fit every curve, and test for growth and for saturation."""
    count = len(profiles.x)
    fits = {name: fit_curve(name, profiles) for name in ("constant", "power")}
    if count > 3:
        fits["saturating"] = fit_curve("saturating", profiles)
    if count > 5:  # contains the saturating curve, from which it also starts
        start = np.insert(fits["saturating"].q, 3, 6.0).tolist()
        fits["offset"] = fit_curve("offset", profiles, start)
    curves = {name: _curve(made, profiles.x0, problems) for name, made in fits.items()}
    best = min(curves.values(), key=lambda curve: curve.aicc).name
    growth = _growth(fits["constant"], fits["power"], along, count - 2, level)
    saturation = None
    if "saturating" in fits:
        saturation = _saturation(fits["power"], fits["saturating"], max(count - 3, 1), level)
    exponents = dict(zip(groups, _posterior(profiles, fits[best]), strict=True))
    return Trend(
        along, groups, tuple(profiles.x.tolist()), exponents, curves, best, growth, saturation
    )


def _growth(
    constant: CurveFit, power: CurveFit, along: str, degrees_of_freedom: int, level: float
) -> Finding:
    statistic = max(0.0, 2 * (power.value - constant.value))
    p = _p_value(statistic, degrees_of_freedom)
    rate = Interval(*profile_interval(power, 1, _likelihood_drop(level, degrees_of_freedom), 3.0))
    verb = "grows" if power.q[1] > 0 else "falls"
    says = (
        f"the exponent {verb} along {along}"
        if p < ALPHA
        else f"these counts do not say whether the exponent grows along {along}"
    )
    return Finding(p < ALPHA, statistic, p, rate, says)


def _saturation(
    power: CurveFit, saturating: CurveFit, degrees_of_freedom: int, level: float
) -> Finding:
    statistic = max(0.0, 2 * (saturating.value - power.value))
    p = 0.5 * _p_value(statistic, degrees_of_freedom)  # power lies at the edge of saturating
    low, high = profile_interval(saturating, 0, _likelihood_drop(level, degrees_of_freedom), 3.5)
    says = (
        "its growth slows down towards a plateau"
        if p < ALPHA
        else "these counts do not say whether its growth slows down"
    )
    return Finding(p < ALPHA, statistic, p, Interval(float(np.exp(low)), float(np.exp(high))), says)


def _likelihood_drop(level: float, degrees_of_freedom: int) -> float:
    return float(special.stdtrit(max(degrees_of_freedom, 1), 0.5 + level / 2)) ** 2


def _p_value(statistic: float, degrees_of_freedom: int) -> float:
    """Return the p-value of a likelihood ratio, by Student's t."""
    return 2 * float(cast("float", special.stdtr(max(degrees_of_freedom, 1), -np.sqrt(statistic))))


def _curve(made: CurveFit, x0: float, problems: int) -> ExponentCurve:
    q, free = made.q, len(made.q)
    aicc = 2 * free - 2 * made.value + 2 * free * (free + 1) / max(problems - free - 1, 1)
    size = float(np.exp(q[0]))
    saturates = made.name in ("saturating", "offset")
    params = {"beta" if saturates else "a": size}
    if made.name != "constant":
        params["rate"] = float(q[1])
    if made.name == "power":
        params["x0"] = x0
    if saturates:
        params["x_half"] = float(x0 * np.exp(q[2]))
        part = cast("float", special.expit(q[3])) if made.name == "offset" else 1.0
        params["Delta"] = size * float(part)
    return ExponentCurve(made.name, params, float(np.exp(q[-1])), made.value, float(aicc))


def _posterior(profiles: Profiles, made: CurveFit) -> list[float]:
    """Return each group's posterior mean exponent, given its counts and the curve."""
    mean = MEANS[made.name](made.q[None, :-1], profiles.z)[0]
    step: Any = np.gradient(profiles.s, axis=1)
    tau = np.maximum(np.exp(made.q[-1]), np.median(step, axis=1))[:, None]
    weight = profiles.value - 0.5 * ((profiles.s - mean[:, None]) / tau) ** 2
    with np.errstate(under="ignore"):
        weight = np.exp(weight - weight.max(1, keepdims=True)) * step
    return [float(x) for x in np.exp((weight * profiles.s).sum(1) / weight.sum(1))]
