"""The figures of D'Amico, Bocchi & Negri's paper: the theory, and the nets of the claims at the
same scale (docs/papers/implicit_bias.md has them at scale laptop)."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import polars as pl

from kleiber.claim import Context
from kleiber.data.runs import load_runs
from kleiber.systems.drawing import BLUE, GREY, RED, Drawing
from kleiber.systems.implicit_bias.claims.networks import NAMES, PUBLISHED
from kleiber.systems.implicit_bias.claims.training import RELEASED, TEXTBOOK, collapse_of
from kleiber.systems.implicit_bias.collapse import measure_collapse, rescale_curves
from kleiber.systems.implicit_bias.collapse_record import Collapse
from kleiber.systems.implicit_bias.perceptron import (
    Perceptron,
    early_curve,
    master_curve,
    master_optimum,
)

MODELS, DATASETS = ("CNN", "ResNet", "ViT"), ("MNIST", "CIFAR10", "CIFAR100")
LOADS = (3.1, 6.25, 12.5, 25.0, 50.0, 100.0)
LARGEST = 500.0  # the log of what a float in a figure may be


def panel(
    draw: Drawing, figure: Any, place: tuple[int, int, int], title: str, x: str, y: str
) -> Any:
    """Return one pair of axes with its words, and plain numbers along the errors."""
    axes = draw.panel(figure, place, title, x, y)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    return axes


def set_ticks(axes: Any) -> None:
    """A few labels along the errors, however short their range."""
    low, high = axes.get_ylim()
    near = high / low < 4
    subs = (1.0, 1.2, 1.4, 1.6, 2.0, 3.0, 5.0, 6.0, 7.0, 8.0) if near else (1.0, 2.0, 5.0)
    axes.yaxis.get_major_locator().set_params(subs=subs)


def perceptron(draw: Drawing, _: Context) -> Any:
    """Error against norm at one load; relative error at six loads; these on the master curve."""
    figure = draw.figure(12, 3.9)
    norm = np.geomspace(1e-2, 80, 90)
    model = Perceptron(load=5.0)
    left = panel(draw, figure, (1, 3, 1), "Load 5", "norm", "generalisation error")
    left.plot(norm, model.error(norm), color=BLUE, lw=1.6, label="fixed norm, theory")
    flow = model.simulate_flow({"norm": np.geomspace(0.1, 8, 9)}, seeds=4, seed=0)
    mean = flow.group_by("norm").agg(pl.col("error").mean()).sort("norm")
    left.plot(mean["norm"], mean["error"], "o", color=RED, ms=4, label="gradient flow, simulated")
    known = model.references()
    for value, name in ((known.hebb, "Hebb"), (known.max_stability, "max stability")):
        left.axhline(value, color=GREY, lw=0.8, ls=":")
        left.text(80, value, name, color=GREY, ha="right", va="bottom", fontsize=8)
    left.axhline(known.bayes, color=GREY, lw=0.8, ls=":")
    left.text(0.011, known.bayes, "Bayes", color=GREY, va="bottom", fontsize=8)
    set_ticks(left)
    left.legend(loc="center right", bbox_to_anchor=(1, 0.85))
    _draw_loads(draw, figure)
    return figure


def _draw_loads(draw: Drawing, figure: Any) -> None:
    middle = panel(draw, figure, (1, 3, 2), "Six loads", "norm", "error over Hebb's")
    right = panel(draw, figure, (1, 3, 3), "Rescaled", "norm over the best", "error over the least")
    for load, colour in zip(LOADS, draw.shades(len(LOADS)), strict=True):
        model, best = Perceptron(load=load), None
        norm = np.geomspace(0.05, 12 * load, 70)
        error, best, hebb = model.error(norm), model.optimum(), model.references().hebb
        middle.plot(norm, error / hebb, color=colour, lw=1.4, label=f"load {load:g}")
        middle.plot([best.norm], [best.error / hebb], "*", color=colour, ms=8, mec="white", mew=0.4)
        right.plot(norm / best.norm, error / best.error, color=colour, lw=1.4)
    norm = np.geomspace(1, 60, 30)
    middle.plot(norm, early_curve(norm), "--", color=GREY, lw=1.2, label="load to infinity")
    middle.legend(fontsize=7.5, loc="lower left")
    set_ticks(middle)
    best, ell = master_optimum(), np.geomspace(2e-3, 10, 60)
    curve = master_curve(ell) / master_curve(np.array([best.ell]))
    right.plot(ell / best.ell, curve, "--", color="#111111", lw=1.2, label="master curve, exact")
    right.set(xlim=(5e-3, 12), ylim=(0.95, 10))
    set_ticks(right)
    right.legend()


def source_of(context: Context, model: str, dataset: str, norm: str) -> tuple[Collapse, str] | None:
    """The two laws of a panel and whose curves they are; None without data."""
    if f"{model} {dataset}" in PUBLISHED:
        return collapse_of(context, f"{model} {dataset}", norm), "trained here, scaled down"
    if dataset == "CIFAR10":
        published = load_runs("norms").filter(pl.col("model") == model)
        return measure_collapse(published, rule="robust"), "the authors' means"
    return None


def grid_of_panels(draw: Drawing, context: Context, *, rescaled: bool) -> Any:
    """Models by data sets: raw curves, or error/error_opt against norm/norm_opt."""
    figure = draw.figure(12, 9.6)
    for row, model in enumerate(MODELS):
        for column, dataset in enumerate(DATASETS):
            place = (3, 3, 3 * row + column + 1)
            found = source_of(context, model, dataset, TEXTBOOK)
            if found is None:
                _draw_nothing(figure, place, f"{model}, {dataset}")
                continue
            collapse, source = found
            published = source.startswith("the authors")
            kind = "norm as released" if published else "spectral complexity"
            words = (
                (f"{kind} over the best", "error over the least") if rescaled else (kind, "error")
            )
            axes = panel(draw, figure, place, f"{model}, {dataset}: {source}", *words)
            _draw_curves(draw, axes, collapse, rescaled)
            if not published:  # nothing happens before
                first = 1e-3 * (1.0 if rescaled else float(np.exp(collapse.log_norm_opt[0])))
                axes.set_xlim(left=max(first, axes.get_xlim()[0]))
    return figure


def _draw_nothing(figure: Any, place: tuple[int, int, int], title: str) -> None:
    axes: Any = figure.add_subplot(*place)
    axes.set_title(title, fontsize=10.5)
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_visible(False)
    axes.text(0.5, 0.5, "no nets are trained for this panel", color=GREY, ha="center", va="center")


def _draw_curves(draw: Drawing, axes: Any, found: Collapse, rescaled: bool) -> None:
    table, items = rescale_curves(found), found.curves.items
    x, y = ("x", "y") if rescaled else ("norm", "error")
    marked = {0, len(items) // 2, len(items) - 1}
    for k, (item, colour) in enumerate(zip(items, draw.shades(len(items)), strict=True)):
        part = table.filter(pl.col("n_data") == item.n_data)
        label = f"P = {item.n_data:,.0f}" if k in marked else None
        axes.plot(part[x], part[y], color=colour, lw=1.2, label=label)
        if not rescaled:
            best = np.exp(found.log_norm_opt[k]), np.exp(found.log_error_opt[k])
            axes.plot(*best, "*", color=colour, ms=8, mec="white", mew=0.4, zorder=4)
    if rescaled:
        gamma = found.estimates["gamma_1"].value
        low, high = found.window.low, min(found.window.high, 1.0)
        ends = np.array([max(low, float(table["x"].min())), high])  # pyright: ignore
        inside = table.filter(pl.col("x").is_between(ends[0], ends[1]))
        middle = np.exp(
            inside.select((pl.col("y").log() + gamma * pl.col("x").log()).mean()).item()
        )
        axes.plot(ends, 1.15 * middle * ends**-gamma, "--", color=RED, lw=1.3)
        axes.text(
            0.97, 0.93, rf"$\gamma_1$ = {gamma:.3g}", color=RED, ha="right",
            transform=axes.transAxes,
        )  # fmt: skip
    set_ticks(axes)
    axes.legend(fontsize=7.5, loc="lower left")


def products(draw: Drawing, context: Context) -> Any:
    """gamma_1 gamma_2 against gamma_measured for every norm and case trained here."""
    figure = draw.figure(12, 4.2)
    norms = [name for name in NAMES if name not in RELEASED.values() or name == TEXTBOOK]
    for place, case in enumerate(PUBLISHED, start=1):
        axes: Any = figure.add_subplot(1, 4, place)
        axes.set_title(case, fontsize=10.5)
        released = RELEASED[case.partition(" ")[0]]
        listed = norms if released == TEXTBOOK else [norms[0], released, *norms[1:]]
        for k, norm in enumerate(listed):
            values = collapse_of(context, case, norm).estimates
            for name, colour, shift in (("predicted", RED, 0.12), ("measured", BLUE, -0.12)):
                each = values[f"gamma_{name}"]
                axes.hlines(k + shift, each.low, each.high, color=colour, lw=1.4)
                label = {"predicted": "product", "measured": "measured"}[name] if not k else None
                axes.plot([each.value], [k + shift], "o", color=colour, ms=4, label=label)
        names = [NAMES[norm].removeprefix("the ") for norm in listed]
        axes.set_yticks(range(len(listed)), names, fontsize=7.5)
        axes.invert_yaxis()
        axes.axvline(0, color=GREY, lw=0.8, ls=":")
        low, high = axes.get_xlim()
        measured = collapse_of(context, case, TEXTBOOK).estimates["gamma_measured"].value
        axes.set_xlim(max(low, -1.5 * measured), min(high, 3.5 * measured))
        axes.set_xlabel("exponent")
        axes.grid(True, axis="x", zorder=0)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    names = {"product": "gamma_1 gamma_2", "measured": "gamma_measured"}
    figure.legend(handles, [names[label] for label in labels], loc="outside lower center", ncols=2)
    return figure


FIGURES = (
    perceptron,
    partial(grid_of_panels, rescaled=False),
    partial(grid_of_panels, rescaled=True),
    products,
)
