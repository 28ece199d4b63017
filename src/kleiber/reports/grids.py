"""Fits, plans, curves and tables as grids for a terminal, with numbers never truncated.

A grid of numbers that is wider than the terminal runs past its edge; only words are wrapped. Text
from tables and files is shown as it stands: nothing in it is read as markup.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from kleiber.claim import Estimate
from kleiber.columns import COLUMNS
from kleiber.errors import escape_control_characters, shown
from kleiber.fitting.compare import Comparison
from kleiber.fitting.record import Fit
from kleiber.planning.record import Plan
from kleiber.reports.console import print_line, print_notes

LONGEST = 50  # rows and columns of a table, and characters of a word in it, that are shown
NOTE = "note"  # the column of sentences about a table, and the name of the rows that hold them
UNLIMITED = 100_000  # characters of a line


def show_fit(console: Console, made: Fit) -> None:
    """Print the law, its parameters with intervals, and the fit's status."""
    law = Text(f"  {made.target} = {made.law.formula}")
    print_line(console, Text(made.law.name, style="bold") + law)
    grid = _grid("parameter", "value", _interval_title(made.level), "std. error")
    for name, value in made.params.items():
        held = (
            "fixed" if name in made.options.fixed else "tied" if name in made.options.tied else ""
        )
        low, high = made.interval(name, made.level)
        error = held or figure(made.stderr.get(name))
        known = None if name in made.unknown else value
        _add(grid, name, figure(known, 6), span(low, high), error)
    show(console, grid)
    print_line(
        console,
        f"{made.rows} rows, {made.noise.describe()}, objective {made.objective:.6e}, "
        f"{made.n_draws} draws, {made.seconds:.2f} s",
    )
    missed = made.misfit is not None and made.misfit.alarm
    good = made.status == "converged" and not missed
    colour = "green" if good else "yellow" if made.usable else "red"
    print_line(console, Text(str(made.status), style=colour) + Text(f": {made.reason}"))
    sentence = "" if made.misfit is None else made.misfit.sentence
    if sentence:
        print_line(console, Text(sentence, style="bold red" if missed else ""))
    print_notes(console, (note for note in made.notes if note != sentence))


def show_plan(console: Console, made: Plan) -> None:
    """Print the allocation, its prediction and its extrapolation; with attempts, first the advice
    and last the marginal values."""
    if made.advice:
        print_line(console, Text(made.advice, style="bold"))
    head = Text(f"budget {figure(made.budget)} {made.cost.unit}", style="bold")
    print_line(console, head + Text(f", cost {made.cost.name}"))
    if made.cost.convention:
        print_line(console, made.cost.convention)
    grid = _grid("", "value", _interval_title(made.level), "unit")
    for name, item in made.allocation.items():
        unit = COLUMNS[name].unit if name in COLUMNS else ""
        ends = made.fixed.get(name) or span(item.low, item.high)
        _add(grid, name, figure(item.value), ends, unit)
    item = made.predicted
    unit = COLUMNS[made.target].unit if made.target in COLUMNS else ""
    _add(grid, f"predicted {made.target}", figure(item.value, 6), span(item.low, item.high), unit)
    if made.needed is not None:
        _add(grid, "needed", figure(made.needed.value), span(made.needed.low, made.needed.high))
    show(console, grid)
    if made.tokens_per_param is not None:
        print_line(
            console, f"tokens per parameter: {figure(made.tokens_per_param)} {_ratio_ends(made)}"
        )
    print_line(console, f"extrapolation: {_times(made.extrapolation, made.beyond)}")
    known = [f"{name} {_times(item)}" for name, item in made.extrapolations.items() if item]
    if known:
        print_line(console, f"of the largest measured: {', '.join(known)}")
    print_notes(console, made.notes)
    for what, item in _on_attempts(made):
        ends = "" if math.isnan(item.low) else f" {span(item.low, item.high)}"
        print_line(console, f"{what}: {figure(item.value)}{ends}")


def _on_attempts(made: Plan) -> Iterator[tuple[str, Estimate]]:
    """Return the lines that only a plan with attempts has."""
    if made.advice:
        yield "pass rate", made.pass_rate
        yield "share of training", made.training_share
        for side, item in made.marginal.items():
            yield f"decrease of failure for one more unit in {side}", item


def _ratio_ends(made: Plan) -> str:
    """Return the interval of the tokens per parameter, or why it has none."""
    if made.tokens_per_param_interval is not None:
        return span(*made.tokens_per_param_interval)
    if math.isnan(made.predicted.low):
        return "unknown"
    fixed = [made.fixed[name] for name in ("n_tokens", "n_params") if name in made.fixed]
    return fixed[0] if fixed else "fixed by what limits them"


def _times(factor: float | None, of: str = "") -> str:
    """Format a factor, with the name of its reference if there is one."""
    return "unknown" if factor is None else f"{factor:.3g} times {of}".rstrip()


