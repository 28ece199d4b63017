"""Errors of laws beyond rolling origins, on the table itself and on resamples of it.

At each origin, a threshold of one column, a law is fitted to the rows up to it and judged by its
mean absolute residual on the rows beyond. A resample draws rows, or whole groups, with replacement
and repeats every fit from the table's optimum at that origin; all laws share the resamples. A law
that predicts what log residuals cannot measure (nothing above zero) is infinitely wrong there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from kleiber.errors import BadTable
from kleiber.fitting.engine.compiled import find_kernel
from kleiber.fitting.engine.linear import tangent_refits
from kleiber.fitting.engine.problem import Problem, minimise, pose
from kleiber.fitting.engine.search import Optimum, search
from kleiber.fitting.engine.starts import start_ranges
from kleiber.fitting.spread.bootstrap import RESTART_DAMPING, resample_weights
from kleiber.maths.seeds import stream
from kleiber.progress import Progress, ignore

ORIGINS = (0.4, 0.5, 0.6, 0.7, 0.8)  # quantiles of the column's distinct values
SPARE = 2  # rows beyond the number of parameters that a fit at an origin needs
MEMORY = 500_000  # resampled rows refitted at once
STEPS = 100  # of a refit; the few that crawl on have long said how well the law extrapolates
TOLERANCE = 1e-8  # relative, on the objective of a refit


@dataclass(frozen=True)
class Errors:
    """Mean absolute residuals beyond each origin: of the table's fits, and of every resample's
    (NaN for a resample that left no row on either side)."""

    points: Float[np.ndarray, "laws origins"]
    draws: Float[np.ndarray, "laws origins draws"]


@dataclass(frozen=True)
class Split:
    """A law at one origin: its rows up to there, its rows beyond, and the optimum of the former."""

    inside: Problem
    beyond: Problem
    train: Bool[np.ndarray, "rows"]
    best: Optimum


def choose_origins(
    x: Float[np.ndarray, "rows"], origins: Sequence[float] | None, params: int
) -> tuple[float, ...]:
    """Thresholds with enough rows below to fit every law, and rows beyond. Raises BadTable."""
    if origins is None:
        quantiles = np.quantile(np.unique(x), ORIGINS, method="lower")
        origins = [float(cut) for cut in np.unique(quantiles)]
    need = params + SPARE
    good = tuple(float(t) for t in origins if (x <= t).sum() >= need and (x > t).any())
    if not good:
        raise BadTable(
            f"There is no origin that leaves {need} rows to fit and any row beyond: the column "
            f"runs from {x.min():.4g} to {x.max():.4g} in {len(np.unique(x))} distinct values; "
            "give origins, add runs, or compare smaller laws."
        )
    return good


def count_units(
    x: Float[np.ndarray, "rows"],
    cuts: Sequence[float],
    groups: Int[np.ndarray, "rows"] | None,
) -> Float[np.ndarray, "sides origins"]:
    """How many rows or groups lie up to each origin, and how many beyond."""
    units = np.arange(len(x)) if groups is None else groups
    sides = ([x <= cut for cut in cuts], [x > cut for cut in cuts])
    return np.array([[len(np.unique(units[part])) for part in side] for side in sides], float)


def measure_errors(
    problems: Sequence[Problem],
    x: Float[np.ndarray, "rows"],
    cuts: Sequence[float],
    groups: Int[np.ndarray, "rows"] | None,
    draws: int,
    seed: int,
    progress: Progress = ignore,
) -> Errors:
    """Errors of every law beyond every origin; laws share the resamples, which are drawn
    in order from one stream, so that the result does not depend on how the work is cut."""
    shape = len(problems), len(cuts)
    progress(0, shape[0] * shape[1], "searches")
    splits: list[Split] = []
    for problem in problems:
        for cut in cuts:
            splits.append(_split(problem, x <= cut, seed))
            progress(len(splits), shape[0] * shape[1], "searches")
    points = [float(_misses(item.beyond, item.best.point[None]).mean()) for item in splits]
    splits = [_quicken(item, draws * len(cuts)) for item in splits]
    drawn = np.empty((len(splits), draws))
    rng, chunk, done = stream(seed, "compare"), max(1, MEMORY // len(x)), 0
    for first in range(0, draws, chunk):
        here = slice(first, min(first + chunk, draws))
        weights = resample_weights(rng, here.stop - here.start, len(x), groups)
        for k, item in enumerate(splits):
            drawn[k, here] = _refit(item, weights)
            done += len(weights)
            progress(done, len(splits) * draws, "refits")
    return Errors(np.array(points).reshape(shape), drawn.reshape(*shape, draws))


def _split(problem: Problem, train: Bool[np.ndarray, "rows"], seed: int) -> Split:
    """Both sides of an origin, and the fit, which sees no row beyond."""
    inside = _rows(problem, train)
    ranges = start_ranges(inside.law, inside.columns, plain_target(inside))
    return Split(inside, _rows(problem, ~train), train, search(inside, ranges, seed))


def _quicken(item: Split, refits: int) -> Split:
    """The split with a kernel in machine code, where the refits at all origins are worth it."""
    inside = item.inside
    kernel = find_kernel(inside.law, inside.noise, inside.columns, inside.target, refits)
    return replace(item, inside=replace(inside, kernel=kernel))


def _refit(item: Split, weights: Float[np.ndarray, "draws rows"]) -> Float[np.ndarray, "draws"]:
    """The mean absolute residual beyond, for every resample; NaN where a side is bare."""
    own, far = weights[:, item.train], weights[:, ~item.train]
    bare = (own.sum(axis=1) == 0) | (far.sum(axis=1) == 0)
    own[bare], far[bare] = 1.0, 1.0
    near = tangent_refits(item.inside, item.best.point, item.best.scale, own)
    scale = np.full(len(own), item.best.scale)
    found, _ = minimise(
        item.inside, near, own, scale=scale, exact=True, tolerance=TOLERANCE,
        max_iterations=STEPS, restart=RESTART_DAMPING,
    )  # fmt: skip
    with np.errstate(invalid="ignore"):
        size = np.where(far > 0, far * _misses(item.beyond, found.point), 0.0)
    return np.where(bare, np.nan, size.sum(axis=1) / far.sum(axis=1))


def _rows(problem: Problem, which: Bool[np.ndarray, "rows"]) -> Problem:
    """The problem of some of the rows."""
    columns = {name: values[which] for name, values in problem.columns.items()}
    y = plain_target(problem)[which]
    return pose(problem.law, problem.noise, columns, y, problem.weights[which])


def plain_target(problem: Problem) -> Float[np.ndarray, "rows"]:
    """The target as it is in the table, whatever the noise's scale."""
    return np.exp(problem.target) if problem.noise.scale == "log" else problem.target


def _misses(
    problem: Problem, u: Float[np.ndarray, "batch params"]
) -> Float[np.ndarray, "batch rows"]:
    """Absolute residuals at each member's u; infinite where the law has no value to compare."""
    theta = problem.outer(u)
    if problem.law.expr is None:
        each = [dict(zip(problem.law.params, row.tolist(), strict=True)) for row in theta]
        value = np.array([problem.law(**problem.columns, **params) for params in each])
    else:
        named = {name: theta[:, [k]] for k, name in enumerate(problem.law.params)}
        value = problem.law(**problem.columns, **named)
    value = np.broadcast_to(value, (len(u), len(problem.target)))
    with np.errstate(divide="ignore"):
        if problem.noise.scale == "log":
            value = np.log(np.where(value > 0, value, 0.0))
        miss = np.abs(value - problem.target)
    return np.where(np.isnan(miss), np.inf, miss)
