"""The figures of Bordelon, Atanasov & Pehlevan's paper, from our own theory and networks: those of
the claims at the same scale (docs/papers/feature_learning.md has them at scale laptop)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from kleiber.claim import Context
from kleiber.maths.seeds import stream
from kleiber.systems.drawing import BLUE, GREEN, GREY, RED, Drawing
from kleiber.systems.feature_learning.claims.circle import (
    FIRST,
    LAZY,
    circle_runs,
    half_times,
    kernel_exponent,
    kernel_loss,
    model_loss,
    over_seeds,
    rich_exponent,
    source,
    time_exponents,
)
from kleiber.systems.feature_learning.claims.images import MODERATE, RICH, forecast, passes, window
from kleiber.systems.feature_learning.claims.width import (
    HIGH,
    LOW,
    WIDTHS,
    losses_at,
    width_table,
)
from kleiber.systems.feature_learning.net_figures import frontiers, long_training
from kleiber.systems.feature_learning.theory import FeatureLearning

DECAYS = (0.75, 1.0, 1.25, 1.5, 2.0)
END = 200.0
DRAWS = 400  # resamples of the seeds behind an interval
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2)
FINE_TICKS = (0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05)
FINER_TICKS = (0.036, 0.038, 0.04, 0.042, 0.044, 0.046, 0.048, 0.05)


def mean_curve(table: pl.DataFrame, x: str = "time") -> tuple[np.ndarray, np.ndarray]:
    """Mean loss over seeds at each x above 0."""
    each = table.filter(pl.col(x) > 0).group_by(x).agg(pl.col("loss").mean()).sort(x)
    return each[x].to_numpy(), each["loss"].to_numpy()


def mark(axes: Any, *choices: Sequence[float]) -> None:
    """Write plain numbers along y: the first choice of which three or more are within the axis."""
    low, high = axes.get_ylim()
    parts = [[value for value in choice if low <= value <= high] for choice in choices]
    inside = next((part for part in parts if len(part) >= 3), parts[-1])
    axes.set_yticks(inside, [f"{value:g}" for value in inside])


def theory(draw: Drawing, _: Context) -> Any:
    """Loss against time for a hard and an easy task, lazy and rich, and the kernel's growth."""
    time = np.geomspace(1, 1e8, 120)
    figure = draw.figure(12, 3.9)
    for place, beta in ((1, 0.5), (2, 1.3)):
        word = "Hard" if beta < 1 else "Easy"
        axes = draw.panel(
            figure, (1, 3, place), rf"{word} task, $\beta$ = {beta}", "t: time", "loss"
        )
        for richness, colour in zip((0.0, 0.01, 0.1, 1.0, 10.0), draw.shades(5), strict=True):
            model = FeatureLearning(capacity=1.5, source=beta, richness=richness)
            solved = model.solve({"time": time})
            axes.plot(time, solved["loss"], color=colour, label=rf"$\gamma$ = {richness:g}")
            if richness not in (0.0, 10.0):
                continue
            power, shift = (beta, 4.0) if richness == 0 else (rich_exponent(beta), 0.25)
            guide = shift * float(solved["loss"][-1]) * (time[70:] / time[-1]) ** -power
            axes.plot(time[70:], guide, "--", color=GREY, lw=1)
            place = {"ha": "left" if shift > 1 else "right", "va": "bottom" if shift > 1 else "top"}
            axes.text(time[95], guide[25], f"$t^{{-{power:.3g}}}$", color=GREY, **place)
        axes.legend(loc="lower left")
    axes = draw.panel(figure, (1, 3, 3), "Growth of the kernel", "t: time", "a(t)")
    for beta, colour in zip((0.25, 0.5, 0.75, 1.3), draw.shades(4), strict=True):
        model = FeatureLearning(capacity=1.5, source=beta, richness=1.0)
        solved = model.solve({"time": time})
        axes.plot(time, solved["kernel_growth"], color=colour, label=rf"$\beta$ = {beta}")
    axes.legend(loc="upper left")
    return figure


