"""The saddle point of the perceptron's replica theory, for many norms at once.

Symbols as in ``perceptron.py``. For a margin t without the example itself, the margin with it is
D = t + g, where g = x (1 - tanh z) and z = lambda D. The two equations are

    (S1)  delta^2 = 2 alpha Int Dt Phi(R t/delta) g^2
    (S2)  R = alpha sqrt(2/pi) Int Du g(delta u)

Three choices make them cheap and safe for every norm:

- The integrals run over w = z - z_0, where z_0 = lambda g_0 and g_0 = g(t = 0). Then
  g = g_0/(s_- + s_+ e^(2w)), s_+- = 1/(1 + exp(-+2 z_0)), and t = w/lambda + g_0 - g need no root.
- The unknowns are p = log(delta/R) and v = log g_0, both of order one, whereas x itself grows as
  exp(2 lambda kappa), beyond any float.
- Gauss-Legendre panels end where an integrand changes its scale: multiples of delta and of 1 in t,
  of 1 in z and in w. Rows have panels of their own, and Newton's method moves all rows together.

For alpha and lambda to infinity with ell = lambda/alpha, the same equations hold with alpha = 1,
t and delta in units of 1/alpha, R = 1 and the density of t flat (`limit`): the master curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float
from scipy.special import expit, ndtr

from kleiber.errors import NotConverged

Rows = Float[np.ndarray, "rows"]
Nodes = Float[np.ndarray, "rows nodes"]
Column = Float[np.ndarray, "rows 1"]
NODES = 12  # of a panel
BATCH = 128  # norms solved together
FAR = 9.5  # a Gaussian's end, in standard deviations
ENDS_DELTA = np.array([-FAR, -6, -4, -2.5, -1.2, 0, 1.2, 2.5, 4, 6.5, 10])  # panel ends: t/delta,
ENDS_T = np.array([1, 2.5, 4.5, 7, FAR])  # t,
ENDS_Z = np.array([-40, -20, -10, -5, -2.5, -1.2, 0, 1.2, 2.5])  # z
ENDS_W = np.array([-5, -3.5, -2.5, -1.5, -0.7, 0.7, 1.5, 2.5, 4, 6, 8.5, 12, 16, 20])  # and w
FLAT = (2 * np.pi) ** -0.5  # the density of t in the limit
TOLERANCE = 1e-11  # of both equations, relative
STEPS, LONGEST = 60, 1.0  # Newton steps, and the longest in p and v


@dataclass(frozen=True)
class Saddle:
    """The solution for each norm: p = log(delta/R) and v = log g_0, with the largest residual."""

    load: float
    norm: Rows
    p: Rows
    v: Rows
    limit: bool
    residual: float
    iterations: int

    @property
    def delta(self) -> Rows:
        """sqrt(1 - R^2); in the limit, alpha times that."""
        return _delta(self.p, self.limit)

    @property
    def overlap(self) -> Rows:
        """R = 1/sqrt(1 + e^(2p))."""
        return np.ones_like(self.p) if self.limit else (1 + np.exp(2 * self.p)) ** -0.5


@dataclass(frozen=True)
class Field:
    """The nodes of the integrals over w, one row a norm, with their weights dw.

    t is the margin without the example, g what it adds, slope = dt/dw, q = 1/(1 + e^(-2z)).
    """

    w: Nodes
    weight: Nodes
    t: Nodes
    g: Nodes
    q: Nodes
    slope: Nodes


@dataclass(frozen=True)
class Equations:
    """The logs of right over left side of (S1) and (S2), and their derivatives in p and v."""

    s1: Rows
    s2: Rows
    s1_p: Rows
    s1_v: Rows
    s2_p: Rows
    s2_v: Rows

    def step(self, s1: Rows, s2: Rows) -> tuple[Rows, Rows]:
        """Return Newton's steps of p and v for the residuals s1 and s2."""
        det = self.s1_p * self.s2_v - self.s1_v * self.s2_p
        dp, dv = self.s1_v * s2 - self.s2_v * s1, self.s2_p * s1 - self.s1_p * s2
        return dp / det, dv / det


def solve_saddle(load: float, norm: Rows, *, limit: bool = False) -> Saddle:
    """Solve for the saddle point at each norm to a relative 1e-11. Raises NotConverged.

    In the `limit` norm is ell = lambda/alpha, and load must be 1.
    """
    parts = [_newton(load, norm[i : i + BATCH], limit) for i in range(0, max(norm.size, 1), BATCH)]
    return Saddle(
        load,
        norm,
        np.concatenate([part.p for part in parts]),
        np.concatenate([part.v for part in parts]),
        limit,
        max(part.residual for part in parts),
        max(part.iterations for part in parts),
    )


