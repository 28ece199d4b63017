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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from kleiber.errors import BadFormula, nearest
from kleiber.files import land
from kleiber.formula import parse
from kleiber.reports.panels import (
    SUPERSCRIPTS,
    Axis,
    Colour,
    MatchPanel,
    Panels,
    ResidualPanel,
)
from kleiber.reports.typeset import typeset_name, typeset_terms

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".png", ".pdf")
INK, FAINT, BLUE, RED, AMBER, GREEN = (
    "#222222",
    "#666666",
    "#0072B2",
    "#C03F00",
    "#8A5A00",
    "#00664B",
)
POINT, BAR = "#4D4D4D", "#7FB2D6"
WIDTH, PANELS = 12.0, 6.4  # inches: of the figure, and the height of its panels
EDGE = 0.35  # inches left free at each side
RASTER = 500  # more points than this become a picture inside the file
DPI = {".svg": 120, ".png": 160, ".pdf": 120}
LOG_STEPS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7))  # ticks in a decade, the first that do
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
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
    "legend.fontsize": 8.5,
    "legend.borderpad": 0.0,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.4,
}


def draw_fit(panels: Panels, path: str | os.PathLike[str]) -> None:
    """Draw the panels into a .svg, .png or .pdf file, which appears whole or not at all.

    The same panels give the same bytes. Raises ValueError for another suffix, ImportError when
    matplotlib is missing, OSError when the file cannot be written.
    """
    kind = check_drawing(path)
    with _style():
        figure = compose(panels)
        metadata: dict[str, Any] = {"Title": f"kleiber: {panels.title}"}
        metadata |= {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(kind, {})
        with land(path) as temporary:
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
    try:
        import matplotlib as _  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "A figure needs matplotlib, which is not installed: pip install 'kleiber[report]'"
        ) from error
    return suffix


