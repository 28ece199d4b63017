"""kleiber plan --attempts with the options of every plan, and those of its table of counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import kleiber
from kleiber.attempts.fit import fit_counts
from kleiber.cli import app, attempts
from kleiber.errors import BadPlan, BadTable
from kleiber.planning.frontier import sensitivity, trace_frontier
from kleiber.planning.plan import describe_plan, plan_attempts

RUN = CliRunner()
PRICED = ["--attempt-cost", "1e9", "--cost", "6e6*n_tokens", "--budget", "1e14"]
ASKED: dict[str, Any] = {"attempt": "1e9", "cost": "6e6*n_tokens", "budget": 1e14}
DRAWS = 3


def counts(seed: int = 0, rate: float = 0.2) -> pl.DataFrame:
    """Counts of 60 problems at three numbers of tokens."""
    rng = np.random.default_rng(seed)
    rows = [
        {"problem": p, "n_tokens": x, "attempts": 50, "successes": int(rng.binomial(50, q))}
        for x in (1e6, 1e7, 1e8)
        for p, q in enumerate(rng.beta(rate * (x / 1e6) ** 0.2, 4, 60))
    ]
    return pl.DataFrame(rows)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "DRAWS", DRAWS)


def written(frame: pl.DataFrame, path: Path) -> str:
    frame.write_csv(path / "counts.csv")
    return str(path / "counts.csv")


def run(*words: str) -> Any:
    done = RUN.invoke(app, ["plan", *words])
    if done.exception is not None and done.exit_code != 0:
        raise done.exception
    return done


def document(*words: str) -> Any:
    return json.loads(run(*words, "--json").stdout)


def planned(frame: pl.DataFrame, options: dict[str, Any] | None = None, **of_counts: Any) -> Any:
    """The document of the plan that Python makes of a table."""
    fit = fit_counts(frame, **{"along": "n_tokens", "draws": DRAWS} | of_counts)
    return describe_plan(plan_attempts(fit, **ASKED | (options or {})))


def same(found: Any, known: Any) -> bool:
    """Whether two documents are the same but for rounding."""
    if isinstance(known, dict):
        return found.keys() == known.keys() and all(same(found[k], known[k]) for k in known)
    if isinstance(known, list):
        return len(found) == len(known) and all(map(same, found, known))
    if isinstance(known, float) and isinstance(found, float | int):
        return bool(np.isclose(found, known, rtol=1e-9, atol=0))
    return found == known


# What is read of the table


def test_rows_columns_and_derived_columns(tmp_path: Path) -> None:
    frame = counts()
    odd = pl.concat([frame, frame.with_columns(successes=pl.lit(50, pl.Int64))])
    odd = odd.with_columns(kept=pl.Series([1] * len(frame) + [0] * len(frame)))
    odd = odd.with_columns(billions=pl.col("n_tokens") / 1e9).drop("n_tokens")
    table = written(odd.rename({"successes": "Solved"}), tmp_path)
    words = ["--rename", "successes=Solved", "--where", "kept = 1"]
    found = document("--attempts", table, *words, "--with", "n_tokens=1e9*billions", *PRICED)
    assert same(found, planned(frame))


def test_a_prior_and_attempts_that_stopped(tmp_path: Path) -> None:
    frame = counts()
    table = written(frame, tmp_path)
    straight = document("--attempts", table, "--prior", "straight", *PRICED)
    assert same(straight, planned(frame, prior="straight"))
    assert straight["predicted"] != planned(frame)["predicted"]
    first = frame.with_columns(successes=pl.col("successes").clip(0, 1))
    stopped = first.with_columns(attempts=pl.when(pl.col("successes") == 1).then(7).otherwise(50))
    table = written(stopped, tmp_path)
    found = document("--attempts", table, "--stopped", *PRICED)
    assert same(found, planned(stopped, stopped=True))


def test_single_attempts_are_added_up(tmp_path: Path) -> None:
    frame = counts()
    halves = [
        frame.with_columns(attempts=pl.lit(25), successes=(pl.col("successes") + side) // 2)
        for side in (0, 1)
    ]
    table = written(pl.concat(halves), tmp_path)
    found = document("--attempts", table, "--sum-by", "problem", *PRICED)
    known = planned(frame)
    assert found["allocation"]["k"]["value"] == known["allocation"]["k"]["value"]
    assert found["predicted"]["value"] == pytest.approx(known["predicted"]["value"], rel=1e-6)


def test_a_saved_fit_of_counts_is_planned_as_its_table(tmp_path: Path) -> None:
    table, saved = written(counts(), tmp_path), str(tmp_path / "fit.json")
    words = ["counts", table, "--along", "n_tokens", "--draws", str(DRAWS), "-o", saved]
    assert RUN.invoke(app, words).exit_code == 0
    assert same(document("--attempts", saved, *PRICED), planned(counts()))
    bare = fit_counts(counts(), along="n_tokens")
    kleiber.save(bare, saved)
    notes = document("--attempts", saved, *PRICED)["notes"]
    assert any("fit them again with draws=200" in note for note in notes)
    kleiber.save(fit_counts(counts(), by="n_tokens"), saved)
    with pytest.raises(BadPlan, match="were not fitted along training"):
        run("--attempts", saved, *PRICED)


def test_saved_series_are_planned_apart(tmp_path: Path) -> None:
    parts = {"weak": counts(1, 0.1), "strong": counts(2, 0.4)}
    both = pl.concat([part.with_columns(recipe=pl.lit(name)) for name, part in parts.items()])
    fit = fit_counts(both, by="recipe", along="n_tokens", draws=DRAWS)
    kleiber.save(fit, tmp_path / "fit.json")
    found = document("--attempts", str(tmp_path / "fit.json"), *PRICED)
    assert (found["by"], found["best"]) == ("recipe", "strong")
    assert same(
        found["series"][0], {"value": "weak"} | planned(both, {"series": "weak"}, by="recipe")
    )


def test_what_is_no_saved_fit_of_counts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fit.json"
    kleiber.save(fit_counts(counts(), along="n_tokens"), path)
    with pytest.raises(BadTable, match=r"--family is of a table .* is a saved fit"):
        run("--attempts", str(path), "--family", "zero_inflated", *PRICED)
    runs = {"n_params": [1e6, 1e7, 1e8, 1e9], "loss": [4.0, 2.0, 1.0, 0.5]}
    kleiber.save(kleiber.fit("A/n_params**alpha", runs, draws=0), path)
    with pytest.raises(BadTable, match=r"--attempts takes a fit of counts .* holds a Fit\."):
        run("--attempts", str(path), *PRICED)
    path.write_text("{")
    with pytest.raises(BadTable, match="is not a saved result"):
        run("--attempts", str(path), *PRICED)


def test_a_plan_for_each_series(tmp_path: Path) -> None:
    parts = {"weak": counts(1, 0.1), "strong": counts(2, 0.4)}
    both = pl.concat([part.with_columns(recipe=pl.lit(name)) for name, part in parts.items()])
    table = written(both, tmp_path)
    found = document("--attempts", table, "--by", "recipe", *PRICED)
    assert found["by"] == "recipe"
    assert [item["value"] for item in found["series"]] == ["weak", "strong"]
    assert found["best"] == "strong"
    for item in found["series"]:
        alone = planned(parts[item["value"]])
        for name in ("n_tokens", "k"):
            value = alone["allocation"][name]["value"]
            assert item["allocation"][name]["value"] == pytest.approx(value, rel=1e-3)
        assert item["predicted"]["value"] == pytest.approx(alone["predicted"]["value"], rel=1e-4)
        other = "weak" if item["value"] == "strong" else "strong"
        assert not any(f"'{other}, " in note for note in item["notes"])
    assert any("'weak, 1e+06'" in note for note in found["series"][0]["notes"])
    shown = run("--attempts", table, "--by", "recipe", *PRICED).stdout
    assert "best of the series: strong" in shown
    named = planned(both, {"series": "weak"}, by="recipe")
    assert same(found["series"][0], {"value": "weak"} | named)
    with pytest.raises(kleiber.BadPlan, match=r"no series 'week'; they hold weak, strong\. Did"):
        planned(both, {"series": "week"}, by="recipe")
    curve = tmp_path / "curve.csv"
    run(
        "--attempts",
        table,
        "--by",
        "recipe",
        *PRICED,
        "--frontier",
        "1e13:1e14:2",
        "-o",
        str(curve),
    )
    assert pl.read_csv(curve)["series"].to_list() == ["weak", "weak", "strong", "strong"]


def test_a_series_without_a_plan_says_why_beside_the_others(tmp_path: Path) -> None:
    parts = {"small": counts(1), "large": counts(2).with_columns(n_tokens=1e6 * pl.col("n_tokens"))}
    both = pl.concat([part.with_columns(model=pl.lit(name)) for name, part in parts.items()])
    table = written(both, tmp_path)
    found = document("--attempts", table, *PRICED)
    assert found["by"] == "model"
    assert found["best"] == "small"
    assert "does not pay for the least training" in found["series"][1]["reason"]
    assert "does not pay" in run("--attempts", table, *PRICED).stdout


# The options of every plan


def test_ladders_further_costs_targets_and_far(tmp_path: Path) -> None:
    frame = counts()
    table = written(frame, tmp_path)
    words = ["--choice", "n_tokens=1e6,3e6,1e7", "--under", "k<=5000", "--far"]
    options = {"choices": {"n_tokens": [1e6, 3e6, 1e7]}, "under": ["k<=5000"], "far": True}
    found = document("--attempts", table, *words, *PRICED)
    assert same(found, planned(frame, options))
    assert found["allocation"]["n_tokens"]["value"] in (1e6, 3e6, 1e7)
    assert found["allocation"]["k"]["value"] <= 5000
    found = document("--attempts", table, "--reach", "0.6", "--under", "k<=50", *PRICED[:4])
    assert same(found, planned(frame, {"reach": 0.6, "budget": None, "under": ["k<=50"]}))
    assert found["pass_rate"]["value"] == pytest.approx(0.6, abs=1e-6)
    assert found["allocation"]["k"]["value"] <= 50
    assert found["needed"]["value"] == found["budget"]


def test_the_curve_and_the_sensitivity(tmp_path: Path) -> None:
    frame = counts()
    table = written(frame, tmp_path)
    words = ["--frontier", "1e13:1e14:2", "--sensitivity"]
    found = document("--attempts", table, *words, *PRICED)
    fit = fit_counts(frame, along="n_tokens", draws=DRAWS)
    asked = {name: value for name, value in ASKED.items() if name != "budget"}
    curve = trace_frontier(fit, [1e13, 1e14], **asked).to_dicts()
    moved = sensitivity(fit, 1e14, **asked).to_dicts()
    for rows, known in ((found["frontier"], curve), (found["sensitivity"], moved)):
        assert len(rows) == len(known)
        for row, each in zip(rows, known, strict=True):
            each = {k: None if isinstance(x, float) and np.isnan(x) else x for k, x in each.items()}
            assert same(row, each)
    assert found["frontier"][1]["predicted"] == found["predicted"]["value"]
    shown = run("--attempts", table, *words, *PRICED).stdout
    assert "compute-optimal curve" in shown
    assert "elasticities" in shown
    out = tmp_path / "curve.csv"
    run("--attempts", table, "--frontier", "1e13:1e14:2", *PRICED, "-o", str(out))
    assert pl.read_csv(out)["k"].to_list() == [row["k"] for row in curve]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit.json", "--stopped"], r"^--stopped is an option of a plan with --attempts\.$"),
        (["fit.json", "--queries", "5"], "--queries is an option of a plan with --attempts"),
        (["fit.json", "--where", "n>1"], "--where is an option of a plan with --attempts"),
        (["fit.json", "--set", "a=1"], "--set is an option of a plan with --attempts"),
        (["fit.json", "--with", "a=1"], "--with is an option of a plan with --attempts"),
        (
            ["--attempts", "hard_tail", "--attempt-cost", "1", "--sum-by", "problem"],
            "--sum-by is of a table of counts, and 'hard_tail' is a theory",
        ),
        (["--attempts", "hard_tail", "--attempt-cost", "1", "-o", "x.csv"], "--frontier"),
    ],
)
def test_options_of_the_wrong_plan(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(*words, "--budget", "1e9")
