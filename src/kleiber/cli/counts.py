"""kleiber counts: a law of repeated attempts fitted to counts of successes."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from kleiber.cli.console import open_console
from kleiber.cli.options import (
    AsJson,
    Derive,
    Level,
    Rename,
    Where,
    as_text,
    check_writable,
    read_columns,
    read_frame,
    read_number,
)
from kleiber.cli.paired import compare_tables
from kleiber.errors import BadTable, listed
from kleiber.reports.console import print_line, print_notes

if TYPE_CHECKING:
    from kleiber.attempts.record import CountFit

# Written out, so that help does not load the families; a test holds it to them.
FAMILY = "One of beta_binomial, zero_inflated, scaled_beta, kumaraswamy, lid."


def counts_command(
    table: Annotated[
        Path, typer.Argument(metavar="TABLE", help="Columns problem, attempts, successes.")
    ],
    family: Annotated[str, typer.Option(help=FAMILY)] = "beta_binomial",
    by: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN[,COLUMN]", help="Columns of the groups (model, if there is one)."
        ),
    ] = None,
    along: Annotated[
        str | None,
        typer.Option(help="Column along which the law is fitted jointly, e.g. n_tokens."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="Another model's table: the paired difference of pass@k, with a band."),
    ] = None,
    k: Annotated[
        str | None, typer.Option(metavar="K,K,...", help="Values of k of pass@k (1,10,100).")
    ] = None,
    prior: Annotated[
        str | None, typer.Option(help="straight: -log pass@k is nearly a power law of k.")
    ] = None,
    stopped: Annotated[
        bool, typer.Option("--stopped", help="Attempts stopped because of their outcome.")
    ] = False,
    sum_by: Annotated[
        str | None,
        typer.Option(
            "--sum-by", metavar="COLUMN[,COLUMN]", help="Add up the rows of each, e.g. problem."
        ),
    ] = None,
    rename: Rename = None,
    where: Where = None,
    derive: Derive = None,
    level: Level = 0.95,
    draws: Annotated[
        int, typer.Option(help="Refits to resampled problems, which a plan needs (200).")
    ] = 0,
    plot: Annotated[
        Path | None, typer.Option(help="Draw exponents and growth, or failure (.svg, .png, .pdf).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Save the fit as JSON, for kleiber plan.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fit how success varies over problems, and extrapolate pass@k, with intervals."""
    from kleiber.attempts.describe import describe_counts
    from kleiber.attempts.fit import fit_counts
    from kleiber.attempts.record import USABLE

    check_writable(out, plot, keep=table)
    if plot is not None:
        from kleiber.reports.sheet import check_drawing

        check_drawing(plot)
    ks = [read_number(item, "k") for item in (k or "1,10,100").split(",")]
    if against is not None:
        _refuse_fit_options(by, along, prior, draws, plot, out)
        pair = [read_frame(item, rename, where, derive) for item in (table, against)]
        compare_tables(pair, ks if k else None, read_columns(sum_by), level, stopped, as_json)
        return
    began = time.perf_counter()
    made = fit_counts(
        read_frame(table, rename, where, derive),
        family=family,
        by=read_columns(by),
        sum_by=read_columns(sum_by),
        along=along,
        prior=prior,
        level=level,
        stopped=True if stopped else None,
        draws=draws,
    )
    document = describe_counts(made, ks) | {"seconds": time.perf_counter() - began}
    if as_json:
        sys.stdout.write(as_text(document))
    else:
        _show(made, document)
    _write(made, out, plot)
    if made.broken or not any(status in USABLE for status in made.statuses):
        raise typer.Exit(1)


def _write(made: CountFit, out: Path | None, plot: Path | None) -> None:
    """Save the fit and draw its figure, where they are asked for."""
    if out is not None:
        from kleiber.documents import save

        save(made, out)
    if plot is not None:
        from kleiber.reports.counts_figure import draw_counts

        draw_counts(made, plot)


def _refuse_fit_options(*given: str | int | Path | None) -> None:
    """Raise BadTable for options that a comparison has no use for."""
    names = ("--by", "--along", "--prior", "--draws", "--plot", "-o")
    used = [name for name, value in zip(names, given, strict=True) if value]
    if used:
        raise BadTable(f"With --against no law is fitted, so there is no {listed(used)}.")


def _show(made: CountFit, document: dict[str, Any]) -> None:
    """Show the parameters, the exponent in each window, pass@k and the input."""
    import polars as pl

    from kleiber.attempts.trend import Trend
    from kleiber.reports.grids import show_frame

    console = open_console()
    level = f"{100 * made.level:g}% intervals"
    rows = [_law_row(item) for item in document["groups"]]
    show_frame(console, pl.DataFrame(rows), f"{made.family.name}: {made.family.doc} ({level})")
    rates = [_rate_row(item, rate) for item in document["groups"] for rate in item["pass_at"]]
    show_frame(console, pl.DataFrame(rates), "pass@k of a fresh problem, by the law and unbiased")
    for item in document["groups"]:
        if item["status"] != "converged":
            print_line(console, f"{item['group']}: {item['status']}: {item['reason']}")
    refused = {rate["why"]: rate["k"] for item in document["groups"] for rate in item["pass_at"]
               if rate["why"]}  # fmt: skip
    for why in refused:
        print_line(console, f"No interval: {why}")
    trend: Any = made.trend
    trends = cast("dict[str, Any]", trend if isinstance(trend, dict) else {"": trend})
    for name, trend in trends.items():
        if isinstance(trend, Trend):
            print_line(console, f"{name}: {trend.summary()}" if name else trend.summary())
    if made.pooled is not None:
        print_line(console, f"All series: {made.pooled.summary()}")
    print_notes(console, made.notes)


def _law_row(item: dict[str, Any]) -> dict[str, str]:
    from kleiber.reports.grids import figure

    window = item["window"]
    cells = {"group": str(item["group"]), "problems": str(item["problems"])}
    cells["never solved"] = f"{item['unsolved']:.0%}"
    for name, found in item["params"].items():
        cells[name] = _with_span(found)
    where = f"k {figure(window['low'])} to {figure(window['high'])}"
    cells["window"] = where
    cells["slope of failure"] = _with_span(window["failure"])
    cells["of -log pass"] = _with_span(window["neg_log_pass"])
    cells["status"] = item["status"]
    return cells


def _rate_row(item: dict[str, Any], rate: dict[str, Any]) -> dict[str, str]:
    from kleiber.reports.grids import figure, span

    ends, measured = (
        span(*(math.nan if x is None else x for x in (rate[f"{name}low"], rate[f"{name}high"])))
        for name in ("", "unbiased_")
    )
    return {
        "group": str(item["group"]),
        "k": figure(rate["k"], 6),
        "pass@k": figure(rate["value"]),
        "interval": ends,
        "unbiased": "" if rate["unbiased"] is None else f"{figure(rate['unbiased'])} {measured}",
    }


def _with_span(found: dict[str, float | None]) -> str:
    from kleiber.reports.grids import figure, span

    low, high = found["low"], found["high"]
    ends = span(math.nan if low is None else low, math.inf if high is None else high)
    return f"{figure(found['value'])} {ends}" if found["value"] is not None else "unknown"
