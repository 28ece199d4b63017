"""What a plan is asked: law, costs with what each may come to, limits; and both at an allocation.

Allocations are logarithms of the variables. Law and costs take complex ones too (derivatives by
the complex step), the law where it can be traced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from kleiber.errors import BadPlan, nearest
from kleiber.formula import calculate
from kleiber.law import Law
from kleiber.planning.cost import Cost

SMALLEST = 1.0  # of a parameter, token or step count, where no limit is given
LARGEST = 1e99
STEP = 1e-30  # of complex-step derivatives

Logs = dict[str, Any]
Params = Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """What is to be chosen, and under what. ``limits`` are logarithms; ``costs`` pairs each cost
    with what may be spent; with a ``target``, the first cost is minimised and its budget unused."""

    law: Law
    variables: tuple[str, ...]
    costs: tuple[tuple[Cost, float], ...]
    limits: Mapping[str, tuple[float, float]]
    given: Mapping[str, float]
    choices: Mapping[str, tuple[float, ...]]
    target: float | None = None

    @property
    def budget(self) -> float:
        """What the first cost may come to."""
        return self.costs[0][1]

    @property
    def cost(self) -> Cost:
        """The first cost."""
        return self.costs[0][0]


def ask(
    law: Law,
    costs: Sequence[tuple[Cost, float]],
    *,
    limits: Mapping[str, tuple[float, float]],
    given: Mapping[str, float],
    choices: Mapping[str, Sequence[float]] | None = None,
    target: float | None = None,
) -> Question:
    """The question with its search box; raises BadPlan where it has no answer."""
    free = [name for name in law.variables if name not in given]
    if not free:
        raise BadPlan("every variable of the law is given; nothing is left to choose")
    _check_costs(law, costs, free, given)
    _check_given(law, costs, given)
    for what, names in (("limits", limits), ("choices", choices or {})):
        strange = [name for name in names if name not in free]
        if strange:
            raise BadPlan(f"{what} name {strange[0]!r}; this plan chooses {', '.join(free)}")
    ladders = {name: _ladder(name, values) for name, values in (choices or {}).items()}
    order = sorted(free, key=lambda name: name not in ladders)  # those with choices come first
    box = {name: _log_limits(name, limits.get(name), ladders.get(name)) for name in order}
    question = Question(law, tuple(order), tuple(costs), box, dict(given), ladders, target)
    return _bounded(question, limits)


def _check_costs(
    law: Law, costs: Sequence[tuple[Cost, float]], free: list[str], given: Mapping[str, float]
) -> None:
    paid = {name for cost, _ in costs for name in cost.variables}
    unknown = [name for name in paid if name not in law.variables and name not in given]
    unpaid = [name for name in free if name not in paid]
    if unpaid:
        raise BadPlan(
            f"the cost {costs[0][0].name!r} does not depend on {', '.join(unpaid)}, so the budget "
            f"does not limit it; give its value (given={{{unpaid[0]!r}: ...}}) or a cost that "
            f"contains it.{nearest(unpaid[0], unknown)}"
        )
    if unknown:
        name = next(cost.name for cost, _ in costs if min(unknown) in cost.variables)
        raise BadPlan(
            f"the cost {name!r} needs {', '.join(sorted(unknown))}, which law {law.name} does not "
            f"have; give its value (given={{{min(unknown)!r}: ...}})"
        )


def _check_given(law: Law, costs: Sequence[tuple[Cost, float]], given: Mapping[str, float]) -> None:
    used = {*law.variables, *(name for cost, _ in costs for name in cost.variables)}
    for name, value in given.items():
        if name not in used:
            raise BadPlan(
                f"given names {name!r}, which neither law {law.name} nor the cost uses."
                f"{nearest(name, used)}"
            )
        if not np.isfinite(value) or (name in law.variables and value <= 0):
            raise BadPlan(f"given {name} must be a positive number, got {value}")


def _ladder(name: str, values: Sequence[float]) -> tuple[float, ...]:
    ladder = tuple(sorted({float(value) for value in values}))
    if not ladder or not (0 < ladder[0] and ladder[-1] < LARGEST):
        raise BadPlan(f"choices of {name} must be positive numbers, got {tuple(values)}")
    return ladder


def _log_limits(
    name: str, ends: tuple[float, float] | None, ladder: tuple[float, ...] | None
) -> tuple[float, float]:
    low, high = (SMALLEST, LARGEST) if ends is None else (float(ends[0]), float(ends[1]))
    if not 0 < low <= high:
        raise BadPlan(f"limits of {name} must be 0 < low <= high, got {ends}")
    if ladder is not None:
        inside = [value for value in ladder if low <= value <= high or ends is None]
        if not inside:
            raise BadPlan(f"no choice of {name} lies within its limits {ends}")
        low, high = inside[0], inside[-1]
    return float(np.log(low)), float(np.log(min(high, LARGEST)))


def _bounded(question: Question, limits: Mapping[str, tuple[float, float]]) -> Question:
    """Narrow each upper limit to what the budgets buy with all others at their lower limit. With a
    target the first cost has no budget."""
    bills = question.costs if question.target is None else question.costs[1:]
    least = {name: question.limits[name][0] for name in question.variables}
    for cost, budget in bills:
        if cost_at(question, cost, least) > budget:
            what = ", ".join(f"{name} {np.exp(value):.3g}" for name, value in least.items())
            raise BadPlan(f"the budget {budget:g} does not pay for the smallest run ({what})")
    box: dict[str, tuple[float, float]] = {}
    for name in question.variables:
        low, high = question.limits[name]
        tops = [float(afford(question, each, dict(least), name)) for each in bills]
        top = min(tops, default=high)
        open_ended = name not in limits and name not in question.choices
        if question.target is None and open_ended and top >= np.log(LARGEST) - 1:
            raise BadPlan(_unlimited(question, least, name))
        box[name] = (low, min(high, top))
    return replace(question, limits=box)


def _unlimited(question: Question, least: Logs, name: str) -> str:
    """Why the budget sets no limit to a variable."""
    far = least | {name: np.log(LARGEST)}
    cost = question.cost
    if cost_at(question, cost, far) > cost_at(question, cost, least):
        return f"the budget {question.budget:g} pays for more than any run: {name} {LARGEST:g}"
    return f"the cost {cost.name!r} does not rise with {name}"


def cost_at(question: Question, cost: Cost, logs: Mapping[str, Any]) -> Any:
    """A cost at an allocation."""
    return calculate(cost.expr, {**question.given, **unlog(logs)})


def unlog(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Values from logarithms; NaN, where there is no allocation, stays NaN in silence."""
    with np.errstate(invalid="ignore"):
        return {name: np.exp(z) for name, z in logs.items()}