def exponents(draw: Drawing, context: Context) -> Any:
    """The exponent of time against beta: the theory's two curves, nets, and the window."""
    beta = np.linspace(0.02, 1.7, 200)
    figure = draw.figure(12, 4.4)
    left = draw.panel(
        figure, (1, 2, 1), "Exponent of the loss in time", r"$\beta$: source", r"$\chi$"
    )
    left.plot(beta, beta, color=BLUE, label=r"lazy: $\beta$")
    left.plot(beta, [rich_exponent(b) for b in beta], color=RED, label=r"rich: $2\beta/(1+\beta)$")
    right = draw.panel(
        figure, (1, 2, 2), "The same over t = 10 to 200", r"$\beta$: source", r"$\chi$"
    )
    places = [source(decay) for decay in DECAYS]
    lazy = [kernel_exponent(decay, 1e3, 1e5) for decay in DECAYS]
    left.plot(places[1:], lazy[1:], "s", color=BLUE, mec="white", label="kernel, t = 1e3 to 1e5")
    time = np.geomspace(FIRST, END, 25)
    models = [model_loss(time, decay) for decay in DECAYS]
    slopes = [-np.polyfit(np.log(time), np.log(loss), 1)[0] for loss in models]
    window_lazy = [kernel_exponent(decay, FIRST, END) for decay in DECAYS]
    right.plot(places, window_lazy, "-", color=BLUE, label="kernel of infinite width")
    right.plot(
        places, slopes, "-", color=RED, label=r"model on the circle's spectrum, $\gamma$ = 1"
    )
    for decay in DECAYS:
        for richness, colour in ((1.0, RED), (LAZY, BLUE)):
            if richness == LAZY and decay == 1.25:
                continue
            found = over_seeds(time_exponents(circle_runs(context, decay, richness=richness)))
            axes = (left, right) if richness == 1.0 else (right,)
            for each in axes:
                label = None
                if decay == 1.0:
                    label = "nets, gamma0 = 1" if richness == 1.0 else "nets, gamma0 = 0.001"
                each.errorbar(
                    [source(decay)], [found.value],
                    [[found.value - found.low], [found.high - found.value]],
                    fmt="o", color=colour, mec="white", ms=6, lw=1.2, label=label, zorder=4,
                )  # fmt: skip
    for axes in (left, right):
        axes.set(xscale="linear", yscale="linear", xlim=(0, 1.7), ylim=(0, 1.75))
        axes.axvline(1, color=GREY, lw=0.8, ls=":")
        axes.legend(loc="upper left")
    return figure


def circles(draw: Drawing, context: Context) -> Any:
    """Loss curves of circle nets, lazy and rich, and when each mode is learned."""
    figure = draw.figure(12, 3.9)
    time = np.geomspace(0.3, END, 60)
    for place, decay in ((1, 1.0), (2, 2.0)):
        word = "Hard" if source(decay) < 1 else "Easy"
        title = rf"{word}: $k^{{-{decay:g}}}$, $\beta$ = {source(decay):g}"
        axes = draw.panel(figure, (1, 3, place), title, "t: time", "loss")
        for richness, colour, name in ((LAZY, BLUE, "lazy nets"), (1.0, RED, "rich nets")):
            table = circle_runs(context, decay, richness=richness)
            for part in table.filter(pl.col("time") > 0.2).partition_by("seed"):
                axes.plot(part["time"], part["loss"], color=colour, lw=0.6, alpha=0.5)
            x, y = mean_curve(table.filter(pl.col("time") > 0.2))
            axes.plot(x, y, color=colour, lw=1.6, label=name)
        axes.plot(time, kernel_loss(time, decay), "--", color=GREY, label="kernel, infinite width")
        axes.plot(time, model_loss(time, decay), ":", color="black", label=r"model, $\gamma$ = 1")
        axes.legend(loc="lower left")
    _draw_modes(draw.panel(figure, (1, 3, 3), "Mode by mode", "k: mode", ""), context)
    return figure


