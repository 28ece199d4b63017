"""Profile intervals: how far a parameter can move before the best fit of the others gets worse.

With Q(t) the objective minimised over all other parameters at theta_k = t, the interval is where
Q(t) - Q_min <= tau c^2 / 2, with tau the noise model's dispersion (the variance for least squares:
then this is the F test inverted, Bates & Watts 1988, section 6.1) and c Student's t quantile. Each
end is bracketed by doubling steps and closed on the root of the rise, which is nearly straight; one
that is never reached is the end of the parameter's domain.
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
from kleiber.fitting.judge.signs import dispersion
from kleiber.fitting.record import Fit, check_fit
from kleiber.fitting.spread.intervals import Interval, check_level
from kleiber.fitting.table_problem import pose_rows, take_table
from kleiber.law import Domain
from kleiber.table import as_frame, digest

FARTHEST = 40.0  # in a logarithm: past a factor of e^40 the data say nothing
DOUBLINGS = 60


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
    ask = replace(fit.options, draws=0, start=None, real=(), priors={})
    problem = pose_rows(fit.law, take_table(fit.law, frame, ask), ask)
    bound = fit.params[name] if not fit.law.domains[name].contains(fit.params[name]) else None
    if bound is not None:  # a logarithm has no steps that lead away from zero
        problem = _as_it_is(problem, name)
    spare = int((problem.weights > 0).sum()) - len(fit.free)
    if spare <= 0:
        return Interval(np.nan, np.nan)
    starts = _starts(fit, problem, name)
    best = Optimum(starts[0], fit.objective, 1.0, True, 0)
    c = float(special.stdtrit(spare, 0.5 + level / 2))
    rise = 0.5 * dispersion(problem, best) * c * c
    k = problem.law.params.index(name)
    ends = [
        u if u == bound else _end(problem, starts, k, fit.objective, rise, side)
        for side, u in zip((-1.0, 1.0), fit.law.domains[name].bounds, strict=True)
    ]
    low, high = (float(problem.law.domains[name].outer(u)) for u in ends)
    floor, top = fit.law.domains[name].bounds
    return Interval(max(low, floor), min(high, top))


def _as_it_is(problem: Problem, name: str) -> Problem:
    """The problem with one parameter as its own coordinate."""
    law = replace(problem.law, domains={**problem.law.domains, name: Domain("real")})
    y = np.exp(problem.target) if problem.noise.scale == "log" else problem.target
    return pose(law, problem.noise, problem.columns, y, problem.weights)


def _starts(fit: Fit, problem: Problem, name: str) -> Float[np.ndarray, "starts params"]:
    """The optimum, with what went to a bound put there; then also that inside its domain, since
    it may come back as ``name`` moves."""
    at, inside = np.empty((2, len(fit.free)))
    for k, (key, domain) in enumerate(problem.law.domains.items()):
        value = fit.params[key]
        at[k] = inside[k] = float(domain.inner(value))
        if key != name and not fit.law.domains[key].contains(value):
            at[k] = domain.approach(value)
            ends = domain.inner(np.array(fit.starts.get(key, (0.5, 0.5))))
            inside[k] = 0.5 * float(ends[0] + ends[1])
    return at[None] if np.array_equal(at, inside) else np.stack([at, inside])


def _end(
    problem: Problem,
    starts: Float[np.ndarray, "starts params"],
    k: int,
    least: float,
    rise: float,
    side: float,
) -> float:
    """The coordinate at which the profile rises to ``least + rise``, on one side of the optimum."""
    from scipy import optimize  # here, because kleiber's own import does without it

    domain = problem.law.domains[problem.law.params[k]]
    farthest = np.inf if domain.kind in ("real", "above") else FARTHEST
    near = starts

    def excess(at: float) -> float:
        nonlocal near
        value, found = _least(problem, np.concatenate([near, starts[1:]]), k, at)
        if value <= least + rise:
            near = found
        return min(math.sqrt(max(value - least, 0.0) / rise), 10.0) - 1.0

    inner, step = float(starts[0, k]), _first_step(problem, starts[0], k, rise)
    for _ in range(DOUBLINGS):
        outer = max(float(starts[0, k]) + side * min(step, farthest), domain.floor)
        if excess(outer) > 0:
            close = 1e-11 * abs(outer - inner)
            return float(optimize.brentq(excess, inner, outer, xtol=close, rtol=1e-15))
        if outer == domain.floor or step >= farthest:
            return domain.floor if side < 0 else math.inf
        inner, step = outer, 2 * step
    return side * math.inf


def _first_step(problem: Problem, u: Float[np.ndarray, "params"], k: int, rise: float) -> float:
    """How far coordinate k alone goes before the objective rises by ``rise``, were it a parabola:
    never more than the profile's end, and in the coordinate's own units."""
    bend = float(
        evaluate_objective(problem, u[None], problem.weights[None], np.ones(1)).gauss[0, k, k]
    )
    least = 1e-9 * max(abs(u[k]), 1e-9)
    return max(float(np.sqrt(2 * rise / bend)), least) if bend > 0 else max(abs(u[k]), 1.0)


def _least(
    problem: Problem, starts: Float[np.ndarray, "starts params"], k: int, value: float
) -> tuple[float, Float[np.ndarray, "1 params"]]:
    """The least over all coordinates but k, which is held at ``value``, and where it is."""
    points = starts.copy()
    points[:, k] = value

    def held(u: np.ndarray, who: np.ndarray) -> LocalModel:
        here = evaluate_objective(problem, u, problem.weights[None], np.ones(len(u)))
        gradient = here.gradient.copy()
        gradient[:, k] = 0.0
        return LocalModel(here.objective, gradient, _hold(here.gauss, k), _hold(here.newton, k))

    floor = np.array([item.floor for item in problem.law.domains.values()])
    traced = problem.law.expr is not None
    found = descend(held, points, max_iterations=200, exact=traced, floor=floor)
    best = int(np.argmin(found.objective))
    return float(found.objective[best]), found.point[[best]]


def _hold(matrix: np.ndarray, k: int) -> np.ndarray:
    """The matrix with row and column k those of a coordinate that stands still."""
    out = matrix.copy()
    out[:, k, :] = out[:, :, k] = 0.0
    out[:, k, k] = 1.0
    return out
