"""A law on a table under a noise model: the objective that every fit and refit minimises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from jaxtyping import Float

from kleiber.fitting.engine.compiled import CompiledEnds, Kernel
from kleiber.fitting.engine.derivatives import Derivatives, Differentiate, traced_derivatives
from kleiber.fitting.engine.levenberg import (
    RESTART_DAMPING,
    START_DAMPING,
    Descent,
    LocalModel,
    descend,
)
from kleiber.fitting.engine.noise import LossTerms, Noise, evaluate_loss, fit_scale
from kleiber.fitting.engine.numeric_derivatives import numeric_derivatives
from kleiber.fitting.engine.prior import Prior, add_prior
from kleiber.law import Law
from kleiber.maths.affine import find_exponents

BLOCK_SIZE = 6000  # residuals worked on at once: a few arrays of this length stay in the cache
MANY_ROWS = 1000  # rows from which descents leave out the law's second derivatives
SCALE_ROUNDS = 40  # of the Student-t scale


@dataclass(frozen=True)
class Problem:
    """Rows, law and noise model of a fit. The law's positive exponents are untransformed;
    ``weights`` multiply the loss of each row; ``kernel`` is the compiled objective, if there is
    one; ``prior`` adds a penalty."""

    law: Law
    noise: Noise
    columns: dict[str, Float[np.ndarray, "rows"]]
    target: Float[np.ndarray, "rows"]
    weights: Float[np.ndarray, "rows"]
    differentiate: Differentiate
    kernel: Kernel | None = None
    prior: Prior | None = None

    def from_coordinate(
        self, u: Float[np.ndarray, "batch params"]
    ) -> Float[np.ndarray, "batch params"]:
        """Return the parameter values at coordinates u."""
        kinds = self.law.domains.values()
        return np.stack([item.from_coordinate(u[:, k]) for k, item in enumerate(kinds)], axis=1)

    def to_coordinate(self, theta: Float[np.ndarray, "batch p"]) -> Float[np.ndarray, "batch p"]:
        """Return the coordinates u of parameter values."""
        kinds = self.law.domains.values()
        return np.stack([item.to_coordinate(theta[:, k]) for k, item in enumerate(kinds)], axis=1)


def pose(
    law: Law,
    noise: Noise,
    columns: dict[str, Float[np.ndarray, "rows"]],
    target: Float[np.ndarray, "rows"],
    weights: Float[np.ndarray, "rows"],
) -> Problem:
    """Make the problem of fitting ``law`` to ``target`` (values as in the table, whatever the noise
    scale)."""
    data = np.log(target) if noise.scale == "log" else target
    law = untransform_exponents(law)
    kernel = traced_derivatives if law.expr is not None else numeric_derivatives
    differentiate = kernel(law, columns, data, noise.scale)
    if not weights.all():
        differentiate = _ignore_weightless_rows(differentiate, weights)
    return Problem(law, noise, columns, data, weights, differentiate)


def _ignore_weightless_rows(
    differentiate: Differentiate, weights: Float[np.ndarray, "rows"]
) -> Differentiate:
    """Wrap ``differentiate`` so that rows of weight 0 give zeros where the law has no value."""

    def masked(u: Float[np.ndarray, "batch params"], second: bool) -> Derivatives:
        return _zero_weightless_rows(differentiate(u, second), weights[None])

    return masked


def untransform_exponents(law: Law) -> Law:
    """Return the law with its positive exponents fitted as they are rather than as logarithms."""
    exponents: set[str] = find_exponents(law.expr) if law.expr is not None else set()
    domains = {
        name: replace(d, kind="above") if name in exponents and d.kind == "positive" else d
        for name, d in law.domains.items()
    }
    return replace(law, domains=domains)


def evaluate_objective(
    problem: Problem,
    u: Float[np.ndarray, "batch params"],
    weights: Float[np.ndarray, "batch rows"] | Float[np.ndarray, "1 rows"],
    scale: Float[np.ndarray, "batch"],
    *,
    second: bool = True,
    shift: Float[np.ndarray, "batch rows"] | None = None,
    prior_shift: Float[np.ndarray, "batch priors"] | None = None,
) -> LocalModel:
    """Evaluate the objective with its gradient and both matrices at each u of a batch.

    ``shift`` is added to the table's target for each problem, on the scale of the noise model;
    ``prior_shift`` is added to the centres of its priors.
    """
    local = _evaluate_rows(problem, u, weights, scale, second, shift)
    if problem.prior is not None:
        local = add_prior(local, u, problem.prior, prior_shift)
    return _mark_not_finite(local)


def _evaluate_rows(
    problem: Problem,
    u: np.ndarray,
    weights: np.ndarray,
    scale: np.ndarray,
    second: bool,
    shift: np.ndarray | None,
) -> LocalModel:
    """Evaluate the rows' part of the objective, in machine code or in blocks."""
    if problem.kernel is not None:
        return problem.kernel.evaluate(u, weights, scale, shift)
    block = max(1, BLOCK_SIZE // len(problem.target))
    parts: list[LocalModel] = []
    for i in range(0, len(u), block):
        part = slice(i, i + block)
        w = weights if len(weights) == 1 else weights[part]
        own_shift = None if shift is None else shift[part]
        parts.append(_evaluate_block(problem, u[part], w, scale[part], second, own_shift))
    if len(parts) == 1:
        return parts[0]
    return LocalModel(
        np.concatenate([item.objective for item in parts]),
        np.concatenate([item.gradient for item in parts]),
        np.concatenate([item.gauss for item in parts]),
        np.concatenate([item.newton for item in parts]),
    )


def _evaluate_block(
    problem: Problem,
    u: np.ndarray,
    weights: np.ndarray,
    scale: np.ndarray,
    second: bool,
    shift: np.ndarray | None,
) -> LocalModel:
    derivatives = problem.differentiate(u, second)
    if shift is not None:
        derivatives = replace(derivatives, residual=derivatives.residual - shift)
    derivatives = _zero_weightless_rows(derivatives, weights)
    with np.errstate(all="ignore"):
        terms = evaluate_loss(problem.noise, derivatives.residual, scale)
        objective = np.einsum("mr,mr->m", np.broadcast_to(weights, terms.rho.shape), terms.rho)
        local = _assemble(derivatives, terms, weights, objective)
    return local


def _zero_weightless_rows(derivatives: Derivatives, weights: np.ndarray) -> Derivatives:
    """Replace the derivatives of rows of weight 0 by zeros where the law has no value."""
    absent = ~np.isfinite(derivatives.residual) & (weights == 0)
    if not absent.any():
        return derivatives
    across = absent[:, None, :]
    bends = None if derivatives.hessian is None else np.where(across, 0.0, derivatives.hessian)
    residual = np.where(absent, 0.0, derivatives.residual)
    return Derivatives(residual, np.where(across, 0.0, derivatives.jacobian), bends)


def _mark_not_finite(local: LocalModel) -> LocalModel:
    """Mark points whose local model is not finite by an infinite objective."""
    good = np.isfinite(local.objective) & np.isfinite(local.gradient).all(axis=1)
    good &= np.isfinite(local.gauss).all(axis=(1, 2)) & np.isfinite(local.newton).all(axis=(1, 2))
    if good.all():
        return local
    return LocalModel(
        np.where(good, local.objective, np.inf),
        np.where(good[:, None], local.gradient, 0.0),
        np.where(good[:, None, None], local.gauss, 0.0),
        np.where(good[:, None, None], local.newton, 0.0),
    )


def _assemble(
    derivatives: Derivatives, terms: LossTerms, weights: np.ndarray, objective: np.ndarray
) -> LocalModel:
    score = (weights * terms.psi)[:, None, :]
    jac = derivatives.jacobian
    across = jac.transpose(0, 2, 1)
    gradient = (score @ across)[:, 0, :]
    gauss = (jac * (weights * terms.weight)[:, None, :]) @ across
    newton = (jac * (weights * terms.curvature)[:, None, :]) @ across
    if (
        derivatives.hessian is None
    ):  # an untraced law: curvature of the charge without that of the law
        return LocalModel(objective, gradient, gauss, newton)
    curvature_term = (score @ derivatives.hessian.transpose(0, 2, 1))[:, 0, :]
    width = jac.shape[1]
    low = _lower_triangle(width)
    second_derivatives = np.zeros_like(newton)
    second_derivatives[:, low[0], low[1]] = curvature_term
    second_derivatives[:, low[1], low[0]] = curvature_term
    return LocalModel(objective, gradient, gauss, newton + second_derivatives)


@cache
def _lower_triangle(width: int) -> tuple[np.ndarray, np.ndarray]:
    return np.tril_indices(width)


def uses_second_derivatives(problem: Problem) -> bool:
    """Return whether descents use the law's second derivatives: on many rows they are not worth
    their cost (a step without them costs a tenth to a twentieth)."""
    return len(problem.target) < MANY_ROWS


def minimise(
    problem: Problem,
    start: Float[np.ndarray, "batch params"],
    weights: Float[np.ndarray, "batch rows"] | Float[np.ndarray, "1 rows"],
    *,
    scale: Float[np.ndarray, "batch"] | None = None,
    max_iterations: int = 200,
    exact: bool = False,
    tolerance: float = 1e-12,
    shift: Float[np.ndarray, "batch rows"] | None = None,
    prior_shift: Float[np.ndarray, "batch priors"] | None = None,
    damping: float | Float[np.ndarray, "batch"] = START_DAMPING,
    restart: float = RESTART_DAMPING,
    units: Float[np.ndarray, "params"] | None = None,
    second_order: bool = True,
) -> tuple[Descent, Float[np.ndarray, "batch"]]:
    """Minimise each problem of a batch; return the Descent and the Student-t scales (ones for other
    noise).

    ``damping`` and ``units`` are those of ``descend``, for starts that are not ``exact``. Without
    ``second_order`` the law's second derivatives are left out of the Newton matrix: steps then cost
    a fraction but converge linearly, at a rate that falls as one over the root of the number of
    rows.
    """
    count = len(start)
    size = np.ones(count) if scale is None else scale
    second = second_order and problem.law.expr is not None

    def evaluate(u: np.ndarray, index: np.ndarray) -> LocalModel:
        own = weights if len(weights) == 1 else weights[index]
        own_shift = None if shift is None else shift[index]
        own_prior_shift = None if prior_shift is None else prior_shift[index]
        return evaluate_objective(
            problem,
            u,
            own,
            size[index],
            second=second,
            shift=own_shift,
            prior_shift=own_prior_shift,
        )

    floor = np.array([item.floor for item in problem.law.domains.values()])

    def run(point: np.ndarray, close: bool) -> Descent:
        if close and problem.kernel is not None and problem.prior is None:
            ends = problem.kernel.descend(point, weights, size, shift, floor, tolerance)
            return _continue_unconverged(
                ends,
                lambda unconverged: continue_descent(ends.point[unconverged], True, unconverged),
            )
        return continue_descent(point, close, np.arange(count))

    def continue_descent(point: np.ndarray, close: bool, index: np.ndarray) -> Descent:
        return descend(
            lambda u, which: evaluate(u, index[which]),
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
        size[:] = _update_scale(problem, start, weights, size, shift)
    found = run(start, exact)
    for _ in range(SCALE_ROUNDS):
        new = _update_scale(problem, found.point, weights, size, shift)
        done = np.abs(new - size) <= 1e-7 * size
        size[:] = new
        found = run(found.point, True)
        if done.all():
            break
    return found, size


def _continue_unconverged(
    ends: CompiledEnds, continue_descent: Callable[[np.ndarray], Descent]
) -> Descent:
    """Return the ends of the compiled descent, after continuing the draws that it left
    unconverged."""
    unconverged = np.flatnonzero(~ends.converged)
    decrement = np.where(ends.converged, 0.0, np.inf)
    whole = Descent(ends.point, ends.objective, decrement, ends.converged, 0)
    if unconverged.size:
        continued = continue_descent(unconverged)
        for name in ("point", "objective", "decrement", "converged"):
            getattr(whole, name)[unconverged] = getattr(continued, name)
    return whole


def _update_scale(
    problem: Problem,
    u: np.ndarray,
    weights: np.ndarray,
    start: np.ndarray,
    shift: np.ndarray | None,
) -> Float[np.ndarray, "batch"]:
    assert problem.noise.dof is not None
    r = residuals(problem, u) - (0.0 if shift is None else shift)
    r = np.nan_to_num(r, nan=1.0, posinf=1.0, neginf=-1.0)
    w = np.broadcast_to(weights, r.shape)
    return fit_scale(r, w, problem.noise.dof, start)


def residuals(problem: Problem, u: Float[np.ndarray, "m p"]) -> Float[np.ndarray, "m rows"]:
    """Return prediction minus data on the scale of the noise model."""
    return np.concatenate([problem.differentiate(row[None], False).residual for row in u])
