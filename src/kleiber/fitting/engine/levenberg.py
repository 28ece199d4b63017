"""Levenberg-Marquardt for many least-squares-like problems at once.

Members (starts, bootstrap replicates) advance together. Each has an objective Q, a gradient and
two matrices: ``gauss``, positive semidefinite and safe far from the optimum (Gauss-Newton, with
reweighting for a robust loss), and ``newton``, the exact Hessian, which ends the descent
quadratically where Gauss-Newton on a robust loss would crawl. A step solves
(M + lambda D) s = -g (Marquardt 1963) with M = gauss until progress is slow, M = newton from then
on, and D the largest diagonal of gauss met so far (More 1978), which keeps a parameter that stops
mattering from being thrown away. A member leaves the array when it has converged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

START_DAMPING = 1e-2
RESTART = 1e-8  # damping after an undamped failure
NO_DAMPING = 1e-12  # what counts as none
NEAR = 0.9  # share of the way to a floor that one step may go
ROUNDING = 4e-15  # relative size of changes of the objective that are noise
QUIET = 4  # steps without progress after which a member leaves
SETTLED = 1e-8  # predicted relative fall of Q below which such a member has converged
SHORT = 1e-3  # of a step taken unseen, in any coordinate


@dataclass(frozen=True)
class Local:
    """Second-order picture of each member's objective at its point."""

    objective: Float[np.ndarray, "members"]
    gradient: Float[np.ndarray, "members params"]
    gauss: Float[np.ndarray, "members params params"]
    newton: Float[np.ndarray, "members params params"]


@dataclass(frozen=True)
class Descent:
    """Where each member ended. ``decrement`` is the relative fall of Q predicted of an undamped
    step: of the last one taken, or of the next one for a member that ran out of steps."""

    point: Float[np.ndarray, "members params"]
    objective: Float[np.ndarray, "members"]
    decrement: Float[np.ndarray, "members"]
    converged: Bool[np.ndarray, "members"]
    iterations: int


Look = Callable[[Float[np.ndarray, "active params"], Int[np.ndarray, "active"]], Local]


def solve_each(
    matrix: Float[np.ndarray, "members params params"], right: Float[np.ndarray, "members params"]
) -> Float[np.ndarray, "members params"]:
    """Solve each small symmetric system by L D L'; a singular one gives NaN for its member alone.

    Elimination runs over parameters and is vectorised over members, without pivoting: matrices
    come scaled to a unit diagonal, and a step that suffers from it is rejected by its result.
    """
    work, x = matrix.copy(), right.copy()
    width = right.shape[1]
    with np.errstate(all="ignore"):
        for j in range(width):
            ratio = work[:, j + 1 :, j] / work[:, j, j, None]
            x[:, j + 1 :] -= ratio * x[:, j, None]
            work[:, j + 1 :, j + 1 :] -= ratio[:, :, None] * work[:, j, None, j + 1 :]
        for j in reversed(range(width)):
            x[:, j] -= np.einsum("mp,mp->m", work[:, j, j + 1 :], x[:, j + 1 :])
            x[:, j] /= work[:, j, j]
    return np.where(np.isfinite(x).all(axis=1, keepdims=True), x, np.nan)


def _bend_down(
    matrix: Float[np.ndarray, "members params params"], right: Float[np.ndarray, "members params"]
) -> Float[np.ndarray, "members params"]:
    """Solve with the eigenvalues' absolute values, so that the step descends whatever they are."""
    values, vectors = np.linalg.eigh(np.nan_to_num(matrix))
    size = np.abs(values)
    size = np.maximum(size, 1e-10 * size.max(axis=1, keepdims=True) + 1e-300)
    along = np.einsum("mpk,mp->mk", vectors, right) / size
    return np.einsum("mpk,mk->mp", vectors, along)


