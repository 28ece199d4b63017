"""kleiber check: the claims of papers, computed and judged."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from kleiber.cli.console import open_console
from kleiber.cli.options import AsJson, as_text, check_writable
from kleiber.errors import BadTable
from kleiber.reports.console import print_line

if TYPE_CHECKING:
    from kleiber.claim import Verdict


ROWS = 6  # lines of the terminal for each claim in view


def check_command(
    papers: Annotated[
        list[str] | None, typer.Argument(metavar="[PAPER ...]", help="All papers if none is named.")
    ] = None,
    scale: Annotated[
        str, typer.Option(metavar="quick|laptop|full", help="Scale of the computation.")
    ] = "quick",
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    only: Annotated[
        str, typer.Option(metavar="WORD", help="Only claims, or figures, that contain this text.")
    ] = "",
    keep: Annotated[
        Path | None,
        typer.Option(help="Folder of finished claims, at scales above quick (the user's cache)."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Write a report as one .html file.")
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Draw the papers' figures into a folder, in place of checking their claims.",
        ),
    ] = None,
    png: Annotated[bool, typer.Option("--png", help="Draw .png files, not .svg.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say which claims of papers hold. Exit 1 when a verdict is not the one that is known."""
    if png and figures is None:
        raise BadTable("--png is the kind of the figures; give --figures FOLDER with it.")
    if figures is not None:
        if out is not None:
            raise BadTable("--figures checks no claims, so there is no report to write; drop -o.")
        options = {"scale": scale, "seed": seed, "only": only, "keep": keep, "png": png}
        _draw(papers or [], figures, options, as_json)
        return
    from kleiber.claim import describe_verdict
    from kleiber.files import write_atomically
    from kleiber.reports.verdicts import show_verdicts, verdicts_page
    from kleiber.systems.papers import each_verdict

    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise BadTable(f"A report is an .html file, got {str(out)!r}.")
    check_writable(out)
    each = partial(each_verdict, *papers or (), scale=scale, seed=seed, only=only, keep=keep)
    verdicts = _watch(each, open_console(stderr=True))
    if out is not None:
        with write_atomically(out) as temporary:
            temporary.write_text(verdicts_page(verdicts, scale, seed), encoding="utf-8")
    if as_json:
        sys.stdout.write(as_text([describe_verdict(item) for item in verdicts]))
    else:
        show_verdicts(open_console(), verdicts)
    if not all(item.as_known for item in verdicts):
        raise typer.Exit(1)


def _draw(papers: list[str], folder: Path, options: dict[str, Any], as_json: bool) -> None:
    """Draw the figures of papers; exit 1 when one cannot be drawn."""
    from kleiber.reports.paper_figures import draw_figures

    console = open_console(stderr=True)
    drawn: list[dict[str, str | int | None]] = []
    for item in draw_figures(*papers, folder=folder, **options):
        file = None if item.file is None else str(item.file)
        drawn.append({"paper": item.paper, "number": item.number, "file": file, "why": item.why})
        if not as_json:
            print_line(console, file or f"{item.paper}_{item.number} is not drawn: {item.why}.")
    if as_json:
        sys.stdout.write(as_text(drawn))
    if not all(item["file"] for item in drawn):
        raise typer.Exit(1)


def _watch(verdicts: Callable[..., Iterator[Verdict]], console: Console) -> list[Verdict]:
    """Return all verdicts; a terminal shows the latest ones and the current claim meanwhile."""
    from kleiber.reports.verdicts import verdict_grid

    if not console.is_terminal:
        return list(verdicts())
    done: list[Verdict] = []
    with Live(console=console, transient=True, auto_refresh=False) as live:

        def begin(_: int, __: int, says: str, /) -> None:
            shown = done[-max(2, console.height // ROWS) :]
            live.update(verdict_grid(shown, says), refresh=True)

        for verdict in verdicts(progress=begin):
            done.append(verdict)
    return done
