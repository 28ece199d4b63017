"""The verb forecast: groups, refusals, notes, documents, scores, and what is made from it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import kleiber
from kleiber.errors import BadPlan, BadTable
from kleiber.forecasting.closed import as_fit

X = np.geomspace(1e3, 1e5, 14)
AT = {"n_data": [2e5, 1e6]}


def curve(noise: float = 0.004, seed: int = 0, floor: float = 0.3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = (floor + 20 * X**-0.5) * np.exp(noise * rng.standard_normal(len(X)))
    return {"n_data": X, "loss": y}


def grid(noise: float = 0.003) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    n, d = (m.ravel() for m in np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e9, 1e11, 6)))
    loss = (1.8 + 480 * n**-0.34 + 2080 * d**-0.36) * np.exp(noise * rng.standard_normal(len(n)))
    return pl.DataFrame({"n_params": n, "n_tokens": d, "loss": loss})


def test_a_known_law_is_forecast() -> None:
    made = kleiber.forecast(curve(), AT, x="n_data")
    truth = 0.3 + 20 * np.array(AT["n_data"]) ** -0.5
    assert made.table["predicted"].to_numpy() == pytest.approx(truth, rel=0.02)
    assert (made.table["low"] < truth).all()
    assert (made.table["high"] > truth).all()
    assert made.table["beyond"].to_list() == pytest.approx([2, 10])
    assert sum(made.weights.values()) == pytest.approx(1)
    assert 0 < made.expected_error < 0.05
    assert made.usable


def test_two_columns() -> None:
    at = {"n_params": [1e10], "n_tokens": [1e12]}
    made = kleiber.forecast(grid(), at, x=("n_params", "n_tokens"))
    truth = 1.8 + 480 * 1e10**-0.34 + 2080 * 1e12**-0.36
    assert made.table["predicted"][0] == pytest.approx(truth, rel=0.03)
    assert made.table["low"][0] < truth < made.table["high"][0]


def test_same_seed_same_result_and_order_of_rows() -> None:
    one, again = (kleiber.forecast(curve(), AT, x="n_data", seed=3) for _ in range(2))
    assert_frame_equal(one.table, again.table)
    turned = pl.DataFrame(curve())[::-1]
    other = kleiber.forecast(turned, AT, x="n_data", seed=3)
    assert other.table["predicted"].to_list() == pytest.approx(one.table["predicted"].to_list())


def test_a_group_does_not_depend_on_the_others() -> None:
    parts = [pl.DataFrame(curve(seed=k)).with_columns(task=pl.lit(f"t{k}")) for k in range(3)]
    whole = kleiber.forecast(pl.concat(parts), AT, x="n_data", group="task")
    alone = kleiber.forecast(parts[1], AT, x="n_data", group="task")
    own = whole.table.filter(pl.col("task") == "t1")
    for name in ("predicted", "low", "high"):
        assert own[name].to_list() == pytest.approx(alone.table[name].to_list(), rel=1e-7)
    assert len(whole.table) == 6
    named = kleiber.forecast(
        pl.concat(parts), {"task": ["t2"], "n_data": [1e6]}, x="n_data", group="task"
    )
    assert named.table["predicted"][0] == pytest.approx(whole.table["predicted"][5], rel=0.01)
    with pytest.raises(BadTable, match="No group of the table has task = t9"):
        whole.predict({"task": ["t9"], "n_data": [1e6]})


@pytest.mark.parametrize("kind", [pl.DataFrame, pd.DataFrame])
def test_tables_come_back_as_they_were_given(kind: Any) -> None:
    made = kleiber.forecast(kind(curve()), kind(AT), x="n_data")
    assert isinstance(made.table, kind)
    assert isinstance(made.predict(kind(AT)), kind)


def test_an_accuracy_stays_below_one() -> None:
    table = pl.DataFrame({"n_data": X, "accuracy": 1 - (0.02 + 5 * X**-0.4)})
    made = kleiber.forecast(table, {"n_data": [1e9]}, x="n_data", target="accuracy")
    row = made.table.row(0, named=True)
    assert 0.9 < row["low"] <= row["predicted"] <= row["high"] < 1
    renamed = table.rename({"accuracy": "share"})
    same = kleiber.forecast(renamed, {"n_data": [1e9]}, x="n_data", target="share")
    assert same.table["predicted"][0] == pytest.approx(row["predicted"])
    with pytest.raises(BadTable, match="accuracy is forecast through 1 - accuracy"):
        kleiber.forecast(
            table.with_columns(accuracy=100 * pl.col("accuracy")), AT, x="n_data", target="accuracy"
        )


@pytest.mark.parametrize(
    ("table", "asked", "said"),
    [
        ({"x": [1.0, 2.0, 4.0], "loss": [3.0, 2.0, 1.5]}, {"x": [8.0]}, "3 rows cannot support"),
        ({"x": [5.0] * 6, "loss": [3.0, 2.9, 3.1, 3, 3, 3]}, {"x": [8.0]}, "4 different values"),
        (
            {"x": [1, 1.1, 1.2, 1.3], "loss": [3.0, 2.9, 2.8, 2.7]},
            {"x": [1e6]},
            "add runs over a wider range",
        ),
    ],
)
def test_refusals(table: dict[str, Any], asked: dict[str, Any], said: str) -> None:
    made = kleiber.forecast(table, asked, x="x")
    assert not made.usable
    assert said in made.table["why"][0]
    assert np.isnan(made.table["predicted"][0])
    assert made.notes == (made.table["why"][0],)
    with pytest.raises(BadPlan, match="cannot support a plan"):
        as_fit(made)


def test_a_column_that_does_not_vary_is_refused() -> None:
    table = grid().filter(pl.col("n_tokens") == pl.col("n_tokens").max())
    names = ("n_params", "n_tokens")
    far = kleiber.forecast(table, {"n_params": [4e9], "n_tokens": [1e12]}, x=names)
    assert "n_tokens is 1e+11 in every row" in far.table["why"][0]
    near = kleiber.forecast(table, {"n_params": [4e9], "n_tokens": [1e11]}, x=names)
    assert near.usable


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x": "n_dat"}, "Did you mean 'n_data'"),
        ({"target": "los"}, "Did you mean 'loss'"),
        ({"x": ["n_data", "n_data"]}, "named twice"),
        ({"group": "task"}, "No column 'task'"),
        ({"level": 1.5}, "level"),
    ],
)
def test_bad_arguments(change: dict[str, Any], said: str) -> None:
    words: dict[str, Any] = {"x": "n_data"} | change
    with pytest.raises(ValueError, match=said):
        kleiber.forecast(curve(), AT, **words)


def test_bad_cells() -> None:
    for bad in (0.0, -1.0, np.nan, np.inf):
        table = curve()
        table["loss"] = np.append(table["loss"][:-1], bad)
        with pytest.raises(BadTable):
            kleiber.forecast(table, AT, x="n_data")
    rising = {"n_data": X, "loss": 2 + X**0.3}
    with pytest.raises(BadTable, match="loss rises with the columns of x"):
        kleiber.forecast(rising, AT, x="n_data")


def test_hidden_noise_is_noted() -> None:
    rng = np.random.default_rng(0)
    x = np.geomspace(1e3, 1e6, 400)
    raw = (0.2 + 15 * x**-0.5) * np.exp(0.03 * rng.standard_normal(len(x)))
    lowest = np.minimum.accumulate(raw)
    kept = np.append(True, np.diff(lowest) < 0)
    at = {"n_data": [2e6]}
    minima = kleiber.forecast({"n_data": x[kept], "loss": raw[kept]}, at, x="n_data")
    clean = kleiber.forecast({"n_data": x, "loss": 0.2 + 15 * x**-0.5}, at, x="n_data")
    noisy = kleiber.forecast({"n_data": x, "loss": raw}, at, x="n_data")
    said = ["never rises" in " ".join(made.notes) for made in (minima, clean, noisy)]
    assert said == [True, False, False]


def test_other_notes() -> None:
    far = {"n_data": [5e7]}
    made = kleiber.forecast(curve(), {"n_data": [1e7]}, x="n_data")
    text = " ".join(made.notes)
    assert "n_data = 1e+07 is 100 times the largest measured" in text
    assert "100 times is asked for" in text
    few = {name: values[:5] for name, values in curve().items()}
    assert "No back-test is possible" in " ".join(
        kleiber.forecast(few, {"n_data": [8e3]}, x="n_data").notes
    )
    x = np.geomspace(1e3, 1e7, 60)
    law = 0.3 + 20 * x**-0.5
    untuned = kleiber.forecast({"n_data": x, "loss": law * (1 + 0.2 * (x < 1e5))}, far, x="n_data")
    tuned = kleiber.forecast({"n_data": x, "loss": law}, far, x="n_data")
    said = ["small runs may be under-tuned" in " ".join(m.notes) for m in (untuned, tuned)]
    assert said == [True, False]


def test_columns_that_mislead() -> None:
    rng = np.random.default_rng(2)
    a, b = 10 ** rng.uniform(3, 6, (2, 60))
    at = {"a": [3e6], "b": [3e6]}
    falls, rises = ({"a": a, "b": b, "loss": (0.5 + 20 * a**-0.5) * b**e} for e in (-0.05, 0.05))
    said = [
        "rises with b" in " ".join(kleiber.forecast(table, at, x=("a", "b")).notes)
        for table in (falls, rises)
    ]
    assert said == [False, True]
    logs = {"n_params": np.log10(a), "loss": 0.5 + 20 * a**-0.5}
    made = kleiber.forecast(logs, {"n_params": [6.5]}, x="n_params")
    assert "or its logarithm?" in " ".join(made.notes)


def test_empty_tables_are_refused() -> None:
    with pytest.raises(BadTable, match="no rows to forecast from"):
        kleiber.forecast({"n_data": [], "loss": []}, AT, x="n_data")
    with pytest.raises(BadTable, match="no rows to forecast"):
        kleiber.forecast(curve(), {"n_data": []}, x="n_data")


def test_many_rows_are_thinned() -> None:
    x = np.geomspace(1e3, 1e5, 9000)
    table = {"n_data": np.repeat(x, 2), "loss": np.repeat(0.3 + 20 * x**-0.5, 2)}
    made = kleiber.forecast(table, AT, x="n_data")
    assert len(made.groups[0].measured) == 4000
    truth = 0.3 + 20 * np.array(AT["n_data"]) ** -0.5
    assert made.table["predicted"].to_numpy() == pytest.approx(truth, rel=0.01)
    assert "never rises" not in " ".join(made.notes)


def test_documents(tmp_path: Path) -> None:
    made = kleiber.forecast(curve(), AT, x="n_data")
    path = tmp_path / "forecast.json"
    kleiber.save(made, path)
    read = kleiber.load(path)
    assert_frame_equal(read.table, made.table)
    further = {"n_data": [3e5, 7e5]}
    assert_frame_equal(read.predict(further), made.predict(further))
    assert (read.digest, read.date, read.notes) == (made.digest, made.date, made.notes)
    broken = json.loads(path.read_text())
    broken["groups"][0]["mixture"]["members"][0]["theta"] = "?"
    path.write_text(json.dumps(broken))
    with pytest.raises(BadTable, match="holds no Forecast"):
        kleiber.load(path)


def test_scores(tmp_path: Path) -> None:
    made = kleiber.forecast(curve(), AT, x="n_data")
    path = tmp_path / "f.json"
    kleiber.save(made, path)
    measured = {"n_data": [2e5, 1e6], "loss": [made.table["predicted"][0], 3.0]}
    found = kleiber.score(str(path), measured)
    assert found.table["inside"].to_list() == [True, False]
    assert found.covered == 0.5
    error = np.log(3.0 / made.table["predicted"][1])
    assert found.bias == pytest.approx(error / 2)
    assert found.rms_error == pytest.approx(error / np.sqrt(2))
    width = np.log(made.table["high"] / made.table["low"]).to_numpy() / (2 * 1.959964)
    density = -np.array([0, (error / width[1]) ** 2]) / 2 - np.log(width) - np.log(2 * np.pi) / 2
    assert found.log_score == pytest.approx(density.mean(), rel=1e-4)
    assert "was made from" in " ".join(kleiber.score(made, curve()).notes)


def test_a_plan_includes_the_choice_of_law() -> None:
    at = {"n_params": [1e10], "n_tokens": [1e12]}
    made = kleiber.forecast(grid(), at, x=("n_params", "n_tokens"))
    one = kleiber.plan(kleiber.fit("chinchilla", grid(), draws=200), budget=1e22)
    many = kleiber.plan(made, budget=1e22)
    width = [
        np.log(p.allocation["n_params"].high / p.allocation["n_params"].low) for p in (one, many)
    ]
    assert width[1] > width[0]
    assert many.predicted.value == pytest.approx(one.predicted.value, rel=0.03)
    assert "one of the averaged laws" in " ".join(many.notes)
    runs = kleiber.next_run(made, {"n_params": 1e10, "n_tokens": 1e12}, budget=1e21)
    assert 0 < runs["remaining"][0] < 1


def test_the_closed_form_is_the_average() -> None:
    made = kleiber.forecast(
        grid(), {"n_params": [1e10], "n_tokens": [1e12]}, x=("n_params", "n_tokens")
    )
    fit = as_fit(made)
    rng = np.random.default_rng(0)
    rows = {"n_params": 10 ** rng.uniform(8, 10.5, 20), "n_tokens": 10 ** rng.uniform(10, 12.5, 20)}
    told = made.predict(rows)["predicted"].to_numpy()
    assert fit.predict(rows)["predicted"].to_numpy() == pytest.approx(told, rel=5e-3)
    drawn = np.exp(np.log(fit.law(**rows, **{n: v[:, None] for n, v in fit.draws.items()})).mean(0))
    assert drawn == pytest.approx(told, rel=5e-3)


def call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kleiber", *words], capture_output=True, text=True, check=False
    )


def test_commands(tmp_path: Path) -> None:
    table, saved, since = (tmp_path / name for name in ("t.csv", "f.json", "s.csv"))
    grid().write_csv(table)
    at = ["--at", "n_params=1e10", "--at", "n_tokens=1e12"]
    figure = tmp_path / "f.svg"
    words = ["--x", "n_params,n_tokens", *at, "-o", str(saved), "--plot", str(figure), "--json"]
    done = call("forecast", str(table), *words)
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["rows"][0]["low"] < document["rows"][0]["high"]
    assert figure.read_text().startswith("<?xml")
    told = json.loads(call("predict", str(saved), *at, "--json").stdout)
    assert told["rows"][0]["predicted"] == pytest.approx(document["rows"][0]["predicted"])
    planned = json.loads(call("plan", str(saved), "--budget", "1e22", "--json").stdout)
    assert planned["allocation"]["n_params"]["low"] > 0
    pl.DataFrame({"n_params": [1e10], "n_tokens": [1e12], "loss": [2.0]}).write_csv(since)
    record = str(tmp_path / "record.jsonl")
    scored: dict[str, Any] = {}
    for _ in range(2):
        scored = json.loads(
            call("score", str(saved), str(since), "--record", record, "--json").stdout
        )
    assert scored["record"]["forecasts"] == 1
    refused = call("forecast", str(table), "--x", "n_params", "--at", "n_params=1e40")
    assert refused.returncode == 1
    assert "refused" in refused.stdout
    wrong = call("forecast", str(table), "--x", "n_parms")
    assert wrong.returncode == 2
    assert wrong.stderr.count("\n") == 1


def pairs(noise: float = 0.01, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    flops = np.geomspace(1e17, 1e20, 16)
    loss = 1.8 + 300 * flops**-0.14
    share = 0.25 + 0.65 / (1 + np.exp(5 * (loss - 2.5)))
    share = np.clip(share + noise * rng.standard_normal(16), 0, 1)
    return {"flops": flops, "loss": loss * np.exp(0.002 * rng.standard_normal(16)), "acc": share}


def test_accuracy_through_loss() -> None:
    truth = 0.25 + 0.65 / (1 + np.exp(5 * (1.8 + 300 * 1e21**-0.14 - 2.5)))
    made = kleiber.forecast_through(
        pairs(), {"flops": [1e21]}, x="flops", target="acc", chance=0.25
    )
    row = made.table.row(0, named=True)
    assert row["predicted"] == pytest.approx(truth, abs=0.03)
    assert 0 <= row["low"] < truth < row["high"] <= 1
    assert row["loss_low"] < row["loss_predicted"] < row["loss_high"]
    assert "the sigmoid is extrapolated too" in " ".join(made.notes)
    noisier = kleiber.forecast_through(
        pairs(0.04), {"flops": [1e21]}, x="flops", target="acc", chance=0.25, ceiling=0.9
    )
    assert noisier.table["high"][0] - noisier.table["low"][0] > row["high"] - row["low"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"chance": 0.9, "ceiling": 0.5}, "must lie above chance"),
        ({"chance": 1.5}, "chance"),
        ({"target": "loss", "through": "acc"}, "between 0 and 1 in every row"),
        ({"target": "accuracy"}, "accuracy"),
    ],
)
def test_bad_chains(change: dict[str, Any], said: str) -> None:
    words: dict[str, Any] = {"x": "flops", "target": "acc"} | change
    with pytest.raises(ValueError, match=said):
        kleiber.forecast_through(pairs(), {"flops": [1e21]}, **words)


def test_chain_command(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    pl.DataFrame(pairs()).write_csv(table)
    words = ["--x", "flops", "--target", "acc", "--through", "loss", "--at", "flops=1e21"]
    done = call("forecast", str(table), *words, "--chance", "0.25", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["rows"][0]["high"] <= 1
    wrong = call("forecast", str(table), "--x", "flops", "--chance", "0.25")
    assert wrong.returncode == 2
