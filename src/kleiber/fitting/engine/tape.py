"""A law's Program as a tape: numbered operations on rows of a pool, and on single numbers.

The pool's rows are the stored columns, the weights and the shift, what the noise model makes of
the residuals, and results, whose rows are used again as soon as nothing reads them any more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from kleiber.maths.graph import Program

OPS = {
    name: number
    for number, name in enumerate(
        "add sub mul div neg exp log log1p sqrt tanh pow step hold".split()
    )
}
ROWS, ROW_NUMBER, NUMBER_ROW, ROW, NUMBER = range(5)  # what an operation reads
CHARGE = 7  # rows of the noise model, before those of the slopes


@dataclass(frozen=True)
class Tape:
    """Operations on single numbers (what, where to, from where) and on rows (what is read, what,
    where to, from where); ``outs`` are the rows of the results, -1 for a zero."""

    scalar_code: Int[np.ndarray, "scalar_ops 4"]
    code: Int[np.ndarray, "ops 5"]
    outs: Int[np.ndarray, "results"]
    scalars: Float[np.ndarray, "scalars"]
    slots: int
    first: int


def write_tape(program: Program, width: int) -> Tape:
    """The tape of a Program over ``width`` parameters."""
    numbers, scalar_code = _scalars(program, width)
    place = {name: k for k, name in enumerate(program.stored)}
    first = len(place) + 2
    last = _last_uses(program)
    free: list[int] = []
    slots = first + CHARGE + width
    code: list[tuple[int, int, int, int, int]] = []

    def take() -> int:
        nonlocal slots
        if free:
            return free.pop()
        slots += 1
        return slots - 1

    for k, (name, _) in enumerate(program.mixed):
        op, parts = program.parts[name]
        row = take()
        code.append(_operation(op, row, parts, place, numbers))
        place[name] = row
        free += [place[part] for part in dict.fromkeys(parts) if last.get(part) == k]
    outs: list[int] = []
    for name, zero in zip(program.outputs, program.zero, strict=True):
        if name not in place and not zero:
            place[name] = take()
            code.append((NUMBER, 0, place[name], numbers[name], 0))
        outs.append(-1 if zero else place[name])
    values = np.zeros(max(numbers.values()) + 1)
    for name, value in program.numbers.items():
        values[numbers[name]] = value
    return Tape(
        np.array(scalar_code, np.int32).reshape(-1, 4),
        np.array(code, np.int32).reshape(-1, 5),
        np.array(outs, np.int32),
        values,
        slots,
        first,
    )


def write_sum(width: int) -> Tape:
    """The tape of a weighted sum of ``width`` columns, the weights being the parameters."""
    first = width + 2
    row = first + CHARGE + width
    code = [(ROW_NUMBER, OPS["mul"], row, 0, 0)]
    for k in range(1, width):
        product, total = row + 1, row + 2 + k % 2
        code.append((ROW_NUMBER, OPS["mul"], product, k, k))
        code.append((ROWS, OPS["add"], total, code[-2][2], product))
    pairs = width * (width + 1) // 2
    outs = [code[-1][2], *range(width), *[-1] * pairs]
    return Tape(
        np.zeros((0, 4), np.int32),
        np.array(code, np.int32),
        np.array(outs, np.int32),
        np.zeros(width),
        row + 4,
        first,
    )


def _scalars(
    program: Program, width: int
) -> tuple[dict[str, int], list[tuple[int, int, int, int]]]:
    """Where each single number is, and the operations on them."""
    numbers = {f"t_{k}": k for k in range(width)}
    for name in (*program.numbers, *(name for name, _ in program.vector)):
        numbers[name] = len(numbers)
    code: list[tuple[int, int, int, int]] = []
    for name, _ in program.vector:
        op, parts = program.parts[name]
        where = [numbers[part] for part in parts]
        code.append((OPS[op], numbers[name], where[0], where[-1]))
    return numbers, code


def _operation(
    op: str, row: int, parts: tuple[str, ...], place: dict[str, int], numbers: dict[str, int]
) -> tuple[int, int, int, int, int]:
    if len(parts) == 1:
        return ROW, OPS[op], row, place[parts[0]], 0
    a, b = parts
    if a in place and b in place:
        return ROWS, OPS[op], row, place[a], place[b]
    if a in place:
        return ROW_NUMBER, OPS[op], row, place[a], numbers[b]
    if op in ("add", "mul"):
        return ROW_NUMBER, OPS[op], row, place[b], numbers[a]
    return NUMBER_ROW, OPS[op], row, numbers[a], place[b]


def _last_uses(program: Program) -> dict[str, int]:
    """At which statement each result is read for the last time; those that are kept are missing."""
    last: dict[str, int] = {}
    made = {name for name, _ in program.mixed}
    for k, (name, _) in enumerate(program.mixed):
        last |= {part: k for part in program.parts[name][1] if part in made}
    return {name: k for name, k in last.items() if name not in program.outputs}
