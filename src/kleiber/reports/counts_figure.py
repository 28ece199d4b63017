# pyright: standard
# (matplotlib's own types are incomplete: most keyword arguments are unknown to a strict checker)
"""The figure of a fit of counts: exponents with their intervals, failure curves, and growth."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from kleiber.attempts.record import USABLE, CountFit
from kleiber.attempts.trend import Trend
from kleiber.errors import BadTable
from kleiber.reports import sheet
from kleiber.reports.axes import axis_label, make_axis
from kleiber.reports.sheet import FAINT, INK, Line, lines_of, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BODY = 4.6  # inches: the height of the panels
POINT: dict[str, Any] = {"marker": "o", "mec": "white", "mew": 0.6, "ms": 5.0, "ls": ""}
TALLEST = 30.0  # an interval's end is cut at so many times the largest estimate
NARROW = 0.7  # share of the step between values over which the series' points are spread
NAMES = 12  # so many groups have a name in a legend


def draw_counts(fit: CountFit, path: str | os.PathLike[str]) -> None:
    """Draw a fit of counts into a .svg, .png or .pdf file, written whole or not at all.

    Raises BadTable without any exponent to draw, ValueError for another suffix, ImportError when
    matplotlib is missing, OSError when the file cannot be written.
    """
    sheet.check_drawing(path)
    sheet.save_figure(compose_counts(fit), path, f"{fit.family.name} fitted to counts")


def compose_counts(fit: CountFit) -> Figure:
    """Return the figure of a fit of counts without writing it."""
    rows = [g for g, status in enumerate(fit.statuses) if status in USABLE]
    if not rows:
        raise BadTable(f"No group has an exponent to draw: {fit.reasons[0]}")
    head = [*lines_of(f"{fit.family.name}: {fit.family.doc}", 13.0, INK, bold=True)]
    head += [line for text in _sentences(fit) for line in lines_of(text, max_lines=3)]
    foot = [line for text in _missing(fit, rows) for line in lines_of(text, 8.5)]
    with sheet.styled():
        figure = sheet.blank([*head, Line((), 6.0)], foot, BODY)
        left, right = figure.subplots(1, 2, width_ratios=[1.2, 1.0])
        _draw_exponents(left, fit, rows)
        if fit.pooled is not None:
            _draw_rates(right, fit)
        else:
            _draw_failure(right, fit, rows)
        return sheet.freeze_layout(figure)


def _missing(fit: CountFit, rows: list[int]) -> list[str]:
    """Return what is not drawn."""
    said: list[str] = []
    if missing := len(fit.groups) - len(rows):
        said.append(f"{missing} of {len(fit.groups)} groups have no exponent.")
    if endless := len(rows) - len(_bounded(fit, rows)):
        said.append(f"{endless} more have an interval without end and are not drawn.")
    return [" ".join(said)] if said else []


def _bounded(fit: CountFit, rows: list[int]) -> list[int]:
    """Return the groups whose interval has two ends, not far beyond the others' exponents."""
    values, low, high = _exponents(fit)
    most = TALLEST * float(np.median(values[rows]))
    return [g for g in rows if low[g] > 0 and high[g] < most]


