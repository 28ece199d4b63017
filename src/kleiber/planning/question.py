"""What a plan is asked: law, costs with what each may come to, limits; and both at an allocation.

Allocations are logarithms of the variables. Law and costs take complex ones too (derivatives by
the complex step), the law where it can be traced.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from kleiber.errors import BadPlan, nearest, shown
from kleiber.formula import calculate
from kleiber.law import Law
from kleiber.planning.amounts import is_real
from kleiber.planning.cost import Cost

SMALLEST = 1.0  # of a parameter, token or step count, where no limit is given
LARGEST = 1e99
STEP = 1e-30  # of complex-step derivatives
SAMPLED = 80.0  # logarithms of a variable, from its least, over which a cost's slopes are sampled

Logs = dict[str, Any]
Params = Mapping[str, Any]
Ends = tuple[float | None, float | None]


@dataclass(frozen=True)
class Question:
    """What is to be chosen, and under what.

    ``limits`` are logarithms; ``costs`` pairs each cost with what it may come to, and ``falling``
    holds, for each of them, the variables that it falls with (an inequality may). ``sense`` is 1
    where the law is minimised and -1 where it is maximised. With a ``target``, the law is brought
    to it, the first cost is minimised, and its budget unused.
    """

    law: Law
    variables: tuple[str, ...]
    costs: tuple[tuple[Cost, float], ...]
    limits: Mapping[str, tuple[float, float]]
    given: Mapping[str, float]
    choices: Mapping[str, tuple[float, ...]]
    target: float | None = None
    sense: float = 1.0
    falling: tuple[frozenset[str], ...] = ()

    @property
    def bills(self) -> tuple[int, ...]:
        """Positions of the costs that something limits."""
        return tuple(range(0 if self.target is None else 1, len(self.costs)))

    def falls(self, position: int) -> frozenset[str]:
        """The variables that a cost falls with."""
        return self.falling[position] if self.falling else frozenset()

    @property
    def crossed(self) -> bool:
        """Whether a constraint falls with some variable, so that more of it helps to meet it."""
        return any(self.falling)

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
    limits: Mapping[str, Ends],
    given: Mapping[str, float],
    choices: Mapping[str, Sequence[float]] | None = None,
    target: float | None = None,
) -> Question:
    """The question with its search box; raises BadPlan where it has no answer."""
    free = [name for name in law.variables if name not in given]
    if not free:
        raise BadPlan("Every variable of the law is given; nothing is left to choose.")
    if target is not None and not is_real(target):
        raise BadPlan(f"The value to reach must be a finite number, got {shown(target)}.")
    _check_costs(law, costs, free, given)
    _check_given(law, costs, given)
    for what, names in (("limits", limits), ("choices", choices or {})):
        strange = [name for name in names if name not in free]
        if strange:
            raise BadPlan(
                f"The {what} name {strange[0]!r}, and this plan chooses {', '.join(free)}."
                f"{nearest(strange[0], free)}"
            )
    ladders = {name: _ladder(name, values) for name, values in (choices or {}).items()}
    order = sorted(free, key=lambda name: name not in ladders)  # those with choices come first
    box = {name: _log_limits(name, limits.get(name), ladders.get(name)) for name in order}
    question = Question(law, tuple(order), tuple(costs), box, dict(given), ladders, target)
    falling = tuple(_falling(question, cost) for cost, _ in question.costs)
    for (cost, _), names in zip(question.costs[:1], falling[:1], strict=True):
        if names:
            raise BadPlan(
                f"The cost {cost.name!r} does not rise with {', '.join(sorted(names))}, so a "
                "budget does not limit it."
            )
    return _bounded(replace(question, falling=falling), limits)


def _falling(question: Question, cost: Cost) -> frozenset[str]:
    """The variables that a cost falls with wherever it moves with them at all."""
    names = [name for name in question.variables if name in cost.variables]
    ends = [question.limits[name] for name in names]
    axes = [np.linspace(low, min(high, low + SAMPLED), 5) for low, high in ends]
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
    law: Law, costs: Sequence[tuple[Cost, float]], free: list[str], given: Mapping[str, float]
) -> None:
    paid = {name for cost, _ in costs for name in cost.variables}
    unknown = [name for name in paid if name not in law.variables and name not in given]
    unpaid = [name for name in free if name not in paid]
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


def _check_given(law: Law, costs: Sequence[tuple[Cost, float]], given: Mapping[str, float]) -> None:
    used = {*law.variables, *(name for cost, _ in costs for name in cost.variables)}
    for name, value in given.items():
        if name not in used:
            raise BadPlan(
                f"The given values name {name!r}, which neither law {law.name} nor the cost uses."
                f"{nearest(name, used)}"
            )
        if not is_real(value) or (name in law.variables and value <= 0):
            raise BadPlan(f"The given {name} must be a positive number, got {shown(value)}.")


def _ladder(name: str, values: Sequence[float]) -> tuple[float, ...]:
    some: list[float] = []
    if isinstance(values, Iterable) and not isinstance(values, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        some = list(values)
    if not some or not all(is_real(value) and 0 < value < LARGEST for value in some):
        raise BadPlan(f"The choices of {name} must be positive numbers, got {shown(values)}.")
    return tuple(sorted({float(value) for value in some}))


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
    """The limits of a variable as numbers; an end that is None, or infinite above, is open."""
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


def _bounded(question: Question, limits: Mapping[str, Ends]) -> Question:
    """Narrow each upper limit to what the budgets buy with all others at their lower limit, which
    is raised to what an inequality asks of that variable alone. With a target the first cost has
    no budget."""
    box = dict(question.limits)
    for k in question.bills:
        used = [name for name in question.variables if name in question.costs[k][0].variables]
        if question.falls(k) and len(used) == 1:
            low = float(least_of(question, question.costs[k], {}, used[0]))
            if not low <= box[used[0]][1]:
                raise BadPlan(
                    f"The constraint {question.costs[k][0].name!r} cannot be met within the limits."
                )
            box[used[0]] = (max(box[used[0]][0], low), box[used[0]][1])
    question = replace(question, limits=box)
    bills = [question.costs[k] for k in question.bills if not question.falls(k)]
    least = {name: question.limits[name][0] for name in question.variables}
    for cost, budget in bills:
        if cost_at(question, cost, least) > budget * (1 + 1e-12):
            raise BadPlan(_too_little(question, cost, budget, least))
    narrowed: dict[str, tuple[float, float]] = {}
    for name in question.variables:
        low, high = question.limits[name]
        tops = [float(afford(question, each, dict(least), name)) for each in bills]
        top = min((low if np.isnan(each) else each for each in tops), default=high)
        open_ended = name not in limits and name not in question.choices
        if question.target is None and open_ended and top >= np.log(LARGEST) - 1:
            raise BadPlan(_unlimited(question, least, name))
        narrowed[name] = (low, min(high, top))
    return replace(question, limits=narrowed)


def _too_little(question: Question, cost: Cost, budget: float, least: Logs) -> str:
    """That a budget is less than the smallest run takes."""
    what = ", ".join(f"{name} {np.exp(value):.3g}" for name, value in least.items())
    if cost is question.cost:
        return f"The budget {budget:g} does not pay for the smallest run ({what})."
    return f"What {cost.name} may come to, {budget:g}, does not pay for the smallest run ({what})."


def _unlimited(question: Question, least: Logs, name: str) -> str:
    """Why the budget sets no limit to a variable."""
    far = least | {name: np.log(LARGEST)}
    cost = question.cost
    if cost_at(question, cost, far) > cost_at(question, cost, least):
        return f"The budget {question.budget:g} pays for more than any run: {name} {LARGEST:g}."
    return f"The cost {cost.name!r} does not rise with {name}, so a budget does not limit it."


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


def aim_on(question: Question, params: Params, logs: Mapping[str, Any]) -> Any:
    """The law, or where it is maximised minus the law: what is to be small."""
    value = law_on(question, params, logs)
    return value if question.sense > 0 else -value


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


def least_of(
    question: Question, priced: tuple[Cost, float], logs: Logs, name: str
) -> Float[np.ndarray, "..."]:
    """log of the smallest ``name`` for which a cost that falls with it comes to no more than it
    may, the others at ``logs``; infinite if there is none."""
    cost, most = priced
    low, high = question.limits[name]
    z = meet(
        lambda z: -_log_cost(question, cost, logs, name, z),
        -float(np.log(most)),
        (low, high),
        np.broadcast_shapes(*(np.shape(each) for key, each in logs.items() if key != name)),
    )
    return np.where(np.isneginf(z), low, z + 1e-12)


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
