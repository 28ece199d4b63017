"""Train more, or sample more: which side deserves the next unit of budget, and how sure."""

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
from kleiber.planning.allocate import allocate, log_slope
from kleiber.planning.amounts import is_real
from kleiber.planning.problem import Logs, Question, aim_on, cost_at
from kleiber.planning.question import at_budget
from kleiber.planning.source import Source

SIDES = {True: "training", False: "attempts"}
TIE = 0.005  # of a share, by which two sides that are alike may differ
FURTHER = 1.1  # the budget that tells where further budget goes, as a multiple
NOTHING = 1e-9  # of a budget, that is not spent
Found = Mapping[str, Float[np.ndarray, "draws"]]


@dataclass(frozen=True)
class Advice:
    """What to do in words, the share of draws that agree, and what one more unit of budget brings
    in training and in attempts."""

    words: str
    sure: float | None
    marginal: Mapping[str, Estimate]


def bills(
    question: Question, found: Mapping[str, Any]
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """What training and what attempts cost."""
    assert question.attempts is not None
    values = {**question.given, **found}
    training = np.asarray(calculate(question.attempts.train.expr, values), dtype=float)
    each = np.asarray(calculate(question.attempts.attempt.expr, values), dtype=float)
    return training, np.asarray(question.attempts.queries * values["k"] * each)


def check_now(now: Any) -> dict[str, float] | None:
    """Where one is now: positive numbers, or None."""
    if now is None:
        return None
    given = check_mapping("now", now, "a mapping to numbers or None")
    for name, value in given.items():
        if not (is_real(value) and value > 0):
            raise BadPlan(f"The {name} now must be a positive number, got {shown(value)}.")
    return given


def standing(
    question: Question, best: Mapping[str, float], now: Mapping[str, float] | None
) -> dict[str, float]:
    """Where the marginal values are taken: where one is now, or at the plan."""
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
    splits: Found,
) -> Advice:
    """Which side deserves the next unit of budget.

    With ``spent``, what a plan spends: the side into which the best splits of a larger budget put
    most of the rise. Without: the side with the larger marginal value at ``at``. Sides whose parts
    (of the rise, or of both marginal values) are within 0.5% of a half are a tie. ``splits`` are
    the best splits of the draws.
    """
    gains = marginal(question, source.single, at)
    drawn = marginal(question, source.draws, at) if source.n_draws else None
    marginals = {
        name: source.spread(float(item[0]), None if drawn is None else drawn[name], level)
        for name, item in gains.items()
    }
    if spent is None:
        lead = gains["training"] - gains["attempts"]
        leads = None if drawn is None else drawn["training"] - drawn["attempts"]
        says = (
            f"one more unit of budget in training lowers failure by {gains['training'][0]:.3g}, "
            f"in attempts by {gains['attempts'][0]:.3g}"
        )
        tie = abs(lead[0]) <= 2 * TIE * (gains["training"] + gains["attempts"])[0]
    else:
        share = _next_share(question, spent, source.single)
        if np.isnan(share[0]):
            why = "limits, choices or other costs allow no more"
            return Advice(f"neither: further budget buys nothing, {why}", None, marginals)
        lead = share - 0.5
        known = splits if question.target is None else None  # of this budget
        leads = None
        if source.n_draws:
            leads = _next_share(question, spent, source.draws, known) - 0.5
        most = np.maximum(share, 1 - share)[0]
        says = f"{most:.0%} of further budget goes into {SIDES[lead[0] > 0]}"
        tie = abs(lead[0]) < TIE
        says = "further budget goes into training and attempts by halves" if tie else says
    return _in_words(bool(lead[0] > 0), bool(tie), says, leads, marginals)


def _in_words(
    training: bool,
    tie: bool,
    says: str,
    leads: Float[np.ndarray, "draws"] | None,
    marginals: Mapping[str, Estimate],
) -> Advice:
    """The side that leads, and how many of the draws say the same."""
    known = np.array([] if leads is None else leads, dtype=float)
    known = known[np.isfinite(known)]
    agree = int(((known > 0) == training).sum())
    sure = agree / len(known) if len(known) else None
    lean = f"put more into {SIDES[training]}" if tie else "agree"
    held = "" if sure is None else f" ({sure:.0%} of draws {lean})"
    what = "a tie" if tie else "train more" if training else "sample more"
    return Advice(f"{what}: {says}{held}", sure, marginals)


def marginal(
    question: Question,
    params: Mapping[str, Float[np.ndarray, "draws"]],
    at: Mapping[str, Any],
) -> dict[str, Float[np.ndarray, "draws"]]:
    """By how much the aim falls for one more unit of cost: in ``training``, on the variable where
    it brings most, and in ``attempts``. What the attempts then cost more counts as training."""
    k = {"k": question.given["k"]} if "k" in question.given else {}
    logs: Logs = {name: np.log(value) for name, value in {**at, **k}.items()}
    aim, price = partial(aim_on, question, params), partial(cost_at, question, question.cost)
    each: dict[str, Any] = {}
    for name in logs:
        fall = -log_slope(aim, logs, name, exact=False)
        with np.errstate(divide="ignore", invalid="ignore"):
            each[name] = np.atleast_1d(fall / log_slope(price, logs, name, exact=True))
    training = [values for name, values in each.items() if name != "k"]
    return {"training": np.max(training, axis=0), "attempts": each["k"]}


def _next_share(
    question: Question, spent: float, params: Found, splits: Found | None = None
) -> Float[np.ndarray, "draws"]:
    """The part of further budget that the best split puts into training; ``splits`` are the best
    ones without it, where they are known."""
    if splits is None:
        splits = allocate(at_budget(question, spent), params)
    training, attempts = bills(question, splits)
    more, others = bills(question, allocate(at_budget(question, FURTHER * spent), params))
    rise = more - training + others - attempts
    return (more - training) / np.where(rise > NOTHING * spent, rise, np.nan)
