"""Variance components: how far runs lie from the law, and evaluations from their run.

The residual of evaluation j of run i is r_ij = x_ij'd + b_i + e_ij, with x_ij the row of the
Jacobian at the fit, d what the fit missed, b_i of variance ``run`` and e_ij of variance
``evaluation``. Both are estimated by restricted maximum likelihood (Patterson & Thompson 1971),
which takes the degrees of freedom of the parameters from the component that they were fitted to,
whatever the number of evaluations of each run. With k = run/evaluation and
u_i = 1/(1 + k n_i), the inverse covariance of a run is (I - (1 - u_i)/n_i 11')/evaluation, so that
all sums need the sums of each run alone. Residuals beyond ``CLIP`` robust standard deviations are
drawn in to there first: a run that went wrong is no measure of the others.

A further measurement has the variance of their sum, known with Satterthwaite's degrees of freedom
2 v^2/Var(v) (Satterthwaite 1946), Var from the information matrix.
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

CLIP = 5.0  # robust standard deviations
RANK = 1e-9  # relative singular value below which a direction of the Jacobian is none
REPEAT = 1e-9  # relative difference of a run's evaluations that is none
LITTLE = 1e-8  # share of the information below which there is none
TAIL = 5  # residuals that must lie beyond a quantile for the residuals themselves to give it
RATIOS = (-8.0, 8.0)  # log10 of the ratios of variances looked at
KEYS = ("run", "evaluation", "freedom", "run_freedom", "evaluation_freedom")
POINTS, ROUNDS = 33, 4  # of the grid over them, and how often it closes in


@dataclass(frozen=True)
class VarianceComponents:
    """Variances on the scale of the residuals, each with its degrees of freedom.

    ``run`` is None where rows are not grouped, or no run was evaluated twice: ``evaluation`` is
    then the variance of a row. ``freedom`` is that of their sum; where it is 0 (as many parameters
    as runs) nothing tells how far a run may lie from the law.
    """

    run: float | None
    evaluation: float
    freedom: float
    run_freedom: float
    evaluation_freedom: float

    @property
    def total(self) -> float:
        """Variance of one further evaluation of one further run."""
        return self.evaluation + (self.run or 0.0)


def measure_components(
    problem: Problem, u: Float[np.ndarray, "params"], groups: Int[np.ndarray, "rows"] | None
) -> VarianceComponents | None:
    """The variance components of a fit's residuals; None where residuals or slopes are not finite.
    Rows of weight zero do not count, the others all alike."""
    kept = problem.weights > 0
    residual = residuals(problem, u[None])[0][kept]
    slopes = problem.differentiate(u[None], False).jacobian[0].T[kept]
    if not (np.isfinite(residual).all() and np.isfinite(slopes).all()):
        return None
    return split_variance(residual, slopes, None if groups is None else groups[kept])


def split_variance(
    residual: Float[np.ndarray, "rows"],
    slopes: Float[np.ndarray, "rows params"],
    groups: Int[np.ndarray, "rows"] | None,
) -> VarianceComponents:
    """The variance components of residuals, given the Jacobian of the fit that left them."""
    basis = _orthonormal(slopes)
    if groups is None:
        return _one_component(_clip(residual, basis.shape[1]), basis)
    number = np.unique(groups, return_inverse=True)[1]
    count = np.bincount(number)
    clipped = _clip_groups(residual, number, basis.shape[1])
    means = _sums(clipped, number) / count
    if np.abs(clipped - means[number]).max() <= REPEAT * np.abs(residual).max(initial=0.0):
        averaged = _sums(slopes, number) / count[:, None]
        return _one_component(means, _orthonormal(averaged))
    return _two_components(_add_up(clipped, basis, number))


def _one_component(r: np.ndarray, basis: np.ndarray) -> VarianceComponents:
    """The residual variance of rows that are runs of their own."""
    spare = len(r) - basis.shape[1]
    left = r - basis @ (basis.T @ r)
    size = float(left @ left) / spare if spare > 0 else math.nan
    return VarianceComponents(None, size, float(max(spare, 0)), 0.0, float(max(spare, 0)))


def _orthonormal(slopes: Float[np.ndarray, "rows params"]) -> Float[np.ndarray, "rows rank"]:
    """An orthonormal basis of the Jacobian's columns."""
    size = np.sqrt((slopes**2).sum(axis=0))
    moving = slopes[:, size > 0] / size[size > 0]
    left, spread, _ = np.linalg.svd(moving, full_matrices=False)
    return left[:, spread > RANK * spread.max(initial=0.0)]


def _sums(values: np.ndarray, number: Int[np.ndarray, "rows"]) -> np.ndarray:
    """Sums over the rows of each group."""
    out = np.zeros((int(number.max()) + 1, *values.shape[1:]))
    np.add.at(out, number, values)
    return out


