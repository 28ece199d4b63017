"""What a forecast is held to: errors and coverage on public data, and on planted laws."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import kleiber
from kleiber.data.runs import load_runs

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")
COLUMNS = ("n_params", "n_tokens")


@pytest.fixture
def load(
    data_path: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], pl.DataFrame]:
    def read(name: str) -> pl.DataFrame:
        monkeypatch.setenv("KLEIBER_DATA", str(data_path(f"runs/{name}.csv").parents[1]))
        return load_runs(name)

    return read


def test_learning_curves(load: Callable[[str], pl.DataFrame]) -> None:
    """Mean error at most .0150 over 36 curves (published M4: .0230), none above .12."""
    table = load("learning_curves_vision")
    groups = ("task", "model")
    known = table.filter("fitted").unique([*groups, "n_data"], keep="last", maintain_order=True)
    told = kleiber.forecast(
        known, table.filter(~pl.col("fitted")), x="n_data", target="error", group=groups
    ).table
    each = (
        told.with_columns(
            square=(pl.col("predicted") / pl.col("error")).log() ** 2,
            inside=pl.col("error").is_between("low", "high"),
        )
        .group_by(groups)
        .agg(pl.col("square").mean().sqrt(), pl.col("inside").mean())
    )
    assert len(each) == 36
    assert each["square"].mean() <= 0.0150
    assert each["square"].max() <= 0.12
    assert 0.90 <= each["inside"].mean() <= 0.98


@pytest.mark.parametrize(("cut", "most"), [(20, 0.0156), (100, 0.0187)])
def test_chinchilla(load: Callable[[str], pl.DataFrame], cut: float, most: float) -> None:
    """No worse than the best single law on the same split, beyond the data."""
    table = load("chinchilla_epoch").filter("epoch_kept")
    compute = pl.col("n_params") * pl.col("n_tokens")
    known = table.filter(compute <= compute.max() / cut)
    told = kleiber.forecast(known, table.filter(compute > compute.max() / 5), x=COLUMNS).table
    error = np.log(told["predicted"] / told["loss"]).to_numpy()
    assert np.sqrt(np.mean(error**2)) <= most
    assert told.select((pl.col("loss").is_between("low", "high")).mean()).item() >= 0.9


@pytest.mark.slow
def test_planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """95% intervals hold 90 to 99.9% of new measurements of laws, some of which no family has."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    sys.modules.pop("forecast", None)
    import forecast as benchmark  # pyright: ignore[reportMissingImports]
    from forecast_planted import (  # pyright: ignore[reportMissingImports]
        planted_curves,
        planted_tables,
    )

    for items, most in ((planted_tables(20, 4), 0.02), (planted_curves(4), 0.07)):
        found = [benchmark.by_forecast(item) for item in items]
        assert np.mean([np.sqrt(np.mean(error**2)) for error, _ in found]) <= most
        assert 0.90 <= np.mean([told[0] for _, told in found]) <= 0.999
