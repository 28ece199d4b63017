"""Power-law spectra of 10^14 modes and more as a few hundred nodes.

Sums over modes k of smooth functions of log k become quadratures: the first modes are summed one by
one; the others are an integral over k (the Euler-Maclaurin formula with its first correction), by
Gauss-Legendre panels in log lam; the modes beyond the last panel, where the function is nearly
linear in lam, are one more node.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import zeta

from kleiber.arguments import check_array
from kleiber.errors import shown

Nodes = Float[np.ndarray, "nodes"]
SINGLE = 64  # modes taken one by one
ALL_SINGLE = 300  # spectra of up to this number of modes are summed one by one
PANEL = 1.0  # width of a panel in log lam, at most
PER_PANEL = 8


@dataclass(frozen=True)
class Modes:
    """The eigenvalue of each node, the number of modes it represents, and their initial loss."""

    lam: Nodes
    count: Nodes
    power: Nodes

    @property
    def trace(self) -> float:
        """sum lam_k."""
        return float(self.count @ self.lam)

    @property
    def total(self) -> float:
        """sum c_k, the loss before training."""
        return float(self.power.sum())


def check_modes(modes: ArrayLike, last: float, *, error: type[ValueError] = ValueError) -> Nodes:
    """Check the numbers of modes, from 1 to the `last`."""
    accepted = "whole numbers from 1" + (f" to {last:g}" if math.isfinite(last) else "")
    k = check_array("modes", modes, accepted, low=1, error=error)
    if not ((k <= last) & (k % 1 == 0)).all():
        raise error(f"The modes must be {accepted}, got {shown(modes)}.")
    return k


def power_modes(capacity: float, source: float, modes: float, smallest: float) -> Modes:
    """Return nodes for lam_k = k^-capacity, c_k = k^-(capacity source + 1), k = 1..modes.

    They are accurate for functions that are linear in lam below the `smallest`.
    """
    decay = capacity * source + 1
    if modes <= ALL_SINGLE:
        k = np.arange(1, modes + 1)
        return Modes(k**-capacity, np.ones(k.size), k**-decay)
    reach = max(smallest ** (-1 / capacity), 4.0 * SINGLE)
    last = min(modes + 0.5, reach)
    k, weight = _integral(SINGLE - 0.5, last, PANEL / capacity)
    single = np.arange(1.0, SINGLE + 1)
    ones = np.ones(SINGLE)
    ones[-2:] += (-1 / 24, 1 / 24 - 1)  # the correction g'(SINGLE - 1/2)/24; mode 64 is in the rest
    k, weight = np.concatenate([single, k]), np.concatenate([ones, weight])
    found = Modes(k**-capacity, weight, weight * k**-decay)
    return found if last > modes else _with_tail(found, capacity, decay, last, modes)


def _integral(low: float, high: float, width: float) -> tuple[Nodes, Nodes]:
    """Return nodes and weights of dk from low to high, for functions smooth in log k."""
    panels = max(int(np.ceil(np.log(high / low) / width)), 1)
    at, weight = np.polynomial.legendre.leggauss(PER_PANEL)
    edges: Nodes = np.linspace(float(np.log(low)), float(np.log(high)), panels + 1)
    half = (edges[1] - edges[0]) / 2
    k = np.exp((edges[:-1, None] + half * (1 + at)).ravel())
    return k, np.tile(half * weight, panels) * k


def _with_tail(modes: Modes, capacity: float, decay: float, last: float, end: float) -> Modes:
    """Add one node for k from `last` to `end`, whose lam is the mean weighted by c."""

    def rest(power: float) -> float:
        """Return the integral of k^-power."""
        far = 0.0 if math.isinf(end) else (end + 0.5) ** (1 - power)
        return (last ** (1 - power) - far) / (power - 1)

    power = rest(decay)
    lam = rest(decay + capacity) / power if power > 0 else last**-capacity
    if lam == 0:  # smaller than any float: the tail adds nothing
        return modes
    return Modes(
        np.append(modes.lam, lam),
        np.append(modes.count, rest(capacity) / lam),
        np.append(modes.power, power),
    )


def exact_total(decay: float, modes: float) -> float:
    """Return sum k^-decay for k = 1..modes, decay above 1."""
    beyond = 0.0 if math.isinf(modes) else zeta(decay, modes + 1.0)
    return float(zeta(decay) - beyond)
