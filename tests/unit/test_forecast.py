"""Forecasts of a run's least error from complete runs on fewer data and its own course."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import kleiber
from kleiber.errors import BadTable
from kleiber.systems.implicit_bias.forecast import NormForecast, forecast_from_norm

X = np.geomspace(1e-3, 30, 60)
SIZES = (100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0)


def curve(
    size: float, level: float = 1.0, upto: float = np.inf, noise: float = 0.0
) -> pl.DataFrame:
    """norm_opt = size, error_opt = level size^-0.4, a curve that is the same early."""
    rng = np.random.default_rng(int(size))
    error = level * size**-0.4 * (X**-0.4 + 2 * X**0.2) / 3 * np.exp(noise * rng.normal(size=60))
    frame = pl.DataFrame({"n_data": size, "norm": X * size, "error": error})
    return frame.filter(pl.col("norm") <= upto * size)


def known(noise: float = 0.0, sizes: tuple[float, ...] = SIZES[:5]) -> pl.DataFrame:
    return pl.concat([curve(size, noise=noise) for size in sizes])


def made(run: pl.DataFrame, complete: pl.DataFrame | None = None) -> NormForecast:
    return forecast_from_norm(known() if complete is None else complete, run)


@pytest.mark.parametrize("upto", [0.01, 0.3, 1.0, 10.0])
def test_exact_curves_are_forecast_exactly_from_anywhere(upto: float) -> None:
    found = made(curve(3200.0, upto=upto))
    assert found.error.value == pytest.approx(3200**-0.4, rel=1e-3)
    assert found.log10_norm.value == pytest.approx(np.log10(3200), abs=0.1)
    for name in ("power_law", "collapse"):
        assert found.forecasts[name].value == pytest.approx(3200**-0.4, rel=1e-2)


def test_the_status_follows_the_run() -> None:
    said = {upto: made(curve(3200.0, upto=upto)).status for upto in (0.004, 0.5, 25.0)}
    assert said == {0.004: "too_early", 0.5: "forecast", 25.0: "passed"}
    early = made(curve(3200.0, upto=0.004))
    assert early.weight == 0
    assert early.error.value == early.forecasts["power_law"].value
    assert "elbow" in early.reason
    assert 0 < early.reached < made(curve(3200.0, upto=0.5)).reached < 1.1


def test_where_runs_differ_in_level_the_runs_own_course_is_worth_more_than_the_trend() -> None:
    levels = (1.0, 1.1, 0.95, 1.08, 0.96)
    complete = pl.concat(
        [curve(size, level) for size, level in zip(SIZES[:5], levels, strict=True)]
    )
    found = made(curve(3200.0, level=0.9, upto=0.7), complete)
    truth = 0.9 * 3200**-0.4
    assert found.status == "forecast"
    assert found.weight > 0.8
    assert found.error.value == pytest.approx(truth, rel=0.02)
    assert found.forecasts["power_law"].value > 1.08 * truth


def test_what_was_seen_is_reported_after_the_optimum() -> None:
    found = made(curve(3200.0, level=0.8))
    assert found.status == "passed"
    assert found.error.value == pytest.approx(0.8 * 3200**-0.4, rel=1e-3)
    assert found.norm == pytest.approx(3200, rel=0.1)


def test_no_forecast_is_above_what_was_seen() -> None:
    run = curve(3200.0, level=0.5, upto=0.5)
    found = made(run)
    assert found.error.value <= run["error"].to_numpy().min()


def test_the_interval_holds_the_truth() -> None:
    held = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        parts = [curve(size, float(np.exp(0.02 * rng.normal())), noise=0.005) for size in SIZES[:5]]
        level = float(np.exp(0.02 * rng.normal()))
        found = made(curve(3200.0, level, upto=0.6, noise=0.005), pl.concat(parts))
        held.append(found.error.low <= level * 3200**-0.4 <= found.error.high)
        assert found.error.low < found.error.value < found.error.high
    assert np.mean(held) >= 0.9


def test_the_level_widens_the_interval() -> None:
    complete, run = known(0.01), curve(3200.0, upto=0.5)
    narrow = forecast_from_norm(complete, run, level=0.5).error
    wide = forecast_from_norm(complete, run, level=0.95).error
    assert wide.low < narrow.low < narrow.value == wide.value < narrow.high < wide.high


def test_the_unit_of_the_norm_and_the_order_of_rows_do_not_matter() -> None:
    complete, run = known(0.01), curve(3200.0, upto=0.5)
    scale = pl.col("norm") * 1e40
    mixed = complete.with_columns(scale).sample(fraction=1.0, shuffle=True, seed=3)
    scaled = forecast_from_norm(mixed, run.with_columns(scale))
    plain = forecast_from_norm(complete, run)
    assert scaled.error.value == pytest.approx(plain.error.value, rel=1e-9)
    assert scaled.log10_norm.value == pytest.approx(plain.log10_norm.value + 40, abs=1e-9)


def test_it_is_in_the_facade() -> None:
    assert kleiber.forecast_from_norm is forecast_from_norm
    assert kleiber.NormForecast is NormForecast


@pytest.mark.parametrize(
    ("complete", "run", "says"),
    [
        (
            known(sizes=SIZES[:2]),
            curve(3200.0),
            "at least 3 n_data other than the run's 3200, got 2",
        ),
        (known(sizes=SIZES[:3]), curve(400.0), "other than the run's 400, got 2"),
        (known(), pl.concat([curve(3200.0), curve(6400.0)]), "has one n_data, got 3200, 6400"),
        (known(), curve(3200.0).head(2), "at least 3 different norms; at n_data = 3200 one has 2"),
        (known(), curve(3200.0).drop("error"), "error"),
        (known(), curve(3200.0).head(0), "no rows"),
    ],
)
def test_bad_tables_are_refused_with_a_sentence(
    complete: pl.DataFrame, run: pl.DataFrame, says: str
) -> None:
    with pytest.raises(BadTable, match=says):
        forecast_from_norm(complete, run)


def test_the_largest_published_runs_are_forecast_within_their_intervals(
    data_path: Callable[[str], Path],
) -> None:
    table = pl.read_csv(data_path("norms/learning_curves.csv"))
    held: list[bool] = []
    for model in ("CNN", "ResNet", "ViT"):
        part = table.filter(pl.col("model") == model)
        largest = part["n_data"].max()
        run = part.filter(pl.col("n_data") == largest).sort("norm")
        best = int(np.argmin(run["error"].to_numpy()))
        least = float(run["error"][best])
        complete = part.filter(pl.col("n_data") < largest)
        for share in (0.5, 0.8, 1.0):
            found = forecast_from_norm(complete, run.head(max(3, int(share * best))))
            held.append(found.error.low < least < found.error.high)
            assert found.log10_norm.low < np.log10(run["norm"][best]) < found.log10_norm.high
            assert found.error.value == pytest.approx(least, rel=0.03)
    assert sum(held) >= 8
