"""The optimisation problem of a plan: its objective, its costs and their limits, at an allocation.

Allocations are logarithms of the variables. Costs accept complex ones too (for derivatives by the
complex step), and so does an objective that is a law that can be traced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from kleiber.formula import Expr, calculate
from kleiber.maths.affine import find_linear
from kleiber.planning.cost import Cost

SMALLEST = 1.0  # value of a variable without a limit
LARGEST = 1e99
STEP = 1e-30  # of complex-step derivatives

Logs = dict[str, Any]
Params = Mapping[str, Any]
Ends = tuple[float | None, float | None]


@runtime_checkable
class Objective(Protocol):
    """What a plan minimises or maximises: a Law, or the failure of k attempts."""

    @property
    def name(self) -> str: ...

    @property
    def variables(self) -> tuple[str, ...]: ...

    @property
    def expr(self) -> Expr | None: ...

    def __call__(self, *columns: Any, **named: Any) -> Float[np.ndarray, "..."]: ...


@dataclass(frozen=True)
class Attempts:
    """The parts of a first cost that includes attempts: train(x) + queries k attempt(x)."""

    train: Cost
    attempt: Cost
    queries: float


@dataclass(frozen=True)
class Question:
    """The problem that a plan solves.

    ``limits`` are logarithms; ``costs`` pairs each cost with its limit, and ``falling`` holds, for
    each of them, the variables with which it falls (only an inequality may). ``sense`` is 1 if the
    law is minimised and -1 if it is maximised. With a ``target``, the law is brought to it at the
    least first cost, whose budget is unused. ``box`` are the limits before the budget narrowed
    them. With ``attempts``, k is among the variables, and the law may have several minima.
    """

    law: Objective
    variables: tuple[str, ...]
    costs: tuple[tuple[Cost, float], ...]
    limits: Mapping[str, tuple[float, float]]
    given: Mapping[str, float]
    choices: Mapping[str, tuple[float, ...]]
    target: float | None = None
    sense: float = 1.0
    falling: tuple[frozenset[str], ...] = ()
    box: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    attempts: Attempts | None = None

    @property
    def budgeted(self) -> tuple[int, ...]:
        """Positions of the costs that have a limit."""
        return tuple(range(0 if self.target is None else 1, len(self.costs)))

    def falls(self, position: int) -> frozenset[str]:
        """Return the variables with which a cost falls."""
        return self.falling[position] if self.falling else frozenset()

    @property
    def has_falling_cost(self) -> bool:
        """Whether a constraint falls with some variable, so that a larger value helps to meet
        it."""
        return any(self.falling)

    @property
    def budget(self) -> float:
        """The limit of the first cost."""
        return self.costs[0][1]

    @property
    def cost(self) -> Cost:
        """The first cost."""
        return self.costs[0][0]


def cost_at(question: Question, cost: Cost, logs: Mapping[str, Any]) -> Any:
    """Return a cost at an allocation."""
    return calculate(cost.expr, {**question.given, **exponentiate(logs)})


def exponentiate(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Return values from logarithms; NaN stays NaN without a warning."""
    with np.errstate(invalid="ignore"):
        return {name: np.exp(z) for name, z in logs.items()}


def law_at(question: Question, params: Params, logs: Mapping[str, Any]) -> Float[np.ndarray, "..."]:
    """Return the law at an allocation."""
    return np.asarray(complex_law_at(question, params, logs), dtype=float)


def complex_law_at(question: Question, params: Params, logs: Mapping[str, Any]) -> Any:
    """Return the law at an allocation, which may be complex if the law can be traced."""
    values = {**question.given, **exponentiate(logs)}
    columns = {name: values[name] for name in question.law.variables}
    if question.law.expr is not None:
        return calculate(question.law.expr, {**columns, **params})
    return question.law(**columns, **params)


def signed_law_at(question: Question, params: Params, logs: Mapping[str, Any]) -> Any:
    """Return the law, or minus the law if it is maximised, so that smaller is better."""
    value = complex_law_at(question, params, logs)
    return value if question.sense > 0 else -value


