"""Slopes of curves on logarithmic axes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def window_slope(
    log_x: Float[np.ndarray, "points"], log_y: Float[np.ndarray, "*curves points"]
) -> Float[np.ndarray, "*curves"]:
    """The least-squares slope of log y against log x, for each curve.

    Raises ValueError for fewer than two different x.
    """
    centred = log_x - log_x.mean()
    size = (centred**2).sum()
    if not size > 0:
        raise ValueError("a slope needs at least two different values of x")
    return np.asarray(log_y @ centred / size)


def local_slopes(
    log_x: Float[np.ndarray, "points"], log_y: Float[np.ndarray, "*curves points"]
) -> Float[np.ndarray, "*curves points"]:
    """dlog y/dlog x at each point, by second-order differences (first-order at the ends).

    Raises ValueError for fewer than two points or x that do not rise.
    """
    if log_x.size < 2 or not (np.diff(log_x) > 0).all():
        raise ValueError("local slopes need at least two points with rising x")
    return np.gradient(log_y, log_x, axis=-1)
