"""Variance components: how far runs lie from the law, and evaluations from their run.

The residual of evaluation j of run i is r_ij = x_ij'd + b_i + e_ij, where x_ij is the row of the
Jacobian at the fit, d the error of the fit, b_i has variance ``run`` and e_ij has variance
``evaluation``. Both variances are estimated by restricted maximum likelihood (Patterson & Thompson
1971), which subtracts the degrees of freedom of the parameters from the component that they were
fitted to, whatever the number of evaluations of each run. With k = run/evaluation and u_i = 1/(1 +
k n_i), the inverse covariance of a run is (I - (1 - u_i)/n_i 11')/evaluation, so that all sums need
the sums of each run alone. Residuals beyond ``CLIP_AT`` robust standard deviations are first
clipped there, so that a run that went wrong does not decide the variance of the others.

A new measurement has the sum of both variances, with Satterthwaite's degrees of freedom 2
v^2/Var(v) (Satterthwaite 1946), where Var comes from the information matrix.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from kleiber.errors import BadTable
from kleiber.fitting.engine.problem import Problem, residuals
from kleiber.fitting.spread.intervals import Interval
from kleiber.plain import from_plain

CLIP_AT = 5.0  # robust standard deviations
RANK_TOLERANCE = 1e-9  # relative singular value below which a direction of the Jacobian is none
REPEAT_TOLERANCE = 1e-9  # relative difference of a run's evaluations that is none
MIN_INFORMATION = 1e-8  # share of the information below which there is none
MIN_TAIL = 5  # residuals that must lie beyond a quantile for the residuals themselves to give it
RATIO_RANGE = (-8.0, 8.0)  # log10 of the ratios of variances looked at
DOCUMENT_NAMES = {  # of fields whose names in documents are shorter
    "degrees_of_freedom": "freedom",
    "run_degrees_of_freedom": "run_freedom",
    "evaluation_degrees_of_freedom": "evaluation_freedom",
}
GRID_POINTS, GRID_ROUNDS = 33, 4  # of the grid over them, and how often it closes in


@dataclass(frozen=True)
class VarianceComponents:
    """Variances on the scale of the residuals, each with its degrees of freedom.

    ``run`` is None where rows are not grouped or no run was evaluated twice: ``evaluation`` is then
    the variance of a row. ``degrees_of_freedom`` belongs to their sum; it is 0 if there are as many
    parameters as runs, and then the variance of a run about the law is unknown.
    """

    run: float | None
    evaluation: float
    degrees_of_freedom: float
    run_degrees_of_freedom: float
    evaluation_degrees_of_freedom: float

    @property
    def total(self) -> float:
        """The variance of one evaluation of a new run."""
        return self.evaluation + (self.run or 0.0)


def measure_components(
    problem: Problem, u: Float[np.ndarray, "params"], groups: Int[np.ndarray, "rows"] | None
) -> VarianceComponents | None:
    """Estimate the variance components of a fit's residuals, or return None if residuals or
    derivatives are not finite. Rows of weight zero are ignored and all others count alike."""
    counted = problem.weights > 0
    residual = residuals(problem, u[None])[0][counted]
    jacobian = problem.differentiate(u[None], False).jacobian[0].T[counted]
    if not (np.isfinite(residual).all() and np.isfinite(jacobian).all()):
        return None
    return estimate_components(residual, jacobian, None if groups is None else groups[counted])


def estimate_components(
    residual: Float[np.ndarray, "rows"],
    jacobian: Float[np.ndarray, "rows params"],
    groups: Int[np.ndarray, "rows"] | None,
) -> VarianceComponents:
    """Estimate the variance components of residuals, given the Jacobian of the fit."""
    basis = _orthonormal(jacobian)
    if groups is None:
        return _one_component(_clip(residual, basis.shape[1]), basis)
    group = np.unique(groups, return_inverse=True)[1]
    count = np.bincount(group)
    clipped = _clip_groups(residual, group, basis.shape[1])
    means = _sum_groups(clipped, group) / count
    if np.abs(clipped - means[group]).max() <= REPEAT_TOLERANCE * np.abs(residual).max(initial=0.0):
        averaged = _sum_groups(jacobian, group) / count[:, None]
        return _one_component(means, _orthonormal(averaged))
    return _two_components(_collect_statistics(clipped, basis, group))


def _one_component(r: np.ndarray, basis: np.ndarray) -> VarianceComponents:
    """Estimate the residual variance of rows that are runs of their own."""
    dof = len(r) - basis.shape[1]
    remaining = r - basis @ (basis.T @ r)
    size = float(remaining @ remaining) / dof if dof > 0 else math.nan
    return VarianceComponents(None, size, float(max(dof, 0)), 0.0, float(max(dof, 0)))


def _orthonormal(jacobian: Float[np.ndarray, "rows params"]) -> Float[np.ndarray, "rows rank"]:
    """Return an orthonormal basis of the Jacobian's columns."""
    size = np.sqrt((jacobian**2).sum(axis=0))
    moving = jacobian[:, size > 0] / size[size > 0]
    remaining, spread, _ = np.linalg.svd(moving, full_matrices=False)
    return remaining[:, spread > RANK_TOLERANCE * spread.max(initial=0.0)]


