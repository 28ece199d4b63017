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
import kleiber.cli.counts as counts_commands
from kleiber.attempts.fit import FAMILIES
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


def test_pooled_models_in_json_and_in_words(run: Any, counts: Path) -> None:
    table = pl.read_csv(counts)
    both = pl.concat(
        [table.with_columns(model=pl.lit("first")), table.with_columns(model=pl.lit("second"))]
    )
    both.write_csv(counts)
    code, out, _ = run("counts", counts, "--by", "model", "--along", "n_tokens", "--json")
    document = json.loads(out, parse_constant=lambda name: pytest.fail(name))
    pooled = document["pooled"]
    assert code == 0
    assert list(pooled["series"]) == list(document["trend"]) == ["first", "second"]
    assert (pooled["rates"], pooled["growth"]["verdict"]) == ("tied", "grows")
    assert pooled["growth"]["low"] < pooled["growth"]["value"] < pooled["growth"]["high"]
    assert pooled["differ"]["seen"] is False
    code, out, _ = run("counts", counts, "--by", "model", "--along", "n_tokens")
    assert "All series: 2 series together, tied rates; the exponent grows along n_tokens" in out


@pytest.mark.parametrize("words", [[], ["--along", "n_tokens"]])
def test_a_fit_is_saved_and_drawn(run: Any, counts: Path, words: list[str]) -> None:
    saved, plot = counts.with_name("fit.json"), counts.with_name("fit.svg")
    code, out, _ = run("counts", counts, *words, "-o", saved, "--plot", plot, "--json")
    assert code == 0
    back = kleiber.load(saved)
    groups = json.loads(out)["groups"]
    assert back.params["a"] == {item["group"]: item["params"]["a"]["value"] for item in groups}
    drawn = plot.read_text()
    assert drawn.startswith("<?xml")
    run("counts", counts, *words, "--plot", plot)
    assert plot.read_text() == drawn


def test_what_cannot_be_written_is_said_first(run: Any, counts: Path) -> None:
    code, _, err = run("counts", counts, "--plot", counts.with_name("fit.gif"))
    assert (code, "a figure is a .svg, .png or .pdf file" in err) == (2, True)
    code, _, err = run("counts", counts, "-o", counts)
    assert (code, "would replace what is read" in err) == (2, True)
    path = counts.with_name("zero.csv")
    pl.DataFrame({"problem": range(9), "attempts": [10] * 9, "successes": [0] * 9}).write_csv(path)
    code, _, err = run("counts", path, "--plot", counts.with_name("fit.svg"))
    assert (code, "No group has an exponent to draw" in err) == (2, True)


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


@pytest.mark.parametrize("words", [[], ["--prior", "straight"], ["--family", "scaled_beta"]])
def test_one_attempt_a_problem_is_exit_one_with_pass_at_1(
    run: Any, tmp_path: Path, words: list[str]
) -> None:
    path = tmp_path / "one.csv"
    solved = [1] * 50 + [0] * 114
    pl.DataFrame({"problem": range(164), "attempts": 1, "successes": solved}).write_csv(path)
    code, out, _ = run("counts", path, "--k", "1,10", *words)
    assert code == 1
    assert "too_few_attempts: One attempt a problem identifies pass@1 alone" in out
    code, out, _ = run("counts", path, "--k", "1,10", "--json", *words)
    group = json.loads(out)["groups"][0]
    assert code == 1
    first, second = group["pass_at"]
    assert first["value"] == first["unbiased"] == pytest.approx(50 / 164)
    assert first["low"] < first["value"] < first["high"]
    assert (second["value"], second["low"], second["high"]) == (None, None, None)
    assert "anything from 0.305 to 0.974" in second["why"]
    assert group["misfit"] is None


def test_a_failed_group_is_exit_one_beside_good_ones(run: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    good = rng.beta(0.5, 4, 300)
    bad = np.where(rng.random(300) < 0.35, 1.0, rng.beta(0.2, 8, 300))
    path = tmp_path / "two.csv"
    pl.DataFrame(
        {
            "problem": [*range(300)] * 2,
            "model": ["good"] * 300 + ["bad"] * 300,
            "attempts": 10_000,
            "successes": rng.binomial(10_000, np.concatenate([good, bad])),
        }
    ).write_csv(path)
    code, out, _ = run("counts", path, "--json")
    groups = json.loads(out)["groups"]
    assert code == 1
    assert [item["status"] for item in groups] == ["converged", "failed"]
    assert groups[1]["pass_at"][0]["value"] is None
    rate = groups[0]["pass_at"][0]
    assert rate["unbiased_low"] < rate["unbiased"] < rate["unbiased_high"]
    assert rate["unbiased_stderr"] > 0
    assert groups[0]["misfit"]["p_value"] > 0.001


def test_rows_of_attempts_are_added_up(run: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    won = rng.random((60, 40)) < rng.beta(0.5, 2, 60)[:, None]
    path = tmp_path / "rows.csv"
    pl.DataFrame({"task": np.repeat(np.arange(60), 40), "passed": won.ravel()}).write_csv(path)
    words = ("counts", path, "--rename", "problem=task", "--rename", "successes=passed")
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert "--sum-by problem" in err
    code, out, _ = run(*words, "--sum-by", "problem", "--json")
    assert code == 0
    group = json.loads(out)["groups"][0]
    assert group["problems"] == 60
    assert group["pass_at"][0]["unbiased"] == pytest.approx(won.mean())
    code, out, _ = run("counts", path, "--rename", "successes=passed", "--sum-by", "task", "--json")
    assert json.loads(out)["groups"][0]["params"] == group["params"]
    code, out, _ = run("reduce", "pass-at-k", path, *words[2:], "--sum-by", "problem", "--json")
    assert code == 0
    assert json.loads(out)[0]["pass_at_k"] == pytest.approx(won.mean())


def test_the_error_over_one_problem_is_null(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "bulk.csv"
    path.write_text("problem,attempts,successes\n0,164,50\n")
    code, out, err = run("reduce", "pass-at-k", path, "--k", "1,10", "--json")
    rows = json.loads(out)
    assert code == 0
    assert [row["pass_at_k_stderr"] for row in rows] == [None, None]
    assert [row["pass_at_k_low"] for row in rows] == [None, None]
    assert rows[1]["pass_at_k"] == pytest.approx(0.976786, abs=1e-6)
    assert "164 attempts at one problem" in err
    code, _, err = run("counts", path)
    assert code == 2
    assert "a row of its own" in err


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


def test_help_names_every_family() -> None:
    assert counts_commands.FAMILY == f"One of {', '.join(FAMILIES)}."
