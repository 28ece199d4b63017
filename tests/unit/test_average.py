"""Averages over seeds and local exponents."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from kleiber.errors import BadTable
from kleiber.reduce.average import average
from kleiber.reduce.exponent import exponent

RUNS = pl.DataFrame(
    {
        "run": ["a"] * 4 + ["b"] * 4,
        "width": [4] * 4 + [8] * 4,
        "seed": [0, 1, 2, 3] * 2,
        "step": [10] * 8,
        "loss": [1.0, 2.0, 3.0, 6.0, 0.5, 0.25, 0.75, 0.5],
        "diverged": [False] * 8,
    }
)


def test_seeds_become_one_row() -> None:
    made = average(RUNS)
    assert made.columns == [
        "width", "step", "loss", "loss_median", "loss_stderr", "loss_q25", "loss_q75", "n_seeds",
    ]  # fmt: skip
    assert made["width"].to_list() == [4, 8]
    assert made["loss"].to_list() == [3.0, 0.5]
    assert made["loss_median"].to_list() == [2.5, 0.5]
    expected = [np.std([1, 2, 3, 6], ddof=1) / 2, np.std([0.5, 0.25, 0.75, 0.5], ddof=1) / 2]
    np.testing.assert_allclose(made["loss_stderr"], expected, rtol=1e-15)
    assert made["loss_q25"].to_list() == [1.75, 0.4375]
    assert made["n_seeds"].to_list() == [4, 4]


def test_columns_and_quantiles_may_be_chosen() -> None:
    table = RUNS.with_columns(
        accuracy=pl.col("loss") / 10, note=pl.lit("x") + pl.col("seed").cast(str)
    )
    made = average(table, value="accuracy", by=["width"], quantiles=[0.05])
    assert made.columns == [
        "width", "accuracy", "accuracy_median", "accuracy_stderr", "accuracy_q5", "n_seeds"
    ]  # fmt: skip
    assert average(RUNS, over=["seed", "width"])["loss"].to_list() == [1.75]
    assert average(RUNS.select("seed", "loss"))["n_seeds"].to_list() == [8]


def test_one_seed_has_no_error() -> None:
    made = average(RUNS.filter(pl.col("seed") == 0))
    assert made["loss"].to_list() == [1.0, 0.5]
    assert made["loss_stderr"].to_list() == [None, None]


def test_members_that_diverged_are_left_out_and_counted() -> None:
    ended = pl.DataFrame(
        {"run": ["b"], "width": [8], "seed": [4], "step": [10], "diverged": [True]}
    )
    table = pl.concat([RUNS, ended], how="diagonal")
    with pytest.warns(UserWarning, match="1 of 9 rows have no loss"):
        made = average(table)
    assert made.equals(average(RUNS))


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (RUNS, {"value": "los"}, "no column 'los'.*Did you mean 'loss'"),
        (RUNS, {"by": "widht"}, "Did you mean 'width'"),
        (RUNS, {"over": "seeds"}, "Did you mean 'seed'"),
        (RUNS, {"value": "loss", "by": "loss"}, "averaged and name groups"),
        (RUNS, {"quantiles": [2.0]}, "from 0 to 1, got 2.0"),
        (RUNS.select("seed", "width"), {}, "nothing to average"),
        (RUNS.with_columns(loss=pl.lit(float("nan"))), {}, "not finite"),
        (RUNS.with_columns(loss=pl.lit(None)), {}, "No row has a loss"),
        (RUNS.with_columns(odd=pl.col("seed") * 1.5), {}, "No two rows agree in width, step, odd"),
    ],
)
@pytest.mark.filterwarnings("ignore:8 of 8 rows")
def test_wrong_averages_are_refused(
    table: pl.DataFrame, options: dict[str, object], message: str
) -> None:
    with pytest.raises(BadTable, match=message):
        average(table, **options)  # pyright: ignore[reportArgumentType]


def planted(alpha: float = 0.5, noise: float = 0.0, seeds: int = 4, seed: int = 0) -> pl.DataFrame:
    """Runs on a power law, with noise between seeds."""
    rng = np.random.default_rng(seed)
    width = np.repeat([4.0, 8.0, 16.0, 32.0], seeds)
    loss = 3 * width**-alpha * np.exp(noise * rng.standard_normal(len(width)))
    return pl.DataFrame(
        {
            "width": width.astype(int),
            "n_params": (3 * width**2).astype(int),
            "seed": np.tile(np.arange(seeds), 4),
            "loss": loss,
        }
    )


def test_a_power_law_has_its_exponent_everywhere() -> None:
    by_width, by_params = exponent(planted(), x="width"), exponent(planted())
    np.testing.assert_allclose(by_width["exponent"], 0.5, rtol=1e-12)
    np.testing.assert_allclose(by_params["exponent"], 0.25, rtol=1e-12)
    assert by_width.columns == [
        "width", "width_low", "width_high",
        "exponent", "exponent_stderr", "exponent_low", "exponent_high",
    ]  # fmt: skip
    np.testing.assert_allclose(by_width["width"], [8, 16], rtol=1e-12)
    assert by_width["width_low"].to_list() == [4, 8]
    assert by_width["width_high"].to_list() == [16, 32]
    assert exponent(planted(), x="width", window=2).height == 3


def test_seeds_and_their_averages_give_the_same() -> None:
    table = planted(noise=0.1)
    made = exponent(average(table), x="width")
    assert made.equals(exponent(table, x="width")) or np.allclose(made, exponent(table, x="width"))


def test_groups_are_apart() -> None:
    both = pl.concat(
        [planted(0.5).with_columns(task=pl.lit("a")), planted(1.0).with_columns(task=pl.lit("b"))]
    )
    made = exponent(both, x="width", by="task")
    assert made["task"].to_list() == ["a", "a", "b", "b"]
    np.testing.assert_allclose(made["exponent"], [0.5, 0.5, 1, 1], rtol=1e-12)
    with pytest.raises(BadTable, match=r"2 rows agree in width, seed.*by="):
        exponent(both, x="width")


def test_an_unknown_error_is_missing() -> None:
    made = exponent(planted(seeds=1), x="width")
    assert made["exponent_stderr"].null_count() == made["exponent_low"].null_count() == 2


@pytest.mark.long
def test_intervals_cover_as_often_as_they_say() -> None:
    covered = spread = 0.0
    values: list[float] = []
    for seed in range(400):
        first = exponent(planted(noise=0.05, seeds=4, seed=seed), x="width", level=0.9).row(
            0, named=True
        )
        covered += first["exponent_low"] <= 0.5 <= first["exponent_high"]
        spread += first["exponent_stderr"] ** 2
        values.append(first["exponent"])
    assert 0.86 < covered / 400 < 0.94  # 2.7 standard deviations of a binomial
    assert np.sqrt(spread / 400) == pytest.approx(np.std(values), rel=0.12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": "widht"}, "Did you mean 'width'"),
        ({"window": 1}, "at least 2 values of n_params, got 1"),
        ({"window": 5}, "No group has 5 different values"),
        ({"level": 1.0}, "between 0 and 1"),
    ],
)
def test_wrong_exponents_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(BadTable, match=message):
        exponent(planted(), **options)  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadTable, match="not positive"):
        exponent(planted().with_columns(loss=-pl.col("loss")))
