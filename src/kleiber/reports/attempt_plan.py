"""A plan with attempts for a terminal."""

from __future__ import annotations

import math
from dataclasses import fields

from rich.console import Console
from rich.text import Text

from kleiber.planning.attempt_plan import AttemptPlan
from kleiber.planning.plan import Plan
from kleiber.reports.console import say
from kleiber.reports.grids import figure, show_plan, span


def show_attempts(console: Console, made: AttemptPlan) -> None:
    """What to do in words, the allocation with the failure, and what one more unit brings."""
    say(console, Text(made.advice, style="bold"))
    plain = Plan(**{each.name: getattr(made, each.name) for each in fields(Plan)})
    show_plan(console, plain, made.beyond)
    for what, item in (
        ("pass rate", made.pass_rate),
        ("share of training", made.training_share),
        ("failure less for one more unit in training", made.marginal["training"]),
        ("failure less for one more unit in attempts", made.marginal["attempts"]),
    ):
        ends = "" if math.isnan(item.low) else f" {span(item.low, item.high)}"
        say(console, f"{what}: {figure(item.value)}{ends}")
