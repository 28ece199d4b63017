"""Panels: what the figure of a fit shows, as frozen records of numbers and words.

No drawing library is imported here. Rows keep the order of the table; every range is the one to
be shown, margins included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from kleiber.columns import COLUMNS
from kleiber.errors import BadFormula, BadTable
from kleiber.fitting.judge.status import Status
from kleiber.fitting.posing import positive_columns
from kleiber.fitting.record import Fit
from kleiber.measurements import take_columns
from kleiber.reports.axes import MINUS, Axis, axis_label, make_axis, short, unit_of, written
from kleiber.table import digest, numbers

GRID = 121  # points of a curve
QUANTILES = (0.05, 0.275, 0.5, 0.725, 0.95)  # where the second variable is held
BARS = 300  # at most so many rows get an interval of their own
POINTS = 1200  # at most about so many rows are drawn as points
FURTHEST = 100  # rows with the largest residuals that are always among them


@dataclass(frozen=True, eq=False)
class Colour:
    """What the points' colour stands for: an axis of its own, and its value in every row."""

    axis: Axis
    values: Float[np.ndarray, "rows"]


@dataclass(frozen=True, eq=False)
class PanelCurve:
    """The law along x, the second variable held at ``at``; no ends where there is no band."""

    x: Float[np.ndarray, "points"]
    y: Float[np.ndarray, "points"]
    low: Float[np.ndarray, "points"] | None
    high: Float[np.ndarray, "points"] | None
    at: float | None


@dataclass(frozen=True, eq=False)
class LawPanel:
    """Data and law against the law's first variable; ``held`` are values of those not shown, and
    ``note`` says so."""

    x: Axis
    y: Axis
    data_x: Float[np.ndarray, "rows"]
    data_y: Float[np.ndarray, "rows"]
    curves: tuple[PanelCurve, ...]
    held: Mapping[str, float]
    note: str


@dataclass(frozen=True, eq=False)
class ResidualPanel:
    """Residuals, on the noise model's scale, against predictions; ``width`` is Huber's."""

    x: Axis
    y: Axis
    predicted: Float[np.ndarray, "drawn"]
    residual: Float[np.ndarray, "drawn"]
    width: float | None


@dataclass(frozen=True, eq=False)
class MatchPanel:
    """Predicted against measured; ``low`` to ``high``, of the rows ``barred``, is the interval of
    one further run, which ``inside`` of those rows' own measurements lie in."""

    x: Axis
    y: Axis
    measured: Float[np.ndarray, "drawn"]
    predicted: Float[np.ndarray, "drawn"]
    barred: Int[np.ndarray, "bars"]
    low: Float[np.ndarray, "bars"]
    high: Float[np.ndarray, "bars"]
    inside: int


@dataclass(frozen=True)
class Parameter:
    """One parameter in words: its value, and its interval or why it has none."""

    name: str
    value: str
    interval: str


@dataclass(frozen=True, eq=False)
class Panels:
    """All that the figure of a fit shows.

    ``drawn`` are the rows of the table for which the law has a value, the rows of the panels
    ``residuals`` and ``match``, and ``shown`` those worth a point each, all unless they are very
    many (a note says how they were chosen); ``formula`` is "" when the law has none that can be
    written; ``settled`` is false for a fit that nothing may rest on; ``misfit`` says how badly the
    law misses the table, and ``missed`` whether that is beyond noise.
    """

    title: str
    about: str
    formula: str
    target: str
    variables: tuple[str, ...]
    params: tuple[Parameter, ...]
    status: str
    reason: str
    settled: bool
    converged: bool
    misfit: str
    missed: bool
    facts: str
    band: str
    notes: tuple[str, ...]
    drawn: Int[np.ndarray, "drawn"]
    shown: Bool[np.ndarray, "rows"]
    colour: Colour | None
    law: LawPanel
    residuals: ResidualPanel
    match: MatchPanel


