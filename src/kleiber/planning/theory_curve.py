"""How failure falls with training and attempts according to a theory that only solves."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from kleiber.planning.curve import Array, FailureCurve, Values


def theory_curve(theory: Any) -> FailureCurve:
    """The curve of any theory that solves over n_data and k for failure and loss, row by row."""

    def column(values: Values, k: Array, name: str) -> Array:
        n_data = np.asarray(values["n_data"], dtype=float)
        each = np.broadcast_to(k, n_data.shape)
        grid = pl.DataFrame({"n_data": n_data.ravel(), "k": each.ravel()})
        return theory.solve(grid)[name].to_numpy().reshape(n_data.shape)

    return FailureCurve(
        type(theory).__name__,
        ("n_data",),
        lambda values, k: column(values, k, "failure"),
        loss=lambda values: column(values, np.ones(np.shape(values["n_data"])), "loss"),
    )
