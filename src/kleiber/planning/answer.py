"""From a question to a Plan: the best allocation with its intervals and notes."""

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
from kleiber.planning.advice import advise, marginal_point, split_cost
from kleiber.planning.allocate import allocate, fix_choices
from kleiber.planning.constraint import format_constraint
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

SNAP_TOLERANCE = 1e-11  # relative distance from a limit that is due to rounding
BINDING_TOLERANCE = 1e-6  # relative distance from its limit at which a constraint binds
ZERO_WIDTH = 1e-7  # relative width of an interval that counts as zero


def answer(
    source: Source,
    question: Question,
    limits: Mapping[str, Ends],
    *,
    level: float,
    far: bool = False,
    now: Mapping[str, float] | None = None,
) -> Plan:
    """Return the plan that answers a question."""
    level = check_level(level)
    chosen = _find_allocation(source, question, limits, check_flag("far", far))
    drawn = allocate(question, source.draws) if source.n_draws else {}
    made = _build_plan(source, question, limits, chosen, drawn, level)
    return made if question.attempts is None else _add_advice(made, source, question, drawn, now)


def _find_allocation(
    source: Source, question: Question, limits: Mapping[str, Ends], far: bool
) -> dict[str, float]:
    """Find the best allocation, with ``predicted`` and ``spent``; raise BadPlan if it cannot be
    trusted."""
    best = _first_draw(allocate(question, source.single))
    if not np.isfinite(best["predicted"]):
        raise BadPlan(describe_missing(source, question))
    rounded, chosen = _with_whole_attempts(source, question, best)
    neighbours = source.fit is not None and not far
    if neighbours:
        factor, _ = extrapolation(source, question, chosen, chosen["spent"])
        check_spending(source, question, factor)
    check_answer(source, question, chosen, limits)
    chosen |= _snap_values(rounded, chosen, limits)
    if neighbours:
        held = {*limits, *question.choices, *question.given}
        check_variables(source, _extrapolation_factors(source, question, chosen), held)
    if source.fit is None:  # the prediction is reported without the weighted loss
        values = {name: {**question.given, **chosen}[name] for name in source.law.variables}
        chosen["predicted"] = float(np.ravel(source.reported(**values, **source.single))[0])
    return chosen


def _build_plan(
    source: Source,
    question: Question,
    limits: Mapping[str, Ends],
    chosen: Mapping[str, float],
    drawn: Mapping[str, Float[np.ndarray, "draws"]],
    level: float,
) -> Plan:
    """Build the Plan of an allocation: its intervals, its extrapolation factors and its notes."""
    spent = question.budget if question.target is None else chosen["spent"]
    values = {name: {**question.given, **chosen}[name] for name in source.law.variables}
    found = {
        name: source.estimate(chosen[name], drawn.get(name), level)
        for name in source.law.variables
        if name in question.variables
    }
    fixed = _explain_fixed(question, found, limits)
    each, ends = _tokens_per_param(source, {**question.given, **chosen}, drawn, level)
    far = extrapolation(source, question, chosen, spent)
    return Plan(
        budget=spent,
        allocation={n: _without_interval(e) if n in fixed else e for n, e in found.items()},
        predicted=_predict_with_interval(source, chosen["predicted"], values, level),
        extrapolation=far[0],
        cost=question.cost,
        level=level,
        target=source.target,
        notes=collect_notes(source, question, chosen, limits, spent, far, values, drawn),
        needed=None
        if question.target is None
        else source.estimate(spent, drawn.get("spent"), level),
        extrapolations=_extrapolation_factors(source, question, chosen),
        tokens_per_param=each,
        tokens_per_param_interval=ends,
        fixed=fixed,
        aim="minimise" if question.sense > 0 else "maximise",
        beyond=far[1],
    )


def _extrapolation_factors(
    source: Source, question: Question, chosen: Mapping[str, float]
) -> dict[str, float | None]:
    """Return each of the law's variables, given ones included, over the largest measured value."""
    values = {**question.given, **chosen}
    return extrapolations(source.ranges, {name: values[name] for name in source.law.variables})


def _add_advice(
    made: Plan,
    source: Source,
    question: Question,
    drawn: Mapping[str, Float[np.ndarray, "draws"]],
    now: Mapping[str, float] | None,
) -> Plan:
    """Add the pass rate, the share of training and the advice to a plan with attempts."""
    chosen = {name: item.value for name, item in made.allocation.items()}
    at = marginal_point(question, chosen, now)
    spent = made.budget if now is None else None
    advice = advise(source, question, at, spent, made.level, drawn)
    shares = None
    if drawn:
        training_cost, attempts_cost = split_cost(question, drawn)
        shares = training_cost / (training_cost + attempts_cost)
    failure = made.predicted
    return replace(
        made,
        pass_rate=Estimate(1 - failure.value, failure.stderr, 1 - failure.high, 1 - failure.low),
        training_share=source.estimate(
            float(split_cost(question, chosen)[0]) / made.budget, shares, made.level
        ),
        at=at,
        marginal=advice.marginal,
        advice=advice.words,
        sure=advice.sure,
    )


