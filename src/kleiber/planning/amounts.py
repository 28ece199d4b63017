"""Checks of budgets, prices and numbers of tokens."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from kleiber.errors import BadPlan, shown


def check_budget(budget: float, what: str = "the budget") -> float:
    """Return the budget as a float; raise BadPlan unless it is a finite positive number."""
    if not (is_real(budget) and budget > 0):
        what = what[0].upper() + what[1:]
        raise BadPlan(f"{what} must be a positive number, got {shown(budget)}.")
    return float(budget)


def check_positive(**values: Any) -> None:
    """Raise BadPlan, with its name, for a value that is not a positive number."""
    for name, value in values.items():
        if not (is_real(value) and value > 0):
            raise BadPlan(f"The value of {name} must be a positive number, got {shown(value)}.")


def is_real(value: Any) -> bool:
    """Return whether a value is a finite number and not a boolean."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False
