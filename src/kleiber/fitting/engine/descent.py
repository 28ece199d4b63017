# pyright: basic
"""The descent of one draw on the machine, and the door by which Python enters (Numba).

The descent is Newton's, damped after a failure: the same steps as those of ``levenberg.descend``
from a start that is close, one draw at a time, so that its rows stay in the cache. Where it does
not arrive (an optimum at a floor, say), the general descent goes on from there.
"""

from __future__ import annotations

from math import isfinite, sqrt

from numba import carray, cfunc, njit, types  # pyright: ignore[reportPrivateImportUsage]

from kleiber.fitting.engine.levenberg import NEAR, QUIET, ROUNDING, SHORT
from kleiber.fitting.engine.machine import KEPT, gather, picture

RIDGE = 1e-9  # damping that counts as none: what a parameter without effect needs


@njit(**KEPT)
def solve(here, gauss, newton, damping, work, unit, step):
    """(newton + damping diag(gauss)) step = -gradient; False where that matrix is not positive."""
    width, most = len(step), 0.0
    for i in range(width):
        most = max(most, gauss[i, i])
    for i in range(width):
        unit[i] = 1.0 / sqrt(max(gauss[i, i], 1e-14 * most) + 1e-300)
        step[i] = -here[i + 1] * unit[i]
        for j in range(i + 1):
            work[i, j] = newton[i, j] * unit[i] * unit[j]
        work[i, i] += damping
    for j in range(width):
        if not work[j, j] > 1e-14:
            return False
        for i in range(j + 1, width):
            ratio = work[i, j] / work[j, j]
            step[i] -= ratio * step[j]
            for k in range(j + 1, i + 1):
                work[i, k] -= ratio * work[k, j]
    for back in range(width):
        j = width - 1 - back
        step[j] /= work[j, j]
        for i in range(j):
            step[i] -= work[j, i] * step[j]
    for i in range(width):
        step[i] *= unit[i]
    return True


@njit(**KEPT)
def fall(here, newton, step):
    """The fall of the objective that the step is predicted to bring."""
    total = 0.0
    for i in range(len(step)):
        bent = 0.0
        for j in range(len(step)):
            bent += newton[i, j] * step[j]
        total -= step[i] * (here[i + 1] + 0.5 * bent)
    return total


@njit(**KEPT)
def is_short(step, point):
    short = True
    for i in range(len(step)):
        short = short and abs(step[i]) <= SHORT * (1.0 + abs(point[i]))
    return short


@njit(**KEPT)
def is_free(step, point, lowest):
    free = True
    for i in range(len(step)):
        free = free and not step[i] < NEAR * (lowest[i] - point[i])
    return free


@njit(**KEPT)
def descend(theta, tape, part, kept, scale, lowest, tolerance, limit, room):
    """Where a descent from ``theta`` ends; its objective there, and whether it has settled."""
    values, gausses, newtons, desk = room
    points, unit, step, work = desk[:2], desk[2], desk[3], desk[4:]
    here, damping = 0, 0.0
    for i in range(len(step)):
        points[0, i] = theta[i]
    picture(points[0], tape, part, kept, scale, values[0], gausses[0], newtons[0])
    settled, growth, quiet = False, 4.0, 0
    for _ in range(limit):
        value = values[here, 0]
        if not isfinite(value) or damping > 1e6:
            break
        if not solve(values[here], gausses[here], newtons[here], damping, work, unit, step):
            damping = max(RIDGE, 4.0 * damping if damping > 1e-3 else 1e3 * damping)
            continue
        if not is_free(step, points[here], lowest):
            damping = max(4.0 * damping, 1e-3)
            continue
        expected = fall(values[here], newtons[here], step)
        noise = ROUNDING * abs(value)
        small = 0.0 <= expected <= tolerance * abs(value) + noise
        there = 1 - here
        for i in range(len(step)):
            points[there, i] = points[here, i] + step[i]
        if damping <= RIDGE and small and is_short(step, points[here]):
            here, settled = there, True
            values[here, 0] = value - expected
            break
        picture(points[there], tape, part, kept, scale, values[there], gausses[there],
                newtons[there])  # fmt: skip
        if value - values[there, 0] > 1e3 * tolerance * abs(value):
            quiet = 0
        elif small and damping <= RIDGE:
            quiet += 1
        if values[there, 0] <= value + noise:
            here, damping, growth = there, 0.0 if small or damping < 1e-6 else 0.1 * damping, 4.0
        else:
            damping, growth = max(growth * damping, 1e-3), 2.0 * growth
        if quiet == QUIET:  # what is left moves along what no longer matters
            settled = True
            break
    for i in range(len(step)):
        theta[i] = points[here, i]
    return values[here, 0], settled


POINTER, WHOLE = types.CPointer(types.float64), types.CPointer(types.int64)
CODE = types.CPointer(types.int32)
SIGNATURE = types.void(WHOLE, CODE, CODE, CODE, *([POINTER] * 16), WHOLE)


@cfunc(SIGNATURE, error_model="numpy")
def enter(sizes, scalar_code, code, outs, reals, data, target, weights, shift, scale, lowest,
          theta, s, pool, part, room, out, gauss, newton, best, settled):  # fmt: skip
    """Every member's picture or, where the limit of steps is positive, its descent."""
    q, real = carray(sizes, 16), carray(reals, 2)
    members, width, stored, rows, block, limit = q[0], q[1], q[2], q[3], q[11], q[15]
    pictures = 2 if limit > 0 else members
    tape = (
        carray(scalar_code, (q[6], 4)), carray(code, (q[7], 5)), carray(outs, q[8]),
        carray(s, q[9]), carray(pool, (q[10], block)), q[12], real[0], q[13],
    )  # fmt: skip
    table, cells = (
        carray(data, (stored, rows)),
        carray(part, (stored + 2, (rows + q[14] - 1) // q[14] * q[14])),
    )
    aim = carray(target, rows)
    w, ahead = carray(weights, (q[4], rows)), carray(shift, (q[5], rows))
    points, scales = carray(theta, (members, width)), carray(scale, members)
    values = carray(out, (pictures, 1 + width))
    gausses = carray(gauss, (pictures, width, width))
    newtons = carray(newton, (pictures, width, width))
    ends, done = carray(best, members), carray(settled, members)
    desk, floors = carray(room, (4 + width, width)), carray(lowest, width)
    for m in range(members):
        kept = gather(m, table, aim, w, ahead, cells, q[14])
        if limit > 0:
            ends[m], done[m] = descend(
                points[m], tape, cells, kept, scales[m], floors, real[1], limit,
                (values, gausses, newtons, desk),
            )  # fmt: skip
        else:
            picture(points[m], tape, cells, kept, scales[m], values[m], gausses[m], newtons[m])
