# pyright: standard
# (matplotlib's own types are incomplete: most keyword arguments are unknown to a strict checker)
"""The figures of the papers' pages: how they look, and their files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kleiber.arguments import check_choice, check_flag, check_path, check_text, check_whole
from kleiber.claim import SCALES, Context
from kleiber.errors import shown
from kleiber.files import write_atomically
from kleiber.reports.sheet import ramp_colours, styled
from kleiber.systems.drawing import FigureOf, figures_of
from kleiber.systems.keeping import keep_folder
from kleiber.systems.papers import catalogue, find

DPI = 130
FAILURES = (ValueError, OSError, ImportError)  # a figure's data or scale is missing, or an extra


@dataclass(frozen=True)
class Drawn:
    """A figure: its paper, its number from 1, and its file, or why there is none."""

    paper: str
    number: int
    file: Path | None
    why: str = ""


class Matplotlib:
    """The drawing that figures are made with."""

    def figure(self, width: float, height: float) -> Any:
        """Return an empty figure of a size in inches."""
        from matplotlib.figure import Figure

        return Figure(figsize=(width, height), layout="constrained")

    def panel(self, figure: Any, place: tuple[int, int, int], title: str, x: str, y: str) -> Any:
        """Return one pair of axes with its words, logarithmic until told otherwise."""
        from matplotlib.ticker import NullFormatter

        axes: Any = figure.add_subplot(*place)
        axes.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
        axes.set_title(title, fontsize=10.5)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_formatter(NullFormatter())
        axes.grid(True, zorder=0)
        axes.set_axisbelow(True)
        return axes

    def shades(self, count: int) -> list[Any]:
        """Return so many colours from dark to light."""
        return [ramp_colours()(value) for value in np.linspace(0, 1, count)]

    def ramp(self) -> Any:
        """Return the colours from dark to light as a map."""
        return ramp_colours()


def draw_figures(
    *papers: str,
    folder: str | os.PathLike[str],
    scale: str = "quick",
    seed: int = 0,
    only: str = "",
    keep: str | os.PathLike[str] | None = None,
    png: bool = False,
) -> Iterator[Drawn]:
    """Draw the figures of papers into a folder, one at a time, as NAME_1.svg and so on.

    They use what the claims use at the same scale and seed, and the same figure is the same file
    each time. A figure whose data, scale or libraries are missing comes without a file and with the
    reason.

    Parameters
    ----------
    papers
        Names of papers; all papers if none is given.
    folder
        The folder of the figures, which is made if necessary.
    scale, seed, keep
        As for ``kleiber.check``.
    only
        Draw only the figures whose name (such as ``feature_learning_5``) or description contains
        this text, in any case.
    png
        Whether they are .png files, not .svg.

    Yields
    ------
    Drawn
        The paper, the number of the figure from 1, its file, and why there is none.

    Raises
    ------
    ValueError
        For an unknown paper or scale, or an ``only`` that no figure contains.
    ImportError
        Without matplotlib.

    Examples
    --------
    >>> import tempfile
    >>> from kleiber.reports.paper_figures import draw_figures
    >>> first = next(draw_figures("feature_learning", folder=tempfile.mkdtemp()))
    >>> first.file.name
    'feature_learning_1.svg'
    """
    check_choice("scale", scale, SCALES)
    check_text("only", only)
    seed, png = check_whole("seed", seed), check_flag("png", png)
    place = Path(check_path("folder", folder, "the path of a folder"))
    with styled():
        names = [find(name).name for name in papers] or list(catalogue())
        todo = _select(names, only)
    kept = None if scale == "quick" else Path(keep) if keep is not None else keep_folder()
    try:
        place.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ValueError(f"The figures go into a folder, and {str(place)!r} is a file.") from None
    for name, figures in todo.items():
        context = Context(seed, scale, kept)
        for number, make in figures:
            yield _draw(name, number, make, context, place, ".png" if png else ".svg")


def _select(names: Sequence[str], only: str) -> dict[str, list[tuple[int, FigureOf]]]:
    """Return the numbered figures of each paper whose name or description contains a text."""
    found = {
        name: [
            (number, make)
            for number, make in enumerate(figures_of(name), start=1)
            if only.casefold() in f"{name}_{number}: {make.__doc__ or ''}".casefold()
        ]
        for name in names
    }
    if only and not any(found.values()):
        raise ValueError(f"No figure of {', '.join(names)} contains {shown(only)}.")
    return found


def _draw(
    name: str, number: int, make: FigureOf, context: Context, folder: Path, suffix: str
) -> Drawn:
    """Draw one figure into its file."""
    path = folder / f"{name}_{number}{suffix}"
    metadata = {} if suffix == ".png" else {"Date": None}
    try:
        with styled():
            figure = make(Matplotlib(), context)
            with write_atomically(path) as temporary:
                figure.savefig(temporary, format=suffix[1:], dpi=DPI, metadata=metadata)
    except FAILURES as error:
        return Drawn(name, number, None, str(error).split("\n", 1)[0].rstrip("."))
    return Drawn(name, number, path)
