# pyright: standard
# (matplotlib's own types are incomplete: most keyword arguments are unknown to a strict checker)
"""Theory as lines and simulation as points with error bars, drawn with matplotlib."""

from __future__ import annotations

import math
import os
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from kleiber.reports.axes import tick_labels, tick_places
from kleiber.reports.caption import FAINT, plain
from kleiber.reports.figure import (
    FONT,
    check_drawing,
    dress,
    ramp_colours,
    save_figure,
    styled,
    text_width,
)
from kleiber.reports.overlay import Overlay, Pane, Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, EDGE = 12.0, 0.35  # inches: of the figure, and left free at each side
PANE = 3.3  # inches: the height of a pane
TITLE, LABEL, GAP = 0.40, 0.62, 0.35  # inches above a pane, below it, and between two
LEGEND = 0.24  # inches of a line of the legend
MARKER = 5.0


def draw_overlay(panels: Overlay, path: str | os.PathLike[str]) -> None:
    """Draw the panels into a .svg, .png or .pdf file, which appears whole or not at all.

    The same panels give the same bytes. Raises ValueError for another suffix, ImportError when
    matplotlib is missing, OSError when the file cannot be written.
    """
    check_drawing(path)
    save_figure(compose_overlay(panels), path, panels.title)


def compose_overlay(panels: Overlay) -> Figure:
    """The figure of the panels, not yet written anywhere."""
    from matplotlib.figure import Figure

    columns = 1 if len(panels.panes) == 1 else 2
    rows = math.ceil(len(panels.panes) / columns)
    about = textwrap.wrap(plain(panels.about), 150)
    top = EDGE + 0.34 + 0.21 * len(about) + LEGEND + 0.1
    height = top + rows * (TITLE + PANE + LABEL) + 0.15 + 0.2 * len(panels.notes)
    with styled():
        figure = Figure(figsize=(WIDTH, height))
        _write(figure, panels, about)
        wide = (WIDTH - 2 * EDGE - GAP * (columns - 1)) / columns
        for k, pane in enumerate(panels.panes):
            row, column = divmod(k, columns)
            left = EDGE + column * (wide + GAP)
            words = _beside(pane)
            low = height - top - (row + 1) * (TITLE + PANE + LABEL) + LABEL
            box = (left + words) / WIDTH, low / height, (wide - words) / WIDTH, PANE / height
            _draw_pane(figure.add_axes(box), pane)
        _draw_groups(figure, panels, height - top + LEGEND)
    return figure


def _beside(pane: Pane) -> float:
    """Inches that the upright axis needs for its ticks and label."""
    labels = tick_labels(tick_places(pane.y))
    return 0.34 + max((text_width(label, FONT, False) for label in labels), default=0.0)


def _write(figure: Figure, panels: Overlay, about: list[str]) -> None:
    height = figure.get_figheight()
    at = height - EDGE
    look: dict[str, Any] = {"va": "top", "ha": "left"}
    left = EDGE / WIDTH
    figure.text(left, at / height, plain(panels.title), size=15.0, weight="bold", **look)
    at -= 0.34
    for line in about:
        figure.text(left, at / height, line, size=FONT, color=FAINT, **look)
        at -= 0.21
    at = 0.1 + 0.2 * len(panels.notes)
    for note in panels.notes:
        text = f"{note[:1].upper()}{plain(note)[1:]}."
        figure.text(left, at / height, text, size=8.5, color=FAINT, **look)
        at -= 0.2


def _draw_pane(axes: Axes, pane: Pane) -> None:
    dress(axes, pane.title, pane.x, pane.y, legend=False)
    axes.set_title(plain(pane.title), pad=6)
    for trace in pane.curves:
        axes.plot(trace.x, trace.y, "-", color=_colour(trace.shade), lw=1.7, zorder=3)
    for trace in pane.points:
        _draw_points(axes, trace)


def _draw_points(axes: Axes, trace: Trace) -> None:
    colour = _colour(trace.shade)
    bottom, top = axes.get_ylim()
    low, high = np.clip(trace.low, bottom, top), np.clip(trace.high, bottom, top)
    axes.vlines(trace.x, low, high, color=colour, lw=1.2, zorder=4)
    axes.plot(
        trace.x, trace.y, "o", color=colour, mec="white", mew=0.7, ms=MARKER, zorder=5,
        clip_on=False,
    )  # fmt: skip


def _colour(shade: float) -> Any:
    return ramp_colours()(shade)


def _draw_groups(figure: Figure, panels: Overlay, at: float) -> None:
    """What the colours are, on one line above the panes."""
    from matplotlib.lines import Line2D

    curves = any(pane.curves for pane in panels.panes)
    points = any(pane.points for pane in panels.panes)
    look: dict[str, Any] = {"lw": 1.7 if curves else 0.0, "ms": MARKER, "mec": "white"}
    look["marker"] = "o" if points else ""
    handles = [Line2D([], [], color=_colour(shade), **look) for _, shade in panels.groups]
    names = [plain(name) for name, _ in panels.groups]
    if not handles:
        words = " and ".join(
            word for word, there in (("theory", curves), ("simulation", points)) if there
        )
        handles, names = [Line2D([], [], color=_colour(0.3), **look)], [words]
    figure.legend(
        handles, names, loc="upper left", ncols=len(names), frameon=False,
        bbox_to_anchor=(EDGE / WIDTH, at / figure.get_figheight()), borderaxespad=0.0,
    )  # fmt: skip
