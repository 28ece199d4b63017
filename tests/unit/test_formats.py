"""Files in every format, sound and damaged: a table, or one sentence that names what is wrong."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kleiber.arrays import read_arrays
from kleiber.errors import BadTable
from kleiber.table import as_frame, numbers, read_table, read_tables, write_table
from kleiber.text_tables import MAX_LINE, check_names

SUFFIXES = (".csv", ".parquet", ".jsonl", ".ndjson", ".npz")
RUNS = pl.DataFrame(
    {
        "n_params": [1_000_000, 2_000_000, 4_000_000],
        "loss": [3.1, 2.9, 1 / 3],
        "kept": [True, False, True],
        "model": ["a", 'b, "quoted"', "ç 文"],
    }
)


def refused(path: Path | str) -> str:
    """The one sentence with which a file is refused; it names the file."""
    with pytest.raises(BadTable) as caught:
        read_table(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith((".", "?"))
    assert Path(path).name in message
    return message


def written(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".CSV", ".Parquet"])
def test_what_is_written_is_read(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"runs{suffix}"
    write_table(RUNS, file)
    assert read_table(file).equals(RUNS)
    assert read_table(str(file)).equals(RUNS)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_may_be_rewritten_while_its_table_is_used(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"runs{suffix}"
    write_table(RUNS, file)
    table = read_table(file)
    with file.open("r+b") as handle:  # in place, as a crashed writer would
        handle.truncate(0)
    assert table.equals(RUNS)


# The file itself


def test_missing_file_names_the_nearest(tmp_path: Path) -> None:
    written(tmp_path, "runs.csv", "a\n1\n")
    assert "Did you mean 'runs.csv'?" in refused(tmp_path / "run.csv")
    assert refused(tmp_path / "nowhere" / "x.csv").startswith("There is no file")


def test_folder(tmp_path: Path) -> None:
    assert "is a folder" in refused(tmp_path)


def test_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    assert "not an ordinary file" in refused(tmp_path / "pipe.csv")


def test_impossible_names(tmp_path: Path) -> None:
    assert "File name too long" in refused(tmp_path / ("x" * 300 + ".csv"))
    with pytest.raises(BadTable, match="There is no file"):
        read_table("a\0b.csv")
    with pytest.raises(BadTable, match=r"is a folder"):
        read_table("")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_empty_file(tmp_path: Path, suffix: str) -> None:
    assert "is empty" in refused(written(tmp_path, f"runs{suffix}", b""))


@pytest.mark.parametrize("name", ["runs.xlsx", "runs.csv.gz", "runs", "runs.jsonn", "runs.tsv"])
def test_unknown_suffix(tmp_path: Path, name: str) -> None:
    message = refused(written(tmp_path, name, "a\n1\n"))
    assert "tables are .csv, .parquet, .jsonl, .ndjson or .npz files" in message
    if name == "runs.jsonn":
        assert "Did you mean '.jsonl'?" in message


def bytes_of(table: pl.DataFrame, folder: Path, suffix: str) -> bytes:
    file = folder / f"disguise{suffix}"
    write_table(table, file)
    return file.read_bytes()


@pytest.mark.parametrize("named", SUFFIXES)
@pytest.mark.parametrize("real", SUFFIXES)
def test_a_file_that_is_not_what_its_name_says(tmp_path: Path, named: str, real: str) -> None:
    if {named, real} <= {".jsonl", ".ndjson"} or named == real:
        return
    file = written(tmp_path, f"runs{named}", bytes_of(RUNS, tmp_path, real))
    message = refused(file)
    assert f"is named {named} but is not" in message
    looks = {".csv": "CSV", ".parquet": "Parquet", ".npz": "a zip archive"}
    assert f"looks like {looks.get(real, 'JSON Lines')}" in message


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("content", "looks"),
    [
        (gzip.compress(b"a\n1\n", mtime=0), "gzip"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        ("a,b\n1,2\n".encode("utf-16-le"), "binary data"),
        (bytes(range(256)), "binary data"),
        (b"<!DOCTYPE html><html></html>", "HTML"),
        (b'[{"a": 1}]', "a JSON array; write one object per line"),
        (b"PK\x03\x04....[Content_Types].xml", "Excel"),
        (b"\x93NUMPY\x01\x00", "a single NumPy array"),
        (b"%PDF-1.7", "PDF"),
        (pickle.dumps({"a": [1]}), "binary data"),
        (b" \n\n ", "blank"),
    ],
)
def test_other_things_under_a_table_name(
    tmp_path: Path, suffix: str, content: bytes, looks: str
) -> None:
    assert looks in refused(written(tmp_path, f"runs{suffix}", content))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_an_endless_line_is_refused_without_loading_it(tmp_path: Path, suffix: str) -> None:
    start = b"a,b\n1," if suffix == ".csv" else b'{"a": "'
    file = written(tmp_path, f"runs{suffix}", start)
    with file.open("r+b") as handle:  # a sparse gigabyte would be NULs: write 17 MB, then sparse
        handle.seek(0, os.SEEK_END)
        handle.write(b"1" * (MAX_LINE + 2**20))
        handle.truncate(2**30)
    assert "has a line longer than 16 MB" in refused(file)


@pytest.mark.parametrize("length", [MAX_LINE - 10, MAX_LINE + 1])
def test_the_limit_of_a_line_is_where_it_is_said_to_be(tmp_path: Path, length: int) -> None:
    line = b"x" * length
    file = written(tmp_path, "runs.csv", b"a\n" + line + b"\n" + b"y\n" * 5)
    if length > MAX_LINE:
        assert "has a line longer than 16 MB" in refused(file)
    else:
        assert read_table(file).height == 6


# CSV


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("a,b\n1,2\n", {"a": [1], "b": [2]}),
        ("a,b\r\n1,2\r\n3,4\r\n", {"a": [1, 3], "b": [2, 4]}),
        ("\ufeffa,b\n1,2", {"a": [1], "b": [2]}),
        ("a, b\n1, 2\n3, 4.5\n", {"a": [1, 3], "b": [2.0, 4.5]}),
        ("a\n-Infinity\n+1\n inf\n", {"a": [-np.inf, 1.0, np.inf]}),
        ("a,b\n1,2\n\n3,4\n\n\n", {"a": [1, 3], "b": [2, 4]}),
        ("\n\na,b\n1,2\n", {"a": [1], "b": [2]}),
        ('a,b\n1,"2"\n3,"x\ny"\n', {"a": [1, 3], "b": ["2", "x\ny"]}),
        ("a,b\n1,\n2,3\n", {"a": [1, 2], "b": [None, 3]}),
        ("a,b\n1,\n\n2,3\n", {"a": [1, 2], "b": [None, 3]}),
        ("a,b\n1,x\n2,3\n", {"a": [1, 2], "b": ["x", "3"]}),
        ('"a ""b""",c\n1,2\n', {'a "b"': [1], "c": [2]}),
        ("a\n1e21\n1000000000000000000000\n", {"a": [1e21, 1e21]}),
    ],
)
def test_csv_as_people_write_it(
    tmp_path: Path, text: str, columns: dict[str, list[object]]
) -> None:
    table = read_table(written(tmp_path, "runs.csv", text))
    assert table.to_dict(as_series=False) == columns


