"""FailureCurve: how failure falls with training and with attempts, from whatever source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

Array = Float[np.ndarray, "..."]
Values = Mapping[str, Array]


@dataclass(frozen=True)
class Parameter:
    """A parameter of a curve: its value, its standard error over the draws (NaN if unknown), and a
    function that returns the curve with another value."""

    value: float
    stderr: float
    moved: Callable[[float], FailureCurve]


@dataclass(frozen=True)
class FailureCurve:
    """Failure of k attempts, given values of the training ``variables`` (and others, passed on).

    ``failure`` is the best estimate for arrays of any one shape; ``drawn`` is that of each of the
    first so many draws (the last argument), for arrays (that many or 1, points). ``loss`` is the
    generalisation loss, where known; ``ranges`` the smallest and largest values measured, of the
    variables and of k; ``params`` what the sensitivity of a plan is to.
    """

    name: str
    variables: tuple[str, ...]
    failure: Callable[[Values, Array], Array]
    drawn: Callable[[Values, Array, int], Array] | None = None
    draws: int = 0
    loss: Callable[[Values], Array] | None = None
    ranges: Mapping[str, tuple[float, float]] = field(
        default_factory=dict[str, tuple[float, float]]
    )
    notes: tuple[str, ...] = ()
    params: Mapping[str, Parameter] = field(default_factory=dict[str, Parameter])


def theory_curve(theory: Any) -> FailureCurve:
    """Return the curve of a theory: its own, or one computed row by row with its ``solve`` over
    n_data and k."""
    own = theory.curve() if hasattr(theory, "curve") else _solved_curve(theory)
    return own if own.params else replace(own, params=dict(_settings(theory)))


def _solved_curve(theory: Any) -> FailureCurve:
    def column(values: Values, k: Array, name: str) -> Array:
        n_data = np.asarray(values["n_data"], dtype=float)
        each = np.broadcast_to(k, n_data.shape)
        grid = pl.DataFrame({"n_data": n_data.ravel(), "k": each.ravel()})
        return theory.solve(grid)[name].to_numpy().reshape(n_data.shape)

    return FailureCurve(
        type(theory).__name__,
        ("n_data",),
        lambda values, k: column(values, k, "failure"),
        loss=lambda values: column(values, np.ones(np.shape(values["n_data"])), "loss"),
    )


def _settings(theory: Any) -> Iterator[tuple[str, Parameter]]:
    """Yield the real-valued parameters of a theory that is a dataclass; whole numbers cannot be
    perturbed."""
    for item in fields(theory) if is_dataclass(theory) else ():
        value = getattr(theory, item.name)
        if isinstance(value, float) and np.isfinite(value) and abs(value) > 0:
            yield (
                item.name,
                Parameter(
                    value,
                    np.nan,
                    lambda x, name=item.name: theory_curve(
                        replace(theory, **{name: x})  # pyright: ignore[reportArgumentType]
                    ),
                ),
            )
