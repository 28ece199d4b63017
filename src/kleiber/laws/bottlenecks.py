# pyright: standard
# (a law's arguments are arrays, complex numbers or expressions being traced, so they carry no type)
"""Bottleneck laws: the loss from what time, width, data and batches each leave over, with
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
grown kernel.

How the terms join differs. What time leaves of a hard task (beta < 1) and what width leaves are the
same modes, the slow ones, so that their sum counts them twice. Both act as ridges, t^-m and
N^-alpha, and ridges add up (z = kappa (1 - df/N), `theory.feature_learning`): the loss is

    L = (A^(1/beta) t^-m + W^(1/beta) N^-alpha)^beta

in the laws named lazy and rich; from beta = 1 on, a sum. The transient (T/N) t^-(1 - 1/alpha) is
the paper's, and the model has it for easy tasks alone (`bottleneck_easy` and its kin, where rich
and lazy exponents are the same). Of a hard task the model has (1/N) t^-(beta - 1/alpha) until t =
N^alpha, always below the floor of the width; a free T there takes the floor's place, and alpha is
lost. See `bottleneck_exponents` for where compute is best spent.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from kleiber.arguments import check_array, check_flag
from kleiber.law import Law, positive

SIZE = positive(0.01, 100)  # of a term
CAPACITY, SOURCE = positive(1.1, 3), positive(0.1, 2.5)
EASY = positive(1.0, 2.5)  # the source of a task that is not hard


def _smaller(a, b):
    """Return the smaller of two as a formula, so that a fit with fixed parameters can be saved."""
    return (a + b - np.sqrt((a - b) ** 2)) / 2


def _speed(beta):
    """Return 2/(1 + beta) for hard tasks, 1 for the others: t^m is the time of the lazy kernel."""
    return 2 / (1 + _smaller(beta, 1))


def _joined(beta, first, *others):
    """Return (sum of term^(1/beta))^beta for hard tasks, the sum of the terms for the others."""
    least = _smaller(beta, 1)
    ridges = first ** (1 / least)
    for term in others:
        ridges = ridges + term ** (1 / least)
    return ridges**least


def _time(t, A, beta, m=1.0):
    """Return A t^-(beta m)."""
    return A * t ** -(beta * m)


def _width(N, W, alpha, beta):
    """Return W N^-(alpha min(1, beta))."""
    return W * N ** -(alpha * _smaller(beta, 1))


def _data(D, F, alpha, beta):
    """Return F D^-(alpha min(2, beta))."""
    return F * D ** -(alpha * _smaller(beta, 2))


def _batch(t, B, S, alpha, beta, m=1.0):
    """Return (S/B) t^-(m min(beta, 2 - 1/alpha))."""
    return S / B * t ** -(m * _smaller(beta, 2 - 1 / alpha))


def _easy(t, N, A, W, T, alpha, beta):
    """Return A t^-beta + W N^-alpha + (T/N) t^-(1 - 1/alpha)."""
    return _time(t, A, beta) + W * N**-alpha + T / N * t ** -(1 - 1 / alpha)


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
    return A * step**-p + W * width**-q + T / width * step**-s


@Law
def bottleneck_lazy(step, width, *, A=SIZE, W=SIZE, alpha=CAPACITY, beta=SOURCE):
    """Loss of a net of a width that trains as its initial kernel, on a hard task. Bordelon et al.
    2024 (arXiv 2409.17858), lazy; width exponent alpha min(1, beta).
    """
    return _joined(beta, _time(step, A, beta), _width(width, W, alpha, beta))


@Law
def bottleneck_rich(step, width, *, A=SIZE, W=SIZE, alpha=CAPACITY, beta=SOURCE):
    """Loss of a net of a width that learns features, on a hard task. Bordelon et al. 2024
    (arXiv 2409.17858), rich; the time exponent is 2 beta/(1 + beta).
    """
    return _joined(beta, _time(step, A, beta, _speed(beta)), _width(width, W, alpha, beta))


@Law
def bottleneck_easy(step, width, *, A=SIZE, W=SIZE, T=SIZE, alpha=CAPACITY, beta=EASY):
    """Loss of a net of a width on an easy task (beta > 1), rich or lazy. Bordelon et al. 2024
    (arXiv 2409.17858), with the transient (T/N) t^-(1 - 1/alpha).
    """
    return _easy(step, width, A, W, T, alpha, beta)


@Law
def bottleneck_data_lazy(
    step, width, n_data, *, A=SIZE, W=SIZE, F=SIZE, alpha=CAPACITY, beta=SOURCE
):
    """Loss of a lazy net trained over and over on n_data examples of a hard task. Bordelon et al.
    2024 (arXiv 2409.17858), appendix D; data exponent alpha min(2, beta).
    """
    floors = _width(width, W, alpha, beta), _data(n_data, F, alpha, beta)
    return _joined(beta, _time(step, A, beta), *floors)


@Law
def bottleneck_data_rich(
    step, width, n_data, *, A=SIZE, W=SIZE, F=SIZE, alpha=CAPACITY, beta=SOURCE
):
    """Loss of a net that learns features from n_data examples of a hard task over and over.
    Bordelon et al. 2024 (arXiv 2409.17858), appendix D; feature learning leaves the floors.
    """
    floors = _width(width, W, alpha, beta), _data(n_data, F, alpha, beta)
    return _joined(beta, _time(step, A, beta, _speed(beta)), *floors)


@Law
def bottleneck_data_easy(
    step, width, n_data, *, A=SIZE, W=SIZE, T=SIZE, F=SIZE, alpha=CAPACITY, beta=EASY
):
    """Loss of a net trained over and over on n_data examples of an easy task (beta > 1). Bordelon
    et al. 2024 (arXiv 2409.17858), appendix D; with the transient (T/N) t^-(1 - 1/alpha).
    """
    return _easy(step, width, A, W, T, alpha, beta) + _data(n_data, F, alpha, beta)


@Law
def bottleneck_batch_lazy(
    step, width, batch_size, *, A=SIZE, W=SIZE, S=SIZE, alpha=CAPACITY, beta=SOURCE
):
    """Loss of a lazy net in one pass of small batches, on a hard task. Bordelon et al. 2024
    (arXiv 2409.17858), lazy; batches add (S/B) t^-min(beta, 2 - 1/alpha).
    """
    joined = _joined(beta, _time(step, A, beta), _width(width, W, alpha, beta))
    return joined + _batch(step, batch_size, S, alpha, beta)


@Law
def bottleneck_batch_rich(
    step, width, batch_size, *, A=SIZE, W=SIZE, S=SIZE, alpha=CAPACITY, beta=SOURCE
):
    """Loss of a net that learns features in one pass of small batches, on a hard task. Bordelon
    et al. 2024 (arXiv 2409.17858), rich; batches add (S/B) t^(-m min(beta, 2 - 1/alpha)).
    """
    m = _speed(beta)
    joined = _joined(beta, _time(step, A, beta, m), _width(width, W, alpha, beta))
    return joined + _batch(step, batch_size, S, alpha, beta, m)


@Law
def bottleneck_batch_easy(
    step, width, batch_size, *, A=SIZE, W=SIZE, T=SIZE, S=SIZE, alpha=CAPACITY, beta=EASY
):
    """Loss of a net in one pass of small batches, on an easy task (beta > 1). Bordelon et al. 2024
    (arXiv 2409.17858); batches add (S/B) t^-min(beta, 2 - 1/alpha), width (T/N) t^-(1 - 1/alpha).
    """
    batches = _batch(step, batch_size, S, alpha, beta)
    return _easy(step, width, A, W, T, alpha, beta) + batches


def bottleneck_exponents(
    capacity: ArrayLike, source: ArrayLike, *, rich: bool, batches: bool = True
) -> dict[str, Float[np.ndarray, "..."]]:
    """Return the exponents of the bottleneck law, and of the best split of the compute C = N t.

    time: L ~ t^-time; width and data: floors; compute: L*(C) ~ C^-compute at the best split
    N* ~ C^best_width, t* ~ C^best_time. Hard tasks (beta < 1) balance time against width, easy ones
    time against the transient, super-easy ones (beta > 2 - 1/alpha, with `batches` of finite size)
    the noise of batches against the transient. Raises ValueError for a capacity up to 1 or a source
    up to 0.
    """
    above = {"capacity": 1, "source": 0}
    for name, value in (("capacity", capacity), ("source", source)):
        check_array(name, np.ravel(value), f"above {above[name]}", above=above[name])
    rich, batches = check_flag("rich", rich), check_flag("batches", batches)
    alpha, beta = np.broadcast_arrays(np.asarray(capacity, float), np.asarray(source, float))
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
