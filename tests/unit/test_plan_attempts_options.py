"""Every option of a plan with attempts, against brute force over grids and closed forms."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import polars as pl
import pytest

import kleiber
from kleiber.errors import BadPlan
from kleiber.planning.curve import FailureCurve, Parameter
from kleiber.planning.frontier import sensitivity, trace_frontier
from kleiber.planning.plan import Plan, plan, plan_attempts
from kleiber.systems.hard_tail.theory import HardTail

A, B = 0.4, 0.8
ONE = np.random.default_rng(0).normal([A, B], [0.03, 0.05], (12, 2))
TWO = np.random.default_rng(1).normal([0.3, 0.4, 0.2], 0.02, (8, 3))


def failure(n: Any, k: Any, a: Any = A, b: Any = B) -> Any:
    """Of one training variable, a power of both."""
    return 0.9 * n**-a * k**-b


def of_two(n: Any, d: Any, k: Any, a: Any = 0.3, b: Any = 0.4, c: Any = 0.2) -> Any:
    """Of two training variables, as Chinchilla's law without a floor."""
    return 0.5 * (n**-a + d**-b) * k**-c


def one_curve(a: float = A, b: float = B) -> FailureCurve:
    """The curve of one training variable, which can be moved."""
    made = FailureCurve(
        "one",
        ("n_data",),
        lambda at, k: failure(at["n_data"], k, a, b),
        lambda at, k, some: failure(at["n_data"], k, ONE[:some, :1], ONE[:some, 1:]),
        len(ONE),
    )
    params = {
        "a": Parameter(a, 0.03, lambda x: one_curve(x, b)),
        "b": Parameter(b, np.nan, lambda x: one_curve(a, x)),
    }
    return dataclasses.replace(made, params=params if a == A else {})


CURVE = one_curve()
CHINCHILLA = FailureCurve(
    "two",
    ("n_params", "n_tokens"),
    lambda at, k: of_two(at["n_params"], at["n_tokens"], k),
    lambda at, k, some: of_two(
        at["n_params"], at["n_tokens"], k, TWO[:some, :1], TWO[:some, 1:2], TWO[:some, 2:]
    ),
    len(TWO),
)
BARE = dataclasses.replace(CHINCHILLA, draws=0, drawn=None)
BUDGET = 1e10
SIZES, TOKENS = np.geomspace(1e2, 1e7, 1501)[:, None], np.geomspace(1e2, 1e8, 1801)


def split_one(**options: Any) -> Plan:
    return plan_attempts(CURVE, 1e5, "2*n_data", attempt=5.0, queries=3.0, **options)


def split_two(curve: FailureCurve = BARE, budget: float | None = BUDGET, **options: Any) -> Plan:
    return plan_attempts(curve, budget, attempt="200*n_params", **options)


def values_of(made: Plan) -> dict[str, float]:
    return {name: item.value for name, item in made.allocation.items()}


def bill(at: dict[str, float]) -> float:
    """What a plan of two training variables costs."""
    return 6 * at["n_params"] * at["n_tokens"] + 200 * at["n_params"] * at["k"]


def least(k: Any, allowed: Any = True) -> float:
    """The least failure of a grid of sizes and tokens with so many attempts, where allowed."""
    with np.errstate(invalid="ignore"):
        good = (k >= 1) & allowed
    return float(np.where(good, of_two(SIZES, TOKENS, np.maximum(k, 1)), np.inf).min())


def affordable() -> np.ndarray:
    """The attempts that the budget leaves beside each size and number of tokens."""
    return (BUDGET - 6 * SIZES * TOKENS) / (200 * SIZES)


# Ladders


def test_a_ladder_of_the_training_variable() -> None:
    ladder = [1e3, 3e3, 1e4, 3e4, 4.9e4]
    made = split_one(choices={"n_data": ladder})
    options = [(n, np.floor((1e5 - 2 * n) / 15)) for n in ladder]
    best = min(options, key=lambda pair: failure(*pair))
    assert (values_of(made)["n_data"], values_of(made)["k"]) == best
    assert made.predicted.value == pytest.approx(failure(*best), rel=1e-12)
    drawn = [min(options, key=lambda pair: failure(*pair, a, b))[0] for a, b in ONE]
    low, high = np.quantile(drawn, [0.025, 0.975], method="hazen")
    assert made.allocation["n_data"].low == pytest.approx(low, rel=1e-12)
    assert made.allocation["n_data"].high == pytest.approx(high, rel=1e-12)


