"""Profile intervals: how far a parameter can move before the best fit of the others gets worse.

With Q(t) the objective minimised over all other parameters at theta_k = t, the interval is where
Q(t) - Q_min <= tau c^2 / 2, with tau the noise model's dispersion (the variance for least squares:
then this is the F test inverted, Bates & Watts 1988, section 6.1) and c Student's t quantile. Ends
are found by bisection outwards, both sides and all steps of a batch together; an end that is never
reached is the end of the parameter's domain.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import special

from kleiber.errors import BadLaw, BadTable, nearest
from kleiber.fitting.intervals import Interval, check_level
from kleiber.fitting.outcome import dispersion
from kleiber.fitting.posing import Settings, pose_table
from kleiber.fitting.problem import Problem, look
from kleiber.fitting.record import Fit
from kleiber.fitting.search import Optimum
from kleiber.maths.levenberg import Descent, Local, descend
from kleiber.table import as_frame, digest

FARTHEST = 40.0  # in the fitted coordinate: past a factor of e^40 the data say nothing
LADDER = np.concatenate([[0.0], np.geomspace(1e-4, FARTHEST, 48)])


def profile(fit: Fit, table: Any, name: str, level: float = 0.95) -> Interval:
    """The profile interval of a free parameter, from the fit and the table it was fitted to.

    Raises BadLaw for a parameter that is not free, BadTable for another table.
    """
    level = check_level(level)
    if name not in fit.free:
        raise BadLaw(
            f"{name!r} is not free in this fit; free are {', '.join(fit.free)}."
            f"{nearest(name, fit.free)}"
        )
    frame = as_frame(table)
    if digest(frame) != fit.digest:
        raise BadTable("this is not the table of the fit: give the one it was fitted to")
    if fit.noise.dof is not None or fit.priors:
        raise BadLaw("profile intervals are for Huber and least-squares fits without priors")
    ask = Settings(
        fit.target, fit.noise, 0, level, None, fit.weights, fit.fixed, fit.tied, None, 0
    )  # fmt: skip
    problem, _ = pose_table(fit.law, frame, ask)
    u = problem.inner(np.array([[fit.params[n] for n in problem.law.params]]))[0]
    k = problem.law.params.index(name)
    spare = fit.rows - len(fit.free)
    if spare <= 0:
        return Interval(np.nan, np.nan)
    best = Optimum(u, fit.objective, 1.0, True, 0)
    c = float(special.stdtrit(spare, 0.5 + level / 2))
    most = fit.objective + 0.5 * dispersion(problem, best) * c * c
    ends = np.sort([_end(problem, u, k, most, side) for side in (-1.0, 1.0)])
    moved = np.repeat(u[None], 2, 0)
    moved[:, k] = ends
    low, high = problem.outer(moved)[:, k]
    return Interval(float(low), float(high))


def _end(
    problem: Problem, u: Float[np.ndarray, "params"], k: int, most: float, side: float
) -> float:
    """The coordinate at which the profile rises to ``most``, on one side of the optimum."""
    floor = list(problem.law.domains.values())[k].floor
    inner, start = u[k], u
    outer: float | None = None
    for step in LADDER[1:]:
        at = max(
            u[k] + side * step, floor + 1e-9 * (u[k] - floor) if np.isfinite(floor) else -np.inf
        )
        found = _minimise_at(problem, start, k, np.array([at]))
        if found.objective[0] > most:
            outer = at
            break
        inner, start = at, found.point[0]
        if at <= floor * (1 + 1e-9) and np.isfinite(floor):
            break
    if outer is None:
        return side * np.inf if not np.isfinite(floor) or side > 0 else floor
    for _ in range(40):
        middle = 0.5 * (inner + outer)
        found = _minimise_at(problem, start, k, np.array([middle]))
        if found.objective[0] > most:
            outer = middle
        else:
            inner, start = middle, found.point[0]
    return 0.5 * (inner + outer)


def _minimise_at(
    problem: Problem,
    start: Float[np.ndarray, "params"],
    k: int,
    values: Float[np.ndarray, "points"],
) -> Descent:
    """Minimise over all coordinates but k, held at each of ``values``."""
    points = np.repeat(start[None], len(values), 0)
    points[:, k] = values

    def held(u: np.ndarray, who: np.ndarray) -> Local:
        here = look(problem, u, problem.weights[None], np.ones(len(u)))
        gradient = here.gradient.copy()
        gradient[:, k] = 0.0
        return Local(here.objective, gradient, _hold(here.gauss, k), _hold(here.newton, k))

    floor = np.array([item.floor for item in problem.law.domains.values()])
    return descend(
        held, points, max_iterations=200, exact=problem.law.expr is not None, floor=floor
    )


def _hold(matrix: np.ndarray, k: int) -> np.ndarray:
    """The matrix with row and column k those of a coordinate that stands still."""
    out = matrix.copy()
    out[:, k, :] = out[:, :, k] = 0.0
    out[:, k, k] = 1.0
    return out
