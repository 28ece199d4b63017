"""Estimate: a number with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error and interval; NaN where unknown, and then the owner's notes
    say why."""

    value: float
    stderr: float
    low: float
    high: float
