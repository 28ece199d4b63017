"""kleiber data: public data sets fetched by name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kleiber.cli.bars import show_progress
from kleiber.cli.console import open_console
from kleiber.cli.options import AsJson, as_text, check_writable
from kleiber.errors import BadTable
from kleiber.reports.console import print_line

data = typer.Typer(no_args_is_help=True)


@data.callback()
def data_command() -> None:
    """Public data sets: kleiber list data names them."""


@data.command("fetch")
def fetch_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="See kleiber list data.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Write a table with kleiber's column names.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the files of a data set, in $KLEIBER_DATA or by downloading them, and print where."""
    from kleiber.data.fetch import fetch, find
    from kleiber.data.runs import load_runs
    from kleiber.formats import check_suffix
    from kleiber.table import write_table

    check_writable(out)
    if out is not None:
        check_suffix(out)
    source = find(name)
    if out is not None and source.kind != "table":
        raise BadTable(f"{name} holds {source.kind}, no table that -o could write.")
    with show_progress(open_console(stderr=True), sizes=True) as progress:
        paths = fetch(name, progress=progress)
    if out is not None:
        table = load_runs(name)
        write_table(table, out)
        print_line(
            open_console(stderr=True), f"{len(table)} rows, {len(table.columns)} columns: {out}"
        )
    if as_json:
        files = {role: str(path) for role, path in paths.items()}
        document = {"name": name, "files": files, "licence": source.licence}
        sys.stdout.write(as_text(document | {"citation": source.citation}))
    elif out is None:
        for role, path in paths.items():
            print_line(open_console(), f"{role}: {path}")
        if not paths:
            print_line(open_console(), f"{name} is part of the package; nothing is downloaded")
        print_line(open_console(stderr=True), f"licence: {source.licence}; cite: {source.citation}")
