"""Covariance of the fitted coordinates, and directions that the table does not determine.

Classical: s^2 (J'WJ)^-1 with s^2 the residual variance over rows - params, for least squares with
constant noise. Sandwich: H^-1 S H^-1 with S the sum of outer products of the rows' (or groups')
scores (Huber 1967; Liang & Zeger 1986), times n/(n - p) for n rows (HC1) or g/(g - 1) for g groups
(CR1), and H = J'WJ times the mean curvature of rho (the exact Hessian counts the few residuals
narrower than delta and is far noisier). Rows of weight zero do not count.

A direction is undetermined if the scaled Jacobian is singular along it, if a positive parameter is
unknown by more than a factor of 20, or if a parameter fits as well one standard error away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from kleiber.fitting.engine.noise import evaluate_loss
from kleiber.fitting.engine.problem import Problem, evaluate_objective

MAX_CONDITION = 1e12  # condition of the scaled matrix past which a direction counts as lost
MAX_LOG_STDERR = 3.0  # standard error of log(parameter): known to no better than a factor of 20
PARTNER_CORRELATION = 0.95  # correlation with a vague parameter that makes another one its partner
RELATIVE_ROUNDING = 1e-9  # relative rise of the objective that is none


@dataclass(frozen=True)
class CovarianceEstimate:
    """Covariances in the coordinates u, the condition number of the scaled Jacobian, and
    undetermined directions.

    ``undetermined`` lists, for each such direction, the positions of the parameters that trade off
    along it.
    """

    classical: Float[np.ndarray, "params params"]
    sandwich: Float[np.ndarray, "params params"]
    condition: float
    undetermined: tuple[tuple[int, ...], ...]


def estimate_covariance(
    problem: Problem,
    u: Float[np.ndarray, "params"],
    scale: float,
    groups: Int[np.ndarray, "rows"] | None,
    at_bound: tuple[int, ...] = (),
) -> CovarianceEstimate:
    """Estimate both covariances at the optimum; coordinates ``at_bound`` are left out as zeros."""
    free = [k for k in range(len(u)) if k not in at_bound]
    if not free:
        return CovarianceEstimate(np.zeros((len(u),) * 2), np.zeros((len(u),) * 2), 1.0, ())
    derivatives = problem.differentiate(u[None], False)
    r, jac = derivatives.residual[0], derivatives.jacobian[0][free].T
    terms = evaluate_loss(problem.noise, r[None], np.array([scale]))
    w = problem.weights
    prior_part = prior_jacobian(problem, u)[:, free]
    weighted = np.concatenate([jac * np.sqrt(w * terms.weight[0])[:, None], prior_part])
    condition, undetermined, left_factor, _ = _decompose(weighted)
    dof = int((w > 0).sum()) - len(free)
    variance = float((w * terms.psi[0] * r).sum()) / dof if dof > 0 else np.nan
    classical = left_factor @ left_factor.T * (1.0 if problem.noise.dof is not None else variance)
    undetermined = undetermined or _find_vague_directions(problem, u, free, classical)
    undetermined = undetermined or _find_drifting_params(problem, u, scale, free, classical)
    curve = float((w * terms.curvature[0]).sum() / w.sum())
    sandwich = np.full((len(free),) * 2, np.nan)
    if curve > 0:
        unweighted = np.concatenate([jac * np.sqrt(w)[:, None], prior_part / np.sqrt(curve)])
        _, _, left_factor, left = _decompose(unweighted)
        scaled_psi = np.append(np.sqrt(w) * terms.psi[0], np.zeros(len(prior_part)))
        influence = (left * scaled_psi[:, None] @ left_factor.T / curve)[: len(r)]
        sandwich = _sandwich_covariance(
            influence[w > 0], groups if groups is None else groups[w > 0]
        )
        if problem.prior is not None:  # what is believed is uncertain too, by its own spread
            own = left[len(r) :] @ left_factor.T * np.sqrt(problem.prior.tau / curve)
            sandwich = sandwich + own.T @ own
    return CovarianceEstimate(
        _embed(classical, free, len(u)),
        _embed(sandwich, free, len(u)),
        condition,
        tuple(tuple(free[k] for k in each) for each in undetermined),
    )


def prior_jacobian(problem: Problem, u: np.ndarray) -> Float[np.ndarray, "priors params"]:
    """Return each prior as a row of the Jacobian, in units of the loss."""
    if problem.prior is None:
        return np.empty((0, len(u)))
    prior = problem.prior
    rows = np.zeros((len(prior.positions), len(u)))
    for j, k in enumerate(prior.positions):
        rows[j, k] = np.sqrt(prior.tau) / prior.spread[j] / (u[k] if prior.in_log[j] else 1.0)
    return rows


def scaled_jacobian(
    problem: Problem, u: Float[np.ndarray, "params"], scale: float
) -> Float[np.ndarray, "rows params"]:
    """Return the Jacobian in units of the noise, with columns per log(theta) for positive
    parameters."""
    derivatives = problem.differentiate(u[None], False)
    terms = evaluate_loss(problem.noise, derivatives.residual, np.array([scale]))
    w, r = problem.weights, derivatives.residual[0]
    dof = max(int((w > 0).sum()) - len(u), 1)
    variance = 1.0
    if problem.noise.dof is None:
        variance = max(float((w * terms.psi[0] * r).sum()) / dof, 1e-300)
    above = np.array([item.kind == "above" for item in problem.law.domains.values()])
    jac = derivatives.jacobian[0].T * np.sqrt(w * terms.weight[0] / variance)[:, None]
    return np.nan_to_num(jac * np.where(above, u, 1.0))


def _sandwich_covariance(
    influence: Float[np.ndarray, "rows free"], groups: Int[np.ndarray, "rows"] | None
) -> Float[np.ndarray, "free free"]:
    """Return the sum of outer products of the influence of each row, or group, on the coordinates
    (H^-1 times its score), with the small-sample factor."""
    count, params = influence.shape
    dof = count - params
    if groups is not None:
        influence = np.array([influence[groups == g].sum(axis=0) for g in np.unique(groups)])
        count, dof = len(influence), len(influence) - 1
    return influence.T @ influence * (count / dof if dof > 0 else np.nan)


def _decompose(
    jac: np.ndarray,
) -> tuple[float, tuple[tuple[int, ...], ...], np.ndarray, np.ndarray]:
    """Return the condition number of the column-scaled Jacobian, its undetermined directions, and
    the factors H and U of (J'J)^-1 = H H' and (J'J)^-1 J' = H U', which keep the digits that J'J
    would lose."""
    size = np.sqrt((jac**2).sum(axis=0))
    unit = np.where(size > 0, size, 1.0)
    rows, width = jac.shape
    if rows < width:
        jac = np.concatenate([jac, np.zeros((width - rows, width))])
    left, s, v = np.linalg.svd(jac / unit, full_matrices=False)
    condition = float(s[0] / s[-1]) if s[-1] > 0 else np.inf
    undetermined = tuple(
        _leading_params(v[k]) for k in range(width) if s[k] * MAX_CONDITION <= s[0]
    )
    inverse = np.where(s > s[0] * 1e-15, 1.0 / np.maximum(s, 1e-300), 0.0)
    return condition, undetermined, v.T * inverse / unit[:, None], left[:rows]


def _leading_params(direction: np.ndarray) -> tuple[int, ...]:
    size = np.abs(direction)
    return tuple(int(k) for k in np.flatnonzero(size > 0.1 * size.max()))


def _find_vague_directions(
    problem: Problem, u: np.ndarray, free: list[int], covariance: np.ndarray
) -> tuple[tuple[int, ...], ...]:
    """Return the directions in which positive parameters are unknown by more than a factor of
    20."""
    kinds = [item.kind for item in problem.law.domains.values()]
    bounded = [i for i, k in enumerate(free) if kinds[k] != "real"]
    if not bounded or not np.isfinite(covariance).all():
        return ()
    where = u[[free[i] for i in bounded]]
    above = np.array([kinds[free[i]] == "above" for i in bounded])
    per_log = 1 / np.where(above & (where != 0), where, 1.0)
    part = covariance[np.ix_(bounded, bounded)] * np.outer(per_log, per_log)
    values, vectors = np.linalg.eigh(part)
    vague = [k for k in range(len(values)) if values[k] > MAX_LOG_STDERR**2]
    return tuple(tuple(bounded[i] for i in _correlated_params(part, vectors[:, k])) for k in vague)


def _correlated_params(covariance: np.ndarray, direction: np.ndarray) -> tuple[int, ...]:
    """Return the positions of the parameters that correlate with the leading one of a vague
    direction."""
    lead = int(np.argmax(np.abs(direction)))
    size = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
    correlation = np.abs(covariance[lead]) / (size * size[lead])
    return tuple(int(k) for k in np.flatnonzero(correlation >= PARTNER_CORRELATION))


def _find_drifting_params(
    problem: Problem, u: np.ndarray, scale: float, free: list[int], covariance: np.ndarray
) -> tuple[tuple[int, ...], ...]:
    """Return the parameters without a bound that fit as well one standard error away, on either
    side."""
    kinds = [item.kind for item in problem.law.domains.values()]
    size = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    found: list[tuple[int, ...]] = []
    for i, k in enumerate(free):
        visible = 1e-9 * abs(u[k]) < size[i] < np.inf  # an exact fit's errors are rounding
        if kinds[k] not in ("real", "above") or not visible:
            continue
        moved = np.repeat(u[None], 3, 0)
        moved[1:, k] += size[i], -size[i]
        if kinds[k] == "above":
            moved[2, k] = u[k]
        value = evaluate_objective(
            problem, moved, problem.weights[None], np.full(3, scale), second=False
        ).objective
        rise = value[1 : 2 if kinds[k] == "above" else 3] - value[0]
        if value[0] > 0 and (rise <= RELATIVE_ROUNDING * value[0]).any():
            found.append((i,))
    return tuple(found)


def _embed(part: np.ndarray, free: list[int], width: int) -> np.ndarray:
    whole = np.zeros((width, width))
    whole[np.ix_(free, free)] = part
    return whole
