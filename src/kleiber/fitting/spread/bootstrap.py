"""Refits to resampled tables: the draws from which every interval is read.

Each draw is a full refit, started from the fitted optimum, and all draws advance together. The
table of a draw is

- resampled: rows, or whole groups, drawn with replacement (Efron 1979; Field & Welsh 2007), or
- wild: the fitted values plus each row's own residual, stretched and times a random factor
  (``wild.py``), or
- even: the fitted values plus normal noise of equal size, where few rows are left (``student.py``).

Random numbers are drawn in the order of the draws, from one stream for tables and another for
priors, so that the result does not depend on how the work is split into chunks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from kleiber.fitting.engine.levenberg import Descent, LocalModel, solve_each
from kleiber.fitting.engine.linear import MAX_STEP, tangent_refits
from kleiber.fitting.engine.problem import (
    Problem,
    evaluate_objective,
    minimise,
    residuals,
    uses_second_derivatives,
)
from kleiber.fitting.spread.student import draw_equal_noise
from kleiber.fitting.spread.wild import normal_factors, stretch_residuals

CHUNK_SIZE = 400_000  # rows x parameters x draws worked on between two signs of life
TOLERANCE = 1e-10  # relative, on the objective of each draw
MAX_STEPS = {True: 200, False: 60}  # steps of one descent of a draw, on few rows and on many
RESTART_DAMPING = 1e-3  # damping after a failed Newton step, close as the optimum is


@dataclass(frozen=True)
class BoundEscape:
    """A way off a bound: coordinates that replace a draw's own (NaN keeps its own), with the one at
    ``position`` just beside its bound. ``direction`` is the sign of the way inside, ``max_move``
    how far the parameter may go in one step."""

    position: int
    point: Float[np.ndarray, "params"]
    direction: float
    max_move: float


@dataclass(frozen=True)
class Refits:
    """A chunk of consecutive draws: their coordinates, objectives, and whether they converged."""

    point: Float[np.ndarray, "draws params"]
    objective: Float[np.ndarray, "draws"]
    converged: Bool[np.ndarray, "draws"]
    total: int


def resample_weights(
    rng: np.random.Generator, draws: int, rows: int, groups: Int[np.ndarray, "rows"] | None
) -> Float[np.ndarray, "draws rows"]:
    """Return how often each row is drawn in each draw."""
    units = rows if groups is None else int(groups.max()) + 1
    picked = rng.integers(0, units, size=(draws, units))
    picked += units * np.arange(draws)[:, None]
    counts = np.bincount(picked.ravel(), minlength=draws * units).reshape(draws, units)
    return (counts if groups is None else counts[:, groups]).astype(float)


def refit(
    problem: Problem,
    starts: Float[np.ndarray, "starts params"],
    scale: float,
    *,
    draws: int,
    groups: Int[np.ndarray, "rows"] | None,
    rng: np.random.Generator,
    wild: bool = False,
    even: bool = False,
    escapes: Sequence[BoundEscape] | None = None,
) -> Iterator[Refits]:
    """Yield the draws in order, in chunks that fit in memory; each draw keeps the best of its
    starts.

    ``escapes`` are ways off the bounds that the optimum has hit. With them, only draws whose
    objective decreases along an escape descend again, from where it leads and from each further
    start: for the others the bound is an optimum.
    """
    rows = len(problem.target)
    chunk_size = max(8, min(500, CHUNK_SIZE // (rows * starts.shape[1])))
    residual = residuals(problem, starts[:1])[0]
    stretched = stretch_residuals(problem, starts[0], residual, groups) if wild else residual
    prior_rng = rng.spawn(1)[0]
    for first in range(0, draws, chunk_size):
        count = min(chunk_size, draws - first)
        prior_shift = None
        if problem.prior is not None:
            prior = problem.prior
            prior_shift = prior.spread * prior_rng.standard_normal((count, len(prior.positions)))
        if even:
            shift = residual - draw_equal_noise(problem, starts[0], residual, rng, count)
            refits = _RefitBatch(problem, problem.weights[None], shift, prior_shift, scale)
        elif wild:
            shift = residual - stretched * normal_factors(rng, count, rows, groups)
            refits = _RefitBatch(problem, problem.weights[None], shift, prior_shift, scale)
        else:
            weights = resample_weights(rng, count, rows, groups) * problem.weights
            refits = _RefitBatch(problem, weights, None, prior_shift, scale)
        if wild or even:  # a look at a table of its own costs as little as a tangent's
            starts_of_draws = np.repeat(starts[:1], count, 0)
        else:
            starts_of_draws = tangent_refits(problem, starts[0], scale, refits.weights)
        best = refits.descend(starts_of_draws)
        refits.descend_again(best, starts[0], ~best.converged)
        descend_further = np.ones(count, bool)
        if escapes is not None:
            descend_further = refits.escape_bounds(best, escapes)
        for u in starts[1:]:
            refits.descend_again(best, u, descend_further)
        yield Refits(best.point, best.objective, best.converged, draws)


@dataclass(frozen=True)
class _RefitBatch:
    """A chunk of draws in progress: how the table of each draw differs from the given one."""

    problem: Problem
    weights: np.ndarray
    shift: np.ndarray | None
    prior_shift: np.ndarray | None
    scale: float

    def descend(self, start: np.ndarray, which: np.ndarray | None = None) -> Descent:
        """Descend the draws, or those in ``which``."""
        rows = slice(None) if which is None else which
        return minimise(
            self.problem,
            start,
            self.weights if len(self.weights) == 1 else self.weights[rows],
            scale=np.full(len(start), self.scale),
            exact=True,
            tolerance=TOLERANCE,
            restart=RESTART_DAMPING,
            shift=None if self.shift is None else self.shift[rows],
            prior_shift=None if self.prior_shift is None else self.prior_shift[rows],
            second_order=uses_second_derivatives(self.problem),
            max_iterations=MAX_STEPS[uses_second_derivatives(self.problem)],
        )[0]

    def escape_bounds(self, best: Descent, escapes: Sequence[BoundEscape]) -> np.ndarray:
        """Descend the draws whose objective decreases along a way off a bound, and return which
        they are."""
        found = np.zeros(len(best.point), bool)
        for escape in escapes:
            unchanged = np.isnan(escape.point)
            trial = np.where(unchanged, best.point, escape.point)
            scale = np.full(len(trial), self.scale)
            local = evaluate_objective(
                self.problem,
                trial,
                self.weights,
                scale,
                shift=self.shift,
                prior_shift=self.prior_shift,
            )
            inside = local.gradient[:, escape.position] * escape.direction < 0
            inside &= np.isfinite(local.objective)
            rows = np.flatnonzero(inside)
            if rows.size:
                start = best.point.copy()
                start[rows] = self._step_from_bound(escape, trial[rows], local, rows)
                self.descend_again(best, start, inside)
                found |= inside
        return found

    def _step_from_bound(
        self, escape: BoundEscape, trial: np.ndarray, local: LocalModel, rows: np.ndarray
    ) -> np.ndarray:
        """Return the end of a Gauss-Newton step from beside the bound, taken in the parameter
        itself (its logarithm would put the bound infinitely far away)."""
        k = escape.position
        domain = list(self.problem.law.domains.values())[k]
        value = np.asarray(domain.from_coordinate(trial[:, k]))
        unit = np.ones_like(trial)
        unit[:, k] = domain.derivative(trial[:, k])
        gradient = local.gradient[rows] / unit
        gauss = local.gauss[rows] / (unit[:, :, None] * unit[:, None, :])
        size = np.sqrt(np.maximum(np.einsum("mpp->mp", gauss), 1e-300))
        scaled = gauss / (size[:, :, None] * size[:, None, :]) + 1e-9 * np.eye(trial.shape[1])
        step = -np.nan_to_num(solve_each(scaled, gradient / size)) / size
        move = escape.direction * np.clip(escape.direction * step[:, k], 0, escape.max_move)
        step = np.clip(step, -MAX_STEP, MAX_STEP)
        out = trial + step
        out[:, k] = domain.to_coordinate(value + move)
        floor = np.array([item.floor for item in self.problem.law.domains.values()])
        return np.where(np.isfinite(floor), np.maximum(out, 0.1 * trial), out)

    def descend_again(self, best: Descent, start: np.ndarray, which: np.ndarray) -> None:
        """Descend the draws ``which`` again, from one point or from their own, and keep the ends
        that are lower."""
        rows = np.flatnonzero(which)
        if not rows.size:
            return
        begin = np.repeat(start[None], len(rows), 0) if start.ndim == 1 else start[rows]
        descend_further = self.descend(begin, rows)
        improved = descend_further.objective < best.objective[rows] * (1 - 1e-9)
        improved |= (
            descend_further.converged
            & ~best.converged[rows]
            & (descend_further.objective <= best.objective[rows])
        )
        best.point[rows[improved]] = descend_further.point[improved]
        best.objective[rows[improved]] = descend_further.objective[improved]
        best.converged[rows[improved]] = descend_further.converged[improved]
