# pyright: standard
# (matplotlib's own types are incomplete: most keyword arguments are unknown to a strict checker)
"""The figure of a fit: a header with the law and its status, three panels, and notes below."""

from __future__ import annotations

import math
import os
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from kleiber.fitting.judge.status import Status
from kleiber.fitting.record import Fit
from kleiber.reports import caption, sheet
from kleiber.reports.axes import format_number
from kleiber.reports.notation import typeset_name
from kleiber.reports.panels import Colour, MatchPanel, Panels, ResidualPanel
from kleiber.reports.sheet import AMBER, FAINT, GREEN, INK, RED, ROOM, Line, lines_of, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, POINT, BAR = "#0072B2", "#4D4D4D", "#7FB2D6"
RASTER = 500  # more points than this become a bitmap inside the file
BODY = 6.4  # inches: the height of the panels
GAP = Line((), 3.0)


def draw_fit(panels: Panels, path: str | os.PathLike[str]) -> None:
    """Draw the panels into a .svg, .png or .pdf file, written whole or not at all.

    The same panels give the same bytes. Raises ValueError for another suffix, ImportError when
    matplotlib is missing, OSError when the file cannot be written.
    """
    sheet.check_drawing(path)
    sheet.save_figure(compose(panels), path, caption.title(panels.fit))


def compose(panels: Panels) -> Figure:
    """Return the figure of the panels without writing it. Raises ImportError without matplotlib."""
    with sheet.styled():
        figure = sheet.blank(_header(panels), _notes(panels), BODY)
        places: Any = [["law", "residuals"], ["law", "match"]]
        axes: Any = figure.subplot_mosaic(places, width_ratios=[1.4, 1.0])
        _draw_law(axes["law"], panels)
        _draw_residuals(axes["residuals"], panels, panels.residuals)
        _draw_match(axes["match"], panels, panels.match)
        return sheet.freeze_layout(figure)


def _header(panels: Panels) -> list[Line]:
    """Return the lines above the panels: the law, its parameters, the fit's status, and the
    data."""
    fit = panels.fit
    converged, missed = fit.status is Status.CONVERGED, fit.misfit is not None and fit.misfit.alarm
    colour = RED if not fit.usable else GREEN if converged and not missed else AMBER
    sentence = "" if fit.misfit is None else fit.misfit.sentence
    return [
        *lines_of(caption.title(fit), 15.0, INK, bold=True),
        *lines_of(caption.about(fit), max_lines=2),
        GAP,
        *(_law_lines(fit) or lines_of("(its formula has no short notation)")),
        GAP,
        *_parameter_lines(fit),
        *lines_of(caption.ending(fit), 10.0, colour, bold=not converged),
        *lines_of(sentence, 10.0, RED if missed else FAINT, bold=missed),
        *lines_of(caption.facts(panels), max_lines=2),
    ]


def _law_lines(fit: Fit) -> list[Line]:
    """Return the law in mathematical notation, broken between terms; empty if it needs more than
    two lines."""
    terms = caption.terms(fit)
    lines = [rf"{typeset_name(fit.target, [fit.target])}\;=\;"]
    for k, term in enumerate(terms):
        spaced = rf"\;{term[0]}\;{term[1:]}" if term[0] in "+-" and k else term
        if sheet.text_width(f"${lines[-1]}{spaced}$", 13.0) <= ROOM:
            lines[-1] += spaced
        else:
            lines.append(rf"\qquad{spaced}")
    fits = len(lines) <= 2 and all(sheet.text_width(f"${line}$", 13.0) <= ROOM for line in lines)
    return [Line(((0.0, f"${line}$"),), 13.0, INK) for line in lines if terms and fits]


def _parameter_lines(fit: Fit) -> list[Line]:
    """Return the parameters in columns, with intervals below the values."""
    cells: list[tuple[str, str]] = []
    for name, value in fit.params.items():
        symbol = f"${typeset_name(name)}$"
        symbol = symbol if math.isfinite(sheet.text_width(symbol, 11.0)) else plain(name)
        cells.append((f"{symbol} = {format_number(value)}", caption.interval(fit, name)))
    widest = max(max(sheet.text_width(a, 11.0), sheet.text_width(b, 8.5)) for a, b in cells) + 0.3
    count = max(1, int(ROOM / widest))
    step = max(widest, 1.6) if len(cells) * 1.6 <= ROOM else widest
    lines: list[Line] = []
    for row in (cells[start : start + count] for start in range(0, len(cells), count)):
        for k, (size, colour) in enumerate(((11.0, INK), (8.5, FAINT))):
            lines.append(
                Line(tuple((step * i, each[k]) for i, each in enumerate(row)), size, colour)
            )
        lines.append(GAP)
    return lines


def _notes(panels: Panels) -> list[Line]:
    notes, band = caption.notes(panels), caption.band(panels)
    if band.startswith("no band"):
        notes = (band, *notes)
    if panels.shown.sum() > RASTER:
        notes = (*notes, "In .svg and .pdf files the points are a bitmap.")
    said = [f"{note[:1].upper()}{note[1:].rstrip('.')}." for note in notes]
    return [line for note in said for line in lines_of(note, 8.5, max_lines=3)]


