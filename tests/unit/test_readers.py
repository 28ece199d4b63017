"""Readers of logs: the shared examples, what is noted, and files that are damaged or hostile."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import kleiber
from kleiber.errors import BadTable
from kleiber.readers.registry import catalogue

SIZES = {"d64": 49_152, "d128": 196_608}


@pytest.fixture
def formats(data_path: Callable[[str], Path]) -> Path:
    return data_path("formats")


def planted(size: float, step: np.ndarray) -> np.ndarray:
    return 2 + 10 * size**-0.25 + (step + 1.0) ** -0.5


@pytest.mark.parametrize(
    ("source", "exact"),
    [("tensorboard", 1e-6), ("trackio/ladder.db", 1e-12), ("mlruns", 1e-12)],
)
def test_trackers(formats: Path, source: str, exact: float) -> None:
    if source == "tensorboard":
        pytest.importorskip("tensorboard")
    table = kleiber.read(formats / source).table
    assert len(table) == 22
    for run, size in SIZES.items():
        part = table.filter(pl.col("run") == run).sort("step")
        assert part["step"].to_list() == list(range(0, 101, 10))
        assert part["n_params"].to_list() == [size] * 11
        truth = planted(size, part["step"].to_numpy())
        assert part["train_loss"].to_numpy() == pytest.approx(truth, rel=exact)


def test_hugging_face(formats: Path) -> None:
    logs = kleiber.read(formats / "hf" / "trainer_state.json")
    steps = logs.table["step"].to_numpy()
    assert steps.tolist() == list(range(10, 101, 10))
    assert logs.table["train_loss"].to_numpy() == pytest.approx(planted(SIZES["d64"], steps))
    assert logs.table["loss"].drop_nulls().len() == 2
    assert "mean over the run" in logs.notes[0]
    last = kleiber.read(formats / "hf" / "trainer_state.json", at="last", target="eval_loss")
    assert last.table["step"].to_list() == [100]


def test_lightning(formats: Path) -> None:
    table = kleiber.read(formats / "lightning_csv").table
    assert table["step"].to_list() == list(range(0, 101, 10))
    assert table["run"].unique().to_list() == ["ladder/version_0"]
    truth = 2 + (table["step"].to_numpy() + 1.0) ** -0.5
    assert table["train_loss"].to_numpy() == pytest.approx(truth)


def test_exports_of_wandb(formats: Path) -> None:
    runs = kleiber.read(formats / "plain" / "wandb_runs_table.csv")
    assert runs.table["n_params"].to_list() == [*SIZES.values()]
    assert runs.table["loss"].to_list() == [2.8614, None]
    assert "did not finish: d128" in runs.notes[0]
    kept = kleiber.read(formats / "plain" / "wandb_runs_table.csv", target="eval/loss")
    assert len(kept.table) == 1
    assert "1 rows without a number in loss" in " ".join(kept.notes)
    panel = kleiber.read(formats / "plain" / "wandb_panel.csv").table
    assert panel.filter(pl.col("run") == "d64")["train_loss"][0] == 3.67
    assert set(panel.columns) == {"run", "step", "train_loss"}
    history = kleiber.read(formats / "plain" / "wandb_history.jsonl").table
    assert history["train_loss"][:2].to_list() == pytest.approx([3.6, 3.55])


@pytest.mark.parametrize(
    ("name", "rows", "first", "size"),
    [
        ("nanogpt.log", 201, 11.0, 123.59e6),
        ("torchtitan.log", 10, 8.2, 6_270_208),
        ("megatron.log", 10, 5.047659, None),
        ("olmo_core.log", 10, 8.0, None),
        ("hf_console.log", 11, 6.3546, None),
    ],
)
def test_text_logs(formats: Path, name: str, rows: int, first: float, size: float | None) -> None:
    logs = kleiber.read(formats / "plain" / name)
    assert len(logs.table) == rows
    assert logs.table["train_loss"].drop_nulls()[0] == pytest.approx(first)
    if size is not None:
        assert logs.table["n_params"].unique().to_list() == pytest.approx([size])
    else:
        given = kleiber.read(formats / "plain" / name, set={"n_params": 7.0})
        assert given.table["n_params"].unique().to_list() == [7.0]
    rounded = any("they are rounded" in note for note in logs.notes)
    assert rounded == (name != "megatron.log")


def test_evaluations(formats: Path) -> None:
    folder = kleiber.read(formats / "lmeval" / "out").table
    tasks = folder.filter(pl.col("acc").is_not_null())
    assert tasks["acc"].to_list() == [1.0]
    counts = folder.filter(pl.col("attempts").is_not_null())
    assert sorted(counts.select("task", "attempts", "successes").rows()) == sorted(
        [("toy_mc", 1, 1)] * 2 + [("toy_gen", 4, 0)] * 2
    )
    monkeys = kleiber.read(formats / "plain" / "monkeys.json").table
    assert monkeys.rows() == [(0, 2, 1)]
    light = kleiber.read(formats / "plain" / "lighteval").table
    assert light["pass@k:k=1&n=4"].drop_nulls().to_list() == [0.25]
    assert light["attempts"].drop_nulls().to_list() == [4, 4]


def test_inspect(formats: Path) -> None:
    pytest.importorskip("zstandard")
    (text,) = (formats / "inspect").glob("*.json")
    (archive,) = (formats / "inspect").glob("*.eval")
    for path in (text, archive):
        given = json.loads(text.read_text())["samples"]
        table = kleiber.read(path).table
        assert table["attempts"].to_list() == [4, 4]
        if path == text:
            right = [
                sum(s["scores"]["match"]["value"] == "C" for s in given if s["id"] == n)
                for n in "ab"
            ]
            assert table["successes"].to_list() == right


def test_tables_of_spreadsheets(formats: Path) -> None:
    plain = formats / "plain"
    wanted = kleiber.read(plain / "runs.csv").table
    for name in (
        "runs.tsv",
        "runs.csv.gz",
        "runs.json",
        "runs.arrow",
        "runs.feather",
        "semicolon.csv",
    ):
        found = kleiber.read(plain / name).table
        assert found.columns == wanted.columns
        assert found.to_numpy() == pytest.approx(wanted.to_numpy())
    for name in ("suffixes.csv", "thousands.csv", "decimal_comma.csv"):
        logs = kleiber.read(plain / name)
        assert logs.table.to_numpy() == pytest.approx(wanted.to_numpy(), rel=1e-4)
        assert "are read as" in logs.notes[0]


def test_cases(data_path: Callable[[str], Path]) -> None:
    cases = data_path("formats").parents[1] / "cases"
    nested = kleiber.read(cases / "15_json_logs" / "nested.jsonl").table
    assert nested.columns == ["n_params", "n_tokens", "loss"]
    state = kleiber.read(cases / "15_json_logs" / "trainer_state.json").table
    assert state["loss"].drop_nulls().len() == 10
    wide = kleiber.read(cases / "16_wide_wandb" / "wandb_wide.csv").table
    fits = kleiber.fit_groups("E + A/step**alpha", wide, group="run", draws=0)
    found = {item.value: item.fit.params for item in fits.fits if item.fit is not None}
    assert found["gpt-small"]["E"] == pytest.approx(2.0, abs=0.2)
    assert found["gpt-big"]["E"] == pytest.approx(1.8, abs=0.2)
    rows = kleiber.read(cases / "17_per_sample_rows" / "c_long.csv").table
    assert rows.group_by("problem").agg(pl.col("attempts").sum()).height == 100


def test_restarts_and_steps_again(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text(
        "iter 0: loss 5.0000, time 1ms\niter 10: loss 4.0000, time 1ms\n"
        "iter 20: loss 3.5000, time 1ms\niter 10: loss 3.9000, time 1ms\n"
        "iter 20: loss 3.4000, time 1ms\n"
    )
    logs = kleiber.read(log)
    assert logs.table["train_loss"].to_list() == [5.0, 3.9, 3.4]
    assert "after a restart" in " ".join(logs.notes)


def test_several_logs_are_told_apart(tmp_path: Path) -> None:
    for name, loss in (("a", 4.0), ("b", 5.0)):
        (tmp_path / f"{name}.log").write_text(f"iter 0: loss {loss}, time 1ms\n")
    files = [tmp_path / "a.log", tmp_path / "b.log"]
    for source in (files, tmp_path):
        table = kleiber.read(source).table
        assert table.select("run", "train_loss").rows() == [("a", 4.0), ("b", 5.0)]


def test_melt(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text("step,small,big\n1,3.0,2.5\n2,2.8,\n")
    table = kleiber.read(path, melt=True).table
    assert table.rows() == [(1, "small", 3.0), (2, "small", 2.8), (1, "big", 2.5)]


def spoil(raw: bytes) -> list[bytes]:
    return [raw[: len(raw) // 2], b"", b"\x00" * 64, raw[:40]]


@pytest.mark.parametrize(
    "name",
    [
        "hf/trainer_state.json", "trackio/ladder.db", "plain/monkeys.json", "plain/wandb_panel.csv",
        "plain/wandb_runs_table.csv", "plain/wandb_history.jsonl", "plain/nanogpt.log",
        "plain/runs.arrow", "plain/runs.csv.gz", "plain/runs.json", "plain/megatron.log",
        "lightning_csv/ladder/version_0/metrics.csv",
    ],
)  # fmt: skip
def test_damaged_files(formats: Path, tmp_path: Path, name: str) -> None:
    """A damaged file gives what is left of it, or one sentence."""
    for k, raw in enumerate(spoil((formats / name).read_bytes())):
        path = tmp_path / str(k) / Path(name).name
        path.parent.mkdir()
        path.write_bytes(raw)
        said = ""
        try:
            kleiber.read(path)
        except BadTable as error:
            said = str(error)
        assert len(said.splitlines()) <= 1
        assert not said or said.endswith((".", "?"))


def test_hostile_files(tmp_path: Path) -> None:
    with pytest.raises(BadTable, match="There is no file or folder"):
        kleiber.read(tmp_path / "none")
    (tmp_path / "x.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(BadTable, match="No reader knows"):
        kleiber.read(tmp_path / "x.pkl")
    with pytest.raises(BadTable, match="holds no log"):
        kleiber.read(tmp_path)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("create table t (a)")
    other.close()
    with pytest.raises(BadTable, match="No reader knows"):
        kleiber.read(tmp_path / "other.db")
    with zipfile.ZipFile(tmp_path / "x.eval", "w") as archive:
        archive.writestr("other.json", "{}")
    with pytest.raises(BadTable):
        kleiber.read(tmp_path / "x.eval")
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadTable, match="No log has 'c'"):
        kleiber.read(tmp_path / "t.csv", target="c")
    with pytest.raises(ValueError, match="at"):
        kleiber.read(tmp_path / "t.csv", at="first")


def test_every_reader_is_found_and_described() -> None:
    readers = catalogue()
    assert list(readers)[-1] == "table"
    assert all(reader.doc and reader.name == name for name, reader in readers.items())


def test_command(formats: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs.parquet"
    words = [str(formats / "trackio" / "ladder.db"), "--at", "last", "-o", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "kleiber", "read", *words, "--set", "lr=0.001"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    table = kleiber.read_table(out)
    assert table["run"].to_list() == ["d64", "d128"]
    assert table["lr"].to_list() == [0.001] * 2
