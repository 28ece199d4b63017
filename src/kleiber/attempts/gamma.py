"""Differences of the log-gamma function and of its derivatives, without cancellation.

symbol      meaning
x, m        log Gamma(x + m) - log Gamma(x), with x > 0 and x + m > 0; they broadcast
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import special

LARGE = 64.0  # from here on Stirling's series is exact to rounding


def _tail(x: Any) -> Any:
    """Return log Gamma(x) - (x - 1/2) log x + x - log(2 pi)/2 for large x (Stirling's series)."""
    inverse = 1.0 / x
    square = inverse * inverse
    return inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680)))


def log_rising(x: ArrayLike, m: ArrayLike) -> Float[np.ndarray, "..."]:
    """Return log Gamma(x + m) - log Gamma(x), the logarithm of the rising factorial of x.

    If both x and x + m are large, Stirling's series is differenced analytically, so that x = 1e12
    and m = 1 keep all digits.
    """
    x, m = np.asarray(x, float), np.asarray(m, float)
    big = np.minimum(x, x + m) >= LARGE
    with np.errstate(all="ignore"):  # each branch also sees what the other one is for
        direct = special.gammaln(x + m) - special.gammaln(x)
        if not np.any(big):
            return np.asarray(direct)
        series = (x - 0.5) * np.log1p(m / x) + m * (np.log(x + m) - 1) + _tail(x + m) - _tail(x)
    return np.asarray(np.where(big, series, direct))


def digamma_rising(x: ArrayLike, m: ArrayLike) -> Float[np.ndarray, "..."]:
    """Return psi(x + m) - psi(x), the derivative of ``log_rising`` with respect to x."""

    def rest(y: Any) -> Any:  # psi(y) - log y
        square = 1 / (y * y)
        return -0.5 / y - square * (1 / 12 - square * (1 / 120 - square / 252))

    x, m = np.asarray(x, float), np.asarray(m, float)
    with np.errstate(all="ignore"):
        direct = special.psi(x + m) - special.psi(x)
        series = np.log1p(m / x) + rest(x + m) - rest(x)
    return np.asarray(np.where(np.minimum(x, x + m) >= LARGE, series, direct))


def trigamma_rising(x: ArrayLike, m: ArrayLike) -> Float[np.ndarray, "..."]:
    """Return psi'(x + m) - psi'(x), the second derivative of ``log_rising`` with respect to x."""

    def rest(y: Any) -> Any:  # psi'(y) - 1/y
        inverse = 1 / y
        square = inverse * inverse
        return square * (0.5 + inverse * (1 / 6 - square * (1 / 30 - square / 42)))

    x, m = np.asarray(x, float), np.asarray(m, float)
    with np.errstate(all="ignore"):
        direct = special.zeta(2.0, x + m) - special.zeta(2.0, x)
        series = -m / (x * (x + m)) + rest(x + m) - rest(x)
    return np.asarray(np.where(np.minimum(x, x + m) >= LARGE, series, direct))
