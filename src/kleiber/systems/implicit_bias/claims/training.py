"""Measures for the claims on networks: the two laws from nets trained here, for each norm.

The nets and sizes are those of ``sweep.py``, the exponents those of `reduce.collapse`. The
norm is the textbook spectral complexity, or the one that the released code computes for that net:
the tail variant for CNNs, that of the readout alone for ResNets, the textbook one for ViTs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import fmean, stdev
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import t as student

from kleiber.claim import Context, Estimate, estimate
from kleiber.experiment import CNN, ResNet
from kleiber.systems.implicit_bias.claims.sweep import Case, cases, learning_curves, quick
from kleiber.systems.implicit_bias.collapse import measure_collapse, rescale_curves
from kleiber.systems.implicit_bias.collapse_record import Collapse
from kleiber.systems.implicit_bias.collapse_window import upper_half

LEARNT = 0.85  # runs whose error stays above this have learned nothing (ten classes)
REACH, POINTS = 1.0, 41  # decades of the norm around the optimum, and points of their grid
Compute = Callable[[Context], Estimate]
TEXTBOOK = "log_spectral_complexity"
RELEASED = {"CNN": "log_tail_complexity", "ResNet": "log_fc_complexity", "ViT": TEXTBOOK}


def case_of(context: Context, name: str) -> Case:
    """Return the case of that name at the context's scale; the quick case is in every scale."""
    return next(case for case in (*cases(context.scale), *quick()) if case.name == name)


def curves_of(context: Context, name: str, norm: str) -> pl.DataFrame:
    """Return the learning curves of a case with one of its norms as log_norm, for runs that learn.

    Left out are runs that never leave chance (with the paper's small initial weights narrow nets
    may die) and errors of 0.
    """
    columns = ("model", "dataset", "n_data", "seed", "step", "error")
    learnt = pl.col("error").min().over("n_data", "seed") < LEARNT
    table = learning_curves(context, case_of(context, name)).filter(learnt, pl.col("error") > 0)
    return table.select(*columns, log_norm=norm)


def collapse_of(context: Context, name: str, norm: str, rule: str = "robust") -> Collapse:
    """Fit the two laws of a case, once for all claims."""

    def make() -> Collapse:
        table = curves_of(context, name, norm)
        return measure_collapse(table, rule="robust" if rule == "robust" else "authors")

    return context.share(f"collapse of {name}, {norm}, {rule}", make)


def combined(name: str, norm: str = TEXTBOOK, rule: str = "robust") -> Compute:
    """Return gamma_1 gamma_2 over gamma_measured, with Student's interval over the sizes."""

    def ratio(context: Context) -> Estimate:
        found = collapse_of(context, name, norm, rule)
        product, least = (found.estimates[f"gamma_{k}"] for k in ("predicted", "measured"))
        value = product.value / least.value
        error = math.hypot(product.stderr, value * least.stderr) / abs(least.value)
        half = float(student.ppf(0.975, len(found.log_norm_opt) - 2)) * error
        return Estimate(value, error, value - half, value + half)

    return ratio


def exponent(name: str, which: str, norm: str, rule: str) -> Compute:
    """Return one of the exponents of a case."""

    def value(context: Context) -> Estimate:
        return collapse_of(context, name, norm, rule).estimates[which]

    return value


def spread(name: str, which: str, norm: str = TEXTBOOK) -> Compute:
    """Return the relative spread of raw early curves ("overlap") or rescaled ones ("collapse").

    The error is a jackknife's over seeds: each left out in turn.
    """
    measured: Callable[[Collapse], float] = collapse_spread
    if which == "overlap":
        measured = early_spread

    def relative(context: Context) -> Estimate:
        table = curves_of(context, name, norm)
        seeds = table["seed"].unique().sort().to_list()
        parts = [table.filter(pl.col("seed") != seed) for seed in seeds]
        without = np.array([measured(measure_collapse(part, rule="robust")) for part in parts])
        spread = float(((without - without.mean()) ** 2).sum())
        error = math.sqrt((len(seeds) - 1) / len(seeds) * spread)
        return estimate(measured(collapse_of(context, name, norm)), error)

    return relative


def early_spread(found: Collapse) -> float:
    """Return the relative spread of raw curves within the window of the early law."""
    return found.overlap


