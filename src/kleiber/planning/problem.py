"""The problem of a plan: objective, costs with what each may come to, limits; all at an allocation.

Allocations are logarithms of the variables. Objective and costs take complex ones too (derivatives
by the complex step), the objective where it is a law that can be traced.
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

SMALLEST = 1.0  # of a parameter, token or step count, where no limit is given
LARGEST = 1e99
STEP = 1e-30  # of complex-step derivatives

Logs = dict[str, Any]
Params = Mapping[str, Any]
Ends = tuple[float | None, float | None]


@runtime_checkable
class Objective(Protocol):
    """What a plan makes small or large: a Law, or the failure of k attempts."""

    @property
    def name(self) -> str: ...

    @property
    def variables(self) -> tuple[str, ...]: ...

    @property
    def expr(self) -> Expr | None: ...

    def __call__(self, *columns: Any, **named: Any) -> Float[np.ndarray, "..."]: ...


@dataclass(frozen=True)
class Attempts:
    """The parts of a first cost that pays for attempts too: train(x) + queries k attempt(x)."""

    train: Cost
    attempt: Cost
    queries: float


@dataclass(frozen=True)
class Question:
    """What is to be chosen, and under what.

    ``limits`` are logarithms; ``costs`` pairs each cost with what it may come to, and ``falling``
    holds, for each of them, the variables that it falls with (an inequality may). ``sense`` is 1
    where the law is minimised and -1 where it is maximised. With a ``target``, the law is brought
    to it, the first cost is minimised, and its budget unused. ``box`` are the limits before the
    budget narrowed them. With ``attempts``, k is among the variables, and the law may have valleys.
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
    if question.attempts is not None and _is_affine(cost, name):
        return _afford_affine(question, priced, logs, name)
    z = meet(
        partial(_log_cost, question, cost, logs, name),
        float(np.log(budget)),
        question.limits[name],
        np.broadcast_shapes(*(np.shape(each) for key, each in logs.items() if key != name)),
    )
    return np.where(np.isneginf(z), np.nan, np.minimum(z, question.limits[name][1]))


@lru_cache(maxsize=256)
def _is_affine(cost: Cost, name: str) -> bool:
    return name in find_linear(cost.expr, (name,))


def _afford_affine(
    question: Question, priced: tuple[Cost, float], logs: Logs, name: str
) -> Float[np.ndarray, "..."]:
    """``afford`` in closed form, where the cost is affine in the variable."""
    (cost, budget), (low, high) = priced, question.limits[name]
    others = {**question.given, **unlog({key: z for key, z in logs.items() if key != name})}
    turned = calculate(cost.expr, {**others, name: STEP * 1j})
    fixed, each = np.real(turned), np.imag(turned) / STEP
    with np.errstate(all="ignore"):
        most = np.where(each > 0, (budget - fixed) / each, np.inf)
        bad = ~(fixed + each * np.exp(low) <= budget * (1 + 1e-12))
        z = np.log(np.clip(most, np.exp(low), np.exp(high)))
    return np.where(bad, np.nan, np.minimum(np.maximum(z, low), high))


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