def show_curve(console: Console, curve: pl.DataFrame, level: float) -> None:
    """Print a compute-optimal curve: a row for each budget, or in a narrow terminal a row for each
    value."""
    names = [name for name in curve.columns if f"{name}_low" in curve.columns]
    print_line(console, Text("compute-optimal curve", style="bold"))
    rows = curve.to_dicts()
    wide = _grid("budget", *names, "extrapolation")
    for row in rows:
        cells = [f"{figure(e.value)} {span(e.low, e.high)}" for e in _estimates(row, names)]
        _add(wide, figure(row["budget"]), *cells, figure(row["extrapolation"], 3))
    if width_of(console, wide) <= console.width:
        show(console, wide)
        return
    long = _grid("budget", "", "value", _interval_title(level))
    for row in rows:
        for k, (name, item) in enumerate(zip(names, _estimates(row, names), strict=True)):
            budget = "" if k else figure(row["budget"])
            _add(long, budget, name, figure(item.value), span(item.low, item.high))
        _add(long, "", "extrapolation", figure(row["extrapolation"], 3), "")
    show(console, long)


def _estimates(row: Mapping[str, Any], names: Iterable[str]) -> list[Estimate]:
    """Return the value and interval of each name in one row of a curve."""
    return [Estimate(row[n], math.nan, row[f"{n}_low"], row[f"{n}_high"]) for n in names]


def show_comparison(console: Console, made: Comparison) -> None:
    """Print laws from least to most extrapolation error, and whether they can be distinguished."""
    print_line(console, Text(made.verdict, style="bold"))
    title = _interval_title(made.level)
    grid = _grid("law", "parameters", "error", title, "behind the best", title, "AICc", "")
    for item in made.contenders:
        error, behind = item.error, item.behind
        _add(
            grid,
            item.law,
            str(item.n_params),
            figure(error.value),
            span(error.low, error.high),
            figure(behind.value),
            span(behind.low, behind.high),
            figure(item.aicc, 6),
            item.verdict,
        )
    show(console, grid)
    cuts = ", ".join(figure(cut, 3) for cut in made.origins)
    print_line(console, f"mean absolute residual beyond {made.beyond} = {cuts}")
    print_notes(console, made.notes)


def show_frame(console: Console, frame: pl.DataFrame, title: str) -> None:
    """Print the first rows of a table, and below it the sentences of its rows "note" in full."""
    print_line(console, Text(title, style="bold"))
    frame, notes = _split_notes(frame)
    grid = _grid(*frame.columns[:LONGEST])
    for row in frame[:, :LONGEST].head(LONGEST).iter_rows():
        _add(grid, *(figure(x, 6) if isinstance(x, float) else _word(x) for x in row))
    show(console, grid)
    if len(frame) > LONGEST:
        print_line(console, f"... {len(frame) - LONGEST} more rows")
    if frame.width > LONGEST:
        print_line(console, f"... {frame.width - LONGEST} more columns")
    print_notes(console, notes)


def _split_notes(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Return a table without its rows called "note", and the sentences in their column note."""
    if frame.schema.get(NOTE) != pl.String:
        return frame, []
    texts = [name for name, kind in frame.schema.items() if kind == pl.String and name != NOTE]
    own = pl.any_horizontal(pl.col(texts).eq_missing(NOTE)) if texts else pl.lit(value=False)
    kept = frame.filter(~own)
    notes = frame.filter(own)[NOTE].drop_nulls().to_list()
    return kept.drop(NOTE) if kept[NOTE].null_count() == kept.height else kept, notes


def show_list(console: Console, rows: Sequence[Mapping[str, str]]) -> None:
    """Print records of text, wrapped to the terminal."""
    grid = Table(show_lines=any("\n" in text for row in rows for text in row.values()))
    for name in rows[0]:
        grid.add_column(name, overflow="fold")
    for row in rows:
        _add(grid, *row.values())
    console.print(grid)


def figure(value: float | None, digits: int = 4) -> str:
    """Format a value in a few digits, 1.2e23 rather than 1.2e+23."""
    if value is None or math.isnan(value):
        return "unknown"
    mantissa, e, exponent = f"{value:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if e else mantissa


def span(low: float, high: float) -> str:
    """Format an interval as [low, high]."""
    return "unknown" if math.isnan(low) and math.isnan(high) else f"[{figure(low)}, {figure(high)}]"


def _interval_title(level: float) -> str:
    return f"{100 * level:.6g}% interval"


def _word(value: Any) -> str:
    """Format a value that is not a float: a whole number in full, text shortened and without
    control characters."""
    text = "" if value is None else str(value)
    whole = isinstance(value, int) or (text.isprintable() and len(text) <= LONGEST)
    return text if whole else shown(text, LONGEST)


def _grid(*titles: str) -> Table:
    """Return an empty grid of cells that are never wrapped."""
    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for title in titles:
        grid.add_column(Text(escape_control_characters(title)), no_wrap=True)
    return grid


def _add(grid: Table, *cells: str) -> None:
    """Add a row of cells without markup."""
    grid.add_row(*(Text(escape_control_characters(cell, "\n\t")) for cell in cells))


def width_of(console: Console, grid: Table) -> int:
    """Return the width of the grid in characters, with nothing truncated."""
    return Measurement.get(console, console.options.update(max_width=UNLIMITED), grid).maximum


def show(console: Console, grid: Table) -> None:
    """Print a grid whole, beyond the terminal's edge if necessary."""
    grid.width = width_of(console, grid)
    console.print(grid, crop=False, soft_wrap=True)
