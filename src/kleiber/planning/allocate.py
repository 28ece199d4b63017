"""The allocation of a budget that minimises a law, for many parameter vectors at once.

The last variable takes what the budget leaves after the others (the cost rises in it), so a law
of two variables is a search along one line in log space: a grid finds the best cell, and the sign
of the total derivative dL/dlog x = L_x - L_y C_x/C_y (subscripts: log derivatives) closes it by
bisection. With more variables the grid itself is narrowed around the best point.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from kleiber.errors import BadPlan
from kleiber.formula import calculate
from kleiber.law import Law
from kleiber.planning.cost import Cost

GRID = 129
SMALLEST = 1.0  # of a parameter, token or step count, where no limit is given


@dataclass(frozen=True)
class Question:
    """Minimise ``law`` over ``variables`` with cost(variables) = budget, inside ``limits`` (log).

    ``given`` are columns of law or cost that are not chosen.
    """

    law: Law
    cost: Cost
    budget: float
    variables: tuple[str, ...]
    limits: Mapping[str, tuple[float, float]]
    given: Mapping[str, float]


def ask(
    law: Law,
    cost: Cost,
    budget: float,
    limits: Mapping[str, tuple[float, float]],
    given: Mapping[str, float],
) -> Question:
    """The question with its search box; raises BadPlan where it has no answer."""
    wanted = [name for name in (*law.variables, *cost.variables) if name not in given]
    unpaid = [name for name in law.variables if name not in cost.variables and name not in given]
    if unpaid:
        raise BadPlan(
            f"the cost {cost.name!r} does not depend on {', '.join(unpaid)}, so the budget does not "
            f"limit it; give its value (given={{{unpaid[0]!r}: ...}}) or a cost that contains it"
        )
    idle = [name for name in cost.variables if name not in law.variables and name not in given]
    if idle:
        raise BadPlan(
            f"the cost {cost.name!r} needs {', '.join(idle)}, which law {law.name} does not have; "
            f"give its value (given={{{idle[0]!r}: ...}})"
        )
    strange = [name for name in limits if name not in wanted]
    if strange:
        raise BadPlan(f"limits name {strange[0]!r}; this plan chooses {', '.join(law.variables)}")
    variables = tuple(name for name in law.variables if name not in given)
    if not variables:
        raise BadPlan("every variable of the law is given; nothing is left to choose")
    box = {name: _log_limits(name, limits.get(name)) for name in variables}
    question = Question(law, cost, budget, variables, box, dict(given))
    return _bounded(question, limits)


def _log_limits(name: str, ends: tuple[float, float] | None) -> tuple[float, float]:
    if ends is None:
        return np.log(SMALLEST), 230.0
    low, high = float(ends[0]), float(ends[1])
    if not 0 < low <= high:
        raise BadPlan(f"limits of {name} must be 0 < low <= high, got {ends}")
    return np.log(low), min(np.log(high), 230.0)


def _bounded(question: Question, limits: Mapping[str, tuple[float, float]]) -> Question:
    """Narrow each upper limit to what the budget buys with all others at their lower limit."""
    least = {name: question.limits[name][0] for name in question.variables}
    if _cost_at(question, least) > question.budget:
        what = ", ".join(f"{name} {np.exp(value):.3g}" for name, value in least.items())
        raise BadPlan(f"the budget {question.budget:g} does not pay for the smallest run ({what})")
    box = {}
    for name in question.variables:
        low, high = question.limits[name]
        top = float(_afford(question, {**least}, name))
        box[name] = (low, min(high, top))
        if name not in limits and top >= 229.0:
            raise BadPlan(f"the cost {question.cost.name!r} does not rise with {name}")
    return Question(
        question.law, question.cost, question.budget, question.variables, box, question.given
    )


def _cost_at(question: Question, logs: Mapping[str, Any]) -> Any:
    values = {name: np.exp(z) for name, z in logs.items()}
    return calculate(question.cost.expr, {**question.given, **values})


def _afford(question: Question, logs: dict[str, Any], name: str) -> Float[np.ndarray, "..."]:
    """log of the largest ``name`` that the budget pays for, the others at ``logs``."""
    others = [np.asarray(z) for key, z in logs.items() if key != name]
    shape = np.broadcast_shapes(*(z.shape for z in others)) if others else ()
    low, high = np.full(shape, question.limits[name][0]), np.full(shape, question.limits[name][1])
    affordable = _cost_at(question, logs | {name: low}) <= question.budget * (1 + 1e-12)
    plenty = _cost_at(question, logs | {name: high}) <= question.budget
    low = np.where(plenty, high, low)
    for _ in range(60):
        middle = 0.5 * (low + high)
        paid = _cost_at(question, logs | {name: middle}) <= question.budget
        low, high = np.where(paid, middle, low), np.where(paid, high, middle)
    return np.where(affordable, low, np.nan)


def _loss(
    question: Question, params: Mapping[str, Any], logs: Mapping[str, Any]
) -> Float[np.ndarray, "..."]:
    values = {name: np.exp(z) for name, z in logs.items()}
    columns = {name: {**question.given, **values}[name] for name in question.law.variables}
    return np.asarray(question.law(**columns, **params), dtype=float)


def allocate(
    question: Question, params: Mapping[str, Float[np.ndarray, "draws"]]
) -> dict[str, Float[np.ndarray, "draws"]]:
    """The best allocation for each parameter vector, and its ``predicted`` loss.

    NaN where no affordable allocation gives a finite loss.
    """
    *first, last = question.variables
    count = len(next(iter(params.values())))
    column = {name: values[:, None] for name, values in params.items()}
    if not first:
        logs: dict[str, Any] = {last: np.full(count, _afford(question, {}, last))}
    else:
        logs = _grid_search(question, column, first, last)
        if len(first) == 1:
            logs = _close(question, params, first[0], last, logs[first[0]])
    out = {name: np.exp(logs[name]) for name in question.variables}
    out["predicted"] = np.broadcast_to(_loss(question, params, logs), (count,))
    return out


def _grid_search(
    question: Question, column: Mapping[str, np.ndarray], first: list[str], last: str
) -> dict[str, np.ndarray]:
    """The best grid point for each draw; narrowed to rounding when there are several axes."""
    count = len(next(iter(column.values())))
    size = GRID if len(first) == 1 else 9
    middle = {n: np.full(count, np.mean(question.limits[n])) for n in first}
    width = {n: np.full(count, 0.5 * np.ptp(question.limits[n])) for n in first}
    unit = np.array(list(itertools.product(np.linspace(-1, 1, size), repeat=len(first))))
    logs: dict[str, np.ndarray] = {}
    for _ in range(1 if len(first) == 1 else 40):
        logs = {
            n: np.clip(middle[n][:, None] + width[n][:, None] * unit[:, k], *question.limits[n])
            for k, n in enumerate(first)
        }
        logs[last] = _afford(question, dict(logs), last)
        loss = _loss(question, column, logs)
        best = np.argmin(np.where(np.isfinite(loss), loss, np.inf), axis=1)
        rows = np.arange(count)
        middle = {n: logs[n][rows, best] for n in first}
        width = {n: 0.55 * item for n, item in width.items()}
        logs = middle | {last: logs[last][rows, best]}
    return logs


def _close(
    question: Question, params: Mapping[str, np.ndarray], first: str, last: str, near: np.ndarray
) -> dict[str, np.ndarray]:
    """Bisect the total derivative along the budget line inside the neighbouring grid cells."""
    low, high = question.limits[first]
    cell = (high - low) / (GRID - 1)
    left, right = np.maximum(near - cell, low), np.minimum(near + cell, high)
    for _ in range(60):
        middle = 0.5 * (left + right)
        rising = _slope(question, params, first, last, middle) > 0
        left, right = np.where(rising, left, middle), np.where(rising, middle, right)
    middle = 0.5 * (left + right)
    return {first: middle, last: _afford(question, {first: middle}, last)}


def _slope(
    question: Question, params: Mapping[str, np.ndarray], first: str, last: str, z: np.ndarray
) -> Float[np.ndarray, "draws"]:
    """dL/dlog(first) along the budget line."""
    other = _afford(question, {first: z}, last)
    logs = {first: z, last: other}
    law, cost = _log_slopes(question, params, logs)
    bound = other >= question.limits[last][1] - 1e-12  # more of the first is free there
    slide = np.where(bound, 0.0, cost[first] / cost[last])
    slope = law[first] - law[last] * slide
    return np.where(np.isnan(other), np.inf, slope)


def _log_slopes(
    question: Question, params: Mapping[str, np.ndarray], logs: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Log-space derivatives of law and cost with respect to each variable."""
    law, cost = {}, {}
    for name in logs:
        law[name] = _step(lambda s, n=name: _loss(question, params, {**logs, n: logs[n] + s}))
        cost[name] = _step(lambda s, n=name: _cost_at(question, {**logs, n: logs[n] + s}))
    return law, cost


def _step(function: Any) -> np.ndarray:
    """Fourth-order central difference at a step that balances rounding."""
    h = 1e-3
    near, far = function(h) - function(-h), function(2 * h) - function(-2 * h)
    return (8 * near - far) / (12 * h)
