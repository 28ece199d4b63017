"""kleiber compare and kleiber next: which law, and which run to make next."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kleiber.cli.bars import show_progress
from kleiber.cli.console import open_console, print_error
from kleiber.cli.options import (
    AsJson,
    Derive,
    Level,
    Rename,
    SkipMissing,
    Trust,
    Where,
    as_text,
    load_fitted,
    read_frame,
    read_noise,
    read_number,
    read_pairs,
)
from kleiber.errors import BadPlan, BadTable

if TYPE_CHECKING:
    import polars as pl

    from kleiber.fitting.record import Fit
    from kleiber.forecasting.record import Forecast


def compare_command(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="Measured runs.")],
    laws: Annotated[list[str], typer.Argument(metavar="LAW LAW ...", help="Names or formulas.")],
    beyond: Annotated[
        str,
        typer.Option(metavar="COLUMN[=A,B,...]", help="Extrapolate along it, beyond A, B, ..."),
    ],
    target: Annotated[str, typer.Option(help="Column that the laws predict.")] = "loss",
    rename: Rename = None,
    where: Where = None,
    derive: Derive = None,
    skip_missing: SkipMissing = False,
    draws: Annotated[int, typer.Option(help="Resamples of the whole comparison.")] = 100,
    level: Level = 0.95,
    huber: Annotated[
        float | None, typer.Option(help="Width of the Huber loss on log residuals [1e-3].")
    ] = None,
    least_squares: Annotated[
        bool, typer.Option("--least-squares", help="Plain least squares instead of Huber.")
    ] = False,
    linear: Annotated[
        bool, typer.Option("--linear", help="Plain residuals instead of log residuals.")
    ] = False,
    by: Annotated[
        str | None, typer.Option(help="Resample whole groups of this column, e.g. run.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of starts and resamples.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Rank laws by how well they extrapolate; 'cannot tell' where they cannot be told apart."""
    from kleiber.fitting.compare import compare, describe_comparison
    from kleiber.reports.grids import show_comparison

    frame = read_frame(table, rename, where, derive, None, [target] * skip_missing)
    column, equals, cuts = beyond.partition("=")
    with show_progress(open_console(stderr=True)) as progress:
        made = compare(
            laws,
            frame,
            beyond=column.strip(),
            target=target,
            noise=read_noise(huber, least_squares, None, linear),
            origins=[read_number(cut, "beyond") for cut in cuts.split(",")] if equals else None,
            by=by,
            draws=draws,
            level=level,
            seed=seed,
            progress=progress,
        )
    if as_json:
        sys.stdout.write(as_text(describe_comparison(made)))
    else:
        show_comparison(open_console(), made)


def next_command(
    fit_file: Annotated[Path, typer.Argument(metavar="FIT", help="A saved fit or forecast.")],
    budget: Annotated[float, typer.Option(help="Budget of all further runs together.")],
    parameter: Annotated[
        str | None, typer.Option(help="Narrow the interval of this parameter.")
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Narrow the prediction at these values; one --at for each column.",
        ),
    ] = None,
    cost: Annotated[str, typer.Option(help="A named cost or a formula of columns.")] = "6nd",
    runs: Annotated[int, typer.Option(help="How many runs to choose.")] = 1,
    candidates: Annotated[
        Path | None, typer.Option(help="A table of possible runs, instead of a grid.")
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=LOW:HIGH", help="Limits of a variable; repeatable."),
    ] = None,
    per_cost: Annotated[
        bool, typer.Option("--per-cost", help="Maximise the gain per unit of cost.")
    ] = False,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Choose the runs expected to narrow an interval most."""
    from kleiber.planning.cost import find_cost
    from kleiber.planning.next_run import next_run
    from kleiber.reports.grids import show_frame

    if (parameter is None) == (not at):
        raise BadTable("Give --parameter NAME, or --at NAME=VALUE for every column of the law.")
    where = {k: read_number(v, "at") for k, v in read_pairs(at, "at", "NAME=VALUE").items()}
    fitted = load_fitted(fit_file, trust)
    _refuse_unusable(fitted)
    chosen = next_run(
        fitted,
        parameter or where,
        budget,
        find_cost(cost),
        runs=runs,
        candidates=None
        if candidates is None
        else read_frame(candidates, None, None, None, keep_rows=False),
        per_cost=per_cost,
        limits={k: _limits(v) for k, v in read_pairs(limit, "limit", "NAME=LOW:HIGH").items()},
    )
    if as_json:
        sys.stdout.write(as_text(_rows(chosen)))
    else:
        show_frame(
            open_console(), chosen, "next runs, and what remains of today's interval after each"
        )


def _limits(text: str) -> tuple[float, float]:
    """Read --limit options as pairs; a missing end is 0 or infinity."""
    low, colon, high = text.partition(":")
    if not colon:
        raise BadTable(f"--limit takes NAME=LOW:HIGH, got {text!r}.")
    return read_number(low or "0", "limit"), read_number(high or "inf", "limit")


def _refuse_unusable(given: Fit | Forecast) -> None:
    """Exit with 1 for an unusable fit; a flat fit is accepted because further runs may fix it."""
    from kleiber.fitting.judge.status import Status
    from kleiber.planning.plan import check_support
    from kleiber.planning.source import fit_of

    try:
        fitted = fit_of(given)
        if fitted.status is not Status.FLAT:
            check_support(fitted)
    except BadPlan as error:
        print_error(error)
        raise typer.Exit(1) from None


def _rows(chosen: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the runs as JSON values: other types as text, gaps as null."""

    def plain(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return value if isinstance(value, float | int | str | None) else str(value)

    return [{name: plain(value) for name, value in row.items()} for row in chosen.to_dicts()]
