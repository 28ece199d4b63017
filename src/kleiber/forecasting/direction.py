"""Whether a target falls, as a loss does, or rises, as an accuracy does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.errors import BadTable
from kleiber.rows import name_row

Array = np.ndarray
RISES = 0.5  # correlation of log target and log progress above which a target rises
LEAST = 4  # rows that can show a trend
RISING = ("accuracy", "pass_rate", "pass_at_k")  # columns that rise by their meaning


def is_reversed(
    target: str,
    parts: Sequence[tuple[Float[Array, "_ columns"], Float[Array, "_"]]],
) -> bool:
    """Return whether 1 - target is to be forecast: it rises and lies between 0 and 1.

    Raises BadTable for a target that rises and does not.
    """
    measured = np.concatenate([y for _, y in parts])
    inside = bool((measured < 1).all())
    if target in RISING:
        return True
    trends = [_trend(x, y) for x, y in parts if len(y) >= LEAST]
    rises = np.mean([trend > RISES for trend in trends]) > 0.5 if trends else False
    if rises and not inside:
        raise BadTable(
            f"{target} rises with the columns of x; a forecast is of what falls, as a loss does, "
            "or of what rises between 0 and 1, as an accuracy does. Derive such a column (--with)."
        )
    return bool(rises)


def _trend(x: Array, y: Array) -> float:
    """Return the correlation of the logs of a target and of the product of its columns."""
    progress, level = np.log(x).sum(axis=1), np.log(y)
    if np.ptp(progress) == 0 or np.ptp(level) == 0:
        return 0.0
    return float(np.corrcoef(progress, level)[0, 1])


def reversed_target(
    frame: pl.DataFrame, target: str, measured: Float[Array, "rows"]
) -> Float[Array, "rows"]:
    """Return 1 - target. Raises BadTable for a value of 1 or more."""
    if (measured >= 1).any():
        row = int(np.argmax(measured >= 1))
        raise BadTable(
            f"{target} is forecast through 1 - {target}, which must be positive, but {target} is "
            f"{measured[row]:.4g} in {name_row(frame, row)}; give it as a fraction below 1, or "
            "drop the row."
        )
    return 1 - measured
