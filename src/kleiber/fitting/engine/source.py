"""The text that is compiled for a law: one pass over rows, and the descent of one draw.

The pass sums the objective, its gradient and both matrices over a member's rows of positive weight,
which are gathered once. The descent is Newton's, damped after a failure: the same steps as those of
``levenberg.descend`` from a start that is close, one draw at a time, so that its rows stay in
the cache. Where it does not arrive (an optimum at a floor, say), the
general descent goes on from there.
"""

from __future__ import annotations

from kleiber.fitting.engine.levenberg import NEAR, ROUNDING, SHORT
from kleiber.fitting.engine.noise import Noise
from kleiber.maths.graph import Program

PREAMBLE = """
from math import floor, sqrt, tanh
from numba import njit
from numpy import empty, float64, inf, int64, isfinite, nan

FAST = {"contract", "nsz", "arcp", "reassoc"}
STRICT = {"contract"}  # where the order of operations is the point of them


@njit(fastmath=STRICT, forceinline=True)
def remainder(t, k):  # t - k log(2)
    return t - k * 0.6931471803691238 - k * 1.9082149292705877e-10


@njit(fastmath=STRICT, forceinline=True)
def lost(x, u):  # what rounding took from u = 1 + x
    return x - (u - 1.0)


@njit(inline="always")
def exp(x):  # 2^k times the Taylor series on +-log(2)/2: 2 ulp, and the loop becomes vectors
    t = min(max(x, -708.0), 709.79)
    k = floor(t * 1.4426950408889634 + 0.5)
    r = remainder(t, k)
    p = 1 / 39916800 + r / 479001600
    p = 1 / 40320 + r * (1 / 362880 + r * (1 / 3628800 + r * p))
    p = 1 / 24 + r * (1 / 120 + r * (1 / 720 + r * (1 / 5040 + r * p)))
    p = 1.0 + r * (1.0 + r * (0.5 + r * (1 / 6 + r * p)))
    y = 2.0 * p * int64((int64(k) + 1022) << 52).view(float64)
    y = y if x > -708.0 else 0.0
    return y if x == x else x


@njit(inline="always")
def log(x):  # the exponent's log(2), and 2 atanh((m-1)/(m+1)) of the mantissa: 2 ulp
    bits = float64(x).view(int64)
    e = (bits >> 52) - 1023
    m = int64((bits & 0x000FFFFFFFFFFFFF) | 0x3FF0000000000000).view(float64)
    big = m > 1.4142135623730951
    m = 0.5 * m if big else m
    e = e + 1 if big else e
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    p = 1 / 15 + z * (1 / 17 + z * (1 / 19 + z / 21))
    p = z * (1 / 3 + z * (1 / 5 + z * (1 / 7 + z * (1 / 9 + z * (1 / 11 + z * (1 / 13 + z * p))))))
    y = e * 0.6931471803691238 + (2.0 * s + (2.0 * s * p + e * 1.9082149292705877e-10))
    y = y if x < inf else x
    y = y if x != 0.0 else -inf
    return y if x >= 0.0 else nan


@njit(inline="always")
def log1p(x):
    u = 1.0 + x
    return log(u) + lost(x, u) / u


@njit(inline="always")
def step(x):
    return 1.0 if x > 0.0 else 0.0


@njit(inline="always")
def hold(x):
    return x


"""

SQUARES = """
        rho, psi, weight, curve = 0.5 * r * r, r, 1.0, 1.0
"""
HUBER = """
        far = abs(r)
        near = min(far, size)
        weight = near / far if far > 0.0 else 1.0
        rho, psi, curve = near * (far - 0.5 * near), weight * r, 1.0 if far <= size else 0.0
"""
STUDENT = """
        s2 = size * scale * scale
        base = s2 + r * r
        weight = (size + 1.0) / base
        rho = 0.5 * (size + 1.0) * log1p(r * r / s2) + log(scale)
        psi, curve = weight * r, weight * (s2 - r * r) / base
"""

