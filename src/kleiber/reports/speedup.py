"""What changes are worth, as sentences for a terminal and as a document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from rich.console import Console
from rich.text import Text

from kleiber.forecasting.ranking import Ranked
from kleiber.forecasting.speedup import Speedup
from kleiber.plain import as_plain
from kleiber.reports.console import print_line, print_notes
from kleiber.reports.grids import figure, show_frame, span


def show_ranking(console: Console, found: Sequence[Ranked], at: float, against: str | None) -> None:
    """Print what each system is worth: a sentence for one, a row for each of several."""
    if len(found) == 1 and found[0].found is not None:
        made = found[0].found
        low, high = figure(made.low, 3), figure(made.high, 3)
        head = f"{figure(made.value, 3)} times [{low}, {high}] at {figure(at)} FLOPs"
        print_line(console, Text(head, style="bold"))
        print_line(console, _explain(made, str(found[0].system), against or "the baseline"))
        print_notes(console, made.notes)
        return
    rows = [
        {
            "system": str(each.system),
            "multiplier": "" if each.found is None else figure(each.found.value, 3),
            "interval": "" if each.found is None else span(each.found.low, each.found.high),
            "verdict": each.verdict,
        }
        for each in found
    ]
    show_frame(
        console, pl.DataFrame(rows), f"against {against or 'the first'} at {figure(at)} FLOPs"
    )
    for each in found:
        said = (each.why,) if each.found is None else each.found.notes
        print_notes(console, [f"{each.system}: {note}" for note in said])


def _explain(made: Speedup, name: str, against: str) -> str:
    """Return what the number means."""
    along = ""
    if made.ratio == "optimal":
        along = ", each at its best tokens for each parameter"
    elif made.ratio is not None:
        along = f", at {figure(float(made.ratio), 3)} tokens for each parameter"
    sure = {
        "better": f"{name} needs less compute.",
        "worse": f"{name} needs more compute.",
        "cannot tell": "The runs cannot tell which needs less.",
    }[made.verdict]
    return (
        f"So many times the compute {against} needs to reach what {name} reaches with it{along}; "
        f"{figure(made.beyond, 3)} times the largest measured, {made.pairs} sizes in common. {sure}"
    )


def describe_speedup(made: Speedup) -> dict[str, Any]:
    """Return the document that ``speedup --json`` prints."""
    return as_plain(made) | {"verdict": made.verdict}


def describe_ranking(found: Sequence[Ranked]) -> list[dict[str, Any]]:
    """Return the document that ``speedup --by --json`` prints."""
    return [
        {"system": as_plain(each.system), "verdict": each.verdict, "why": each.why or None}
        | ({} if each.found is None else describe_speedup(each.found))
        for each in found
    ]
