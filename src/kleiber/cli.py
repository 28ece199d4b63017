"""The command line: each command is a thin call of one public function.

Exit 0: good; 1: the fit is unusable; 2: wrong usage or bad input (one sentence on stderr); 130:
interrupted.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import warnings
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import polars as pl
import typer
from rich.console import Console
from rich.progress import Progress

from kleiber.errors import BadPlan, BadTable, NotConverged, nearest
from kleiber.files import land, landing_place
from kleiber.fitting.fit import fit_steps
from kleiber.fitting.noise import Noise
from kleiber.fitting.record import Fit
from kleiber.fitting.saved import describe, load, save
from kleiber.formats import WRITERS
from kleiber.planning.cost import find_cost
from kleiber.planning.frontier import trace_frontier
from kleiber.planning.plan import check_support, describe_plan, plan
from kleiber.reports.grids import say, show_curve, show_fit, show_frame, show_list, show_plan
from kleiber.reports.listing import list_columns, list_costs, list_laws
from kleiber.table import read_table, read_tables, write_table
from kleiber.version import __version__

app = typer.Typer(name="kleiber", add_completion=False, pretty_exceptions_enable=False)
# click's, wherever this Typer keeps it
UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])

Rename = Annotated[
    list[str] | None,
    typer.Option("--rename", metavar="NEW=OLD", help="Give column OLD the name NEW; repeatable."),
]
Where = Annotated[
    str | None,
    typer.Option("--where", metavar="SQL", help="Keep rows, e.g. 'epoch_kept = true'."),
]
Derive = Annotated[
    list[str] | None,
    typer.Option("--with", metavar="NAME=FORMULA", help="Add a column, e.g. flops=6*n_params*..."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Level = Annotated[float, typer.Option("--level", help="Level of the intervals.")]


def _pairs(items: Sequence[str] | None, option: str, example: str) -> dict[str, str]:
    """NAME=TEXT options as a dictionary."""
    out: dict[str, str] = {}
    for item in items or ():
        name, equals, text = item.partition("=")
        if not (name.strip() and equals and text.strip()):
            raise BadTable(f"--{option} takes {example}, got {item!r}")
        if name.strip() in out:
            raise BadTable(f"--{option} names {name.strip()!r} twice")
        out[name.strip()] = text.strip()
    return out


def _read(
    source: Path,
    rename: Sequence[str] | None,
    where: str | None,
    derive: Sequence[str] | None,
    weights: str | None = None,
) -> pl.DataFrame:
    renames = _pairs(rename, "rename", 'NEW=OLD, e.g. n_params="Model Size"')
    twice = [old for old in renames.values() if list(renames.values()).count(old) > 1]
    if twice:
        raise BadTable(f"--rename gives the column {twice[0]!r} two new names")
    table = read_tables(source) if source.is_dir() else source
    return read_table(
        table,
        rename={old: new for new, old in renames.items()},
        where=where,
        derive=_pairs(derive, "with", "NAME=FORMULA, e.g. flops=6*n_params*n_tokens"),
        weights=weights,
    )


def _people(*, aside: bool = False) -> Console:
    """Where tables for people go, or aside of them: progress, warnings and errors."""
    return Console(stderr=aside, highlight=False, emoji=False)


def _as_text(document: Any) -> str:
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


@app.command("fit")
def fit_command(
    law: Annotated[
        str, typer.Argument(metavar="LAW", help="A law's name, a formula, or file.py:name.")
    ],
    table: Annotated[
        Path, typer.Argument(metavar="TABLE", help="CSV, Parquet, JSON Lines or NPZ.")
    ],
    target: Annotated[str, typer.Option(help="Column that the law predicts.")] = "loss",
    rename: Rename = None,
    where: Where = None,
    derive: Derive = None,
    weights: Annotated[
        str | None, typer.Option(help="Column that multiplies each row's charge.")
    ] = None,
    draws: Annotated[int, typer.Option(help="Bootstrap refits; 0 for none.")] = 1000,
    level: Level = 0.95,
    huber: Annotated[
        float | None, typer.Option(help="Width of the Huber loss on log residuals [1e-3].")
    ] = None,
    least_squares: Annotated[
        bool, typer.Option("--least-squares", help="Plain least squares instead of Huber.")
    ] = False,
    student: Annotated[
        float | None, typer.Option(help="Student-t noise with these degrees of freedom.")
    ] = None,
    linear: Annotated[
        bool, typer.Option("--linear", help="Plain residuals instead of log residuals.")
    ] = False,
    by: Annotated[
        str | None, typer.Option(help="Resample whole groups of this column, e.g. run.")
    ] = None,
    fix: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Hold a parameter.")
    ] = None,
    tie: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FORMULA", help="Tie one, e.g. beta=alpha.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of starts and draws.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(help="Draw data, fit, band and residuals (.svg, .png, .pdf).")
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Save the fit as JSON.")] = None,
    as_json: AsJson = False,
) -> None:
    """Fit a law to a table of runs, with intervals."""
    _writable(out, plot, keep=table)
    if plot is not None:
        from kleiber.reports.figure import check_drawing

        check_drawing(plot)
    frame = _read(table, rename, where, derive, weights)
    steps = fit_steps(
        law,
        frame,
        target=target,
        noise=_noise(huber, least_squares, student, linear),
        draws=draws,
        level=level,
        by=by,
        weights=weights,
        fixed={k: _number(v, "fix") for k, v in _pairs(fix, "fix", "NAME=VALUE").items()},
        tied=_pairs(tie, "tie", "NAME=FORMULA, e.g. beta=alpha"),
        seed=seed,
    )
    made = _watch(steps)
    if out is not None:
        save(made, out)
    if plot is not None:
        from kleiber.reports.figure import draw_fit
        from kleiber.reports.panels import fit_panels

        draw_fit(fit_panels(made, frame), plot)
    if as_json:
        sys.stdout.write(_as_text(describe(made)))
    else:
        show_fit(_people(), made)
    if not made.usable:
        raise typer.Exit(1)


def _noise(huber: float | None, least: bool, student: float | None, linear: bool) -> Noise:
    if sum((huber is not None, least, student is not None)) > 1:
        raise BadTable("--huber, --least-squares and --student exclude each other; give one")
    delta = None if least or student is not None else 1e-3 if huber is None else huber
    if linear and huber is None and delta is not None:
        raise BadTable("--linear needs --huber WIDTH, --least-squares or --student beside it")
    return Noise("linear" if linear else "log", delta=delta, dof=student)


def _number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadTable(f"--{option} takes a number, got {text!r}") from None


def _writable(*paths: Path | None, keep: Path | None = None) -> None:
    """Refuse a path that cannot be written, or that would replace what is read, before any work."""
    for path in filter(None, paths):
        if landing_place(path) == (keep and keep.resolve()):
            raise BadTable(f"writing {str(path)!r} would replace what is read; give another name")


def _watch(steps: Any) -> Fit:
    """Run a fit to its end, with a progress bar when a person is watching."""
    quiet = not sys.stderr.isatty()
    with Progress(console=_people(aside=True), transient=True, disable=quiet) as bar:
        task = bar.add_task("refits", total=None)
        while True:
            try:
                seen = next(steps)
            except StopIteration as end:
                return end.value
            bar.update(task, completed=seen.done, total=seen.total)


@app.command("plan")
def plan_command(
    fit_file: Annotated[Path, typer.Argument(metavar="FIT", help="A fit saved by kleiber fit -o.")],
    budget: Annotated[float, typer.Option(help="What may be spent, in the cost's unit.")],
    cost: Annotated[str, typer.Option(help="A named cost or a formula of columns.")] = "6nd",
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=LOW:HIGH", help="Box of a variable; repeatable."),
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option("--given", metavar="NAME=VALUE", help="Value of a variable not chosen."),
    ] = None,
    level: Level = 0.95,
    frontier: Annotated[
        str | None,
        typer.Option(metavar="LOW:HIGH:POINTS", help="Print the optimal curve over budgets."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Save the plan (JSON), or the curve.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Split a budget so that the fitted law is smallest."""
    _writable(out, keep=fit_file)
    if frontier is None and out is not None and out.suffix in WRITERS:
        raise BadTable(f"a plan is saved as .json; a {out.suffix} file holds a curve: --frontier")
    fitted, priced = load(fit_file), find_cost(cost)
    _refuse_unusable(fitted)
    limits = {k: _limits(v) for k, v in _pairs(limit, "limit", "NAME=LOW:HIGH").items()}
    values = {k: _number(v, "given") for k, v in _pairs(given, "given", "NAME=VALUE").items()}
    made = plan(fitted, budget, priced, limits=limits, given=values, level=level)
    document = describe_plan(made)
    curve = None
    if frontier is not None:
        budgets = _budgets(frontier)
        curve = trace_frontier(fitted, budgets, priced, limits=limits, given=values, level=level)
        document["frontier"] = _rows(curve)
    if out is not None:
        _save_plan(document, curve, out)
    if as_json:
        sys.stdout.write(_as_text(document))
        return
    show_plan(_people(), made)
    if curve is not None:
        show_curve(_people(), curve, level)


