"""Theories: frozen records with `solve`, `simulate` and `exponents`, and their catalogue."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol, cast, runtime_checkable

import polars as pl

from kleiber.arguments import check_text
from kleiber.errors import listed, nearest, shown
from kleiber.systems import declared, load


@runtime_checkable
class Theory(Protocol):
    """What every theory is: a frozen record of a model's own parameters, with three questions.

    Examples
    --------
    >>> import kleiber
    >>> isinstance(kleiber.theory.Tickets(), kleiber.theory.Theory)
    True
    """

    def solve(self, grid: Any) -> pl.DataFrame:
        """Return the grid's columns and the theory's predictions, without randomness."""
        ...

    def simulate(self, grid: Any, *, seeds: int = 8, seed: int = 0) -> pl.DataFrame:
        """Return the same columns measured on systems drawn at random, with a column seed."""
        ...

    def exponents(self) -> Mapping[str, float]:
        """Return the theory's asymptotic exponents."""
        ...


def places() -> dict[str, tuple[str, str]]:
    """Return the module and attribute of each theory by the name of its record (HardTail)."""
    return {place[1]: place for place in declared("THEORIES").values()}


def catalogue() -> dict[str, type[Theory]]:
    """Load every theory that a system declares.

    Returns
    -------
    dict
        The records by their names on the command line, such as ``hard_tail``, sorted.

    Examples
    --------
    >>> import kleiber
    >>> kleiber.theory.catalogue()["hard_tail"] is kleiber.theory.HardTail
    True
    """
    return {name: cast("type[Theory]", load(at)) for name, at in declared("THEORIES").items()}


def find(name: str) -> type[Theory]:
    """Find a theory by its name.

    Parameters
    ----------
    name
        The name, as ``"hard_tail"`` or ``"HardTail"``.

    Returns
    -------
    type
        The record, to be called with the model's parameters.

    Raises
    ------
    ValueError
        For any other name; the message has the nearest one.

    Examples
    --------
    >>> import kleiber
    >>> kleiber.theory.find("hard-tail") is kleiber.theory.HardTail
    True
    """
    known = catalogue()
    check_text("name", name, "the name of a theory")
    if (folded := _snake(name.strip())) in known:
        return known[folded]
    raise ValueError(
        f"No theory is called {shown(name)}.{nearest(name, known)} There are {listed(known)}."
    )


def _snake(name: str) -> str:
    """Convert a name such as HardTail to hard_tail."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("-", "_")
