# pyright: standard
# (matplotlib's own types are incomplete: most keyword arguments are unknown to a strict checker)
"""IsoFLOP parabolas with their minima, and the line through these, drawn with matplotlib."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

import numpy as np

from kleiber.reports import sheet
from kleiber.reports.axes import format_number, make_axis
from kleiber.reports.sheet import INK, RED, Line, lines_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kleiber.reduce.isoflop import IsoFLOP

BODY = 4.6  # inches


def draw_isoflop(made: IsoFLOP, path: str | os.PathLike[str]) -> None:
    """Draw the parabolas and the growth of the best size into a .svg, .png or .pdf file.

    Raises ValueError for another suffix, ImportError when matplotlib is missing, OSError when the
    file cannot be written.
    """
    sheet.check_drawing(path)
    sheet.save_figure(compose_isoflop(made), path, "isoFLOP")


def compose_isoflop(made: IsoFLOP) -> Figure:
    """Return the figure without writing it."""
    item = made.exponent
    ends = f" [{item.low:.3f}, {item.high:.3f}]" if math.isfinite(item.low) else " (no interval)"
    value = f"N* ~ C^{item.value:.3f}{ends}" if math.isfinite(item.value) else "no exponent"
    head = [*lines_of(f"isoFLOP: {value}", 15.0, INK, bold=True), Line((), 12.0)]
    foot = [line for note in made.notes for line in lines_of(note, 8.5)]
    with sheet.styled():
        figure = sheet.blank(head, foot, BODY)
        left, right = figure.subplots(1, 2)
        _draw_parabolas(left, made)
        _draw_growth(right, made)
        return sheet.freeze_layout(figure)


def _shades(made: IsoFLOP) -> dict[float, float]:
    budgets = made.table[made.budget].to_list()
    return {c: 0.1 + 0.8 * k / max(len(budgets) - 1, 1) for k, c in enumerate(budgets)}


def _draw_parabolas(axes: Axes, made: IsoFLOP) -> None:
    """Draw the runs, filled where their budget has an optimum, with the parabolas and minima."""
    x = make_axis(made.size, made.runs["size"].to_numpy(), log=True)
    y = make_axis(made.target, made.runs["target"].to_numpy(), log=False)
    sheet.label_axes(axes, x, y, "A parabola for each budget", upright=46)
    curves = {row["budget"]: row for row in made.curves.iter_rows(named=True)}
    for budget, shade in _shades(made).items():
        colour = sheet.ramp_colours()(shade)
        rows = made.runs.filter(made.runs["budget"] == budget)
        size, found = rows["size"].to_numpy(), curves.get(budget)
        axes.plot(
            size, rows["target"], "o", color=colour, ms=4, mfc=colour if found else "white",
            label=format_number(budget, 3) + ("" if found else " (no optimum)"),
        )  # fmt: skip
        if found:
            at = np.geomspace(size.min(), size.max(), 100)
            u = np.log(at) - found["centre"]
            axes.plot(at, found["c0"] + found["c1"] * u + found["c2"] * u**2, color=colour, lw=1.4)
    known = made.table.drop_nulls(made.size)
    axes.plot(known[made.size], known[made.target], "D", color=RED, ms=5, zorder=6)
    axes.legend(title=made.budget, fontsize=8)


def _draw_growth(axes: Axes, made: IsoFLOP) -> None:
    """Draw the optima with their intervals, and the line through them."""
    known = made.table.drop_nulls(made.size)
    budgets = made.table[made.budget].to_numpy()
    ends = known.select(f"{made.size}_low", f"{made.size}_high", made.size).to_numpy().ravel()
    ends = ends[np.isfinite(ends.astype(float))]
    x = make_axis(made.budget, budgets, log=True)
    y = make_axis(made.size, ends if len(ends) else made.runs["size"].to_numpy(), log=True)
    sheet.label_axes(axes, x, y, "The best size of each budget", upright=46)
    c, n = known[made.budget].to_numpy(), known[made.size].to_numpy()
    axes.plot(c, n, "D", color=RED, ms=5, zorder=5)
    sure = known.drop_nulls(f"{made.size}_low")
    axes.vlines(sure[made.budget], sure[f"{made.size}_low"], sure[f"{made.size}_high"], color=RED)
    if math.isfinite(made.exponent.value):
        middle = np.log(n).mean() - made.exponent.value * np.log(c).mean()
        axes.plot(budgets, np.exp(middle + made.exponent.value * np.log(budgets)), color=INK, lw=1)
