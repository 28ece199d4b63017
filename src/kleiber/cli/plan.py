"""kleiber plan: a budget split by a saved fit."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer

from kleiber.cli.attempts import Question, plan_with_attempts, refuse_unused
from kleiber.cli.console import complain, people
from kleiber.cli.options import AsJson, Level, Trust, as_text, read_number, read_pairs, writable
from kleiber.errors import BadPlan, BadTable
from kleiber.files import land
from kleiber.fitting.record import Fit
from kleiber.fitting.saved import load
from kleiber.formats import WRITERS
from kleiber.planning.frontier import sensitivity, trace_frontier
from kleiber.planning.plan import check_support, describe_plan, plan
from kleiber.reports.grids import show_curve, show_frame, show_plan
from kleiber.table import write_table


def plan_command(
    fit_file: Annotated[
        Path | None,
        typer.Argument(metavar="[FIT]", help="A fit saved by kleiber fit -o (or see --attempts)."),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="What may be spent, in the cost's unit.")
    ] = None,
    cost: Annotated[
        str | None, typer.Option(help="A named cost, a column, or a formula of columns. [6nd]")
    ] = None,
    reach: Annotated[
        float | None,
        typer.Option(
            help="Instead of a budget: the least that brings the law (or the pass rate) to this."
        ),
    ] = None,
    attempts: Annotated[
        str | None,
        typer.Option(
            metavar="COUNTS|THEORY",
            help="Split between training and attempts: a table of counts, or a theory's name.",
        ),
    ] = None,
    attempt_cost: Annotated[
        str | None, typer.Option(metavar="COST", help="Of one attempt at one query.")
    ] = None,
    queries: Annotated[float, typer.Option(help="Queries that are attempted.")] = 1.0,
    along: Annotated[
        str | None, typer.Option(help="Column of training in the table of counts [n_tokens].")
    ] = None,
    family: Annotated[str, typer.Option(help="Law of the counts.")] = "beta_binomial",
    now: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Where one is now: what deserves the next unit?"),
    ] = None,
    weight: Annotated[
        float, typer.Option(help="Of the generalisation loss beside failure (theories).")
    ] = 0.0,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the theory; repeatable."),
    ] = None,
    under: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INEQUALITY",
            help="A constraint: n_params<=8e9, n_tokens>=20*n_params, COST<=VALUE; repeatable.",
        ),
    ] = None,
    choice: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=A,B,...", help="Values a variable may take; repeatable."),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=LOW:HIGH", help="Box of a variable; repeatable."),
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option("--given", metavar="NAME=VALUE", help="Value of a variable not chosen."),
    ] = None,
    far: Annotated[
        bool, typer.Option("--far", help="Plan beyond 1e4 times the dearest measured run too.")
    ] = False,
    level: Level = 0.95,
    frontier: Annotated[
        str | None,
        typer.Option(metavar="LOW:HIGH:POINTS", help="Print the optimal curve over budgets."),
    ] = None,
    sensitive: Annotated[
        bool, typer.Option("--sensitivity", help="Print how each parameter moves the plan.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Save the plan (JSON), or the curve.")
    ] = None,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Split a budget so that the fitted law is best; with --attempts, so that failure is least."""
    writable(out, keep=fit_file)
    limits = {k: _limits(v) for k, v in read_pairs(limit, "limit", "NAME=LOW:HIGH").items()}
    values = {
        k: read_number(v, "given") for k, v in read_pairs(given, "given", "NAME=VALUE").items()
    }
    if attempts is not None:
        unused = {"--under": under, "--choice": choice, "--frontier": frontier}
        refuse_unused(unused | {"--sensitivity": sensitive or None, "--far": far or None})
        question = Question(attempts, attempt_cost, along, family, settings, now, trust)
        asked = {"budget": budget, "cost": cost, "reach": reach, "queries": queries}
        asked |= {"weight": weight, "given": values, "limits": limits, "level": level}
        plan_with_attempts(question, fit_file, asked, out, as_json)
        return
    if fit_file is None:
        raise BadTable("kleiber plan takes a fit saved by kleiber fit -o, or --attempts")
    if frontier is None and out is not None and out.suffix in WRITERS:
        raise BadTable(f"a plan is saved as .json; a {out.suffix} file holds a curve: --frontier")
    fitted, priced = load(fit_file, trust=trust), "6nd" if cost is None else cost
    _refuse_unusable(fitted)
    asked: dict[str, Any] = {"limits": limits, "given": values, "under": under}
    options: dict[str, Any] = {"choices": _choices(choice), "level": level, "far": far}
    made = plan(fitted, budget, priced, reach=reach, **options, **asked)
    document = describe_plan(made)
    curve = moved = None
    if frontier is not None:
        budgets = _budgets(frontier)
        curve = trace_frontier(fitted, budgets, priced, **options, **asked)
        document["frontier"] = _rows(curve)
    if sensitive:
        moved = sensitivity(fitted, budget, priced, reach=reach, far=far, **asked)
        document["sensitivity"] = _rows(moved)
    if out is not None:
        _save_plan(document, curve, out)
    if as_json:
        sys.stdout.write(as_text(document))
        return
    show_plan(people(), made)
    if curve is not None:
        show_curve(people(), curve, level)
    if moved is not None:
        show_frame(people(), moved, "elasticities: % per % of each parameter")


def _refuse_unusable(fitted: Fit) -> None:
    """Exit 1, as the fit itself did, with the sentence that says which runs to add."""
    try:
        check_support(fitted)
    except BadPlan as error:
        complain(error)
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
        temporary.write_text(as_text(document), encoding="utf-8")


def _limits(text: str) -> tuple[float | None, float | None]:
    low, colon, high = (part.strip() for part in text.partition(":"))
    if not colon:
        raise BadTable(f"--limit takes NAME=LOW:HIGH, got {text!r}")
    ends = [read_number(end, "limit") if end else None for end in (low, high)]
    return ends[0], ends[1]


def _choices(items: list[str] | None) -> dict[str, list[float]]:
    pairs = read_pairs(items, "choice", "NAME=A,B,... e.g. n_params=7e9,13e9,70e9")
    return {k: [read_number(x, "choice") for x in v.split(",")] for k, v in pairs.items()}


def _budgets(text: str) -> list[float]:
    parts = text.split(":")
    if len(parts) not in (2, 3):
        raise BadTable(f"--frontier takes LOW:HIGH:POINTS, got {text!r}")
    low, high = read_number(parts[0], "frontier"), read_number(parts[1], "frontier")
    points = read_number(parts[2], "frontier") if len(parts) == 3 else 10
    if not (0 < low < high and 2 <= points <= 1000 and points % 1 == 0 and math.isfinite(high)):
        raise BadTable(f"--frontier needs 0 < LOW < HIGH and 2 to 1000 points, got {text!r}")
    return np.geomspace(low, high, int(points)).tolist()