def _exponents(fit: CountFit) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the exponent of each group and the ends of its interval."""
    ends, values = fit.interval(fit.family.exponent), fit.exponent
    if len(fit.groups) == 1:
        ends, values = {fit.groups[0]: ends}, {fit.groups[0]: values}
    low, high = (np.array([end[i] for end in ends.values()]) for i in (0, 1))
    return np.array([values[group] for group in fit.groups]), low, high


def _sentences(fit: CountFit) -> list[str]:
    """Return what the fit says of growth."""
    if fit.pooled is not None:
        return [_upper(fit.pooled.summary())]
    return [
        f"{name}: {trend.summary()}" if name else _upper(trend.summary())
        for name, trend in _trends(fit).items()
    ]


def _upper(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _trends(fit: CountFit) -> Mapping[str, Trend]:
    trend: Any = fit.trend
    if trend is None:
        return {}
    return cast("Mapping[str, Trend]", trend) if isinstance(trend, Mapping) else {"": trend}


def _series(fit: CountFit, rows: list[int]) -> dict[str, list[int]]:
    """Return the usable groups of each series; without one, all groups as the series ""."""
    along = _along(fit)
    others = [name for name in fit.counts.keys.columns if name != along]
    out: dict[str, list[int]] = {}
    for g in rows:
        row = fit.counts.keys[g]
        name = ", ".join(str(row[column][0]) for column in others) if along else ""
        out.setdefault(name, []).append(g)
    return out if len(out) < len(rows) else {"": rows}


def _along(fit: CountFit) -> str | None:
    if fit.pooled is not None:
        return fit.pooled.along
    return next((trend.along for trend in _trends(fit).values()), None)


def _draw_exponents(axes: Axes, fit: CountFit, rows: list[int]) -> None:
    """Draw the exponent of each group with its interval, and the joint law."""
    along, known = _along(fit), _bounded(fit, rows)
    values, low, high = _exponents(fit)
    x = np.arange(len(fit.groups), dtype=float)
    if along is not None:
        x = fit.counts.keys[along].to_numpy().astype(float)
    y = make_axis(f"exponent {fit.family.exponent}", values[rows], log=True)
    label = make_axis(axis_label(along or "group"), x[rows], log=along is not None)
    series = _series(fit, rows)
    several = len(series) > 1
    sheet.label_axes(axes, label, y, "Exponents with their intervals", upright=40, legend=several)
    for place, (title, groups) in enumerate(series.items()):
        colour = sheet.ramp_colours()(place / max(len(series) - 1, 1))
        shown = [g for g in groups if g in known]
        beside = x[shown] * _beside(x[rows], place, len(series)) if several else x[shown]
        axes.plot(beside, values[shown], color=colour, label=plain(title), zorder=4, **POINT)
        axes.vlines(beside, low[shown], high[shown], color=colour, lw=1.2, alpha=0.7, zorder=3)
        _draw_curve(axes, fit, title, x[groups], colour)
    if several:
        sheet.add_legend(axes, *axes.get_legend_handles_labels())
    if along is None:
        axes.set_xticks(x, [plain(group) for group in fit.groups], rotation=30, ha="right")
    else:
        sheet.tick(axes.xaxis)
    sheet.tick(axes.yaxis)


def _beside(x: np.ndarray, place: int, series: int) -> float:
    """Return the factor that puts the points of one series beside those of the others."""
    steps = np.diff(np.unique(np.log(x)))
    return float(np.exp((place - (series - 1) / 2) * NARROW * steps.min(initial=1.0) / series))


def _draw_curve(axes: Axes, fit: CountFit, title: str, x: np.ndarray, colour: Any) -> None:
    """Draw the joint law of one series over its groups."""
    grid = np.geomspace(x.min(), x.max(), 60) if (x > 0).all() else x
    look: dict[str, Any] = {"color": colour, "lw": 1.3, "zorder": 2}
    if fit.pooled is not None:
        if title in fit.pooled.series:
            axes.plot(grid, fit.pooled.predict(title, grid), "-", **look)
    elif (trend := _trends(fit).get(title)) is not None and fit.family.name != "lid":
        axes.plot(grid, trend.predict(grid), "-", **look)


def _draw_rates(axes: Axes, fit: CountFit) -> None:
    """Draw the rate of each series by itself, and the pooled one."""
    pooled = fit.pooled
    assert pooled is not None
    names = list(pooled.series)
    at = np.arange(len(names))[::-1]
    span = np.log(max(pooled.x) / min(pooled.x))
    for place, (y, item) in enumerate(zip(at, pooled.series.values(), strict=True)):
        colour = sheet.ramp_colours()(place / max(len(names) - 1, 1))
        low, value, high = np.exp(span * np.array([item.low, item.value, item.high]))
        axes.hlines(y, low, high, color=colour, lw=1.6, zorder=3)
        axes.plot([value], [y], color=colour, zorder=4, **POINT)
    low, high = (float(np.exp(span * end)) for end in pooled.growth.interval)
    axes.axvspan(low, high, color=FAINT, alpha=0.18, lw=0)
    axes.axvline(float(np.exp(span * (pooled.growth.value or 0.0))), color=INK, lw=1.2)
    axes.axvline(1.0, color=FAINT, lw=0.8, ls=":")
    axes.set_yticks(at, [plain(name) for name in names])
    axes.set_xscale("log")
    axes.set_xlim(0.25, 8.0)
    sheet.tick(axes.xaxis)
    axes.set_title("Growth of each series, and pooled")
    axes.set_xlabel(
        f"factor of the exponent from {pooled.along} = {min(pooled.x):.3g} to {max(pooled.x):.3g}\n"
        f"(line and band: all series together, {pooled.rates} rates)"
    )
    axes.grid(True, axis="x")
    axes.set_axisbelow(True)


def _draw_failure(axes: Axes, fit: CountFit, rows: list[int]) -> None:
    """Draw the failure of each group by its law, against k; dashed beyond the attempts made."""
    most = float(fit.batch.attempts[rows].max())
    k = np.geomspace(1.0, max(10 * most, 100.0), 60)
    failure = np.exp(fit.family.log_failure(fit.peak.u[rows], k))
    label = make_axis("k: attempts", k, log=True)
    sheet.label_axes(axes, label, make_axis("failure", failure.ravel(), log=True), "Failure by law")
    for place, (g, y) in enumerate(zip(rows, failure, strict=True)):
        colour = sheet.ramp_colours()(place / max(len(rows) - 1, 1))
        own = float(fit.batch.attempts[g][fit.batch.weights[g] > 0].max())
        made = k <= own
        axes.plot(k[made], y[made], "-", color=colour, lw=1.5, label=plain(fit.groups[g]))
        axes.plot(k[~made], y[~made], "--", color=colour, lw=1.0)
    if 1 < len(rows) <= NAMES:
        axes.legend(loc="lower left")
    sheet.tick(axes.xaxis, axes.yaxis)
