"""Measures for the claims on circle networks: MLPs with two hidden layers, trained online.

y = sum_k k^-q cos(k theta), activation relu^p of unit second moment, output over N gamma0, centred,
rate eta N gamma0^2, so that t = eta x steps is the lazy kernel's time at every gamma0. The kernel's
eigenvalues fall as k^-2p, so alpha = 2 p and beta = (2 q - 1)/(2 p).

Scale "laptop" trains to t = 200 at width 256, rate 0.04, batch 256, three seeds or more; "full" to
t = 1,000 at rate 0.02 and batch 512. Exponents are slopes of log loss against log t from t = 10 on,
each seed its own, with Student's interval over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.claim import Context, Estimate, student
from kleiber.experiment import MLP, SGD, CircleTask, Experiment
from kleiber.maths.slopes import window_slope
from kleiber.sweeps.run import sweep
from kleiber.systems.feature_learning.flow import Spectrum, march
from kleiber.systems.feature_learning.wide_kernel import circle_spectrum, lazy_loss

Compute = Callable[[Context], Estimate]
POWERS = {"relu": 1, "relu_squared": 2}  # p of the activation relu^p
FIRST = 10.0  # the window of an exponent begins at this time
LAZY = 1e-3  # gamma0 of nets that stay lazy (in double precision)
POINTS, QUICK_POINTS = 16384, 2048
GROUPS = {  # seeds of a target where they are not three, in the groups they were added in
    ("relu", 2.0): (3, 3),
    ("relu_squared", 1.0): (2,),
    ("relu_squared", 1.5): (2,),
    ("relu_squared", 3.0): (2,),
}


def source(decay: float, activation: str = "relu") -> float:
    """Return beta of the target k^-decay for an activation."""
    return (2 * decay - 1) / (2 * POWERS[activation])


def rich_exponent(beta: float) -> float:
    """Return the paper's time exponent with feature learning, beta max(1, 2/(1 + beta))."""
    return beta * max(1.0, 2 / (1 + beta))


def circle_spec(
    context: Context,
    decay: float,
    *,
    activation: str = "relu",
    richness: float = 1.0,
    width: int | None = None,
    seeds: int | None = None,
    skip: int = 0,
) -> Experiment:
    """Return the Experiment of a claim at the context's scale, without the first `skip` seeds."""
    lazy = richness < 0.1
    rate = 0.3 if lazy else context.choose(quick=0.04, laptop=0.04, full=0.02)
    end = context.choose(quick=100.0, laptop=200.0, full=1000.0)
    first = 10_000 * context.seed + skip
    count = seeds or context.choose(quick=5, laptop=3)
    return Experiment(
        task=CircleTask(decay=decay, points=context.choose(quick=QUICK_POINTS, laptop=POINTS)),
        net=MLP(
            width=width or context.choose(quick=64, laptop=256),
            depth=2,
            activation=cast(Any, activation),
            bias=False,
            parameterisation="mean_field",
            richness=richness,
            centred=True,
        ),
        optimiser=SGD(rate=rate),
        steps=round(end / rate),
        batch=context.choose(quick=128, laptop=256, full=512),
        checkpoints=context.choose(quick=24, laptop=48),
        measures=("loss",),
        seeds=tuple(range(first, first + count)),
        dtype="float64" if lazy else "float32",
    )


def trained(context: Context, specs: Sequence[Experiment]) -> pl.DataFrame:
    """Return the table of some Experiments with residuals by mode, saved with the claims."""
    from kleiber.systems.feature_learning.circle_spec import (
        train_with_modes,  # here: it needs torch
    )

    def run() -> pl.DataFrame:
        if context.keep is None:
            tables = [
                train_with_modes(spec).with_columns(
                    run=pl.lit(spec.key()), richness=pl.lit(float(getattr(spec.net, "richness", 1)))
                )
                for spec in specs
            ]
            return pl.concat(tables)
        return sweep(specs, context.keep / "feature_learning_circle", run=train_with_modes)

    return context.share(" ".join(spec.key() for spec in specs), run)


def over_seeds(values: Sequence[float] | Float[np.ndarray, "seeds"]) -> Estimate:
    """Estimate the mean with Student's interval. Raises ValueError for fewer than two values."""
    each = np.asarray(values, float)
    if len(each) < 2:
        raise ValueError("An interval over seeds needs two or more seeds.")
    stderr = float(each.std(ddof=1) / math.sqrt(len(each)))
    return student(float(each.mean()), stderr, len(each) - 1)


def time_exponents(
    table: pl.DataFrame, low: float = FIRST, high: float = math.inf
) -> Float[np.ndarray, "seeds"]:
    """Return minus the slope of log loss against log time of each seed, from low to high."""
    kept = table.filter((pl.col("time") >= low) & (pl.col("time") <= high), ~pl.col("diverged"))
    return np.array(
        [
            -float(window_slope(np.log(part["time"].to_numpy()), np.log(part["loss"].to_numpy())))
            for part in kept.sort("seed", "time").partition_by("seed", maintain_order=True)
        ]
    )


