"""A joint law over training and attempts: how the exponent depends on a training resource."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from scipy import special

from kleiber.attempts.batch import Batch, place_problems
from kleiber.attempts.curves import MEANS, CurveFit, Profiles, fit_curve
from kleiber.attempts.family import Family
from kleiber.attempts.findings import (
    Series,
    find_growth,
    find_saturation,
    find_scatter,
    fit_joint,
)
from kleiber.attempts.newton import Peak, maximise, take_peak
from kleiber.attempts.pooled import PooledTrend, fit_pooled
from kleiber.attempts.shared import fit_shared
from kleiber.attempts.table import Counts
from kleiber.attempts.trend import ExponentCurve, Trend
from kleiber.errors import BadTable

PROFILE_POINTS = 61  # of each group's profile likelihood of the exponent
REACH = 6.0  # standard errors that they span


def fit_along(
    family: Family,
    counts: Counts,
    batch: Batch,
    peak: Peak,
    usable: np.ndarray,
    along: str,
    level: float,
) -> tuple[Trend | dict[str, Trend], PooledTrend | None]:
    """Fit the joint law of each series of groups that differ in ``along`` alone, and of all series
    together.

    Where every other key has a single value of ``along`` (one size per model), all groups are one
    series. Raises BadTable unless a series has three distinct values.
    """
    x = counts.keys[along].to_numpy().astype(float)
    names, places = _series_names(counts, along), place_problems(counts)
    found: dict[str, Trend] = {}
    for name in dict.fromkeys(names):
        rows = np.flatnonzero((np.array(names) == name) & usable)
        if len(np.unique(x[rows])) >= 3:
            groups = tuple(counts.names[int(g)] for g in rows)
            one = Series(family, batch.take(rows), take_peak(peak, rows), places[rows], x[rows])
            found[name] = fit_series(one, along, level, groups)
    if not found:
        raise BadTable(
            f"A law along {along!r} needs at least 3 groups with different values of it whose "
            f"exponents can be fitted; the table has {int(usable.sum())} usable groups with "
            f"{len(np.unique(x))} values."
        )
    pooled = None
    if family.name != "lid":
        rows, of = _pooled_rows(names, x, usable)
        if len(set(of)) > 1:
            groups = tuple(counts.names[int(g)] for g in rows)
            all_series = Series(
                family, batch.take(rows), take_peak(peak, rows), places[rows], x[rows]
            )
            pooled = fit_pooled(all_series, of, along, level, groups)
    return (found["all"] if list(found) == ["all"] else found), pooled


def note_left_out(counts: Counts, batch: Batch, usable: np.ndarray, along: str) -> tuple[str, ...]:
    """Return a note on the groups that have no exponent, and so no part in the law."""
    rows = np.flatnonzero(~usable)
    if not len(rows):
        return ()
    unsolved = int((batch.solved[rows] == 0).sum())
    why = f", {unsolved} of them because nothing was solved" if unsolved else ""
    return (
        f"{len(rows)} of {len(usable)} groups have no exponent{why}: the law along {along} says "
        "nothing about them.",
    )


def _series_names(counts: Counts, along: str) -> list[str]:
    """Return the series of each group: its keys other than ``along``, or "all"."""
    others = [name for name in counts.keys.columns if name != along]
    if not others:
        return ["all"] * counts.keys.height
    names = [", ".join(str(v) for v in row) for row in counts.keys.select(others).rows()]
    return ["all"] * len(names) if len(set(names)) == len(names) else names


def _pooled_rows(
    names: list[str], x: np.ndarray, usable: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the usable groups of series with at least two values, and the series of each."""
    each = np.array(names)
    enough = [n for n in dict.fromkeys(names) if len(np.unique(x[(each == n) & usable])) > 1]
    rows = np.flatnonzero(usable & np.isin(each, enough))
    return rows, tuple(names[g] for g in rows)


def fit_series(one: Series, along: str, level: float, groups: tuple[str, ...]) -> Trend:
    """Fit every curve to one series, and test for growth and for saturation."""
    if one.family.name == "lid":
        return fit_shared(one, along, groups, level)
    count, problems = len(one.x), int(one.batch.problems.sum())
    profiles = profile_exponent(one)
    fits = {name: fit_curve(name, profiles) for name in ("constant", "power")}
    if count > 3:
        fits["saturating"] = fit_curve("saturating", profiles)
    if count > 5:  # contains the saturating curve, from which it also starts
        start = np.insert(fits["saturating"].q, 3, 6.0).tolist()
        fits["offset"] = fit_curve("offset", profiles, start)
    curves = {name: _curve(made, profiles.x0, problems) for name, made in fits.items()}
    best = min(curves.values(), key=lambda curve: curve.aicc).name
    joint = fit_joint(one, np.zeros(count, int), along, level)
    growth = find_growth(joint)
    saturation = find_saturation(joint, grows=growth.verdict == "grows", of_plateau=True)
    exponents = dict(zip(groups, _posterior(profiles, fits[best]), strict=True))
    return Trend(
        along, groups, tuple(one.x.tolist()), exponents, curves, best, growth, saturation,
        find_scatter(joint.found.scatter),
    )  # fmt: skip


def profile_exponent(one: Series) -> Profiles:
    """Return each group's profile log-likelihood of the log exponent (coordinate 0 of every
    family)."""
    family, peak, x = one.family, one.peak, one.x
    curvature = -peak.hessian
    curvature = curvature + 1e-3 * np.eye(curvature.shape[1])
    error = np.sqrt(np.clip(np.linalg.inv(curvature)[:, 0, 0], 1e-4, 1.0))
    s = peak.u[:, :1] + error[:, None] * np.linspace(-REACH, REACH, PROFILE_POINTS)
    again = np.repeat(np.arange(len(x)), PROFILE_POINTS)
    start = peak.u[again]
    start[:, 0] = np.clip(s.ravel(), family.low[0], family.high[0])
    found = maximise(family, one.batch.take(again), start=start, max_iterations=40, fixed=(0,))
    value = found.value.reshape(s.shape)
    return Profiles(x, float(np.exp(np.log(x).mean())), s, value - value.max(1, keepdims=True))


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
