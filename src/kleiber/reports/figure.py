# pyright: standard
# (matplotlib's own types are incomplete: most keyword arguments are unknown to a strict checker)
"""Figures: panels drawn with matplotlib, which is imported only here and only when drawing.

A header (the law, its fitted numbers, how the fit ended) stands above three panels; notes stand
below. Colours are Okabe and Ito's and viridis, which colour-blind readers can tell apart.
"""

from __future__ import annotations

import contextlib
import math
import os
import textwrap
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from kleiber.errors import nearest
from kleiber.files import land
from kleiber.reports.axes import Axis, tick_labels, tick_places
from kleiber.reports.caption import FAINT, INK, RASTER, RED, Line, header_lines, note_lines, plain
from kleiber.reports.panels import Colour, MatchPanel, Panels, ResidualPanel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".png", ".pdf")
BLUE, POINT, BAR = "#0072B2", "#4D4D4D", "#7FB2D6"
WIDTH, PANELS = 12.0, 6.4  # inches: of the figure, and the height of its panels
EDGE = 0.35  # inches left free at each side
RIGHT = 4.55  # inches of the two panels at the right, words included
TITLE, LABEL = 0.62, 0.55  # inches above a panel and below it, for its words
FONT = 9.0  # points
DPI = {".svg": 110, ".png": 160, ".pdf": 110}
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": FONT,
    "mathtext.fontset": "dejavusans",
    "svg.hashsalt": "kleiber",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "axes.edgecolor": "#999999",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.titlelocation": "left",
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.3,
    "legend.borderpad": 0.0,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.2,
    "legend.handlelength": 1.8,
}


def draw_fit(panels: Panels, path: str | os.PathLike[str]) -> None:
    """Draw the panels into a .svg, .png or .pdf file, which appears whole or not at all.

    The same panels give the same bytes. Raises ValueError for another suffix, ImportError when
    matplotlib is missing, OSError when the file cannot be written.
    """
    check_drawing(path)
    save_figure(compose(panels), path, panels.title)


