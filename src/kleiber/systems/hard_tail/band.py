"""The probability that a normal variable falls within a band, and its inverses.

q(v, w) = P(|w + z| <= v) for standard normal z: a band of half-width v whose middle is w away from
the mean. For q near 0 or 1 the digits of q or 1 - q are lost, so lam = -log(1 - q) is used: it is
nearly q if q is small, and minus the logarithm of the tail if q is near 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.special import erf, erfc, erfcinv, erfinv, ndtri

from kleiber.errors import NotConverged

Array = Float[np.ndarray, "points"]
Step = Callable[[Array, Array, Array], Array]
ROOT2, ROOT2PI = np.sqrt(2.0), np.sqrt(2 * np.pi)
LOG2 = np.log(2.0)
NARROW = 0.8  # v max(1, w) below which q is integrated by Gauss-Legendre, without cancellation
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(14)
NODES, WEIGHTS = _NODES[7:], _WEIGHTS[7:]  # for even functions on [0, 1]
SETTLED = 1e-13


def inside(v: Array, w: Array) -> Array:
    """Return q(v, w) to nearly full relative precision, for v >= 0 and w >= 0."""
    q = np.asarray(erfc((w - v) / ROOT2) - erfc((w + v) / ROOT2), float) / 2
    few = np.flatnonzero(v * np.maximum(1, w) < NARROW)
    if few.size:
        a, b = v[few], w[few]
        total = sum(
            weight * np.exp(-((node * a) ** 2) / 2) * np.cosh(node * a * b)
            for node, weight in zip(NODES, WEIGHTS, strict=True)
        )
        q[few] = 2 * a * np.exp(-(b**2) / 2) / ROOT2PI * total
    return q


def outside(v: Array, w: Array) -> Array:
    """Return 1 - q(v, w) to nearly full relative precision, for v >= 0 and w >= 0."""
    return np.asarray(erfc((v - w) / ROOT2) + erfc((v + w) / ROOT2), float) / 2


def half_width(lam: Array) -> Array:
    """Return the half-width v of a centred band with -log(1 - q(v, 0)) = lam."""
    wide = lam > LOG2
    small = erfinv(-np.expm1(-np.where(wide, LOG2, lam)))
    large = erfcinv(np.exp(-np.where(wide, lam, LOG2)))
    width: Array = ROOT2 * np.where(wide, large, small)
    return width


def offset(v: Array, lam: Array) -> Array:
    """Return the squared distance w^2 at which -log(1 - q(v, w)) = lam.

    It is 0 if the centred band is already below lam. Newton's method is used in w^2, in which log q
    is concave and falling (for lam <= log 2) and log(1 - q) concave and rising (else), so that it
    approaches the root from one side if it starts at an upper bound in the first case and at a
    lower bound in the second. Raises NotConverged.
    """
    square = np.zeros(v.size)
    wide = lam > LOG2
    if (some := np.flatnonzero(~wide)).size:
        start = _start_inside(v[some], lam[some])
        square[some] = _newton(v[some], lam[some], start, _step_inside, -1)
    if (some := np.flatnonzero(wide)).size:
        start = _start_outside(v[some], lam[some])
        square[some] = _newton(v[some], lam[some], start, _step_outside, 1)
    return square


def _newton(v: Array, lam: Array, square: Array, step: Step, sign: int, steps: int = 60) -> Array:
    """Iterate Newton's method for all points until their steps are of rounding size.

    A step counts as rounding if it is short, or if it does not have the `sign` that all steps have
    in exact arithmetic.
    """
    active = np.arange(v.size) if sign > 0 else np.flatnonzero(square > 0)
    change = np.zeros(0)
    for _ in range(steps):
        if not active.size:
            return square
        old = square[active]
        change = step(v[active], lam[active], old)
        square[active] = np.maximum(old + change, 0)
        active = active[sign * change > SETTLED * old]
    raise NotConverged("The offset of a band was not found.", float(np.abs(change).max()), steps)


def _start_inside(v: Array, lam: Array) -> Array:
    """Return an upper bound of w^2, from q <= Phi(v - w) and q <= q(v, 0) exp(-w^2 (1 - v^2)/2)."""
    u = -np.expm1(-lam)
    far: Array = (v - ndtri(u)) ** 2
    centred = np.asarray(erf(v / ROOT2), float)
    ratio = np.maximum(np.log(centred / u), 0)
    narrow = v < 0.999
    near = 2 * ratio / np.where(narrow, 1 - v**2, 1)
    return np.where(ratio > 0, np.where(narrow, np.minimum(near, far), far), 0)


def _step_inside(v: Array, lam: Array, square: Array) -> Array:
    """Return -f/f' of f = log q - log u in w^2, with dq/dw = phi(v + w) - phi(v - w)."""
    w = np.sqrt(square)
    q = inside(v, w)
    product = v * w
    derivative = np.exp(-((v - w) ** 2) / 2) * _ratio(product) * v / ROOT2PI / q
    return np.log(q / -np.expm1(-lam)) / derivative


def _ratio(x: Array) -> Array:
    """Return (1 - exp(-2x))/(2x), which is 1 at x = 0."""
    twice = np.maximum(2 * x, 1e-30)
    return -np.expm1(-twice) / twice


def _start_outside(v: Array, lam: Array) -> Array:
    """Return a lower bound of w^2, from 1 - q <= 2 Phi(w - v)."""
    return np.maximum(v + ndtri(np.exp(-lam) / 2), 0) ** 2


def _step_outside(v: Array, lam: Array, square: Array) -> Array:
    """Return -g/g' of g = log(1 - q) + lam in w^2."""
    w = np.sqrt(square)
    p = outside(v, w)
    derivative = np.exp(-((v - w) ** 2) / 2) * _ratio(v * w) * v / ROOT2PI / p
    return -(np.log(p) + lam) / derivative
