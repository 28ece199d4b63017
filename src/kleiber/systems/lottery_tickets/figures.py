"""The figures of Liu & Tegmark's paper, from our own nets: those of the claims at the same scale
(docs/papers/lottery_tickets.md has them at scale laptop)."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from kleiber.claim import Context
from kleiber.systems.drawing import BLUE, GREY, RED, Drawing
from kleiber.systems.lottery_tickets.claims.ensembling import ensembles, kept
from kleiber.systems.lottery_tickets.claims.exponents import exponent_row
from kleiber.systems.lottery_tickets.claims.narrow import GRID, SQUARE, trained
from kleiber.systems.lottery_tickets.claims.rivals import along_training
from kleiber.systems.lottery_tickets.claims.runs import final, losses
from kleiber.systems.lottery_tickets.nets import mean_squares
from kleiber.systems.lottery_tickets.one_ticket import best_ticket, flat_channel, relu_bound
from kleiber.systems.lottery_tickets.shares import neuron_table
from kleiber.systems.lottery_tickets.subsets import extrapolate_neurons
from kleiber.systems.lottery_tickets.width_exponent import width_curve

WIDTHS = (8, 16, 32, 64, 128)


def mark_widths(axes: Any, widths: Any) -> None:
    """Plain numbers at every second doubling."""
    shown = [int(n) for n in (2, 8, 32, 128, 512) if min(widths) <= n <= max(widths)]
    axes.set_xticks(shown, [str(n) for n in shown])


def draw_losses(axes: Any, context: Context, setting: str) -> None:
    """Medians over seeds with quartiles and deciles, and means."""
    table = final(losses(context, setting))
    curves = {
        name: width_curve(table, statistic=name, seed=context.seed)
        for name in ("median", "mean", "q10", "q25", "q75", "q90")
    }
    n = curves["median"]["width"]
    for low, high, alpha in (("q10", "q90", 0.12), ("q25", "q75", 0.25)):
        axes.fill_between(
            n, curves[low]["loss"], curves[high]["loss"], color=BLUE, alpha=alpha, lw=0
        )
    axes.plot(n, curves["mean"]["loss"], ":", color=GREY, lw=1.2, label="mean over seeds")
    axes.plot(n, curves["median"]["loss"], "o-", color=BLUE, ms=4, lw=1.4, label="median")
    mark_widths(axes, n)


def draw_guide(axes: Any, ends: tuple[float, float], start: float, power: float) -> None:
    """A power of N, with its name at its end."""
    x = np.array(ends)
    y = start * (x / x[0]) ** -power
    axes.plot(x, y, "--", color=GREY, lw=1)
    axes.annotate(f"$N^{{-{power:g}}}$", (x[1], y[1]), xytext=(3, -3), textcoords="offset points",
                  color=GREY, fontsize=9)  # fmt: skip


def against_width(draw: Drawing, context: Context) -> Any:
    """The loss against width in the three long sweeps."""
    figure = draw.figure(12, 3.9)
    words = ("SiLU, Adam 1e-3, 10,000 steps", "SiLU, 1e-2 stepped, 40,000", "ReLU, the same")
    for k, (setting, title) in enumerate(
        zip(("silu", "silu annealed", "relu"), words, strict=True)
    ):
        axes = draw.panel(figure, (1, 3, k + 1), title, "N: hidden neurons", "loss")
        draw_losses(axes, context, setting)
        if setting == "silu":
            draw_guide(axes, (8, 128), 2.2e-4, 1)
            draw_guide(axes, (2, 6), 1.1e-1, 4)
        elif setting == "silu annealed":
            draw_guide(axes, (8, 48), 2.6e-7, 1)
        else:
            n = np.geomspace(2, 128, 50)
            axes.plot(n, relu_bound(n), color=RED, lw=1.4, label="$(4/(N+1))^4/180$, least")
            draw_guide(axes, (24, 128), 5e-5, 2)
        axes.legend(loc="lower left" if setting == "relu" else "upper right")
    return figure


def against_time(draw: Drawing, context: Context) -> Any:
    """Loss and exponent against training time, and exponents against the dimension."""
    figure = draw.figure(12, 3.9)
    table = losses(context, "100,000 steps", (8, 16, 32, 64))
    between = (pl.col("step") >= 100) & ((pl.col("step") < 99_000) | (pl.col("step") == 100_000))
    table = table.filter(between)
    left = draw.panel(figure, (1, 3, 1), "Adam 1e-3: loss", "steps", "median loss")
    colours = draw.shades(4)
    for width, colour in zip((8, 16, 32, 64), colours, strict=True):
        own = table.filter(pl.col("width") == width)
        middle = own.group_by("step").agg(pl.col("loss").median()).sort("step")
        left.plot(middle["step"], middle["loss"], color=colour, lw=1.4, label=f"N = {width}")
    left.set_xlim(100, 1e5)
    left.legend(loc="lower left")
    middle = draw.panel(figure, (1, 3, 2), "Exponent over N = 8 to 64", "steps", "exponent")
    found = along_training(context).filter(between)
    middle.fill_between(
        found["step"], found["exponent_low"], found["exponent_high"], color=BLUE, alpha=0.2, lw=0
    )
    middle.plot(found["step"], found["exponent"], color=BLUE, lw=1.4)
    middle.axhline(1, color=GREY, lw=0.8, ls=":")
    middle.set(yscale="linear", xlim=(100, 1e5))
    _draw_dimensions(
        draw.panel(figure, (1, 3, 3), "Sums of d squares", "d", "exponent over N = 8 to 64"),
        context,
    )
    return figure


def _draw_dimensions(axes: Any, context: Context) -> None:
    d = np.linspace(0.9, 3.1, 50)
    axes.plot(d, 4 / d, color=GREY, lw=1.3, label="4/d")
    for shift, activation, colour, name in (
        (-0.04, "relu", RED, "ReLU"), (0.04, "silu", BLUE, "SiLU")
    ):  # fmt: skip
        rows = [exponent_row(context, f"{activation} d={k}").row(0, named=True) for k in (1, 2, 3)]
        value = np.array([row["exponent"] for row in rows])
        low = np.array([row["exponent_low"] for row in rows])
        high = np.array([row["exponent_high"] for row in rows])
        axes.errorbar(
            np.arange(1, 4) + shift, value, (value - low, high - value), fmt="o", color=colour,
            ms=5, label=name,
        )  # fmt: skip
    axes.set(xscale="linear", yscale="linear", xticks=[1, 2, 3], ylim=(0, 4.3))
    axes.legend()


def shared_and_subsets(draw: Drawing, context: Context) -> Any:
    """What seeds share, its share of the error, and what subsets of a net's neurons do."""
    figure = draw.figure(12, 3.9)
    left = draw.panel(figure, (1, 3, 1), "SiLU, 1e-3: parts of the error", "N", "squared error")
    parts = ensembles(context, "silu", WIDTHS).widths
    n = [part.width for part in parts]
    for name, colour, label in (
        ("mse", GREY, "one net"), ("bias", BLUE, "shared by all seeds"),
        ("variance", RED, "averages away"),
    ):  # fmt: skip
        estimates = [getattr(part, name) for part in parts]
        left.plot(n, [e.value for e in estimates], "o-", color=colour, ms=4, lw=1.3, label=label)
        left.fill_between(
            n, [e.low for e in estimates], [e.high for e in estimates], color=colour, alpha=0.15,
            lw=0,
        )  # fmt: skip
    averaged = [part.ensembles[16].value for part in parts]
    left.plot(n, averaged, "--", color="#222222", lw=1, label="16 nets averaged")
    left.plot(n, [part.mse.value / 16 for part in parts], ":", color=GREY, label="one net / 16")
    left.legend(fontsize=7.5)
    mark_widths(left, n)
    _draw_shares(
        draw.panel(figure, (1, 3, 2), "Share of the error that is shared", "N", ""), context
    )
    _draw_subsets(
        draw.panel(
            figure, (1, 3, 3), "Part of a net's 64 neurons", "n: neurons kept", "squared error"
        ),
        context,
    )
    return figure


