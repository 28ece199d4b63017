"""The four figures of docs/papers/hard_tail.md, from our own theory, simulations and data.

    python benchmarks/figures_hard_tail.py [FOLDER] [--png]

writes hard_tail_1.svg to hard_tail_4.svg (to docs/papers by default; with --png as pictures). It
needs the extra ``report``, and the data sets cifar10h and passk (in KLEIBER_DATA, or downloaded).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from paper_figures import BLUE, FOLDER, GREY, RED, panel, shades, write_figures

import kleiber
from kleiber.attempts.counts import pass_at_k
from kleiber.attempts.fit import fit_counts
from kleiber.attempts.trend import Trend
from kleiber.claim import Context
from kleiber.data.runs import load_runs
from kleiber.reports.sheet import ramp_colours
from kleiber.systems.hard_tail.claims.heads import heads
from kleiber.systems.hard_tail.claims.split import Split, best_split, loss_of
from kleiber.systems.hard_tail.claims.tails import EARLY, TAIL, failures, fit_saturation
from kleiber.systems.hard_tail.heads import average_heads, window_exponents

SEEDS = 30
WEIGHT = 1e-4  # of the loss in the total loss of figure 2
MODEL = kleiber.theory.HardTail(
    capacity=1.0, tail=TAIL, noise=1e-1, tolerance=1e-1, dimension=100, ridge=1e-9
)
WINDOW = np.geomspace(*EARLY, 15)


def medians(table: pl.DataFrame, column: str) -> pl.DataFrame:
    """Median and quartiles over seeds for each n_data."""
    each = pl.col(column)
    return (
        table.group_by("n_data")
        .agg(
            each.median().alias("middle"),
            each.quantile(0.25, "linear").alias("low"),
            each.quantile(0.75, "linear").alias("high"),
        )
        .sort("n_data")
    )


def draw_bars(axes: Any, table: pl.DataFrame, colour: Any, label: str) -> None:
    axes.vlines(table["n_data"], table["low"], table["high"], color=colour, lw=1.2, zorder=3)
    look: dict[str, Any] = {"color": colour, "mec": "white", "mew": 0.6, "ms": 5, "zorder": 4}
    axes.plot(table["n_data"], table["middle"], "o", label=label, **look)


def training_and_failure() -> Figure:
    """Loss, failure curves, and the exponent against N: theory as lines, 30 seeds as points."""
    sizes = [20, 40, 67, 90, 100, 110, 144, 211, 309, 453, 663, 970, 1421, 2080, 4459, 10000]
    runs = MODEL.simulate({"n_data": sizes, "k": WINDOW}, seeds=SEEDS)
    fine = np.unique(np.round(np.geomspace(15, 3e4, 120)))
    solved = MODEL.solve({"n_data": fine, "k": [1.0]})
    figure = Figure(figsize=(12, 3.9), layout="constrained")
    axes = panel(figure, (1, 3, 1), "Training", "N: training examples", "generalisation loss")
    axes.plot(solved["n_data"], solved["loss"], color=BLUE, lw=1.6, label="theory")
    draw_bars(axes, medians(runs.filter(pl.col("k") == WINDOW[0]), "loss"), GREY, "30 seeds")
    late = fine[fine > 400]
    guide = 0.2 * float(solved["loss"][-1]) * (late[-1] / late)
    axes.plot(late, guide, "--", color=GREY, lw=1, label="1/N")
    axes.axvline(100, color=GREY, lw=0.8, ls=":")
    axes.legend()
    _draw_failures(panel(figure, (1, 3, 2), "Inference", "k: attempts", "failure"))
    _draw_exponents(panel(figure, (1, 3, 3), "Exponent", "N: training examples", ""), runs, solved)
    return figure


def _draw_failures(axes: Any) -> None:
    k = np.geomspace(1, 1e5, 60)
    sizes = (150, 300, 600, 1200, 2400, 10000)
    solved = MODEL.solve({"n_data": list(sizes), "k": [1.0]})
    for size, colour in zip(sizes, shades(len(sizes)), strict=True):
        loss = float(solved.filter(pl.col("n_data") == size)["loss"][0])
        axes.plot(k, failures(k, np.sqrt(loss) / MODEL.noise), color=colour, label=f"N = {size}")
    axes.plot(k[20:], 3 * failures(k, 0.0)[20] * (k[20:] / k[20]) ** -TAIL, "--", color=GREY, lw=1)
    axes.text(2e3, 2e-5, "$k^{-2.5}$", color=GREY)
    axes.set_ylim(1e-12, 1.5)
    axes.legend(loc="lower left")


def _draw_exponents(axes: Any, runs: pl.DataFrame, solved: pl.DataFrame) -> None:
    n, rhos = solved["n_data"].to_numpy(), solved["rho"].to_numpy()
    axes.plot(n, solved["window_exponent"], color=BLUE, lw=1.6, label="theory, at the mean loss")
    draw_bars(axes, medians(runs, "window_exponent"), GREY, "30 seeds")
    part = n > 110
    fitted = fit_saturation(rhos[part], n[part])
    label = rf"saturating fit, $\nu$ = {fitted.power:.2f}"
    axes.plot(n[part], fitted.at(n[part]), "--", color=RED, lw=1.3, label=label)
    axes.axhline(TAIL, color=GREY, lw=0.8, ls=":")
    axes.set(yscale="linear", ylabel=r"$\beta_{\mathrm{eff}}$, k from 10 to 1,000", ylim=(0, 2.8))
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0.9))


def contours() -> Figure:
    """Total loss over (N, k), and the best splits beside those of a constant exponent."""
    n, k = np.geomspace(120, 2e4, 70), np.geomspace(1, 1e4, 50)
    loss = loss_of(n)
    budgets = np.geomspace(300, 2e4, 13)
    splits = {
        constant: [best_split(part, 1.0, WEIGHT, constant=constant) for part in budgets]
        for constant in (False, True)
    }
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    for constant in (False, True):
        title = "Constant exponent (baseline)" if constant else "Exponent that grows with N"
        place = (1, 2, 1 + constant)
        axes = panel(figure, place, title, "N: training examples (cost 1 each)", "k: attempts")
        failure = [failures(k, 0.0 if constant else rho) for rho in np.sqrt(loss)]
        total = np.log10(np.array(failure) + WEIGHT * loss[:, None])
        filled = axes.contourf(
            n, k, total.T, np.linspace(-7, 0, 15), cmap=ramp_colours(), extend="both"
        )
        for part in budgets[::3]:
            line = np.append(
                np.geomspace(120, part, 60)[:-1], part - np.geomspace(part / 20, 1, 60)
            )
            line = np.sort(line[line >= 120])
            axes.plot(line, part - line, color="white", lw=0.8)
        filled.set_rasterized(True)
        _draw_splits(axes, splits, constant)
        axes.set(xlim=(120, 2e4), ylim=(1, 1e4))
    figure.colorbar(filled, ax=figure.axes, label="log10 of the total loss")
    return figure


def _draw_splits(axes: Any, splits: dict[bool, list[Split]], constant: bool) -> None:
    for each, style, name in ((False, "o-", "best splits"), (True, "s--", "best, if constant")):
        if constant and not each:
            continue
        path = [item.n_data for item in splits[each]], [item.k for item in splits[each]]
        colour = "#FFFFFF" if each else "#FFB000"
        axes.plot(*path, style, color=colour, mec="#222222", mew=0.6, ms=5, lw=1.4, label=name)
    axes.legend(loc="lower right", frameon=True, framealpha=0.85, facecolor="#BBBBBB")


def human_labels() -> Figure:
    """CIFAR-10H: loss and exponent against N for two sets of features, and the failure curves."""
    context = Context()
    figure = Figure(figsize=(12, 3.9), layout="constrained")
    left = panel(figure, (1, 3, 1), "Training", "N: labelled images", "generalisation loss")
    middle = panel(figure, (1, 3, 2), "Exponent", "N: labelled images", "")
    right = panel(figure, (1, 3, 3), "Failure, 66 features", "k: human labels", "failure")
    for products, colour, dims in ((False, BLUE, 11), (True, RED, 66)):
        table = average_heads(window_exponents(heads(context, products)))
        left.plot(table["n_data"], table["loss"], "o-", color=colour, ms=4, label=f"d = {dims}")
        left.fill_between(
            table["n_data"], table["loss_low"], table["loss_high"], color=colour, alpha=0.15, lw=0
        )
        error = 2 * table["exponent_stderr"].to_numpy()
        middle.errorbar(
            table["n_data"], table["exponent"], error, fmt="o-", color=colour, ms=4,
            label=f"d = {dims}",
        )  # fmt: skip
        for axes in (left, middle):
            axes.axvline(dims, color=colour, lw=0.8, ls=":")
    middle.set(yscale="linear", ylabel=r"$\beta_{\mathrm{eff}}$, k from 1 to 45", ylim=(0, 0.3))
    mean = heads(context, True).group_by("n_data", "k").agg(pl.col("failure").mean())
    sizes = (8, 32, 64, 128, 256, 8000)
    for size, colour in zip(sizes, shades(len(sizes)), strict=True):
        part = mean.filter(pl.col("n_data") == size).sort("k")
        right.plot(part["k"], part["failure"], "o-", color=colour, ms=3, label=f"N = {size}")
    left.legend()
    middle.legend(loc="lower right")
    right.legend(fontsize=7.5)
    return figure


def counts() -> Figure:
    """Pythia on MATH: failure and -log pass against k, and the exponent against model size."""
    table = load_runs("passk")
    k = np.unique(np.round(np.geomspace(1, 1e4, 25))).astype(int).tolist()
    passed = pass_at_k(table, k, by="model", draws=200)
    sizes = table.group_by("model").agg(pl.col("n_params").first()).sort("n_params")
    figure = Figure(figsize=(12, 3.9), layout="constrained")
    left = panel(figure, (1, 3, 1), "Failure", "k: attempts", "failure")
    middle = panel(figure, (1, 3, 2), "The other observable", "k: attempts", "-log pass@k")
    for name, colour in zip(sizes["model"], shades(len(sizes)), strict=True):
        part = passed.filter(pl.col("model") == name)
        for axes, column in ((left, "failure"), (middle, "neg_log_pass")):
            axes.plot(part["k"], part[column], color=colour, label=name.removeprefix("Pythia "))
            low, high = part[f"{column}_low"], part[f"{column}_high"].replace(np.inf, 20.0)
            axes.fill_between(part["k"], low, high, color=colour, alpha=0.12, lw=0)
    left.legend(ncols=2)
    middle.set_ylim(0.08, 12)
    _draw_sizes(panel(figure, (1, 3, 3), "Exponent", "parameters", "exponent a"), table, sizes)
    return figure


def _draw_sizes(axes: Any, table: pl.DataFrame, sizes: pl.DataFrame) -> None:
    made = fit_counts(table, along="n_params")
    x = dict(sizes.iter_rows())
    ends = made.interval("a")
    for name, colour in zip(sizes["model"], shades(len(sizes)), strict=True):
        low, high = ends[name].low, ends[name].high
        axes.vlines(x[name], low, high, color=colour, lw=1.4, zorder=3)
        axes.plot([x[name]], [made.params["a"][name]], "o", color=colour, mec="white", zorder=4)
    assert isinstance(made.trend, Trend)
    at = np.geomspace(5e7, 2e10, 80)
    for curve, style in (("saturating", "-"), ("power", "--")):
        axes.plot(at, made.trend.predict(at, curve), style, color=GREY, lw=1.2, label=curve)
    axes.set(yscale="linear", ylim=(0, 0.4))
    axes.legend(loc="upper left", title="joint law along n_params")


FIGURES = (training_and_failure, contours, human_labels, counts)


def main(words: list[str]) -> None:
    png = "--png" in words
    places = [word for word in words if not word.startswith("--")]
    folder = Path(places[0]) if places else FOLDER
    write_figures("hard_tail", FIGURES, folder, png=png)


if __name__ == "__main__":
    main(sys.argv[1:])
