"""The best allocation under costs, for many parameter vectors at once.

Two questions, one search. Under a budget the law is minimised and the last variable takes the most
that every cost leaves it; for a target the first cost is minimised and the last variable takes the
least that brings the law to the target. A law of two variables is then a search along one line in
log space: a grid finds the best cell, and the sign of the total derivative
dO/dlog x = O_x - O_y G_x/G_y (subscripts: log derivatives; O the objective, G the constraint that
binds) closes it by bisection. With more variables the grid itself is narrowed around its best
point, from which Newton's method on the total derivatives goes on. For a target under further
costs too, whose best allocation may be the edge of a sliver of affordable ones between two points:
while none is seen, the point is best where the dearest of them is exceeded least. Variables with
choices (a ladder of sizes) keep to them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from kleiber.planning.question import (
    STEP,
    Logs,
    Params,
    Question,
    afford,
    aim_on,
    cost_at,
    law_at,
    least_of,
    meet,
    unlog,
)

GRID = 129
COARSE = 9  # grid along each axis when there are several
ROUNDS = 40  # of narrowing such a grid
NEWTON = 8  # steps from its best point
SPARE = 1e-11  # relative excess over a budget that is none


def _reach(question: Question, params: Params, logs: Logs, name: str) -> Float[np.ndarray, "..."]:
    """log of the smallest ``name`` that brings the law to the target, the others at ``logs``."""
    low, high = question.limits[name]
    others = [np.shape(z) for key, z in logs.items() if key != name]
    start = np.full(np.broadcast_shapes(*others), low)
    shape = np.shape(law_at(question, params, logs | {name: start}))
    if question.law.expr is None:
        return _bisect(question, params, logs, name, shape)
    goal = -_goal(question)
    z = meet(lambda z: -aim_on(question, params, logs | {name: z}), goal, (low, high), shape)
    return np.where(np.isneginf(z), low, np.where(np.isposinf(z), np.nan, z))


def _bisect(
    question: Question, params: Params, logs: Logs, name: str, shape: tuple[int, ...]
) -> Float[np.ndarray, "..."]:
    """``_reach`` for a law that gives no derivatives."""
    low, high = question.limits[name]
    left, right = np.full(shape, low), np.full(shape, high)
    for _ in range(60):
        middle = np.asarray(0.5 * (left + right))
        missed = ~(aim_on(question, params, logs | {name: middle}) <= _goal(question))
        left, right = np.where(missed, middle, left), np.where(missed, right, middle)
    reached = aim_on(question, params, logs | {name: right}) <= _goal(question)
    return np.where(reached, right, np.nan)


def _goal(question: Question) -> float:
    """What the aim is to come to: the target, or minus it where the law is maximised."""
    return question.sense * float(question.target or 0.0)


def _last(
    question: Question, params: Params, logs: Logs, name: str
) -> tuple[Float[np.ndarray, "..."], np.ndarray]:
    """The last variable, and which constraint decides it (-1: its own limit); NaN where no value
    of it meets all of them."""
    z, which = _best_last(question, params, logs, name)
    if question.target is not None or question.crossed:
        z = np.where(_excess(question, logs | {name: z}) <= SPARE, z, np.nan)
    return z, which


def _best_last(
    question: Question, params: Params, logs: Logs, name: str
) -> tuple[Float[np.ndarray, "..."], np.ndarray]:
    """``_last`` before constraints that say nothing about it, or the contrary, are looked at."""
    low, high = question.limits[name]
    if question.target is not None:
        z = _reach(question, params, logs, name)
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


def _excess(question: Question, logs: Logs) -> Float[np.ndarray, "..."]:
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


def _objective(question: Question, params: Params, logs: Logs) -> Float[np.ndarray, "..."]:
    if question.target is None:
        return np.asarray(aim_on(question, params, logs), dtype=float)
    return np.asarray(cost_at(question, question.cost, logs), dtype=float)


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
        loose = [name for name in first if name not in question.choices]
        if len(first) == 1 and loose:
            closed = _close(question, params, first[0], last, logs[first[0]])
            logs = _kept(question, params, logs, closed) if _tight(question) else closed
        elif len(first) > 1 and loose and last not in question.choices:
            logs = _polish(question, params, [*loose, last], logs)
    else:
        logs = {last: np.broadcast_to(_last(question, params, {}, last)[0], (count,))}
    out = unlog({name: logs[name] for name in question.variables})
    out["predicted"] = np.broadcast_to(law_at(question, params, logs), (count,))
    out["spent"] = np.broadcast_to(cost_at(question, question.cost, logs), (count,))
    return out


def level_width(question: Question, params: Mapping[str, float]) -> float:
    """Over how many logarithms of a variable what is to be small is the same as at its smallest,
    to rounding; 0 where the smallest stands alone."""
    *first, last = question.variables
    if not first:
        return 0.0
    single = {name: np.array([[value]]) for name, value in params.items()}
    size = GRID if len(first) == 1 else COARSE
    axes = [np.linspace(*question.limits[name], size) for name in first]
    mesh = np.array(list(itertools.product(*axes))).T
    logs: Logs = {name: z[None, :] for name, z in zip(first, mesh, strict=True)}
    logs[last] = _last(question, single, dict(logs), last)[0]
    value = np.broadcast_to(_objective(question, single, logs), (1, mesh.shape[1]))[0]
    known = value[np.isfinite(value)]
    if not len(known):
        return 0.0
    same = mesh[:, value <= known.min() + SPARE * np.abs(known.min())]
    return float(np.ptp(same, axis=1).max()) if same.shape[1] > 2 else 0.0


def _tight(question: Question) -> bool:
    """Whether the allocations that meet every constraint may be a sliver."""
    return question.crossed or (question.target is not None and len(question.costs) > 1)


def _grid_search(
    question: Question, params: Mapping[str, np.ndarray], first: list[str], last: str
) -> dict[str, np.ndarray]:
    """The best grid point of each draw; with several open axes, narrowed until it stands still."""
    count = len(next(iter(params.values())))
    column = {name: values[:, None] for name, values in params.items()}
    rows = np.arange(count)
    open_axes = [name for name in first if name not in question.choices]
    once = not open_axes or (len(first) == 1 and not _tight(question))
    size = GRID if once else COARSE
    middle = {n: np.full(count, np.mean(question.limits[n])) for n in first}
    width = {n: np.full(count, 0.5 * np.ptp(question.limits[n])) for n in open_axes}
    logs: dict[str, np.ndarray] = {}
    for _ in range(1 if once else ROUNDS):
        axes = [_axis(question, name, middle, width, size) for name in first]
        picks = np.array(list(itertools.product(*(range(axis.shape[1]) for axis in axes))))
        logs = {name: axes[k][:, picks[:, k]] for k, name in enumerate(first)}
        logs[last] = _last(question, column, dict(logs), last)[0]
        best = _best_of(question, column, logs, last)
        logs = {n: np.broadcast_to(z, (count, len(picks)))[rows, best] for n, z in logs.items()}
        middle = {name: logs[name] for name in first}
        width = {name: 0.55 * item for name, item in width.items()}
    return logs


def _best_of(question: Question, column: Params, logs: Logs, last: str) -> Int[np.ndarray, "draws"]:
    """The best of each draw's grid points: of those that meet every constraint, else the one that
    exceeds what may be spent least."""
    value = _objective(question, column, dict(logs))
    value = np.where(np.isfinite(value), value, np.inf)
    best = np.argmin(value, axis=1)
    none = ~np.isfinite(value).any(axis=1)
    if _tight(question) and none.any():
        held: Logs = {name: item for name, item in logs.items() if name != last}
        z = _best_last(question, column, held, last)[0]
        over = np.where(np.isfinite(z), _excess(question, logs | {last: z}), np.inf)
        best[none] = np.argmin(np.where(np.isnan(over), np.inf, over), axis=1)[none]
    return best


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
    ends = [_slope(question, params, first, last, {first: z}) for z in (left, right)]
    lost = (left > low) & (right < high) & ~((ends[0] < 0) & (ends[1] > 0))
    left, right = np.where(lost, low, left), np.where(lost, high, right)
    for _ in range(60):
        middle = 0.5 * (left + right)
        falling = _slope(question, params, first, last, {first: middle}) < 0
        left, right = np.where(falling, middle, left), np.where(falling, right, middle)
    middle = 0.5 * (left + right)
    return {first: middle, last: _last(question, params, {first: middle}, last)[0]}


def _polish(
    question: Question, params: Params, loose: list[str], logs: Logs
) -> dict[str, np.ndarray]:
    """Newton's method on the total derivatives of the variables in ``loose`` but the one on which
    the first cost depends most, which takes what is left. Steps that do worse are not taken."""
    price = partial(cost_at, question, question.cost)
    rises = [float(np.nanmedian(_log_slope(price, logs, name, exact=True))) for name in loose]
    last = loose[int(np.argmax(rises))]
    axes = [name for name in loose if name != last]
    low, high = np.array([question.limits[name] for name in axes]).T
    here: dict[str, np.ndarray] = dict(logs)
    for _ in range(NEWTON):
        step = _newton_step(question, params, axes, last, here)
        z = np.clip(np.stack([here[name] for name in axes], axis=1) + step, low, high)
        trial: Logs = here | {name: z[:, k] for k, name in enumerate(axes)}
        trial[last] = _last(question, params, trial, last)[0]
        here = _kept(question, params, here, trial)
    return here


def _kept(question: Question, params: Params, here: Logs, trial: Logs) -> dict[str, np.ndarray]:
    """The trial where it does no worse than what is there."""
    now, then = (_objective(question, params, dict(at)) for at in (here, trial))
    better = np.isfinite(then) & (then <= now + 1e-15 * np.abs(now))
    return {name: np.where(better, trial[name], here[name]) for name in here}


def _newton_step(
    question: Question, params: Params, axes: list[str], last: str, here: Mapping[str, np.ndarray]
) -> Float[np.ndarray, "draws axes"]:
    """The step to where the gradient along the constraint would vanish; zero if there is none."""
    h = 1e-5
    held: Logs = {name: z for name, z in here.items() if name != last}
    at = [held, *(held | {name: held[name] + s * h} for name in axes for s in (1, -1))]
    slopes = np.array([[_slope(question, params, n, last, each) for n in axes] for each in at])
    gradient, bends = slopes[0].T, ((slopes[1::2] - slopes[2::2]) / (2 * h)).transpose(2, 1, 0)
    good = np.isfinite(gradient).all(axis=1) & np.isfinite(bends).all(axis=(1, 2))
    bends = np.where(good[:, None, None], bends, np.eye(len(axes)))
    steps = np.linalg.pinv(bends, rcond=1e-12) @ np.where(good[:, None], gradient, 0.0)[:, :, None]
    return -steps[:, :, 0]


def _slope(
    question: Question, params: Params, first: str, last: str, held: Logs
) -> Float[np.ndarray, "draws"]:
    """dO/dlog(first) along whichever constraint binds, the others held."""
    other, which = _last(question, params, held, last)
    logs = {**held, last: other}
    traced = question.law.expr is not None
    law = partial(aim_on, question, params)
    prices = [partial(cost_at, question, cost) for cost, _ in question.costs]
    aim, binding = (law, prices) if question.target is None else (prices[0], [law])
    goal = {name: _log_slope(aim, logs, name, exact=traced) for name in (first, last)}
    slide = np.zeros(np.shape(other))
    for k, constraint in enumerate(binding):
        rise = {name: _log_slope(constraint, logs, name, exact=traced) for name in (first, last)}
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
