"""Panels: the contents of a fit's figure, as frozen records of numbers.

No drawing library is imported here, and nothing is said about ranges, ticks or colours: whatever
draws the panels decides those. Rows keep the order of the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from kleiber.columns import COLUMNS
from kleiber.errors import BadTable
from kleiber.fitting.record import Fit
from kleiber.fitting.table_problem import positive_columns
from kleiber.measurements import take_columns
from kleiber.reports.axes import MINUS, Axis, axis_label, make_axis, shorten_name, unit_of
from kleiber.table import digest, numbers

GRID = 121  # points of a curve
QUANTILES = (0.05, 0.275, 0.5, 0.725, 0.95)  # where the second variable is held
BARS = 300  # at most so many rows get an interval of their own
POINTS = 1200  # at most about so many rows are drawn as points
FURTHEST = 100  # rows with the largest residuals that are always among them


@dataclass(frozen=True, eq=False)
class Colour:
    """The variable that the points' colour shows: its axis, and its value in every row."""

    axis: Axis
    values: Float[np.ndarray, "rows"]


@dataclass(frozen=True, eq=False)
class PanelCurve:
    """The law along x with the second variable fixed ``at`` a value; without a band it has no
    ends."""

    x: Float[np.ndarray, "points"]
    y: Float[np.ndarray, "points"]
    low: Float[np.ndarray, "points"] | None
    high: Float[np.ndarray, "points"] | None
    at: float | None


@dataclass(frozen=True, eq=False)
class LawPanel:
    """Data and law against the law's first variable; ``held`` are the values of variables that are
    not shown: those in ``constant`` are equal in every row, the others are medians."""

    x: Axis
    y: Axis
    data_x: Float[np.ndarray, "rows"]
    data_y: Float[np.ndarray, "rows"]
    curves: tuple[PanelCurve, ...]
    held: Mapping[str, float]
    constant: frozenset[str]


@dataclass(frozen=True, eq=False)
class ResidualPanel:
    """Residuals, on the noise model's scale, against predictions; ``width`` is the scale of the
    Huber loss."""

    x: Axis
    y: Axis
    predicted: Float[np.ndarray, "drawn"]
    residual: Float[np.ndarray, "drawn"]
    width: float | None


@dataclass(frozen=True, eq=False)
class MatchPanel:
    """Predicted against measured values; ``low`` to ``high``, of the rows ``barred``, is the
    prediction interval of a new run, and ``inside`` is how many of their measurements it
    contains."""

    x: Axis
    y: Axis
    measured: Float[np.ndarray, "drawn"]
    predicted: Float[np.ndarray, "drawn"]
    barred: Int[np.ndarray, "bars"]
    low: Float[np.ndarray, "bars"]
    high: Float[np.ndarray, "bars"]
    inside: int


@dataclass(frozen=True, eq=False)
class Panels:
    """A fit and the contents of its figure.

    ``drawn`` are the rows of the table for which the law has a value, the rows of the panels
    ``residuals`` and ``match``; ``shown`` says which rows are worth a point each, all unless they
    are very many; ``same`` is false where the table is not the one that was fitted.
    """

    fit: Fit
    drawn: Int[np.ndarray, "drawn"]
    shown: Bool[np.ndarray, "rows"]
    same: bool
    colour: Colour | None
    law: LawPanel
    residuals: ResidualPanel
    match: MatchPanel


def fit_panels(fit: Fit, table: Any) -> Panels:
    """Return the panels of a fit: data, law and band; residuals; predicted against measured.

    ``table`` has the law's variables and the target, normally the table that was fitted. Raises
    BadTable when it lacks a column or has unusable values.
    """
    frame, columns = take_columns(table, fit.law.variables, positive_columns(fit.law))
    log = _log(fit)
    y = numbers(frame, fit.target, positive=log)
    if not len(y):
        raise BadTable("The table has no rows, so there is nothing to draw.")
    with np.errstate(all="ignore"):
        value = np.broadcast_to(np.asarray(fit.law(**columns, **fit.params), float), y.shape)
        residual = np.log(value) - np.log(y) if log else value - y
        drawn = np.flatnonzero(np.isfinite(residual))
        law, colour = _law_panel(fit, columns, y)
        match = _match_panel(fit, frame[drawn.tolist()], y[drawn], value[drawn])
    changed = bool(fit.digest) and digest(frame) != fit.digest
    return Panels(
        fit=fit,
        drawn=drawn,
        shown=rows_to_draw(y, residual),
        same=not changed or _same(residual, fit.residuals),
        colour=colour,
        law=law,
        residuals=_residual_panel(fit, value[drawn], residual[drawn]),
        match=match,
    )


