"""What the figures of the papers' pages have in common: axes, colours, and how they are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from kleiber.files import write_atomically
from kleiber.reports.sheet import ramp_colours, styled

FOLDER = Path(__file__).parents[1] / "docs" / "papers"
GREY, BLUE, RED, GREEN = "#666666", "#0072B2", "#C03F00", "#00795C"


def panel(figure: Figure, place: tuple[int, int, int], title: str, x: str, y: str) -> Any:
    """One pair of axes with its words; both scales are logarithmic until told otherwise."""
    axes: Any = figure.add_subplot(*place)
    axes.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
    axes.set_title(title, fontsize=10.5)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(True, zorder=0)
    axes.set_axisbelow(True)
    return axes


def shades(count: int) -> list[Any]:
    """So many colours from dark to light."""
    return [ramp_colours()(value) for value in np.linspace(0, 1, count)]


def write_figures(
    name: str,
    figures: Sequence[Callable[[], Figure]],
    folder: Path,
    *,
    png: bool = False,
    only: int = 0,
    dpi: int = 130,
) -> None:
    """Draw the figures as name_1.svg, name_2.svg, ... (or .png) into a folder; with ``only`` the
    figure of that number alone."""
    folder.mkdir(parents=True, exist_ok=True)
    suffix = ".png" if png else ".svg"
    for k, make in enumerate(figures, start=1):
        if only not in (0, k):
            continue
        path = folder / f"{name}_{k}{suffix}"
        with styled():
            figure = make()
            metadata = {} if png else {"Date": None}  # the same figure is the same file
            with write_atomically(path) as temporary:
                figure.savefig(temporary, format=suffix[1:], dpi=dpi, metadata=metadata)
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")