def _clip_groups(r: np.ndarray, number: Int[np.ndarray, "rows"], lost: int) -> np.ndarray:
    """Residuals with groups, and rows of a group, drawn in to ``CLIP`` robust deviations."""
    order = np.argsort(number, kind="stable")
    parts = np.split(r[order], np.cumsum(np.bincount(number))[:-1])
    middle = np.array([np.median(part) for part in parts])
    within = r - middle[number]
    near = _clip(within, len(middle) + lost)
    return _clip(middle, lost)[number] + near


def _clip(x: np.ndarray, lost: int) -> np.ndarray:
    """Values no farther out than ``CLIP`` times 1.4826 the median size without the ``lost``
    smallest, which a fit that passes through as many of them makes too small (DuMouchel & O'Brien
    1989)."""
    size = np.sort(np.abs(x))[lost:]
    most = CLIP * 1.4826 * float(np.median(size)) if len(size) > 1 else 0.0
    return np.clip(x, -most, most) if most > 0 else x


@dataclass(frozen=True)
class _Sums:
    """What the restricted likelihood needs of the rows, at every ratio of the variances: their
    number and that of the parameters, the size of each run, sums of squares and of products of the
    residuals with themselves and with the basis, and the sums of both over each run."""

    rows: int
    rank: int
    count: Float[np.ndarray, "runs"]
    square: float
    product: Float[np.ndarray, "rank"]
    residual: Float[np.ndarray, "runs"]
    basis: Float[np.ndarray, "runs rank"]

    @property
    def outer(self) -> Float[np.ndarray, "runs squared"]:
        """Outer products of each run's sums of the basis, flat."""
        return (self.basis[:, :, None] * self.basis[:, None, :]).reshape(len(self.count), -1)

    @property
    def spare(self) -> int:
        """Rows beyond the parameters."""
        return self.rows - self.rank


def _add_up(r: np.ndarray, basis: np.ndarray, number: Int[np.ndarray, "rows"]) -> _Sums:
    count = np.bincount(number).astype(float)
    of_r, of_basis = _sums(r, number), _sums(basis, number)
    rows, rank = basis.shape
    return _Sums(rows, rank, count, float(r @ r), basis.T @ r, of_r, of_basis)


def _two_components(sums: _Sums) -> VarianceComponents:
    if sums.spare <= 0:
        return VarianceComponents(0.0, math.nan, 0.0, 0.0, 0.0)
    ratio = _best_ratio(sums)
    size = float(_restricted(sums, np.array([ratio]))[1][0]) / sums.spare
    known = _information(sums, ratio)
    whole = (sums.count / (1 + ratio * sums.count)) ** 2  # what a run tells before parameters
    alike = known[0, 1] ** 2 / max(known[0, 0] * known[1, 1], 1e-300)
    if known[0, 0] <= LITTLE * whole.sum() / 2 or known[1, 1] <= 0 or alike >= 1 - LITTLE:
        return VarianceComponents(None, size, 0.0, 0.0, 0.0)
    spread = np.linalg.inv(known)  # covariance of both, in units of the evaluation's variance
    total = 2 * (1 + ratio) ** 2 / float(spread.sum())
    run, one = 2 * ratio**2 / float(spread[0, 0]), 2 / float(spread[1, 1])
    if not total >= 1:
        return VarianceComponents(None, size, 0.0, 0.0, one)
    return VarianceComponents(ratio * size, size, total, run, one)


def _best_ratio(sums: _Sums) -> float:
    """The ratio of the variances that has the largest restricted likelihood; it may be 0."""
    (low, high), best = RATIOS, 0.0
    for _ in range(ROUNDS):
        grid = np.linspace(low, high, POINTS)
        value = _restricted(sums, 10.0**grid)[0]
        best, step = float(grid[int(np.argmin(value))]), (high - low) / (POINTS - 1)
        low, high = max(best - step, RATIOS[0]), min(best + step, RATIOS[1])
    found = np.array([0.0, 10.0**best])
    return float(found[int(np.argmin(_restricted(sums, found)[0]))])


def _restricted(
    sums: _Sums, ratio: Float[np.ndarray, "ratios"]
) -> tuple[Float[np.ndarray, "ratios"], Float[np.ndarray, "ratios"]]:
    """-2 log of the restricted likelihood with the scale maximised out, up to a constant, and the
    generalised sum of squares that is left."""
    grown = 1 + ratio[:, None] * sums.count
    share = ratio[:, None] / grown  # (1 - u_i)/n_i
    matrix = np.eye(sums.rank) - (share @ sums.outer).reshape(-1, sums.rank, sums.rank)
    vector = sums.product - (share * sums.residual) @ sums.basis
    solved = np.linalg.solve(matrix, vector[:, :, None])[:, :, 0]
    left = sums.square - share @ sums.residual**2 - (vector * solved).sum(axis=1)
    left = np.maximum(left, 1e-300)
    volume = np.linalg.slogdet(matrix)[1]
    return np.log(grown).sum(axis=1) + volume + sums.spare * np.log(left), left