def _sum_groups(values: np.ndarray, group: Int[np.ndarray, "rows"]) -> np.ndarray:
    """Return the sums over the rows of each group."""
    out = np.zeros((int(group.max()) + 1, *values.shape[1:]))
    np.add.at(out, group, values)
    return out


def _clip_groups(r: np.ndarray, group: Int[np.ndarray, "rows"], n_fitted: int) -> np.ndarray:
    """Clip group medians, and rows about their group's median, at ``CLIP_AT`` robust deviations."""
    order = np.argsort(group, kind="stable")
    parts = np.split(r[order], np.cumsum(np.bincount(group))[:-1])
    centre = np.array([np.median(part) for part in parts])
    within = r - centre[group]
    within_clipped = _clip(within, len(centre) + n_fitted)
    return _clip(centre, n_fitted)[group] + within_clipped


def _clip(x: np.ndarray, n_fitted: int) -> np.ndarray:
    """Clip values at ``CLIP_AT`` times 1.4826 the median size, computed without the ``n_fitted``
    smallest, which a fit that passes through that many rows makes too small (DuMouchel & O'Brien
    1989)."""
    size = np.sort(np.abs(x))[n_fitted:]
    limit = CLIP_AT * 1.4826 * float(np.median(size)) if len(size) > 1 else 0.0
    return np.clip(x, -limit, limit) if limit > 0 else x


@dataclass(frozen=True)
class _Statistics:
    """Sufficient statistics of the restricted likelihood for every ratio of the variances: the
    number of rows and parameters, the size of each run, the sums of squares and products of
    residuals and basis, and the sums of both over each run."""

    rows: int
    rank: int
    count: Float[np.ndarray, "runs"]
    square: float
    product: Float[np.ndarray, "rank"]
    residual: Float[np.ndarray, "runs"]
    basis: Float[np.ndarray, "runs rank"]

    @property
    def outer(self) -> Float[np.ndarray, "runs squared"]:
        """Outer products of each run's sums of the basis, flattened."""
        return (self.basis[:, :, None] * self.basis[:, None, :]).reshape(len(self.count), -1)

    @property
    def dof(self) -> int:
        """The number of rows beyond the parameters."""
        return self.rows - self.rank


def _collect_statistics(
    r: np.ndarray, basis: np.ndarray, group: Int[np.ndarray, "rows"]
) -> _Statistics:
    count = np.bincount(group).astype(float)
    group_residuals, group_basis = _sum_groups(r, group), _sum_groups(basis, group)
    rows, rank = basis.shape
    return _Statistics(rows, rank, count, float(r @ r), basis.T @ r, group_residuals, group_basis)


