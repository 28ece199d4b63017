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

Failure (``question.attempts``) gives no derivatives, may have valleys (double descent), and its
best split may leave next to nothing for any one variable. So its first grid is finer and narrowed
to the end, each variable in turn takes what is left, each choice is looked at by itself, and with
three variables or more so is the edge where a further cost binds; the best of all is taken, draw by
draw.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from kleiber.planning.problem import (
    STEP,
    Logs,
    Params,
    Question,
    afford,
    aim_on,
    cost_at,
    law_at,
    least_of,
    unlog,
)
from kleiber.planning.question import at_budget
from kleiber.planning.remainder import NEAR, SPARE, best_rest, excess, objective, take_rest

GRID = 129
COARSE = 9  # grid along each axis when there are several
ROUNDS = 40  # of narrowing such a grid
NEWTON = 8  # steps from its best point
FINE = {1: 401, 2: 31}  # first grid of failure along each axis, by number of axes; else COARSE
NARROW = {1: 21, 2: 9}  # and those after it
ROUGH = 1e-7  # logarithms to which what reaches a target is searched for beside a grid
SHARP = 1e-9  # half the width of an axis at which it is narrow enough


@dataclass(frozen=True)
class Way:
    """One way to search: which variables have a grid, which one lies on the ``edge`` of a
    further cost (at that position), and which one takes what is left."""

    question: Question
    first: tuple[str, ...]
    last: str
    edge: tuple[str, int] | None = None


def allocate(
    question: Question, params: Mapping[str, Float[np.ndarray, "draws"]]
) -> dict[str, Float[np.ndarray, "draws"]]:
    """The best allocation for each parameter vector, with its ``predicted`` loss and ``spent``.

    NaN where no allocation meets every constraint with a finite value.
    """
    count = len(next(iter(params.values())))
    logs = _one_way(question, params) if question.attempts is None else _all_ways(question, params)
    out = unlog({name: logs[name] for name in question.variables})
    out["predicted"] = np.broadcast_to(law_at(question, params, logs), (count,))
    out["spent"] = np.broadcast_to(cost_at(question, question.cost, logs), (count,))
    known = np.isfinite(out["predicted"])
    return {name: np.where(known, values, np.nan) for name, values in out.items()}


def _one_way(question: Question, params: Mapping[str, np.ndarray]) -> Logs:
    """The best allocation for a law: what its derivatives close in on, from a grid."""
    *first, last = question.variables
    if not first:
        count = len(next(iter(params.values())))
        return {last: np.broadcast_to(take_rest(question, params, {}, last)[0], (count,))}
    logs = _grid_search(Way(question, tuple(first), last), params)
    loose = [name for name in first if name not in question.choices]
    if len(first) == 1 and loose:
        closed = _close(question, params, first[0], last, logs[first[0]])
        return _kept(question, params, logs, closed) if _tight(question) else closed
    if len(first) > 1 and loose and last not in question.choices:
        return _polish(question, params, [*loose, last], logs)
    return logs


def _all_ways(question: Question, params: Mapping[str, np.ndarray]) -> Logs:
    """The best allocation for failure: the best that any way finds."""
    question = question if question.target is None else _within_reach(question, params)
    found = [_grid_search(way, params) for way in _ways(question)]
    if not found:  # no choice lies within the limits
        count = len(next(iter(params.values())))
        return {name: np.full(count, np.nan) for name in question.variables}
    value = np.array([objective(question, params, dict(logs)) for logs in found])
    best = np.argmin(np.where(np.isfinite(value), value, np.inf), axis=0)
    rows = np.arange(len(best))
    return {n: np.array([logs[n] for logs in found])[best, rows] for n in question.variables}


def hold_choices(question: Question) -> Iterator[Question]:
    """The question with each choice of the variables that have choices; itself where none have."""
    if not question.choices:
        yield question
        return
    inside: list[list[float]] = []
    for name, ladder in question.choices.items():
        low, high = question.limits[name]
        inside.append([v for v in ladder if low - 1e-12 <= np.log(v) <= high + 1e-12])
    for chosen in itertools.product(*inside):
        pairs = zip(question.choices, chosen, strict=True)
        yield replace(question, choices={name: (value,) for name, value in pairs})


