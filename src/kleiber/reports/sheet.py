# pyright: standard
# (matplotlib's own types are incomplete: most keyword arguments are unknown to a strict checker)
"""Sheets: a matplotlib figure with text above and below its panels, and its file.

matplotlib is imported only when something is drawn. Colours are Okabe and Ito's and viridis, which
colour-blind readers can tell apart.
"""

from __future__ import annotations

import contextlib
import os
import textwrap
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kleiber.errors import nearest
from kleiber.files import write_atomically
from kleiber.reports.axes import Axis, format_tick

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".png", ".pdf")
INK, FAINT, RED, AMBER, GREEN = "#222222", "#666666", "#C03F00", "#8A5A00", "#00664B"
WIDTH, EDGE = 12.0, 0.35  # inches: of a figure, and left free at each side
ROOM = WIDTH - 2 * EDGE
DPI = {".svg": 110, ".png": 160, ".pdf": 110}
STEPS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))  # in a decade
STYLE = Path(__file__).with_name("kleiber.mplstyle")


@dataclass(frozen=True)
class Line:
    """One line of text; ``cells`` are its texts and their positions in inches from the left."""

    cells: tuple[tuple[float, str], ...]
    size: float = 9.0
    colour: str = FAINT
    bold: bool = False

    @property
    def height(self) -> float:
        """Height of the line in inches."""
        return 0.0235 * self.size


def check_drawing(path: str | os.PathLike[str]) -> str:
    """Return the suffix of ``path``; raise an error if it is not supported or matplotlib is
    missing.

    Call it before a long fit whose figure is wanted. Raises ValueError or ImportError.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        given = f"the suffix {suffix!r}" if suffix else "no suffix"
        raise ValueError(
            f"Cannot draw into {os.fspath(path)!r}: it has {given}; a figure is a .svg, .png or "
            f".pdf file.{nearest(suffix, SUFFIXES) if suffix else ''}"
        )
    with styled():
        return suffix


def save_figure(figure: Figure, path: str | os.PathLike[str], title: str) -> None:
    """Write a figure into a file, with the same bytes every time, whole or not at all."""
    kind = check_drawing(path)
    metadata: dict[str, Any] = {"Title": f"kleiber: {title}"}
    metadata |= {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(kind, {})
    with styled(), write_atomically(path) as temporary:
        figure.savefig(temporary, format=kind[1:], dpi=DPI[kind], metadata=metadata)


@contextlib.contextmanager
def styled() -> Generator[None]:
    """Use matplotlib's defaults and our changes to them, whatever the user has set, within the
    block.

    Raises ImportError, saying what to install, where matplotlib is missing.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(
            "A figure needs matplotlib, which is not installed: pip install 'kleiber[report]'."
        ) from error
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rc_file(STYLE, use_default_template=False)
        yield


def blank(above: Sequence[Line], below: Sequence[Line], body: float) -> Figure:
    """Return a figure with these lines, and ``body`` inches between them for the panels."""
    from matplotlib.figure import Figure

    top, bottom = (sum(line.height for line in lines) for lines in (above, below))
    height = EDGE + top + body + bottom + EDGE / 2
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    for lines, start in ((above, height - EDGE), (below, bottom + EDGE / 2)):
        for line in lines:
            for x, text in line.cells:
                place = ((EDGE + x) / WIDTH, start / height)
                weight = "bold" if line.bold else "normal"
                figure.text(
                    *place, text, size=line.size, color=line.colour, weight=weight, va="top"
                )
            start -= line.height
    rect = (EDGE / WIDTH, (bottom + EDGE / 2) / height, ROOM / WIDTH, body / height)
    engine: Any = figure.get_layout_engine()
    engine.set(rect=rect, w_pad=0.08, h_pad=0.1, wspace=0.0, hspace=0.0)
    return figure


def freeze_layout(figure: Figure) -> Figure:
    """Compute the layout of the figure once, since the solver's last digits differ from run to
    run."""
    layout: Any = figure.get_layout_engine()
    layout.execute(figure)
    figure.set_layout_engine("none")
    axes: Any
    for axes in figure.axes:
        axes.set_axes_locator(None)  # the bar's, which would follow its panel
        axes.set_position(np.round(axes.get_position().bounds, 5))
    return figure


