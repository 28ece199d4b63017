"""What parts of a net do: subsets scaled up, refitted, solved by least squares, and pruned nets.

With g_i = v_i bend(w_i x + b_i), n of a net's N neurons drawn at random and scaled by N/n make, in
the mean over all subsets and exactly,

    MSE(n) = MSE(N) + N <S^2> (N/n - 1),   S^2(x) = sum_i (g_i - mean g)^2/(N - 1),

whatever the net is (sampling without replacement). So the fall as 1/n says nothing; what does is
the drop at n = N, N <S^2>/MSE(N), which is 1 for an average of independent neurons without bias.

Tickets are pairs, and their weights may differ. Let G_k be the outputs of the matched pairs and of
neurons without a partner, E_k what is left of G_k when its parts along 1, x and the target are
taken off. Then f errs by sum_k E_k, and

    synergy = sum_k <E_k^2>/<(sum_k E_k)^2>

is 1 if tickets err independently, below 1 if they share an error, above 1 if they cancel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from kleiber.claim import Estimate
from kleiber.errors import BadTable
from kleiber.maths.seeds import stream
from kleiber.networks.tickets import (
    Nets,
    Points,
    Seeds,
    check_target,
    contributions,
    draw_nets,
    features,
    mean_squares,
)
from kleiber.networks.tickets_intervals import median_of
from kleiber.networks.tickets_pairs import Pairs, match_neurons
from kleiber.networks.tickets_shares import By, neuron_shares

Refit = Literal["none", "scale", "all"]
REFITS = ("none", "scale", "all")
DRAWS = 16
POINTS_PER_NEURON = 4  # fewer, and least squares fits the points, not the function

Parts = Float[np.ndarray, "*draws units points"]


@dataclass(frozen=True)
class Subsets:
    """The error of n of N neurons, by n ascending to N: scaled up, scale and constant refitted, all
    v refitted (None where the points are too few); medians over nets.

    `slope` is that of log scaled against log n up to N/4, `drop` is scaled at N/2 over that at N.
    """

    sizes: tuple[int, ...]
    scaled: tuple[Estimate, ...]
    refitted: tuple[Estimate, ...]
    solved: tuple[Estimate | None, ...]
    slope: Estimate
    drop: Estimate


@dataclass(frozen=True)
class Pruning:
    """The error when neurons go, of the smallest |share| first: medians over nets by the numbers
    kept, ascending; `at_random` is the same with neurons going in random order."""

    kept: tuple[int, ...]
    fraction: tuple[float, ...]
    mse: tuple[Estimate, ...]
    at_random: tuple[Estimate, ...]
    refit: str


def scaled_curve(
    nets: Nets, x: ArrayLike, y: ArrayLike, sizes: Sequence[int]
) -> Float[np.ndarray, "seeds sizes"]:
    """The mean error over all subsets of so many neurons scaled up, exactly. Raises BadTable."""
    inputs, target = check_target(x, y)
    count = _checked(sizes, nets.width)
    spread = contributions(nets, inputs).var(axis=1, ddof=min(1, nets.width - 1)).mean(1)
    whole = mean_squares(nets, inputs, target)
    return whole[:, None] + nets.width * spread[:, None] * (nets.width / np.array(count) - 1)


def refitted_errors(
    nets: Nets,
    x: ArrayLike,
    y: ArrayLike,
    size: int,
    *,
    refit: Refit = "scale",
    draws: int = DRAWS,
    seed: int = 0,
) -> Float[np.ndarray, "seeds draws"]:
    """The errors of random subsets whose scale and constant ("scale") or all v and c ("all", least
    squares in float64) are fitted again. Raises BadTable."""
    inputs, target = check_target(x, y)
    _checked([size], nets.width)
    rng = stream(seed, f"subsets {size}")
    found = np.empty((len(nets.w), draws))
    for member, parts in enumerate(features(nets, inputs)):
        chosen = np.argsort(rng.random((draws, nets.width)), axis=1)[:, :size]
        if refit == "all":
            found[member] = [_solved(parts[rows], target) for rows in chosen]
        elif refit == "scale":
            found[member] = _refitted((nets.v[member, chosen, None] * parts[chosen]).sum(1), target)
        else:
            raise BadTable(f"refit must be 'scale' or 'all' for subsets, got {refit!r}.")
    return found


def extrapolate_subsets(
    nets: Nets,
    x: ArrayLike,
    y: ArrayLike,
    *,
    sizes: Sequence[int] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Subsets:
    """How the error of n random neurons goes on to that of all N, in three ways.

    `sizes` are powers of 2 up to N by default, N/2 included. Needs 4 nets of width 8 or more.
    Raises BadTable.
    """
    inputs, target = check_target(x, y)
    width = nets.width
    if width < 8:
        raise BadTable(f"Subsets need a width of at least 8, got {width}.")
    powers = {2**k for k in range(width.bit_length()) if 2**k <= width}
    count = _checked(sorted(powers | {width // 2, width}) if sizes is None else sizes, width)
    scaled = scaled_curve(nets, inputs, target, count)
    solved: list[Estimate | None] = []
    refitted: list[Estimate] = []
    for n in count:
        some = draws if n < width else 1
        errors = refitted_errors(nets, inputs, target, n, draws=some, seed=seed)
        refitted.append(median_of(np.median(errors, axis=1)))
        if n * POINTS_PER_NEURON > inputs.size:
            solved.append(None)
            continue
        errors = refitted_errors(nets, inputs, target, n, refit="all", draws=some, seed=seed)
        solved.append(median_of(np.median(errors, axis=1)))
    small = [n for n in (1, 2, *range(4, width // 4 + 1, 2)) if n <= width // 4]
    log_n = np.log(small)
    weights = (log_n - log_n.mean()) / ((log_n - log_n.mean()) ** 2).sum()
    slopes = np.log(scaled_curve(nets, inputs, target, small)) @ weights
    half, whole = scaled_curve(nets, inputs, target, [width // 2, width]).T
    return Subsets(
        tuple(count),
        tuple(median_of(column) for column in scaled.T),
        tuple(refitted),
        tuple(solved),
        median_of(slopes),
        median_of(half / np.maximum(whole, np.finfo(float).tiny)),
    )


def cancellation(
    nets: Nets, x: ArrayLike, y: ArrayLike, *, pairs: Pairs | None = None
) -> tuple[Seeds, Seeds]:
    """sum_k <E_k^2> and <(sum_k E_k)^2> of each net over its tickets; see the module.

    Raises BadTable.
    """
    inputs, target = check_target(x, y)
    basis = _orthonormal(np.stack([np.ones_like(inputs), inputs, target]))
    pairs = pairs or match_neurons(nets)
    apart, together = np.empty(len(nets.w)), np.empty(len(nets.w))
    for member, parts in enumerate(contributions(nets, inputs)):
        left, right = pairs.left[member], pairs.right[member]
        alone = np.setdiff1d(np.arange(nets.width), np.concatenate([left, right]))
        units = np.concatenate([parts[left] + parts[right], parts[alone]])
        own = units - (units @ basis.T) @ basis
        apart[member] = (own**2).mean(1).sum()
        together[member] = (own.sum(0) ** 2).mean()
    return apart, together


def solve_nets(nets: Nets, x: ArrayLike, y: ArrayLike) -> Nets:
    """The same neurons with the v and c of least squares in float64. Raises BadTable."""
    inputs, target = check_target(x, y)
    if nets.width * POINTS_PER_NEURON > inputs.size:
        raise BadTable(
            f"Least squares on {nets.width} neurons needs {nets.width * POINTS_PER_NEURON} points "
            f"or more, got {inputs.size}."
        )
    found = [_solve(parts, target) for parts in features(nets, inputs)]
    v, c = np.stack([each[:-1] for each in found]), np.array([each[-1] for each in found])
    return replace(nets, v=v, c=c)


def random_features(
    width: int, x: ArrayLike, y: ArrayLike, *, activation: str = "silu", seeds: int = 16
) -> Nets:
    """Nets whose w and b are those of initialisation and whose v and c are solved for: what the
    width allows without any training of features. Raises BadTable."""
    return solve_nets(draw_nets(width, seeds, activation=activation), x, y)


def prune(
    nets: Nets,
    x: ArrayLike,
    y: ArrayLike,
    *,
    kept: Sequence[int] | None = None,
    by: By = "projection",
    refit: Refit = "none",
    seed: int = 0,
) -> Pruning:
    """Take neurons out, those of the smallest |share| first, and measure what is left.

    `refit` fits nothing, scale and constant, or all v and c again. `kept` are powers of 2 and N by
    default. Needs 4 nets. Raises BadTable.
    """
    inputs, target = check_target(x, y)
    width = nets.width
    powers = [2**k for k in range(width.bit_length()) if 2**k < width]
    count = _checked([*powers, width] if kept is None else kept, width)
    if refit not in REFITS:
        raise BadTable(f"refit must be one of {', '.join(REFITS)}, got {refit!r}.")
    if refit == "all":
        count = [n for n in count if n * POINTS_PER_NEURON <= inputs.size]
    shares = np.abs(neuron_shares(nets, inputs, target, by=by))
    mixed = np.argsort(stream(seed, "prune").random(shares.shape), axis=1)
    curves: list[tuple[Estimate, ...]] = []
    for order in (np.argsort(-shares, axis=1), mixed):
        errors = _pruned(nets, inputs, target, order, count, refit)
        curves.append(tuple(median_of(column) for column in errors.T))
    return Pruning(tuple(count), tuple(n / width for n in count), curves[0], curves[1], refit)


def _pruned(
    nets: Nets,
    x: Points,
    y: Points,
    order: Int[np.ndarray, "seeds width"],
    count: Sequence[int],
    refit: str,
) -> Float[np.ndarray, "seeds kept"]:
    """Errors of the first neurons in an order."""
    found = np.empty((len(order), len(count)))
    for member, parts in enumerate(features(nets, x)):
        sorted_parts = parts[order[member]]
        if refit == "all":
            found[member] = [_solved(sorted_parts[:n], y) for n in count]
            continue
        sums = np.cumsum(nets.v[member, order[member], None] * sorted_parts, axis=0)
        some = sums[np.array(count) - 1]
        if refit == "scale":
            found[member] = _refitted(some, y)
        else:
            found[member] = ((some + nets.c[member] - y) ** 2).mean(1)
    return found


def _refitted(some: Float[np.ndarray, "rows points"], y: Points) -> Float[np.ndarray, "rows"]:
    """The errors of a f + c on y at the best a and c."""
    bent = some - some.mean(1, keepdims=True)
    squares, target = (bent**2).mean(1), y - y.mean()
    along = np.divide(bent @ target / y.size, squares, out=np.zeros(len(some)), where=squares > 0)
    return ((target - along[:, None] * bent) ** 2).mean(1)


def _solve(
    parts: Float[np.ndarray, "units points"], y: Points
) -> Float[np.ndarray, "coefficients"]:
    """v and c of least squares."""
    design = np.concatenate([parts, np.ones((1, y.size))]).T
    return np.linalg.lstsq(design, y, rcond=None)[0]


def _solved(parts: Float[np.ndarray, "units points"], y: Points) -> float:
    found = _solve(parts, y)
    return float(((found[:-1] @ parts + found[-1] - y) ** 2).mean())


def _orthonormal(rows: Float[np.ndarray, "rows points"]) -> Float[np.ndarray, "basis points"]:
    """A basis of the span of functions, by Gram and Schmidt; what adds nothing is left out."""
    basis: list[Points] = []
    for row in rows:
        rest = row.copy()
        for one in (*basis, *basis):
            rest -= (rest @ one) * one
        if float(rest @ rest) > 1e-20 * float(row @ row):
            basis.append(rest / np.sqrt(rest @ rest))
    return np.stack(basis)


def _checked(sizes: Sequence[int], width: int) -> list[int]:
    count = [int(n) for n in sizes]
    if not count or any(n < 1 or n > width for n in count) or count != list(sizes):
        raise BadTable(
            f"Numbers of neurons must be whole and from 1 to {width}, got {list(sizes)}."
        )
    return sorted(set(count))
