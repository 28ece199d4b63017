"""Learning curves against a norm, read from a long table: one mean curve for each number of data.

All values are logarithms, so norms of 1e60 (or a column ``log_norm``) are allowed. The errors of
several seeds are interpolated linearly in log norm on a common grid, each within its own range, and
averaged there, as D'Amico et al. 2025 (arXiv 2505.13230) do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.errors import BadTable, listed
from kleiber.table import as_frame, numbers, require

MIN_COUNT = 3  # smallest number of different norms in a curve
POINTS = 50  # points of the common grid of several seeds
FLAT = 0.03  # log error above the minimum that still counts as the bottom of a curve
LABELS = ("model", "dataset")

Grid = Float[np.ndarray, "points"]


@dataclass(frozen=True)
class MeanCurve:
    """The mean curve of one number of data: log norm (rising) and log error.

    For several seeds, `parts` are their errors on that grid (NaN outside their range) and
    `seed_optima` the log norms of their smallest errors.
    """

    n_data: float
    log_norm: Grid
    log_error: Grid
    n_seeds: int = 1
    parts: Float[np.ndarray, "seeds points"] | None = None
    seed_optima: Float[np.ndarray, "seeds"] | None = None


@dataclass(frozen=True)
class Curves:
    """The curves of one model on one data set, n_data rising.

    ``falls`` is the share of steps of training in which the norm fell (0 without a column
    ``step``).
    """

    model: str
    dataset: str
    items: tuple[MeanCurve, ...]
    falls: float = 0.0

    @property
    def n_data(self) -> Float[np.ndarray, "sizes"]:
        """The numbers of data, rising."""
        return np.array([item.n_data for item in self.items])


def read_curves(table: object, *, share: float = 0.0) -> Curves:
    """Read the curves of a table with n_data, norm (or log_norm), error and optional seed and step.

    A point of the grid of several seeds counts if more than ``share`` of them have it. Raises
    BadTable for values that are not positive and finite, for rows of several models or data sets,
    and for fewer than 2 numbers of data with 3 different norms each.
    """
    frame = as_frame(table)
    items = read_items(frame, share=share)
    if len(items) < 2:
        raise BadTable(
            f"Laws in n_data need at least 2 different n_data, got only {items[0].n_data:g}."
        )
    model, dataset = (_label(frame, name) for name in LABELS)
    return Curves(model, dataset, tuple(items), _falling_share(_read_columns(frame)))


def read_items(table: object, *, share: float = 0.0) -> list[MeanCurve]:
    """Read one curve for each n_data, rising; arguments and errors as for `read_curves`."""
    frame = as_frame(table)
    require(frame, ["n_data", "error"])
    if frame.height == 0:
        raise BadTable("The table of learning curves has no rows.")
    for name in LABELS:
        _label(frame, name)
    frame = _read_columns(frame)
    parts = frame.sort("n_data").partition_by("n_data", maintain_order=True)
    u: Grid = frame["u"].to_numpy()
    several = any(part["seed"].n_unique() > 1 for part in parts)
    ends = float(u.min()), float(u.max())
    grid: Grid | None = np.linspace(*ends, POINTS) if several else None
    return [_curve(part, grid, share) for part in parts]


def _label(frame: pl.DataFrame, name: str) -> str:
    """Return the single value of a column, "" without it. Raises BadTable for several values."""
    if name not in frame.columns:
        return ""
    found = frame[name].unique().sort().to_list()
    if len(found) > 1:
        raise BadTable(
            f"The curves are of several kinds, {name} is {listed(map(str, found))}; keep one "
            f'(table.filter, --where "{name} = ...") or use collapse, which treats each separately.'
        )
    return str(found[0])


def _read_columns(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the checked columns n_data, u (log norm), error, seed and, if given, step."""
    if "norm" not in frame.columns and "log_norm" in frame.columns:
        u = numbers(frame, "log_norm")
    else:
        require(frame, ["norm"])
        u = np.log(numbers(frame, "norm", positive=True))
    columns = {
        "n_data": numbers(frame, "n_data", positive=True),
        "u": u,
        "error": numbers(frame, "error", positive=True),
    }
    made = pl.DataFrame(columns)
    seed = frame["seed"].cast(pl.String) if "seed" in frame.columns else pl.lit("")
    made = made.with_columns(seed.alias("seed"))
    if "step" in frame.columns:
        made = made.with_columns(step=pl.Series(numbers(frame, "step")))
    return made


