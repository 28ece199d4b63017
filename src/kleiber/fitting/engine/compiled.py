"""The objective and the descent of draws, compiled (extra ``fast``).

The text (``source.py``) is made from the same Program as the NumPy path and gives the same numbers
up to rounding and the order of sums. A law is compiled once per machine (``maths.machine_code``).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from kleiber.fitting.engine.kernel import column_function, residual_program
from kleiber.fitting.engine.levenberg import Local
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.engine.source import kernel_text
from kleiber.law import Law
from kleiber.maths.machine_code import load_source

WORTH = 3_000_000  # draws x rows past which compiling (seconds, once a machine) is cheaper than not
LIMIT = 60  # steps of one draw's compiled descent


class Ends(NamedTuple):
    """Where the compiled descent left each member, and whether it had converged there."""

    point: Float[np.ndarray, "members params"]
    objective: Float[np.ndarray, "members"]
    settled: Bool[np.ndarray, "members"]


@dataclass(frozen=True)
class Kernel:
    """A law's compiled objective on one table, and the descent of members that start close."""

    run: Callable[..., None]
    descent: Callable[..., None]
    data: Float[np.ndarray, "stored rows"]
    size: float

    def look(
        self,
        u: Float[np.ndarray, "members params"],
        weights: Float[np.ndarray, "weighted rows"],
        scale: Float[np.ndarray, "members"],
        shift: Float[np.ndarray, "members rows"] | None,
    ) -> Local:
        """The objective with its gradient and both matrices."""
        members, width = u.shape
        out = np.empty((members, 1 + width))
        gauss, newton = np.empty((members, width, width)), np.empty((members, width, width))
        given = self._given(weights, scale, shift)
        self.run(np.ascontiguousarray(u), self.data, *given, self.size, out, gauss, newton)
        return Local(out[:, 0].copy(), out[:, 1:].copy(), gauss, newton)

    def polish(
        self,
        start: Float[np.ndarray, "members params"],
        weights: Float[np.ndarray, "weighted rows"],
        scale: Float[np.ndarray, "members"],
        shift: Float[np.ndarray, "members rows"] | None,
        floor: Float[np.ndarray, "params"],
        tolerance: float,
    ) -> Ends:
        """Newton's descent of each member from a start that is close; not all need settle."""
        point = np.array(start, order="C")
        best, settled = np.full(len(start), np.inf), np.zeros(len(start), dtype=np.bool_)
        given = self._given(weights, scale, shift)
        self.descent(point, self.data, *given, self.size, floor, tolerance, LIMIT, best, settled)
        return Ends(point, best, settled)

    def _given(
        self, weights: np.ndarray, scale: np.ndarray, shift: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        ahead = np.zeros((1, self.data.shape[1])) if shift is None else np.ascontiguousarray(shift)
        return np.ascontiguousarray(weights), ahead, np.ascontiguousarray(scale)


def worth_compiling(law: Law, draws: int, rows: int) -> bool:
    """Whether ``draws`` refits of ``rows`` rows repay compiling, and Numba is there to do it."""
    if law.expr is None or draws * rows < WORTH:
        return False
    try:
        importlib.import_module("numba")
    except ImportError:  # not there, or too old for this NumPy
        return False
    return True


def compile_kernel(
    law: Law,
    noise: Noise,
    columns: dict[str, Float[np.ndarray, "rows"]],
    target: Float[np.ndarray, "rows"],
) -> Kernel:
    """The compiled objective of a traced law on a table; ``target`` is on the noise's scale."""
    program, names = residual_program(law, noise.scale, second=True)
    width = len(law.params)
    with np.errstate(all="ignore"):
        stored = column_function(program, len(names))(*(columns.get(n, target) for n in names))
    data = np.empty((len(stored), len(target)))
    for k, item in enumerate(stored):
        data[k] = item
    module = load_source(kernel_text(program, noise, width))
    return Kernel(module.run, module.polish, data, float(noise.dof or noise.delta or 0.0))
