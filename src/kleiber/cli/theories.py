"""kleiber solve, simulate and exponents: a theory over a grid, small systems drawn at random, and
the theory's asymptotic exponents."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kleiber.cli.console import open_console
from kleiber.cli.options import AsJson, as_text, check_writable, output_table, read_pairs
from kleiber.cli.words import parameters_of, read_arguments, read_grid
from kleiber.errors import BadTable, listed, nearest
from kleiber.reports.console import print_line

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
Out = Annotated[
    Path | None, typer.Option("-o", "--out", help="Output table; its suffix sets the format.")
]
PlotTo = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE", help="Draw into a .svg, .png or .pdf file.")
]
Columns = Annotated[
    str | None,
    typer.Option("--columns", metavar="A,B,...", help="Predicted columns to draw (at most six)."),
]


def solve_command(
    name: Name,
    settings: Set = None,
    over: Over = None,
    solver: Annotated[
        str | None,
        typer.Option(help="Solver, for a theory that has several: reduced, limits, dmft."),
    ] = None,
    frontier: Annotated[
        str | None,
        typer.Option(
            metavar="compute=LOW:HIGH:POINTS",
            help="Instead of --over: the best size and time at each compute, and the loss there.",
        ),
    ] = None,
    out: Out = None,
    plot: PlotTo = None,
    show: Columns = None,
    as_json: AsJson = False,
) -> None:
    """Solve a theory over a grid (columns given are crossed), or along its compute frontier."""
    _check_places(out, plot)
    if frontier is None:
        made, grid = _read_theory(name, settings, over)
        solve = _solver_of(name, made, solver)
    else:
        for option, given in (("--over", over), ("--solver", solver)):
            if given:
                raise BadTable(f"--frontier takes the place of {option}; give one of them.")
        made, grid = _read_theory(name, settings, [frontier], "--frontier")
        solve = _frontier_of(name, made, grid)
    solved = solve(grid)
    if plot is not None:
        _draw(name, made, solve, grid, None, plot, _columns(show, solved, grid))
    output_table(solved, out, as_json, f"{name}, solved")


def _solver_of(name: str, made: Any, solver: str | None) -> Callable[[Any], pl.DataFrame]:
    """Return the method solve of a theory, with the solver that was asked for."""
    if solver is None:
        return made.solve
    if "solver" not in inspect.signature(made.solve).parameters:
        raise BadTable(
            f"The theory {name} has a single solver, so --solver {solver} is not for it."
        )
    return partial(made.solve, solver=solver)


def _frontier_of(name: str, made: Any, grid: Mapping[str, Any]) -> Callable[[Any], pl.DataFrame]:
    """Return a theory's frontier as a function of a grid, whose only column is its argument."""
    if not hasattr(made, "frontier"):
        raise BadTable(f"The theory {name} has no compute frontier, so --frontier is not for it.")
    (argument,) = inspect.signature(made.frontier).parameters
    if (given := next(iter(grid))) != argument:
        raise BadTable(
            f"--frontier takes {argument}=LOW:HIGH:POINTS or {argument}=A,B,..., got {given!r}."
        )
    return lambda grid: made.frontier(grid[argument])


