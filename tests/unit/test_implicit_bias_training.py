"""What the claims on networks compute, from made learning curves that obey both laws exactly."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest

from kleiber.claim import Context
from kleiber.systems.implicit_bias.claims import training
from kleiber.systems.implicit_bias.claims.networks import PUBLISHED, STATEMENTS
from kleiber.systems.implicit_bias.claims.sweep import MEASURED

CASE = "ResNet MNIST"


def made_curves(seeds: int = 3) -> pl.DataFrame:
    """error = P^-0.4 Phi(norm/P), Phi falling as x^-0.4 up to x = 0.3, least at 1; one run that
    never learns, one in which the norm falls once; augmented errors are 1.2 times the others."""
    x = np.geomspace(1e-3, 3, 60)
    shape = (1 + (x / 0.3) ** 2) ** 0.2 * x**-0.4 * (1 + 0.15 * np.log(np.maximum(x, 0.7) / 0.7))
    rows: list[pl.DataFrame] = []
    for n_data in (200, 400, 800, 1600):
        for seed in range(seeds):
            norm, error = np.log(x * n_data), 0.8 * (n_data / 200) ** -0.4 * shape / shape.max()
            if (n_data, seed) == (400, 1):
                error = np.full_like(error, 0.9)
            if (n_data, seed) == (800, 2):
                norm[5] = norm[4] - 0.01
            columns: dict[str, Any] = {"error": error, "error_augmented": 1.2 * error}
            columns |= dict.fromkeys(MEASURED, norm)
            frame = pl.DataFrame({"step": np.arange(60), **columns})
            labels = {"model": "ResNet", "dataset": "MNIST", "n_data": n_data, "seed": seed}
            rows.append(frame.with_columns(**{k: pl.lit(v) for k, v in labels.items()}))
    return pl.concat(rows)


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setattr(training, "learning_curves", lambda *_: made_curves())
    return Context(scale="laptop")


def test_exponents_collapse_and_spread_of_exact_curves(context: Context) -> None:
    found = training.collapse_of(context, CASE, training.TEXTBOOK)
    assert found.estimates["gamma_2"].value == pytest.approx(1.0, abs=0.02)
    assert found.estimates["gamma_measured"].value == pytest.approx(0.4, abs=0.02)
    assert training.collapse_of(context, CASE, training.TEXTBOOK) is found
    assert training.collapse_spread(found) < 0.01
    assert training.spread(CASE, "collapse")(context).value < 0.01
    ratio = training.combined(CASE)(context)
    assert ratio.value == pytest.approx(1.0, abs=0.1)
    assert ratio.low < ratio.value < ratio.high
    assert training.exponent(CASE, "gamma_2", MEASURED[0], "robust")(context).value > 0.9


def test_curves_that_do_not_collapse_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = 1 + 1.0 * (pl.col("n_data").log() - math.log(200))
    bent = made_curves().with_columns(error=pl.col("error") ** rates)
    monkeypatch.setattr(training, "learning_curves", lambda *_: bent)
    context = Context(scale="laptop")
    found = training.collapse_of(context, CASE, training.TEXTBOOK)
    assert training.collapse_spread(found) > 0.1


def test_runs_that_never_learn_are_left_out(context: Context) -> None:
    kept = training.curves_of(context, CASE, training.TEXTBOOK)
    assert kept.select("n_data", "seed").unique().height == 11
    share = training.falls(CASE)(context)
    assert share.value == pytest.approx(1 / (11 * 59))


def test_augmented_errors_over_plain_ones(context: Context) -> None:
    assert training.augmented_gap(CASE)(context).value == pytest.approx(1.2)
    assert training.augmented_exponent(CASE)(context).value == pytest.approx(0.0, abs=1e-9)


def test_claims_are_on_every_case_and_say_where() -> None:
    for case in PUBLISHED:
        mine = [claim for claim in STATEMENTS if claim.says.startswith(f"{case}:")]
        assert len(mine) >= 8
        assert all(claim.scale == "laptop" and claim.needs for claim in mine)
