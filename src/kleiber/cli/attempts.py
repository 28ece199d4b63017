"""kleiber plan --attempts: training and attempts in one budget."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kleiber import theory
from kleiber.attempts.fit import fit_counts
from kleiber.cli.console import people
from kleiber.cli.options import as_text, read_frame, read_number, read_pairs
from kleiber.cli.words import parameters_of, read_arguments
from kleiber.errors import BadTable, nearest
from kleiber.files import land
from kleiber.fitting.saved import load
from kleiber.planning.attempt_plan import describe_attempts, plan_attempts
from kleiber.reports.attempt_plan import show_attempts

DRAWS = 200  # of the counts


@dataclass(frozen=True)
class Question:
    """What the options of attempts said, as text."""

    source: str
    attempt_cost: str | None
    along: str | None
    family: str
    settings: list[str] | None
    now: list[str] | None
    trust: bool = False


def plan_with_attempts(
    question: Question,
    law_file: Path | None,
    asked: Mapping[str, Any],
    out: Path | None,
    as_json: bool,
) -> None:
    """Read what the plan is made of, make it, and save, print or show it."""
    if question.attempt_cost is None:
        raise BadTable("--attempts needs --attempt-cost: a number, or a formula of columns")
    pairs = read_pairs(question.now, "now", "NAME=VALUE, one for k too")
    law = None if law_file is None else load(law_file, trust=question.trust)
    made = plan_attempts(
        read_source(question, None if law is None else law.target),
        attempt=question.attempt_cost,
        law=law,
        now={name: read_number(text, "now") for name, text in pairs.items()} or None,
        **asked,
    )
    document = describe_attempts(made)
    if out is not None:
        with land(out) as temporary:
            temporary.write_text(as_text(document), encoding="utf-8")
    if as_json:
        sys.stdout.write(as_text(document))
    else:
        show_attempts(people(), made)


def read_source(question: Question, target: str | None) -> Any:
    """A theory by its name, with parameters, or a law fitted to a table of counts."""
    known, source = theory.catalogue(), question.source
    if source in known:
        given = read_pairs(question.settings, "set", "NAME=VALUE, e.g. tail=2.5")
        return known[source](**read_arguments(given, parameters_of(known[source]), source))
    if question.settings:
        raise BadTable(f"--set is for a theory, and {source!r} is none.{nearest(source, known)}")
    if not Path(source).exists():
        raise BadTable(
            f"--attempts takes a table of counts or a theory ({', '.join(known)}); there is no "
            f"{source!r}.{nearest(source, known)}"
        )
    frame = read_frame(Path(source), None, None, None)
    along = question.along or target or "n_tokens"
    return fit_counts(frame, family=question.family, along=along, draws=DRAWS)


def refuse_unused(options: Mapping[str, Any]) -> None:
    """BadTable for an option that a plan with attempts does not take."""
    for name, value in options.items():
        if value:
            raise BadTable(f"{name} is not an option of a plan with --attempts")
