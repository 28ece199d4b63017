"""Training and attempts in one budget against section 5 of the notes on the hard tail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kleiber.attempts.fit import fit_counts
from kleiber.data.runs import load_runs
from kleiber.planning.allocate import allocate
from kleiber.planning.curve import FailureCurve
from kleiber.planning.plan import plan_attempts
from kleiber.planning.pose import Settings, find_curve, pose_attempts
from kleiber.systems.hard_tail.curve import hard_tail_curve
from kleiber.systems.hard_tail.theory import HardTail

THEORY = HardTail(noise=1.0, tolerance=1.0, dimension=100, tail=2.5)
BEYOND = {"n_data": (105.0, 1e9)}  # the interpolation peak, as in the notes (least squares)
# budget: for the attempt costs 1, 10, 100 the best n_data/dimension, training share and k
TABLE = {
    3e2: ((2.6, 0.86, 43), (2.2, 0.73, 8), (1.8, 0.59, 1)),
    1e3: ((8.4, 0.85, 155), (7.0, 0.70, 30), (4.7, 0.47, 5)),
    3e3: ((18.7, 0.62, 1133), (14.7, 0.49, 153), (10.8, 0.36, 19)),
    1e4: ((26.4, 0.26, 7362), (21.7, 0.22, 783), (16.8, 0.17, 83)),
    1e5: ((32.5, 0.03, 96747), (31.0, 0.03, 9690), (24.0, 0.02, 976)),
    1e6: ((42.0, 0.004, 995796), (32.7, 0.003, 99673), (31.4, 0.003, 9969)),
}


@pytest.fixture(scope="module")
def curve() -> FailureCurve:
    return hard_tail_curve(THEORY)


def split(curve: FailureCurve, budget: float, price: float, weight: float) -> dict[str, np.ndarray]:
    """The best split with k as a real number."""
    asked = Settings(budget, None, None)
    source, question, _ = pose_attempts(curve, asked, price, 1.0, weight)
    return allocate(question, source.single)


def exact(n_data: float, k: float) -> float:
    """The theory's own failure, without interpolation."""
    rho = float(np.sqrt(THEORY.loss(n_data)[0])) / THEORY.noise
    return float(THEORY.failure([k], rho)[0])


def test_the_curve_is_the_theory(curve: FailureCurve) -> None:
    rng = np.random.default_rng(0)
    n, k = np.exp(rng.uniform(np.log(20), np.log(1e6), 30)), np.exp(rng.uniform(0, 18, 30))
    found = curve.failure({"n_data": n}, k)
    known = np.array([exact(*pair) for pair in zip(n, k, strict=True)])
    assert np.abs(np.log(found / known)).max() < 2e-3
    assert curve.loss is not None
    assert np.abs(curve.loss({"n_data": n}) / THEORY.loss(n) - 1).max() < 1e-3


@pytest.mark.parametrize("budget", TABLE)
def test_the_table_for_failure_alone(curve: FailureCurve, budget: float) -> None:
    """N is approximate in the notes (an interpolated table, a flat optimum): ours must do no
    worse than theirs by the exact theory, and lie near it where the optimum is not flat."""
    for price, (size, share, k) in zip((1.0, 10.0, 100.0), TABLE[budget], strict=True):
        made = plan_attempts(curve, budget, attempt=price, limits=BEYOND)
        n, tries = made.allocation["n_data"].value, made.allocation["k"].value
        assert n + price * tries == pytest.approx(budget, rel=1e-9)
        if k == 1:  # k is whole in ours, and the rest is left for training
            assert (tries, n) == (1, pytest.approx(budget - price))
            continue
        theirs = exact(100 * size, (budget - 100 * size) / price)
        assert exact(n, tries) <= theirs * 1.02
        if budget <= 1e4:
            assert n == pytest.approx(100 * size, rel=0.07)
            assert tries == pytest.approx(k, rel=0.03)
            assert made.training_share.value == pytest.approx(share, abs=0.035)


