"""Levenberg-Marquardt for many least-squares-like problems at once.

Members (starts, bootstrap replicates) advance together. Each has an objective Q, a gradient and
two matrices: ``gauss``, positive semidefinite and safe far from the optimum (Gauss-Newton, with
reweighting for a robust loss), and ``newton``, the exact Hessian, which ends the descent
quadratically where Gauss-Newton on a robust loss would crawl. A step solves
(M + lambda diag(gauss)) s = -g (Marquardt 1963) with M = newton once progress is slow and steps
succeed, and M = gauss after a rejection. A member leaves the array when it has converged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

START_DAMPING = 1e-2
NEAR = 0.9  # share of the way to a floor that one step may go
ROUNDING = 4e-15  # relative size of changes of the objective that are noise


@dataclass(frozen=True)
class Local:
    """Second-order picture of each member's objective at its point."""

    objective: Float[np.ndarray, "members"]
    gradient: Float[np.ndarray, "members params"]
    gauss: Float[np.ndarray, "members params params"]
    newton: Float[np.ndarray, "members params params"]


@dataclass(frozen=True)
class Descent:
    """Where each member ended. ``decrement`` is the predicted remaining fall of Q, relative."""

    point: Float[np.ndarray, "members params"]
    objective: Float[np.ndarray, "members"]
    decrement: Float[np.ndarray, "members"]
    converged: Bool[np.ndarray, "members"]
    iterations: int


Look = Callable[[Float[np.ndarray, "active params"], Int[np.ndarray, "active"]], Local]


def solve_each(
    matrix: Float[np.ndarray, "members params params"], right: Float[np.ndarray, "members params"]
) -> Float[np.ndarray, "members params"]:
    """Solve each small symmetric system; a singular one gives NaN for its member alone."""
    try:
        return np.linalg.solve(matrix, right[..., None])[..., 0]
    except np.linalg.LinAlgError:
        out = np.full_like(right, np.nan)
        for i, (each, side) in enumerate(zip(matrix, right, strict=True)):
            if np.isfinite(each).all() and np.linalg.matrix_rank(each) == len(side):
                out[i] = np.linalg.solve(each, side)
        return out


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
    damping: float = START_DAMPING,
    exact: bool = False,
    floor: Float[np.ndarray, "params"] | None = None,
) -> Descent:
    """Minimise each member's objective from its start.

    ``look(points, members)`` gives the local picture at ``points`` for the members numbered.
    ``exact`` begins with the Newton matrix (right when the start is close); no step takes a
    component more than nine tenths of the way to its ``floor``. A member has converged when an undamped step is predicted to
    lower Q by less than ``tolerance`` relative, or when Q can no longer change beyond rounding.
    """
    count, width = start.shape
    state = _State.begin(look, start, damping, exact)
    final = Descent(
        start.copy(), np.full(count, np.inf), np.full(count, np.inf), np.zeros(count, bool), 0
    )
    for iteration in range(max_iterations):
        done = _advance(state, look, tolerance, floor)
        leave = done | (iteration == max_iterations - 1)
        if leave.any():
            _settle(final, state, leave, done)
            state = state.keep(~leave)
        if not state.member.size:
            return Descent(
                final.point, final.objective, final.decrement, final.converged, iteration + 1
            )
    return final


@dataclass
class _State:
    """The members still moving."""

    member: Int[np.ndarray, "active"]
    point: Float[np.ndarray, "active params"]
    here: Local
    damping: Float[np.ndarray, "active"]
    exact: Bool[np.ndarray, "active"]
    decrement: Float[np.ndarray, "active"]
    quiet: Int[np.ndarray, "active"]
    growth: Float[np.ndarray, "active"]

    @staticmethod
    def begin(look: Look, start: np.ndarray, damping: float, exact: bool) -> _State:
        members = np.arange(len(start))
        return _State(
            members,
            start.copy(),
            look(start, members),
            np.full(len(start), damping),
            np.full(len(start), exact),
            np.full(len(start), np.inf),
            np.zeros(len(start), int),
            np.full(len(start), 4.0),
        )

    def keep(self, which: np.ndarray) -> _State:
        here = self.here
        return _State(
            self.member[which],
            self.point[which],
            Local(
                here.objective[which], here.gradient[which], here.gauss[which], here.newton[which]
            ),
            self.damping[which],
            self.exact[which],
            self.decrement[which],
            self.quiet[which],
            self.growth[which],
        )


