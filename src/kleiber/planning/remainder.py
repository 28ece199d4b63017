"""What the last variable takes: what is left of a budget, or what brings the law to a target."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from kleiber.planning.problem import (
    Logs,
    Params,
    Question,
    afford,
    aim_on,
    cost_at,
    law_at,
    least_of,
    meet,
)

SPARE = 1e-11  # relative excess over a budget that is none
NEAR = 1e-12  # logarithms of a variable that are none
Array = Float[np.ndarray, "..."]


def _reach(
    question: Question, params: Params, logs: Logs, name: str, near: float
) -> Float[np.ndarray, "..."]:
    """log of the smallest ``name`` that brings the law to the target, the others at ``logs``."""
    low, high = question.limits[name]
    others = [np.shape(z) for key, z in logs.items() if key != name]
    start = np.full(np.broadcast_shapes(*others), low)
    shape = np.shape(law_at(question, params, logs | {name: start}))
    if question.law.expr is None:
        return _bisect(question, params, logs, name, shape, near)
    goal = -_goal(question)
    z = meet(lambda z: -aim_on(question, params, logs | {name: z}), goal, (low, high), shape)
    return np.where(np.isneginf(z), low, np.where(np.isposinf(z), np.nan, z))


def _bisect(
    question: Question, params: Params, logs: Logs, name: str, shape: tuple[int, ...], near: float
) -> Float[np.ndarray, "..."]:
    """``_reach`` for a law that gives no derivatives: by inverse quadratic interpolation inside a
    bracket that is else halved (Chandrupatla 1997), between logarithms where both are positive."""
    goal = _goal(question)

    def missed(z: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        value = np.asarray(aim_on(question, params, logs | {name: z}), dtype=float)
        by = np.log(value / goal) if goal > 0 else value - goal
        return np.where(np.isnan(value), np.inf, np.where(value <= goal, np.fmin(by, 0.0), by))

    with np.errstate(all="ignore"):
        low, high = (np.full(shape, end) for end in question.limits[name])
        first, last = missed(low), missed(high)
        x, f = _bracketed(missed, (low, first), (high, last), near)
    z = np.where(f[0] <= 0, x[0], x[1])
    return np.where(first <= 0, low, np.where(last <= 0, z, np.nan))


def _bracketed(
    function: Callable[[Array], Array],
    low: tuple[Array, Array],
    high: tuple[Array, Array],
    near: float,
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """The ends of brackets of a zero, and the values there, narrowed to ``near``; those without a
    change of sign stay as they are. ``low`` and ``high`` are ends with values."""
    (x1, f1), (x2, f2) = low, high
    x3, f3 = x2, f2
    seek = (f1 > 0) & (f2 <= 0)
    t = np.full(x1.shape, 0.5)
    for _ in range(200):
        if not (seek := seek & (np.abs(x2 - x1) > near)).any():
            break
        x = np.where(seek, x1 + t * (x2 - x1), x1)
        f = np.where(seek, function(x), f1)
        same = (f > 0) == (f1 > 0)
        x3, f3 = np.where(same, x1, x2), np.where(same, f1, f2)
        x2, f2 = np.where(same, x2, x1), np.where(same, f2, f1)
        x1, f1 = np.where(seek, x, x1), np.where(seek, f, f1)
        xi, phi = (x1 - x2) / (x3 - x2), (f1 - f2) / (f3 - f2)
        smooth = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
        share = f1 / (f2 - f1) * f3 / (f2 - f3)
        share = share + (x3 - x1) / (x2 - x1) * f1 / (f3 - f1) * f2 / (f3 - f2)
        least = 0.5 * near / np.abs(x2 - x1)
        t = np.where(smooth & np.isfinite(share), np.clip(share, least, 1 - least), 0.5)
    return (x1, x2), (f1, f2)


def _goal(question: Question) -> float:
    """What the aim is to come to: the target, or minus it where the law is maximised."""
    return question.sense * float(question.target or 0.0)


def take_rest(
    question: Question, params: Params, logs: Logs, name: str, near: float = NEAR
) -> tuple[Float[np.ndarray, "..."], np.ndarray]:
    """The last variable, to ``near`` where it is searched for, and which constraint decides it (-1:
    its own limit); NaN where no value of it meets all of them."""
    z, which = best_rest(question, params, logs, name, near)
    if question.target is not None or question.crossed:
        z = np.where(excess(question, logs | {name: z}) <= SPARE, z, np.nan)
    return z, which


def best_rest(
    question: Question, params: Params, logs: Logs, name: str, near: float = NEAR
) -> tuple[Float[np.ndarray, "..."], np.ndarray]:
    """``take_rest`` before constraints that say nothing about it, or the contrary, are seen."""
    low, high = question.limits[name]
    if question.target is not None:
        z = _reach(question, params, logs, name, near)
        floors = [k for k in question.bills if name in question.falls(k)]
        z = np.asarray(
            np.max(
                np.broadcast_arrays(
                    z, *(least_of(question, question.costs[k], logs, name) for k in floors)
                ),
                axis=0,
            )
        )
        z = _to_choice(question, name, z, up=True)
        return z, np.where(z <= low + 1e-12, -1, 0)
    caps = [
        high if name in question.falls(k) else afford(question, question.costs[k], logs, name)
        for k in question.bills
    ]
    each = np.stack(np.broadcast_arrays(*caps))
    z = np.asarray(each.min(axis=0))
    which = np.where(z >= high - 1e-12, -1, np.argmin(each, axis=0))
    return _to_choice(question, name, z, up=False), which


def excess(question: Question, logs: Logs) -> Float[np.ndarray, "..."]:
    """log of how many times over the dearest of the costs that have a budget is."""
    bills = [question.costs[k] for k in question.bills]
    with np.errstate(divide="ignore", invalid="ignore"):
        over = [np.log(cost_at(question, cost, logs) / budget) for cost, budget in bills]
    return np.asarray(np.max(np.broadcast_arrays(-np.inf, *over), axis=0), dtype=float)


def _to_choice(question: Question, name: str, z: np.ndarray, *, up: bool) -> np.ndarray:
    """The nearest choice above or below, where the variable has choices."""
    if name not in question.choices:
        return z
    ladder = np.log(question.choices[name])
    place = np.searchsorted(ladder, z + (-1e-9 if up else 1e-9), side="left" if up else "right")
    place = place if up else place - 1
    known = (place >= 0) & (place < len(ladder)) & np.isfinite(z)
    return np.where(known, ladder[np.clip(place, 0, len(ladder) - 1)], np.nan)


def objective(question: Question, params: Params, logs: Logs) -> Float[np.ndarray, "..."]:
    if question.target is None:
        return np.asarray(aim_on(question, params, logs), dtype=float)
    return np.asarray(cost_at(question, question.cost, logs), dtype=float)
