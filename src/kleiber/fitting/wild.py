"""Wild refits: what a table's own residuals say of its noise, row by row or group by group.

A wild table is the fitted values plus each residual, stretched for the leverage of its row (or
group) and times a random factor, one per row or group (Wu 1986). The stretch (I - H_gg)^(-1/2) r_g
(HC2 of MacKinnon & White 1985; CR2 of Bell & McCaffrey 2002) makes the draws' variance unbiased
where noise is even; H is the hat matrix of the law's tangent. Factors are normal: draws of a
quantity that few rows decide then keep the tails that Student's quantile is read in.

How many rows those are decides how well that variance is known. The part of row i in parameter k is
v = (B_ki r_i)^2 with B the pseudo-inverse of the Jacobian, the effective number of rows
(sum v)^2 / sum v^2: a third of the degrees of freedom for normal residuals in equal parts.
``FREEDOM`` times the smallest over the parameters is used (docs/coverage.md).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from kleiber.fitting.problem import Problem

LEAST = 0.05  # smallest share of a residual that a row's own pull may leave
FREEDOM = 2.0  # degrees of freedom for each effective row or group


def normal_factors(
    rng: np.random.Generator, draws: int, rows: int, groups: Int[np.ndarray, "rows"] | None
) -> Float[np.ndarray, "draws rows"]:
    """Standard normal factors for each draw, one per row or group."""
    units = rows if groups is None else int(groups.max()) + 1
    factors = rng.standard_normal((draws, units))
    return factors if groups is None else factors[:, groups]


def _tangent(
    problem: Problem, u: Float[np.ndarray, "params"]
) -> tuple[Float[np.ndarray, "rows moving"], Float[np.ndarray, "rows"]]:
    """The weighted Jacobian, its columns of unit length, and the roots of the weights. Parameters
    at a bound, on which no row pulls, do not count."""
    root = np.sqrt(problem.weights)
    jac = problem.differentiate(u[None], False).slopes[0].T * root[:, None]
    size = np.sqrt((jac**2).sum(axis=0))
    return jac[:, size > 0] / size[size > 0], root


def stretch_residuals(
    problem: Problem,
    u: Float[np.ndarray, "params"],
    residual: Float[np.ndarray, "rows"],
    groups: Int[np.ndarray, "rows"] | None,
) -> Float[np.ndarray, "rows"]:
    """Residuals stretched for what the fit took from them."""
    jac, root = _tangent(problem, u)
    q, _ = np.linalg.qr(jac)
    if groups is None:
        return residual / np.sqrt(np.maximum(1 - (q**2).sum(axis=1), LEAST**2))
    out = residual * root
    for g in np.unique(groups):
        own = groups == g
        left, size, _ = np.linalg.svd(q[own], full_matrices=False)
        more = 1 / np.sqrt(np.maximum(1 - size**2, LEAST**2)) - 1
        out[own] += left @ (more * (left.T @ out[own]))
    return out / np.where(root > 0, root, 1.0)


def degrees_of_freedom(
    problem: Problem,
    u: Float[np.ndarray, "params"],
    stretched: Float[np.ndarray, "rows"],
    groups: Int[np.ndarray, "rows"] | None,
) -> float:
    """FREEDOM times the effective number of rows or groups behind the parameter that fewest
    decide; infinite where nothing is left over."""
    jac, root = _tangent(problem, u)
    parts = np.linalg.pinv(jac) * (stretched * root)
    if groups is not None:
        parts = np.stack([parts[:, groups == g].sum(axis=1) for g in np.unique(groups)], axis=1)
    share = parts**2
    total, peaks = share.sum(axis=1), (share**2).sum(axis=1)
    known = peaks > 0
    return FREEDOM * float((total[known] ** 2 / peaks[known]).min()) if known.any() else np.inf