def test_csv_types_come_from_all_rows(tmp_path: Path) -> None:
    text = "a\n" + "1\n" * 5000 + "x\n"
    with pytest.raises(BadTable, match=r"holds text: 'x' in row 5001 of 5001\."):
        numbers(read_table(written(tmp_path, "runs.csv", text)), "a")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n", "has column names but no rows"),
        ("a,b", "has column names but no rows"),
        ("a,b\n\n\n", "has column names but no rows"),
        ("a,b\n1,2\n3\n", "line 3 has 1 values where the header has 2 names"),
        ("a,b\n1,2\n3,4,5\n", "line 3 has 3 values where the header has 2 names"),
        ("a,b,c\n1,2,3\n\n1,2\n", "line 4 has 2 values where the header has 3 names"),
        ("a,b,a\n1,2,3\n", "has two columns called 'a'"),
        ("a, a\n1,2\n", "has two columns called 'a'"),
        ("a;b\n1;2\n", "is separated by ';'; separate the values by commas"),
        ("a\tb\n1\t2\n", r"is separated by '\t'"),
        ("1.0,2.0\n3,4\n", "its first line must be column names"),
        ('a,b\n1,"2\n', "runs.csv"),
        ("a,b\r1,2\r3,4\r", "check the quotes and line ends of its header"),
    ],
)
def test_bad_csv(tmp_path: Path, text: str, says: str) -> None:
    assert says in refused(written(tmp_path, "runs.csv", text))


