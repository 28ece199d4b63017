"""The split of a budget between training and attempts, against closed forms and brute force."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kleiber.planning.split import Work, marginal, reach, split


def powers(training: Any, attempts: Any, price: float, weight: Any = 1.0, draws: int = 1) -> Work:
    """aim = weight n^-training + k^-attempts, one unit of cost for n and ``price`` for k."""
    return Work(
        ("n",),
        {"n": (1.0, 1e12), "k": (1.0, 1e12)},
        train=lambda at: 1.0 * at["n"],
        attempt=lambda at: price * np.ones_like(at["n"]),
        aim=lambda at, k: weight * at["n"] ** -training + k**-attempts,
        draws=draws,
    )


@pytest.mark.parametrize("price", [1.0, 30.0])
@pytest.mark.parametrize(("a", "b"), [(1.0, 2.5), (0.4, 0.25), (1.0, 1.0)])
def test_the_condition_of_stationarity(a: float, b: float, price: float) -> None:
    """a n^(-a-1) = b k^(-b-1)/price, with all of the budget spent."""
    best = split(powers(a, b, price), 1e5)
    n, k = best["n"].item(), best["k"].item()
    assert n + price * k == pytest.approx(1e5, rel=1e-12)
    assert a * n ** (-a - 1) == pytest.approx(b * k ** (-b - 1) / price, rel=1e-5)


def test_growth_of_the_lesser_part() -> None:
    """Section 5 of the notes: with a < b, k grows as C^((a+1)/(b+1))."""
    a, b = 1.0, 2.5
    low, high = (split(powers(a, b, 1.0), budget)["k"].item() for budget in (1e9, 1e10))
    assert np.log10(high / low) == pytest.approx((a + 1) / (b + 1), abs=1e-3)
    a, b = 2.5, 1.0
    low, high = (split(powers(a, b, 1.0), budget)["n"].item() for budget in (1e9, 1e10))
    assert np.log10(high / low) == pytest.approx((b + 1) / (a + 1), abs=1e-3)


def test_each_draw_is_split_by_itself() -> None:
    a, b = np.array([[1.0], [0.4], [2.0]]), np.array([[2.5], [0.25], [0.5]])
    together = split(powers(a, b, 3.0, draws=3), np.array([1e4, 1e5, 1e6]))
    for j, budget in enumerate((1e4, 1e5, 1e6)):
        alone = split(powers(a[j, 0], b[j, 0], 3.0), budget)
        assert together["aim"][j] == pytest.approx(alone["aim"].item(), rel=1e-10)
        assert together["k"][j] == pytest.approx(alone["k"].item(), rel=1e-4)


def test_reach_is_the_reverse_of_split() -> None:
    a, b = np.array([[1.0], [0.4]]), np.array([[2.5], [0.25]])
    work = powers(a, b, 3.0, draws=2)
    there = reach(work, 0.05, start=7.0)
    assert there["aim"] == pytest.approx([0.05, 0.05], rel=1e-8)
    again = split(work, there["spent"])
    assert again["n"] == pytest.approx(there["n"], rel=1e-6)
    cheaper = split(work, there["spent"] * 0.999)
    assert (cheaper["aim"] > 0.05).all()


def test_some_draws_never_get_there() -> None:
    floor = np.array([[0.0], [0.2]])
    base = powers(1.0, 1.0, 1.0, draws=2)
    work = Work(
        base.variables, base.limits, base.train, base.attempt,
        lambda at, k: floor + base.aim(at, k), 2,
    )  # fmt: skip
    found = reach(work, 0.1, start=10.0)
    assert np.isfinite(found["spent"][0])
    assert np.isnan(found["spent"][1])
    assert np.isnan(found["n"][1])


def test_several_minima() -> None:
    """A loss with a peak, as in double descent: the better valley wins on either side."""

    def aim(at: Any, k: Any) -> Any:
        z = np.log(at["n"] / 100)
        return 0.3 / k + 1 / (1 + at["n"] / 30) + 2 * np.exp(-(z**2) / 0.02)

    work = Work(
        ("n",),
        {"n": (1.0, 1e6), "k": (1.0, 1e6)},
        lambda at: at["n"],
        lambda at: np.full_like(at["n"], 0.1),
        aim,
    )
    for budget in (60.0, 115.0, 130.0, 400.0):
        n = np.linspace(1, budget, 400_001)[:-1]
        k = (budget - n) / 0.1
        brute = aim({"n": n[k >= 1]}, k[k >= 1]).min()
        found = split(work, budget)["aim"].item()
        assert found <= brute * (1 + 1e-9)
        assert found == pytest.approx(brute, rel=1e-6)


def two() -> Work:
    """Chinchilla-like loss with an attempt that costs more for a larger model."""
    return Work(
        ("n_params", "n_tokens"),
        {"n_params": (1.0, 1e12), "n_tokens": (1.0, 1e12), "k": (1.0, 1e9)},
        lambda at: 6 * at["n_params"] * at["n_tokens"],
        lambda at: 200 * at["n_params"],
        lambda at, k: (at["n_params"] ** -0.3 + at["n_tokens"] ** -0.4) * k**-0.2,
    )


def test_two_training_variables_against_brute_force() -> None:
    work, budget = two(), 1e12
    best = split(work, budget)
    spent = work.train(best) + best["k"] * work.attempt(best)
    assert spent.item() == pytest.approx(budget, rel=1e-12)
    n, d = np.meshgrid(np.geomspace(1e2, 1e8, 1201), np.geomspace(1e2, 1e9, 1401), indexing="ij")
    at = {"n_params": n, "n_tokens": d}
    k = (budget - work.train(at)) / work.attempt(at)
    brute = np.where(k >= 1, work.aim(at, np.maximum(k, 1)), np.inf).min()
    assert best["aim"].item() <= brute
    assert best["aim"].item() == pytest.approx(brute, rel=1e-4)


@pytest.mark.parametrize("make", [two, lambda: powers(1.0, 2.5, 4.0)])
def test_marginal_values_meet_at_the_best_split(make: Callable[[], Work]) -> None:
    work = make()
    best = split(work, 1e9)
    values = {name: best[name] for name in work.variables}
    both = marginal(work, values, best["k"])
    assert both["training"] == pytest.approx(both["attempts"], rel=1e-4)
    more = split(work, 1e9 * 1.001)["aim"] - best["aim"]
    assert -more / 1e6 == pytest.approx(both["attempts"], rel=2e-3)
    starved = marginal(
        work, {**values, work.variables[-1]: values[work.variables[-1]] / 50}, best["k"]
    )
    assert starved["training"] > starved["attempts"]


def test_limits_hold() -> None:
    base = powers(1.0, 1.0, 1.0)
    work = Work(
        base.variables, {"n": (5.0, 10.0), "k": (2.0, 20.0)}, base.train, base.attempt, base.aim
    )
    best = split(work, 100.0)
    assert (best["n"].item(), best["k"].item()) == (pytest.approx(10), pytest.approx(20))
    assert np.isnan(split(work, 6.0)["aim"]).all()
    assert split(work, 7.01)["n"].item() == pytest.approx(5.0, abs=0.01)
