"""The axes of a panel: their scales, and their labels and numbers as text."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from kleiber.columns import COLUMNS

DECADE = 10.0  # a range whose ends differ by more is drawn on a log axis
LONGEST = 32  # characters of one name in a label
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Axis:
    """One axis: its label with the unit, and whether it is logarithmic."""

    label: str
    log: bool


def make_axis(label: str, values: Float[np.ndarray, "values"], *, log: bool) -> Axis:
    """Return an axis for these values, logarithmic if all are positive and either ``log`` is given
    or they span more than a decade."""
    low, high = float(values.min(initial=np.inf)), float(values.max(initial=-np.inf))
    return Axis(label, 0 < low <= high and (log or high > DECADE * low))


def axis_label(name: str) -> str:
    """Return a column's label with its unit; an unknown column is its own label."""
    if name not in COLUMNS:
        return shorten_name(name)
    meaning, unit = COLUMNS[name].meaning, unit_of(name)
    return f"{name}: {meaning}{f' ({unit})' if unit else ''}"


def unit_of(name: str) -> str:
    """Return the unit of a column as an axis shows it, "" if it has none."""
    unit = COLUMNS[name].unit if name in COLUMNS else ""
    return "" if unit in ("1", "label", "as the target") else unit


def format_number(value: float, digits: int = 4) -> str:
    """Format a number: 1.817, 2143, 4.790×10⁹; 0 for a draw that stands for a bound."""
    if not math.isfinite(value):
        return "unknown" if math.isnan(value) else "∞" if value > 0 else f"{MINUS}∞"
    if abs(value) < 1e-300:
        return "0"
    size, e, exponent = f"{value:#.{digits}g}".rstrip(".").partition("e")
    return size.replace("-", MINUS) + (f"{TIMES}{_ten(exponent)}" if e else "")


def format_tick(value: float) -> str:
    """Format a positive tick of at most two digits as 10⁹ or 3×10⁸."""
    size, _, exponent = f"{value:.1e}".partition("e")
    size = size.removesuffix(".0")
    return _ten(exponent) if size == "1" else f"{size}{TIMES}{_ten(exponent)}"


def _ten(exponent: str) -> str:
    return f"10{str(int(exponent)).translate(SUPERSCRIPTS)}"


def shorten_name(name: str) -> str:
    """Return a name on one line, shortened if a label would overflow."""
    name = " ".join(name.split())
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
