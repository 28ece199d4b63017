"""Wild refits: what a table's own residuals say of its noise, row by row or group by group.

A wild table is the fitted values plus each residual, stretched for the leverage of its row (or
group) and times a random factor, one per row or group (Wu 1986). The stretch (I - H_gg)^(-1/2) r_g
(HC2 of MacKinnon & White 1985; CR2 of Bell & McCaffrey 2002) makes the draws' variance unbiased
where noise is even; H is the hat matrix of the law's tangent. Factors are normal: draws of a
quantity that few rows decide then keep the tails that Student's quantile is read in.

How many rows those are decides how well that variance is known. Row i moves the coordinates by
m_i = B_i r_i, with B the pseudo-inverse of the Jacobian, and a quantity of slope c by c'm_i. With
v_i = (c'm_i)^2 the effective number of rows is (sum v)^2 / sum v^2, a third of the degrees of
freedom for normal residuals in equal parts; ``FREEDOM`` times it is used (docs/coverage.md). Second
and fourth moments of m are all that any quantity needs of the rows (``Moments``).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement, permutations

import numpy as np
from jaxtyping import Float, Int

from kleiber.fitting.engine.problem import Problem

LEAST = 0.05  # smallest share of a residual that a row's own pull may leave
FREEDOM = 1.5  # degrees of freedom for each effective row or group
EXTREME = 0.01  # share of draws, at either end, that do not tell a quantity's slope


@dataclass(frozen=True)
class Moments:
    """What each row (or group) moves the coordinates by, up to what any quantity asks of it.

    The moves are ``root`` @ q with orthonormal rows of q, so that no digit is lost whatever the
    coordinates' units are; ``fourth`` are the sums of q_a q_b q_c q_d for a <= b <= c <= d.
    """

    root: Float[np.ndarray, "free rank"]
    fourth: Float[np.ndarray, "quads"]

    def fits(self, free: int) -> bool:
        """Whether these are the moments of so many coordinates."""
        size = self.root.shape
        return len(size) == 2 and size[0] == free and len(self.fourth) == len(_quads(size[1]))

    def freedom(
        self, slope: Float[np.ndarray, "free quantities"]
    ) -> Float[np.ndarray, "quantities"]:
        """Degrees of freedom that the variance of each quantity is known with; infinite where
        nothing moves it."""
        turned = self.root.T @ slope
        total, peaks = (turned**2).sum(axis=0), np.zeros(slope.shape[1])
        for value, at in zip(self.fourth, _quads(len(turned)), strict=True):
            peaks += value * len(set(permutations(at))) * turned[list(at)].prod(axis=0)
        known = (total > 0) & (peaks > 0)
        return np.where(known, FREEDOM * total**2 / np.where(known, peaks, 1.0), np.inf)


def _quads(width: int) -> list[tuple[int, ...]]:
    return list(combinations_with_replacement(range(width), 4))


def measure_moments(moves: Float[np.ndarray, "free units"]) -> Moments:
    """The moments of what each unit moves each coordinate by."""
    size = np.sqrt((moves**2).sum(axis=1, keepdims=True))
    size = np.where(size > 0, size, 1.0)
    left, spread, q = np.linalg.svd(moves / size, full_matrices=False)
    kept = spread > 1e-12 * max(spread.max(initial=0.0), 1e-12)
    q = q[kept]
    fourth = [float(q[list(at)].prod(axis=0).sum()) for at in _quads(len(q))]
    return Moments(size * left[:, kept] * spread[kept], np.array(fourth))


def slopes_of(
    values: Float[np.ndarray, "draws quantities"], drawn: Float[np.ndarray, "draws free"]
) -> Float[np.ndarray, "free quantities"]:
    """The direction in which each quantity changes with the coordinates, from draws of both.

    Whether a value is in the lowest third of the draws, the middle or the highest is regressed on
    the coordinates: for normal draws that finds the direction whatever rising function of it a
    quantity is (Brillinger 1982), and no draw that ran off counts for more than its place.
    """
    low, high = np.quantile(drawn, [EXTREME, 1 - EXTREME], axis=0, method="hazen")
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
    """Standard normal factors for each draw, one per row or group."""
    units = rows if groups is None else int(groups.max()) + 1
    factors = rng.standard_normal((draws, units))
    return factors if groups is None else factors[:, groups]


def _tangent(
    problem: Problem, u: Float[np.ndarray, "params"]
) -> tuple[Float[np.ndarray, "rows moving"], Float[np.ndarray, "params"], np.ndarray]:
    """The weighted Jacobian with its columns at unit length, their lengths, and the roots of the
    weights. Parameters at a bound, on which no row pulls, have length 0 and no column."""
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
    """Residuals stretched for what the fit took from them."""
    jac, _, root = _tangent(problem, u)
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


def find_moves(
    problem: Problem,
    u: Float[np.ndarray, "params"],
    stretched: Float[np.ndarray, "rows"],
    groups: Int[np.ndarray, "rows"] | None,
) -> Float[np.ndarray, "params units"]:
    """What each row, or group, moves each coordinate by; zero for parameters at a bound."""
    jac, size, root = _tangent(problem, u)
    moves = np.zeros((len(size), len(stretched)))
    moves[size > 0] = np.linalg.pinv(jac) / size[size > 0, None] * (stretched * root)
    if groups is None:
        return moves
    return np.stack([moves[:, groups == g].sum(axis=1) for g in np.unique(groups)], axis=1)
