"""Predictions of a theory as curves, with simulated or measured values as points beside them.

Panels are frozen records of numbers and words; no drawing library is imported here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.errors import BadTable, listed
from kleiber.reports.axes import Axis, axis_label, format_number, make_axis, shorten_name
from kleiber.table import numbers, require

MOST_PANES, MOST_GROUPS = 6, 7
BESIDE = ("seed", "source", "n_seeds", "seconds")  # columns of a simulation that are no result
CENTRES = ("mean", "median")


@dataclass(frozen=True, eq=False)
class Trace:
    """One curve, or one series of points with the ends of their error bars (NaN without one)."""

    x: Float[np.ndarray, "points"]
    y: Float[np.ndarray, "points"]
    low: Float[np.ndarray, "points"]
    high: Float[np.ndarray, "points"]
    shade: float  # 0 to 1: where on the ramp of colours


@dataclass(frozen=True, eq=False)
class Pane:
    """One predicted column against x: curves of the theory, and points beside them."""

    title: str
    x: Axis
    y: Axis
    curves: tuple[Trace, ...]
    points: tuple[Trace, ...]


@dataclass(frozen=True, eq=False)
class Overlay:
    """All panes, one for each column, and the text above and below them."""

    title: str
    about: str
    panes: tuple[Pane, ...]
    groups: tuple[tuple[str, float], ...]  # name and shade of each value of the grouping column
    notes: tuple[str, ...]


def overlay(
    theory: pl.DataFrame | None,
    measured: pl.DataFrame | None,
    *,
    x: str,
    by: str | None = None,
    columns: Sequence[str] | None = None,
    centre: str = "mean",
    title: str = "theory and simulation",
    about: str = "",
) -> Overlay:
    """Return panes of the columns that both tables have (of ``columns``, if given) against ``x``.

    Rows of ``measured`` with the same x and the same ``by`` are seeds of one point: their mean with
    two standard errors, or with ``centre="median"`` their median with the 95% interval that order
    statistics give. Raises BadTable if a table lacks a column or there is nothing to show.
    """
    frames = [frame for frame in (theory, measured) if frame is not None]
    if not frames or centre not in CENTRES:
        raise BadTable(f"Give a table, and centre as one of {', '.join(CENTRES)}; got {centre!r}.")
    keys = [name for name in (x, by) if name is not None]
    for frame in frames:
        require(frame, [*keys, *(columns or ())])
    names = list(columns or shared_columns(frames, keys))[:MOST_PANES]
    if not names:
        raise BadTable(f"No column is left to draw beside {listed([*keys, *BESIDE])}.")
    groups = _groups(frames, by)
    panes = tuple(_pane(name, theory, measured, x, by, groups, centre) for name in names)
    named = tuple((_group_name(by, value), shade) for value, shade in groups) if by else ()
    return Overlay(title, about, panes, named, _notes(theory, measured, keys, centre))


def shared_columns(frames: Sequence[pl.DataFrame], keys: Sequence[str]) -> list[str]:
    """Return the numeric columns that all frames have and that vary, in the order of the first
    frame."""
    first = frames[0]
    return [
        name
        for name in first.columns
        if name not in (*keys, *BESIDE)
        and all(name in frame.columns and frame[name].dtype.is_numeric() for frame in frames)
        and any(frame[name].drop_nulls().drop_nans().n_unique() > 1 for frame in frames)
    ]


def _groups(frames: Sequence[pl.DataFrame], by: str | None) -> list[tuple[float, float]]:
    """Return values of the grouping column (a selection if there are many) and their shades."""
    if by is None:
        return [(math.nan, 0.3)]
    values = np.unique(np.concatenate([numbers(frame, by) for frame in frames[-1:]]))
    if len(values) > MOST_GROUPS:
        values = values[np.linspace(0, len(values) - 1, MOST_GROUPS).round().astype(int)]
    return list(zip(values.tolist(), np.linspace(0, 1, len(values)).tolist(), strict=True))


def _group_name(by: str, value: float) -> str:
    plain_text = f"{value:g}"
    return f"{shorten_name(by)} = {format_number(value, 3) if 'e' in plain_text else plain_text}"


def _pane(
    name: str,
    theory: pl.DataFrame | None,
    measured: pl.DataFrame | None,
    x: str,
    by: str | None,
    groups: Sequence[tuple[float, float]],
    centre: str,
) -> Pane:
    curves: list[Trace] = []
    points: list[Trace] = []
    for value, shade in groups:
        if theory is not None and (part := _part(theory, name, by, value)).height:
            part = part.unique(x, keep="first").sort(x)
            no_values = np.full(part.height, np.nan)
            curves.append(Trace(numbers(part, x), numbers(part, name), no_values, no_values, shade))
        if measured is not None and (part := _part(measured, name, by, value)).height:
            points.append(_summary(part, name, x, centre, shade))
    traces = [*curves, *points]
    return Pane(
        name,
        make_axis(axis_label(x), _join_parts([t.x for t in traces]), log=True),
        make_axis(
            axis_label(name).removesuffix(" (nats)"),  # a theory has its own unit
            _join_parts([t.y for t in traces]),
            log=False,
        ),
        tuple(curves),
        tuple(points),
    )


def _part(frame: pl.DataFrame, name: str, by: str | None, value: float) -> pl.DataFrame:
    """Return the rows of one group in which the column has a finite value."""
    kept = frame.filter(pl.col(name).cast(pl.Float64).is_finite())
    return kept if by is None else kept.filter(pl.col(by) == value)


def _join_parts(parts: Sequence[Float[np.ndarray, "_"]]) -> Float[np.ndarray, "all"]:
    return np.concatenate([*parts, np.empty(0)])


def _summary(part: pl.DataFrame, name: str, x: str, centre: str, shade: float) -> Trace:
    """Return the centre of the seeds at each x, with its error bar."""
    at, y = numbers(part, x), numbers(part, name)
    places = np.unique(at)
    rows = [_centre(y[at == place], centre) for place in places]
    middle, low, high = (np.array(each, dtype=float) for each in zip(*rows, strict=True))
    return Trace(places, middle, low, high, shade)


def _centre(values: Float[np.ndarray, "seeds"], centre: str) -> tuple[float, float, float]:
    """Return the mean ± 2 standard errors, or the median with its interval from order
    statistics."""
    count = len(values)
    if count < 2:
        return float(values[0]), math.nan, math.nan
    if centre == "mean":
        middle, spread = float(values.mean()), 2 * float(values.std(ddof=1)) / math.sqrt(count)
        return middle, middle - spread, middle + spread
    ranked = np.sort(values)
    far = 0.98 * math.sqrt(count)  # 1.96 standard deviations of a binomial of one half
    low = ranked[max(math.floor((count - 1) / 2 - far), 0)]
    high = ranked[min(math.ceil((count - 1) / 2 + far), count - 1)]
    return float(np.median(values)), float(low), float(high)


def _notes(
    theory: pl.DataFrame | None,
    measured: pl.DataFrame | None,
    keys: Sequence[str],
    centre: str,
) -> tuple[str, ...]:
    """Explain what lines and points show."""
    if measured is None:
        return ("lines are the theory",)
    each = measured.group_by(keys).len()["len"]
    minimum, maximum = int(np.min(each.to_numpy())), int(np.max(each.to_numpy()))
    count = f"{maximum}" if minimum == maximum else f"{minimum} to {maximum}"
    bars = "two standard errors" if centre == "mean" else "95% intervals from order statistics"
    points = f"points are {centre}s over {count} seeds, their bars {bars}"
    return (points,) if theory is None else ("lines are the theory", points)
