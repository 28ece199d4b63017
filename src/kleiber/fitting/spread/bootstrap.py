"""Refits to resampled tables: the draws behind every interval.

Each draw is a true refit from the fitted optimum, all draws advancing together, of a table that is

- resampled: rows, or whole groups, drawn with replacement (Efron 1979; Field & Welsh 2007), or
- wild: the fitted values plus each row's own residual, stretched and times a random factor
  (``wild.py``), or
- even: the fitted values plus normal noise, where few rows are to spare (``student.py``).

Numbers are drawn in draw order, from one stream for tables and another for priors, so the result
does not depend on how the work is cut.
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
from kleiber.fitting.spread.student import even_noise
from kleiber.fitting.spread.wild import normal_factors, stretch_residuals

AT_ONCE = 400_000  # rows x parameters x draws worked on between two signs of life
TOLERANCE = 1e-10  # relative, on the objective of each draw
PATIENCE = {True: 200, False: 60}  # steps of one descent of a draw, on few rows and on many
RESTART_DAMPING = 1e-3  # damping after a failed Newton step, close as the optimum is


@dataclass(frozen=True)
class Lift:
    """A way off a bound: coordinates to take in place of a draw's own (NaN: its own), among which
    the one at ``position`` lies just beside its bound; ``inward`` is the sign of the way inside,
    ``room`` how far the parameter may go at once."""

    position: int
    point: Float[np.ndarray, "params"]
    inward: float
    room: float


@dataclass(frozen=True)
class Refits:
    """A run of consecutive draws: coordinates, objective at each, and whether it converged."""

    point: Float[np.ndarray, "draws params"]
    objective: Float[np.ndarray, "draws"]
    converged: Bool[np.ndarray, "draws"]
    total: int


def resample_weights(
    rng: np.random.Generator, draws: int, rows: int, groups: Int[np.ndarray, "rows"] | None
) -> Float[np.ndarray, "draws rows"]:
    """How often each row is drawn, for each draw."""
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
    lifts: Sequence[Lift] | None = None,
) -> Iterator[Refits]:
    """Yield the draws in runs that fit in memory, in order; each keeps the best of its starts.

    ``lifts`` are ways off the bounds that the optimum has hit. With them only those draws whose
    objective falls along one descend again, from where it leads and from each further start: for
    the others the bound is an optimum.
    """
    rows = len(problem.target)
    chunk = max(8, min(500, AT_ONCE // (rows * starts.shape[1])))
    residual = residuals(problem, starts[:1])[0]
    stretched = stretch_residuals(problem, starts[0], residual, groups) if wild else residual
    believed = rng.spawn(1)[0]
    for first in range(0, draws, chunk):
        count = min(chunk, draws - first)
        prior_shift = None
        if problem.prior is not None:
            prior = problem.prior
            prior_shift = prior.spread * believed.standard_normal((count, len(prior.positions)))
        if even:
            shift = residual - even_noise(problem, starts[0], residual, rng, count)
            refits = _Refitting(problem, problem.weights[None], shift, prior_shift, scale)
        elif wild:
            shift = residual - stretched * normal_factors(rng, count, rows, groups)
            refits = _Refitting(problem, problem.weights[None], shift, prior_shift, scale)
        else:
            weights = resample_weights(rng, count, rows, groups) * problem.weights
            refits = _Refitting(problem, weights, None, prior_shift, scale)
        if wild or even:  # a look at a table of its own costs as little as a tangent's
            near = np.repeat(starts[:1], count, 0)
        else:
            near = tangent_refits(problem, starts[0], scale, refits.weights)
        best = refits.descend(near)
        refits.retry(best, starts[0], ~best.converged)
        again = np.ones(count, bool)
        if lifts is not None:
            again = refits.lift(best, lifts)
        for u in starts[1:]:
            refits.retry(best, u, again)
        yield Refits(best.point, best.objective, best.converged, draws)


@dataclass(frozen=True)
class _Refitting:
    """A run of draws on its way: what each draw's table differs in."""

    problem: Problem
    weights: np.ndarray
    shift: np.ndarray | None
    prior_shift: np.ndarray | None
    scale: float

    def descend(self, start: np.ndarray, which: np.ndarray | None = None) -> Descent:
        """Descend the draws, or those of them in ``which``."""
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
            max_iterations=PATIENCE[uses_second_derivatives(self.problem)],
        )[0]

    def lift(self, best: Descent, lifts: Sequence[Lift]) -> np.ndarray:
        """Descend the draws whose objective falls along a way off a bound; says which they are."""
        found = np.zeros(len(best.point), bool)
        for lift in lifts:
            kept = np.isnan(lift.point)
            trial = np.where(kept, best.point, lift.point)
            scale = np.full(len(trial), self.scale)
            local = evaluate_objective(
                self.problem,
                trial,
                self.weights,
                scale,
                shift=self.shift,
                prior_shift=self.prior_shift,
            )
            inside = local.gradient[:, lift.position] * lift.inward < 0
            inside &= np.isfinite(local.objective)
            rows = np.flatnonzero(inside)
            if rows.size:
                start = best.point.copy()
                start[rows] = self._step_off(lift, trial[rows], local, rows)
                self.retry(best, start, inside)
                found |= inside
        return found

    def _step_off(
        self, lift: Lift, trial: np.ndarray, local: LocalModel, rows: np.ndarray
    ) -> np.ndarray:
        """Where a Gauss-Newton step leads from beside the bound, the lifted parameter itself (not
        its logarithm, which the bound puts infinitely far away) as a coordinate."""
        k = lift.position
        domain = list(self.problem.law.domains.values())[k]
        value = np.asarray(domain.outer(trial[:, k]))
        unit = np.ones_like(trial)
        unit[:, k] = domain.stretch(trial[:, k])
        gradient = local.gradient[rows] / unit
        gauss = local.gauss[rows] / (unit[:, :, None] * unit[:, None, :])
        size = np.sqrt(np.maximum(np.einsum("mpp->mp", gauss), 1e-300))
        scaled = gauss / (size[:, :, None] * size[:, None, :]) + 1e-9 * np.eye(trial.shape[1])
        step = -np.nan_to_num(solve_each(scaled, gradient / size)) / size
        own = lift.inward * np.clip(lift.inward * step[:, k], 0, lift.room)
        step = np.clip(step, -MAX_STEP, MAX_STEP)
        out = trial + step
        out[:, k] = domain.inner(value + own)
        floor = np.array([item.floor for item in self.problem.law.domains.values()])
        return np.where(np.isfinite(floor), np.maximum(out, 0.1 * trial), out)

    def retry(self, best: Descent, start: np.ndarray, which: np.ndarray) -> None:
        """Descend the draws ``which`` again, from one point or from their own, and keep what ends
        lower."""
        rows = np.flatnonzero(which)
        if not rows.size:
            return
        begin = np.repeat(start[None], len(rows), 0) if start.ndim == 1 else start[rows]
        again = self.descend(begin, rows)
        lower = again.objective < best.objective[rows] * (1 - 1e-9)
        lower |= again.converged & ~best.converged[rows] & (again.objective <= best.objective[rows])
        best.point[rows[lower]] = again.point[lower]
        best.objective[rows[lower]] = again.objective[lower]
        best.converged[rows[lower]] = again.converged[lower]