def circle_runs(
    context: Context, decay: float, activation: str = "relu", richness: float = 1.0
) -> pl.DataFrame:
    """Return the runs of a target, in the groups of seeds in which they were added."""
    spec = partial(circle_spec, context, decay, activation=activation, richness=richness)
    groups = GROUPS.get((activation, decay)) if richness == 1 and context.scale != "quick" else None
    if groups is None:
        return trained(context, [spec()])
    skips = [sum(groups[:k]) for k in range(len(groups))]
    return trained(
        context, [spec(seeds=n, skip=skip) for n, skip in zip(groups, skips, strict=True)]
    )


def exponent_of(
    decay: float, *, activation: str = "relu", richness: float = 1.0, low: float = FIRST
) -> Compute:
    """Return the time exponent of trained nets."""
    return lambda context: over_seeds(
        time_exponents(circle_runs(context, decay, activation, richness), low)
    )


def kernel_loss(
    time: Float[np.ndarray, "times"],
    decay: float,
    activation: str = "relu",
    points: int = POINTS,
) -> Float[np.ndarray, "times"]:
    """Return the loss of infinitely wide lazy nets, sum_k k^-2q/4 exp(-2 lambda_k t)."""
    modes = points // 2
    eigenvalues = circle_spectrum(modes, activation=activation, points=8 * points)[1:]
    weights = 0.25 * np.arange(1, modes, dtype=float) ** (-2 * decay)
    return lazy_loss(np.asarray(time, float), eigenvalues, weights)


def kernel_exponent(
    decay: float, low: float, high: float, *, activation: str = "relu", points: int = POINTS
) -> float:
    """Return minus the slope of that loss over a window."""
    time = np.geomspace(low, high, 25)
    loss = kernel_loss(time, decay, activation, points)
    return -float(window_slope(np.log(time), np.log(loss)))


def kernel_claim(decay: float, low: float, high: float, activation: str = "relu") -> Compute:
    """Return a claim's function for the kernel's exponent over a window."""
    return lambda _: Estimate(
        kernel_exponent(decay, low, high, activation=activation), math.nan, math.nan, math.nan
    )


def model_loss(
    time: Float[np.ndarray, "times"],
    decay: float,
    richness: float = 1.0,
    activation: str = "relu",
    points: int = POINTS,
) -> Float[np.ndarray, "times"]:
    """Return the loss of the paper's infinitely wide model with richness gamma on the circle.

    Its spectrum has the eigenvalues of the net's kernel, and its target is the net's.
    """
    modes = points // 2
    k = np.arange(1, modes, dtype=float)
    weights = 0.5 * k ** (-2 * decay)
    eigenvalues = circle_spectrum(modes, activation=activation, points=8 * points)[1:]
    time = np.asarray(time, float)
    path = march(Spectrum(eigenvalues, weights), richness, 2, 1.01 * float(time.max()))
    return 0.5 * path.at(time).missing ** 2 @ weights


def beyond(decay: float, richness: float, activation: str = "relu") -> Compute:
    """Return the exponent of rich nets less that of the solvable model on the circle's spectrum.

    Both are over the same window; with richness 0 the model is the kernel.
    """

    def difference(context: Context) -> Estimate:
        table = circle_runs(context, decay, activation)
        time = np.geomspace(FIRST, float(table["time"].to_numpy().max()), 25)
        points = context.choose(quick=QUICK_POINTS, laptop=POINTS)
        loss = model_loss(time, decay, richness, activation, points)
        slope = -float(window_slope(np.log(time), np.log(loss)))
        return over_seeds(time_exponents(table) - slope)

    return difference


def widened(found: Estimate, shift: float) -> Estimate:
    """Return an estimate whose interval also covers the number shifted by what a finite window
    is known to change."""
    low, high = min(found.low, found.low + shift), max(found.high, found.high + shift)
    return Estimate(found.value, found.stderr, low, high)


def transient(context: Context, decay: float, table: pl.DataFrame) -> tuple[float, float]:
    """Return the exponents of the infinite kernel and of the model (gamma = 1) over the window of
    some runs."""
    points = context.choose(quick=QUICK_POINTS, laptop=POINTS)
    time = np.geomspace(FIRST, float(table["time"].to_numpy().max()), 25)
    kernel, model = (
        -float(window_slope(np.log(time), np.log(model_loss(time, decay, gamma, points=points))))
        for gamma in (0.0, 1.0)
    )
    return kernel, model


def early_exponent(decay: float) -> Compute:
    """Return the time exponent of rich nets; the interval covers how far the infinite kernel is
    from its limit in the same window."""

    def exponent(context: Context) -> Estimate:
        table = circle_runs(context, decay)
        kernel, _ = transient(context, decay, table)
        return widened(over_seeds(time_exponents(table)), source(decay) - kernel)

    return exponent


