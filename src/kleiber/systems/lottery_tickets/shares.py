"""Neuron-level measures: the participation number, the classes of narrow nets, the neurons' table.

symbol   meaning
q_i      share of neuron i: of the mean curvature, v_i <d^2 phi(w_i x + b_i)/dx^2>, or of the
         target less its best line, t: v_i <phi(w_i x + b_i) t>/<t^2>
n_eff    (sum_i q_i)^2/sum_i q_i^2, the participation number: N if all shares are equal
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Float, Shaped
from numpy.typing import ArrayLike

from kleiber.claim import Estimate
from kleiber.errors import BadTable
from kleiber.systems.lottery_tickets.intervals import share_of
from kleiber.systems.lottery_tickets.nets import (
    DERIVATIVES,
    Nets,
    Neurons,
    Points,
    Seeds,
    check_target,
    features,
    mean_squares,
    outputs,
)

By = Literal["curvature", "projection"]
DEAD = 0.9  # share of the best constant's error above which a net is dead
STRICT = 0.1  # largest distance of a symmetric pair in w, b and v over its root mean square


def neuron_shares(nets: Nets, x: ArrayLike, y: ArrayLike, *, by: By = "curvature") -> Neurons:
    """Return the share of each neuron in the task; the shares of a good net sum to nearly 1.

    By "curvature" they sum to 1 if the net has the target's mean curvature, by "projection" if it
    has the target less its best straight line. Raises BadTable.
    """
    inputs, target = check_target(x, y)
    if by == "curvature":
        (low, high), (first, last) = _end_slopes(inputs, target)
        derivative = DERIVATIVES[nets.activation]
        rise = derivative(nets.w * high + nets.b) - derivative(nets.w * low + nets.b)
        return nets.v * nets.w * rise / _check_divisor(last - first, target)
    if by == "projection":
        curved_part = beyond_line(inputs, target)
        whole = _check_divisor(float(curved_part @ curved_part), target)
        return nets.v * (features(nets, inputs) @ curved_part) / whole
    raise BadTable(f"The by must be 'curvature' or 'projection', got {by!r}.")


def participation(nets: Nets, x: ArrayLike, y: ArrayLike, *, by: By = "curvature") -> Seeds:
    """Return n_eff of each net, from 0 (no neuron has a share) to its width. Raises BadTable."""
    shares = neuron_shares(nets, x, y, by=by)
    squares = (shares**2).sum(1)
    return np.divide(shares.sum(1) ** 2, squares, out=np.zeros(len(shares)), where=squares > 0)


def odd_share(nets: Nets, x: ArrayLike, y: ArrayLike) -> Seeds:
    """Return the share of each net's mean squared error that is odd in x, for x symmetric about 0.

    Raises BadTable.
    """
    inputs, target = check_target(x, y)
    if not np.allclose(np.sort(inputs), np.sort(-inputs), rtol=0, atol=1e-9 * np.ptp(inputs)):
        raise BadTable("The odd part needs inputs that are symmetric about 0.")
    order = np.argsort(inputs)
    errors = (outputs(nets, inputs) - target)[:, order]
    odd = (errors - errors[:, ::-1]) / 2
    return (odd**2).mean(1) / np.maximum((errors**2).mean(1), np.finfo(float).tiny)


@dataclass(frozen=True, eq=False)
class Census:
    """The shares of dead, symmetric and other nets of two neurons, with Wilson's intervals.

    `kind` is "dead" (no better than 0.9 times the best constant), "symmetric" (a ticket: a
    mirrored pair) or "other"; `mse` and `distance` (from a mirrored pair) are given by seed.
    """

    dead: Estimate
    symmetric: Estimate
    other: Estimate
    kind: Shaped[np.ndarray, "seeds"]
    mse: Seeds
    distance: Seeds


def classify_pairs(nets: Nets, x: ArrayLike, y: ArrayLike, *, tolerance: float = STRICT) -> Census:
    """Classify nets of two neurons as dead, symmetric or other. Raises BadTable."""
    inputs, target = check_target(x, y)
    if nets.width != 2:
        raise BadTable(f"Only nets of 2 neurons can be classified, got width {nets.width}.")
    mse = mean_squares(nets, inputs, target)
    scale = np.maximum(np.sqrt((nets.v**2).mean(1)), np.finfo(float).tiny)
    differences = [
        nets.w[:, 0] + nets.w[:, 1],
        nets.b[:, 0] - nets.b[:, 1],
        (nets.v[:, 0] - nets.v[:, 1]) / scale,
    ]
    distance = np.sqrt(sum(item**2 for item in differences))
    dead = mse > DEAD * target.var()
    symmetric = ~dead & (distance < tolerance)
    kind = np.where(dead, "dead", np.where(symmetric, "symmetric", "other"))
    dead_share, paired, others = (share_of(int((kind == name).sum()), len(kind)) for name in KINDS)
    return Census(dead_share, paired, others, kind, mse, distance)


KINDS = ("dead", "symmetric", "other")


def neuron_table(nets: Nets, x: ArrayLike, y: ArrayLike) -> pl.DataFrame:
    """Return a row for each neuron: seed (the net's index), w, b, v, and share of the curvature."""
    shares = neuron_shares(nets, x, y)
    seed = np.broadcast_to(np.arange(len(shares))[:, None], shares.shape)
    columns = {"seed": seed, "w": nets.w, "b": nets.b, "v": nets.v, "share": shares}
    return pl.DataFrame([pl.Series(name, item.ravel()) for name, item in columns.items()])


def beyond_line(
    x: Points, y: Float[np.ndarray, "*rows points"]
) -> Float[np.ndarray, "*rows points"]:
    """Return functions of x less their best straight lines."""
    line = np.stack([np.ones_like(x), (x - x.mean()) / x.std()])
    return y - (y @ line.T / x.size) @ line


def _end_slopes(x: Points, y: Points) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return two places near the ends of the inputs and the target's slopes there, by
    differences."""
    places, first = np.unique(x, return_index=True)
    middles = (places[1:] + places[:-1]) / 2
    slopes = np.diff(y[first]) / np.diff(places)
    return (float(middles[0]), float(middles[-1])), (float(slopes[0]), float(slopes[-1]))


def _check_divisor(size: float, target: Points) -> float:
    """Return the divisor of the shares. Raises BadTable if the target is a straight line."""
    if abs(size) <= 1e-12 * max(float(target @ target), 1e-300):
        raise BadTable(
            "The target is a straight line, or has no mean curvature, so neurons have no shares "
            "in it."
        )
    return size
