# pyright: basic
"""Interpreter of tapes in machine code: each operation runs over a block of rows at a time (Numba).

Only the process that compiles imports this module (``native.py``); the machine code serves every
law and noise model. An operation is one loop over the rows of a block, without branches, which the
compiler turns into vector instructions. Sums are taken in loops that store nothing: a loop that
stores is compiled twice, and the order of its sum would depend on the memory addresses of its
arrays.
"""

from __future__ import annotations

from math import sqrt

from numba import njit

from kleiber.fitting.engine.elementary import STRICT_MATH, exp, log, log1p, power, tanh

FAST_MATH = {"contract", "nsz", "arcp", "reassoc"}
FAST_JIT = {"error_model": "numpy", "fastmath": FAST_MATH, "_nrt": False}
STRICT_JIT = {"error_model": "numpy", "fastmath": STRICT_MATH, "_nrt": False}
LOSS_ROWS = 7  # rows of the noise model, before those of the slopes


@njit(**STRICT_JIT)
def run_scalar_code(code, s):
    """Run the operations that depend on parameters alone."""
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


@njit(**FAST_JIT)
def apply_row_row(op, d, a, b, n):
    """Apply an operation to two rows of the pool."""
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


@njit(**FAST_JIT)
def apply_row_number(op, d, a, y, n):
    """Apply an operation to a row and a number."""
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


@njit(**FAST_JIT)
def apply_number_row(op, d, x, b, n):
    """Apply an operation that does not commute to a number and a row."""
    if op == 1:
        for i in range(n):
            d[i] = x - b[i]
    else:
        for i in range(n):
            d[i] = x / b[i]


@njit(**FAST_JIT)
def apply_row(op, d, a, n):
    """Apply an operation to one row."""
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


@njit(**FAST_JIT)
def fill(d, x, n):
    for i in range(n):
        d[i] = x


@njit(**STRICT_JIT)
def run_row_code(code, s, pool, n):
    """Run the operations on rows; ``form`` is 0 for two rows, 1 for row and number, 2 for number
    and row, 3 for one row, 4 for a number copied to every row."""
    for k in range(code.shape[0]):
        form, op, d = code[k, 0], code[k, 1], pool[code[k, 2]]
        if form == 0:
            apply_row_row(op, d, pool[code[k, 3]], pool[code[k, 4]], n)
        elif form == 1:
            apply_row_number(op, d, pool[code[k, 3]], s[code[k, 4]], n)
        elif form == 2:
            apply_number_row(op, d, s[code[k, 3]], pool[code[k, 4]], n)
        elif form == 3:
            apply_row(op, d, pool[code[k, 3]], n)
        else:
            fill(d, s[code[k, 3]], n)


@njit(**FAST_JIT)
def compare_logs(m, y, error, inverse, n):
    for i in range(n):
        error[i] = log(m[i]) - y[i]
        inverse[i] = 1.0 / m[i]


@njit(**FAST_JIT)
def compare(m, y, error, n):
    for i in range(n):
        error[i] = m[i] - y[i]


@njit(**FAST_JIT)
def squares_loss(error, w, rho, psi, weight, curvature, n):
    for i in range(n):
        e = error[i]
        rho[i] = w[i] * (0.5 * e * e)
        psi[i] = w[i] * e
        weight[i] = w[i]
        curvature[i] = w[i]


@njit(**FAST_JIT)
def huber_loss(error, w, parameter, rho, psi, weight, curvature, n):
    for i in range(n):
        e = error[i]
        far = abs(e)
        near = min(far, parameter)
        packed = near / far if far > 0.0 else 1.0
        rho[i] = w[i] * (near * (far - 0.5 * near))
        psi[i] = w[i] * (packed * e)
        weight[i] = w[i] * packed
        curvature[i] = w[i] if far <= parameter else 0.0


@njit(**FAST_JIT)
def student_loss(error, w, parameter, scale, rho, psi, weight, curvature, n):
    s2 = parameter * scale * scale
    level = log(scale)
    for i in range(n):
        e = error[i]
        base = s2 + e * e
        packed = (parameter + 1.0) / base
        rho[i] = w[i] * (0.5 * (parameter + 1.0) * log1p(e * e / s2) + level)
        psi[i] = w[i] * (packed * e)
        weight[i] = w[i] * packed
        curvature[i] = w[i] * (packed * (s2 - e * e) / base)


@njit(**FAST_JIT)
def sum_values(a, n):
    out = 0.0
    for i in range(n):
        out += a[i]
    return out


@njit(**FAST_JIT)
def dot(a, b, n):
    out = 0.0
    for i in range(n):
        out += a[i] * b[i]
    return out


@njit(**FAST_JIT)
def dot_two(a, b, c, n):  # a.c and b.c
    first = second = 0.0
    for i in range(n):
        first += a[i] * c[i]
        second += b[i] * c[i]
    return first, second


