"""Claims on exponents: how the loss falls with the width, and on what this depends.

Losses are measured on a dense grid; that of a seed is the median over the last 1% of its steps. An
exponent is the slope of medians over seeds in a window of widths, with an interval from a bootstrap
over seeds; it holds for the steps, the rate and the meaning of N that are named with it. The
paper's own optimiser, rate and steps are not known to us, so a statement that fails does so in our
settings; its authors note in the second version that the theory is being repaired.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from kleiber.claim import Claim, Context, Estimate
from kleiber.systems.lottery_tickets.claims.runs import at_step, final, losses
from kleiber.systems.lottery_tickets.claims.settings import WINDOW, find
from kleiber.systems.lottery_tickets.width_exponent import width_curve, width_exponent

Compute = Callable[[Context], Estimate]
LAST = "the median over the last 1% of the steps"


def exponent(
    setting: str,
    low: int = WINDOW[0],
    high: int = WINDOW[-1],
    *,
    size: str = "width",
    statistic: str = "median",
    step: int | None = None,
) -> Compute:
    """Return the exponent of a setting's final loss, or of the loss at a step, over some widths."""

    def compute(context: Context) -> Estimate:
        row = exponent_row(
            context, setting, low, high, size=size, statistic=statistic, step=step
        ).row(0, named=True)
        names = ("", "_stderr", "_low", "_high")
        return Estimate(*(row[f"exponent{name}"] for name in names))

    return compute


def exponent_row(
    context: Context,
    setting: str,
    low: int = WINDOW[0],
    high: int = WINDOW[-1],
    *,
    size: str = "width",
    statistic: str = "median",
    step: int | None = None,
    y: str = "loss",
) -> pl.DataFrame:
    """Return the row of width_exponent with the setting, its steps, rate and schedule."""
    widths = [n for n in find(setting).widths(context) if low <= n <= high]
    table = losses(context, setting, widths)
    table = final(table) if step is None else at_step(table, step)
    row = width_exponent(table, low, high, size=size, statistic=statistic, y=y, seed=context.seed)
    chosen = find(setting)
    return row.with_columns(
        setting=pl.lit(setting),
        step=pl.lit(table["step"][0]),
        rate=pl.lit(chosen.rate),
        schedule=pl.lit(chosen.schedule),
    )


def middle(setting: str, width: int) -> Compute:
    """Return the median over seeds of a setting's final loss at one width."""

    def compute(context: Context) -> Estimate:
        curve = width_curve(final(losses(context, setting, [width])), seed=context.seed)
        row = curve.row(0, named=True)
        return Estimate(*(row[f"loss{name}"] for name in ("", "_stderr", "_low", "_high")))

    return compute


def growth(setting: str, low: int, high: int) -> Compute:
    """Return the median loss at the width `high` divided by that at the width `low`."""

    def compute(context: Context) -> Estimate:
        few, many = (middle(setting, n)(context) for n in (low, high))
        error = float(np.hypot(few.stderr / few.value, many.stderr / many.value))
        ratio = many.value / few.value
        ends = (ratio * np.exp(sign * 2 * error) for sign in (-1, 1))
        return Estimate(ratio, ratio * error, *map(float, ends))

    return compute


def between(first: Compute, second: Compute) -> Compute:
    """Return the difference of two estimates that come from different seeds or nets."""

    def compute(context: Context) -> Estimate:
        a, b = first(context), second(context)
        error = float(np.hypot(a.stderr, b.stderr))
        value = a.value - b.value
        return Estimate(value, error, value - 2 * error, value + 2 * error)

    return compute


