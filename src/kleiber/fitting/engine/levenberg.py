"""Levenberg-Marquardt for a batch of least-squares-like problems.

The problems of a batch (starts, bootstrap replicates) advance together. Each has an objective Q, a
gradient and two matrices: ``gauss``, positive semidefinite and safe far from the optimum
(Gauss-Newton, reweighted for a robust loss), and ``newton``, the exact Hessian, which ends the
descent quadratically where Gauss-Newton on a robust loss would crawl. A step solves (M + lambda D)
s = -g (Marquardt 1963) with M = gauss until progress is slow and M = newton from then on. D is the
largest diagonal of gauss seen so far (More 1978), which keeps a parameter that has lost its effect
from taking a huge step. A problem leaves the batch when it has converged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

START_DAMPING = 1e-2
RESTART_DAMPING = 1e-8  # damping after an undamped failure
NO_DAMPING = 1e-12  # what counts as none
FLOOR_FRACTION = 0.9  # share of the way to a floor that one step may go
RELATIVE_ROUNDING = 4e-15  # relative size of changes of the objective that are noise
MAX_IDLE_STEPS = 4  # steps without progress after which a member leaves
CONVERGED_DECREASE = 1e-8  # predicted relative fall of Q below which such a member has converged
SHORT_STEP = 1e-3  # of a step taken unseen, in any coordinate


@dataclass(frozen=True)
class LocalModel:
    """Second-order model of each objective at its current point."""

    objective: Float[np.ndarray, "batch"]
    gradient: Float[np.ndarray, "batch params"]
    gauss: Float[np.ndarray, "batch params params"]
    newton: Float[np.ndarray, "batch params params"]


@dataclass(frozen=True)
class Descent:
    """End of each descent. ``decrement`` is the relative decrease of Q predicted for an undamped
    step: the last one taken, or the next one for a problem that ran out of steps."""

    point: Float[np.ndarray, "batch params"]
    objective: Float[np.ndarray, "batch"]
    decrement: Float[np.ndarray, "batch"]
    converged: Bool[np.ndarray, "batch"]
    iterations: int


Evaluate = Callable[[Float[np.ndarray, "active params"], Int[np.ndarray, "active"]], LocalModel]


def solve_each(
    matrix: Float[np.ndarray, "batch params params"], right: Float[np.ndarray, "batch params"]
) -> Float[np.ndarray, "batch params"]:
    """Solve each small symmetric system by LDL' elimination; a singular system gives NaN for itself
    alone.

    Elimination runs over parameters and is vectorised over the batch, without pivoting: matrices
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


def _solve_by_absolute_eigenvalues(
    matrix: Float[np.ndarray, "batch params params"], right: Float[np.ndarray, "batch params"]
) -> Float[np.ndarray, "batch params"]:
    """Solve each system with the absolute values of its eigenvalues, which always gives a descent
    direction."""
    values, vectors = np.linalg.eigh(np.nan_to_num(matrix))
    size = np.abs(values)
    size = np.maximum(size, 1e-10 * size.max(axis=1, keepdims=True) + 1e-300)
    along = np.einsum("mpk,mp->mk", vectors, right) / size
    return np.einsum("mpk,mk->mp", vectors, along)


def descend(
    evaluate: Evaluate,
    start: Float[np.ndarray, "batch params"],
    *,
    max_iterations: int = 200,
    tolerance: float = 1e-12,
    damping: float | Float[np.ndarray, "batch"] = START_DAMPING,
    restart: float = RESTART_DAMPING,
    exact: bool = False,
    floor: Float[np.ndarray, "params"] | None = None,
    units: Float[np.ndarray, "params"] | None = None,
) -> Descent:
    """Minimise each objective of a batch from its start.

    ``evaluate(points, index)`` returns the LocalModel at ``points`` for the problems numbered
    ``index``. ``damping`` is the first damping and ``restart`` the one that follows a failed
    undamped step: small for curved valleys, where large damping would stop all progress, larger
    where failures are close. ``exact`` begins with the Newton matrix (right when the start is
    close). No step takes a component more than nine tenths of the way to its ``floor``. ``units``
    are parameter scales that replace the diagonal of gauss in the damping. A problem has converged
    when an undamped, short step is predicted to lower Q by less than ``tolerance`` relative (that
    step is taken without another evaluation), or by less than CONVERGED_DECREASE where Q no longer
    changes beyond rounding.
    """
    count = len(start)
    state = _State.begin(evaluate, start, damping, restart, exact, units)
    final = Descent(
        start.copy(), np.full(count, np.inf), np.full(count, np.inf), np.zeros(count, bool), 0
    )
    for iteration in range(max_iterations):
        step, predicted = _damped_step(state, floor)
        sure = _is_negligible(state, predicted, tolerance) & (state.damping == 0)
        sure &= _is_short(step, state.point)
        if sure.any():
            state.point[sure] += step[sure]
            state.here.objective[sure] -= predicted[sure]
            _record_ends(final, state, sure, predicted, floor)
            state, step, predicted = state.select(~sure), step[~sure], predicted[~sure]
        if state.index.size:
            leave = _try_steps(state, evaluate, step, predicted, tolerance, units is None)
            leave |= iteration == max_iterations - 1
            if leave.any():
                _record_ends(final, state, leave, None, floor)
                state = state.select(~leave)
        if not state.index.size:
            return replace(final, iterations=iteration + 1)
    return final


