"""A few nodes for many modes: the first modes, quadrature nodes for learned ones, bins for others.

The nodes give sums over modes k of lam_k f(lam_k) and of c_k f(lam_k) for functions f that vary
slowly with log k, such as the responses 1 / (1 + lam_k x); lam_k = k^-alpha, c_k = k^-(alpha beta +
1).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.polynomial.legendre import leggauss, legvander
from scipy.special import zeta

from kleiber.systems.feature_learning.model import Model

Vector = Float[np.ndarray, "modes"]
Matrix = Float[np.ndarray, "modes degrees"]
EXACT = 8  # number of first modes that are nodes of their own
FEW = 20  # up to this number of modes all are nodes of their own
NODES, RATIO = 5, 8.0  # nodes of a panel, and the largest ratio of its ends
SUMMED = 400  # modes of a panel that are summed one by one; more are integrated
SLOW = 1e-3  # lam eta T below which a mode counts as not learned
FOREVER = 1e14  # modes used of infinitely many; the others are added as unlearned
DECADES = 0.4  # width of the first bin of unlearned modes; each next one is twice as wide


@dataclass(frozen=True)
class Modes:
    """Modes in bins: eigenvalue, number of modes, sum of lam_k w*_k^2, and the loss of other
    modes."""

    lam: Vector
    count: Vector
    power: Vector
    rest: float


def bin_modes(model: Model, time: float) -> Modes:
    """Return the bins of a model's modes for training up to `time`.

    The first modes are nodes of their own. Panels of those that are learned by `time` have Gauss
    nodes in log k, with weights that are exact for polynomials of log k. The bins of the others
    have the exact number and sums; of infinitely many modes 10^14 are binned.
    """
    last = min(model.modes, FOREVER)
    power = model.capacity * model.source + 1
    first = last if last <= FEW else EXACT
    learned = (max(time, 1.0) / SLOW) ** (1 / model.capacity)
    middle = min(last, max(EXACT * RATIO, round(learned)))
    alone = np.arange(1.0, first + 1)
    parts = [(alone, alone**-model.capacity, alone**-power)]
    if middle > first:
        ends = int(np.ceil(np.log(middle / first) / np.log(RATIO))) + 1
        edges = np.round(np.geomspace(first, middle, ends))
        for low, high in itertools.pairwise(edges):
            parts.append(_panel(low, high, model.capacity, power))
    lam = [part[0] ** -model.capacity for part in parts]
    count = [part[1] / each for part, each in zip(parts, lam, strict=True)]
    sums = [part[2] for part in parts]
    edges = _outer_edges(middle, last)
    if edges.size > 1:
        number = np.diff(edges)
        lam.append(_zeta_sums(model.capacity, edges) / number)
        count.append(number)
        sums.append(_zeta_sums(power, edges))
    rest = float(zeta(power, last + 1)) if np.isinf(model.modes) else 0.0
    return Modes(np.concatenate(lam), np.concatenate(count), np.concatenate(sums), rest)


def _panel(low: float, high: float, capacity: float, power: float) -> tuple[Vector, Vector, Vector]:
    """Return nodes k of the modes low + 1 .. high, and the weights of k^-capacity and k^-power."""
    if high - low <= NODES:
        nodes = np.arange(low + 1, high + 1)
        return nodes, nodes**-capacity, nodes**-power
    start, length = np.log(low + 0.5), np.log((high + 0.5) / (low + 0.5))
    abscissae, gauss = leggauss(NODES)
    nodes = np.exp(start + length * (abscissae + 1) / 2)
    modes: Vector = np.arange(low + 1, min(high, low + SUMMED) + 1)
    number: Vector = np.ones(modes.size)
    if high - low > SUMMED:
        dense, weights = leggauss(24)
        modes = np.exp(start + length * (dense + 1) / 2)
        number = weights * length / 2 * modes
    places: Vector = 2 * (np.log(modes) - start) / length - 1
    inside: Matrix = np.asarray(legvander(places, NODES - 1))
    at_nodes: Matrix = np.asarray(legvander(abscissae, NODES - 1))

    def weigh(exponent: float) -> Vector:
        weights: Vector = np.linalg.solve(at_nodes.T, inside.T @ (number * modes**-exponent))
        if weights.min() <= 0:  # too steep for polynomials of log k
            weights = gauss * nodes ** (1 - exponent)
        return weights * (_zeta_sums(exponent, np.array([low, high])) / weights.sum())

    return nodes, weigh(capacity), weigh(power)


def _outer_edges(middle: float, last: float) -> Vector:
    """Return the ends of the bins from `middle` to `last`, wider and wider."""
    edges, width = [middle], DECADES
    while edges[-1] < last:
        end = np.round(edges[-1] * 10**width)
        edges.append(last if end > 0.1 * last else end)
        width *= 2
    return np.array(edges, dtype=float)


def _zeta_sums(exponent: float, edges: Float[np.ndarray, "ends"]) -> Float[np.ndarray, "bins"]:
    """Return the sums of k^-exponent over the modes after each edge, up to the next."""
    return zeta(exponent, edges[:-1] + 1) - zeta(exponent, edges[1:] + 1)