def _law_panel(
    fit: Fit, columns: Mapping[str, np.ndarray], y: np.ndarray
) -> tuple[LawPanel, Colour | None]:
    """Return the first panel, and the colours that show the second variable."""
    constant = frozenset(name for name, values in columns.items() if np.ptp(values) == 0)
    along, *others = sorted(columns, key=constant.__contains__)
    by = others[0] if others and others[0] not in constant else None
    held = {name: float(np.median(columns[name])) for name in others if name != by}
    x, *rest = (
        make_axis(axis_label(name), columns[name], log=_log(fit)) for name in (along, *others[:1])
    )
    ends = float(columns[along].min()), float(columns[along].max())
    grid = np.geomspace(*ends, GRID) if x.log else np.linspace(*ends, GRID)
    levels = [None] if by is None else representative(columns[by])
    curves = tuple(
        _curve(fit, along, {along: grid, **held} | ({by: at} if by else {}), at) for at in levels
    )
    axis = make_axis(axis_label(fit.target), y, log=_log(fit))
    panel = LawPanel(x, axis, columns[along], y, curves, held, constant)
    return panel, None if by is None else Colour(rest[0], columns[by])


def representative(values: Float[np.ndarray, "rows"]) -> list[float]:
    """Return all values if they are few, else five measured ones: quantiles from 5% to 95%."""
    distinct = np.unique(values)
    if len(distinct) > len(QUANTILES):
        distinct = np.unique(np.quantile(values, QUANTILES, method="nearest"))
    return [float(value) for value in distinct]


def _curve(fit: Fit, along: str, columns: Mapping[str, Any], at: float | None) -> PanelCurve:
    """Return the law on a grid, with a band if the fit has draws."""
    points = pl.DataFrame({n: np.broadcast_to(v, (GRID,)).copy() for n, v in columns.items()})
    x = points[along].to_numpy()
    if not fit.n_draws:
        y = fit.law(**{name: points[name].to_numpy() for name in points.columns}, **fit.params)
        return PanelCurve(x, np.broadcast_to(y, (GRID,)), None, None, at)
    found = fit.predict(points, fit.level)
    y, low, high = (found[name].to_numpy() for name in ("predicted", "low", "high"))
    known = (np.isfinite(low) & np.isfinite(high)).any()
    return PanelCurve(x, y, low if known else None, high if known else None, at)


def rows_to_draw(
    y: Float[np.ndarray, "rows"], residual: Float[np.ndarray, "rows"]
) -> Bool[np.ndarray, "rows"]:
    """Return the rows to draw: all, or of very many those with the largest residuals and others
    spread evenly in y."""
    chosen = np.full(len(y), len(y) <= POINTS)
    if len(y) > POINTS:
        chosen[np.argsort(y, kind="stable")[_even_indices(len(y), POINTS - FURTHEST)]] = True
        size = np.where(np.isfinite(residual), np.abs(residual), -1.0)
        chosen[np.argsort(-size, kind="stable")[:FURTHEST]] = True
    return chosen


def _even_indices(count: int, max_count: int) -> Int[np.ndarray, "chosen"]:
    """Return evenly spaced indices from 0 to count - 1, ends included."""
    return np.linspace(0, count - 1, min(max_count, count)).round().astype(np.int64)


def _residual_panel(fit: Fit, value: np.ndarray, residual: np.ndarray) -> ResidualPanel:
    unit = f" ({unit_of(fit.target)})" if unit_of(fit.target) else ""
    words = ("log predicted", "log measured", "") if _log(fit) else ("predicted", "measured", unit)
    y = Axis(f"{words[0]} {MINUS} {words[1]}{words[2]}", log=False)
    return ResidualPanel(_value_axis(fit, "Predicted", value), y, value, residual, fit.noise.delta)


def _match_panel(
    fit: Fit, frame: pl.DataFrame, measured: np.ndarray, predicted: np.ndarray
) -> MatchPanel:
    barred, low, high = np.empty(0, np.int64), np.empty(0), np.empty(0)
    known = fit.components is not None or fit.options.by is None
    if fit.n_draws and len(fit.residuals) and len(measured) and known:
        order = np.argsort(predicted, kind="stable")
        barred = np.sort(order[_even_indices(len(order), BARS)])
        found = fit.predict(frame[barred.tolist()], fit.level, new_run=True)
        low, high = found["low"].to_numpy(), found["high"].to_numpy()
        finite = np.isfinite(low) & np.isfinite(high)
        barred, low, high = barred[finite], low[finite], high[finite]
    inside = int(((low <= measured[barred]) & (measured[barred] <= high)).sum())
    both = np.concatenate([measured, predicted])
    x, y = (_value_axis(fit, word, both) for word in ("Measured", "Predicted"))
    return MatchPanel(x, y, measured, predicted, barred, low, high, inside)


def _value_axis(fit: Fit, word: str, values: np.ndarray) -> Axis:
    unit = f" ({unit_of(fit.target)})" if unit_of(fit.target) else ""
    name = fit.target.replace("_", " ") if fit.target in COLUMNS else shorten_name(fit.target)
    return make_axis(f"{word} {name}{unit}", values, log=_log(fit))


def _log(fit: Fit) -> bool:
    """Return whether residuals, and so the axes, are on a log scale."""
    return fit.noise.scale == "log"


def _same(one: Float[np.ndarray, "rows"], other: Float[np.ndarray, "others"]) -> bool:
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-6, atol=1e-9)
