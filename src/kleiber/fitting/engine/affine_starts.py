"""Starting values for parameters inside a nonlinear function, from the scales of the data.

In ``k*(log(lr) - (c - p*log(n_params)))**2`` the argument of the square is affine in c and p. Near
the interesting place of the function (the bottom of a valley, the middle of a sigmoid) its argument
is close to zero, so starts are least-squares solutions of "argument = 0" on small random samples of
rows, as in RANSAC (Fischler & Bolles 1981). Half of the samples prefer rows that lie below, or
above, the trend of the target, where the bottom of a valley or a peak is to be found.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from kleiber.formula import calculate
from kleiber.maths.affine import AffineArgument

EXTRA_ROWS = 4  # rows of a sample beyond the parameters it determines
TOURNAMENT_SIZES = (1, 1, 4, 16)  # rows of which the lowest (or highest) joins a sample


def solve_affine_arguments(
    inside: AffineArgument,
    columns: Mapping[str, Float[np.ndarray, "rows"]],
    y: Float[np.ndarray, "rows"],
    *,
    count: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "starts params"] | None:
    """Return starting values of the argument's parameters for ``count`` starts, or None if the
    argument depends on no column."""
    rows = len(y)
    zero = dict.fromkeys(inside.params, 0.0)

    def evaluate(change: Mapping[str, float]) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.broadcast_to(calculate(inside.expr, {**columns, **zero, **change}), (rows,))

    base = evaluate({})
    coefficients = np.stack([evaluate({name: 1.0}) - base for name in inside.params], axis=1)
    good = np.isfinite(base) & np.isfinite(coefficients).all(axis=1)
    if good.sum() < len(inside.params) or np.ptp(base[good]) == 0:
        return None
    base, coefficients = base[good], coefficients[good]
    detrended = _detrend(columns, y)[good]
    size = min(len(inside.params) + EXTRA_ROWS, len(base))
    starts = np.empty((count, len(inside.params)))
    for i in range(count):
        if i == 0:
            chosen = np.arange(len(base))
        else:
            entrants = rng.integers(
                0, len(base), (size, TOURNAMENT_SIZES[i % len(TOURNAMENT_SIZES)])
            )
            ranked = detrended[entrants] * rng.choice((-1.0, 1.0))
            chosen = entrants[np.arange(size), ranked.argmin(axis=1)]
        starts[i] = np.linalg.lstsq(coefficients[chosen], -base[chosen], rcond=None)[0]
    return starts


def _detrend(columns: Mapping[str, np.ndarray], y: np.ndarray) -> Float[np.ndarray, "rows"]:
    """Return the target minus its linear trend in the logarithms of the columns (or in the columns
    themselves where they are not positive)."""
    parts = [np.ones(len(y))]
    for x in columns.values():
        part = np.log(x) if (x > 0).all() else x
        parts.append(part - part.mean())
    design = np.stack(parts, axis=1)
    target = np.log(y) if (y > 0).all() else y
    return target - design @ np.linalg.lstsq(design, target, rcond=None)[0]
