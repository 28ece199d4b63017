"""Amounts: what a budget, a price or a number of tokens may be."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from kleiber.errors import BadPlan, shown


def check_budget(budget: float, what: str = "the budget") -> float:
    """The budget as a float; BadPlan unless it is a finite and positive number."""
    if not (is_real(budget) and budget > 0):
        what = what[0].upper() + what[1:]
        raise BadPlan(f"{what} must be a positive number, got {shown(budget)}.")
    return float(budget)


def check_positive(**values: Any) -> None:
    """BadPlan, with the name, for a value that is no positive number."""
    for name, value in values.items():
        if not (is_real(value) and value > 0):
            raise BadPlan(f"The value of {name} must be a positive number, got {shown(value)}.")


def is_real(value: Any) -> bool:
    """Whether this is a finite number, and no truth value."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False
