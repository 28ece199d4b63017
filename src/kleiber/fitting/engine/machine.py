# pyright: basic
"""The machine that runs tapes: blocks of rows through one operation after another (Numba).

Only the process that compiles imports this module (``native.py``); the machine code serves every
law and noise model. An operation is one loop over the rows of a block, without branches, which
the compiler turns into vector instructions. A sum is
taken in a loop that stores nothing: one that stores is compiled twice, and the order of its sum
would depend on where its arrays lie.
"""

from __future__ import annotations

from math import sqrt

from numba import njit

from kleiber.fitting.engine.elementary import STRICT, exp, log, log1p, power, tanh

FAST = {"contract", "nsz", "arcp", "reassoc"}
PLAIN = {"error_model": "numpy", "fastmath": FAST, "_nrt": False}
KEPT = {"error_model": "numpy", "fastmath": STRICT, "_nrt": False}
CHARGE = 7  # rows of the noise model, before those of the slopes


@njit(**KEPT)
def count(code, s):
    """The operations on parameters alone."""
    for k in range(code.shape[0]):
        op, d, a, b = code[k, 0], code[k, 1], s[code[k, 2]], s[code[k, 3]]
        if op == 0:
            s[d] = a + b
        elif op == 1:
            s[d] = a - b
        elif op == 2:
            s[d] = a * b
        elif op == 3:
            s[d] = a / b
        elif op == 4:
            s[d] = -a
        elif op == 5:
            s[d] = exp(a)
        elif op == 6:
            s[d] = log(a)
        elif op == 7:
            s[d] = log1p(a)
        elif op == 8:
            s[d] = sqrt(a)
        elif op == 9:
            s[d] = tanh(a)
        elif op == 10:
            s[d] = power(a, b)
        elif op == 11:
            s[d] = 1.0 if a > 0.0 else 0.0
        else:
            s[d] = a


@njit(**PLAIN)
def both(op, d, a, b, n):
    """An operation on two rows of the pool."""
    if op == 0:
        for i in range(n):
            d[i] = a[i] + b[i]
    elif op == 1:
        for i in range(n):
            d[i] = a[i] - b[i]
    elif op == 2:
        for i in range(n):
            d[i] = a[i] * b[i]
    else:
        for i in range(n):
            d[i] = a[i] / b[i]


@njit(**PLAIN)
def right(op, d, a, y, n):
    """An operation on a row and a number."""
    if op == 0:
        for i in range(n):
            d[i] = a[i] + y
    elif op == 1:
        for i in range(n):
            d[i] = a[i] - y
    elif op == 2:
        for i in range(n):
            d[i] = a[i] * y
    elif op == 3:
        for i in range(n):
            d[i] = a[i] / y
    else:
        for i in range(n):
            d[i] = power(a[i], y)


@njit(**PLAIN)
def left(op, d, x, b, n):
    """An operation on a number and a row, where their order counts."""
    if op == 1:
        for i in range(n):
            d[i] = x - b[i]
    else:
        for i in range(n):
            d[i] = x / b[i]


@njit(**PLAIN)
def one(op, d, a, n):
    """An operation on one row."""
    if op == 4:
        for i in range(n):
            d[i] = -a[i]
    elif op == 5:
        for i in range(n):
            d[i] = exp(a[i])
    elif op == 6:
        for i in range(n):
            d[i] = log(a[i])
    elif op == 7:
        for i in range(n):
            d[i] = log1p(a[i])
    elif op == 8:
        for i in range(n):
            d[i] = sqrt(a[i])
    elif op == 9:
        for i in range(n):
            d[i] = tanh(a[i])
    elif op == 11:
        for i in range(n):
            d[i] = 1.0 if a[i] > 0.0 else 0.0
    else:
        for i in range(n):
            d[i] = a[i]


@njit(**PLAIN)
def fill(d, x, n):
    for i in range(n):
        d[i] = x


@njit(**KEPT)
def play(code, s, pool, n):
    """The operations on rows; ``form`` 0: two rows, 1: row and number, 2: number and row, 3: one
    row, 4: a number in every row."""
    for k in range(code.shape[0]):
        form, op, d = code[k, 0], code[k, 1], pool[code[k, 2]]
        if form == 0:
            both(op, d, pool[code[k, 3]], pool[code[k, 4]], n)
        elif form == 1:
            right(op, d, pool[code[k, 3]], s[code[k, 4]], n)
        elif form == 2:
            left(op, d, s[code[k, 3]], pool[code[k, 4]], n)
        elif form == 3:
            one(op, d, pool[code[k, 3]], n)
        else:
            fill(d, s[code[k, 3]], n)


@njit(**PLAIN)
def compare_logs(m, y, error, inverse, n):
    for i in range(n):
        error[i] = log(m[i]) - y[i]
        inverse[i] = 1.0 / m[i]


@njit(**PLAIN)
def compare(m, y, error, n):
    for i in range(n):
        error[i] = m[i] - y[i]


@njit(**PLAIN)
def charge_squares(error, w, rho, psi, weight, curve, n):
    for i in range(n):
        e = error[i]
        rho[i] = w[i] * (0.5 * e * e)
        psi[i] = w[i] * e
        weight[i] = w[i]
        curve[i] = w[i]


@njit(**PLAIN)
def charge_huber(error, w, size, rho, psi, weight, curve, n):
    for i in range(n):
        e = error[i]
        far = abs(e)
        near = min(far, size)
        part = near / far if far > 0.0 else 1.0
        rho[i] = w[i] * (near * (far - 0.5 * near))
        psi[i] = w[i] * (part * e)
        weight[i] = w[i] * part
        curve[i] = w[i] if far <= size else 0.0


