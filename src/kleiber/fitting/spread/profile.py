"""Profile intervals: how far a parameter can move before the best fit of the others gets worse.

With Q(t) the objective minimised over all other parameters at theta_k = t, the interval is where
Q(t) - Q_min <= tau c^2 / 2, with tau the dispersion of the noise model (the variance for least
squares: then this is the F test inverted, Bates & Watts 1988, section 6.1) and c Student's t
quantile. Each end is bracketed by doubling steps and found as the root of the increase of Q. If Q
never increases that far, the end is that of the parameter's domain.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import special

from kleiber.arguments import check_text
from kleiber.errors import BadLaw, BadTable, nearest
from kleiber.fitting.engine.levenberg import LocalModel, descend
from kleiber.fitting.engine.problem import Problem, evaluate_objective, pose
from kleiber.fitting.engine.search import Optimum
from kleiber.fitting.judge.signs import estimate_dispersion
from kleiber.fitting.record import Fit, check_fit
from kleiber.fitting.spread.intervals import Interval, check_level
from kleiber.fitting.table_problem import pose_rows, read_measurements
from kleiber.law import Domain
from kleiber.table import as_frame, digest

MAX_LOG_DISTANCE = 40.0  # in a logarithm: past a factor of e^40 the data say nothing
MAX_DOUBLINGS = 60


def profile(fit: Fit, table: Any, name: str, level: float = 0.95) -> Interval:
    """Give the profile interval of a free parameter.

    The parameter moves away from the fit while all others are fitted again. With Q(t) the least
    objective at the value t, the interval is where Q(t) - Q_min <= tau c^2/2: tau is the dispersion
    of the noise and c Student's t quantile, which for least squares inverts the F test (Bates &
    Watts 1988, section 6.1). It needs no draws, and rows count as independent.

    Parameters
    ----------
    fit
        A fit by least squares or with Huber's loss function, without priors and groups.
    table
        The table that it was fitted to.
    name
        The name of a free parameter.
    level
        The level of the interval, between 0 and 1.

    Returns
    -------
    Interval
        Its ends. One is that of the domain (0 or infinity for a positive parameter) where the data
        set none; both are NaN when no degree of freedom is left to judge the noise from.

    Raises
    ------
    BadLaw
        For a parameter that is not free, and for a fit that has no such interval.
    BadTable
        For another table.

    Examples
    --------
    >>> import kleiber
    >>> sizes = [1e6, 3e6, 1e7, 3e7, 1e8, 3e8]
    >>> noise = [1.001, 0.999, 1.0, 1.001, 0.999, 1.0]
    >>> runs = {"n_params": sizes, "loss": [u * 90 / n**0.2 for u, n in zip(noise, sizes)]}
    >>> found = kleiber.fit("A/n_params**alpha", runs, noise=kleiber.Noise("log"), draws=0)
    >>> low, high = kleiber.profile(found, runs, "alpha")
    >>> low < 0.2 < high
    True
    """
    fit, level = check_fit(fit), check_level(level)
    check_text("name", name, "the name of a free parameter")
    if name not in fit.free:
        raise BadLaw(
            f"{name!r} is not free in this fit; free are {', '.join(fit.free)}."
            f"{nearest(name, fit.free)}"
        )
    frame = as_frame(table)
    if digest(frame) != fit.digest:
        raise BadTable("This is not the table of the fit: give the one it was fitted to.")
    if fit.noise.dof is not None or fit.options.priors:
        raise BadLaw("Profile intervals are for Huber and least-squares fits without priors.")
    if fit.options.by is not None:
        raise BadLaw(
            f"Profile intervals are of independent rows, not of groups by {fit.options.by!r}."
        )
    options = replace(fit.options, draws=0, start=None, real=(), priors={})
    problem = pose_rows(fit.law, read_measurements(fit.law, frame, options), options)
    bound = fit.params[name] if not fit.law.domains[name].contains(fit.params[name]) else None
    if bound is not None:  # a logarithm has no steps that lead away from zero
        problem = _untransform(problem, name)
    dof = int((problem.weights > 0).sum()) - len(fit.free)
    if dof <= 0:
        return Interval(np.nan, np.nan)
    starts = _starts(fit, problem, name)
    best = Optimum(starts[0], fit.objective, 1.0, True, 0)
    c = float(special.stdtrit(dof, 0.5 + level / 2))
    rise = 0.5 * estimate_dispersion(problem, best) * c * c
    k = problem.law.params.index(name)
    ends = [
        u if u == bound else _find_end(problem, starts, k, fit.objective, rise, direction)
        for direction, u in zip((-1.0, 1.0), fit.law.domains[name].bounds, strict=True)
    ]
    low, high = (float(problem.law.domains[name].from_coordinate(u)) for u in ends)
    floor, top = fit.law.domains[name].bounds
    return Interval(max(low, floor), min(high, top))


def _untransform(problem: Problem, name: str) -> Problem:
    """Return the problem with one parameter as its own coordinate."""
    law = replace(problem.law, domains={**problem.law.domains, name: Domain("real")})
    y = np.exp(problem.target) if problem.noise.scale == "log" else problem.target
    return pose(law, problem.noise, problem.columns, y, problem.weights)


def _starts(fit: Fit, problem: Problem, name: str) -> Float[np.ndarray, "starts params"]:
    """Return the optimum with parameters that went to a bound put on it, and also a point with
    those inside their domain, since they may come back as ``name`` moves."""
    at, inside = np.empty((2, len(fit.free)))
    for k, (key, domain) in enumerate(problem.law.domains.items()):
        value = fit.params[key]
        at[k] = inside[k] = float(domain.to_coordinate(value))
        if key != name and not fit.law.domains[key].contains(value):
            at[k] = domain.coordinate_near(value)
            ends = domain.to_coordinate(np.array(fit.starts.get(key, (0.5, 0.5))))
            inside[k] = 0.5 * float(ends[0] + ends[1])
    return at[None] if np.array_equal(at, inside) else np.stack([at, inside])


def _find_end(
    problem: Problem,
    starts: Float[np.ndarray, "starts params"],
    k: int,
    minimum: float,
    rise: float,
    direction: float,
) -> float:
    """Return the coordinate, on one side of the optimum, at which the profile increases to
    ``minimum + rise``."""
    from scipy import optimize  # here, because kleiber's own import does without it

    domain = problem.law.domains[problem.law.params[k]]
    farthest = np.inf if domain.kind in ("real", "above") else MAX_LOG_DISTANCE
    near = starts

    def excess(at: float) -> float:
        nonlocal near
        value, found = _minimise_others(problem, np.concatenate([near, starts[1:]]), k, at)
        if value <= minimum + rise:
            near = found
        return min(math.sqrt(max(value - minimum, 0.0) / rise), 10.0) - 1.0

    inner, step = float(starts[0, k]), _first_step(problem, starts[0], k, rise)
    for _ in range(MAX_DOUBLINGS):
        outer = max(float(starts[0, k]) + direction * min(step, farthest), domain.floor)
        if excess(outer) > 0:
            close = 1e-11 * abs(outer - inner)
            return float(optimize.brentq(excess, inner, outer, xtol=close, rtol=1e-15))
        if outer == domain.floor or step >= farthest:
            return domain.floor if direction < 0 else math.inf
        inner, step = outer, 2 * step
    return direction * math.inf


def _first_step(problem: Problem, u: Float[np.ndarray, "params"], k: int, rise: float) -> float:
    """Return how far coordinate k alone goes before the objective increases by ``rise`` if it were
    a parabola, which is never more than the profile's end."""
    curvature = float(
        evaluate_objective(problem, u[None], problem.weights[None], np.ones(1)).gauss[0, k, k]
    )
    minimum = 1e-9 * max(abs(u[k]), 1e-9)
    return (
        max(float(np.sqrt(2 * rise / curvature)), minimum) if curvature > 0 else max(abs(u[k]), 1.0)
    )


