"""Starting points of descents: Sobol points in the domains, with linear parameters solved for.

A parameter that enters a law linearly (E, A and B of Chinchilla, given the exponents) needs no
search: at every Sobol point of the others it is set by non-negative least squares, on relative
residuals for log noise (variable projection: Golub & Pereyra 1973). Ranges that a domain leaves
open come from the data: exponents from 0.05 to 2, scales from the column that they are compared
with, coefficients from the size of the target. For a law that cannot be traced, open ranges reach
from 1/100 to 100. A real parameter may have either sign.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from kleiber.fitting.engine.affine_starts import solve_affine_arguments
from kleiber.fitting.engine.problem import Problem
from kleiber.formula import Expr, calculate, symbols, walk
from kleiber.law import Domain, Law
from kleiber.maths.affine import AffineArgument, find_affine_arguments, find_exponents, find_linear

EXPONENT_RANGE = (0.05, 2.0)
REWEIGHTINGS = 3  # rounds of robust weights in the solution for linear parameters
WIDE_FACTOR = 100.0  # factor on either side of a scale guessed from the data


def linear_params(law: Law) -> tuple[str, ...]:
    """Return the parameters in which the law is jointly affine, in order; none if it cannot be
    traced."""
    return () if law.expr is None else find_linear(law.expr, law.params)


def find_law_arguments(law: Law) -> tuple[AffineArgument, ...]:
    """Return the affine arguments of nonlinear functions in the law whose parameters have no start
    range of their own."""
    if law.expr is None:
        return ()
    closed = find_exponents(law.expr) | set(linear_params(law))
    ranged = {name for name, d in law.domains.items() if d.low is not None or d.kind == "fraction"}
    return find_affine_arguments(law.expr, law.params, set(law.params) - closed - ranged)


def start_ranges(
    law: Law, columns: Mapping[str, Float[np.ndarray, "rows"]], y: Float[np.ndarray, "rows"]
) -> dict[str, tuple[float, float]]:
    """Return the range in which starts of each parameter are drawn; the fit records it."""
    ranges: dict[str, tuple[float, float]] = {}
    exponents: set[str] = set() if law.expr is None else find_exponents(law.expr)
    linear = linear_params(law)
    ranges |= _argument_ranges(law, columns, y)
    for name, domain in law.domains.items():
        if name in ranges:
            continue
        if domain.low is not None and domain.high is not None:
            ranges[name] = (domain.low, domain.high)
        elif law.expr is None:
            ranges[name] = (1 / WIDE_FACTOR, WIDE_FACTOR)
        elif name in exponents:
            ranges[name] = EXPONENT_RANGE
        elif name not in linear:
            ranges[name] = _range_from_column(law, name, columns)
    if any(name not in ranges for name in law.params):
        ranges |= _coefficient_ranges(
            law, [n for n in law.params if n not in ranges], ranges, columns, y
        )
    return {name: _allow_both_signs(law.domains[name], ranges[name]) for name in law.params}


def _argument_ranges(
    law: Law, columns: Mapping[str, np.ndarray], y: np.ndarray
) -> dict[str, tuple[float, float]]:
    """Return ranges of the parameters inside nonlinear functions that hold most of their starts."""
    ranges: dict[str, tuple[float, float]] = {}
    for inside in find_law_arguments(law):
        rng = np.random.default_rng(0)
        values = solve_affine_arguments(inside, columns, y, count=64, rng=rng)
        for j, name in enumerate(inside.params if values is not None else ()):
            assert values is not None
            size = np.quantile(np.abs(values[:, j]), (0.1, 0.9))
            ranges[name] = (float(max(size[0], 1e-300)), float(max(size[1], 1e-299)))
    return ranges


def _allow_both_signs(domain: Domain, ends: tuple[float, float]) -> tuple[float, float]:
    """Return a range that the data gave, extended to both signs for a real parameter."""
    return (-ends[1], ends[1]) if domain.kind == "real" and domain.low is None else ends


def _range_from_column(
    law: Law, name: str, columns: Mapping[str, np.ndarray]
) -> tuple[float, float]:
    """Return the range of a parameter from the column that it meets in the smallest common
    expression."""
    assert law.expr is not None
    size: dict[int, int] = {}
    best: tuple[int, Expr] | None = None
    for node in walk(law.expr):
        size[id(node)] = 1 + sum(size[id(item)] for item in node.args)
        found = symbols(node)
        if name in found and found & set(law.variables):
            best = (size[id(node)], node) if best is None or size[id(node)] < best[0] else best
    if best is None:
        return (1 / WIDE_FACTOR, WIDE_FACTOR)
    column = next(item for item in law.variables if item in symbols(best[1]))
    x = np.abs(columns[column])
    x = x[x > 0]
    low, high = (float(x.min()), float(x.max())) if x.size else (1.0, 1.0)
    if best[1].op == "mul":
        low, high = 1 / high, 1 / low
    return (low / 10, high * 10)


def _coefficient_ranges(
    law: Law,
    names: list[str],
    ranges: Mapping[str, tuple[float, float]],
    columns: Mapping[str, np.ndarray],
    y: np.ndarray,
) -> dict[str, tuple[float, float]]:
    """Return ranges of linear parameters that make their term about as large as the target."""
    assert law.expr is not None
    middle = {name: _midpoint(law.domains[name], ends) for name, ends in ranges.items()}
    base = dict(columns) | middle | dict.fromkeys(names, 0.0)
    constant = np.asarray(calculate(law.expr, base), dtype=float)
    out: dict[str, tuple[float, float]] = {}
    for name in names:
        term = np.abs(np.asarray(calculate(law.expr, base | {name: 1.0})) - constant)
        ratio = np.median(np.abs(y)) / max(float(np.median(term)), 1e-300)
        ratio = float(ratio) if np.isfinite(ratio) and ratio > 0 else 1.0
        out[name] = (ratio / WIDE_FACTOR, ratio * WIDE_FACTOR)
    return out


def _midpoint(domain: Domain, ends: tuple[float, float]) -> float:
    return float(domain.from_coordinate(np.mean(domain.to_coordinate(np.array(ends)))))


def draw_starts(
    problem: Problem,
    ranges: Mapping[str, tuple[float, float]],
    *,
    count: int,
    seed: int,
) -> Float[np.ndarray, "starts params"]:
    """Draw the coordinates u of ``count`` starts (rounded up to a power of two)."""
    from scipy.stats import qmc  # here, because importing it costs more than importing kleiber

    law = problem.law
    power = max(0, int(np.ceil(np.log2(count))))
    sobol = qmc.Sobol(len(law.params), rng=np.random.default_rng(seed)).random_base2(power)
    u = np.empty_like(sobol)
    for k, (name, domain) in enumerate(law.domains.items()):
        if domain.kind == "positive":
            low, high = domain.to_coordinate(np.array(ranges[name]))
            u[:, k] = low + sobol[:, k] * (high - low)
        else:
            low, high = ranges[name]
            u[:, k] = domain.to_coordinate(low + sobol[:, k] * (high - low))
    _place_affine_arguments(problem, u, seed)
    linear = [law.params.index(name) for name in linear_params(law)]
    return _solve_linear(problem, u, linear) if linear else u


def _place_affine_arguments(problem: Problem, u: np.ndarray, seed: int) -> None:
    """Replace the coordinates of parameters inside nonlinear functions by those that the data
    suggest."""
    law = problem.law
    y = np.exp(problem.target) if problem.noise.scale == "log" else problem.target
    for k, inside in enumerate(find_law_arguments(law)):
        rng = np.random.default_rng([seed, k])
        values = solve_affine_arguments(inside, problem.columns, y, count=len(u), rng=rng)
        for j, name in enumerate(inside.params if values is not None else ()):
            assert values is not None
            domain = law.domains[name]
            signed = values[:, j] if domain.kind == "real" else np.abs(values[:, j])
            u[:, law.params.index(name)] = domain.to_coordinate(np.where(signed == 0, 1e-3, signed))


def _solve_linear(problem: Problem, u: np.ndarray, linear: list[int]) -> np.ndarray:
    """Replace the linear coordinates by their least-squares values given the others."""
    law = problem.law
    assert law.expr is not None
    theta = problem.from_coordinate(u)
    y = np.exp(problem.target) if problem.noise.scale == "log" else problem.target
    weight = problem.weights / (y**2 if problem.noise.scale == "log" else 1.0)
    named: dict[str, np.ndarray] = {n: theta[:, [k]] for k, n in enumerate(law.params)}
    zero = named | {law.params[k]: np.zeros((len(u), 1)) for k in linear} | problem.columns
    base = np.broadcast_to(calculate(law.expr, zero), (len(u), len(y)))
    terms = np.stack(
        [
            np.broadcast_to(calculate(law.expr, zero | {law.params[k]: 1.0}), base.shape) - base
            for k in linear
        ],
        axis=1,
    )
    signed = np.array([law.domains[law.params[k]].kind != "real" for k in linear])
    robust = problem.noise.delta is not None
    weight = weight[None]
    values = _nonnegative_solve(terms, y - base, weight, signed)
    for _ in range(REWEIGHTINGS if robust else 0):
        trusted = weight * _robust_weights(terms, values, y - base, weight)
        values = _nonnegative_solve(terms, y - base, trusted, signed)
    out = theta.copy()
    good = np.isfinite(values).all(axis=1)
    for j, k in enumerate(linear):
        domain = law.domains[law.params[k]]
        value = np.minimum(values[:, j], 0.98) if domain.kind == "fraction" else values[:, j]
        out[good, k] = value[good]
    return problem.to_coordinate(out)


def _robust_weights(
    terms: np.ndarray, values: np.ndarray, right: np.ndarray, weight: np.ndarray
) -> Float[np.ndarray, "batch rows"]:
    """Return weights that count a residual above the median as one of the median's size (as for
    least absolute residuals; Schlossmacher 1973)."""
    with np.errstate(all="ignore"):
        off = np.abs((values[:, None, :] @ terms)[:, 0, :] - right) * np.sqrt(weight)
        off = np.where(np.isfinite(off), off, 0.0)
        counted = (weight > 0)[0]
        usual = np.median(off[:, counted], axis=1, keepdims=True)
        share = usual / np.maximum(off, usual)
    return np.where(np.isfinite(share), share, 1.0)


def _nonnegative_solve(
    terms: np.ndarray, right: np.ndarray, weight: np.ndarray, signed: np.ndarray
) -> Float[np.ndarray, "batch linear"]:
    """Solve weighted least squares for each start. A coefficient marked ``signed`` must be
    positive: the most negative one is set to a hundredth of the target's size and the others are
    solved again."""
    across = weight[:, None, :]
    with np.errstate(all="ignore"):
        size = np.sqrt((across * terms**2).sum(axis=2))
        target = np.sqrt((weight * right**2).sum(axis=1))
        small = 0.01 * target[:, None] / size
        unit = terms / size[:, :, None]
        gram = (unit * across) @ unit.transpose(0, 2, 1) + 1e-10 * np.eye(len(signed))
        side = (unit * across) @ right[:, :, None]
        bad = ~np.isfinite(gram).all(axis=(1, 2)) | ~np.isfinite(side).all(axis=(1, 2))
        gram[bad], side[bad] = np.eye(len(signed)), np.nan
        held, value = np.zeros(size.shape, dtype=bool), np.zeros(size.shape)
        for _ in range(len(signed) + 1):
            free = ~held
            matrix = np.where(free[:, :, None] & free[:, None, :], gram, np.eye(len(signed)))
            known = np.where(held, small * size, 0.0)
            rhs = np.where(free, (side - gram @ known[:, :, None])[:, :, 0], known)
            value = np.linalg.solve(matrix, rhs[:, :, None])[:, :, 0] / size
            wrong = signed & free & (value <= 0)
            if not wrong.any():
                break
            worst = np.where(wrong, value * size, np.inf).argmin(axis=1)
            rows = np.flatnonzero(wrong.any(axis=1))
            held[rows, worst[rows]] = True
    return np.where(signed & (value <= 0), small, value)
