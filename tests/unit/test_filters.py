"""Filters: conditions on the table's own rows, in float64, and never a query."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from kleiber.errors import BadTable
from kleiber.table import read_table

TABLE = pl.DataFrame(
    {
        "n_params": pl.Series([5 * 10**9, 10**7, 3], dtype=pl.Int64),
        "batch": pl.Series([4 * 10**9, 2, 3], dtype=pl.UInt32),
        "small": pl.Series([100, 2, 3], dtype=pl.Int8),
        "text": ["a", "select", "c"],
        "good": [True, None, False],
        "select": [1, 2, 3],
    }
)


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("6*n_params*n_params < 1e19", [1, 2]),
        ("n_params*n_params*n_params > 0", [0, 1, 2]),
        ("batch*batch > 1e19", [0]),
        ("batch*batch > 1e20", []),
        ("batch + batch > 5e9", [0]),
        ("small * 2 > 150", [0]),
        ("n_params % 2 = 1", [2]),
        ("-batch < -1e9", [0]),
        ("1 = 1", [0, 1, 2]),
        ("good", [0]),
        ("text = 'select'", [1]),
        ('"select" = 2', [1]),
        ("n_params = 3", [2]),
        ("n_params IN (3, 5000000000)", [0, 2]),
        ("batch > AVG(batch)", [0]),
    ],
)
def test_conditions(where: str, rows: list[int]) -> None:
    if not rows:
        with pytest.raises(BadTable, match="keeps none of the 3 rows"):
            read_table(TABLE, where=where)
        return
    assert read_table(TABLE, where=where)["select"].to_list() == [row + 1 for row in rows]


def test_the_kept_rows_keep_their_types() -> None:
    assert read_table(TABLE, where="n_params * 2 < 1e9").schema == TABLE.schema


@pytest.mark.parametrize(
    "where",
    [
        "n_params IN (SELECT a FROM read_csv('{file}'))",
        "n_params IN (sElEcT a\nFROM read_csv('{file}'))",
        "n_params > 1 -- '\n OR n_params IN (SELECT a FROM read_csv('{file}')) -- '",
        "n_params IN (/* ' */ SELECT a FROM read_csv('{file}') /* ' */)",
        "n_params IN (TABLE other)",
        "n_params IN (VALUES (1))",
        "EXISTS (FROM read_csv('{file}'))",
        "n_params > 1; DROP TABLE self",
        "n_params = \"read_csv\"('{file}')",
        "n_params = $$ SELECT $$",
        "n_params > scan_parquet('{file}')",
    ],
)
def test_queries_are_refused_and_read_nothing(where: str, tmp_path: Path) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("a\n3\n")
    with pytest.raises(BadTable, match="a filter is one condition on the columns"):
        read_table(TABLE, where=where.format(file=file))


def test_a_filter_that_is_no_condition() -> None:
    with pytest.raises(BadTable, match="The filter 'n_params' is numbers, not true or false"):
        read_table(TABLE, where="n_params")
