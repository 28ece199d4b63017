# pyright: basic
"""Elementary functions to a few ulp without branches, so that loops over them are vectorised
(Numba)."""

from __future__ import annotations

from math import floor

from numba import njit
from numpy import float64, inf, int64, nan

STRICT_MATH = {"contract"}  # where the order of operations is the point of them


@njit(fastmath=STRICT_MATH, forceinline=True)
def remainder(t, k):  # t - k log(2)
    return t - k * 0.6931471803691238 - k * 1.9082149292705877e-10


@njit(fastmath=STRICT_MATH, forceinline=True)
def rounding_error(x, u):  # what rounding took from u = 1 + x
    return x - (u - 1.0)


@njit(inline="always")
def exp(x):  # 2^k times the Taylor series on +-log(2)/2: 2 ulp
    t = min(max(x, -708.0), 709.79)
    k = floor(t * 1.4426950408889634 + 0.5)
    r = remainder(t, k)
    p = 1 / 39916800 + r / 479001600
    p = 1 / 40320 + r * (1 / 362880 + r * (1 / 3628800 + r * p))
    p = 1 / 24 + r * (1 / 120 + r * (1 / 720 + r * (1 / 5040 + r * p)))
    p = 1.0 + r * (1.0 + r * (0.5 + r * (1 / 6 + r * p)))
    y = 2.0 * p * int64((int64(k) + 1022) << 52).view(float64)
    y = y if x > -708.0 else 0.0
    return y if x == x else x


@njit(inline="always")
def log(x):  # the exponent's log(2), and 2 atanh((m-1)/(m+1)) of the mantissa: 2 ulp
    bits = float64(x).view(int64)
    e = (bits >> 52) - 1023
    m = int64((bits & 0x000FFFFFFFFFFFFF) | 0x3FF0000000000000).view(float64)
    big = m > 1.4142135623730951
    m = 0.5 * m if big else m
    e = e + 1 if big else e
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    p = 1 / 15 + z * (1 / 17 + z * (1 / 19 + z / 21))
    p = z * (1 / 3 + z * (1 / 5 + z * (1 / 7 + z * (1 / 9 + z * (1 / 11 + z * (1 / 13 + z * p))))))
    y = e * 0.6931471803691238 + (2.0 * s + (2.0 * s * p + e * 1.9082149292705877e-10))
    y = y if x < inf else x
    y = y if x != 0.0 else -inf
    return y if x >= 0.0 else nan


@njit(inline="always")
def log1p(x):
    u = 1.0 + x
    y = log(u) + rounding_error(x, u) / u
    return y if u < inf else u


@njit(inline="always")
def tanh(x):  # from exp(2x) - 1, by its own series where that is small
    t = min(2.0 * abs(x), 40.0)
    p = 1 / 39916800 + t * (1 / 479001600 + t / 6227020800)
    p = 1 / 5040 + t * (1 / 40320 + t * (1 / 362880 + t * (1 / 3628800 + t * p)))
    p = t * (1.0 + t * (0.5 + t * (1 / 6 + t * (1 / 24 + t * (1 / 120 + t * (1 / 720 + t * p))))))
    m = p if t < 0.3466 else exp(t) - 1.0
    y = m / (m + 2.0)
    y = y if x >= 0.0 else -y
    return y if x == x else x


@njit(inline="always")
def power(x, y):  # whole numbers by squaring, others through the logarithm
    if y == floor(y) and abs(y) < 4e15:
        remaining, base, out = int64(abs(y)), x, 1.0
        while remaining > 0:
            if remaining & 1:
                out *= base
            base *= base
            remaining >>= 1
        return out if y >= 0.0 else 1.0 / out
    return exp(y * log(x))
