# pyright: standard
# (a law's arguments are arrays, complex numbers or expressions being traced, so they carry no type)
"""Laws of model size and data: the loss at the end of training.

symbol           meaning                                            where
N, D             n_params (parameters), n_tokens (tokens seen)
E                loss of an infinite model on infinite data         Hoffmann eq. 2
A, alpha         coefficient and exponent of N                      Hoffmann eq. 2
B, beta          coefficient and exponent of D                      Hoffmann eq. 2
N_c, alpha_N     scale and exponent of N                            Kaplan eq. 1.5
D_c, alpha_D     scale and exponent of D                            Kaplan eq. 1.5
U                n_unique, distinct tokens at hand                  Muennighoff section 3
R_D, R_N         repetitions after which the value of repeated      Muennighoff eq. 5, R* there
                 tokens, of excess parameters, has decayed to 1/e
C, M             6 N D (FLOPs), D / N (tokens per parameter)        Gadre eq. 4
gamma            exponent of both terms together                    Busbridge eq. 1
N_a              n_active, parameters that a token uses             1 - S = N_a / N in Abnar
c, d, lam, delta coefficients and exponents of N_a / N              Abnar eq. of L(N, D, S)
a, b, eta        coefficients and exponent of C                     Gadre eq. 4
"""

from __future__ import annotations

import numpy as np

from kleiber.law import Law, positive


@Law
def chinchilla(
    n_params,
    n_tokens,
    *,
    E=positive(0.5, 4),
    A=positive(1, 1e5),
    B=positive(1, 1e5),
    alpha=positive(0.05, 1.5),
    beta=positive(0.05, 1.5),
):
    """Loss of a model of n_params parameters after n_tokens tokens. Hoffmann et al. 2022
    (arXiv 2203.15556), eq. 2.
    """
    return E + A * n_params**-alpha + B * n_tokens**-beta


@Law
def chinchilla_tied(
    n_params,
    n_tokens,
    *,
    E=positive(0.5, 4),
    A=positive(1, 1e5),
    B=positive(1, 1e5),
    alpha=positive(0.05, 1.5),
):
    """Chinchilla with one exponent for parameters and tokens. Hoffmann et al. 2022
    (arXiv 2203.15556), eq. 2 with beta = alpha.
    """
    return E + A * n_params**-alpha + B * n_tokens**-alpha


@Law
def kaplan(
    n_params,
    n_tokens,
    *,
    N_c=positive(1e9, 1e16),
    D_c=positive(1e9, 1e16),
    alpha_N=positive(0.03, 0.5),
    alpha_D=positive(0.03, 0.5),
):
    """Loss of n_params parameters at the end of n_tokens tokens, without a floor. Kaplan et al.
    2020 (arXiv 2001.08361), eq. 1.5.

    There n_params counts no embeddings and n_tokens is the size of the data set.
    """
    return ((N_c / n_params) ** (alpha_N / alpha_D) + D_c / n_tokens) ** alpha_D


def _decay(r):
    """Return 1 - exp(-r), accurate for small r too."""
    half = np.tanh(r / 2)
    return 2 * half / (1 + half)


@Law
def data_constrained(
    n_params,
    n_tokens,
    n_unique,
    *,
    E=positive(0.5, 4),
    A=positive(1, 1e5),
    B=positive(1, 1e5),
    alpha=positive(0.05, 1.5),
    beta=positive(0.05, 1.5),
    R_N=positive(0.5, 50),
    R_D=positive(0.5, 50),
):
    """Chinchilla with effective parameters and tokens when n_tokens repeats n_unique tokens.
    Muennighoff et al. 2023 (arXiv 2305.16264), eqs. 5 and 6.

    E + A N'**-alpha + B D'**-beta with D' = U (1 + R_D (1 - exp(-(D/U - 1)/R_D))), U = the
    smaller of n_unique and D, and N' likewise from R_N and the smaller of N and the
    compute-optimal size for U tokens, (alpha A U**beta / (beta B))**(1/alpha).
    """
    epochs = np.maximum(n_tokens / n_unique, 1)
    unique = n_tokens / epochs
    log_optimal = (np.log(alpha * A / (beta * B)) + beta * np.log(unique)) / alpha
    excess = np.maximum(np.exp(np.log(n_params) - log_optimal), 1)
    size = n_params / excess * (1 + R_N * _decay((excess - 1) / R_N))
    tokens = unique * (1 + R_D * _decay((epochs - 1) / R_D))
    return E + A * size**-alpha + B * tokens**-beta


@Law
def over_training(
    n_params,
    n_tokens,
    *,
    E=positive(0.5, 4),
    a=positive(1, 1e5),
    b=positive(1, 1e5),
    eta=positive(0.02, 0.75),
):
    """Loss by compute C = 6 n_params n_tokens and tokens per parameter M = n_tokens / n_params.
    Gadre et al. 2024 (arXiv 2403.08540), eq. 4.

    E + (a M**eta + b M**-eta) C**-eta: chinchilla_tied with alpha = 2 eta, a = A 6**eta and
    b = B 6**eta.
    """
    compute, ratio = 6 * n_params * n_tokens, n_tokens / n_params
    return E + (a * ratio**eta + b * ratio**-eta) * compute**-eta


@Law
def joint_nested(
    n_params,
    n_tokens,
    *,
    E=positive(0.5, 4),
    A=positive(1, 1e5),
    B=positive(1, 1e5),
    alpha=positive(0.05, 1.5),
    beta=positive(0.05, 1.5),
    gamma=positive(0.2, 3),
):
    """Chinchilla with its two terms joined by a further exponent. Busbridge et al. 2025
    (arXiv 2502.08606), eq. 1.

    E + (A N**(-alpha/gamma) + B D**(-beta/gamma))**gamma: chinchilla at gamma = 1, kaplan with a
    floor at gamma = beta. The paper's exponents are alpha/gamma and beta/gamma.
    """
    return E + (A * n_params ** (-alpha / gamma) + B * n_tokens ** (-beta / gamma)) ** gamma


@Law
def sparse_experts(
    n_params,
    n_tokens,
    n_active,
    *,
    E=positive(0.5, 4),
    A=positive(1, 1e5),
    B=positive(1, 1e5),
    c=positive(1e-3, 1),
    d=positive(1, 1e5),
    alpha=positive(0.05, 1.5),
    beta=positive(0.05, 1.5),
    lam=positive(0.05, 1.5),
    delta=positive(0.05, 1.5),
    gamma=positive(0.05, 1.5),
):
    """Loss of a mixture of experts with n_params parameters, n_active of which a token uses. Abnar
    et al. 2025 (arXiv 2501.12370), law of L(N, D, S).

    E + A N**-alpha + B D**-beta + c s**-lam + d s**-delta N**-gamma with s = N_a/N, one minus the
    sparsity.
    """
    share = n_active / n_params
    size = A * n_params**-alpha + d * share**-delta * n_params**-gamma
    return E + size + B * n_tokens**-beta + c * share**-lam
