"""kleiber solve and kleiber simulate: a theory over a grid, and small systems drawn at random."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kleiber.cli.console import people
from kleiber.cli.options import AsJson, hand_over, read_pairs, writable
from kleiber.cli.words import parameters_of, read_arguments, read_grid
from kleiber.errors import BadTable, listed, nearest
from kleiber.reports.console import say

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from jaxtyping import Float


FINE = 120  # points of a curve drawn beside a simulation

Name = Annotated[str, typer.Argument(metavar="THEORY", help="See: kleiber list theories.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the theory; repeatable."),
]
Over = Annotated[
    list[str] | None,
    typer.Option("--over", metavar="COLUMN=LOW:HIGH:POINTS", help="Or COLUMN=A,B,...; repeatable."),
]
Out = Annotated[Path | None, typer.Option("-o", "--out", help="Write the table here (by suffix).")]
PlotTo = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE", help="Draw into a .svg, .png or .pdf file.")
]
Columns = Annotated[
    str | None,
    typer.Option("--columns", metavar="A,B,...", help="Predicted columns to draw (up to six)."),
]


def solve_command(
    name: Name,
    settings: Set = None,
    over: Over = None,
    out: Out = None,
    plot: PlotTo = None,
    show: Columns = None,
    as_json: AsJson = False,
) -> None:
    """What a theory predicts over a grid (columns given are crossed)."""
    _check_places(out, plot)
    made, grid = _asked(name, settings, over)
    solved = made.solve(grid)
    if plot is not None:
        _draw(name, made, grid, None, plot, _columns(show, solved, grid))
    hand_over(solved, out, as_json, f"{name}, solved")


def simulate_command(
    name: Name,
    settings: Set = None,
    over: Over = None,
    seeds: Annotated[int, typer.Option(help="How many systems are drawn.", min=1)] = 8,
    seed: Annotated[int, typer.Option(help="Seed of the first.", min=0)] = 0,
    out: Out = None,
    plot: PlotTo = None,
    show: Columns = None,
    centre: Annotated[
        str, typer.Option(metavar="mean|median", help="What --plot shows of the seeds.")
    ] = "mean",
    as_json: AsJson = False,
) -> None:
    """Draw systems at random and measure what the theory predicts; --plot draws both."""
    from kleiber.reports.overlay import CENTRES

    _check_places(out, plot)
    if centre not in CENTRES:
        raise BadTable(
            f"--centre takes {' or '.join(CENTRES)}, got {centre!r}.{nearest(centre, CENTRES)}"
        )
    made, grid = _asked(name, settings, over)
    with people(aside=True).status(f"simulating {name}, {seeds} seeds"):
        drawn = made.simulate(grid, seeds=seeds, seed=seed)
    if plot is not None:
        _draw(name, made, grid, drawn, plot, _columns(show, drawn, grid), centre)
    hand_over(drawn, out, as_json, f"{name}, simulated")


def _check_places(out: Path | None, plot: Path | None) -> None:
    """Refuse what cannot be written before any work."""
    from kleiber.formats import check_suffix

    writable(out, plot)
    if out is not None:
        check_suffix(out)
    if plot is not None:
        from kleiber.reports.sheet import check_drawing

        check_drawing(plot)


def _asked(
    name: str, settings: list[str] | None, over: list[str] | None
) -> tuple[Any, dict[str, Float[np.ndarray, "points"]]]:
    """The theory with its parameters, and the grid."""
    from kleiber import theory

    kind = theory.find(name)
    if not over:
        raise BadTable("say over what, e.g. --over n_data=10:10000:31 --over k=1,10,100")
    given = read_pairs(settings, "set", "NAME=VALUE, e.g. noise=0.5")
    return kind(**read_arguments(given, parameters_of(kind), name)), read_grid(over)


def _columns(show: str | None, frame: pl.DataFrame, grid: Mapping[str, Any]) -> list[str] | None:
    """The columns to draw, all of them predicted; None if none was named."""
    if show is None:
        return None
    known = [column for column in frame.columns if column not in grid]
    names = [item.strip() for item in show.split(",")]
    for item in names:
        if item not in known:
            raise BadTable(
                f"no column {item!r} is predicted.{nearest(item, known)} There are {listed(known)}"
            )
    return names


def _draw(
    name: str,
    made: Any,
    grid: Mapping[str, Float[np.ndarray, "points"]],
    drawn: pl.DataFrame | None,
    path: Path,
    columns: list[str] | None,
    centre: str = "mean",
) -> None:
    """Curves of the theory, finer along the grid's longest column, and the simulation's points."""
    from kleiber.reports.overlay import overlay
    from kleiber.reports.overlay_figure import draw_overlay

    x, *others = sorted(grid, key=lambda column: -len(grid[column]))
    by = next((column for column in others if len(grid[column]) > 1), None)
    fine = made.solve({**grid, x: _finer(grid[x])})
    about = ", ".join(f"{key}={value}" for key, value in _settings(made).items())
    words: dict[str, Any] = {"title": name, "about": about, "centre": centre}
    draw_overlay(overlay(fine, drawn, x=x, by=by, columns=columns, **words), path)
    say(people(aside=True), f"figure: {path}")


def _settings(made: Any) -> dict[str, Any]:
    """The parameters of a theory that differ from its defaults or have none."""
    pairs = inspect.signature(made.__class__).parameters.items()
    values = {key: (getattr(made, key), item.default) for key, item in pairs}
    return {key: value for key, (value, default) in values.items() if value != default}


def _finer(values: Float[np.ndarray, "points"]) -> Float[np.ndarray, "more"]:
    """The values with evenly spaced logarithms between them, whole where all of them are."""
    import numpy as np

    if len(values) < 2 or values.min() <= 0:
        return values
    between = np.geomspace(float(values.min()), float(values.max()), FINE)
    whole = not np.any(values % 1)
    return np.unique(np.concatenate([np.round(between) if whole else between, values]))
