"""Plan: what a plan found, of a law or of failure, and its document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kleiber.claim import Estimate
from kleiber.fitting.spread.intervals import Interval
from kleiber.plain import plain_estimate
from kleiber.planning.cost import Cost

UNKNOWN = Estimate(np.nan, np.nan, np.nan, np.nan)
DEAREST = "the dearest measured run"


@dataclass(frozen=True)
class Plan:
    """The best allocation of a budget, or the least budget for a target.

    The allocation's intervals are of the optimum itself (each draw's own best split); the
    prediction's interval is of the law at the allocation given. ``budget`` is what the first cost
    comes to, with an interval (``needed``) when it was asked for by a target. ``extrapolation`` is
    the budget over the cost of the dearest measured run, ``extrapolations`` each variable over the
    largest value measured, None where unknown. ``fixed`` says of a variable without an interval
    what fixes it. ``tokens_per_param`` is n_tokens over n_params where both are known. ``aim`` is
    "minimise", or "maximise" for a target that rises with its variables. ``notes`` are warnings,
    the gravest first.

    With attempts, ``allocation`` holds the training variables and k, attempts at each query;
    ``predicted`` is the failure, one minus ``pass_rate``. ``training_share`` is the part of the
    budget that training takes. ``marginal`` is by how much failure falls for one more unit of
    budget in training and in attempts, at ``at`` (where one is now, or the plan itself, where both
    are alike unless a limit binds). ``advice`` says in words which to do, ``sure`` the share of
    draws that agree. ``extrapolation`` is the larger of the cost of training over that of the
    dearest measured and of k over the most attempts made, and ``beyond`` says which. Other plans
    have no advice.
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


def describe_plan(made: Plan) -> dict[str, Any]:
    """The document that ``plan --json`` prints."""
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
