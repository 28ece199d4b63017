"""The joint likelihood of groups whose coordinates are tied: one follows a curve of training.

The groups have the same problems, so their counts are not independent, and the sum of their
log-likelihoods is a composite likelihood (Varin, Reid and Firth 2011). Its maximum estimates the
same parameters, but its curvature J is not their precision: with K the covariance of the problems'
scores, each summed over the groups, the covariance is J^-1 K J^-1. A likelihood ratio of one
parameter is divided by the ratio of that variance to the one of J^-1 (Chandler and Bate 2007).

symbol    meaning
u         coordinates of each group's family
v         (parameters of the curve, other coordinates): what is fitted
z         logarithm of the column along which the groups lie, centred
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from kleiber.attempts.batch import Batch
from kleiber.attempts.family import Family, Score

Vector = Float[np.ndarray, "rows v"]  # parameters of a curve, then coordinates of the groups
STEP, CURVATURE_STEP = 1e-4, 1e-3  # of a curve's parameters, for its derivatives
SCORE_STEP = 1e-2  # of a coordinate, for the scores of the problems
TOLERANCE = 1e-4  # gain in log-likelihood at which a fit stops
LEAST_WEIGHT = 0.02  # of a likelihood ratio: that of groups that are copies of one another is 0
FLAT = 1e-4  # curvature that counts as none

Wide = Batch  # rows are tables: the cells of all groups of a series one after the other


@dataclass(frozen=True)
class Tie:
    """How v gives the coordinates of every group.

    Coordinate ``axis`` is ``mean``, a function of ``low`` to ``high`` parameters; the others are
    each group's own, or with ``shared`` the same for all groups. The mean is linear in all but its
    last ``nonlinear`` parameters.
    """

    name: str
    mean: Callable[[Vector], Float[np.ndarray, "rows groups"]]
    low: tuple[float, ...]
    high: tuple[float, ...]
    groups: int
    coordinates: int
    axis: int = 0
    shared: bool = False
    nonlinear: int = 0

    @property
    def others(self) -> list[int]:
        """The coordinates that do not follow the curve."""
        return [j for j in range(self.coordinates) if j != self.axis]

    def start(self, q: np.ndarray, u: Float[np.ndarray, "rows groups p"]) -> Vector:
        """Return v for parameters of the curve and coordinates of the groups."""
        own = u[..., self.others]
        own = np.median(own, axis=1) if self.shared else own.reshape(len(u), -1)
        return np.concatenate([np.broadcast_to(q, (len(u), len(self.low))), own], axis=1)

    def spread(self, v: Vector) -> Float[np.ndarray, "rows groups p"]:
        """Return the coordinates of the groups."""
        own = v[:, len(self.low) :]
        shape = (len(v), 1 if self.shared else self.groups, self.coordinates - 1)
        u = np.empty((len(v), self.groups, self.coordinates))
        u[..., self.others] = own.reshape(shape)
        u[..., self.axis] = self.mean(v[:, : len(self.low)])
        return u

    def jacobian(self, v: Vector) -> Float[np.ndarray, "rows groups p v"]:
        """Return the derivatives of the groups' coordinates with respect to v."""
        free, rest = len(self.low), self.coordinates - 1
        out = np.zeros((len(v), self.groups, self.coordinates, v.shape[1]))
        for j in range(free):
            step = STEP * np.eye(free)[j]
            ends = [self.mean(v[:, :free] + sign * step) for sign in (1, -1)]
            out[:, :, self.axis, j] = (ends[0] - ends[1]) / (2 * STEP)
        for g in range(self.groups):
            first = free + (0 if self.shared else g * rest)
            for place, j in enumerate(self.others):
                out[:, g, j, first + place] = 1.0
        return out

    def curvature(self, v: Vector) -> Float[np.ndarray, "rows groups nonlinear nonlinear"]:
        """Return the second derivatives of the mean with respect to its last parameters."""
        free = len(self.low)
        q, step = v[:, :free], CURVATURE_STEP * np.eye(free)[free - self.nonlinear :]
        out = np.empty((len(v), self.groups, self.nonlinear, self.nonlinear))
        for i in range(self.nonlinear):
            for j in range(i + 1):
                corners = [
                    sign * self.mean(q + one * step[i] + other * step[j])
                    for sign, one, other in ((1, 1, 1), (-1, 1, -1), (-1, -1, 1), (1, -1, -1))
                ]
                out[..., i, j] = out[..., j, i] = sum(corners) / (4 * CURVATURE_STEP**2)
        return out