def _draw_modes(axes: Any, context: Context) -> None:
    """Draw when half of each mode is learned, seed by seed, beside powers of k."""
    modes = (2, 4, 8, 16, 32)
    k = np.array(modes, float)
    for decay, richness, colour, shape, at in (
        (1.0, LAZY, BLUE, "s", 1), (1.0, 1.0, RED, "o", 2), (0.75, 1.0, GREEN, "^", 2),
    ):  # fmt: skip
        found = half_times(circle_runs(context, decay, richness=richness), modes)
        shown = k[np.isfinite(found).any(axis=0)]
        rise = 2.0 if richness == LAZY else 1 + source(decay)
        line = np.nanmean(found[:, at]) * (shown / k[at]) ** rise
        axes.plot(shown, line, color=colour, lw=1.2)
        axes.plot(modes, found.T, shape, color=colour, ms=5, alpha=0.7, mew=0)
        word = "lazy" if richness == LAZY else "rich"
        label = f"{word}, $k^{{-{decay:g}}}$: seeds, and slope {rise:g}"
        axes.plot([], [], f"{shape}-", color=colour, ms=5, lw=1.2, label=label)
    axes.set_xticks(modes, [str(mode) for mode in modes])
    axes.set(ylabel="t at which half of the mode is learned", ylim=(1.5, 1500))
    axes.legend(loc="upper left")


def compute(draw: Drawing, context: Context) -> Any:
    """Loss against compute for all widths, lazy and rich, and the best width at each compute."""
    figure = draw.figure(12, 3.9)
    last = draw.panel(figure, (1, 3, 3), "Which width is best", "N: width", "")
    for place, richness, name, colour in ((1, LAZY, "Lazy", BLUE), (2, 1.0, "Rich", RED)):
        axes = draw.panel(
            figure, (1, 3, place), f"{name} nets, $k^{{-1}}$", "C: FLOPs", "mean loss"
        )
        table = width_table(context, richness)
        for width, shade in zip(WIDTHS, draw.shades(len(WIDTHS)), strict=True):
            x, y = mean_curve(table.filter(pl.col("width") == width), "flops")
            axes.plot(x, y, color=shade, label=f"N = {width}")
        for budget in (LOW, HIGH):
            axes.axvline(budget, color=GREY, lw=0.8, ls=":")
        mark(axes, TICKS)
        axes.legend(loc="lower left", fontsize=7.5)
        _draw_budgets(last, table, name.lower(), colour, context.seed)
    last.set_xticks(WIDTHS, [str(width) for width in WIDTHS])
    last.minorticks_off()
    last.set_ylabel("mean loss over that of the best width")
    last.set_yticks((1, 1.5, 2, 3, 5, 8), ["1", "1.5", "2", "3", "5", "8"])
    last.legend(loc="upper center", ncols=2, fontsize=7.5)
    last.set_ylim(0.8, 14)
    return figure


def _draw_budgets(axes: Any, table: pl.DataFrame, name: str, colour: Any, seed: int) -> None:
    """Draw the mean loss of each width over the lowest, at the two ends of the compute."""
    budgets = np.array([LOW, HIGH])
    losses = [losses_at(table, width, budgets) for width in WIDTHS]
    rng = stream(seed, f"loss of widths, {name}")
    means = np.array([item.mean(axis=0) for item in losses])
    drawn = np.array(
        [
            [item[rng.integers(len(item), size=len(item))].mean(axis=0) for item in losses]
            for _ in range(DRAWS)
        ]
    )
    low, high = np.nanquantile(drawn, [0.025, 0.975], axis=0)
    for column, (budget, style) in enumerate(zip(budgets, ("o--", "o-"), strict=True)):
        best = np.nanmin(means[:, column])
        x = np.array(WIDTHS) * (1.012 if name == "rich" else 0.988)
        label = f"{name}, C = {budget:.2g}".replace("e+0", "e")
        axes.plot(x, means[:, column] / best, style, color=colour, ms=4, lw=1.2, label=label)
        ends = low[:, column] / best, high[:, column] / best
        axes.vlines(x, *ends, color=colour, lw=1, alpha=0.7)


