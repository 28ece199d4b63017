"""The last variable of an allocation: what a budget leaves for it, or what brings the law to a
target."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from kleiber.planning.problem import (
    Logs,
    Params,
    Question,
    cost_at,
    find_crossing,
    largest_within_budget,
    law_at,
    signed_law_at,
    smallest_within_budget,
)

EXCESS_TOLERANCE = 1e-11  # relative excess over a budget that is due to rounding
LOG_TOLERANCE = 1e-12  # difference of logarithms that is due to rounding
Array = Float[np.ndarray, "..."]


def _solve_for_target(
    question: Question, params: Params, logs: Logs, name: str, tolerance: float
) -> Float[np.ndarray, "..."]:
    """Return the log of the smallest ``name`` that brings the law to the target, the others at
    ``logs``."""
    low, high = question.limits[name]
    others = [np.shape(z) for key, z in logs.items() if key != name]
    start = np.full(np.broadcast_shapes(*others), low)
    shape = np.shape(law_at(question, params, logs | {name: start}))
    if question.law.expr is None:
        return _bisect(question, params, logs, name, shape, tolerance)
    goal = -_goal(question)
    z = find_crossing(
        lambda z: -signed_law_at(question, params, logs | {name: z}), goal, (low, high), shape
    )
    return np.where(np.isneginf(z), low, np.where(np.isposinf(z), np.nan, z))


def _bisect(
    question: Question,
    params: Params,
    logs: Logs,
    name: str,
    shape: tuple[int, ...],
    tolerance: float,
) -> Float[np.ndarray, "..."]:
    """Solve for the target with a law that has no derivatives, by inverse quadratic interpolation
    inside a bracket with bisection as the fallback (Chandrupatla 1997)."""
    goal = _goal(question)

    def miss(z: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        value = np.asarray(signed_law_at(question, params, logs | {name: z}), dtype=float)
        by = np.log(value / goal) if goal > 0 else value - goal
        return np.where(np.isnan(value), np.inf, np.where(value <= goal, np.fmin(by, 0.0), by))

    with np.errstate(all="ignore"):
        low, high = (np.full(shape, end) for end in question.limits[name])
        first, last = miss(low), miss(high)
        x, f = narrow_brackets(miss, (low, first), (high, last), tolerance)
    z = np.where(f[0] <= 0, x[0], x[1])
    return np.where(first <= 0, low, np.where(last <= 0, z, np.nan))


def narrow_brackets(
    function: Callable[[Array], Array],
    low: tuple[Array, Array],
    high: tuple[Array, Array],
    tolerance: float,
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Narrow brackets of a zero to ``tolerance`` and return their ends and the values there;
    brackets without a change of sign stay as they are. ``low`` and ``high`` are pairs of end and
    value."""
    (x1, f1), (x2, f2) = low, high
    x3, f3 = x2, f2
    active = (f1 > 0) & (f2 <= 0)
    t = np.full(x1.shape, 0.5)
    for _ in range(200):
        if not (active := active & (np.abs(x2 - x1) > tolerance)).any():
            break
        x = np.where(active, x1 + t * (x2 - x1), x1)
        f = np.where(active, function(x), f1)
        same = (f > 0) == (f1 > 0)
        x3, f3 = np.where(same, x1, x2), np.where(same, f1, f2)
        x2, f2 = np.where(same, x2, x1), np.where(same, f2, f1)
        x1, f1 = np.where(active, x, x1), np.where(active, f, f1)
        xi, phi = (x1 - x2) / (x3 - x2), (f1 - f2) / (f3 - f2)
        smooth = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
        share = f1 / (f2 - f1) * f3 / (f2 - f3)
        share = share + (x3 - x1) / (x2 - x1) * f1 / (f3 - f1) * f2 / (f3 - f2)
        minimum = 0.5 * tolerance / np.abs(x2 - x1)
        t = np.where(smooth & np.isfinite(share), np.clip(share, minimum, 1 - minimum), 0.5)
    return (x1, x2), (f1, f2)


def _goal(question: Question) -> float:
    """Return the value that the objective must reach: the target, or minus it if the law is
    maximised."""
    return question.sense * float(question.target or 0.0)


def solve_last(
    question: Question, params: Params, logs: Logs, name: str, tolerance: float = LOG_TOLERANCE
) -> tuple[Float[np.ndarray, "..."], np.ndarray]:
    """Solve for the last variable and return its logarithm (NaN if no value meets all constraints)
    with the position of the constraint that decides it (-1 for its own limit)."""
    z, which = solve_last_unchecked(question, params, logs, name, tolerance)
    if question.target is not None or question.has_falling_cost:
        z = np.where(log_excess(question, logs | {name: z}) <= EXCESS_TOLERANCE, z, np.nan)
    return z, which


def solve_last_unchecked(
    question: Question, params: Params, logs: Logs, name: str, tolerance: float = LOG_TOLERANCE
) -> tuple[Float[np.ndarray, "..."], np.ndarray]:
    """Solve for the last variable before the constraints that do not involve it, or that fall with
    it, are checked."""
    low, high = question.limits[name]
    if question.target is not None:
        z = _solve_for_target(question, params, logs, name, tolerance)
        floors = [k for k in question.budgeted if name in question.falls(k)]
        z = np.asarray(
            np.max(
                np.broadcast_arrays(
                    z,
                    *(
                        smallest_within_budget(question, question.costs[k], logs, name)
                        for k in floors
                    ),
                ),
                axis=0,
            )
        )
        z = _round_to_choice(question, name, z, up=True)
        return z, np.where(z <= low + 1e-12, -1, 0)
    upper = [
        high
        if name in question.falls(k)
        else largest_within_budget(question, question.costs[k], logs, name)
        for k in question.budgeted
    ]
    each = np.stack(np.broadcast_arrays(*upper))
    z = np.asarray(each.min(axis=0))
    which = np.where(z >= high - 1e-12, -1, np.argmin(each, axis=0))
    return _round_to_choice(question, name, z, up=False), which


def log_excess(question: Question, logs: Logs) -> Float[np.ndarray, "..."]:
    """Return the log of the largest ratio of a cost to its limit."""
    budgeted = [question.costs[k] for k in question.budgeted]
    with np.errstate(divide="ignore", invalid="ignore"):
        over = [np.log(cost_at(question, cost, logs) / budget) for cost, budget in budgeted]
    return np.asarray(np.max(np.broadcast_arrays(-np.inf, *over), axis=0), dtype=float)


def _round_to_choice(question: Question, name: str, z: np.ndarray, *, up: bool) -> np.ndarray:
    """Return the nearest choice above or below, if the variable has choices."""
    if name not in question.choices:
        return z
    ladder = np.log(question.choices[name])
    index = np.searchsorted(ladder, z + (-1e-9 if up else 1e-9), side="left" if up else "right")
    index = index if up else index - 1
    valid = (index >= 0) & (index < len(ladder)) & np.isfinite(z)
    return np.where(valid, ladder[np.clip(index, 0, len(ladder) - 1)], np.nan)


def objective(question: Question, params: Params, logs: Logs) -> Float[np.ndarray, "..."]:
    """Return what is minimised at an allocation: the signed law, or the cost if there is a
    target."""
    if question.target is None:
        return np.asarray(signed_law_at(question, params, logs), dtype=float)
    return np.asarray(cost_at(question, question.cost, logs), dtype=float)
