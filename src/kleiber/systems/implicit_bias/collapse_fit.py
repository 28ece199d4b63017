"""The three exponents of a set of learning curves in a window, and how well the two laws hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from kleiber.claim import Estimate, student
from kleiber.systems.implicit_bias.collapse_curves import Curves, MeanCurve, rescale
from kleiber.systems.implicit_bias.collapse_window import Window

MIN_POINTS = 3  # smallest number of points of a curve in the window
ELBOW = 0.1  # log error above the early law at which a curve has left it
FINE = 101  # points of the grid on which curves are compared

Sizes = Float[np.ndarray, "sizes"]
Rows = Bool[np.ndarray, "sizes"]


@dataclass(frozen=True)
class Line:
    """A least-squares line: slope, its standard error (NaN through 2 points), value at 0."""

    slope: float
    stderr: float
    start: float
    points: int

    @property
    def fall(self) -> Estimate:
        """Minus the slope, with Student's interval."""
        return student(-self.slope, self.stderr, self.points - 2)

    @property
    def rise(self) -> Estimate:
        """The slope, with Student's interval."""
        return student(self.slope, self.stderr, self.points - 2)


@dataclass(frozen=True)
class Exponents:
    """The exponents fitted in one window to one set of curves.

    The masks ``early``, ``late`` and ``measured`` select the curves used for gamma_1, gamma_2 and
    gamma_measured; ``slope_spread`` is the standard deviation of the local slope in the window.
    """

    slopes: Float[np.ndarray, "fitted"]
    slope_errors: Float[np.ndarray, "fitted"]
    early: Rows
    late: Rows
    measured: Rows
    gamma_1: float
    slope_spread: float
    optimum: Line
    errors: Line

    @property
    def predicted(self) -> float:
        """gamma_1 gamma_2."""
        return self.gamma_1 * self.optimum.slope


def fit_line(x: Float[np.ndarray, "points"], y: Float[np.ndarray, "points"]) -> Line:
    """Fit a line by ordinary least squares, with the usual standard error of the slope."""
    centred = x - x.mean()
    size = float(centred @ centred)
    slope = float(centred @ y) / size
    start = float(y.mean() - slope * x.mean())
    residuals = y - start - slope * x
    degrees_of_freedom = len(x) - 2
    stderr = (
        float(np.sqrt(residuals @ residuals / degrees_of_freedom / size))
        if degrees_of_freedom > 0
        else float("nan")
    )
    return Line(slope, stderr, start, len(x))


def in_window(item: MeanCurve, at: float, window: Window) -> Bool[np.ndarray, "points"]:
    """Select the points in the window of a curve whose optimum is at the log norm ``at``."""
    low, high = window.logs
    x = item.log_norm - at
    return (x >= low) & (x <= high)


def window_lines(
    items: Sequence[MeanCurve], optima: Float[np.ndarray, "sizes 2"], window: Window
) -> list[Line | None]:
    """Fit log error against log norm of each curve in the window; None below 3 points."""
    found: list[Line | None] = []
    for item, at in zip(items, optima[:, 0], strict=True):
        keep = in_window(item, float(at), window)
        u, y = item.log_norm[keep], item.log_error[keep]
        found.append(fit_line(u - at, y) if len(u) >= MIN_POINTS else None)
    return found


def fit_exponents(
    curves: Curves,
    optima: Float[np.ndarray, "sizes 2"],
    positions: Sizes,
    window: Window,
    *,
    same: bool,
) -> Exponents | None:
    """Fit the three exponents; None if fewer than 2 curves have enough points in the window.

    gamma_1 is the mean of the slopes in the window, gamma_2 comes from ``positions`` (log norm_opt)
    and gamma_measured from the smallest errors, over the ``same`` n_data or each over its own.
    """
    lines = window_lines(curves.items, optima, window)
    early = np.array([line is not None for line in lines]) & (curves.n_data >= window.least_early)
    late = early if same else curves.n_data >= window.least_optimum
    measured = early if same else np.ones(len(lines), bool)
    if early.sum() < 2 or late.sum() < 2:
        return None
    own = [line for line, row in zip(lines, early, strict=True) if row and line is not None]
    slopes = np.array([line.slope for line in own])
    stderrs = np.array([line.stderr for line in own])
    log_size = np.log(curves.n_data)
    return Exponents(
        slopes,
        stderrs,
        early,
        late,
        measured,
        float(-slopes.mean()),
        _slope_spread(curves.items, optima, window, early),
        fit_line(log_size[late], positions[late]),
        fit_line(log_size[measured], optima[measured, 1]),
    )


def _slope_spread(
    items: Sequence[MeanCurve], optima: Float[np.ndarray, "sizes 2"], window: Window, early: Rows
) -> float:
    """Return the standard deviation of the slope within the window.

    It is 2 c w/sqrt(12) for curves that share a curvature, y = a_P + b_P x + c x^2 over a width w
    (least squares).
    """
    size, product, widths = 0.0, 0.0, list[float]()
    for item, at, row in zip(items, optima[:, 0], early, strict=True):
        if not row:
            continue
        keep = in_window(item, float(at), window)
        x, y = item.log_norm[keep], item.log_error[keep]
        z = (x - x.mean()) / np.ptp(x)
        lines = np.column_stack([np.ones_like(z), z])
        targets = np.column_stack([z**2, y])
        square, residuals = (targets - lines @ np.linalg.lstsq(lines, targets, rcond=None)[0]).T
        size, product = size + float(square @ square), product + float(square @ residuals)
        widths.append(float(np.ptp(x)))
    return abs(product / size) / (float(np.mean(widths)) * math.sqrt(3))


