"""The objective and the descent of draws in machine code (extra ``fast``).

A law is a tape (``tape.py``), which one machine code runs for every law and noise model
(``native.py``). The numbers are those of the NumPy path up to rounding and the order of sums.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from kleiber.fitting.engine.derivatives import column_function, model_program
from kleiber.fitting.engine.levenberg import Local
from kleiber.fitting.engine.native import Entry, find_entry
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.engine.tape import Tape, write_sum, write_tape
from kleiber.law import Law

WORTH = 60_000  # draws x rows from which loading the machine code (40 ms) pays
LIMIT = 60  # steps of one draw's descent
LANES = 16  # rows of a member are filled up to a multiple of these
POOL = 1 << 15  # numbers in the pool, which stays in a core's cache
BLOCK = 384  # rows worked on at once, at most


class Ends(NamedTuple):
    """Where the compiled descent left each member, and whether it had converged there."""

    point: Float[np.ndarray, "members params"]
    objective: Float[np.ndarray, "members"]
    settled: Bool[np.ndarray, "members"]


@dataclass(frozen=True)
class Kernel:
    """A law's objective on one table, and the descent of members that start close; ``logs`` says
    that the logarithm of what the tape computes is compared with the target."""

    entry: Entry
    tape: Tape
    data: Float[np.ndarray, "stored rows"]
    target: Float[np.ndarray, "rows"]
    noise: Noise
    logs: bool

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
        unused = np.empty(width), np.empty(0), np.empty(0, np.int64)
        self._enter((u, weights, scale, shift), (0.0, 0), (out, gauss, newton), unused)
        return Local(out[:, 0].copy(), out[:, 1:].copy(), gauss, newton)

    def polish(
        self,
        start: Float[np.ndarray, "members params"],
        weights: Float[np.ndarray, "weighted rows"],
        scale: Float[np.ndarray, "members"],
        shift: Float[np.ndarray, "members rows"] | None,
        floor: Float[np.ndarray, "params"],
        tolerance: float,
        limit: int | None = None,
    ) -> Ends:
        """Newton's descent of each member from a start that is close; not all need settle."""
        point, width = np.array(start, order="C"), start.shape[1]
        best, settled = np.full(len(start), np.inf), np.zeros(len(start), np.int64)
        out, both = np.empty((2, 1 + width)), np.empty((2, 2, width, width))
        if steps := LIMIT if limit is None else limit:
            given, ends = (point, weights, scale, shift), (floor, best, settled)
            self._enter(given, (tolerance, steps), (out, both[0], both[1]), ends)
        return Ends(point, best, settled.astype(bool))

    def _enter(
        self,
        given: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None],
        until: tuple[float, int],
        pictures: tuple[np.ndarray, np.ndarray, np.ndarray],
        ends: tuple[np.ndarray, np.ndarray, np.ndarray],
    ) -> None:
        u, weights, scale, shift = given
        tape, (stored, rows), width = self.tape, self.data.shape, u.shape[1]
        filled = -(-rows // LANES) * LANES
        block = min(filled, BLOCK, max(LANES, POOL // tape.slots // LANES * LANES))
        kind = 2 if self.noise.dof is not None else 0 if self.noise.delta is None else 1
        ahead = np.zeros((1, rows)) if shift is None else shift
        sizes = [
            len(u), width, stored, rows, len(weights), len(ahead), len(tape.scalar_code),
            len(tape.code), len(tape.outs), len(tape.scalars), tape.slots, block,
            kind if self.logs else kind + 3, tape.first, LANES, until[1],
        ]  # fmt: skip
        reals = np.array([self.noise.dof or self.noise.delta or 0.0, until[0]])
        self.entry(
            np.array(sizes), tape.scalar_code, tape.code, tape.outs, reals, self.data, self.target,
            weights, ahead, scale, ends[0], u, tape.scalars.copy(), np.empty((tape.slots, block)),
            np.empty((stored + 2, filled)), np.empty((4 + width, width)), *pictures, *ends[1:],
        )  # fmt: skip


def tangent_kernel(
    kernel: Kernel, residual: Float[np.ndarray, "rows"], jac: Float[np.ndarray, "params rows"]
) -> Kernel:
    """The kernel of the linear law residual + s @ jac, on the same noise model."""
    tape = write_sum(len(jac))
    return replace(kernel, tape=tape, data=jac, target=-residual, logs=False)


def find_kernel(
    law: Law,
    noise: Noise,
    columns: dict[str, Float[np.ndarray, "rows"]],
    target: Float[np.ndarray, "rows"],
    draws: int,
) -> Kernel | None:
    """The kernel of a traced law for ``draws`` refits; None where they are too few to load the
    machine code, or it is not at hand (which has it made, for later)."""
    if law.expr is None or not law.params or draws * len(target) < WORTH:
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
    """The kernel of a traced law on a table; ``target`` is on the noise's scale."""
    program, logs = model_program(law, noise.scale)
    width = len(law.params)
    with np.errstate(all="ignore"):
        stored = column_function(program, len(law.variables))(*(columns[n] for n in law.variables))
    data = np.empty((len(stored), len(target)))
    for k, item in enumerate(stored):
        data[k] = item
    return Kernel(entry, write_tape(program, width), data, target, noise, logs)
