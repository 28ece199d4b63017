"""kleiber train: lands one run, finds it again, goes on after a kill, refuses bad specs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytest.importorskip("torch")

from kleiber.cli import main
from kleiber.experiment import read_experiment
from kleiber.networks import loop
from kleiber.networks import train as plain_train
from kleiber.sweeps.store import Folder

SPEC = """
steps = 40
seeds = 3
checkpoints = 4
batch = 16
[task]
kind = "formula"
n_data = 64
[net]
kind = "mlp"
width = 6
depth = 2
[optimiser]
kind = "sgd"
rate = 0.05
"""


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it said where."""

    code: Any
    out: str
    err: str


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Said]:
    """Call the command in this process, in a folder with spec.toml."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.toml").write_text(SPEC)

    def call(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["kleiber", "train", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Said(ended.value.code, out, err)

    return call


def test_a_run_lands_and_is_found_again(run: Callable[..., Said]) -> None:
    said = run("spec.toml", "-o", "runs", "--json")
    assert said.code == 0
    assert said.err == ""
    document = json.loads(said.out)
    spec = read_experiment("spec.toml")
    assert document["key"] == spec.key()
    assert (document["seeds"], document["steps"], document["rows"]) == (3, 40, 15)
    assert not document["found"]
    table = Folder(Path("runs")).read([spec.key()])
    assert table.select("seed", "step", "loss").equals(
        plain_train(spec).select("seed", "step", "loss")
    )
    ends = table.filter(pl.col("step") == 40)["loss"]
    assert document["ends"]["loss"]["median"] == ends.median()
    assert not Path("runs/.states").exists()
    again = json.loads(run("spec.toml", "-o", "runs", "--json").out)
    assert again["found"]
    assert {**again, "found": False, "seconds": 0} == {**document, "seconds": 0}


def test_what_people_read(run: Callable[..., Said]) -> None:
    said = run("spec.toml", "-o", "runs")
    assert said.code == 0
    assert "3 seeds of 61 parameters, 40 steps: trained in" in said.out
    assert "loss at the end: " in said.out
    assert "found" in run("spec.toml", "-o", "runs").out


def test_a_killed_run_goes_on(run: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(loop, "STRIDE", 5)
    spec = read_experiment("spec.toml")
    undisturbed = plain_train(spec)

    def killed(*args: Any, progress: Any = None, **named: Any) -> pl.DataFrame:
        def stop(done: int, total: int, note: str) -> None:
            if done > 20:
                raise KeyboardInterrupt

        return plain_train(*args, progress=stop, **named)

    with monkeypatch.context() as patch:
        patch.setattr("kleiber.networks.train", killed)
        assert run("spec.toml", "-o", "runs").code == 130
    state = Path("runs/.states") / f"{spec.key()}.pt"
    assert state.exists()
    assert not list(Path("runs").glob("*.parquet"))
    assert run("spec.toml", "-o", "runs").code == 0
    assert not state.exists()
    table = Folder(Path("runs")).read([spec.key()])
    assert table.select(undisturbed.columns).equals(undisturbed)


def test_a_run_of_which_no_seed_lives(run: Callable[..., Said]) -> None:
    text = SPEC.replace("rate = 0.05", "rate = 1e9")
    Path("wild.toml").write_text(text)
    said = run("wild.toml", "-o", "runs")
    assert said.code == 1
    assert "diverged: seeds 0, 1, 2" in said.out


def test_what_is_refused(run: Callable[..., Said]) -> None:
    Path("bad.toml").write_text(SPEC.replace("width", "widht"))
    said = run("bad.toml", "-o", "runs")
    assert said.code == 2
    assert "net: no field 'widht'" in said.err
    assert said.err.count("\n") == 1
    assert not Path("runs").exists()
    assert run("none.toml", "-o", "runs").code == 2
    release = Folder(Path("runs")).claim(read_experiment("spec.toml").key())
    assert release is not None
    said = run("spec.toml", "-o", "runs")
    assert said.code == 2
    assert "Another process is training" in said.err
    release()


def test_a_device_that_is_not_there_is_refused_before_anything_is_made(
    run: Callable[..., Said],
) -> None:
    for device in ("banana", "cuda:999"):
        said = run("spec.toml", "-o", "runs", "--device", device)
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1), said
        assert f"device '{device}' cannot be used" in said.err
        assert not Path("runs").exists()
