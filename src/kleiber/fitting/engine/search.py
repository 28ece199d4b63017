"""Search for the best optimum of a problem.

Many Sobol points are drawn and their linear parameters solved for. The best of them descend, and
the best ends then follow a sequence of Huber widths from the size of the residuals down to the
requested one (a narrow Huber loss is nearly the absolute value, on which descents from afar are
slow). Points and ends are ranked by the requested noise model, so that under a robust loss an
outlying run does not choose the basin. The lowest end wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from kleiber.errors import BadLaw
from kleiber.fitting.engine.levenberg import Descent
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.engine.problem import (
    Problem,
    evaluate_objective,
    minimise,
    pose,
    uses_second_derivatives,
)
from kleiber.fitting.engine.starts import draw_starts
from kleiber.maths.seeds import stream

N_STARTS, N_DESCENTS, N_FINISHED = 128, 16, 4
MAX_SEARCH_ROWS = 2000  # rows that a search works on; all of them decide the end
N_DRAWS_CHECKED = 64  # draws among which a lower optimum is looked for
MIN_DECREASE = 1e-7  # relative fall of the objective that makes another optimum a lower one
RANKING_WIDTH = 1e-3  # Huber width that ranks under Student-t noise, on log residuals
SAME = 1e-6  # relative difference of objectives within which two ends are one
N_WIDTHS = 3  # Huber widths between the residuals' size and the width asked for


@dataclass(frozen=True)
class Optimum:
    """The best point found: its coordinates, objective and Student-t scale, and the number of
    iterations."""

    point: Float[np.ndarray, "params"]
    objective: float
    scale: float
    converged: bool
    iterations: int


def search(problem: Problem, ranges: Mapping[str, tuple[float, float]], seed: int) -> Optimum:
    """Return the lowest optimum that descents from the start ranges reach.

    Raises BadLaw when the law has no finite value on the table anywhere in its ranges.
    """
    sample = subsample(problem, seed)
    ranked = replace(sample, noise=_ranking_noise(problem))
    u = draw_starts(ranked, ranges, count=N_STARTS, seed=seed)
    start = select_lowest(ranked, u, N_DESCENTS)
    if not len(start):
        raise BadLaw(
            f"Law {problem.law.name} has no finite value on this table anywhere in its start "
            f"ranges ({', '.join(f'{k} {v[0]:.3g} to {v[1]:.3g}' for k, v in ranges.items())})."
        )
    weights = sample.weights[None]
    first, *rest = _huber_widths(ranked, start[0], ranked.noise.delta)
    smooth = replace(sample, noise=Noise(problem.noise.scale, first))
    second_order = uses_second_derivatives(sample)
    found, _ = minimise(
        smooth, start, weights, max_iterations=60, tolerance=1e-9, second_order=second_order
    )
    ends = select_lowest(ranked, _drop_duplicates(found), N_FINISHED)
    iterations = found.iterations
    for width in rest:
        wide = replace(sample, noise=Noise(problem.noise.scale, width))
        step, _ = minimise(
            wide,
            ends,
            weights,
            max_iterations=40,
            tolerance=1e-4,
            exact=True,
            second_order=second_order,
        )
        ends, iterations = step.point, iterations + step.iterations
    best = descend_fully(problem, ends)
    return replace(best, iterations=best.iterations + iterations)


def _ranking_noise(problem: Problem) -> Noise:
    """Return the noise model by which starts and ends are ranked: the requested one, or for
    Student-t noise, whose scale is not known yet, a Huber loss of the usual narrow width."""
    noise = problem.noise
    if noise.dof is None:
        return noise
    unit = 1.0 if noise.scale == "log" else float(np.median(np.abs(problem.target))) or 1.0
    return Noise(noise.scale, RANKING_WIDTH * unit)


def _drop_duplicates(found: Descent) -> Float[np.ndarray, "ends params"]:
    """Return the ends of descents without those that another descent has reached too."""
    order = np.argsort(found.objective)
    order = order[np.isfinite(found.objective[order])]
    values = found.objective[order]
    apart = np.diff(values, prepend=-np.inf) > SAME * np.abs(values)
    return found.point[order[apart]]


def search_from_draws(
    problem: Problem, best: Optimum, drawn: Float[np.ndarray, "draws params"]
) -> Optimum | None:
    """Return an optimum lower than ``best`` reached by descents from its own draws, or None.

    Refits of resampled tables wander: where another basin is deeper, some of them end in it.
    Descents start from the median of the draws and from the lowest of a sample of them.
    """
    some = drawn[np.linspace(0, len(drawn) - 1, min(len(drawn), N_DRAWS_CHECKED)).astype(int)]
    points = np.concatenate([np.median(drawn, axis=0)[None], some])
    start = np.concatenate([points[:1], select_lowest(problem, points[1:], 3, scale=best.scale)])
    weights, scale = problem.weights[None], np.full(len(start), best.scale)
    found, _ = minimise(
        problem, start, weights, scale=scale,
        max_iterations=60, exact=True, second_order=uses_second_derivatives(problem),
    )  # fmt: skip
    k = int(np.argmin(np.where(np.isfinite(found.objective), found.objective, np.inf)))
    if not found.objective[k] < best.objective - MIN_DECREASE * abs(best.objective):
        return None
    again = descend_fully(problem, found.point[k][None])
    return again if again.objective < best.objective - MIN_DECREASE * abs(best.objective) else None


def subsample(problem: Problem, seed: int) -> Problem:
    """Return the problem on a random sample of its rows if there are more rows than a search
    needs."""
    rows = len(problem.target)
    if rows <= MAX_SEARCH_ROWS:
        return problem
    kept = np.sort(stream(seed, "thin").choice(rows, MAX_SEARCH_ROWS, replace=False))
    columns = {name: values[kept] for name, values in problem.columns.items()}
    target = problem.target[kept]
    y = np.exp(target) if problem.noise.scale == "log" else target
    fewer = pose(problem.law, problem.noise, columns, y, problem.weights[kept])
    return replace(fewer, prior=problem.prior)


def descend_from_start(problem: Problem, start: Float[np.ndarray, "params"]) -> Optimum:
    """Return the lowest end of descents from one start, for a ladder of first dampings, since the
    right damping depends on the unknown distance to a valley. Steps are scaled both by the
    derivatives and by the start itself (``units``), which keeps one parameter from running away."""
    ladder = np.geomspace(1e-4, 1e6, 11)
    weights = problem.weights[None]
    starts = np.repeat(start[None], len(ladder), 0)
    plain = np.array([d.kind in ("real", "above") for d in problem.law.domains.values()])
    own = np.where(plain & (start != 0), np.abs(start), 1.0)
    found = [
        minimise(problem, starts, weights, max_iterations=500, damping=ladder, units=units)[0]
        for units in (None, own)
    ]
    ends = np.concatenate([end.point for end in found])
    values = np.concatenate([end.objective for end in found])
    level = np.isfinite(values) & (values <= values.min() * (1 + 1e-6) + 1e-300)
    far = np.abs(ends - start) / (np.abs(start) + 1e-300)  # of equal ends, the nearest
    nearest = np.argmin(np.where(level, far.max(axis=1), np.inf))
    best = descend_fully(problem, ends[nearest][None])
    return replace(best, iterations=best.iterations + sum(end.iterations for end in found))


def descend_fully(problem: Problem, starts: Float[np.ndarray, "starts params"]) -> Optimum:
    """Return the lowest end of descents from ``starts``, continued until it converges."""
    weights = problem.weights[None]
    found, scale = minimise(
        problem, starts, weights, max_iterations=300, second_order=uses_second_derivatives(problem)
    )
    order = np.argsort(np.where(np.isfinite(found.objective), found.objective, np.inf))
    steps = found.iterations
    for best in order[:N_FINISHED]:
        last, size = minimise(
            problem,
            found.point[best][None],
            weights,
            scale=scale[[best]].copy(),
            max_iterations=2000,
            exact=True,
        )
        steps += last.iterations
        if np.isfinite(last.objective[0]):
            return Optimum(
                last.point[0],
                float(last.objective[0]),
                float(size[0]),
                bool(last.converged[0]),
                steps,
            )
    return _best_start(problem, starts, steps)


def _best_start(
    problem: Problem, starts: Float[np.ndarray, "starts params"], steps: int
) -> Optimum:
    """Return the lowest start, for a problem whose descents all end where nothing is finite."""
    kept = select_lowest(problem, starts, 1)
    point = kept[0] if len(kept) else starts[0]
    value = evaluate_objective(
        problem, point[None], problem.weights[None], np.ones(1), second=False
    ).objective
    return Optimum(point, float(value[0]), 1.0, False, steps)


def select_lowest(
    problem: Problem, u: Float[np.ndarray, "starts params"], count: int, *, scale: float = 1.0
) -> Float[np.ndarray, "kept params"]:
    """Return the ``count`` points of lowest finite objective, in order."""
    size = np.full(len(u), scale)
    value = evaluate_objective(problem, u, problem.weights[None], size, second=False).objective
    order = np.argsort(value)[:count]
    return u[order[np.isfinite(value[order])]]


def _huber_widths(
    ranked: Problem, u: Float[np.ndarray, "params"], delta: float | None
) -> list[float | None]:
    """Return Huber widths from the size of the residuals down to, but not including, the requested
    one; [None] for least squares."""
    if delta is None:
        return [None]
    size = float(np.median(np.abs(ranked.differentiate(u[None], False).residual)))
    if not size > delta:
        return [delta]
    return np.geomspace(size, delta, N_WIDTHS + 1)[:-1].tolist()
