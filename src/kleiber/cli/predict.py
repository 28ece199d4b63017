"""kleiber predict: what a saved fit says of further runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kleiber.cli.console import open_console, print_error
from kleiber.cli.options import (
    AsJson,
    Derive,
    Level,
    Rename,
    Trust,
    Where,
    as_text,
    check_writable,
    load_fitted,
    read_frame,
    read_pairs,
)
from kleiber.cli.rows import cross_values
from kleiber.errors import BadTable

if TYPE_CHECKING:
    pass


def predict_command(
    fit_file: Annotated[Path, typer.Argument(metavar="FIT", help="A saved fit or forecast.")],
    at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=A[,B,...]",
            help="Value of a column, one --at for each; all combinations are predicted.",
        ),
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="Table of runs to predict, instead of --at.")
    ] = None,
    rename: Rename = None,
    where: Where = None,
    derive: Derive = None,
    level: Level = 0.95,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="Output table (its suffix sets the format), or .json for everything.",
        ),
    ] = None,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Predict further runs with a saved fit: values, intervals, and how far they extrapolate."""
    from kleiber.files import write_atomically
    from kleiber.fitting.prediction import describe_prediction, explain_refusal, predict
    from kleiber.forecasting.record import Forecast
    from kleiber.formats import check_suffix
    from kleiber.reports.prediction import show_prediction
    from kleiber.table import write_table

    if (table is None) == (not at):
        raise BadTable(
            "Give --at NAME=VALUE for every column of the law, or --table, and not both."
        )
    if table is None and (rename or where or derive):
        raise BadTable("--rename, --where and --with prepare a --table; with --at there is none.")
    check_writable(out, keep=fit_file if table is None else table)
    if out is not None and out.suffix.lower() != ".json":
        check_suffix(out)
    fitted = load_fitted(fit_file, trust)
    if isinstance(fitted, Forecast):
        from kleiber.cli.forecast import predict_forecast

        predict_forecast(fitted, at, table, (rename, where, derive), level, out, as_json)
        return
    if not fitted.usable:
        print_error(explain_refusal(fitted))
        raise typer.Exit(1)
    if table is None:
        frame = cross_values(
            read_pairs(at, "at", "NAME=VALUE, e.g. n_params=7e9"), fitted.law.variables
        )
    else:
        frame = read_frame(table, rename, where, derive)
    made = predict(fitted, frame, level=level)
    document = describe_prediction(made)
    if out is not None and out.suffix.lower() == ".json":
        with write_atomically(out) as temporary:
            temporary.write_text(as_text(document), encoding="utf-8")
    elif out is not None:
        write_table(made.table, out)
    if as_json:
        sys.stdout.write(as_text(document))
    else:
        show_prediction(open_console(), made)
