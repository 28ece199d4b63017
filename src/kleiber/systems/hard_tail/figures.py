"""The figures of Levi's paper, from our own theory, simulations and data: the heads are those of
the claims at the same scale (docs/papers/hard_tail.md has them at scale quick)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float
from scipy.optimize import least_squares

from kleiber.attempts.counts import pass_at_k
from kleiber.attempts.fit import fit_counts
from kleiber.attempts.trend import Trend
from kleiber.claim import Context
from kleiber.data.runs import load_runs
from kleiber.maths.seeds import stream
from kleiber.systems.drawing import BLUE, GREY, INK, RED, Drawing
from kleiber.systems.hard_tail.backbone_figure import backbone
from kleiber.systems.hard_tail.claims.heads import heads
from kleiber.systems.hard_tail.claims.saturation import Saturation
from kleiber.systems.hard_tail.claims.split import Split, best_split, loss_of
from kleiber.systems.hard_tail.claims.tails import EARLY, TAIL, failures
from kleiber.systems.hard_tail.distillation.figure import distillation
from kleiber.systems.hard_tail.heads import average_heads, window_exponents
from kleiber.systems.hard_tail.theory import HardTail

SEEDS = 60
WEIGHT = 1e-4  # of the loss in the total loss of figure 2
MODEL = HardTail(capacity=1.0, tail=TAIL, noise=1e-1, tolerance=1e-1, dimension=100, ridge=1e-9)
SIZES = (20, 40, 67, 90, 100, 110, 144, 211, 309, 453, 663, 970, 1421, 2080, 4459, 10000)
SHOWN = (144, 309, 663, 1421, 10000)  # whose failure is drawn
BEYOND = 144  # the peak's end, from which the exponent grows steadily
DRAWS = 1000  # training sets whose label noise is drawn for the theory's median
QUARTILES = {"low": 0.25, "middle": 0.5, "high": 0.75}
K = np.geomspace(1, 1e5, 11)


def over_seeds(table: pl.DataFrame, column: str, by: str = "n_data") -> pl.DataFrame:
    """Return the median and quartiles of a column over seeds."""
    each = [pl.col(column).quantile(q, "linear").alias(name) for name, q in QUARTILES.items()]
    return table.group_by(by).agg(each).sort(by)


def theory_quartiles(n: Float[np.ndarray, "sizes"]) -> dict[str, Float[np.ndarray, "sizes"]]:
    """Return median and quartiles over training sets of the theory's loss.

    The label noise of a set is the mean of noise^2/tau over its labels, which has no variance; the
    loss grows with it.
    """
    levels: list[np.ndarray] = []
    for size in SIZES:
        rng = stream(0, f"label noise of {size}")
        drawn = [(1 / rng.standard_gamma(TAIL / 2, size)).mean() for _ in range(DRAWS)]
        levels.append(np.quantile(drawn, list(QUARTILES.values())))
    log_n, log_levels = np.log(SIZES), np.log(np.array(levels))
    found: dict[str, np.ndarray] = {}
    for column, name in enumerate(QUARTILES):
        noise = MODEL.noise**2 * np.exp(np.interp(np.log(n), log_n, log_levels[:, column]))
        pairs = zip(n, noise, strict=True)
        found[name] = np.array([float(MODEL.loss(x, label_noise=v)[0]) for x, v in pairs])
    return found


def draw_bars(axes: Any, x: Any, table: pl.DataFrame, colour: Any, label: str | None) -> None:
    """Draw medians with their quartiles."""
    axes.vlines(x, table["low"], table["high"], color=colour, lw=1.2, zorder=3)
    look: dict[str, Any] = {"color": colour, "mec": "white", "mew": 0.6, "ms": 5, "zorder": 4}
    axes.plot(x, table["middle"], "o", label=label, **look)


def training_and_failure(draw: Drawing, _: Context) -> Any:
    """Draw loss, failure curves, and the exponent against N: theory's medians as lines, those of
    many seeds as points."""
    runs = MODEL.simulate({"n_data": list(SIZES), "k": K}, seeds=SEEDS)
    fine = np.unique(np.round(np.geomspace(SIZES[0], SIZES[-1], 90)))
    told = theory_quartiles(fine)
    figure = draw.figure(12, 3.9)
    axes = draw.panel(figure, (1, 3, 1), "Training", "N: training examples", "generalisation loss")
    axes.fill_between(fine, told["low"], told["high"], color=BLUE, alpha=0.15, lw=0)
    axes.plot(fine, told["middle"], color=BLUE, lw=1.6, label="theory, median and quartiles")
    part = runs.filter(pl.col("k") == K[0])
    measured = over_seeds(part, "loss")
    draw_bars(axes, measured["n_data"], measured, GREY, f"{SEEDS} seeds, the same")
    late = fine[fine > 400]
    guide = 0.3 * float(told["middle"][-1]) * (late[-1] / late)
    axes.plot(late, guide, "--", color=GREY, lw=1, label="1/N")
    axes.axvline(100, color=GREY, lw=0.8, ls=":")
    axes.legend(loc="lower left")
    _draw_failures(
        draw, draw.panel(figure, (1, 3, 2), "Inference", "k: attempts", "median failure"), runs
    )
    right = draw.panel(figure, (1, 3, 3), "Exponent", "N: training examples", "")
    _draw_exponents(right, over_seeds(part, "window_exponent"), fine, told)
    return figure


def _draw_failures(draw: Drawing, axes: Any, runs: pl.DataFrame) -> None:
    """Draw failure against k at the theory's median loss, and the median over seeds."""
    k = np.geomspace(1, 1e5, 60)
    losses = theory_quartiles(np.array(SHOWN, float))["middle"]
    for size, loss, colour in zip(SHOWN, losses, draw.shades(len(SHOWN)), strict=True):
        axes.plot(k, failures(k, np.sqrt(loss) / MODEL.noise), color=colour, label=f"N = {size:,}")
        measured = over_seeds(runs.filter(pl.col("n_data") == size), "failure", "k")
        draw_bars(axes, measured["k"], measured, colour, None)
    guide = 3 * failures(k, 0.0)[20] * (k[20:] / k[20]) ** -TAIL
    axes.plot(k[20:], guide, "--", color=GREY, lw=1, label=f"$k^{{-{TAIL:g}}}$")
    axes.set_ylim(1e-11, 1.5)
    axes.legend(loc="lower left")


