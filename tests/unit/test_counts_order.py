"""The order of groups of counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import kleiber
from kleiber.attempts.counts import pass_at_k
from kleiber.attempts.table import read_counts


def counts_of(**columns: list[Any]) -> pl.DataFrame:
    """Ten problems for each value of the columns, with more successes in later rows."""
    rng = np.random.default_rng(0)
    length = len(next(iter(columns.values())))
    parts = [
        pl.DataFrame(
            {
                **{name: [values[i]] * 10 for name, values in columns.items()},
                "problem": range(10),
                "attempts": 20,
                "successes": np.sort(rng.integers(0, 20, 10)),
            }
        )
        for i in range(length)
    ]
    return pl.concat(parts)


@pytest.mark.parametrize(
    ("values", "ordered"),
    [
        ([2e11, 2e9, 6e10], ["2e+09", "6e+10", "2e+11"]),
        ([100, 20, 3], ["3", "20", "100"]),
        (["200B", "2M", "20B"], ["2M", "20B", "200B"]),
        (["1.4B", "14M", "12B"], ["14M", "1.4B", "12B"]),
        (["2e11", "6e9"], ["6e9", "2e11"]),
        (["step1000", "step512"], ["step512", "step1000"]),
        (["small", "large", "medium"], ["small", "large", "medium"]),
        (["v2 small", "v1 large"], ["v2 small", "v1 large"]),
        (["3b-chat", "2bis-chat"], ["3b-chat", "2bis-chat"]),
    ],
)
def test_numbers_are_in_numerical_order_and_words_as_they_come(
    values: list[Any], ordered: list[str]
) -> None:
    table = counts_of(checkpoint=values)
    made = read_counts(table, "checkpoint")
    assert list(made.names) == ordered
    for place, value in enumerate(values):
        name = f"{value:g}" if isinstance(value, float) else str(value)
        mine = made.successes[made.of(ordered.index(name))]
        np.testing.assert_array_equal(mine, table["successes"].to_numpy()[10 * place :][:10])
    found = pass_at_k(table, 1, by="checkpoint")["checkpoint"].to_list()
    assert [f"{x:g}" if isinstance(x, float) else str(x) for x in found] == ordered


def test_each_model_has_its_checkpoints_in_order() -> None:
    table = counts_of(model=["b", "a", "b", "a"], n_tokens=[2e11, 2e11, 6e9, 2e10])
    made = kleiber.fit_counts(table, by=["model", "n_tokens"])
    assert made.groups == ("b, 6e+09", "b, 2e+11", "a, 2e+10", "a, 2e+11")


def test_models_are_in_the_order_of_the_column_along() -> None:
    table = counts_of(model=["large", "small", "mid"], n_params=[1e9, 1e7, 1e8])
    assert kleiber.fit_counts(table).groups == ("large", "small", "mid")
    made = kleiber.fit_counts(table, along="n_params")
    assert made.groups == ("small", "mid", "large")
    assert made.trend.groups == made.groups
    assert made.trend.x == (1e7, 1e8, 1e9)


def test_a_table_of_text_gives_the_same_order(tmp_path: Path) -> None:
    table = counts_of(n_tokens=[1e10, 2e9, 1e11])
    table.write_csv(tmp_path / "counts.csv")
    made = kleiber.fit_counts(kleiber.read_table(tmp_path / "counts.csv"), along="n_tokens")
    assert made.groups == ("2e+09", "1e+10", "1e+11")
