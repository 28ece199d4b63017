"""Tickets as mirrored pairs of neurons: how many there are, beyond chance, and how good they are.

A neuron (w, b, v) with w < 0 is compared with (-w, b, v), its mirror image about x = 0, and matched
one to one with the neurons of w >= 0 so that the sum of distances is smallest (the assignment
problem of Kuhn 1955). The distance is Euclidean in w, b and v divided by that net's scale of v, the
two-thirds quantile of |v| (for Gaussian v nearly its root mean square). A root mean square depends
on the few largest v: it shrinks the others by a factor that the two halves of a net share and
halves of different nets do not, which looks like pairing; so does one scale for all nets if nets
differ in theirs (`benchmarks/mirrored_pairs.py`).

From phi(z) - phi(-z) = z (SiLU, ReLU, GELU; leaky ReLU up to a factor) it follows that (w, b, v)
and (-w, -b, v) differ only by a straight line, which others can cancel: `modulo_line` matches up to
lines, neurons with their kink at x < 0 with those where it is at x >= 0. Tanh is odd, so that
(w, b, v) and (-w, -b, -v) are the same function.

Many points in a small box have partners by chance, so that a share of pairs means little without
its nulls: at initialisation; with b and v shuffled within each net; and, keeping the density of the
trained neurons, between the left half of one net and the right half of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from kleiber.claim import Estimate
from kleiber.errors import BadTable
from kleiber.maths.seeds import stream
from kleiber.systems.lottery_tickets.intervals import MIN_SEEDS, mean_of, median_of
from kleiber.systems.lottery_tickets.nets import Nets, Seeds, check_target, contributions, keep_nets

TOLERANCES = (0.02, 0.05, 0.1, 0.2, 0.5)
SHIFTS = 4  # number of other nets with which the halves of a net are compared
GOOD = 0.99  # R^2 of a good ticket
SHARE = 2 / 3  # quantile of |v| that is the scale of v
UP_TO_LINES = ("relu", "leaky_relu", "silu", "gelu", "identity")

Half = Float[np.ndarray, "_ 3"]


@dataclass(frozen=True, eq=False)
class Pairs:
    """The indices of the matched neurons of each net, and their distances.

    Some neurons of the larger half of a net have no partner.
    """

    left: tuple[Int[np.ndarray, "_"], ...]
    right: tuple[Int[np.ndarray, "_"], ...]
    distance: tuple[Float[np.ndarray, "_"], ...]
    width: int


@dataclass(frozen=True)
class Matching:
    """The share of neurons in a pair closer than each tolerance, as means over nets, and its nulls.

    `excess` is `share` less `crossed`. `reading` is "paired" if the interval of the excess lies
    above 0, "chance" if it lies below 0.05, else "undecided".
    """

    tolerances: tuple[float, ...]
    share: tuple[Estimate, ...]
    crossed: tuple[Estimate, ...]
    shuffled: tuple[Estimate, ...]
    initial: tuple[Estimate, ...] | None
    excess: tuple[Estimate, ...]
    reading: tuple[str, ...]


@dataclass(frozen=True)
class Solo:
    """The quality of matched pairs on their own, with scale and constant refitted.

    `good` is the mean over nets of the share with R^2 above 0.99, `best` the median over nets of
    the mean squared error of the best pair.
    """

    good: Estimate
    best: Estimate


def match_neurons(nets: Nets, *, modulo_line: bool = False) -> Pairs:
    """Match the mirrored left neurons of each net with its right neurons. Raises BadTable."""
    found = [_match(*half) for half in _halves(nets, modulo_line)]
    places = [np.nonzero(side) for side in _is_left(nets, modulo_line)]
    left: list[Int[np.ndarray, "_"]] = []
    right: list[Int[np.ndarray, "_"]] = []
    for (rows, columns, _), (at,) in zip(found, places, strict=True):
        other = np.setdiff1d(np.arange(nets.width), at)
        left.append(at[rows])
        right.append(other[columns])
    return Pairs(tuple(left), tuple(right), tuple(item[2] for item in found), nets.width)


def pair_shares(
    nets: Nets, tolerances: Sequence[float] = TOLERANCES, *, modulo_line: bool = False
) -> Float[np.ndarray, "seeds tolerances"]:
    """Return the share of each net's neurons that are in a pair closer than each tolerance.

    Raises BadTable.
    """
    halves = _halves(nets, modulo_line)
    return np.stack([_share(left, right, _checked(tolerances)) for left, right in halves])


def judge_pairs(
    nets: Nets,
    *,
    initial: Nets | None = None,
    tolerances: Sequence[float] = TOLERANCES,
    modulo_line: bool = False,
    seed: int = 0,
) -> Matching:
    """Test whether the neurons of trained nets form more mirrored pairs than by chance.

    `initial` are the same nets before training. At least 4 nets are needed. Raises BadTable.
    """
    limits = _checked(tolerances)
    halves = _halves(nets, modulo_line)
    own = np.stack([_share(left, right, limits) for left, right in halves])
    crossed, excess = _cross(halves, own, limits)
    rng = stream(seed, "pairs")
    orders = [np.argsort(rng.random(nets.w.shape), axis=1) for _ in range(2)]
    b, v = (np.take_along_axis(a, k, 1) for a, k in zip((nets.b, nets.v), orders, strict=True))
    shuffled = Nets(nets.w, b, v, nets.c, nets.activation)
    before_training = None
    if initial is not None:
        before_training = _columns(pair_shares(initial, limits, modulo_line=modulo_line))
    excesses = _columns(excess)
    return Matching(
        limits,
        _columns(own),
        _columns(crossed),
        _columns(pair_shares(shuffled, limits, modulo_line=modulo_line)),
        before_training,
        excesses,
        tuple(_read_excess(item) for item in excesses),
    )


def solo_tickets(
    nets: Nets, x: ArrayLike, y: ArrayLike, *, pairs: Pairs | None = None
) -> tuple[Float[np.ndarray, "_"], ...]:
    """Return R^2 of each matched pair of each net on its own, with scale and constant refitted.

    Raises BadTable.
    """
    inputs, target = check_target(x, y)
    pairs = pairs or match_neurons(nets)
    centred = target - target.mean()
    found: list[Float[np.ndarray, "_"]] = []
    for member in range(len(nets.w)):
        parts = contributions(keep_nets(nets, [member]), inputs)[0]
        both = parts[pairs.left[member]] + parts[pairs.right[member]]
        both -= both.mean(1, keepdims=True)
        squares = (both**2).sum(1) * (centred @ centred)
        found.append(
            np.divide((both @ centred) ** 2, squares, np.zeros(len(both)), where=squares > 0)
        )
    return tuple(found)


def judge_solo(nets: Nets, x: ArrayLike, y: ArrayLike, *, pairs: Pairs | None = None) -> Solo:
    """Measure how good the matched pairs of trained nets are on their own.

    Nets with all their neurons on one side are left out. Raises BadTable.
    """
    _, target = check_target(x, y)
    each = [item for item in solo_tickets(nets, x, y, pairs=pairs) if len(item)]
    if len(each) < MIN_SEEDS:
        raise BadTable(f"Only {len(each)} nets have neurons on both sides; at least 4 are needed.")
    good = np.array([float((item > GOOD).mean()) for item in each])
    best = np.array([(1 - float(item.max())) * float(target.var()) for item in each])
    return Solo(mean_of(good), median_of(best))


def _is_left(nets: Nets, modulo_line: bool) -> np.ndarray:
    return (nets.b * _sign(nets) < 0) if modulo_line else (nets.w < 0)


def _sign(nets: Nets) -> Float[np.ndarray, "seeds width"]:
    return np.where(nets.w < 0, -1.0, 1.0)


def _halves(nets: Nets, modulo_line: bool) -> list[tuple[Half, Half]]:
    """Return the neurons of each net as points: the mirrored left ones, and the right ones."""
    if modulo_line and nets.activation not in (*UP_TO_LINES, "tanh"):
        raise BadTable(
            f"Two {nets.activation} neurons (w, b) and (-w, -b) do not differ by a line; "
            f"modulo_line is for {', '.join(UP_TO_LINES)} and tanh."
        )
    v = nets.v / _scales(nets.v)
    b, left = nets.b, _is_left(nets, modulo_line)
    if modulo_line:
        b = np.abs(b)  # w > 0 and b of either sign; the mirror image has the other sign
        if nets.activation == "tanh":
            v = v * np.sign(nets.b + (nets.b == 0))
    points = np.stack([np.abs(nets.w), b, v], axis=-1)
    return [(own[side], own[~side]) for own, side in zip(points, left, strict=True)]


def _scales(v: Float[np.ndarray, "seeds width"]) -> Float[np.ndarray, "seeds 1"]:
    """Return the two-thirds quantile of |v| of each net, over its neurons with v != 0."""
    live = [size[size > 0] for size in np.abs(v)]
    return np.array([[np.quantile(size, SHARE) if len(size) else 1.0] for size in live])


def _match(
    left: Half, right: Half
) -> tuple[Int[np.ndarray, "_"], Int[np.ndarray, "_"], Float[np.ndarray, "_"]]:
    """Return the matched rows of both halves, and their distances."""
    if not len(left) or not len(right):
        return np.zeros(0, int), np.zeros(0, int), np.zeros(0)
    distance = cdist(left, right)
    rows, columns = linear_sum_assignment(distance)
    return rows, columns, distance[rows, columns]


def _share(left: Half, right: Half, tolerances: Sequence[float]) -> Float[np.ndarray, "tolerances"]:
    """Return the share of neurons in a pair closer than each tolerance."""
    distance = _match(left, right)[2]
    both = max(len(left) + len(right), 1)  # of halves of different nets both may be empty
    return 2 * (distance[:, None] < np.array(tolerances)).sum(0) / both


def _cross(
    halves: Sequence[tuple[Half, Half]],
    own: Float[np.ndarray, "seeds tolerances"],
    tolerances: Sequence[float],
) -> tuple[Float[np.ndarray, "seeds tolerances"], Float[np.ndarray, "seeds tolerances"]]:
    """Return the share of pairs between halves of different nets, and each net's excess.

    A net's part is own - (its left with others) - (its right with others) + the mean of all; the
    mean of the parts is the excess, and their spread gives its standard error (Hoeffding 1948).
    """
    n = len(halves)
    if n < 2:
        raise BadTable(f"Halves of different nets need at least 4 nets, got {n}.")
    shifts = range(1, min(SHIFTS, n - 1) + 1)
    by_left = np.zeros((n, len(tolerances)))
    by_right = np.zeros((n, len(tolerances)))
    for shift in shifts:
        for k in range(n):
            other = (k + shift) % n
            share = _share(halves[k][0], halves[other][1], tolerances) / len(shifts)
            by_left[k] += share
            by_right[other] += share
    return by_left, own - by_left - by_right + by_left.mean(0)


def _columns(values: Float[np.ndarray, "seeds tolerances"]) -> tuple[Estimate, ...]:
    return tuple(mean_of(column) for column in values.T)


def _read_excess(excess: Estimate) -> str:
    return "paired" if excess.low > 0 else "chance" if excess.high < 0.05 else "undecided"


def _checked(tolerances: Sequence[float]) -> tuple[float, ...]:
    limits = tuple(float(item) for item in tolerances)
    if not limits or not all(0 < item < np.inf for item in limits):
        raise BadTable(f"Tolerances must be positive numbers, got {list(tolerances)}.")
    return limits


def pair_excess(nets: Nets, tolerance: float, *, modulo_line: bool = False) -> Seeds:
    """Return each net's part of the excess over halves of different nets; its mean is the
    excess."""
    halves = _halves(nets, modulo_line)
    own = np.stack([_share(left, right, (tolerance,)) for left, right in halves])
    return _cross(halves, own, (tolerance,))[1][:, 0]
