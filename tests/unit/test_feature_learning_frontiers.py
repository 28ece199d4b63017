"""What the claims on frontiers and on long runs of circle nets read off planted runs."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from kleiber.claim import Context
from kleiber.experiment.counts import measure_net
from kleiber.systems.feature_learning.claims.circle import LAZY
from kleiber.systems.feature_learning.claims.long_circle import (
    BATCHES,
    LONG,
    SUPER_END,
    batch_exponent,
    late_beyond,
    late_exponent,
    late_slopes,
    long_spec,
    super_exponent,
    super_gain,
)
from kleiber.systems.feature_learning.claims.net_frontier import (
    BATCH,
    END,
    WIDTHS,
    best_width,
    computes,
    flops_of,
    frontier_slopes,
    frontier_specs,
    gain,
    width_growth,
    width_ratio,
    widths_apart,
    worth_of_width,
)


def planted_frontier(growth: float, fall: float, shift: float = 1.0) -> pl.DataFrame:
    """Runs of which N* = 90 shift (C/5e9)^growth, and the least loss falls as C^-fall."""
    compute = np.geomspace(1e8, END, 60)
    best = 90 * shift * (compute / 5e9) ** growth
    parts = [
        pl.DataFrame(
            {
                "width": width,
                "seed": seed,
                "step": np.arange(60),
                "flops": compute,
                "loss": (1 + 0.001 * seed)
                * compute**-fall
                * np.exp(0.1 * np.log(width / best) ** 2),
                "diverged": False,
            }
        )
        for width in WIDTHS
        for seed in range(3)
    ]
    return pl.concat(parts)


def test_frontiers_of_planted_runs() -> None:
    context = Context(scale="laptop")
    context.shared[f"net frontier {LAZY}"] = planted_frontier(0.2, 0.25)
    context.shared["net frontier 1.0"] = planted_frontier(0.3, 0.3, shift=2.0)
    assert gain(context).value == pytest.approx(0.05, abs=0.004)
    assert width_growth(LAZY)(context).value == pytest.approx(0.2, abs=0.01)
    assert width_growth(1.0)(context).value == pytest.approx(0.3, abs=0.01)
    compute = computes(context)
    middle = len(compute) // 2
    expected = 1 + 0.1 * np.log2(compute[middle] / 5e9)
    assert width_ratio(middle)(context).value == pytest.approx(expected, abs=0.02)
    assert frontier_slopes(context, LAZY)[1:].std() < 0.01
    apart = widths_apart(context)
    ends = 1 + 0.1 * np.log2(compute[-1] / 5e9)
    assert apart.value == pytest.approx(ends, abs=0.03)
    assert 0 < apart.low <= apart.value <= apart.high
    # 0.1 (log(64/N*)^2 - log(16/N*)^2) = 0.2 log(32/N*) log 4, so that wider is better with N*
    worth = -0.2 * np.log(2) * ends * np.log(4)
    assert worth_of_width(context).value == pytest.approx(worth, abs=0.01)


def test_a_best_width_at_the_end_of_the_range_is_that_end() -> None:
    assert best_width(np.arange(1.0, 7.0)) == WIDTHS[0]
    assert best_width(np.arange(6.0, 0.0, -1.0)) == WIDTHS[-1]


def test_every_width_of_a_frontier_has_the_same_compute() -> None:
    for richness in (LAZY, 1.0):
        specs = frontier_specs(Context(scale="laptop"), richness)
        for width, spec in zip(WIDTHS, specs, strict=True):
            counted = spec.steps * measure_net(spec.net, (2,), 1).step * BATCH
            assert computes(Context(scale="laptop"))[-1] < counted < 1.005 * END
            assert spec.steps * flops_of(width) == pytest.approx(END, rel=0.004)


def planted_long(spec_seeds: int, exponent: float, end: float, scale: float) -> pl.DataFrame:
    time = np.geomspace(1, end, 60)
    parts = [
        pl.DataFrame(
            {"seed": k, "time": time, "loss": scale * (1 + k / 100) * time**-exponent}
        ).with_columns(diverged=False)
        for k in range(spec_seeds)
    ]
    return pl.concat(parts)


def test_long_runs_are_compared_with_the_kernel_in_the_same_window() -> None:
    context = Context(scale="laptop")
    for decay, exponent in ((1.0, 0.66), (2.0, 1.42)):
        key = long_spec(context, decay, 1.0, 128, LONG, 4).key()
        context.shared[key] = planted_long(4, exponent, LONG, 0.1)
    hard, easy = late_exponent(1.0)(context), late_exponent(2.0)(context)
    assert hard.value == pytest.approx(0.66)
    assert hard.high - hard.low < 0.01
    kernel, model = late_slopes(2.0)
    assert easy.value == pytest.approx(1.42)
    assert easy.high == pytest.approx(1.42 + 1.5 - kernel, abs=0.01)
    beyond = late_beyond(2.0)(context)
    assert beyond.value == pytest.approx(1.42 - kernel)
    assert beyond.high - beyond.low == pytest.approx(abs(model - kernel), abs=0.01)


def test_super_easy_runs_fall_as_the_noise_of_batches() -> None:
    context = Context(scale="laptop")
    for batch in BATCHES:
        for richness, exponent in ((LAZY, 1.5), (1.0, 1.45)):
            spec = long_spec(context, 3.0, richness, batch, SUPER_END, 8)
            context.shared[spec.key()] = planted_long(8, exponent, SUPER_END, 1 / batch**0.9)
    assert super_exponent(LAZY)(context).value == pytest.approx(1.5)
    assert super_gain(context).value == pytest.approx(-0.05)
    assert batch_exponent(1.0)(context).value == pytest.approx(0.9)