def simulate_command(
    name: Name,
    settings: Set = None,
    over: Over = None,
    seeds: Annotated[int, typer.Option(help="Number of random systems.", min=1)] = 8,
    seed: Annotated[int, typer.Option(help="Seed of the first system.", min=0)] = 0,
    out: Out = None,
    plot: PlotTo = None,
    show: Columns = None,
    centre: Annotated[
        str, typer.Option(metavar="mean|median", help="Summary of the seeds that --plot shows.")
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
    made, grid = _read_theory(name, settings, over)
    with open_console(stderr=True).status(f"simulating {name}, {seeds} seeds"):
        drawn = made.simulate(grid, seeds=seeds, seed=seed)
    if plot is not None:
        _draw(name, made, made.solve, grid, drawn, plot, _columns(show, drawn, grid), centre)
    output_table(drawn, out, as_json, f"{name}, simulated")


def exponents_command(name: Name, settings: Set = None, as_json: AsJson = False) -> None:
    """Print the asymptotic exponents of a theory, with its phase and crossover if it has them."""
    from kleiber import theory
    from kleiber.plain import as_plain
    from kleiber.reports.grids import show_list

    kind = theory.find(name)
    of_theory, of_limit = parameters_of(kind), parameters_of(kind.exponents, skip=1)
    given = read_pairs(settings, "set", "NAME=VALUE, e.g. source=0.5")
    values = read_arguments(given, of_theory | of_limit, name)
    made = kind(**{key: value for key, value in values.items() if key in of_theory})
    found = made.exponents(**{key: value for key, value in values.items() if key in of_limit})
    phase, crossover = getattr(made, "phase", None), _crossover(made)
    if as_json:
        document = {
            "theory": name,
            "phase": phase,
            "crossover": crossover,
            "exponents": dict(found),
        }
        sys.stdout.write(as_text(as_plain(document, keep_infinities=True)))
        return
    rows = [{"exponent": key, "value": f"{value:.6g}"} for key, value in found.items()]
    if crossover is not None:
        rows.append({"exponent": "crossover", "value": f"{crossover:.6g}"})
    if phase is not None:
        rows.append({"exponent": "phase", "value": str(phase)})
    show_list(open_console(), rows)


def _crossover(made: Any) -> float | None:
    """Return where a theory goes from one law to another, if that is a single number."""
    if not hasattr(made, "crossover") or inspect.signature(made.crossover).parameters:
        return None
    return float(made.crossover())


def _check_places(out: Path | None, plot: Path | None) -> None:
    """Refuse output paths that cannot be written before any work."""
    from kleiber.formats import check_suffix

    check_writable(out, plot)
    if out is not None:
        check_suffix(out)
    if plot is not None:
        from kleiber.reports.sheet import check_drawing

        check_drawing(plot)


def _read_theory(
    name: str, settings: list[str] | None, over: list[str] | None, option: str = "--over"
) -> tuple[Any, dict[str, Float[np.ndarray, "points"]]]:
    """Return the theory with its parameters, and the grid."""
    from kleiber import theory

    kind = theory.find(name)
    if not over:
        raise BadTable("Give the grid, e.g. --over n_data=10:10000:31 --over k=1,10,100.")
    given = read_pairs(settings, "set", "NAME=VALUE, e.g. noise=0.5")
    return kind(**read_arguments(given, parameters_of(kind), name)), read_grid(over, option)


def _columns(show: str | None, frame: pl.DataFrame, grid: Mapping[str, Any]) -> list[str] | None:
    """Return the predicted columns to draw (None if none was named)."""
    if show is None:
        return None
    known = [column for column in frame.columns if column not in grid]
    names = [item.strip() for item in show.split(",")]
    for item in names:
        if item not in known:
            raise BadTable(
                f"No column {item!r} is predicted.{nearest(item, known)} "
                f"There are: {listed(known)}."
            )
    return names


def _draw(
    name: str,
    made: Any,
    solve: Callable[[Mapping[str, Any]], pl.DataFrame],
    grid: Mapping[str, Float[np.ndarray, "points"]],
    drawn: pl.DataFrame | None,
    path: Path,
    columns: list[str] | None,
    centre: str = "mean",
) -> None:
    """Draw the theory's curves on a finer grid, and the simulation's points."""
    from kleiber.reports.overlay import overlay
    from kleiber.reports.overlay_figure import draw_overlay

    x, *others = sorted(grid, key=lambda column: -len(grid[column]))
    by = next((column for column in others if len(grid[column]) > 1), None)
    fine = solve({**grid, x: _finer(grid[x])})
    about = ", ".join(f"{key}={value}" for key, value in _settings(made).items())
    words: dict[str, Any] = {"title": name, "about": about, "centre": centre}
    draw_overlay(overlay(fine, drawn, x=x, by=by, columns=columns, **words), path)
    print_line(open_console(stderr=True), f"figure: {path}")


def _settings(made: Any) -> dict[str, Any]:
    """Return the parameters of a theory that differ from their defaults or have none."""
    pairs = inspect.signature(made.__class__).parameters.items()
    values = {key: (getattr(made, key), item.default) for key, item in pairs}
    return {key: value for key, (value, default) in values.items() if value != default}


def _finer(values: Float[np.ndarray, "points"]) -> Float[np.ndarray, "more"]:
    """Insert values with evenly spaced logarithms; whole numbers stay whole."""
    import numpy as np

    if len(values) < 2 or not 0 < values.min() <= values.max() < np.inf:
        return values
    between = np.geomspace(float(values.min()), float(values.max()), FINE)
    whole = not np.any(values % 1)
    return np.unique(np.concatenate([np.round(between) if whole else between, values]))