def lines_of(
    text: str, size: float = 9.0, colour: str = FAINT, max_lines: int = 4, *, bold: bool = False
) -> list[Line]:
    """Break plain text into a limited number of lines that fit the figure."""
    count = int(144 * ROOM / size)
    while True:
        broken = textwrap.wrap(text, count, max_lines=max_lines, placeholder=" …")
        lines = [plain(each) for each in broken]  # after breaking: an escape must stay whole
        if count < 20 or all(text_width(each, size, bold) <= ROOM for each in lines):
            return [Line(((0.0, each),), size, colour, bold) for each in lines]
        count -= 4


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Return the width of a line in inches, infinite for mathematics that cannot be rendered."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")
    math = text.count("$") > text.count(r"\$")
    try:
        return float(text_to_path.get_text_width_height_descent(text, font, math)[0]) / 72
    except ValueError:
        return np.inf


def plain(text: str) -> str:
    """Escape text so that it is not read as mathematics."""
    return text.replace("$", r"\$")


def label_axes(
    axes: Axes, x: Axis, y: Axis, title: str, *, upright: int = 70, legend: bool = False
) -> None:
    """Set the scales, labels (limited in length at the left) and title of axes, with room for a
    legend."""
    axes.set(xscale="log" if x.log else "linear", yscale="log" if y.log else "linear")
    axes.set_title(plain(title), pad=22 if legend else 8)
    axes.set_xlabel(plain(x.label))
    axes.set_ylabel(plain(textwrap.fill(y.label, upright)))
    axes.grid(True)
    axes.set_axisbelow(True)


def tick(*axes: Any) -> None:
    """Place matplotlib's round ticks, few enough to be read, and finer ones on a log axis of few
    decades.

    What it takes out of linear ones (a power of ten, an offset) joins the axis' label.
    """
    from matplotlib import ticker

    for axis in axes:
        low, high = axis.get_view_interval()
        if axis.get_scale() == "log":
            axis.set_minor_locator(ticker.NullLocator())
            powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.log10(high))
            places = [np.multiply.outer(powers, steps) for steps in STEPS]
            enough = [((low <= each) & (each <= high)).sum() >= 4 for each in places]
            if any(enough):
                steps = STEPS[enough.index(True)]
                axis.set_major_locator(ticker.LogLocator(subs=steps))
                plainly = 1e-3 <= low and high < 1e5
                axis.set_major_formatter("{x:g}" if plainly else lambda x, _: format_tick(x))
                continue
        max_lines = 6 if axis.axis_name == "x" else 8
        axis.set_major_locator(ticker.MaxNLocator(max_lines, steps=[1, 2, 2.5, 5, 10]))
        form = ticker.ScalarFormatter(useMathText=True)
        form.set_powerlimits((-4, 5))
        axis.set_major_formatter(form)
        form.set_locs(axis.get_majorticklocs())
        if offset := form.get_offset():
            axis.set_label_text(f"{axis.get_label_text()} ({offset})")
            axis.get_offset_text().set_visible(False)
        form.set_useMathText(False)


def limit_range(axes: Axes, further: Sequence[Any] = ()) -> None:
    """Fix the range to that of the points, plus at most half of its height for what else is
    drawn."""
    scale = axes.yaxis.get_transform()
    low, high = scale.transform(axes.get_ylim())
    others = np.concatenate([np.empty(0), *further])
    others = scale.transform(others[others > 0] if axes.get_yscale() == "log" else others)
    half = (high - low) / 2
    others = np.clip(others[np.isfinite(others)], low - half, high + half)
    ends = [min(low, others.min(initial=low)), max(high, others.max(initial=high))]
    axes.set_ylim(*scale.inverted().transform(ends))
    axes.set_xlim(axes.get_xlim())


def add_legend(axes: Axes, handles: Sequence[Any], names: Sequence[str]) -> None:
    """Add a legend on one line above the panel."""
    axes.legend(
        handles, names, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(names),
        borderaxespad=0.7,
    )  # fmt: skip


def ramp_colours() -> Any:
    """Return viridis without its palest end, which is invisible on white."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    return ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0.0, 0.9, 256)))
