"""The universal law along training: one tail and tolerance for all groups, rho a power of x.

In the hard-tail model all that training changes is rho, the bias over the noise (Levi 2026, arXiv
2601.03764), so the groups of one task share beta and r and differ in rho alone:

symbol      meaning
constant    rho is the same for all groups
universal   rho = rho0 (x/x0)**-rate, so that the exponent of a window is F(rho(x))
free        each group has a rho of its own: what any law of rho may reach at best
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
from jaxtyping import Float
from scipy import special

from kleiber.attempts.batch import Batch
from kleiber.attempts.family import Coordinates, Family, differenced
from kleiber.attempts.newton import Peak, maximise
from kleiber.attempts.trend import ExponentCurve, Finding, Trend
from kleiber.fitting.spread.intervals import Interval

ALPHA = 0.05
TRIED, WIDEST = 6, 1.0  # rates on either side, and how far they go


def _spread(v: np.ndarray, z: np.ndarray, name: str) -> np.ndarray:
    """Coordinates (log beta, log r, log rho) of each group, (rows, groups, 3)."""
    rows, groups = len(v), len(z)
    out = np.empty((rows, groups, 3))
    out[..., :2] = v[:, None, :2]
    out[..., 2] = v[:, 2:3]
    if name == "universal":
        out[..., 2] -= v[:, 3:4] * z
    elif name == "free":
        out[..., 2] = v[:, 2:]
    return out


def _pooled(family: Family, batch: Batch, z: np.ndarray, name: str) -> Family:
    """A family of one group: all groups' likelihoods together, by the shared parameters."""
    groups = len(z)
    free = {"constant": 1, "universal": 2, "free": groups}[name]
    low, high = np.array(family.low), np.array(family.high)

    def value(v: Coordinates, _: Batch) -> np.ndarray:
        u = np.clip(_spread(v, z, name), low, high).reshape(-1, 3)
        each = family.value(u, batch.take(np.tile(np.arange(groups), len(v))))
        return each.reshape(len(v), groups).sum(1)

    rate = [(-4.0, 4.0)] if name == "universal" else []
    ends = [*zip(low[:2], high[:2], strict=True), *[(low[2], high[2])] * (free - len(rate)), *rate]
    return replace(
        family,
        value=value,
        score=differenced(value, 4e-2),
        low=tuple(a for a, _ in ends),
        high=tuple(b for _, b in ends),
        limits={},
    )


def _fitted(family: Family, batch: Batch, z: np.ndarray, name: str, start: np.ndarray) -> Peak:
    pooled = _pooled(family, batch, z, name)
    return maximise(pooled, batch.take(np.array([0])), start=start[None], most=60)


def fit_shared(
    family: Family,
    batch: Batch,
    u: Coordinates,
    x: Float[np.ndarray, "groups"],
    along: str,
    names: tuple[str, ...],
    level: float,
) -> Trend:
    """The curves, and whether rho falls along the column."""
    x0 = float(np.exp(np.log(x).mean()))
    z = np.log(x / x0)
    middle = np.median(u, axis=0)
    starts = {"constant": middle, "universal": np.array([*middle, 0.1]),
              "free": np.array([*middle[:2], *np.full(len(x), middle[2])])}  # fmt: skip
    peaks = {name: _fitted(family, batch, z, name, start) for name, start in starts.items()}
    curves = {
        name: _curve(name, peak, x0, int(batch.problems.sum())) for name, peak in peaks.items()
    }
    rise = max(0.0, 2 * float(peaks["universal"].value[0] - peaks["constant"].value[0]))
    p = float(special.chdtrc(1, rise))
    top = peaks["universal"]
    t = float(special.ndtri(0.5 + level / 2))
    fall = float(top.u[0, 3])
    rate = _rate_ends(family, batch, z, top, t * t)
    way = "falls" if fall > 0 else "grows"
    growth = Finding(
        p < ALPHA, rise, p, rate,
        f"rho {way} along {along}" + (", so the exponent grows" if way == "falls" else "")
        if p < ALPHA else f"these counts do not say whether rho falls along {along}",
    )  # fmt: skip
    beta, error = float(top.u[0, 0]), _error(top, 0)
    lack = max(0.0, 2 * float(peaks["free"].value[0] - top.value[0]))
    chance = float(special.chdtrc(max(len(x) - 2, 1), lack))
    saturation = Finding(
        chance >= ALPHA, lack, chance,
        Interval(float(np.exp(beta - t * error)), float(np.exp(beta + t * error))),
        "one beta and one power of the column for rho describe all groups, so the exponent "
        "saturates at beta" if chance >= ALPHA
        else "groups differ by more than one power of the column for rho allows",
    )  # fmt: skip
    each = np.exp(peaks["free"].u[0, 2:])
    best = min(curves.values(), key=lambda curve: curve.aicc).name
    return Trend(
        along, names, tuple(x), dict(zip(names, map(float, each), strict=True)), curves, best,
        growth, saturation,
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


def _rate_ends(family: Family, batch: Batch, z: np.ndarray, top: Peak, drop: float) -> Interval:
    """Profile-likelihood interval of the rate, from a few rates on either side at once."""
    offsets = WIDEST * np.linspace(0, 1, TRIED + 1) ** 2
    start = np.tile(top.u[0], (2 * TRIED, 1))
    start[:, 3] += np.concatenate([-offsets[1:], offsets[1:]])
    pooled = _pooled(family, batch, z, "universal")
    rows = batch.take(np.zeros(2 * TRIED, int))
    peak = maximise(pooled, rows, start=start, most=25, held=(3,))
    falls = np.maximum(2 * (top.value[0] - peak.value), 0).reshape(2, TRIED)
    ends: list[float] = []
    for sign, fall in zip((-1, 1), falls, strict=True):
        root = np.sqrt(np.maximum.accumulate(np.concatenate([[0.0], fall])))
        end = cast("float", np.interp(np.sqrt(drop), root, offsets, right=np.inf))
        ends.append(float(top.u[0, 3]) + sign * float(end))
    return Interval(ends[0], ends[1])


def _error(peak: Peak, index: int) -> float:
    """Standard error of one shared parameter, the others free."""
    values, vectors = np.linalg.eigh(-peak.hessian[0])
    return float(np.sqrt((vectors[index] ** 2 / np.maximum(values, 1e-2)).sum()))