def widen(batch: Batch, groups: int) -> Wide:
    """Return the groups of each table, which follow one another, as one row."""

    def rows(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(batch) // groups, -1)

    return Batch(
        rows(batch.attempts), rows(batch.successes), rows(batch.weights), rows(batch.pair_index),
        batch.pairs,
    )  # fmt: skip


def _narrow(wide: Wide, groups: int) -> Batch:
    def rows(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(wide) * groups, -1)

    return Batch(
        rows(wide.attempts), rows(wide.successes), rows(wide.weights), rows(wide.pair_index),
        wide.pairs,
    )  # fmt: skip


def tie_groups(family: Family, tie: Tie) -> Family:
    """Return the joint log-likelihood of tied groups as a family of wide batches."""
    low, high = np.array(family.low), np.array(family.high)
    times = 1 if tie.shared else tie.groups

    def spread(v: Vector) -> np.ndarray:
        return np.clip(tie.spread(v), low, high).reshape(-1, tie.coordinates)

    def value(v: Vector, wide: Wide) -> np.ndarray:
        each = family.value(spread(v), _narrow(wide, tie.groups))
        return each.reshape(len(v), tie.groups).sum(1)

    def score(v: Vector, wide: Wide) -> Score:
        shape = (len(v), tie.groups)
        at = family.score(spread(v), _narrow(wide, tie.groups))
        jacobian = tie.jacobian(v)
        gradient = at.gradient.reshape(*shape, -1)
        hessian = at.hessian.reshape(*shape, tie.coordinates, tie.coordinates)
        flat = (len(v), -1, v.shape[1])
        turned = np.matmul(hessian, jacobian).reshape(flat)
        curvature = np.matmul(jacobian.reshape(flat).transpose(0, 2, 1), turned)
        if tie.nonlinear:
            last = slice(len(tie.low) - tie.nonlinear, len(tie.low))
            own = np.einsum("rg,rgij->rij", gradient[..., tie.axis], tie.curvature(v))
            curvature[:, last, last] += own
        total = at.value.reshape(shape).sum(1)
        return Score(total, np.einsum("rgpv,rgp->rv", jacobian, gradient), curvature)

    return replace(
        family,
        name=tie.name,
        value=value,
        score=score,
        low=(*tie.low, *[family.low[j] for j in tie.others] * times),
        high=(*tie.high, *[family.high[j] for j in tie.others] * times),
        limits={},
        tolerance=max(family.tolerance, TOLERANCE),
    )


@dataclass(frozen=True)
class Sandwich:
    """The ``precision`` of the groups' curve coordinates by the curvature of the likelihood, the
    covariance ``spread`` of their scores over problems, and ``own``, the groups' own estimates of
    their coordinates by one Newton step from the curve (finite where the maximum is not)."""

    precision: Float[np.ndarray, "rows groups groups"]
    spread: Float[np.ndarray, "rows groups groups"]
    own: Float[np.ndarray, "rows groups"]

    @property
    def covariance(self) -> Float[np.ndarray, "rows groups groups"]:
        """Covariance of the groups' own estimates over problems."""
        naive = np.linalg.inv(self.precision)
        return naive @ self.spread @ naive

    def inflation(self, full: Directions, null: Directions) -> Inflation:
        """Return by how much the likelihood ratio of two nested curves is too large.

        ``full`` and ``null`` are the derivatives of the groups' coordinates with respect to the
        curves' parameters; a likelihood ratio is a sum of chi-squared variables with the weights
        that are the eigenvalues of what is computed here (Rao and Scott 1984).
        """
        turned = np.swapaxes(full, 1, 2)
        naive = invert(turned @ self.precision @ full)
        robust = naive @ turned @ self.spread @ full @ naive
        inside = np.linalg.pinv(full) @ null
        basis = np.linalg.qr(inside, mode="complete")[0][:, :, null.shape[2] :]
        dual = np.swapaxes(basis, 1, 2)
        weights = np.linalg.solve(dual @ naive @ basis, dual @ robust @ basis)
        count = weights.shape[2]
        mean = np.trace(weights, axis1=1, axis2=2) / count
        square = np.trace(weights @ weights, axis1=1, axis2=2) / count
        equal = mean**2 / np.maximum(square, 1e-300)
        return Inflation(np.maximum(mean, LEAST_WEIGHT), count * np.clip(equal, 1 / count, 1.0))


Directions = Float[np.ndarray, "rows groups _"]


@dataclass(frozen=True)
class Inflation:
    """The mean weight of the chi-squared variables of a likelihood ratio, and the number of equal
    weights that have the same spread (Satterthwaite)."""

    mean: Float[np.ndarray, "rows"]
    count: Float[np.ndarray, "rows"]


def sandwich(
    family: Family,
    tie: Tie,
    v: Vector,
    wide: Wide,
    places: Int[np.ndarray, "rows groups problems"],
) -> Sandwich:
    """Return the two halves of the covariance of the groups' curve coordinates at v, where ``tie``
    has one parameter a group.

    ``places`` are the cells of the problems within their groups, -1 for a problem that a group does
    not have.
    """
    covariance = invert(-tie_groups(family, tie).score(v, wide).hessian)
    scores = problem_scores(family, tie, v, wide, places)
    problems = (places >= 0).any(1).sum(1)
    correction = problems / np.maximum(problems - tie.coordinates, 1)
    spread = np.matmul(scores.transpose(0, 2, 1), scores) * correction[:, None, None]
    part = slice(tie.groups)
    precision = np.linalg.inv(covariance[:, part, part])
    robust = (covariance @ spread @ covariance)[:, part, part]
    step = (covariance @ scores.sum(1)[:, :, None])[:, part, 0]
    return Sandwich(precision, precision @ robust @ precision, v[:, part] + step)


def invert(precision: Float[np.ndarray, "rows v v"]) -> Float[np.ndarray, "rows v v"]:
    """Return the inverses of symmetric matrices; directions without curvature have none."""
    values, vectors = np.linalg.eigh(precision)
    return np.einsum("rvi,ri,rwi->rvw", vectors, 1 / np.maximum(values, FLAT), vectors)


def problem_scores(
    family: Family,
    tie: Tie,
    v: Vector,
    wide: Wide,
    places: Int[np.ndarray, "rows groups problems"],
) -> Float[np.ndarray, "rows problems v"]:
    """Return the derivative of each problem's log-likelihood, summed over its groups."""
    assert family.cells is not None
    rows, groups, p = len(v), tie.groups, tie.coordinates
    batch, u = _narrow(wide, groups), tie.spread(v).reshape(rows * groups, p)
    u = np.clip(u, np.array(family.low) + SCORE_STEP, np.array(family.high) - SCORE_STEP)
    each = np.empty((*places.shape, p))
    for j in range(p):
        ends = [family.cells(u + sign * SCORE_STEP * np.eye(p)[j], batch) for sign in (1, -1)]
        slope = ((ends[0] - ends[1]) / (2 * SCORE_STEP)).reshape(rows, groups, -1)
        each[..., j] = np.take_along_axis(slope, np.maximum(places, 0), axis=2)
    each[places < 0] = 0.0
    return np.einsum("rgmp,rgpv->rmv", each, tie.jacobian(v), optimize=True)
