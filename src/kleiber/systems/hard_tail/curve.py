"""Failure as a function of training and attempts in the hard-tail theory, by interpolation."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.planning.curve import Array, FailureCurve, Values
from kleiber.table import numbers

LAST = 1e12  # largest number of attempts in the table
K_STEP, RHO_STEP = 0.35, 0.14  # spacing of log k and log rho in the table
SMALLEST_RHO = 1e-3  # below which failure no longer changes
SMALLEST_PART = 1e-300  # smallest part of failure, so that logarithms are finite
FAR = 1e4  # n_data over dimension beyond which the loss is given by its asymptote


@runtime_checkable
class Solved(Protocol):
    """The parts of the theory that a curve uses."""

    @property
    def noise(self) -> float: ...

    @property
    def dimension(self) -> int: ...

    def loss(self, n_data: Any) -> Float[np.ndarray, "each"]: ...

    def solve(self, grid: Any) -> pl.DataFrame: ...


@lru_cache(maxsize=8)  # it takes seconds, and every plan asks for it again
def hard_tail_curve(theory: Solved) -> FailureCurve:
    """Build the curve of the hard-tail theory, whose failure depends on n_data through rho alone.

    The loss is interpolated in log n_data, failure in log rho and log k by cubic splines through
    the theory's own values.
    """
    from scipy import interpolate  # here: importing it takes as long as all the rest

    nodes, losses = _losses(theory)
    log_loss = interpolate.PchipInterpolator(np.log(nodes), np.log(losses))
    last = nodes[-1]

    def loss(values: Values) -> Array:
        n = np.asarray(values["n_data"], dtype=float)
        near = np.exp(log_loss(np.log(np.clip(n, nodes[0], last))))
        room = theory.dimension + 1
        return np.where(n > last, near * (last - room) / np.maximum(n - room, 1.0), near)

    reach = np.sqrt([losses.min(), losses.max()]) / theory.noise
    log_rho, log_k, parts = _tables(theory, float(reach[0]), float(reach[1]))
    intrinsic = interpolate.CubicSpline(log_k, parts[0][0])
    bias = interpolate.RectBivariateSpline(log_rho, log_k, parts[1], s=0)

    def failure(values: Values, k: Array) -> Array:
        rho = np.maximum(np.sqrt(loss(values)) / theory.noise, SMALLEST_RHO)
        x, y = np.broadcast_arrays(np.log(rho), np.log(k))
        each = [np.asarray(part, dtype=float) for part in (intrinsic(y), bias.ev(x, y))]
        return np.exp(np.minimum(np.logaddexp(*each), 0.0))

    return FailureCurve("HardTail", ("n_data",), failure, loss=loss)


def _losses(theory: Solved) -> tuple[Float[np.ndarray, "nodes"], Float[np.ndarray, "nodes"]]:
    """Return values of n_data, denser near the interpolation peak, and the losses there."""
    d = theory.dimension
    close = np.geomspace(1e-3, 0.5, 40)
    wide = np.geomspace(1.0, max(FAR * d, 1e4), 220)
    peak = np.concatenate([d * (1 - close), d + 1 + d * close])
    nodes = np.unique(np.concatenate([wide[np.abs(wide - d - 0.5) > 0.6], peak[peak >= 1]]))
    return nodes, theory.loss(nodes)


def _tables(
    theory: Solved, low: float, high: float
) -> tuple[
    Float[np.ndarray, "rhos"], Float[np.ndarray, "attempts"], Float[np.ndarray, "2 rhos attempts"]
]:
    """Return log rho, log k, and the logs of the intrinsic and of the bias part of failure there.

    Each part is smoother than their sum.
    """
    low, high = max(low, SMALLEST_RHO), max(high, 2 * SMALLEST_RHO)
    end, last = math.log(high), math.log(LAST)
    start = min(math.log(low), end - 5 * RHO_STEP)
    log_rho = np.linspace(start, end, int((end - start) / RHO_STEP) + 5)
    log_k = np.linspace(0.0, last, int(last / K_STEP) + 1)
    solved = theory.solve({"rho": np.exp(log_rho), "k": np.exp(log_k)})
    parts = np.array([numbers(solved, name) for name in ("intrinsic", "bias")])
    shape = (2, len(log_rho), len(log_k))
    return log_rho, log_k, np.log(np.maximum(parts, SMALLEST_PART)).reshape(shape)