@contextlib.contextmanager
def _style() -> Generator[None]:
    """matplotlib's defaults and ours on them, whatever the user has set, until the block ends."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


@dataclass(frozen=True)
class Line:
    """One line of the header or of the notes; ``cells`` are its texts at their left edges."""

    cells: tuple[tuple[float, str], ...]
    size: float
    height: float
    colour: str = INK
    bold: bool = False


def compose(panels: Panels) -> Figure:
    """The figure of the panels, not yet written anywhere."""
    from matplotlib.figure import Figure

    above, below = _header(panels), _notes(panels)
    top = EDGE + sum(line.height for line in above)
    bottom = 0.15 + sum(line.height for line in below)
    height = top + PANELS + bottom
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    side, gap = 0.2 / WIDTH, 0.12
    figure.set_layout_engine(
        "constrained", rect=(side, bottom / height, 1 - 2 * side, PANELS / height),
        w_pad=gap, h_pad=gap, wspace=0.02, hspace=0.03,
    )  # fmt: skip
    _write(figure, above, height - EDGE)
    _write(figure, below, bottom)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.45, 1.0))
    _draw_law(figure.add_subplot(grid[:, 0]), panels)
    _draw_residuals(figure.add_subplot(grid[0, 1]), panels, panels.residuals)
    _draw_match(figure.add_subplot(grid[1, 1]), panels, panels.match)
    return figure


def _header(panels: Panels) -> list[Line]:
    lines = [_line(_plain(panels.title), 15.0, 0.34, bold=True)]
    lines += [_line(text, 9.0, 0.21, FAINT) for text in _wrapped(panels.about, 9.0, most=2)]
    law = _law_lines(panels)
    lines += [_line(text, 13.0, 0.36) for text in law]
    if not law:
        lines.append(_line("(its formula has no short notation)", 9.0, 0.21, FAINT))
    lines.append(_line("", 4.0, 0.06))
    lines += _parameter_lines(panels)
    colour = GREEN if panels.converged else AMBER if panels.settled else RED
    flag = "" if panels.converged else "Note: " if panels.settled else "NOT USABLE: "
    sentence = f"{flag}{panels.status}: {panels.reason}" if panels.reason else panels.status
    lines += [
        _line(text, 10.0, 0.23, colour, bold=not panels.converged)
        for text in _wrapped(sentence, 10.0, most=4, bold=not panels.converged)
    ]
    return lines + [_line(text, 9.0, 0.21, FAINT) for text in _wrapped(panels.facts, 9.0, most=2)]


def _notes(panels: Panels) -> list[Line]:
    notes = list(panels.notes)
    if panels.band.startswith("no band"):
        notes.insert(0, panels.band)
    text = [each for note in notes for each in _wrapped(f"{note}.", 8.5, most=3)]
    return [_line(each, 8.5, 0.19, FAINT) for each in text]


def _line(text: str, size: float, height: float, colour: str = INK, *, bold: bool = False) -> Line:
    return Line(((0.0, text),), size, height, colour, bold)


def _parameter_lines(panels: Panels) -> list[Line]:
    """The fitted numbers in columns, intervals below the values."""
    cells = [
        (f"${typeset_name(p.name)}$ = {p.value}", _plain(p.interval).replace("∞", r"$\infty$"))
        for p in panels.params
    ]
    room = WIDTH - 2 * EDGE
    widest = max(max(_width(a, 11.0), _width(b, 8.5)) for a, b in cells) + 0.3
    count = max(1, min(len(cells), int(room / widest)))
    lines: list[Line] = []
    for start in range(0, len(cells), count):
        row = cells[start : start + count]
        step = max(widest, 1.6) if len(cells) * max(widest, 1.6) <= room else widest
        for k, (size, height, colour) in enumerate(((11.0, 0.21, INK), (8.5, 0.27, FAINT))):
            places = tuple((step * i, cell[k]) for i, cell in enumerate(row))
            lines.append(Line(places, size, height, colour))
    return lines


def _law_lines(panels: Panels) -> list[str]:
    """The law in mathematical notation, broken between terms; none if two lines do not hold it."""
    try:
        terms = typeset_terms(parse(panels.formula), panels.variables) if panels.formula else ()
    except BadFormula:
        terms = ()
    lines = [rf"{typeset_name(panels.target, [panels.target])}\;=\;"]
    for term in terms:
        spaced = rf"\;{term[0]}\;{term[1:]}" if term[0] in "+-" and term != terms[0] else term
        if _width(f"${lines[-1]}{spaced}$", 13.0) <= WIDTH - 2 * EDGE:
            lines[-1] += spaced
        else:
            lines.append(rf"\qquad{spaced}")
    lines = [f"${line}$" for line in lines]
    fits = len(lines) <= 2 and all(_width(line, 13.0) <= WIDTH - 2 * EDGE for line in lines)
    return lines if terms and fits else []


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


def _plain(text: str) -> str:
    """Text that is not to be read as mathematics."""
    return text.replace("$", r"\$")


def _width(text: str, size: float, *, bold: bool = False) -> float:
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


def _wrapped(text: str, size: float, *, most: int, bold: bool = False) -> list[str]:
    """Plain text broken into at most ``most`` lines that fit the figure."""
    room = WIDTH - 2 * EDGE
    em = _width("n", size, bold=bold)
    count = int(1.3 * room / em)
    while True:
        lines = textwrap.wrap(_plain(text), count, max_lines=most, placeholder=" …")
        if count < 20 or all(_width(line, size, bold=bold) <= room for line in lines):
            return lines
        count -= 4


def _draw_law(axes: Axes, panels: Panels) -> None:
    law, many = panels.law, len(panels.law.curves) > 1
    _dress(axes, "Data and fitted law", law.x, law.y, legend=True)
    if law.note:
        note = "\n".join(textwrap.wrap(_plain(law.note), 90))
        axes.set_xlabel(f"{axes.get_xlabel()}\n{note}", linespacing=1.6)
    dots = _scatter(axes, panels, law.data_x, law.data_y, np.arange(len(law.data_x)))
    shades = _shades(panels.colour, [curve.at for curve in law.curves])
    style = "-" if panels.settled else "--"
    lines, bands = [], []
    for curve, shade in zip(law.curves, shades, strict=True):
        if curve.low is not None and curve.high is not None:
            low, high = (_within(axes, ends) for ends in (curve.low, curve.high))
            bands.append(
                axes.fill_between(
                    curve.x, low, high, color=shade, alpha=0.22, lw=0, zorder=2,
                )
            )  # fmt: skip
        lines += axes.plot(curve.x, curve.y, style, color=shade, lw=1.7, zorder=4)
    fitted = "law" if panels.settled else "law (fit not usable)"
    names = ["runs", f"{fitted}, at the values marked ◇ on the bar" if many else fitted]
    handles: list[Any] = [dots, lines[len(lines) // 2]]
    if bands:
        handles.append(bands[len(bands) // 2])
        names.append(panels.band)
    _legend(axes, handles, names)
    if panels.colour is not None:
        _draw_bar(axes, dots, panels.colour, [curve.at for curve in law.curves])


def _draw_bar(axes: Axes, dots: Any, colour: Colour, marks: Sequence[float | None]) -> None:
    figure: Any = axes.figure
    bar = figure.colorbar(dots, ax=axes, pad=0.02, aspect=38, fraction=0.05)
    bar.solids.set(edgecolor="face", rasterized=True)
    bar.outline.set_visible(False)
    bar.set_label(_plain(colour.axis.label))
    _ticks(bar.ax.yaxis, colour.axis)
    for at in marks:
        bar.ax.plot([0.5], [at], "D", color="white", mec=INK, mew=0.8, ms=4.5, clip_on=False)


def _draw_residuals(axes: Axes, panels: Panels, shown: ResidualPanel) -> None:
    _dress(axes, "Residuals", shown.x, shown.y, legend=shown.width is not None)
    axes.axhline(0, color=FAINT, lw=0.9, zorder=1)
    _scatter(axes, panels, shown.predicted, shown.residual, panels.drawn)
    if shown.width is None:
        return
    inside = shown.width <= shown.y.high
    ends = (shown.width, -shown.width) if inside else ()
    for at in ends:
        line = axes.axhline(at, color=RED, lw=1.1, ls=(0, (4, 2)), zorder=4)
    if not ends:
        (line,) = axes.plot([], [], color=RED, lw=1.1, ls=(0, (4, 2)))
    beyond = "" if inside else ", beyond this panel"
    _legend(axes, [line], [f"Huber width ±{shown.width:g}{beyond}"])


def _draw_match(axes: Axes, panels: Panels, shown: MatchPanel) -> None:
    _dress(axes, "Predicted against measured", shown.x, shown.y, legend=True)
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
    _legend(axes, handles, names)


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
    look |= {"norm": _norm(panels.colour.axis), "cmap": _ramp()}
    return axes.scatter(x[shown], y[shown], c=panels.colour.values[rows][shown], **look)


def _ramp() -> Any:
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
    norm, ramp = _norm(colour.axis), _ramp()
    return [ramp(float(norm(value))) for value in values]


def _within(axes: Axes, ends: Float[np.ndarray, "points"]) -> Float[np.ndarray, "points"]:
    """Ends of a band, those far outside the panel drawn to its edge (some are infinite)."""
    low, high = axes.get_ylim()
    return np.clip(ends, low, high)


def _dress(axes: Axes, title: str, x: Axis, y: Axis, *, legend: bool) -> None:
    """Scales, ranges, ticks, labels and title; room for a legend between title and panel."""
    axes.set_xscale("log" if x.log else "linear")
    axes.set_yscale("log" if y.log else "linear")
    axes.set_xlim(x.low, x.high)
    axes.set_ylim(y.low, y.high)
    _ticks(axes.xaxis, x)
    _ticks(axes.yaxis, y)
    axes.set_xlabel(_plain(x.label))
    axes.set_ylabel(_plain(y.label))
    axes.set_title(title, pad=22 if legend else 8)
    axes.grid(True, zorder=0)
    axes.set_axisbelow(True)


def _legend(axes: Axes, handles: Sequence[Any], names: Sequence[str]) -> None:
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


def tick_places(axis: Axis) -> list[float]:
    """Where an axis has its ticks: at decades, or at finer round numbers where it spans few."""
    if axis.log:
        first, last = math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high))
        every = max(1, math.ceil(math.log10(axis.high / axis.low) / 8))
        for steps in LOG_STEPS:
            powers = [k for k in range(first, last + 1) if not k % every]
            places = [float(f"{step}e{k}") for k in powers for step in steps]
            places = [place for place in places if axis.low <= place <= axis.high]
            if len(places) >= 4:
                return places
    from matplotlib.ticker import MaxNLocator

    found = MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]).tick_values(axis.low, axis.high)
    return [float(place) for place in found if axis.low <= place <= axis.high]


def tick_labels(places: Sequence[float]) -> list[str]:
    """The ticks in words, in one notation, with the fewest digits that are exact."""
    sizes = [abs(place) for place in places if place]
    if sizes and (max(sizes) >= 1e5 or min(sizes) < 1e-3):
        return [_power(place) for place in places]
    if sizes and max(sizes) >= 50 * min(sizes) and min(places) > 0:
        return [f"{place:g}" for place in places]
    for digits in range(12):
        labels = [f"{place:.{digits}f}".replace("-", "\N{MINUS SIGN}") for place in places]
        exact = [float(f"{place:.{digits}f}") for place in places]
        if np.allclose(exact, places, rtol=1e-9, atol=1e-9 * max(sizes, default=1.0)):
            break
    return labels


def _power(place: float) -> str:
    """A tick as 3×10⁸, 10⁹ or 0."""
    if place == 0:
        return "0"
    digits = next((n for n in range(1, 9) if math.isclose(float(f"{place:.{n - 1}e}"), place)), 9)
    text = f"{place:.{digits - 1}e}"
    mantissa, _, power = text.partition("e")
    raised = f"10{str(int(power)).translate(SUPERSCRIPTS)}"
    sign = "\N{MINUS SIGN}" if place < 0 else ""
    size = mantissa.lstrip("-")
    return f"{sign}{raised}" if size == "1" else f"{sign}{size}×{raised}"
