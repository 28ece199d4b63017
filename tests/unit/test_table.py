"""read_table and the checks at the door: a checked table, or one clear sentence."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from kleiber.errors import BadFormula, BadTable
from kleiber.table import (
    as_frame,
    digest,
    numbers,
    read_table,
    require,
    warn_duplicates,
    write_table,
)

RUNS = {"N": [1e6, 2e6, 4e6], "D": [1, 2, 3], "loss": [3.0, 2.5, 2.25], "kept": [True, False, True]}


def refused(call: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """The one sentence with which a call is refused."""
    with pytest.raises(BadTable) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith((".", "?", ".)"))
    return message


# Where tables come from


@pytest.mark.parametrize("make", [pl.DataFrame, pl.LazyFrame, pd.DataFrame, pa.table, dict])
def test_any_data_frame_is_a_table(make: Callable[[Any], Any]) -> None:
    table = read_table(make(RUNS))
    assert table.columns == list(RUNS)
    assert table.to_dict(as_series=False) == RUNS


@pytest.mark.parametrize("make", [dict, pd.DataFrame, pa.table])
def test_a_table_is_not_changed_behind_our_back(make: Callable[[Any], Any]) -> None:
    array = np.arange(4.0)
    source = make({"a": array, "b": np.arange(4)})
    table = read_table(source)
    array[:] = -1
    if isinstance(source, pd.DataFrame):
        source.loc[0, "a"] = 99.0
    assert table["a"].to_list() == [0, 1, 2, 3]


def test_the_givers_polars_frame_is_not_changed() -> None:
    source = pl.DataFrame(RUNS)
    table = read_table(source)
    table.insert_column(0, pl.Series("new", [1, 2, 3]))
    assert source.columns == list(RUNS)


def test_pandas_with_missing_and_mixed_values() -> None:
    frame = pd.DataFrame(
        {
            "a": [1.0, np.nan, 3.0],
            "mixed": [1, "x", None],
            "objects": np.array([np.float64(1.5), 2, np.nan], dtype=object),
            "when": pd.to_datetime(["2026-01-01"] * 3),
        }
    )
    table = as_frame(frame)
    assert table["a"].to_list() == [1.0, None, 3.0]
    assert table["mixed"].to_list() == ["1", "x", None]
    assert table["objects"].to_list() == [1.5, 2.0, None]
    assert "holds text: 'x' in row 2 of 3" in refused(numbers, table, "mixed")


@pytest.mark.parametrize("source", [[1, 2], 7, None, pl.Series([1]), np.zeros(3), object()])
def test_other_things_are_no_tables(source: Any) -> None:
    assert "give a file name or a data frame" in refused(read_table, source)


def test_bad_frames() -> None:
    twice = pd.DataFrame([[1, 2]], columns=["a", "a"])
    assert "a" in refused(read_table, twice)
    assert "The columns differ in length: 'a' has 1, 'b' has 2" in refused(
        read_table, {"a": [1], "b": [1, 2]}
    )
    assert "Column 'a' is 7, not a sequence of values" in refused(read_table, {"a": 7})
    assert "Column 'a' is 'xyz', not a sequence" in refused(read_table, {"a": "xyz"})
    assert "two columns called '1'" in refused(read_table, {1: [1], "1": [2]})
    for empty in ({}, {"a": []}, pl.DataFrame(), pd.DataFrame({"a": []}), RUNS_WITHOUT_ROWS):
        assert "has no rows" in refused(read_table, empty)


RUNS_WITHOUT_ROWS = pl.DataFrame(RUNS).head(0)


# Rename


def test_rename_in_order_of_old_to_new() -> None:
    table = read_table(RUNS, rename={"N": "n_params", "D": "n_tokens"})
    assert table.columns == ["n_params", "n_tokens", "loss", "kept"]


def test_rename_may_swap() -> None:
    table = read_table(RUNS, rename={"N": "D", "D": "N"})
    assert table["D"].to_list() == RUNS["N"]


def test_rename_the_wrong_way_round() -> None:
    message = refused(read_table, {"Model Size": [1]}, rename={"n_params": "Model Size"})
    assert "is the wrong way round" in message
    assert "rename={'Model Size': 'n_params'}" in message
    assert '--rename n_params="Model Size"' in message


def test_rename_of_a_missing_column() -> None:
    message = refused(read_table, RUNS, rename={"lozs": "error"})
    assert "the table has no column 'lozs'; it has N, D, loss, kept." in message
    assert "Did you mean 'loss'?" in message
    assert "new=old on the command line" in message


def test_rename_onto_an_existing_column() -> None:
    assert "there is a column 'loss' already" in refused(read_table, RUNS, rename={"N": "loss"})
    twice = refused(read_table, RUNS, rename={"N": "x", "D": "x"})
    assert "there is a column 'x' already" in twice


# Missing columns


def test_missing_column_names_the_nearest() -> None:
    table = as_frame({"n_param": [1], "loss": [2]})
    message = refused(require, table, ["loss", "n_params"])
    assert message.startswith("The table has no column 'n_params'; it has n_param, loss.")
    assert "Did you mean 'n_param'?" in message
    assert "--rename n_params=n_param" in message


def test_missing_column_knows_other_peoples_names() -> None:
    message = refused(numbers, as_frame(RUNS), "n_params")
    assert "Did you mean 'N'?" in message
    assert "rename={'N': 'n_params'}" in message
    message = refused(numbers, as_frame({"Model Size": [1]}), "n_params")
    assert '--rename n_params="Model Size"' in message


def test_missing_column_of_a_wide_table() -> None:
    wide = as_frame({f"c{index}": [1] for index in range(100)})
    assert "c0, c1" in refused(numbers, wide, "loss")
    assert "and 88 more" in refused(numbers, wide, "loss")


# Derive


def test_derive_in_order() -> None:
    table = read_table(
        RUNS,
        rename={"N": "n_params", "D": "n_tokens"},
        derive={"flops": "6*n_params*n_tokens", "per_flop": "loss/flops", "two": "2"},
    )
    assert table["flops"].to_list() == [6e6, 24e6, 72e6]
    assert table["per_flop"].to_list() == [3.0 / 6e6, 2.5 / 24e6, 2.25 / 72e6]
    assert table["two"].to_list() == [2.0, 2.0, 2.0]


def test_derived_values_are_checked_after_the_filter() -> None:
    source = {"a": [0, 1, 2], "b": [1, None, 3]}
    assert "Column 'c' has a value that is not finite, -inf, in row 1 of 3" in refused(
        read_table, source, derive={"c": "log(a)"}
    )
    kept = read_table(source, derive={"c": "log(a)"}, where="a > 0")
    assert kept["c"].to_list() == [0.0, np.log(2.0)]
    assert "not finite, nan, in row 2 of 3" in refused(read_table, source, derive={"c": "2*b"})
    assert read_table(source, derive={"c": "2*b"}, where="b is not null")["c"].to_list() == [2, 6]


def test_bad_derive() -> None:
    assert "has a column 'loss' already" in refused(read_table, RUNS, derive={"loss": "2*N"})
    assert "no column 'M'" in refused(read_table, RUNS, derive={"x": "2*M"})
    assert "holds booleans" in refused(read_table, RUNS, derive={"x": "2*kept"})
    with pytest.raises(BadFormula):
        read_table(RUNS, derive={"x": "__import__('os')"})
    with pytest.raises(BadFormula):
        read_table(RUNS, derive={"x": "2*"})


# Where


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("kept = true", [0, 2]),
        ("kept", [0, 2]),
        ("not kept", [1]),
        ("loss < 3 and N > 2e6", [2]),
        ('"N" between 1e6 and 2e6', [0, 1]),
        ("D in (1, 3)", [0, 2]),
        ("D == 2", [1]),
    ],
)
def test_where(where: str, rows: list[int]) -> None:
    table = read_table(RUNS, where=where)
    assert table["loss"].to_list() == [RUNS["loss"][row] for row in rows]


def test_where_sees_derived_and_renamed_columns() -> None:
    table = read_table(
        RUNS,
        rename={"N": "n_params"},
        derive={"m": "n_params/1e6"},
        where="m > 1 and n_params < 3e6",
    )
    assert table.height == 1


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("loss > 99", "keeps none of the 3 rows"),
        ("lozs > 1", "uses the column 'lozs', which the table lacks; it has n_params, D, loss"),
        ("lozs > 1", "Did you mean 'loss'?"),
        ("N > 1", "It was renamed to 'n_params'."),
        ("loss >", "does not work"),
        ("", "does not work"),
        ("loss + 1", "is numbers, not true or false"),
        ("loss > 1, D > 1", "unexpected token ','"),
        ("loss > 1; drop table t", "holds ';'"),
        ("loss > 'x'", "cannot compare string with numeric type"),
        ('model = "gpt"', "Text values go in single quotes, 'gpt'."),
        ("loss > (select 1)", "never a query"),
        ("loss > 1 or " * 5000 + "true", "at most 10000 are read"),
        ("(" * 4000 + "true" + ")" * 4000, "does not work"),
    ],
)
def test_bad_where(where: str, says: str) -> None:
    source = {**RUNS, "model": ["a", "b", "c"]}
    assert says in refused(read_table, source, rename={"N": "n_params"}, where=where)


# Numbers


def test_numbers_are_float64_writable_and_our_own() -> None:
    table = read_table(RUNS)
    for column in ("D", "loss"):
        values = numbers(table, column, positive=True)
        assert values.dtype == np.float64
        assert values.flags.c_contiguous
        values[0] = -1
        assert numbers(table, column)[0] == RUNS[column][0]


@pytest.mark.parametrize("dtype", [pl.Int8, pl.UInt64, pl.Int128, pl.Float32, pl.Decimal(10, 2)])
def test_every_kind_of_number_will_do(dtype: Any) -> None:
    table = pl.DataFrame({"a": pl.Series([1, 2, 3]).cast(dtype)})
    assert numbers(table, "a").tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["1", "x", "y"], "must hold numbers but holds text: 'x' in row 2 of 3."),
        (["1", "2"], "must hold numbers but holds text: '1' in row 1 of 2."),
        ([True, False], "must hold numbers but holds booleans."),
        ([1.0, None], "has a missing value, in row 2 of 2 (to drop such rows"),
        ([None, None], "has a missing value, in row 1 of 2 (to drop such rows"),
        (
            [1.0, float("nan")],
            "has a value that is not finite, nan, in row 2 of 2 (to drop such rows",
        ),
        (
            [1.0, float("-inf")],
            "has a value that is not finite, -inf, in row 2 of 2 (to drop such rows",
        ),
        ([[1.0], [2.0]], "must hold numbers but holds values of type List(Float64)."),
        ([b"x"], "must hold numbers but holds bytes."),
        ([pd.Timestamp("2026-01-01")], "must hold numbers but holds values of type Datetime"),
        (["x" * 5000], "…"),
    ],
)
def test_what_is_no_number(values: list[Any], says: str) -> None:
    message = refused(numbers, pl.DataFrame({"a": values}), "a")
    assert message.startswith("Column 'a' ")
    assert says in message
    assert len(message) < 200


def test_lists_keep_their_kind() -> None:
    table = as_frame(
        {
            "mixed": [0.5, False],
            "whole": [1, None],
            "huge": [10**400, -(10**400)],
            "big": [2**63, 1],
            "none": [None, None],
        }
    )
    assert table["mixed"].to_list() == ["0.5", "false"]
    assert table["whole"].dtype == pl.Int64
    assert table["huge"].to_list() == [np.inf, -np.inf]
    assert table["big"].to_list() == [2.0**63, 1.0]
    assert "missing value, in row 1" in refused(numbers, table, "none")


def test_a_text_column_without_any_value_is_missing() -> None:
    table = pl.DataFrame({"a": pl.Series([None, None], dtype=pl.String)})
    assert "has a missing value, in row 1 of 2" in refused(numbers, table, "a")


def test_categories_are_text() -> None:
    table = pl.DataFrame({"a": pl.Series(["x", "y"], dtype=pl.Categorical)})
    assert "holds text: 'x' in row 1 of 2" in refused(numbers, table, "a")


@pytest.mark.parametrize("value", [0, -2.5])
def test_a_logarithm_needs_positive_numbers(value: float) -> None:
    table = pl.DataFrame({"a": [1.0, 2.0, value]})
    assert numbers(table, "a")[2] == value
    message = refused(numbers, table, "a", positive=True)
    assert f"that is not positive, {value:g}, in row 3 of 3; its logarithm is needed" in message


# Weights and duplicates


def test_weights() -> None:
    assert read_table({**RUNS, "w": [0, 1, 2.5]}, weights="w").height == 3


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ([0, 0, 0], "All weights in column 'w' are zero."),
        ([1, -2, 1], "Weight -2 in row 2 of 3 of 'w' is negative."),
        ([1, None, 1], "missing value, in row 2"),
        ([1, np.inf, 1], "not finite, inf, in row 2"),
        (["1", "a", "1"], "holds text"),
        ([True, True, False], "holds booleans"),
    ],
)
def test_bad_weights(weights: list[Any], says: str) -> None:
    assert says in refused(read_table, {**RUNS, "w": weights}, weights="w")
    assert "no column 'v'" in refused(read_table, {**RUNS, "w": weights}, weights="v")


def test_weights_are_judged_after_the_filter() -> None:
    table = read_table({**RUNS, "w": [1, -1, 1]}, where="kept", weights="w")
    assert table.height == 2


def test_duplicate_rows_warn_once_with_their_number() -> None:
    table = as_frame({"a": [1, 1, 2, 1], "b": [3, 3, 3, 4]})
    with pytest.warns(
        UserWarning, match=re.escape("1 of 4 rows repeat an earlier row in a, b;")
    ) as w:
        warn_duplicates(table, ["a", "b"])
    assert len(w) == 1
    with pytest.warns(UserWarning, match="2 of 4 rows repeat"):
        warn_duplicates(table, ["b"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_duplicates(as_frame(RUNS), ["N", "loss"])


# Ranges and digest


def test_digest_is_of_the_values(tmp_path: Path) -> None:
    table = as_frame(RUNS)
    whole = digest(table)
    assert re.fullmatch("[0-9a-f]{64}", whole)
    assert digest(table.select(reversed(table.columns))) == whole
    assert digest(table.with_columns(pl.col("N").cast(pl.Int64))) == whole
    assert digest(table.reverse()) != whole
    assert digest(table.rename({"N": "M"})) != whole
    assert digest(table.with_columns(pl.col("loss") + 1e-12)) != whole
    assert digest(table.with_columns(pl.col("kept").cast(pl.Int8))) != whole
    for suffix in (".csv", ".parquet", ".jsonl", ".npz"):
        write_table(table, tmp_path / f"runs{suffix}")
        assert digest(read_table(tmp_path / f"runs{suffix}")) == whole


def test_digest_is_the_same_tomorrow() -> None:
    table = as_frame({"a": [1, 2.5, None], "s": ["x", "", None], "b": [True, None, False]})
    assert digest(table) == "673f65af1311422d54f7e7bdab9fb9b53b52089e676e2abe6501311c5d5497aa"


def test_digest_tells_apart_what_looks_alike() -> None:
    alike = [{"a": ["x\0", "y"]}, {"a": ["x", "\0y"]}, {"a": ["", None]}, {"a": [None, ""]}]
    assert len({digest(as_frame(columns)) for columns in alike}) == len(alike)


# The public tables


@pytest.mark.parametrize(
    ("file", "rename", "where", "rows"),
    [
        ("runs/chinchilla_epoch.csv", {"N": "n_params", "D": "n_tokens"}, "epoch_kept = true", 240),
        ("runs/learning_curves_vision.csv", {"Seen Examples": "n_data"}, "Training = 1", None),
        ("norms/learning_curves.csv", {}, "model = 'CNN'", None),
        ("passk/pythia_math_n10000.csv", {"n": "attempts", "c": "successes"}, None, 896),
    ],
)
def test_public_tables(
    data_path: Callable[[str], Path],
    file: str,
    rename: dict[str, str],
    where: str | None,
    rows: int | None,
) -> None:
    table = read_table(data_path(file), rename=rename, where=where)
    assert rows is None or table.height == rows
    for name in rename.values():
        assert np.isfinite(numbers(table, name)).all()


def test_a_list_may_mix_numbers_of_python_and_numpy() -> None:
    made = as_frame({"x": [0.5, *np.ones(2)], "n": [1, np.int64(2), np.int32(3)]})
    assert made.dtypes == [pl.Float64, pl.Int64]