@njit(**PLAIN)
def charge_student(error, w, size, scale, rho, psi, weight, curve, n):
    s2 = size * scale * scale
    level = log(scale)
    for i in range(n):
        e = error[i]
        base = s2 + e * e
        part = (size + 1.0) / base
        rho[i] = w[i] * (0.5 * (size + 1.0) * log1p(e * e / s2) + level)
        psi[i] = w[i] * (part * e)
        weight[i] = w[i] * part
        curve[i] = w[i] * (part * (s2 - e * e) / base)


@njit(**PLAIN)
def total(a, n):
    out = 0.0
    for i in range(n):
        out += a[i]
    return out


@njit(**PLAIN)
def dot(a, b, n):
    out = 0.0
    for i in range(n):
        out += a[i] * b[i]
    return out


@njit(**PLAIN)
def pair(a, b, c, n):  # a.c and b.c
    first = second = 0.0
    for i in range(n):
        first += a[i] * c[i]
        second += b[i] * c[i]
    return first, second


@njit(**PLAIN)
def bend(curve, psi, inverse, n):
    """What the logarithm makes of the weights of the second derivatives."""
    for i in range(n):
        curve[i] -= psi[i]
        psi[i] *= inverse[i]


@njit(**KEPT)
def charge(tape, scale, n):
    """What the noise model makes of one block: the rows after the stored ones."""
    outs, pool, noise, size, first = tape[2], tape[4], tape[5], tape[6], tape[7]
    m, w, y = pool[outs[0]], pool[first - 2], pool[first - 1]
    rho, psi, weight, curve = pool[first], pool[first + 1], pool[first + 2], pool[first + 3]
    error, inverse = pool[first + 4], pool[first + 5]
    if noise < 3:
        compare_logs(m, y, error, inverse, n)
    else:
        compare(m, y, error, n)
    if noise % 3 == 0:
        charge_squares(error, w, rho, psi, weight, curve, n)
    elif noise % 3 == 1:
        charge_huber(error, w, size, rho, psi, weight, curve, n)
    else:
        charge_student(error, w, size, scale, rho, psi, weight, curve, n)


@njit(**KEPT)
def add_sums(tape, n, out, gauss, newton):
    """One block's part of the objective, its gradient and both matrices (lower triangles)."""
    outs, pool, noise, first = tape[2], tape[4], tape[5], tape[7]
    width, psi, inverse = out.shape[0] - 1, pool[first + 1], pool[first + 5]
    out[0] += total(pool[first], n)
    for i in range(width):
        if outs[1 + i] >= 0:
            slope = pool[first + CHARGE + i]
            if noise < 3:
                both(2, slope, pool[outs[1 + i]], inverse, n)
            else:
                one(12, slope, pool[outs[1 + i]], n)
            out[1 + i] += dot(psi, slope, n)
    if noise < 3:
        bend(pool[first + 3], psi, inverse, n)
    k = 1 + width
    for i in range(width):
        low, high = pool[first + 4], pool[first + 6]
        if outs[1 + i] >= 0:
            both(2, low, pool[first + 2], pool[first + CHARGE + i], n)
            both(2, high, pool[first + 3], pool[first + CHARGE + i], n)
        for j in range(i + 1):
            if outs[1 + i] >= 0 and outs[1 + j] >= 0:
                a, b = pair(low, high, pool[first + CHARGE + j], n)
                gauss[i, j] += a
                newton[i, j] += b
            if outs[k] >= 0:
                newton[i, j] += dot(psi, pool[outs[k]], n)
            k += 1


@njit(**KEPT)
def clear(out, gauss, newton):
    for i in range(out.shape[0]):
        out[i] = 0.0
    for i in range(gauss.shape[0]):
        for j in range(gauss.shape[0]):
            gauss[i, j] = newton[i, j] = 0.0


@njit(**KEPT)
def picture(theta, tape, part, kept, scale, out, gauss, newton):
    """The objective of one member with its gradient and both matrices."""
    scalar_code, code, s, pool = tape[0], tape[1], tape[3], tape[4]
    width, rows = theta.shape[0], part.shape[0]
    for k in range(width):
        s[k] = theta[k]
    count(scalar_code, s)
    clear(out, gauss, newton)
    block, start = pool.shape[1], 0
    while start < kept:
        n = min(block, kept - start)
        for k in range(rows):
            fetch(part[k], start, pool[k], n)
        play(code, s, pool, n)
        charge(tape, scale, n)
        add_sums(tape, n, out, gauss, newton)
        start += n
    for i in range(width):
        for j in range(i):
            gauss[j, i] = gauss[i, j]
            newton[j, i] = newton[i, j]


@njit(**PLAIN)
def fetch(row, start, d, n):
    a = row[start : start + n]
    for i in range(n):
        d[i] = a[i]


@njit(**KEPT)
def gather(m, data, target, weights, shift, part, lanes):
    """A member's rows of positive weight, and as many copies of the last, of weight 0, as fill the
    last vector."""
    w, s = weights[m if weights.shape[0] > 1 else 0], shift[m if shift.shape[0] > 1 else 0]
    stored, kept = data.shape[0], 0
    for i in range(data.shape[1]):
        if w[i] != 0.0:
            for k in range(stored):
                part[k, kept] = data[k, i]
            part[stored, kept] = w[i]
            part[stored + 1, kept] = target[i] + s[i]
            kept += 1
    while kept % lanes != 0:
        for k in range(stored + 2):
            part[k, kept] = part[k, kept - 1]
        part[stored, kept] = 0.0
        kept += 1
    return kept
