"""The best allocation under costs, for many parameter vectors at once.

Two questions, one search. Under a budget the law is minimised and the last variable takes the most
that every cost leaves it; for a target the first cost is minimised and the last variable takes the
least that brings the law to the target. A law of two variables is then a search along one line in
log space: a grid finds the best cell, and the sign of the total derivative
dO/dlog x = O_x - O_y G_x/G_y (subscripts: log derivatives; O the objective, G the constraint that
binds) closes it by bisection. With more variables the grid itself is narrowed around its best
point. Variables with choices (a ladder of sizes) keep to them.
"""

from __future__ import annotations

import itertools
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

GRID = 129
COARSE = 9  # grid along each axis when there are several
ROUNDS = 40  # of narrowing such a grid
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
    """Narrow each upper limit to what the budgets buy with all others at their lower limit."""
    if question.target is not None:
        return question
    least = {name: question.limits[name][0] for name in question.variables}
    for cost, budget in question.costs:
        if _cost_at(question, cost, least) > budget:
            what = ", ".join(f"{name} {np.exp(value):.3g}" for name, value in least.items())
            raise BadPlan(f"the budget {budget:g} does not pay for the smallest run ({what})")
    box: dict[str, tuple[float, float]] = {}
    for name in question.variables:
        low, high = question.limits[name]
        top = min(float(_afford(question, each, dict(least), name)) for each in question.costs)
        if name not in limits and name not in question.choices and top >= np.log(LARGEST) - 1:
            raise BadPlan(_unlimited(question, least, name))
        box[name] = (low, min(high, top))
    return replace(question, limits=box)


def _unlimited(question: Question, least: Logs, name: str) -> str:
    """Why the budget sets no limit to a variable."""
    far = least | {name: np.log(LARGEST)}
    cost = question.cost
    if _cost_at(question, cost, far) > _cost_at(question, cost, least):
        return f"the budget {question.budget:g} pays for more than any run: {name} {LARGEST:g}"
    return f"the cost {cost.name!r} does not rise with {name}"


def _cost_at(question: Question, cost: Cost, logs: Mapping[str, Any]) -> Any:
    return calculate(cost.expr, {**question.given, **_unlog(logs)})


