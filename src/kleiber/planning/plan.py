"""Plan: how to spend a budget according to a fit, with intervals and how far it extrapolates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kleiber.claim import Estimate
from kleiber.errors import BadPlan
from kleiber.fitting.intervals import check_level
from kleiber.fitting.record import Fit
from kleiber.fitting.status import Status
from kleiber.formula import calculate
from kleiber.planning.allocate import allocate
from kleiber.planning.cost import Cost, check_budget, find_cost, six_nd
from kleiber.planning.question import SMALLEST, Question, ask, cost_at, law_at

FAR = 10.0  # budgets beyond this multiple of the largest measured run are warned of


@dataclass(frozen=True)
class Plan:
    """The best allocation of a budget, or the least budget for a target.

    The allocation's intervals are of the optimum itself (each draw's own best split); the
    prediction's interval is of the law at the allocation given. ``budget`` is what the first cost
    comes to, with an interval (``needed``) when it was asked for by a target. ``extrapolation`` is
    the budget over the cost of the dearest measured run, None if unknown. ``notes`` are warnings.
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


def plan(
    fit: Fit,
    budget: float | None = None,
    cost: Cost | str = six_nd,
    *,
    reach: float | None = None,
    under: Mapping[Cost | str, float] | None = None,
    limits: Mapping[str, tuple[float, float]] | None = None,
    choices: Mapping[str, Sequence[float]] | None = None,
    given: Mapping[str, float] | None = None,
    level: float = 0.95,
) -> Plan:
    """Minimise the fitted law over its variables with cost(variables) = budget.

    Instead of a budget, ``reach`` is a value of the law to be reached at the least cost. ``under``
    adds further costs with what each may come to (time, memory, money); ``limits`` are boxes per
    variable, ``choices`` ladders of values, ``given`` values of variables that are not chosen.

    Raises BadPlan for a fit that cannot support a plan (it says which run to add) or a question
    without an answer.
    """
    check_support(fit)
    level = check_level(level)
    question = pose_question(fit, budget, cost, reach, under, limits, choices, given)
    best = allocate(question, {name: np.array([value]) for name, value in fit.params.items()})
    chosen = {name: float(values[0]) for name, values in best.items()}
    if not np.isfinite(chosen["predicted"]):
        raise BadPlan(_no_answer(fit, question))
    _check_worth(fit, question, chosen, limits or {})
    for name, (low, high) in (limits or {}).items():
        chosen[name] = _snap(chosen[name], low, high)
    drawn = allocate(question, fit.draws) if fit.n_draws else {}
    allocation = {
        name: _estimate(fit, chosen[name], drawn.get(name), level)
        for name in fit.law.variables
        if name in question.variables
    }
    needed, spent = None, question.budget
    if reach is not None:
        needed = _estimate(fit, chosen["spent"], drawn.get("spent"), level)
        spent = chosen["spent"]
    factor = extrapolation(fit, question, spent)
    notes = (
        _notes(fit, question, factor)
        + _notes_on_choice(question, chosen, limits or {})
        + _unreached(question, drawn)
    )
    return Plan(
        spent,
        allocation,
        _predicted(fit, question, chosen, level),
        factor,
        question.cost,
        level,
        fit.target,
        notes,
        needed,
    )


def pose_question(
    fit: Fit,
    budget: float | None,
    cost: Cost | str,
    reach: float | None,
    under: Mapping[Cost | str, float] | None,
    limits: Mapping[str, tuple[float, float]] | None,
    choices: Mapping[str, Sequence[float]] | None,
    given: Mapping[str, float] | None,
) -> Question:
    """The question of a plan, checked."""
    if (budget is None) == (reach is None):
        raise BadPlan("a plan takes a budget, or a value to reach, and not both")
    first = np.inf if budget is None else check_budget(budget)
    costs = [(find_cost(cost), first)]
    costs += [(find_cost(each), check_budget(most)) for each, most in (under or {}).items()]
    return ask(
        fit.law, costs, limits=limits or {}, given=given or {}, choices=choices, target=reach
    )


def _no_answer(fit: Fit, question: Question) -> str:
    if question.target is None:
        return f"law {fit.law.name} has no finite value at any affordable allocation"
    if len(question.costs) > 1:
        others = ", ".join(cost.name for cost, _ in question.costs[1:])
        sure = (
            "" if len(question.variables) < 3 else " was found, though a narrow one can be missed"
        )
        return (
            f"no allocation that brings {fit.target} to {question.target:g} within {others}{sure}; "
            "ask with a budget, or allow those costs more"
        )
    far = {name: np.array([ends[1]]) for name, ends in question.limits.items()}
    lowest = float(law_at(question, fit.params, far)[0])
    return (
        f"{fit.target} {question.target:g} is out of reach: within the limits the law falls no "
        f"lower than {lowest:.4g}"
    )


def _snap(value: float, low: float, high: float) -> float:
    """The value inside its limits, and on one that it misses by rounding (of exp(log(x)))."""
    near = [end for end in (low, high) if math.isclose(value, end, rel_tol=1e-12)]
    return near[0] if near else min(max(value, low), high)


def _check_worth(
    fit: Fit, question: Question, chosen: Mapping[str, float], limits: Mapping[str, Any]
) -> None:
    """BadPlan where the fitted law does not fall with a variable: a plan would starve it."""
    params = {name: np.array([value]) for name, value in fit.params.items()}
    for name in question.variables:
        low, high = question.limits[name]
        if name in limits or name in question.choices or high - low < 1e-6:
            continue
        logs: dict[str, Any] = {n: np.full(3, np.log(chosen[n])) for n in question.variables}
        logs[name] = np.array([low, np.log(chosen[name]), high])
        least, *others = law_at(question, params, logs)
        if not np.nanmin(others) < least - 1e-12 * abs(least):
            raise BadPlan(
                f"the fitted law does not fall with {name}, so it cannot say how much of a budget "
                f"{name} deserves: add runs that vary {name}, or give its value or its limits"
            )


