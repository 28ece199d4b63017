"""kleiber table and kleiber list: what is in a file, and what kleiber knows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from kleiber.cli.console import open_console
from kleiber.cli.options import AsJson, Derive, Rename, Where, as_text, check_writable, read_frame
from kleiber.errors import BadTable, nearest
from kleiber.reports.console import print_line


def table_command(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A table, or a folder of them.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Output file; its suffix sets the format.")
    ] = None,
    rename: Rename = None,
    where: Where = None,
    derive: Derive = None,
) -> None:
    """Read, rename, derive and filter a table; write it or show it."""
    from kleiber.formats import check_suffix
    from kleiber.reports.grids import show_frame
    from kleiber.table import write_table

    check_writable(out)
    if out is not None:
        check_suffix(out)
    frame = read_frame(source, rename, where, derive, keep_rows=False)
    if out is None:
        show_frame(open_console(), frame, str(source))
    else:
        write_table(frame, out)
        print_line(
            open_console(stderr=True), f"{len(frame)} rows, {len(frame.columns)} columns: {out}"
        )


def list_command(
    what: Annotated[
        str, typer.Argument(metavar="laws|theories|papers|data|...", help="What to list.")
    ],
    as_json: AsJson = False,
) -> None:
    """List laws, theories, papers, reductions, readers, data sets, columns, or named costs."""
    from kleiber.reports.grids import show_list
    from kleiber.reports.listing import (
        list_columns,
        list_costs,
        list_data,
        list_laws,
        list_readers,
        list_reductions,
        list_theories,
    )
    from kleiber.systems.papers import list_papers

    listers: dict[str, Callable[[], list[dict[str, str]]]] = {
        "laws": list_laws,
        "theories": list_theories,
        "papers": list_papers,
        "reductions": list_reductions,
        "readers": list_readers,
        "columns": list_columns,
        "costs": list_costs,
        "data": list_data,
    }
    if what not in listers:
        hint = nearest(what, listers)
        raise BadTable(f"There is no list of {what!r}.{hint} There are: {', '.join(listers)}.")
    rows = listers[what]()
    if as_json:
        sys.stdout.write(as_text(rows))
    else:
        show_list(open_console(), rows)
