"""What the figures of a paper are drawn with.

A system's ``figures`` holds ``FIGURES``, functions of a drawing and a context that return a figure
each. The drawing itself is made in ``kleiber.reports``, where matplotlib is.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from kleiber.claim import Context

GREY, BLUE, RED, GREEN, INK = "#666666", "#0072B2", "#C03F00", "#00795C", "#222222"
PACKAGE = __name__.rpartition(".")[0]


@runtime_checkable
class Drawing(Protocol):
    """Figures, panels and colours."""

    def figure(self, width: float, height: float) -> Any:
        """Return an empty figure of a size in inches."""
        ...

    def panel(self, figure: Any, place: tuple[int, int, int], title: str, x: str, y: str) -> Any:
        """Return one pair of logarithmic axes with its words."""
        ...

    def shades(self, count: int) -> list[Any]:
        """Return so many colours from dark to light."""
        ...

    def ramp(self) -> Any:
        """Return the colours from dark to light as a map."""
        ...


FigureOf = Callable[[Drawing, Context], Any]


def figures_of(system: str) -> tuple[FigureOf, ...]:
    """Return the functions that draw a system's figures, in order; none without a module of
    them."""
    name = f"{PACKAGE}.{system}.figures"
    if importlib.util.find_spec(name) is None:
        return ()
    return tuple(importlib.import_module(name).FIGURES)