def _two_components(sums: _Statistics) -> VarianceComponents:
    if sums.dof <= 0:
        return VarianceComponents(0.0, math.nan, 0.0, 0.0, 0.0)
    ratio = _best_ratio(sums)
    size = float(_restricted(sums, np.array([ratio]))[1][0]) / sums.dof
    found = _information(sums, ratio)
    whole = (sums.count / (1 + ratio * sums.count)) ** 2  # what a run tells before parameters
    correlation = found[0, 1] ** 2 / max(found[0, 0] * found[1, 1], 1e-300)
    if (
        found[0, 0] <= MIN_INFORMATION * whole.sum() / 2
        or found[1, 1] <= 0
        or correlation >= 1 - MIN_INFORMATION
    ):
        return VarianceComponents(None, size, 0.0, 0.0, 0.0)
    spread = np.linalg.inv(found)  # covariance of both, in units of the evaluation's variance
    total = 2 * (1 + ratio) ** 2 / float(spread.sum())
    run, one = 2 * ratio**2 / float(spread[0, 0]), 2 / float(spread[1, 1])
    if not total >= 1:
        return VarianceComponents(None, size, 0.0, 0.0, one)
    return VarianceComponents(ratio * size, size, total, run, one)


def _best_ratio(sums: _Statistics) -> float:
    """Return the ratio of the variances with the largest restricted likelihood, which may be 0."""
    (low, high), best = RATIO_RANGE, 0.0
    for _ in range(GRID_ROUNDS):
        grid = np.linspace(low, high, GRID_POINTS)
        value = _restricted(sums, 10.0**grid)[0]
        best, step = float(grid[int(np.argmin(value))]), (high - low) / (GRID_POINTS - 1)
        low, high = max(best - step, RATIO_RANGE[0]), min(best + step, RATIO_RANGE[1])
    found = np.array([0.0, 10.0**best])
    return float(found[int(np.argmin(_restricted(sums, found)[0]))])


def _restricted(
    sums: _Statistics, ratio: Float[np.ndarray, "ratios"]
) -> tuple[Float[np.ndarray, "ratios"], Float[np.ndarray, "ratios"]]:
    """Return -2 log of the restricted likelihood with the scale maximised out (up to a constant),
    and the generalised sum of squares that remains."""
    inflated = 1 + ratio[:, None] * sums.count
    share = ratio[:, None] / inflated  # (1 - u_i)/n_i
    matrix = np.eye(sums.rank) - (share @ sums.outer).reshape(-1, sums.rank, sums.rank)
    vector = sums.product - (share * sums.residual) @ sums.basis
    solved = np.linalg.solve(matrix, vector[:, :, None])[:, :, 0]
    remaining = sums.square - share @ sums.residual**2 - (vector * solved).sum(axis=1)
    remaining = np.maximum(remaining, 1e-300)
    volume = np.linalg.slogdet(matrix)[1]
    return np.log(inflated).sum(axis=1) + volume + sums.dof * np.log(remaining), remaining


def _information(sums: _Statistics, ratio: float) -> Float[np.ndarray, "2 2"]:
    """Return the information matrix of (run, evaluation) in units of the evaluation's variance:
    half the traces of P V_j P V_k (Searle, Casella & McCulloch 1992, section 6.6)."""
    n, rank = sums.count, sums.rank
    u, outer = 1 / (1 + ratio * n), sums.outer

    def moment(power: int, runs: int) -> np.ndarray:
        """Return X' V^-power V_run^runs X."""
        along = u**power * n**runs - (runs == 0)
        return np.eye(rank) * (runs == 0) + (along / n @ outer).reshape(rank, rank)

    inverse = np.linalg.inv(moment(1, 0))
    out = np.empty((2, 2))
    for j in range(2):
        for k in range(2):
            runs = (j == 0) + (k == 0)
            whole = float((u**2 * n**runs).sum()) + (sums.rows - len(n)) * (runs == 0)
            once = float(np.trace(inverse @ moment(3, runs)))
            twice = inverse @ moment(2, int(j == 0)) @ inverse @ moment(2, int(k == 0))
            out[j, k] = (whole - 2 * once + float(np.trace(twice))) / 2
    return out


def describe_components(components: VarianceComponents | None) -> dict[str, float | None] | None:
    """Return the document of variance components."""
    if components is None:
        return None
    return {
        DOCUMENT_NAMES.get(name, name): value
        for name, value in dataclasses.asdict(components).items()
    }


