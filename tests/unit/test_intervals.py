"""Percentiles of draws: Hazen's, with infinities in their place, at a level for small samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from kleiber.fitting.spread.intervals import check_level, percentile_interval, percentile_level


@pytest.mark.parametrize("count", [2, 3, 40, 999])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_percentiles_are_hazens(count: int, level: float) -> None:
    draws = np.random.default_rng(count).standard_normal((count, 3))
    low, high = percentile_interval(draws, level)
    ends = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0, method="hazen")
    np.testing.assert_allclose([low, high], ends, rtol=1e-14)


def test_infinite_draws_keep_their_place() -> None:
    """Also where a percentile falls between two of them, or between one and a number."""
    draws = np.concatenate([np.arange(90.0), np.full(10, np.inf)])
    for given, level, ends in (
        (draws, 0.9, (4.5, np.inf)),
        (-draws, 0.9, (-np.inf, -4.5)),
        (draws, 0.8, (9.5, np.inf)),
        (np.full(5, np.inf), 0.9, (np.inf, np.inf)),
    ):
        assert [float(end) for end in percentile_interval(given, level)] == pytest.approx(ends)


def test_unknown_draws_give_no_interval() -> None:
    assert np.isnan(percentile_interval(np.array([1.0, np.nan, 2.0]), 0.9)).all()
    assert np.isnan(percentile_interval(np.array([1.0]), 0.9)).all()
    assert np.isnan(percentile_interval(np.arange(9.0), math.nan)).all()


def test_levels_for_small_samples() -> None:
    """With many rows the level itself; wild draws at Student's quantile, of few degrees of freedom
    where few rows decide; expanded percentiles for resampled rows."""

    def quantile(level: np.ndarray) -> float:
        return float(stats.norm.ppf(0.5 + level / 2))

    assert percentile_level(0.95, 10**9, 5, wild=True) == pytest.approx(0.95, abs=1e-8)
    assert quantile(percentile_level(0.95, 30, 5, wild=True)) == pytest.approx(
        stats.t.ppf(0.975, 25)
    )
    few = percentile_level(0.95, 30, 5, wild=True, degrees_of_freedom=6.5)
    assert quantile(few) == pytest.approx(stats.t.ppf(0.975, 6.5))
    assert percentile_level(0.95, 30, 5, wild=True, degrees_of_freedom=80) == percentile_level(
        0.95, 30, 5, wild=True
    )
    expanded = quantile(percentile_level(0.95, 30, 5))
    assert expanded == pytest.approx(np.sqrt(30 / 25) * stats.t.ppf(0.975, 25))
    assert math.isnan(percentile_level(0.95, 5, 5))


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, -1.0])
def test_levels_that_are_none(level: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        check_level(level)


def test_where_the_loss_is_not_quadratic_levels_narrow_for_the_rows_passed_through() -> None:
    narrow = percentile_level(0.95, 30, 5, quadratic_share=0.0, interpolated_share=5 / 30)
    assert stats.norm.ppf(0.5 + narrow / 2) == pytest.approx(25 / 30 * stats.norm.ppf(0.975))
    assert percentile_level(
        0.95, 30, 5, quadratic_share=1.0, interpolated_share=5 / 30
    ) == percentile_level(0.95, 30, 5)
    assert percentile_level(
        0.95, 10**9, 5, quadratic_share=0.1, interpolated_share=5e-9
    ) == pytest.approx(0.95, abs=1e-7)