def largest_within_budget(
    question: Question, priced: tuple[Cost, float], logs: Logs, name: str
) -> Float[np.ndarray, "..."]:
    """Return the log of the largest ``name`` that a budget allows, the others at ``logs`` (NaN if
    none)."""
    cost, budget = priced
    if _is_affine(cost, name):
        return _largest_in_closed_form(question, priced, logs, name)
    z = find_crossing(
        partial(_log_cost, question, cost, logs, name),
        float(np.log(budget)),
        question.limits[name],
        np.broadcast_shapes(*(np.shape(each) for key, each in logs.items() if key != name)),
    )
    return np.where(np.isneginf(z), np.nan, np.minimum(z, question.limits[name][1]))


@lru_cache(maxsize=256)
def _is_affine(cost: Cost, name: str) -> bool:
    return name in find_linear(cost.expr, (name,))


def _largest_in_closed_form(
    question: Question, priced: tuple[Cost, float], logs: Logs, name: str
) -> Float[np.ndarray, "..."]:
    """Return ``largest_within_budget`` for a cost that is affine in the variable."""
    (cost, budget), (low, high) = priced, question.limits[name]
    others = {**question.given, **exponentiate({key: z for key, z in logs.items() if key != name})}
    perturbed = calculate(cost.expr, {**others, name: STEP * 1j})
    fixed, each = np.real(perturbed), np.imag(perturbed) / STEP
    with np.errstate(all="ignore"):
        largest = np.where(each > 0, (budget - fixed) / each, np.inf)
        bad = ~(fixed + each * np.exp(low) <= budget * (1 + 1e-12))
        z = np.log(np.clip(largest, np.exp(low), np.exp(high)))
    return np.where(bad, np.nan, np.minimum(np.maximum(z, low), high))


def smallest_within_budget(
    question: Question, priced: tuple[Cost, float], logs: Logs, name: str
) -> Float[np.ndarray, "..."]:
    """Return the log of the smallest ``name`` that brings a cost that falls with it below its
    limit, the others at ``logs`` (infinite if none)."""
    cost, limit = priced
    low, high = question.limits[name]
    z = find_crossing(
        lambda z: -_log_cost(question, cost, logs, name, z),
        -float(np.log(limit)),
        (low, high),
        np.broadcast_shapes(*(np.shape(each) for key, each in logs.items() if key != name)),
    )
    return np.where(np.isneginf(z), low, z + 1e-12)


def _log_cost(question: Question, cost: Cost, logs: Logs, name: str, z: Any) -> Any:
    """Return the logarithm of a cost at ``name`` = exp(z), very small if the cost is not
    positive."""
    spent = cost_at(question, cost, logs | {name: z})
    return np.log(np.where(np.real(spent) > 0, spent, 1e-300))


def find_crossing(
    rising: Callable[[Any], Any], goal: float, ends: tuple[float, float], shape: tuple[int, ...]
) -> Float[np.ndarray, "..."]:
    """Find where a rising function equals ``goal`` between ``ends``; -inf or inf if that lies
    outside.

    Newton's method with derivatives by the complex step, inside a bracket: what grows like a power
    is nearly straight in logarithms.
    """
    left, right = np.full(shape, ends[0]), np.full(shape, ends[1])
    with np.errstate(all="ignore"):
        above, below = rising(left) > goal + 1e-12, rising(right) <= goal
        z = 0.5 * (left + right)
        for _ in range(100):
            perturbed = rising(z + STEP * 1j)
            value, slope = np.real(perturbed), np.imag(perturbed) / STEP
            left, right = np.where(value <= goal, z, left), np.where(value <= goal, right, z)
            ahead = z + (goal - value) / slope
            inside = (ahead >= left - 1e-13) & (ahead <= right + 1e-13)
            before, z = z, np.where(inside, ahead, 0.5 * (left + right))
            still = np.abs(z - before) <= 1e-14 * np.maximum(np.abs(z), 1)
            if (above | below | still).all():
                break
    return np.where(above, -np.inf, np.where(below, np.inf, z))
