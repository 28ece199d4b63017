"""Plans with attempts: what they say, refuse and spend, on curves whose answer is known."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import polars as pl
import pytest

import kleiber
from kleiber.attempts.fit import fit_counts
from kleiber.attempts.gamma import log_rising
from kleiber.attempts.record import CountFit
from kleiber.errors import BadPlan
from kleiber.planning.counts_curve import counts_curve
from kleiber.planning.curve import FailureCurve
from kleiber.planning.plan import describe_plan, plan_attempts

A, B = 0.4, 0.8
DRAWS = np.random.default_rng(0).normal([A, B], [0.03, 0.05], (60, 2))


def product(values: Any, k: Any, a: Any = A, b: Any = B) -> Any:
    """Failure falls as a power of both: a share a/(a+b) of the budget belongs in training."""
    return 0.9 * values["n_data"] ** -a * k**-b


CURVE = FailureCurve(
    "made",
    ("n_data",),
    product,
    lambda values, k, some: product(values, k, DRAWS[:some, :1], DRAWS[:some, 1:]),
    len(DRAWS),
    ranges={"n_data": (1e2, 1e4), "k": (1.0, 1e3)},
)


def test_powers_are_split_by_their_exponents() -> None:
    made = plan_attempts(CURVE, 1e5, "2*n_data", attempt=5.0, queries=3.0)
    n, k = made.allocation["n_data"].value, made.allocation["k"].value
    assert 2 * n + 15 * k == pytest.approx(1e5)
    assert made.training_share.value == pytest.approx(A / (A + B), rel=1e-3)
    assert made.predicted.value == pytest.approx(product({"n_data": n}, k))
    assert made.pass_rate.value == pytest.approx(1 - made.predicted.value)
    assert made.pass_rate.low == pytest.approx(1 - made.predicted.high)
    assert made.pass_rate.high == pytest.approx(1 - made.predicted.low)
    assert made.cost.variables == ("k", "n_data")
    assert made.advice.startswith("sample more: 67% of further budget goes into attempts")
    assert made.sure == 1.0
    shares = DRAWS[:, 0] / DRAWS.sum(axis=1)
    assert made.training_share.stderr == pytest.approx(shares.std(ddof=1), rel=1e-3)
    low, high = np.quantile(shares, [0.025, 0.975], method="hazen")
    assert made.training_share.low == pytest.approx(low, rel=1e-3)
    assert made.training_share.high == pytest.approx(high, rel=1e-3)


def test_a_target_is_the_reverse_of_a_budget() -> None:
    few = dataclasses.replace(CURVE, draws=8)
    first = plan_attempts(few, 4e4, "2*n_data", attempt=5.0)
    again = plan_attempts(few, None, "2*n_data", attempt=5.0, reach=first.pass_rate.value)
    assert again.needed is not None
    assert again.budget == again.needed.value == pytest.approx(4e4, rel=1e-5)
    assert again.needed.low < 4e4 < again.needed.high
    n_data = again.allocation["n_data"].value
    assert n_data == pytest.approx(first.allocation["n_data"].value, rel=1e-3)


def test_the_advice_where_one_is_now() -> None:
    """Marginal values of powers: a F/(2 n) in training, b F/(5 k) in attempts."""
    now = {"n_data": 300.0, "k": 900.0}
    made = plan_attempts(CURVE, 1e5, "2*n_data", attempt=5.0, now=now)
    failure = product(now, now["k"])
    assert made.at == now
    assert made.marginal["training"].value == pytest.approx(A * failure / 600, rel=1e-6)
    assert made.marginal["attempts"].value == pytest.approx(B * failure / 4500, rel=1e-6)
    assert made.advice.startswith("train more: one more unit of budget in training lowers failure")
    ratio = DRAWS[:, 0] / 600 > DRAWS[:, 1] / 4500
    assert made.sure == pytest.approx(ratio.mean())
    even = {"n_data": 300.0, "k": 2 * 300 * B / (5 * A)}
    torn = plan_attempts(CURVE, 1e5, "2*n_data", attempt=5.0, now=even)
    assert torn.sure is not None
    assert 0.2 < torn.sure < 0.8
    assert torn.advice.startswith("a tie: one more unit")
    same = dataclasses.replace(
        CURVE, failure=lambda values, k: product(values, k, A, A), drawn=None, draws=0
    )
    halves = plan_attempts(same, 1e5, attempt=5.0)
    assert halves.advice == "a tie: further budget goes into training and attempts by halves"


def test_what_lies_outside_the_measurements_is_said() -> None:
    made = plan_attempts(CURVE, 1e6, "n_data*1", attempt=1.0)
    said = [note for note in made.notes if "outside what was measured" in note]
    assert [note.split(" = ")[0] for note in said] == ["n_data", "k"]
    assert made.extrapolation == pytest.approx(made.allocation["k"].value / 1000)
    assert made.beyond == "the most attempts made"
    assert any("times the most attempts made" in note for note in made.notes)
    boxed = plan_attempts(CURVE, 1e4, attempt=1.0, limits={"k": (1, 50)})
    assert boxed.allocation["k"].value == 50
    assert "k = 50 sits at its limit." in boxed.notes
    assert boxed.allocation["n_data"].value == pytest.approx(9950)


def test_without_draws_there_are_no_intervals() -> None:
    plain = dataclasses.replace(CURVE, drawn=None, draws=0, ranges={})
    made = plan_attempts(plain, 1e4, attempt=1.0)
    assert np.isnan(made.predicted.low)
    assert made.sure is None
    assert made.extrapolation is None
    assert "There are no intervals: made has no draws." in made.notes


def test_the_document() -> None:
    document = describe_plan(plan_attempts(CURVE, 1e5, "2*n_data", attempt=5.0))
    assert {"budget", "allocation", "predicted", "extrapolation", "cost"} <= set(document)
    assert set(document["allocation"]) == {"n_data", "k"}
    assert set(document["allocation"]["k"]) == {"value", "low", "high"}
    assert set(document["marginal"]) == {"training", "attempts"}
    assert document["target"] == "failure"
    assert document["advice"].startswith("sample more")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": None}, "takes a budget, or a pass rate"),
        ({"reach": 0.9}, "takes a budget, or a pass rate"),
        ({"budget": None, "reach": 1.0}, "The pass rate to reach lies between 0 and 1"),
        ({"budget": 0.5}, "does not pay for the least training and 1 attempts"),
        ({"cost": "6nd"}, "needs n_params, which made does not choose"),
        ({"cost": "3*k"}, "needs k, which made does not choose"),
        ({"cost": "7*7"}, "does not depend on n_data"),
        ({"attempt": "2*n_parms"}, "needs n_parms"),
        ({"attempt": 0.0}, "The cost of an attempt must be a positive number, got 0"),
        ({"attempt": math.nan}, "The cost of an attempt must be a positive number, got nan"),
        ({"attempt": math.inf}, "The cost of an attempt must be a positive number, got inf"),
        ({"attempt": "0"}, "An attempt must cost more than nothing, got a cost of 0"),
        ({"attempt": "-2*n_data"}, "An attempt must cost more than nothing"),
        ({"queries": 0.0}, "queries must be a positive number"),
        ({"weight": 0.1}, "knows no generalisation loss"),
        ({"weight": -1.0}, "weight must be zero or more"),
        ({"given": {"n_data": 5.0}}, "leaves 0 training variables"),
        ({"given": {"n_dat": 5.0}}, r"nothing uses\. Did you mean 'n_data'"),
        (
            {"limits": {"steps": (1, 2)}},
            "The limits have an entry 'steps', but this plan chooses n_data, k",
        ),
        ({"limits": {"k": (3, 2)}}, "0 < low <= high"),
        ({"now": {"k": 3.0}}, "Where one is now takes a value of n_data, k, got k"),
        ({"now": {"n_data": 3.0, "k": 0.5}}, "k from 1"),
    ],
)
def test_questions_without_an_answer(change: dict[str, Any], message: str) -> None:
    asked: dict[str, Any] = {"budget": 1e4, "cost": "2*n_data", "attempt": 5.0} | change
    with pytest.raises(BadPlan, match=message):
        plan_attempts(CURVE, asked.pop("budget"), asked.pop("cost"), **asked)


def test_other_sources_are_refused() -> None:
    with pytest.raises(BadPlan, match="a theory or a law of counts"):
        plan_attempts("hard_tail", 1e4, attempt=1.0)
    with pytest.raises(BadPlan, match="leave out the loss law"):
        plan_attempts(kleiber.theory.HardTail(), 1e4, attempt=1.0, law=object())
    far = dataclasses.replace(CURVE, failure=lambda values, k: 0.5 + product(values, k), draws=0)
    with pytest.raises(BadPlan, match=r"A pass rate of 0\.9 is out of reach"):
        plan_attempts(far, reach=0.9, attempt=1.0)


def planted(tokens: np.ndarray, exponent: Any, seed: int = 1) -> pl.DataFrame:
    """Counts of 300 problems, 200 attempts each, p ~ Beta(a(x), 20 x^-0.3)."""
    rng = np.random.default_rng(seed)
    frames = [
        pl.DataFrame(
            {
                "problem": np.arange(300),
                "n_tokens": x,
                "attempts": 200,
                "successes": rng.binomial(200, rng.beta(exponent(x), 20 * x**-0.3, 300)),
            }
        )
        for x in tokens
    ]
    return pl.concat(frames)


TOKENS = np.geomspace(1.0, 64.0, 5)


def growing(x: Any) -> Any:
    return 0.2 * x**0.25


@pytest.fixture(scope="module")
def grown() -> CountFit:
    return fit_counts(planted(TOKENS, growing), along="n_tokens", draws=40)


def test_planted_counts_are_planned_as_the_truth_would_be(grown: CountFit) -> None:
    def truth(values: Any, k: Any) -> Any:
        a, b = growing(values["n_tokens"]), 20 * values["n_tokens"] ** -0.3
        return np.exp(log_rising(b, k) - log_rising(a + b, k))

    known = FailureCurve("truth", ("n_tokens",), truth)
    options: dict[str, Any] = {"attempt": 1.0, "limits": {"n_tokens": (0.5, 200), "k": (1, 1e4)}}
    made = plan_attempts(grown, 200.0, "2*n_tokens", **options)
    best = plan_attempts(known, 200.0, "2*n_tokens", **options)
    assert made.predicted.low < best.predicted.value < made.predicted.high
    share = made.training_share
    assert share.low - 0.03 < best.training_share.value < share.high + 0.03
    curve = counts_curve(grown)
    assert curve.drawn is not None
    for x in (2.0, 30.0):
        there, k = {"n_tokens": np.full((1, 1), x)}, np.full((1, 1), 50.0)
        drawn = curve.drawn(there, k, 40)
        assert abs(truth(there, k).item() - drawn.mean()) < 4 * drawn.std()


@pytest.mark.slow
def test_growth_that_levels_off_is_followed() -> None:
    levelling = planted(np.geomspace(1, 64, 6), lambda x: 0.8 / (1 + (6 / x) ** 1.5))
    curve = counts_curve(fit_counts(levelling, along="n_tokens"))
    ends = {"n_tokens": np.array([64.0, 6400.0])}
    first, last = (np.log(curve.failure(ends, np.full(2, k))) for k in (1e3, 1e6))
    slopes = (first - last) / np.log(1e3)
    assert slopes[0] == pytest.approx(0.8, abs=0.15)
    assert slopes[1] / slopes[0] < 1.35  # a power would have grown fivefold


@pytest.mark.slow
def test_counts_through_a_loss_law(grown: CountFit) -> None:
    """Counts along the loss, and a loss law in n_params and n_tokens: all three are chosen."""
    rng = np.random.default_rng(3)
    sizes, tokens = np.meshgrid(np.geomspace(1e2, 1e4, 6), np.geomspace(1e3, 1e5, 6))
    n, d = sizes.ravel(), tokens.ravel()
    loss = (0.5 + 5 * n**-0.4 + 20 * d**-0.4) * np.exp(0.003 * rng.standard_normal(n.size))
    runs = {"n_params": n, "n_tokens": d, "loss": loss}
    law = kleiber.fit(kleiber.laws.chinchilla, runs, draws=20)
    levels = np.array([0.9, 1.2, 1.7, 2.4, 3.0])
    counts = planted(levels, lambda x: 0.6 / x).rename({"n_tokens": "loss"})
    fit = fit_counts(counts, along="loss", draws=20)
    made = plan_attempts(fit, 1e9, attempt="2*n_params*10", queries=5.0, law=law)
    assert set(made.allocation) == {"n_params", "n_tokens", "k"}
    spent = {name: item.value for name, item in made.allocation.items()}
    bill = 6 * spent["n_params"] * spent["n_tokens"] + 5 * spent["k"] * 20 * spent["n_params"]
    assert bill == pytest.approx(1e9)
    assert made.predicted.low < made.predicted.value < made.predicted.high
    with pytest.raises(BadPlan, match="loss law predicts loss, but the counts were fitted along n"):
        plan_attempts(grown, 1e9, attempt=1.0, law=law)


def test_counts_that_cannot_be_planned_with(grown: CountFit) -> None:
    def refused(change: dict[str, Any]) -> str:
        with pytest.raises(BadPlan) as caught:
            plan_attempts(dataclasses.replace(grown, **change), 10.0, "1*n_tokens", attempt=1.0)
        return str(caught.value)

    assert "not fitted along training" in refused({"trend": None})
    two = {"small": grown.trend, "large": grown.trend}
    assert "keep the rows of one (small, large)" in refused({"trend": two})
    other = dataclasses.replace(grown.family, name="kumaraswamy")
    assert "beta_binomial or zero_inflated, not kumaraswamy" in refused({"family": other})
    bare = dataclasses.replace(grown, drawn=grown.drawn[:0])
    made = plan_attempts(bare, 100.0, "1*n_tokens", attempt=1.0)
    assert any("fit them again with draws=200" in note for note in made.notes)
