"""kleiber plan: a budget split by a saved fit, or between training and attempts."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.text import Text

from kleiber.cli.attempts import CountsOptions, PriceOptions, read_sources, refuse_unused
from kleiber.cli.console import open_console, print_error
from kleiber.cli.options import (
    AsJson,
    Derive,
    Level,
    Rename,
    Trust,
    Where,
    as_text,
    check_writable,
    load_fitted,
    read_number,
    read_pairs,
)
from kleiber.errors import BadPlan, BadTable
from kleiber.reports.console import print_line

if TYPE_CHECKING:
    import polars as pl

    from kleiber.fitting.record import Fit
    from kleiber.forecasting.record import Forecast
    from kleiber.planning.plan import Plan


def plan_command(
    fit_file: Annotated[
        Path | None,
        typer.Argument(metavar="[FIT]", help="A saved fit or forecast (or see --attempts)."),
    ] = None,
    budget: Annotated[float | None, typer.Option(help="Budget, in the cost's unit.")] = None,
    cost: Annotated[
        str | None, typer.Option(help="A named cost, a column, or a formula of columns. [6nd]")
    ] = None,
    reach: Annotated[
        float | None,
        typer.Option(
            help="Instead of a budget: find the smallest one that reaches this loss (or pass rate)."
        ),
    ] = None,
    attempts: Annotated[
        str | None,
        typer.Option(
            metavar="COUNTS|THEORY",
            help="Split between training and attempts: counts (a table or saved fit) or a theory.",
        ),
    ] = None,
    attempt_cost: Annotated[
        str | None,
        typer.Option(
            metavar="COST",
            help="Cost of one attempt at one query: a named cost, a column, or a formula.",
        ),
    ] = None,
    queries: Annotated[float, typer.Option(help="Number of queries.")] = 1.0,
    along: Annotated[
        str | None, typer.Option(help="Column of training in the counts (n_tokens).")
    ] = None,
    family: Annotated[str, typer.Option(help="Law of the counts.")] = "beta_binomial",
    now: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Current allocation: report what to spend the next unit on."
        ),
    ] = None,
    weight: Annotated[
        float, typer.Option(help="Weight of the generalisation loss beside failure (theories).")
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
        typer.Option(metavar="NAME=LOW:HIGH", help="Limits of a variable; repeatable."),
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--given",
            metavar="NAME=VALUE",
            help="Value of a variable that the plan does not choose.",
        ),
    ] = None,
    far: Annotated[
        bool,
        typer.Option("--far", help="Allow plans beyond 1e4 times the most expensive measured run."),
    ] = False,
    rename: Rename = None,
    where: Where = None,
    derive: Derive = None,
    by: Annotated[
        str | None,
        typer.Option(metavar="COLUMN[,COLUMN]", help="A plan for each series of the counts."),
    ] = None,
    prior: Annotated[
        str | None, typer.Option(help="Prior of the counts' law: straight (see kleiber counts).")
    ] = None,
    stopped: Annotated[
        bool, typer.Option("--stopped", help="Attempts stopped because of their outcome.")
    ] = False,
    sum_by: Annotated[
        str | None,
        typer.Option("--sum-by", metavar="COLUMN[,COLUMN]", help="Add up the rows of the counts."),
    ] = None,
    level: Level = 0.95,
    frontier: Annotated[
        str | None,
        typer.Option(metavar="LOW:HIGH:POINTS", help="Print the optimal curve over budgets."),
    ] = None,
    sensitive: Annotated[
        bool,
        typer.Option("--sensitivity", help="Print the sensitivity of the plan to each parameter."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Save the plan (JSON), or the curve.")
    ] = None,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Split a budget so that the fitted law is best; with --attempts, so that failure is least."""
    from kleiber.fitting.saved import load
    from kleiber.formats import WRITERS

    check_writable(out, keep=fit_file)
    if frontier is None and out is not None and out.suffix in WRITERS:
        raise BadTable(f"A plan is saved as .json; a {out.suffix} file holds a curve: --frontier.")
    priced = PriceOptions(attempt_cost, queries, weight, now)
    counted = CountsOptions(along, family, by, prior, stopped, sum_by, rename, where, derive)
    if attempts is None:
        refuse_unused(priced, counted, settings)
        if fit_file is None:
            raise BadTable("Give kleiber plan a fit saved by kleiber fit -o, or --attempts.")
        fitted = load_fitted(fit_file, trust)
        _refuse_unusable(fitted)
        series, sources = "", cast("Mapping[str, Any]", {"": fitted})
    else:
        law = None if fit_file is None else load(fit_file, trust=trust)
        series, sources = read_sources(attempts, law, counted, priced, settings)
    asked: dict[str, Any] = {
        "limits": {k: _limits(v) for k, v in read_pairs(limit, "limit", "NAME=LOW:HIGH").items()},
        "given": {
            k: read_number(v, "given") for k, v in read_pairs(given, "given", "NAME=VALUE").items()
        },
        "under": under,
        "choices": _choices(choice),
        "far": far,
    }
    question = Question(
        asked,
        budget,
        reach,
        cost,
        level,
        None if frontier is None else _budgets(frontier),
        sensitive,
        None if attempts is None else priced,
    )
    alone = len(sources) < 2
    answers = {name: _try(question, source, alone=alone) for name, source in sources.items()}
    _report(answers, series, level, out, as_json)


