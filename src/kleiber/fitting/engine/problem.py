"""A law on a table under a noise model: the objective that every fit and refit minimises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from jaxtyping import Float

from kleiber.fitting.engine.compiled import Ends, Kernel
from kleiber.fitting.engine.derivatives import Differentiate, Slopes, traced_slopes
from kleiber.fitting.engine.levenberg import RESTART, START_DAMPING, Descent, Local, descend
from kleiber.fitting.engine.noise import Charge, Noise, charge, fit_scale
from kleiber.fitting.engine.numeric_derivatives import stepped_slopes
from kleiber.fitting.engine.prior import Prior, add_prior
from kleiber.law import Law
from kleiber.maths.affine import find_exponents

BLOCK = 6000  # residuals worked on at once: a few arrays of this length stay in the cache
MANY = 1000  # rows from which descents leave out the law's second derivatives
ROUNDS = 40  # of the Student-t scale


@dataclass(frozen=True)
class Problem:
    """Rows, law and noise. The law's positive exponents are straightened; ``weights`` multiply the
    rows' charges; ``kernel`` is the compiled objective where there is one; ``prior`` adds what is
    believed beforehand."""

    law: Law
    noise: Noise
    columns: dict[str, Float[np.ndarray, "rows"]]
    target: Float[np.ndarray, "rows"]
    weights: Float[np.ndarray, "rows"]
    differentiate: Differentiate
    kernel: Kernel | None = None
    prior: Prior | None = None

    def outer(self, u: Float[np.ndarray, "members params"]) -> Float[np.ndarray, "members params"]:
        """Parameter values at coordinates u."""
        kinds = self.law.domains.values()
        return np.stack([item.outer(u[:, k]) for k, item in enumerate(kinds)], axis=1)

    def inner(self, theta: Float[np.ndarray, "members p"]) -> Float[np.ndarray, "members p"]:
        """Coordinates u of parameter values."""
        kinds = self.law.domains.values()
        return np.stack([item.inner(theta[:, k]) for k, item in enumerate(kinds)], axis=1)


def pose(
    law: Law,
    noise: Noise,
    columns: dict[str, Float[np.ndarray, "rows"]],
    target: Float[np.ndarray, "rows"],
    weights: Float[np.ndarray, "rows"],
) -> Problem:
    """The problem of fitting ``law`` to ``target`` (plain values, whatever the noise's scale)."""
    data = np.log(target) if noise.scale == "log" else target
    law = straighten(law)
    kernel = traced_slopes if law.expr is not None else stepped_slopes
    differentiate = kernel(law, columns, data, noise.scale)
    if not weights.all():
        differentiate = _sparing(differentiate, weights)
    return Problem(law, noise, columns, data, weights, differentiate)


def _sparing(differentiate: Differentiate, weights: Float[np.ndarray, "rows"]) -> Differentiate:
    """Derivatives that are zero on rows of weight 0 where the law has no value."""

    def spared(u: Float[np.ndarray, "members params"], second: bool) -> Slopes:
        return _without_weightless(differentiate(u, second), weights[None])

    return spared


def straighten(law: Law) -> Law:
    """The law with its positive exponents fitted as they are rather than as logarithms."""
    exponents: set[str] = find_exponents(law.expr) if law.expr is not None else set()
    domains = {
        name: replace(d, kind="above") if name in exponents and d.kind == "positive" else d
        for name, d in law.domains.items()
    }
    return replace(law, domains=domains)


def look(
    problem: Problem,
    u: Float[np.ndarray, "members params"],
    weights: Float[np.ndarray, "members rows"] | Float[np.ndarray, "1 rows"],
    scale: Float[np.ndarray, "members"],
    *,
    second: bool = True,
    shift: Float[np.ndarray, "members rows"] | None = None,
    moved: Float[np.ndarray, "members priors"] | None = None,
) -> Local:
    """The objective with its gradient and both matrices, at each member's u.

    ``shift`` is what each member's data exceed the table's by, on the noise model's scale;
    ``moved`` how far its priors' centres are from the given ones.
    """
    local = _charge_rows(problem, u, weights, scale, second, shift)
    if problem.prior is not None:
        local = add_prior(local, u, problem.prior, moved)
    return _finite(local)


def _charge_rows(
    problem: Problem,
    u: np.ndarray,
    weights: np.ndarray,
    scale: np.ndarray,
    second: bool,
    shift: np.ndarray | None,
) -> Local:
    """The rows' part of the objective, compiled or in blocks."""
    if problem.kernel is not None:
        return problem.kernel.look(u, weights, scale, shift)
    block = max(1, BLOCK // len(problem.target))
    parts: list[Local] = []
    for i in range(0, len(u), block):
        part = slice(i, i + block)
        w = weights if len(weights) == 1 else weights[part]
        ahead = None if shift is None else shift[part]
        parts.append(_look(problem, u[part], w, scale[part], second, ahead))
    if len(parts) == 1:
        return parts[0]
    return Local(
        np.concatenate([item.objective for item in parts]),
        np.concatenate([item.gradient for item in parts]),
        np.concatenate([item.gauss for item in parts]),
        np.concatenate([item.newton for item in parts]),
    )


def _look(
    problem: Problem,
    u: np.ndarray,
    weights: np.ndarray,
    scale: np.ndarray,
    second: bool,
    shift: np.ndarray | None,
) -> Local:
    slopes = problem.differentiate(u, second)
    if shift is not None:
        slopes = replace(slopes, residual=slopes.residual - shift)
    slopes = _without_weightless(slopes, weights)
    with np.errstate(all="ignore"):
        paid = charge(problem.noise, slopes.residual, scale)
        objective = np.einsum("mr,mr->m", np.broadcast_to(weights, paid.rho.shape), paid.rho)
        local = _assemble(slopes, paid, weights, objective)
    return local


def _without_weightless(slopes: Slopes, weights: np.ndarray) -> Slopes:
    """The picture with zeros for rows of weight 0 where the law has no value: they count for
    nothing, as they do where they are finite."""
    absent = ~np.isfinite(slopes.residual) & (weights == 0)
    if not absent.any():
        return slopes
    across = absent[:, None, :]
    bends = None if slopes.bends is None else np.where(across, 0.0, slopes.bends)
    residual = np.where(absent, 0.0, slopes.residual)
    return Slopes(residual, np.where(across, 0.0, slopes.slopes), bends)


def _finite(local: Local) -> Local:
    """The picture with members that are not finite marked by an infinite objective."""
    good = np.isfinite(local.objective) & np.isfinite(local.gradient).all(axis=1)
    good &= np.isfinite(local.gauss).all(axis=(1, 2)) & np.isfinite(local.newton).all(axis=(1, 2))
    if good.all():
        return local
    return Local(
        np.where(good, local.objective, np.inf),
        np.where(good[:, None], local.gradient, 0.0),
        np.where(good[:, None, None], local.gauss, 0.0),
        np.where(good[:, None, None], local.newton, 0.0),
    )


def _assemble(slopes: Slopes, paid: Charge, weights: np.ndarray, objective: np.ndarray) -> Local:
    push = (weights * paid.psi)[:, None, :]
    jac = slopes.slopes
    across = jac.transpose(0, 2, 1)
    gradient = (push @ across)[:, 0, :]
    gauss = (jac * (weights * paid.weight)[:, None, :]) @ across
    newton = (jac * (weights * paid.curve)[:, None, :]) @ across
    if slopes.bends is None:  # an untraced law: curvature of the charge without that of the law
        return Local(objective, gradient, gauss, newton)
    bend = (push @ slopes.bends.transpose(0, 2, 1))[:, 0, :]
    width = jac.shape[1]
    low = _triangle(width)
    square = np.zeros_like(newton)
    square[:, low[0], low[1]] = bend
    square[:, low[1], low[0]] = bend
    return Local(objective, gradient, gauss, newton + square)


@cache
def _triangle(width: int) -> tuple[np.ndarray, np.ndarray]:
    return np.tril_indices(width)


def is_curved(problem: Problem) -> bool:
    """Whether descents take the law's second derivatives: on many rows they are not worth their
    price (a tenth to a twentieth of it goes without them)."""
    return len(problem.target) < MANY


def minimise(
    problem: Problem,
    start: Float[np.ndarray, "members params"],
    weights: Float[np.ndarray, "members rows"] | Float[np.ndarray, "1 rows"],
    *,
    scale: Float[np.ndarray, "members"] | None = None,
    max_iterations: int = 200,
    exact: bool = False,
    tolerance: float = 1e-12,
    shift: Float[np.ndarray, "members rows"] | None = None,
    moved: Float[np.ndarray, "members priors"] | None = None,
    damping: float | Float[np.ndarray, "members"] = START_DAMPING,
    restart: float = RESTART,
    units: Float[np.ndarray, "params"] | None = None,
    curved: bool = True,
) -> tuple[Descent, Float[np.ndarray, "members"]]:
    """Descend every member to its optimum; also returns the Student-t scales (ones otherwise).

    ``damping`` and ``units`` are those of ``descend``, for starts that are not ``exact``. With
    ``curved`` false the law's second derivatives are left out of the Newton matrix: steps that cost
    a fraction, and end linearly, at a rate that falls as one over the root of the rows.
    """
    members = len(start)
    size = np.ones(members) if scale is None else scale
    second = curved and problem.law.expr is not None

    def view(u: np.ndarray, who: np.ndarray) -> Local:
        own = weights if len(weights) == 1 else weights[who]
        ahead = None if shift is None else shift[who]
        apart = None if moved is None else moved[who]
        return look(problem, u, own, size[who], second=second, shift=ahead, moved=apart)

    floor = np.array([item.floor for item in problem.law.domains.values()])

    def run(point: np.ndarray, close: bool) -> Descent:
        if close and problem.kernel is not None and problem.prior is None:
            ends = problem.kernel.polish(point, weights, size, shift, floor, tolerance)
            return _finish(ends, lambda left: go_on(ends.point[left], True, left))
        return go_on(point, close, np.arange(members))

    def go_on(point: np.ndarray, close: bool, who: np.ndarray) -> Descent:
        return descend(
            lambda u, which: view(u, who[which]),
            point,
            max_iterations=max_iterations,
            tolerance=tolerance if second else 1e-3 * tolerance,  # Gauss-Newton ends linearly
            damping=0.0 if close else damping,
            restart=restart,
            exact=close,
            floor=floor,
            units=None if close else units,
        )

    if problem.noise.dof is None:
        return run(start, exact), size
    if scale is None:
        size[:] = _scale(problem, start, weights, size, shift)
    found = run(start, exact)
    for _ in range(ROUNDS):
        new = _scale(problem, found.point, weights, size, shift)
        done = np.abs(new - size) <= 1e-7 * size
        size[:] = new
        found = run(found.point, True)
        if done.all():
            break
    return found, size


def _finish(ends: Ends, go_on: Callable[[np.ndarray], Descent]) -> Descent:
    """The compiled descent's ends, with those of the members that it left unsettled."""
    left = np.flatnonzero(~ends.settled)
    fallen = np.where(ends.settled, 0.0, np.inf)
    whole = Descent(ends.point, ends.objective, fallen, ends.settled, 0)
    if left.size:
        rest = go_on(left)
        for name in ("point", "objective", "decrement", "converged"):
            getattr(whole, name)[left] = getattr(rest, name)
    return whole


def _scale(
    problem: Problem,
    u: np.ndarray,
    weights: np.ndarray,
    start: np.ndarray,
    shift: np.ndarray | None,
) -> Float[np.ndarray, "members"]:
    assert problem.noise.dof is not None
    r = residuals(problem, u) - (0.0 if shift is None else shift)
    r = np.nan_to_num(r, nan=1.0, posinf=1.0, neginf=-1.0)
    w = np.broadcast_to(weights, r.shape)
    return fit_scale(r, w, problem.noise.dof, start)


def residuals(problem: Problem, u: Float[np.ndarray, "m p"]) -> Float[np.ndarray, "m rows"]:
    """Prediction minus data on the noise model's scale."""
    return np.concatenate([problem.differentiate(row[None], False).residual for row in u])
