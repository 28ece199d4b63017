"""Public tables come under kleiber's column names, from the published form or the shared one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from kleiber.data.runs import load_runs
from kleiber.errors import BadTable

TABLES = ("chinchilla_epoch", "learning_curves_vision", "norms", "norm_optima", "passk",
          "passk_checkpoints")  # fmt: skip


@pytest.fixture
def shared(data_path: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLEIBER_DATA", str(data_path("runs/chinchilla_epoch.csv").parents[1]))


@pytest.mark.usefixtures("shared")
def test_the_shared_tables() -> None:
    rows = {name: len(load_runs(name)) for name in TABLES}
    assert rows["chinchilla_epoch"] == 245
    assert rows["passk"] == 7 * 128
    assert rows["norm_optima"] == 30
    passk = load_runs("passk").filter(pl.col("model") == "Pythia 1B")
    assert passk["n_params"].unique().to_list() == [1e9]
    assert (passk["successes"] == 0).sum() == 33  # section 8.1 of the notes on the hard tail
    assert (passk["successes"] / passk["attempts"]).mean() == pytest.approx(0.00833, abs=5e-6)
    along = load_runs("passk_checkpoints")
    assert rows["passk_checkpoints"] == 9097  # 72 checkpoints, one with 9 problems
    assert along.select("model", "n_tokens").n_unique() == 72
    assert along["stopped"].all()
    curves = load_runs("learning_curves_vision")
    assert curves.select("task", "model").n_unique() == 36
    assert curves["fitted"].any()
    assert not curves["fitted"].all()


@pytest.mark.usefixtures("shared")
def test_the_published_form_gives_the_same_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = load_runs("chinchilla_epoch")
    (tmp_path / "runs").mkdir()
    published = known.select(
        pl.col("n_params").alias("Model Size"), pl.col("flops").alias("Training FLOP"), "loss"
    )
    published.write_csv(tmp_path / "runs" / "svg_extracted_data.csv")
    monkeypatch.setenv("KLEIBER_DATA", str(tmp_path))
    again = load_runs("chinchilla_epoch")
    assert again["epoch_kept"].to_list() == known["epoch_kept"].to_list()
    assert again["n_tokens"].to_list() == pytest.approx(known["n_tokens"].to_list(), rel=1e-12)


def test_published_attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "passk").mkdir()
    pl.DataFrame(
        {
            "Model": ["Pythia 70M"] * 2 + ["Pythia 2.8B"],
            "Benchmark": ["MATH"] * 3,
            "Problem Idx": [4, 4, 5],
            "Num. Samples Total": [10, 10, 10],
            "Num. Samples Correct": [3, 3, 0],
            "Scaling Parameter": [1, 10, 1],
            "Score": [0.3, 1.0, 0.0],
        }
    ).write_parquet(tmp_path / "passk" / "large_language_monkeys_original_pass_at_k.parquet")
    monkeypatch.setenv("KLEIBER_DATA", str(tmp_path))
    table = load_runs("passk")
    assert table.rows() == [
        ("Pythia 70M", 7e7, "MATH", 4, 10, 3),
        ("Pythia 2.8B", 2.8e9, "MATH", 5, 10, 0),
    ]


def test_other_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLEIBER_DATA", str(tmp_path))
    for name, path in (
        ("chinchilla_epoch", "runs/chinchilla_epoch.csv"),
        ("learning_curves_vision", "runs/learning_curves_vision.csv"),
        ("norms", "norms/learning_curves.csv"),
        ("passk_checkpoints", "passk/pythia_math_checkpoints.csv"),
        ("passk", "passk/pythia_math_n10000.csv"),
    ):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("a,b\n1,2\n")
        with pytest.raises(BadTable, match="has no column"):
            load_runs(name)
    (tmp_path / path).write_text("model,benchmark,problem,n,c\nlarge,MATH,1,2,1\n")
    with pytest.raises(BadTable, match="does not end with its size"):
        load_runs("passk")
    with pytest.raises(BadTable, match="no table named 'mnist'"):
        load_runs("mnist")