def _first_draw(found: Mapping[str, Float[np.ndarray, "draws"]]) -> dict[str, float]:
    return {name: float(values[0]) for name, values in found.items()}


def _with_whole_attempts(
    source: Source, question: Question, best: dict[str, float]
) -> tuple[Question, dict[str, float]]:
    """Return the question with k restricted to the whole numbers next to the best one, for each
    choice of the other variables, and its best allocation; both unchanged if k is given, has
    choices, or no whole number lies within its limits."""
    if question.attempts is None or "k" in question.choices or "k" in question.given:
        return question, best
    low, high = (math.exp(z) for z in question.box["k"])
    found: list[tuple[float, Question, dict[str, float]]] = []
    for with_choice in fix_choices(question):
        k = (
            best["k"]
            if with_choice is question
            else _first_draw(allocate(with_choice, source.single))["k"]
        )
        if not np.isfinite(k):
            continue
        neighbours = sorted({float(math.floor(k + 1e-9)), float(math.ceil(k - 1e-9))})
        if not (
            neighbours := [
                n
                for n in neighbours
                if low * (1 - SNAP_TOLERANCE) <= n <= high * (1 + SNAP_TOLERANCE)
            ]
        ):
            continue
        rounded = replace(with_choice, choices={**with_choice.choices, "k": tuple(neighbours)})
        chosen = _first_draw(allocate(rounded, source.single))
        if np.isfinite(chosen["predicted"]):
            aim = chosen["predicted"] if question.target is None else chosen["spent"]
            found.append((aim, rounded, chosen))
    return min(found, key=lambda item: item[0])[1:] if found else (question, best)


def _snap_values(
    question: Question, chosen: Mapping[str, float], limits: Mapping[str, Ends]
) -> dict[str, float]:
    """Return the values inside their limits, and exactly on a limit, choice or constraint that they
    miss only by the rounding of exp(log(x))."""
    out = {name: chosen[name] for name in question.variables}
    for cost, limit in question.costs[1:]:
        if cost.name in out and cost.expr.op == "symbol":
            out[cost.name] = _snap(out[cost.name], (limit,))
    for name, ladder in question.choices.items():
        out[name] = _snap(out[name], ladder)
    for name, ends in limits.items():
        low, high = read_ends(name, ends)
        out[name] = min(max(_snap(out[name], (low, high)), low), high)
    return out


def _snap(value: float, ends: Sequence[float]) -> float:
    neighbours = [end for end in ends if math.isclose(value, end, rel_tol=SNAP_TOLERANCE)]
    return neighbours[0] if neighbours else value


def _explain_fixed(
    question: Question, found: Mapping[str, Estimate], limits: Mapping[str, Ends]
) -> dict[str, str]:
    """Explain what fixes each variable that is equal in all draws: its own limit, or a binding
    constraint."""
    out: dict[str, str] = {}
    for name, item in found.items():
        alone = question.target is None and len(found) == 1
        if name in question.choices:
            continue
        if not (alone or item.high - item.low <= ZERO_WIDTH * abs(item.value)):
            continue
        ends = read_ends(name, limits.get(name))
        if name in limits and any(
            math.isclose(item.value, end, rel_tol=ZERO_WIDTH) for end in ends
        ):
            out[name] = "fixed by its limit"
        elif binding := _binding_constraints(question, found, name):
            out[name] = f"fixed by {' and '.join(binding)}"
    return out


def _binding_constraints(question: Question, found: Mapping[str, Estimate], name: str) -> list[str]:
    """Return the constraints that bind a variable: the one that involves no other variable, or else
    all."""
    logs = {each: np.log(item.value) for each, item in found.items()}
    words: list[str] = []
    for k in question.budgeted:
        cost, limit = question.costs[k]
        if name not in cost.variables or cost_at(question, cost, logs) < limit * (
            1 - BINDING_TOLERANCE
        ):
            continue
        what = "the budget" if k == 0 else format_constraint(cost, limit)
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
    """Return n_tokens over n_params, if both are known, and the interval of that ratio."""
    if not {"n_params", "n_tokens"} <= set(chosen):
        return None, None
    value = chosen["n_tokens"] / chosen["n_params"]
    size, tokens = ({**chosen, **drawn}[name] for name in ("n_params", "n_tokens"))
    if not np.ndim(tokens / size):
        return value, None
    item = source.estimate(value, np.asarray(tokens / size, dtype=float), level)
    if not item.high - item.low > ZERO_WIDTH * value:
        return value, None
    return value, Interval(item.low, item.high)


def _predict_with_interval(
    source: Source, value: float, values: Mapping[str, float], level: float
) -> Estimate:
    """Return the prediction at the allocation with its interval over the draws."""
    if not source.n_draws:
        return source.estimate(value, None, level)
    draws = np.broadcast_to(source.reported(**values, **source.draws), (source.n_draws,))
    return source.estimate(value, draws, level)