def fit_panels(fit: Fit, table: Any) -> Panels:
    """The panels of a fit: data, law and band; residuals; predicted against measured.

    ``table`` has the law's variables and the target, normally the table that was fitted (a note
    says so when it is another). Raises BadTable when it lacks a column or has unusable values.
    """
    frame, columns = take_columns(table, fit.law.variables, positive_columns(fit.law))
    y = numbers(frame, fit.target, positive=_log(fit))
    if not len(y):
        raise BadTable("The table has no rows, so there is nothing to draw.")
    with np.errstate(all="ignore"):
        value = np.broadcast_to(np.asarray(fit.law(**columns, **fit.params), float), y.shape)
        residual = np.log(value) - np.log(y) if _log(fit) else value - y
        drawn = np.flatnonzero(np.isfinite(residual))
        law, colour = _law_panel(fit, columns, y)
        shown = worth_drawing(y, residual)
        match = _match_panel(fit, frame[drawn.tolist()], y[drawn], value[drawn])
        params = tuple(_parameter(fit, name) for name in fit.params)
    return Panels(
        title=f"{_title(fit.law.name)} fitted to {short(fit.target)}",
        about=_about(fit),
        formula=_formula(fit),
        target=fit.target,
        variables=fit.law.variables,
        params=params,
        status=str(fit.status),
        reason=fit.reason,
        settled=fit.usable,
        converged=fit.status is Status.CONVERGED,
        misfit="" if fit.misfit is None else fit.misfit.sentence,
        missed=fit.misfit is not None and fit.misfit.alarm,
        facts=_facts(fit, len(y)),
        band=_band(fit, law.curves),
        notes=_notes(fit, frame, residual, shown, match),
        drawn=drawn,
        shown=shown,
        colour=colour,
        law=law,
        residuals=_residual_panel(fit, value[drawn], residual[drawn]),
        match=match,
    )


def _law_panel(
    fit: Fit, columns: Mapping[str, np.ndarray], y: np.ndarray
) -> tuple[LawPanel, Colour | None]:
    """The first panel, and the colours that show the second variable."""
    along, *others = sorted(columns, key=lambda name: bool(np.ptp(columns[name]) == 0))
    by = others[0] if others and np.ptp(columns[others[0]]) > 0 else None
    held = {name: float(np.median(columns[name])) for name in others if name != by}
    x = make_axis(axis_label(along), columns[along], log=_log(fit), margin=0.03)
    ends = float(columns[along].min()), float(columns[along].max())
    grid = np.geomspace(*ends, GRID) if x.log else np.linspace(*ends, GRID)
    if by is None:
        curves: tuple[PanelCurve, ...] = (_curve(fit, along, {along: grid, **held}, None),)
    else:
        levels = representative(columns[by])
        curves = tuple(_curve(fit, along, {along: grid, **held, by: at}, at) for at in levels)
    note = _held({name: columns[name] for name in held})
    panel = LawPanel(x, _law_axis(fit, y, curves), columns[along], y, curves, held, note)
    if by is None:
        return panel, None
    return panel, Colour(
        make_axis(axis_label(by), columns[by], log=_log(fit), margin=0.0), columns[by]
    )


def _held(columns: Mapping[str, Float[np.ndarray, "rows"]]) -> str:
    """At which values the first panel draws the law in the variables that it does not show."""
    notes: list[str] = []
    for name, values in columns.items():
        how = "in all rows" if np.ptp(values) == 0 else "(the median)"
        unit = f" {unit_of(name)}" if unit_of(name) else ""
        notes.append(f"{short(name)} = {written(float(np.median(values)))}{unit} {how}")
    return f"law drawn at {', '.join(notes)}" if notes else ""


def representative(values: Float[np.ndarray, "rows"]) -> list[float]:
    """All values when they are few, else five measured ones: quantiles from 5% to 95%."""
    distinct = np.unique(values)
    if len(distinct) > len(QUANTILES):
        distinct = np.unique(np.quantile(values, QUANTILES, method="nearest"))
    return [float(value) for value in distinct]


