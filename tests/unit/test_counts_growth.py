"""Growth along training: the joint likelihood of all problems' counts, and what is said of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import special, stats

import kleiber
from kleiber.attempts.batch import pack, place_problems
from kleiber.attempts.beta import beta_binomial
from kleiber.attempts.findings import accepted_range
from kleiber.attempts.growth import Evidence, Grouping, curve_ties, fit_curves, weigh_evidence
from kleiber.attempts.newton import maximise
from kleiber.attempts.scattered import regress
from kleiber.attempts.table import Counts
from kleiber.attempts.tied import widen

TOKENS = np.geomspace(6e9, 3e11, 8)


def draw(a: Any, problems: int, rng: np.random.Generator, common: float = 0.8) -> np.ndarray:
    """Success rates of the same problems at each exponent, b falling from 80 to 12."""
    b = np.geomspace(80, 12, len(a))[:, None]
    score = np.sqrt(common) * rng.standard_normal(problems)
    score = score + np.sqrt(1 - common) * rng.standard_normal((len(a), problems))
    return special.betaincinv(np.reshape(a, (-1, 1)), b, special.ndtr(score))


def table_of(a: Any, seed: int = 0, problems: int = 128, **columns: Any) -> pl.DataFrame:
    """Counts of checkpoints whose exponents are a, 1,000 attempts at each problem."""
    rng = np.random.default_rng(seed)
    p = draw(a, problems, rng)
    tokens = np.geomspace(TOKENS[0], TOKENS[-1], len(a))
    return pl.DataFrame(
        {
            "problem": np.tile(np.arange(problems), len(a)),
            "n_tokens": np.repeat(tokens, problems),
            "attempts": 1000,
            "successes": rng.binomial(1000, p).ravel(),
            **columns,
        }
    )


def evidence(a: Any, tables: int, common: float = 0.8, problems: int = 96) -> Evidence:
    """What is found in many tables at once."""
    rng = np.random.default_rng(1)
    groups = len(a)
    p = np.stack([draw(a, problems, rng, common) for _ in range(tables)])
    rows = np.arange(p.size)
    counts = Counts(
        pl.DataFrame({"group": np.arange(tables * groups)}),
        rows // problems, rows % problems, np.full(p.size, 300.0),
        rng.binomial(300, p).ravel().astype(float), np.zeros(p.size, bool),
    )  # fmt: skip
    batch = pack(counts)
    free, wide = maximise(beta_binomial, batch), widen(batch, groups)
    z = np.log(np.geomspace(TOKENS[0], TOKENS[-1], groups))
    at = Grouping(z - z.mean(), np.zeros(groups, int))
    peaks = fit_curves(beta_binomial, wide, at, free, ("constant", "power"))
    places = place_problems(counts).reshape(tables, groups, problems)
    return weigh_evidence(beta_binomial, wide, at, free, peaks, places)


@pytest.mark.parametrize(("common", "least"), [(0.0, 0.5), (0.8, 0.7)])
def test_three_checkpoints_have_size_and_power(common: float, least: float) -> None:
    flat = evidence([0.25] * 3, 200, common)
    found = (flat.growth.p_value < 0.05).mean()
    assert 0.01 < found < 0.10  # 4 standard errors about 5%
    assert (flat.scatter.p_value < 0.05).mean() < 0.12
    grown = evidence([0.2, 0.3, 0.45], 60, common)
    assert grown.grows.mean() > least
    shared = 1.0 if common == 0 else 0.6
    assert np.median(flat.growth.divisor) == pytest.approx(shared, abs=0.12)


def test_every_second_table_of_the_old_failure_is_seen() -> None:
    """Likelihood ratios of 4 to 12 over 3 checkpoints, which Student's t with one degree of freedom
    never sees."""
    found = evidence([0.22, 0.27, 0.34], 100)
    middling = (found.growth.statistic > 4) & (found.growth.statistic < 12)
    assert middling.sum() > 10
    assert (found.growth.p_value[middling] < 0.05).mean() > 0.9


def test_growth_of_a_table_is_said_with_its_factor() -> None:
    trend = kleiber.fit_counts(table_of([0.2, 0.3, 0.45]), along="n_tokens").trend
    growth = trend.growth
    assert (growth.supported, growth.verdict) == (True, "grows")
    assert growth.interval.low < np.log(2.25) / np.log(50) < growth.interval.high
    assert growth.interval.low < growth.value < growth.interval.high
    factor = np.exp(np.array([growth.value, *growth.interval]) * np.log(50))
    numbers = "{:.3g} [{:.3g}, {:.3g}]".format(*factor)
    assert f"grows along n_tokens, by a factor of {numbers} from 6e+09 to 3e+11" in growth.says
    root = np.sqrt(growth.likelihood_ratio / growth.divisor)
    assert growth.p_value == pytest.approx(2 * special.stdtr(growth.degrees_of_freedom, -root))
    assert growth.degrees_of_freedom == 127
    assert trend.saturation is None
    assert not trend.scatter.seen


def test_falling_and_unclear_exponents_are_told_apart() -> None:
    fell = kleiber.fit_counts(table_of([0.5, 0.3, 0.2]), along="n_tokens").trend.growth
    assert (fell.verdict, fell.value < 0) == ("falls", True)
    none = kleiber.fit_counts(table_of([0.3] * 4, problems=300), along="n_tokens").trend.growth
    assert none.verdict == "no growth seen"
    assert none.says.startswith("no growth seen: these counts do not say")
    few = kleiber.fit_counts(table_of([0.3] * 3, problems=12), along="n_tokens").trend.growth
    assert few.verdict == "cannot be told"


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_of_the_rate_agrees_with_the_test(seed: int) -> None:
    growth = kleiber.fit_counts(table_of([0.2, 0.24, 0.28], seed), along="n_tokens").trend.growth
    assert growth.supported == (not growth.interval.low < 0 < growth.interval.high)


def test_a_plateau_is_found_and_how_much_of_it_is_reached() -> None:
    a = 0.4 / (1 + (1.2e10 / TOKENS) ** 1.6)
    trend = kleiber.fit_counts(table_of(a, problems=200), along="n_tokens").trend
    found = trend.saturation
    assert (found.supported, found.verdict) == (True, "saturates")
    assert found.interval.low < 0.4 < found.interval.high < 0.8
    assert found.interval.low < found.value < found.interval.high
    assert "of which 9" in found.says  # 99% by the planted curve
    power = kleiber.fit_counts(table_of(0.2 * (TOKENS / 6e9) ** 0.2), along="n_tokens").trend
    assert power.growth.verdict == "grows"
    assert power.saturation.verdict == "cannot be told"
    assert power.saturation.interval.high == np.inf
    assert 0.25 < power.saturation.interval.low < 0.6


def test_groups_that_scatter_have_it_counted_in() -> None:
    a = 0.3 * np.exp(0.5 * np.array([1, -1, 1, -1, 1, -1, 1, -0.4]))
    trend = kleiber.fit_counts(table_of(a), along="n_tokens").trend
    assert trend.scatter.seen
    assert trend.growth.degrees_of_freedom <= 6
    assert trend.growth.verdict == "cannot be told"
    assert "scatter about the curve" in trend.summary()


def test_the_derivatives_of_a_curve() -> None:
    at = Grouping(np.array([-2.0, 0.0, 2.0, -1.0, 1.0]), np.array([0, 0, 0, 1, 1]))
    rng = np.random.default_rng(0)
    for name, tie in curve_ties(at, 2).items():
        v = rng.normal(0, 0.7, (1, len(tie.low) + 5))
        slope = tie.jacobian(v)
        for j in range(v.shape[1]):
            step = 1e-5 * np.eye(v.shape[1])[j]
            change = (tie.spread(v + step) - tie.spread(v - step)) / 2e-5
            np.testing.assert_allclose(slope[..., j], change, atol=1e-7, err_msg=name)
        if tie.nonlinear:
            step = 1e-4 * np.eye(v.shape[1])[3]
            change = (tie.jacobian(v + step) - tie.jacobian(v - step))[..., 0, 2:4] / 2e-4
            np.testing.assert_allclose(tie.curvature(v)[..., 1], change, atol=1e-4)


def models(rates: list[float], scatter: float = 0.0) -> pl.DataFrame:
    rng = np.random.default_rng(5)
    grown = np.linspace(0, 1, 4)
    return pl.concat(
        [
            table_of(
                0.2 * (1 + i / 4) * np.exp(rate * grown + scatter * rng.standard_normal(4)),
                seed=9, model=f"m{i}",
            )
            for i, rate in enumerate(rates)
        ]
    )  # fmt: skip


def test_models_together_see_what_each_alone_does_not() -> None:
    made = kleiber.fit_counts(models([0.3, 0.3, 0.3]), along="n_tokens")
    pooled = made.pooled
    assert pooled is not None
    assert (pooled.rates, pooled.spread, pooled.growth.verdict) == ("tied", 0.0, "grows")
    assert list(pooled.series) == ["m0", "m1", "m2"]
    width = pooled.growth.interval.high - pooled.growth.interval.low
    for item, trend in zip(pooled.series.values(), made.trend.values(), strict=True):
        assert item.low < 0.3 / np.log(50) < item.high
        assert item.value == pytest.approx(trend.growth.value, abs=1e-2)
        assert width < trend.growth.interval.high - trend.growth.interval.low
    levels = [item.level for item in pooled.series.values()]
    assert levels == sorted(levels)
    assert pooled.predict("m1", pooled.x0) == pytest.approx(levels[1])
    with pytest.raises(kleiber.errors.BadTable, match="Did you mean 'm1'"):
        pooled.predict("m_1", 1e10)
    assert "3 series together, tied rates" in pooled.summary()


def test_rates_that_differ_are_random() -> None:
    pooled = kleiber.fit_counts(models([-0.5, 0.3, 1.2]), along="n_tokens").pooled
    assert pooled is not None
    assert pooled.differ.seen
    assert pooled.rates == "random"
    assert pooled.spread > 0.05
    assert pooled.growth.degrees_of_freedom == 2
    assert pooled.growth.verdict == "cannot be told"
    assert "the rates of the series differ" in pooled.summary()


def test_a_copy_of_a_model_adds_nothing() -> None:
    table = table_of([0.2, 0.3, 0.45], problems=64)
    one = kleiber.fit_counts(table, along="n_tokens").trend.growth
    twice = pl.concat([table.with_columns(model=pl.lit(name)) for name in "xy"])
    pooled = kleiber.fit_counts(twice, along="n_tokens").pooled
    assert pooled is not None
    assert (pooled.rates, pooled.differ.seen, pooled.scatter.seen) == ("tied", False, False)
    assert pooled.growth.likelihood_ratio == pytest.approx(2 * one.likelihood_ratio, rel=1e-3)
    assert pooled.growth.p_value == pytest.approx(one.p_value, rel=1e-2)
    assert pooled.growth.interval == pytest.approx(one.interval, rel=1e-2)


def test_one_series_is_not_pooled() -> None:
    assert kleiber.fit_counts(table_of([0.2, 0.3, 0.45]), along="n_tokens").pooled is None


def test_a_regression_with_scatter_by_hand() -> None:
    y, ones = np.array([0.1, 0.4, 0.3, 0.6]), np.ones((4, 1))
    std = y.std(ddof=1)
    small = regress(y, 1e-4 * np.eye(4), ones)
    assert small == pytest.approx((0.35, std / 2, np.sqrt(std**2 - 1e-4), 3), rel=1e-4)
    large = regress(y, np.eye(4), ones)
    assert large == pytest.approx((0.35, 0.5, 0.0, 3))
    z = np.array([-1.5, -0.5, 0.5, 1.5])
    line = regress(y, 1e-6 * np.eye(4), np.column_stack([ones, z]))
    slope, error = stats.linregress(z, y)[0], stats.linregress(z, y).stderr
    assert line[:2] == pytest.approx((slope, error), rel=1e-3)


def test_a_checkpoint_without_successes_is_left_out_and_said() -> None:
    table = table_of([0.2, 0.25, 0.3, 0.4])
    first = pl.col("n_tokens") == table["n_tokens"][0]
    table = table.with_columns(successes=pl.when(first).then(0).otherwise("successes"))
    made = kleiber.fit_counts(table, along="n_tokens")
    assert len(made.trend.groups) == 3
    assert any("1 of 4 groups have no exponent, 1 of them because nothing was solved" in note
               for note in made.notes)  # fmt: skip


def test_ends_of_an_accepted_range() -> None:
    values = np.arange(5.0)
    assert accepted_range(values, np.array([1.0, -1.0, -2.0, -1.0, 3.0])) == (0.5, 3.25)
    assert accepted_range(values, np.array([-1.0, -1.0, -1.0, 1.0, 3.0])) == (0.0, 2.5)
    assert accepted_range(values, np.ones(5)) == (0.0, 0.0)