def _unreached(question: Question, drawn: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Say so when some draws have no allocation at all."""
    if not drawn:
        return ()
    lost = int((~np.isfinite(drawn["predicted"])).sum())
    if not lost:
        return ()
    share = f"{lost} of {len(drawn['predicted'])} draws"
    why = "never reach the target" if question.target is not None else "have no allocation"
    return (f"{share} {why}; intervals are of the others, and so too narrow",)


def check_support(fit: Fit) -> None:
    """BadPlan unless the fit determines the law; the message names runs that would help."""
    if fit.usable:
        return
    remedy = {
        Status.FLAT: _missing_runs(fit),
        Status.MAX_EVALUATIONS: "Fit again from other starts (another seed), or with fewer "
        "parameters",
        Status.TOO_FEW_POINTS: "Add runs",
    }[fit.status]
    raise BadPlan(f"this fit cannot support a plan: {fit.status}, {fit.reason}. {remedy}")


def _missing_runs(fit: Fit) -> str:
    """Which runs would separate parameters that trade off, from the measured ranges."""
    still = [n for n in fit.law.variables if n in fit.ranges and _ratio(fit.ranges[n]) < 2]
    if still:
        low, high = fit.ranges[still[0]]
        return (
            f"All runs have nearly the same {still[0]} ({low:.3g} to {high:.3g}): add runs with "
            f"{still[0]} at {low / 4:.3g} and {high * 4:.3g}, the others as they are"
        )
    if len(fit.law.variables) > 1:
        first, second = fit.law.variables[:2]
        return (
            f"Add runs that vary {first} and {second} separately: the smallest {first} with the "
            f"largest {second}, and the reverse"
        )
    return "Add runs over a wider range"


def _ratio(ends: tuple[float, float]) -> float:
    return ends[1] / ends[0] if ends[0] > 0 else np.inf


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


def extrapolation(fit: Fit, question: Question, spent: float) -> float | None:
    """What is spent over the cost of the dearest measured run; None when that is unknown."""
    runs = fit.outermost or ([{n: ends[1] for n, ends in fit.ranges.items()}] if fit.ranges else [])
    costs: list[float] = []
    for run in runs:
        have = {**question.given, **run}
        if all(name in have for name in question.cost.variables):
            costs.append(float(calculate(question.cost.expr, have)))
    return spent / max(costs) if costs else None


def _notes(fit: Fit, question: Question, factor: float | None) -> tuple[str, ...]:
    notes: list[str] = list(fit.notes)
    if not fit.n_draws:
        notes.append("no intervals: the fit has no draws (fit again with --draws 1000)")
    if factor is None:
        notes.append("extrapolation unknown: the fit does not record the ranges of its table")
    elif not fit.outermost:
        notes.append("extrapolation is a lower bound: only the ranges of the columns are recorded")
    if factor is not None and factor > FAR:
        notes.append(
            f"the budget is {factor:.3g} times the dearest measured run: intervals hold only if "
            "the law itself does that far out"
        )
    if fit.status is Status.BOUND_HIT:
        notes.append(f"the fit hit a bound: {fit.reason}")
    return tuple(notes)


def _notes_on_choice(
    question: Question, chosen: Mapping[str, float], limits: Mapping[str, tuple[float, float]]
) -> tuple[str, ...]:
    """What limits did to the plan."""
    notes: list[str] = []
    logs = {name: np.log(chosen[name]) for name in question.variables}
    for name, (low, high) in limits.items():
        if chosen[name] >= high * (1 - 1e-9) or chosen[name] <= low * (1 + 1e-9):
            notes.append(f"{name} = {chosen[name]:.4g} sits at its limit")
    for name in question.variables:
        if name not in limits and chosen[name] <= SMALLEST * (1 + 1e-9):
            notes.append(f"{name} = {SMALLEST:g} is the smallest that is considered")
    bound = [
        cost.name
        for cost, most in question.costs[1:]
        if question.target is not None and cost_at(question, cost, logs) > 0.99 * most
    ]
    if bound and len(set(question.variables) - set(question.choices)) > 2:
        notes.append(
            f"{', '.join(bound)} allows no more; with three variables the plan keeps to that, but "
            "another that does may be cheaper by some per cent"
        )
    if question.target is None and chosen["spent"] < question.budget * (1 - 1e-6):
        notes.append(
            f"only {chosen['spent']:.4g} of the budget is spent: limits, choices or other costs "
            "allow no more"
        )
    return tuple(notes)


def describe_plan(made: Plan) -> dict[str, Any]:
    """The document that ``plan --json`` prints."""

    def ends(item: Estimate) -> dict[str, float | None]:
        three = {"value": item.value, "low": item.low, "high": item.high}
        return {key: float(x) if np.isfinite(x) else None for key, x in three.items()}

    return {
        "budget": made.budget,
        "allocation": {name: ends(item) for name, item in made.allocation.items()},
        "predicted": ends(made.predicted),
        "extrapolation": made.extrapolation,
        "cost": made.cost.name,
        "level": made.level,
        "target": made.target,
        "convention": made.cost.convention,
        "notes": list(made.notes),
        **({} if made.needed is None else {"needed": ends(made.needed)}),
    }
