"""Advice on whether the next unit of budget should go into training or into attempts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from kleiber.arguments import check_mapping
from kleiber.claim import Estimate
from kleiber.errors import BadPlan, shown
from kleiber.formula import calculate
from kleiber.planning.allocate import allocate, log_derivative
from kleiber.planning.amounts import is_real
from kleiber.planning.problem import Logs, Question, cost_at, signed_law_at
from kleiber.planning.question import at_budget
from kleiber.planning.source import Source

SIDES = {True: "training", False: "attempts"}
TIE = 0.005  # a share within this distance of one half is a tie
BUDGET_RATIO = 1.1  # the larger budget, over that of the plan, that shows where the increase goes
NEGLIGIBLE = 1e-9  # relative increase of the cost below which nothing more is spent
Draws = Mapping[str, Float[np.ndarray, "draws"]]


@dataclass(frozen=True)
class Advice:
    """The advice in words, the share of draws that agree with it, and the marginal value of one
    more unit of budget in training and in attempts."""

    words: str
    sure: float | None
    marginal: Mapping[str, Estimate]


def split_cost(
    question: Question, allocation: Mapping[str, Any]
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """Return the cost of training and the cost of attempts at an allocation."""
    assert question.attempts is not None
    values = {**question.given, **allocation}
    training = np.asarray(calculate(question.attempts.train.expr, values), dtype=float)
    each = np.asarray(calculate(question.attempts.attempt.expr, values), dtype=float)
    return training, np.asarray(question.attempts.queries * values["k"] * each)


def check_now(now: Any) -> dict[str, float] | None:
    """Check the current allocation: a mapping to positive numbers, or None."""
    if now is None:
        return None
    given = check_mapping("now", now, "a mapping to numbers or None")
    for name, value in given.items():
        if not (is_real(value) and value > 0):
            raise BadPlan(f"The {name} now must be a positive number, got {shown(value)}.")
    return given


def marginal_point(
    question: Question, best: Mapping[str, float], now: Mapping[str, float] | None
) -> dict[str, float]:
    """Return the allocation at which marginal values are taken: the current one, or that of the
    plan."""
    names = [name for name in question.law.variables if name in question.variables]
    if now is None:
        return {name: best[name] for name in names}
    if set(now) != set(names):
        raise BadPlan(
            f"Where one is now takes a value of {', '.join(names)}, got {', '.join(now) or 'none'}."
        )
    for name, value in now.items():
        if not (is_real(value) and value >= (1 if name == "k" else 0) and value > 0):
            raise BadPlan(
                f"The {name} now must be a positive number (k from 1), got {shown(value)}."
            )
    return {name: float(now[name]) for name in names}


def advise(
    source: Source,
    question: Question,
    at: Mapping[str, float],
    spent: float | None,
    level: float,
    splits: Draws,
) -> Advice:
    """Advise whether training or attempts should get the next unit of budget.

    If ``spent``, the cost of a plan, is given, the advice is the part that gets most of the
    increase when the budget rises by a tenth. Otherwise it is the part with the larger marginal
    value at ``at``. A share within 0.5% of one half is a tie. ``splits`` are the best allocations
    of the draws.
    """
    gains = marginal(question, source.single, at)
    drawn = marginal(question, source.draws, at) if source.n_draws else None
    marginals = {
        name: source.estimate(float(item[0]), None if drawn is None else drawn[name], level)
        for name, item in gains.items()
    }
    if spent is None:
        difference = gains["training"] - gains["attempts"]
        drawn_differences = None if drawn is None else drawn["training"] - drawn["attempts"]
        reason = (
            f"one more unit of budget in training lowers failure by {gains['training'][0]:.3g}, "
            f"in attempts by {gains['attempts'][0]:.3g}"
        )
        tie = abs(difference[0]) <= 2 * TIE * (gains["training"] + gains["attempts"])[0]
    else:
        share = _next_share(question, spent, source.single)
        if np.isnan(share[0]):
            why = "limits, choices or other costs allow no more"
            return Advice(f"neither: further budget buys nothing, {why}", None, marginals)
        difference = share - 0.5
        known = splits if question.target is None else None  # of this budget
        drawn_differences = None
        if source.n_draws:
            drawn_differences = _next_share(question, spent, source.draws, known) - 0.5
        larger = np.maximum(share, 1 - share)[0]
        reason = f"{larger:.0%} of further budget goes into {SIDES[difference[0] > 0]}"
        tie = abs(difference[0]) < TIE
        reason = "further budget goes into training and attempts by halves" if tie else reason
    return _describe_advice(
        bool(difference[0] > 0), bool(tie), reason, drawn_differences, marginals
    )


def _describe_advice(
    training: bool,
    tie: bool,
    reason: str,
    drawn_differences: Float[np.ndarray, "draws"] | None,
    marginals: Mapping[str, Estimate],
) -> Advice:
    """Describe which part gets more of the budget and how many draws agree."""
    finite = np.array([] if drawn_differences is None else drawn_differences, dtype=float)
    finite = finite[np.isfinite(finite)]
    agree = int(((finite > 0) == training).sum())
    sure = agree / len(finite) if len(finite) else None
    agreement = f"put more into {SIDES[training]}" if tie else "agree"
    confidence = "" if sure is None else f" ({sure:.0%} of draws {agreement})"
    what = "a tie" if tie else "train more" if training else "sample more"
    return Advice(f"{what}: {reason}{confidence}", sure, marginals)


def marginal(
    question: Question,
    params: Mapping[str, Float[np.ndarray, "draws"]],
    at: Mapping[str, Any],
) -> dict[str, Float[np.ndarray, "draws"]]:
    """Compute how much the objective falls per unit of cost, in ``training`` (the variable where it
    falls most) and in ``attempts``; attempts that become dearer with training count as training."""
    k = {"k": question.given["k"]} if "k" in question.given else {}
    logs: Logs = {name: np.log(value) for name, value in {**at, **k}.items()}
    aim, price = partial(signed_law_at, question, params), partial(cost_at, question, question.cost)
    each: dict[str, Any] = {}
    for name in logs:
        decrease = -log_derivative(aim, logs, name, exact=False)
        with np.errstate(divide="ignore", invalid="ignore"):
            each[name] = np.atleast_1d(decrease / log_derivative(price, logs, name, exact=True))
    training = [values for name, values in each.items() if name != "k"]
    return {"training": np.max(training, axis=0), "attempts": each["k"]}


def _next_share(
    question: Question, spent: float, params: Draws, splits: Draws | None = None
) -> Float[np.ndarray, "draws"]:
    """Compute the share of the additional budget that the best allocation puts into training;
    ``splits`` are the best allocations before the increase, if they are known."""
    if splits is None:
        splits = allocate(at_budget(question, spent), params)
    training, attempts = split_cost(question, splits)
    more_training, more_attempts = split_cost(
        question, allocate(at_budget(question, BUDGET_RATIO * spent), params)
    )
    rise = more_training - training + more_attempts - attempts
    return (more_training - training) / np.where(rise > NEGLIGIBLE * spent, rise, np.nan)
