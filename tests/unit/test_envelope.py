"""Compute envelopes on planted curves."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from kleiber.errors import BadTable
from kleiber.systems.feature_learning.envelope import envelope, envelope_exponents

ALPHA, BETA = 0.5, 0.3  # L = N^-ALPHA + T^-BETA at C = N T


def planted(sizes: list[int], seeds: int = 1, noise: float = 0.0, seed: int = 0) -> pl.DataFrame:
    """Curves of a Chinchilla-like law, the loss of each seed off by one factor throughout."""
    rng = np.random.default_rng(seed)
    steps = np.concatenate([[0.0], np.geomspace(1, 1e9, 80)])
    parts: list[pl.DataFrame] = []
    for size in sizes:
        for s in range(seeds):
            with np.errstate(divide="ignore"):
                loss = np.where(steps > 0, size**-ALPHA + steps**-BETA, 3.0)
            loss = loss * np.exp(noise * rng.standard_normal())
            columns = {"width": size, "seed": s, "flops": steps * size, "loss": loss}
            parts.append(pl.DataFrame(columns))
    return pl.concat(parts)


def test_the_exponents_of_a_planted_law_are_found() -> None:
    found = envelope_exponents(planted([2**k for k in range(4, 13)]))
    assert found["width"].value == pytest.approx(BETA / (ALPHA + BETA), abs=2e-3)
    assert found["loss"].value == pytest.approx(ALPHA * BETA / (ALPHA + BETA), abs=2e-3)
    for name, truth in (("width", BETA), ("loss", ALPHA * BETA)):  # one seed: scatter of crossings
        assert found[name].low < truth / (ALPHA + BETA) < found[name].high
        assert found[name].high - found[name].low < 2e-3


def test_crossings_lie_where_two_sizes_have_the_same_loss() -> None:
    made = envelope(planted([16, 64, 256]))
    assert made.columns == [
        "flops", "flops_low", "flops_high", "width", "width_below", "width_above", "loss"
    ]  # fmt: skip
    assert made["width"].to_list() == [32.0, 128.0]
    for row in made.iter_rows(named=True):
        for side in ("width_below", "width_above"):
            size = row[side]
            law = size**-ALPHA + (row["flops"] / size) ** -BETA
            assert row["loss"] == pytest.approx(law, rel=2e-3)
    assert made["flops_low"].null_count() == 2


def test_a_size_that_never_wins_is_passed_over() -> None:
    table = planted([16, 64, 256])
    worse = table.with_columns(
        loss=pl.when(pl.col("width") == 64).then(pl.col("loss") * 2).otherwise(pl.col("loss"))
    )
    assert envelope(worse)["width"].to_list() == [64.0]
    assert envelope(worse)["width_above"].to_list() == [256.0]


def test_intervals_hold_the_truth() -> None:
    truth = BETA / (ALPHA + BETA)
    inside = 0
    for k in range(20):
        table = planted([2**k for k in range(4, 13, 2)], seeds=5, noise=0.02, seed=k)
        found = envelope_exponents(table, draws=40)["width"]
        inside += found.low <= truth <= found.high
        assert found.stderr > 0
    assert inside >= 17


def test_the_order_of_rows_and_units_do_not_matter() -> None:
    table = planted([16, 32, 64, 128], seeds=2, noise=0.01)
    shuffled = table.sample(fraction=1, shuffle=True, seed=1).with_columns(pl.col("flops") * 1e6)
    a, b = envelope_exponents(table), envelope_exponents(shuffled)
    assert a["width"].value == pytest.approx(b["width"].value, rel=1e-9)
    assert a["loss"].stderr == pytest.approx(b["loss"].stderr, rel=1e-6)


def test_what_is_no_set_of_curves_is_refused() -> None:
    table = planted([16, 32, 64])
    with pytest.raises(BadTable, match="at least two values of 'width'"):
        envelope(table.filter(pl.col("width") == 16))
    with pytest.raises(BadTable, match="not different seeds"):
        envelope(pl.concat([table, table]))
    always = "wherever two values of 'width' were measured at the same 'flops', the "
    with pytest.raises(BadTable, match=always + "smaller one has the lower 'loss'"):
        envelope(table.with_columns(loss=pl.col("loss") * pl.col("width") ** 2))
    with pytest.raises(BadTable, match=always + "larger one has the lower 'loss'"):
        envelope(table.with_columns(loss=pl.col("loss") / pl.col("width") ** 2))
    turned = table.with_columns(width=1 / pl.col("width"))
    with pytest.raises(BadTable, match="the smaller one wins at larger 'flops'"):
        envelope(turned)
    with pytest.raises(BadTable, match="needs 3 crossings"):
        envelope_exponents(table)
    with pytest.raises(BadTable, match="compute"):
        envelope(table, x="compute")


@pytest.mark.parametrize("shared", [0, 1])
def test_a_table_of_isoflop_budgets_is_told_what_it_is(shared: int) -> None:
    """Three budgets with sizes of their own: no size has a curve, so nothing can cross."""
    rows: list[dict[str, float]] = []
    for budget in (1e18, 1e19, 1e20):
        sizes = (0.3 * np.sqrt(budget / 120)) * 1.71 ** np.arange(7.0)
        for size in [*sizes, *([1e8] * shared)]:
            loss = 1.7 + 482 * size**-0.35 + 2085 * (budget / 6 / size) ** -0.37
            rows.append({"flops": budget, "n_params": float(size), "loss": float(loss)})
    with pytest.raises(BadTable) as caught:
        envelope(pl.DataFrame(rows), size="n_params")
    assert "measured over a common range of 'flops'" in str(caught.value)
    assert "everywhere" not in str(caught.value)
    assert str(caught.value).endswith("the minimum of 'loss' over the sizes there.")
