"""Exponents of width from medians over seeds, with a bootstrap over the seeds of each width."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from kleiber.errors import BadTable
from kleiber.reduce import find
from kleiber.systems.lottery_tickets.width_exponent import width_curve, width_exponent

WIDTHS = (8, 16, 32, 64)


def planted(
    rng: np.random.Generator, exponent: float = 1.0, seeds: int = 24, spread: float = 0.7
) -> pl.DataFrame:
    """Losses 3 N^-exponent times log-normal noise of median 1."""
    return pl.DataFrame(
        [
            {
                "width": n,
                "n_params": 3 * n + 1,
                "seed": s,
                "loss": 3 * n**-exponent * np.exp(spread * rng.standard_normal()),
            }
            for n in WIDTHS
            for s in range(seeds)
        ]
    )


@pytest.mark.parametrize("statistic", ["median", "mean", "q25"])
@pytest.mark.long
def test_the_interval_covers_a_planted_exponent(statistic: str) -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(150):
        row = width_exponent(planted(rng), statistic=statistic, draws=200).row(0, named=True)
        hits += row["exponent_low"] <= 1 <= row["exponent_high"]
    assert 0.87 <= hits / 150 <= 0.99


def test_without_noise_the_exponent_is_exact_and_the_rest_is_nothing() -> None:
    table = planted(np.random.default_rng(0), 2.5, seeds=3, spread=0.0)
    row = width_exponent(table).row(0, named=True)
    assert row["exponent"] == pytest.approx(2.5, abs=1e-12)
    assert row["exponent_stderr"] == pytest.approx(0, abs=1e-12)
    assert row["misfit"] == pytest.approx(0, abs=1e-12)
    assert (row["width_low"], row["width_high"], row["n_widths"], row["n_seeds"]) == (8, 64, 4, 3)


def test_what_n_counts_changes_the_exponent_as_it_must() -> None:
    table = planted(np.random.default_rng(0), spread=0.0)
    for size, counted in (
        ("width", np.array(WIDTHS)),
        ("width+1", np.array(WIDTHS) + 1),
        ("n_params", 3 * np.array(WIDTHS) + 1),
    ):
        slope = np.polyfit(np.log(counted), -np.log(WIDTHS), 1)[0]
        row = width_exponent(table, size=size).row(0, named=True)
        assert row["exponent"] == pytest.approx(-slope, rel=1e-12)


def test_same_seed_same_result_and_another_width_changes_no_draw() -> None:
    table = planted(np.random.default_rng(1))
    assert width_exponent(table, seed=3).equals(width_exponent(table, seed=3))
    assert not width_exponent(table, seed=3).equals(width_exponent(table, seed=4))
    more = pl.when(pl.col("width") == 64).then(128).otherwise(2).alias("width")
    wider = pl.concat([table, table.with_columns(more.cast(pl.Int64)).filter(pl.col("width") > 64)])
    assert width_exponent(table).equals(width_exponent(wider, 8, 64))


def test_groups_keep_their_own_exponents() -> None:
    rng = np.random.default_rng(2)
    both = pl.concat(
        [planted(rng, a, spread=0.1).with_columns(step=pl.lit(int(a))) for a in (1.0, 3.0)]
    )
    made = width_exponent(both, by="step")
    assert made["step"].to_list() == [1, 3]
    assert np.allclose(made["exponent"], [1, 3], atol=0.1)


def test_a_curve_has_the_statistic_and_its_interval() -> None:
    table = planted(np.random.default_rng(3))
    made = width_curve(table, statistic="median")
    for n, loss, low, high in made.select("width", "loss", "loss_low", "loss_high").iter_rows():
        own = table.filter(pl.col("width") == n)["loss"]
        assert loss == own.median()
        assert own.min() <= low <= loss <= high <= own.max()


def test_the_command_line_finds_both() -> None:
    assert find("width-exponent") is width_exponent
    assert find("width_curve") is width_curve


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": "widht"}, "Did you mean 'width'"),
        ({"statistic": "medain"}, "Did you mean 'median'"),
        ({"statistic": "q101"}, "quantile"),
        ({"low": 50}, "two widths"),
        ({"draws": 1}, "draws"),
        ({"level": 1.0}, "level"),
    ],
)
def test_bad_options_are_one_sentence(options: dict[str, object], words: str) -> None:
    with pytest.raises(BadTable, match=words):
        width_exponent(planted(np.random.default_rng(0)), **options)  # type: ignore[arg-type]


def test_bad_tables_are_one_sentence() -> None:
    table = planted(np.random.default_rng(0))
    with pytest.raises(BadTable, match="occurs up to 2 times"):
        width_exponent(pl.concat([table, table]))
    with pytest.raises(BadTable, match="one seed"):
        width_exponent(table.filter(pl.col("seed") == 0))
    with pytest.raises(BadTable, match="loss"):
        width_exponent(table.with_columns(loss=-pl.col("loss")))
    with pytest.raises(BadTable, match="No row"):
        width_curve(table.head(0))