def collapse_spread(found: Collapse) -> float:
    """Return the root-mean-square relative spread of error/error_opt at equal norm/norm_opt.

    It is over the larger half of P, within a decade of the optimum, where at least two curves have
    a value.
    """
    grid = np.linspace(-REACH, REACH, POINTS) * math.log(10)
    large = upper_half(found.curves.n_data)
    parts = rescale_curves(found).filter(pl.col("n_data").is_in(large)).partition_by("n_data")
    y = np.array(
        [np.interp(grid, np.log(part["x"]), part["y"], left=np.nan, right=np.nan) for part in parts]
    )
    held = y[:, np.isfinite(y).sum(0) >= 2]
    relative = np.nanstd(held, axis=0, ddof=1) / np.nanmean(held, axis=0)
    return float(np.sqrt((relative**2).mean()))


def falls(name: str, norm: str = TEXTBOOK) -> Compute:
    """Return the share of steps between checkpoints in which the norm falls."""

    def share(context: Context) -> Estimate:
        table = curves_of(context, name, norm).sort("step")
        moved = table.group_by("n_data", "seed").agg(pl.col("log_norm").diff().drop_nulls())
        steps = moved["log_norm"].explode().to_numpy()
        return estimate(float((steps < 0).mean()))

    return share


def augmented_gap(name: str) -> Compute:
    """Return the error on augmented test images over that on plain ones at the end of training.

    It is a geometric mean over sizes, with its standard error over seeds.
    """

    def ratio(context: Context) -> Estimate:
        table = learning_curves(context, case_of(context, name))
        last = table.filter(pl.col("step") == pl.col("step").max().over("n_data", "seed"))
        logs = last.select("seed", gap=(pl.col("error_augmented") / pl.col("error")).log())
        each = logs.group_by("seed").mean().sort("seed")["gap"].to_numpy()
        value = float(np.exp(each.mean()))
        return estimate(value, value * float(each.std(ddof=1)) / math.sqrt(len(each)))

    return ratio


def augmented_exponent(name: str) -> Compute:
    """Return gamma_measured on augmented test images less that on plain ones."""

    def difference(context: Context) -> Estimate:
        table = learning_curves(context, case_of(context, name))
        least = table.group_by("seed", "n_data").agg(pl.col("error", "error_augmented").min())
        slopes: list[float] = []
        for _, part in least.group_by("seed"):
            logs = part.select(pl.col("n_data", "error", "error_augmented").log()).to_numpy()
            fits = [-np.polyfit(logs[:, 0], logs[:, k], 1)[0] for k in (2, 1)]
            slopes.append(float(fits[0] - fits[1]))
        return estimate(fmean(slopes), stdev(slopes) / math.sqrt(len(slopes)))

    return difference


def blocks_doubled(norm: str) -> Compute:
    """Return what doubling the convolutions of a ResNet's blocks adds to the log of a norm."""

    def gain(context: Context) -> Estimate:
        from kleiber.networks.norms import measure_norms

        module = drawn(ResNet(), context.seed)
        before = measure_norms(module, names=[norm])[norm]
        for name, value in module.named_parameters():
            if value.ndim == 4 and ".path." in name:
                value.data.mul_(2)
        return estimate(measure_norms(module, names=[norm])[norm] - before)

    return gain


def operator_over_flat(context: Context) -> Estimate:
    """Return the operator norm of a convolution over the norm of its flattened kernel.

    The layer is the second of the paper's CNN for MNIST with initial weights, on its 28 x 28 maps;
    the value is a mean of 5.
    """
    from kleiber.networks.norms import convolution_norm
    from kleiber.networks.singular import spectral_norm
    from kleiber.networks.weights import find_weights

    found: list[float] = []
    for member in range(5):
        weight = find_weights(drawn(CNN(hidden=(8,)), context.seed + member))[1]
        found.append(convolution_norm(weight, (32, 28, 28)) / spectral_norm(weight.matrix))
    return estimate(fmean(found), stdev(found) / math.sqrt(5))


def drawn(net: CNN | ResNet, seed: int) -> Any:
    """Return a net for MNIST with initial weights."""
    from kleiber.networks.image_nets import build_module, draw_weights

    module = build_module(net, (1, 28, 28), 10)
    draw_weights(module, seed, gaussian=False, size=1.0)
    return module