def _refuse_unusable(fitted: Fit) -> None:
    """Exit 1, as the fit itself did, with the sentence that says which runs to add."""
    try:
        check_support(fitted)
    except BadPlan as error:
        _complain(error)
        raise typer.Exit(1) from None


def _rows(curve: pl.DataFrame) -> list[dict[str, Any]]:
    return curve.with_columns(
        pl.when(pl.col(pl.Float64).is_finite()).then(pl.col(pl.Float64))
    ).to_dicts()


def _save_plan(document: Any, curve: pl.DataFrame | None, out: Path) -> None:
    if out.suffix in WRITERS and curve is not None:
        write_table(curve, out)
        return
    with land(out) as temporary:
        temporary.write_text(_as_text(document), encoding="utf-8")


def _limits(text: str) -> tuple[float, float]:
    low, colon, high = text.partition(":")
    if not colon:
        raise BadTable(f"--limit takes NAME=LOW:HIGH, got {text!r}")
    return _number(low or "1", "limit"), _number(high or "1e99", "limit")


def _budgets(text: str) -> list[float]:
    parts = text.split(":")
    if len(parts) not in (2, 3):
        raise BadTable(f"--frontier takes LOW:HIGH:POINTS, got {text!r}")
    low, high = _number(parts[0], "frontier"), _number(parts[1], "frontier")
    points = _number(parts[2], "frontier") if len(parts) == 3 else 10
    if not (0 < low < high and 2 <= points <= 1000 and points % 1 == 0 and math.isfinite(high)):
        raise BadTable(f"--frontier needs 0 < LOW < HIGH and 2 to 1000 points, got {text!r}")
    return np.geomspace(low, high, int(points)).tolist()


