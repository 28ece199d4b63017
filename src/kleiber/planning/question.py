"""Checks of a planning question, and its search box."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from kleiber.errors import BadPlan, nearest, shown
from kleiber.planning.amounts import is_real
from kleiber.planning.cost import Cost
from kleiber.planning.problem import (
    LARGEST,
    SMALLEST,
    STEP,
    Attempts,
    Ends,
    Logs,
    Objective,
    Question,
    cost_at,
    largest_within_budget,
    smallest_within_budget,
)

SAMPLED_RANGE = 80.0  # of a variable's logarithm, over which the derivatives of costs are sampled


def ask(
    law: Objective,
    costs: Sequence[tuple[Cost, float]],
    *,
    limits: Mapping[str, Ends],
    given: Mapping[str, float],
    choices: Mapping[str, Sequence[float]] | None = None,
    target: float | None = None,
    attempts: Attempts | None = None,
) -> Question:
    """Build the question with its search box; raise BadPlan if it has no answer."""
    free = [name for name in law.variables if name not in given]
    if not free:
        raise BadPlan("Every variable of the law is given; nothing is left to choose.")
    if target is not None and not is_real(target):
        raise BadPlan(f"The value to reach must be a finite number, got {shown(target)}.")
    _check_costs(law, costs, free, given)
    _check_given(law, costs, given)
    for what, names in (("limits", limits), ("choices", choices or {})):
        unknown_names = [name for name in names if name not in free]
        if unknown_names:
            raise BadPlan(
                f"The {what} have an entry {unknown_names[0]!r}, but this plan chooses "
                f"{', '.join(free)}.{nearest(unknown_names[0], free)}"
            )
    ladders = {name: _read_choices(name, values) for name, values in (choices or {}).items()}
    order = sorted(free, key=lambda name: name not in ladders)  # those with choices come first
    box = {name: _log_limits(name, limits.get(name), ladders.get(name)) for name in order}
    question = Question(
        law, tuple(order), tuple(costs), box, dict(given), ladders, target, 1.0, (), box, attempts
    )
    falling = tuple(_falling_variables(question, cost) for cost, _ in question.costs)
    for (cost, _), names in zip(question.costs[:1], falling[:1], strict=True):
        if names:
            raise BadPlan(
                f"The cost {cost.name!r} does not rise with {', '.join(sorted(names))}, so a "
                "budget does not limit it."
            )
    return _narrow_limits(replace(question, falling=falling), limits)


def _falling_variables(question: Question, cost: Cost) -> frozenset[str]:
    """Return the variables with which a cost falls wherever it depends on them."""
    names = [name for name in question.variables if name in cost.variables]
    ends = [question.limits[name] for name in names]
    axes = [np.linspace(low, min(high, low + SAMPLED_RANGE), 5) for low, high in ends]
    mesh = np.array(list(itertools.product(*axes))).T
    logs: Logs = dict(zip(names, mesh, strict=True)) if names else {}
    found: set[str] = set()
    for name in names:
        slope = np.imag(cost_at(question, cost, {**logs, name: logs[name] + STEP * 1j}))
        moving = slope[np.isfinite(slope) & (slope != 0)]
        if len(moving) and (moving < 0).all():
            found.add(name)
    return frozenset(found)


def _check_costs(
    law: Objective, costs: Sequence[tuple[Cost, float]], free: list[str], given: Mapping[str, float]
) -> None:
    priced = {name for cost, _ in costs for name in cost.variables}
    unknown = [name for name in priced if name not in law.variables and name not in given]
    unpaid = [name for name in free if name not in priced]
    if unpaid:
        raise BadPlan(
            f"The cost {costs[0][0].name!r} does not depend on {', '.join(unpaid)}, so the budget "
            f"does not limit it; give its value (given={{{unpaid[0]!r}: ...}}) or a cost that "
            f"contains it.{nearest(unpaid[0], unknown)}"
        )
    if unknown:
        name = next(cost.name for cost, _ in costs if min(unknown) in cost.variables)
        raise BadPlan(
            f"The cost {name!r} needs {', '.join(sorted(unknown))}, which law {law.name} does not "
            f"have; give its value (given={{{min(unknown)!r}: ...}}, --given {min(unknown)}=...)."
        )


def _check_given(
    law: Objective, costs: Sequence[tuple[Cost, float]], given: Mapping[str, float]
) -> None:
    used = {*law.variables, *(name for cost, _ in costs for name in cost.variables)}
    for name, value in given.items():
        if name not in used:
            raise BadPlan(
                f"The given values have an entry {name!r}, which neither law {law.name} nor the "
                f"cost uses.{nearest(name, used)}"
            )
        if not is_real(value) or (name in law.variables and value <= 0):
            raise BadPlan(f"The given {name} must be a positive number, got {shown(value)}.")


def _read_choices(name: str, values: Sequence[float]) -> tuple[float, ...]:
    numbers: list[float] = []
    if isinstance(values, Iterable) and not isinstance(values, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        numbers = list(values)
    if not numbers or not all(is_real(value) and 0 < value < LARGEST for value in numbers):
        raise BadPlan(f"The choices of {name} must be positive numbers, got {shown(values)}.")
    return tuple(sorted({float(value) for value in numbers}))


def _log_limits(
    name: str, ends: Ends | None, ladder: tuple[float, ...] | None
) -> tuple[float, float]:
    low, high = read_ends(name, ends)
    if ladder is not None:
        inside = [value for value in ladder if low <= value <= high or ends is None]
        if not inside:
            raise BadPlan(f"No choice of {name} lies within its limits {shown(ends)}.")
        low, high = inside[0], inside[-1]
    return float(np.log(low)), float(np.log(high))


def read_ends(name: str, ends: Ends | None) -> tuple[float, float]:
    """Return the limits of a variable as numbers; None, or infinity above, is an open end."""
    if ends is None:
        return SMALLEST, LARGEST
    fault = f"The limits of {name} must be 0 < low <= high, got {shown(ends)}."
    if not isinstance(ends, Sequence) or isinstance(ends, str) or len(ends) != 2:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise BadPlan(fault)
    low = SMALLEST if ends[0] is None else ends[0]
    high = LARGEST if ends[1] is None or ends[1] == np.inf else ends[1]
    if not (is_real(low) and is_real(high) and 0 < low <= high):
        raise BadPlan(fault)
    return float(low), min(float(high), LARGEST)


def _narrow_limits(question: Question, limits: Mapping[str, Ends]) -> Question:
    """Narrow each variable's limits to what the constraints allow: the upper one to what a budget
    pays for with all others at their lower limits, the lower one to what an inequality in that
    variable alone requires. With a target the first cost has no budget."""
    box = dict(question.limits)
    for k in question.budgeted:
        used = [name for name in question.variables if name in question.costs[k][0].variables]
        if question.falls(k) and len(used) == 1:
            low = float(smallest_within_budget(question, question.costs[k], {}, used[0]))
            if not low <= box[used[0]][1]:
                raise BadPlan(
                    f"The constraint {question.costs[k][0].name!r} cannot be met within the limits."
                )
            box[used[0]] = (max(box[used[0]][0], low), box[used[0]][1])
    question = replace(question, limits=box)
    budgeted = [question.costs[k] for k in question.budgeted if not question.falls(k)]
    lowest = {name: question.limits[name][0] for name in question.variables}
    for cost, budget in budgeted:
        if cost_at(question, cost, lowest) > budget * (1 + 1e-12):
            raise BadPlan(_describe_small_budget(question, cost, budget, lowest))
    narrowed: dict[str, tuple[float, float]] = {}
    for name in question.variables:
        low, high = question.limits[name]
        upper_limits = [
            float(largest_within_budget(question, each, dict(lowest), name)) for each in budgeted
        ]
        upper = min((low if np.isnan(each) else each for each in upper_limits), default=high)
        open_ended = name not in limits and name not in question.choices
        if question.target is None and open_ended and upper >= np.log(LARGEST) - 1:
            raise BadPlan(_describe_unlimited(question, lowest, name))
        narrowed[name] = (low, min(high, upper))
    return replace(question, limits=narrowed)


def at_budget(question: Question, budget: float) -> Question:
    """Return the same question under another budget."""
    costs = ((question.cost, budget), *question.costs[1:])
    asked = replace(question, costs=costs, target=None, limits=question.box)
    return _narrow_limits(asked, dict.fromkeys(asked.variables, (None, None)))


def _describe_small_budget(question: Question, cost: Cost, budget: float, lowest: Logs) -> str:
    """Describe a budget that is smaller than the cost of the smallest run."""
    if question.attempts is not None and cost is question.cost:
        k = question.given["k"] if "k" in question.given else np.exp(question.box["k"][0])
        return (
            f"The budget {budget:g} does not pay for the least training and {k:g} attempts at each "
            "query."
        )
    what = ", ".join(f"{name} {np.exp(value):.3g}" for name, value in lowest.items())
    if cost is question.cost:
        return f"The budget {budget:g} does not pay for the smallest run ({what})."
    return f"What {cost.name} may come to, {budget:g}, does not pay for the smallest run ({what})."


def _describe_unlimited(question: Question, lowest: Logs, name: str) -> str:
    """Explain why the budget does not limit a variable."""
    far = lowest | {name: np.log(LARGEST)}
    cost = question.cost
    if cost_at(question, cost, far) > cost_at(question, cost, lowest):
        return f"The budget {question.budget:g} pays for more than any run: {name} {LARGEST:g}."
    return f"The cost {cost.name!r} does not rise with {name}, so a budget does not limit it."
