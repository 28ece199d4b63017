"""Claims on the inside of trained nets: tickets, ensembling, and the evidence against them.

Liu and Tegmark explain N^-1 by lottery tickets: mirrored pairs of neurons whose errors average as
in the central limit theorem; their second version says that this theory is being repaired. The
numbers are ours throughout, so "fails" refers to the mechanism in our settings (the paper's
optimiser, rate and steps are not known to us). Standard errors are over seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kleiber.claim import Claim, Context, Estimate
from kleiber.systems.lottery_tickets.claims.ensembling import STATEMENTS as ENSEMBLING
from kleiber.systems.lottery_tickets.claims.ensembling import WINDOW, kept
from kleiber.systems.lottery_tickets.claims.narrow import GRID, SQUARE, Compute, trained
from kleiber.systems.lottery_tickets.claims.narrow import STATEMENTS as NARROW
from kleiber.systems.lottery_tickets.claims.runs import nets as runs
from kleiber.systems.lottery_tickets.intervals import mean_of, median_of, ratio_of, slope_of
from kleiber.systems.lottery_tickets.nets import draw_nets, mean_squares
from kleiber.systems.lottery_tickets.pairs import judge_solo, pair_excess, pair_shares
from kleiber.systems.lottery_tickets.shares import odd_share, participation
from kleiber.systems.lottery_tickets.subsets import (
    cancellation,
    extrapolate_neurons,
    extrapolate_subsets,
    random_features,
    refitted_errors,
    solve_nets,
)

CLOSE = 0.1  # largest distance of a mirrored pair


def even(context: Context) -> Estimate:
    """Return the share of the error that is odd in x, for N = 32."""
    return median_of(odd_share(kept(context, "silu", 32), GRID, SQUARE))


def pairs_gained(setting: str, width: int) -> Compute:
    """Return the share of neurons in mirrored pairs closer than 0.1, less that before training."""

    def compute(context: Context) -> Estimate:
        nets = trained(context, setting, width)
        before = draw_nets(width, [int(s) for s in runs(context, setting, width).seeds])
        gained = pair_shares(nets, (CLOSE,)) - pair_shares(before, (CLOSE,))
        return mean_of(gained[:, 0])

    return compute


def pairs_beyond_chance(setting: str, width: int) -> Compute:
    """Return the share of such pairs less that between halves of different nets."""
    return lambda context: mean_of(pair_excess(trained(context, setting, width), CLOSE))


def good_pairs(context: Context) -> Estimate:
    """Return the share of matched pairs that reach R^2 > 0.99 on their own, for N = 64."""
    return judge_solo(kept(context, "silu", 64), GRID, SQUARE).good


def participants(context: Context, widths: Sequence[int]) -> dict[int, Any]:
    """Return the participation number of each net, by width."""
    return {n: participation(kept(context, "silu", n), GRID, SQUARE) for n in widths}


def growth(widths: tuple[int, ...]) -> Compute:
    """Return the exponent of the participation number in the width."""
    return lambda context: slope_of(participants(context, widths))


def growth_ratio(context: Context) -> Estimate:
    """Return the median participation number at N = 128 divided by that at N = 16."""
    found = slope_of(participants(context, (16, 128)))
    value, low, high = (8**each for each in (found.value, found.low, found.high))
    return Estimate(value, value * np.log(8) * found.stderr, low, high)


def subsets_of(context: Context, unit: str) -> Any:
    """Measure subsets of the tickets or of the neurons of nets of width 64."""
    extrapolate = extrapolate_subsets if unit == "ticket" else extrapolate_neurons
    return context.share(
        f"subsets by {unit}",
        lambda: extrapolate(kept(context, "silu", 64), GRID, SQUARE, sizes=(1, 16, 32), draws=2),
    )


def fall(context: Context) -> Estimate:
    """Return the exponent of n over subsets of up to a quarter of the tickets."""
    found = subsets_of(context, "ticket").slope
    return Estimate(-found.value, found.stderr, -found.high, -found.low)


def drop(unit: str) -> Compute:
    """Return the error of half of the tickets or neurons divided by that of all."""
    return lambda context: subsets_of(context, unit).drop


def synergy(setting: str, width: int) -> Compute:
    """Return sum_k <E_k^2>/<(sum_k E_k)^2> over tickets."""
    return lambda context: ratio_of(*cancellation(kept(context, setting, width), GRID, SQUARE))


def log_solved(context: Context) -> Estimate:
    """Return log10 of the error of 8 random SiLU features with v and c of least squares."""
    nets = random_features(8, GRID, SQUARE, seeds=context.choose(quick=64, laptop=500))
    return median_of(np.log10(mean_squares(nets, GRID, SQUARE)))


def log_unused(context: Context) -> Estimate:
    """Return log10 of the error of trained nets (N = 8) over that with v and c of least squares."""
    nets = kept(context, "silu", 8)
    errors = [mean_squares(each, GRID, SQUARE) for each in (nets, solve_nets(nets, GRID, SQUARE))]
    return median_of(np.log10(errors[0] / errors[1]))


def log_few(context: Context) -> Estimate:
    """Return log10 of the error of 8 neurons of 64, with v and c refitted, over the net's error."""
    nets = kept(context, "silu", 64)
    draws = context.choose(quick=4, laptop=16)
    few = refitted_errors(nets, GRID, SQUARE, 8, refit="all", draws=draws, seed=context.seed)
    return median_of(np.log10(np.median(few, axis=1) / mean_squares(nets, GRID, SQUARE)))