def descend(
    look: Look,
    start: Float[np.ndarray, "members params"],
    *,
    max_iterations: int = 200,
    tolerance: float = 1e-12,
    damping: float | Float[np.ndarray, "members"] = START_DAMPING,
    restart: float = RESTART,
    exact: bool = False,
    floor: Float[np.ndarray, "params"] | None = None,
    units: Float[np.ndarray, "params"] | None = None,
) -> Descent:
    """Minimise each member's objective from its start.

    ``look(points, members)`` gives the local picture at ``points`` for the members numbered.
    ``damping`` is the first and ``restart`` what replaces none after a failure: small for curved
    valleys, where much of it would stop all progress, larger where failures are near at hand.
    ``exact`` begins with the Newton matrix (right when the start is close); no step takes a
    component more than nine tenths of the way to its ``floor``; ``units`` are sizes by which
    steps are damped in place of those that gauss suggests. A member has converged when an
    undamped step, and a short one, is predicted to lower Q by less than ``tolerance`` relative
    (that step is taken without a further look), or by less than SETTLED where Q no longer changes
    beyond rounding.
    """
    count = len(start)
    state = _State.begin(look, start, damping, restart, exact, units)
    final = Descent(
        start.copy(), np.full(count, np.inf), np.full(count, np.inf), np.zeros(count, bool), 0
    )
    for iteration in range(max_iterations):
        step, predicted = _step(state, floor)
        sure = _near(state, predicted, tolerance) & (state.damping == 0)
        sure &= _short(step, state.point)
        if sure.any():
            state.point[sure] += step[sure]
            state.here.objective[sure] -= predicted[sure]
            _settle(final, state, sure, predicted, floor)
            state, step, predicted = state.keep(~sure), step[~sure], predicted[~sure]
        if state.member.size:
            leave = _advance(state, look, step, predicted, tolerance, units is None)
            leave |= iteration == max_iterations - 1
            if leave.any():
                _settle(final, state, leave, None, floor)
                state = state.keep(~leave)
        if not state.member.size:
            return replace(final, iterations=iteration + 1)
    return final


@dataclass
class _State:
    """The members still moving; ``reach`` sizes their coordinates for damping."""

    member: Int[np.ndarray, "active"]
    point: Float[np.ndarray, "active params"]
    here: Local
    reach: Float[np.ndarray, "active params"]
    damping: Float[np.ndarray, "active"]
    restart: Float[np.ndarray, "active"]
    growth: Float[np.ndarray, "active"]
    exact: Bool[np.ndarray, "active"]
    quiet: Int[np.ndarray, "active"]

    @staticmethod
    def begin(
        look: Look,
        start: np.ndarray,
        damping: float | np.ndarray,
        restart: float,
        exact: bool,
        units: np.ndarray | None,
    ) -> _State:
        count = len(start)
        here = look(start, np.arange(count))
        reach = np.einsum("mii->mi", here.gauss).copy()
        if units is not None:
            size = np.where(np.isfinite(here.objective), np.abs(here.objective), 1.0)
            reach = 2 * size[:, None] / units**2
        return _State(
            np.arange(count),
            start.copy(),
            here,
            reach,
            np.zeros(count) + damping,
            np.full(count, restart),
            np.full(count, 4.0),
            np.full(count, exact),
            np.zeros(count, int),
        )

    def keep(self, which: np.ndarray) -> _State:
        return _State(
            self.member[which],
            self.point[which],
            _pick(self.here, which),
            self.reach[which],
            self.damping[which],
            self.restart[which],
            self.growth[which],
            self.exact[which],
            self.quiet[which],
        )


def _pick(local: Local, which: np.ndarray) -> Local:
    return Local(
        local.objective[which], local.gradient[which], local.gauss[which], local.newton[which]
    )