def _settle(final: Descent, state: _State, leave: np.ndarray, done: np.ndarray) -> None:
    rows = state.member[leave]
    final.point[rows] = state.point[leave]
    final.objective[rows] = state.here.objective[leave]
    final.decrement[rows] = state.decrement[leave]
    final.converged[rows] = done[leave] & np.isfinite(state.here.objective[leave])


def _step(state: _State, floor: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The damped step of each member, and its predicted fall of Q."""
    here = state.here
    scale = np.einsum("mii->mi", here.gauss).copy()
    scale = np.maximum(scale, 1e-14 * scale.max(axis=1, keepdims=True)) + 1e-300
    eye = np.eye(scale.shape[1])
    damp = (state.damping[:, None] * scale)[:, :, None] * eye
    # columns are scaled to unit diagonal before solving: units must not cost digits
    unit = 1.0 / np.sqrt(scale)
    frame = unit[:, :, None] * unit[:, None, :]
    matrix = np.where(state.exact[:, None, None], here.newton, here.gauss)
    side = -here.gradient * unit
    step = solve_each((matrix + damp) * frame, side) * unit
    uphill = ~(np.einsum("mp,mp->m", step, here.gradient) < 0) & (np.abs(side).max(axis=1) > 0)
    if uphill.any():  # an indefinite or singular matrix: the sizes of its eigenvalues serve
        bent = (matrix[uphill] + damp[uphill]) * frame[uphill]
        step[uphill] = _bend_down(bent, side[uphill]) * unit[uphill]
    step = np.nan_to_num(step, nan=0.0, posinf=0.0, neginf=0.0)
    if floor is not None:
        step = np.maximum(step, NEAR * (floor - state.point))
    bend = np.einsum("mp,mpq,mq->m", step, matrix, step)
    return step, -(np.einsum("mp,mp->m", step, here.gradient) + 0.5 * bend)


def _advance(state: _State, look: Look, tolerance: float, floor: np.ndarray | None) -> np.ndarray:
    """One trial step for every active member; says which have converged."""
    step, predicted = _step(state, floor)
    trial = state.point + step
    there = look(trial, state.member)
    old, new = state.here.objective, there.objective
    with np.errstate(invalid="ignore"):
        fall = np.where(np.isfinite(new), old - new, -np.inf)
    fall = np.where(np.isfinite(old), fall, np.where(np.isfinite(new), np.inf, -np.inf))
    size = np.where(np.isfinite(old), np.abs(old), 1.0)
    noise = ROUNDING * size
    taken = fall >= -noise
    full = state.damping <= 1e-4
    floor = tolerance * size
    state.decrement = np.maximum(predicted, 0.0) / np.maximum(size, 1e-300)
    # an undamped Newton step overestimates what is left after it: quadratic convergence
    slow = np.where(state.exact, 1.0, 1e-3)
    sure = taken & full & (predicted <= slow * floor + noise)
    tiny = np.abs(step) <= 1e-14 * (np.abs(state.point) + 1e-3)
    state.quiet = np.where(np.abs(fall) <= noise, state.quiet + 1, 0)
    stuck = (~taken & (state.damping > 1e12)) | (state.quiet >= 4) | (tiny.all(axis=1))
    _learn(state, fall, predicted, taken)
    _move(state, trial, there, taken)
    return sure | stuck


def _learn(state: _State, fall: np.ndarray, predicted: np.ndarray, taken: np.ndarray) -> None:
    """Adapt damping and the choice of matrix to how well the step was predicted."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(predicted > 0, fall / predicted, np.where(taken, 1.0, -1.0))
        small = fall < 0.1 * np.abs(state.here.objective)
    # Nielsen 1999: a smooth factor after success, growing ones after failures in a row
    factor = np.maximum(0.1, 1 - (2 * np.clip(ratio, 0, 1) - 1) ** 3)
    lower = np.where(state.damping * factor < 1e-9, 0.0, state.damping * factor)
    higher = np.maximum(state.damping, 1e-5) * state.growth
    state.damping = np.where(taken, lower, higher)
    state.growth = np.where(taken, 4.0, np.minimum(state.growth * 2, 1e6))
    state.exact = state.exact | (taken & small)


def _move(state: _State, trial: np.ndarray, there: Local, taken: np.ndarray) -> None:
    here = state.here
    state.point = np.where(taken[:, None], trial, state.point)
    state.here = Local(
        np.where(taken, there.objective, here.objective),
        np.where(taken[:, None], there.gradient, here.gradient),
        np.where(taken[:, None, None], there.gauss, here.gauss),
        np.where(taken[:, None, None], there.newton, here.newton),
    )