def test_a_ladder_of_attempts() -> None:
    ladder = [1, 10, 100, 1000, 5000]
    made = split_one(choices={"k": ladder})
    k = min(ladder, key=lambda k: failure((1e5 - 15 * k) / 2, k))
    assert values_of(made) == {"n_data": pytest.approx((1e5 - 15 * k) / 2, rel=1e-12), "k": k}
    both = split_one(choices={"k": ladder, "n_data": [1e3, 2e4, 4e4]})
    pairs = [(n, k) for n in (1e3, 2e4, 4e4) for k in ladder if 2 * n + 15 * k <= 1e5]
    best = min(pairs, key=lambda pair: failure(*pair))
    assert (values_of(both)["n_data"], values_of(both)["k"]) == best
    assert any(note.startswith("Only ") for note in both.notes)


def test_a_ladder_of_sizes_beside_tokens_and_attempts() -> None:
    ladder = [300.0, 1000.0, 3000.0, 10000.0, 30000.0]
    made = split_two(choices={"n_params": ladder})
    found, best = values_of(made), np.inf
    for n in ladder:
        k = np.arange(1, BUDGET / (200 * n))
        best = min(best, of_two(n, (BUDGET - 200 * n * k) / (6 * n), k).min())
    assert found["n_params"] in ladder
    assert found["k"] % 1 == 0
    assert bill(found) == pytest.approx(BUDGET, rel=1e-9)
    assert made.predicted.value == pytest.approx(best, rel=1e-9)


def test_attempts_that_are_given() -> None:
    made = split_two(given={"k": 40})
    n = SIZES[SIZES < BUDGET / 8200]
    brute = of_two(n, (BUDGET / n - 200 * 40) / 6, 40).min()
    assert "k" not in made.allocation
    assert made.predicted.value <= brute
    assert made.predicted.value == pytest.approx(brute, rel=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"choices": {"k": [1, 2.5]}}, r"choices of k must be whole, from 1 to 1e\+12, got 2\.5"),
        ({"choices": {"k": [0]}}, "The choices of k must be whole"),
        ({"given": {"k": 1.5}}, "The value of k must be whole"),
        (
            {"choices": {"steps": [1]}},
            "The choices have an entry 'steps', but this plan chooses n_params",
        ),
        ({"choices": {"n_params": [1e9]}}, "does not pay for the least training and 1 attempts"),
        ({"under": "k<=0.5"}, "What k may come to, 0.5, does not pay for the smallest run"),
        ({"under": "3*steps<=5"}, r"The cost '3\*steps' needs steps"),
        ({"under": ["n_tokens>=1e9*n_params", "n_tokens<=1e3"]}, "No allocation meets every"),
        ({"series": "small"}, "The series 'small' is of a law of counts, and this is none"),
    ],
)
def test_options_that_leave_no_plan(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadPlan, match=message):
        split_two(**options)


# Further costs


def test_a_further_cost_of_one_variable_is_a_limit() -> None:
    plain = split_one(limits={"k": (1, 50)})
    held = split_one(under="k<=50")
    assert values_of(held) == pytest.approx(values_of(plain), rel=1e-12)
    assert "The plan is held back by k<=50." in held.notes
    assert held.fixed["k"] == "fixed by k<=50"
    assert np.isnan(held.allocation["k"].low)


def test_a_further_cost_of_training_and_attempts() -> None:
    """k n_data may come to less than at the best split: brute force over n_data."""
    n = np.linspace(1, 5e4, 400_001)[:-1]
    k = np.minimum((1e5 - 2 * n) / 15, 2e7 / n)
    made = split_one(under={"k*n_data": 2e7})
    at = values_of(made)
    assert at["k"] * at["n_data"] <= 2e7 * (1 + 1e-9)
    n, k = n[k >= 1], k[k >= 1]
    assert made.predicted.value <= failure(n, np.floor(k)).min() * (1 + 1e-9)
    assert made.predicted.value >= failure(n, k).min() * (1 - 1e-6)


