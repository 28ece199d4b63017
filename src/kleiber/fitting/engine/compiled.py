"""Machine code for the objective and for the descent of many draws (extra ``fast``).

A law is written as a tape of operations (``tape.py``), and one machine code runs the tapes of all
laws and noise models (``native.py``). Its numbers are those of the NumPy path up to rounding and
the order of sums.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from kleiber.fitting.engine.derivatives import column_function, model_program
from kleiber.fitting.engine.levenberg import LocalModel
from kleiber.fitting.engine.native import Entry, find_entry
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.engine.tape import Tape, write_tape, write_weighted_sum
from kleiber.law import Law

MIN_WORK = 60_000  # draws x rows from which loading the machine code (40 ms) pays
MAX_STEPS = 60  # steps of one draw's descent
LANES = 16  # rows of a member are filled up to a multiple of these
POOL_SIZE = 1 << 15  # numbers in the pool, which stays in a core's cache
MAX_BLOCK = 384  # rows worked on at once, at most


class CompiledEnds(NamedTuple):
    """Result of the compiled descent: the end point of each draw, its objective, and whether it
    converged."""

    point: Float[np.ndarray, "batch params"]
    objective: Float[np.ndarray, "batch"]
    converged: Bool[np.ndarray, "batch"]


@dataclass(frozen=True)
class Kernel:
    """Objective of a law on one table in machine code. With ``take_log`` the target is compared
    with the logarithm of what the tape computes."""

    entry: Entry
    tape: Tape
    data: Float[np.ndarray, "stored rows"]
    target: Float[np.ndarray, "rows"]
    noise: Noise
    take_log: bool

    def evaluate(
        self,
        u: Float[np.ndarray, "batch params"],
        weights: Float[np.ndarray, "weighted rows"],
        scale: Float[np.ndarray, "batch"],
        shift: Float[np.ndarray, "batch rows"] | None,
    ) -> LocalModel:
        """Evaluate the objective with its gradient, Gauss-Newton matrix and Hessian at each
        point."""
        count, width = u.shape
        out = np.empty((count, 1 + width))
        gauss, newton = np.empty((count, width, width)), np.empty((count, width, width))
        no_ends = np.empty(width), np.empty(0), np.empty(0, np.int64)
        self._run((u, weights, scale, shift), (0.0, 0), (out, gauss, newton), no_ends)
        return LocalModel(out[:, 0].copy(), out[:, 1:].copy(), gauss, newton)

    def descend(
        self,
        start: Float[np.ndarray, "batch params"],
        weights: Float[np.ndarray, "weighted rows"],
        scale: Float[np.ndarray, "batch"],
        shift: Float[np.ndarray, "batch rows"] | None,
        floor: Float[np.ndarray, "params"],
        tolerance: float,
        limit: int | None = None,
    ) -> CompiledEnds:
        """Descend from each start, which must be close to its optimum, by Newton's method; some
        draws may end before they converge."""
        point, width = np.array(start, order="C"), start.shape[1]
        best, converged = np.full(len(start), np.inf), np.zeros(len(start), np.int64)
        out, both = np.empty((2, 1 + width)), np.empty((2, 2, width, width))
        if steps := MAX_STEPS if limit is None else limit:
            given, ends = (point, weights, scale, shift), (floor, best, converged)
            self._run(given, (tolerance, steps), (out, both[0], both[1]), ends)
        return CompiledEnds(point, best, converged.astype(bool))

    def _run(
        self,
        given: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None],
        stop: tuple[float, int],
        outputs: tuple[np.ndarray, np.ndarray, np.ndarray],
        ends: tuple[np.ndarray, np.ndarray, np.ndarray],
    ) -> None:
        u, weights, scale, shift = given
        tape, (stored, rows), width = self.tape, self.data.shape, u.shape[1]
        filled = -(-rows // LANES) * LANES
        block = min(filled, MAX_BLOCK, max(LANES, POOL_SIZE // tape.slots // LANES * LANES))
        kind = 2 if self.noise.dof is not None else 0 if self.noise.delta is None else 1
        shifts = np.zeros((1, rows)) if shift is None else shift
        sizes = [
            len(u), width, stored, rows, len(weights), len(shifts), len(tape.scalar_code),
            len(tape.code), len(tape.outs), len(tape.scalars), tape.slots, block,
            kind if self.take_log else kind + 3, tape.first, LANES, stop[1],
        ]  # fmt: skip
        reals = np.array([self.noise.dof or self.noise.delta or 0.0, stop[0]])
        self.entry(
            np.array(sizes), tape.scalar_code, tape.code, tape.outs, reals, self.data, self.target,
            weights, shifts, scale, ends[0], u, tape.scalars.copy(), np.empty((tape.slots, block)),
            np.empty((stored + 2, filled)), np.empty((4 + width, width)), *outputs, *ends[1:],
        )  # fmt: skip


def tangent_kernel(
    kernel: Kernel, residual: Float[np.ndarray, "rows"], jac: Float[np.ndarray, "params rows"]
) -> Kernel:
    """Make the kernel of the linear law residual + s @ jac under the same noise model."""
    tape = write_weighted_sum(len(jac))
    return replace(kernel, tape=tape, data=jac, target=-residual, take_log=False)


def find_kernel(
    law: Law,
    noise: Noise,
    columns: dict[str, Float[np.ndarray, "rows"]],
    target: Float[np.ndarray, "rows"],
    draws: int,
) -> Kernel | None:
    """Return the kernel of a traced law for ``draws`` refits, or None if there are too few refits
    to be worth loading the machine code, or if the code is not there yet (it is then built for
    later)."""
    if law.expr is None or not law.params or draws * len(target) < MIN_WORK:
        return None
    entry = find_entry()
    return None if entry is None else make_kernel(law, noise, columns, target, entry)


def make_kernel(
    law: Law,
    noise: Noise,
    columns: dict[str, Float[np.ndarray, "rows"]],
    target: Float[np.ndarray, "rows"],
    entry: Entry,
) -> Kernel:
    """Make the kernel of a traced law on a table; ``target`` is on the scale of the noise model."""
    program, take_log = model_program(law, noise.scale)
    width = len(law.params)
    with np.errstate(all="ignore"):
        stored = column_function(program, len(law.variables))(*(columns[n] for n in law.variables))
    data = np.empty((len(stored), len(target)))
    for k, item in enumerate(stored):
        data[k] = item
    return Kernel(entry, write_tape(program, width), data, target, noise, take_log)
