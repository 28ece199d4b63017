"""fit_counts: families, statuses, intervals, refusals, and joint laws along training."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.special import betaln, ndtr

import kleiber
from kleiber.attempts.batch import pack
from kleiber.attempts.beta import beta_binomial, zero_inflated
from kleiber.attempts.contour import likelihood_drop, trace_contour
from kleiber.attempts.family import finite_difference_score
from kleiber.attempts.fit import FAMILIES
from kleiber.attempts.grid import build_grid
from kleiber.attempts.lid import log_failure, nodes
from kleiber.attempts.newton import maximise
from kleiber.attempts.table import read_counts
from kleiber.errors import BadTable


def plant(p: np.ndarray, attempts: int, seed: int = 0, **columns: Any) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "problem": np.arange(len(p)),
            "attempts": np.full(len(p), attempts),
            "successes": rng.binomial(attempts, p),
            **{name: [value] * len(p) for name, value in columns.items()},
        }
    )


def beta(a: float, b: float, problems: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).beta(a, b, problems)


TOKENS = (1e9, 4e9, 1.6e10, 6.4e10, 2.56e11, 1.024e12)  # the exponent grows as their power 1/4
GROUPS = pl.concat(
    [
        plant(beta(a, 20, 120, i), 200, seed=i, n_tokens=tokens)
        for i, (tokens, a) in enumerate(zip(TOKENS, 0.2 * 2 ** (0.5 * np.arange(6)), strict=True))
    ]
)


def test_a_planted_law_is_found_with_its_limits() -> None:
    made = kleiber.fit_counts(plant(beta(0.4, 12, 2000), 300))
    assert made.status == "converged"
    assert made.params["a"] == pytest.approx(0.4, rel=0.1)
    low, high = made.interval("a")
    assert low < 0.4 < high
    assert made.exponent == made.params["a"]
    low, high = made.interval(lambda p: p["a"] / (p["a"] + p["b"]))
    assert low < 0.4 / 12.4 < high


def test_groups_are_fitted_as_each_would_be_alone() -> None:
    made = kleiber.fit_counts(GROUPS, by="n_tokens")
    assert list(made.params["a"]) == list(made.groups) == [f"{x:g}" for x in TOKENS]
    for name, tokens in zip(made.groups, TOKENS, strict=True):
        alone = kleiber.fit_counts(GROUPS.filter(pl.col("n_tokens") == tokens))
        assert made.params["a"][name] == pytest.approx(alone.params["a"], rel=1e-6)
        assert made.interval("b")[name] == pytest.approx(alone.interval("b"), rel=1e-3)
        assert made.pass_at(1e4).value[made.groups.index(name)] == pytest.approx(
            float(alone.pass_at(1e4)), rel=1e-6
        )


def test_pass_rates_are_numbers_or_arrays_as_asked() -> None:
    one = kleiber.fit_counts(GROUPS.filter(pl.col("n_tokens") == 1e9))
    some = kleiber.fit_counts(GROUPS, by="n_tokens")
    assert isinstance(one.pass_at(10).value, float)
    assert np.shape(one.pass_at([1, 10])) == (2,)
    assert np.shape(some.pass_at(10)) == (6,)
    assert np.shape(some.pass_at([1, 10, 100])) == (6, 3)
    rates = one.pass_at([1, 10, 100, 1000, 10000])
    assert (rates.low < rates.value).all()
    assert (rates.value < rates.high).all()
    assert (np.diff(rates.value) > 0).all()


def test_a_higher_level_is_wider() -> None:
    made = kleiber.fit_counts(GROUPS.filter(pl.col("n_tokens") == 1.6e10))
    inner, to_params = made.interval("a", 0.5), made.interval("a", 0.99)
    assert to_params.low < inner.low < made.params["a"] < inner.high < to_params.high
    assert made.pass_at(1000, 0.5).low > made.pass_at(1000, 0.99).low


def test_windows_are_slopes_of_the_law_and_lie_on_either_side_of_the_exponent() -> None:
    made = kleiber.fit_counts(plant(beta(0.3, 10, 3000), 1000))
    failure = made.window(10, 1000)
    passed = made.window(10, 1000, "neg_log_pass")
    assert failure["low"] < failure["value"] < made.params["a"] < passed["value"]
    k = np.geomspace(10, 1000, 20)
    slope = np.polyfit(np.log(k), np.log(1 - made.pass_at(k).value), 1)[0]
    assert failure["value"] == pytest.approx(-slope, rel=1e-9)
    late = made.window(1e9, 1e12)["value"]
    assert late == pytest.approx(made.params["a"], rel=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.long
def test_every_family_describes_beta_data(name: str) -> None:
    counts = plant(beta(0.5, 15, 400), 200)
    made = kleiber.fit_counts(counts, family=name)
    assert made.usable
    unbiased = kleiber.fit_counts(counts).pass_at(100).value
    assert made.pass_at(100).value == pytest.approx(unbiased, abs=0.02)
    assert set(made.params) == set(made.family.params)
    assert made.exponent == pytest.approx(0.5, rel=0.5)


def test_the_atom_is_found() -> None:
    p = beta(0.8, 10, 1500) * (np.random.default_rng(9).random(1500) > 0.3)
    made = kleiber.fit_counts(plant(p, 2000), family="zero_inflated")
    assert made.params["zero"] == pytest.approx(0.3, abs=0.06)
    assert made.params["a"] == pytest.approx(0.8, rel=0.2)
    assert made.pass_at(1e6).value < 0.75
    plain = kleiber.fit_counts(plant(beta(1.5, 5, 500), 500), family="zero_inflated")
    assert plain.status == "limit"
    assert "No atom" in plain.reason
    assert plain.interval("zero").low == 0
    scaled = kleiber.fit_counts(plant(beta(0.4, 3, 300), 100), family="scaled_beta")
    assert "went to 1" in scaled.reason
    assert scaled.interval("scale").high == 1


def test_equal_problems_are_the_binomial_limit() -> None:
    made = kleiber.fit_counts(plant(np.full(60, 0.2), 50, seed=3))
    assert made.status == "limit"
    assert "equally hard" in made.reason
    assert made.interval("a").high == np.inf
    assert made.pass_at(10).value == pytest.approx(1 - 0.8**10, abs=0.03)


def test_rare_success_is_noted_as_the_gamma_limit() -> None:
    made = kleiber.fit_counts(plant(beta(0.3, 500, 400), 2000))
    assert made.params["b"] > 100
    assert any("Gamma limit" in note for note in made.notes)
    often = kleiber.fit_counts(plant(beta(300, 300, 200), 500))
    assert often.params["b"] > 100
    assert not any("Gamma limit" in note for note in often.notes)


def test_notes_are_of_groups_that_have_parameters() -> None:
    none = kleiber.fit_counts(plant(np.zeros(30), 20))
    assert none.status == "all_zero"
    assert not none.notes


def test_all_rows_as_one_group_is_advised_where_it_works() -> None:
    one, two = (plant(beta(0.5, 5, 30, i), 20, model=f"m{i}") for i in (1, 2))
    assert kleiber.fit_counts(pl.concat([one, two])).notes == ("Grouped by model.",)
    apart = pl.concat([one, two.with_columns(problem=pl.col("problem") + 30)])
    assert "by=[] takes all rows" in kleiber.fit_counts(apart).notes[0]
    assert kleiber.fit_counts(apart, by=[]).groups == ("all",)


def test_nothing_solved_and_everything_solved_have_no_parameters() -> None:
    some = {"problem": [1, 2, 3, 4] * 3, "model": ["none"] * 4 + ["all"] * 4 + ["some"] * 4,
            "attempts": [20] * 12, "successes": [0] * 4 + [20] * 4 + [0, 3, 8, 1]}  # fmt: skip
    made = kleiber.fit_counts(some)
    assert made.status == {"none": "all_zero", "all": "all_solved", "some": "flat"}
    assert np.isnan(made.params["a"]["none"])
    assert made.params["a"]["some"] > 0
    assert "ever solved" in made.reason["none"]
    rates = made.pass_at(100)
    assert np.isnan(rates.value[:2]).all()
    assert "ever solved" in rates.reasons[0]
    assert "Every attempt" in rates.reasons[1]
    assert not made.usable


def test_extrapolation_is_refused_with_its_reason() -> None:
    few = plant(np.zeros(50), 100).with_columns(
        successes=pl.when(pl.col("problem") < 2).then(3).otherwise(0)
    )
    rate = kleiber.fit_counts(few).pass_at(1000)
    assert np.isnan([rate.low, rate.high]).all()
    assert "Only 2 of 50 problems" in rate.reasons
    assert kleiber.fit_counts(few).pass_at(100).reasons == ""
    far = kleiber.fit_counts(plant(beta(0.5, 5, 100), 10)).pass_at([1e4, 1e5])
    assert far.reasons[0] == ""
    assert "1e+04 times the 10 attempts" in far.reasons[1]
    assert np.isnan(far.low[1])
    assert 0 < far.value[1] < 1


def test_stopping_on_success_biases_nothing() -> None:
    rng = np.random.default_rng(5)
    p = rng.beta(0.5, 10, 3000)
    first = rng.geometric(np.maximum(p, 1e-12))
    stopped = {
        "problem": np.arange(3000),
        "attempts": np.minimum(first, 200),
        "successes": (first <= 200).astype(int),
    }
    made = kleiber.fit_counts(stopped, stopped=True)
    low, high = made.interval("a")
    assert low < 0.5 < high
    assert any("unbiased" in note for note in made.notes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"family": "beta"}, "No family is called 'beta'.*beta_binomial"),
        ({"family": "kumaraswami"}, "Did you mean 'kumaraswamy'"),
        ({"prior": "flat"}, "prior is None or 'straight'"),
        ({"by": "modle"}, "no column 'modle'"),
        ({"along": "n_tokens"}, "no column 'n_tokens'"),
        ({"along": "attempts"}, "at least 3 groups"),
        ({"along": "model", "by": "model"}, "must hold numbers"),
        ({"draws": -1}, "draws must be a whole number from 0, got -1"),
    ],
)
def test_bad_requests_are_one_sentence(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(BadTable, match=says):
        kleiber.fit_counts(plant(beta(0.5, 5, 30), 20, model="m"), **changes)


def test_a_single_problem_is_bad_input() -> None:
    with pytest.raises(BadTable, match="needs more problems"):
        kleiber.fit_counts({"problem": [1], "attempts": [10], "successes": [3]})


def test_what_is_asked_of_a_fit_is_checked() -> None:
    made = kleiber.fit_counts(plant(beta(0.5, 5, 30), 20))
    with pytest.raises(BadTable, match="no parameter 'beta'"):
        made.interval("beta")
    with pytest.raises(BadTable, match="numbers from 1"):
        made.pass_at(0)
    with pytest.raises(BadTable, match="'failure' or 'neg_log_pass'"):
        made.window(1, 10, "pass")
    with pytest.raises(BadTable, match="from k = low to high"):
        made.window(10, 10)


@pytest.mark.parametrize("family", [beta_binomial, zero_inflated])
def test_derivatives_are_those_of_differences(family: Any) -> None:
    batch = pack(read_counts(GROUPS, "n_tokens"))
    u = np.array([[-1.0, 3.0, -1.0], [0.2, 2.0, 0.5], [-2.0, 5.0, -3.0], [0.5, 1.0, 1.0]] * 2)[:6]
    u = u[:, : len(family.params)]
    exact, near = family.score(u, batch), finite_difference_score(family.value, 1e-3)(u, batch)
    np.testing.assert_allclose(exact.value, near.value, rtol=1e-12)
    np.testing.assert_allclose(exact.gradient, near.gradient, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(exact.hessian, near.hessian, rtol=1e-3, atol=1e-2)


def test_contours_lie_on_their_level() -> None:
    batch = pack(read_counts(GROUPS, "n_tokens"))
    peak = maximise(beta_binomial, batch)
    assert peak.converged.all()
    drop = likelihood_drop(0.9, batch.problems, 2)
    points = trace_contour(beta_binomial, batch, peak, drop)
    for ray in range(1, points.shape[1]):
        fall = peak.value - beta_binomial.value(points[:, ray], batch)
        np.testing.assert_allclose(2 * fall, drop, atol=1e-3)


def test_profile_ends_are_those_of_a_direct_search() -> None:
    made = kleiber.fit_counts(GROUPS.filter(pl.col("n_tokens") == 1.6e10))
    low, high = made.interval("a")
    drop = likelihood_drop(0.95, made.batch.problems, 2)[0]
    for end in (low, high):
        b = np.linspace(1.0, 6.0, 4001)
        u = np.stack([np.full(4001, np.log(end)), b], 1)
        value = beta_binomial.value(u, made.batch.take(np.zeros(4001, int))).max()
        assert 2 * (made.peak.value[0] - value) == pytest.approx(drop, rel=0.02)


def test_a_widened_kernel_keeps_its_integral() -> None:
    pairs = np.array([[10000.0, 4000.0], [10000.0, 3.0]])
    sharp, wide = build_grid(pairs), build_grid(pairs, 0.1, sharpest=48.0)
    assert len(wide.middle) < len(sharp.middle) / 2
    for grid in (sharp, wide):
        area = np.log(grid.kernel @ np.diff(grid.edges)) + grid.peak
        np.testing.assert_allclose(area, betaln(pairs[:, 1], pairs[:, 0] - pairs[:, 1]), rtol=1e-4)


def test_the_hard_tail_likelihood_is_the_theorys() -> None:
    u = np.log([[2.5, 0.3, 0.5], [2.5, 0.3, 1.0], [2.5, 0.3, 3.0]])
    failure = np.exp(log_failure(u, np.array([1.0, 10.0, 100.0])))
    wanted = [[0.797271, 0.161552, 1.46451e-3], [0.843647, 0.275077, 0.0278354],
              [0.927601, 0.619443, 0.338796]]  # fmt: skip
    np.testing.assert_allclose(failure, wanted, rtol=2e-3)
    _, mass = nodes(u)
    np.testing.assert_allclose(mass.sum(1), 1, rtol=1e-12)


@pytest.mark.slow
def test_hard_tail_data_give_the_tail_back() -> None:
    rng = np.random.default_rng(2)
    root = np.sqrt(rng.gamma(0.5, 1.0, 800))
    q = ndtr(0.5 * root) - ndtr(-0.5 * root)  # beta = 1, r = 0.5, no bias
    made = kleiber.fit_counts(plant(q, 100), family="lid")
    low, high = made.interval("beta")
    assert low < 1.0 < high
    plain = kleiber.fit_counts(plant(q, 100))
    assert 1.0 < plain.params["a"] < 1.4  # misspecified: 1.05 to 1.11, give or take


def test_the_straight_prior_leaves_many_counts_and_ties_few() -> None:
    many = plant(beta(0.3, 10, 3000), 1000)
    free, tied = kleiber.fit_counts(many), kleiber.fit_counts(many, prior="straight")
    assert tied.params["a"] == pytest.approx(free.params["a"], rel=0.15)
    few = plant(beta(0.15, 60, 128), 50, seed=4)
    free = kleiber.fit_counts(few).pass_at(5000)
    tied = kleiber.fit_counts(few, prior="straight").pass_at(5000)
    assert tied.high - tied.low < 0.7 * (free.high - free.low)


def test_draws_resample_problems() -> None:
    made = kleiber.fit_counts(GROUPS, by="n_tokens", draws=100)
    assert made.draws["a"].shape == (100, 6)
    spread = np.log(made.draws["a"]).std(0)
    width = [np.log(item.high / item.low) / 3.92 for item in made.interval("a").values()]
    np.testing.assert_allclose(spread, width, rtol=0.4)
    again = kleiber.fit_counts(GROUPS, by="n_tokens", draws=100)
    np.testing.assert_array_equal(made.draws["b"], again.draws["b"])


def test_growth_along_training_is_found() -> None:
    made = kleiber.fit_counts(GROUPS, along="n_tokens")
    trend = made.trend
    assert trend.growth.supported
    assert trend.growth.interval.low < 0.25 < trend.growth.interval.high
    assert trend.predict(1.6e10, "power") == pytest.approx(0.4, rel=0.25)
    assert list(trend.exponents) == list(made.groups)
    assert trend.curves["saturating"].log_likelihood >= trend.curves["power"].log_likelihood - 0.1
    assert "grows along n_tokens" in trend.summary()
    with pytest.raises(BadTable, match="Did you mean 'power'"):
        trend.predict(1e10, "powr")


def test_no_growth_is_not_found() -> None:
    same = pl.concat(
        [plant(beta(0.4, 20, 120, i), 200, seed=i, n_tokens=10.0**i) for i in range(1, 6)]
    )
    trend = kleiber.fit_counts(same, along="n_tokens").trend
    assert not trend.growth.supported
    assert trend.best == "constant"
    assert "do not say" in trend.growth.says


def test_each_series_has_a_joint_law_of_its_own() -> None:
    two = pl.concat([GROUPS.with_columns(model=pl.lit(name)) for name in ("x", "y")])
    made = kleiber.fit_counts(two, along="n_tokens")
    assert list(made.trend) == ["x", "y"]
    assert made.trend["x"].groups != made.trend["y"].groups
    assert made.trend["x"].growth == made.trend["y"].growth


@pytest.mark.slow
def test_the_universal_law_finds_the_falling_bias() -> None:
    rng = np.random.default_rng(7)
    parts = []
    for i, tokens in enumerate((1e9, 1e10, 1e11)):
        root = np.sqrt(rng.gamma(1.0, 1.0, 200))
        bias = 3.0 * 10 ** (-0.4 * i) * np.abs(rng.standard_normal(200))
        q = ndtr((0.6 - bias) * root) - ndtr(-(0.6 + bias) * root)
        parts.append(plant(q, 100, seed=i, n_tokens=tokens))
    trend = kleiber.fit_counts(pl.concat(parts), family="lid", along="n_tokens").trend
    assert trend.growth.supported
    assert trend.growth.interval.low < 0.4 < trend.growth.interval.high
    assert trend.curves["free"].log_likelihood >= trend.curves["universal"].log_likelihood - 0.1
