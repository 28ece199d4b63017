"""Plan: how to spend a budget according to a fit, with intervals and how far it extrapolates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from kleiber.arguments import check_flag, check_mapping
from kleiber.claim import Estimate
from kleiber.errors import BadPlan
from kleiber.fitting.record import Fit
from kleiber.fitting.spread.intervals import Interval, check_level
from kleiber.planning.allocate import allocate
from kleiber.planning.amounts import check_budget
from kleiber.planning.constraint import Under, read_constraints, say_constraint
from kleiber.planning.cost import Cost, find_cost, six_nd
from kleiber.planning.direction import find_sense
from kleiber.planning.extrapolation import (
    check_spending,
    check_variables,
    extrapolation,
    extrapolations,
)
from kleiber.planning.note import collect_notes
from kleiber.planning.question import Ends, Question, ask, cost_at, read_ends
from kleiber.planning.support import check_answer, check_support, describe_missing

SNAP = 1e-11  # relative distance of an end that rounding leaves
BINDS = 1e-6  # relative distance from what a cost may come to
EVEN = 1e-7  # relative width of an interval that is none


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


def plan(
    fit: Fit,
    budget: float | None = None,
    cost: Cost | str = six_nd,
    *,
    reach: float | None = None,
    under: Under | None = None,
    limits: Mapping[str, Ends] | None = None,
    choices: Mapping[str, Sequence[float]] | None = None,
    given: Mapping[str, float] | None = None,
    level: float = 0.95,
    far: bool = False,
) -> Plan:
    """Find the values of a fitted law's variables that a budget is best spent on:

        min L(x)  subject to  cost(x) = budget,

    or max L(x) where the fitted law rises with its variables, as an accuracy does (Hoffmann et al.
    2022, arXiv 2203.15556, eq. 4).

    Parameters
    ----------
    fit
        A usable fit.
    budget
        What may be spent, in the unit of the cost.
    cost
        A Cost, the name of one, a column, or a formula of columns.
    reach
        Instead of a budget: the value that the law must come to, at the least cost. At most this
        for a law that falls, at least this for one that rises.
    under
        Further constraints: costs with what each may come to, or inequalities as text, such as
        ``["n_params<=8e9", "n_tokens>=20*n_params"]``.
    limits
        The smallest and largest value of a variable; None leaves an end open.
    choices
        The values that a variable may take.
    given
        Values of variables that are not chosen, or that only the cost has.
    level
        Of the intervals, between 0 and 1.
    far
        Whether a plan may go beyond 1e4 times the dearest measured run, or the largest measured
        value of a variable that is not limited.

    Returns
    -------
    Plan
        The allocation and what is predicted there, with intervals, and how far both lie beyond
        what was measured.

    Raises
    ------
    BadPlan
        For a fit that cannot support a plan (it says which run to add), a law without a best
        allocation, or a question without an answer.
    """
    check_support(fit)
    level, far = check_level(level), check_flag("far", far)
    limits = check_mapping("limits", limits, "a mapping from columns to (low, high) or None")
    question = pose_question(fit, budget, cost, reach, under, limits, choices, given)
    single = {name: np.array([value]) for name, value in fit.params.items()}
    best = allocate(question, single)
    chosen = {name: float(values[0]) for name, values in best.items()}
    if not np.isfinite(chosen["predicted"]):
        raise BadPlan(describe_missing(fit, question, single))
    spent = question.budget if reach is None else chosen["spent"]
    if not far:
        check_spending(fit, question, extrapolation(fit, question, chosen["spent"]))
    check_answer(fit, question, chosen, limits)
    chosen |= _snapped(question, chosen, limits)
    values = {name: {**question.given, **chosen}[name] for name in fit.law.variables}
    factor, beyond = extrapolation(fit, question, spent), extrapolations(fit.ranges, values)
    if not far:
        check_variables(fit, beyond, {*limits, *question.choices, *question.given})
    drawn = allocate(question, fit.draws) if fit.n_draws else {}
    found = {
        name: _estimate(fit, chosen[name], drawn.get(name), level)
        for name in fit.law.variables
        if name in question.variables
    }
    fixed = _fixed(question, found, limits)
    each, ends = _tokens_per_param(fit, question, {**question.given, **chosen}, drawn, level)
    return Plan(
        budget=spent,
        allocation={n: _without_interval(e) if n in fixed else e for n, e in found.items()},
        predicted=_predicted(fit, question, chosen, level),
        extrapolation=factor,
        cost=question.cost,
        level=level,
        target=fit.target,
        notes=collect_notes(fit, question, chosen, limits, spent, factor, values, drawn),
        needed=None if reach is None else _estimate(fit, spent, drawn.get("spent"), level),
        extrapolations=beyond,
        tokens_per_param=each,
        tokens_per_param_interval=ends,
        fixed=fixed,
        aim="minimise" if question.sense > 0 else "maximise",
    )


def pose_question(
    fit: Fit,
    budget: float | None,
    cost: Cost | str,
    reach: float | None,
    under: Under | None,
    limits: Mapping[str, Ends] | None,
    choices: Mapping[str, Sequence[float]] | None,
    given: Mapping[str, float] | None,
) -> Question:
    """The question of a plan, checked, with the way in which the law is better."""
    if (budget is None) == (reach is None):
        raise BadPlan("A plan takes a budget, or a value to reach, and not both.")
    given = check_mapping("given", given, "a mapping from columns to numbers or None")
    limits = check_mapping("limits", limits, "a mapping from columns to (low, high) or None")
    choices = check_mapping("choices", choices, "a mapping from columns to values or None")
    columns = (*fit.law.variables, *given)
    first = np.inf if budget is None else check_budget(budget)
    costs = [(find_cost(cost, columns), first), *read_constraints(under, columns)]
    question = ask(fit.law, costs, limits=limits, given=given, choices=choices, target=reach)
    held = {*limits, *question.choices}
    sense = find_sense(question, fit.params, fit.ranges, fit.target, held)
    return replace(question, sense=sense)


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
    fit: Fit,
    question: Question,
    chosen: Mapping[str, Any],
    drawn: Mapping[str, Float[np.ndarray, "draws"]],
    level: float,
) -> tuple[float | None, Interval | None]:
    """n_tokens over n_params where both are known, with the interval of that ratio."""
    if not {"n_params", "n_tokens"} <= set(chosen):
        return None, None
    value = chosen["n_tokens"] / chosen["n_params"]
    if not drawn:
        return value, None
    size, tokens = ({**question.given, **drawn}[name] for name in ("n_params", "n_tokens"))
    item = _estimate(fit, value, np.asarray(tokens / size, dtype=float), level)
    if item.high - item.low <= EVEN * value:
        return value, None
    return value, Interval(item.low, item.high)


def _estimate(fit: Fit, value: float, draws: np.ndarray | None, level: float) -> Estimate:
    if draws is None or not len(draws):
        return Estimate(value, np.nan, np.nan, np.nan)
    known = draws[np.isfinite(draws)]
    low, high = fit.interval(lambda _: known, level)
    with np.errstate(over="ignore"):  # of draws that ran off
        return Estimate(value, float(known.std(ddof=1)), low, high)


def _predicted(fit: Fit, question: Question, chosen: Mapping[str, float], level: float) -> Estimate:
    if not fit.n_draws:
        return Estimate(chosen["predicted"], np.nan, np.nan, np.nan)
    columns = {name: {**question.given, **chosen}[name] for name in fit.law.variables}
    draws = np.broadcast_to(fit.law(**columns, **fit.draws), (fit.n_draws,))
    return _estimate(fit, chosen["predicted"], draws, level)


def describe_plan(made: Plan) -> dict[str, Any]:
    """The document that ``plan --json`` prints."""

    def ends(item: Estimate) -> dict[str, float | None]:
        three = {"value": item.value, "low": item.low, "high": item.high}
        return {key: float(x) if np.isfinite(x) else None for key, x in three.items()}

    return {
        "budget": made.budget,
        "allocation": {
            name: ends(item) | ({"why": made.fixed[name]} if name in made.fixed else {})
            for name, item in made.allocation.items()
        },
        "predicted": ends(made.predicted),
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
        **({} if made.needed is None else {"needed": ends(made.needed)}),
    }
