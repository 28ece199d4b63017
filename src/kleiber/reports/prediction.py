"""A prediction as a grid for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from rich.console import Console

from kleiber.fitting.prediction import Prediction
from kleiber.reports.console import print_line, print_notes
from kleiber.reports.grids import LONGEST, figure, show_frame, span
from kleiber.table import as_frame


def show_prediction(console: Console, made: Prediction) -> None:
    """Print each row with its prediction, both intervals, and its extrapolation."""
    table = as_frame(made.table)
    rows = [_row_text(made, row) for row in table.head(LONGEST).to_dicts()]
    show_frame(console, pl.DataFrame(rows), f"{made.law}  {made.target}")
    if len(table) > LONGEST:
        print_line(console, f"... {len(table) - LONGEST} more rows")
    print_line(console, "x: times the largest measured value (below the smallest: times that)")
    if made.noise:
        print_line(console, made.noise)
    print_notes(console, made.notes)


def _row_text(made: Prediction, row: Mapping[str, Any]) -> dict[str, str]:
    """Return one row as text."""
    words = {name: figure(float(row[name]), 6) for name in made.variables}
    words[f"predicted {made.target}"] = figure(row["predicted"], 6)
    words[f"{100 * made.level:.6g}% interval"] = span(row["low"], row["high"])
    words["of a new measurement"] = span(row["new_low"], row["new_high"])
    words |= {f"x {name}": figure(row[key], 3) for name, key in made.factors.items()}
    if "extrapolation" in row and made.has_cost:
        words["x cost"] = figure(row["extrapolation"], 3)
    return words
