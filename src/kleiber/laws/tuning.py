# pyright: standard
# (a law's arguments are arrays, complex numbers or expressions being traced, so they carry no type)
"""Laws of the learning rate and the batch, and of what a loss or compute is worth in accuracy.

symbol           meaning                                            where
A                coefficient of the optimum                         Li eqs. of eta and B
alpha, beta      exponents of N and of D                            Li eqs. of eta and B
S_min, B_crit    fewest steps to a loss; batch that doubles them    McCandlish section 2
B_star           critical batch at a loss of 1; beta is 1/alpha_B   Kaplan eq. 1.4
chance, ceiling  accuracy without skill, and at the lowest loss     Bhagia, b and a + b there
steep, L0        steepness and middle of the sigmoid                Bhagia
R_0, A           pass rate at the start, and in the limit           Khatri eq. 1
B, C_mid         exponent of compute, compute of half the gain      Khatri eq. 1
"""

from __future__ import annotations

import numpy as np

from kleiber.law import Law, fraction, positive


@Law
def step_law_lr(
    n_params,
    n_tokens,
    *,
    A=positive(0.1, 100),
    alpha=positive(0.1, 1.5),
    beta=positive(0.05, 1),
):
    """Best learning rate for n_params parameters (no embeddings) and n_tokens tokens. Li et al.
    2025 (arXiv 2503.04715), Step Law.

    A N**-alpha D**beta, with 1.79, 0.713 and 0.307 in the paper; a table of best rates has
    ``target="lr"``.
    """
    return A * n_params**-alpha * n_tokens**beta


@Law
def step_law_batch(n_tokens, *, A=positive(0.05, 10), beta=positive(0.1, 1)):
    """Best batch, in tokens, for n_tokens tokens. Li et al. 2025 (arXiv 2503.04715), Step Law.

    A D**beta, with 0.58 and 0.571 in the paper; the number of parameters does not enter.
    """
    return A * n_tokens**beta


@Law
def critical_batch(batch_size, *, S_min=positive(), B_crit=positive()):
    """Steps to reach a loss with batches of batch_size. McCandlish et al. 2018
    (arXiv 1812.06162), trade-off of steps and
    examples.

    S_min (1 + B_crit/B): above the critical batch B_crit larger batches hardly save steps, below
    it they cost no examples.
    """
    return S_min * (1 + B_crit / batch_size)


@Law
def critical_batch_loss(loss, *, B_star=positive(1e5, 1e10), beta=positive(1, 10)):
    """Critical batch, in tokens, of a model at a loss. Kaplan et al. 2020 (arXiv 2001.08361),
    eq. 1.4, after McCandlish et al. 2018.

    B_star L**-beta, with 2e8 tokens and beta = 1/alpha_B = 1/0.21 in the paper.
    """
    return B_star * loss**-beta


def _sigmoid(t):
    """Return 1/(1 + exp(-t)) without overflow."""
    return (1 + np.tanh(t / 2)) / 2


@Law
def accuracy_sigmoid(
    loss,
    *,
    chance=fraction(0.01, 0.5),
    ceiling=fraction(0.6, 0.99),
    steep=positive(1, 20),
    L0=positive(0.5, 4),
):
    """Accuracy at a task from the loss, between chance and a ceiling. Bhagia et al. 2024
    (arXiv 2412.04403), second step.

    chance + (ceiling - chance)/(1 + exp(steep (L - L0))).
    """
    return chance + (ceiling - chance) * _sigmoid(-steep * (loss - L0))


@Law
def rl_saturating(
    flops,
    *,
    R_0=fraction(0.01, 0.5),
    A=fraction(0.6, 0.99),
    B=positive(0.2, 4),
    C_mid=positive(),
):
    """Pass rate that saturates in the compute of reinforcement learning. Khatri et al. 2025
    (arXiv 2510.13786), eq. 1.

    R_0 + (A - R_0)/(1 + (C_mid/C)**B). The paper has GPU hours for C, and leaves out the first of
    them.
    """
    return R_0 + (A - R_0) * _sigmoid(B * np.log(flops / C_mid))
