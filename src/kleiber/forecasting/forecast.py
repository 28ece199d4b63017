"""The verb ``forecast``: an average of laws, weighed by evidence and back-tests, beyond the data.

One procedure without settings: families of curves (``families``) are fitted to the logarithm of the
target with weights that favour rows near the frontier and with weak priors (``members``,
``search``), and their log forecasts are averaged (``average``). Averages of forecasts beat the
choice of one (Bates and Granger 1969, Operational Research Quarterly 20, 451).
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from kleiber.arguments import check_columns, check_text
from kleiber.errors import BadTable, listed, nearest
from kleiber.fitting.spread.intervals import check_level
from kleiber.forecasting.conclusion import conclude
from kleiber.forecasting.direction import is_reversed, reversed_target
from kleiber.forecasting.members import Curve, distance_of, fit_members
from kleiber.forecasting.record import Forecast, GroupForecast, predict_rows
from kleiber.forecasting.support import Asked, refusal
from kleiber.frames import add_columns, as_frame
from kleiber.maths.seeds import stream
from kleiber.rows import given_columns
from kleiber.table import digest, numbers, require

MOST_ROWS = 4_000  # of a group; more are thinned, since they cost time and change little
AHEAD = (2.0, 10.0)  # times the largest measured product, where no rows are asked for


def forecast(
    table: Any,
    at: Any = None,
    *,
    x: str | Sequence[str],
    target: str = "loss",
    group: str | Sequence[str] | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Forecast:
    """Forecast the target beyond the measured rows, with the interval of a new measurement.

    Curves that fall as powers of the columns of ``x``, with and without a floor, with terms that
    add or interact, are fitted with weights that favour the rows near the frontier, and averaged,

        log L(x) = sum_m w_m log L_m(x),

    with weights w_m from their evidence and their errors in back-tests.

    Parameters
    ----------
    table
        Measured runs: any data frame, or a mapping from names to columns.
    at
        The rows to forecast: a table with the columns of ``x`` (and those of ``group``; without
        them every group is forecast at every row). Without it, two and ten times beyond the largest
        measured product of the columns.
    x
        The column, or the columns, that the target falls with: ``"n_data"``, or ``("n_params",
        "n_tokens")``.
    target
        The column to forecast: positive, and falling, or between 0 and 1 and rising as an accuracy
        does (then 1 - target is what is averaged).
    group
        The column or columns whose values tell apart curves of their own.
    level
        The level of the intervals, between 0 and 1.
    seed
        Of the draws of parameters.

    Returns
    -------
    Forecast
        ``table`` with ``predicted``, ``low`` and ``high``, ``weights`` of laws, ``expected_error``
        and ``notes``. A group whose rows cannot support what is asked has no forecast, and
        ``why`` says so.

    Raises
    ------
    BadTable
        For a column that is missing or holds no positive numbers, and a target that rises without
        lying between 0 and 1.

    Examples
    --------
    >>> import kleiber
    >>> sizes = [1e3 * 2**k for k in range(10)]
    >>> runs = {"n_data": sizes, "loss": [0.5 + 20 / n**0.5 for n in sizes]}
    >>> made = kleiber.forecast(runs, {"n_data": [2e6, 4e6]}, x="n_data")
    >>> [round(value, 2) for value in made.table["predicted"]]
    [0.51, 0.51]
    """
    names, groups = check_columns("x", x), [] if group is None else check_columns("group", group)
    target, level = check_text("target", target, "the name of a column"), check_level(level)
    frame = as_frame(table)
    _check_names(frame, names, target, groups)
    columns = np.stack([numbers(frame, name, positive=True) for name in names], axis=1)
    measured = numbers(frame, target, positive=True)
    if not len(measured):
        raise BadTable("The table has no rows to forecast from.")
    parts = _split(frame, groups)
    wanted = None if at is None else as_frame(at)
    if wanted is not None:
        require(wanted, names)
        if not len(wanted):
            raise BadTable("There are no rows to forecast: the table of them is empty.")
        wanted = _cross(wanted, groups, list(parts))
    reverse = is_reversed(target, [(columns[rows], measured[rows]) for rows in parts.values()])
    y = reversed_target(frame, target, measured) if reverse else measured
    asked: dict[tuple[Any, ...], Asked] = {}
    for key, rows in parts.items():
        own = _asked_rows(wanted, names, groups, key, columns[rows])
        kept = _spread(columns[rows])
        asked[key] = Asked(tuple(names), columns[rows][kept], y[rows][kept], own)
    made = _forecast_groups(asked, target, reverse=reverse, level=level, seed=seed)
    if wanted is None:
        at = wanted = pl.concat([_as_rows(groups, key, item) for key, item in asked.items()])
    elif groups and not set(groups) <= set(as_frame(at).columns):
        at = wanted
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    found = Forecast(
        None, tuple(names), target, tuple(groups), level, seed, made, digest(frame), today
    )
    whole = add_columns(at, predict_rows(found, wanted, level))
    return Forecast(
        whole, tuple(names), target, tuple(groups), level, seed, made, found.digest, today
    )


def _spread(x: np.ndarray) -> np.ndarray:
    """Return the numbers of at most MOST_ROWS rows, spread evenly over their product."""
    if len(x) <= MOST_ROWS:
        return np.arange(len(x))
    order = np.argsort(np.log(x).sum(axis=1), kind="stable")
    return np.sort(order[np.linspace(0, len(x) - 1, MOST_ROWS).round().astype(int)])


def _check_names(
    frame: pl.DataFrame, names: Sequence[str], target: str, groups: Sequence[str]
) -> None:
    for name in (*names, target, *groups):
        if name not in frame.columns:
            raise BadTable(
                f"No column {name!r}; the table has {listed(given_columns(frame))}."
                f"{nearest(name, given_columns(frame))}"
            )
    both = [*names, target, *groups]
    twice = [name for name in both if both.count(name) > 1]
    if twice:
        raise BadTable(
            f"{twice[0]!r} is named twice among x, target and group; each column has one role."
        )


def _split(frame: pl.DataFrame, groups: Sequence[str]) -> dict[tuple[Any, ...], np.ndarray]:
    """Return the numbers of the rows of each group, in the order in which groups first come."""
    if not groups:
        return {(): np.arange(len(frame))}
    for name in groups:
        if frame[name].null_count():
            raise BadTable(f"Column {name!r} to group by has a missing value.")
    out: dict[tuple[Any, ...], list[int]] = {}
    for k, key in enumerate(frame.select(groups).iter_rows()):
        out.setdefault(key, []).append(k)
    return {key: np.array(rows) for key, rows in out.items()}


def _cross(
    wanted: pl.DataFrame, groups: Sequence[str], keys: Sequence[tuple[Any, ...]]
) -> pl.DataFrame:
    """Return the rows that are asked for, for every group where they do not name one."""
    missing = [name for name in groups if name not in wanted.columns]
    if not groups or not missing:
        return wanted
    if len(missing) < len(groups):
        raise BadTable(f"The rows to forecast lack {listed(missing)}; give all columns of groups.")
    known = pl.DataFrame(dict(zip(groups, zip(*keys, strict=True), strict=True)))
    return known.join(wanted, how="cross")


def _asked_rows(
    wanted: pl.DataFrame | None,
    names: Sequence[str],
    groups: Sequence[str],
    key: tuple[Any, ...],
    measured: np.ndarray,
) -> np.ndarray:
    """Return the columns of the rows that are asked of one group."""
    if wanted is None:
        frontier = np.exp(np.log(measured[np.log(measured).sum(axis=1).argmax()]))
        return frontier * np.array(AHEAD)[:, None] ** (1 / len(names))
    own = wanted
    if groups:
        same = [pl.col(n).cast(pl.String) == str(v) for n, v in zip(groups, key, strict=True)]
        own = wanted.filter(pl.all_horizontal(same))
    return np.stack([numbers(own, name, positive=True) for name in names], axis=1)


def _as_rows(groups: Sequence[str], key: tuple[Any, ...], asked: Asked) -> pl.DataFrame:
    frame = pl.DataFrame(asked.at, schema=list(asked.names), orient="row")
    return frame.select(*(pl.lit(v).alias(n) for n, v in zip(groups, key, strict=True)), pl.all())


def _forecast_groups(
    asked: dict[tuple[Any, ...], Asked], target: str, *, reverse: bool, level: float, seed: int
) -> tuple[GroupForecast, ...]:
    """Forecast every group that its rows support, all of them at once."""
    refused = {key: refusal(item) for key, item in asked.items() if len(item.at)}
    kept = [key for key, why in refused.items() if not why]
    curves = [_curve(asked[key]) for key in kept]
    members = dict(zip(kept, fit_members(curves) if curves else [], strict=True))
    out: list[GroupForecast] = []
    for key, item in asked.items():
        largest = float(np.exp(np.log(item.x).sum(axis=1).max()))
        if key in members:
            rng = stream(seed, f"forecast {key}")
            out.append(
                conclude(key, item, members[key], rng, target=target, reverse=reverse, level=level)
            )
        else:
            why = refused.get(key, "No row of this group is asked for.")
            out.append(GroupForecast(key, len(item.x), None, why, largest))
    return tuple(out)


def _curve(asked: Asked) -> Curve:
    x, at = np.log(asked.x), np.log(asked.at)
    return Curve(x, np.log(asked.y), distance_of(x.sum(axis=1), at.sum(axis=1)))