def _falling_share(frame: pl.DataFrame) -> float:
    """Return the share of steps in which the norm falls."""
    if "step" not in frame.columns:
        return 0.0
    rises = frame.sort("step").group_by("n_data", "seed").agg(pl.col("u").diff().drop_nulls())
    moved = rises["u"].explode().drop_nulls().to_numpy()
    return float((moved < 0).mean()) if len(moved) else 0.0


def _curve(part: pl.DataFrame, grid: Grid | None, share: float) -> MeanCurve:
    """Return the mean curve of one n_data, with its seeds interpolated on a grid if given."""
    n_data = float(part["n_data"][0])
    runs = [_run(run) for run in part.sort("seed").partition_by("seed", maintain_order=True)]
    short = [u for u, _ in runs if len(u) < MIN_COUNT]
    if short:
        raise BadTable(
            f"A curve needs at least {MIN_COUNT} different norms; at n_data = {n_data:g} one has "
            f"{len(short[0])}."
        )
    if grid is None:
        u, error = runs[0]
        return MeanCurve(n_data, u, np.log(error))
    placed = np.array([np.interp(grid, u, e, left=np.nan, right=np.nan) for u, e in runs])
    optima = np.array([u[np.argmin(e)] for u, e in runs])
    known = np.isfinite(placed)
    keep = (known.sum(0) > share * len(runs)) & known.any(0)
    if keep.sum() < MIN_COUNT:
        raise BadTable(
            f"At n_data = {n_data:g} the norms of the {len(runs)} seeds hardly overlap: fewer than "
            f"{MIN_COUNT} of {POINTS} points of a common grid have enough seeds."
        )
    mean = np.nanmean(placed[:, keep], axis=0)
    return MeanCurve(n_data, grid[keep], np.log(mean), len(runs), placed[:, keep], optima)


def _run(run: pl.DataFrame) -> tuple[Grid, Grid]:
    """Return rising log norms and the errors of one run; errors at the same norm are averaged."""
    flat = run.group_by("u").agg(pl.col("error").mean()).sort("u")
    return flat["u"].to_numpy(), flat["error"].to_numpy()


def find_lowest(curve: MeanCurve) -> tuple[float, float]:
    """Return log norm and log error at the point of smallest error."""
    at = int(np.argmin(curve.log_error))
    return float(curve.log_norm[at]), float(curve.log_error[at])


def find_optimum(curve: MeanCurve) -> tuple[float, float]:
    """Return log norm and log error at the vertex of a parabola through the bottom of the curve.

    The bottom is the points around the lowest one whose error is within 3% of it, at least 5. If
    the parabola has no minimum among them (the error was still falling), the lowest point is used.
    """
    u, y = curve.log_norm, curve.log_error
    at = int(np.argmin(y))
    above = np.flatnonzero(y > y[at] + FLAT)
    first = max(above[above < at], default=-1) + 1
    last = min(above[above > at], default=len(y)) - 1
    if last - first < 4:
        first, last = max(0, at - 2), min(len(y) - 1, at + 2)
    part = slice(first, last + 1)
    if last - first >= 2:
        scale = float(u[last] - u[first])
        z = (u[part] - u[at]) / scale
        powers = np.column_stack([z**2, z, np.ones_like(z)])
        curvature, slope, level = (
            float(item) for item in np.linalg.lstsq(powers, y[part], rcond=None)[0]
        )
        vertex = -slope / (2 * curvature) if curvature > 0 else np.inf
        if z[0] <= vertex <= z[-1]:
            return float(u[at] + scale * vertex), float(level - slope**2 / (4 * curvature))
    return float(u[at]), float(y[at])


def find_optima(curves: Curves, smooth: bool) -> Float[np.ndarray, "sizes 2"]:
    """Return log norm and log error of each curve's optimum, by a parabola if ``smooth``."""
    find = find_optimum if smooth else find_lowest
    return np.array([find(item) for item in curves.items])


def rescale(
    items: Sequence[MeanCurve], optima: Float[np.ndarray, "sizes 2"], grid: Grid
) -> Float[np.ndarray, "sizes points"]:
    """Return log(error/error_opt) of each curve at log(norm/norm_opt) = grid, NaN outside its
    range."""
    made = np.full((len(items), len(grid)), np.nan)
    for row, item, (u, y) in zip(made, items, optima, strict=True):
        row[:] = np.interp(grid, item.log_norm - u, item.log_error - y, left=np.nan, right=np.nan)
    return made