def field(saddle: Saddle) -> Field:
    """Return the quadrature nodes at a solution, for averages over the examples."""
    return _field(saddle.p, saddle.v, saddle.norm, saddle.limit)


def density(saddle: Saddle, at: Field) -> Nodes:
    """Return 2 Phi(R t/delta) N(t) dt at the nodes: the weight of an example's margin t.

    Nodes end where g vanishes, so only averages of functions that vanish with g are accurate.
    """
    return 2 * ndtr(np.exp(-saddle.p)[:, None] * at.t) * _gauss(at.t) * at.slope * at.weight


def slopes(saddle: Saddle) -> Rows:
    """Return dlog error/dlog norm, by differentiating (S1) and (S2) at fixed load."""
    norm, p, at, delta = saddle.norm, saddle.p, field(saddle), saddle.delta[:, None]
    there = _equations(saddle.load, norm, p, saddle.v, saddle.limit)
    wide = (np.full_like(at.t, FLAT) if saddle.limit else _gauss(at.t)) * at.g**2 * at.weight
    wide = wide * ndtr(np.exp(-p)[:, None] * at.t)
    near = _gauss(at.t / delta) * at.g * at.weight
    fall = -2 * at.q * (at.t + at.g)  # of log g in log lambda at fixed x and t, times dt/dw
    s1 = 2 * (wide * fall).sum(1) / (wide * at.slope).sum(1)
    dp, _ = there.step(s1, (near * fall).sum(1) / (near * at.slope).sum(1))
    return dp if saddle.limit else dp * np.sin(2 * (angle := np.arctan(np.exp(p)))) / (2 * angle)


def fresh_loss(ratio: Rows, norm: Rows) -> Rows:
    """Return the mean of log(1 + e^(-2 lambda t)) over fresh examples.

    Their margin t has the density 2 Phi(ratio t) N(t), ratio = R/delta of either sign.
    """
    lam, delta = norm[:, None], (1 + ratio[:, None] ** 2) ** -0.5
    by_norm = np.array([-20, -8, -4, -2, -1, 1, 2, 4, 8, 20]) / (2 * lam)
    by_t = np.broadcast_to(np.concatenate([-ENDS_T, ENDS_T]), (norm.size, 2 * ENDS_T.size))
    ends = np.concatenate([delta * ENDS_DELTA, by_norm, by_t], axis=1)
    lowest = -FAR * np.where(ratio[:, None] > 0, delta, 1)
    t, weight = _panels(np.sort(np.clip(ends, lowest, np.minimum(FAR, 20 / lam)), axis=1))
    weighted_loss = ndtr(ratio[:, None] * t) * _gauss(t) * np.logaddexp(0, -2 * lam * t)
    return 2 * (weight * weighted_loss).sum(1)


def _newton(load: float, norm: Rows, limit: bool) -> Saddle:
    """Solve for (p, v) by Newton's method for every norm, each until it converges."""
    p, v = _start(load, norm, limit)
    remaining, active = np.full(norm.size, np.inf), np.arange(norm.size)
    for iteration in range(1, STEPS + 1):
        with np.errstate(all="ignore"):  # what is not finite does not converge
            there = _equations(load, norm[active], p[active], v[active], limit)
        remaining[active] = np.maximum(np.abs(there.s1), np.abs(there.s2))
        dp, dv = there.step(there.s1, there.s2)
        shrink = LONGEST / np.maximum(LONGEST, np.maximum(np.abs(dp), np.abs(dv)))
        p[active] += shrink * dp
        v[active] += shrink * dv
        active = active[~(remaining[active] <= TOLERANCE)]
        if active.size == 0:
            return Saddle(load, norm, p, v, limit, float(remaining.max()), iteration)
    worst = int(np.argmax(remaining))
    raise NotConverged(
        f"The saddle point at load {load:g} and norm {norm[worst]:g} was not found.",
        float(remaining[worst]),
        STEPS,
    )


def _start(load: float, norm: Rows, limit: bool) -> tuple[Rows, Rows]:
    """Return starting values: p between Hebb's value and a floor, v that of Hebb's rule."""
    if limit:
        return 0.5 * np.log(0.484 / norm + 2.0), np.full(norm.size, 0.1)
    hebb = 0.5 * np.log(np.pi / 2 / load)
    early = 1 / (1 + norm / 0.3)
    floor = 1 / (1 + 0.8 * load)
    delta = (1 + np.exp(-2 * hebb)) ** -0.5
    return hebb + 0.5 * np.log(early + floor), np.full(norm.size, np.log(delta / np.sqrt(load)))