@dataclass
class _State:
    """State of the problems that are still moving; ``damping_scale`` is the diagonal D of the
    damping."""

    index: Int[np.ndarray, "active"]
    point: Float[np.ndarray, "active params"]
    here: LocalModel
    damping_scale: Float[np.ndarray, "active params"]
    damping: Float[np.ndarray, "active"]
    restart: Float[np.ndarray, "active"]
    growth: Float[np.ndarray, "active"]
    exact: Bool[np.ndarray, "active"]
    idle_steps: Int[np.ndarray, "active"]

    @staticmethod
    def begin(
        evaluate: Evaluate,
        start: np.ndarray,
        damping: float | np.ndarray,
        restart: float,
        exact: bool,
        units: np.ndarray | None,
    ) -> _State:
        count = len(start)
        here = evaluate(start, np.arange(count))
        damping_scale = np.einsum("mii->mi", here.gauss).copy()
        if units is not None:
            size = np.where(np.isfinite(here.objective), np.abs(here.objective), 1.0)
            damping_scale = 2 * size[:, None] / units**2
        return _State(
            np.arange(count),
            start.copy(),
            here,
            damping_scale,
            np.zeros(count) + damping,
            np.full(count, restart),
            np.full(count, 4.0),
            np.full(count, exact),
            np.zeros(count, int),
        )

    def select(self, which: np.ndarray) -> _State:
        return _State(
            self.index[which],
            self.point[which],
            _select(self.here, which),
            self.damping_scale[which],
            self.damping[which],
            self.restart[which],
            self.growth[which],
            self.exact[which],
            self.idle_steps[which],
        )


def _select(local: LocalModel, which: np.ndarray) -> LocalModel:
    return LocalModel(
        local.objective[which], local.gradient[which], local.gauss[which], local.newton[which]
    )


def _record_ends(
    final: Descent,
    state: _State,
    leave: np.ndarray,
    predicted: np.ndarray | None,
    floor: np.ndarray | None,
) -> None:
    """Record the problems that leave: those with a ``predicted`` decrease have converged, for the
    others the decrease that remains decides."""
    rows, here, point = state.index[leave], _select(state.here, leave), state.point[leave]
    if predicted is None:
        step, remaining = _undamped_step(here, point, floor)
        done = remaining <= CONVERGED_DECREASE
        # where rounding hides the fall of Q, its gradient still tells the way
        point = np.where((done & _is_short(step, point))[:, None], point + step, point)
    else:
        remaining = predicted[leave] / np.maximum(np.abs(here.objective), 1e-300)
        done = np.ones(len(rows), bool)
    final.point[rows] = point
    final.objective[rows] = here.objective
    final.decrement[rows] = remaining
    final.converged[rows] = done


