"""The best allocation under cost constraints, for many parameter vectors at once.

Two questions share one search. Under a budget the law is minimised, and the last variable takes the
largest value that every cost allows. For a target the first cost is minimised, and the last
variable takes the smallest value that brings the law to the target. A law of two variables is then
a search along one line in log space: a grid finds the best cell, and the zero of the total
derivative dO/dlog x = O_x - O_y G_x/G_y refines it (subscripts are log derivatives, O is the
objective, G the constraint that binds). With more variables the grid itself is narrowed around its
best point, and Newton's method on the total derivatives refines that point. If the feasible region
may be narrow (a target under several constraints), the search goes, as long as it has seen no
feasible point, to where the constraints are exceeded least. Variables with choices, such as a
ladder of sizes, only take these.

Failure (``question.attempts``) has no derivatives, may have several minima (double descent), and
its best allocation may leave almost nothing to any one variable. Its first grid is therefore finer
and is narrowed to the end, each variable is the last one in turn, each choice is searched by
itself, and with three variables or more the edge where another cost binds is searched as well. The
best result of all is taken for each draw.
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
    cost_at,
    exponentiate,
    largest_within_budget,
    law_at,
    signed_law_at,
    smallest_within_budget,
)
from kleiber.planning.question import at_budget
from kleiber.planning.remainder import (
    EXCESS_TOLERANCE,
    LOG_TOLERANCE,
    log_excess,
    narrow_brackets,
    objective,
    solve_last,
    solve_last_unchecked,
)

GRID = 129
COARSE = 9  # grid points along each axis if there are several
ROUNDS = 40  # of narrowing the grid
NEWTON = 8  # steps from the best grid point
# Points of the first grid of failure along each axis, by the number of axes; else COARSE
FAILURE_GRID = {1: 401, 2: 31}
NARROWED_GRID = {1: 21, 2: 9}  # and the grids after it
ROUGH_TOLERANCE = 1e-7  # of the last variable's logarithm during a grid search
WIDTH_TOLERANCE = 1e-9  # of an axis: half its width at which narrowing ends
ZERO_TOLERANCE = 1e-14  # of the logarithm at which the derivative vanishes
TINY = 1e-300


@dataclass(frozen=True)
class Search:
    """One search: the variables that have a grid, the variable that lies on the ``edge`` of another
    constraint (with the position of that constraint), and the last variable, which the constraints
    determine."""

    question: Question
    first: tuple[str, ...]
    last: str
    edge: tuple[str, int] | None = None


def allocate(
    question: Question, params: Mapping[str, Float[np.ndarray, "draws"]]
) -> dict[str, Float[np.ndarray, "draws"]]:
    """Find the best allocation for each parameter vector, its ``predicted`` loss and ``spent`` cost
    (NaN where no allocation meets every constraint with a finite value)."""
    count = len(next(iter(params.values())))
    logs = (
        _allocate_for_law(question, params)
        if question.attempts is None
        else _allocate_for_failure(question, params)
    )
    out = exponentiate({name: logs[name] for name in question.variables})
    out["predicted"] = np.broadcast_to(law_at(question, params, logs), (count,))
    out["spent"] = np.broadcast_to(cost_at(question, question.cost, logs), (count,))
    known = np.isfinite(out["predicted"])
    return {name: np.where(known, values, np.nan) for name, values in out.items()}


def _allocate_for_law(question: Question, params: Mapping[str, np.ndarray]) -> Logs:
    """Find the best allocation for a law: a grid search refined with derivatives."""
    *first, last = question.variables
    if not first:
        count = len(next(iter(params.values())))
        return {last: np.broadcast_to(solve_last(question, params, {}, last)[0], (count,))}
    logs = _grid_search(Search(question, tuple(first), last), params)
    free = [name for name in first if name not in question.choices]
    if len(first) == 1 and free:
        closed = _solve_derivative(question, params, first[0], last, logs[first[0]])
        return (
            _keep_better(question, params, logs, closed) if _has_narrow_region(question) else closed
        )
    if len(first) > 1 and free and last not in question.choices:
        return _refine_by_newton(question, params, [*free, last], logs)
    return logs


def _allocate_for_failure(question: Question, params: Mapping[str, np.ndarray]) -> Logs:
    """Find the best allocation for failure: the best result of all searches."""
    question = question if question.target is None else _limit_to_reachable(question, params)
    found = [_grid_search(search, params) for search in _list_searches(question)]
    if not found:  # no choice lies within the limits
        count = len(next(iter(params.values())))
        return {name: np.full(count, np.nan) for name in question.variables}
    value = np.array([objective(question, params, dict(logs)) for logs in found])
    best = np.argmin(np.where(np.isfinite(value), value, np.inf), axis=0)
    rows = np.arange(len(best))
    return {n: np.array([logs[n] for logs in found])[best, rows] for n in question.variables}


def fix_choices(question: Question) -> Iterator[Question]:
    """Yield the question with every combination of choices fixed, or the question itself if there
    are no choices."""
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


def _list_searches(question: Question) -> Iterator[Search]:
    """Yield the searches for the least failure, or for the least cost that reaches a target."""
    free = [name for name in question.variables if name not in question.choices]
    for fixed in fix_choices(question):
        for last in _last_variables(question, free):
            first = tuple(name for name in question.variables if name != last)
            yield Search(fixed, first, last)
            for edge in _possible_edges(question, free, last) if len(free) > 2 else ():
                yield Search(fixed, tuple(n for n in first if n != edge[0]), last, edge)


def _last_variables(question: Question, free: list[str]) -> list[str]:
    """Return the variables that are the last one in turn: all of them if several costs may bind;
    otherwise k, and under a budget another one too, since training may take nearly all of it."""
    if len(question.costs) > 1 or len(free) < 2 or "k" not in free:
        return free or [question.variables[-1]]
    return ["k"] if question.target is not None else [*free[-2:]]


def _possible_edges(question: Question, free: list[str], last: str) -> Iterator[tuple[str, int]]:
    """Yield the other constraints that may bind beside the one that decides ``last``, each with a
    variable that can lie on its edge."""
    for position in range(1, len(question.costs)):
        involved = [n for n in free if n in question.costs[position][0].variables]
        if len(involved) > 1 and last not in involved:
            yield from ((name, position) for name in involved)


def _limit_to_reachable(question: Question, params: Mapping[str, np.ndarray]) -> Question:
    """Return the question of a target, with limits that a first coarse grid shows to be
    sufficient."""
    free = [name for name in question.variables if name not in question.choices]
    last = free[-1] if free else question.variables[-1]
    first = tuple(name for name in question.variables if name != last)
    logs = _grid_search(Search(question, first, last), params, rounds=1)
    spent = np.asarray(cost_at(question, question.cost, logs), dtype=float)
    if not np.isfinite(spent).any():
        return question
    highest = float(np.nanmax(spent)) * (1 + 1e-9)
    return replace(question, limits=at_budget(question, highest).limits)


def flat_width(question: Question, params: Mapping[str, float]) -> float:
    """Compute over how many logarithms of a variable the objective equals its minimum to rounding
    (0 for a single minimum)."""
    *first, last = question.variables
    if not first:
        return 0.0
    single = {name: np.array([[value]]) for name, value in params.items()}
    size = GRID if len(first) == 1 else COARSE
    axes = [np.linspace(*question.limits[name], size) for name in first]
    mesh = np.array(list(itertools.product(*axes))).T
    logs: Logs = {name: z[None, :] for name, z in zip(first, mesh, strict=True)}
    logs[last] = solve_last(question, single, dict(logs), last)[0]
    value = np.broadcast_to(objective(question, single, logs), (1, mesh.shape[1]))[0]
    known = value[np.isfinite(value)]
    if not len(known):
        return 0.0
    same = mesh[:, value <= known.min() + EXCESS_TOLERANCE * np.abs(known.min())]
    return float(np.ptp(same, axis=1).max()) if same.shape[1] > 2 else 0.0


def _has_narrow_region(question: Question) -> bool:
    """Return whether the feasible region may be too narrow for a grid."""
    return question.has_falling_cost or (question.target is not None and len(question.costs) > 1)


def _grid_search(
    search: Search, params: Mapping[str, np.ndarray], rounds: int = ROUNDS
) -> dict[str, np.ndarray]:
    """Find the best grid point of each draw; with several free axes, or for failure, the grid is
    narrowed until it converges."""
    question, first, last = search.question, search.first, search.last
    count, failure = len(next(iter(params.values()))), question.attempts is not None
    column = {name: values[:, None] for name, values in params.items()}
    rows = np.arange(count)
    open_axes = [name for name in first if name not in question.choices]
    once = not open_axes or (len(first) == 1 and not _has_narrow_region(question) and not failure)
    size = FAILURE_GRID.get(len(open_axes), COARSE) if failure else GRID if once else COARSE
    middle = {n: np.full(count, np.mean(question.limits[n])) for n in first}
    width = {n: np.full(count, 0.5 * np.ptp(question.limits[n])) for n in open_axes}
    logs: dict[str, np.ndarray] = {}
    near = ROUGH_TOLERANCE if failure else LOG_TOLERANCE
    for _ in range(1 if once else rounds):
        axes = [_grid_axis(question, name, middle, width, size) for name in first]
        picks = np.array(list(itertools.product(*(range(axis.shape[1]) for axis in axes))))
        logs = {name: axes[k][:, picks[:, k]] for k, name in enumerate(first)}
        if search.edge is not None:
            logs[search.edge[0]] = _on_edge(question, logs, *search.edge)
        logs[last] = solve_last(question, column, dict(logs), last, near)[0]
        best = _best_point(question, column, logs, last)
        logs = {n: np.broadcast_to(z, (count, len(picks)))[rows, best] for n, z in logs.items()}
        middle = {name: logs[name] for name in first}
        shrink = 3.0 / (size - 1) if failure else 0.55
        width = {name: shrink * item for name, item in width.items()}
        if failure:
            size = NARROWED_GRID.get(len(open_axes), COARSE)
            if all((item < WIDTH_TOLERANCE).all() for item in width.values()):
                break
    if failure:
        fixed = {name: z for name, z in logs.items() if name != last}
        logs[last] = np.broadcast_to(solve_last(question, params, fixed, last)[0], (count,))
    return logs


def _on_edge(
    question: Question, logs: Logs, name: str, position: int
) -> Float[np.ndarray, "draws points"]:
    """Return the variable's value at which another constraint just binds (NaN outside its
    limits)."""
    cost, falls = question.costs[position], name in question.falls(position)
    z = (smallest_within_budget if falls else largest_within_budget)(question, cost, logs, name)
    return np.where(np.isfinite(z), z, np.nan)


def _best_point(
    question: Question, column: Params, logs: Logs, last: str
) -> Int[np.ndarray, "draws"]:
    """Return the index of each draw's best grid point: the best feasible one, or else the one that
    exceeds the constraints least."""
    value = objective(question, column, dict(logs))
    value = np.where(np.isfinite(value), value, np.inf)
    best = np.argmin(value, axis=1)
    none = ~np.isfinite(value).any(axis=1)
    if _has_narrow_region(question) and none.any():
        fixed: Logs = {name: item for name, item in logs.items() if name != last}
        z = solve_last_unchecked(question, column, fixed, last)[0]
        over = np.where(np.isfinite(z), log_excess(question, logs | {last: z}), np.inf)
        best[none] = np.argmin(np.where(np.isnan(over), np.inf, over), axis=1)[none]
    return best


def _grid_axis(
    question: Question,
    name: str,
    middle: Mapping[str, np.ndarray],
    width: Mapping[str, np.ndarray],
    size: int,
) -> Float[np.ndarray, "draws points"]:
    """Return the grid points of one variable for each draw."""
    low, high = question.limits[name]
    if name in question.choices:
        ladder = np.log(question.choices[name])
        ladder = ladder[(ladder >= low - 1e-12) & (ladder <= high + 1e-12)]
        return np.broadcast_to(ladder, (len(middle[name]), len(ladder)))
    points = middle[name][:, None] + width[name][:, None] * np.linspace(-1, 1, size)
    return np.clip(points, low, high)


def _solve_derivative(
    question: Question, params: Params, first: str, last: str, near: np.ndarray
) -> dict[str, np.ndarray]:
    """Find in the neighbouring cells where the derivative along the constraint changes sign."""
    low, high = question.limits[first]
    cell = (high - low) / (GRID - 1)
    left, right = np.maximum(near - cell, low), np.minimum(near + cell, high)

    def fall(z: np.ndarray) -> np.ndarray:
        return -_total_derivative(question, params, first, last, {first: z})

    # where the objective is flat to rounding, the best grid point says little: look everywhere
    unbracketed = (left > low) & (right < high) & ~((fall(left) > 0) & (fall(right) < 0))
    left, right = np.where(unbracketed, low, left), np.where(unbracketed, high, right)
    # an end where the sign is not that of a bracket counts as nearly zero: it is the last resort
    ends = np.fmax(fall(left), TINY), np.fmin(fall(right), -TINY)
    with np.errstate(all="ignore"):
        at, falls = narrow_brackets(fall, (left, ends[0]), (right, ends[1]), ZERO_TOLERANCE)
    best = np.where(np.abs(falls[0]) < np.abs(falls[1]), *at)
    return {first: best, last: solve_last(question, params, {first: best}, last)[0]}


def _refine_by_newton(
    question: Question, params: Params, free: list[str], logs: Logs
) -> dict[str, np.ndarray]:
    """Refine an allocation by Newton's method on the total derivatives. The variable in ``free`` on
    which the first cost depends most is determined by the constraint; steps that do worse are
    rejected."""
    price = partial(cost_at, question, question.cost)
    rises = [float(np.nanmedian(log_derivative(price, logs, name, exact=True))) for name in free]
    last = free[int(np.argmax(rises))]
    axes = [name for name in free if name != last]
    low, high = np.array([question.limits[name] for name in axes]).T
    here: dict[str, np.ndarray] = dict(logs)
    for _ in range(NEWTON):
        step = _newton_step(question, params, axes, last, here)
        z = np.clip(np.stack([here[name] for name in axes], axis=1) + step, low, high)
        trial: Logs = here | {name: z[:, k] for k, name in enumerate(axes)}
        trial[last] = solve_last(question, params, trial, last)[0]
        here = _keep_better(question, params, here, trial)
    return here


def _keep_better(
    question: Question, params: Params, here: Logs, trial: Logs
) -> dict[str, np.ndarray]:
    """Return the trial allocation wherever it is at least as good as the current one."""
    now, then = (objective(question, params, dict(at)) for at in (here, trial))
    better = np.isfinite(then) & (then <= now + 1e-15 * np.abs(now))
    return {name: np.where(better, trial[name], here[name]) for name in here}


def _newton_step(
    question: Question, params: Params, axes: list[str], last: str, here: Mapping[str, np.ndarray]
) -> Float[np.ndarray, "draws axes"]:
    """Return the step to where the gradient along the constraint vanishes (zero if there is
    none)."""
    h = 1e-5
    fixed: Logs = {name: z for name, z in here.items() if name != last}
    at = [fixed, *(fixed | {name: fixed[name] + s * h} for name in axes for s in (1, -1))]
    gradients = np.array(
        [[_total_derivative(question, params, n, last, each) for n in axes] for each in at]
    )
    gradient, hessian = (
        gradients[0].T,
        ((gradients[1::2] - gradients[2::2]) / (2 * h)).transpose(2, 1, 0),
    )
    good = np.isfinite(gradient).all(axis=1) & np.isfinite(hessian).all(axis=(1, 2))
    hessian = np.where(good[:, None, None], hessian, np.eye(len(axes)))
    steps = (
        np.linalg.pinv(hessian, rcond=1e-12) @ np.where(good[:, None], gradient, 0.0)[:, :, None]
    )
    return -steps[:, :, 0]


def _total_derivative(
    question: Question, params: Params, first: str, last: str, fixed: Logs
) -> Float[np.ndarray, "draws"]:
    """Compute dO/dlog(first) along the constraint that binds, all other variables fixed."""
    other, which = solve_last(question, params, fixed, last)
    logs = {**fixed, last: other}
    traced = question.law.expr is not None
    law = partial(signed_law_at, question, params)
    prices = [partial(cost_at, question, cost) for cost, _ in question.costs]
    aim, binding = (law, prices) if question.target is None else (prices[0], [law])
    goal = {name: log_derivative(aim, logs, name, exact=traced) for name in (first, last)}
    exchange = np.zeros(np.shape(other))
    for k, constraint in enumerate(binding):
        rise = {
            name: log_derivative(constraint, logs, name, exact=traced) for name in (first, last)
        }
        with np.errstate(divide="ignore", invalid="ignore"):
            exchange = np.where(which == k, rise[first] / rise[last], exchange)
    # beyond what can be paid, turn back; short of what the target needs, go on
    outside = np.inf if question.target is None else -np.inf
    return np.where(np.isnan(other), outside, goal[first] - goal[last] * exchange)


def log_derivative(
    function: Callable[[Logs], Any], logs: Logs, name: str, *, exact: bool
) -> Float[np.ndarray, "..."]:
    """Compute the derivative with respect to one logarithm: by the complex step, or for a law that
    cannot be traced by a fourth-order central difference whose step balances rounding."""
    if exact:
        return np.asarray(np.imag(function({**logs, name: logs[name] + STEP * 1j})) / STEP)
    h = 1e-3
    moved = [function({**logs, name: logs[name] + step * h}) for step in (1, -1, 2, -2)]
    return (8 * (moved[0] - moved[1]) - (moved[2] - moved[3])) / (12 * h)