def _ways(question: Question) -> Iterator[Way]:
    """The ways to search for the least failure, or for the least that reaches a target."""
    loose = [name for name in question.variables if name not in question.choices]
    for held in hold_choices(question):
        for last in _lasts(question, loose):
            first = tuple(name for name in question.variables if name != last)
            yield Way(held, first, last)
            for edge in _edges(question, loose, last) if len(loose) > 2 else ():
                yield Way(held, tuple(n for n in first if n != edge[0]), last, edge)


def _lasts(question: Question, loose: list[str]) -> list[str]:
    """The variables that take what is left, in turn: all where further costs may bind; else k, and
    for a budget, of which training may take nearly all, another one too."""
    if len(question.costs) > 1 or len(loose) < 2 or "k" not in loose:
        return loose or [question.variables[-1]]
    return ["k"] if question.target is not None else [*loose[-2:]]


def _edges(question: Question, loose: list[str], last: str) -> Iterator[tuple[str, int]]:
    """The further costs that may bind beside what decides ``last``, each with a variable that can
    be on its edge."""
    for position in range(1, len(question.costs)):
        involved = [n for n in loose if n in question.costs[position][0].variables]
        if len(involved) > 1 and last not in involved:
            yield from ((name, position) for name in involved)


def _within_reach(question: Question, params: Mapping[str, np.ndarray]) -> Question:
    """The question of a target, limited to what the dearest of first looks could pay for."""
    loose = [name for name in question.variables if name not in question.choices]
    last = loose[-1] if loose else question.variables[-1]
    first = tuple(name for name in question.variables if name != last)
    logs = _grid_search(Way(question, first, last), params, rounds=1)
    spent = np.asarray(cost_at(question, question.cost, logs), dtype=float)
    if not np.isfinite(spent).any():
        return question
    most = float(np.nanmax(spent)) * (1 + 1e-9)
    return replace(question, limits=at_budget(question, most).limits)


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
    logs[last] = take_rest(question, single, dict(logs), last)[0]
    value = np.broadcast_to(objective(question, single, logs), (1, mesh.shape[1]))[0]
    known = value[np.isfinite(value)]
    if not len(known):
        return 0.0
    same = mesh[:, value <= known.min() + SPARE * np.abs(known.min())]
    return float(np.ptp(same, axis=1).max()) if same.shape[1] > 2 else 0.0


def _tight(question: Question) -> bool:
    """Whether the allocations that meet every constraint may be a sliver."""
    return question.crossed or (question.target is not None and len(question.costs) > 1)


def _grid_search(
    way: Way, params: Mapping[str, np.ndarray], rounds: int = ROUNDS
) -> dict[str, np.ndarray]:
    """The best grid point of each draw; with several open axes, or for failure, narrowed until it
    stands still."""
    question, first, last = way.question, way.first, way.last
    count, failure = len(next(iter(params.values()))), question.attempts is not None
    column = {name: values[:, None] for name, values in params.items()}
    rows = np.arange(count)
    open_axes = [name for name in first if name not in question.choices]
    once = not open_axes or (len(first) == 1 and not _tight(question) and not failure)
    size = FINE.get(len(open_axes), COARSE) if failure else GRID if once else COARSE
    middle = {n: np.full(count, np.mean(question.limits[n])) for n in first}
    width = {n: np.full(count, 0.5 * np.ptp(question.limits[n])) for n in open_axes}
    logs: dict[str, np.ndarray] = {}
    near = ROUGH if failure else NEAR
    for _ in range(1 if once else rounds):
        axes = [_axis(question, name, middle, width, size) for name in first]
        picks = np.array(list(itertools.product(*(range(axis.shape[1]) for axis in axes))))
        logs = {name: axes[k][:, picks[:, k]] for k, name in enumerate(first)}
        if way.edge is not None:
            logs[way.edge[0]] = _on_edge(question, logs, *way.edge)
        logs[last] = take_rest(question, column, dict(logs), last, near)[0]
        best = _best_of(question, column, logs, last)
        logs = {n: np.broadcast_to(z, (count, len(picks)))[rows, best] for n, z in logs.items()}
        middle = {name: logs[name] for name in first}
        shrink = 3.0 / (size - 1) if failure else 0.55
        width = {name: shrink * item for name, item in width.items()}
        if failure:
            size = NARROW.get(len(open_axes), COARSE)
            if all((item < SHARP).all() for item in width.values()):
                break
    if failure:
        held = {name: z for name, z in logs.items() if name != last}
        logs[last] = np.broadcast_to(take_rest(question, params, held, last)[0], (count,))
    return logs


