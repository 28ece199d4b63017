"""FailureCurve: how failure falls with training and with attempts, wherever that is known from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

Array = Float[np.ndarray, "..."]
Values = Mapping[str, Array]


@dataclass(frozen=True)
class FailureCurve:
    """Failure of k attempts, given values of the training ``variables`` (and others, passed on).

    ``failure`` is the best estimate for arrays of any one shape; ``drawn`` is that of each of the
    first so many draws (the last argument), for arrays (that many or 1, points). ``loss`` is the
    generalisation loss, where known; ``ranges`` the smallest and largest values measured, of the
    variables and of k.
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
