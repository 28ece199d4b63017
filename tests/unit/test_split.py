"""The split of a budget between training and attempts, against closed forms and brute force."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from kleiber.errors import BadPlan
from kleiber.planning.advice import marginal
from kleiber.planning.allocate import allocate
from kleiber.planning.curve import FailureCurve
from kleiber.planning.pose import Posed, Settings, pose_attempts


@dataclass(frozen=True)
class Work:
    """What is to be split: failure as ``aim``, its prices, and the limits of all variables."""

    variables: tuple[str, ...]
    limits: Mapping[str, tuple[float, float]]
    train: str
    attempt: str | float
    aim: Callable[[Any, Any], Any]
    draws: int = 1
    under: tuple[str, ...] = ()
    choices: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def posed(self, budget: float | None, target: float | None = None) -> Posed:
        """The question; every draw of the curve is evaluated at once."""
        curve = FailureCurve(
            "made", self.variables, self.aim, lambda at, k, _: self.aim(at, k), self.draws
        )
        reach = None if target is None else 1 - target
        asked = Settings(
            budget, reach, self.train, list(self.under) or None, self.limits, self.choices
        )
        return pose_attempts(curve, asked, self.attempt, 1.0, 0.0)


def split(work: Work, budget: float | None, target: float | None = None) -> dict[str, np.ndarray]:
    """The best values with their aim for each draw, k as a real number."""
    source, question, _ = work.posed(budget, target)
    found = allocate(question, source.draws)
    return {**found, "aim": found["predicted"]}


def reach(work: Work, target: float) -> dict[str, np.ndarray]:
    """The cheapest values with aim at most ``target``, and what they cost as ``spent``."""
    return split(work, None, target)


def powers(training: Any, attempts: Any, price: float, weight: Any = 1.0, draws: int = 1) -> Work:
    """aim = weight n^-training + k^-attempts, one unit of cost for n and ``price`` for k."""
    return Work(
        ("n",),
        {"n": (1.0, 1e12), "k": (1.0, 1e12)},
        train="1*n",
        attempt=price,
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
    for budget, j in itertools.product((1e4, 1e5, 1e6), range(3)):
        together = split(powers(a, b, 3.0, draws=3), budget)
        alone = split(powers(a[j, 0], b[j, 0], 3.0), budget)
        assert together["aim"][j] == pytest.approx(alone["aim"].item(), rel=1e-10)
        assert together["k"][j] == pytest.approx(alone["k"].item(), rel=1e-4)


def test_reach_is_the_reverse_of_split() -> None:
    a, b = np.array([[1.0], [0.4]]), np.array([[2.5], [0.25]])
    work = powers(a, b, 3.0, draws=2)
    there = reach(work, 0.05)
    assert there["aim"] == pytest.approx([0.05, 0.05], rel=1e-8)
    for j, spent in enumerate(there["spent"]):
        again = split(work, float(spent))
        assert again["n"][j] == pytest.approx(there["n"][j], rel=1e-6)
        cheaper = split(work, float(spent) * 0.999)
        assert cheaper["aim"][j] > 0.05


def test_some_draws_never_get_there() -> None:
    floor = np.array([[0.0], [0.2]])
    base = powers(1.0, 1.0, 1.0, draws=2)
    work = Work(
        base.variables, base.limits, base.train, base.attempt,
        lambda at, k: floor + base.aim(at, k), 2,
    )  # fmt: skip
    found = reach(work, 0.1)
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
        "1*n",
        0.1,
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
        "6*n_params*n_tokens",
        "200*n_params",
        lambda at, k: (at["n_params"] ** -0.3 + at["n_tokens"] ** -0.4) * k**-0.2,
    )


def bill(n: Any, d: Any, k: Any) -> Any:
    """What ``two`` costs."""
    return 6 * n * d + 200 * n * k


def test_two_training_variables_against_brute_force() -> None:
    work, budget = two(), 1e12
    best = split(work, budget)
    spent = bill(best["n_params"], best["n_tokens"], best["k"])
    assert spent.item() == pytest.approx(budget, rel=1e-12)
    n, d = np.meshgrid(np.geomspace(1e2, 1e8, 1201), np.geomspace(1e2, 1e9, 1401), indexing="ij")
    at = {"n_params": n, "n_tokens": d}
    k = (budget - 6 * n * d) / (200 * n)
    brute = np.where(k >= 1, work.aim(at, np.maximum(k, 1)), np.inf).min()
    assert best["aim"].item() <= brute
    assert best["aim"].item() == pytest.approx(brute, rel=1e-4)


@pytest.mark.parametrize("make", [two, lambda: powers(1.0, 2.5, 4.0)])
def test_marginal_values_meet_at_the_best_split(make: Callable[[], Work]) -> None:
    work = make()
    best = split(work, 1e9)
    source, question, _ = work.posed(1e9)
    at = {name: float(best[name][0]) for name in (*work.variables, "k")}
    both = marginal(question, source.single, at)
    assert both["training"] == pytest.approx(both["attempts"], rel=1e-4)
    more = split(work, 1e9 * 1.001)["aim"] - best["aim"]
    assert -more / 1e6 == pytest.approx(both["attempts"], rel=2e-3)
    last = work.variables[-1]
    starved = marginal(question, source.single, {**at, last: at[last] / 50})
    assert starved["training"] > starved["attempts"]


def test_limits_hold() -> None:
    base = powers(1.0, 1.0, 1.0)
    work = Work(
        base.variables, {"n": (5.0, 10.0), "k": (2.0, 20.0)}, base.train, base.attempt, base.aim
    )
    best = split(work, 100.0)
    assert (best["n"].item(), best["k"].item()) == (pytest.approx(10), pytest.approx(20))
    with pytest.raises(BadPlan, match="does not pay for the least training and 2 attempts"):
        split(work, 6.0)
    assert split(work, 7.01)["n"].item() == pytest.approx(5.0, abs=0.01)


def test_a_valley_where_attempts_take_next_to_nothing() -> None:
    """A grid of n sees the valley at 1000 and not the deeper one beside all of the budget."""

    def aim(at: Any, k: Any) -> Any:
        steep = np.exp(-200 * at["n"] / 1e6) * (0.01 + 1 / (1 + (k / 3) ** 4))
        return np.minimum(steep, 0.1 * np.exp(-200 + np.log(at["n"] / 1e3) ** 2))

    work = Work(("n",), {"n": (1.0, 1e6), "k": (1.0, 1e6)}, "1*n", 1.0, aim)
    tries = np.linspace(1, 1000, 400_001)
    brute = aim({"n": 1e6 - tries}, tries).min()
    found = split(work, 1e6)
    assert found["aim"].item() == pytest.approx(brute, rel=1e-6)
    assert found["k"].item() < 100
