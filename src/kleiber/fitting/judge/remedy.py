"""What would settle a fit whose table leaves parameters open: a tie, or priors.

Each remedy is tried on the tangent: a tie adds two columns of the Jacobian, a prior adds a row. The
smallest that leaves every parameter known to better than a factor of 20 is offered.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from kleiber.fitting.engine.problem import Problem
from kleiber.fitting.spread.covariance import SINGULAR, VAGUE, scaled_jacobian

WIDTH = 0.3  # spread of an offered prior, in log: a factor of 1.35 either way


def collinear_variables(problem: Problem) -> tuple[str, str] | None:
    """Two variables of which one is a rising power of the other in every row, if there are any.

    Their terms can then be exchanged, so that no fit tells which belongs to which.
    """
    logs = {
        name: np.log(values)
        for name, values in problem.columns.items()
        if (values > 0).all() and np.ptp(values) > 0
    }
    for first, second in itertools.combinations(logs, 2):
        x, y = (logs[name] - logs[name].mean() for name in (first, second))
        slope = float(x @ y / (x @ x))
        if slope > 0 and np.abs(y - slope * x).max() <= 1e-9 * np.abs(y).max():
            return first, second
    return None


def offer(problem: Problem, u: Float[np.ndarray, "params"], scale: float) -> str:
    """The tie or the priors that would settle the fit, as they are written; "" if none would."""
    jac = scaled_jacobian(problem, u, scale)
    names = problem.law.params
    exponents = [k for k, d in enumerate(problem.law.domains.values()) if d.kind == "above"]
    for i, j in itertools.combinations(exponents, 2):
        tied = jac.copy()
        tied[:, i] += tied[:, j] * (u[j] / u[i] if u[i] else 1.0)
        if _settled(np.delete(tied, j, axis=1)):
            return f"the tie tied={{{names[j]!r}: {names[i]!r}}}"
    for count in (1, 2, 3):
        for chosen in itertools.combinations(_openness(jac), count):
            rows = np.eye(len(names))[list(chosen)] / WIDTH
            if _settled(np.concatenate([jac, rows])):
                priors = ", ".join(f"{names[k]!r}: (value, {WIDTH:g})" for k in sorted(chosen))
                kind = {1: "the prior", 2: "both of", 3: "all of"}[count]
                return f"{kind} priors={{{priors}}}"
    return ""


def _openness(jac: Float[np.ndarray, "rows params"]) -> Sequence[int]:
    """Positions of the parameters, the most open first."""
    values, vectors = np.linalg.eigh(jac.T @ jac)
    weak = vectors[:, values <= max(1.0 / VAGUE**2, values[-1] / SINGULAR)]
    share = (weak**2).sum(axis=1) if weak.size else np.zeros(jac.shape[1])
    return [int(k) for k in np.argsort(-share, kind="stable")]


def _settled(jac: Float[np.ndarray, "rows params"]) -> bool:
    """Whether every direction is known: rows are in units of the noise, columns of log(theta)."""
    size = np.linalg.svd(jac, compute_uv=False)
    return bool(size[-1] * VAGUE >= 1.0 and size[-1] * SINGULAR > size[0])