def _curve(fit: Fit, along: str, columns: Mapping[str, Any], at: float | None) -> PanelCurve:
    """The law on a grid; without draws no band (one from the covariance would be another thing)."""
    points = pl.DataFrame({n: np.broadcast_to(v, (GRID,)).copy() for n, v in columns.items()})
    x = points[along].to_numpy()
    if not fit.n_draws:
        y = fit.law(**{name: points[name].to_numpy() for name in points.columns}, **fit.params)
        return PanelCurve(x, np.broadcast_to(y, (GRID,)), None, None, at)
    found = fit.predict(points, fit.level)
    low, high = found["low"].to_numpy(), found["high"].to_numpy()
    if not (np.isfinite(low) & np.isfinite(high)).any():
        return PanelCurve(x, found["predicted"].to_numpy(), None, None, at)
    return PanelCurve(x, found["predicted"].to_numpy(), low, high, at)


def worth_drawing(
    y: Float[np.ndarray, "rows"], residual: Float[np.ndarray, "rows"]
) -> Bool[np.ndarray, "rows"]:
    """All rows; of very many the largest residuals, and others spread evenly in order of y."""
    if len(y) <= POINTS:
        return np.ones(len(y), dtype=bool)
    chosen = np.zeros(len(y), dtype=bool)
    every = np.linspace(0, len(y) - 1, POINTS - FURTHEST).round().astype(np.int64)
    chosen[np.argsort(y, kind="stable")[every]] = True
    size = np.where(np.isfinite(residual), np.abs(residual), -1.0)
    chosen[np.argsort(-size, kind="stable")[:FURTHEST]] = True
    return chosen


def _law_axis(fit: Fit, y: np.ndarray, curves: Iterable[PanelCurve]) -> Axis:
    """Shows all data, and curves and bands as far as they do not dwarf them."""
    lines = [line for c in curves for line in (c.y, c.low, c.high) if line is not None]
    return make_axis(
        axis_label(fit.target), y, log=_log(fit), also=np.concatenate(lines), margin=0.05
    )


def _residual_panel(fit: Fit, value: np.ndarray, residual: np.ndarray) -> ResidualPanel:
    log = _log(fit)
    unit = "" if log or not unit_of(fit.target) else f" ({unit_of(fit.target)})"
    label = f"log predicted {MINUS} log measured" if log else f"predicted {MINUS} measured{unit}"
    size = 1.1 * float(np.abs(residual).max(initial=0.0)) or 1.0
    y = Axis(label, False, -size, size)
    return ResidualPanel(_value_axis(fit, "Predicted", value), y, value, residual, fit.noise.delta)


def _match_panel(
    fit: Fit, frame: pl.DataFrame, measured: np.ndarray, predicted: np.ndarray
) -> MatchPanel:
    barred, low, high = np.empty(0, np.int64), np.empty(0), np.empty(0)
    known = fit.components is not None or fit.options.by is None
    if fit.n_draws and len(fit.residuals) and len(measured) and known:
        order = np.argsort(predicted, kind="stable")
        every = np.linspace(0, len(order) - 1, min(BARS, len(order))).round().astype(np.int64)
        barred = np.sort(order[every])
        found = fit.predict(frame[barred.tolist()], fit.level, new_run=True)
        low, high = found["low"].to_numpy(), found["high"].to_numpy()
        finite = np.isfinite(low) & np.isfinite(high)
        barred, low, high = barred[finite], low[finite], high[finite]
    inside = int(((low <= measured[barred]) & (measured[barred] <= high)).sum())
    both = np.concatenate([measured, predicted])
    x, y = (_value_axis(fit, word, both, [*low, *high]) for word in ("Measured", "Predicted"))
    return MatchPanel(x, y, measured, predicted, barred, low, high, inside)


