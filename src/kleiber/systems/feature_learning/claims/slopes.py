"""Slopes of the theory's curves in time, which claims compare with exponents."""

from __future__ import annotations

import numpy as np

from kleiber.claim import Context, Estimate, estimate
from kleiber.maths.slopes import window_slope
from kleiber.systems.feature_learning.claims.compute import Compute
from kleiber.systems.feature_learning.theory import FeatureLearning

LATE = (1e6, 1e9)
ALPHA = 1.5


def time_slope(
    model: FeatureLearning, window: tuple[float, float] = LATE, column: str = "loss"
) -> float:
    """Return minus the log-log slope of a column over 31 times of a window."""
    solved = model.solve({"time": np.geomspace(*window, 31)})
    values = solved[column].to_numpy()
    return -float(window_slope(np.log(solved["time"].to_numpy()), np.log(values)))


def falls(
    source: float,
    richness: float,
    *,
    capacity: float = ALPHA,
    window: tuple[float, float] = LATE,
    column: str = "loss",
    **sizes: float,
) -> Compute:
    """Return the exponent in time of a column of `solve`."""

    def exponent(_: Context) -> Estimate:
        model = FeatureLearning(capacity, source, richness, **sizes)  # pyright: ignore[reportArgumentType]
        return estimate(time_slope(model, window, column))

    return exponent
