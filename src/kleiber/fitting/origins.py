"""Errors of laws beyond rolling origins, on the table itself and on resamples of it.

At each origin, a threshold of one column, a law is fitted to the rows up to it and judged by its
mean absolute residual on the rows beyond. A resample draws rows, or whole groups, with replacement
and repeats every fit from the table's optimum at that origin; all laws share the resamples. A law
that predicts a value without a logarithm (zero or below) has an infinite error there.
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
from kleiber.progress import Progress, no_progress

ORIGINS = (0.4, 0.5, 0.6, 0.7, 0.8)  # quantiles of the column's distinct values
EXTRA_ROWS = 2  # rows beyond the number of parameters that a fit at an origin needs
CHUNK_ROWS = 500_000  # resampled rows refitted at once
MAX_ITERATIONS = (
    100  # of a refit; the few that crawl on have long said how well the law extrapolates
)
TOLERANCE = 1e-8  # relative, on the objective of a refit


@dataclass(frozen=True)
class Errors:
    """Mean absolute residuals beyond each origin, for the table's fits and for every resample (NaN
    for a resample that left no row on either side)."""

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
    """Return thresholds with enough rows below to fit every law, and rows beyond. Raises
    BadTable."""
    if origins is None:
        quantiles = np.quantile(np.unique(x), ORIGINS, method="lower")
        origins = [float(cut) for cut in np.unique(quantiles)]
    min_rows = params + EXTRA_ROWS
    usable = tuple(float(t) for t in origins if (x <= t).sum() >= min_rows and (x > t).any())
    if not usable:
        raise BadTable(
            f"There is no origin that leaves {min_rows} rows to fit and any row beyond: the column "
            f"runs from {x.min():.4g} to {x.max():.4g} in {len(np.unique(x))} distinct values; "
            "give origins, add runs, or compare smaller laws."
        )
    return usable


def count_units(
    x: Float[np.ndarray, "rows"],
    cuts: Sequence[float],
    groups: Int[np.ndarray, "rows"] | None,
) -> Float[np.ndarray, "sides origins"]:
    """Count the rows or groups up to each origin, and beyond it."""
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
    progress: Progress = no_progress,
) -> Errors:
    """Measure the error of every law beyond every origin; the resamples are drawn in order from one
    stream, so that the result does not depend on how the work is split."""
    shape = len(problems), len(cuts)
    progress(0, shape[0] * shape[1], "searches")
    splits: list[Split] = []
    for problem in problems:
        for cut in cuts:
            splits.append(_split(problem, x <= cut, seed))
            progress(len(splits), shape[0] * shape[1], "searches")
    points = [
        float(_absolute_residuals(item.beyond, item.best.point[None]).mean()) for item in splits
    ]
    splits = [_attach_kernel(item, draws * len(cuts)) for item in splits]
    drawn = np.empty((len(splits), draws))
    rng, chunk, done = stream(seed, "compare"), max(1, CHUNK_ROWS // len(x)), 0
    for first in range(0, draws, chunk):
        here = slice(first, min(first + chunk, draws))
        weights = resample_weights(rng, here.stop - here.start, len(x), groups)
        for k, item in enumerate(splits):
            drawn[k, here] = _refit_errors(item, weights)
            done += len(weights)
            progress(done, len(splits) * draws, "refits")
    return Errors(np.array(points).reshape(shape), drawn.reshape(*shape, draws))


def _split(problem: Problem, train: Bool[np.ndarray, "rows"], seed: int) -> Split:
    """Return both sides of an origin, and the fit to the first, which uses no row beyond."""
    inside = _select_rows(problem, train)
    ranges = start_ranges(inside.law, inside.columns, plain_target(inside))
    return Split(inside, _select_rows(problem, ~train), train, search(inside, ranges, seed))


def _attach_kernel(item: Split, refits: int) -> Split:
    """Return the split with its machine code, if the refits at all origins are worth loading it."""
    inside = item.inside
    kernel = find_kernel(inside.law, inside.noise, inside.columns, inside.target, refits)
    return replace(item, inside=replace(inside, kernel=kernel))


def _refit_errors(
    item: Split, weights: Float[np.ndarray, "draws rows"]
) -> Float[np.ndarray, "draws"]:
    """Return the mean absolute residual of the rows beyond the origin for each resample (NaN if one
    side has no rows)."""
    train_weights, beyond_weights = weights[:, item.train], weights[:, ~item.train]
    one_sided = (train_weights.sum(axis=1) == 0) | (beyond_weights.sum(axis=1) == 0)
    train_weights[one_sided], beyond_weights[one_sided] = 1.0, 1.0
    near = tangent_refits(item.inside, item.best.point, item.best.scale, train_weights)
    scale = np.full(len(train_weights), item.best.scale)
    found, _ = minimise(
        item.inside, near, train_weights, scale=scale, exact=True, tolerance=TOLERANCE,
        max_iterations=MAX_ITERATIONS, restart=RESTART_DAMPING,
    )  # fmt: skip
    with np.errstate(invalid="ignore"):
        size = np.where(
            beyond_weights > 0, beyond_weights * _absolute_residuals(item.beyond, found.point), 0.0
        )
    return np.where(one_sided, np.nan, size.sum(axis=1) / beyond_weights.sum(axis=1))


def _select_rows(problem: Problem, which: Bool[np.ndarray, "rows"]) -> Problem:
    """Return the problem on some of the rows."""
    columns = {name: values[which] for name, values in problem.columns.items()}
    y = plain_target(problem)[which]
    return pose(problem.law, problem.noise, columns, y, problem.weights[which])


def plain_target(problem: Problem) -> Float[np.ndarray, "rows"]:
    """Return the target as it is in the table, whatever the scale of the noise."""
    return np.exp(problem.target) if problem.noise.scale == "log" else problem.target


def _absolute_residuals(
    problem: Problem, u: Float[np.ndarray, "batch params"]
) -> Float[np.ndarray, "batch rows"]:
    """Return the absolute residuals at each u; infinite where the law has no value to compare."""
    theta = problem.from_coordinate(u)
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
        residual = np.abs(value - problem.target)
    return np.where(np.isnan(residual), np.inf, residual)
