"""Exact errors of one lottery ticket and of the best ReLU nets on y = x^2, x uniform in [-r, r].

A ticket (Liu and Tegmark 2023, arXiv 2310.02258) is a pair of SiLU neurons that mirror each other,

    g(x) = v [SiLU(w x + b) + SiLU(-w x + b)] + c,   SiLU(z) = z/(1 + exp(-z)),

with v and c those of least squares. The derivatives s_k of SiLU at b give its even Taylor series,
SiLU(w x + b) + SiLU(-w x + b) = 2 s_0 + s_2 (w x)^2 + s_4 (w x)^4/12 + s_6 (w x)^6/360 + ..., so
that v -> 1/(s_2 w^2) for small w and the error falls without limit along a flat channel. At b = 0
it falls as w^4; at the best offset, near the b* with s_4(b*) = 0, the term in x^4 cancels that in
x^6 except for its part orthogonal to 1, x^2 and x^4, and the error falls as w^8, or v^-4. The error
of a piecewise linear fit has a positive lower bound instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy
from jaxtyping import Float
from numpy.polynomial import Polynomial, legendre
from numpy.typing import ArrayLike

NODES = 128  # of Gauss-Legendre quadrature
SLOPE_RANGE = (0.03, 20.0)  # where float64 and the quadrature resolve the error
OFFSET_RANGE = (-2.5, 0.0)  # where the best offset is searched
SIXTH = 256 / 231**2 / 13  # mean square over [-1, 1] of x^6 less its part in lower powers


@dataclass(frozen=True)
class Ticket:
    """A mirrored pair of SiLU neurons: v [SiLU(w x + b) + SiLU(-w x + b)] + c, and its error."""

    slope: float
    offset: float
    output: float
    constant: float
    mse: float


def fit_ticket(slope: float, offset: float, *, radius: float = 2.0) -> Ticket:
    """Fit v and c of the ticket with the given w and b to x^2 by least squares, x in +-radius.

    The slope times half the radius must be from 0.03 to 20. Raises ValueError.
    """
    _check_radius(radius)
    scaled = abs(float(slope)) * radius / 2
    if not (SLOPE_RANGE[0] <= scaled <= SLOPE_RANGE[1] and np.isfinite(offset)):
        raise ValueError(
            f"A ticket needs |slope| from {SLOPE_RANGE[0] * 2 / radius:g} to "
            f"{SLOPE_RANGE[1] * 2 / radius:g} "
            f"and a finite offset, got {slope!r} and {offset!r}."
        )
    x, weights = _nodes()
    target = (radius * x) ** 2
    z = slope * radius * x
    pair = _silu(z + offset) + _silu(-z + offset)
    centred = pair - weights @ pair
    output = float(weights @ (centred * target) / (weights @ centred**2))
    constant = float(weights @ target - output * (weights @ pair))
    residual = target - weights @ target - output * centred
    return Ticket(float(slope), float(offset), output, constant, float(weights @ residual**2))


def best_ticket(slope: float, *, radius: float = 2.0) -> Ticket:
    """Find the ticket of the given slope whose offset, between -2.5 and 0, has the smallest error.

    Raises ValueError.
    """
    offsets = np.linspace(*OFFSET_RANGE, 26)
    errors = [fit_ticket(slope, float(b), radius=radius).mse for b in offsets]
    best = int(np.argmin(errors))
    low, high = offsets[max(best - 1, 0)], offsets[min(best + 1, offsets.size - 1)]
    found = scipy.optimize.minimize_scalar(
        lambda b: np.log(fit_ticket(slope, float(b), radius=radius).mse),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return fit_ticket(slope, float(found.x), radius=radius)


def flat_channel(output: ArrayLike, *, radius: float = 2.0) -> Float[np.ndarray, "*points"]:
    """Return the error of the best tickets of large output weight v, to leading order v^-4.

    MSE = (s_6/(360 s_2^3))^2 D v^-4 at b*, D = 256 r^12/(13 231^2) the mean square of x^6 less its
    part in the span of 1, x^2, x^4; for radius 2, 7.4e-3 v^-4. Raises ValueError.
    """
    _check_radius(radius)
    v = np.asarray(output, float)
    if not (np.isfinite(v) & (v != 0)).all():
        raise ValueError(f"An output weight must be finite and not 0, got {output!r}.")
    s2, s6 = (silu_derivative(inflection(), order) for order in (2, 6))
    return np.asarray((s6 / (360 * s2**3)) ** 2 * SIXTH * radius**12 / v**4)


@cache
def inflection() -> float:
    """Return b* = -1.0320, the negative offset at which the fourth derivative of SiLU vanishes."""
    return float(scipy.optimize.brentq(lambda b: silu_derivative(b, 4), -2.0, -0.5, xtol=1e-14))


def silu_derivative(z: float, order: int) -> float:
    """Return the derivative of SiLU of order k at z, z s^(k) + k s^(k-1), s the logistic function.

    Derivatives of s are polynomials in s, as s' = s - s^2. Raises ValueError for a negative order.
    """
    if order < 0:
        raise ValueError(f"The order of a derivative is a whole number from 0, got {order!r}.")
    logistic = 1 / (1 + np.exp(-float(z)))
    step, parts = Polynomial([0, 1, -1]), [Polynomial([0, 1])]
    for _ in range(order):
        parts.append(parts[-1].deriv() * step)
    lower = order * parts[order - 1](logistic) if order else 0.0
    return float(z * parts[order](logistic) + lower)


def relu_bound(width: ArrayLike, *, radius: float = 2.0) -> Float[np.ndarray, "*points"]:
    """Return the smallest error of N ReLU units on x^2: (2 r/(N + 1))^4/180, by N + 1 equal pieces.

    No net of N units has more linear pieces, so this bounds every net; an even N attains it, with
    half of the units facing each way. Raises ValueError for a width below 1.
    """
    _check_radius(radius)
    n = np.asarray(width, float)
    if not (np.isfinite(n) & (n >= 1)).all():
        raise ValueError(f"A width must be finite and from 1, got {width!r}.")
    return np.asarray((2 * radius / (n + 1)) ** 4 / 180)


def cells_error(
    cells: ArrayLike, dimension: int = 1, *, radius: float = 2.0
) -> Float[np.ndarray, "*points"]:
    """Return the error of linear fits in N cubes to a sum of d squares: d (2 r)^4 N^(-4/d)/180.

    This is the argument of Sharma and Kaplan (2020, arXiv 2004.10802), whose exponent is 4/d; the
    constant is exact for fits that may jump between cubes. Raises ValueError.
    """
    _check_radius(radius)
    n = np.asarray(cells, float)
    if not (np.isfinite(n) & (n >= 1)).all() or dimension < 1 or dimension % 1:
        raise ValueError(
            "The cells must be finite and from 1, and the dimension a whole number from 1, got "
            f"{cells!r} and {dimension!r}."
        )
    return np.asarray(dimension * (2 * radius) ** 4 * n ** (-4 / dimension) / 180)


@cache
def _nodes() -> tuple[Float[np.ndarray, "nodes"], Float[np.ndarray, "nodes"]]:
    """Return quadrature nodes on [-1, 1] and weights whose sum is 1."""
    x, weights = legendre.leggauss(NODES)
    return x, weights / 2


def _silu(z: Float[np.ndarray, "nodes"]) -> Float[np.ndarray, "nodes"]:
    return z / 2 * (1 + np.tanh(z / 2))


def _check_radius(radius: float) -> None:
    if not (np.isfinite(radius) and radius > 0):
        raise ValueError(f"The radius must be finite and positive, got {radius!r}.")
