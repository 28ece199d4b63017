"""The laws of the catalogue as their papers write them: a row for each, which all tests read.

A new law needs its function in ``src/kleiber/laws`` and a row here. The formulas are transcribed
from the papers in their own symbols and form, apart from the package's, and are computed in many
digits: the broken law as the product it is, M4 as a root of its equation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mpmath

SPANS = {  # of columns, in planted tables
    "n_params": (1e6, 1e11), "n_tokens": (1e8, 1e13), "n_unique": (1e7, 1e12),
    "n_data": (1e2, 1e10), "step": (1e3, 1e6), "k": (1.0, 1e4), "width": (2.0, 1e4),
    "norm": (1.0, 1e6), "batch_size": (1.0, 1e3),
    "n_active": (1e5, 1e10), "loss": (1.5, 5.0), "flops": (1e18, 1e24),
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What tests know of a law: parameters to plant, the paper's formula, the parameters in which
    it is linear, those whose start comes from the scale of a column, and whether it rises, or along
    which columns it does, or turns."""

    truth: Mapping[str, float]
    paper: Callable[..., Any]
    linear: tuple[str, ...] = ()
    scales: tuple[str, ...] = ()
    rising: bool = False
    rises: tuple[str, ...] = ()
    turns: tuple[str, ...] = ()


BREAKS = {"c1": 0.3, "d1": 1e4, "f1": 0.3, "c2": 0.4, "d2": 1e7, "f2": 0.3}
HOFFMANN = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
TASK = {"A": 0.8, "W": 1.5, "alpha": 1.6, "beta": 0.5}
EASY = {**TASK, "T": 0.3, "beta": 1.3}


def chinchilla(N, D, *, E, A, B, alpha, beta):
    return E + A / N**alpha + B / D**beta


def effective(unique, R, R_star):
    return unique + unique * R_star * (1 - mpmath.exp(-R / R_star))


def data_constrained(N, D, D_C, *, E, A, B, alpha, beta, R_N, R_D):
    U_D = min(D_C, D)
    G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    U_N = min(G * (U_D * G) ** (beta / alpha), N)
    D_eff, N_eff = effective(U_D, D / U_D - 1, R_D), effective(U_N, N / U_N - 1, R_N)
    return E + A / N_eff**alpha + B / D_eff**beta


def over_training(N, D, *, E, a, b, eta):
    C, M = 6 * N * D, D / N
    return E + (a * M**eta + b * M ** (-eta)) * C ** (-eta)


def m4(x, *, E, span, A, c, alpha):
    def excess(t):  # of log((e_x - e_inf) / (e_0 - e_x)^alpha) over log(beta x^-c)
        above, below = span / (1 + mpmath.exp(-t)), span / (1 + mpmath.exp(t))
        return mpmath.log(above) - alpha * mpmath.log(below) - mpmath.log(A / x**c)

    low, high = mpmath.mpf(-400), mpmath.mpf(400)
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    return E + span / (1 + mpmath.exp(-mpmath.findroot(excess, (low + high) / 2)))


