"""kleiber reduce: a table reduced to another, by a reduction of `kleiber.reduce`."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from kleiber.cli.console import open_console
from kleiber.cli.options import (
    AsJson,
    Derive,
    Rename,
    Where,
    as_text,
    check_writable,
    output_table,
    read_frame,
)
from kleiber.cli.words import parameters_of, read_arguments
from kleiber.errors import BadTable
from kleiber.reports.console import print_line, print_notes

if TYPE_CHECKING:
    import polars as pl

    from kleiber.reduce import IsoFLOP


def reduce_command(
    name: Annotated[str, typer.Argument(metavar="REDUCTION", help="See: kleiber list reductions.")],
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            help="A table, a folder of them, or another file that the reduction reads.",
        ),
    ],
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar="[--NAME VALUE ...]", help="Options of the reduction."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Output file; its suffix sets the format.")
    ] = None,
    rename: Rename = None,
    where: Where = None,
    derive: Derive = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw isoflop's parabolas (.svg, .png, .pdf).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Reduce a table to another; options of the reduction are --NAME VALUE, e.g. --k 1,10."""
    from kleiber import reduce
    from kleiber.formats import check_suffix

    check_writable(out, plot, keep=source)
    if out is not None:
        check_suffix(out)
    function = reduce.find(name)
    if plot is not None:
        _check_plot(plot, function is reduce.isoflop, name)
    given = read_arguments(_pairs(options or []), parameters_of(function, skip=1), name)
    own = source.suffix.lower() in reduce.files_of(name) and not (rename or where or derive)
    table = source if own else read_frame(source, rename, where, derive, keep_rows=False)
    made = _call_reduction(function, table, given, name)
    if isinstance(made, reduce.IsoFLOP):
        _output_isoflop(made, out, plot, as_json)
    else:
        output_table(_as_frame(made), out, as_json, name)


def _pairs(words: list[str]) -> dict[str, str]:
    """Read --name value and --name=value options into a dictionary."""
    pairs: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if not word.startswith("--") or len(word) < 3:
            raise BadTable(f"Options of a reduction are --NAME VALUE, got {word!r}.")
        key, equals, text = word[2:].partition("=")
        value = text if equals else next(rest, None)
        if value is None:
            raise BadTable(f"--{key} needs a value.")
        key = key.replace("-", "_")
        if key in pairs:
            raise BadTable(f"--{key} is given twice.")
        pairs[key] = value
    return pairs


def _call_reduction(
    function: Callable[..., Any], table: pl.DataFrame | Path, options: Mapping[str, Any], name: str
) -> Any:
    """Call the reduction; raise BadTable if a required option is missing."""
    for key, item in list(inspect.signature(function).parameters.items())[1:]:
        variadic = item.kind in (item.VAR_POSITIONAL, item.VAR_KEYWORD)
        if item.default is item.empty and not variadic and key not in options:
            raise BadTable(f"{name} needs --{key.replace('_', '-')} VALUE.")
    return function(table, **options)


def _check_plot(plot: Path, drawn: bool, name: str) -> None:
    from kleiber.reports.sheet import check_drawing

    if not drawn:
        raise BadTable(f"The reduction {name!r} has no figure; --plot is for isoflop.")
    check_drawing(plot)


def _output_isoflop(made: IsoFLOP, out: Path | None, plot: Path | None, as_json: bool) -> None:
    """Write the optima to a file, draw them, and print exponents and notes."""
    from kleiber.reduce.isoflop import describe_isoflop
    from kleiber.reports.grids import figure, span

    if plot is not None:
        from kleiber.reports.isoflop_figure import draw_isoflop

        draw_isoflop(made, plot)
    if as_json and out is None:
        sys.stdout.write(as_text(describe_isoflop(made)))
        return
    output_table(made.table, out, False, "isoflop")
    if as_json:
        sys.stdout.write(as_text(describe_isoflop(made)))
        return
    console = open_console()
    for symbol, name, item in (
        ("N", made.size, made.exponent), ("D", "n_tokens", made.token_exponent),
    ):  # fmt: skip
        if math.isfinite(item.value):
            ends = span(item.low, item.high) if math.isfinite(item.low) else "(no interval)"
            print_line(console, f"{symbol}* ~ C^{figure(item.value)} {ends}, {name} at the optimum")
    print_notes(console, made.notes)


def _as_frame(made: Any) -> pl.DataFrame:
    """Return a frame as it is, and named estimates as rows of name, value, stderr, low, high."""
    import polars as pl

    from kleiber.claim import Estimate

    if isinstance(made, pl.DataFrame):
        return made
    named = cast("Mapping[str, Estimate | float]", made)
    unknown = math.nan
    rows = [
        item if isinstance(item, Estimate) else Estimate(float(item), unknown, unknown, unknown)
        for item in named.values()
    ]
    numbers = {
        key: [getattr(row, key) for row in rows] for key in ("value", "stderr", "low", "high")
    }
    return pl.DataFrame({"name": list(named), **numbers})
