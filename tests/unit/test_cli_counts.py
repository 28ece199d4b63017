"""kleiber counts: what it prints, its JSON, exit codes, and what it refuses."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import kleiber
from kleiber.cli import main


@pytest.fixture
def counts(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    parts = [
        pl.DataFrame(
            {
                "problem": np.arange(80),
                "model": name,
                "n_tokens": tokens,
                "attempts": 100,
                "successes": rng.binomial(100, rng.beta(a, 12, 80)),
            }
        )
        for name, tokens, a in (("small", 1e9, 0.25), ("mid", 1e10, 0.6), ("large", 1e11, 1.4))
    ]
    path = tmp_path / "counts.csv"
    pl.concat(parts).write_csv(path)
    return path


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kleiber", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, said.out, said.err

    return call


def test_json_holds_what_the_function_gives(run: Any, counts: Path) -> None:
    code, out, err = run("counts", counts, "--k", "1,10,5000", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out, parse_constant=lambda name: pytest.fail(name))
    made = kleiber.fit_counts(kleiber.read_table(counts))
    assert [item["group"] for item in document["groups"]] == ["small", "mid", "large"]
    for g, item in enumerate(document["groups"]):
        name = item["group"]
        low, high = made.interval("a")[name]
        wanted = {"value": made.params["a"][name], "low": low, "high": high}
        assert item["params"]["a"] == pytest.approx(wanted)
        assert [rate["k"] for rate in item["pass_at"]] == [1, 10, 5000]
        assert item["pass_at"][2]["value"] == pytest.approx(made.pass_at(5000).value[g])
        assert item["pass_at"][2]["unbiased"] is None
        assert item["pass_at"][0]["unbiased"] == pytest.approx(
            float(kleiber.read_table(counts).filter(pl.col("model") == name)["successes"].mean())  # type: ignore[arg-type]
            / 100
        )
    assert document["trend"] is None


def test_people_see_both_observables_and_the_notes(run: Any, counts: Path) -> None:
    code, out, _ = run("counts", counts, "--along", "n_tokens")
    assert code == 0
    for words in ("slope of failure", "of -log pass", "unbiased", "never solved", "along n_tokens",
                  "Grouped by model"):  # fmt: skip
        assert words in out


def test_a_joint_law_in_json(run: Any, counts: Path) -> None:
    code, out, _ = run("counts", counts, "--along", "n_tokens", "--json")
    trend = json.loads(out)["trend"]
    assert code == 0
    assert trend["along"] == "n_tokens"
    assert trend["growth"]["supported"] in (True, False)
    assert {curve["name"] for curve in trend["curves"]} == {"constant", "power"}


def test_nothing_solved_is_exit_one(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "zero.csv"
    pl.DataFrame({"problem": range(9), "attempts": [10] * 9, "successes": [0] * 9}).write_csv(path)
    code, out, _ = run("counts", path)
    assert code == 1
    assert "all_zero: None of the 9 problems was ever solved" in out
    code, out, _ = run("counts", path, "--json")
    document = json.loads(out)
    assert code == 1
    assert document["groups"][0]["params"]["a"] == {"value": None, "low": None, "high": None}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--family", "beta_binomal"], "Did you mean 'beta_binomial'"),
        (["--by", "size"], "no column 'size'"),
        (["--k", "1,ten"], "--k takes a number, got 'ten'"),
        (["--k", "0"], "numbers from 1"),
        (["--where", "problem < 2 and model = 'mid'"], "needs more problems"),
        (["--by", "n_tokens", "--along", "n_params"], "no column 'n_params'"),
        (["--rename", "attempts=successes"], "'attempts'"),
        (["--prior", "flat"], "'straight'"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_two(
    run: Any, counts: Path, words: list[str], says: str
) -> None:
    code, out, err = run("counts", counts, *words)
    assert (code, out) == (2, "")
    assert says in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err
