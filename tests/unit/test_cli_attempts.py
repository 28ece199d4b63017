"""kleiber plan --attempts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from kleiber.cli import app

RUN = CliRunner()
THEORY = "plan --attempts hard_tail --set noise=1 --set tolerance=1 --limit n_data=105:1e6".split()


def test_a_theory(tmp_path: Path) -> None:
    out = tmp_path / "plan.json"
    words = [*THEORY, "--budget", "1000", "--attempt-cost", "10", "--json", "-o", str(out)]
    done = RUN.invoke(app, words)
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["allocation"]["n_data"]["value"] == pytest.approx(700)
    assert document["allocation"]["k"]["value"] == 30
    assert document["predicted"]["value"] == pytest.approx(0.0041, abs=1e-4)
    assert json.loads(out.read_text()) == document
    shown = RUN.invoke(app, [*THEORY, "--reach", "0.99", "--attempt-cost", "10"])
    assert shown.exit_code == 0
    assert "pass rate: 0.99" in shown.stdout
    assert "extrapolation: unknown\n" in shown.stdout
    assert shown.stdout.startswith("train more:")


def test_counts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"problem": p, "n_tokens": x, "attempts": 50, "successes": int(rng.binomial(50, q))}
        for x in (1e6, 1e7, 1e8)
        for p, q in enumerate(rng.beta(0.2 * (x / 1e6) ** 0.2, 4, 80))
    ]
    pl.DataFrame(rows).write_csv(tmp_path / "counts.csv")
    words = ["plan", "--attempts", str(tmp_path / "counts.csv"), "--given", "n_params=1e6"]
    words += ["--attempt-cost", "2*n_params*100", "--queries", "10", "--budget", "1e15"]
    done = RUN.invoke(app, [*words, "--now", "n_tokens=1e7", "--now", "k=100", "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["at"] == {"n_tokens": 1e7, "k": 100}
    assert 0 <= document["sure"] <= 1
    assert document["predicted"]["low"] < document["predicted"]["high"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--attempts", "hard_tail", "--budget", "10"], "needs --attempt-cost"),
        (["--attempts", "hard_tial", "--attempt-cost", "1"], "Did you mean 'hard_tail'"),
        (["--attempts", "x.csv", "--attempt-cost", "1", "--set", "a=1"], "--set is for a theory"),
        ([], "a fit saved by kleiber fit -o, or --attempts"),
    ],
)
def test_wrong_usage(words: list[str], message: str) -> None:
    done = RUN.invoke(app, ["plan", *words])
    assert message in str(done.exception)
