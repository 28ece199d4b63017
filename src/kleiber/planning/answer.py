"""The answer to a question that was posed: the best allocation, its intervals, and what to say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from kleiber.arguments import check_flag
from kleiber.claim import Estimate
from kleiber.errors import BadPlan
from kleiber.fitting.spread.intervals import Interval, check_level
from kleiber.planning.advice import advise, bills, standing
from kleiber.planning.allocate import allocate, hold_choices
from kleiber.planning.constraint import say_constraint
from kleiber.planning.extrapolation import (
    check_spending,
    check_variables,
    extrapolation,
    extrapolations,
)
from kleiber.planning.note import collect_notes
from kleiber.planning.problem import Ends, Question, cost_at
from kleiber.planning.question import read_ends
from kleiber.planning.record import Plan
from kleiber.planning.source import Source
from kleiber.planning.support import check_answer, describe_missing

SNAP = 1e-11  # relative distance of an end that rounding leaves
BINDS = 1e-6  # relative distance from what a cost may come to
EVEN = 1e-7  # relative width of an interval that is none


def answer(
    source: Source,
    question: Question,
    limits: Mapping[str, Ends],
    *,
    level: float,
    far: bool = False,
    now: Mapping[str, float] | None = None,
) -> Plan:
    """The plan that answers a question that was posed."""
    level = check_level(level)
    chosen = _chosen(source, question, limits, check_flag("far", far))
    drawn = allocate(question, source.draws) if source.n_draws else {}
    made = _told(source, question, limits, chosen, drawn, level)
    return made if question.attempts is None else _advised(made, source, question, drawn, now)


def _chosen(
    source: Source, question: Question, limits: Mapping[str, Ends], far: bool
) -> dict[str, float]:
    """The best allocation with what is ``predicted`` and ``spent``, if it can be believed."""
    best = _first(allocate(question, source.single))
    if not np.isfinite(best["predicted"]):
        raise BadPlan(describe_missing(source, question))
    whole, chosen = _with_whole_attempts(source, question, best)
    near = source.fit is not None and not far
    if near:
        factor, _ = extrapolation(source, question, chosen, chosen["spent"])
        check_spending(source, question, factor)
    check_answer(source, question, chosen, limits)
    chosen |= _snapped(whole, chosen, limits)
    if near:
        held = {*limits, *question.choices, *question.given}
        check_variables(source, _beyond(source, question, chosen), held)
    if source.fit is None:  # without the loss that has a weight
        values = {name: {**question.given, **chosen}[name] for name in source.law.variables}
        chosen["predicted"] = float(np.ravel(source.shown(**values, **source.single))[0])
    return chosen


def _told(
    source: Source,
    question: Question,
    limits: Mapping[str, Ends],
    chosen: Mapping[str, float],
    drawn: Mapping[str, Float[np.ndarray, "draws"]],
    level: float,
) -> Plan:
    """The plan of an allocation: intervals, how far it goes, and notes."""
    spent = question.budget if question.target is None else chosen["spent"]
    values = {name: {**question.given, **chosen}[name] for name in source.law.variables}
    found = {
        name: source.spread(chosen[name], drawn.get(name), level)
        for name in source.law.variables
        if name in question.variables
    }
    fixed = _fixed(question, found, limits)
    each, ends = _tokens_per_param(source, {**question.given, **chosen}, drawn, level)
    far = extrapolation(source, question, chosen, spent)
    return Plan(
        budget=spent,
        allocation={n: _without_interval(e) if n in fixed else e for n, e in found.items()},
        predicted=_predicted(source, chosen["predicted"], values, level),
        extrapolation=far[0],
        cost=question.cost,
        level=level,
        target=source.target,
        notes=collect_notes(source, question, chosen, limits, spent, far, values, drawn),
        needed=None if question.target is None else source.spread(spent, drawn.get("spent"), level),
        extrapolations=_beyond(source, question, chosen),
        tokens_per_param=each,
        tokens_per_param_interval=ends,
        fixed=fixed,
        aim="minimise" if question.sense > 0 else "maximise",
        beyond=far[1],
    )


def _beyond(
    source: Source, question: Question, chosen: Mapping[str, float]
) -> dict[str, float | None]:
    """Each of the law's variables, given ones too, over the largest measured."""
    values = {**question.given, **chosen}
    return extrapolations(source.ranges, {name: values[name] for name in source.law.variables})


def _advised(
    made: Plan,
    source: Source,
    question: Question,
    drawn: Mapping[str, Float[np.ndarray, "draws"]],
    now: Mapping[str, float] | None,
) -> Plan:
    """The plan with the pass rate, the share of training, and which side deserves more."""
    chosen = {name: item.value for name, item in made.allocation.items()}
    at = standing(question, chosen, now)
    further = made.budget if now is None else None
    says = advise(source, question, at, further, made.level, drawn)
    shares = None
    if drawn:
        paid, others = bills(question, drawn)
        shares = paid / (paid + others)
    failure = made.predicted
    return replace(
        made,
        pass_rate=Estimate(1 - failure.value, failure.stderr, 1 - failure.high, 1 - failure.low),
        training_share=source.spread(
            float(bills(question, chosen)[0]) / made.budget, shares, made.level
        ),
        at=at,
        marginal=says.marginal,
        advice=says.words,
        sure=says.sure,
    )


