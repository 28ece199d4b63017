"""The universal law along training: all groups share tail and tolerance, and rho is a power of x.

In the hard-tail model all that training changes is rho, the bias over the noise (Levi 2026, arXiv
2601.03764), so the groups of one task share beta and r and differ in rho alone:

symbol      meaning
constant    rho is the same for all groups
universal   rho = rho0 (x/x0)**-rate, so that the exponent of a window is F(rho(x))
free        each group has a rho of its own: what any law of rho may reach at best
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import numpy as np
from scipy import special

from kleiber.attempts.batch import Batch
from kleiber.attempts.family import Coordinates, Family, finite_difference_score
from kleiber.attempts.findings import Series, find_scatter
from kleiber.attempts.growth import ALPHA, Ratio, Scatter, measure_scatter
from kleiber.attempts.newton import Peak, maximise
from kleiber.attempts.tied import Tie, sandwich, widen
from kleiber.attempts.trend import ExponentCurve, Finding, Trend
from kleiber.fitting.spread.intervals import Interval

RATES_PER_SIDE, MAX_RATE_OFFSET = 6, 1.0  # of a profile


def _group_coordinates(v: np.ndarray, z: np.ndarray, name: str) -> np.ndarray:
    """Return the coordinates (log beta, log r, log rho) of each group: (rows, groups, 3)."""
    rows, groups = len(v), len(z)
    out = np.empty((rows, groups, 3))
    out[..., :2] = v[:, None, :2]
    out[..., 2] = v[:, 2:3]
    if name == "universal":
        out[..., 2] -= v[:, 3:4] * z
    elif name == "free":
        out[..., 2] = v[:, 2:]
    return out


def _pooled_family(family: Family, batch: Batch, z: np.ndarray, name: str) -> Family:
    """Return the sum of all groups' log-likelihoods, by the shared parameters, as a family of one
    group."""
    groups = len(z)
    free = {"constant": 1, "universal": 2, "free": groups}[name]
    low, high = np.array(family.low), np.array(family.high)

    def value(v: Coordinates, _: Batch) -> np.ndarray:
        u = np.clip(_group_coordinates(v, z, name), low, high).reshape(-1, 3)
        each = family.value(u, batch.take(np.tile(np.arange(groups), len(v))))
        return each.reshape(len(v), groups).sum(1)

    rate = [(-4.0, 4.0)] if name == "universal" else []
    ends = [*zip(low[:2], high[:2], strict=True), *[(low[2], high[2])] * (free - len(rate)), *rate]
    return replace(
        family,
        value=value,
        score=finite_difference_score(value, 4e-2),
        low=tuple(a for a, _ in ends),
        high=tuple(b for _, b in ends),
        limits={},
    )


def _fit_curve(family: Family, batch: Batch, z: np.ndarray, name: str, start: np.ndarray) -> Peak:
    pooled = _pooled_family(family, batch, z, name)
    return maximise(pooled, batch.take(np.array([0])), start=start[None], max_iterations=60)


def fit_shared(one: Series, along: str, names: tuple[str, ...], level: float) -> Trend:
    """Fit the curves and test whether rho falls along the column."""
    family, batch, u, x = one.family, one.batch, one.peak.u, one.x
    x0 = float(np.exp(np.log(x).mean()))
    z = np.log(x / x0)
    middle = np.median(u, axis=0)
    starts = {"constant": middle, "universal": np.array([*middle, 0.1]),
              "free": np.array([*middle[:2], *np.full(len(x), middle[2])])}  # fmt: skip
    peaks = {name: _fit_curve(family, batch, z, name, start) for name, start in starts.items()}
    curves = {
        name: _curve(name, peak, x0, int(batch.problems.sum())) for name, peak in peaks.items()
    }
    universal = peaks["universal"]
    ratio, scatter = _weigh(one, z, peaks)
    rate = _rate_ends(family, batch, z, universal, float(ratio.drop(level)[0]))
    growth = _growth(float(universal.u[0, 3]), ratio, rate, along)
    beta, error = float(universal.u[0, 0]), _error(universal, 0)
    t = float(special.ndtri(0.5 + level / 2))
    departure = find_scatter(scatter)
    saturation = Finding(
        not departure.seen, departure.likelihood_ratio, departure.p_value,
        Interval(float(np.exp(beta - t * error)), float(np.exp(beta + t * error))),
        "groups differ by more than one power of the column for rho allows" if departure.seen
        else "one beta and one power of the column for rho describe all groups, and by this law "
        "the exponent saturates at beta",
        "cannot be told", float(np.exp(beta)),
    )  # fmt: skip
    each = np.exp(peaks["free"].u[0, 2:])
    best = min(curves.values(), key=lambda curve: curve.aicc).name
    return Trend(
        along, names, tuple(x.tolist()), dict(zip(names, map(float, each), strict=True)), curves,
        best, growth, saturation, departure,
    )  # fmt: skip


def _weigh(one: Series, z: np.ndarray, peaks: Mapping[str, Peak]) -> tuple[Ratio, Scatter]:
    """Return the likelihood ratio of universal to constant, and the scatter of the groups about the
    universal law, by the rule of all families (``growth``)."""
    groups = len(z)
    low, high = ((end,) * groups for end in (one.family.low[2], one.family.high[2]))
    tie = Tie("free", lambda q: q, low, high, groups, 3, axis=2, shared=True)
    u = _group_coordinates(peaks["universal"].u, z, "universal")
    wide = widen(one.batch, groups)
    halves = sandwich(one.family, tie, tie.start(u[..., 2], u), wide, one.places[None])
    level = np.ones((1, groups, 1))
    line = np.concatenate([level, z[None, :, None]], axis=2)
    gain = {name: 2 * (peaks[name].value - peaks["universal"].value) for name in peaks}
    scatter = measure_scatter(halves, gain["free"], line)
    problems = np.array([float((one.places >= 0).any(0).sum())])
    return scatter.ratio(-gain["constant"], halves.inflation(line, level).mean, problems), scatter


def _growth(fall: float, ratio: Ratio, rate: Interval, along: str) -> Finding:
    p, supported = float(ratio.p_value[0]), bool(ratio.p_value[0] < ALPHA)
    says = f"these counts do not say whether rho falls along {along}"
    if supported:
        says = f"rho {'falls' if fall > 0 else 'grows'} along {along}"
        says += ", so the exponent grows" if fall > 0 else ""
    verdict = "cannot be told" if not supported else "grows" if fall > 0 else "falls"
    return Finding(
        supported, max(float(ratio.statistic[0]), 0.0), p, rate, says, verdict, fall,
        float(ratio.divisor[0]), float(ratio.degrees_of_freedom[0]),
    )  # fmt: skip


def _curve(name: str, peak: Peak, x0: float, problems: int) -> ExponentCurve:
    v, value = peak.u[0], float(peak.value[0])
    params = {"beta": float(np.exp(v[0])), "r": float(np.exp(v[1]))}
    if name != "free":
        params["rho0"] = float(np.exp(v[2]))
    if name == "universal":
        params |= {"rate": float(v[3]), "x0": x0}
    free = len(v)
    aicc = 2 * free - 2 * value + 2 * free * (free + 1) / max(problems - free - 1, 1)
    return ExponentCurve(name, params, 0.0, value, aicc)


def _rate_ends(
    family: Family, batch: Batch, z: np.ndarray, universal: Peak, drop: float
) -> Interval:
    """Return the profile-likelihood interval of the rate, from a few rates on either side at
    once."""
    offsets = MAX_RATE_OFFSET * np.linspace(0, 1, RATES_PER_SIDE + 1) ** 2
    start = np.tile(universal.u[0], (2 * RATES_PER_SIDE, 1))
    start[:, 3] += np.concatenate([-offsets[1:], offsets[1:]])
    pooled = _pooled_family(family, batch, z, "universal")
    rows = batch.take(np.zeros(2 * RATES_PER_SIDE, int))
    peak = maximise(pooled, rows, start=start, max_iterations=25, fixed=(3,))
    falls = np.maximum(2 * (universal.value[0] - peak.value), 0).reshape(2, RATES_PER_SIDE)
    ends: list[float] = []
    for sign, fall in zip((-1, 1), falls, strict=True):
        root = np.sqrt(np.maximum.accumulate(np.concatenate([[0.0], fall])))
        end = cast("float", np.interp(np.sqrt(drop), root, offsets, right=np.inf))
        ends.append(float(universal.u[0, 3]) + sign * float(end))
    return Interval(ends[0], ends[1])


def _error(peak: Peak, index: int) -> float:
    """Return the standard error of one shared parameter, the others free."""
    values, vectors = np.linalg.eigh(-peak.hessian[0])
    return float(np.sqrt((vectors[index] ** 2 / np.maximum(values, 1e-2)).sum()))
