"""What the parameters of the model, and the values of a grid or an argument, may be."""

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

LARGEST = 1e100  # of a parameter; its square is taken
MOST = {"tail": 50.0, "capacity": 1000.0, "source": 1000.0}
LARGEST_RHO = 1e100  # its square is taken


def check_parameters(values: Mapping[str, Any]) -> None:
    """Raise ValueError with one sentence for the first parameter out of range."""
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
    """Raise ValueError with one sentence for a parameter out of range."""
    check_number(name, value)
    if name == "dimension":
        check_memory(f"a dimension of {shown(value)}", 8 * 16 * check_whole(name, value, low=1))
    if name in ("tail", "noise", "tolerance", "signal") and value <= 0:
        raise ValueError(f"The {name} must be positive, got {shown(value)}.")
    if abs(value) > (most := MOST.get(name, LARGEST)) or 0 < abs(value) < 1 / LARGEST:
        raise ValueError(
            f"The {name} may be 0 or from {1 / LARGEST:g} to {most:g}, got {shown(value)}."
        )
    if name in ("ridge", "capacity", "source") and value < 0:
        raise ValueError(f"The {name} must not be negative, got {shown(value)}.")


def read_attempts(frame: pl.DataFrame) -> Float[np.ndarray, "rows"] | None:
    """The column k, checked; None without one."""
    if "k" not in frame.columns:
        return None
    k = numbers(frame, "k")
    try:
        check_attempts(k)
    except ValueError as error:
        raise BadTable(f"Column 'k' of the grid: {error}") from error
    return k


def check_attempts(k: Float[np.ndarray, "attempts"]) -> None:
    bad = k[~((k >= 1) & (k <= LARGEST_K))]
    if k.size == 0 or bad.size:
        given = listed((f"{value:g}" for value in np.unique(bad)), 3) or "none"
        raise ValueError(f"The attempts k must be from 1 to {LARGEST_K:g}, got {given}.")


def check_window(window: tuple[float, float]) -> None:
    accepted = f"two rising numbers of attempts, low and high, from 1 to {LARGEST_K:g}"
    ends = check_array("window", window, accepted)
    if len(ends) != 2 or not 1 <= ends[0] < ends[1] <= LARGEST_K:
        raise ValueError(f"A window must be {accepted}, got {shown(window)}.")


def read_rhos(rho: ArrayLike) -> Float[np.ndarray, "rhos"]:
    """rho as an array; ValueError unless finite and not negative."""
    values = check_array("rho", rho, "finite and not negative", low=0)
    if (values > LARGEST_RHO).any():
        raise ValueError(f"The rho may be up to {LARGEST_RHO:g}, got {shown(rho)}.")
    return values
