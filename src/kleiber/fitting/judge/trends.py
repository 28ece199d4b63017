"""Whether residuals depend on a column: F tests in the law's tangent.

A fitted law misses its table where the residuals r go with something: a variable of the law (a
bend that it cannot follow), another column (a recipe, a learning rate), its own prediction. For a
column x the rows' residuals are regressed on the law's Jacobian J and shapes Z of x,

    r = J d + Z g + noise,   F = (|P_Z r|^2 / q) / (|r - P_J r - P_Z r|^2 / (n - p - q)),

where P_Z projects on what Z adds to J, of q dimensions. As Z is taken orthogonal to J, what the
fit did to the residuals cancels to first order, for any noise model whose estimates are consistent
(Neyman 1959, C(alpha) tests). Two sets of shapes are tried: a line and a parabola in the ranks of
x, and a curve with more freedom (the means of few distinct values, else Legendre polynomials of
the ranks), so that a hump or a second descent is seen though it leaves no line. A third test asks
whether neighbours along x have residuals that are alike.

Outliers are tamed: d is first a Huber estimate of location in the tangent (width 1.5 robust
standard deviations), and residuals beyond 2 of them count as 2 (a robust score test: Ronchetti
1982). Where rows come in groups that share their noise (the evaluations of a run), F is compared
with its values after whole groups' residuals changed sign at random (the wild bootstrap by
clusters: Cameron, Gelbach & Miller 2008), or, with few groups, after each group's mean was taken
off.

Of several columns the smallest p-value is the smallest of many: all are corrected for the number
of tests (Sidak 1967), those by random signs for the joint distribution (Westfall & Young 1993).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from kleiber.maths.seeds import stream

WIDTH, MOST = 1.5, 2.0  # Huber width of the tangent's fit, and the largest residual that counts
MAD = 1.4826  # robust standard deviation of a normal variable, over its median size
FLIPS = 3999  # changes of sign
SIGNED = 8  # groups from which signs are changed: fewer have too few patterns of signs
DEGREES = (3, 7)  # degrees of the freer curve, at least and at most
MANY = 8  # distinct values from which neighbours along a column are compared
LEVELS = 12  # at most so many distinct values are given a mean each
SINGULAR = 1e-8  # relative size of a direction of the Jacobian that is none
SHORT = 0.1  # length, of 1, that a shape must keep beside the Jacobian to be looked for


@dataclass(frozen=True, eq=False)
class Tangent:
    """Residuals refitted in the tangent of the law, in robust standard deviations ``scale``:
    ``raw`` as they are, ``tamed`` with large ones cut; ``basis`` spans the Jacobian. With
    ``groups`` the mean of each was taken off all of them."""

    raw: Float[np.ndarray, "rows"]
    tamed: Float[np.ndarray, "rows"]
    basis: Float[np.ndarray, "rows rank"]
    scale: float
    groups: Int[np.ndarray, "rows"] | None = None

    @property
    def spare(self) -> int:
        """Degrees of freedom left beside the law, and the means of groups."""
        means = 0 if self.groups is None else int(self.groups.max()) + 1
        return len(self.raw) - self.basis.shape[1] - means


def refit_tangent(
    residual: Float[np.ndarray, "rows"],
    jacobian: Float[np.ndarray, "rows free"],
    weights: Float[np.ndarray, "rows"],
    groups: Int[np.ndarray, "rows"] | None = None,
) -> Tangent | None:
    """The tangent of a fit; with ``groups``, each of them has a mean of its own too.

    None when no degree of freedom is left or the residuals of most rows are zero.
    """
    root = np.sqrt(weights)
    y, columns = residual * root, jacobian * root[:, None]
    if groups is not None:
        y, columns = take_means_off(y[:, None], groups)[:, 0], take_means_off(columns, groups)
    basis = orthonormal(columns, SINGULAR)
    spare = len(y) - basis.shape[1] - (0 if groups is None else int(groups.max()) + 1)
    if spare < 1:
        return None
    left = y - basis @ (basis.T @ y)
    scale = _scale(left, spare)
    for _ in range(50):
        if not scale > 0:
            return None
        weight = WIDTH / np.maximum(np.abs(left) / scale, WIDTH)
        gram = basis.T @ (basis * weight[:, None]) + 1e-12 * np.eye(basis.shape[1])
        new = y - basis @ np.linalg.solve(gram, basis.T @ (weight * y))
        moved = float(np.abs(new - left).max())
        left, scale = new, _scale(new, spare)
        if moved <= 1e-8 * scale:
            break
    if not scale > 0:
        return None
    raw = left / scale
    tamed = np.clip(raw, -MOST, MOST)
    if groups is not None:
        tamed = take_means_off(tamed[:, None], groups)[:, 0]
    return Tangent(raw, tamed, basis, scale, groups)


def take_means_off(
    columns: Float[np.ndarray, "rows width"], groups: Int[np.ndarray, "rows"] | None
) -> Float[np.ndarray, "rows width"]:
    """Columns less their mean, or less that of each group."""
    return columns - (
        columns.mean(axis=0) if groups is None else group_means(columns, groups)[groups]
    )


def group_means(
    columns: Float[np.ndarray, "rows width"], groups: Int[np.ndarray, "rows"]
) -> Float[np.ndarray, "groups width"]:
    """The mean of each column in each group."""
    sums = np.zeros((int(groups.max()) + 1, columns.shape[1]))
    np.add.at(sums, groups, columns)
    return sums / np.bincount(groups)[:, None]


def _scale(left: Float[np.ndarray, "rows"], spare: int) -> float:
    return MAD * float(np.median(np.abs(left))) * float(np.sqrt(len(left) / spare))


def orthonormal(
    columns: Float[np.ndarray, "rows width"], least: float
) -> Float[np.ndarray, "rows rank"]:
    """An orthonormal basis of the columns' span, directions shorter than ``least`` left out; the
    columns count at unit length."""
    size = np.sqrt((columns**2).sum(axis=0))
    kept = columns[:, size > 0] / size[size > 0]
    if not kept.shape[1]:
        return np.empty((len(columns), 0))
    left, length, _ = np.linalg.svd(kept, full_matrices=False)
    return left[:, length > least * length[0]]


def place(x: Float[np.ndarray, "rows"]) -> Float[np.ndarray, "rows"]:
    """Ranks of the values, equal ones sharing their mean, from -1 to 1."""
    _, which, count = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    rank = (last - (count - 1) / 2 - 0.5)[which]
    return 2 * rank / len(x) - 1


def shapes(
    x: Float[np.ndarray, "rows"], spare: int, *, ordered: bool = True
) -> list[Float[np.ndarray, "rows width"]]:
    """What residuals are compared with: a line and a parabola in the ranks, and a freer curve.

    A column that is not ``ordered`` (text) has the means of its values alone.
    """
    levels, which = np.unique(x, return_inverse=True)
    few = len(levels) <= min(LEVELS, max(2, spare // 2))
    means = np.eye(len(levels))[which][:, 1:] if few else None
    if not ordered:
        return [] if means is None else [means]
    t = place(x)
    simple = legendre(t, min(2, len(levels) - 1))
    if len(levels) <= 3:
        return [simple]
    most = min(len(levels) - 1, max(DEGREES[0], min(DEGREES[1], spare // 3)))
    return [simple, means if means is not None else legendre(t, most)]


def legendre(t: Float[np.ndarray, "rows"], degree: int) -> Float[np.ndarray, "rows width"]:
    """Legendre polynomials of degree 1 to ``degree``."""
    return np.polynomial.legendre.legvander(t, degree)[:, 1:]


def added(z: Float[np.ndarray, "rows width"], tangent: Tangent) -> Float[np.ndarray, "rows rank"]:
    """An orthonormal basis of what centred shapes add to the tangent."""
    z = take_means_off(z, tangent.groups)
    size = np.sqrt((z**2).sum(axis=0))
    z = z[:, size > 0] / size[size > 0]
    base = orthonormal(z, 1e-6)
    rest = base - tangent.basis @ (tangent.basis.T @ base)
    if not rest.shape[1]:
        return rest
    left, length, _ = np.linalg.svd(rest, full_matrices=False)
    return left[:, length > SHORT]


def f_probability(
    explained: Float[np.ndarray, "..."], total: Float[np.ndarray, "..."], q: int, rest: int
) -> Float[np.ndarray, "..."]:
    """The probability of a larger F, of q and ``rest`` degrees of freedom, of pure noise."""
    with np.errstate(all="ignore"):
        left = np.maximum(total - explained, 1e-300)
        ratio = (explained / q) / (left / rest)
    return np.asarray(special.fdtrc(q, rest, ratio), dtype=float)


@dataclass(frozen=True, eq=False)
class Question:
    """One column to test: its values, and whether their order means anything."""

    values: Float[np.ndarray, "rows"]
    ordered: bool = True


def try_columns(
    tangent: Tangent,
    columns: Mapping[str, Question],
    groups: Int[np.ndarray, "rows"] | None,
    seed: int,
) -> dict[str, float]:
    """The p-value of each column, corrected for the number of tests; columns that say nothing
    beside the law, or leave no degree of freedom, are left out. ``groups`` are the tangent's."""
    bases: list[tuple[str, np.ndarray]] = []
    for name, asked in columns.items():
        for z in shapes(asked.values, tangent.spare, ordered=asked.ordered):
            basis = added(z, tangent)
            if 0 < basis.shape[1] <= tangent.spare - 2:
                bases.append((name, basis))
    found: list[tuple[str, float]] = []
    if groups is not None and bases:
        signs = _by_signs(tangent, [basis for _, basis in bases], groups, seed)
        found = [(name, p) for (name, _), p in zip(bases, signs, strict=True)]
    elif bases:
        single = [(name, _by_theory(tangent, basis)) for name, basis in bases]
        for name, asked in columns.items():
            if asked.ordered and len(np.unique(asked.values)) >= MANY:
                single.append((name, neighbours(tangent, asked.values)))
        found = [(name, smallest_of(p, len(single))) for name, p in single]
    out: dict[str, float] = {}
    for name, p in found:
        out[name] = min(p, out.get(name, 1.0))
    return out


