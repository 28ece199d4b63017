"""Starts for parameters inside a nonlinear function, from the data's own scales.

In ``k*(log(lr) - (c - p*log(n_params)))**2`` the inside of the square is affine in c and p. Where
that function has its bend (the bottom of a valley, the middle of a sigmoid) its inside is near
zero, so that starts are solutions of "inside = 0" on small samples of rows, as a robust regression
draws them (Fischler & Bolles 1981).
Half of the samples prefer rows that lie below, or above, the trend of the target: there the bottom
of a valley, or a peak, is to be found.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from kleiber.formula import calculate
from kleiber.maths.affine import Inside

SPARE = 4  # rows of a sample beyond the parameters it determines
TOURNAMENTS = (1, 1, 4, 16)  # rows of which the lowest (or highest) joins a sample


def solve_insides(
    inside: Inside,
    columns: Mapping[str, Float[np.ndarray, "rows"]],
    y: Float[np.ndarray, "rows"],
    *,
    count: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "starts params"] | None:
    """Values of the parameters for each start; None where the inside has no column of its own."""
    rows = len(y)
    zero = dict.fromkeys(inside.params, 0.0)

    def at(change: Mapping[str, float]) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.broadcast_to(calculate(inside.expr, {**columns, **zero, **change}), (rows,))

    base = at({})
    slopes = np.stack([at({name: 1.0}) - base for name in inside.params], axis=1)
    good = np.isfinite(base) & np.isfinite(slopes).all(axis=1)
    if good.sum() < len(inside.params) or np.ptp(base[good]) == 0:
        return None
    base, slopes = base[good], slopes[good]
    height = _detrended(columns, y)[good]
    size = min(len(inside.params) + SPARE, len(base))
    starts = np.empty((count, len(inside.params)))
    for i in range(count):
        if i == 0:
            chosen = np.arange(len(base))
        else:
            field = rng.integers(0, len(base), (size, TOURNAMENTS[i % len(TOURNAMENTS)]))
            lowest = height[field] * rng.choice((-1.0, 1.0))
            chosen = field[np.arange(size), lowest.argmin(axis=1)]
        starts[i] = np.linalg.lstsq(slopes[chosen], -base[chosen], rcond=None)[0]
    return starts


def _detrended(columns: Mapping[str, np.ndarray], y: np.ndarray) -> Float[np.ndarray, "rows"]:
    """The target minus its linear trend in the logarithms of the columns, or in those as are."""
    parts = [np.ones(len(y))]
    for x in columns.values():
        part = np.log(x) if (x > 0).all() else x
        parts.append(part - part.mean())
    design = np.stack(parts, axis=1)
    target = np.log(y) if (y > 0).all() else y
    return target - design @ np.linalg.lstsq(design, target, rcond=None)[0]
