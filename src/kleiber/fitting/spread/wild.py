"""Wild bootstrap: refits to tables made of the fitted values and randomised residuals.

A wild table is the fitted values plus each residual, stretched for the leverage of its row (or
group) and times a random factor, one per row or group (Wu 1986). The stretch (I - H_gg)^(-1/2) r_g
(HC2 of MacKinnon & White 1985; CR2 of Bell & McCaffrey 2002) makes the draws' variance unbiased if
the noise is equal in all rows; H is the hat matrix of the law's tangent. The factors are normal, so
that draws of a quantity that depends on few rows have the tails that Student's quantile assumes.

The number of those rows decides how well that variance is known. Row i moves the coordinates by m_i
= B_i r_i, with B the pseudo-inverse of the Jacobian, and a quantity of gradient c by c'm_i. With
v_i = (c'm_i)^2 the effective number of rows is (sum v)^2 / sum v^2, a third of the degrees of
freedom for normal residuals in equal parts; ``DOF_PER_UNIT`` times it is used (docs/coverage.md).
Second and fourth moments of m contain everything that any quantity needs of the rows (``Moments``).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement, permutations

import numpy as np
from jaxtyping import Float, Int

from kleiber.fitting.engine.problem import Problem

MIN_RESIDUAL_SHARE = 0.05  # smallest share of a residual that a row's own pull may leave
DOF_PER_UNIT = 1.5  # degrees of freedom for each effective row or group
EXTREME_SHARE = 0.01  # share of draws, at either end, that do not tell a quantity's slope


@dataclass(frozen=True)
class Moments:
    """Second and fourth moments of the influence of each row (or group) on the coordinates.

    The influence is ``root`` @ q with orthonormal rows of q, so that no digit is lost whatever the
    units of the coordinates; ``fourth`` holds the sums of q_a q_b q_c q_d for a <= b <= c <= d.
    """

    root: Float[np.ndarray, "free rank"]
    fourth: Float[np.ndarray, "quads"]

    def fits(self, free: int) -> bool:
        """Return whether these are the moments of ``free`` coordinates."""
        size = self.root.shape
        return (
            len(size) == 2
            and size[0] == free
            and len(self.fourth) == len(_index_quadruples(size[1]))
        )

    def degrees_of_freedom(
        self, slope: Float[np.ndarray, "free quantities"]
    ) -> Float[np.ndarray, "quantities"]:
        """Return the effective degrees of freedom of each quantity's variance, given its gradient;
        infinite for a quantity that no row affects."""
        projected = self.root.T @ slope
        total, peaks = (projected**2).sum(axis=0), np.zeros(slope.shape[1])
        for value, at in zip(self.fourth, _index_quadruples(len(projected)), strict=True):
            peaks += value * len(set(permutations(at))) * projected[list(at)].prod(axis=0)
        known = (total > 0) & (peaks > 0)
        return np.where(known, DOF_PER_UNIT * total**2 / np.where(known, peaks, 1.0), np.inf)


def _index_quadruples(width: int) -> list[tuple[int, ...]]:
    return list(combinations_with_replacement(range(width), 4))


def measure_moments(influence: Float[np.ndarray, "free units"]) -> Moments:
    """Return the moments of the influence of each unit on each coordinate."""
    size = np.sqrt((influence**2).sum(axis=1, keepdims=True))
    size = np.where(size > 0, size, 1.0)
    left, spread, q = np.linalg.svd(influence / size, full_matrices=False)
    kept = spread > 1e-12 * max(spread.max(initial=0.0), 1e-12)
    q = q[kept]
    fourth = [float(q[list(at)].prod(axis=0).sum()) for at in _index_quadruples(len(q))]
    return Moments(size * left[:, kept] * spread[kept], np.array(fourth))


def estimate_gradients(
    values: Float[np.ndarray, "draws quantities"], drawn: Float[np.ndarray, "draws free"]
) -> Float[np.ndarray, "free quantities"]:
    """Estimate the direction in which each quantity changes with the coordinates, from draws of
    both.

    Whether a value is in the lowest third of the draws, the middle or the highest is regressed on
    the coordinates: for normal draws that finds the direction whatever increasing function of it a
    quantity is (Brillinger 1982), and outlying draws count for no more than their rank.
    """
    low, high = np.quantile(drawn, [EXTREME_SHARE, 1 - EXTREME_SHARE], axis=0, method="hazen")
    inner = np.clip(drawn, low, high)
    spread = inner.std(axis=0)
    unit = np.where(spread > 0, spread, 1.0)[:, None]
    inverse = np.asarray(np.linalg.pinv((inner - inner.mean(axis=0)) / unit.T), dtype=float)
    third = max(1, len(values) // 3)
    ordered = np.sort(values, axis=0)
    place = (values > ordered[-1 - third]).astype(float) - (values < ordered[third])
    return inverse @ (place - place.mean(axis=0)) / unit


def normal_factors(
    rng: np.random.Generator, draws: int, rows: int, groups: Int[np.ndarray, "rows"] | None
) -> Float[np.ndarray, "draws rows"]:
    """Draw standard normal factors for each draw, one per row or group."""
    units = rows if groups is None else int(groups.max()) + 1
    factors = rng.standard_normal((draws, units))
    return factors if groups is None else factors[:, groups]


def _weighted_jacobian(
    problem: Problem, u: Float[np.ndarray, "params"]
) -> tuple[Float[np.ndarray, "rows moving"], Float[np.ndarray, "params"], np.ndarray]:
    """Return the weighted Jacobian with its columns at unit length, their lengths, and the square
    roots of the weights. Parameters at a bound, which no row affects, have length 0 and no
    column."""
    root = np.sqrt(problem.weights)
    jac = problem.differentiate(u[None], False).jacobian[0].T * root[:, None]
    size = np.sqrt((jac**2).sum(axis=0))
    return jac[:, size > 0] / size[size > 0], size, root


def stretch_residuals(
    problem: Problem,
    u: Float[np.ndarray, "params"],
    residual: Float[np.ndarray, "rows"],
    groups: Int[np.ndarray, "rows"] | None,
) -> Float[np.ndarray, "rows"]:
    """Return the residuals corrected for the leverage of their row or group."""
    jac, _, root = _weighted_jacobian(problem, u)
    q, _ = np.linalg.qr(jac)
    if groups is None:
        return residual / np.sqrt(np.maximum(1 - (q**2).sum(axis=1), MIN_RESIDUAL_SHARE**2))
    out = residual * root
    for g in np.unique(groups):
        own = groups == g
        left, size, _ = np.linalg.svd(q[own], full_matrices=False)
        more = 1 / np.sqrt(np.maximum(1 - size**2, MIN_RESIDUAL_SHARE**2)) - 1
        out[own] += left @ (more * (left.T @ out[own]))
    return out / np.where(root > 0, root, 1.0)


def measure_influence(
    problem: Problem,
    u: Float[np.ndarray, "params"],
    stretched: Float[np.ndarray, "rows"],
    groups: Int[np.ndarray, "rows"] | None,
) -> Float[np.ndarray, "params units"]:
    """Return how much each row, or group, moves each coordinate; zero for parameters at a bound."""
    jac, size, root = _weighted_jacobian(problem, u)
    influence = np.zeros((len(size), len(stretched)))
    influence[size > 0] = np.linalg.pinv(jac) / size[size > 0, None] * (stretched * root)
    if groups is None:
        return influence
    return np.stack([influence[:, groups == g].sum(axis=1) for g in np.unique(groups)], axis=1)
