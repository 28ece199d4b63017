"""Domain: the set that a parameter lives in, and the coordinate in which it is fitted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from kleiber.arguments import check_choice, check_number
from kleiber.errors import BadLaw
from kleiber.formula import Expr, number

Kind = Literal["positive", "real", "fraction", "above"]


@dataclass(frozen=True)
class Domain:
    """The set a parameter lives in and the range of its starts (None: from the data's scale)."""

    kind: Kind
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, get_args(Kind))
        for name in ("low", "high"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), "a finite number or None", error=BadLaw)
        ends = (self.low, self.high)
        if (self.low is None) != (self.high is None):
            raise BadLaw(f"A start range needs both ends, low and high, got {ends}.")
        if self.low is None or self.high is None:
            return
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise BadLaw(f"A start range goes from low to high, both finite, got {ends}.")
        if self.kind in ("positive", "above") and self.low <= 0:
            raise BadLaw(f"Starts of a positive parameter must be above 0, got low, high = {ends}.")
        if self.kind == "fraction" and not (self.low > 0 and self.high < 1):
            raise BadLaw(f"Starts of a fraction must lie inside 0 and 1, got low, high = {ends}.")

    def inner(self, value: Any) -> Any:
        """The unbounded coordinate u of a value."""
        value = np.asarray(value, dtype=float)
        with np.errstate(divide="ignore"):
            if self.kind == "positive":
                return np.log(value)
            if self.kind == "fraction":
                return np.log(value) - np.log1p(-value)
        return value

    def outer(self, u: Any) -> Any:
        """The value at the unbounded coordinate u."""
        u = np.asarray(u, dtype=float)
        with np.errstate(over="ignore", under="ignore"):
            if self.kind == "positive":
                return np.exp(u)
            if self.kind == "fraction":
                return 1.0 / (1.0 + np.exp(-u))
        return u

    def stretch(self, u: Any) -> Any:
        """Derivative of the value with respect to u."""
        value = self.outer(u)
        if self.kind == "positive":
            return value
        return value * (1 - value) if self.kind == "fraction" else np.ones_like(value)

    def expression(self, u: Expr) -> Expr:
        """The value as an expression of u."""
        if self.kind == "positive":
            return Expr("exp", (u,))
        if self.kind == "fraction":
            return number(1.0) / (number(1.0) + Expr("exp", (-u,)))
        return u

    @property
    def bounds(self) -> tuple[float, float]:
        """The ends of the set, which are not in it."""
        above = (0.0, math.inf)
        ends = {"positive": above, "above": above, "fraction": (0.0, 1.0)}
        return ends.get(self.kind, (-math.inf, math.inf))

    @property
    def floor(self) -> float:
        """The lower end of the coordinate u."""
        return 0.0 if self.kind == "above" else -math.inf

    def approach(self, bound: float) -> float:
        """A coordinate where the value is the bound to rounding."""
        if self.kind == "above":
            return 0.0
        return -700.0 if bound == 0 else 40.0

    def contains(self, value: float) -> bool:
        """Whether the value lies in the set."""
        return math.isfinite(value) and self.bounds[0] < value < self.bounds[1]


def positive(low: float | None = None, high: float | None = None) -> Any:
    """A parameter above zero; starts are drawn log-uniformly between ``low`` and ``high``."""
    return Domain("positive", low, high)


def real(low: float | None = None, high: float | None = None) -> Any:
    """Any number; starts are drawn uniformly between ``low`` and ``high``."""
    return Domain("real", low, high)


def fraction(low: float = 0.02, high: float = 0.98) -> Any:
    """A number inside 0 and 1; starts are drawn uniformly from ``low`` to ``high``."""
    return Domain("fraction", low, high)
