"""Forecast: what is expected at rows beyond the data, and everything that it rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.brief import between, brief, number
from kleiber.brief import listed as listed_briefly
from kleiber.errors import BadTable, listed
from kleiber.fitting.spread.intervals import check_level
from kleiber.forecasting.mixture import Mixture
from kleiber.frames import add_columns, as_frame
from kleiber.table import numbers

ADDED = ("predicted", "low", "high", "beyond", "expected_error", "why")


@dataclass(frozen=True)
class NextRun:
    """The further run that is expected to narrow the farthest forecast most.

    Attributes
    ----------
    at
        The value of each column.
    remaining
        The share of the interval's width on the log scale that is expected to remain.

    Examples
    --------
    >>> from kleiber.forecasting.record import NextRun
    >>> NextRun({"n_data": 2e6}, 0.7).remaining
    0.7
    """

    at: Mapping[str, float]
    remaining: float


@dataclass(frozen=True)
class GroupForecast:
    """The forecast of one group, or the reason why there is none.

    Attributes
    ----------
    values
        The group's value in each column of groups.
    rows
        The number of its measured rows.
    mixture
        What it expects at any row; None where it is refused.
    why
        The sentence that refuses it.
    largest, ranges
        The largest measured product of the columns, and the ends of each.
    weights
        The weight of each law, all recencies together.
    tests
        The rows that back-tests forecast: their columns, ``measured``, ``predicted``, ``low``,
        ``high``, and ``beyond``, the product of the columns over the largest that was known.
    errors
        Noise, and error for each unit of log distance, that back-tests show.
    notes
        Sentences on what to mind.
    next_run
        The run that would help most.
    measured
        Its measured rows: the columns and the target.

    Examples
    --------
    >>> from kleiber.forecasting.record import GroupForecast
    >>> GroupForecast((), 2, None, "2 rows cannot support a forecast.").usable
    False
    """

    values: tuple[Any, ...]
    rows: int
    mixture: Mixture | None
    why: str = ""
    largest: float = math.nan
    ranges: Mapping[str, tuple[float, float]] = field(
        default_factory=dict[str, tuple[float, float]]
    )
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    tests: pl.DataFrame = field(default_factory=pl.DataFrame)
    errors: tuple[float, float] = (math.nan, math.nan)
    notes: tuple[str, ...] = ()
    next_run: NextRun | None = None
    measured: pl.DataFrame = field(default_factory=pl.DataFrame)

    def __repr__(self) -> str:
        laws = listed_briefly(f"{n} {w:.0%}" for n, w in self.weights.items() if w >= 0.005)
        head = listed_briefly(map(str, self.values))
        return brief("GroupForecast", head, {"rows": self.rows, "laws": laws, "refused": self.why})

    @property
    def usable(self) -> bool:
        """Whether there is a forecast."""
        return self.mixture is not None

    def expected_error(self, beyond: Float[np.ndarray, "rows"]) -> Float[np.ndarray, "rows"]:
        """Return the typical relative error at rows so many times beyond the data."""
        noise, growth = self.errors
        distance = np.log(np.maximum(beyond, 1.0))
        return np.sqrt(noise**2 + (growth * distance) ** 2)


@dataclass(frozen=True)
class Forecast:
    """What is expected of the target at further rows, with an interval of a new measurement.

    ``forecast`` makes it and ``save`` keeps it.

    Attributes
    ----------
    table
        The rows that were asked for with ``predicted``, ``low``, ``high`` (the interval of one new
        measurement), ``beyond`` (the product of the columns over the largest measured),
        ``expected_error`` (relative, from back-tests), and ``why``, the sentence that refuses it,
        where it is refused.
    x, target, group, level, seed
        As they were asked for.
    groups
        A ``GroupForecast`` for each group, or one for the whole table.
    digest
        The digest of the table that it was made from.
    date
        The day on which it was made.

    Examples
    --------
    >>> import kleiber
    >>> sizes = [1e3 * 2**k for k in range(10)]
    >>> runs = {"n_data": sizes, "loss": [0.5 + 20 / n**0.5 for n in sizes]}
    >>> made = kleiber.forecast(runs, {"n_data": [2e6]}, x="n_data")
    >>> f"{made.table['predicted'][0]:.2f}"
    '0.51'
    """

    table: Any
    x: tuple[str, ...]
    target: str
    group: tuple[str, ...]
    level: float
    seed: int
    groups: tuple[GroupForecast, ...]
    digest: str
    date: str

    def __repr__(self) -> str:
        frame = as_frame(self.table)
        rows = frame.select("predicted", "low", "high").head(3).iter_rows()
        told = listed_briefly(between(*row) for row in rows)
        more = f" and {len(frame) - 3} more" if len(frame) > 3 else ""
        laws = listed_briefly(f"{n} {w:.0%}" for n, w in self.weights.items() if w >= 0.005)
        parts = {"predicted": f"{told}{more}", "laws": laws, "groups": len(self.groups)}
        error = number(self.expected_error)
        return brief("Forecast", f"{self.target} by {' x '.join(self.x)}", parts | {"error": error})

    @property
    def usable(self) -> bool:
        """Whether every row that was asked for has a forecast."""
        return all(part.usable for part in self.groups)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each law, the mean over groups."""
        known = [part.weights for part in self.groups if part.usable]
        names = dict.fromkeys(name for weights in known for name in weights)
        return {name: sum(w.get(name, 0.0) for w in known) / len(known) for name in names}

    @property
    def expected_error(self) -> float:
        """The typical relative error (root mean square) at the rows that were asked for, from
        back-tests; NaN where there are none."""
        errors = as_frame(self.table)["expected_error"].drop_nulls().to_numpy()
        errors = errors[np.isfinite(errors)]
        return float(np.sqrt(np.mean(errors**2))) if len(errors) else math.nan

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what to mind, with the group's name where there are groups."""
        out: list[str] = []
        for part in self.groups:
            head = ", ".join(map(str, part.values))
            said = (part.why,) if part.why else part.notes
            out += [f"{head}: {sentence}" if head else sentence for sentence in said]
        return tuple(out)

    def predict(self, table: Any, level: float | None = None) -> Any:
        """Forecast further rows.

        Parameters
        ----------
        table
            Any data frame, or a mapping, with the columns of ``x``, and those of ``group``.
        level
            The level of the interval, between 0 and 1; as it was asked for without.

        Returns
        -------
        data frame
            The table, of the kind that was given, with the columns of ``table``.

        Raises
        ------
        BadTable
            For a column that is missing or holds no positive numbers, and for an unknown group.
        """
        level = self.level if level is None else check_level(level)
        return add_columns(table, predict_rows(self, as_frame(table), level))


