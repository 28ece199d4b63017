"""The search for the best optimum of a problem, under the noise that is asked.

Many Sobol points with their linear parameters solved for; the best of them descend, then the best
ends follow the Huber width down from the size of their residuals to the one asked for (a narrow
Huber loss is nearly absolute value, on which descents from afar crawl). Points and ends are ranked
as the asked noise ranks them: under a robust loss a run that went wrong chooses no basin. The
lowest end wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from kleiber.errors import BadLaw
from kleiber.fitting.engine.levenberg import Descent
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.engine.problem import Problem, is_curved, look, minimise, pose
from kleiber.fitting.engine.starts import draw_starts
from kleiber.maths.seeds import stream

DRAWN, DESCENDED, FINISHED = 128, 16, 4
ENOUGH = 2000  # rows that a search works on; all of them decide the end
LOOKED_AT = 64  # draws among which a lower optimum is looked for
LOWER = 1e-7  # relative fall of the objective that makes another optimum a lower one
NARROW = 1e-3  # Huber width that ranks under Student-t noise, on log residuals
SAME = 1e-6  # relative difference of objectives within which two ends are one
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
    sample = thin(problem, seed)
    ranked = replace(sample, noise=_ranking(problem))
    u = draw_starts(ranked, ranges, count=DRAWN, seed=seed)
    start = lowest(ranked, u, DESCENDED)
    if not len(start):
        raise BadLaw(
            f"law {problem.law.name} has no finite value on this table anywhere in its start "
            f"ranges ({', '.join(f'{k} {v[0]:.3g} to {v[1]:.3g}' for k, v in ranges.items())})"
        )
    weights = sample.weights[None]
    first, *rest = _widths(ranked, start[0], ranked.noise.delta)
    smooth = replace(sample, noise=Noise(problem.noise.scale, first))
    curved = is_curved(sample)
    found, _ = minimise(smooth, start, weights, max_iterations=60, tolerance=1e-9, curved=curved)
    ends = lowest(ranked, _distinct(found), FINISHED)
    iterations = found.iterations
    for width in rest:
        wide = replace(sample, noise=Noise(problem.noise.scale, width))
        step, _ = minimise(
            wide, ends, weights, max_iterations=40, tolerance=1e-4, exact=True, curved=curved
        )
        ends, iterations = step.point, iterations + step.iterations
    best = finish(problem, ends)
    return replace(best, iterations=best.iterations + iterations)


def _ranking(problem: Problem) -> Noise:
    """The noise model that starts and ends are ranked under: the asked one, for Student-t noise,
    whose scale is not known yet, a Huber loss as narrow as the field's."""
    noise = problem.noise
    if noise.dof is None:
        return noise
    unit = 1.0 if noise.scale == "log" else float(np.median(np.abs(problem.target))) or 1.0
    return Noise(noise.scale, NARROW * unit)


def _distinct(found: Descent) -> Float[np.ndarray, "ends params"]:
    """Ends of descents without those that another has reached too."""
    order = np.argsort(found.objective)
    order = order[np.isfinite(found.objective[order])]
    values = found.objective[order]
    apart = np.diff(values, prepend=-np.inf) > SAME * np.abs(values)
    return found.point[order[apart]]


def look_again(
    problem: Problem, best: Optimum, drawn: Float[np.ndarray, "draws params"]
) -> Optimum | None:
    """A lower optimum than ``best`` that descents from its own draws reach; None if there is none.

    Refits of resampled tables wander: where another basin is deeper, some end in it. Descents begin
    at the middle of the draws and at the lowest of some of them.
    """
    some = drawn[np.linspace(0, len(drawn) - 1, min(len(drawn), LOOKED_AT)).astype(int)]
    points = np.concatenate([np.median(drawn, axis=0)[None], some])
    start = np.concatenate([points[:1], lowest(problem, points[1:], 3, scale=best.scale)])
    weights, scale = problem.weights[None], np.full(len(start), best.scale)
    found, _ = minimise(
        problem, start, weights, scale=scale,
        max_iterations=60, exact=True, curved=is_curved(problem),
    )  # fmt: skip
    k = int(np.argmin(np.where(np.isfinite(found.objective), found.objective, np.inf)))
    if not found.objective[k] < best.objective - LOWER * abs(best.objective):
        return None
    again = finish(problem, found.point[k][None])
    return again if again.objective < best.objective - LOWER * abs(best.objective) else None


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
    found, scale = minimise(problem, starts, weights, max_iterations=300, curved=is_curved(problem))
    order = np.argsort(np.where(np.isfinite(found.objective), found.objective, np.inf))
    steps = found.iterations
    for best in order[:FINISHED]:
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
    """The lowest start, where every descent has run off to where nothing is finite."""
    kept = lowest(problem, starts, 1)
    point = kept[0] if len(kept) else starts[0]
    value = look(problem, point[None], problem.weights[None], np.ones(1), second=False).objective
    return Optimum(point, float(value[0]), 1.0, False, steps)


def lowest(
    problem: Problem, u: Float[np.ndarray, "starts params"], count: int, *, scale: float = 1.0
) -> Float[np.ndarray, "kept params"]:
    """The ``count`` points of lowest finite objective, in order."""
    size = np.full(len(u), scale)
    value = look(problem, u, problem.weights[None], size, second=False).objective
    order = np.argsort(value)[:count]
    return u[order[np.isfinite(value[order])]]


def _widths(
    ranked: Problem, u: Float[np.ndarray, "params"], delta: float | None
) -> list[float | None]:
    """Huber widths from the size of the residuals down to, but not including, the one asked for;
    plain least squares alone where that is what is asked."""
    if delta is None:
        return [None]
    size = float(np.median(np.abs(ranked.differentiate(u[None], False).residual)))
    if not size > delta:
        return [delta]
    return np.geomspace(size, delta, STAGES + 1)[:-1].tolist()
