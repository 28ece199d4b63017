"""The command line: each command is a thin call of one public function.

Exit 0: good; 1: the fit is unusable; 2: wrong usage or bad input (one sentence on stderr).
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from kleiber.columns import COLUMNS
from kleiber.errors import BadTable, NotConverged
from kleiber.fitting.fit import fit_steps
from kleiber.fitting.noise import Noise
from kleiber.fitting.record import Fit
from kleiber.fitting.saved import describe, load, save
from kleiber.laws import catalogue
from kleiber.planning.cost import costs, find_cost
from kleiber.planning.frontier import trace_frontier
from kleiber.planning.plan import Plan, describe_plan, plan
from kleiber.table import read_table, read_tables, write_table
from kleiber.version import __version__

app = typer.Typer(
    name="kleiber",
    help="Neural scaling laws: fit a law to measured runs, with its uncertainty, and plan a budget.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
people = Console(stderr=False, highlight=False)
aside = Console(stderr=True, highlight=False)

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


def _print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, indent=1, allow_nan=False) + "\n")


def _show(value: float | None) -> str:
    return "unknown" if value is None or not math.isfinite(value) else f"{value:.4g}"


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
    _writable(plot, out)
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
        _print_json(describe(made))
    else:
        _show_fit(made)
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


def _writable(*paths: Path | None) -> None:
    """Refuse a path that cannot be written before any work is done."""
    for path in paths:
        if path is not None and not path.absolute().parent.is_dir():
            raise BadTable(f"cannot write {path}: there is no folder {path.parent}")


def _watch(steps: Any) -> Fit:
    """Run a fit to its end, with a progress bar when a person is watching."""
    with Progress(console=aside, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("refits", total=None)
        while True:
            try:
                seen = next(steps)
            except StopIteration as end:
                return end.value
            bar.update(task, completed=seen.done, total=seen.total)


def _show_fit(made: Fit) -> None:
    people.print(
        f"[bold]{made.law.name}[/bold]  {made.target} = {made.law.formula}", soft_wrap=True
    )
    grid = Table("parameter", "value", f"{made.level:.0%} interval", "standard error")
    for name, value in made.params.items():
        low, high = made.interval(name, made.level)
        held = "fixed" if name in made.fixed else "tied" if name in made.tied else ""
        error = held or _show(made.stderr.get(name))
        grid.add_row(name, f"{value:.6g}", f"{_show(low)} to {_show(high)}", error)
    people.print(grid)
    people.print(
        f"{made.rows} rows, {made.noise.describe()}, objective {made.objective:.6e}, "
        f"{made.n_draws} draws, {made.seconds:.2f} s",
        soft_wrap=True,
    )
    colour = "green" if made.status == "converged" else "yellow" if made.usable else "red"
    people.print(f"[{colour}]{made.status}[/{colour}]: {made.reason}", soft_wrap=True)
    for note in made.notes:
        people.print(f"note: {note}", soft_wrap=True)


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
    _writable(out)
    fitted, priced = load(fit_file), find_cost(cost)
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
        _print_json(document)
        return
    _show_plan(made)
    if curve is not None:
        _show_frame(curve, "compute-optimal curve")


def _rows(curve: pl.DataFrame) -> list[dict[str, Any]]:
    return [
        {k: v if v is None or math.isfinite(v) else None for k, v in row.items()}
        for row in curve.to_dicts()
    ]


def _save_plan(document: Any, curve: pl.DataFrame | None, out: Path) -> None:
    from kleiber.files import land

    if out.suffix != ".json" and curve is not None:
        write_table(curve, out)
        return
    with land(out) as temporary:
        text = json.dumps(document, indent=1, allow_nan=False)
        Path(temporary).write_text(text + "\n", encoding="utf-8")


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
    points = int(_number(parts[2], "frontier")) if len(parts) == 3 else 10
    if not (0 < low < high and 2 <= points <= 1000 and math.isfinite(high)):
        raise BadTable(f"--frontier needs 0 < LOW < HIGH and 2 to 1000 points, got {text!r}")
    return np.geomspace(low, high, points).tolist()


def _show_plan(made: Plan) -> None:
    unit = made.cost.unit
    people.print(f"[bold]budget {made.budget:.4g} {unit}[/bold], cost {made.cost.name}")
    if made.cost.convention:
        people.print(made.cost.convention, soft_wrap=True)
    grid = Table("", "value", f"{made.level:.0%} interval", "unit")
    for name, item in made.allocation.items():
        known = COLUMNS[name].unit if name in COLUMNS else ""
        grid.add_row(name, _show(item.value), f"{_show(item.low)} to {_show(item.high)}", known)
    item = made.predicted
    name = f"predicted {made.target}"
    grid.add_row(name, f"{item.value:.6g}", f"{_show(item.low)} to {_show(item.high)}", "")
    people.print(grid)
    factor = "unknown" if made.extrapolation is None else f"{made.extrapolation:.3g} times"
    people.print(f"extrapolation: {factor} the dearest measured run")
    for note in made.notes:
        people.print(f"[yellow]note:[/yellow] {note}", soft_wrap=True)


def _show_frame(frame: pl.DataFrame, title: str) -> None:
    grid = Table(*frame.columns, title=title)
    for row in frame.head(50).iter_rows():
        grid.add_row(*(_show(x) if isinstance(x, float) else str(x) for x in row))
    people.print(grid)
    if len(frame) > 50:
        people.print(f"... {len(frame) - 50} more rows")


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
        _show_frame(frame, str(source))
    else:
        write_table(frame, out)
        aside.print(f"{len(frame)} rows, {len(frame.columns)} columns: {out}", soft_wrap=True)


@app.command("list")
def list_command(
    what: Annotated[str, typer.Argument(metavar="laws|columns|costs", help="What to list.")],
    as_json: AsJson = False,
) -> None:
    """List laws with formula, domains and citation; columns with units; named costs."""
    listers: dict[str, Callable[[], list[dict[str, str]]]] = {
        "laws": _list_laws,
        "columns": _list_columns,
        "costs": _list_costs,
    }
    if what not in listers:
        raise BadTable(f"kleiber list takes {', '.join(listers)}; got {what!r}")
    rows = listers[what]()
    if as_json:
        _print_json(rows)
        return
    grid = Table(*rows[0], show_lines=what == "laws")
    for row in rows:
        grid.add_row(*row.values())
    people.print(grid)


def _list_laws() -> list[dict[str, str]]:
    def domain(name: str, d: Any) -> str:
        ends = "" if d.low is None else f", starts {d.low:g} to {d.high:g}"
        return f"{name} {d.kind}{ends}"

    return [
        {
            "name": law.name,
            "formula": law.formula,
            "parameters": "\n".join(domain(*item) for item in law.domains.items()),
            "citation": law.citation,
        }
        for law in catalogue().values()
    ]


def _list_columns() -> list[dict[str, str]]:
    return [
        {"name": item.name, "unit": item.unit, "meaning": item.meaning} for item in COLUMNS.values()
    ]


def _list_costs() -> list[dict[str, str]]:
    return [
        {"name": item.name, "formula": item.formula, "unit": item.unit, "counts": item.convention}
        for item in costs().values()
    ]


@app.callback(invoke_without_command=True)
def top(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Neural scaling laws: fit a law to measured runs, with its uncertainty, and plan a budget."""
    if version:
        people.print(f"kleiber {__version__}")
        raise typer.Exit


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings as one line on stderr."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        aside.print(f"warning: {message}", soft_wrap=True, markup=False)

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = show
        yield


def main() -> None:
    """The console script."""
    try:
        with _plain_warnings():
            app()
    except NotConverged as error:
        aside.print(f"kleiber: {error}", soft_wrap=True, markup=False)
        sys.exit(1)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        aside.print(f"kleiber: {error}", soft_wrap=True, markup=False)
        sys.exit(2)
