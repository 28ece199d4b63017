"""next_run: the formula against refitting, ladders within the budget, and what is refused."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from kleiber import laws
from kleiber.errors import BadFormula, BadLaw, BadPlan, BadTable
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.fit import fit
from kleiber.fitting.record import Fit
from kleiber.law import Law, real
from kleiber.planning.cost import Cost
from kleiber.planning.next_run import next_run

PLAIN, LEAST = Noise("linear"), Noise("log")
HOFFMANN = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
SIZE = Cost("size", "x", "units")


@Law
def line(x: Any, *, a: Any = real(-10, 10), b: Any = real(-10, 10)) -> Any:
    """A straight line."""
    return a + b * x


def with_exact_draws(found: Fit, design: np.ndarray, count: int = 400) -> Fit:
    """The fit with draws that have median zero about it and exactly the covariance
    s^2 (X'X)^-1, s the noise that next_run reads from the residuals."""
    s2 = noise_variance(found)
    z = np.random.default_rng(0).standard_normal((count // 2, 2))
    z = np.clip(z, -3, 3)
    z = z @ np.linalg.inv(np.linalg.cholesky(z.T @ z / len(z))).T
    z = np.concatenate([z, -z])
    root = np.linalg.cholesky(s2 * np.linalg.inv(design.T @ design))
    values = np.array([found.params["a"], found.params["b"]]) + z @ root.T
    return replace(found, draws={"a": values[:, 0], "b": values[:, 1]})


def noise_variance(found: Fit) -> float:
    return float((found.residuals**2).sum() / (found.rows - len(found.free)))


def rows_of(x: Any) -> np.ndarray:
    x = np.atleast_1d(np.asarray(x, float))
    return np.stack([np.ones(len(x)), x], axis=1)


@pytest.fixture(scope="module")
def straight() -> Fit:
    """A line with negative values (so that nothing is taken in logarithms)."""
    rng = np.random.default_rng(1)
    x = np.linspace(1, 2, 15)
    table = {"x": x, "loss": -1 - 2 * x + 0.1 * rng.standard_normal(15)}
    found = fit(line, table, noise=PLAIN, draws=0)
    return with_exact_draws(found, rows_of(x))


@pytest.fixture(scope="module")
def scaling() -> Fit:
    rng = np.random.default_rng(0)
    n, d = np.exp(rng.uniform(*np.log([(1e7, 1e9), (1e9, 2e11)]), size=(40, 2))).T
    loss = laws.chinchilla(n, d, **HOFFMANN) * np.exp(0.01 * rng.standard_normal(40))
    table = {"n_params": n, "n_tokens": d, "loss": loss}
    return fit("chinchilla", table, noise=LEAST, draws=300)


TARGET: Mapping[str, float] = {"n_params": 7e10, "n_tokens": 1.4e12}


def spread_after(found: Fit, runs: list[float], aim: np.ndarray) -> float:
    """Standard error of aim'(a, b) after runs at x, by refitting: s^2 aim'(X'X)^-1 aim."""
    x = np.linspace(1, 2, 15)
    design = rows_of(np.concatenate([x, runs]))
    return float(np.sqrt(noise_variance(found) * aim @ np.linalg.inv(design.T @ design) @ aim))


AIMS: list[tuple[Any, np.ndarray]] = [
    ("a", np.array([1.0, 0.0])),
    ("b", np.array([0.0, 1.0])),
    ({"x": 5.0}, np.array([1.0, 5.0])),
    (lambda p: p["a"] - p["b"] - 10, np.array([1.0, -1.0])),
]


# The formula


@pytest.mark.parametrize(("quantity", "aim"), AIMS)
@pytest.mark.parametrize("at", [0.5, 1.5, 4.0])
def test_of_a_line_it_is_what_a_refit_would_leave(
    quantity: Any, aim: np.ndarray, at: float, straight: Fit
) -> None:
    got = next_run(straight, quantity, 10.0, SIZE, candidates={"x": [at]})
    assert got["x"].to_list() == [at]
    assert got["cost"].to_list() == [at]
    wanted = spread_after(straight, [at], aim) / spread_after(straight, [], aim)
    assert got["remaining"][0] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(("quantity", "aim"), AIMS)
def test_a_ladder_is_the_greedy_one_of_refits(
    quantity: Any, aim: np.ndarray, straight: Fit
) -> None:
    """Three different runs, one at a time, each the best affordable by refitting."""
    options = np.array([0.5, 1.0, 2.0, 3.0, 6.0])
    got = next_run(straight, quantity, 9.5, SIZE, runs=3, candidates={"x": options})
    made: list[float] = []
    left = 9.5
    for _ in range(3):
        able = [x for x in options if x <= left and x not in made]
        after = [spread_after(straight, [*made, x], aim) for x in able]
        made.append(able[int(np.argmin(after))])
        left -= made[-1]
    assert got["x"].to_list() == made
    shares = [
        spread_after(straight, made[: k + 1], aim) / spread_after(straight, [], aim)
        for k in range(3)
    ]
    np.testing.assert_allclose(got["remaining"], shares, rtol=1e-6)


def test_draws_of_a_fit_give_the_formula_within_their_noise(straight: Fit) -> None:
    """Wild refits of a line, 4,000 of them, instead of draws of exact covariance."""
    rng = np.random.default_rng(1)
    x = np.linspace(1, 2, 40)
    table = {"x": x, "loss": -1 - 2 * x + 0.1 * rng.standard_normal(40)}
    found = fit(line, table, noise=PLAIN, draws=4000)
    got = next_run(found, {"x": 5.0}, 10.0, SIZE, candidates={"x": [4.0]})
    design, aim = rows_of(x), np.array([1.0, 5.0])
    more = np.concatenate([design, rows_of(4.0)])
    before, after = (aim @ np.linalg.inv(d.T @ d) @ aim for d in (design, more))
    # residuals stretched by their leverage, 2/40, and four errors of a spread from 4,000 draws
    assert got["remaining"][0] == pytest.approx(np.sqrt(after / before), rel=0.05 + 0.05)


def test_a_run_far_off_does_not_count_as_noise_under_huber(scaling: Fit) -> None:
    """Noise of a robust fit is that of most runs."""
    huber = replace(scaling, options=replace(scaling.options, noise=Noise("log", delta=1e-3)))
    off = scaling.residuals.copy()
    off[0] = 3.0
    candidates = {"n_params": [1e9], "n_tokens": [2e11]}
    calm, robust, plain = (
        next_run(item, TARGET, 1e30, candidates=candidates)["remaining"][0]
        for item in (huber, replace(huber, residuals=off), replace(scaling, residuals=off))
    )
    assert robust == pytest.approx(calm, rel=0.02)
    assert plain > 0.95


def test_a_positive_quantity_is_narrowed_relatively(straight: Fit) -> None:
    """Of a and of exp(a), a logarithm apart, the same share remains."""
    table = {"x": [0.5, 4.0]}
    got = next_run(straight, "a", 10.0, SIZE, candidates=table)
    exp = next_run(straight, lambda p: np.exp(p["a"]), 10.0, SIZE, candidates=table)
    assert exp["x"].to_list() == got["x"].to_list()
    np.testing.assert_allclose(exp["remaining"], got["remaining"], rtol=1e-6)


def test_far_draws_do_not_lead() -> None:
    """One draw gone astray changes the expectation by little."""
    rng = np.random.default_rng(1)
    x = np.linspace(1, 2, 15)
    table = {"x": x, "loss": -1 - 2 * x + 0.1 * rng.standard_normal(15)}
    found = with_exact_draws(fit(line, table, noise=PLAIN, draws=0), rows_of(x))
    wild = {name: values.copy() for name, values in found.draws.items()}
    wild["b"][0] = 1e6
    candidates = {"x": [0.5, 4.0]}
    calm, rough = (
        next_run(item, {"x": 5.0}, 10.0, SIZE, candidates=candidates)
        for item in (found, replace(found, draws=wild))
    )
    assert calm["x"].to_list() == rough["x"].to_list()
    assert rough["remaining"][0] == pytest.approx(calm["remaining"][0], rel=0.1)


# What is chosen


def test_a_ladder_stays_within_its_budget(scaling: Fit) -> None:
    for budget in (1e20, 1e21, 1e22):
        made = next_run(scaling, TARGET, budget, runs=5)
        assert made.columns == ["n_params", "n_tokens", "cost", "remaining"]
        assert 1 <= len(made) <= 5
        assert made["cost"].sum() <= budget
        np.testing.assert_allclose(made["cost"], 6 * made["n_params"] * made["n_tokens"])
        shares = [1.0, *made["remaining"]]
        assert all(after < before for before, after in itertools.pairwise(shares))


def test_more_budget_leaves_less(scaling: Fit) -> None:
    left = [next_run(scaling, TARGET, budget)["remaining"][0] for budget in (1e19, 1e21, 1e23)]
    assert left[0] >= left[1] >= left[2]
    assert left[2] < 0.8


def test_the_grid_covers_the_measured_ranges_and_a_little_beyond(scaling: Fit) -> None:
    made = next_run(scaling, TARGET, 1e30, runs=20)
    for name in ("n_params", "n_tokens"):
        low, high = scaling.ranges[name]
        assert made[name].min() >= low * (1 - 1e-9)  # pyright: ignore[reportOperatorIssue]
        assert made[name].max() <= 4 * high * (1 + 1e-9)  # pyright: ignore[reportOperatorIssue]
    assert made["n_params"][0] > scaling.ranges["n_params"][1]


def test_per_cost_takes_the_most_for_each_unit(straight: Fit) -> None:
    """Gains per unit by refitting; dear runs narrow more, cheap ones more for their price."""
    options, aim = np.array([0.5, 2.5, 6.0]), np.array([1.0, 5.0])
    table = {"x": options, "price": [0.2, 4.0, 30.0]}
    cost = Cost("price", "price", "units")
    start = spread_after(straight, [], aim)
    gains = [np.log(start / spread_after(straight, [x], aim)) for x in options]
    most = next_run(straight, {"x": 5.0}, 50.0, cost, candidates=table)
    frugal = next_run(straight, {"x": 5.0}, 50.0, cost, candidates=table, per_cost=True)
    assert most["x"][0] == options[np.argmax(gains)]
    assert frugal["x"][0] == options[np.argmax(np.array(gains) / table["price"])]
    assert most["x"][0] != frugal["x"][0]


@pytest.mark.parametrize("kind", [dict, pl.DataFrame, pd.DataFrame])
def test_candidates_are_any_table_and_keep_their_columns(kind: Any, scaling: Fit) -> None:
    table = {
        "name": ["dear", "small"],
        "n_params": [1e12, 1e8],
        "n_tokens": [1e13, 1e10],
        "width": [16384, 512],
    }
    made = next_run(scaling, TARGET, 1e21, candidates=kind(table))
    assert made["name"].to_list() == ["small"]
    assert made["width"].to_list() == [512]
    assert made["cost"].to_list() == [6 * 1e8 * 1e10]


def test_a_cost_may_need_a_value_that_is_given(scaling: Fit) -> None:
    cost = Cost("own", "6*n_params*n_tokens*price", "money")
    table = {"n_params": [1e8, 1e9], "n_tokens": [1e10, 1e11]}
    made = next_run(scaling, TARGET, 1e3, cost, candidates=table, given={"price": 1e-17})
    assert made["n_params"].to_list() == [1e8]
    assert made["cost"].to_list() == pytest.approx([60.0])
    named = next_run(scaling, TARGET, 1e20, "6nd", candidates=table)
    assert named["n_params"].to_list() == [1e8]


def test_a_run_without_a_value_is_never_chosen(scaling: Fit) -> None:
    table = {"n_params": [-1e8, 1e8], "n_tokens": [-1e10, 1e10]}
    made = next_run(scaling, TARGET, 1e21, candidates=table)
    assert made["n_params"].to_list() == [1e8]


def test_a_flat_fit_is_told_what_would_settle_it() -> None:
    """All runs have one number of tokens: the run that narrows beta has another."""
    rng = np.random.default_rng(0)
    n = np.geomspace(1e7, 1e10, 40)
    table = {"n_params": n, "n_tokens": np.full(40, 2e10)}
    loss = laws.chinchilla(**table, **HOFFMANN) * np.exp(0.005 * rng.standard_normal(40))
    found = fit("chinchilla", {**table, "loss": loss}, noise=Noise("log", delta=1e-3), draws=200)
    assert found.status == "flat"
    candidates = {"n_params": [1e9] * 3, "n_tokens": [2e9, 2e10, 2.1e10]}
    made = next_run(found, "E", 1e30, candidates=candidates)
    assert made["n_tokens"].to_list() == [2e9]


def test_most_draws_at_a_bound_still_tell() -> None:
    """Where more than half of the draws are equal, the others are what varies."""
    rng = np.random.default_rng(1)
    x = np.linspace(1, 2, 15)
    table = {"x": x, "loss": -1 - 2 * x + 0.1 * rng.standard_normal(15)}
    found = with_exact_draws(fit(line, table, noise=PLAIN, draws=0), rows_of(x))
    draws = {name: values.copy() for name, values in found.draws.items()}
    draws["b"] = np.where(np.arange(400) % 3 > 0, -2.0, draws["b"])
    made = next_run(replace(found, draws=draws), "b", 10.0, SIZE, candidates={"x": [0.5, 4.0]})
    assert made["remaining"][0] < 1


# Limits, and no run twice


def test_no_run_is_chosen_twice(scaling: Fit) -> None:
    """On the grid, and of candidates that are listed twice."""
    made = next_run(scaling, TARGET, 1e30, runs=12)
    assert len(made) == 12
    assert len(made.unique(["n_params", "n_tokens"])) == 12
    table = {"n_params": [1e9, 1e9, 1e9], "n_tokens": [2e11, 1e10, 2e11]}
    made = next_run(scaling, TARGET, 1e30, runs=9, candidates=table)
    assert sorted(made["n_tokens"]) == [1e10, 2e11]
    told_apart = {**table, "seed": [1, 2, 3]}
    assert len(next_run(scaling, TARGET, 1e30, runs=9, candidates=told_apart)) == 3


def test_limits_replace_the_ends_of_the_grid(scaling: Fit) -> None:
    boxes = {"n_params": (2e7, 3e9), "n_tokens": (0.0, 1e11)}
    made = next_run(scaling, TARGET, 1e30, runs=600, limits=boxes)
    assert len(made) == 24 * 24
    assert (made["n_params"].min(), made["n_params"].max()) == (2e7, 3e9)
    assert (made["n_tokens"].min(), made["n_tokens"].max()) == (scaling.ranges["n_tokens"][0], 1e11)
    far = next_run(scaling, TARGET, 1e30, limits={"n_params": (1e12, 1e12)})
    assert far["n_params"].to_list() == [1e12]
    blind = replace(scaling, ranges={"n_tokens": scaling.ranges["n_tokens"]})
    assert len(next_run(blind, TARGET, 1e30, limits={"n_params": (1e8, 1e9)})) == 1


def test_candidates_outside_the_limits_are_left_out(scaling: Fit) -> None:
    table = {"n_params": [1e8, 1e9, 1e10], "n_tokens": [1e10, 1e11, 1e12], "gpus": [8, 64, 512]}
    limits: Mapping[str, tuple[float, float]]
    for limits, kept in (
        ({"n_params": (0, 1e9)}, [1e8, 1e9]),
        ({"gpus": (64, np.inf)}, [1e9, 1e10]),
        ({"n_params": (1e9, 1e10), "gpus": (8, 100)}, [1e9]),
    ):
        made = next_run(scaling, TARGET, 1e30, runs=3, candidates=table, limits=limits)
        assert sorted(made["n_params"]) == kept


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"n_param": (1, 2)}, r"limits have an entry 'n_param'.* Did you mean 'n_params'"),
        ({"n_params": (2, 1)}, r"limits of n_params must be 0 <= low <= high, got 2:1"),
        ({"n_params": (-1, 1)}, r"must be 0 <= low <= high, got -1:1"),
        ({"n_params": (1, np.nan)}, r"must be a pair of numbers"),
        ({"n_params": (1e15, np.inf)}, r"limits of n_params leave 1e\+15 to .* give both ends"),
        ({"n_params": (0, 3)}, r"limits of n_params leave .* to 3, since .* give both ends"),
    ],
)
def test_limits_that_are_refused(
    limits: dict[str, tuple[float, float]], message: str, scaling: Fit
) -> None:
    with pytest.raises(BadPlan, match=message):
        next_run(scaling, TARGET, 1e21, limits=limits)
    table = {"n_params": [1e8], "n_tokens": [1e10]}
    with pytest.raises(BadPlan, match="None of the 1 candidates lies within the limits"):
        next_run(scaling, TARGET, 1e21, candidates=table, limits={"n_params": (1e9, 1e10)})