def _on_edge(
    question: Question, logs: Logs, name: str, position: int
) -> Float[np.ndarray, "draws points"]:
    """A variable where a further cost comes to just what it may, or at its own limit."""
    cost, falls = question.costs[position], name in question.falls(position)
    z = (least_of if falls else afford)(question, cost, logs, name)
    return np.where(np.isfinite(z), z, np.nan)


def _best_of(question: Question, column: Params, logs: Logs, last: str) -> Int[np.ndarray, "draws"]:
    """The best of each draw's grid points: of those that meet every constraint, else the one that
    exceeds what may be spent least."""
    value = objective(question, column, dict(logs))
    value = np.where(np.isfinite(value), value, np.inf)
    best = np.argmin(value, axis=1)
    none = ~np.isfinite(value).any(axis=1)
    if _tight(question) and none.any():
        held: Logs = {name: item for name, item in logs.items() if name != last}
        z = best_rest(question, column, held, last)[0]
        over = np.where(np.isfinite(z), excess(question, logs | {last: z}), np.inf)
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
    return {first: middle, last: take_rest(question, params, {first: middle}, last)[0]}


def _polish(
    question: Question, params: Params, loose: list[str], logs: Logs
) -> dict[str, np.ndarray]:
    """Newton's method on the total derivatives of the variables in ``loose`` but the one on which
    the first cost depends most, which takes what is left. Steps that do worse are not taken."""
    price = partial(cost_at, question, question.cost)
    rises = [float(np.nanmedian(log_slope(price, logs, name, exact=True))) for name in loose]
    last = loose[int(np.argmax(rises))]
    axes = [name for name in loose if name != last]
    low, high = np.array([question.limits[name] for name in axes]).T
    here: dict[str, np.ndarray] = dict(logs)
    for _ in range(NEWTON):
        step = _newton_step(question, params, axes, last, here)
        z = np.clip(np.stack([here[name] for name in axes], axis=1) + step, low, high)
        trial: Logs = here | {name: z[:, k] for k, name in enumerate(axes)}
        trial[last] = take_rest(question, params, trial, last)[0]
        here = _kept(question, params, here, trial)
    return here


def _kept(question: Question, params: Params, here: Logs, trial: Logs) -> dict[str, np.ndarray]:
    """The trial where it does no worse than what is there."""
    now, then = (objective(question, params, dict(at)) for at in (here, trial))
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
    other, which = take_rest(question, params, held, last)
    logs = {**held, last: other}
    traced = question.law.expr is not None
    law = partial(aim_on, question, params)
    prices = [partial(cost_at, question, cost) for cost, _ in question.costs]
    aim, binding = (law, prices) if question.target is None else (prices[0], [law])
    goal = {name: log_slope(aim, logs, name, exact=traced) for name in (first, last)}
    slide = np.zeros(np.shape(other))
    for k, constraint in enumerate(binding):
        rise = {name: log_slope(constraint, logs, name, exact=traced) for name in (first, last)}
        with np.errstate(divide="ignore", invalid="ignore"):
            slide = np.where(which == k, rise[first] / rise[last], slide)
    # beyond what can be paid, turn back; short of what the target needs, go on
    gone = np.inf if question.target is None else -np.inf
    return np.where(np.isnan(other), gone, goal[first] - goal[last] * slide)


def log_slope(
    function: Callable[[Logs], Any], logs: Logs, name: str, *, exact: bool
) -> Float[np.ndarray, "..."]:
    """Derivative in one logarithm: by the complex step, or for a law that cannot be traced by a
    fourth-order central difference at a step that balances rounding."""
    if exact:
        return np.asarray(np.imag(function({**logs, name: logs[name] + STEP * 1j})) / STEP)
    h = 1e-3
    moved = [function({**logs, name: logs[name] + step * h}) for step in (1, -1, 2, -2)]
    return (8 * (moved[0] - moved[1]) - (moved[2] - moved[3])) / (12 * h)
