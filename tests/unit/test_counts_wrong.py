"""Counts that a law cannot answer, or answers wrongly: what it then says."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import integrate, stats

import kleiber
from kleiber.attempts.batch import pack
from kleiber.attempts.beta import beta_binomial
from kleiber.attempts.fit import FAMILIES
from kleiber.attempts.misfit import CLOSED_FORM, chi_squared_of_successes
from kleiber.attempts.mixtures import kumaraswamy, scaled_beta
from kleiber.attempts.newton import maximise
from kleiber.attempts.table import read_counts
from kleiber.errors import BadTable

ASKED = [*((name, None) for name in FAMILIES), ("beta_binomial", "straight")]


def counted(attempts: Any, successes: Any, **columns: Any) -> pl.DataFrame:
    successes = np.asarray(successes)
    attempts = np.broadcast_to(attempts, successes.shape)
    problems = np.arange(len(successes))
    return pl.DataFrame(
        {"problem": problems, "attempts": attempts, "successes": successes, **columns}
    )


ONE_EACH = counted(1, [1] * 50 + [0] * 114)
EQUAL = counted(20, np.random.default_rng(8).binomial(20, 0.3, 80))


@pytest.mark.parametrize(("family", "prior"), ASKED)
def test_one_attempt_a_problem_identifies_pass_at_1_alone(family: str, prior: str | None) -> None:
    made = kleiber.fit_counts(ONE_EACH, family=family, prior=prior)
    assert made.status == "too_few_attempts"
    assert "pass@1 alone" in made.reason
    assert not made.usable
    rates = made.pass_at([1, 10])
    assert rates.value[0] == pytest.approx(50 / 164)
    ends = stats.binomtest(50, 164).proportion_ci()
    assert (rates.low[0], rates.high[0]) == pytest.approx((ends.low, ends.high), abs=2e-3)
    assert np.isnan([rates.value[1], rates.low[1], rates.high[1]]).all()
    assert "anything from 0.305 to 0.974" in rates.reasons[1]
    assert np.isnan(made.params[made.family.exponent])


def test_two_attempts_a_problem_are_too_few_for_three_parameters() -> None:
    table = counted(2, [0] * 30 + [1] * 20 + [2] * 10)
    made = kleiber.fit_counts(table, family="zero_inflated")
    assert made.status == "too_few_attempts"
    assert "take a family with fewer parameters" in made.reason
    assert made.pass_at([1, 2]).value == pytest.approx([1 / 3, 0.5])
    assert "from 0.5 to 0.969" in made.pass_at(10).reasons
    assert kleiber.fit_counts(table).usable


def test_a_few_longer_rows_do_not_identify_a_law() -> None:
    some = counted([1] * 98 + [2, 2], [1] * 40 + [0] * 58 + [1, 0])
    assert kleiber.fit_counts(some).status == "too_few_attempts"


def test_attempts_that_stopped_identify_as_many_as_were_allowed() -> None:
    rng = np.random.default_rng(0)
    first = rng.geometric(rng.beta(2, 2, 60))
    table = counted(np.minimum(first, 9), (first <= 9).astype(int))
    made = kleiber.fit_counts(table, stopped=True)
    assert made.status in ("converged", "flat")
    unsaid = kleiber.fit_counts(table)
    assert unsaid.params == made.params
    assert any("as when they stop on success" in note for note in unsaid.notes)
    assert kleiber.fit_counts(table, stopped=False).notes == ()


@pytest.mark.parametrize(("family", "prior"), ASKED)
@pytest.mark.long
def test_equal_problems_are_found_by_every_family(family: str, prior: str | None) -> None:
    made = kleiber.fit_counts(EQUAL, family=family, prior=prior)
    mean = float(np.mean(EQUAL["successes"].to_numpy())) / 20
    assert made.usable
    rates = made.pass_at([1, 10])
    assert rates.value == pytest.approx([mean, 1 - (1 - mean) ** 10], abs=4e-3)
    assert rates.low[1] < 1 - 0.7**10 < rates.high[1]
    assert "Every parameter" not in made.reason
    assert made.interval(made.family.exponent).high > 20 * 1.0


@pytest.mark.parametrize(
    "family",
    [
        name if name in CLOSED_FORM else pytest.param(name, marks=pytest.mark.slow)
        for name in FAMILIES
    ],
)
def test_pass_rates_are_shares_that_grow_for_any_table(family: str) -> None:
    rng = np.random.default_rng(5)
    k = np.unique(np.geomspace(1, 1e7, 25).round())
    kinds = (np.full(30, 0.4), rng.beta(0.2, 0.2, 30), rng.beta(500, 1, 30), np.arange(30) % 2,
             10 ** rng.uniform(-8, 0, 30))  # fmt: skip
    for n, p in zip((40, 5, 20, 3, 100), kinds, strict=True):
        made = kleiber.fit_counts(counted(n, rng.binomial(n, p)), family=family)
        rates = made.pass_at(k)
        known = np.isfinite(rates.value)
        assert known.all() == made.usable
        value, low, high = (np.asarray(x)[known] for x in (rates.value, rates.low, rates.high))
        assert ((value >= 0) & (value <= 1)).all()
        assert (np.diff(value) >= -1e-9).all()
        spanned = np.isfinite(low)
        assert ((low <= value + 1e-9) & (value <= high + 1e-9))[spanned].all()
        assert ((low >= 0) & (high <= 1))[spanned].all()
        assert all(np.asarray(rates.reasons)[known][~spanned])


def test_a_law_that_misses_the_unbiased_rate_has_failed() -> None:
    rng = np.random.default_rng(2)
    p = np.where(rng.random(300) < 0.35, 1.0, rng.beta(0.2, 8, 300))
    made = kleiber.fit_counts(counted(10_000, rng.binomial(10_000, p)))
    assert made.status == "failed"
    assert "standard errors from the unbiased" in made.reason
    assert made.broken
    assert np.isnan(made.pass_at(1).value)
    assert made.reason == made.pass_at(1).reasons


def test_a_family_that_misfits_names_a_better_one() -> None:
    rng = np.random.default_rng(4)
    p = rng.beta(6, 1.2, 500) * (rng.random(500) > 0.2)
    table = counted(20, rng.binomial(20, p))
    made = kleiber.fit_counts(table)
    right = kleiber.fit_counts(table, family="zero_inflated")
    assert made.misfit.better == "zero_inflated"
    gain = right.peak.value[0] - made.peak.value[0]
    assert made.misfit.gain == pytest.approx(gain)
    assert gain > 15
    assert made.misfit.aic == pytest.approx(4 - 2 * made.peak.value[0])
    assert made.misfit.p_value < 1e-6
    assert any("--family zero_inflated" in note for note in made.notes)
    assert right.misfit.better is None
    assert right.misfit.p_value > 0.01
    assert not any("describe" in note or "distributed" in note for note in right.notes)


def test_successes_that_no_family_explains_are_noted() -> None:
    p = np.repeat([0.3, 0.9], 200)  # two kinds of problems
    made = kleiber.fit_counts(counted(50, np.random.default_rng(1).binomial(50, p)))
    assert made.misfit.p_value < 1e-6
    assert any("distributed as beta_binomial" in n or "--family" in n for n in made.notes)


@pytest.mark.parametrize("thinned", [False, True])
@pytest.mark.long
def test_the_test_of_successes_is_quiet_under_the_truth(thinned: bool) -> None:
    rng = np.random.default_rng(3)
    values: list[float] = []
    for _ in range(60):
        n = rng.integers(30, 90, 150) if thinned else np.full(150, 30)
        counts = read_counts(counted(n, rng.binomial(n, rng.beta(0.7, 3, 150))))
        u = np.log([0.7, 3 / 0.7])
        values.append(chi_squared_of_successes(FAMILIES["beta_binomial"], u, counts, 0)[2])
    assert np.mean(np.array(values) < 0.05) < 0.15
    assert 0.3 < np.median(values) < (1.0 if thinned else 0.7)


def test_a_prior_that_pulls_says_so() -> None:
    rng = np.random.default_rng(6)
    table = counted(40, rng.binomial(40, rng.beta(30, 60, 100)))
    made = kleiber.fit_counts(table, prior="straight")
    unbiased = table["successes"].mean() / 40  # type: ignore[operator]
    assert made.pass_at(1).value == pytest.approx(unbiased, abs=0.01)
    calm = kleiber.fit_counts(counted(300, rng.binomial(300, rng.beta(0.3, 10, 300))),
                              prior="straight")  # fmt: skip
    assert not any("pulls" in note for note in calm.notes)


def test_a_single_problem_with_many_attempts_is_doubted() -> None:
    with pytest.raises(BadTable, match=r"164 attempts at one problem.*a row of its own"):
        kleiber.fit_counts(counted(164, [50]))


@pytest.mark.parametrize(
    ("a", "b"), [(2.0, 9.0), (8.6, 8.6), (9.5, 9.5), (80.0, 300.0), (1e5, 3e5)]
)
def test_a_scale_of_one_is_the_beta_binomial_law_however_narrow(a: float, b: float) -> None:
    rng = np.random.default_rng(0)
    batch = pack(read_counts(counted(40, rng.binomial(40, rng.beta(a, b, 6)))))
    family = scaled_beta(batch.pairs)
    u = np.array([[np.log(a), np.log(b / a), family.high[2]]])
    exact = beta_binomial.value(u[:, :2], batch)[0]
    assert family.value(u, batch)[0] == pytest.approx(exact, abs=1e-3)
    k = np.array([1.0, 10.0, 300.0])
    np.testing.assert_allclose(
        np.exp(family.log_failure(u, k)), np.exp(beta_binomial.log_failure(u[:, :2], k)),
        rtol=2e-3, atol=1e-9,
    )  # fmt: skip


@pytest.mark.parametrize("a", [0.4, 3.0, 5.0, 40.0])
def test_kumaraswamys_law_is_the_integral_however_narrow(a: float) -> None:
    batch = pack(read_counts(counted(30, [4, 9, 20])))
    log_b = 1.1 * a

    def likely(c: int) -> float:
        def inside(t: float) -> float:
            x = (-np.expm1(-t * np.exp(-log_b))) ** (1 / a)
            return float(x**c * (1 - x) ** (30 - c) * np.exp(-t))

        return (
            integrate.quad(inside, 0, 1, epsabs=0)[0] + integrate.quad(inside, 1, 60, epsabs=0)[0]
        )

    exact = sum(np.log(likely(c)) for c in (4, 9, 20))
    family = kumaraswamy(batch.pairs)
    assert family.value(np.array([[np.log(a), 1.1]]), batch)[0] == pytest.approx(exact, abs=2e-3)


def test_huge_attempts_are_fitted_in_bounded_memory() -> None:
    rng = np.random.default_rng(0)
    p = rng.beta(0.5, 2, 40)
    batch = pack(read_counts(counted(10**9, rng.binomial(10**9, p))))
    exact = maximise(beta_binomial, batch)
    family = kumaraswamy(batch.pairs)
    near = maximise(family, batch)
    assert near.converged.all()
    assert family.log_failure(near.u, np.ones(1))[0, 0] == pytest.approx(
        beta_binomial.log_failure(exact.u, np.ones(1))[0, 0], abs=0.05
    )
