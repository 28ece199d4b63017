"""Quantities of a fit: functions of its parameters, with their values and derivatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from kleiber.errors import BadLaw, reason
from kleiber.formula import evaluate, parse
from kleiber.law import Law

Quantity = str | Callable[[Mapping[str, Any]], Any]
STEP = 1e-5  # of a difference quotient, relative to a coordinate above 1


def call_quantity(quantity: Callable[..., Any], params: Mapping[str, Any]) -> Any:
    """Call a user's function of the parameters; raise BadLaw for whatever it raises."""
    try:
        return quantity(params)
    except Exception as error:
        raise BadLaw(
            "The quantity must be a function of a mapping from parameters to values; on this fit "
            f"it raised {type(error).__name__}: {reason(error)}."
        ) from error


def check_values(given: Any) -> Float[np.ndarray, "..."]:
    """Check that a function of the parameters gave one number for each draw, and return the
    numbers."""
    try:
        values = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        values = np.full((1, 1), np.nan)
    if values.ndim > 1 or np.isnan(values).any():
        raise BadLaw(
            "An interval is of a quantity, the name of a parameter or a function of them, that "
            "gives one number, and no NaN."
        )
    return values


def complete(params: Mapping[str, Any], tied: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters with tied ones computed from the others."""
    out = dict(params)
    for name, text in tied.items():
        value = evaluate(parse(text), params)
        out[name] = float(value) if value.ndim == 0 else value
    return out


def differentiate_quantities(
    what: Callable[[Mapping[str, Any]], np.ndarray],
    law: Law,
    params: Mapping[str, float],
    free: Sequence[str],
    tied: Mapping[str, str],
) -> Float[np.ndarray, "free ..."]:
    """Differentiate quantities with respect to the coordinates of the free parameters, by central
    differences; 0 for a parameter at its bound, which is kept there."""
    slopes = np.zeros((len(free), *what(params).shape))
    for k, name in enumerate(free):
        domain = law.domains[name]
        if not domain.contains(params[name]):
            continue
        u = domain.to_coordinate(params[name])
        size = STEP * max(1.0, abs(float(u)))
        upper, lower = (
            what(complete({**params, name: float(domain.from_coordinate(u + sign * size))}, tied))
            for sign in (1, -1)
        )
        slopes[k] = (upper - lower) / (2 * size)
    return slopes
