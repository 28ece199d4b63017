"""Counts for any table: the estimator's mean, bounds, and what no change of order may change."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import kleiber
from kleiber.attempts.beta import beta_binomial, zero_inflated
from kleiber.attempts.counts import pass_at_k
from kleiber.attempts.errors import failure_of
from kleiber.attempts.gamma import digamma_rising, log_rising, trigamma_rising


@given(n=st.integers(1, 60), share=st.floats(0, 1), p=st.floats(1e-6, 1))
def test_the_estimate_is_unbiased(n: int, share: float, p: float) -> None:
    k = max(1, round(share * n))
    c = np.arange(n + 1.0)
    mean = (stats.binom.pmf(c, n, p) * failure_of(float(n) + 0 * c, c, k + 0 * c)).sum()
    assert abs(mean - (1 - p) ** k) <= 1e-12


@given(n=st.integers(1, 10**6), c=st.floats(0, 1), k=st.floats(0, 1))
def test_failure_is_a_probability_that_falls_with_attempts_and_successes(
    n: int, c: float, k: float
) -> None:
    wins, tries = round(c * n), max(1, round(k * n))

    def at(c: int, k: int) -> float:
        return float(failure_of(np.array(float(n)), np.array(float(c)), np.array(float(k))))

    here = at(wins, tries)
    assert 0 <= here <= 1
    assert wins == n or at(wins + 1, tries) <= here + 1e-15
    assert tries == n or at(wins, tries + 1) <= here + 1e-15


@given(x=st.floats(1e-3, 1e12), m=st.floats(0, 1e6))
def test_rising_differences_have_the_right_sign_and_slope(x: float, m: float) -> None:
    a = np.array(x)
    by = np.array(m)
    assert digamma_rising(a, by) >= 0
    assert trigamma_rising(a, by) <= 0
    two = log_rising(a, by) + log_rising(np.array(x + m), np.array(1.0))
    whole = log_rising(a, np.array(m + 1))
    assert abs(two - whole) <= 1e-12 * (1 + abs(whole))


@given(u=st.tuples(st.floats(-4, 3), st.floats(-3, 12)), t=st.floats(-6, 6))
def test_laws_of_failure_fall_from_one(u: tuple[float, float], t: float) -> None:
    k = np.concatenate([[0.0], np.geomspace(1, 1e15, 60)])
    for family, v in ((beta_binomial, [u]), (zero_inflated, [(*u, t)])):
        log = family.log_failure(np.array(v), k)[0]
        assert abs(log[0]) < 1e-12
        assert (np.diff(log) <= 1e-12).all()


@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_order_and_names_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = pl.DataFrame(
        {
            "problem": np.arange(40),
            "attempts": rng.integers(20, 60, 40),
            "successes": rng.binomial(20, rng.beta(0.6, 4, 40)),
        }
    )
    shuffled = table[rng.permutation(40)].with_columns(
        pl.format("name {}", "problem").alias("problem")
    )
    one, two = kleiber.fit_counts(table), kleiber.fit_counts(shuffled)
    np.testing.assert_allclose(two.params["a"], one.params["a"], rtol=1e-6)
    first, second = pass_at_k(table, 5, draws=2), pass_at_k(shuffled, 5, draws=2)
    np.testing.assert_allclose(first["failure"], second["failure"], rtol=1e-12)


@settings(max_examples=10)
@given(a=st.floats(0.15, 2), m=st.floats(1, 4), seed=st.integers(0, 10**6))
def test_the_maximum_is_one(a: float, m: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    successes = rng.binomial(100, rng.beta(a, a * np.exp(m), 60))
    made = kleiber.fit_counts(
        {"problem": np.arange(60), "attempts": np.full(60, 100), "successes": successes}
    )
    if not made.usable:
        return
    near = made.peak.u[0] + rng.normal(0, 0.3, (50, 2))
    values = beta_binomial.value(near, made.batch.take(np.zeros(50, int)))
    assert values.max() <= made.peak.value[0] + 1e-7
