"""kleiber compare and kleiber next: what they print where, exit codes, and what they refuse."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

import kleiber
from kleiber.cli import main
from kleiber.fitting.compare import compare, describe_comparison
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.record import Fit
from kleiber.fitting.saved import load, save
from kleiber.planning.next_run import next_run

FLOOR, NO_FLOOR = "E + A*n**-alpha", "A*n**-alpha"
TRUTH = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
QUICK = ("--least-squares", "--draws", "20")


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it said where."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as the one JSON document that it must be."""
        return json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


Run = Callable[..., Said]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command line in this process."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["kleiber", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return Said(left.value.code, said.out, said.err)

    return call


@pytest.fixture
def refused(run: Run) -> Callable[..., str]:
    """Call it with what must be refused: exit 2, one line on stderr, nothing on stdout."""

    def call(*words: str | Path) -> str:
        said = run(*words)
        assert said.code == 2, said
        assert said.out == ""
        assert said.err.count("\n") == 1
        assert said.err.startswith("kleiber: ")
        return said.err

    return call


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a power law with a floor."""
    rng = np.random.default_rng(1)
    n = np.exp(rng.uniform(0, 6, 40))
    loss = (1.8 + 2 * n**-0.5) * np.exp(0.02 * rng.standard_normal(40))
    path = tmp_path_factory.mktemp("table") / "runs.csv"
    frame = pl.DataFrame({"n": n, "loss": loss, "run": np.arange(40) % 13, "kind": ["a"] * 40})
    frame.write_csv(path)
    return path


@pytest.fixture(scope="module")
def made() -> Fit:
    rng = np.random.default_rng(0)
    n, d = np.exp(rng.uniform(*np.log([(1e7, 1e9), (1e9, 2e11)]), size=(40, 2))).T
    loss = kleiber.laws.chinchilla(n, d, **TRUTH) * np.exp(0.01 * rng.standard_normal(40))
    runs = {"n_params": n, "n_tokens": d, "loss": loss}
    return kleiber.fit("chinchilla", runs, noise=Noise("log"), draws=100)


@pytest.fixture(scope="module")
def saved(made: Fit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fit") / "fit.json"
    save(made, path)
    return path


# kleiber compare


def test_compare_prints_one_document(run: Run, table: Path) -> None:
    """That of the function with the same settings."""
    said = run(
        "compare", table, NO_FLOOR, FLOOR, "--beyond", "n=20,60", *QUICK, "--seed", "3",
        "--level", "0.9", "--by", "run", "--json",
    )  # fmt: skip
    assert said.code == 0
    assert said.err == ""
    wanted = compare(
        [NO_FLOOR, FLOOR],
        pl.read_csv(table),
        beyond="n",
        origins=[20.0, 60.0],
        noise=Noise("log"),
        draws=20,
        seed=3,
        level=0.9,
        by="run",
    )
    assert said.document == json.loads(json.dumps(describe_comparison(wanted)))
    assert said.document["verdict"] == f"{FLOOR} extrapolates best"


def test_compare_prints_a_table_for_people(run: Run, table: Path) -> None:
    said = run("compare", table, NO_FLOOR, FLOOR, "--beyond", "n=60", *QUICK)
    assert said.code == 0
    first, *lines = said.out.splitlines()
    assert first == f"{FLOOR} extrapolates best"
    assert any(line.startswith(NO_FLOOR) and "worse" in line for line in lines)
    assert "mean absolute residual beyond n = 60" in lines
    assert "note: One origin only: the ranking rests on a single split." in lines


def test_compare_prepares_its_table(run: Run, table: Path) -> None:
    """The noise, a filter, a new name, a derived column and another target are passed on."""
    said = run(
        "compare", table, "E + A*size**-alpha", "A*size**-alpha", "--beyond", "size=60",
        "--rename", "size=n", "--with", "error=loss-1", "--where", "run < 10",
        "--target", "error", "--linear", "--huber", "0.05", "--draws", "10", "--json",
    )  # fmt: skip
    assert said.code == 0, said.err
    frame = pl.read_csv(table).filter(pl.col("run") < 10).rename({"n": "size"})
    wanted = compare(
        ["E + A*size**-alpha", "A*size**-alpha"],
        frame.with_columns(error=pl.col("loss") - 1),
        beyond="size",
        origins=[60.0],
        target="error",
        noise=Noise("linear", delta=0.05),
        draws=10,
    )
    assert said.document == json.loads(json.dumps(describe_comparison(wanted)))


def test_a_person_who_watches_sees_counts_and_the_time_left(
    run: Run, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal only, and on stderr."""
    seen = io.StringIO()
    words = ("compare", table, NO_FLOOR, FLOOR, "--beyond", "n=60", *QUICK, "--json")
    quiet = run(*words)
    assert quiet.err == ""

    def terminal(*, stderr: bool = False) -> Console:
        return Console(file=seen if stderr else io.StringIO(), force_terminal=True, width=120)

    monkeypatch.setattr("kleiber.cli.decide.open_console", terminal)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    watched = run(*words)
    assert watched.out == quiet.out
    assert re.search(r"searches.*2/2.*\d:\d\d:\d\d", seen.getvalue())
    assert re.search(r"refits.*40/40.*\d:\d\d:\d\d", seen.getvalue())


