"""Tests of whether residuals depend on a column: F tests in the law's tangent.

A fitted law misses its table if the residuals r depend on something: a variable of the law (a
curvature that it cannot follow), another column (a recipe, a learning rate), its own prediction.
For a column x the residuals are regressed on the law's Jacobian J and on functions Z of x,

    r = J d + Z g + noise,   F = (|P_Z r|^2 / q) / (|r - P_J r - P_Z r|^2 / (n - p - q)),

where P_Z projects on what Z adds to J, of q dimensions. As Z is taken orthogonal to J, the effect
of the fit on the residuals cancels to first order, for any noise model whose estimates are
consistent (Neyman 1959, C(alpha) tests). Two sets of regressors are tried: a line and a parabola in
the ranks of x, and a more flexible curve (the means of few distinct values, else Legendre
polynomials of the ranks), so that a hump or a second descent is found though it leaves no line. A
third test asks whether neighbours along x have similar residuals.

Outliers are clipped: d is first a Huber estimate of location in the tangent (width 1.5 robust
standard deviations), and residuals beyond 2 of them count as 2 (a robust score test: Ronchetti
1982). If rows come in groups that share their noise (the evaluations of a run), F is compared with
its values after whole groups' residuals changed sign at random (the wild cluster bootstrap:
Cameron, Gelbach & Miller 2008), or, with few groups, after the mean of each group was subtracted.

The smallest p-value of several columns is the smallest of many: all are corrected for the number of
tests (Sidak 1967), those from random signs by their joint distribution (Westfall & Young 1993).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from kleiber.maths.seeds import stream

HUBER_WIDTH, MAX_RESIDUAL = (
    1.5,
    2.0,
)  # Huber width of the tangent's fit, and the largest residual that counts
MAD = 1.4826  # robust standard deviation of a normal variable, over its median size
FLIPS = 3999  # changes of sign
MIN_SIGN_GROUPS = 8  # groups from which signs are changed: fewer have too few patterns of signs
DEGREE_RANGE = (3, 7)  # degrees of the freer curve, at least and at most
MIN_LEVELS_IN_ORDER = 8  # distinct values from which neighbours along a column are compared
MAX_MEANS = 12  # at most so many distinct values are given a mean each
RANK_TOLERANCE = 1e-8  # relative size of a direction of the Jacobian that is none
MIN_LENGTH = 0.1  # length, of 1, that a shape must keep beside the Jacobian to be looked for


@dataclass(frozen=True, eq=False)
class Tangent:
    """Residuals refitted in the tangent of the law, in robust standard deviations ``scale``:
    ``raw`` unchanged, ``clipped`` with large ones cut; ``basis`` spans the Jacobian. With
    ``groups`` the mean of each group was subtracted from all of them."""

    raw: Float[np.ndarray, "rows"]
    clipped: Float[np.ndarray, "rows"]
    basis: Float[np.ndarray, "rows rank"]
    scale: float
    groups: Int[np.ndarray, "rows"] | None = None

    @property
    def dof(self) -> int:
        """Degrees of freedom left beside the law and the means of groups."""
        means = 0 if self.groups is None else int(self.groups.max()) + 1
        return len(self.raw) - self.basis.shape[1] - means


def refit_tangent(
    residual: Float[np.ndarray, "rows"],
    jacobian: Float[np.ndarray, "rows free"],
    weights: Float[np.ndarray, "rows"],
    groups: Int[np.ndarray, "rows"] | None = None,
) -> Tangent | None:
    """Refit the residuals in the tangent of a fit; with ``groups``, each group also has a mean of
    its own.

    Return None if no degree of freedom is left or the residuals of most rows are zero.
    """
    root = np.sqrt(weights)
    y, columns = residual * root, jacobian * root[:, None]
    if groups is not None:
        y, columns = subtract_means(y[:, None], groups)[:, 0], subtract_means(columns, groups)
    basis = orthonormal_basis(columns, RANK_TOLERANCE)
    dof = len(y) - basis.shape[1] - (0 if groups is None else int(groups.max()) + 1)
    if dof < 1:
        return None
    remaining = y - basis @ (basis.T @ y)
    scale = _scale(remaining, dof)
    for _ in range(50):
        if not scale > 0:
            return None
        weight = HUBER_WIDTH / np.maximum(np.abs(remaining) / scale, HUBER_WIDTH)
        gram = basis.T @ (basis * weight[:, None]) + 1e-12 * np.eye(basis.shape[1])
        new = y - basis @ np.linalg.solve(gram, basis.T @ (weight * y))
        moved = float(np.abs(new - remaining).max())
        remaining, scale = new, _scale(new, dof)
        if moved <= 1e-8 * scale:
            break
    if not scale > 0:
        return None
    raw = remaining / scale
    clipped = np.clip(raw, -MAX_RESIDUAL, MAX_RESIDUAL)
    if groups is not None:
        clipped = subtract_means(clipped[:, None], groups)[:, 0]
    return Tangent(raw, clipped, basis, scale, groups)


def subtract_means(
    columns: Float[np.ndarray, "rows width"], groups: Int[np.ndarray, "rows"] | None
) -> Float[np.ndarray, "rows width"]:
    """Subtract from columns their mean, or the mean of each group."""
    return columns - (
        columns.mean(axis=0) if groups is None else group_means(columns, groups)[groups]
    )


def group_means(
    columns: Float[np.ndarray, "rows width"], groups: Int[np.ndarray, "rows"]
) -> Float[np.ndarray, "groups width"]:
    """Return the mean of each column in each group."""
    sums = np.zeros((int(groups.max()) + 1, columns.shape[1]))
    np.add.at(sums, groups, columns)
    return sums / np.bincount(groups)[:, None]


def _scale(remaining: Float[np.ndarray, "rows"], dof: int) -> float:
    return MAD * float(np.median(np.abs(remaining))) * float(np.sqrt(len(remaining) / dof))


def orthonormal_basis(
    columns: Float[np.ndarray, "rows width"], tolerance: float
) -> Float[np.ndarray, "rows rank"]:
    """Return an orthonormal basis of the columns' span, without directions shorter than
    ``tolerance``; the columns count at unit length."""
    size = np.sqrt((columns**2).sum(axis=0))
    scaled = columns[:, size > 0] / size[size > 0]
    if not scaled.shape[1]:
        return np.empty((len(columns), 0))
    remaining, length, _ = np.linalg.svd(scaled, full_matrices=False)
    return remaining[:, length > tolerance * length[0]]


def scaled_ranks(x: Float[np.ndarray, "rows"]) -> Float[np.ndarray, "rows"]:
    """Return the ranks of the values scaled to -1..1; ties share their mean rank."""
    _, which, count = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    rank = (last - (count - 1) / 2 - 0.5)[which]
    return 2 * rank / len(x) - 1


def make_regressors(
    x: Float[np.ndarray, "rows"], dof: int, *, ordered: bool = True
) -> list[Float[np.ndarray, "rows width"]]:
    """Return the regressors of a column: a line and a parabola in the ranks, and a more flexible
    curve.

    A column that is not ``ordered`` (text) has the means of its values alone.
    """
    levels, which = np.unique(x, return_inverse=True)
    few = len(levels) <= min(MAX_MEANS, max(2, dof // 2))
    means = np.eye(len(levels))[which][:, 1:] if few else None
    if not ordered:
        return [] if means is None else [means]
    t = scaled_ranks(x)
    simple = legendre(t, min(2, len(levels) - 1))
    if len(levels) <= 3:
        return [simple]
    most = min(len(levels) - 1, max(DEGREE_RANGE[0], min(DEGREE_RANGE[1], dof // 3)))
    return [simple, means if means is not None else legendre(t, most)]


def legendre(t: Float[np.ndarray, "rows"], degree: int) -> Float[np.ndarray, "rows width"]:
    """Return the Legendre polynomials of degree 1 to ``degree``."""
    return np.polynomial.legendre.legvander(t, degree)[:, 1:]


def added_basis(
    z: Float[np.ndarray, "rows width"], tangent: Tangent
) -> Float[np.ndarray, "rows rank"]:
    """Return an orthonormal basis of what centred regressors add to the tangent."""
    z = subtract_means(z, tangent.groups)
    size = np.sqrt((z**2).sum(axis=0))
    z = z[:, size > 0] / size[size > 0]
    base = orthonormal_basis(z, 1e-6)
    rest = base - tangent.basis @ (tangent.basis.T @ base)
    if not rest.shape[1]:
        return rest
    remaining, length, _ = np.linalg.svd(rest, full_matrices=False)
    return remaining[:, length > MIN_LENGTH]


def f_probability(
    explained: Float[np.ndarray, "..."], total: Float[np.ndarray, "..."], q: int, rest: int
) -> Float[np.ndarray, "..."]:
    """Return the probability of a larger F with q and ``rest`` degrees of freedom under pure
    noise."""
    with np.errstate(all="ignore"):
        remaining = np.maximum(total - explained, 1e-300)
        ratio = (explained / q) / (remaining / rest)
    return np.asarray(special.fdtrc(q, rest, ratio), dtype=float)


@dataclass(frozen=True, eq=False)
class ColumnValues:
    """The values of a column to test, and whether their order has a meaning."""

    values: Float[np.ndarray, "rows"]
    ordered: bool = True


def compute_p_values(
    tangent: Tangent,
    columns: Mapping[str, ColumnValues],
    groups: Int[np.ndarray, "rows"] | None,
    seed: int,
) -> dict[str, float]:
    """Return the p-value of each column, corrected for the number of tests; columns that add
    nothing to the law, or leave no degree of freedom, are left out. ``groups`` are those of the
    tangent."""
    bases: list[tuple[str, np.ndarray]] = []
    for name, column in columns.items():
        for z in make_regressors(column.values, tangent.dof, ordered=column.ordered):
            basis = added_basis(z, tangent)
            if 0 < basis.shape[1] <= tangent.dof - 2:
                bases.append((name, basis))
    found: list[tuple[str, float]] = []
    if groups is not None and bases:
        signs = _sign_flip_p_values(tangent, [basis for _, basis in bases], groups, seed)
        found = [(name, p) for (name, _), p in zip(bases, signs, strict=True)]
    elif bases:
        single = [(name, _f_test(tangent, basis)) for name, basis in bases]
        for name, column in columns.items():
            if column.ordered and len(np.unique(column.values)) >= MIN_LEVELS_IN_ORDER:
                single.append((name, neighbour_p_value(tangent, column.values)))
        found = [(name, sidak_correct(p, len(single))) for name, p in single]
    out: dict[str, float] = {}
    for name, p in found:
        out[name] = min(p, out.get(name, 1.0))
    return out


def _f_test(tangent: Tangent, basis: Float[np.ndarray, "rows rank"]) -> float:
    total = (tangent.clipped**2).sum() - ((tangent.basis.T @ tangent.clipped) ** 2).sum()
    q, explained = basis.shape[1], ((basis.T @ tangent.clipped) ** 2).sum()
    return float(f_probability(np.asarray(explained), np.asarray(total), q, tangent.dof - q))


def neighbour_p_value(tangent: Tangent, x: Float[np.ndarray, "rows"]) -> float:
    """Return the p-value of similar residuals between neighbours along x: the sum of their squared
    differences over that of their squares (von Neumann 1941), whose distribution on residuals of a
    fit is a beta distribution to two moments (Durbin & Watson 1971)."""
    order = np.argsort(x, kind="stable")
    q, e = tangent.basis[order], tangent.clipped[order]
    e = e - q @ (q.T @ e)
    n, k = len(e), tangent.dof
    jumps, second_differences = np.diff(q, axis=0), _second_difference(q)
    inner = jumps.T @ jumps
    first = 2 * (n - 1) - float(np.trace(inner))
    second = 6 * n - 8 - 2 * float((second_differences**2).sum()) + float((inner**2).sum())
    mean = first / k
    variance = 2 * (second - k * mean**2) / (k * (k + 2))
    ratio = float((np.diff(e) ** 2).sum() / max(float((e**2).sum()), 1e-300))
    m, v = mean / 4, variance / 16
    if not (0 < m < 1 and v > 0) or v >= m * (1 - m):
        return 1.0
    size = m * (1 - m) / v - 1
    return float(special.betainc(m * size, (1 - m) * size, min(max(ratio / 4, 0.0), 1.0)))


def _second_difference(q: Float[np.ndarray, "rows rank"]) -> Float[np.ndarray, "rows rank"]:
    """Return twice each row minus its neighbours, the matrix whose quadratic form is the sum of
    squared differences."""
    ahead = np.zeros_like(q)
    ahead[:-1] += q[:-1] - q[1:]
    ahead[1:] += q[1:] - q[:-1]
    return ahead


def sidak_correct(p: float, tests: int) -> float:
    """Return the probability that the smallest of so many independent p-values is below ``p``."""
    return -float(np.expm1(tests * np.log1p(-min(p, 1 - 1e-16))))


def _sign_flip_p_values(
    tangent: Tangent, bases: list[np.ndarray], groups: Int[np.ndarray, "rows"], seed: int
) -> list[float]:
    """Return p-values from random signs of whole groups, corrected for all tests together."""
    count = int(groups.max()) + 1
    signs = np.where(stream(seed, "signs").random((FLIPS, count)) < 0.5, -1.0, 1.0)
    signs = np.concatenate([np.ones((1, count)), signs]).T

    def project(basis: np.ndarray) -> Float[np.ndarray, "flips"]:
        parts = np.zeros((count, basis.shape[1]))
        np.add.at(parts, groups, basis * tangent.clipped[:, None])
        return ((parts.T @ signs) ** 2).sum(axis=0)

    total = (tangent.clipped**2).sum() - project(tangent.basis)
    each = np.stack(
        [f_probability(project(b), total, b.shape[1], tangent.dof - b.shape[1]) for b in bases]
    )
    best = each[:, 1:].min(axis=0)
    return [float((1 + (best <= p).sum()) / (1 + FLIPS)) for p in each[:, 0]]