def _settle(
    final: Descent,
    state: _State,
    leave: np.ndarray,
    predicted: np.ndarray | None,
    floor: np.ndarray | None,
) -> None:
    """Record the members that leave: with the fall ``predicted`` where that shows convergence,
    else with the one that remains, which decides it."""
    rows, here, point = state.member[leave], _pick(state.here, leave), state.point[leave]
    if predicted is None:
        step, left = _last(here, point, floor)
        done = left <= SETTLED
        # where rounding hides the fall of Q, its gradient still tells the way
        point = np.where((done & _short(step, point))[:, None], point + step, point)
    else:
        left = predicted[leave] / np.maximum(np.abs(here.objective), 1e-300)
        done = np.ones(len(rows), bool)
    final.point[rows] = point
    final.objective[rows] = here.objective
    final.decrement[rows] = left
    final.converged[rows] = done


def _short(step: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Whether a step may be taken unseen: a long one, along a flat valley, may end where Q is not
    even finite."""
    return np.asarray((np.abs(step) <= SHORT * (1 + np.abs(point))).all(axis=1))


def _last(
    here: Local, point: np.ndarray, floor: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The undamped step, and the relative fall of Q it would bring: infinite where Q is, zero
    where the step is lost in the rounding of the point."""
    unit = 1.0 / np.sqrt(_sizes(np.einsum("mii->mi", here.gauss)))
    side = -here.gradient * unit
    matrix = here.newton * unit[:, :, None] * unit[:, None, :]
    step = _cut(_bend_down(matrix, side) * unit, matrix, side, unit, point, floor)
    fall = 0.5 * np.einsum("mp,mp->m", step, -here.gradient)
    lost = (np.abs(step) <= 1e-10 * (np.abs(point) + 1e-3)).all(axis=1)
    size = np.abs(here.objective)
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.where((fall > 0) & ~lost, fall / size, 0.0)
    return step, np.where(np.isfinite(size), left, np.inf)


def _sizes(diagonal: np.ndarray) -> np.ndarray:
    return np.maximum(diagonal, 1e-14 * diagonal.max(axis=1, keepdims=True)) + 1e-300


def _step(state: _State, floor: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The damped step of each member, and its predicted fall of Q."""
    here = state.here
    damp = state.damping[:, None] * _sizes(state.reach)
    # columns are scaled to about unit diagonal before solving: units must not cost digits
    unit = 1.0 / np.sqrt(_sizes(np.einsum("mii->mi", here.gauss)) + damp)
    matrix = np.where(state.exact[:, None, None], here.newton, here.gauss)
    whole = (matrix + damp[:, :, None] * np.eye(damp.shape[1])) * unit[:, :, None] * unit[:, None]
    side = -here.gradient * unit
    step = solve_each(whole, side) * unit
    uphill = ~(np.einsum("mp,mp->m", step, here.gradient) < 0) & (np.abs(side).max(axis=1) > 0)
    if uphill.any():  # an indefinite or singular matrix: the sizes of its eigenvalues serve
        step[uphill] = _bend_down(whole[uphill], side[uphill]) * unit[uphill]
    step = np.nan_to_num(step, nan=0.0, posinf=0.0, neginf=0.0)
    step = _cut(step, whole, side, unit, state.point, floor)
    bend = np.einsum("mp,mpq,mq->m", step, matrix, step)
    return step, -(np.einsum("mp,mp->m", step, here.gradient) + 0.5 * bend)


def _cut(
    step: np.ndarray,
    matrix: np.ndarray,
    side: np.ndarray,
    unit: np.ndarray,
    point: np.ndarray,
    floor: np.ndarray | None,
) -> np.ndarray:
    """The step with no component going more than nine tenths of the way to its floor, and the
    other components solved again for those that are cut short; ``matrix`` and ``side`` are those
    of the system in units of ``unit``."""
    if floor is None:
        return step
    room = NEAR * (floor - point)
    short = step < room
    rows = np.flatnonzero(short.any(axis=1))
    if not rows.size:
        return step
    held = short[rows]
    fixed = np.where(held, room[rows] / unit[rows], 0.0)
    rest = side[rows] - np.einsum("mpq,mq->mp", matrix[rows], fixed)
    apart = held[:, :, None] | held[:, None, :]
    others = solve_each(
        np.where(apart, np.eye(step.shape[1]), matrix[rows]), np.where(held, 0.0, rest)
    )
    out = step.copy()
    out[rows] = np.where(held, room[rows], np.nan_to_num(others) * unit[rows])
    return np.maximum(out, room)


def _near(state: _State, predicted: np.ndarray, tolerance: float) -> np.ndarray:
    """Whether the step is predicted to change nothing that matters. An undamped Newton step
    overestimates what is left after it (quadratic convergence), a Gauss-Newton one does not."""
    size = np.abs(state.here.objective)
    with np.errstate(invalid="ignore"):
        enough = predicted <= np.where(state.exact, 1.0, 1e-3) * tolerance * size + ROUNDING * size
    return enough & (predicted >= 0) & np.isfinite(size)


def _advance(
    state: _State,
    look: Look,
    step: np.ndarray,
    predicted: np.ndarray,
    tolerance: float,
    widen: bool,
) -> np.ndarray:
    """One trial step for every active member; says which can go no further."""
    trial = state.point + step
    there = look(trial, state.member)
    old, new = state.here.objective, there.objective
    with np.errstate(invalid="ignore"):
        fall = np.where(np.isfinite(new), old - new, -np.inf)
    fall = np.where(np.isfinite(old), fall, np.where(np.isfinite(new), np.inf, -np.inf))
    size = np.where(np.isfinite(old), np.abs(old), 1.0)
    noise = ROUNDING * size
    taken = fall >= -noise
    near = _near(state, predicted, tolerance)
    idle = near | (np.abs(fall) <= noise)
    state.quiet = np.where(fall > 1e3 * tolerance * size, 0, state.quiet + idle)
    tiny = (np.abs(step) <= 1e-14 * (np.abs(state.point) + 1e-3)).all(axis=1)
    _learn(state, fall, predicted, taken, near)
    _move(state, trial, there, taken, widen)
    return (~taken & (state.damping > 1e12)) | (state.quiet >= QUIET) | tiny


def _learn(
    state: _State, fall: np.ndarray, predicted: np.ndarray, taken: np.ndarray, near: np.ndarray
) -> None:
    """Adapt damping and the choice of matrix to how well the step was predicted."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(predicted > 0, fall / predicted, np.where(taken, 1.0, -1.0))
        small = fall < 0.1 * np.abs(state.here.objective)
    # Nielsen 1999: a smooth factor after success, growing ones after failures in a row
    factor = np.maximum(0.1, 1 - (2 * np.clip(ratio, 0, 1) - 1) ** 3)
    # a damped step says little of what is left along weak directions: the next is undamped, and
    # should it fail, what damped this one was too much
    lower = state.damping * factor
    lower = np.where(near | (lower < NO_DAMPING), 0.0, lower)
    idle = near & taken & (state.damping > 0)
    state.restart = np.where(idle, 1e-2 * np.minimum(state.restart, state.damping), state.restart)
    higher = np.where(state.damping > 0, np.maximum(state.damping, 1e-9), state.restart)
    higher = higher * state.growth
    state.damping = np.where(taken, lower, higher)
    state.growth = np.where(taken, 4.0, np.minimum(state.growth * 2, 1e6))
    state.exact = state.exact | (taken & small)


def _move(state: _State, trial: np.ndarray, there: Local, taken: np.ndarray, widen: bool) -> None:
    here = state.here
    state.point = np.where(taken[:, None], trial, state.point)
    if widen:
        met = np.einsum("mii->mi", there.gauss)
        state.reach = np.where(taken[:, None], np.maximum(state.reach, met), state.reach)
    state.here = Local(
        np.where(taken, there.objective, here.objective),
        np.where(taken[:, None], there.gradient, here.gradient),
        np.where(taken[:, None, None], there.gauss, here.gauss),
        np.where(taken[:, None, None], there.newton, here.newton),
    )