def mean_over_median(context: Context) -> Estimate:
    """Return the mean loss of nets of two neurons divided by their median loss."""
    own = final(losses(context, "silu", [2]))["loss"].to_numpy()
    rng = np.random.default_rng(context.seed)
    drawn = own[rng.integers(len(own), size=(1000, len(own)))]
    ratios = drawn.mean(1) / np.median(drawn, axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    value = own.mean() / np.median(own)
    return Estimate(float(value), float(ratios.std(ddof=1)), float(low), float(high))


def repeated(context: Context) -> Estimate:
    """Return the largest difference of losses between two trainings of the same seeds (N = 8)."""
    from kleiber.networks.loop import train_nets  # here: torch takes seconds to import

    spec = find("silu").experiment(8, tuple(range(4)))
    spec = spec.model_copy(update={"steps": 1000, "checkpoints": (1000,)})
    one, two = (train_nets(spec).table["loss"].to_numpy() for _ in range(2))
    worst = float(np.abs(one - two).max())
    return Estimate(worst, np.nan, worst, worst)


STATEMENTS = (
    Claim(
        "abstract, figure 1",
        "SiLU nets on x^2 have the exponent 1, not 4: it is 1.1 over N = 8 to 64 after 10,000 "
        "steps of Adam at 1e-3.",
        expected=1.1,
        within=0.35,
        compute=exponent("silu"),
        source="abstract",
    ),
    Claim(
        "abstract, figure 1, check 5",
        "The same exponent, measured with 500 seeds (N = 8) to 64 seeds (N = 64), lies between "
        "0.95 and 1.3.",
        expected=1.125,
        within=0.175,
        compute=exponent("silu"),
        scale="laptop",
        source="ours",
    ),
    Claim(
        "abstract, figure 1, check 5",
        "The exponent over N = 8 to 128 is 1.07.",
        expected=1.07,
        within=0.15,
        compute=exponent("silu", 8, 128),
        scale="laptop",
        source="ours",
    ),
    Claim(
        "figure 1, check 5",
        "The median loss at N = 8 is 1e-4.",
        expected=1e-4,
        within=2e-5,
        compute=middle("silu", 8),
        scale="laptop",
        source="ours",
    ),
    Claim(
        "figure 1, check 5",
        "The median loss at N = 32 is 1.85e-5.",
        expected=1.85e-5,
        within=3.5e-6,
        compute=middle("silu", 32),
        scale="laptop",
        source="ours",
    ),
    Claim(
        "figure 1, check 5",
        "The median loss at N = 64 is 9e-6.",
        expected=9e-6,
        within=2e-6,
        compute=middle("silu", 64),
        scale="laptop",
        source="ours",
    ),
    Claim(
        "figure 1",
        "The N^-1 law holds from the smallest N on: the exponent over N = 2 to 8 is 1.",
        expected=1.0,
        within=0.5,
        compute=exponent("silu", 2, 8),
        known="fails",
        why="Nets of two neurons end at 2e-2 and nets of eight at 1e-4: the exponent is near 4 "
        "there, and falls to 1 for wider nets.",
        source="second-hand",
    ),
    Claim(
        "figure 1",
        "The N^-1 law continues to wide nets: the exponent over N = 128 to 1,024 is 1.",
        expected=1.0,
        within=0.5,
        compute=exponent("silu", 128, 1024),
        known="fails",
        why="The loss rises beyond N = 256, where Adam at a constant rate oscillates.",
        scale="laptop",
        source="ours",
    ),
    Claim(
        "figure 1",
        "The exponent is a property of the net and not of the training time: its values after "
        "460 and after 2,900 steps differ by 0.",
        expected=0.0,
        within=0.3,
        compute=between(exponent("silu", step=464), exponent("silu", step=2894)),
        known="fails",
        why="The exponent falls from 2.5 to 0.8, rises to 1.7 and falls again: it lies between "
        "0.8 and 1.7 only within a window of training time.",
        source="ours",
    ),
    Claim(
        "figure 1",
        "The exponent has no maximum along training either: its values after 5,900 and after "
        "2,900 steps differ by 0.",
        expected=0.0,
        within=0.3,
        compute=between(exponent("silu", step=5878), exponent("silu", step=2894)),
        known="fails",
        why="The exponent rises from 0.8 to 1.7 and falls again as training goes on.",
        source="ours",
    ),
    Claim(
        "figure 1, corrected, check 7",
        "The window of training time closes: the exponent is below 0.5 after 20,000 steps "
        "(losses of the last step).",
        expected=0.5,
        within=0.0,
        compute=exponent("20,000 steps", step=20_000),
        side="at_most",
        scale="laptop",
        source="ours",
    ),
    Claim(
        "figure 1, corrected",
        "With a rate that is annealed from 1e-2 over 40,000 steps the exponent is near 1 again, "
        "at a hundredth of the loss: it is 0.92 over N = 8 to 64.",
        expected=0.92,
        within=0.3,
        compute=exponent("silu annealed"),
        scale="laptop",
        source="ours",
    ),
    Claim(
        "figure 1",
        "With annealing the loss goes on falling for wide nets: the median loss at N = 512 is at "
        "most that at N = 64.",
        expected=1.0,
        within=0.0,
        compute=growth("silu annealed", 64, 512),
        side="at_most",
        known="fails",
        why="A rate of 1e-2 is too high for wide nets; they settle at a higher loss.",
        scale="laptop",
        source="ours",
    ),
    Claim(
        "control T5, check 7",
        "The exponent comes from width itself: it is still 1 if the rate falls as 1/N, so that "
        "nets of all widths move alike.",
        expected=1.0,
        within=0.3,
        compute=exponent("rate 8e-3/N"),
        known="fails",
        why="At one rate a wider net moves faster in the space of functions; without this "
        "advantage it is no better after the same number of steps.",
        source="ours",
    ),
    Claim(
        "control T5, check 7, corrected",
        "The exponent comes from the speed of training: it is below 0 if the rate is 8e-3/N.",
        expected=0.0,
        within=0.0,
        compute=exponent("rate 8e-3/N"),
        side="at_most",
        source="ours",
    ),
    Claim(
        "control T5, check 7, corrected",
        "The exponent is also below 0 if the rate is 3.2e-2/N.",
        expected=0.0,
        within=0.0,
        compute=exponent("rate 3.2e-2/N"),
        side="at_most",
        scale="laptop",
        source="ours",
    ),
    Claim(
        "control T5, check 7, corrected",
        "About half of the exponent remains if the rate falls as N^-1/2: it is 0.48.",
        expected=0.48,
        within=0.15,
        compute=exponent("rate ~ N^-1/2"),
        scale="laptop",
        source="ours",
    ),
    Claim(
        "control, check 7",
        "Another decay of Adam's second moment, 0.99, makes the exponent fall below 0.5.",
        expected=0.5,
        within=0.0,
        compute=exponent("beta2 .99"),
        side="at_most",
        source="ours",
    ),
    Claim(
        "control, check 7",
        "Plain gradient descent at a rate of 0.02 has an exponent below 0.6.",
        expected=0.6,
        within=0.0,
        compute=exponent("gradient descent"),
        side="at_most",
        source="ours",
    ),
    Claim(
        "control",
        "Precision does not matter: the exponents in float64 and in float32 differ by 0.",
        expected=0.0,
        within=0.3,
        compute=between(exponent("float64"), exponent("silu")),
        scale="laptop",
        source="ours",
    ),
    Claim(
        "statistics, check 13",
        "Medians are reported because a few dead nets dominate the means: the ratio of the mean "
        "to the median loss at N = 2 is at least 5.",
        expected=5.0,
        within=0.0,
        compute=mean_over_median,
        side="at_least",
        source="ours",
    ),
    Claim(
        "statistics, check 13",
        "The same seeds give the same losses: the largest difference between two trainings is 0.",
        expected=0.0,
        within=0.0,
        compute=repeated,
        exact="it is the largest difference, and the numbers are the same bits",
        source="ours",
    ),
)
