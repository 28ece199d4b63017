"""The figures of docs/papers/feature_learning.md, from our own theory and networks.

    python benchmarks/figures_feature_learning.py [FOLDER] [--png] [--keep RUNS]

writes feature_learning_1.svg to feature_learning_6.svg (to docs/papers by default; with --png as
pictures). Networks are trained at scale laptop, or read from the folder RUNS where `kleiber check
feature_learning --scale laptop` kept them. It needs the extras ``report`` and ``train``, and the
data sets mnist and cifar10.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from paper_figures import BLUE, FOLDER, GREEN, GREY, RED, panel, shades, write_figures

from kleiber.claim import Context
from kleiber.reports.sheet import ramp_colours
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
    best_widths,
    width_table,
)
from kleiber.systems.feature_learning.theory import FeatureLearning
from kleiber.systems.papers import keep_folder

DECAYS = (0.75, 1.0, 1.25, 1.5, 2.0)
END = 200.0


def mean_curve(table: pl.DataFrame, x: str = "time") -> tuple[np.ndarray, np.ndarray]:
    """Mean loss over seeds at each x above 0."""
    each = table.filter(pl.col(x) > 0).group_by(x).agg(pl.col("loss").mean()).sort(x)
    return each[x].to_numpy(), each["loss"].to_numpy()


def theory(_: Context) -> Figure:
    """Loss against time for a hard and an easy task, lazy and rich, and the kernel's growth."""
    time = np.geomspace(1, 1e8, 120)
    figure = Figure(figsize=(12, 3.9), layout="constrained")
    for place, beta in ((1, 0.5), (2, 1.3)):
        word = "Hard" if beta < 1 else "Easy"
        axes = panel(figure, (1, 3, place), rf"{word} task, $\beta$ = {beta}", "t: time", "loss")
        for richness, colour in zip((0.0, 0.01, 0.1, 1.0, 10.0), shades(5), strict=True):
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
    axes = panel(figure, (1, 3, 3), "Growth of the kernel", "t: time", "a(t)")
    for beta, colour in zip((0.25, 0.5, 0.75, 1.3), shades(4), strict=True):
        model = FeatureLearning(capacity=1.5, source=beta, richness=1.0)
        solved = model.solve({"time": time})
        axes.plot(time, solved["kernel_growth"], color=colour, label=rf"$\beta$ = {beta}")
    axes.legend(loc="upper left")
    return figure


def exponents(context: Context) -> Figure:
    """The exponent of time against beta: the theory's two curves, nets, and the window."""
    beta = np.linspace(0.02, 1.7, 200)
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    left = panel(figure, (1, 2, 1), "Exponent of the loss in time", r"$\beta$: source", r"$\chi$")
    left.plot(beta, beta, color=BLUE, label=r"lazy: $\beta$")
    left.plot(beta, [rich_exponent(b) for b in beta], color=RED, label=r"rich: $2\beta/(1+\beta)$")
    right = panel(figure, (1, 2, 2), "The same over t = 10 to 200", r"$\beta$: source", r"$\chi$")
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


def circles(context: Context) -> Figure:
    """Loss curves of circle nets, lazy and rich, and when each mode is learned."""
    figure = Figure(figsize=(12, 3.9), layout="constrained")
    time = np.geomspace(0.3, END, 60)
    for place, decay in ((1, 1.0), (2, 2.0)):
        word = "Hard" if source(decay) < 1 else "Easy"
        title = rf"{word}: $k^{{-{decay:g}}}$, $\beta$ = {source(decay):g}"
        axes = panel(figure, (1, 3, place), title, "t: time", "loss")
        for richness, colour, name in ((LAZY, BLUE, "lazy nets"), (1.0, RED, "rich nets")):
            table = circle_runs(context, decay, richness=richness)
            for part in table.filter(pl.col("time") > 0.2).partition_by("seed"):
                axes.plot(part["time"], part["loss"], color=colour, lw=0.6, alpha=0.5)
            x, y = mean_curve(table.filter(pl.col("time") > 0.2))
            axes.plot(x, y, color=colour, lw=1.6, label=name)
        axes.plot(time, kernel_loss(time, decay), "--", color=GREY, label="kernel, infinite width")
        axes.plot(time, model_loss(time, decay), ":", color="black", label=r"model, $\gamma$ = 1")
        axes.legend(loc="lower left")
    axes = panel(figure, (1, 3, 3), "Mode by mode", "k: mode", "t at which half is learned")
    modes = (2, 4, 8, 16, 32)
    for decay, colour in ((0.75, GREEN), (1.0, RED)):
        found = half_times(circle_runs(context, decay), modes)
        axes.plot(modes, found.T, "o", color=colour, ms=4, alpha=0.8)
        rise = 1 + source(decay)
        k = np.array(modes, float)
        line = np.nanmean(found[:, 2]) * (k / 8) ** rise
        label = f"$k^{{-{decay:g}}}$, line: slope {rise:g}"
        axes.plot(modes, line, color=colour, label=label)
    lazy = half_times(circle_runs(context, 1.0, richness=LAZY), modes)
    axes.plot(modes, lazy.T, "s", color=BLUE, ms=4, alpha=0.8)
    line = np.nanmean(lazy[:, 1]) * (np.array(modes) / 4.0) ** 2
    axes.plot(modes, line, color=BLUE, label="lazy, $k^{-1}$, line: slope 2")
    axes.legend(loc="upper left")
    return figure