@njit(**FAST_JIT)
def add_log_terms(curvature, psi, inverse, n):
    """Turn the derivatives of the loss in log(m) into the weights of the derivatives of m."""
    for i in range(n):
        curvature[i] -= psi[i]
        psi[i] *= inverse[i]


@njit(**STRICT_JIT)
def evaluate_loss(tape, scale, n):
    """Evaluate the loss of one block of rows with its derivatives, into the rows after the stored
    ones."""
    outs, pool, noise, parameter, first = tape[2], tape[4], tape[5], tape[6], tape[7]
    m, w, y = pool[outs[0]], pool[first - 2], pool[first - 1]
    rho, psi, weight, curvature = pool[first], pool[first + 1], pool[first + 2], pool[first + 3]
    error, inverse = pool[first + 4], pool[first + 5]
    if noise < 3:
        compare_logs(m, y, error, inverse, n)
    else:
        compare(m, y, error, n)
    if noise % 3 == 0:
        squares_loss(error, w, rho, psi, weight, curvature, n)
    elif noise % 3 == 1:
        huber_loss(error, w, parameter, rho, psi, weight, curvature, n)
    else:
        student_loss(error, w, parameter, scale, rho, psi, weight, curvature, n)


@njit(**STRICT_JIT)
def add_sums(tape, n, out, gauss, newton):
    """Add one block to the objective, its gradient and both matrices (lower triangles)."""
    outs, pool, noise, first = tape[2], tape[4], tape[5], tape[7]
    width, psi, inverse = out.shape[0] - 1, pool[first + 1], pool[first + 5]
    out[0] += sum_values(pool[first], n)
    for i in range(width):
        if outs[1 + i] >= 0:
            derivative = pool[first + LOSS_ROWS + i]
            if noise < 3:
                apply_row_row(2, derivative, pool[outs[1 + i]], inverse, n)
            else:
                apply_row(12, derivative, pool[outs[1 + i]], n)
            out[1 + i] += dot(psi, derivative, n)
    if noise < 3:
        add_log_terms(pool[first + 3], psi, inverse, n)
    k = 1 + width
    for i in range(width):
        low, high = pool[first + 4], pool[first + 6]
        if outs[1 + i] >= 0:
            apply_row_row(2, low, pool[first + 2], pool[first + LOSS_ROWS + i], n)
            apply_row_row(2, high, pool[first + 3], pool[first + LOSS_ROWS + i], n)
        for j in range(i + 1):
            if outs[1 + i] >= 0 and outs[1 + j] >= 0:
                a, b = dot_two(low, high, pool[first + LOSS_ROWS + j], n)
                gauss[i, j] += a
                newton[i, j] += b
            if outs[k] >= 0:
                newton[i, j] += dot(psi, pool[outs[k]], n)
            k += 1


@njit(**STRICT_JIT)
def clear(out, gauss, newton):
    for i in range(out.shape[0]):
        out[i] = 0.0
    for i in range(gauss.shape[0]):
        for j in range(gauss.shape[0]):
            gauss[i, j] = newton[i, j] = 0.0


@njit(**STRICT_JIT)
def evaluate(theta, tape, packed, n_packed, scale, out, gauss, newton):
    """Evaluate the objective of one draw with its gradient and both matrices."""
    scalar_code, code, s, pool = tape[0], tape[1], tape[3], tape[4]
    width, rows = theta.shape[0], packed.shape[0]
    for k in range(width):
        s[k] = theta[k]
    run_scalar_code(scalar_code, s)
    clear(out, gauss, newton)
    block, start = pool.shape[1], 0
    while start < n_packed:
        n = min(block, n_packed - start)
        for k in range(rows):
            copy_values(packed[k], start, pool[k], n)
        run_row_code(code, s, pool, n)
        evaluate_loss(tape, scale, n)
        add_sums(tape, n, out, gauss, newton)
        start += n
    for i in range(width):
        for j in range(i):
            gauss[j, i] = gauss[i, j]
            newton[j, i] = newton[i, j]


@njit(**FAST_JIT)
def copy_values(row, start, d, n):
    a = row[start : start + n]
    for i in range(n):
        d[i] = a[i]


@njit(**STRICT_JIT)
def pack_rows(m, data, target, weights, shift, packed, lanes):
    """Copy a draw's rows of positive weight, and pad the last vector with copies of weight 0;
    return the number of rows."""
    w, s = weights[m if weights.shape[0] > 1 else 0], shift[m if shift.shape[0] > 1 else 0]
    stored, n_packed = data.shape[0], 0
    for i in range(data.shape[1]):
        if w[i] != 0.0:
            for k in range(stored):
                packed[k, n_packed] = data[k, i]
            packed[stored, n_packed] = w[i]
            packed[stored + 1, n_packed] = target[i] + s[i]
            n_packed += 1
    while n_packed % lanes != 0:
        for k in range(stored + 2):
            packed[k, n_packed] = packed[k, n_packed - 1]
        packed[stored, n_packed] = 0.0
        n_packed += 1
    return n_packed
