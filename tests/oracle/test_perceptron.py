"""The perceptron against its equations by another route, against an independent note's numbers
(2026, another solver and another simulation), and against trained perceptrons.

The note's checks are A1 to A8 here; where a stated check does not hold, the test says so.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import mpmath
import numpy as np
import polars as pl
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import ndtr

from kleiber.systems.implicit_bias.perceptron import (
    EARLY_AMPLITUDE,
    Perceptron,
    early_curve,
    flow_curve,
    flow_time,
    master_curve,
    master_optimum,
    references,
)
from kleiber.systems.implicit_bias.perceptron_saddle import solve_saddle

TABLE = [  # load, Hebb, norm_opt, error_opt, Bayes, maximal stability, kappa
    (0.5, 0.336493, 0.763, 0.322407, 0.322395, 0.328850, None),
    (1.0, 0.285634, 1.186, 0.254404, 0.254373, 0.265711, 0.78655),
    (3.1, 0.196914, 2.913, 0.126561, 0.126506, 0.139334, 0.30839),
    (5.0, 0.162614, 4.536, 0.083980, 0.083935, 0.093827, 0.19671),
    (6.25, 0.147921, 5.619, 0.068369, 0.068331, 0.076717, 0.15851),
    (12.5, 0.108439, 11.095, 0.035049, 0.035027, 0.039590, 0.08007),
    (25.0, 0.078178, 22.115, 0.017640, 0.017629, 0.019962, 0.04014),
    (50.0, 0.055839, 44.191, 0.008835, 0.008829, 0.010003, 0.02008),
    (100.0, 0.039687, 88.364, 0.004419, 0.004416, 0.005004, 0.01004),
]
AT_FIVE = [  # norm, error, overlap, loss of an example, training error, multiplier
    (0.01, 0.161670, 0.873767, 0.684068, 0.08824, 4.5059),
    (0.1, 0.153313, 0.886233, 0.608307, 0.07873, 3.9190),
    (1.0, 0.105188, 0.945894, 0.234616, 0.02515, 0.99534),
    (3.0, 0.085408, 0.964218, 0.066608, 0.00144, 0.16845),
    (4.5, 0.083980, 0.965398, 0.032880, 1e-5, 0.07333),
    (10.0, 0.086557, 0.963255, 0.003278, 0.0, 0.00668),
]
POINTS = [(0.7, 1.5), (2.0, 0.7), (3.0, 9.0), (4.0, 2.0), (8.0, 0.4), (16.0, 2.5)]
CORNERS = [(0.1, 1e-4), (0.1, 1e4), (0.3, 7.0), (5.0, 1.0), (40.0, 1e3), (1e6, 1e-4), (1e6, 1e4)]


def softplus(z: float) -> float:
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def push(t: float, lam: float, log_x: float) -> float:
    """g(t), from log(z - lambda t) = log(2 lambda x) - log(1 + e^(2z)), by bisection."""
    top = math.log(2 * lam) + log_x

    def excess(log_rise: float) -> float:
        return log_rise - top + softplus(2 * (lam * t + math.exp(log_rise)))

    high = min(top, math.log(max(top, 1.0) / 2 + abs(lam * t) + 2))
    return math.exp(brentq(excess, top - 2e5, high, xtol=1e-14, rtol=1e-15)) / lam


@pytest.mark.parametrize(("load", "norm"), CORNERS)
def test_the_equations_hold_by_another_quadrature(load: float, norm: float) -> None:
    found = solve_saddle(load, np.array([norm]))
    delta, r = float(found.delta[0]), float(found.overlap[0])
    g0 = math.exp(float(found.v[0]))
    log_x = math.log(g0 / 2) + softplus(2 * norm * g0)  # g_0 = x (1 - tanh(lambda g_0))

    def integral(weight: Callable[[float], float], power: int, ends: set[float]) -> float:
        def at(t: float) -> float:
            return weight(t) * push(t, norm, log_x) ** power

        cuts = sorted(end for end in ends if -9 * delta <= end <= 9)
        parts = [
            quad(at, a, b, epsabs=0, epsrel=1e-10, limit=200)[0]
            for a, b in itertools.pairwise(cuts)
        ]
        return sum(parts)

    scales = (delta, 1 / norm, g0, 1.0)
    ends = {s * k for s in scales for k in (-9, -4, -2, -1, 0, 0.5, 1, 2, 4, 9, 16)}
    gauss: Callable[[float], float] = lambda t: math.exp(-t * t / 2) / math.sqrt(2 * math.pi)  # noqa: E731
    first = integral(lambda t: gauss(t) * float(ndtr(r * t / delta)), 2, ends)
    second = integral(lambda t: gauss(t / delta) / delta, 1, {e for e in ends if e <= 9 * delta})
    assert 2 * load * first == pytest.approx(delta**2, rel=3e-9)
    assert load * math.sqrt(2 / math.pi) * second == pytest.approx(r, rel=3e-9)


def test_a1_references() -> None:
    found = references(5.0)
    given = (0.162614, 0.118006, 0.083935, 0.093827)
    errors = (found.hebb, found.gibbs, found.bayes, found.max_stability)
    assert errors == pytest.approx(given, abs=1e-6)
    assert found.kappa == pytest.approx(0.19671, abs=1e-5)


@pytest.mark.parametrize(("load", "hebb", "norm", "error", "bayes", "far", "kappa"), TABLE)
def test_a4_table(
    load: float, hebb: float, norm: float, error: float, bayes: float, far: float,
    kappa: float | None,
) -> None:  # fmt: skip
    found, best = references(load), Perceptron(load).optimum()
    assert (found.hebb, found.bayes, found.max_stability) == pytest.approx(
        (hebb, bayes, far), abs=1e-6
    )
    if kappa is not None:
        assert found.kappa == pytest.approx(kappa, abs=1e-5)
    assert best.norm == pytest.approx(norm, rel=5e-3)
    assert best.error == pytest.approx(error, rel=1e-4)
    assert best.relative_error == pytest.approx(best.error / found.hebb, rel=1e-12)
    assert 0 < best.error / found.bayes - 1 < 1e-3  # A2


def test_a2_and_the_table_at_load_five() -> None:
    norms = [row[0] for row in AT_FIVE]
    solved = Perceptron(5.0).solve({"norm": norms})
    columns = ("error", "overlap", "train_loss", "train_error", "multiplier")
    for k, (name, within) in enumerate(zip(columns, (2e-6, 1e-6, 1e-6, 6e-6, 5e-5), strict=True)):
        given = [row[k + 1] for row in AT_FIVE]
        assert solved[name].to_list() == pytest.approx(given, abs=within), name
    assert Perceptron(5.0).optimum().norm == pytest.approx(4.536, abs=0.01)


def test_a3_small_and_large_norms() -> None:
    at_five, far = Perceptron(5.0), references(5.0)
    small, large = at_five.error([1e-3, 1000.0])
    assert small == pytest.approx(0.162520, abs=1e-6)
    assert small == pytest.approx(far.hebb, rel=1e-3)
    assert large == pytest.approx(0.093725, abs=2e-6)
    gaps = far.max_stability - at_five.error([300.0, 600.0, 1200.0])
    assert gaps[:-1] / gaps[1:] == pytest.approx(2, rel=0.01)
    assert gaps[-1] * 1200 == pytest.approx(0.102, abs=5e-4)
    one = references(1.0).max_stability - Perceptron(1.0).error(1200.0)[0]
    assert one * 1200 == pytest.approx(0.036, abs=5e-4)
    # without training errors, g_0 tends to the stability
    g0 = np.exp(solve_saddle(5.0, np.array([1e4])).v[0])
    assert g0 == pytest.approx(far.kappa, abs=2e-4)


def test_a4_steepest_slope() -> None:
    norms = np.geomspace(0.5, 20, 120)
    for load, slope in ((3.1, 0.181), (6.25, 0.281), (12.5, 0.358), (25.0, 0.410), (50.0, 0.443)):
        assert Perceptron(load).solve({"norm": norms})["local_exponent"].max() == pytest.approx(
            slope, abs=2e-3
        )
    hundred = Perceptron(100.0).solve({"norm": norms})["local_exponent"].to_numpy()
    assert hundred.max() == pytest.approx(0.464, abs=3e-3)
    assert norms[hundred.argmax()] == pytest.approx(25 ** (1 / 3), rel=0.05)


def test_a5_early_law_and_master_curve() -> None:
    assert pytest.approx(0.555174, abs=1e-6) == EARLY_AMPLITUDE
    assert early_curve([1.0, 10.0]) == pytest.approx([0.531353, 0.175472], abs=1e-6)
    best = master_optimum()
    assert best.ell == pytest.approx(0.8836, abs=5e-4)
    assert best.d / math.pi == pytest.approx(0.441978, abs=2e-6)
    phi = master_curve(np.array([0.1, 0.3, 3.0, 10.0])) / best.d
    assert phi == pytest.approx([1.7154, 1.1568, 1.0607, 1.1074], abs=1e-4)
    low = master_curve(np.array([1e-3, 1e-2])) * np.sqrt([1e-3, 1e-2]) / 0.695808
    assert (low - 1) / [1e-3, 1e-2] == pytest.approx([0.80, 0.80], abs=5e-3)


def test_a6_collapse() -> None:
    x, best = np.geomspace(0.3, 5, 60), master_optimum()
    phi = master_curve(x * best.ell) / best.d
    worst = {}
    for load in (3.1, 6.25, 12.5, 25.0, 50.0):
        there = Perceptron(load).optimum()
        curve = Perceptron(load).error(x * there.norm) / there.error
        worst[load] = float(np.abs(curve / phi - 1).max())
    assert list(worst.values()) == pytest.approx([0.059, 0.021, 0.006, 0.0015, 0.0004], rel=0.06)
    assert max(worst[25.0], worst[50.0]) < 2e-3
    named = master_curve(np.geomspace(0.3, 5, 5) * best.ell) / best.d  # 0.3, 0.606, 1.225 ...
    assert named == pytest.approx([1.19819, 1.02965, 1.00348, 1.04213, 1.08011], abs=1e-5)
    assert master_curve(1e7)[0] / best.d == pytest.approx(0.5005 / 0.44198, abs=5e-4)


def test_a7_finite_size() -> None:
    drawn = Perceptron(5.0).simulate({"norm": 1.0}, seeds=8, size=400).mean()
    assert drawn["error"][0] == pytest.approx(0.1052, abs=4e-3)
    assert drawn["train_loss"][0] == pytest.approx(0.2346, abs=4e-3)
    assert drawn["measured_norm"][0] == pytest.approx(1.0, abs=0.02)


def test_a8_flow() -> None:
    grid, theory = {"norm": [0.1, 0.3, 1.0, 3.0, 5.0]}, Perceptron(12.5)
    flowed = theory.simulate_flow(grid, seeds=6, size=200)
    drawn = theory.simulate(grid, seeds=6, size=200)
    ratio = errors(flowed).mean(0) / errors(drawn).mean(0)  # on the same data
    assert ratio[2] == pytest.approx(1.13, abs=0.02)
    assert ratio[4] <= 1.03
    assert ratio[:4] == pytest.approx(
        flow_curve(grid["norm"][:4]) / early_curve(grid["norm"][:4]), abs=0.02
    )
    assert (flowed["multiplier"] > 0).all()  # the rate at which the norm grows
    assert (np.diff(flowed["time"].to_numpy().reshape(6, -1)) > 0).all()
    # at a finite load Hebb's vector is longer than its part along the teacher
    early = flowed.filter(pl.col("norm") == 0.1)["time"].to_numpy().mean()
    longer = math.sqrt(1 + math.pi / 25)
    assert early * 12.5 * longer == pytest.approx(flow_time(0.1)[0], rel=0.015)


def test_a8_training_error_goes_to_zero() -> None:
    flowed = Perceptron(5.0).simulate_flow({"norm": [1.0, 3.0, 8.0]}, seeds=3, size=200)
    one, three, eight = flowed["train_error"].to_numpy().reshape(3, -1).mean(0)
    assert one > three > eight == 0


def test_a8_the_norm_grows_all_along() -> None:
    norms = np.geomspace(2e-3, 9, 200)
    flowed = Perceptron(5.0).simulate_flow({"norm": norms}, seeds=2, size=100)
    assert (flowed["multiplier"] > 0).all()
    rate = np.gradient(norms, flowed["time"].to_numpy()[:200])
    assert np.allclose(rate[5:-5], flowed["multiplier"].to_numpy()[5:195], rtol=0.05)


@pytest.mark.slow
def test_a8_at_its_smallest_load() -> None:
    """The note has 1.13 +- 0.02 from load 6 on; at 6.25 the ratio is 1.100 (0.004)."""
    theory = Perceptron(6.25)
    flowed = errors(theory.simulate_flow({"norm": 1.0}, seeds=16, size=400))
    drawn = errors(theory.simulate({"norm": 1.0}, seeds=16, size=400))
    ratio = (flowed / drawn)[:, 0]
    error = ratio.std(ddof=1) / 4
    assert ratio.mean() == pytest.approx(1.10, abs=0.015)
    assert ratio.mean() + 2 * error < 1.11


def errors(table: pl.DataFrame) -> np.ndarray:
    """Errors, one row a seed."""
    return table["error"].to_numpy().reshape(table["seed"].n_unique(), -1)


@pytest.mark.parametrize(("load", "norm"), POINTS)
def test_theory_and_simulation_agree(load: float, norm: float) -> None:
    compare(load, norm, seeds=24, size=200)


@pytest.mark.slow
@pytest.mark.parametrize(("load", "norm"), POINTS)
def test_theory_and_simulation_agree_at_a_larger_size(load: float, norm: float) -> None:
    compare(load, norm, seeds=32, size=400)


def compare(load: float, norm: float, *, seeds: int, size: int) -> None:
    """Means over the seeds within 3 of their standard errors; seeds are chosen once, here."""
    theory = Perceptron(load)
    solved = theory.solve({"norm": norm})
    drawn = theory.simulate({"norm": norm}, seeds=seeds, size=size)
    for name in ("error", "train_loss", "loss", "measured_norm"):
        values = drawn[name].to_numpy()
        expected = norm if name == "measured_norm" else solved[name][0]
        error = values.std(ddof=1) / math.sqrt(seeds)
        assert abs(values.mean() - expected) < 3 * error, (name, values.mean(), expected, error)


def test_constants_to_many_digits() -> None:
    mp = mpmath.mp
    half = lambda f: mpmath.quad(lambda t: mpmath.npdf(t) * f(t), [0, 0.1, 1, 4, 12])  # noqa: E731
    amplitude = mpmath.sqrt(2 * (2 * mpmath.log(2) - 1) / mpmath.sqrt(2 * mp.pi))
    assert float(amplitude) == pytest.approx(EARLY_AMPLITUDE, rel=1e-15)
    for norm in (0.01, 0.7, 3.0, 25.0):
        a = half(lambda t, lam=norm: (1 - mpmath.tanh(lam * t)) ** 2)
        assert early_curve(norm)[0] == pytest.approx(float(mpmath.sqrt(2 * a)), rel=1e-12)

    def pull(lam: float) -> float:
        return 2 * quad(lambda t: math.exp(-t * t / 2) * t * (1 - math.tanh(lam * t)), 0, 12)[0]

    time = quad(lambda lam: math.sqrt(2 * math.pi) / pull(lam), 0, 2)[0]
    assert flow_time(2.0)[0] == pytest.approx(float(time), rel=1e-8)


def test_flow_by_integrating_its_equation() -> None:
    """phi(t) by small Runge-Kutta steps in the norm, and its two limits."""
    x, weight = np.polynomial.legendre.leggauss(200)
    t = 4.75 * (1 + x)
    measure = 4.75 * weight * np.exp(-(t**2) / 2) / math.sqrt(2 * math.pi)

    def rate(lam: float, phi: np.ndarray) -> np.ndarray:
        miss = 1 - np.tanh(lam * t)
        c1 = 2 * (measure * t * miss).sum()
        return miss / c1 - 2 * (measure / np.cosh(lam * t) ** 2).sum() / c1 * phi

    phi, lam, h = np.zeros_like(t), 0.0, 0.005
    for _ in range(400):
        k1 = rate(lam, phi)
        k2 = rate(lam + h / 2, phi + h / 2 * k1)
        k3 = rate(lam + h / 2, phi + h / 2 * k2)
        phi = phi + h / 6 * (k1 + 2 * k2 + 2 * k3 + rate(lam + h, phi + h * k3))
        lam += h
    value = math.sqrt(4 / math.pi * (measure * phi**2).sum()) / lam
    assert flow_curve(lam)[0] == pytest.approx(value, rel=1e-8)
    norms = np.array([0.1, 0.3, 1.0, 2.0, 4.0])
    ratio = flow_curve(norms) / early_curve(norms)
    assert ratio == pytest.approx([1.039, 1.105, 1.128, 1.049, 1.013], abs=6e-4)
    far, near = np.array([30.0, 100.0]), np.array([1e-3])
    excess = (flow_curve(far) / early_curve(far) - 1) * far**2
    assert excess == pytest.approx(np.pi**2 / 48, rel=1e-3)
    assert (flow_curve(near) / early_curve(near) - 1) / near == pytest.approx(0.40, abs=5e-3)
