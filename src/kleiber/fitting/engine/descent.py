# pyright: basic
"""Newton descent of one draw in machine code, and the entry function that Python calls (Numba).

The descent takes the same steps as ``levenberg.descend`` from a start that is close, damped after a
failed step, one draw at a time so that its rows stay in the cache. Where it does not converge (at
an optimum on a floor, for example) the general descent continues.
"""

from __future__ import annotations

from math import isfinite, sqrt

from numba import carray, cfunc, njit, types  # pyright: ignore[reportPrivateImportUsage]

from kleiber.fitting.engine.levenberg import (
    FLOOR_FRACTION,
    MAX_IDLE_STEPS,
    RELATIVE_ROUNDING,
    SHORT_STEP,
)
from kleiber.fitting.engine.machine import STRICT_JIT, evaluate, pack_rows

NO_DAMPING = 1e-9  # damping that counts as none: what a parameter without effect needs


@njit(**STRICT_JIT)
def solve_newton_step(here, gauss, newton, damping, matrix, unit, step):
    """Solve (newton + damping diag(gauss)) step = -gradient; return False if that matrix is not
    positive definite."""
    width, largest = len(step), 0.0
    for i in range(width):
        largest = max(largest, gauss[i, i])
    for i in range(width):
        unit[i] = 1.0 / sqrt(max(gauss[i, i], 1e-14 * largest) + 1e-300)
        step[i] = -here[i + 1] * unit[i]
        for j in range(i + 1):
            matrix[i, j] = newton[i, j] * unit[i] * unit[j]
        matrix[i, i] += damping
    for j in range(width):
        if not matrix[j, j] > 1e-14:
            return False
        for i in range(j + 1, width):
            ratio = matrix[i, j] / matrix[j, j]
            step[i] -= ratio * step[j]
            for k in range(j + 1, i + 1):
                matrix[i, k] -= ratio * matrix[k, j]
    for back in range(width):
        j = width - 1 - back
        step[j] /= matrix[j, j]
        for i in range(j):
            step[i] -= matrix[j, i] * step[j]
    for i in range(width):
        step[i] *= unit[i]
    return True


@njit(**STRICT_JIT)
def predicted_decrease(here, newton, step):
    """Return the decrease of the objective that the quadratic model predicts for a step."""
    total = 0.0
    for i in range(len(step)):
        curvature = 0.0
        for j in range(len(step)):
            curvature += newton[i, j] * step[j]
        total -= step[i] * (here[i + 1] + 0.5 * curvature)
    return total


@njit(**STRICT_JIT)
def is_short(step, point):
    short = True
    for i in range(len(step)):
        short = short and abs(step[i]) <= SHORT_STEP * (1.0 + abs(point[i]))
    return short


@njit(**STRICT_JIT)
def stays_above_floors(step, point, floors):
    free = True
    for i in range(len(step)):
        free = free and not step[i] < FLOOR_FRACTION * (floors[i] - point[i])
    return free


@njit(**STRICT_JIT)
def descend(theta, tape, packed, n_packed, scale, floors, tolerance, limit, buffers):
    """Descend from ``theta``, which is overwritten, and return the objective there and whether it
    converged."""
    values, gausses, newtons, workspace = buffers
    points, unit, step, matrix = workspace[:2], workspace[2], workspace[3], workspace[4:]
    here, damping = 0, 0.0
    for i in range(len(step)):
        points[0, i] = theta[i]
    evaluate(points[0], tape, packed, n_packed, scale, values[0], gausses[0], newtons[0])
    converged, growth, idle_steps = False, 4.0, 0
    for _ in range(limit):
        value = values[here, 0]
        if not isfinite(value) or damping > 1e6:
            break
        if not solve_newton_step(
            values[here], gausses[here], newtons[here], damping, matrix, unit, step
        ):
            damping = max(NO_DAMPING, 4.0 * damping if damping > 1e-3 else 1e3 * damping)
            continue
        if not stays_above_floors(step, points[here], floors):
            damping = max(4.0 * damping, 1e-3)
            continue
        expected = predicted_decrease(values[here], newtons[here], step)
        noise = RELATIVE_ROUNDING * abs(value)
        small = 0.0 <= expected <= tolerance * abs(value) + noise
        there = 1 - here
        for i in range(len(step)):
            points[there, i] = points[here, i] + step[i]
        if damping <= NO_DAMPING and small and is_short(step, points[here]):
            here, converged = there, True
            values[here, 0] = value - expected
            break
        evaluate(points[there], tape, packed, n_packed, scale, values[there], gausses[there],
                newtons[there])  # fmt: skip
        if value - values[there, 0] > 1e3 * tolerance * abs(value):
            idle_steps = 0
        elif small and damping <= NO_DAMPING:
            idle_steps += 1
        if values[there, 0] <= value + noise:
            here, damping, growth = there, 0.0 if small or damping < 1e-6 else 0.1 * damping, 4.0
        else:
            damping, growth = max(growth * damping, 1e-3), 2.0 * growth
        if idle_steps == MAX_IDLE_STEPS:  # what is left moves along what no longer matters
            converged = True
            break
    for i in range(len(step)):
        theta[i] = points[here, i]
    return values[here, 0], converged


REALS, INTEGERS = types.CPointer(types.float64), types.CPointer(types.int64)
CODES = types.CPointer(types.int32)
SIGNATURE = types.void(INTEGERS, CODES, CODES, CODES, *([REALS] * 16), INTEGERS)


@cfunc(SIGNATURE, error_model="numpy")
def enter(sizes, scalar_code, code, outs, reals, data, target, weights, shift, scale, floors,
          theta, s, pool, packed, buffers, out, gauss, newton, best, converged):  # fmt: skip
    """Evaluate the objective of each draw or, if the limit of steps is positive, descend from its
    start."""
    q, real = carray(sizes, 16), carray(reals, 2)
    count, width, stored, rows, block, limit = q[0], q[1], q[2], q[3], q[11], q[15]
    evaluations = 2 if limit > 0 else count
    tape = (
        carray(scalar_code, (q[6], 4)), carray(code, (q[7], 5)), carray(outs, q[8]),
        carray(s, q[9]), carray(pool, (q[10], block)), q[12], real[0], q[13],
    )  # fmt: skip
    table, cells = (
        carray(data, (stored, rows)),
        carray(packed, (stored + 2, (rows + q[14] - 1) // q[14] * q[14])),
    )
    targets = carray(target, rows)
    w, shifts = carray(weights, (q[4], rows)), carray(shift, (q[5], rows))
    points, scales = carray(theta, (count, width)), carray(scale, count)
    values = carray(out, (evaluations, 1 + width))
    gausses = carray(gauss, (evaluations, width, width))
    newtons = carray(newton, (evaluations, width, width))
    ends, done = carray(best, count), carray(converged, count)
    workspace, floors = carray(buffers, (4 + width, width)), carray(floors, width)
    for m in range(count):
        n_packed = pack_rows(m, table, targets, w, shifts, cells, q[14])
        if limit > 0:
            ends[m], done[m] = descend(
                points[m], tape, cells, n_packed, scales[m], floors, real[1], limit,
                (values, gausses, newtons, workspace),
            )  # fmt: skip
        else:
            evaluate(points[m], tape, cells, n_packed, scales[m], values[m], gausses[m], newtons[m])
