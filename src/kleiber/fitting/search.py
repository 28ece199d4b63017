"""The search for the best optimum of a problem.

Many Sobol points with their linear parameters solved for; the best of them descend under plain
least squares, whose valleys are smooth; the best ends then follow the Huber width down from the
size of their residuals to the one asked for (a narrow Huber loss is nearly absolute value, on
which descents from afar crawl). The lowest end wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from kleiber.errors import BadLaw
from kleiber.fitting.noise import Noise
from kleiber.fitting.problem import Problem, look, minimise, pose
from kleiber.fitting.starts import draw_starts
from kleiber.maths.seeds import stream

DRAWN, DESCENDED, FINISHED = 128, 16, 4
ENOUGH = 2000  # rows that a search works on; all of them decide the end
STAGES = 3  # Huber widths between the residuals' size and the width asked for


@dataclass(frozen=True)
class Optimum:
    """The best point found: coordinates, objective, Student-t scale, and the work it took."""

    point: Float[np.ndarray, "params"]
    objective: float
    scale: float
    converged: bool
    iterations: int


def search(problem: Problem, ranges: Mapping[str, tuple[float, float]], seed: int) -> Optimum:
    """The lowest optimum that descents from the start ranges reach.

    Raises BadLaw when the law has no finite value on the table anywhere in its ranges.
    """
    smooth = thin(replace(problem, noise=Noise(problem.noise.scale)), seed)
    u = draw_starts(smooth, ranges, count=DRAWN, seed=seed)
    start = lowest(smooth, u, DESCENDED)
    if not len(start):
        raise BadLaw(
            f"law {problem.law.name} has no finite value on this table anywhere in its start "
            f"ranges ({', '.join(f'{k} {v[0]:.3g} to {v[1]:.3g}' for k, v in ranges.items())})"
        )
    weights = smooth.weights[None]
    found, _ = minimise(smooth, start, weights, max_iterations=60, tolerance=1e-9)
    ends = found.point[np.argsort(found.objective)[:FINISHED]]
    iterations = found.iterations
    for width in _widths(smooth, ends[0], problem.noise.delta):
        wide = replace(smooth, noise=Noise(problem.noise.scale, width))
        step, _ = minimise(wide, ends, weights, max_iterations=40, tolerance=1e-4, exact=True)
        ends, iterations = step.point, iterations + step.iterations
    best = finish(problem, ends)
    return replace(best, iterations=best.iterations + iterations)


def thin(problem: Problem, seed: int) -> Problem:
    """The problem on a sample of its rows, where there are more than a search needs."""
    rows = len(problem.target)
    if rows <= ENOUGH:
        return problem
    kept = np.sort(stream(seed, "thin").choice(rows, ENOUGH, replace=False))
    columns = {name: values[kept] for name, values in problem.columns.items()}
    target = problem.target[kept]
    y = np.exp(target) if problem.noise.scale == "log" else target
    fewer = pose(problem.law, problem.noise, columns, y, problem.weights[kept])
    return replace(fewer, prior=problem.prior)


def descend_from(problem: Problem, start: Float[np.ndarray, "params"]) -> Optimum:
    """The lowest end of descents from one start under a ladder of first dampings: which is right
    depends on how far the start is from a valley, and nobody knows. Steps are sized both by the
    derivatives and by the start itself (units), which keeps one parameter from running away."""
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
    best = finish(problem, ends[nearest][None])
    return replace(best, iterations=best.iterations + sum(end.iterations for end in found))


def finish(problem: Problem, starts: Float[np.ndarray, "starts params"]) -> Optimum:
    """The lowest end of descents from ``starts``, followed until it settles."""
    weights = problem.weights[None]
    found, scale = minimise(problem, starts, weights, max_iterations=300)
    best = int(np.argmin(np.where(np.isfinite(found.objective), found.objective, np.inf)))
    last, size = minimise(
        problem,
        found.point[best][None],
        weights,
        scale=scale[[best]].copy(),
        max_iterations=2000,
        exact=True,
    )
    return Optimum(
        last.point[0],
        float(last.objective[0]),
        float(size[0]),
        bool(last.converged[0]),
        found.iterations + last.iterations,
    )


def lowest(
    problem: Problem, u: Float[np.ndarray, "starts params"], count: int
) -> Float[np.ndarray, "kept params"]:
    """The ``count`` points of lowest finite objective, in order."""
    scale = np.ones(len(u))
    value = look(problem, u, problem.weights[None], scale, second=False).objective
    order = np.argsort(value)[:count]
    return u[order[np.isfinite(value[order])]]


def _widths(smooth: Problem, u: Float[np.ndarray, "params"], delta: float | None) -> list[float]:
    """Huber widths from the size of the residuals down to, but not including, the one asked for."""
    if delta is None:
        return []
    size = float(np.median(np.abs(smooth.differentiate(u[None], False).residual)))
    if not size > delta:
        return []
    return np.geomspace(size, delta, STAGES)[:-1].tolist()