def compute(context: Context) -> Figure:
    """Loss against compute for all widths, lazy and rich, and the best width at each compute."""
    figure = Figure(figsize=(12, 3.9), layout="constrained")
    last = panel(figure, (1, 3, 3), "Best width at equal compute", "C: FLOPs", "N*")
    at = np.geomspace(LOW, HIGH, 12)
    for place, richness, name, colour in ((1, LAZY, "Lazy", BLUE), (2, 1.0, "Rich", RED)):
        axes = panel(figure, (1, 3, place), f"{name} nets, $k^{{-1}}$", "C: FLOPs", "mean loss")
        table = width_table(context, richness)
        for width, shade in zip(WIDTHS, shades(len(WIDTHS)), strict=True):
            x, y = mean_curve(table.filter(pl.col("width") == width), "flops")
            axes.plot(x, y, color=shade, label=f"N = {width}")
        marks = [mark for mark in (0.01, 0.02, 0.05, 0.1, 0.2) if mark > axes.get_ylim()[0]]
        axes.set_yticks(marks, [f"{mark:g}" for mark in marks])
        axes.legend(loc="lower left", fontsize=7.5)
        drawn = best_widths(table, at, context.seed)
        low, high = np.quantile(drawn[1:], [0.025, 0.975], axis=0)
        last.plot(at, drawn[0], "o-", color=colour, ms=4, label=name.lower())
        last.fill_between(at, low, high, color=colour, alpha=0.15, lw=0)
    last.set(yscale="linear", ylim=(0, 26))
    last.legend(loc="upper left")
    return figure


def images(context: Context) -> Figure:
    """One pass over MNIST and CIFAR-10: test loss against time, and the spectrum's forecast."""
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    for place, dataset in ((1, "mnist"), (2, "cifar10")):
        found = forecast(context, dataset)
        low, high = window(found)
        axes = panel(figure, (1, 2, place), dataset.upper(), "t: time of the kernel", "test loss")
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
            part = np.geomspace(low, min(high, x[-1]), 20)
            height = np.exp(np.interp(np.log(part[8]), np.log(x), np.log(y)))
            label = f"forecast, slope {told.value:.2f}"
            axes.plot(
                part, height * (part / part[8]) ** -told.value, "--", color=colour, label=label
            )
        axes.axvspan(low, high, color="#EEEEEE", zorder=0)
        ticks = (0.01, 0.02, 0.03, 0.04, 0.05)
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.legend(loc="lower left")
    return figure


def phases(_: Context) -> Figure:
    """The compute exponents over capacity and source, lazy, and what richness adds; phases."""
    alphas, betas = np.linspace(1.05, 4, 90), np.linspace(0.05, 2, 90)
    figure = Figure(figsize=(12, 4.2), layout="constrained")
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
        axes = panel(figure, (1, 3, place), title, r"$\alpha$: capacity", r"$\beta$: source")
        axes.set(xscale="linear", yscale="linear")
        drawn = axes.pcolormesh(alphas, betas, picture, cmap=ramp_colours(), rasterized=True)
        figure.colorbar(drawn, ax=axes)
        axes.axhline(1, color="white", lw=1.2)
        axes.plot(alphas, 2 - 1 / alphas, color="white", lw=1.2)
        patch = {"facecolor": "black", "alpha": 0.45, "pad": 2, "edgecolor": "none"}
        for y, word in ((0.5, "hard"), (1.2, "easy"), (1.88, "super-easy")):
            axes.text(2.9, y, word, color="white", ha="center", va="center", bbox=patch)
    return figure


FIGURES = (theory, exponents, circles, compute, images, phases)


def main(words: list[str]) -> None:
    keep = Path(words.pop(words.index("--keep") + 1)) if "--keep" in words else keep_folder()
    png = "--png" in words
    places = [word for word in words if not word.startswith("--")]
    folder = Path(places[0]) if places else FOLDER
    context = Context(scale="laptop", keep=keep)
    write_figures("feature_learning", [partial(make, context) for make in FIGURES], folder, png=png)


if __name__ == "__main__":
    main(sys.argv[1:])
