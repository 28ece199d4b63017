"""What the claims on circle networks read off their runs."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from kleiber.claim import Context
from kleiber.systems.feature_learning.claims.circle import (
    LAZY,
    circle_spec,
    early_beyond,
    early_exponent,
    early_over_lazy,
    half_times,
    kernel_exponent,
    kernel_loss,
    model_loss,
    over_seeds,
    rich_exponent,
    source,
    time_exponents,
)
from kleiber.systems.feature_learning.claims.images import image_spec, slopes


def planted() -> pl.DataFrame:
    """Two seeds with exponents 0.5 and 0.7; mode 4 is half learned at t = 4."""
    time = np.geomspace(1, 100, 41)
    parts = [
        pl.DataFrame(
            {
                "seed": seed,
                "step": np.arange(41),
                "time": time,
                "kernel_time": time / 10,
                "loss": time**-power,
                "residual_4": 1 / (1 + time / 4),
                "residual_64": np.ones(41),
                "diverged": False,
            }
        )
        for seed, power in ((0, 0.5), (1, 0.7))
    ]
    return pl.concat(parts).sample(fraction=1, shuffle=True, seed=0)


def test_exponents_are_slopes_of_each_seed() -> None:
    np.testing.assert_allclose(time_exponents(planted(), 10.0), [0.5, 0.7])
    np.testing.assert_allclose(slopes(planted(), (1.0, 5.0)), [0.5, 0.7])


def test_half_times_are_interpolated() -> None:
    found = half_times(planted(), (4, 64))
    np.testing.assert_allclose(found[:, 0], 4.0, rtol=0.01)
    assert np.isnan(found[:, 1]).all()


def test_intervals_are_students() -> None:
    found = over_seeds([1.0, 2.0, 3.0])
    assert found.value == 2.0
    assert found.high - found.value == pytest.approx(4.302653 * found.stderr)
    with pytest.raises(ValueError, match="needs two or more seeds"):
        over_seeds([1.0])


def test_the_kernel_and_the_model_begin_with_the_whole_target() -> None:
    whole = 0.25 * np.sum(np.arange(1, 1024) ** -2.0)
    start = np.array([1e-9])
    assert kernel_loss(start, 1.0, points=2048)[0] == pytest.approx(whole)
    assert model_loss(start, 1.0, points=2048)[0] == pytest.approx(whole, rel=1e-6)
    late = np.array([100.0])
    lazy = model_loss(late, 1.0, richness=0.0, points=2048)
    assert lazy[0] == pytest.approx(kernel_loss(late, 1.0, points=2048)[0], rel=1e-4)
    assert model_loss(late, 1.0, richness=1.0, points=2048)[0] < 0.6 * lazy[0]


def test_the_kernel_reaches_its_exponent_late() -> None:
    assert kernel_exponent(1.0, 1e3, 1e5) == pytest.approx(0.5, abs=0.01)
    assert kernel_exponent(1.0, 10, 200) == pytest.approx(0.424, abs=0.002)


def runs_of(losses: dict[float, np.ndarray], time: np.ndarray) -> Context:
    """A context in which the nets of an easy task have losses by richness, two seeds of each."""
    context = Context()
    for richness, loss in losses.items():
        parts = [
            pl.DataFrame({"seed": seed, "time": time, "loss": loss * (1 + seed / 100)})
            for seed in (0, 1)
        ]
        table = pl.concat(parts).with_columns(diverged=False)
        context.shared[circle_spec(context, 2.0, richness=richness).key()] = table
    return context


def test_what_a_finite_window_changes_is_in_the_interval() -> None:
    """Nets that do exactly what the model does: their easy task is no faster in the limit."""
    time = np.geomspace(1, 100, 30)
    kernel, model = (model_loss(time, 2.0, gamma, points=2048) for gamma in (0.0, 1.0))
    context = runs_of({1.0: model, LAZY: kernel * time**0.1}, time)
    found = early_exponent(2.0)(context)
    assert found.value < 1.35
    assert found.high > found.value + 0.2  # what the kernel lacks to its limit, 1.5
    assert found.low == pytest.approx(found.value)
    beyond = early_beyond(2.0)(context)
    assert beyond.value > 0.1
    assert beyond.low == pytest.approx(0.0, abs=0.02)
    over = early_over_lazy(2.0)(context)
    assert over.value == pytest.approx(beyond.value + 0.1, abs=0.02)
    assert over.low == pytest.approx(0.0, abs=0.03)


def test_sources_and_predictions() -> None:
    assert source(1.0) == 0.5
    assert source(1.5, "relu_squared") == 0.5
    assert rich_exponent(0.5) == pytest.approx(2 / 3)
    assert rich_exponent(1.5) == 1.5


def test_runs_are_named_by_what_they_compute() -> None:
    quick, laptop = Context(), Context(scale="laptop")
    assert circle_spec(quick, 1.0).key() != circle_spec(laptop, 1.0).key()
    assert circle_spec(laptop, 1.0, seeds=3, skip=3).seeds == (3, 4, 5)
    lazy = circle_spec(laptop, 1.0, richness=LAZY)
    assert lazy.dtype == "float64"
    assert lazy.steps < circle_spec(laptop, 1.0).steps
    images = image_spec(laptop, "mnist", 1.0)
    assert images.steps * 16 == images.task.n_data  # one pass