def _by_theory(tangent: Tangent, basis: Float[np.ndarray, "rows rank"]) -> float:
    total = (tangent.tamed**2).sum() - ((tangent.basis.T @ tangent.tamed) ** 2).sum()
    q, explained = basis.shape[1], ((basis.T @ tangent.tamed) ** 2).sum()
    return float(f_probability(np.asarray(explained), np.asarray(total), q, tangent.spare - q))


def neighbours(tangent: Tangent, x: Float[np.ndarray, "rows"]) -> float:
    """The p-value of residuals of neighbours along x being alike: the sum of their squared
    differences over that of their squares (von Neumann 1941), whose distribution on residuals of
    a fit is a beta distribution to two moments (Durbin & Watson 1971)."""
    order = np.argsort(x, kind="stable")
    q, e = tangent.basis[order], tangent.tamed[order]
    e = e - q @ (q.T @ e)
    n, k = len(e), tangent.spare
    jumps, bends = np.diff(q, axis=0), _difference(q)
    inner = jumps.T @ jumps
    first = 2 * (n - 1) - float(np.trace(inner))
    second = 6 * n - 8 - 2 * float((bends**2).sum()) + float((inner**2).sum())
    mean = first / k
    variance = 2 * (second - k * mean**2) / (k * (k + 2))
    ratio = float((np.diff(e) ** 2).sum() / max(float((e**2).sum()), 1e-300))
    m, v = mean / 4, variance / 16
    if not (0 < m < 1 and v > 0) or v >= m * (1 - m):
        return 1.0
    size = m * (1 - m) / v - 1
    return float(special.betainc(m * size, (1 - m) * size, min(max(ratio / 4, 0.0), 1.0)))


