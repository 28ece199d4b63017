"""Domain: the set of values of a parameter, and the coordinate in which it is fitted."""

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
    """The set that a parameter of a law lives in, and the range where its starts are drawn.

    A law states it as the default of a parameter, through ``positive``, ``real`` or ``fraction``. A
    fit moves in an unbounded coordinate u: theta = exp(u) for a positive parameter, theta = u for a
    real one, theta = 1/(1 + exp(-u)) for a fraction. The range is no bound.

    Attributes
    ----------
    kind
        ``"positive"``, ``"real"``, ``"fraction"``, or ``"above"``: positive like the first, with
        theta itself as the coordinate, which suits exponents.
    low, high
        The ends of the range of starts, in the parameter's unit; None for both takes them from the
        scale of the data.

    Raises
    ------
    BadLaw
        For a range that is not finite, not rising, or outside the set.
    ValueError
        For an unknown kind.

    Examples
    --------
    >>> import kleiber
    >>> domain = kleiber.Domain("positive", 1.0, 100.0)
    >>> domain.bounds
    (0.0, inf)
    >>> domain.contains(200.0), domain.contains(-1.0)
    (True, False)
    """

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

    def to_coordinate(self, value: Any) -> Any:
        """Return the unbounded coordinate u of a value."""
        value = np.asarray(value, dtype=float)
        with np.errstate(divide="ignore"):
            if self.kind == "positive":
                return np.log(value)
            if self.kind == "fraction":
                return np.log(value) - np.log1p(-value)
        return value

    def from_coordinate(self, u: Any) -> Any:
        """Return the value at the unbounded coordinate u."""
        u = np.asarray(u, dtype=float)
        with np.errstate(over="ignore", under="ignore"):
            if self.kind == "positive":
                return np.exp(u)
            if self.kind == "fraction":
                return 1.0 / (1.0 + np.exp(-u))
        return u

    def derivative(self, u: Any) -> Any:
        """Return the derivative of the value with respect to u."""
        value = self.from_coordinate(u)
        if self.kind == "positive":
            return value
        return value * (1 - value) if self.kind == "fraction" else np.ones_like(value)

    def expression(self, u: Expr) -> Expr:
        """Return the value as an expression of u."""
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

    def coordinate_near(self, bound: float) -> float:
        """Return a coordinate where the value equals the bound to rounding."""
        if self.kind == "above":
            return 0.0
        return -700.0 if bound == 0 else 40.0

    def contains(self, value: float) -> bool:
        """Return whether the value lies in the set."""
        return math.isfinite(value) and self.bounds[0] < value < self.bounds[1]


def positive(low: float | None = None, high: float | None = None) -> Any:
    """Declare a parameter above zero, as the default in a law's signature.

    Parameters
    ----------
    low, high
        The range from which starts are drawn log-uniformly, in the parameter's unit; no bound. By
        default it follows from the scale of the data.

    Returns
    -------
    Domain
        The set of positive numbers; the type is left open so that it may stand for a number.

    Raises
    ------
    BadLaw
        For a range with one end, a falling one, or one that is not above 0.

    Examples
    --------
    >>> import kleiber
    >>> @kleiber.Law
    ... def floor_law(n_params, *, E=kleiber.positive(0.5, 3), A=kleiber.positive(1, 1e4)):
    ...     return E + A / n_params**0.5
    >>> floor_law.params
    ('E', 'A')
    """
    return Domain("positive", low, high)


def real(low: float | None = None, high: float | None = None) -> Any:
    """Declare a parameter that may be any number, as the default in a law's signature.

    Parameters
    ----------
    low, high
        The range from which starts are drawn uniformly, in the parameter's unit; no bound. By
        default it follows from the scale of the data.

    Returns
    -------
    Domain
        The set of all real numbers; the type is left open so that it may stand for a number.

    Raises
    ------
    BadLaw
        For a range with one end or a falling one.

    Examples
    --------
    >>> import kleiber
    >>> kleiber.real(-1, 1).contains(-30.0)
    True
    """
    return Domain("real", low, high)


def fraction(low: float = 0.02, high: float = 0.98) -> Any:
    """Declare a parameter between 0 and 1, as the default in a law's signature.

    Parameters
    ----------
    low, high
        The range from which starts are drawn uniformly, inside 0 and 1; no bound.

    Returns
    -------
    Domain
        The numbers between 0 and 1; the type is left open so that it may stand for a number.

    Raises
    ------
    BadLaw
        For a falling range or one that is not inside 0 and 1.

    Examples
    --------
    >>> import kleiber
    >>> kleiber.fraction().bounds
    (0.0, 1.0)
    """
    return Domain("fraction", low, high)