@pytest.mark.parametrize("ratio", [0.05, 300.0])
def test_a_ratio_of_tokens_to_parameters(ratio: float) -> None:
    way = ">=" if ratio > 1 else "<="
    sign = 1 if ratio > 1 else -1
    made = split_two(under=f"n_tokens{way}{ratio}*n_params")
    at = values_of(made)
    assert sign * at["n_tokens"] >= sign * ratio * at["n_params"] * (1 - sign * 1e-9)
    assert bill(at) <= BUDGET * (1 + 1e-9)
    n = np.geomspace(1e2, 1e7, 300_001)
    k = np.floor((BUDGET - 6 * ratio * n**2) / (200 * n))  # the edge, where the ratio holds
    edge = float(of_two(n, ratio * n, np.maximum(k, 1))[k >= 1].min())
    inside = least(affordable(), sign * TOKENS >= sign * ratio * SIZES)
    assert made.predicted.value <= edge * (1 + 1e-9)
    assert made.predicted.value == pytest.approx(min(edge, inside), rel=2e-3)
    free = split_two()
    assert free.predicted.value < made.predicted.value
    assert made.tokens_per_param == pytest.approx(ratio, rel=1e-6)


def test_a_further_cost_of_size_and_attempts_in_every_draw() -> None:
    """Latency: k n_params may come to so much, which binds beside the budget."""
    made = split_two(CHINCHILLA, under={"k*n_params": 1e5})
    at = values_of(made)
    assert at["k"] * at["n_params"] <= 1e5 * (1 + 1e-9)
    n = np.geomspace(1e2, 1e5, 200_001)
    k = np.maximum(1e5 / n, 1)

    def best(*powers: float) -> tuple[float, float]:
        each = of_two(n, (BUDGET - 200 * n * k) / (6 * n), k, *powers)
        return float(each.min()), float(n[each.argmin()])

    assert made.predicted.value >= best(0.3, 0.4, 0.2)[0] * (1 - 1e-7)
    assert made.predicted.value == pytest.approx(best(0.3, 0.4, 0.2)[0], rel=1e-4)
    sizes = [best(*powers)[1] for powers in TWO]
    low, high = np.quantile(sizes, [0.025, 0.975], method="hazen")
    assert made.allocation["n_params"].low == pytest.approx(low, rel=1e-3)
    assert made.allocation["n_params"].high == pytest.approx(high, rel=1e-3)


def test_a_further_cost_that_joins_k_with_both_training_variables_says_that_it_may_miss() -> None:
    made = split_two(under={"k*n_params*n_tokens": 1e7})
    at = values_of(made)
    assert at["k"] * at["n_params"] * at["n_tokens"] <= 1e7 * (1 + 1e-9)
    assert any("but another that does may have less failure" in note for note in made.notes)
    simple = split_two(under={"k*n_params": 1e5}).notes
    assert any("held back" in note for note in simple)
    assert not any("may have less failure" in note for note in simple)


# Targets


def test_a_target_under_a_further_cost_and_on_a_ladder() -> None:
    goal = 0.02
    ladder = np.array([3e3, 1e4, 3e4, 1e5])
    options: dict[str, Any] = {"choices": {"n_params": ladder.tolist()}}
    made = split_two(budget=None, reach=1 - goal, under="k*n_params<=1e5", **options)
    at = values_of(made)
    k = np.arange(1, 1001)[:, None]
    left = goal / (0.5 * k**-0.2) - ladder**-0.3  # what tokens must bring
    tokens = np.where(left > 0, left, 1e-9) ** (-1 / 0.4)
    price = 6 * ladder * np.maximum(tokens, 1) + 200 * ladder * k
    price = np.where((k * ladder <= 1e5) & (left > 0), price, np.inf)
    assert made.budget == pytest.approx(price.min(), rel=1e-9)
    assert made.predicted.value == pytest.approx(goal, rel=1e-9)
    row, column = np.unravel_index(price.argmin(), price.shape)
    assert at["n_params"] == ladder[column]
    assert at["k"] == k[row, 0]