def _difference(q: Float[np.ndarray, "rows rank"]) -> Float[np.ndarray, "rows rank"]:
    """Twice each row less its neighbours: the matrix whose quadratic form sums squared jumps."""
    ahead = np.zeros_like(q)
    ahead[:-1] += q[:-1] - q[1:]
    ahead[1:] += q[1:] - q[:-1]
    return ahead


def smallest_of(p: float, tests: int) -> float:
    """The probability that the smallest of so many independent p-values is below ``p``."""
    return -float(np.expm1(tests * np.log1p(-min(p, 1 - 1e-16))))


def _by_signs(
    tangent: Tangent, bases: list[np.ndarray], groups: Int[np.ndarray, "rows"], seed: int
) -> list[float]:
    """p-values from random signs of whole groups, the smallest of all tests at a time."""
    count = int(groups.max()) + 1
    signs = np.where(stream(seed, "signs").random((FLIPS, count)) < 0.5, -1.0, 1.0)
    signs = np.concatenate([np.ones((1, count)), signs]).T

    def project(basis: np.ndarray) -> Float[np.ndarray, "flips"]:
        parts = np.zeros((count, basis.shape[1]))
        np.add.at(parts, groups, basis * tangent.tamed[:, None])
        return ((parts.T @ signs) ** 2).sum(axis=0)

    total = (tangent.tamed**2).sum() - project(tangent.basis)
    each = np.stack(
        [f_probability(project(b), total, b.shape[1], tangent.spare - b.shape[1]) for b in bases]
    )
    best = each[:, 1:].min(axis=0)
    return [float((1 + (best <= p).sum()) / (1 + FLIPS)) for p in each[:, 0]]