@dataclass(frozen=True)
class Goodness:
    """The quality of the laws.

    It has log k1 of each early curve and its fall with n_data (``drift``), the log norm where each
    curve leaves the early law (NaN: nowhere), root-mean-square relative spreads over the curves of
    raw errors early (``overlap``) and of rescaled errors late (``collapse``), and the mean length
    of the fitted pieces in decades of the norm.
    """

    log_k1: Float[np.ndarray, "fitted"]
    drift: Line
    elbows: Float[np.ndarray, "fitted"]
    overlap: float
    collapse: float
    decades: float


def judge_fit(
    curves: Curves, optima: Float[np.ndarray, "sizes 2"], window: Window, fit: Exponents
) -> Goodness:
    """Measure the spreads of the curves used for gamma_1, and where they leave the early law."""
    rows = np.flatnonzero(fit.early)
    items, own = [curves.items[k] for k in rows], optima[rows]
    inside = [in_window(c, float(at), window) for c, at in zip(items, own[:, 0], strict=True)]
    log_k1 = [
        float((item.log_error + fit.gamma_1 * item.log_norm)[keep].mean())
        for item, keep in zip(items, inside, strict=True)
    ]
    elbows = [_elbow(*parts, fit.gamma_1) for parts in zip(items, inside, log_k1, strict=True)]
    lengths = [np.ptp(item.log_norm[keep]) for item, keep in zip(items, inside, strict=True)]
    high = min(window.logs[1], 0.0)
    raw = np.zeros_like(own)
    return Goodness(
        log_k1=np.array(log_k1),
        drift=fit_line(np.log(curves.n_data[rows]), np.array(log_k1)),
        elbows=np.array(elbows),
        overlap=_spread(items, raw, -np.inf, high + own[:, 0], 2),
        collapse=_spread(items, own, high, np.full(len(own), np.inf), len(own)),
        decades=float(np.mean(lengths) / np.log(10)),
    )


def _elbow(
    item: MeanCurve, inside: Bool[np.ndarray, "points"], level: float, gamma_1: float
) -> float:
    """Return the log norm above the window at which the curve is 10% above the early law."""
    excess = item.log_error + gamma_1 * item.log_norm - level - np.log1p(ELBOW)
    last = int(np.flatnonzero(inside)[-1])
    above = np.flatnonzero(excess[last:] > 0)
    if len(above) == 0:
        return float("nan")
    k = last + int(above[0])
    if k == last:
        return float(item.log_norm[k])
    share = -excess[k - 1] / (excess[k] - excess[k - 1])
    return float(item.log_norm[k - 1] + share * (item.log_norm[k] - item.log_norm[k - 1]))


def _spread(
    items: Sequence[MeanCurve],
    optima: Float[np.ndarray, "sizes 2"],
    low: float,
    highs: Sizes,
    fewest: int,
) -> float:
    """Return the root-mean-square relative spread over curves at equal log norm - log norm_opt.

    The range is above ``low`` and up to each curve's own of ``highs``, where there are at least
    ``fewest`` curves.
    """
    starts = np.array([item.log_norm[0] for item in items]) - optima[:, 0]
    ends = np.minimum(highs, np.array([item.log_norm[-1] for item in items]) - optima[:, 0])
    grid = np.linspace(max(low, starts.min()), max(low, ends.max()), FINE)
    values = np.exp(rescale(items, optima, grid))
    values[grid > ends[:, None]] = np.nan
    known = np.isfinite(values).sum(0)
    values = values[:, (known >= fewest) & (grid >= low)]
    if values.shape[1] < 2:
        return float("nan")
    mean: Float[np.ndarray, "points"] = np.nanmean(values, axis=0)
    spread: Float[np.ndarray, "points"] = np.nanstd(values, axis=0, ddof=1)
    return float(np.sqrt(np.mean((spread / mean) ** 2)))


def redraw(curves: Curves, rng: np.random.Generator) -> Curves:
    """Resample the seeds of all curves; points that no drawn seed has are left out."""
    return replace(curves, items=tuple(_redraw_seeds(item, rng) for item in curves.items))


def _redraw_seeds(item: MeanCurve, rng: np.random.Generator) -> MeanCurve:
    if item.parts is None or item.n_seeds < 2:
        return item
    drawn = rng.integers(item.n_seeds, size=item.n_seeds)
    times = np.bincount(drawn, minlength=item.n_seeds).astype(float)
    known = np.isfinite(item.parts)
    weight = times @ known
    keep = weight > 0
    total = times @ np.where(known, item.parts, 0.0)
    return MeanCurve(
        item.n_data,
        item.log_norm[keep],
        np.log(total[keep] / weight[keep]),
        item.n_seeds,
        item.parts[:, keep],
    )