# Refusals


def test_nothing_affordable_says_the_cheapest(scaling: Fit) -> None:
    table = {"n_params": [1e8, 1e9], "n_tokens": [1e10, 1e11]}
    with pytest.raises(BadPlan, match=r"costs at most 1e\+18 FLOPs; the cheapest costs 6e\+18"):
        next_run(scaling, TARGET, 1e18, candidates=table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantity": "gamma"}, r"no parameter 'gamma'; this fit has E, A"),
        ({"quantity": {"n_params": 1e9}}, r"values of n_params, n_tokens; given are n_params"),
        ({"quantity": {}}, r"given are none"),
        ({"quantity": {**TARGET, "E": 1.0}}, r"given are n_params, n_tokens, E"),
        ({"quantity": {**TARGET, "n_params": np.nan}}, r"at finite values"),
        ({"quantity": lambda p: p["E"] * np.nan}, r"gives one number, and no NaN"),
        ({"quantity": lambda p: 1.0}, r"The quantity does not vary over the draws"),
        ({"budget": 0.0}, r"The budget must be a positive number, got 0"),
        ({"budget": np.nan}, r"The budget must be a positive number"),
        ({"runs": 0}, r"value of runs must be a whole number from 1, got 0"),
        ({"cost": "5nd"}, r"no cost named '5nd'"),
        ({"candidates": {"n_params": [1e9]}}, r"n_tokens"),
        ({"candidates": {"n_params": [1e9], "n_tokens": ["many"]}}, r"n_tokens"),
        (
            {"candidates": {"n_params": [0.0], "n_tokens": [1e9]}},
            r"Every candidate must cost something; by '6nd' one costs 0",
        ),
        ({"cost": "6*n_params*n_tokens*price"}, r"price"),
    ],
)
def test_questions_that_are_refused(change: dict[str, Any], message: str, scaling: Fit) -> None:
    asked: dict[str, Any] = {"quantity": TARGET, "budget": 1e21, **change}
    with pytest.raises((BadPlan, BadLaw, BadTable, BadFormula, ValueError), match=message):
        next_run(scaling, asked.pop("quantity"), asked.pop("budget"), **asked)


