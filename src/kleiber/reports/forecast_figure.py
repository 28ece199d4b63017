# pyright: standard
# (matplotlib's own types are incomplete: most keyword arguments are unknown to a strict checker)
"""The figure of a forecast: measured rows, the forecast with its interval, and back-tests."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from kleiber.errors import BadTable
from kleiber.forecasting.record import Forecast, GroupForecast, match_groups
from kleiber.reports import sheet
from kleiber.reports.axes import TIMES, axis_label, make_axis
from kleiber.reports.sheet import INK, Line, lines_of, plain
from kleiber.table import as_frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 12  # groups that are drawn
ACROSS = 3  # panels beside one another
POINTS = 80  # of a curve
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"


def draw_forecast(made: Forecast, path: str | os.PathLike[str]) -> None:
    """Draw a forecast into a .svg, .png or .pdf file, written whole or not at all.

    Raises BadTable where every group is refused, ValueError for another suffix, ImportError when
    matplotlib is missing, OSError when the file cannot be written.
    """
    sheet.check_drawing(path)
    sheet.save_figure(compose_forecast(made), path, f"forecast of {made.target}")


def compose_forecast(made: Forecast) -> Figure:
    """Return the figure of a forecast without writing it."""
    frame = as_frame(made.table)
    parts = [(part, rows) for part, rows in match_groups(made, frame) if part.usable]
    if not parts:
        raise BadTable(f"There is no forecast to draw: {made.groups[0].why}")
    left_out = len(parts) - MOST
    parts = parts[:MOST]
    head = [*lines_of(f"Forecast of {made.target}", 13.0, INK, bold=True)]
    head += lines_of(_sentence(made), max_lines=2)
    foot = [line for note in made.notes[:4] for line in lines_of(note, 8.5, max_lines=2)]
    if left_out > 0:
        foot += lines_of(f"{left_out} more groups are not drawn.", 8.5)
    rows_of_panels = math.ceil(len(parts) / ACROSS)
    height = 4.6 if len(parts) == 1 else 2.9 * rows_of_panels
    with sheet.styled():
        figure = sheet.blank([*head, Line((), 6.0)], foot, height)
        shape = (1, 1) if len(parts) == 1 else (rows_of_panels, ACROSS)
        grid = np.ravel(figure.subplots(*shape, squeeze=False))
        for axes, (part, rows) in zip(grid, parts, strict=False):
            _draw_group(axes, made, part, frame[rows.tolist()], alone=len(parts) == 1)
        for axes in grid[len(parts) :]:
            axes.set_visible(False)
        return sheet.freeze_layout(figure)


def _sentence(made: Forecast) -> str:
    laws = sorted(made.weights.items(), key=lambda pair: -pair[1])
    told = ", ".join(f"{name} {share:.0%}" for name, share in laws if share >= 0.01)
    error = made.expected_error
    typical = f"; typical error in back-tests {error:.1%}" if math.isfinite(error) else ""
    return (
        f"Average of {told}{typical}. Band and bars: {100 * made.level:g}% interval of one new "
        "measurement."
    )


def _draw_group(
    axes: Axes, made: Forecast, part: GroupForecast, asked: pl.DataFrame, *, alone: bool
) -> None:
    """Draw one group against its column, or against the product of its columns."""
    assert part.mixture is not None
    data, tests = part.measured, part.tests
    place = [np.prod([each[name].to_numpy() for name in made.x], axis=0) for each in (data, asked)]
    label = (
        (axis_label(made.x[0]) if alone else made.x[0])
        if len(made.x) == 1
        else f" {TIMES} ".join(made.x)
    )
    y = data[made.target].to_numpy()
    x_axis = make_axis(label, np.concatenate(place), log=True)
    values = np.append(y, asked["predicted"].to_numpy())
    y_axis = make_axis(axis_label(made.target) if alone else made.target, values, log=True)
    title = ", ".join(map(str, part.values)) or "Data, forecast and back-tests"
    sheet.label_axes(axes, x_axis, y_axis, title, legend=alone)
    handles: dict[str, Any] = {}
    if len(made.x) == 1:
        handles["forecast"] = _draw_curve(axes, made, part, asked)
    handles["measured"] = axes.scatter(place[0], y, s=14, color=INK, lw=0, alpha=0.7, zorder=3)
    if len(tests):
        at = np.prod([tests[name].to_numpy() for name in made.x], axis=0)
        look: dict[str, Any] = {"color": ORANGE, "lw": 0.8, "alpha": 0.5, "zorder": 2}
        axes.vlines(at, tests["low"].to_numpy(), tests["high"].to_numpy(), **look)
        handles["back-test"] = axes.scatter(
            at, tests["predicted"].to_numpy(), s=8, facecolors="none", edgecolors=ORANGE, lw=0.9,
            zorder=4,
        )  # fmt: skip
    value, low, high = (asked[name].to_numpy() for name in ("predicted", "low", "high"))
    few = len(asked) <= MOST or len(made.x) > 1
    if few:
        axes.vlines(place[1], low, high, color=BLUE, lw=1.6, zorder=5)
        (handles["asked for"],) = axes.plot(
            place[1], value, "D", color=BLUE, mec="white", ms=6, ls="", zorder=6
        )
    if made.target in asked.columns:
        handles["measured since"] = axes.scatter(
            place[1], asked[made.target].to_numpy(), s=14, color=GREEN, lw=0, zorder=5
        )
    if alone:
        sheet.add_legend(axes, list(handles.values()), [plain(name) for name in handles])
    sheet.tick(axes.xaxis, axes.yaxis)


def _draw_curve(axes: Axes, made: Forecast, part: GroupForecast, asked: pl.DataFrame) -> Any:
    """Draw the forecast along one column, from its frontier on."""
    assert part.mixture is not None
    low, high = part.ranges[made.x[0]]
    farthest = max(float(asked[made.x[0]].to_numpy().max()), high * 1.1)
    x = np.geomspace(max(low, high / 20), farthest, POINTS)
    value, lower, upper = part.mixture.interval(x[:, None], made.level)
    beyond = x >= high
    axes.fill_between(x[beyond], lower[beyond], upper[beyond], color=BLUE, alpha=0.2, lw=0)
    (line,) = axes.plot(x, value, color=BLUE, lw=1.5, zorder=4)
    return line
