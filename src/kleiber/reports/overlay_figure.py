# pyright: standard
# (matplotlib's own types are incomplete: most keyword arguments are unknown to a strict checker)
"""Theory as lines and simulation as points with error bars, drawn with matplotlib."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from kleiber.reports import sheet
from kleiber.reports.overlay import Overlay, Pane
from kleiber.reports.sheet import EDGE, INK, WIDTH, Line, lines_of, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANE = 4.2  # inches: the height of a pane with its words
POINT: dict[str, Any] = {"marker": "o", "mec": "white", "mew": 0.7, "ms": 5.0}


def draw_overlay(panels: Overlay, path: str | os.PathLike[str]) -> None:
    """Draw the panes into a .svg, .png or .pdf file, written whole or not at all.

    The same panels give the same bytes. Raises ValueError for another suffix, ImportError when
    matplotlib is missing, OSError when the file cannot be written.
    """
    sheet.check_drawing(path)
    sheet.save_figure(compose_overlay(panels), path, panels.title)


def compose_overlay(panels: Overlay) -> Figure:
    """Return the figure of the panes without writing it."""
    columns = 1 if len(panels.panes) == 1 else 2
    rows = math.ceil(len(panels.panes) / columns)
    head = [*lines_of(panels.title, 15.0, INK, bold=True), *lines_of(panels.about), Line((), 12.0)]
    said = [f"{note[:1].upper()}{note[1:]}." for note in panels.notes]
    foot = [line for note in said for line in lines_of(note, 8.5)]
    with sheet.styled():
        figure = sheet.blank(head, foot, rows * PANE)
        at = EDGE + sum(line.height for line in head[:-1])
        _draw_groups(figure, panels, 1 - at / figure.get_figheight())
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, pane in zip(grid, panels.panes, strict=False):
            _draw_pane(axes, pane)
        for axes in grid[len(panels.panes) :]:
            axes.remove()
        return sheet.freeze_layout(figure)


def _draw_pane(axes: Axes, pane: Pane) -> None:
    sheet.label_axes(axes, pane.x, pane.y, pane.title, upright=46)
    for trace in pane.curves:
        axes.plot(trace.x, trace.y, "-", color=sheet.ramp_colours()(trace.shade), lw=1.7, zorder=3)
    for trace in pane.points:
        colour = sheet.ramp_colours()(trace.shade)
        axes.plot(trace.x, trace.y, "", color=colour, lw=0, zorder=5, clip_on=False, **POINT)
    sheet.limit_range(axes, [end for trace in pane.points for end in (trace.low, trace.high)])
    for trace in pane.points:
        low, high = (np.clip(ends, *axes.get_ylim()) for ends in (trace.low, trace.high))
        axes.vlines(trace.x, low, high, color=sheet.ramp_colours()(trace.shade), lw=1.2, zorder=4)
    sheet.tick(axes.xaxis, axes.yaxis)


def _draw_groups(figure: Figure, panels: Overlay, at: float) -> None:
    """Draw the legend of the colours, on one line above the panes."""
    from matplotlib.lines import Line2D

    curves, points = (
        any(getattr(pane, what) for pane in panels.panes) for what in ("curves", "points")
    )
    kinds = [word for word, there in (("theory", curves), ("simulation", points)) if there]
    groups = panels.groups or ((" and ".join(kinds), 0.3),)
    look: dict[str, Any] = {"lw": 1.7 * curves} | (POINT if points else {})
    handles = [Line2D([], [], color=sheet.ramp_colours()(shade), **look) for _, shade in groups]
    figure.legend(
        handles, [plain(name) for name, _ in groups], loc="upper left", ncols=len(groups),
        bbox_to_anchor=(EDGE / WIDTH, at), borderaxespad=0.0,
    )  # fmt: skip