def _draw_shares(axes: Any, context: Context) -> None:
    for setting, colour, label in (
        ("silu", BLUE, "SiLU, 1e-3"), ("silu annealed", "#009E73", "SiLU, annealed"),
        ("relu", RED, "ReLU"),
    ):  # fmt: skip
        parts = ensembles(context, setting, WIDTHS).widths
        n = [part.width for part in parts]
        shares = [part.bias_share for part in parts]
        axes.plot(n, [s.value for s in shares], "o-", color=colour, ms=4, lw=1.3, label=label)
        axes.vlines(n, [s.low for s in shares], [s.high for s in shares], color=colour, lw=1.2)
    axes.set(yscale="linear", ylim=(0, 1.05))
    mark_widths(axes, n)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 0.2))


def _draw_subsets(axes: Any, context: Context) -> None:
    found = extrapolate_neurons(kept(context, "silu", 64), GRID, SQUARE, draws=4)
    n = np.array(found.sizes)
    scaled = np.array([e.value for e in found.scaled])
    axes.plot(n, scaled, "o-", color=BLUE, ms=4, label="scaled by N/n")
    axes.plot(n, scaled[0] / n, "--", color=GREY, lw=1, label="central limit, 1/n")
    refitted = [e.value for e in found.refitted]
    axes.plot(n, refitted, "o-", color="#009E73", ms=4, label="scale and constant refitted")
    solved = [(size, e.value) for size, e in zip(n, found.solved, strict=True) if e is not None]
    axes.plot(*zip(*solved, strict=True), "o-", color=RED, ms=4, label="all v refitted")
    axes.axhline(scaled[-1], color=GREY, lw=0.8, ls=":")
    axes.set_xticks([1, 4, 16, 64], ["1", "4", "16", "64"])
    axes.legend(loc="lower left", fontsize=7.5)