def law_at(question: Question, params: Params, logs: Mapping[str, Any]) -> Float[np.ndarray, "..."]:
    """The law at an allocation."""
    return np.asarray(law_on(question, params, logs), dtype=float)


def law_on(question: Question, params: Params, logs: Mapping[str, Any]) -> Any:
    """``law_at`` for complex logarithms too, where the law can be traced."""
    values = {**question.given, **unlog(logs)}
    columns = {name: values[name] for name in question.law.variables}
    if question.law.expr is not None:
        return calculate(question.law.expr, {**columns, **params})
    return question.law(**columns, **params)


def afford(
    question: Question, priced: tuple[Cost, float], logs: Logs, name: str
) -> Float[np.ndarray, "..."]:
    """log of the largest ``name`` that one budget pays for, the others at ``logs``; NaN if none."""
    cost, budget = priced
    z = meet(
        partial(_log_cost, question, cost, logs, name),
        float(np.log(budget)),
        question.limits[name],
        np.broadcast_shapes(*(np.shape(each) for key, each in logs.items() if key != name)),
    )
    return np.where(np.isneginf(z), np.nan, np.minimum(z, question.limits[name][1]))


def _log_cost(question: Question, cost: Cost, logs: Logs, name: str, z: Any) -> Any:
    """The logarithm of a cost at ``name`` = exp(z); far below all where it is not positive."""
    spent = cost_at(question, cost, logs | {name: z})
    return np.log(np.where(np.real(spent) > 0, spent, 1e-300))


def meet(
    rising: Callable[[Any], Any], goal: float, ends: tuple[float, float], shape: tuple[int, ...]
) -> Float[np.ndarray, "..."]:
    """Where a rising function meets ``goal`` between ``ends``; -inf or inf if below or above them.

    Newton's method with derivatives by the complex step, inside a bracket: what grows like a power
    is nearly straight in logarithms.
    """
    left, right = np.full(shape, ends[0]), np.full(shape, ends[1])
    with np.errstate(all="ignore"):
        above, below = rising(left) > goal + 1e-12, rising(right) <= goal
        z = 0.5 * (left + right)
        for _ in range(100):
            turned = rising(z + STEP * 1j)
            value, slope = np.real(turned), np.imag(turned) / STEP
            left, right = np.where(value <= goal, z, left), np.where(value <= goal, right, z)
            ahead = z + (goal - value) / slope
            inside = (ahead >= left - 1e-13) & (ahead <= right + 1e-13)
            before, z = z, np.where(inside, ahead, 0.5 * (left + right))
            still = np.abs(z - before) <= 1e-14 * np.maximum(np.abs(z), 1)
            if (above | below | still).all():
                break
    return np.where(above, -np.inf, np.where(below, np.inf, z))
