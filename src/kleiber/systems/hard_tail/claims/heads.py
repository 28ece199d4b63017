"""Claims on CIFAR-10H: linear heads trained with one human label per image.

Standard errors are over seeds: the split into training and test images, and the labels drawn.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.claim import Claim, Context, Estimate, estimate
from kleiber.data.cifar10h import load_cifar10h
from kleiber.maths.seeds import stream
from kleiber.systems.hard_tail.heads import WINDOW, class_features, train_heads, window_exponents

FOLD = 4  # how much k grows at least in a window
SIZES = (8, 16, 32, 48, 64, 80, 128, 256, 1024, 8000)
Compute = Callable[[Context], Estimate]


def heads(context: Context, products: bool) -> pl.DataFrame:
    """Train heads on 11 features, or on 66 with products: seed, n_data, k, failure, loss."""

    def train() -> pl.DataFrame:
        data = load_cifar10h()
        features = class_features(data.probabilities, products=products)
        seeds = context.choose(quick=40, laptop=400, full=2000)
        return train_heads(features, data.counts, SIZES, seeds=seeds, seed=context.seed)

    return context.share(f"heads {products}", train)


def exponents(
    context: Context, products: bool, window: tuple[int, ...] | None = None
) -> dict[int, Float[np.ndarray, "seeds"]]:
    """Return the window exponents by n_data, with the seeds in the same order for all."""
    table = heads(context, products)
    found = window_exponents(table) if window is None else window_exponents(table, window)
    parts = found.sort("seed").partition_by("n_data", as_dict=True)
    return {int(size): part["exponent"].to_numpy() for (size,), part in parts.items()}


def over_seeds(values: Float[np.ndarray, "seeds"]) -> Estimate:
    """Estimate the mean with its standard error."""
    return estimate(values.mean(), values.std(ddof=1) / np.sqrt(len(values)))


def over_windows(
    exponents_of: Callable[[tuple[int, ...]], Float[np.ndarray, "seeds"]],
) -> Estimate:
    """Return the mean exponent over k = 1 to 45.

    Its interval covers the windows of k in which k grows at least fourfold.
    """
    value = over_seeds(exponents_of(WINDOW))
    windows = [
        WINDOW[first : last + 1]
        for first in range(len(WINDOW))
        for last in range(first, len(WINDOW))
        if WINDOW[last] >= FOLD * WINDOW[first]
    ]
    each = [float(exponents_of(window).mean()) for window in windows]
    return Estimate(value.value, value.stderr, min(each), max(each))


def exponent_of_any_window(context: Context) -> Estimate:
    """Return the exponent at 8,000 images and 66 features, with an interval over windows of k."""
    return over_windows(lambda window: exponents(context, True, window)[8000])


def exponent_gain(few: int, many: int, *, products: bool = False) -> Compute:
    """Return the gain of the exponent from few to many images, seed by seed."""

    def gain(context: Context) -> Estimate:
        found = exponents(context, products)
        return over_seeds(found[many] - found[few])

    return gain


def late_over_early(context: Context) -> Estimate:
    """Return the exponent over k = 16 to 45 divided by that over k = 1 to 4, at 8,000 images."""
    early, late = (exponents(context, False, w)[8000] for w in ((1, 2, 3, 4), (16, 23, 32, 45)))
    return over_seeds(late / early)


def rank_with_loss(context: Context) -> Estimate:
    """Return the rank correlation of exponent and loss over all sizes of both feature sets."""
    from scipy.stats import spearmanr

    tables = [window_exponents(heads(context, products)) for products in (False, True)]
    both = pl.concat(tables).sort("seed")
    values = [
        float(spearmanr(part["exponent"], part["loss"]).statistic)
        for part in both.partition_by("seed")
    ]
    return over_seeds(np.array(values))


def same_loss(context: Context) -> Estimate:
    """Return the median loss of 66 features at 80 images over that at 8, by a bootstrap over
    seeds."""
    table = window_exponents(heads(context, True)).sort("seed")
    few, many = (table.filter(pl.col("n_data") == size)["loss"].to_numpy() for size in (8, 80))
    rng = stream(context.seed, "same loss")
    rows = rng.integers(len(few), size=(500, len(few)))
    drawn = np.median(many[rows], axis=1) / np.median(few[rows], axis=1)
    return estimate(np.median(many) / np.median(few), drawn.std(ddof=1))


STATEMENTS = (
    Claim(
        "figure 3, CIFAR-10H",
        "beta_eff saturates near 0.27: its value at N = 8,000 is 0.27 (66 features from a "
        "network's probabilities; it depends on the window of k, here 1 to 45).",
        expected=0.27,
        within=0.05,
        compute=exponent_of_any_window,
        known="inconclusive",
        why="The paper's window of k is unknown to us. The number is that of k from 1 to 45, which "
        "is in the range; the interval, 0.19 to 0.41, covers all windows in which k grows at least "
        "fourfold.",
        needs=("cifar10h",),
        source="second-hand",
    ),
    Claim(
        "figure 3, CIFAR-10H",
        "beta_eff rises with N: with 11 features it is larger at N = 8,000 than at N = 32.",
        expected=0.0,
        within=0.0,
        compute=exponent_gain(32, 8000),
        side="at_least",
        needs=("cifar10h",),
        source="abstract",
    ),
    Claim(
        "CIFAR-10H, interpolation peak",
        "beta_eff has no maximum on the way: with 66 features it is larger at N = 48 than at N = "
        "16.",
        expected=0.0,
        within=0.0,
        compute=exponent_gain(16, 48, products=True),
        side="at_least",
        known="fails",
        why="At the interpolation peak (N near d) the loss rises and beta_eff dips: beta_eff "
        "grows as the loss falls, not as N grows.",
        needs=("cifar10h",),
        source="ours",
    ),
    Claim(
        "CIFAR-10H, beta_eff and loss",
        "beta_eff falls as the loss rises: their rank correlation over all N and both sets of "
        "features is -1.",
        expected=-1.0,
        within=0.15,
        compute=rank_with_loss,
        needs=("cifar10h",),
        source="ours",
    ),
    Claim(
        "CIFAR-10H, beta_eff and loss",
        "beta_eff is a function of the loss: at N = 80 and at N = 8 the loss is the same (66 "
        "features), so the difference of beta_eff is 0.",
        expected=0.0,
        within=0.02,
        compute=exponent_gain(8, 80, products=True),
        known="fails",
        why="beta_eff is 0.07 at N = 8 and 0.12 at N = 80; that the loss determines everything "
        "is a property of Gaussian regression.",
        needs=("cifar10h",),
        source="ours",
    ),
    Claim(
        "CIFAR-10H, beta_eff and loss",
        "The loss is indeed the same at both: the ratio of the medians at N = 80 and N = 8 is 1.",
        expected=1.0,
        within=0.4,
        compute=same_loss,
        needs=("cifar10h",),
        source="ours",
    ),
    Claim(
        "CIFAR-10H, window",
        "Failure is a power law in k: its exponent from k = 16 to 45 equals that from k = 1 to "
        "4, so their ratio is 1.",
        expected=1.0,
        within=0.1,
        compute=late_over_early,
        known="fails",
        why="Images for which nobody chose the head's class never succeed, so the curve "
        "flattens; its slope is that of one window only.",
        needs=("cifar10h",),
        source="ours",
    ),
)
