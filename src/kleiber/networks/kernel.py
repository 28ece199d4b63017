"""Two-layer nets in one compiled loop: f(x) = s v . activation(r w x + b) + c (extra ``fast``).

Each net takes all its steps before the next one begins. A step goes over the examples in blocks
that stay in cache: the forward pass, which keeps the activations and their derivatives; the
residuals; the backward pass of the mean square; then the optimiser in one pass over the net's
parameters. Nets share nothing, so their numbers do not depend on the other nets of the stack. The
numbers are those of the loop in torch up to rounding, and the same bits every time: a sum is
computed in a loop that stores nothing, since a loop that stores is compiled twice, and the order of
its sum would depend on the addresses of its arrays.
"""

from __future__ import annotations

from string import Template
from types import ModuleType

from kleiber.networks.machine_code import load_source

ACTIVATIONS = {  # the activation h and its derivative s at z
    "identity": "h, s = z, ONE",
    "relu": "s = ZERO if z <= ZERO else ONE; h = ZERO if z <= ZERO else z",
    "leaky_relu": "s = LEAK if z <= ZERO else ONE; h = s * z",
    "relu_squared": "u = ZERO if z <= ZERO else z; h = u * u; s = u + u",
    "silu": "q = ONE / (ONE + exp(-z)); h = z * q; s = q + h * (ONE - q)",
    "tanh": "q = ONE / (ONE + exp(-z - z)); h = q + q - ONE; s = ONE - h * h",
}
MAX_INPUTS = 8  # beyond, matrix products are faster

EXP = {  # 2^k times a polynomial on +-log(2)/2; clamped where the result would leave the format
    "float32": """
@njit(inline="always")
def exp(x):  # Cephes: 2 ulp
    t = min(max(x, REAL(-87.0)), REAL(88.0))
    k = floor(t * REAL(1.4426950408889634) + HALF)
    r = t - k * REAL(0.693359375) + k * REAL(2.12194440e-4)
    p = REAL(8.3334519073e-3) + r * (REAL(1.3981999507e-3) + r * REAL(1.9875691500e-4))
    p = REAL(0.5) + r * (REAL(0.16666665459) + r * (REAL(4.1665795894e-2) + r * p))
    p = ONE + r * (ONE + r * p)
    y = p * int32((int32(k) + 127) << 23).view(float32)
    return y if x == x else x
""",
    "float64": """
@njit(inline="always")
def exp(x):  # Taylor: 2 ulp
    t = min(max(x, -708.0), 709.0)
    k = floor(t * 1.4426950408889634 + 0.5)
    r = t - k * 0.6931471803691238 - k * 1.9082149292705877e-10
    p = 1 / 39916800 + r / 479001600
    p = 1 / 40320 + r * (1 / 362880 + r * (1 / 3628800 + r * p))
    p = 1 / 24 + r * (1 / 120 + r * (1 / 720 + r * (1 / 5040 + r * p)))
    p = 1.0 + r * (1.0 + r * (0.5 + r * (1 / 6 + r * p)))
    y = p * int64((int64(k) + 1023) << 52).view(float64)
    return y if x == x else x
""",
}