def _unlog(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Values from logarithms; NaN, where there is no allocation, stays NaN in silence."""
    with np.errstate(invalid="ignore"):
        return {name: np.exp(z) for name, z in logs.items()}


def law_at(question: Question, params: Params, logs: Mapping[str, Any]) -> Float[np.ndarray, "..."]:
    """The law at an allocation given by logarithms."""
    return np.asarray(_law_at(question, params, logs), dtype=float)


def _law_at(question: Question, params: Params, logs: Mapping[str, Any]) -> Any:
    """``law_at`` for complex logarithms too, where the law can be traced."""
    values = {**question.given, **_unlog(logs)}
    columns = {name: values[name] for name in question.law.variables}
    if question.law.expr is not None:
        return calculate(question.law.expr, {**columns, **params})
    return question.law(**columns, **params)


def _afford(
    question: Question, priced: tuple[Cost, float], logs: Logs, name: str
) -> Float[np.ndarray, "..."]:
    """log of the largest ``name`` that one budget pays for, the others at ``logs``; NaN if none.

    Newton's method inside a bracket: the logarithm of a cost is nearly straight in logarithms.
    """
    (cost, budget), (low, high) = priced, question.limits[name]
    shape = np.broadcast_shapes(*(np.shape(z) for key, z in logs.items() if key != name))
    left, right = np.full(shape, low), np.full(shape, high)
    nowhere = ~(_cost_at(question, cost, logs | {name: left}) <= budget * (1 + 1e-12))
    plenty = _cost_at(question, cost, logs | {name: right}) <= budget
    z = 0.5 * (left + right)
    for _ in range(100):
        turned = _cost_at(question, cost, logs | {name: z + STEP * 1j})
        price, rise = np.real(turned), np.imag(turned) / STEP
        below = price <= budget
        left, right = np.where(below, z, left), np.where(below, right, z)
        with np.errstate(all="ignore"):
            ahead = z + np.log(budget / price) * price / rise
        inside = (ahead >= left - 1e-13) & (ahead <= right + 1e-13)
        before, z = z, np.where(inside, ahead, 0.5 * (left + right))
        if (nowhere | plenty | (np.abs(z - before) <= 1e-14 * np.maximum(np.abs(z), 1))).all():
            break
    return np.where(nowhere, np.nan, np.where(plenty, high, z))


def _reach(question: Question, params: Params, logs: Logs, name: str) -> Float[np.ndarray, "..."]:
    """log of the smallest ``name`` that brings the law to the target, the others at ``logs``."""

    def missed(z: np.ndarray) -> Any:
        return ~(law_at(question, params, logs | {name: z}) <= question.target)

    low, high = question.limits[name]
    edge = _edge(question, logs, name, missed)
    at_low = ~missed(np.full(edge.shape, low))
    edge = np.where(at_low, low, edge)
    return np.where(~at_low & missed(np.full(edge.shape, high)), np.nan, edge)


def _edge(
    question: Question, logs: Logs, name: str, true_below: Callable[[np.ndarray], Any]
) -> Float[np.ndarray, "..."]:
    """Where a condition that holds below some value ends; NaN if it holds nowhere."""
    low, high = question.limits[name]
    others = [np.asarray(z) for key, z in logs.items() if key != name]
    shape = np.shape(true_below(np.full(np.broadcast_shapes(*(z.shape for z in others)), low)))
    left, right = np.full(shape, low), np.full(shape, high)
    nowhere = ~np.asarray(true_below(left))
    left = np.where(true_below(right), right, left)
    for _ in range(60):
        middle = np.asarray(0.5 * (left + right))
        below = true_below(middle)
        left, right = np.where(below, middle, left), np.where(below, right, middle)
    return np.where(nowhere, np.nan, left)


def _last(
    question: Question, params: Params, logs: Logs, name: str
) -> tuple[Float[np.ndarray, "..."], np.ndarray]:
    """The last variable, and which constraint decides it (-1: its own limit)."""
    if question.target is not None:
        z = _reach(question, params, logs, name)
        for cost, budget in question.costs[1:]:
            spent = _cost_at(question, cost, logs | {name: z})
            z = np.where(spent <= budget * (1 + 1e-12), z, np.nan)
        return _to_choice(question, name, z, up=True), np.where(
            z <= question.limits[name][0] + 1e-12, -1, 0
        )
    each = np.stack(
        np.broadcast_arrays(*(_afford(question, c, logs, name) for c in question.costs))
    )
    z = np.asarray(each.min(axis=0))
    which = np.where(z >= question.limits[name][1] - 1e-12, -1, np.argmin(each, axis=0))
    return _to_choice(question, name, z, up=False), which


def _to_choice(question: Question, name: str, z: np.ndarray, *, up: bool) -> np.ndarray:
    """The nearest choice above or below, where the variable has choices."""
    if name not in question.choices:
        return z
    ladder = np.log(question.choices[name])
    place = np.searchsorted(ladder, z + (-1e-9 if up else 1e-9), side="left" if up else "right")
    place = place if up else place - 1
    known = (place >= 0) & (place < len(ladder)) & np.isfinite(z)
    return np.where(known, ladder[np.clip(place, 0, len(ladder) - 1)], np.nan)


def _objective(question: Question, params: Params, logs: Logs) -> Float[np.ndarray, "..."]:
    if question.target is None:
        return law_at(question, params, logs)
    return np.asarray(_cost_at(question, question.cost, logs), dtype=float)


def allocate(
    question: Question, params: Mapping[str, Float[np.ndarray, "draws"]]
) -> dict[str, Float[np.ndarray, "draws"]]:
    """The best allocation for each parameter vector, with its ``predicted`` loss and ``spent``.

    NaN where no allocation meets every constraint with a finite value.
    """
    *first, last = question.variables
    count = len(next(iter(params.values())))
    if first:
        logs = _grid_search(question, params, first, last)
        if len(first) == 1 and first[0] not in question.choices:
            logs = _close(question, params, first[0], last, logs[first[0]])
    else:
        logs = {last: np.broadcast_to(_last(question, params, {}, last)[0], (count,))}
    out = _unlog({name: logs[name] for name in question.variables})
    out["predicted"] = np.broadcast_to(law_at(question, params, logs), (count,))
    out["spent"] = np.broadcast_to(_cost_at(question, question.cost, logs), (count,))
    return out


def _grid_search(
    question: Question, params: Mapping[str, np.ndarray], first: list[str], last: str
) -> dict[str, np.ndarray]:
    """The best grid point of each draw; with several open axes, narrowed until it stands still."""
    count = len(next(iter(params.values())))
    column = {name: values[:, None] for name, values in params.items()}
    rows = np.arange(count)
    open_axes = [name for name in first if name not in question.choices]
    size = GRID if len(first) == 1 else COARSE
    middle = {n: np.full(count, np.mean(question.limits[n])) for n in first}
    width = {n: np.full(count, 0.5 * np.ptp(question.limits[n])) for n in open_axes}
    logs: dict[str, np.ndarray] = {}
    for _ in range(1 if len(first) == 1 else ROUNDS):
        axes = [_axis(question, name, middle, width, size) for name in first]
        picks = np.array(list(itertools.product(*(range(axis.shape[1]) for axis in axes))))
        logs = {name: axes[k][:, picks[:, k]] for k, name in enumerate(first)}
        logs[last] = _last(question, column, dict(logs), last)[0]
        value = _objective(question, column, dict(logs))
        best = np.argmin(np.where(np.isfinite(value), value, np.inf), axis=1)
        logs = {name: np.broadcast_to(z, value.shape)[rows, best] for name, z in logs.items()}
        middle = {name: logs[name] for name in first}
        width = {name: 0.55 * item for name, item in width.items()}
    return logs


def _axis(
    question: Question,
    name: str,
    middle: Mapping[str, np.ndarray],
    width: Mapping[str, np.ndarray],
    size: int,
) -> Float[np.ndarray, "draws points"]:
    """Grid points of one variable, for each draw."""
    low, high = question.limits[name]
    if name in question.choices:
        ladder = np.log(question.choices[name])
        ladder = ladder[(ladder >= low - 1e-12) & (ladder <= high + 1e-12)]
        return np.broadcast_to(ladder, (len(middle[name]), len(ladder)))
    points = middle[name][:, None] + width[name][:, None] * np.linspace(-1, 1, size)
    return np.clip(points, low, high)


def _close(
    question: Question, params: Params, first: str, last: str, near: np.ndarray
) -> dict[str, np.ndarray]:
    """Bisect the total derivative along the binding constraint inside the neighbouring cells."""
    low, high = question.limits[first]
    cell = (high - low) / (GRID - 1)
    left, right = np.maximum(near - cell, low), np.minimum(near + cell, high)
    # where the objective is flat to rounding, the best grid point says little: look everywhere
    ends = [_slope(question, params, first, last, z) for z in (left, right)]
    lost = (left > low) & (right < high) & ~((ends[0] < 0) & (ends[1] > 0))
    left, right = np.where(lost, low, left), np.where(lost, high, right)
    for _ in range(60):
        middle = 0.5 * (left + right)
        falling = _slope(question, params, first, last, middle) < 0
        left, right = np.where(falling, middle, left), np.where(falling, right, middle)
    middle = 0.5 * (left + right)
    return {first: middle, last: _last(question, params, {first: middle}, last)[0]}


def _slope(
    question: Question, params: Params, first: str, last: str, z: np.ndarray
) -> Float[np.ndarray, "draws"]:
    """dO/dlog(first) along whichever constraint binds."""
    other, which = _last(question, params, {first: z}, last)
    logs = {first: z, last: other}
    traced = question.law.expr is not None
    law = partial(_law_at, question, params)
    prices = [partial(_cost_at, question, cost) for cost, _ in question.costs]
    aim, binding = (law, prices) if question.target is None else (prices[0], [law])
    goal = {name: _log_slope(aim, logs, name, exact=traced) for name in logs}
    slide = np.zeros(np.shape(other))
    for k, constraint in enumerate(binding):
        rise = {name: _log_slope(constraint, logs, name, exact=traced) for name in logs}
        with np.errstate(divide="ignore", invalid="ignore"):
            slide = np.where(which == k, rise[first] / rise[last], slide)
    # beyond what can be paid, turn back; short of what the target needs, go on
    gone = np.inf if question.target is None else -np.inf
    return np.where(np.isnan(other), gone, goal[first] - goal[last] * slide)


def _log_slope(
    function: Callable[[Logs], Any], logs: Logs, name: str, *, exact: bool
) -> Float[np.ndarray, "..."]:
    """Derivative in one logarithm: by the complex step, or for a law that cannot be traced by a
    fourth-order central difference at a step that balances rounding."""
    if exact:
        return np.asarray(np.imag(function({**logs, name: logs[name] + STEP * 1j})) / STEP)
    h = 1e-3
    moved = [function({**logs, name: logs[name] + step * h}) for step in (1, -1, 2, -2)]
    return (8 * (moved[0] - moved[1]) - (moved[2] - moved[3])) / (12 * h)
