"""Averages over seeds: from a long table to a table with one row for each group of runs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import polars as pl

from kleiber.arguments import check_array, check_columns, check_texts
from kleiber.errors import BadTable, listed, shown
from kleiber.table import as_frame, floats, numbers, require

MEASURES = (  # what is averaged unless columns are named
    "loss",
    "train_loss",
    "error",
    "train_error",
    "failure",
    "norm",
    "weight_norm",
    "seconds",
)
FLAGS = ("diverged", "run")  # never part of what tells groups apart


def average(
    table: object,
    *,
    value: str | Sequence[str] | None = None,
    over: str | Sequence[str] = "seed",
    by: str | Sequence[str] | None = None,
    quantiles: Sequence[float] = (0.25, 0.75),
) -> pl.DataFrame:
    """Average measured columns over seeds: mean, median, standard error and quantiles.

    Parameters
    ----------
    table
        Any data frame with a row for each seed.
    value
        The measures to average; by default ``loss``, ``error`` and the like, those that are there.
    over
        The columns that tell the averaged rows apart.
    by
        The columns that make groups; by default all but ``over``, the measures, ``diverged`` and
        ``run``.
    quantiles
        The quantiles to give, between 0 and 1.

    Returns
    -------
    polars.DataFrame
        A row for each group, in order of appearance: the mean under the measure's own name,
        ``loss_median``, ``loss_stderr`` = s/sqrt(n) (missing for one row), ``loss_q25`` and so on,
        and ``n_seeds`` = n, the rows that have the first measure.

    Raises
    ------
    BadTable
        For columns that are missing or hold no finite numbers, and where no two rows agree.

    Warns
    -----
    UserWarning
        For missing measures, as of members that diverged, which are left out.

    Examples
    --------
    >>> import kleiber
    >>> runs = {"width": [8, 8, 16, 16], "seed": [0, 1, 0, 1], "loss": [2.0, 2.2, 1.0, 1.2]}
    >>> kleiber.reduce.find("average")(runs).select("width", "loss", "n_seeds").rows()
    [(8, 2.1, 2), (16, 1.1, 2)]
    """
    frame = as_frame(table)
    measures = check_columns("value", value) or [name for name in MEASURES if name in frame.columns]
    aside = check_texts("over", over, "the name of a column or a list of them")
    apart = check_columns("by", by)
    require(frame, [*measures, *aside])
    if not measures:
        raise BadTable(
            f"There is nothing to average; name it (value=...), e.g. {frame.columns[-1]}"
        )
    if clash := set(measures) & {*aside, *apart}:
        raise BadTable(f"Column {min(clash)!r} cannot be averaged and name groups at once.")
    quantiles = _shares(quantiles)
    keys = apart or [name for name in frame.columns if name not in {*measures, *aside, *FLAGS}]
    require(frame, keys)
    frame = _present(frame, measures)
    statistics = [item for name in measures for item in _statistics(name, quantiles)]
    count = pl.col(measures[0]).count().cast(pl.Int64).alias("n_seeds")
    keys = [name for name in keys if name != "n_seeds"]
    if not keys:
        return frame.select(*statistics, count)
    made = frame.group_by(keys, maintain_order=True).agg(*statistics, count)
    if by is None and made.height == frame.height and frame.select(aside).n_unique() > 1:
        raise BadTable(
            f"No two rows agree in {listed(keys)}; name the columns that make groups (by=...), or "
            "those that are measured (value=...)."
        )
    return made


def _shares(quantiles: Any) -> list[float]:
    """Return the quantiles as a list, which may be empty."""
    if not isinstance(quantiles, Sequence | np.ndarray):
        raise BadTable(f"The quantiles are a list of shares from 0 to 1, got {shown(quantiles)}.")
    if not len(cast("Sequence[Any]", quantiles)):
        return []
    accepted = "a list of shares from 0 to 1"
    shares = check_array("quantiles", quantiles, accepted, low=0, error=BadTable)
    if (shares > 1).any():
        raise BadTable(f"Quantiles lie from 0 to 1, got {listed(map(str, shares))}.")
    return shares.tolist()


def _present(frame: pl.DataFrame, measures: list[str]) -> pl.DataFrame:
    """Return the rows with at least one measured value as float64; raise BadTable for NaN and
    infinity."""
    missing = frame.select(pl.all_horizontal(pl.col(measures).is_null())).to_series()
    if missing.any():
        warnings.warn(
            f"{missing.sum()} of {frame.height} rows have no {listed(measures)} (runs that "
            "diverged have none) and are left out; n_seeds counts what is left.",
            UserWarning,
            stacklevel=3,
        )
        frame = frame.filter(~missing)
    if frame.height == 0:
        raise BadTable(f"No row has a {listed(measures)}.")
    for name in measures:
        numbers(frame.filter(pl.col(name).is_not_null()), name)
    columns = [pl.Series(name, floats(frame, name)).fill_nan(None) for name in measures]
    return frame.with_columns(columns)


def _statistics(name: str, quantiles: Sequence[float]) -> list[pl.Expr]:
    """Return the mean, median, standard error and quantiles of one column."""
    column = pl.col(name)
    return [
        column.mean(),
        column.median().alias(f"{name}_median"),
        (column.std(ddof=1) / column.count().sqrt()).alias(f"{name}_stderr"),
        *(
            column.quantile(q, interpolation="linear").alias(f"{name}_q{100 * q:g}")
            for q in quantiles
        ),
    ]