def read_components(given: Any) -> VarianceComponents | None:
    """Return the variance components of a document; raise BadTable for impossible variances."""
    if not given:
        return None
    fields = {name: field for field, name in DOCUMENT_NAMES.items()}
    made = from_plain(
        VarianceComponents, {fields.get(name, name): x for name, x in given.items()}, at="variance"
    )
    numbers = [x for x in dataclasses.astuple(made) if x is not None]
    if any(x < 0 or math.isinf(x) for x in numbers):
        raise BadTable("The variances of runs and evaluations must be finite and not negative.")
    return made


def standard_deviation_interval(
    variance: float, degrees_of_freedom: float, level: float
) -> Interval:
    """Return the interval of a standard deviation whose variance has the given degrees of freedom,
    from the quantiles of chi squared; (0, infinity) below one degree of freedom."""
    if not degrees_of_freedom >= 1 or not variance > 0:
        return Interval(0.0, math.inf)
    ends = special.chdtri(degrees_of_freedom, np.array([1 - level, 1 + level]) / 2)
    low, high = np.sqrt(variance * degrees_of_freedom / ends)
    return Interval(float(low), float(high))


def find_noise_margins(
    found: VarianceComponents | None,
    residuals: Float[np.ndarray, "rows"],
    independent: bool,
    dof: int,
    level: float,
) -> tuple[float, float]:
    """Return how far a new measurement may lie below and above the law of a fit; raise BadTable if
    that is unknown. With ``independent``, rows are runs of their own."""
    if found is None and not len(residuals):
        raise BadTable("This fit was saved without residuals, which a new run's interval needs.")
    if found is None and independent:  # saved by an earlier kleiber
        total = float((residuals**2).sum())
        found = VarianceComponents(None, total / max(dof, 1), dof, 0.0, dof)
    if found is None:
        raise BadTable(
            "This fit does not say how far runs, and their evaluations, lie from the law (an "
            "earlier kleiber saved it, or the law has no finite slope). Fit the table again."
        )
    return noise_margins(found, residuals if independent else None, level)


def noise_margins(
    components: VarianceComponents,
    residual: Float[np.ndarray, "rows"] | None,
    level: float,
) -> tuple[float, float]:
    """Return how far a new measurement may lie below and above the law, on the scale of the
    residuals.

    This is Student's quantile times the standard deviation. Where ``residual`` is given (rows that
    are runs of their own) and enough of them lie beyond each end, their own quantiles are used,
    widened for the fitted parameters. NaN below one degree of freedom.
    """
    if not components.degrees_of_freedom >= 1:
        return math.nan, math.nan
    rows = 0 if residual is None else len(residual)
    if (
        residual is not None
        and rows * (1 - level) / 2 >= MIN_TAIL
        and components.degrees_of_freedom > rows / 2
    ):
        scaled = residual * math.sqrt(rows / components.degrees_of_freedom)
        ends = np.quantile(scaled, [0.5 - level / 2, 0.5 + level / 2], method="weibull")
        return max(float(ends[1]), 0.0), max(-float(ends[0]), 0.0)
    t = float(special.stdtrit(components.degrees_of_freedom, 0.5 + level / 2))
    size = t * math.sqrt(components.total)
    return size, size


def widen_by_noise(
    value: Float[np.ndarray, "rows"],
    ends: tuple[Float[np.ndarray, "rows"], Float[np.ndarray, "rows"]],
    margins: tuple[float, float],
    *,
    log: bool,
) -> tuple[Float[np.ndarray, "rows"], Float[np.ndarray, "rows"]]:
    """Return the interval of a new measurement from that of the law's value, adding the distances
    of both in squares on the scale of the residuals.

    On the log scale an end that is not positive stays where it is.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (np.log(np.maximum(end, 0.0)) if log else end for end in ends)
        centre = np.clip(np.log(value) if log else value, low, high)
        lower = centre - np.hypot(centre - low, margins[0])
        upper = centre + np.hypot(high - centre, margins[1])
    if not log:
        return lower, upper
    with np.errstate(over="ignore"):
        made = np.exp(lower), np.exp(upper)
    out = [np.where(end > 0, new, end) for end, new in zip(ends, made, strict=True)]
    return out[0], out[1]