def test_fits_that_cannot_tell(scaling: Fit) -> None:
    few = replace(scaling, draws={name: x[:49] for name, x in scaling.draws.items()})
    with pytest.raises(BadPlan, match="at least 50 draws; this has 49"):
        next_run(few, TARGET, 1e21)
    with pytest.raises(BadPlan, match="records no range of n_params, n_tokens; give candidates"):
        next_run(replace(scaling, ranges={}), TARGET, 1e21)
    with pytest.raises(BadPlan, match="saved without residuals"):
        next_run(replace(scaling, residuals=np.zeros(0)), TARGET, 1e21)
    below = {**scaling.ranges, "n_params": (-1.0, 1e9)}
    with pytest.raises(BadPlan, match="n_params reaches -1, so there is no grid"):
        next_run(replace(scaling, ranges=below), TARGET, 1e21)


def test_an_unusable_fit_is_refused(scaling: Fit) -> None:
    lost = replace(scaling, status=type(scaling.status)("max_evaluations"), reason="it crawled")
    with pytest.raises(BadPlan, match="cannot support a plan: max_evaluations, it crawled"):
        next_run(lost, TARGET, 1e21)


def test_an_empty_table_of_candidates_is_refused(scaling: Fit) -> None:
    with pytest.raises(BadTable, match="The table of candidates has no rows"):
        next_run(scaling, TARGET, 1e21, candidates={"n_params": [], "n_tokens": []})


def test_candidates_in_parts_are_chosen_as_all_at_once(
    scaling: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = next_run(scaling, TARGET, 1e24, runs=7)
    monkeypatch.setattr("kleiber.planning.next_run.KEPT", 0)
    monkeypatch.setattr("kleiber.planning.next_run.CELLS", 10 * scaling.n_draws)
    in_parts = next_run(scaling, TARGET, 1e24, runs=7)
    assert in_parts.drop("remaining").equals(at_once.drop("remaining"))
    np.testing.assert_allclose(in_parts["remaining"], at_once["remaining"], rtol=1e-9)
