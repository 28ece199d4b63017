"""The figures of compute frontiers of circle nets, and of circle nets trained for long."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from kleiber.claim import Context
from kleiber.systems.drawing import BLUE, GREY, RED, Drawing
from kleiber.systems.feature_learning.claims.circle import LAZY, kernel_loss, model_loss
from kleiber.systems.feature_learning.claims.long_circle import (
    BATCHES,
    LAST_DECADE,
    LONG,
    NOISY,
    long_runs,
    super_runs,
)
from kleiber.systems.feature_learning.claims.net_frontier import (
    WIDTHS,
    computes,
    frontier_runs,
    mean_losses,
)

KINDS = ((LAZY, "lazy", BLUE), (1.0, "rich", RED))
TICKS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)


def mean_curve(table: pl.DataFrame, x: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean loss over seeds at each x above 0."""
    each = table.filter(pl.col(x) > 0).group_by(x).agg(pl.col("loss").mean()).sort(x)
    return each[x].to_numpy(), each["loss"].to_numpy()


def frontiers(draw: Drawing, context: Context) -> Any:
    """Compute frontiers of circle nets of widths 16 to 512, and what width is worth at the end."""
    figure, compute = draw.figure(12, 3.9), computes(context)
    last = draw.panel(figure, (1, 3, 3), f"At C = {compute[-1]:.2g}", "N: width", "")
    for place, (richness, name, colour) in enumerate(KINDS, start=1):
        title = f"{name.capitalize()} nets, $k^{{-1}}$"
        axes = draw.panel(figure, (1, 3, place), title, "C: FLOPs", "mean loss")
        table = frontier_runs(context, richness)
        for width, shade in zip(WIDTHS, draw.shades(len(WIDTHS)), strict=True):
            x, y = mean_curve(table.filter(pl.col("width") == width), "flops")
            axes.plot(x, y, color=shade, label=f"N = {width}")
        axes.set_xlim(left=1e8)
        axes.set_yticks(TICKS, [f"{value:g}" for value in TICKS])
        axes.set_ylim(0.4 * float(mean_losses(context, richness)[0].min()), 0.5)
        axes.axvspan(compute[0], compute[-1], color="#EEEEEE", zorder=0)
        axes.legend(loc="lower left", fontsize=7.5)
        ratio = mean_losses(context, richness)[:, :, -1]
        ratio = ratio / ratio[:, :1]
        low, high = np.quantile(ratio[1:], [0.025, 0.975], axis=0)
        last.plot(WIDTHS, ratio[0], "o-", color=colour, ms=4, label=name)
        last.vlines(WIDTHS, low, high, color=colour, lw=1.2, alpha=0.7)
    last.set_xticks(WIDTHS, [str(width) for width in WIDTHS])
    last.set_yticks((0.5, 1, 2, 5, 10, 20), ["0.5", "1", "2", "5", "10", "20"])
    last.minorticks_off()
    last.set_ylabel("mean loss over that of width 16")
    last.legend(loc="upper left")
    return figure


def long_training(draw: Drawing, context: Context) -> Any:
    """Circle nets to t = 1,000 on a hard and an easy task, and the noise of a super-easy one."""
    figure = draw.figure(12, 3.9)
    time = np.geomspace(1, LONG, 60)
    for place, decay, word in ((1, 1.0, "Hard"), (2, 2.0, "Easy")):
        title = f"{word}: $k^{{-{decay:g}}}$ to t = 1,000"
        axes = draw.panel(figure, (1, 3, place), title, "t: time", "loss")
        table = long_runs(context, decay).filter(pl.col("time") > 1)
        for part in table.partition_by("seed"):
            axes.plot(part["time"], part["loss"], color=RED, lw=0.6, alpha=0.5)
        axes.plot(*mean_curve(table, "time"), color=RED, lw=1.6, label="rich nets")
        axes.plot(time, kernel_loss(time, decay), "--", color=GREY, label="kernel, infinite width")
        axes.plot(time, model_loss(time, decay), ":", color="black", label=r"model, $\gamma$ = 1")
        axes.axvspan(LAST_DECADE, LONG, color="#EEEEEE", zorder=0)
        axes.legend(loc="lower left")
    axes = draw.panel(figure, (1, 3, 3), "Super-easy: $k^{-3}$", "t: time", "loss")
    for batch, style in zip(BATCHES, ("-", "--"), strict=True):
        for richness, name, colour in KINDS:
            table = super_runs(context, richness, batch).filter(pl.col("time") > 1)
            x, y = mean_curve(table, "time")
            axes.plot(x, y, style, color=colour, label=f"{name}, B = {batch}")
            if batch == BATCHES[0] and richness == LAZY:
                guide = 2.5 * float(y[-1]) * (x / x[-1]) ** -1.5
                kept = x > NOISY[0]
                axes.plot(x[kept], guide[kept], color=GREY, lw=1, label="$t^{-3/2}$")
    axes.axvspan(*NOISY, color="#EEEEEE", zorder=0)
    axes.legend(loc="lower left", fontsize=7.5)
    return figure
