"""kleiber speedup: what a change is worth, in compute."""

from __future__ import annotations

import sys
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
    read_frame,
    read_number,
)
from kleiber.errors import BadTable

if TYPE_CHECKING:
    from kleiber.forecasting.ranking import Ranked


def speedup_command(
    tables: Annotated[
        list[Path],
        typer.Argument(metavar="A B", help="Runs of both systems, or one table with --by."),
    ],
    at: Annotated[float, typer.Option(help="Compute of B at which it is asked, FLOPs.")],
    by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column of systems of one table.")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="With --by: the system that others are compared with.")
    ] = None,
    ratio: Annotated[
        str | None,
        typer.Option(metavar="NUMBER|optimal", help="Tokens per parameter. [that of the runs]"),
    ] = None,
    target: Annotated[str, typer.Option(help="Column that systems are compared by.")] = "loss",
    rename: Rename = None,
    where: Where = None,
    derive: Derive = None,
    skip_missing: SkipMissing = False,
    level: Level = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Say how many times the compute A needs to reach what B reaches, with an interval."""
    from kleiber.forecasting.ranking import Ranked, rank_systems
    from kleiber.forecasting.speedup import speedup
    from kleiber.reports.speedup import describe_ranking, describe_speedup, show_ranking

    frames = [
        read_frame(table, rename, where, derive, None, [target] * skip_missing) for table in tables
    ]
    asked: dict[str, Any] = {"at": at, "target": target, "level": level, "seed": seed}
    if ratio is not None:
        asked["ratio"] = ratio if ratio == "optimal" else read_number(ratio, "ratio")
    if by is None:
        if len(frames) != 2 or baseline is not None:
            raise BadTable("Give the tables of two systems, or one table with --by COLUMN.")
        made = speedup(*frames, **asked)
        found: tuple[Ranked, ...] = (Ranked(tables[1].name, made),)
        document: Any = describe_speedup(made)
    else:
        if len(frames) != 1:
            raise BadTable("--by names the systems of one table; give one.")
        found = rank_systems(frames[0], by=by, baseline=baseline, **asked)
        document = describe_ranking(found)
    if as_json:
        sys.stdout.write(as_text(document))
    else:
        show_ranking(open_console(), found, at, against=tables[0].name if by is None else baseline)
    if all(each.found is None for each in found):
        raise typer.Exit(1)