def _minimise_others(
    problem: Problem, starts: Float[np.ndarray, "starts params"], k: int, value: float
) -> tuple[float, Float[np.ndarray, "1 params"]]:
    """Return the minimum over all coordinates but k, which is held at ``value``, and its
    position."""
    points = starts.copy()
    points[:, k] = value

    def evaluate(u: np.ndarray, who: np.ndarray) -> LocalModel:
        here = evaluate_objective(problem, u, problem.weights[None], np.ones(len(u)))
        gradient = here.gradient.copy()
        gradient[:, k] = 0.0
        return LocalModel(
            here.objective,
            gradient,
            _freeze_coordinate(here.gauss, k),
            _freeze_coordinate(here.newton, k),
        )

    floor = np.array([item.floor for item in problem.law.domains.values()])
    traced = problem.law.expr is not None
    found = descend(evaluate, points, max_iterations=200, exact=traced, floor=floor)
    best = int(np.argmin(found.objective))
    return float(found.objective[best]), found.point[[best]]


def _freeze_coordinate(matrix: np.ndarray, k: int) -> np.ndarray:
    """Return the matrix with row and column k replaced by those of a coordinate that does not
    move."""
    out = matrix.copy()
    out[:, k, :] = out[:, :, k] = 0.0
    out[:, k, k] = 1.0
    return out
