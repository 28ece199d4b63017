"""The probability that k independent trials all fail if their success rate varies between cases.

A case has a precision t > 0 and a bias b = rho g, g standard normal; a trial succeeds when
|b + z/sqrt(t)| <= band for a fresh standard normal z. With q(v, w) of ``band.py``,
v = band sqrt(t) and w = |b| sqrt(t), and lam = -log(1 - q) of a case,

    failure(k) = E (1 - q)^k = E exp(-k lam) = int F(lam) k exp(-k lam) dlam,  F = P(lam' <= lam),

so that one table of F serves every k. Cases with the centred band already below lam have
t <= t0(lam) (they are hard at any bias); the others need a bias beyond the level curve of
`band.offset`:

    F(lam) = P(t <= t0) + int_{t > t0} P(t in dt) erfc(w(t, lam)/(rho sqrt(2 t))).

Both integrals are trapezoids on the whole line after a substitution that makes the integrand
decay exponentially or faster at both ends and leaves it analytic in a strip, log lam and
log(t - t0); their error falls exponentially with the number of nodes (Trefethen and Weideman
2014). Everything is summed as exp(log - largest log), so that deep tails do not underflow.

`law` says how t is distributed: "gamma" (shape a, rate 1), "bounded" (density a t^(a-1) on (0, 1])
or "fixed" (t = 1).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.special import erfcx, gammainc, gammaln, log_ndtr

from kleiber.systems.hard_tail import band

Array = Float[np.ndarray, "..."]
PrecisionLaw = Literal["gamma", "bounded", "fixed"]
UNBIASED = 1e-100  # rho up to this counts as 0
LARGEST = 600.0  # lam beyond which a case fails with less than exp(-600), taken as 0
END = 30.0  # tails are cut at exp(-END) of the largest term
SPREAD_START, LOWEST_START = 2.0, 10.0  # distances below log t0 at which the nodes begin to spread
STEEPEST = 1e6  # larger powers of lam are not resolved: such an F is a step
STEP = 0.15  # of log lam, at most
LARGEST_K = 1e15  # trials
PEAK = 0.5  # of the width of the narrowest peak, at most, for the steps of both integrals
CELLS = 2 * 10**6  # pairs of attempts and levels computed at a time


@dataclass(frozen=True)
class Mixture:
    """The distribution of cases: law and shape of their precision, and half-width of the band."""

    law: PrecisionLaw
    shape: float
    band: float

    @property
    def hardest(self) -> float:
        """The largest lam a case can have."""
        if self.law == "gamma":
            return np.inf
        return float(-band.LOG2 - log_ndtr(-self.band))


@dataclass(frozen=True)
class Levels:
    """log F = log(intrinsic + biased) on a grid of log lam with its weights; `biased` by rho."""

    lam: Float[np.ndarray, "levels"]
    weights: Float[np.ndarray, "levels"]
    edge: float  # lam above which F is 1
    intrinsic: Float[np.ndarray, "levels"]
    biased: Float[np.ndarray, "rhos levels"]


@dataclass(frozen=True)
class Failure:
    """Logs of the failure probability in k trials, of its part without bias and of the remainder.

    `exponent` is the local exponent -dlog/dlog k of the total.
    """

    log_total: Float[np.ndarray, "rhos attempts"]
    log_intrinsic: Float[np.ndarray, "attempts"]
    log_biased: Float[np.ndarray, "rhos attempts"]
    exponent: Float[np.ndarray, "rhos attempts"]


def tabulate(
    mixture: Mixture,
    rhos: Float[np.ndarray, "rhos"],
    k: tuple[float, float],
    *,
    refine: float = 1.0,
) -> Levels:
    """Tabulate F for each rho >= 0 on the levels that attempts from k[0] >= 1 to k[1] need.

    `refine` divides the steps of both grids, to measure their error.
    """
    lam, weights = _levels(mixture, rhos, k, refine)
    lowest = band.half_width(lam) / mixture.band
    intrinsic = _log_below(mixture, lowest**2)
    biased = np.full((rhos.size, lam.size), -np.inf)
    positive = rhos > UNBIASED
    if positive.any():
        if mixture.law == "fixed":
            biased[positive] = _fixed(mixture, rhos[positive], lam)
        else:
            biased[positive] = _over_precision(
                mixture, rhos[positive], lam, lowest**2, k[1], refine
            )
    return Levels(lam, weights, mixture.hardest, intrinsic, biased)


def failure(levels: Levels, k: Float[np.ndarray, "attempts"]) -> Failure:
    """Compute the failure probabilities at k, within the range of attempts of the table."""
    size = max(1, CELLS // levels.lam.size)
    if k.size > size:
        parts = [failure(levels, k[at : at + size]) for at in range(0, k.size, size)]
        return Failure(
            *(
                np.concatenate([getattr(part, field.name) for part in parts], axis=-1)
                for field in fields(Failure)
            )
        )
    scaled = k[:, None] * levels.lam
    kernel = np.log(levels.weights * scaled) - scaled
    beyond = -k * levels.edge
    intrinsic = np.logaddexp(_log_sum(kernel + levels.intrinsic), beyond)
    total, biased, exponent = np.empty((3, len(levels.biased), k.size))
    for row, biased_levels in enumerate(levels.biased):
        biased[row] = _log_sum(kernel + biased_levels)
        total[row] = np.logaddexp(intrinsic, biased[row])
        share = np.exp(kernel + np.logaddexp(levels.intrinsic, biased_levels) - total[row, :, None])
        exponent[row] = (share * (scaled - 1)).sum(axis=-1)
        if np.isfinite(levels.edge):
            exponent[row] -= beyond * np.exp(beyond - total[row])
    return Failure(total, intrinsic, biased, exponent)


def find_crossover(levels: Levels) -> Float[np.ndarray, "rhos"]:
    """Find the first k with half of the failures due to bias, by bisection in log k."""
    cells: Array = np.linspace(0.0, float(np.log(LARGEST_K)), 140)

    table = _excess(levels, cells) > 0
    first = table.argmax(axis=1)
    out = np.where(first == 0, 1.0, np.inf)
    out[~table.any(axis=1)] = np.inf
    for row in np.flatnonzero(first > 0):
        low, high = float(cells[first[row] - 1]), float(cells[first[row]])
        one = replace(levels, biased=levels.biased[[row]])
        for _ in range(10):
            inner: Array = np.linspace(low, high, 9)
            cut = int((_excess(one, inner)[0] > 0).argmax())
            low, high = float(inner[max(cut - 1, 0)]), float(inner[max(cut, 1)])
        out[row] = np.exp((low + high) / 2)
    return out


def _excess(levels: Levels, log_k: Float[np.ndarray, "points"]) -> Float[np.ndarray, "rhos points"]:
    """Return the log of the bias part less that of the intrinsic part."""
    found = failure(levels, np.exp(log_k))
    return found.log_biased - found.log_intrinsic


def _levels(
    mixture: Mixture, rhos: Array, k: tuple[float, float], refine: float
) -> tuple[Array, Array]:
    """Return nodes lam and weights of dlog lam over the range in which exp(-k lam) changes."""
    power = 2 * mixture.shape  # F falls at most as lam to this power
    if mixture.law == "fixed" and (positive := rhos[rhos > UNBIASED]).size:
        wide = 1 + mixture.band + mixture.band**2 / 8
        power = min(wide / float(positive.min()) ** 2, STEEPEST)
    step = min(STEP, PEAK / np.sqrt(power + 1)) / refine
    largest = (power + 12 * np.sqrt(power) + 1.5 * END) / k[0]
    edge = min(mixture.hardest, LARGEST)
    low = min(-np.log(k[1]), np.log(edge)) - 3
    unbounded = mixture.law == "gamma"
    high = np.log(min(largest, LARGEST)) if unbounded or largest < edge else np.log(edge) + END
    z = np.arange(low - np.log(END) - 0.2, high + step, step)
    gap = np.exp(low - z)
    y, slope = z - gap, 1 + gap
    if unbounded:
        return np.exp(y), step * slope
    remaining = 1 / (1 + np.exp(y - np.log(edge)))  # of a logistic curve up to the edge
    return np.exp(y) * remaining, step * slope * remaining


def _log_below(mixture: Mixture, t0: Array) -> Array:
    """Return log P(t <= t0)."""
    if mixture.law == "fixed":
        return np.full(t0.size, -np.inf)
    a = mixture.shape
    if mixture.law == "bounded":
        return a * np.log(np.minimum(t0, 1))
    p = gammainc(a, t0)
    series = a * np.log(t0) - gammaln(a + 1) + np.log1p(-np.minimum(t0, 1e-6) * a / (a + 1))
    return np.where(t0 < 1e-8, series, np.log(np.where(p > 0, p, 1)))


def _fixed(mixture: Mixture, rhos: Array, lam: Array) -> Array:
    """Return log F if every case has precision 1."""
    w = np.sqrt(band.offset(np.full(lam.size, mixture.band), lam))
    return _log_erfc(w / (rhos[:, None] * np.sqrt(2)))


def _over_precision(
    mixture: Mixture, rhos: Array, lam: Array, t0: Array, last: float, refine: float
) -> Array:
    """Return the log of the integral over t > t0, for each rho (rows) and level (columns)."""
    a = mixture.shape
    start = np.log(t0) - SPREAD_START + np.clip(np.log(t0 * rhos.min() ** 2), -LOWEST_START, 0)
    floor = _log_below(mixture, t0)
    deep = 2 * a * max(-float(floor.min()) / (2 * a), 1)
    reach = min(2 * a * np.log(last + 10), 2 * np.sqrt(2 * np.log(last + 10)) / rhos.min())
    step = min(0.25, PEAK / np.sqrt(a + reach)) / refine
    z = np.arange(
        float(start.min()) - np.log(END) - 1,
        max(_end(mixture, deep), float(start.max())) + step,
        step,
    )
    level, node = np.nonzero(z >= start[:, None] - np.log(END) - 1)
    x = z[node] - (gap := np.exp(start[level] - z[node]))
    if mixture.law == "gamma":
        t = t0[level] + np.exp(x)
        density = (a - 1) * np.log(t) - t - gammaln(a) + x + np.log1p(gap)
    else:
        room = np.maximum(1 - t0, np.finfo(float).tiny)[level]
        x -= np.log(room)
        t = t0[level] + room / (1 + np.exp(-x))
        logistic = np.abs(x) + 2 * np.log1p(np.exp(-np.abs(x)))
        density = (a - 1) * np.log(t) + np.log(a * room) - logistic + np.log1p(gap)
    density += np.log(step)
    v = mixture.band * np.sqrt(t)
    w = np.sqrt(band.offset(v, lam[level]))
    ends = np.flatnonzero(np.diff(level, prepend=-1))
    out = np.empty((rhos.size, lam.size))
    for row, rho in enumerate(rhos):
        x = w / (rho * np.sqrt(2 * t))
        with np.errstate(over="ignore"):
            terms = density - x**2  # at least the logarithm of the integrand
        relevant = terms > floor[level] - 2 * END
        terms[relevant] += np.log(np.asarray(erfcx(x[relevant]), float))
        top = np.maximum.reduceat(terms, ends)
        out[row] = top + np.log(np.add.reduceat(np.exp(terms - top[level]), ends))
    return out


def _end(mixture: Mixture, deep: float) -> float:
    """Return the last node of the substituted precision."""
    if mixture.law == "bounded":
        return END + 2
    return np.log(deep + END + 8 * mixture.shape)


def _log_erfc(x: Array) -> Array:
    """Return log erfc(x) for x >= 0."""
    with np.errstate(over="ignore", divide="ignore"):
        return np.log(erfcx(x)) - x**2


def _log_sum(terms: Array) -> Array:
    """Return log sum exp over the last axis, -inf if all terms are."""
    top = terms.max(axis=-1)
    safe = np.where(np.isfinite(top), top, 0)
    total = np.exp(terms - safe[..., None]).sum(axis=-1)
    return np.where(total > 0, safe + np.log(np.where(total > 0, total, 1)), -np.inf)