def _value_axis(fit: Fit, word: str, values: np.ndarray, also: Iterable[float] = ()) -> Axis:
    unit = f" ({unit_of(fit.target)})" if unit_of(fit.target) else ""
    name = fit.target.replace("_", " ") if fit.target in COLUMNS else short(fit.target)
    label = f"{word} {name}{unit}"
    return make_axis(label, values, log=_log(fit), also=np.array([*also]), margin=0.05)


def _parameter(fit: Fit, name: str) -> Parameter:
    value = written(fit.params[name])
    if name in fit.options.fixed:
        return Parameter(name, value, "fixed")
    low, high = fit.interval(name, fit.level)
    if np.isnan(low) or np.isnan(high):
        ends = "no interval"
    else:
        ends = f"{written(low)} to {written(high)}"
    return Parameter(name, value, f"{ends}, tied" if name in fit.options.tied else ends)


def _log(fit: Fit) -> bool:
    """Whether residuals, and so the axes, are on a log scale."""
    return fit.noise.scale == "log"


def _title(name: str) -> str:
    return "Formula" if name == "formula" else short(name)


def _about(fit: Fit) -> str:
    """What the law says of itself; a formula typed by hand says nothing more."""
    about = " ".join(fit.law.doc.split("\n\n")[0].split())
    return "" if fit.law.name == "formula" else about


def _formula(fit: Fit) -> str:
    try:
        return fit.law.formula if fit.law.expr is not None else ""
    except BadFormula:  # longer than any reader would follow
        return ""


def _facts(fit: Fit, rows: int) -> str:
    facts = [f"{rows:,} rows", fit.noise.describe()]
    if fit.n_draws:
        what = f"groups of {short(fit.options.by)!r}" if fit.options.by else "rows"
        facts.append(
            f"intervals at {100 * fit.level:g}% from {fit.n_draws:,} refits to resampled {what}"
        )
    elif fit.covariance is not None:
        facts.append(f"intervals at {100 * fit.level:g}% from the covariance alone")
    return "; ".join(facts)


def _band(fit: Fit, curves: Iterable[PanelCurve]) -> str:
    """What the band is, or why there is none."""
    spare = fit.units - (1 if fit.options.by else len(fit.free))
    if fit.rows and spare <= 0:
        what = "group" if fit.options.by else "row"
        return f"no band: {fit.units} {what}{'s' * (fit.units != 1)} cannot show how far runs vary"
    if not fit.n_draws:
        return "no band: the fit has no draws (fit again with draws=1000)"
    if all(curve.low is None for curve in curves):
        return "no band: the interval of the law is unknown everywhere"
    return f"{100 * fit.level:g}% interval of the law"


def _notes(
    fit: Fit,
    frame: pl.DataFrame,
    residual: Float[np.ndarray, "rows"],
    shown: Bool[np.ndarray, "rows"],
    match: MatchPanel,
) -> tuple[str, ...]:
    said = "" if fit.misfit is None else fit.misfit.sentence  # it stands in the header
    notes = [note for note in fit.notes if note != said]
    known: Bool[np.ndarray, "rows"] = np.isfinite(residual)
    if not known.all():
        notes.append(
            f"{(~known).sum():,} of {len(known):,} rows are missing from the panels at the right: "
            "the law has no usable value there"
        )
    if not shown.all():
        notes.append(
            f"{shown.sum():,} of {len(shown):,} runs are drawn: the {FURTHEST} with the largest "
            f"residuals, and others evenly by {short(fit.target)}; the fit uses all"
        )
    if 0 < len(match.barred) < len(match.measured):
        notes.append(
            f"{len(match.barred)} of {len(match.measured):,} intervals of a new run are drawn"
        )
    if fit.digest and digest(frame) != fit.digest and not _same(residual, fit.residuals):
        notes.append("the table drawn is not the table that was fitted")
    return tuple(dict.fromkeys(notes))


def _same(one: Float[np.ndarray, "rows"], other: Float[np.ndarray, "others"]) -> bool:
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-6, atol=1e-9)