def broken(x, *, a, b, c0, **rest):
    product = b * x ** (-c0)
    for i in range(1, len(rest) // 3 + 1):
        c, d, f = rest[f"c{i}"], rest[f"d{i}"], rest[f"f{i}"]
        product *= (1 + (x / d) ** (1 / f)) ** (-c * f)
    return a + product


def bottleneck(t, N, D=1, B=1, *, A, W, alpha, beta, rich, F=0, S=0):
    m = 2 / (1 + beta) if rich and beta < 1 else 1
    noise = S / B / t ** (m * min(beta, 2 - 1 / alpha))
    if beta >= 1:
        data = F / D ** (alpha * min(beta, 2))
        return A / t**beta + W / N**alpha + data + noise
    ridges = (A ** (1 / beta) / t**m, W ** (1 / beta) / N**alpha, F ** (1 / beta) / D**alpha)
    return sum(ridges) ** beta + noise


def bottleneck_easy(t, N, D=1, B=1, *, A, W, T, alpha, beta, F=0, S=0):
    data = F / D ** (alpha * beta if beta < 2 else 2 * alpha)
    noise = S / B / t ** min(beta, 2 - 1 / alpha)
    return A / t**beta + W / N**alpha + T / N * t ** (1 / alpha - 1) + data + noise


def with_batches(function, **options):
    """The third column is the batch, not the data."""
    return lambda t, N, B, **rest: function(t, N, 1, B, **options, **rest)


LAWS: Mapping[str, Row] = {
    "accuracy_sigmoid": Row(
        truth={"chance": 0.25, "ceiling": 0.9, "steep": 4.0, "L0": 2.7},
        paper=lambda L, *, chance, ceiling, steep, L0: (
            (chance - ceiling) / (1 + mpmath.exp(-steep * (L - L0))) + ceiling
        ),
        linear=("chance", "ceiling"),
    ),
    "bottleneck": Row(
        truth={"A": 0.8, "W": 1.5, "T": 0.3, "p": 0.6, "q": 0.9, "s": 0.4},
        paper=lambda t, N, *, A, W, T, p, q, s: A / t**p + W / N**q + T / (N * t**s),
        linear=("A", "W", "T"),
    ),
    "bottleneck_batch_easy": Row(
        truth={**EASY, "S": 0.5}, paper=with_batches(bottleneck_easy), linear=("A", "W", "T", "S")
    ),
    "bottleneck_batch_lazy": Row(
        truth={**TASK, "S": 0.5}, paper=with_batches(bottleneck, rich=False), linear=("S",)
    ),
    "bottleneck_batch_rich": Row(
        truth={**TASK, "S": 0.5}, paper=with_batches(bottleneck, rich=True), linear=("S",)
    ),
    "bottleneck_data_easy": Row(
        truth={**EASY, "F": 2.0}, paper=bottleneck_easy, linear=("A", "W", "T", "F")
    ),
    "bottleneck_data_lazy": Row(
        truth={**TASK, "F": 2.0}, paper=functools.partial(bottleneck, rich=False)
    ),
    "bottleneck_data_rich": Row(
        truth={**TASK, "F": 2.0}, paper=functools.partial(bottleneck, rich=True)
    ),
    "bottleneck_easy": Row(truth=EASY, paper=bottleneck_easy, linear=("A", "W", "T")),
    "bottleneck_lazy": Row(truth=TASK, paper=functools.partial(bottleneck, rich=False)),
    "bottleneck_rich": Row(truth=TASK, paper=functools.partial(bottleneck, rich=True)),
    "broken_1": Row(
        truth={"a": 0.2, "b": 5.0, "c0": 0.1, "c1": 0.4, "d1": 1e5, "f1": 0.3},
        paper=broken,
        linear=("a", "b"),
        scales=("d1",),
    ),
    "broken_2": Row(
        truth={"a": 0.2, "b": 5.0, "c0": 0.05, **BREAKS},
        paper=broken,
        linear=("a", "b"),
        scales=("d1", "d2"),
    ),
    "broken_3": Row(
        truth={"a": 0.05, "b": 5.0, "c0": 0.05, **BREAKS, "c3": -0.3, "d3": 1e9, "f3": 0.2},
        paper=broken,
        linear=("a", "b"),
        scales=("d1", "d2", "d3"),
    ),
    "chinchilla": Row(truth=HOFFMANN, paper=chinchilla, linear=("E", "A", "B")),
    "chinchilla_tied": Row(
        truth={"E": 1.8, "A": 480.0, "B": 1500.0, "alpha": 0.35},
        paper=lambda N, D, *, alpha, **rest: chinchilla(N, D, alpha=alpha, beta=alpha, **rest),
        linear=("E", "A", "B"),
    ),
    "critical_batch": Row(
        truth={"S_min": 2e3, "B_crit": 60.0},
        paper=lambda B, *, S_min, B_crit: S_min + S_min * B_crit / B,
        linear=("S_min",),
        scales=("B_crit",),
    ),
    "critical_batch_loss": Row(
        truth={"B_star": 2e8, "beta": 4.76},
        paper=lambda L, *, B_star, beta: B_star / L**beta,
        linear=("B_star",),
    ),
    "data_constrained": Row(
        truth={**HOFFMANN, "R_N": 5.3, "R_D": 15.4}, paper=data_constrained, linear=("E",)
    ),
    "early_norm": Row(
        truth={"k1": 3.0, "gamma_1": 0.4, "q1": 0.02},
        paper=lambda norm, *, k1, gamma_1, q1: k1 / norm**gamma_1 + q1,
        linear=("k1", "q1"),
    ),
    "exponent_saturating": Row(
        truth={"beta": 2.5, "Delta": 0.6, "c": 1e-3, "nu": 0.9},
        paper=lambda N, *, beta, Delta, c, nu: beta - Delta / (1 + c * N**nu),
        linear=("beta", "Delta"),
        rising=True,
    ),
    "failure_gamma": Row(truth={"a": 0.3, "b": 30.0}, paper=lambda k, *, a, b: (b / (b + k)) ** a),
    "failure_power": Row(
        truth={"A": 0.8, "beta": 0.3}, paper=lambda k, *, A, beta: A / k**beta, linear=("A",)
    ),
    "failure_two_tails": Row(
        truth={"P": 0.5, "beta": 1.5, "Q": 0.05, "gamma": 0.2},
        paper=lambda k, *, P, beta, Q, gamma: P / k**beta + Q / k**gamma,
        linear=("P", "Q"),
    ),
    "joint_nested": Row(
        truth={**HOFFMANN, "gamma": 0.7},
        paper=lambda N, D, *, E, A, B, alpha, beta, gamma: (
            E + (A / N ** (alpha / gamma) + B / D ** (beta / gamma)) ** gamma
        ),
        linear=("E",),
    ),
    "kaplan": Row(
        truth={"N_c": 8.8e13, "D_c": 5.4e13, "alpha_N": 0.076, "alpha_D": 0.095},
        paper=lambda N, D, *, N_c, D_c, alpha_N, alpha_D: (
            ((N_c / N) ** (alpha_N / alpha_D) + D_c / D) ** alpha_D
        ),
    ),
    "m2": Row(
        truth={"E": 1.7, "A": 40.0, "alpha": 0.4},
        paper=lambda x, *, E, A, alpha: A * x ** (-alpha) + E,
        linear=("E", "A"),
    ),
    "m3": Row(
        truth={"A": 20.0, "gamma": 1e-5, "alpha": 0.35},
        paper=lambda x, *, A, gamma, alpha: A * (1 / x + gamma) ** alpha,
        linear=("A",),
        scales=("gamma",),
    ),
    "m4": Row(
        truth={"E": 0.1, "span": 0.9, "A": 30.0, "c": 0.5, "alpha": 1.5}, paper=m4, linear=("E",)
    ),
    "neg_log_pass_power": Row(
        truth={"A": 3.0, "beta": 0.4}, paper=lambda k, *, A, beta: A / k**beta, linear=("A",)
    ),
    "optimal_norm": Row(
        truth={"k2": 5.0, "gamma_2": 0.9, "q2": 300.0},
        paper=lambda P, *, k2, gamma_2, q2: k2 * P**gamma_2 + q2,
        linear=("k2", "q2"),
        rising=True,
    ),
    "over_training": Row(
        truth={"E": 1.8, "a": 60.0, "b": 40.0, "eta": 0.18},
        paper=over_training,
        linear=("E", "a", "b"),
    ),
    "power_law": Row(
        truth={"A": 5.0, "alpha": 0.3},
        paper=lambda x, *, A, alpha: A * x ** (-alpha),
        linear=("A",),
    ),
    "power_law_floor": Row(
        truth={"E": 1.7, "A": 40.0, "alpha": 0.4},
        paper=lambda x, *, E, A, alpha: A * x ** (-alpha) + E,
        linear=("E", "A"),
    ),
    "rl_saturating": Row(
        truth={"R_0": 0.2, "A": 0.65, "B": 0.9, "C_mid": 3e20},
        paper=lambda C, *, R_0, A, B, C_mid: R_0 + (A - R_0) * 1 / (1 + (C_mid / C) ** B),
        linear=("R_0", "A"),
        scales=("C_mid",),
        rising=True,
    ),
    "sparse_experts": Row(
        truth={**HOFFMANN, "c": 0.02, "d": 300.0, "lam": 0.3, "delta": 0.2, "gamma": 0.3},
        paper=lambda N, D, N_a, *, E, A, B, c, d, alpha, beta, lam, delta, gamma: (
            A / N**alpha
            + B / D**beta
            + c / (N_a / N) ** lam
            + d / ((N_a / N) ** delta * N**gamma)
            + E
        ),
        linear=("E", "A", "B", "c", "d"),
        turns=("n_params",),
    ),
    "step_law_batch": Row(
        truth={"A": 0.58, "beta": 0.571},
        paper=lambda D, *, A, beta: A * D**beta,
        linear=("A",),
        rising=True,
    ),
    "step_law_lr": Row(
        truth={"A": 1.79, "alpha": 0.713, "beta": 0.307},
        paper=lambda N, D, *, A, alpha, beta: A / N**alpha * D**beta,
        linear=("A",),
        rises=("n_tokens",),
    ),
    "steps_and_size": Row(
        truth={"N_c": 6.5e13, "S_c": 2.1e3, "alpha_N": 0.077, "alpha_S": 0.76},
        paper=lambda N, S, *, N_c, S_c, alpha_N, alpha_S: (
            (N_c / N) ** alpha_N + (S_c / S) ** alpha_S
        ),
    ),
    "three_regimes": Row(
        truth={"k1": 3.0, "gamma_1": 0.4, "gamma_2": 0.9, "q1": 0.02, "q2": 300.0},
        paper=lambda P, *, k1, gamma_1, gamma_2, q1, q2: k1 / (P**gamma_2 + q2) ** gamma_1 + q1,
        linear=("k1", "q1"),
        scales=("q2",),
    ),
    "width_crossover": Row(
        truth={"E": 1e-3, "at": 24.0, "beta": 1.0, "gap": 3.0},
        paper=lambda N, *, E, at, beta, gap: E * (at / N) ** beta * (1 + (at / N) ** gap),
        linear=("E",),
        scales=("at",),
    ),
}
TRUTH = {name: row.truth for name, row in LAWS.items()}