COMPARE = {
    "one law": ([FLOOR], r"A comparison needs a list of at least two laws, got 1"),
    "unknown law": ([FLOOR, "chinchila"], r"No law is called 'chinchila'. Did you mean"),
    "no formula": ([FLOOR, "E +* n"], r"Cannot read the formula 'E +* n'"),
    "unknown column": ([FLOOR, NO_FLOOR, "--beyond", "N"], r"no column 'N' to extrapolate along"),
    "text column": ([FLOOR, NO_FLOOR, "--beyond", "kind"], r"kind"),
    "no number": ([FLOOR, NO_FLOOR, "--beyond", "n=big"], r"--beyond takes a number, got 'big'"),
    "no origin": ([FLOOR, NO_FLOOR, "--beyond", "n="], r"--beyond takes a number, got ''"),
    "far origin": ([FLOOR, NO_FLOOR, "--beyond", "n=1e9"], r"no origin that leaves 5 rows to fit"),
    "unknown group": ([FLOOR, NO_FLOOR, "--by", "seed"], r"No column 'seed' to group by"),
    "unknown target": ([FLOOR, NO_FLOOR, "--target", "los"], r"los"),
    "one draw": ([FLOOR, NO_FLOOR, "--draws", "1"], r"draws must be a whole number from 2, got 1"),
    "no draws": (
        [FLOOR, NO_FLOOR, "--draws", "-7"],
        r"draws must be a whole number from 2, got -7",
    ),
    "level": ([FLOOR, NO_FLOOR, "--level", "95"], r"level must lie between 0 and 1, got 95"),
    "two noises": ([FLOOR, NO_FLOOR, "--least-squares", "--huber", "1e-3"], r"exclude each other"),
    "half a noise": ([FLOOR, NO_FLOOR, "--linear"], r"--linear needs"),
    "empty": ([FLOOR, NO_FLOOR, "--where", "n > 1e9"], r""),
    "too few": ([FLOOR, NO_FLOOR, "--where", "n < 2"], r""),
}


@pytest.mark.parametrize("case", COMPARE)
def test_what_compare_refuses(case: str, refused: Callable[..., str], table: Path) -> None:
    words, message = COMPARE[case]
    beyond = [] if "--beyond" in words else ["--beyond", "n"]
    assert message in refused("compare", table, *words, *beyond)


def test_compare_needs_a_column_and_a_table(refused: Callable[..., str], table: Path) -> None:
    assert "Missing option '--beyond'" in refused("compare", table, FLOOR, NO_FLOOR)
    missing = table.with_name("none.csv")
    assert "none.csv" in refused("compare", missing, FLOOR, NO_FLOOR, "--beyond", "n")


# kleiber next


AT = ("--at", "n_params=7e10", "--at", "n_tokens=1.4e12")


def test_next_prints_one_document(run: Run, saved: Path) -> None:
    said = run("next", saved, *AT, "--budget", "1e21", "--runs", "3", "--json")
    assert said.code == 0
    assert said.err == ""
    aim = {"n_params": 7e10, "n_tokens": 1.4e12}
    assert said.document == next_run(load(saved), aim, 1e21, runs=3).to_dicts()
    assert sum(row["cost"] for row in said.document) <= 1e21


def test_next_narrows_a_parameter_for_its_cost(run: Run, saved: Path) -> None:
    words = ("--budget", "1e21", "--runs", "2", "--per-cost", "--cost", "n_params*n_tokens")
    said = run("next", saved, "--parameter", "beta", *words, "--json")
    assert said.code == 0
    wanted = next_run(load(saved), "beta", 1e21, "n_params*n_tokens", runs=2, per_cost=True)
    assert said.document == wanted.to_dicts()


def test_next_prints_a_table_for_people(run: Run, saved: Path) -> None:
    said = run("next", saved, "--parameter", "beta", "--budget", "1e21", "--runs", "2")
    assert said.code == 0
    title, head, _, *rows = said.out.splitlines()
    assert title == "next runs, and what remains of today's interval after each"
    assert head.split() == ["n_params", "n_tokens", "cost", "remaining"]
    assert len(rows) == 2


def test_next_keeps_to_limits(run: Run, saved: Path) -> None:
    """As the function does, and with an end left open."""
    words = ("--limit", "n_params=:3e9", "--limit", "n_tokens=2e9:5e10", "--runs", "6")
    said = run("next", saved, *AT, "--budget", "1e22", *words, "--json")
    assert said.code == 0
    limits = {"n_params": (0.0, 3e9), "n_tokens": (2e9, 5e10)}
    aim = {"n_params": 7e10, "n_tokens": 1.4e12}
    assert said.document == next_run(load(saved), aim, 1e22, runs=6, limits=limits).to_dicts()
    places = [(row["n_params"], row["n_tokens"]) for row in said.document]
    assert len(set(places)) == len(places) == 6
    assert all(n <= 3e9 and 2e9 <= d <= 5e10 for n, d in places)


