"""Counts against what others computed: Brown et al.'s data, SciPy's beta-binomial, mpmath."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import polars as pl
import pytest
from scipy import stats

import kleiber
from kleiber.attempts.batch import pack
from kleiber.attempts.beta import beta_binomial
from kleiber.attempts.counts import pass_at_k
from kleiber.attempts.gamma import digamma_rising, log_rising, trigamma_rising
from kleiber.attempts.mixtures import kumaraswamy, scaled_beta
from kleiber.attempts.table import read_counts

# model -> pass@1, pass@78 (what is listed as pass@100), pass@10k, never solved, a, s.e. of log a, b
TABLE = {
    "Pythia 70M": (0.00065, 0.031, 0.266, 94, 0.065, 0.20, 100),
    "Pythia 160M": (0.00267, 0.137, 0.570, 55, 0.176, 0.14, 65.5),
    "Pythia 410M": (0.00622, 0.201, 0.656, 44, 0.181, 0.13, 28.8),
    "Pythia 1B": (0.00833, 0.244, 0.742, 33, 0.216, 0.12, 25.5),
    "Pythia 2.8B": (0.02031, 0.387, 0.812, 24, 0.246, 0.11, 11.7),
    "Pythia 6.9B": (0.01856, 0.394, 0.836, 21, 0.270, 0.11, 14.2),
    "Pythia 12B": (0.02319, 0.445, 0.875, 16, 0.296, 0.11, 12.4),
}


@pytest.fixture(scope="module")
def pythia(data_path: Callable[[str], Path]) -> pl.DataFrame:
    table = pl.read_csv(data_path("passk/pythia_math_n10000.csv"))
    return table.rename({"n": "attempts", "c": "successes"})


def test_the_published_scores_are_reproduced(pythia: pl.DataFrame) -> None:
    one = pass_at_k(pythia.filter(pl.col("model") == "Pythia 1B"), [10, 1000])["pass_at_k"]
    np.testing.assert_allclose(one, [0.0664639, 0.5461923], atol=5e-8)


def test_the_table_of_unbiased_rates(pythia: pl.DataFrame) -> None:
    made = pass_at_k(pythia, [1, 78, 10000], draws=2)
    for model, wanted in TABLE.items():
        rates = made.filter(pl.col("model") == model)["pass_at_k"].to_list()
        assert rates[0] == pytest.approx(wanted[0], abs=6e-6)
        assert rates[1:] == pytest.approx(wanted[1:3], abs=1.01e-3)


def test_the_scale_of_a_scaled_beta_law_is_found(pythia: pl.DataFrame) -> None:
    """Linear sharing between bins leaves the gradient at the maximum slightly off zero."""
    made = kleiber.fit_counts(pythia, family="scaled_beta")
    assert made.status["Pythia 160M"] == "flat"  # b, which trades off with the scale, is open
    assert made.params["scale"]["Pythia 160M"] == pytest.approx(0.0656, abs=2e-4)
    assert made.peak.iterations < 30


def test_the_table_of_beta_binomial_fits(pythia: pl.DataFrame) -> None:
    made = kleiber.fit_counts(pythia)
    ends = made.interval("a")
    for g, model in enumerate(made.groups):
        *_, never, a, error, b = TABLE[model]
        assert made.batch.problems[g] - made.batch.solved[g] == never
        assert made.params["a"][model] == pytest.approx(a, abs=1e-3)
        assert made.params["b"][model] == pytest.approx(b, rel=5e-3)
        width = np.log(ends[model].high / ends[model].low) / 3.95
        assert width == pytest.approx(error, abs=0.012)


def test_exponents_grow_with_size(pythia: pl.DataFrame) -> None:
    scale = {"M": 1e6, "B": 1e9}
    size = {m: float(m.split()[1][:-1]) * scale[m[-1]] for m in TABLE}
    table = pythia.with_columns(n_params=pl.col("model").replace_strict(size))
    trend = kleiber.fit_counts(table, along="n_params").trend
    assert trend.growth.supported
    assert trend.growth.interval.low > 0.05
    assert trend.scatter.seen
    assert trend.curves["saturating"].aicc < trend.curves["constant"].aicc


def test_the_likelihood_is_scipys() -> None:
    rng = np.random.default_rng(0)
    n, c = np.array([30, 50, 1000, 7]), np.array([0, 7, 1000, 3])
    counts = read_counts({"problem": np.arange(4), "attempts": n, "successes": c})
    batch = pack(counts)
    for _ in range(10):
        a, b = np.exp(rng.uniform(-3, 3, 2))
        ours = beta_binomial.value(np.log([[a, b / a]]), batch)[0]
        theirs = stats.betabinom.logpmf(c, n, a, b) - stats.binom.logpmf(c, n, 0.5)
        theirs = float(np.sum(theirs)) - float((n * np.log(2)).sum())
        assert ours == pytest.approx(theirs, rel=1e-10)


def test_failure_is_the_beta_integral() -> None:
    with mpmath.workdps(30):
        for a, b, k in ((0.3, 10, 1e3), (2.5, 0.4, 1e15), (1e-3, 1e8, 1e6)):
            wanted = mpmath.log(mpmath.beta(a, mpmath.mpf(b) + k) / mpmath.beta(a, b))
            got = beta_binomial.log_failure(np.log([[a, b / a]]), np.array([k]))[0, 0]
            assert got == pytest.approx(float(wanted), rel=1e-10, abs=1e-14)


@pytest.mark.parametrize(("x", "m"), [(1e12, 1), (1e8, 1e4), (0.3, 1e4), (70, 1e-3), (1e5, -3e4),
                                      (63.9, 1e8), (1e15, 0.3), (64, 1)])  # fmt: skip
def test_rising_differences(x: float, m: float) -> None:
    at, by = np.array(float(x)), np.array(float(m))
    with mpmath.workdps(40):
        X, M = mpmath.mpf(x), mpmath.mpf(m)
        log = mpmath.loggamma(X + M) - mpmath.loggamma(X)
        first = mpmath.digamma(X + M) - mpmath.digamma(X)
        second = mpmath.polygamma(1, X + M) - mpmath.polygamma(1, X)
    assert float(log_rising(at, by)) == pytest.approx(float(log), rel=1e-14)
    assert float(digamma_rising(at, by)) == pytest.approx(float(first), rel=1e-12)
    assert float(trigamma_rising(at, by)) == pytest.approx(float(second), rel=1e-12)


def test_quadrature_families_against_adaptive_integrals() -> None:
    counts = {"problem": [1, 2, 3], "attempts": [40, 40, 40], "successes": [0, 3, 20]}
    batch = pack(read_counts(counts))
    with mpmath.workdps(20):
        a, b, s = 0.4, 5.5, 0.7

        def kuma(c: int) -> Any:  # in t = p**a
            return mpmath.quad(
                lambda t: b * (1 - t) ** (b - 1) * t ** (c / a) * (1 - t ** (1 / a)) ** (40 - c),
                [0, 0.2, 0.6, 1],
            )

        def scaled(c: int) -> Any:
            inside = mpmath.quad(
                lambda t: (s * t ** (1 / a)) ** c * (1 - s * t ** (1 / a)) ** (40 - c)
                * (1 - t ** (1 / a)) ** (b - 1) / a, [0, 0.2, 0.6, 1],
            )  # fmt: skip
            return inside / mpmath.beta(a, b)

        wanted = [float(sum(mpmath.log(f(c)) for c in (0, 3, 20))) for f in (kuma, scaled)]
    one = kumaraswamy(batch.pairs).value(np.array([[np.log(a), np.log(b) / a]]), batch)[0]
    two = scaled_beta(batch.pairs).value(
        np.array([[np.log(a), np.log(b / a), np.log(7 / 3)]]), batch
    )
    assert one == pytest.approx(wanted[0], abs=2e-3)
    assert two[0] == pytest.approx(wanted[1], abs=2e-3)