def _equations(load: float, norm: Rows, p: Rows, v: Rows, limit: bool) -> Equations:
    """Evaluate the equations and their derivatives at p and v."""
    at, h, delta = _field(p, v, norm, limit), np.exp(-p)[:, None], _delta(p, limit)
    sin2, cos2 = (np.zeros_like(p), np.ones_like(p)) if limit else (expit(2 * p), expit(-2 * p))
    g0 = np.exp(v)
    growth = 1 / norm + 2 * g0 * expit(2 * norm * g0)  # of dg/dv at fixed t, times dt/dw over g
    near = _gauss(at.t / delta[:, None]) * at.g * at.weight / delta[:, None]
    wide = (np.full_like(at.t, FLAT) if limit else _gauss(at.t)) * at.g**2 * at.weight
    s1 = (wide * ndtr(h * at.t) * at.slope).sum(1)
    s2 = (near * at.slope).sum(1)
    s1_by_p = -(wide * _gauss(h * at.t) * h * at.t * at.slope).sum(1)
    s2_by_p = -(near * at.t * 2 * at.q).sum(1)
    return Equations(
        np.log(2 * load * s1 / delta**2),
        np.log(load * np.sqrt(2 / np.pi) * s2) - 0.5 * np.log(cos2),
        s1_by_p / s1 - 2 * cos2,
        2 * growth * (wide * ndtr(h * at.t)).sum(1) / s1,
        cos2 * s2_by_p / s2 + sin2,
        growth * near.sum(1) / s2,
    )


def _field(p: Rows, v: Rows, norm: Rows, limit: bool) -> Field:
    """Return the quadrature nodes of every row."""
    g0 = np.exp(v)[:, None]
    lam, delta = norm[:, None], _delta(p, limit)[:, None]
    plus, minus = expit(2 * lam * g0), expit(-2 * lam * g0)
    inner = delta * ENDS_DELTA
    outer = inner[:, -1:] if limit else np.broadcast_to(ENDS_T, (norm.size, ENDS_T.size))
    by_t = _invert(np.concatenate([inner, outer], axis=1), lam, g0, plus, minus)
    last = np.full_like(lam, ENDS_W[-1]) if limit else np.minimum(by_t[:, -1:], ENDS_W[-1])
    by_w = np.broadcast_to(ENDS_W, (norm.size, ENDS_W.size))
    ends = np.concatenate([by_t, ENDS_Z - lam * g0, by_w], axis=1)
    ends = np.sort(np.clip(ends, by_t[:, :1], last), axis=1)
    w, weight = _panels(ends)
    t, g = _margins(w, lam, g0, plus, minus)
    q = plus * np.exp(2 * w) * g / g0
    return Field(w, weight, t, g, q, 1 / lam + 2 * g * q)


def _panels(ends: Float[np.ndarray, "rows ends"]) -> tuple[Nodes, Nodes]:
    """Return Gauss-Legendre nodes and weights between the ends of each row."""
    nodes, weights = _gauss_legendre()
    half = np.diff(ends)[:, :, None] / 2
    w = (ends[:, :-1, None] + half * (1 + nodes)).reshape(len(ends), -1)
    return w, (half * weights).reshape(len(ends), -1)


def _margins(w: Nodes, lam: Column, g0: Column, plus: Column, minus: Column) -> tuple[Nodes, Nodes]:
    """Return t and g at w."""
    low = minus + plus * np.exp(2 * w)
    return w / lam + g0 * plus * np.expm1(2 * w) / low, g0 / low


def _invert(t: Nodes, lam: Column, g0: Column, plus: Column, minus: Column) -> Nodes:
    """Return w at t by bracketed Newton steps, accurate enough for the end of a panel."""
    below = np.maximum((g0 / (g0 + np.maximum(-t, 0)) - minus) / plus, 1e-300)
    low = np.where(t < 0, np.maximum(lam * t, 0.5 * np.log(below)), np.maximum(lam * (t - g0), 0))
    low = np.minimum(low, ENDS_W[-1])  # nothing counts beyond it
    high = np.where(t < 0, 0, np.clip(lam * t, 0, ENDS_W[-1]))
    w = low
    for _ in range(12):
        there, g = _margins(w, lam, g0, plus, minus)
        low, high = np.where(there <= t, w, low), np.where(there > t, w, high)
        step = w + (t - there) / (1 / lam + 2 * g * (1 - minus * g / g0))
        w = np.where((step >= low) & (step <= high), step, (low + high) / 2)
    return w


def _delta(p: Rows, limit: bool) -> Rows:
    return np.exp(p) if limit else (1 + np.exp(-2 * p)) ** -0.5


def _gauss(t: Nodes) -> Nodes:
    return np.exp(-(t**2) / 2) / np.sqrt(2 * np.pi)


@cache
def _gauss_legendre() -> tuple[Float[np.ndarray, "nodes"], Float[np.ndarray, "nodes"]]:
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return nodes, weights