def test_next_chooses_from_a_table(run: Run, saved: Path, tmp_path: Path) -> None:
    """Columns that JSON does not have are written as text, gaps as null."""
    pl.DataFrame(
        {
            "n_params": [1e8, 1e12],
            "n_tokens": [1e10, 1e13],
            "when": pl.Series(["2026-01-02", "2026-03-04"]).str.to_date(),
            "note": [None, "dear"],
            "share": [float("inf"), 0.5],
            "kept": [True, False],
            "gpus": [8, 1024],
        }
    ).write_parquet(tmp_path / "able.parquet")
    said = run(
        "next", saved, *AT, "--budget", "1e21", "--candidates", tmp_path / "able.parquet", "--json"
    )
    assert said.code == 0, said.err
    (row,) = said.document
    assert row["n_params"] == 1e8
    assert (row["when"], row["note"], row["share"]) == ("2026-01-02", None, None)
    assert (row["kept"], row["gpus"]) == (True, 8)


NEXT = {
    "neither": ([], r"Give --parameter NAME, or --at NAME=VALUE"),
    "both": (["--parameter", "beta", *AT], r"Give --parameter NAME, or --at NAME=VALUE"),
    "unknown parameter": (["--parameter", "gamma"], r"no parameter 'gamma'; this fit has E, A, B"),
    "half a place": (["--at", "n_params=1e9"], r"A prediction is at values of n_params, n_tokens"),
    "no place": (["--at", "n_params"], r"--at takes NAME=VALUE, got 'n_params'"),
    "no number": (["--at", "n_params=big"], r"--at takes a number, got 'big'"),
    "twice": (["--at", "n_params=1", "--at", "n_params=2"], r"--at names 'n_params' twice"),
    "nowhere": (["--at", "n_params=nan", "--at", "n_tokens=1"], r"at finite values"),
    "unaffordable": ([*AT, "--budget", "1e3"], r"No candidate run costs at most 1000 FLOPs"),
    "no budget": ([*AT, "--budget", "0"], r"The budget must be a positive number, got 0"),
    "no runs": ([*AT, "--runs", "0"], r"The value of runs must be a whole number from 1, got 0"),
    "unknown cost": ([*AT, "--cost", "5nd"], r"no cost named '5nd'"),
    "half a limit": ([*AT, "--limit", "n_params=1e9"], r"--limit takes NAME=LOW:HIGH, got '1e9'"),
    "turned limit": ([*AT, "--limit", "n_params=2:1"], r"must be 0 <= low <= high, got 2:1"),
    "limit of what": ([*AT, "--limit", "n_param=1:2"], r"Did you mean 'n_params'"),
    "no candidates": ([*AT, "--candidates", "none.csv"], r"none.csv"),
}


@pytest.mark.parametrize("case", NEXT)
def test_what_next_refuses(case: str, refused: Callable[..., str], saved: Path) -> None:
    words, message = NEXT[case]
    budget = [] if "--budget" in words else ["--budget", "1e21"]
    assert message in refused("next", saved, *words, *budget)


def test_next_needs_a_fit_with_draws(
    refused: Callable[..., str], made: Fit, saved: Path, tmp_path: Path
) -> None:
    assert "Missing option '--budget'" in refused("next", saved, *AT)
    asked = (*AT, "--budget", "1e21")
    assert "save a fit with" in refused("next", tmp_path / "none.json", *asked)
    document = json.loads(saved.read_text())
    for name, drop in (("draws", "at least 50 draws"), ("residuals", "saved without residuals")):
        few = {key: value for key, value in document.items() if key != name}
        (tmp_path / "few.json").write_text(json.dumps(few))
        assert drop in refused("next", tmp_path / "few.json", *asked)


def test_next_of_an_unusable_fit_exits_1(run: Run, saved: Path, tmp_path: Path) -> None:
    """As the fit itself did; but of a flat one it tells what would settle it."""
    document = json.loads(saved.read_text())
    for status in ("max_evaluations", "flat"):
        (tmp_path / "fit.json").write_text(json.dumps({**document, "status": status}))
        said = run("next", tmp_path / "fit.json", *AT, "--budget", "1e21", "--json")
        if status == "flat":
            assert said.code == 0
            assert len(said.document) == 1
        else:
            assert said.code == 1
            assert said.out == ""
            assert said.err.startswith("kleiber: This fit cannot support a plan")
            assert said.err.count("\n") == 1


@pytest.mark.parametrize("command", ["compare", "next"])
def test_help_names_every_option(command: str, run: Run) -> None:
    said = run(command, "--help")
    assert said.code == 0
    options = {
        "compare": ("--beyond", "--huber", "--by"),
        "next": ("--at", "--per-cost", "--runs", "--limit"),
    }
    assert all(option in said.out for option in options[command])
