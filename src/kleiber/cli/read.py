"""kleiber read: logs of trackers, trainers and evaluation programs, as a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from kleiber.cli.console import open_console
from kleiber.cli.options import AsJson, as_text, check_writable, read_pairs
from kleiber.reports.console import print_line, print_notes


def read_command(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE [SOURCE ...]", help="Logs, or folders of them.")
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Output table; its suffix sets the format.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Drop rows without a value of this column.")
    ] = None,
    at: Annotated[
        str, typer.Option(metavar="every|last", help="Every step, or each run's last.")
    ] = ("every"),
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="A column with one value, e.g. n_params=1.2e9."
        ),
    ] = None,
    melt: Annotated[
        bool,
        typer.Option("--melt", help="Turn a wide table, a column for each run, into a long one."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read logs of trackers, trainers and evaluation programs as one table, with notes."""
    from kleiber.formats import check_suffix
    from kleiber.plain import as_plain
    from kleiber.readers.columns import as_number
    from kleiber.readers.registry import read
    from kleiber.reports.grids import show_frame
    from kleiber.table import write_table

    check_writable(out)
    if out is not None:
        check_suffix(out)
    pairs = read_pairs(given, "set", "NAME=VALUE, e.g. n_params=1.2e9")
    columns: dict[str, Any] = {name: as_number(text) for name, text in pairs.items()}
    logs = read(sources, target=target, at=at, set=columns, melt=melt)
    if out is not None:
        write_table(logs.table, out)
        size = f"{len(logs.table)} rows, {len(logs.table.columns)} columns: {out}"
        print_line(open_console(stderr=True), size)
    if as_json:
        document = {"rows": logs.table.to_dicts(), "notes": logs.notes}
        sys.stdout.write(as_text(as_plain(document)))
        return
    if out is None:
        show_frame(open_console(), logs.table, ", ".join(map(str, sources)))
    print_notes(open_console(stderr=out is not None), logs.notes)