@pytest.mark.parametrize(
    "content", [b"\xe9,b\n1,2\n", b"a,b\n1,\xe9\n", b"a\n" + b"1\n" * 9999 + b"\xff\n"]
)
def test_csv_that_is_not_utf8(tmp_path: Path, content: bytes) -> None:
    assert "not UTF-8 text; save it as UTF-8" in refused(written(tmp_path, "runs.csv", content))


def test_csv_with_rubbish_after_its_head(tmp_path: Path) -> None:
    content = b"a,b\n" + b"1,2\n" * 5000 + bytes(range(256))
    assert "holds binary data" in refused(written(tmp_path, "runs.csv", content))


# JSON Lines


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ('{"a": 1}\n{"a": 2.5}\n', {"a": [1.0, 2.5]}),
        ('\ufeff{"a": 1}\n\n{"a": 2}', {"a": [1, 2]}),
        ('{"a": 1}\n{"b": 2}\n', {"a": [1, None], "b": [None, 2]}),
        ('{"a": true}\n{"a": null}\n', {"a": [True, None]}),
        ('{"a": NaN}\n{"a": -Infinity}\n{"a": null}', {"a": [np.nan, -np.inf, None]}),
        ('{"a": 1000000000000000000000000}\n{"a": 1}\n', {"a": [1e24, 1.0]}),
        ('{"a": 1}\n{"a": "x"}\n{"a": true}\n', {"a": ["1", "x", "true"]}),
        ('{"a": {"b": 1}}\n{"a": [1, 2]}\n', {"a": ['{"b": 1}', "[1, 2]"]}),
        ('{"a": "\u2028"}\n', {"a": ["\u2028"]}),
    ],
)
def test_json_lines(tmp_path: Path, text: str, columns: dict[str, list[object]]) -> None:
    table = read_table(written(tmp_path, "runs.jsonl", text))
    np.testing.assert_equal(table.to_dict(as_series=False), columns)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1}\n{"a": \n', "line 2 is not valid JSON"),
        ('{"a": 1}\n\n{"a": 2', "line 3 is not valid JSON"),
        ('{"a": 1} {"a": 2}\n', "line 1 is not valid JSON"),
        ('{"a": 1}\n[1, 2]\n', "line 2 is [1, 2], not a JSON object"),
        ('{"a": 1}\n7\n', "line 2 is 7, not a JSON object"),
        ('{"a": 1, "a": 2}\n', "line 1 has two columns called 'a'"),
        ('{"a": "\\ud800"}\n', "holds text that is no Unicode: surrogates"),
        ('{"a": ' + "[" * 100_000 + "}\n", "line 1 is not valid JSON"),
        ("{}\n{}\n", "has column names but no rows"),
    ],
)
def test_bad_json_lines(tmp_path: Path, text: str, says: str) -> None:
    assert says in refused(written(tmp_path, "runs.jsonl", text))


def test_csv_written_short_of_a_row_end(tmp_path: Path) -> None:
    content = bytes_of(RUNS, tmp_path, ".csv")
    refused(written(tmp_path, "cut.csv", content[: content.rindex(b",")]))


def test_json_lines_not_utf8(tmp_path: Path) -> None:
    file = written(tmp_path, "runs.jsonl", b'{"a": 1}\n{"a": "\xe9"}\n')
    assert "line 2 is not UTF-8 text" in refused(file)


def test_json_cannot_hold_nan(tmp_path: Path) -> None:
    with pytest.raises(BadTable, match="Column 'a' holds NaN or infinity, which JSON cannot"):
        write_table({"a": [1.0, np.inf]}, tmp_path / "runs.jsonl")
    assert list(tmp_path.iterdir()) == []


# Parquet


@pytest.mark.parametrize("keep", [4, 8, 11, 100, 300, -1, -8])
def test_truncated_parquet(tmp_path: Path, keep: int) -> None:
    content = bytes_of(RUNS, tmp_path, ".parquet")
    assert "is a truncated Parquet file" in refused(
        written(tmp_path, "runs.parquet", content[:keep])
    )