def save_figure(figure: Figure, path: str | os.PathLike[str], title: str) -> None:
    """Write a figure into the file, the same bytes every time, whole or not at all."""
    kind = check_drawing(path)
    metadata: dict[str, Any] = {"Title": f"kleiber: {title}"}
    metadata |= {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(kind, {})
    with styled(), land(path) as temporary:
        figure.savefig(temporary, format=kind[1:], dpi=DPI[kind], metadata=metadata)


def check_drawing(path: str | os.PathLike[str]) -> str:
    """The suffix of ``path``, after checking that it is one we draw and that matplotlib is here.

    Call it before a long fit whose figure is wanted. Raises ValueError or ImportError.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        given = f"the suffix {suffix!r}" if suffix else "no suffix"
        raise ValueError(
            f"Cannot draw into {os.fspath(path)!r}: it has {given}; a figure is a .svg, .png or "
            f".pdf file.{nearest(suffix, SUFFIXES) if suffix else ''}"
        )
    check_matplotlib()
    return suffix


def check_matplotlib() -> None:
    """ImportError, saying what to install, unless matplotlib can be imported."""
    try:
        import matplotlib as _  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "A figure needs matplotlib, which is not installed: pip install 'kleiber[report]'"
        ) from error


@contextlib.contextmanager
def styled() -> Generator[None]:
    """matplotlib's defaults and ours on them, whatever the user has set, until the block ends."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def compose(panels: Panels) -> Figure:
    """The figure of the panels, not yet written anywhere. Raises ImportError without matplotlib."""
    check_matplotlib()
    with styled():
        return _composed(panels)


def _composed(panels: Panels) -> Figure:
    from matplotlib.figure import Figure

    room = WIDTH - 2 * EDGE
    above = header_lines(panels, room, text_width)
    below = note_lines(panels, room, text_width)
    top = EDGE + sum(line.height for line in above)
    bottom = 0.15 + sum(line.height for line in below)
    height = top + PANELS + bottom
    figure = Figure(figsize=(WIDTH, height))
    _write(figure, above, height - EDGE)
    _write(figure, below, bottom)
    places = _places(panels, bottom)
    boxes = {
        name: figure.add_axes((x / WIDTH, y / height, wide / WIDTH, high / height))
        for name, (x, y, wide, high) in places.items()
    }
    _draw_law(boxes["law"], panels)
    if panels.colour is not None:
        _draw_bar(boxes["bar"], panels.colour, [curve.at for curve in panels.law.curves])
    _draw_residuals(boxes["residuals"], panels, panels.residuals)
    _draw_match(boxes["match"], panels, panels.match)
    return figure


def _places(panels: Panels, bottom: float) -> dict[str, tuple[float, float, float, float]]:
    """Left, lower edge, width and height of each panel in inches, with room for its words.

    Worked out here, not by a layout engine, whose last digits differ from run to run.
    """
    top, low = bottom + PANELS - TITLE, bottom + LABEL
    left, right = EDGE + _beside(panels.law.y), WIDTH - EDGE - 0.1
    middle = right - RIGHT + max(_beside(panels.residuals.y), _beside(panels.match.y))
    until = right - RIGHT - 0.25
    if panels.colour is not None:
        until -= 0.25 + _beside(panels.colour.axis)
    above = low + 0.2 * len(_held_lines(panels))
    places = {"law": (left, above, until - left, top - above)}
    if panels.colour is not None:
        places["bar"] = (until + 0.12, above, 0.15, top - above)
    high = (top - low - TITLE - LABEL) / 2
    places["residuals"] = (middle, top - high, right - middle, high)
    places["match"] = (middle, low, right - middle, high)
    return places


def _beside(axis: Axis) -> float:
    """Inches that an upright axis needs for its ticks and label."""
    labels = tick_labels(tick_places(axis))
    return 0.34 + max((text_width(label, FONT, False) for label in labels), default=0.0)


def _held_lines(panels: Panels) -> list[str]:
    return textwrap.wrap(plain(panels.law.note), 80)


def _write(figure: Figure, lines: Sequence[Line], top: float) -> None:
    """Write lines downwards from ``top`` inches."""
    height = figure.get_figheight()
    for line in lines:
        for at, text in line.cells:
            if text:
                figure.text(
                    (EDGE + at) / WIDTH, top / height, text, size=line.size, color=line.colour,
                    weight="bold" if line.bold else "normal", va="top", ha="left",
                )  # fmt: skip
        top -= line.height


def text_width(text: str, size: float, bold: bool) -> float:
    """Width of a line in inches; infinite for mathematics that cannot be set."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    font = FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")
    ismath = text.count("$") - text.count(r"\$") > 0
    try:
        size_of: Any = TextToPath().get_text_width_height_descent(text, font, ismath)
    except ValueError:
        return math.inf
    return float(size_of[0]) / 72


def _draw_law(axes: Axes, panels: Panels) -> None:
    law = panels.law
    dress(axes, "Data and fitted law", law.x, law.y, legend=True)
    label = "\n".join([axes.get_xlabel(), *_held_lines(panels)])
    axes.set_xlabel(label, linespacing=1.5)
    dots = _scatter(axes, panels, law.data_x, law.data_y, np.arange(len(law.data_x)))
    shades = _shades(panels.colour, [curve.at for curve in law.curves])
    style = "-" if panels.settled else "--"
    lines, bands = [], []
    for curve, shade in zip(law.curves, shades, strict=True):
        if curve.low is not None and curve.high is not None:
            low, high = (_within(axes, ends) for ends in (curve.low, curve.high))
            bands.append(axes.fill_between(curve.x, low, high, color=shade, alpha=0.22, lw=0))
        lines += axes.plot(curve.x, curve.y, style, color=shade, lw=1.7, zorder=4)
    fitted = "law" if panels.settled else "law (fit not usable)"
    where = f"{fitted} at each ◇ of the bar" if panels.colour is not None else fitted
    names = ["runs", where if bands else f"{where} ({panels.band.partition(' (')[0]})"]
    handles: list[Any] = [dots, lines[len(lines) // 2]]
    if bands:
        handles.append(bands[len(bands) // 2])
        names.append(panels.band)
    add_legend(axes, handles, names)


def _draw_bar(axes: Axes, colour: Colour, marks: Sequence[float | None]) -> None:
    from matplotlib.cm import ScalarMappable

    figure: Any = axes.figure
    bar = figure.colorbar(ScalarMappable(_norm(colour.axis), ramp_colours()), cax=axes)
    bar.solids.set(edgecolor="face", rasterized=True)
    bar.outline.set_visible(False)
    bar.set_label(plain(colour.axis.label))
    _ticks(bar.ax.yaxis, colour.axis)
    for at in marks:
        bar.ax.plot([0.5], [at], "D", color="white", mec=INK, mew=0.8, ms=4.5, clip_on=False)


def _draw_residuals(axes: Axes, panels: Panels, shown: ResidualPanel) -> None:
    dress(axes, "Residuals", shown.x, shown.y, legend=shown.width is not None)
    axes.axhline(0, color=FAINT, lw=0.9, zorder=1)
    _scatter(axes, panels, shown.predicted, shown.residual, panels.drawn)
    if shown.width is None:
        return
    inside = shown.width <= shown.y.high
    ends = (shown.width, -shown.width) if inside else ()
    look: dict[str, Any] = {"color": RED, "lw": 1.1, "ls": (0, (4, 2)), "zorder": 4}
    lines = [axes.axhline(at, **look) for at in ends] or axes.plot([], [], **look)
    beyond = "" if inside else ", beyond this panel"
    add_legend(axes, lines[:1], [f"Huber width ±{shown.width:g}{beyond}"])


def _draw_match(axes: Axes, panels: Panels, shown: MatchPanel) -> None:
    dress(axes, "Predicted against measured", shown.x, shown.y, legend=True)
    both = [max(shown.x.low, shown.y.low), min(shown.x.high, shown.y.high)]
    (equal,) = axes.plot(both, both, color=FAINT, lw=0.9, zorder=3)
    handles, names = [equal], ["equal"]
    if len(shown.barred):
        x = shown.measured[shown.barred]
        gap = np.full(x.shape, np.nan)
        ends = (
            np.stack(each, axis=1).ravel() for each in ((x, x, gap), (shown.low, shown.high, gap))
        )
        handles += axes.plot(*ends, color=BAR, lw=1.4, zorder=1.5, solid_capstyle="butt")
        share = f"holds {shown.inside} of {len(shown.barred)}"
        names.append(f"{panels.band.split()[0]} interval of a new run ({share})")
    _scatter(axes, panels, shown.measured, shown.predicted, panels.drawn)
    add_legend(axes, handles, names)


def _scatter(
    axes: Axes,
    panels: Panels,
    x: Float[np.ndarray, "points"],
    y: Float[np.ndarray, "points"],
    rows: Int[np.ndarray, "points"],
) -> Any:
    """The runs as points, coloured by the second variable where there is one."""
    shown = panels.shown[rows]
    count = int(shown.sum())
    size = 26.0 if count <= 80 else 15.0 if count <= RASTER else 5.0
    look: dict[str, Any] = {"s": size, "lw": 0.35, "edgecolors": "white", "zorder": 3}
    look["clip_on"] = False  # every axis holds all of its points, and clipping them triples a file
    if count > RASTER:
        look |= {"lw": 0.0, "alpha": 0.6, "rasterized": True}
    if panels.colour is None:
        return axes.scatter(x[shown], y[shown], color=POINT, **look)
    look |= {"norm": _norm(panels.colour.axis), "cmap": ramp_colours()}
    return axes.scatter(x[shown], y[shown], c=panels.colour.values[rows][shown], **look)


def ramp_colours() -> Any:
    """viridis without its palest end, which would vanish on white."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    return ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0.0, 0.9, 256)))


def _norm(axis: Axis) -> Any:
    from matplotlib.colors import LogNorm, Normalize

    return (LogNorm if axis.log else Normalize)(axis.low, axis.high)


def _shades(colour: Colour | None, values: Sequence[float | None]) -> list[Any]:
    if colour is None:
        return [BLUE for _ in values]
    norm, ramp = _norm(colour.axis), ramp_colours()
    return [ramp(float(norm(value))) for value in values]


def _within(axes: Axes, ends: Float[np.ndarray, "points"]) -> Float[np.ndarray, "points"]:
    """Ends of a band, those far outside the panel drawn to its edge (some are infinite)."""
    low, high = axes.get_ylim()
    return np.clip(ends, low, high)


def dress(axes: Axes, title: str, x: Axis, y: Axis, *, legend: bool) -> None:
    """Scales, ranges, ticks, labels and title; room for a legend between title and panel."""
    axes.set_xscale("log" if x.log else "linear")
    axes.set_yscale("log" if y.log else "linear")
    axes.set_xlim(x.low, x.high)
    axes.set_ylim(y.low, y.high)
    _ticks(axes.xaxis, x)
    _ticks(axes.yaxis, y)
    axes.set_xlabel(plain(x.label))
    axes.set_ylabel(plain(y.label))
    axes.set_title(title, pad=22 if legend else 8)
    axes.grid(True, zorder=0)
    axes.set_axisbelow(True)


def add_legend(axes: Axes, handles: Sequence[Any], names: Sequence[str]) -> None:
    axes.legend(
        handles, names, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(names),
        borderaxespad=0.7,
    )  # fmt: skip


def _ticks(axis: Any, shown: Axis) -> None:
    """Few round numbers, written out, at most about six of them."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter, NullLocator

    places = tick_places(shown)
    axis.set_major_locator(FixedLocator(places))
    axis.set_major_formatter(FixedFormatter(tick_labels(places)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
