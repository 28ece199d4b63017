# pyright: standard
# (a law's arguments are arrays, complex numbers or expressions being traced, so they carry no type)
"""Bottleneck laws: the loss as a sum of what time, width, data and batches each leave over, with
exponents tied through the capacity alpha and the source beta of the task.

symbol           meaning                                                     where
t, N, D, B       step (or time), width, n_data, batch_size
alpha            capacity: eigenvalues of the initial kernel fall as k^-alpha  Bordelon et al. 2024
beta             source: the target's power beyond mode k falls as k^(-alpha beta)
A, W, T, F, S    coefficients of the time, width, transient, data and batch terms
p, q, s          exponents of t, of N, and of t in the transient, free
m                max(1, 2/(1 + beta)) with feature learning (rich), 1 without (lazy)

The exponents are those that the model of Bordelon, Atanasov and Pehlevan has: the floor of the
width goes as min(1, beta), that of the data as min(2, beta), and what batches add as
t^-min(beta, 2 - 1/alpha), in rich runs of hard tasks only as long as B is large enough for the
grown kernel. The transient is the paper's, which the model has for easy tasks; that of hard ones,
(1/N) t^-(beta - 1/alpha) until t = N^alpha, stays below the floor of the width and is left out.
See `bottleneck_exponents` for where compute is best spent.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from kleiber.law import Law, positive

SIZE = positive(0.01, 100)  # of a term
CAPACITY, SOURCE = positive(1.1, 3), positive(0.1, 2.5)


def _smaller(a, b):
    """The smaller of two, as a formula, so that a fit with fixed parameters can be saved."""
    return (a + b - np.sqrt((a - b) ** 2)) / 2


def _speed(beta):
    """2/(1 + beta) for hard tasks, 1 for the others: t^m is the time of the lazy kernel."""
    return 2 / (1 + _smaller(beta, 1))


def _falling(t, N, A, W, T, p, q, s):
    """A t^-p + W N^-q + (T/N) t^-s."""
    return A * t**-p + W * N**-q + T / N * t**-s


def _tied(alpha, beta, m=None):
    """The exponents p, q and s of a task, where t^m is the time of the lazy kernel (m = 1)."""
    p, q, s = beta, alpha * _smaller(beta, 1), 1 - 1 / alpha
    return (p, q, s) if m is None else (p * m, q, s * m)


@Law
def bottleneck(
    step,
    width,
    *,
    A=SIZE,
    W=SIZE,
    T=SIZE,
    p=positive(0.1, 2),
    q=positive(0.1, 3),
    s=positive(0.1, 1),
):
    """Loss of a net of a width during training on endless data, exponents free. Bordelon et al.
    2024 (arXiv 2409.17858), the form of the bottleneck law.
    """
    return _falling(step, width, A, W, T, p, q, s)


@Law
def bottleneck_lazy(
    step,
    width,
    *,
    A=SIZE,
    W=SIZE,
    T=SIZE,
    alpha=CAPACITY,
    beta=SOURCE,
):
    """Loss of a net of a width that trains as its initial kernel. Bordelon et al. 2024
    (arXiv 2409.17858), lazy; width exponent alpha min(1, beta).
    """
    return _falling(step, width, A, W, T, *_tied(alpha, beta))


@Law
def bottleneck_rich(
    step,
    width,
    *,
    A=SIZE,
    W=SIZE,
    T=SIZE,
    alpha=CAPACITY,
    beta=SOURCE,
):
    """Loss of a net of a width that learns features. Bordelon et al. 2024 (arXiv 2409.17858),
    rich; the time exponent of a hard task is 2 beta/(1 + beta).
    """
    return _falling(step, width, A, W, T, *_tied(alpha, beta, _speed(beta)))


@Law
def bottleneck_data_lazy(
    step,
    width,
    n_data,
    *,
    A=SIZE,
    W=SIZE,
    T=SIZE,
    F=SIZE,
    alpha=CAPACITY,
    beta=SOURCE,
):
    """Loss of a lazy net trained over and over on n_data examples. Bordelon et al. 2024
    (arXiv 2409.17858), appendix D; data exponent alpha min(2, beta).
    """
    floor = F * n_data ** -(alpha * _smaller(beta, 2))
    return _falling(step, width, A, W, T, *_tied(alpha, beta)) + floor


@Law
def bottleneck_data_rich(
    step,
    width,
    n_data,
    *,
    A=SIZE,
    W=SIZE,
    T=SIZE,
    F=SIZE,
    alpha=CAPACITY,
    beta=SOURCE,
):
    """Loss of a net that learns features from n_data examples over and over. Bordelon et al. 2024
    (arXiv 2409.17858), appendix D; feature learning leaves the floors as they are.
    """
    floor = F * n_data ** -(alpha * _smaller(beta, 2))
    return _falling(step, width, A, W, T, *_tied(alpha, beta, _speed(beta))) + floor


@Law
def bottleneck_batch_lazy(
    step,
    width,
    batch_size,
    *,
    A=SIZE,
    W=SIZE,
    T=SIZE,
    S=SIZE,
    alpha=CAPACITY,
    beta=SOURCE,
):
    """Loss of a lazy net in one pass of small batches. Bordelon et al. 2024 (arXiv 2409.17858),
    lazy; batches add (S/B) t^-min(beta, 2 - 1/alpha).
    """
    noise = S / batch_size * step ** -_smaller(beta, 2 - 1 / alpha)
    return _falling(step, width, A, W, T, *_tied(alpha, beta)) + noise


@Law
def bottleneck_batch_rich(
    step,
    width,
    batch_size,
    *,
    A=SIZE,
    W=SIZE,
    T=SIZE,
    S=SIZE,
    alpha=CAPACITY,
    beta=SOURCE,
):
    """Loss of a net that learns features in one pass of small batches. Bordelon et al. 2024
    (arXiv 2409.17858), rich; batches add (S/B) t^(-m min(beta, 2 - 1/alpha)).
    """
    m = _speed(beta)
    noise = S / batch_size * step ** -(m * _smaller(beta, 2 - 1 / alpha))
    return _falling(step, width, A, W, T, *_tied(alpha, beta, m)) + noise


def bottleneck_exponents(
    capacity: ArrayLike, source: ArrayLike, *, rich: bool, batches: bool = True
) -> dict[str, Float[np.ndarray, "..."]]:
    """Exponents of the bottleneck law, and of the best split of the compute C = N t.

    time: L ~ t^-time; width and data: floors; compute: L*(C) ~ C^-compute at the best split
    N* ~ C^best_width, t* ~ C^best_time. Hard tasks (beta < 1) balance time against width, easy ones
    time against the transient, super-easy ones (beta > 2 - 1/alpha, with `batches` of finite size)
    the noise of batches against the transient. Raises ValueError for a capacity up to 1 or a source
    up to 0.
    """
    alpha, beta = np.broadcast_arrays(np.asarray(capacity, float), np.asarray(source, float))
    if not ((alpha > 1).all() and (beta > 0).all()):
        raise ValueError("the capacity must be above 1 and the source above 0")
    m = np.maximum(2 / (1 + beta), 1) if rich else np.ones(alpha.shape)
    hard, wide = beta < 1, alpha * beta + 1
    simple = batches & (beta > 2 - 1 / alpha)
    kinds = [hard, simple]
    found = {
        "time": beta * m,
        "width": alpha * np.minimum(beta, 1),
        "data": alpha * np.minimum(beta, 2),
        "compute": np.select(
            kinds, [alpha * beta * m / (alpha + m), 1 - 1 / (2 * alpha)], alpha * beta / wide
        ),
        "best_width": np.select(
            kinds, [m / (alpha + m), np.full(m.shape, 0.5)], (wide - alpha) / wide
        ),
        "best_time": np.select(kinds, [alpha / (alpha + m), np.full(m.shape, 0.5)], alpha / wide),
    }
    return {name: np.asarray(values) for name, values in found.items()}