def test_a_target_under_a_ratio() -> None:
    """The least budget, by brute force along the edge that binds."""
    goal, ratio = 0.02, 200.0
    made = split_two(budget=None, reach=1 - goal, under=f"n_tokens>={ratio}*n_params")
    n = np.geomspace(10, 1e6, 400_001)
    k = np.ceil((of_two(n, ratio * n, 1) / goal) ** (1 / 0.2) - 1e-9)
    k = np.maximum(k, 1)
    edge = float((6 * ratio * n**2 + 200 * n * k).min())
    assert made.tokens_per_param == pytest.approx(ratio, rel=1e-3)
    assert made.budget <= edge * (1 + 1e-6)
    assert made.budget == pytest.approx(edge, rel=1e-3)
    assert made.budget > split_two(budget=None, reach=1 - goal).budget


def test_a_target_out_of_reach_of_a_further_cost() -> None:
    with pytest.raises(BadPlan, match="No allocation that brings failure to 1e-06 within k"):
        split_two(budget=None, reach=1 - 1e-6, under="k<=10", limits={"n_tokens": (1, 1e6)})


# The curve over budgets


@pytest.mark.parametrize("options", [{}, {"under": "k<=100"}, {"choices": {"k": [10, 1000]}}])
def test_a_curve_over_budgets(options: dict[str, Any]) -> None:
    budgets = [1e3, 1e4, 1e5]
    asked: dict[str, Any] = {"attempt": 5.0, "queries": 3.0, **options}
    curve = trace_frontier(CURVE, budgets, "2*n_data", **asked)
    assert curve["budget"].to_list() == budgets
    for row in curve.iter_rows(named=True):
        ks = np.arange(1, row["budget"] / 15)
        if "under" in options:
            ks = ks[ks <= 100]
        if "choices" in options:
            ks = np.intersect1d(ks, [10, 1000])
        each = failure((row["budget"] - 15 * ks) / 2, ks)
        assert row["k"] == ks[each.argmin()]
        assert row["predicted"] == pytest.approx(each.min(), rel=1e-9)
        assert row["pass_rate"] == pytest.approx(1 - each.min(), rel=1e-12)
        assert row["training_share"] == pytest.approx(1 - 15 * row["k"] / row["budget"], rel=1e-9)
        single = plan_attempts(CURVE, row["budget"], "2*n_data", **asked)
        assert row["predicted_low"] == single.predicted.low
        assert row["n_data_extrapolation"] is None
    falls = curve["predicted"].to_list()
    assert all(after < before for before, after in itertools.pairwise(falls))


# Sensitivity


def test_elasticities_of_powers_are_their_derivatives() -> None:
    """n = a/(a+b) C/2, k = b/(a+b) C/15; the failure by the envelope theorem."""
    table = sensitivity(CURVE, 1e5, "2*n_data", attempt=5.0, queries=3.0)
    rows = {row["parameter"]: row for row in table.iter_rows(named=True)}
    n, k = A / (A + B) * 5e4, B / (A + B) * 1e5 / 15
    wanted = {
        "a": (B / (A + B), -A / (A + B), -A * np.log(n)),
        "b": (-B / (A + B), A / (A + B), -B * np.log(k)),
    }
    for name, (size, tries, fall) in wanted.items():
        assert rows[name]["n_data"] == pytest.approx(size, rel=1e-4)
        assert rows[name]["k"] == pytest.approx(tries, rel=1e-4)
        assert rows[name]["predicted"] == pytest.approx(fall, rel=1e-4)
    assert rows["a"]["n_data_shift"] == pytest.approx(0.03 / A * B / (A + B), rel=1e-4)
    assert np.isnan(rows["b"]["n_data_shift"])
    held = sensitivity(CURVE, 1e5, "2*n_data", attempt=5.0, queries=3.0, under="k<=50")
    assert held["k"].to_numpy() == pytest.approx([0, 0], abs=1e-9)
    assert held["n_data"].to_numpy() == pytest.approx([0, 0], abs=1e-9)


@dataclasses.dataclass(frozen=True)
class Powers:
    """A theory that only solves, row by row."""

    a: float = A
    b: float = B
    dimension: int = 5

    def solve(self, grid: pl.DataFrame) -> pl.DataFrame:
        each = failure(grid["n_data"].to_numpy(), grid["k"].to_numpy(), self.a, self.b)
        return grid.with_columns(failure=each, loss=1 / grid["n_data"])