def predict_rows(made: Forecast, frame: pl.DataFrame, level: float) -> dict[str, Any]:
    """Return the columns that a forecast adds to rows."""
    x = np.stack([numbers(frame, name, positive=True) for name in made.x], axis=1)
    out: dict[str, Any] = {name: np.full(len(frame), np.nan) for name in ADDED[:-1]}
    why: list[str | None] = [None] * len(frame)
    for part, rows in match_groups(made, frame):
        out["beyond"][rows] = np.exp(np.log(x[rows]).sum(axis=1)) / part.largest
        if part.mixture is None:
            for row in rows:
                why[row] = part.why
            continue
        found = part.mixture.interval(x[rows], level)
        for name, values in zip(ADDED[:3], found, strict=True):
            out[name][rows] = values
        out["expected_error"][rows] = part.expected_error(out["beyond"][rows])
    return out | {"why": pl.Series("why", why, dtype=pl.String)}


def match_groups(made: Forecast, frame: pl.DataFrame) -> list[tuple[GroupForecast, np.ndarray]]:
    """Return each group with the numbers of its rows in a frame. Raises BadTable for a row of no
    group."""
    if not made.group:
        return [(made.groups[0], np.arange(len(frame)))]
    places: dict[tuple[str, ...], list[int]] = {}
    for k, values in enumerate(frame.select(made.group).iter_rows()):
        places.setdefault(tuple(map(str, values)), []).append(k)
    known = {tuple(map(str, part.values)): part for part in made.groups}
    for key in places:
        if key not in known:
            raise BadTable(
                f"No group of the table has {listed(made.group)} = {', '.join(key)}; there are "
                f"{listed([', '.join(name) for name in known])}."
            )
    return [(known[key], np.array(rows)) for key, rows in places.items()]