def _first(found: Mapping[str, Float[np.ndarray, "draws"]]) -> dict[str, float]:
    return {name: float(values[0]) for name, values in found.items()}


def _with_whole_attempts(
    source: Source, question: Question, best: dict[str, float]
) -> tuple[Question, dict[str, float]]:
    """The question with k on the whole numbers beside the best one, for each choice of the others,
    and its best allocation; both as they are where k is not chosen, on a ladder, or leaves no whole
    number."""
    if question.attempts is None or "k" in question.choices or "k" in question.given:
        return question, best
    low, high = (math.exp(z) for z in question.box["k"])
    found: list[tuple[float, Question, dict[str, float]]] = []
    for pinned in hold_choices(question):
        k = best["k"] if pinned is question else _first(allocate(pinned, source.single))["k"]
        if not np.isfinite(k):
            continue
        near = sorted({float(math.floor(k + 1e-9)), float(math.ceil(k - 1e-9))})
        if not (near := [n for n in near if low * (1 - SNAP) <= n <= high * (1 + SNAP)]):
            continue
        whole = replace(pinned, choices={**pinned.choices, "k": tuple(near)})
        chosen = _first(allocate(whole, source.single))
        if np.isfinite(chosen["predicted"]):
            aim = chosen["predicted"] if question.target is None else chosen["spent"]
            found.append((aim, whole, chosen))
    return min(found, key=lambda item: item[0])[1:] if found else (question, best)


def _snapped(
    question: Question, chosen: Mapping[str, float], limits: Mapping[str, Ends]
) -> dict[str, float]:
    """The values inside their limits, and on a limit, a choice or a most that they miss by the
    rounding of exp(log(x))."""
    out = {name: chosen[name] for name in question.variables}
    for cost, most in question.costs[1:]:
        if cost.name in out and cost.expr.op == "symbol":
            out[cost.name] = _snap(out[cost.name], (most,))
    for name, ladder in question.choices.items():
        out[name] = _snap(out[name], ladder)
    for name, ends in limits.items():
        low, high = read_ends(name, ends)
        out[name] = min(max(_snap(out[name], (low, high)), low), high)
    return out


def _snap(value: float, ends: Sequence[float]) -> float:
    near = [end for end in ends if math.isclose(value, end, rel_tol=SNAP)]
    return near[0] if near else value


def _fixed(
    question: Question, found: Mapping[str, Estimate], limits: Mapping[str, Ends]
) -> dict[str, str]:
    """What fixes each variable that is the same in all draws, or must be: its own limit, or the
    constraint that binds."""
    out: dict[str, str] = {}
    for name, item in found.items():
        alone = question.target is None and len(found) == 1
        if name in question.choices:
            continue
        if not (alone or item.high - item.low <= EVEN * abs(item.value)):
            continue
        ends = read_ends(name, limits.get(name))
        if name in limits and any(math.isclose(item.value, end, rel_tol=EVEN) for end in ends):
            out[name] = "fixed by its limit"
        elif binding := _binding(question, found, name):
            out[name] = f"fixed by {' and '.join(binding)}"
    return out


def _binding(question: Question, found: Mapping[str, Estimate], name: str) -> list[str]:
    """The constraints on a variable that bind: that which is on no other, or else all of them."""
    logs = {each: np.log(item.value) for each, item in found.items()}
    words: list[str] = []
    for k in question.bills:
        cost, most = question.costs[k]
        if name not in cost.variables or cost_at(question, cost, logs) < most * (1 - BINDS):
            continue
        what = "the budget" if k == 0 else say_constraint(cost, most)
        if not set(cost.variables) & set(found) - {name}:
            return [what]
        words.append(what)
    return words


def _without_interval(item: Estimate) -> Estimate:
    return Estimate(item.value, math.nan, math.nan, math.nan)


def _tokens_per_param(
    source: Source,
    chosen: Mapping[str, Any],
    drawn: Mapping[str, Float[np.ndarray, "draws"]],
    level: float,
) -> tuple[float | None, Interval | None]:
    """n_tokens over n_params where both are known, with the interval of that ratio."""
    if not {"n_params", "n_tokens"} <= set(chosen):
        return None, None
    value = chosen["n_tokens"] / chosen["n_params"]
    size, tokens = ({**chosen, **drawn}[name] for name in ("n_params", "n_tokens"))
    if not np.ndim(tokens / size):
        return value, None
    item = source.spread(value, np.asarray(tokens / size, dtype=float), level)
    if not item.high - item.low > EVEN * value:
        return value, None
    return value, Interval(item.low, item.high)


def _predicted(source: Source, value: float, values: Mapping[str, float], level: float) -> Estimate:
    """What is predicted of the allocation, with its interval over the draws."""
    if not source.n_draws:
        return source.spread(value, None, level)
    draws = np.broadcast_to(source.shown(**values, **source.draws), (source.n_draws,))
    return source.spread(value, draws, level)