def _draw_exponents(
    axes: Any,
    measured: pl.DataFrame,
    n: Float[np.ndarray, "sizes"],
    told: dict[str, Float[np.ndarray, "sizes"]],
) -> None:
    """Draw the exponent at the theory's median loss, that of the seeds, and saturating fits
    to them."""
    low, middle, high = (
        MODEL.window_exponent(np.sqrt(told[name]) / MODEL.noise, *EARLY)
        for name in ("high", "middle", "low")
    )
    axes.fill_between(n, low, high, color=BLUE, alpha=0.15, lw=0)
    axes.plot(n, middle, color=BLUE, lw=1.6, label="theory, median and quartiles")
    draw_bars(axes, measured["n_data"], measured, GREY, f"{SEEDS} seeds, the same")
    part = measured.filter(pl.col("n_data") >= BEYOND)
    at, values = part["n_data"].to_numpy().astype(float), part["middle"].to_numpy()
    x = n[n >= BEYOND]
    broken = fit_to(broken_power, at, values, (TAIL, np.log(1000.0), 1.0, np.log(4.0)))
    label = rf"fit: $N^{{{broken[2]:.2f}}}$, then {broken[0]:.2f}"
    axes.plot(x, broken_power(x, *broken), "--", color=RED, lw=1.4, label=label, zorder=5)
    logistic = fit_to(paper_form, at, values, (TAIL, TAIL, np.log(500.0), 2.0))
    label = rf"fit: paper's form, $\nu$ = {logistic[3]:.2f}"
    axes.plot(x, paper_form(x, *logistic), ":", color=INK, lw=1.2, label=label)
    axes.axhline(TAIL, color=GREY, lw=0.8, ls=":")
    axes.text(22, TAIL + 0.03, r"$\beta$ = 2.5", color=GREY)
    axes.set(yscale="linear", ylabel=r"$\beta_{\mathrm{eff}}$, k from 10 to 1,000", ylim=(0, 2.9))
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0.86))


def broken_power(
    n: Float[np.ndarray, "sizes"], top: float, log_break: float, power: float, log_sharpness: float
) -> Float[np.ndarray, "sizes"]:
    """Return a power of N that goes over into a constant, top/(1 + (N_break/N)^(s p))^(1/s)."""
    sharpness = np.exp(log_sharpness)
    return top * np.exp(-np.logaddexp(0.0, sharpness * power * (log_break - np.log(n))) / sharpness)


def paper_form(
    n: Float[np.ndarray, "sizes"], top: float, delta: float, log_half: float, power: float
) -> Float[np.ndarray, "sizes"]:
    """Return top - Delta/(1 + (N/N_half)^nu)."""
    return Saturation(top, delta, float(np.exp(log_half)), power).at(n)


def fit_to(
    form: Callable[..., Float[np.ndarray, "sizes"]],
    n: Float[np.ndarray, "sizes"],
    values: Float[np.ndarray, "sizes"],
    start: Sequence[float],
) -> list[float]:
    """Fit a form of N to measured exponents by least squares, with every parameter free."""
    return [float(x) for x in least_squares(lambda p: form(n, *p) - values, start).x]