def _information(sums: _Sums, ratio: float) -> Float[np.ndarray, "2 2"]:
    """The information matrix of (run, evaluation) in units of the evaluation's variance: half the
    traces of P V_j P V_k (Searle, Casella & McCulloch 1992, section 6.6)."""
    n, rank = sums.count, sums.rank
    u, outer = 1 / (1 + ratio * n), sums.outer

    def moment(power: int, runs: int) -> np.ndarray:
        """X' V^-power V_run^runs X."""
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


def read_components(given: Any) -> VarianceComponents | None:
    """The variance components of a document; BadTable for what cannot be variances."""
    if not given:
        return None
    made = from_plain(VarianceComponents, given, at="variance")
    numbers = [x for x in dataclasses.astuple(made) if x is not None]
    if any(x < 0 or math.isinf(x) for x in numbers):
        raise BadTable("Its variances of runs and evaluations are no variances.")
    return made


def deviation_interval(variance: float, freedom: float, level: float) -> Interval:
    """Interval of a standard deviation whose variance has so many degrees of freedom: from the
    quantiles of chi squared; 0 and infinity where it has fewer than one."""
    if not freedom >= 1 or not variance > 0:
        return Interval(0.0, math.inf)
    ends = special.chdtri(freedom, np.array([1 - level, 1 + level]) / 2)
    low, high = np.sqrt(variance * freedom / ends)
    return Interval(float(low), float(high))


def find_reach(
    known: VarianceComponents | None,
    residuals: Float[np.ndarray, "rows"],
    alone: bool,
    spare: int,
    level: float,
) -> tuple[float, float]:
    """How far a further measurement may lie from the law of a fit, whose rows, where they are
    ``alone``, are runs of their own; BadTable where nothing tells."""
    if known is None and not len(residuals):
        raise BadTable("this fit was saved without residuals, which a new run's interval needs")
    if known is None and alone:  # saved by an earlier kleiber
        total = float((residuals**2).sum())
        known = VarianceComponents(None, total / max(spare, 1), spare, 0.0, spare)
    if known is None:
        raise BadTable(
            "This fit does not say how far runs, and their evaluations, lie from the law (an "
            "earlier kleiber saved it, or the law has no finite slope). Fit the table again."
        )
    return noise_reach(known, residuals if alone else None, level)


def noise_reach(
    components: VarianceComponents,
    residual: Float[np.ndarray, "rows"] | None,
    level: float,
) -> tuple[float, float]:
    """How far a further measurement may lie below the law and above it, on the residuals' scale.

    Student's quantile times the standard deviation; where ``residual`` is given (rows that are
    runs of their own) and enough of them lie beyond each end, their own quantiles, widened for the
    parameters fitted to them. NaN with less than one degree of freedom.
    """
    if not components.freedom >= 1:
        return math.nan, math.nan
    rows = 0 if residual is None else len(residual)
    if residual is not None and rows * (1 - level) / 2 >= TAIL and components.freedom > rows / 2:
        widened = residual * math.sqrt(rows / components.freedom)
        ends = np.quantile(widened, [0.5 - level / 2, 0.5 + level / 2], method="weibull")
        return max(float(ends[1]), 0.0), max(-float(ends[0]), 0.0)
    t = float(special.stdtrit(components.freedom, 0.5 + level / 2))
    size = t * math.sqrt(components.total)
    return size, size


def add_noise(
    value: Float[np.ndarray, "rows"],
    ends: tuple[Float[np.ndarray, "rows"], Float[np.ndarray, "rows"]],
    reach: tuple[float, float],
    *,
    log: bool,
) -> tuple[Float[np.ndarray, "rows"], Float[np.ndarray, "rows"]]:
    """The interval of a further measurement from that of the law's value: on the residuals' scale
    the distances of both, which are independent, are added in squares.

    Where residuals are logarithms, an end that is not positive stays, for no noise moves it.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (np.log(np.maximum(end, 0.0)) if log else end for end in ends)
        middle = np.clip(np.log(value) if log else value, low, high)
        lower = middle - np.hypot(middle - low, reach[0])
        upper = middle + np.hypot(high - middle, reach[1])
    if not log:
        return lower, upper
    with np.errstate(over="ignore"):
        made = np.exp(lower), np.exp(upper)
    out = [np.where(end > 0, new, end) for end, new in zip(ends, made, strict=True)]
    return out[0], out[1]
