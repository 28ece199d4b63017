"""Claims on width: circle MLPs of several widths, lazy and rich, with the target k^-1.

In the projected model every hidden unit is a random feature: the loss of width N ends at
N^-(alpha beta), and at equal compute rich training wants wider nets than lazy training does. A
neuron of these nets moves and is no random feature, so nothing here tests that floor. The loss of
each width at equal compute C (FLOPs of matrix products, which for two hidden layers go as width^2 x
examples) says which width is best, and the loss at the end of the runs what width is worth. Errors
are from a bootstrap over the seeds of each width.
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.claim import Claim, Context, Estimate, estimate
from kleiber.experiment import Experiment
from kleiber.maths.seeds import stream
from kleiber.maths.slopes import window_slope
from kleiber.systems.feature_learning.claims.circle import LAZY, Compute, circle_spec, trained
from kleiber.table import numbers

DECAY = 1.0
WIDTHS = (6, 8, 12, 16, 24)
WIDE = (8, 12, 16, 24)  # narrower nets often get stuck
SEEDS, BATCH = 12, 128
END = {LAZY: 1000.0, 1.0: 400.0}  # rich nets take smaller steps, and so cost more
LOW, HIGH = 4e6, 1.2e8  # compute that every width reaches, from one end to the other
DRAWS = 400


def width_specs(context: Context, richness: float) -> list[Experiment]:
    """Return one Experiment per width."""
    made: list[Experiment] = []
    for width in WIDTHS:
        spec = circle_spec(context, DECAY, richness=richness, width=width, seeds=SEEDS)
        steps = round(END[richness] / spec.optimiser.rate)
        made.append(Experiment(**spec.model_dump() | {"batch": BATCH, "steps": steps}))
    return made


def width_table(context: Context, richness: float) -> pl.DataFrame:
    """Return the runs of all widths at one richness."""
    return trained(context, width_specs(context, richness)).filter(~pl.col("diverged"))


def losses_at(
    table: pl.DataFrame, width: int, compute: Float[np.ndarray, "places"]
) -> Float[np.ndarray, "seeds places"]:
    """Return each seed's loss of a width, interpolated in compute; NaN beyond its runs."""
    kept = table.filter((pl.col("width") == width) & (pl.col("flops") > 0))
    rows: list[np.ndarray] = []
    for part in kept.sort("seed", "step").partition_by("seed", maintain_order=True):
        x, y = (np.log(numbers(part, name)) for name in ("flops", "loss"))
        rows.append(np.exp(np.interp(np.log(compute), x, y, left=np.nan, right=np.nan)))
    return np.stack(rows)


def best_widths(
    table: pl.DataFrame, compute: Float[np.ndarray, "places"], seed: int
) -> Float[np.ndarray, "draws places"]:
    """Return the width of the lowest mean loss at each compute, for all seeds and then for
    resamples."""
    rng = stream(seed, "best width")
    losses = [losses_at(table, width, compute) for width in WIDTHS]
    rows: list[np.ndarray] = []
    for draw in range(DRAWS + 1):
        means = [
            item[rng.integers(len(item), size=len(item)) if draw else slice(None)].mean(axis=0)
            for item in losses
        ]
        table_of = np.where(np.isfinite(means), means, np.inf)
        rows.append(np.array(WIDTHS, float)[table_of.argmin(axis=0)])
    return np.stack(rows)


def _growth(context: Context, richness: float) -> Float[np.ndarray, "draws"]:
    ends = np.array([LOW, HIGH])
    found = np.log(best_widths(width_table(context, richness), ends, context.seed))
    return (found[:, 1] - found[:, 0]) / math.log(HIGH / LOW)


def shift(context: Context) -> Estimate:
    """Return the exponent of the best width in compute, rich less lazy, from two ends."""
    difference = _growth(context, 1.0) - _growth(context, LAZY)
    return estimate(float(difference[0]), float(difference[1:].std(ddof=1)))


def width_exponent(richness: float) -> Compute:
    """Return minus the slope of the log of the final mean loss against the log of the width."""

    def exponent(context: Context) -> Estimate:
        table = width_table(context, richness)
        last = table.filter(pl.col("step") == pl.col("step").max())
        log_n = np.log(np.array(WIDE, float))
        losses = [last.filter(pl.col("width") == n)["loss"].to_numpy() for n in WIDE]
        value = -float(window_slope(log_n, np.log([item.mean() for item in losses])))
        rng = stream(context.seed, "width exponent")
        drawn = [
            np.log([rng.choice(item, len(item)).mean() for item in losses]) for _ in range(DRAWS)
        ]
        spread = float(window_slope(log_n, np.array(drawn)).std(ddof=1))
        return estimate(value, spread * math.sqrt(SEEDS / (SEEDS - 1)))

    return exponent


STATEMENTS = (
    Claim(
        "circle nets, width",
        "Lazy training leaves narrow nets behind: the loss at t = 1,000 falls with the width, "
        "with an exponent of at least 0.1 over widths 8 to 24 (target k^-1).",
        expected=0.1,
        within=0.0,
        side="at_least",
        compute=width_exponent(LAZY),
        scale="laptop",
        source="ours",
    ),
    Claim(
        "circle nets, width",
        "The floor of width, N^-(alpha beta) = 1/N, is one of the projected model only: the loss "
        "of rich nets at t = 400 falls with the width with an exponent of at most 0.5 over widths "
        "8 to 24.",
        expected=0.5,
        within=0.0,
        side="at_most",
        compute=width_exponent(1.0),
        scale="laptop",
        source="ours",
    ),
    Claim(
        "circle nets, compute",
        "Feature learning moves compute from time to width: the exponent of the best width in "
        "compute is larger for rich nets than for lazy ones (C from 4e6 to 1.2e8 FLOPs).",
        expected=0.0,
        within=0.0,
        side="at_least",
        compute=shift,
        scale="laptop",
        known="inconclusive",
        why="The best widths are 6 or 8 for rich nets and 8 to 16 for lazy ones, and they differ "
        "between resamples of the 12 seeds.",
        source="ours",
    ),
)
