"""A law's Program as a tape: numbered operations on rows of a memory pool, and on single numbers.

The rows of the pool are the stored columns, the weights and the shift, the loss terms of the
residuals, and intermediate results, whose rows are reused as soon as nothing reads them any more.
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
LOSS_ROWS = 7  # rows of the noise model, before those of the slopes


@dataclass(frozen=True)
class Tape:
    """Operations on single numbers (operation, destination, operands) and on rows (kind of
    operands, operation, destination, operands); ``outs`` are the rows of the results, -1 for a
    zero."""

    scalar_code: Int[np.ndarray, "scalar_ops 4"]
    code: Int[np.ndarray, "ops 5"]
    outs: Int[np.ndarray, "results"]
    scalars: Float[np.ndarray, "scalars"]
    slots: int
    first: int


def write_tape(program: Program, width: int) -> Tape:
    """Write the tape of a Program over ``width`` parameters."""
    numbers, scalar_code = _scalar_operations(program, width)
    slot_of = {name: k for k, name in enumerate(program.stored)}
    first = len(slot_of) + 2
    last = _find_last_uses(program)
    free_slots: list[int] = []
    slots = first + LOSS_ROWS + width
    code: list[tuple[int, int, int, int, int]] = []

    def take_slot() -> int:
        nonlocal slots
        if free_slots:
            return free_slots.pop()
        slots += 1
        return slots - 1

    for k, (name, _) in enumerate(program.mixed):
        op, parts = program.parts[name]
        row = take_slot()
        code.append(_encode_operation(op, row, parts, slot_of, numbers))
        slot_of[name] = row
        free_slots += [slot_of[part] for part in dict.fromkeys(parts) if last.get(part) == k]
    outs: list[int] = []
    for name, zero in zip(program.outputs, program.zero, strict=True):
        if name not in slot_of and not zero:
            slot_of[name] = take_slot()
            code.append((NUMBER, 0, slot_of[name], numbers[name], 0))
        outs.append(-1 if zero else slot_of[name])
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


def write_weighted_sum(width: int) -> Tape:
    """Write the tape of a weighted sum of ``width`` columns whose weights are the parameters."""
    first = width + 2
    row = first + LOSS_ROWS + width
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


def _scalar_operations(
    program: Program, width: int
) -> tuple[dict[str, int], list[tuple[int, int, int, int]]]:
    """Return the position of each single number, and the operations on them."""
    numbers = {f"t_{k}": k for k in range(width)}
    for name in (*program.numbers, *(name for name, _ in program.vector)):
        numbers[name] = len(numbers)
    code: list[tuple[int, int, int, int]] = []
    for name, _ in program.vector:
        op, parts = program.parts[name]
        where = [numbers[part] for part in parts]
        code.append((OPS[op], numbers[name], where[0], where[-1]))
    return numbers, code


def _encode_operation(
    op: str, row: int, parts: tuple[str, ...], slot_of: dict[str, int], numbers: dict[str, int]
) -> tuple[int, int, int, int, int]:
    if len(parts) == 1:
        return ROW, OPS[op], row, slot_of[parts[0]], 0
    a, b = parts
    if a in slot_of and b in slot_of:
        return ROWS, OPS[op], row, slot_of[a], slot_of[b]
    if a in slot_of:
        return ROW_NUMBER, OPS[op], row, slot_of[a], numbers[b]
    if op in ("add", "mul"):
        return ROW_NUMBER, OPS[op], row, slot_of[b], numbers[a]
    return NUMBER_ROW, OPS[op], row, numbers[a], slot_of[b]


def _find_last_uses(program: Program) -> dict[str, int]:
    """Return the statement that reads each result for the last time; results that are outputs are
    left out."""
    last: dict[str, int] = {}
    made = {name for name, _ in program.mixed}
    for k, (name, _) in enumerate(program.mixed):
        last |= {part: k for part in program.parts[name][1] if part in made}
    return {name: k for name, k in last.items() if name not in program.outputs}
