"""What kleiber counts --against prints: two models on the same problems."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kleiber.cli.console import open_console
from kleiber.cli.options import as_text
from kleiber.reports.console import print_line, print_notes

if TYPE_CHECKING:
    import polars as pl

SHOWN = 12  # rows of k that fit on a screen


def compare_tables(
    pair: Sequence[pl.DataFrame],
    k: Sequence[float] | None,
    sum_by: Sequence[str] | None,
    level: float,
    stopped: bool,
    as_json: bool,
) -> None:
    """Compare two tables of counts, and print the difference of pass@k with its band."""
    from kleiber.attempts.paired import compare_counts
    from kleiber.reports.grids import show_frame

    made = compare_counts(
        pair[0],
        pair[1],
        [int(item) if item == int(item) else item for item in k] if k else None,  # pyright: ignore
        sum_by=sum_by,
        level=level,
        stopped=True if stopped else None,
    )
    if as_json:
        document = {
            "rows": made.table.to_dicts(),
            "problems": made.problems,
            "critical": made.critical,
            "level": made.level,
            "notes": list(made.notes),
        }
        sys.stdout.write(as_text(document))
        return
    console = open_console()
    step = -(-made.table.height // SHOWN)
    show_frame(console, made.table.gather_every(step), "pass@k of B minus A")
    print_line(
        console,
        f"{made.problems} problems in common; the band ({made.level:g}) holds for all "
        f"{made.table.height} k at once, {made.critical:.2f} standard errors",
    )
    print_notes(console, made.notes)