def contours(draw: Drawing, _: Context) -> Any:
    """Total loss over (N, k), and the best splits beside those of a constant exponent."""
    n, k = np.geomspace(120, 2e4, 70), np.geomspace(1, 1e4, 50)
    loss = loss_of(n)
    budgets = np.geomspace(300, 2e4, 13)
    splits = {
        constant: [best_split(part, 1.0, WEIGHT, constant=constant) for part in budgets]
        for constant in (False, True)
    }
    figure = draw.figure(12, 4.6)
    for constant in (False, True):
        title = "Constant exponent (baseline)" if constant else "Exponent that grows with N"
        place = (1, 2, 1 + constant)
        axes = draw.panel(figure, place, title, "N: training examples (cost 1 each)", "k: attempts")
        failure = [failures(k, 0.0 if constant else rho) for rho in np.sqrt(loss)]
        total = np.log10(np.array(failure) + WEIGHT * loss[:, None])
        filled = axes.contourf(
            n, k, total.T, np.linspace(-7, 0, 15), cmap=draw.ramp(), extend="both"
        )
        for part in budgets[::3]:
            line = _budget_line(float(part))
            axes.plot(line, part - line, color="white", lw=0.8)
        filled.set_rasterized(True)
        _draw_splits(axes, splits, constant)
        axes.set(xlim=(120, 2e4), ylim=(1, 1e4))
    figure.colorbar(filled, ax=figure.axes, label="log10 of the total loss")
    return figure


def _budget_line(budget: float) -> Float[np.ndarray, "points"]:
    """Return values of N along N + k = budget, dense towards both ends."""
    ends = [np.geomspace(120, budget, 60)[:-1], budget - np.geomspace(budget / 20, 1, 60)]
    line = np.sort(np.concatenate(ends))
    return line[line >= 120]


def _draw_splits(axes: Any, splits: dict[bool, list[Split]], constant: bool) -> None:
    for each, style, name in ((False, "o-", "best splits"), (True, "s--", "best, if constant")):
        if constant and not each:
            continue
        path = [item.n_data for item in splits[each]], [item.k for item in splits[each]]
        colour = "#FFFFFF" if each else "#FFB000"
        axes.plot(*path, style, color=colour, mec="#222222", mew=0.6, ms=5, lw=1.4, label=name)
    axes.legend(loc="lower right", frameon=True, framealpha=0.85, facecolor="#BBBBBB")


def human_labels(draw: Drawing, context: Context) -> Any:
    """CIFAR-10H: loss and exponent against N for two sets of features, and the failure curves."""
    figure = draw.figure(12, 3.9)
    left = draw.panel(figure, (1, 3, 1), "Training", "N: labelled images", "generalisation loss")
    middle = draw.panel(figure, (1, 3, 2), "Exponent", "N: labelled images", "")
    right = draw.panel(figure, (1, 3, 3), "Failure, 66 features", "k: human labels", "failure")
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
    for size, colour in zip(sizes, draw.shades(len(sizes)), strict=True):
        part = mean.filter(pl.col("n_data") == size).sort("k")
        right.plot(part["k"], part["failure"], "o-", color=colour, ms=3, label=f"N = {size}")
    left.legend()
    middle.legend(loc="lower right")
    right.legend(fontsize=7.5)
    return figure


def counts(draw: Drawing, _: Context) -> Any:
    """Pythia on MATH: failure and -log pass against k, and the exponent against model size."""
    table = load_runs("passk")
    k = np.unique(np.round(np.geomspace(1, 1e4, 25))).astype(int).tolist()
    passed = pass_at_k(table, k, by="model", draws=200)
    sizes = table.group_by("model").agg(pl.col("n_params").first()).sort("n_params")
    figure = draw.figure(12, 3.9)
    left = draw.panel(figure, (1, 3, 1), "Failure", "k: attempts", "failure")
    middle = draw.panel(figure, (1, 3, 2), "The other observable", "k: attempts", "-log pass@k")
    for name, colour in zip(sizes["model"], draw.shades(len(sizes)), strict=True):
        part = passed.filter(pl.col("model") == name)
        for axes, column in ((left, "failure"), (middle, "neg_log_pass")):
            axes.plot(part["k"], part[column], color=colour, label=name.removeprefix("Pythia "))
            low, high = part[f"{column}_low"], part[f"{column}_high"].replace(np.inf, 20.0)
            axes.fill_between(part["k"], low, high, color=colour, alpha=0.12, lw=0)
    left.legend(ncols=2)
    middle.set_ylim(0.08, 12)
    right = draw.panel(figure, (1, 3, 3), "Exponent", "parameters", "exponent a")
    _draw_sizes(draw, right, table, sizes)
    return figure


def _draw_sizes(draw: Drawing, axes: Any, table: pl.DataFrame, sizes: pl.DataFrame) -> None:
    made = fit_counts(table, along="n_params")
    x = dict(sizes.iter_rows())
    ends = made.interval("a")
    for name, colour in zip(sizes["model"], draw.shades(len(sizes)), strict=True):
        low, high = ends[name].low, ends[name].high
        axes.vlines(x[name], low, high, color=colour, lw=1.4, zorder=3)
        axes.plot([x[name]], [made.params["a"][name]], "o", color=colour, mec="white", zorder=4)
    assert isinstance(made.trend, Trend)
    at = np.geomspace(5e7, 2e10, 80)
    for curve, style in (("saturating", "-"), ("power", "--")):
        axes.plot(at, made.trend.predict(at, curve), style, color=GREY, lw=1.2, label=curve)
    axes.set(yscale="linear", ylim=(0, 0.4))
    axes.legend(loc="upper left", title="joint law along n_params")


FIGURES = (training_and_failure, contours, human_labels, counts, distillation, backbone)
