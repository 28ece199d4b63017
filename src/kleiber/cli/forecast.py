"""kleiber forecast and kleiber score: beyond the data, and how a forecast did."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kleiber.cli.console import open_console
from kleiber.cli.options import (
    AsJson,
    Derive,
    Level,
    Rename,
    SkipMissing,
    Where,
    as_text,
    check_writable,
    read_columns,
    read_frame,
    read_pairs,
)
from kleiber.cli.rows import cross_values
from kleiber.errors import BadTable

if TYPE_CHECKING:
    from kleiber.forecasting.record import Forecast

Preparation = tuple[Sequence[str] | None, str | None, Sequence[str] | None]


def forecast_command(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="Measured runs.")],
    x: Annotated[
        str,
        typer.Option(metavar="COLUMN[,COLUMN]", help="What the target falls with, e.g. n_data."),
    ],
    at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=A[,B,...]",
            help="Value of a column, one --at for each; all combinations are forecast.",
        ),
    ] = None,
    rows: Annotated[
        Path | None, typer.Option(help="Table of rows to forecast, instead of --at.")
    ] = None,
    target: Annotated[str, typer.Option(help="Column to forecast.")] = "loss",
    group: Annotated[
        str | None,
        typer.Option(metavar="COLUMN[,COLUMN]", help="A curve of its own for each value."),
    ] = None,
    through: Annotated[
        str | None,
        typer.Option(metavar="LOSS", help="Forecast this loss, and the target through a sigmoid."),
    ] = None,
    chance: Annotated[
        float | None, typer.Option(help="With --through: accuracy at a large loss. [fitted]")
    ] = None,
    ceiling: Annotated[
        float | None, typer.Option(help="With --through: accuracy at a small loss. [fitted]")
    ] = None,
    rename: Rename = None,
    where: Where = None,
    derive: Derive = None,
    skip_missing: SkipMissing = False,
    level: Level = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(help="Draw data, forecast and back-tests (.svg, .png, .pdf).")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Save the forecast (.json), or its rows as a table."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Forecast the target beyond the measured rows: an average of laws, with back-tests."""
    from kleiber.forecasting.forecast import forecast

    check_writable(out, plot, keep=table)
    if plot is not None:
        from kleiber.reports.sheet import check_drawing

        check_drawing(plot)
    _check_output(out)
    frame = read_frame(table, rename, where, derive, None, [target] * skip_missing)
    names = read_columns(x) or []
    asked = _asked(at, rows, names, (rename, where, derive))
    common: dict[str, Any] = {"x": names, "target": target, "level": level, "seed": seed}
    if through is not None:
        if group is not None or plot is not None:
            raise BadTable(
                "--through forecasts one curve into a table: without --group and --plot."
            )
        _chain(frame, asked, common | {"through": through}, (chance, ceiling), out, as_json)
        return
    if chance is not None or ceiling is not None:
        raise BadTable("--chance and --ceiling are of a target that is forecast --through a loss.")
    made = forecast(frame, asked, group=read_columns(group), **common)
    if plot is not None:
        from kleiber.reports.forecast_figure import draw_forecast

        draw_forecast(made, plot)
    _put_out(made, out, as_json)


def _chain(
    frame: Any,
    asked: Any,
    common: dict[str, Any],
    ends: tuple[float | None, float | None],
    out: Path | None,
    as_json: bool,
) -> None:
    """Forecast an accuracy through a loss, and put it out."""
    from kleiber.forecasting.through import forecast_through
    from kleiber.plain import as_plain
    from kleiber.reports.console import print_notes
    from kleiber.reports.grids import show_frame
    from kleiber.table import as_frame, write_table

    if out is not None and out.suffix.lower() == ".json":
        raise BadTable("A forecast through a loss is saved as a table: give -o a .csv or .parquet.")
    made = forecast_through(frame, asked, chance=ends[0], ceiling=ends[1], **common)
    table = as_frame(made.table)
    if out is not None:
        write_table(table, out)
    if as_json:
        document = {"target": made.target, "level": made.level, "rows": table.to_dicts()}
        document |= {"sigmoid": made.fit.params, "notes": made.notes}
        sys.stdout.write(as_text(as_plain(document)))
        return
    show_frame(open_console(), table, f"{made.target} through {common['through']}")
    print_notes(open_console(), made.notes)


def _check_output(out: Path | None) -> None:
    from kleiber.formats import check_suffix

    if out is not None and out.suffix.lower() != ".json":
        check_suffix(out)


def _asked(
    at: list[str] | None, rows: Path | None, names: Sequence[str], prepared: Preparation
) -> Any:
    """Return the rows that are asked for; None for the default ones."""
    if at and rows is not None:
        raise BadTable("Give --at NAME=VALUE for every column, or --rows, and not both.")
    if rows is not None:
        return read_frame(rows, *prepared, keep_rows=False)
    if not at:
        return None
    return cross_values(read_pairs(at, "at", "NAME=VALUE, e.g. n_data=1e9"), names)


def _put_out(made: Forecast, out: Path | None, as_json: bool) -> None:
    """Save a forecast, print it, and exit with 1 where it is refused."""
    from kleiber.documents import save
    from kleiber.forecasting.saved import describe_forecast
    from kleiber.reports.forecast import show_forecast
    from kleiber.table import as_frame, write_table

    if out is not None and out.suffix.lower() == ".json":
        save(made, out)
    elif out is not None:
        write_table(as_frame(made.table), out)
    if as_json:
        sys.stdout.write(as_text(describe_forecast(made)))
    else:
        show_forecast(open_console(), made)
    if not made.usable:
        raise typer.Exit(1)


def predict_forecast(
    made: Forecast,
    at: list[str] | None,
    table: Path | None,
    prepared: Preparation,
    level: float,
    out: Path | None,
    as_json: bool,
) -> None:
    """Forecast further rows with a saved forecast, as ``kleiber predict`` does with a fit."""
    from kleiber.table import as_frame

    _check_output(out)
    names = [*made.x]
    asked = _asked(at, table, names, prepared)
    if made.group and table is None:
        known = [part.values for part in made.groups]
        import polars as pl

        columns = dict(zip(made.group, map(list, zip(*known, strict=True)), strict=True))
        asked = pl.DataFrame(columns).join(asked, how="cross")
    whole = as_frame(made.predict(asked, level))
    _put_out(replace(made, table=whole, level=level), out, as_json)


def score_command(
    forecast_file: Annotated[
        Path, typer.Argument(metavar="FORECAST", help="A forecast saved by kleiber forecast -o.")
    ],
    measured: Annotated[Path, typer.Argument(metavar="MEASURED", help="What was measured since.")],
    record: Annotated[
        Path | None,
        typer.Option(help="JSON Lines file to which the score is added, and which is summed up."),
    ] = None,
    rename: Rename = None,
    where: Where = None,
    derive: Derive = None,
    as_json: AsJson = False,
) -> None:
    """Say how a registered forecast did: its errors, whether its intervals held, its log score."""
    from kleiber.documents import load
    from kleiber.forecasting.record import Forecast
    from kleiber.forecasting.score import add_to_record, describe_score, score
    from kleiber.reports.forecast import show_score

    made = load(forecast_file)
    if not isinstance(made, Forecast):
        raise BadTable(f"{str(forecast_file)!r} holds no forecast; write one: kleiber forecast -o.")
    found = score(made, read_frame(measured, rename, where, derive))
    history = None if record is None else add_to_record(found, record)
    if as_json:
        sys.stdout.write(as_text(describe_score(found, history)))
    else:
        show_score(open_console(), found, history)
