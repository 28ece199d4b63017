"""Checks of the model's parameters and of the values of grids and arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
import polars as pl
from jaxtyping import Float
from numpy.typing import ArrayLike

from kleiber.arguments import check_array, check_memory, check_number, check_whole
from kleiber.errors import BadTable, listed, nearest, shown
from kleiber.systems.hard_tail.quadrature import LARGEST_K, PrecisionLaw
from kleiber.table import numbers

LARGEST = 1e100  # largest parameter, whose square is taken
MAXIMA = {"tail": 50.0, "capacity": 1000.0, "source": 1000.0}
LARGEST_RHO = 1e100  # its square must be finite


def check_parameters(values: Mapping[str, Any]) -> None:
    """Raise ValueError for the first parameter that is out of range."""
    for name, value in values.items():
        if name != "precision":
            _check_number(name, value)
    kinds, precision = get_args(PrecisionLaw), values["precision"]
    if precision not in kinds:
        raise ValueError(
            f"The precision must be one of {', '.join(kinds)}, got {shown(precision)}."
            f"{nearest(str(precision), kinds)}"
        )


def _check_number(name: str, value: Any) -> None:
    """Raise ValueError for a parameter that is out of range."""
    check_number(name, value)
    if name == "dimension":
        check_memory(f"a dimension of {shown(value)}", 8 * 16 * check_whole(name, value, low=1))
    if name in ("tail", "noise", "tolerance", "signal") and value <= 0:
        raise ValueError(f"The {name} must be positive, got {shown(value)}.")
    if abs(value) > (maximum := MAXIMA.get(name, LARGEST)) or 0 < abs(value) < 1 / LARGEST:
        raise ValueError(
            f"The {name} may be 0 or from {1 / LARGEST:g} to {maximum:g}, got {shown(value)}."
        )
    if name in ("ridge", "capacity", "source") and value < 0:
        raise ValueError(f"The {name} must not be negative, got {shown(value)}.")


def read_attempts(frame: pl.DataFrame) -> Float[np.ndarray, "rows"] | None:
    """Return the checked column k, or None if there is none. Raises BadTable."""
    if "k" not in frame.columns:
        return None
    k = numbers(frame, "k")
    try:
        check_attempts(k)
    except ValueError as error:
        raise BadTable(f"Column 'k' of the grid: {error}") from error
    return k


def check_attempts(k: Float[np.ndarray, "attempts"]) -> None:
    """Raise ValueError for numbers of attempts that are out of range."""
    bad = k[~((k >= 1) & (k <= LARGEST_K))]
    if k.size == 0 or bad.size:
        given = listed((f"{value:g}" for value in np.unique(bad)), 3) or "none"
        raise ValueError(f"The attempts k must be from 1 to {LARGEST_K:g}, got {given}.")


def check_window(window: tuple[float, float]) -> None:
    """Raise ValueError unless the window is two rising numbers of attempts."""
    accepted = f"two rising numbers of attempts, low and high, from 1 to {LARGEST_K:g}"
    ends = check_array("window", window, accepted)
    if len(ends) != 2 or not 1 <= ends[0] < ends[1] <= LARGEST_K:
        raise ValueError(f"A window must be {accepted}, got {shown(window)}.")


def read_rhos(rho: ArrayLike) -> Float[np.ndarray, "rhos"]:
    """Return rho as an array. Raises ValueError unless it is finite and not negative."""
    values = check_array("rho", rho, "finite and not negative", low=0)
    if (values > LARGEST_RHO).any():
        raise ValueError(f"The rho may be up to {LARGEST_RHO:g}, got {shown(rho)}.")
    return values