STATEMENTS = (
    *NARROW,
    *ENSEMBLING,
    Claim(
        "ensembling or synergy, T3, check 10",
        "The error of n random tickets (mirrored pairs), scaled up, falls as 1/n: minus its "
        "slope up to a quarter of the tickets is 1 at N = 64.",
        expected=1.0,
        within=0.3,
        compute=fall,
        why="Sampling without replacement gives this slope for any net: it is no evidence for "
        "tickets.",
        source="ours",
    ),
    Claim(
        "ensembling or synergy, T3, check 10",
        "The 1/n law goes on down to the whole net: the ratio of the error of half of the "
        "tickets to that of all is 2, and at most 3, at N = 64.",
        expected=3.0,
        within=0.0,
        compute=drop("ticket"),
        side="at_most",
        known="fails",
        why="The error falls by orders of magnitude at n = N/2: tickets cancel each other's "
        "errors.",
        source="ours",
    ),
    Claim(
        "ensembling or synergy, T3, check 10, corrected",
        "The ratio of the error of half of the tickets to that of all is at least 1,000 at N = 64.",
        expected=1000.0,
        within=0.0,
        compute=drop("ticket"),
        side="at_least",
        source="ours",
    ),
    Claim(
        "ensembling or synergy, T3, check 10, corrected",
        "The ratio of the error of half of the neurons to that of all is at least 1,000 at N = 64.",
        expected=1000.0,
        within=0.0,
        compute=drop("neuron"),
        side="at_least",
        why="Half of a pair is not a ticket: an exact ensemble of pairs would drop even more.",
        source="ours",
    ),
    *(
        Claim(
            "ensembling or synergy, T3",
            "Tickets err independently: without straight lines and their share of the target, "
            "the ratio of the sum of their squared errors to the square of the sum is 1 at N = "
            f"{n}.",
            expected=1.0,
            within=1.0,
            compute=synergy("silu", n),
            known="fails",
            why="The ratio is over 100: pairs cancel each other, even apart from straight lines.",
            source="ours",
        )
        for n in (16, 64)
    ),
    Claim(
        "ensembling or synergy, T4, check 11",
        "Width does not set the error: log10 of the error of 8 random SiLU neurons, with v and c "
        "by least squares, is at most -10.",
        expected=-10.0,
        within=0.0,
        compute=log_solved,
        side="at_most",
        source="ours",
    ),
    Claim(
        "ensembling or synergy, T4",
        "The error is the least that the trained neurons allow: log10 of its ratio to that of "
        "least squares is 0 at N = 8.",
        expected=0.0,
        within=1.0,
        compute=log_unused,
        known="fails",
        why="Least squares on the same neurons is five orders of magnitude better: training sets "
        "the error.",
        source="ours",
    ),
    Claim(
        "ensembling or synergy, T4",
        "Eight random neurons of a net of 64, with v and c refitted, are better than the net: "
        "log10 of the ratio of the errors is at most -4.",
        expected=-4.0,
        within=0.0,
        compute=log_few,
        side="at_most",
        source="ours",
    ),
    Claim(
        "tickets, figure of (w, b)",
        "The net is an even function: at most 0.12 of its squared error is odd at N = 32.",
        expected=0.12,
        within=0.0,
        compute=even,
        side="at_most",
        source="second-hand",
    ),
    Claim(
        "tickets, figure of (w, b)",
        "Training makes the cloud of (w, b) symmetric: at N = 64 the share of neurons in "
        "mirrored pairs closer than 0.1 is larger after training than before.",
        expected=0.0,
        within=0.0,
        compute=pairs_gained("silu", 64),
        side="at_least",
        source="second-hand",
    ),
    Claim(
        "tickets, definition",
        "Neurons come in mirrored pairs: at N = 64 the share of pairs closer than 0.1 within a "
        "net exceeds that between halves of different nets by at least 5%.",
        expected=0.05,
        within=0.0,
        compute=pairs_beyond_chance("silu", 64),
        side="at_least",
        known="fails",
        why="The left half of a net matches the right half of another net as well as its own: "
        "the density is symmetric, but the neurons are not paired.",
        source="second-hand",
    ),
    Claim(
        "tickets, definition",
        "A single pair does the task: at N = 64 at least half of the matched pairs have R^2 > "
        "0.99 on their own.",
        expected=0.5,
        within=0.0,
        compute=good_pairs,
        side="at_least",
        known="fails",
        why="One pair in twelve does.",
        source="ours",
    ),
    Claim(
        "tickets, number",
        "The number of tickets is proportional to the width: the exponent of the participation "
        "number over N = 8 to 64 is 1.",
        expected=1.0,
        within=0.2,
        compute=growth(WINDOW),
        source="second-hand",
    ),
    Claim(
        "tickets, number, check 12",
        "The participation number at N = 128 is 5.5 times that at N = 16.",
        expected=5.5,
        within=1.5,
        compute=growth_ratio,
        scale="laptop",
        source="ours",
    ),
    Claim(
        "tickets, number",
        "The number of tickets stays proportional to the width for wider nets: the exponent over "
        "N = 128 to 1,024 is 1.",
        expected=1.0,
        within=0.2,
        compute=growth((128, 256, 512, 1024)),
        known="fails",
        why="The share of neurons that participate falls from half at N = 32 to a sixth at N = "
        "1,024.",
        scale="laptop",
        source="ours",
    ),
    Claim(
        "tickets, figure of (w, b)",
        "The cloud of an annealed net of 256 neurons is mirror-symmetric: the share of neurons "
        "in pairs closer than 0.1 is larger after training than before by at least 0.1.",
        expected=0.1,
        within=0.0,
        compute=pairs_gained("silu annealed", 256),
        side="at_least",
        scale="laptop",
        source="ours",
    ),
    Claim(
        "tickets, definition",
        "The neurons of annealed nets are paired: their share of close pairs exceeds that "
        "between halves of different nets by at least 5%.",
        expected=0.05,
        within=0.0,
        compute=pairs_beyond_chance("silu annealed", 256),
        side="at_least",
        known="fails",
        why="For annealed nets, too, halves of different nets match as well.",
        scale="laptop",
        source="ours",
    ),
    Claim(
        "ensembling or synergy, T3",
        "The tickets of ReLU nets err independently: the same ratio is 1 at N = 32 (annealed).",
        expected=1.0,
        within=1.0,
        compute=synergy("relu", 32),
        known="fails",
        why="The ratio is about 1,000.",
        scale="laptop",
        source="ours",
    ),
)