def early_beyond(decay: float) -> Compute:
    """Return the exponent of rich nets less that of the kernel; the interval covers what the model
    has more than the kernel in the same window."""

    def difference(context: Context) -> Estimate:
        table = circle_runs(context, decay)
        kernel, model = transient(context, decay, table)
        return widened(over_seeds(time_exponents(table) - kernel), kernel - model)

    return difference


def early_over_lazy(decay: float) -> Compute:
    """Return the exponent of rich nets less that of lazy ones from the same weights.

    The interval covers what the model has more than the kernel in the same window, and how far
    these lazy nets are behind the kernel.
    """

    def difference(context: Context) -> Estimate:
        table = circle_runs(context, decay)
        kernel, model = transient(context, decay, table)
        lazy = time_exponents(trained(context, [circle_spec(context, decay, richness=LAZY)]))
        slow = max(kernel - float(lazy.mean()), 0.0)
        return widened(over_lazy(decay)(context), kernel - model - slow)

    return difference


def eigenvalue_slope(activation: str, depth: int = 2) -> Compute:
    """Return minus the slope of log lambda_k against log k of the infinitely wide kernel.

    It is over k = 64 to 1,024, the mean of even and odd k.
    """

    def slope(_: Context) -> Estimate:
        eigenvalues = circle_spectrum(1025, activation=activation, depth=depth, points=1 << 15)
        each = [np.arange(start, 1025, 2) for start in (64, 65)]
        slopes = [-float(window_slope(np.log(k), np.log(eigenvalues[k]))) for k in each]
        return Estimate(float(np.mean(slopes)), math.nan, math.nan, math.nan)

    return slope


def over_lazy(decay: float) -> Compute:
    """Return the exponent of rich nets less that of lazy ones with the same initial weights."""

    def difference(context: Context) -> Estimate:
        rich, lazy = (
            time_exponents(trained(context, [circle_spec(context, decay, richness=richness)]))
            for richness in (1.0, LAZY)
        )
        return over_seeds(rich - lazy)

    return difference


def half_times(
    table: pl.DataFrame, modes: Sequence[int], share: float = 0.5
) -> Float[np.ndarray, "seeds modes"]:
    """Return the first time at which the residual of each mode is below a share; NaN if never."""
    rows: list[list[float]] = []
    for part in table.sort("seed", "time").partition_by("seed", maintain_order=True):
        time = part["time"].to_numpy()
        rows.append([_crossing_time(time, part[f"residual_{k}"].to_numpy(), share) for k in modes])
    return np.array(rows)


def _crossing_time(
    time: Float[np.ndarray, "times"], values: Float[np.ndarray, "times"], share: float
) -> float:
    below = np.flatnonzero(values < share)
    if not len(below) or below[0] == 0:
        return math.nan
    k = int(below[0])
    part = (values[k - 1] - share) / (values[k - 1] - values[k])
    low = max(float(time[k - 1]), 1e-12)
    return float(low * (time[k] / low) ** part)


def mode_slope(decay: float, richness: float, modes: tuple[int, ...]) -> Compute:
    """Return the slope of the log half time against log k over some modes."""

    def slope(context: Context) -> Estimate:
        table = circle_runs(context, decay, richness=richness)
        times = half_times(table, modes)
        if not np.isfinite(times).all():
            raise ValueError("A mode is not learned by the end of the run.")
        return over_seeds(window_slope(np.log(np.array(modes, float)), np.log(times)))

    return slope


def lazy_prediction(context: Context) -> Estimate:
    """Return the largest relative difference between trained lazy nets and their linearisation.

    Nets of richness 0.001 in double precision on a circle of few points, each against its own
    empirical kernel there, over times from 0.5 to the end.
    """
    from kleiber.networks.ntk import initial_ntk, linearise
    from kleiber.networks.task import make_data

    points, width = context.choose(quick=(256, 64), laptop=(512, 64), full=(1024, 256))
    spec = circle_spec(context, 1.0, richness=LAZY, width=width, seeds=3)
    fields: dict[str, Any] = spec.model_dump()
    fields |= {"task": fields["task"] | {"points": points}, "batch": 1024}
    small = Experiment(**fields)
    table = trained(context, [small])
    data = make_data(small)
    worst: list[float] = []
    for seed in small.seeds:
        spectrum = linearise(initial_ntk(small, data.test[0], seed=seed, data=data), data.test[1])
        part = table.filter((pl.col("seed") == seed) & (pl.col("time") > 0.5))
        rate = small.optimiser.rate
        predicted = spectrum.loss(part["time"].to_numpy(), rate=rate)
        worst.append(float(np.abs(part["loss"].to_numpy() / predicted - 1).max()))
    return over_seeds(worst)
