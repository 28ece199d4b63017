"""The exponent with which a loss falls with the width of a net, from a statistic over seeds.

Median, mean and quantiles over seeds fall differently (at small widths a few bad seeds dominate the
mean), and so do exponents in width, width + 1 and parameters, so each is reported separately.
Errors are those of a bootstrap over the seeds of each width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.arguments import (
    check_column,
    check_columns,
    check_level,
    check_memory,
    check_number,
    check_text,
)
from kleiber.attempts.counts import check_draws
from kleiber.errors import BadTable, listed, nearest, shown
from kleiber.maths.seeds import stream
from kleiber.table import as_frame, numbers, require

SIZES = ("width", "width+1", "n_params")
Values = Float[np.ndarray, "... seeds"]
Statistic = Callable[[Values], Float[np.ndarray, "..."]]


@dataclass(frozen=True, eq=False)
class Point:
    """One width: its size in the chosen count, the statistic over its seeds, and draws of it."""

    width: float
    size: float
    n_seeds: int
    value: float
    drawn: Float[np.ndarray, "draws"]


def width_exponent(
    table: object,
    low: float | None = None,
    high: float | None = None,
    *,
    size: str = "width",
    statistic: str = "median",
    y: str = "loss",
    by: str | Sequence[str] | None = None,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> pl.DataFrame:
    """Measure the exponent -d log y / d log N over a range of widths, with a bootstrap interval.

    Parameters
    ----------
    table
        Any data frame with a row for each width and seed, in each group of ``by``.
    low, high
        The smallest and the largest width; by default all.
    size
        What N is: ``"width"``, ``"width+1"`` or ``"n_params"``, the column of that name.
    statistic
        Over seeds: ``"median"``, ``"mean"``, or a quantile such as ``"q25"``.
    y
        The column of the loss.
    by
        The columns that make groups; ``"step"`` gives the exponent against training time.
    draws, seed
        The number of resamples of the seeds of each width, and the seed of these draws.
    level
        The level of the intervals, between 0 and 1.

    Returns
    -------
    polars.DataFrame
        The columns of ``by``, size, statistic, width_low, width_high, n_widths, n_seeds (of the
        width with the fewest), exponent (a least-squares slope on the logarithms) with ``_stderr``,
        ``_low`` and ``_high``, and misfit, the root mean square of the residuals.

    Raises
    ------
    BadTable
        For missing columns, fewer than two widths, and widths with fewer than two seeds.

    Examples
    --------
    >>> import kleiber
    >>> runs = {"width": [8, 8, 16, 16], "seed": [0, 1, 0, 1], "loss": [2.0, 2.2, 1.0, 1.1]}
    >>> kleiber.reduce.find("width-exponent")(runs, draws=100)["exponent"].round(3).to_list()
    [1.0]
    """
    keys, groups = _groups(table, y, by, level)
    rows: list[dict[str, Any]] = []
    for group in groups:
        points = _points(group, low, high, size, statistic, y, draws, seed)
        if len(points) < 2:
            raise BadTable(
                f"A slope needs two widths or more from {low} to {high}, got "
                f"{listed([f'{point.width:g}' for point in points]) or 'none'}."
            )
        u = np.log([point.size for point in points])
        logs = np.log([point.value for point in points])
        weights = (u - u.mean()) / ((u - u.mean()) ** 2).sum()
        value = -float(weights @ logs)
        drawn = -weights @ np.log([point.drawn for point in points])
        ends = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
        residuals = logs - logs.mean() + value * (u - u.mean())
        rows.append(
            {key: group[key][0] for key in keys}
            | {
                "size": size,
                "statistic": statistic,
                "width_low": points[0].width,
                "width_high": points[-1].width,
                "n_widths": len(points),
                "n_seeds": min(point.n_seeds for point in points),
                "exponent": value,
                "exponent_stderr": float(drawn.std(ddof=1)),
                "exponent_low": float(ends[0]),
                "exponent_high": float(ends[1]),
                "misfit": float(np.sqrt((residuals**2).mean())),
            }
        )
    return pl.DataFrame(rows)


def width_curve(
    table: object,
    *,
    statistic: str = "median",
    y: str = "loss",
    by: str | Sequence[str] | None = None,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> pl.DataFrame:
    """Take a statistic over seeds at each width, with its bootstrap interval.

    Parameters
    ----------
    table, statistic, y, by, draws, level, seed
        As for ``width_exponent``.

    Returns
    -------
    polars.DataFrame
        The columns of ``by``, width (ascending), n_seeds, and y with ``_stderr``, ``_low``,
        ``_high``.

    Raises
    ------
    BadTable
        For missing columns, and for widths with fewer than two seeds.

    Examples
    --------
    >>> import kleiber
    >>> runs = {"width": [8, 8, 16, 16], "seed": [0, 1, 0, 1], "loss": [2.0, 2.2, 1.0, 1.1]}
    >>> kleiber.reduce.find("width-curve")(runs, draws=100)["loss"].to_list()
    [2.1, 1.05]
    """
    keys, groups = _groups(table, y, by, level)
    rows: list[dict[str, Any]] = []
    for group in groups:
        for point in _points(group, None, None, "width", statistic, y, draws, seed):
            ends = np.quantile(point.drawn, [(1 - level) / 2, (1 + level) / 2])
            rows.append(
                {key: group[key][0] for key in keys}
                | {
                    "width": point.width,
                    "n_seeds": point.n_seeds,
                    y: point.value,
                    f"{y}_stderr": float(point.drawn.std(ddof=1)),
                    f"{y}_low": float(ends[0]),
                    f"{y}_high": float(ends[1]),
                }
            )
    return pl.DataFrame(rows)


def _groups(
    table: object, y: str, by: str | Sequence[str] | None, level: float
) -> tuple[list[str], list[pl.DataFrame]]:
    """Return the group columns and the rows of each group, checked for repeated seeds."""
    frame = as_frame(table)
    check_level(level, error=BadTable)
    keys, y = check_columns("by", by), check_column("y", y)
    require(frame, ["width", "seed", y, *keys])
    frame = frame.filter(pl.col(y).is_not_null())
    if frame.height == 0:
        raise BadTable(f"No row has a {y!r}; a row for each width and seed is needed.")
    times = int(frame.group_by("width", "seed", *keys).len()["len"].to_numpy().max())
    if times > 1:
        raise BadTable(
            f"A seed occurs up to {times} times at one width; name the columns that distinguish "
            "the rows (by=..., e.g. step), or select rows (where=...)."
        )
    return keys, frame.partition_by(keys, maintain_order=True) if keys else [frame]


def _points(
    group: pl.DataFrame,
    low: float | None,
    high: float | None,
    size: str,
    statistic: str,
    y: str,
    draws: int,
    seed: int,
) -> list[Point]:
    """Return the widths from low to high in ascending order, each with draws over its seeds."""
    if check_text("size", size, f"one of {listed(SIZES)}") not in SIZES:
        raise BadTable(
            f"The size is one of {listed(SIZES)}, got {shown(size)}.{nearest(size, SIZES)}"
        )
    draws = check_draws(draws, least=2)
    check_memory(f"{draws:,} draws", 16 * draws * group.height, "ask for fewer draws")
    for name, value in (("low", low), ("high", high)):
        if value is not None:
            check_number(name, value, "a number or None", allow_infinite=True, error=BadTable)
    measure = _statistic(statistic)
    widths = numbers(group, "width", positive=True)
    values = numbers(group, y, positive=True)
    counted = numbers(group, "n_params", positive=True) if size == "n_params" else widths
    points: list[Point] = []
    for width in np.unique(widths):
        if (low is not None and width < low) or (high is not None and width > high):
            continue
        own = values[widths == width]
        if len(own) < 2:
            raise BadTable(f"Width {width:g} has one seed; an interval needs two or more.")
        rng = stream(seed, f"width {width:g}")
        drawn = measure(own[rng.integers(len(own), size=(draws, len(own)))])
        number = float(counted[widths == width][0]) + (size == "width+1")
        points.append(Point(float(width), number, len(own), float(measure(own)), drawn))
    return points


def _statistic(name: str) -> Statistic:
    """Return the statistic over the last axis that has the given name."""
    check_text("statistic", name, "median, mean or a quantile such as q25")
    if name == "median":
        return lambda values: np.median(values, axis=-1)
    if name == "mean":
        return lambda values: values.mean(axis=-1)
    try:
        percent = float(name.removeprefix("q"))
    except ValueError:
        percent = -1.0
    if not (name.startswith("q") and 0 <= percent <= 100):
        raise BadTable(
            f"The statistic is median, mean or a quantile such as q25, got {shown(name)}."
            f"{nearest(name, ('median', 'mean'))}"
        )
    return lambda values: np.quantile(values, percent / 100, axis=-1)