@app.command("table")
def table_command(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A table, or a folder of them.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write here (by suffix).")] = None,
    rename: Rename = None,
    where: Where = None,
    derive: Derive = None,
) -> None:
    """Read, rename, derive and filter a table; write it or show it."""
    _writable(out)
    frame = _read(source, rename, where, derive)
    if out is None:
        show_frame(_people(), frame, str(source))
    else:
        write_table(frame, out)
        say(_people(aside=True), f"{len(frame)} rows, {len(frame.columns)} columns: {out}")


@app.command("list")
def list_command(
    what: Annotated[str, typer.Argument(metavar="laws|columns|costs", help="What to list.")],
    as_json: AsJson = False,
) -> None:
    """List laws with formula, domains and citation; columns with units; named costs."""
    listers: dict[str, Callable[[], list[dict[str, str]]]] = {
        "laws": list_laws,
        "columns": list_columns,
        "costs": list_costs,
    }
    if what not in listers:
        hint = nearest(what, listers)
        raise BadTable(f"kleiber list takes {', '.join(listers)}; got {what!r}.{hint}")
    rows = listers[what]()
    if as_json:
        sys.stdout.write(_as_text(rows))
    else:
        show_list(_people(), rows)


@app.callback(invoke_without_command=True)
def top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Neural scaling laws: fit a law to measured runs, with its uncertainty, and plan a budget."""
    if version:
        say(_people(), f"kleiber {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


@contextlib.contextmanager
def _plain_warnings() -> Generator[None]:
    """Warnings as one line on stderr."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        say(_people(aside=True), f"warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = show
        yield


def _complain(error: Exception | str) -> None:
    """One line on stderr, whatever the message holds."""
    say(_people(aside=True), "kleiber: " + " ".join(str(error).split()))


def main() -> None:
    """The console script."""
    try:
        with _plain_warnings():
            code = app(standalone_mode=False)
            sys.stdout.flush()
    except NotConverged as error:
        _complain(error)
        code = 1
    except UsageError as error:
        where = error.ctx.command_path if error.ctx else "kleiber"
        _complain(f"{error.format_message()} See: {where} --help")
        code = 2
    except (ValueError, OSError, ImportError) as error:
        _complain(error)
        code = 2
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    sys.exit(code or 0)