def _is_short(step: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Return whether each step is short enough to be taken without evaluating Q at its end: a long
    one along a flat valley may end where Q is not finite."""
    return np.asarray((np.abs(step) <= SHORT_STEP * (1 + np.abs(point))).all(axis=1))


def _undamped_step(
    here: LocalModel, point: np.ndarray, floor: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the undamped step and its predicted relative decrease of Q: infinite where Q is
    infinite, zero where the step is below the rounding of the point."""
    unit = 1.0 / np.sqrt(_bounded_diagonal(np.einsum("mii->mi", here.gauss)))
    right = -here.gradient * unit
    matrix = here.newton * unit[:, :, None] * unit[:, None, :]
    step = _cut_at_floor(
        _solve_by_absolute_eigenvalues(matrix, right) * unit, matrix, right, unit, point, floor
    )
    decrease = 0.5 * np.einsum("mp,mp->m", step, -here.gradient)
    lost = (np.abs(step) <= 1e-10 * (np.abs(point) + 1e-3)).all(axis=1)
    size = np.abs(here.objective)
    with np.errstate(invalid="ignore", divide="ignore"):
        remaining = np.where((decrease > 0) & ~lost, decrease / size, 0.0)
    return step, np.where(np.isfinite(size), remaining, np.inf)


def _bounded_diagonal(diagonal: np.ndarray) -> np.ndarray:
    return np.maximum(diagonal, 1e-14 * diagonal.max(axis=1, keepdims=True)) + 1e-300


def _damped_step(state: _State, floor: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the damped step of each problem and its predicted decrease of Q."""
    here = state.here
    damp = state.damping[:, None] * _bounded_diagonal(state.damping_scale)
    # columns are scaled to about unit diagonal before solving: units must not cost digits
    unit = 1.0 / np.sqrt(_bounded_diagonal(np.einsum("mii->mi", here.gauss)) + damp)
    matrix = np.where(state.exact[:, None, None], here.newton, here.gauss)
    whole = (matrix + damp[:, :, None] * np.eye(damp.shape[1])) * unit[:, :, None] * unit[:, None]
    right = -here.gradient * unit
    step = solve_each(whole, right) * unit
    uphill = ~(np.einsum("mp,mp->m", step, here.gradient) < 0) & (np.abs(right).max(axis=1) > 0)
    if uphill.any():  # an indefinite or singular matrix: the sizes of its eigenvalues serve
        step[uphill] = _solve_by_absolute_eigenvalues(whole[uphill], right[uphill]) * unit[uphill]
    step = np.nan_to_num(step, nan=0.0, posinf=0.0, neginf=0.0)
    step = _cut_at_floor(step, whole, right, unit, state.point, floor)
    curvature = np.einsum("mp,mpq,mq->m", step, matrix, step)
    return step, -(np.einsum("mp,mp->m", step, here.gradient) + 0.5 * curvature)


def _cut_at_floor(
    step: np.ndarray,
    matrix: np.ndarray,
    right: np.ndarray,
    unit: np.ndarray,
    point: np.ndarray,
    floor: np.ndarray | None,
) -> np.ndarray:
    """Shorten components that go more than nine tenths of the way to their floor, and solve again
    for the other components; ``matrix`` and ``right`` are the linear system in units of
    ``unit``."""
    if floor is None:
        return step
    room = FLOOR_FRACTION * (floor - point)
    short = step < room
    rows = np.flatnonzero(short.any(axis=1))
    if not rows.size:
        return step
    at_floor = short[rows]
    fixed = np.where(at_floor, room[rows] / unit[rows], 0.0)
    rest = right[rows] - np.einsum("mpq,mq->mp", matrix[rows], fixed)
    apart = at_floor[:, :, None] | at_floor[:, None, :]
    others = solve_each(
        np.where(apart, np.eye(step.shape[1]), matrix[rows]), np.where(at_floor, 0.0, rest)
    )
    out = step.copy()
    out[rows] = np.where(at_floor, room[rows], np.nan_to_num(others) * unit[rows])
    return np.maximum(out, room)


def _is_negligible(state: _State, predicted: np.ndarray, tolerance: float) -> np.ndarray:
    """Return whether each step is predicted to change nothing that matters. An undamped Newton step
    overestimates what is left after it (quadratic convergence), a Gauss-Newton step does not."""
    size = np.abs(state.here.objective)
    with np.errstate(invalid="ignore"):
        enough = (
            predicted
            <= np.where(state.exact, 1.0, 1e-3) * tolerance * size + RELATIVE_ROUNDING * size
        )
    return enough & (predicted >= 0) & np.isfinite(size)


def _try_steps(
    state: _State,
    evaluate: Evaluate,
    step: np.ndarray,
    predicted: np.ndarray,
    tolerance: float,
    grow_scale: bool,
) -> np.ndarray:
    """Try one step for every active problem and return which problems can go no further."""
    trial = state.point + step
    there = evaluate(trial, state.index)
    old, new = state.here.objective, there.objective
    with np.errstate(invalid="ignore"):
        decrease = np.where(np.isfinite(new), old - new, -np.inf)
    decrease = np.where(np.isfinite(old), decrease, np.where(np.isfinite(new), np.inf, -np.inf))
    size = np.where(np.isfinite(old), np.abs(old), 1.0)
    noise = RELATIVE_ROUNDING * size
    taken = decrease >= -noise
    near = _is_negligible(state, predicted, tolerance)
    idle = near | (np.abs(decrease) <= noise)
    state.idle_steps = np.where(decrease > 1e3 * tolerance * size, 0, state.idle_steps + idle)
    tiny = (np.abs(step) <= 1e-14 * (np.abs(state.point) + 1e-3)).all(axis=1)
    _adapt_damping(state, decrease, predicted, taken, near)
    _accept_steps(state, trial, there, taken, grow_scale)
    return (~taken & (state.damping > 1e12)) | (state.idle_steps >= MAX_IDLE_STEPS) | tiny


def _adapt_damping(
    state: _State, decrease: np.ndarray, predicted: np.ndarray, taken: np.ndarray, near: np.ndarray
) -> None:
    """Adapt the damping and the choice of matrix to how well the decrease was predicted."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(predicted > 0, decrease / predicted, np.where(taken, 1.0, -1.0))
        small = decrease < 0.1 * np.abs(state.here.objective)
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


def _accept_steps(
    state: _State, trial: np.ndarray, there: LocalModel, taken: np.ndarray, grow_scale: bool
) -> None:
    here = state.here
    state.point = np.where(taken[:, None], trial, state.point)
    if grow_scale:
        met = np.einsum("mii->mi", there.gauss)
        state.damping_scale = np.where(
            taken[:, None], np.maximum(state.damping_scale, met), state.damping_scale
        )
    state.here = LocalModel(
        np.where(taken, there.objective, here.objective),
        np.where(taken[:, None], there.gradient, here.gradient),
        np.where(taken[:, None, None], there.gauss, here.gauss),
        np.where(taken[:, None, None], there.newton, here.newton),
    )
