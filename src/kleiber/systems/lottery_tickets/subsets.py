"""Errors of parts of a net: subsets scaled up, refitted, solved by least squares, and pruned nets.

With g_i the output of each of a net's N parts, n of them drawn at random and scaled by N/n have, in
the mean over all subsets, exactly the error

    MSE(n) = MSE(N) + N <S^2> (N/n - 1),   S^2(x) = sum_i (g_i - mean g)^2/(N - 1),

for every net (sampling without replacement). So the fall as 1/n says nothing; informative is the
drop at n = N, MSE(N/2)/MSE(N) = 1 + N <S^2>/MSE(N), which is 2 for an average of N independent
parts without bias. A ticket is a mirrored pair, so the parts of `extrapolate_subsets` are the
matched pairs and the neurons without a partner, and the constant c, which all tickets share, is
refitted for every subset. Half of a pair is not a ticket: for neurons drawn one by one
(`extrapolate_neurons`) the error drops by orders of magnitude in an exact ensemble of tickets too.

Tickets' weights may differ. Let G_k be the outputs of the matched pairs and of neurons without a
partner, and E_k the remainder of G_k without its parts along 1, x and the target. Then the error of
f is sum_k E_k, and

    synergy = sum_k <E_k^2>/<(sum_k E_k)^2>

is 1 if tickets err independently, below 1 if they share an error, above 1 if they cancel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from kleiber.claim import Estimate
from kleiber.errors import BadTable
from kleiber.maths.seeds import stream
from kleiber.systems.lottery_tickets.intervals import median_of, ratio_of
from kleiber.systems.lottery_tickets.nets import (
    Nets,
    Points,
    Seeds,
    check_target,
    contributions,
    draw_nets,
    features,
    mean_squares,
)
from kleiber.systems.lottery_tickets.pairs import Pairs, match_neurons
from kleiber.systems.lottery_tickets.shares import By, neuron_shares
from kleiber.systems.lottery_tickets.solutions import (
    POINTS_PER_NEURON,
    check_sizes,
    make_basis,
    refit_scale,
    solve_outer,
    solved_error,
)

Refit = Literal["none", "scale", "all"]
REFITS = ("none", "scale", "all")
DRAWS = 16

Scaled = Callable[[Sequence[int]], Float[np.ndarray, "seeds sizes"]]
Refitted = Callable[[int, Refit, int], Float[np.ndarray, "seeds draws"]]


@dataclass(frozen=True)
class Subsets:
    """The error of n parts of a net, by ascending n, as medians over nets.

    The parts are scaled up, or their scale and constant are refitted, or all v are refitted (None
    if there are too few points). `unit` is "ticket" or "neuron". `slope` is that of log scaled
    against log n up to a quarter of the parts, `drop` the error of half of them divided by that of
    all: for tickets the ratio of means over nets, for neurons the median ratio.
    """

    sizes: tuple[int, ...]
    scaled: tuple[Estimate, ...]
    refitted: tuple[Estimate, ...]
    solved: tuple[Estimate | None, ...]
    slope: Estimate
    drop: Estimate
    unit: str


@dataclass(frozen=True)
class Pruning:
    """The error of nets from which neurons are removed, by ascending number of those kept.

    Values are medians over nets. Neurons of the smallest |share| are removed first; `at_random` is
    the same with a random order.
    """

    kept: tuple[int, ...]
    fraction: tuple[float, ...]
    mse: tuple[Estimate, ...]
    at_random: tuple[Estimate, ...]
    refit: str


def scaled_curve(
    nets: Nets, x: ArrayLike, y: ArrayLike, sizes: Sequence[int]
) -> Float[np.ndarray, "seeds sizes"]:
    """Return the exact mean error over all scaled-up subsets of each size. Raises BadTable."""
    inputs, target = check_target(x, y)
    count = check_sizes(sizes, nets.width)
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
    """Return the errors of random subsets of neurons after refitting.

    `refit` is "scale" for scale and constant, or "all" for all v and c by least squares in float64.
    Raises BadTable.
    """
    inputs, target = check_target(x, y)
    check_sizes([size], nets.width)
    rng = stream(seed, f"subsets {size}")
    found = np.empty((len(nets.w), draws))
    for member, parts in enumerate(features(nets, inputs)):
        chosen = np.argsort(rng.random((draws, nets.width)), axis=1)[:, :size]
        if refit == "all":
            found[member] = [solved_error(parts[rows], target) for rows in chosen]
        elif refit == "scale":
            found[member] = refit_scale(
                (nets.v[member, chosen, None] * parts[chosen]).sum(1), target
            )
        else:
            raise BadTable(f"The refit must be 'scale' or 'all' for subsets, got {refit!r}.")
    return found


def extrapolate_subsets(
    nets: Nets,
    x: ArrayLike,
    y: ArrayLike,
    *,
    sizes: Sequence[int] | None = None,
    draws: int = DRAWS,
    pairs: Pairs | None = None,
    seed: int = 0,
) -> Subsets:
    """Measure how the error of n random tickets approaches that of a whole net, in three ways.

    A ticket is a matched pair of mirrored neurons (`pairs`, by default those of `match_neurons`) or
    a neuron without a partner; the constant is refitted for every subset. A net of pairs only has
    ceil(N/2) tickets; for a net with more, n stands for the same share of them. `sizes` are by
    default the powers of 2 up to ceil(N/2), and half of it. If tickets err independently,
    `slope` is -1 and `drop` 2. Needs 4 nets of width 8 or more. Raises BadTable.
    """
    inputs, target = check_target(x, y)
    _check_width(nets)
    whole = (nets.width + 1) // 2
    members = _memberships(nets, pairs or match_neurons(nets))
    outer = contributions(nets, inputs)
    units = [_centred(own @ parts) for own, parts in zip(members, outer, strict=True)]
    moments = np.array([_subset_moments(own, target) for own in units])
    hidden = features(nets, inputs)

    def scaled(count: Sequence[int]) -> Float[np.ndarray, "seeds sizes"]:
        return moments[:, :1] + moments[:, 1:] * (whole / np.array(count) - 1)

    def refitted(n: int, refit: Refit, count_drawn: int) -> Float[np.ndarray, "seeds draws"]:
        rng = stream(seed, f"tickets {n}")
        found: list[Float[np.ndarray, "draws"]] = []
        for own, member, activations in zip(units, members, hidden, strict=True):
            drawn = max(round(len(own) * n / whole), 1)
            chosen = np.argsort(rng.random((count_drawn, len(own))), axis=1)[:, :drawn]
            if refit == "scale":
                found.append(refit_scale(own[chosen].sum(1), target))
            else:
                each = [solved_error(activations[member[k].any(0)], target) for k in chosen]
                found.append(np.array(each))
        return np.stack(found)

    drop = ratio_of(moments.sum(1), np.maximum(moments[:, 0], np.finfo(float).tiny), seed=seed)
    count = _choose_sizes(sizes, whole, "tickets")
    maximum = inputs.size // (2 * POINTS_PER_NEURON)
    return _collect("ticket", count, whole, draws, (scaled, refitted), maximum, drop)


def extrapolate_neurons(
    nets: Nets,
    x: ArrayLike,
    y: ArrayLike,
    *,
    sizes: Sequence[int] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Subsets:
    """Measure how the error of n random neurons approaches that of all N, in three ways.

    This is not a test of tickets, which are pairs: see `extrapolate_subsets`. `sizes` are by
    default the powers of 2 up to N, and N/2. Needs 4 nets of width 8 or more. Raises BadTable.
    """
    inputs, target = check_target(x, y)
    _check_width(nets)
    width = nets.width

    def scaled(count: Sequence[int]) -> Float[np.ndarray, "seeds sizes"]:
        return scaled_curve(nets, inputs, target, count)

    def refitted(n: int, refit: Refit, count_drawn: int) -> Float[np.ndarray, "seeds draws"]:
        return refitted_errors(nets, inputs, target, n, refit=refit, draws=count_drawn, seed=seed)

    half, last = scaled([width // 2, width]).T
    drop = median_of(half / np.maximum(last, np.finfo(float).tiny))
    count = _choose_sizes(sizes, width, "neurons")
    maximum = inputs.size // POINTS_PER_NEURON
    return _collect("neuron", count, width, draws, (scaled, refitted), maximum, drop)


def _check_width(nets: Nets) -> None:
    if nets.width < 8:
        raise BadTable(f"Subsets need a width of at least 8, got {nets.width}.")


def _choose_sizes(sizes: Sequence[int] | None, whole: int, what: str) -> list[int]:
    if sizes is not None:
        return check_sizes(sizes, whole, what)
    powers = {2**k for k in range(whole.bit_length()) if 2**k <= whole}
    return sorted(powers | {whole // 2, whole})


def _collect(
    unit: str,
    count: Sequence[int],
    whole: int,
    draws: int,
    curves: tuple[Scaled, Refitted],
    maximum: int,
    drop: Estimate,
) -> Subsets:
    """Make the record of subsets of each size; least squares is used up to ``maximum`` parts."""
    scaled, errors = curves
    solved: list[Estimate | None] = []
    refitted: list[Estimate] = []
    for n in count:
        count_drawn = draws if n < whole else 1
        refitted.append(median_of(np.median(errors(n, "scale", count_drawn), axis=1)))
        all_of_them = np.median(errors(n, "all", count_drawn), axis=1) if n <= maximum else None
        solved.append(None if all_of_them is None else median_of(all_of_them))
    quarter = max(whole // 4, 2)
    small = [n for n in (1, 2, *range(4, quarter + 1, 2)) if n <= quarter]
    log_n = np.log(small)
    weights = (log_n - log_n.mean()) / ((log_n - log_n.mean()) ** 2).sum()
    return Subsets(
        tuple(count),
        tuple(median_of(column) for column in scaled(count).T),
        tuple(refitted),
        tuple(solved),
        median_of(np.log(scaled(small)) @ weights),
        drop,
        unit,
    )


def _memberships(nets: Nets, pairs: Pairs) -> list[Float[np.ndarray, "tickets width"]]:
    """Return the membership matrix of each net: pairs first, then neurons without a partner."""
    if len(pairs.left) != len(nets.w) or pairs.width != nets.width:
        raise BadTable(
            f"The pairs belong to {len(pairs.left)} nets of width {pairs.width}, but the nets "
            "given "
            f"are {len(nets.w)} of width {nets.width}."
        )
    each = np.eye(nets.width)
    found: list[Float[np.ndarray, "tickets width"]] = []
    for left, right in zip(pairs.left, pairs.right, strict=True):
        alone = np.setdiff1d(np.arange(nets.width), np.concatenate([left, right]))
        found.append(np.concatenate([each[left] + each[right], each[alone]]))
    return found


def _centred(parts: Float[np.ndarray, "units points"]) -> Float[np.ndarray, "units points"]:
    return parts - parts.mean(1, keepdims=True)


def _subset_moments(units: Float[np.ndarray, "units points"], y: Points) -> tuple[float, float]:
    """Return the error of all units with the best constant, and what half of the units add to
    it."""
    error = units.sum(0) - (y - y.mean())
    spread = units.var(axis=0, ddof=min(1, len(units) - 1)).mean()
    return float((error**2).mean()), float(len(units) * spread)


def cancellation(
    nets: Nets, x: ArrayLike, y: ArrayLike, *, pairs: Pairs | None = None
) -> tuple[Seeds, Seeds]:
    """Return sum_k <E_k^2> and <(sum_k E_k)^2> of each net over its tickets; see the module.

    Raises BadTable.
    """
    inputs, target = check_target(x, y)
    basis = make_basis(np.stack([np.ones_like(inputs), inputs, target]))
    pairs = pairs or match_neurons(nets)
    separate, together = np.empty(len(nets.w)), np.empty(len(nets.w))
    members = _memberships(nets, pairs)
    for member, parts in enumerate(contributions(nets, inputs)):
        units = members[member] @ parts
        own = units - (units @ basis.T) @ basis
        separate[member] = (own**2).mean(1).sum()
        together[member] = (own.sum(0) ** 2).mean()
    return separate, together


def solve_nets(nets: Nets, x: ArrayLike, y: ArrayLike) -> Nets:
    """Return nets with the same neurons and the v and c of least squares. Raises BadTable."""
    inputs, target = check_target(x, y)
    if nets.width * POINTS_PER_NEURON > inputs.size:
        raise BadTable(
            f"Least squares on {nets.width} neurons needs {nets.width * POINTS_PER_NEURON} points "
            f"or more, got {inputs.size}."
        )
    found = [solve_outer(parts, target) for parts in features(nets, inputs)]
    v, c = np.stack([each[:-1] for each in found]), np.array([each[-1] for each in found])
    return replace(nets, v=v, c=c)


def random_features(
    width: int, x: ArrayLike, y: ArrayLike, *, activation: str = "silu", seeds: int = 16
) -> Nets:
    """Return nets with initial w and b and the v and c of least squares: untrained features.

    Raises BadTable.
    """
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
    """Remove neurons, those of the smallest |share| first, and measure the remaining nets' errors.

    `refit` says whether nothing, scale and constant, or all v and c are refitted. `kept` are by
    default the powers of 2 and N. At least 4 nets are needed. Raises BadTable.
    """
    inputs, target = check_target(x, y)
    width = nets.width
    powers = [2**k for k in range(width.bit_length()) if 2**k < width]
    count = check_sizes([*powers, width] if kept is None else kept, width)
    if refit not in REFITS:
        raise BadTable(f"The refit must be one of {', '.join(REFITS)}, got {refit!r}.")
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
    """Return the errors of the first neurons in an order, for each number of them."""
    found = np.empty((len(order), len(count)))
    for member, parts in enumerate(features(nets, x)):
        sorted_parts = parts[order[member]]
        if refit == "all":
            found[member] = [solved_error(sorted_parts[:n], y) for n in count]
            continue
        sums = np.cumsum(nets.v[member, order[member], None] * sorted_parts, axis=0)
        partial_sums = sums[np.array(count) - 1]
        if refit == "scale":
            found[member] = refit_scale(partial_sums, y)
        else:
            found[member] = ((partial_sums + nets.c[member] - y) ** 2).mean(1)
    return found
