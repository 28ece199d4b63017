"""Local exponents: the slope of a loss on log-log axes, with its error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Float
from scipy import special

from kleiber.arguments import check_column, check_columns, check_level, check_whole
from kleiber.errors import BadTable, listed
from kleiber.table import as_frame, numbers, require


def exponent(
    table: object,
    *,
    x: str = "n_params",
    y: str = "loss",
    by: str | Sequence[str] | None = None,
    window: int = 3,
    level: float = 0.95,
) -> pl.DataFrame:
    """Measure the local exponent -d log y / d log x along x.

    A law A N^-alpha has the exponent alpha everywhere. Over each window of consecutive x it is the
    least-squares slope on the logarithms, sum c_i log y_i with c_i = (u_i - u)/sum (u_i - u)^2, u =
    log x; its variance is sum (c_i s_i/y_i)^2 with the standard errors s_i.

    Parameters
    ----------
    table
        Any data frame. Rows with the same x are seeds and are averaged, or hold averages already
        (``loss_stderr`` with ``n_seeds``).
    x, y
        The columns of the size and of the loss, both positive.
    by
        The columns that make groups.
    window
        The number of consecutive x of a slope, at least 2.
    level
        The level of the intervals, between 0 and 1.

    Returns
    -------
    polars.DataFrame
        The columns of ``by``, x (the geometric mean of the window), its ends ``_low`` and
        ``_high``, and exponent with ``_stderr``, ``_low`` and ``_high``: Student's interval with
        the degrees of freedom of Welch and Satterthwaite, missing where some s_i is unknown.

    Raises
    ------
    BadTable
        For x and y that are not positive, rows that are no seeds of one another (the same seed
        twice at one x), and too few x for a window.

    Examples
    --------
    >>> import kleiber
    >>> runs = {"n_params": [1e6, 1e7, 1e8], "loss": [4.0, 2.0, 1.0]}
    >>> kleiber.reduce.find("exponent")(runs)["exponent"].round(3).to_list()
    [0.301]
    """
    frame = as_frame(table)
    keys, x, y = check_columns("by", by), check_column("x", x), check_column("y", y)
    level, window = (
        check_level(level, error=BadTable),
        check_whole("window", window, error=BadTable),
    )
    require(frame, [x, y, *keys])
    if window < 2:
        raise BadTable(f"A slope needs a window of at least 2 values of {x}, got {window}.")
    frame = frame.filter(pl.col(y).is_not_null())
    _check_mixed_rows(frame, x, keys)
    groups = frame.partition_by(keys, maintain_order=True) if keys else [frame]
    parts = [
        group.select(keys)
        .head(1)
        .join(_slopes(_points(group, x, y), x, window, level), how="cross")
        if keys
        else _slopes(_points(group, x, y), x, window, level)
        for group in groups
    ]
    made = pl.concat(parts) if parts else pl.DataFrame()
    if made.height == 0:
        raise BadTable(f"No group has {window} different values of {x!r}, as a window needs.")
    return made


def _check_mixed_rows(frame: pl.DataFrame, x: str, keys: list[str]) -> None:
    """Raise BadTable for rows that neither x, the groups nor the seed distinguish."""
    same = [x, *keys, *(["seed"] if "seed" in frame.columns else [])]
    if ("seed" in frame.columns or "n_seeds" in frame.columns) and frame.height:
        times = frame.group_by(same).len()["len"].max()
        if isinstance(times, int) and times > 1:
            raise BadTable(
                f"Up to {times} rows agree in {listed(same)}, so they are no seeds of one another; "
                "name the columns that tell them apart (by=...), or keep some (where=...)."
            )


def _points(group: pl.DataFrame, x: str, y: str) -> pl.DataFrame:
    """Return one row for each x, ascending: y, its standard error (null if unknown) and its number
    of seeds."""
    columns = {"x": numbers(group, x, positive=True), "y": numbers(group, y, positive=True)}
    frame = pl.DataFrame(columns)
    if "n_seeds" in group.columns and f"{y}_stderr" in group.columns:
        error = group[f"{y}_stderr"].cast(pl.Float64).alias("s")
        return frame.with_columns(error, group["n_seeds"].cast(pl.Int64).alias("n")).sort("x")
    count = pl.len().cast(pl.Int64)
    error = (pl.col("y").std(ddof=1) / pl.len().sqrt()).alias("s")
    return frame.group_by("x").agg(pl.col("y").mean(), error, count.alias("n")).sort("x")


def _slopes(points: pl.DataFrame, x: str, window: int, level: float) -> pl.DataFrame:
    """Return the exponent over each window of consecutive points."""
    kinds = [f"{x}_low", f"{x}_high", "exponent", "exponent_stderr"]
    kinds += ["exponent_low", "exponent_high"]
    rows = [
        _slope(points.slice(start, window), level) for start in range(points.height - window + 1)
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys([x, *kinds], pl.Float64), orient="row")


def _slope(
    part: pl.DataFrame, level: float
) -> tuple[float, float, float, float, float | None, float | None, float | None]:
    u, log_y = np.log(part["x"].to_numpy()), np.log(part["y"].to_numpy())
    weights = (u - u.mean()) / ((u - u.mean()) ** 2).sum()
    value = -float(weights @ log_y)
    ends = float(np.exp(u.mean())), float(part["x"][0]), float(part["x"][-1])
    if part["s"].null_count() or bool((part["n"] < 2).any()):
        return *ends, value, None, None, None
    shares = (weights * part["s"].to_numpy() / part["y"].to_numpy()) ** 2
    stderr = float(np.sqrt(shares.sum()))
    half = stderr * _student(shares, part["n"].to_numpy() - 1.0, level) if stderr else 0.0
    return *ends, value, stderr, value - half, value + half


def _student(
    shares: Float[np.ndarray, "points"], dof: Float[np.ndarray, "points"], level: float
) -> float:
    """Return Student's quantile with the degrees of freedom of a sum of variances (Welch 1947)."""
    total = float(shares.sum() ** 2 / (shares**2 / dof).sum())
    return float(special.stdtrit(total, 0.5 + level / 2))