@dataclass(frozen=True)
class Question:
    """The arguments of a plan; ``asked`` are those that all three functions take."""

    asked: dict[str, Any]
    budget: float | None
    reach: float | None
    cost: str | None
    level: float
    budgets: list[float] | None
    sensitive: bool
    priced: PriceOptions | None


@dataclass(frozen=True)
class Answer:
    """A plan with its curve and sensitivities, or the reason why there is none."""

    made: Plan | None
    curve: pl.DataFrame | None = None
    moved: pl.DataFrame | None = None
    reason: str = ""

    def document(self) -> dict[str, Any]:
        """What is printed as JSON."""
        from kleiber.planning.plan import describe_plan

        if self.made is None:
            return {"reason": self.reason}
        parts = {"frontier": self.curve, "sensitivity": self.moved}
        return describe_plan(self.made) | {
            name: _rows(frame) for name, frame in parts.items() if frame is not None
        }


def _try(question: Question, source: Any, *, alone: bool) -> Answer:
    """Return the answer for one source; a failure becomes a reason if there are other sources."""
    try:
        return _answer(question, source)
    except BadPlan as error:
        if alone:
            raise
        return Answer(None, reason=str(error))


def _answer(question: Question, source: Any) -> Answer:
    from kleiber.planning.frontier import sensitivity, trace_frontier
    from kleiber.planning.plan import plan, plan_attempts

    asked, cost, priced = dict(question.asked), question.cost, question.priced
    if priced is not None:
        asked |= {"attempt": priced.attempt, "queries": priced.queries, "weight": priced.weight}
    either: dict[str, Any] = {"budget": question.budget, "reach": question.reach}
    level = {"level": question.level}
    if priced is None:
        made = plan(source, cost="6nd" if cost is None else cost, **either, **level, **asked)
    else:
        now = priced.current_values()
        made = plan_attempts(source, cost=cost, now=now, **either, **level, **asked)
    curve = moved = None
    if question.budgets is not None:
        curve = trace_frontier(source, question.budgets, cost, **level, **asked)
    if question.sensitive:
        moved = sensitivity(source, cost=cost, **either, **asked)
    return Answer(made, curve, moved)


