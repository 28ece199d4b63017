"""Plan: the result of planning, by a law or for failure, and its JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kleiber.brief import between, brief, listed, number
from kleiber.claim import Estimate
from kleiber.fitting.spread.intervals import Interval
from kleiber.plain import plain_estimate
from kleiber.planning.cost import Cost

UNKNOWN = Estimate(np.nan, np.nan, np.nan, np.nan)
DEAREST = "the dearest measured run"


@dataclass(frozen=True)
class Plan:
    """The best allocation of a budget, or the least budget for a target.

    Attributes
    ----------
    budget
        What the first cost comes to, in its unit.
    allocation
        The best value of each variable, an ``Estimate``; its interval is of the optimum itself
        (each draw's own best split). With attempts also k, attempts at each query.
    predicted
        The law at the allocation given; with attempts the failure there.
    extrapolation
        The budget over the cost of the dearest measured run (with attempts, the larger of that of
        training and of k over the most attempts made); None where unknown.
    cost, level, target
        What it costs by, the level of the intervals, and the column that is predicted.
    notes
        Warnings, the gravest first.
    needed
        The budget as an ``Estimate``, where a target was asked for.
    extrapolations
        Each variable over the largest value measured, None where unknown.
    tokens_per_param, tokens_per_param_interval
        n_tokens over n_params, where both are known.
    fixed
        What fixes a variable that has no interval.
    aim
        ``"minimise"``, or ``"maximise"`` for a target that rises with its variables.
    pass_rate, training_share
        With attempts: one minus the failure, and the part of the budget that training takes.
    at, marginal
        With attempts: by how much failure falls for one more unit of budget in training and in
        attempts, and where (where one is now, or the plan itself, where both are alike unless a
        limit binds).
    advice, sure
        With attempts: which to do, in words, and the share of draws that agree.
    beyond
        What ``extrapolation`` is relative to.

    Examples
    --------
    >>> import kleiber
    >>> theory = kleiber.theory.HardTail(tail=2.7, tolerance=0.6, noise=1.0)
    >>> made = kleiber.plan_attempts(theory, 1e5, "10*n_data", attempt=1, queries=1e3)
    >>> f"{made.training_share.value:.2f}"
    '0.17'
    """

    budget: float
    allocation: Mapping[str, Estimate]
    predicted: Estimate
    extrapolation: float | None
    cost: Cost
    level: float
    target: str
    notes: tuple[str, ...] = ()
    needed: Estimate | None = None
    extrapolations: Mapping[str, float | None] = field(default_factory=dict[str, float | None])
    tokens_per_param: float | None = None
    tokens_per_param_interval: Interval | None = None
    fixed: Mapping[str, str] = field(default_factory=dict[str, str])
    aim: str = "minimise"
    pass_rate: Estimate = UNKNOWN
    training_share: Estimate = UNKNOWN
    at: Mapping[str, float] = field(default_factory=dict[str, float])
    marginal: Mapping[str, Estimate] = field(default_factory=dict[str, Estimate])
    advice: str = ""
    sure: float | None = None
    beyond: str = DEAREST

    def __repr__(self) -> str:
        items = (f"{n} = {between(v.value, v.low, v.high)}" for n, v in self.allocation.items())
        told = between(self.predicted.value, self.predicted.low, self.predicted.high)
        parts = {
            "allocation": listed(items),
            f"predicted {self.target}": told,
            "notes": len(self.notes),
        }
        return brief("Plan", f"budget {number(self.budget)} {self.cost.unit}", parts)


def describe_plan(made: Plan) -> dict[str, Any]:
    """Return the document that ``plan --json`` prints."""
    document = {
        "budget": made.budget,
        "allocation": {
            name: plain_estimate(item) | ({"why": made.fixed[name]} if name in made.fixed else {})
            for name, item in made.allocation.items()
        },
        "predicted": plain_estimate(made.predicted),
        "extrapolation": made.extrapolation,
        "extrapolations": dict(made.extrapolations),
        "tokens_per_param": made.tokens_per_param,
        "tokens_per_param_interval": made.tokens_per_param_interval
        and list(made.tokens_per_param_interval),
        "aim": made.aim,
        "cost": made.cost.name,
        "level": made.level,
        "target": made.target,
        "convention": made.cost.convention,
        "notes": list(made.notes),
        **({} if made.needed is None else {"needed": plain_estimate(made.needed)}),
    }
    if not made.advice:
        return document
    return document | {
        "pass_rate": plain_estimate(made.pass_rate),
        "training_share": plain_estimate(made.training_share),
        "at": dict(made.at),
        "marginal": {name: plain_estimate(item) for name, item in made.marginal.items()},
        "advice": made.advice,
        "sure": made.sure,
    }
