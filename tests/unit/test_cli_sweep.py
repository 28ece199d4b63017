"""kleiber sweep: real trainings into a store, what is printed where, exit codes, refusals."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

import kleiber
from kleiber.cli import main
from kleiber.cli.bars import show_progress
from kleiber.sweeps.grid import read_sweep
from kleiber.sweeps.state import State, describe_progress, describe_state, format_seconds
from kleiber.sweeps.store import Failure, Folder

pytest.importorskip("torch", reason="trains networks")
SWEEP = """
[base]
steps = 100
seeds = 2
checkpoints = [0, 100]
[base.task]
kind = "teacher"
n_test = 128
[base.net]
kind = "mlp"
[base.optimiser]
kind = "{optimiser}"
rate = {rate}
[grid]
"net.width" = [4, 8, 16]
"task.n_data" = [32, 64]
"""
TRAINED = """
steps = 20
[task]
kind = "teacher"
n_data = 8
n_test = 8
[net]
kind = "mlp"
width = 4
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command line in this process: its exit code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kleiber", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, said.out, said.err

    return call


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A sweep of six runs."""
    file = tmp_path / "sweep.toml"
    file.write_text(SWEEP.format(optimiser="adam", rate=0.03))
    return file


def test_it_trains_resumes_and_lands_a_table_that_fit_reads(
    run: Run, file: Path, tmp_path: Path
) -> None:
    store = tmp_path / "runs"
    code, out, err = run("sweep", file, "-o", store, "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert document.pop("seconds") >= 0
    expected = {"total": 6, "found": 0, "finished": 6, "failed": 0, "lost": 0, "diverged": 0}
    assert document == {"store": str(store), **expected, "failures": []}
    before = {path: path.stat().st_mtime_ns for path in store.glob("*.parquet")}
    code, out, err = run("sweep", file, "-o", store)
    assert code == 0
    assert out.startswith("6 of 6 runs finished (6 found), 0.")
    assert {path: path.stat().st_mtime_ns for path in store.glob("*.parquet")} == before
    code, out, err = run("table", store, "-o", tmp_path / "runs.parquet")
    assert (code, out) == (0, "")
    assert err.startswith("24 rows, ")
    table = pl.read_parquet(tmp_path / "runs.parquet")
    for column in ("run", "n_params", "width", "n_data", "seed", "step", "loss", "flops", "rate"):
        assert table[column].null_count() == 0
    last = ["--where", "step = 100", "--draws", "0", "--json"]
    law = "A/n_params**alpha + B/n_data**beta"
    code, out, err = run("fit", law, tmp_path / "runs.parquet", *last)
    assert json.loads(out)["rows"] == 12
    assert run("fit", law, store, *last)[1].split('"seconds"')[0] == out.split('"seconds"')[0]


def test_python_and_the_command_line_do_the_same(run: Run, file: Path, tmp_path: Path) -> None:
    run("sweep", file, "-o", tmp_path / "one")
    table = kleiber.sweep(file, tmp_path / "two")
    assert table.equals(Folder(tmp_path / "one").read())
    for path in (tmp_path / "one").glob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_workers_train_the_same(run: Run, file: Path, tmp_path: Path) -> None:
    run("sweep", file, "-o", tmp_path / "one")
    code, out, _ = run("sweep", file, "-o", tmp_path / "two", "--workers", "1", "--json")
    assert code == 0
    assert json.loads(out)["finished"] == 6
    for path in (tmp_path / "one").glob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_members_that_diverge_are_counted_and_are_results(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text(SWEEP.format(optimiser="sgd", rate=1e4))
    code, out, _ = run("sweep", file, "-o", tmp_path / "runs")
    assert code == 0
    assert out.startswith("6 of 6 runs finished, 6 diverged, ")
    table = Folder(tmp_path / "runs").read()
    assert table.filter("diverged").height == 12


def test_failures_are_shown_and_exit_1(
    run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(spec: Any, states: Path | None = None) -> pl.DataFrame:
        if spec.net.width > 4:
            raise ValueError(f"no width [red]{spec.net.width}[/red]\nand more")
        return pl.DataFrame({"loss": [1.0]})

    monkeypatch.setattr("kleiber.sweeps.run.train_experiment", fail)
    code, out, _ = run("sweep", file, "-o", tmp_path / "runs")
    assert code == 1
    assert out.startswith("2 of 6 runs finished, 4 failed, ")
    assert out.count("ValueError: no width [red]") == 4
    assert "and more" not in out
    assert "--retry-failed tries them again" in out
    code, out, _ = run("sweep", file, "-o", tmp_path / "runs", "--json")
    document = json.loads(out)
    assert code == 1
    assert (document["found"], document["failed"], len(document["failures"])) == (2, 4, 4)
    monkeypatch.undo()
    code, out, _ = run("sweep", file, "-o", tmp_path / "runs", "--retry-failed", "--json")
    assert code == 0
    assert json.loads(out)["finished"] == 6


def test_strangers_are_warned_of_and_the_rest_goes_on(run: Run, file: Path, tmp_path: Path) -> None:
    store = tmp_path / "runs"
    run("sweep", file, "-o", store)
    first = sorted(store.glob("*.parquet"))[0]
    first.write_bytes(first.read_bytes()[:-50])
    code, out, err = run("table", store)
    assert code == 0
    assert f"{first.name}' is left out: it is a truncated or damaged Parquet file" in err
    code, out, err = run("sweep", file, "-o", store, "--json")
    assert code == 0
    assert (json.loads(out)["found"], json.loads(out)["finished"]) == (5, 6)
    assert f"{first.name}' is set aside" in err
    assert (store / "aside" / first.name).exists()


def test_bad_input_is_refused_in_one_line(run: Run, file: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(file.read_text().replace("net.width", "net.widht"))
    taken = tmp_path / "taken"
    taken.touch()
    out = ("-o", tmp_path / "runs")
    for words, message in (
        ((wrong, *out), "wrong.toml: net: no field 'widht'"),
        ((tmp_path / "none.toml", *out), "Cannot read"),
        ((file, "-o", taken), "is a file; give a folder"),
        ((file, *out, "--workers", "0"), "at least one worker, got 0"),
        ((file, *out, "--dask", "node1"), "tcp://HOST:PORT or local, got 'node1'"),
        ((file,), "Missing option"),
    ):
        code, said, err = run("sweep", *words)
        assert (code, said) == (2, "")
        assert err.count("\n") == 1
        assert message in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", ["sweep", "train"])
def test_somebodys_folder_is_refused_before_anything_is_done(
    run: Run, file: Path, tmp_path: Path, command: str
) -> None:
    store = tmp_path / "data"
    store.mkdir()
    (store / "mine.parquet").write_text("not a table")
    if command == "train":
        file.write_text(TRAINED)
    code, out, err = run(command, file, "-o", store)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "holds 1 Parquet file and no run of kleiber" in err
    assert "--adopt" in err
    assert [item.name for item in store.iterdir()] == ["mine.parquet"]
    code, out, err = run(command, file, "-o", store, "--adopt", "--json")
    assert code == 0
    assert ("mine.parquet' is set aside" in err) == (command == "sweep")  # train looks at one file
    assert run(command, file, "-o", store)[0] == 0


def test_what_no_memory_holds_is_refused_before_anything_is_done(
    run: Run, file: Path, tmp_path: Path
) -> None:
    file.write_text(file.read_text().replace("[4, 8, 16]", "[4, 100000000000]"))
    spec = tmp_path / "spec.toml"
    spec.write_text(TRAINED.replace("width = 4", "width = 100000000000"))
    for words in (("sweep", file), ("train", spec)):
        code, out, err = run(*words, "-o", tmp_path / "runs")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "The Experiment needs at least" in err
    assert not (tmp_path / "runs").exists()


def test_an_allocation_that_fails_is_one_sentence(
    run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(TRAINED)
    for error in (MemoryError("Unable to allocate"), RuntimeError("can't allocate memory: 9 TB")):

        def fail(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        monkeypatch.setattr("kleiber.networks.train", fail)
        code, out, err = run("train", file, "-o", tmp_path / "runs")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "The memory does not suffice to train this Experiment: " in err


@pytest.mark.parametrize("kind", ["folder", "pipe", "half"])
def test_train_sets_aside_what_has_the_name_of_its_run(
    run: Run, file: Path, tmp_path: Path, kind: str
) -> None:
    file.write_text(TRAINED)
    store = tmp_path / "runs"
    assert run("train", file, "-o", store)[0] == 0
    (landed,) = store.glob("*.parquet")
    content = landed.read_bytes()
    landed.unlink()
    if kind == "folder":
        landed.mkdir()
    elif kind == "pipe":
        os.mkfifo(landed)
    else:
        landed.write_bytes(content[:-50])
    code, _, err = run("train", file, "-o", store)
    assert code == 0
    assert f"{landed.name}' is set aside" in err
    assert landed.read_bytes() == content
    assert (store / "aside" / landed.name).exists()


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    text = StringIO()
    state = State(9, 2, 4, running=2, failed=1, diverged=1, seconds=3, left=245.0)
    with show_progress(Console(file=text, force_terminal=True, width=100), stages=False) as show:
        show(5, 9, describe_progress(state))
    assert "5/9" in text.getvalue()
    assert "(2 found), 2 running, 1 failed, 1 diverged, about 4:05 left" in text.getvalue()
    text = StringIO()
    with show_progress(Console(file=text, force_terminal=False)) as show:
        show(5, 9, "refits")
    assert text.getvalue() == ""


def test_counts_and_times_in_words() -> None:
    assert describe_state(State(3, 1, 2, running=1)) == "2 of 3 runs finished (1 found), 1 running"
    assert [format_seconds(s) for s in (0.04, 59.94, 61, 3661)] == [
        "0.0 s",
        "59.9 s",
        "1:01",
        "1:01:01",
    ]


def test_more_failures_than_are_shown_are_counted(run: Run, file: Path, tmp_path: Path) -> None:
    store = Folder(tmp_path / "runs")
    for spec in read_sweep(file):
        store.record(Failure(spec.key(), "OSError: it failed", 5))
    code, out, _ = run("sweep", file, "-o", store.path)
    assert code == 1
    assert out.count("at step 5: OSError: it failed") == 5
    assert "... 1 more in" in out


def test_an_interrupt_is_said_in_one_line(
    run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(spec: Any, states: Path | None = None) -> pl.DataFrame:
        raise KeyboardInterrupt

    monkeypatch.setattr("kleiber.sweeps.run.train_experiment", interrupted)
    said = "kleiber: interrupted; what has finished is kept, give the same command again\n"
    assert run("sweep", file, "-o", tmp_path / "runs") == (130, "", said)


class Malicious:
    """A pickle that would make a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "kind", ["nonsense", "folder", "pipe", "pickle", "other run", "list", "parts", "shapes"]
)
def test_a_damaged_state_is_set_aside_and_its_run_made(
    run: Run, file: Path, tmp_path: Path, kind: str
) -> None:
    import torch

    states = tmp_path / "runs" / ".states"
    states.mkdir(parents=True)
    key = read_sweep(file)[0].key()
    state = states / f"{key}.pt"
    done = {"step": 50, "measured": 0, "seconds": 1.0, "rows": []}
    parts = {"params": {}, "buffers": {}, "optimiser": {}, "died": {}}
    held = {"format": 1, "key": key, "stacks": {0: {"done": done, "state": parts}}}
    if kind == "folder":
        state.mkdir()
    elif kind == "pipe":
        os.mkfifo(state)
    elif kind == "nonsense":
        state.write_bytes(b"nonsense")
    else:
        if kind == "shapes":
            names = ("0.weight", "0.bias", "1.weight", "1.bias")
            parts["params"] = {name: torch.zeros(1) for name in names}
            parts["optimiser"] = {"first": torch.zeros(1), "second": torch.zeros(1)}
        whole: dict[str, Any] = {
            "pickle": {**held, "stacks": Malicious(tmp_path / "touched")},
            "other run": {**held, "key": "another"},
            "list": [held],
        }
        torch.save(whole.get(kind, held), state)
    code, out, err = run("sweep", file, "-o", tmp_path / "runs")
    assert (code, err.count("\n")) == (0, 1)
    assert out.startswith("6 of 6 runs finished, ")
    assert "holds no state of a run" in err
    assert [item.name for item in states.iterdir()] == [f"{state.name}.unreadable"]
    assert not (tmp_path / "touched").exists()