def narrow_and_wide(draw: Drawing, context: Context) -> Any:
    """Losses of nets of two neurons, the flat channel, and the neurons of a wide net."""
    figure = draw.figure(12, 3.9)
    left = draw.panel(figure, (1, 3, 1), "N = 2, 1,000 seeds", "loss", "nets")
    middle = draw.panel(figure, (1, 3, 2), "N = 2: the flat channel", "|v|, mean of both", "loss")
    for setting, colour, label in (
        ("silu", BLUE, "1e-3, 10,000 steps"), ("silu annealed", RED, "1e-2 stepped, 40,000"),
    ):  # fmt: skip
        nets = trained(context, setting, 2)
        mse = mean_squares(nets, GRID, SQUARE)
        bins = np.geomspace(5e-6, 2.5, 50)
        left.hist(mse, bins, histtype="step", color=colour, lw=1.3, label=label)
        v = np.abs(nets.v).mean(1)
        middle.plot(v[::10], mse[::10], "o", ms=2.5, mew=0, color=colour, alpha=0.6, label=label)
    left.set(yscale="linear", ylim=(0, 200))
    left.legend(loc="upper center", fontsize=8)
    slopes = np.geomspace(0.3, 2.5, 40)
    best = [best_ticket(float(w)) for w in slopes]
    middle.plot([t.output for t in best], [t.mse for t in best], color="#222222", lw=1.3,
                label="best mirrored pair")  # fmt: skip
    v = np.array([3.0, 60.0])
    middle.plot(v, flat_channel(v), "--", color=GREY, lw=1, label="$7.4\\cdot10^{-3}\\,v^{-4}$")
    middle.set(xlim=(0.3, 30), ylim=(1e-8, 3))
    middle.legend(loc="lower left", fontsize=7.5)
    _draw_cloud(
        draw.panel(figure, (1, 3, 3), "Half of a net's 512 neurons, annealed", "w", "b"), context
    )
    return figure


def _draw_cloud(axes: Any, context: Context) -> None:
    points = neuron_table(trained(context, "silu annealed", 512), GRID, SQUARE)
    points = points.filter(pl.col("seed") == 0).gather_every(2)[:240]
    axes.plot(-points["w"], points["b"], "o", ms=4.5, mfc="none", mec=RED, mew=0.5, alpha=0.6,
              label="mirrored")  # fmt: skip
    axes.plot(points["w"], points["b"], "o", ms=2.2, mew=0, color=BLUE, label="neurons")
    axes.set(xscale="linear", yscale="linear", ylim=(-2.1, 1.6))
    axes.legend(loc="upper right", fontsize=8)


FIGURES = (against_width, against_time, shared_and_subsets, narrow_and_wide)