def test_damaged_parquet(tmp_path: Path) -> None:
    content = bytes_of(RUNS, tmp_path, ".parquet")
    hole = content[: len(content) // 2] + content[len(content) // 2 + 7 :]
    assert "is a damaged Parquet file" in refused(written(tmp_path, "runs.parquet", hole))
    assert "damaged" in refused(written(tmp_path, "runs.parquet", b"PAR1" + b"x" * 99 + b"PAR1"))


def test_parquet_without_rows(tmp_path: Path) -> None:
    write_table(RUNS.head(0), tmp_path / "runs.parquet")
    assert "no rows" in refused(tmp_path / "runs.parquet")


# NPZ


def npz(folder: Path, **arrays: object) -> Path:
    file = folder / "runs.npz"
    np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    return file


def test_npz_types(tmp_path: Path) -> None:
    file = npz(
        tmp_path,
        big=np.arange(3.0).astype(">f8"),
        half=np.arange(3, dtype=np.float16),
        long=np.arange(3, dtype=np.longdouble),
        text=np.array(["x", "yy", ""]),
        small=np.arange(3, dtype=np.uint8),
        fortran=np.asarray([[1, 2], [3, 4], [5, 6]], order="F")[:, 1],
    )
    table = read_table(file)
    assert table["big"].dtype == table["half"].dtype == table["long"].dtype == pl.Float64
    assert table["big"].to_list() == table["half"].to_list() == table["long"].to_list() == [0, 1, 2]
    assert table["text"].to_list() == ["x", "yy", ""]
    assert table["fortran"].to_list() == [2, 4, 6]


def test_bad_npz(tmp_path: Path) -> None:
    assert "holds Python objects" in refused(npz(tmp_path, a=np.array([{}, None], dtype=object)))
    assert "the arrays differ in length: 'a' has 2, 'b' has 3" in refused(
        npz(tmp_path, a=np.zeros(2), b=np.zeros(3))
    )
    assert "array 'a' has shape (2, 2)" in refused(npz(tmp_path, a=np.zeros((2, 2))))
    assert "array 'a' has shape ()" in refused(npz(tmp_path, a=np.float64(1)))
    assert "array 'a' is of type complex128" in refused(npz(tmp_path, a=np.zeros(2, complex)))
    assert "no rows" in refused(npz(tmp_path, a=np.zeros(0)))
    assert "no rows" in refused(npz(tmp_path)) or "empty zip" in refused(npz(tmp_path))


def test_arrays_are_read_with_their_axes(tmp_path: Path) -> None:
    file = npz(tmp_path, a=np.eye(2), b=np.arange(3))
    assert {name: array.shape for name, array in read_arrays(file).items()} == {
        "a": (2, 2),
        "b": (3,),
    }
    alone = tmp_path / "alone.npy"
    np.save(alone, np.eye(3))
    assert np.array_equal(read_arrays(alone)["alone"], np.eye(3))


def test_bad_arrays(tmp_path: Path) -> None:
    whole, cut, other = (tmp_path / name for name in ("whole.npy", "cut.npy", "other.npy"))
    np.save(whole, np.eye(30))
    cut.write_bytes(whole.read_bytes()[:500])
    other.write_text("a,b\n1,2\n")
    with pytest.raises(BadTable, match=r"is a damaged \.npy file"):
        read_arrays(cut)
    with pytest.raises(BadTable, match=r"is not a single NumPy array.*looks like CSV"):
        read_arrays(other)
    with pytest.raises(BadTable, match=r"There is no file .*Did you mean 'whole\.npy'"):
        read_arrays(tmp_path / "wole.npy")
    with pytest.raises(BadTable, match=r"has the suffix '.np'; arrays are .npz or \.npy files"):
        read_arrays(tmp_path / "a.np")
    np.save(other, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(BadTable, match=r"holds Python objects"):
        read_arrays(other)


def test_npz_never_unpickles(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "pwned"),)

    refused(npz(tmp_path, a=np.array([Bomb()], dtype=object)))
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("keep", [10, 60, 200, -3, -30])
def test_truncated_npz(tmp_path: Path, keep: int) -> None:
    content = bytes_of(RUNS, tmp_path, ".npz")
    assert "damaged NPZ" in refused(written(tmp_path, "runs.npz", content[:keep]))


def test_a_zip_of_other_things(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "runs.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(tmp_path / "runs.npz")


def test_npz_cannot_hold_missing_values(tmp_path: Path) -> None:
    with pytest.raises(BadTable, match="Column 'a' has missing values, which NPZ cannot hold"):
        write_table({"a": [1, None]}, tmp_path / "runs.npz")
    assert list(tmp_path.iterdir()) == []


def test_npz_takes_any_column_name(tmp_path: Path) -> None:
    table = pl.DataFrame({"file": [1], "allow_pickle": [2], "a/b c": [3]})
    write_table(table, tmp_path / "runs.npz")
    assert read_table(tmp_path / "runs.npz").equals(table)


# Writing and folders


def test_writing_to_an_unknown_format_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadTable, match=r"unknown suffix '\.xlsx'"):
        write_table(RUNS, tmp_path / "runs.xlsx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_nested_columns_do_not_fit_everywhere(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(BadTable):
        write_table(pl.DataFrame({"a": [[1, 2], [3]]}), tmp_path / f"runs{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_table(tmp_path: Path) -> None:
    write_table(RUNS, tmp_path / "runs.csv")
    with pytest.raises(BadTable):
        write_table(pl.DataFrame({"a": [[1, 2], [3]]}), tmp_path / "runs.csv")
    assert read_table(tmp_path / "runs.csv").equals(RUNS)


def test_read_tables_joins_a_folder(tmp_path: Path) -> None:
    write_table(as_frame({"a": [3, 4], "x": ["p", "q"]}), tmp_path / "b.parquet")
    write_table(as_frame({"a": [1.5], "z": [None]}), tmp_path / "a.parquet")
    written(tmp_path, ".kleiber-0123.parquet", b"half-written")
    written(tmp_path, "notes.txt", "not a table")
    assert read_tables(tmp_path).to_dict(as_series=False) == {
        "a": [1.5, 3.0, 4.0],
        "z": [None, None, None],
        "x": [None, "p", "q"],
    }


def test_read_tables_refuses(tmp_path: Path) -> None:
    with pytest.raises(BadTable, match=r"holds no \.parquet files"):
        read_tables(tmp_path)
    with pytest.raises(BadTable, match="There is no folder"):
        read_tables(tmp_path / "nowhere")
    write_table({"a": [1]}, tmp_path / "a.parquet")
    write_table({"a": ["x"]}, tmp_path / "b.parquet")
    with pytest.raises(BadTable, match=r"Column 'a' holds numbers in .*a\.parquet.* but text in"):
        read_tables(tmp_path)
    written(tmp_path, "b.parquet", b"PAR1 half")
    with pytest.raises(BadTable, match=r"b\.parquet' is a truncated Parquet file"):
        read_tables(tmp_path)


def test_json_text_of_a_table_is_json(tmp_path: Path) -> None:
    write_table(RUNS, tmp_path / "runs.jsonl")
    lines = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert [json.loads(line)["model"] for line in lines] == RUNS["model"].to_list()


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
def test_a_file_that_promises_more_than_memory(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few kB that hold three million equal numbers: said before anything is allocated."""
    file = tmp_path / f"t{suffix}"
    ones = np.ones(3_000_000)
    if suffix == ".npz":
        np.savez_compressed(file, a=ones)
    else:
        pl.DataFrame({"a": ones}).write_parquet(file)
    assert file.stat().st_size < 50_000
    assert read_table(file).height == len(ones)
    monkeypatch.setattr("kleiber.formats.machine_memory", lambda: 2**25)
    with pytest.raises(BadTable, match=r"holds 0.0 GiB of numbers, which the memory .* no room"):
        read_table(file)


@pytest.mark.long
def test_a_hundred_thousand_columns(tmp_path: Path) -> None:
    file = tmp_path / "wide.csv"
    names = ",".join(f"c{k}" for k in range(100_000))
    file.write_text(f"{names}\n{','.join(['1'] * 100_000)}\n")
    assert read_table(file).width == 100_000
    with pytest.raises(BadTable, match="two columns called 'c7'"):
        check_names([*names.split(","), "c7"], "it")


def test_a_link_to_itself(tmp_path: Path) -> None:
    file = tmp_path / "loop.csv"
    file.symlink_to(file)
    with pytest.raises(BadTable, match="link to a file that does not exist, or to itself"):
        read_table(file)


def test_one_json_document_is_no_table(tmp_path: Path) -> None:
    """As a trainer's state is; what of it is a table comes with the readers of logs."""
    file = tmp_path / "trainer_state.json"
    file.write_text(json.dumps({"log_history": [{"step": 1, "eval_loss": 2.0}]}))
    with pytest.raises(BadTable, match=r"one JSON document, .* JSON Lines \(\.jsonl\)"):
        read_table(file)