DESCENT = """
@njit(inline="always")
def gather(m, data, weights, shift, part):  # rows of positive weight
    w, s = weights[m if weights.shape[0] > 1 else 0], shift[m if shift.shape[0] > 1 else 0]
    stored, kept = data.shape[0], 0
    for i in range(data.shape[1]):
        if w[i] != 0.0:
            for k in range(stored):
                part[k, kept] = data[k, i]
            part[stored, kept] = w[i]
            part[stored + 1, kept] = s[i]
            kept += 1
    return kept


@njit(cache=True, error_model="numpy", fastmath=FAST)
def run(theta, data, weights, shift, scale, size, out, gauss, newton):
    part = empty((data.shape[0] + 2, data.shape[1]))
    for m in range(theta.shape[0]):
        kept = gather(m, data, weights, shift, part)
        picture(theta[m], part, kept, scale[m], size, out[m], gauss[m], newton[m])


@njit(cache=True, error_model="numpy", fastmath=STRICT)
def solve(picked, gauss, newton, damping, work, unit, step):
    # (newton + damping diag(gauss)) step = -gradient by L D L'; whether it is positive definite
    width, most = len(step), 0.0
    for i in range(width):
        most = max(most, gauss[i, i])
    for i in range(width):
        unit[i] = 1.0 / sqrt(max(gauss[i, i], 1e-14 * most) + 1e-300)
        step[i] = -picked[i + 1] * unit[i]
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
    for j in range(width - 1, -1, -1):
        step[j] /= work[j, j]
        for i in range(j):
            step[i] -= work[j, i] * step[j]
    for i in range(width):
        step[i] *= unit[i]
    return True


@njit(cache=True, error_model="numpy", fastmath=STRICT)
def fall(picked, newton, step):  # of the objective, as predicted
    total = 0.0
    for i in range(len(step)):
        bent = 0.0
        for j in range(len(step)):
            bent += newton[i, j] * step[j]
        total -= step[i] * (picked[i + 1] + 0.5 * bent)
    return total


@njit(cache=True, error_model="numpy", fastmath=STRICT)
def polish(theta, data, weights, shift, scale, size, lowest, tolerance, limit, best, settled):
    width = theta.shape[1]
    part = empty((data.shape[0] + 2, data.shape[1]))
    values, gausses = empty((2, 1 + width)), empty((2, width, width))
    newtons, points = empty((2, width, width)), empty((2, width))
    work, unit, step = empty((width, width)), empty(width), empty(width)
    for m in range(theta.shape[0]):
        kept = gather(m, data, weights, shift, part)
        here, damping = 0, 0.0
        points[0] = theta[m]
        picture(points[0], part, kept, scale[m], size, values[0], gausses[0], newtons[0])
        for _ in range(limit):
            value = values[here, 0]
            if not isfinite(value) or damping > 1e6:
                break
            if not solve(values[here], gausses[here], newtons[here], damping, work, unit, step):
                damping = max(4.0 * damping, 1e-3)
                continue
            expected = fall(values[here], newtons[here], step)
            noise = ROUNDING * abs(value)
            small = 0.0 <= expected <= tolerance * abs(value) + noise
            short, free = True, True
            for i in range(width):
                short = short and abs(step[i]) <= SHORT * (1.0 + abs(points[here, i]))
                free = free and not step[i] < NEAR * (lowest[i] - points[here, i])
            if not free:
                damping = max(4.0 * damping, 1e-3)
                continue
            there = 1 - here
            for i in range(width):
                points[there, i] = points[here, i] + step[i]
            if damping == 0.0 and small and short:
                here, settled[m] = there, True
                values[here, 0] = value - expected
                break
            picture(
                points[there], part, kept, scale[m], size,
                values[there], gausses[there], newtons[there],
            )
            if values[there, 0] <= value + noise:
                here, damping = there, 0.0 if small or damping < 1e-6 else 0.1 * damping
            else:
                damping = max(4.0 * damping, 1e-3)
        theta[m] = points[here]
        best[m] = values[here, 0]
"""


def kernel_text(program: Program, noise: Noise, width: int) -> str:
    """The whole text for a traced law under a noise model."""
    limits = f"ROUNDING, SHORT, NEAR = {ROUNDING!r}, {SHORT!r}, {NEAR!r}\n\n\n"
    return PREAMBLE + limits + "\n".join(_picture(program, noise, width)) + "\n\n" + DESCENT


def _picture(program: Program, noise: Noise, width: int) -> list[str]:
    """One pass without branches over the gathered rows of one member."""
    charge = STUDENT if noise.dof is not None else SQUARES if noise.delta is None else HUBER
    pairs = [(i, j) for i in range(width) for j in range(i + 1)]
    size = len(program.stored)
    lines = [
        "@njit(cache=True, error_model='numpy', fastmath=FAST)",
        "def picture(theta, part, kept, scale, size, out, gauss, newton):",
        *(f"    p{k} = part[{k}]" for k in range(size + 2)),
        *(f"    t_{k} = theta[{k}]" for k in range(width)),
        *(f"    {name} = {text}" for name, text in program.vector),
        "    total = 0.0",
        *(f"    g{k} = 0.0" for k in range(width)),
        *(f"    a{i}_{j} = b{i}_{j} = 0.0" for i, j in pairs),
        "    for i in range(kept):",
        *(f"        {name} = p{k}[i]" for k, name in enumerate(program.stored)),
        *(f"        {name} = {text}" for name, text in program.mixed),
        f"        r = {program.outputs[0]} - p{size + 1}[i]",
        charge.strip("\n"),
        f"        w = p{size}[i]",
        "        total += w * rho",
        "        psi, weight, curve = w * psi, w * weight, w * curve",
        *_sums(program, width, pairs),
        "    out[0] = total",
        *(f"    out[{k + 1}] = g{k}" for k in range(width)),
    ]
    for i, j in pairs:
        lines.append(f"    gauss[{i}, {j}] = gauss[{j}, {i}] = a{i}_{j}")
        lines.append(f"    newton[{i}, {j}] = newton[{j}, {i}] = b{i}_{j}")
    return lines


def _sums(program: Program, width: int, pairs: list[tuple[int, int]]) -> list[str]:
    """One row's part of the gradient and of both matrices, known zeros left out."""
    slope, bend = program.outputs[1 : 1 + width], program.outputs[1 + width :]
    flat, straight = program.zero[1 : 1 + width], program.zero[1 + width :]
    lines = [f"        g{k} += psi * {slope[k]}" for k in range(width) if not flat[k]]
    for k, (i, j) in enumerate(pairs):
        bent = "" if straight[k] else f"psi * {bend[k]}"
        if not (flat[i] or flat[j]):
            lines.append(f"        c = {slope[i]} * {slope[j]}")
            lines.append(f"        a{i}_{j} += weight * c")
            bent = "curve * c" + (f" + {bent}" if bent else "")
        if bent:
            lines.append(f"        b{i}_{j} += {bent}")
    return lines