def test_the_slogan_is_right_without_loss(curve: FailureCurve) -> None:
    """Train until the exponent has saturated, then spend on attempts (no loss in the objective)."""
    plans = [plan_attempts(curve, c, attempt=1.0, limits=BEYOND) for c in (1e3, 1e4, 1e5, 1e6)]
    assert [made.advice.split(" more")[0] for made in plans] == ["train", *["sample"] * 3]
    sizes = [made.allocation["n_data"].value for made in plans[2:]]
    assert sizes[1] / sizes[0] < 1.3  # only logarithmically with ten times the budget


def test_stationarity_without_an_ansatz(curve: FailureCurve) -> None:
    """-R L' - dF/dN = b F c_N/(C - N c_N) at R = 0.1, c_k = 10, C = 3000: 6.0018e-6 = 6.0013e-6."""
    weight, price, budget = 0.1, 10.0, 3000.0
    best = split(curve, budget, price, weight)
    n, k = float(best["n_data"][0]), float(best["k"][0])
    assert n == pytest.approx(2683, abs=1)
    assert k == pytest.approx(31.7, abs=0.1)

    def slope(function: Callable[[float], float], at: float, step: float) -> float:
        return (function(at + step) - function(at - step)) / (2 * step)

    training = -weight * slope(lambda x: float(THEORY.loss(x)[0]), n, 0.5)
    training -= slope(lambda x: exact(x, k), n, 0.5)
    local = -slope(lambda y: np.log(exact(n, np.exp(y))), np.log(k), 1e-3)
    attempts = local * exact(n, k) / (budget - n)
    assert training == pytest.approx(6.0018e-6, rel=2e-3)
    assert attempts == pytest.approx(training, rel=2e-3)


def test_the_share_of_training_tends_to_one_with_loss(curve: FailureCurve) -> None:
    """Section 5, the saturated regime: k grows as C^((a+1)/(b+1)) with a = 1, b = 2.5: 0.571."""
    low, high = (split(curve, budget, 1.0, 0.1) for budget in (1e5, 1e6))
    rate = np.log10(high["k"][0] / low["k"][0])
    assert rate == pytest.approx(0.571, abs=0.02)
    assert high["n_data"][0] / 1e6 > low["n_data"][0] / 1e5 > 0.99


def test_a_pass_rate_is_reached_most_cheaply(curve: FailureCurve) -> None:
    made = plan_attempts(curve, reach=0.999, attempt=10.0)
    n, k = made.allocation["n_data"].value, made.allocation["k"].value
    assert made.needed is not None
    assert made.needed.value == made.budget == pytest.approx(n + 10 * k)
    assert exact(n, k) == pytest.approx(1e-3, rel=2e-3)
    sizes = np.linspace(0.4, 1.6, 25) * n
    for size in sizes:  # brute force: no other size gets there for less
        tries = (made.budget * 0.99 - size) / 10
        assert tries < 1 or exact(size, tries) > 1e-3


@pytest.mark.slow
def test_real_counts_of_seven_models(
    data_path: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pythia on MATH, 10,000 attempts: a plan over model sizes with its uncertainty."""
    monkeypatch.setenv("KLEIBER_DATA", str(data_path("passk/pythia_math_n10000.csv").parents[1]))
    counts = load_runs("passk")
    fit = fit_counts(counts, along="n_params", draws=30)
    options = {
        "cost": "6*n_params*n_tokens",
        "attempt": "2*n_params*300",
        "queries": 1e4,
        "given": {"n_tokens": 3e11},
    }
    made = plan_attempts(fit, 1e21, **options)
    for item in (*made.allocation.values(), made.predicted, made.training_share):
        assert item.low <= item.value <= item.high
        assert item.low < item.high
    # the groups' own fits say the same where they were measured
    curve = find_curve(fit)
    assert curve.drawn is not None
    own = {name: 1 - fit.pass_at(100).value[j] for j, name in enumerate(fit.groups)}
    for name, size in zip(fit.groups, fit.counts.keys["n_params"], strict=True):
        drawn = curve.drawn({"n_params": np.full((1, 1), size)}, np.full((1, 1), 100.0), 30)
        assert abs(drawn.mean() - own[name]) < 4 * drawn.std() + 0.02
    # ten attempts from the largest model: it is attempts that are worth more
    there = plan_attempts(fit, 1e22, now={"n_params": 1.2e10, "k": 10}, **options)
    assert there.advice.startswith("sample more")
    assert there.sure is not None
    assert there.sure > 0.95