def images(draw: Drawing, context: Context) -> Any:
    """One pass over MNIST and CIFAR-10: test loss against time, and the spectrum's forecast."""
    figure = draw.figure(12, 4.2)
    for place, dataset in ((1, "mnist"), (2, "cifar10")):
        found = forecast(context, dataset)
        low, high = window(found)
        axes = draw.panel(
            figure, (1, 2, place), dataset.upper(), "t: time of the kernel", "test loss"
        )
        for richness, colour, name in (
            (LAZY, BLUE, "lazy"),
            (MODERATE, GREEN, ""),
            (RICH, RED, "rich"),
        ):
            x, y = mean_curve(passes(context, dataset, richness), "kernel_time")
            label = f"gamma0 = {richness:g}"
            axes.plot(x, y, "o-", color=colour, ms=3, label=label)
            if not name:
                continue
            told = found.estimates[f"time_{name}"]
            part = np.geomspace(low, min(high, float(x[-1])), 20)
            height = float(np.exp(np.interp(float(np.log(part[8])), np.log(x), np.log(y))))
            label = f"forecast, slope {told.value:.2f}"
            axes.plot(
                part, height * (part / part[8]) ** -told.value, "--", color=colour, label=label
            )
        last = float(x[-1])
        axes.axvspan(low, min(high, last), color="#EEEEEE", zorder=0)
        axes.set_xlim(right=1.3 * last)
        drawn: Any = np.concatenate([line.get_ydata() for line in axes.lines])
        low_y, high_y = float(drawn.min()), float(drawn.max())
        axes.set_ylim(0.95 * low_y, 1.05 * high_y)
        mark(axes, FINE_TICKS if low_y < 0.03 else FINER_TICKS, FINE_TICKS)
        axes.legend(loc="lower left")
    return figure


def phases(draw: Drawing, _: Context) -> Any:
    """The compute exponents over capacity and source, lazy, and what richness adds; phases."""
    alphas, betas = np.linspace(1.05, 4, 160), np.linspace(0.05, 2, 160)
    figure = draw.figure(12, 4.2)
    fields: list[np.ndarray] = []
    for richness in (0.0, 1.0):
        rows = [
            [
                FeatureLearning(
                    capacity=float(a), source=float(b), richness=richness, batch_size=32,
                    step_size=0.01,
                ).exponents()
                for a in alphas
            ]
            for b in betas
        ]  # fmt: skip
        fields.append(np.array([[item["compute"] for item in row] for row in rows]))
        shares = np.array([[item["compute_width"] for item in row] for row in rows])
        fields.append(shares)
    titles = ("Compute exponent, lazy", "Added by feature learning", "Added to the exponent of N*")
    pictures = (fields[0], fields[2] - fields[0], fields[3] - fields[1])
    for place, (title, picture) in enumerate(zip(titles, pictures, strict=True), start=1):
        axes = draw.panel(figure, (1, 3, place), title, r"$\alpha$: capacity", r"$\beta$: source")
        axes.set(xscale="linear", yscale="linear")
        axes.grid(visible=False)
        drawn = axes.imshow(
            picture, cmap=draw.ramp(), origin="lower", aspect="auto", interpolation="none",
            extent=(alphas[0], alphas[-1], betas[0], betas[-1]),
        )  # fmt: skip
        figure.colorbar(drawn, ax=axes)
        axes.axhline(1, color="white", lw=1.2)
        axes.plot(alphas, 2 - 1 / alphas, color="white", lw=1.2)
        patch = {"facecolor": "black", "alpha": 0.45, "pad": 2, "edgecolor": "none"}
        for y, word in ((0.5, "hard"), (1.2, "easy"), (1.88, "super-easy")):
            axes.text(2.9, y, word, color="white", ha="center", va="center", bbox=patch)
    return figure


FIGURES = (theory, exponents, circles, compute, images, phases, frontiers, long_training)