def _draw_law(axes: Axes, panels: Panels) -> None:
    """Draw the runs, and the law with its band at each value of the second variable."""
    law, colour, settled = panels.law, panels.colour, panels.fit.usable
    sheet.label_axes(axes, law.x, law.y, "Data and fitted law", legend=True)
    words = [law.x.label, *textwrap.wrap(caption.held(panels), 80)]
    axes.set_xlabel(plain("\n".join(words)), linespacing=1.5)
    dots = _scatter(axes, panels, law.data_x, law.data_y, np.arange(len(law.data_x)))
    curves = law.curves
    sheet.limit_range(axes, [y for c in curves for y in (c.y, c.low, c.high) if y is not None])
    lines, bands = [], []
    for curve in curves:
        shade = BLUE if colour is None else sheet.ramp_colours()(_norm(colour)(curve.at))
        if curve.low is not None and curve.high is not None:
            low, high = (np.clip(ends, *axes.get_ylim()) for ends in (curve.low, curve.high))
            bands.append(axes.fill_between(curve.x, low, high, color=shade, alpha=0.22, lw=0))
        style = "-" if settled else "--"
        lines += axes.plot(curve.x, curve.y, style, color=shade, lw=1.7, zorder=4)
    band, middle = caption.band(panels), len(curves) // 2
    where = "law" if settled else "law (fit not usable)"
    where += " at each ◇ of the bar" if colour is not None else ""
    if bands:
        sheet.add_legend(axes, [dots, lines[middle], bands[middle]], ["runs", where, band])
    else:
        sheet.add_legend(
            axes, [dots, lines[middle]], ["runs", f"{where} ({band.partition(' (')[0]})"]
        )
    sheet.tick(axes.xaxis, axes.yaxis)
    if colour is not None:
        _draw_bar(axes, dots, colour, [curve.at for curve in curves])


def _draw_bar(axes: Axes, dots: Any, colour: Colour, marks: list[Any]) -> None:
    """Draw the colour bar, with marks at the values where the law is drawn."""
    from matplotlib.cm import ScalarMappable

    shown = ScalarMappable(_norm(colour), sheet.ramp_colours())
    bar = axes.figure.colorbar(shown, ax=axes, aspect=36, pad=0.01)
    bar.outline.set_visible(False)
    bar.set_label(plain(textwrap.fill(colour.axis.label, 70)))
    sheet.tick(bar.ax.yaxis)
    look: dict[str, Any] = {"color": "white", "mec": INK, "mew": 0.8, "ms": 4.5, "clip_on": False}
    bar.ax.plot(np.full(len(marks), 0.5), marks, "D", **look)


def _draw_residuals(axes: Axes, panels: Panels, shown: ResidualPanel) -> None:
    sheet.label_axes(
        axes, shown.x, shown.y, "Residuals", upright=28, legend=shown.width is not None
    )
    _scatter(axes, panels, shown.predicted, shown.residual, panels.drawn)
    size = 1.1 * float(np.abs(shown.residual).max(initial=0.0)) or 1.0
    axes.set_ylim(-size, size)
    sheet.limit_range(axes)
    axes.axhline(0, color=FAINT, lw=0.9, zorder=1)
    if shown.width is not None:
        look: dict[str, Any] = {"color": RED, "lw": 1.1, "ls": (0, (4, 2)), "zorder": 4}
        ends = [sign * shown.width for sign in (1, -1) if shown.width <= size]
        lines = [axes.axhline(at, **look) for at in ends] or axes.plot([], [], **look)
        beyond = "" if ends else ", beyond this panel"
        sheet.add_legend(axes, lines[:1], [f"Huber width ±{shown.width:g}{beyond}"])
    sheet.tick(axes.xaxis, axes.yaxis)


def _draw_match(axes: Axes, panels: Panels, shown: MatchPanel) -> None:
    """Draw predicted against measured values, with the line of equality."""
    sheet.label_axes(axes, shown.x, shown.y, "Predicted against measured", upright=28, legend=True)
    _scatter(axes, panels, shown.measured, shown.predicted, panels.drawn)
    sheet.limit_range(axes, [shown.low, shown.high])
    (x_low, x_high), (y_low, y_high) = axes.get_xlim(), axes.get_ylim()
    both = [max(x_low, y_low), min(x_high, y_high)]
    (equal,) = axes.plot(both, both, color=FAINT, lw=0.9, zorder=2.5)  # below the points
    handles, names = [equal], ["equal"]
    if len(shown.barred):
        low, high = (np.clip(ends, y_low, y_high) for ends in (shown.low, shown.high))
        bars: Any = axes.vlines(
            shown.measured[shown.barred], low, high, color=BAR, lw=1.4, zorder=2
        )
        handles.append(bars)
        share = f"holds {shown.inside} of {len(shown.barred)}"
        names.append(f"{caption.band(panels).split()[0]} interval of a new run ({share})")
    sheet.add_legend(axes, handles, names)
    sheet.tick(axes.xaxis, axes.yaxis)


def _scatter(
    axes: Axes,
    panels: Panels,
    x: Float[np.ndarray, "points"],
    y: Float[np.ndarray, "points"],
    rows: Int[np.ndarray, "points"],
) -> Any:
    """Draw the runs as points, coloured by the second variable if there is one."""
    shown = panels.shown[rows]
    count = int(shown.sum())
    size = 26.0 if count <= 80 else 15.0 if count <= RASTER else 5.0
    look: dict[str, Any] = {"s": size, "lw": 0.35, "edgecolors": "white", "zorder": 3}
    # Every axis holds all of its points, and clipping them triples a file.
    look |= {"clip_on": False, "in_layout": False}
    if count > RASTER:
        look |= {"lw": 0.0, "alpha": 0.6, "rasterized": True}
    if panels.colour is None:
        return axes.scatter(x[shown], y[shown], color=POINT, **look)
    look |= {"norm": _norm(panels.colour), "cmap": sheet.ramp_colours()}
    return axes.scatter(x[shown], y[shown], c=panels.colour.values[rows][shown], **look)


def _norm(colour: Colour) -> Any:
    from matplotlib.colors import LogNorm, Normalize

    return (LogNorm if colour.axis.log else Normalize)(colour.values.min(), colour.values.max())
