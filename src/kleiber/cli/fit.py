"""kleiber fit: a law fitted to a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from kleiber.cli.bars import show_progress
from kleiber.cli.console import open_console
from kleiber.cli.options import (
    AsJson,
    Derive,
    Level,
    Rename,
    SkipMissing,
    Where,
    as_text,
    check_writable,
    read_frame,
    read_noise,
    read_number,
    read_pairs,
)
from kleiber.errors import BadTable

if TYPE_CHECKING:
    from kleiber.fitting.groups import GroupFits


T = TypeVar("T")


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
    skip_missing: SkipMissing = False,
    weights: Annotated[str | None, typer.Option(help="Column of row weights.")] = None,
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
    group: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Fit one law to each group of this column.")
    ] = None,
    fix: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Fix a parameter at a value.")
    ] = None,
    tie: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FORMULA", help="Tie a parameter to another, e.g. beta=alpha."),
    ] = None,
    prior: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE:SPREAD", help="A weak prior, spread in log; repeatable."),
    ] = None,
    real: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME", help="Parameters that may be negative."),
    ] = None,
    resample: Annotated[
        str, typer.Option(metavar="auto|rows|wild", help="Bootstrap scheme of the refits.")
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of starts and draws.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(help="Draw data, fit, band and residuals (.svg, .png, .pdf).")
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Save the fit as JSON.")] = None,
    as_json: AsJson = False,
) -> None:
    """Fit a law to a table of runs, with intervals."""
    from kleiber.fitting.fit import fit
    from kleiber.fitting.groups import fit_groups
    from kleiber.fitting.options import Options
    from kleiber.fitting.saved import describe, save
    from kleiber.reports.grids import show_fit

    check_writable(out, plot, keep=table)
    if plot is not None and group is not None:
        raise BadTable("--plot draws one fit; with --group there are several: choose with --where.")
    if plot is not None:
        from kleiber.reports.sheet import check_drawing

        check_drawing(plot)
    frame = read_frame(table, rename, where, derive, weights, [target] * skip_missing)
    asked: dict[str, Any] = {
        "target": target,
        "noise": read_noise(huber, least_squares, student, linear),
        "draws": draws,
        "level": level,
        "by": by,
        "weights": weights,
        "fixed": {
            k: read_number(v, "fix") for k, v in read_pairs(fix, "fix", "NAME=VALUE").items()
        },
        "tied": read_pairs(tie, "tie", "NAME=FORMULA, e.g. beta=alpha"),
        "priors": _priors(prior),
        "resample": resample,
        "real": [name.strip() for name in real.split(",") if name.strip()] if real else [],
        "seed": seed,
    }
    if group is not None:
        with show_progress(open_console(stderr=True)) as progress:
            each = fit_groups(law, frame, Options(**asked), group=group, progress=progress)
        _report_groups(each, out, as_json)
        return
    with show_progress(open_console(stderr=True)) as progress:
        made = fit(law, frame, Options(**asked), progress=progress)
    if out is not None:
        save(made, out)
    if plot is not None:
        from kleiber.reports.figure import draw_fit
        from kleiber.reports.panels import fit_panels

        draw_fit(fit_panels(made, frame), plot)
    if as_json:
        sys.stdout.write(as_text(describe(made)))
    else:
        show_fit(open_console(), made)
    if not made.usable:
        raise typer.Exit(1)


def _report_groups(made: GroupFits, out: Path | None, as_json: bool) -> None:
    """Save, print or show the fits of all groups; exit 1 unless each is usable."""
    from kleiber.fitting.groups import describe_groups, save_groups
    from kleiber.reports.groups import show_groups

    if out is not None:
        save_groups(made, out)
    if as_json:
        sys.stdout.write(as_text(describe_groups(made)))
    else:
        show_groups(open_console(), made)
    if not made.usable:
        raise typer.Exit(1)


def _priors(items: list[str] | None) -> dict[str, tuple[float, float]]:
    out: dict[str, tuple[float, float]] = {}
    for name, text in read_pairs(items, "prior", "NAME=VALUE:SPREAD, e.g. beta=0.37:0.3").items():
        value, colon, spread = text.partition(":")
        if not colon:
            raise BadTable(f"--prior takes NAME=VALUE:SPREAD, got {name}={text}.")
        out[name] = read_number(value, "prior"), read_number(spread, "prior")
    return out
