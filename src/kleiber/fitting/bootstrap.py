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

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from kleiber.fitting.linear import tangent_refits
from kleiber.fitting.problem import Problem, minimise, residuals
from kleiber.fitting.student import even_noise
from kleiber.fitting.wild import normal_factors, stretch_residuals
from kleiber.maths.levenberg import Descent

MEMORY = 4_000_000  # entries of the weight matrix held at once
TOLERANCE = 1e-10  # relative, on the objective of each draw
RESTART = 1e-3  # damping after a failed Newton step, close as the optimum is


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
) -> Iterator[Refits]:
    """Yield the draws in runs that fit in memory, in order; each keeps the best of its starts."""
    rows = len(problem.target)
    chunk = max(1, min(500, MEMORY // rows))
    residual = residuals(problem, starts[:1])[0]
    stretched = stretch_residuals(problem, starts[0], residual, groups) if wild else residual
    believed = rng.spawn(1)[0]
    for first in range(0, draws, chunk):
        count = min(chunk, draws - first)
        moved = None
        if problem.prior is not None:
            prior = problem.prior
            moved = prior.spread * believed.standard_normal((count, len(prior.where)))
        if even:
            shift = residual - even_noise(problem, starts[0], residual, rng, count)
            refits = _Refitting(problem, problem.weights[None], shift, moved, scale)
        elif wild:
            shift = residual - stretched * normal_factors(rng, count, rows, groups)
            refits = _Refitting(problem, problem.weights[None], shift, moved, scale)
        else:
            weights = resample_weights(rng, count, rows, groups) * problem.weights
            refits = _Refitting(problem, weights, None, moved, scale)
        if wild or even or problem.kernel is not None:
            # a look at a table of its own, or a compiled one, costs as little as a tangent's
            near = np.repeat(starts[:1], count, 0)
        else:
            near = tangent_refits(problem, starts[0], scale, refits.weights)
        best = refits.descend(near)
        refits.retry(best, starts[0], ~best.converged)
        for u in starts[1:]:
            refits.retry(best, u, np.ones(count, bool))
        yield Refits(best.point, best.objective, best.converged, draws)


@dataclass(frozen=True)
class _Refitting:
    """A run of draws on its way: what each draw's table differs in."""

    problem: Problem
    weights: np.ndarray
    shift: np.ndarray | None
    moved: np.ndarray | None
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
            restart=RESTART,
            shift=None if self.shift is None else self.shift[rows],
            moved=None if self.moved is None else self.moved[rows],
        )[0]

    def retry(self, best: Descent, u: np.ndarray, which: np.ndarray) -> None:
        """Descend the draws ``which`` again from ``u`` and keep what ends lower."""
        rows = np.flatnonzero(which)
        if not rows.size:
            return
        again = self.descend(np.repeat(u[None], len(rows), 0), rows)
        lower = again.objective < best.objective[rows] * (1 - 1e-9)
        lower |= again.converged & ~best.converged[rows] & (again.objective <= best.objective[rows])
        best.point[rows[lower]] = again.point[lower]
        best.objective[rows[lower]] = again.objective[lower]
        best.converged[rows[lower]] = again.converged[lower]