def _report(
    answers: dict[str, Answer], by: str, level: float, out: Path | None, as_json: bool
) -> None:
    """Save, print or show the answers, and say which series is best."""
    best = _best(answers)
    if len(answers) == 1:
        (document,) = (each.document() for each in answers.values())
    else:
        series = [{"value": name} | each.document() for name, each in answers.items()]
        document = {"by": by, "series": series, "best": best}
    if out is not None:
        _save(document, answers, out)
    if as_json:
        sys.stdout.write(as_text(document))
        return
    for name, each in answers.items():
        if name:
            print_line(open_console(), Text(name, style="bold underline"))
        _show(each, level)
    if len(answers) > 1:
        print_line(open_console(), f"best of the series: {best}")


def _best(answers: dict[str, Answer]) -> str:
    """Return the series with the smallest failure, or for a target with the smallest budget."""
    made = {name: each.made for name, each in answers.items() if each.made is not None}
    if not made:
        raise BadPlan(next(each.reason for each in answers.values()))
    return min(made, key=lambda name: (made[name].budget, made[name].predicted.value))


def _show(answer: Answer, level: float) -> None:
    from kleiber.reports.grids import show_curve, show_frame, show_plan

    if answer.made is None:
        print_line(open_console(), answer.reason)
        return
    show_plan(open_console(), answer.made)
    if answer.curve is not None:
        show_curve(open_console(), answer.curve, level)
    if answer.moved is not None:
        show_frame(open_console(), answer.moved, "elasticities: % per % of each parameter")


def _refuse_unusable(fitted: Fit | Forecast) -> None:
    """Exit with 1 for an unusable fit and say which runs to add."""
    from kleiber.planning.plan import check_support
    from kleiber.planning.source import fit_of

    try:
        check_support(fit_of(fitted))
    except BadPlan as error:
        print_error(error)
        raise typer.Exit(1) from None


def _rows(curve: pl.DataFrame) -> list[dict[str, Any]]:
    import polars as pl

    return curve.with_columns(
        pl.when(pl.col(pl.Float64).is_finite()).then(pl.col(pl.Float64))
    ).to_dicts()


def _save(document: Any, answers: dict[str, Answer], out: Path) -> None:
    """Save the curves as one table, or save the document."""
    import polars as pl

    from kleiber.files import write_atomically
    from kleiber.formats import WRITERS
    from kleiber.table import write_table

    curves = {name: each.curve for name, each in answers.items() if each.curve is not None}
    if out.suffix not in WRITERS or not curves:
        with write_atomically(out) as temporary:
            temporary.write_text(as_text(document), encoding="utf-8")
        return
    named = [
        curve.insert_column(0, pl.Series("series", [name] * len(curve))) if name else curve
        for name, curve in curves.items()
    ]
    write_table(pl.concat(named, how="diagonal_relaxed"), out)


def _limits(text: str) -> tuple[float | None, float | None]:
    low, colon, high = (part.strip() for part in text.partition(":"))
    if not colon:
        raise BadTable(f"--limit takes NAME=LOW:HIGH, got {text!r}.")
    ends = [read_number(end, "limit") if end else None for end in (low, high)]
    return ends[0], ends[1]


def _choices(items: list[str] | None) -> dict[str, list[float]]:
    pairs = read_pairs(items, "choice", "NAME=A,B,... e.g. n_params=7e9,13e9,70e9")
    return {k: [read_number(x, "choice") for x in v.split(",")] for k, v in pairs.items()}


def _budgets(text: str) -> list[float]:
    import numpy as np

    parts = text.split(":")
    if len(parts) not in (2, 3):
        raise BadTable(f"--frontier takes LOW:HIGH:POINTS, got {text!r}.")
    low, high = read_number(parts[0], "frontier"), read_number(parts[1], "frontier")
    points = read_number(parts[2], "frontier") if len(parts) == 3 else 10
    if not (0 < low < high and 2 <= points <= 1000 and points % 1 == 0 and math.isfinite(high)):
        raise BadTable(f"--frontier needs 0 < LOW < HIGH and 2 to 1000 points, got {text!r}.")
    return np.geomspace(low, high, int(points)).tolist()
