"""Axes of a panel: range, scale, ticks, and labels and numbers in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from kleiber.columns import COLUMNS

DECADE = 10.0  # a range whose ends differ by more is drawn on a log axis
LONGEST = 32  # characters of one name in a label
LOG_STEPS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7))  # ticks in a decade, the first that do
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Axis:
    """One axis: its label in words with the unit, its scale, and the range to show."""

    label: str
    log: bool
    low: float
    high: float


def make_axis(
    label: str,
    values: Float[np.ndarray, "values"],
    *,
    log: bool,
    margin: float,
    also: Float[np.ndarray, "others"] | None = None,
) -> Axis:
    """An axis that shows all ``values`` and, up to half their span further, ``also`` others.

    It is logarithmic where all values are positive and either ``log`` is wanted or they span more
    than a decade; ``margin`` is the part of the span left free at each end.
    """
    if not len(values):
        return Axis(label, False, 0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    log = low > 0 and (log or high > DECADE * low)
    if log:
        low, high = float(np.log(low)), float(np.log(high))
    if high - low <= 1e-12 * abs(high):
        size = 0.1 if log else 0.1 * abs(high) or 1.0
        low, high = low - size, high + size
    span = high - low
    others = np.empty(0) if also is None else also
    if log:
        others = np.log(others[others > 0])
    others = np.clip(others[np.isfinite(others)], low - span / 2, high + span / 2)
    low, high = min(low, others.min(initial=low)), max(high, others.max(initial=high))
    ends = low - margin * (high - low), high + margin * (high - low)
    return Axis(label, log, *(float(np.exp(end)) if log else float(end) for end in ends))


def axis_label(name: str) -> str:
    """A column in words with its unit; a column kleiber does not know is its own label."""
    if name not in COLUMNS:
        return short(name)
    meaning, unit = COLUMNS[name].meaning, unit_of(name)
    return f"{name}: {meaning}{f' ({unit})' if unit else ''}"


def unit_of(name: str) -> str:
    """The unit of a column as it is written on an axis; "" without one."""
    unit = COLUMNS[name].unit if name in COLUMNS else ""
    return "" if unit in ("1", "label", "as the target") else unit


def tick_places(axis: Axis) -> list[float]:
    """Where an axis has its ticks: at decades, or at finer round numbers where it spans few."""
    if axis.log:
        first, last = math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high))
        every = max(1, math.ceil(math.log10(axis.high / axis.low) / 8))
        for steps in LOG_STEPS:
            powers = [k for k in range(first, last + 1) if not k % every]
            places = [float(f"{step}e{k}") for k in powers for step in steps]
            places = [place for place in places if axis.low <= place <= axis.high]
            if len(places) >= 4:
                return places
    rough = (axis.high - axis.low) / 7
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= rough)
    count = range(math.ceil(axis.low / step), math.floor(axis.high / step) + 1)
    places = [float(f"{k * step:.14g}") for k in count]
    return [place for place in places if axis.low <= place <= axis.high]


def tick_labels(places: Sequence[float]) -> list[str]:
    """The ticks in words, in one notation, with the fewest digits that are exact."""
    sizes = [abs(place) for place in places if place]
    if sizes and (max(sizes) >= 1e5 or min(sizes) < 1e-3):
        return [_power(place) for place in places]
    if sizes and max(sizes) >= 50 * min(sizes) and min(places) > 0:
        return [f"{place:g}" for place in places]
    labels: list[str] = []
    for digits in range(12):
        labels = [f"{place:.{digits}f}".replace("-", MINUS) for place in places]
        exact = [float(f"{place:.{digits}f}") for place in places]
        if np.allclose(exact, places, rtol=1e-9, atol=1e-9 * max(sizes, default=1.0)):
            break
    return labels


def _power(place: float) -> str:
    """A tick as 3×10⁸, 10⁹ or 0."""
    if place == 0:
        return "0"
    digits = next((n for n in range(1, 16) if float(f"{place:.{n - 1}e}") == place), 16)
    text = f"{place:.{digits - 1}e}"
    mantissa, _, power = text.partition("e")
    raised = f"10{str(int(power)).translate(SUPERSCRIPTS)}"
    sign = MINUS if place < 0 else ""
    size = mantissa.lstrip("-")
    return f"{sign}{raised}" if size == "1" else f"{sign}{size}{TIMES}{raised}"


def written(value: float, digits: int = 4) -> str:
    """A number for people: 1.817, 2143, 4.790×10⁹; 0 for what draws hold in place of a bound."""
    value = 0.0 if abs(value) < 1e-300 else value
    if not np.isfinite(value):
        return "unknown" if np.isnan(value) else "∞" if value > 0 else f"{MINUS}∞"
    mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
    sign = MINUS if value < 0 else ""
    if value == 0 or -3 <= int(power) < 5:
        places = max(digits - 1 - int(power), 0) if value else 0
        return f"{sign}{abs(float(f'{value:.{digits - 1}e}')):.{places}f}"
    return f"{sign}{mantissa.lstrip('-')}{TIMES}10{str(int(power)).translate(SUPERSCRIPTS)}"


def short(name: str) -> str:
    """A name on one line, cut where a label would overflow."""
    name = " ".join(name.split())
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