PROGRAM = Template(
    '''
from math import isfinite, sqrt
from numba import njit
from numpy import $real, empty, floor, $whole, zeros

REAL = $real
ZERO, HALF, ONE, LEAK = REAL(0), REAL(0.5), REAL(1), REAL(0.01)
PLAIN = {"contract", "nsz"}  # element by element
FAST = {"contract", "nsz", "arcp", "reassoc"}  # sums, in vectors
WORK = $work  # numbers of one kind in a block
$exp

@njit(error_model="numpy", fastmath=PLAIN)
def forward(x, theta, n, r, s_out, low, high, act, deriv, f):
    """f += s v . activation(r w x + b) on the examples low to high."""
    rows = high - low
    $columns
    for i in range(n):
        b, v = theta[$d * n + i], s_out * theta[$d * n + n + i]
        $weights
        act_i, deriv_i = act[i], deriv[i]
        for p in range(rows):
            z = b + $dot
            $activation
            act_i[p] = h
            deriv_i[p] = s
            f[p] += v * h


@njit(error_model="numpy", fastmath=FAST)
def backward(x, theta, n, r, s_out, low, high, act, deriv, f, g):
    """g += the gradients, where f holds the derivative of the loss by each output."""
    rows = high - low
    $columns
    for i in range(n):
        v = s_out * theta[$d * n + n + i]
        act_i, deriv_i = act[i], deriv[i]
        g_b, g_v = ZERO, ZERO
        $zeros
        for p in range(rows):
            g_v += f[p] * act_i[p]
            t = f[p] * deriv_i[p]
            g_b += t
            $sums
        $weight_gradients
        g[$d * n + i] += v * g_b
        g[$d * n + n + i] += s_out * g_v


@njit(error_model="numpy", fastmath=PLAIN)
def compare(y, c, low, high, f):
    """f becomes f + c - y."""
    for p in range(high - low):
        f[p] = f[p] + c - y[low + p]


@njit(error_model="numpy", fastmath=FAST)
def sum_squares(rows, f):
    """The sum of squares of f, and its sum."""
    loss, total = ZERO, ZERO
    for p in range(rows):
        loss += f[p] * f[p]
        total += f[p]
    return loss, total


@njit(error_model="numpy", fastmath=PLAIN)
def multiply(rows, scale, f):
    """f becomes scale times f."""
    for p in range(rows):
        f[p] = scale * f[p]


@njit(error_model="numpy", fastmath=FAST)
def gradient(x, y, start, rows, theta, n, r, s_out, weight, g, act, deriv, f):
    """The loss, weight times the mean square, and its gradient g."""
    block = f.shape[0]
    for j in range(g.shape[0]):
        g[j] = ZERO
    loss, scale = ZERO, REAL(2) * weight / REAL(rows)
    c = theta[($d + 2) * n]
    for low in range(start, start + rows, block):
        high = min(start + rows, low + block)
        for p in range(high - low):
            f[p] = ZERO
        forward(x, theta, n, r, s_out, low, high, act, deriv, f)
        compare(y, c, low, high, f)
        part, total = sum_squares(high - low, f)
        multiply(high - low, scale, f)
        backward(x, theta, n, r, s_out, low, high, act, deriv, f, g)
        loss += part
        g[($d + 2) * n] += scale * total
    return weight * loss / REAL(rows)


@njit(error_model="numpy", fastmath=PLAIN)
def move_adam(low, high, theta, g, first, second, rate, root, decoupled, hyper):
    """Adam with b1, b2, eps, decay; rate over the first moment's correction, decoupled decay."""
    b1, b2, eps, decay = hyper[0], hyper[1], hyper[2], hyper[3]
    for j in range(low, high):
        grad = g[j] + decay * theta[j]
        first[j] += (ONE - b1) * (grad - first[j])
        second[j] = b2 * second[j] + (ONE - b2) * grad * grad
        move = rate * first[j] / (sqrt(second[j]) * root + eps)
        theta[j] = theta[j] * (ONE - decoupled) - move


@njit(error_model="numpy", fastmath=PLAIN)
def move_sgd(low, high, theta, g, first, rate, hyper):
    """Momentum, decay, and the share of the gradient itself in the move (Nesterov)."""
    momentum, decay, ahead = hyper[0], hyper[1], hyper[2]
    for j in range(low, high):
        grad = g[j] + decay * theta[j]
        first[j] = momentum * first[j] + grad
        theta[j] -= rate * (momentum * first[j] + grad if ahead > ZERO else first[j])


@njit(cache=True, error_model="numpy")
def run(theta, first, second, x, y, rows, moving, n, scales, ends, factors, rates, ones, roots,
        adaptive, hyper, died, step):
    """All steps of all nets; rates, ones and roots have one entry for each step."""
    nets, size = theta.shape
    block = max(16, min(rows, WORK // n // 16 * 16))
    act, deriv = empty((n, block), REAL), empty((n, block), REAL)
    f, g = empty(block, REAL), zeros(size, REAL)
    for m in range(nets):
        if died[m] >= 0:
            continue
        x_m, y_m = x[m if x.shape[0] > 1 else 0], y[m if y.shape[0] > 1 else 0]
        for t in range(rates.shape[0]):
            start = t * rows if moving else 0
            loss = gradient(x_m, y_m, start, rows, theta[m], n, scales[0], scales[1], scales[2],
                            g, act, deriv, f)
            if not isfinite(loss):
                died[m] = step + t
                break
            low = 0
            for part in range(4):
                high, factor = ends[part], factors[part]
                if factor != ZERO and adaptive:
                    move_adam(low, high, theta[m], g, first[m], second[m],
                              REAL(rates[t] * factor / ones[t]), REAL(1.0 / roots[t]),
                              REAL(hyper[4] * rates[t] * factor), hyper)
                elif factor != ZERO:
                    move_sgd(low, high, theta[m], g, first[m], REAL(rates[t] * factor), hyper)
                low = high

@njit(cache=True, error_model="numpy")
def predict(theta, x, n, scales, out):
    """The outputs of all nets."""
    rows = x.shape[2]
    block = max(16, min(rows, WORK // n // 16 * 16))
    act, deriv = empty((n, block), REAL), empty((n, block), REAL)
    for m in range(theta.shape[0]):
        x_m = x[m if x.shape[0] > 1 else 0]
        for p in range(rows):
            out[m, p] = theta[m, ($d + 2) * n]
        for low in range(0, rows, block):
            high = min(rows, low + block)
            forward(x_m, theta[m], n, scales[0], scales[1], low, high, act, deriv, out[m, low:])
'''
)
WORK = {"float32": 1 << 16, "float64": 1 << 15}  # 256 KiB: two such arrays stay in a core's cache


def load_kernel(activation: str, inputs: int, dtype: str) -> ModuleType:
    """Return the compiled loop for nets of an activation, a number of inputs and a precision."""
    each = range(inputs)
    text = PROGRAM.substitute(
        real=dtype,
        whole={"float32": "int32", "float64": "int64"}[dtype],
        work=WORK[dtype],
        exp=EXP[dtype],
        d=inputs,
        activation=ACTIVATIONS[activation],
        columns="; ".join(f"x{k} = x[{k}, low:high]" for k in each),
        weights="; ".join(f"w{k} = r * theta[{k} * n + i]" for k in each),
        dot=" + ".join(f"w{k} * x{k}[p]" for k in each),
        zeros="; ".join(f"g{k} = ZERO" for k in each),
        sums="; ".join(f"g{k} += t * x{k}[p]" for k in each),
        weight_gradients="; ".join(f"g[{k} * n + i] += r * v * g{k}" for k in each),
    )
    return load_source(text)
