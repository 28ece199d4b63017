"""Tables survive every format; damage to a file gives a table or a BadTable, nothing else."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kleiber import text_tables
from kleiber.errors import BadTable
from kleiber.table import (
    as_frame,
    digest,
    numbers,
    read_table,
    warn_duplicates,
    write_table,
)

SUFFIXES = (".csv", ".parquet", ".jsonl", ".npz")
NAMES = st.text("abcxyzNDÅ_ ,;\"'é", min_size=1, max_size=8).map(lambda name: "q" + name.strip())
WORDS = st.text("abc ,;\"'\n\rå文{}[]#", max_size=8).map(lambda word: f"w{word}w")
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "floats": st.floats(allow_nan=False, allow_infinity=False),
    "whole": st.integers(-(2**53), 2**53),
    "truth": st.booleans(),
    "words": WORDS,
}


@st.composite
def columns_of_tables(draw: st.DrawFn, *, missing: bool = True) -> dict[str, list[Any]]:
    """Up to 5 columns of any kind with up to 8 rows, some values missing."""
    names = draw(st.lists(NAMES, min_size=2, max_size=5, unique=True))
    rows = draw(st.integers(1, 8))
    columns: dict[str, list[Any]] = {}
    for name in names:
        values = KINDS[draw(st.sampled_from(sorted(KINDS)))]
        item = values | st.none() if missing else values
        columns[name] = draw(st.lists(item, min_size=rows, max_size=rows))
    return columns


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(data=st.data())
def test_every_format_keeps_every_value(suffix: str, data: st.DataObject) -> None:
    table = as_frame(data.draw(columns_of_tables(missing=suffix != ".npz")))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"runs{suffix}"
        write_table(table, file)
        again = read_table(file)
    assert again.to_dict(as_series=False) == table.to_dict(as_series=False)
    assert digest(again) == digest(table)


@given(columns_of_tables(), st.randoms())
def test_the_digest_ignores_column_order_only(columns: dict[str, list[Any]], random: Any) -> None:
    table, names = as_frame(columns), list(columns)
    random.shuffle(names)
    assert digest(table.select(names)) == digest(table)
    if not table.reverse().equals(table):
        assert digest(table.reverse()) != digest(table)


def read_or_refuse(source: Any, **options: Any) -> str:
    """ "" if the source is read as a table with rows, else the one sentence that refuses it."""
    try:
        table = read_table(source, **options)
    except BadTable as error:
        message = str(error)
    else:
        message = "" if table.height and table.width else "a table of nothing\n"
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(data=st.data())
def test_a_damaged_file_is_a_table_or_a_sentence(suffix: str, data: st.DataObject) -> None:
    table = pl.DataFrame({"a": [1.5, 2.5, 3.5], "b": [1, 2, 3], "c": ["x", "y", "z"]})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"runs{suffix}"
        write_table(table, file)
        content = bytearray(file.read_bytes())
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, min(len(content), start + 40)))
        content[start:end] = data.draw(st.binary(max_size=40))
        file.write_bytes(content)
        message = read_or_refuse(file)
    assert message == "" or file.name in message


@given(st.binary(max_size=300), st.sampled_from(SUFFIXES))
def test_rubbish_is_a_table_or_a_sentence(content: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"runs{suffix}"
        file.write_bytes(content)
        message = read_or_refuse(file)
    assert message == "" or file.name in message


LIKELY = st.text("abc <>=+-*/()'\"0123,;", max_size=40)


@given(st.text(max_size=60) | LIKELY)
def test_any_filter_is_applied_or_refused(where: str) -> None:
    table = pl.DataFrame({"a": [1.5, 2.5], "b": [True, False], "c": ["x", "y"]})
    message = read_or_refuse(table, where=where)
    assert message == "" or message.startswith("The filter ")


VALUES = st.one_of(st.none(), st.floats(), st.integers(), st.booleans(), st.text(max_size=3))


@given(st.lists(VALUES, min_size=1, max_size=6), st.booleans())
def test_numbers_are_finite_or_refused(values: list[Any], positive: bool) -> None:
    table = as_frame({"a": values})
    assert table.height == len(values)
    kinds = {type(value) for value in values}
    good = kinds <= {int, float} and all(
        math.isfinite(value) and (value > 0 or not positive) for value in values
    )
    if good:
        assert numbers(table, "a", positive=positive).tolist() == [float(item) for item in values]
    else:
        with pytest.raises(BadTable, match=r"^Column 'a' "):
            numbers(table, "a", positive=positive)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12))
def test_duplicates_are_counted(rows: list[tuple[int, int]]) -> None:
    table = pl.DataFrame(rows, schema=["a", "b"], orient="row")
    repeats = len(rows) - len(set(rows))
    if repeats:
        with pytest.warns(UserWarning, match=f"^{repeats} of {len(rows)} rows repeat"):
            warn_duplicates(table, ["a", "b"])
    else:
        warn_duplicates(table, ["a", "b"])  # a warning would be an error here


@given(st.lists(st.floats(0.1, 1e6), min_size=1, max_size=6))
def test_derived_columns_are_the_formula(values: list[float]) -> None:
    table = read_table(
        {"n_params": values, "n_tokens": values}, derive={"f": "6*n_params*n_tokens"}
    )
    assert np.array_equal(table["f"].to_numpy(), 6 * np.array(values) * np.array(values))


NUMBERS = ("1", "-2", "3.5", "1e400", "12345678901234567", "1234567890123456789")
OTHERS = (
    "98765432109876543210",
    "-9223372036854775808",
    "NaN",
    "true",
    "false",
    "null",
    "[1]",
    '{"a": 1}',
)
STRINGS = ('"w"', '"a:b"', '"null"', '"é"', '"\\u0041"')
CELLS = st.sampled_from((*NUMBERS, *OTHERS, *STRINGS))
LINES = st.lists(
    st.lists(st.tuples(st.sampled_from(("a", "b", "c", "")), CELLS), min_size=1, max_size=3),
    min_size=1,
    max_size=4,
)


@given(lines=LINES)
@settings(max_examples=400)
def test_json_lines_read_at_once_are_those_read_line_by_line(
    lines: list[list[tuple[str, str]]],
) -> None:
    def read(file: Path) -> tuple[Any, ...]:
        try:
            frame = text_tables.read_json_lines(file)
        except BadTable as error:
            return (str(error),)
        return (frame.schema, frame.rows())

    text = "\n".join(
        "{" + ", ".join(f'"{key}": {cell}' for key, cell in line) + "}" for line in lines
    )
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        file = Path(folder) / "runs.jsonl"
        file.write_text(text, encoding="utf-8")
        at_once = read(file)
        patch.setattr(text_tables, "_parse_plain", lambda _: None)
        assert repr(at_once) == repr(read(file))


LATE = {"2": "whole", "2.5": "float", "true": "truth", "x": "text", "": "nothing", " 3": "blank"}


@pytest.mark.parametrize("late", LATE, ids=LATE.values())
@pytest.mark.parametrize("early", LATE, ids=LATE.values())
def test_types_of_late_rows_count(early: str, late: str, tmp_path: Path) -> None:
    """A file whose rows change their kind after those of which types are read first."""
    many = text_tables.TYPED_ROWS + 3
    file = tmp_path / "runs.csv"
    file.write_text("a,b\n" + f"1,{early}\n" * many + f"1,{late}\n")
    found = read_table(file)["b"]
    whole = pl.read_csv(file, infer_schema_length=None)["b"]
    assert found.equals(text_tables.parse_numbers(whole) if whole.dtype == pl.String else whole)
