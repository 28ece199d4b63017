"""A forecast, and its score, as grids for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from rich.console import Console

from kleiber.forecasting.record import ADDED, Forecast
from kleiber.forecasting.score import Score, summarise
from kleiber.reports.console import print_line, print_notes
from kleiber.reports.grids import LONGEST, figure, show_frame, span
from kleiber.table import as_frame


def show_forecast(console: Console, made: Forecast) -> None:
    """Print each row with its forecast, its interval and its distance, and what it rests on."""
    table = as_frame(made.table)
    rows = [_row_text(made, row) for row in table.head(LONGEST).to_dicts()]
    show_frame(console, pl.DataFrame(rows), f"forecast of {made.target}")
    if len(table) > LONGEST:
        print_line(console, f"... {len(table) - LONGEST} more rows")
    print_line(
        console,
        "interval: of one new measurement; beyond: times the largest measured "
        f"{' x '.join(made.x)}; error: typical in back-tests at that distance",
    )
    weights = sorted(made.weights.items(), key=lambda pair: -pair[1])
    told = ", ".join(f"{name} {share:.0%}" for name, share in weights if share >= 0.005)
    if told:
        print_line(console, f"laws: {told}")
    for part in made.groups[:1] if len(made.groups) == 1 else ():
        if part.next_run is not None:
            where = ", ".join(f"{n} = {figure(v, 3)}" for n, v in part.next_run.at.items())
            print_line(
                console,
                f"a run at {where} would leave {part.next_run.remaining:.0%} of the interval",
            )
    print_notes(console, made.notes)


def _row_text(made: Forecast, row: Mapping[str, Any]) -> dict[str, str]:
    shown = {name: str(row[name]) for name in made.group}
    shown |= {name: figure(float(row[name]), 6) for name in made.x}
    value, low, high, beyond, error = (row[name] for name in ADDED[:5])
    shown[f"predicted {made.target}"] = "refused" if row["why"] else figure(value, 5)
    shown[f"{100 * made.level:.6g}% interval"] = "" if row["why"] else span(low, high)
    shown["beyond"] = figure(beyond, 3)
    known = error is not None and math.isfinite(error)
    shown["error"] = f"{error:.1%}" if known else "unknown"
    return shown


def show_score(console: Console, found: Score, history: Sequence[Mapping[str, Any]] | None) -> None:
    """Print how a forecast did, and the record of many."""
    table = as_frame(found.table)
    names = [n for n in table.columns if n not in ("low", "high", "log_score")]
    show_frame(console, table.select(names).head(LONGEST), f"forecast of {found.made}")
    print_line(
        console, _sentence(found.rows, found.rms_error, found.bias, found.covered, found.level)
    )
    print_line(console, f"log score: {found.log_score:.3g} a row")
    print_notes(console, found.notes)
    if history is not None:
        whole = summarise(history)
        what = _sentence(whole["rows"], whole["rms_error"], whole["bias"], whole["covered"], None)
        print_line(console, f"record of {whole['forecasts']} forecasts: {what}")


def _sentence(rows: int, error: float, bias: float, covered: float, level: float | None) -> str:
    nominal = "" if level is None else f" (nominal {level:.0%})"
    return (
        f"{rows} rows: typical error {error:.2%}, mean of measured over predicted {bias:+.2%}, "
        f"{covered:.0%} inside their interval{nominal}"
    )
