"""Suggestions for a fit whose table leaves parameters undetermined: a tie, or priors.

Each suggestion is tried on the tangent: a tie adds two columns of the Jacobian, a prior adds a row.
The smallest one that determines every parameter to better than a factor of 20 is offered.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from kleiber.fitting.engine.problem import Problem
from kleiber.fitting.spread.covariance import MAX_CONDITION, MAX_LOG_STDERR, scaled_jacobian

PRIOR_SPREAD = 0.3  # spread of an offered prior, in log: a factor of 1.35 either way


def collinear_variables(problem: Problem) -> tuple[str, str] | None:
    """Return two variables of which one is an increasing power of the other in every row, or None.

    Their terms can then be exchanged, so that no fit tells which belongs to which.
    """
    logs = {
        name: np.log(values)
        for name, values in problem.columns.items()
        if (values > 0).all() and np.ptp(values) > 0
    }
    for first, second in itertools.combinations(logs, 2):
        x, y = (logs[name] - logs[name].mean() for name in (first, second))
        power = float(x @ y / (x @ x))
        if power > 0 and np.abs(y - power * x).max() <= 1e-9 * np.abs(y).max():
            return first, second
    return None


def suggest_remedy(problem: Problem, u: Float[np.ndarray, "params"], scale: float) -> str:
    """Return the tie or the priors that would determine the parameters, as they are written; "" if
    none would."""
    jac = scaled_jacobian(problem, u, scale)
    names = problem.law.params
    exponents = [k for k, d in enumerate(problem.law.domains.values()) if d.kind == "above"]
    for i, j in itertools.combinations(exponents, 2):
        tied = jac.copy()
        tied[:, i] += tied[:, j] * (u[j] / u[i] if u[i] else 1.0)
        if _is_determined(np.delete(tied, j, axis=1)):
            return f"the tie tied={{{names[j]!r}: {names[i]!r}}}"
    for count in (1, 2, 3):
        for chosen in itertools.combinations(_order_by_uncertainty(jac), count):
            rows = np.eye(len(names))[list(chosen)] / PRIOR_SPREAD
            if _is_determined(np.concatenate([jac, rows])):
                priors = ", ".join(
                    f"{names[k]!r}: (value, {PRIOR_SPREAD:g})" for k in sorted(chosen)
                )
                kind = {1: "the prior", 2: "both of", 3: "all of"}[count]
                return f"{kind} priors={{{priors}}}"
    return ""


def _order_by_uncertainty(jac: Float[np.ndarray, "rows params"]) -> Sequence[int]:
    """Return the positions of the parameters, the most uncertain first."""
    values, vectors = np.linalg.eigh(jac.T @ jac)
    weak = vectors[:, values <= max(1.0 / MAX_LOG_STDERR**2, values[-1] / MAX_CONDITION)]
    share = (weak**2).sum(axis=1) if weak.size else np.zeros(jac.shape[1])
    return [int(k) for k in np.argsort(-share, kind="stable")]


def _is_determined(jac: Float[np.ndarray, "rows params"]) -> bool:
    """Return whether every direction is determined; rows are in units of the noise, columns of
    log(theta)."""
    size = np.linalg.svd(jac, compute_uv=False)
    return bool(size[-1] * MAX_LOG_STDERR >= 1.0 and size[-1] * MAX_CONDITION > size[0])
