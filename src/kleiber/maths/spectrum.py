"""Power-law spectra."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def power_law(dims: int, exponent: float, *, first: float = 1.0) -> Float[np.ndarray, "dims"]:
    """Return first * j^-exponent for j = 1..dims. Raises ValueError for dims < 1 or a first <=
    0."""
    if dims < 1 or not (np.isfinite(exponent) and np.isfinite(first) and first > 0):
        raise ValueError(
            "A power law needs at least one dimension, a finite exponent and a positive first "
            f"value, got dims={dims}, exponent={exponent!r}, first={first!r}."
        )
    return first * np.arange(1, dims + 1, dtype=float) ** -exponent