def test_elasticities_of_a_theory_that_only_solves() -> None:
    """Its real parameters move; a whole number cannot move a little."""
    options: dict[str, Any] = {"attempt": 5.0, "queries": 3.0, "limits": {"n_data": (1, 1e6)}}
    table = sensitivity(Powers(), 1e5, "2*n_data", **options)
    assert table["parameter"].to_list() == ["a", "b"]
    assert table["n_data"].to_list() == pytest.approx([B / (A + B), -B / (A + B)], rel=1e-4)
    with pytest.raises(BadPlan, match="leave out the loss law"):
        sensitivity(Powers(), 1e5, "2*n_data", law=object(), **options)


@pytest.mark.slow
def test_elasticities_of_the_hard_tail() -> None:
    """Against its own failure over a grid of n_data, with a real k."""
    theory = HardTail(noise=1.0, tolerance=1.0, dimension=100, tail=2.5)
    options: dict[str, Any] = {"attempt": 10.0, "limits": {"n_data": (105.0, 2900.0)}}
    table = sensitivity(theory, 3000.0, **options)
    rows = {row["parameter"]: row for row in table.iter_rows(named=True)}

    def best(tail: float) -> float:
        moved = dataclasses.replace(theory, tail=tail)
        n = np.linspace(1200, 1800, 25)
        rho = np.sqrt(moved.loss(n)) / moved.noise
        pairs = zip(n, rho, strict=True)
        return float(min(moved.failure([(3000 - x) / 10], r)[0] for x, r in pairs))

    wanted = np.log(best(2.5 * 1.02) / best(2.5 / 1.02)) / (2 * np.log(1.02))
    assert rows["tail"]["predicted"] == pytest.approx(wanted, rel=5e-3)


# The search box, and one record


def test_far_looks_beyond_what_was_measured() -> None:
    near = dataclasses.replace(CURVE, ranges={"n_data": (1.0, 10.0), "k": (1.0, 5.0)}, draws=0)
    held = plan_attempts(near, 1e5, "2*n_data", attempt=5.0, queries=3.0)
    assert values_of(held)["n_data"] == pytest.approx(1e4)
    assert "n_data = 1e+04 sits at its limit." in held.notes
    far = plan_attempts(near, 1e5, "2*n_data", attempt=5.0, queries=3.0, far=True)
    assert values_of(far)["n_data"] == pytest.approx(A / (A + B) * 5e4, rel=1e-3)


def test_nothing_more_to_buy() -> None:
    made = split_one(limits={"n_data": (1, 100), "k": (1, 50)})
    assert made.advice.startswith("neither: further budget buys nothing")
    assert made.sure is None


def test_one_record_for_both() -> None:
    made = split_one()
    assert isinstance(made, Plan)
    assert kleiber.AttemptPlan is kleiber.Plan is Plan
    rng = np.random.default_rng(0)
    runs = {"n_params": np.exp(rng.uniform(10, 20, 30))}
    runs |= {"loss": 1 + 30 * runs["n_params"] ** -0.3}
    fitted = kleiber.fit("E + A*n_params**-a", runs, draws=0)
    plain = plan(fitted, 1e8, "6*n_params")
    assert plain.advice == ""
    assert np.isnan(plain.pass_rate.value)
    assert {f.name for f in dataclasses.fields(made)} == {f.name for f in dataclasses.fields(plain)}


def test_the_curve_and_the_sensitivity_say_which_plan_an_argument_is_of() -> None:
    for verb, first in ((trace_frontier, [1e4]), (sensitivity, 1e4)):
        with pytest.raises(BadPlan, match="by a theory takes the price of an attempt"):
            verb(Powers(), first)  # pyright: ignore[reportArgumentType]
    runs = {"n_params": np.geomspace(1e4, 1e8, 9), "loss": 1 + np.geomspace(1, 0.1, 9)}
    fitted = kleiber.fit("E + A*n_params**-a", runs, draws=0)
    with pytest.raises(
        BadPlan, match=r"The value of queries is of a plan with attempts .* got 5\.0"
    ):
        trace_frontier(fitted, [1e9], "6*n_params", queries=5.0)
