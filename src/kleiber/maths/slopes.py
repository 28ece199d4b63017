"""Slopes of curves on logarithmic axes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def window_slope(
    log_x: Float[np.ndarray, "points"], log_y: Float[np.ndarray, "*curves points"]
) -> Float[np.ndarray, "*curves"]:
    """Return the least-squares slope of log y against log x for each curve.

    Raises ValueError for fewer than two different x.
    """
    centred = log_x - log_x.mean()
    size = (centred**2).sum()
    if not size > 0:
        raise ValueError("A slope needs at least two different values of x.")
    return np.asarray(log_y @ centred / size)
