"""The fits of one law to the groups of a table, as a grid for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
from rich.console import Console

from kleiber.fitting.groups import GroupFit, GroupFits
from kleiber.reports.console import print_line
from kleiber.reports.grids import LONGEST, figure, show_frame, span

WIDE = 4  # parameters with intervals that a line takes


def show_groups(console: Console, made: GroupFits) -> None:
    """Print a row for each group (or for each parameter of each group if there are many
    parameters), then why groups did not converge, and the notes."""
    law = made.law
    wide = len(law.params) <= WIDE
    lines = [line for item in made.fits for line in (_wide if wide else _long)(made, item)]
    title = f"{law.name}  {made.target} = {law.formula}, with {100 * made.level:.6g}% intervals"
    for first in range(0, len(lines), LONGEST):
        show_frame(console, pl.DataFrame(lines[first : first + LONGEST]), title)
    for item in made.fits:
        if item.status != "converged":
            print_line(console, f"{made.group} = {item.value}: {item.status}: {item.reason}")
        for note in item.fit.notes if item.fit is not None else ():
            print_line(console, f"note on {made.group} = {item.value}: {note}")


def _wide(made: GroupFits, item: GroupFit) -> Iterator[dict[str, str]]:
    """Return a group's row."""
    values = {name: _estimate(item, name) for name in made.law.params}
    yield {made.group: str(item.value), "rows": str(item.rows), **values, "status": item.status}


def _long(made: GroupFits, item: GroupFit) -> Iterator[dict[str, str]]:
    """Return a group's rows, the first with its value and status."""
    for k, name in enumerate(made.law.params):
        head = ("", "", "") if k else (str(item.value), str(item.rows), item.status)
        yield {
            made.group: head[0],
            "rows": head[1],
            "parameter": name,
            "value": _estimate(item, name),
            "status": head[2],
        }


def _estimate(item: GroupFit, name: str) -> str:
    """Return a parameter with its interval."""
    if item.fit is None:
        return ""
    low, high = item.fit.interval(name, item.fit.level)
    held = (
        "fixed"
        if name in item.fit.options.fixed
        else "tied"
        if name in item.fit.options.tied
        else ""
    )
    return f"{figure(item.fit.params[name])} {held or span(low, high)}"
