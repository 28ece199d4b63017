"""The figure of maths distillation: failure, exponent and loss of the students, and the plan."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from kleiber.claim import Context
from kleiber.systems.drawing import BLUE, GREEN, GREY, RED, Drawing
from kleiber.systems.hard_tail.claims.distillation import (
    BUDGET,
    METHODS,
    PRICE,
    WORDS,
    check_plan,
    exponents,
    students,
)
from kleiber.systems.hard_tail.distillation.spec import Method

COLOURS: dict[Method, str] = dict(zip(METHODS, (BLUE, GREEN, RED), strict=True))


def distillation(draw: Drawing, context: Context) -> Any:
    """Draw failure against attempts, exponent and loss against N, and splits of equal cost."""
    table = students(context)
    planned = context.scale != "quick"
    figure = draw.figure(9, 6.8) if planned else draw.figure(12, 3.9)
    rows, columns = (2, 2) if planned else (1, 3)
    _draw_failures(
        draw,
        draw.panel(figure, (rows, columns, 1), "Failure, last layer", "k: attempts", "failure"),
        table,
    )
    samples = "N: samples of the teacher"
    methods: tuple[Method, ...] = tuple(
        method for method in METHODS if method in table["method"].unique()
    )
    label = r"$\beta_{\mathrm{eff}}$"
    _draw_exponents(
        draw.panel(figure, (rows, columns, 2), "Exponent", samples, label), context, methods
    )
    place = draw.panel(figure, (rows, columns, 3), "Loss of right answers", samples, "loss")
    _draw_loss(place, table, methods)
    if planned:
        place = draw.panel(figure, (rows, columns, 4), "Splits of one budget", samples, "failure")
        _draw_plan(place, context)
    return figure


def _draw_failures(draw: Drawing, axes: Any, table: pl.DataFrame) -> None:
    """Draw the exact failure, mean over problems and seeds, and its scatter over seeds."""
    rows = table.filter(pl.col("method") == METHODS[0])
    k = np.geomspace(1, 1e4, 40)
    sizes = sorted(rows["n_data"].unique())
    for size, colour in zip(sizes, draw.shades(len(sizes)), strict=True):
        each = np.array(
            [
                ((1 - part["probability"].to_numpy()[:, None]) ** k).mean(0)
                for part in rows.filter(pl.col("n_data") == size).partition_by("seed")
            ]
        )
        axes.plot(k, each.mean(0), color=colour, label=f"N = {size:,}")
        axes.fill_between(k, each.min(0), each.max(0), color=colour, alpha=0.12, lw=0)
    axes.legend(loc="lower left", title="mean and range of seeds")


def _draw_exponents(axes: Any, context: Context, methods: tuple[Method, ...]) -> None:
    """Draw beta_eff of each method, with errors over problems and seeds."""
    for place, method in enumerate(methods):
        found = exponents(context, method)
        mean = found.values.mean(0)
        between = found.values.var(axis=0, ddof=1) / len(found.values)
        error = 2 * np.sqrt(between + found.drawn.mean(1).var(axis=0, ddof=1))
        x, colour = np.array(found.sizes) * 1.06**place, COLOURS[method]
        axes.vlines(x, mean - error, mean + error, color=colour, lw=1.4)
        axes.plot(x, mean, "o", color=colour, mec="white", ms=6, label=WORDS[method])
    axes.legend(title="bars: two standard errors")


def _draw_loss(axes: Any, table: pl.DataFrame, methods: tuple[Method, ...]) -> None:
    """Draw the loss of each student."""
    for place, method in enumerate(methods):
        rows = table.filter(pl.col("method") == method)
        each = rows.group_by("n_data", "seed").agg(pl.col("loss").first()).sort("n_data")
        mean = each.group_by("n_data").agg(pl.col("loss").mean()).sort("n_data")
        x = each["n_data"].to_numpy() * 1.06**place
        axes.plot(x, each["loss"], "o", color=COLOURS[method], ms=3.5, alpha=0.6)
        label = WORDS[method]
        axes.plot(mean["n_data"], mean["loss"], color=COLOURS[method], lw=1.2, label=label)
    axes.set(yscale="linear", ylim=(0, None))
    axes.legend(title="points: seeds")


def _draw_plan(axes: Any, context: Context) -> None:
    """Draw the measured failure of the planned split and of two others of the same cost, and the
    interval that was predicted for the first."""
    found = check_plan(context)
    for number, (split, failed) in enumerate(zip(found.splits, found.failures, strict=True)):
        colour, name = (BLUE, "planned") if number == 0 else (GREY, "other")
        each = failed.mean(1)
        axes.plot([split.n_data] * len(each), each, "o", color=colour, ms=3.5, alpha=0.6)
        label = f"{name}: N = {split.n_data:,}, k = {split.k}"
        axes.plot([split.n_data], [each.mean()], "D", color=colour, ms=7, mec="white", label=label)
    predicted = found.predicted
    axes.vlines(
        0.9 * found.splits[0].n_data, predicted.low, predicted.high, color=BLUE, lw=3, alpha=0.35,
        label="predicted for the plan",
    )  # fmt: skip
    axes.set(yscale="linear")
    axes.legend(title=f"N + {PRICE:g} k = {BUDGET:,.0f}; points: seeds", loc="upper left")
