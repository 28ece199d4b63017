"""Asking a fit: both intervals, extrapolation, and what is refused."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from kleiber import BadLaw, BadTable, Fit, Noise, Status, fit, predict
from kleiber.fitting.prediction import describe_prediction


def plant(rows: int = 40) -> dict[str, np.ndarray]:
    """A Chinchilla table with sizes 1e7 to 1e9 and data 1e9 to 1e11."""
    rng = np.random.default_rng(0)
    n, d = 10 ** rng.uniform(7, 9, rows), 10 ** rng.uniform(9, 11, rows)
    n[:2], d[:2] = (1e7, 1e9), (1e11, 1e9)
    loss = (1.8 + 480 * n**-0.35 + 2100 * d**-0.37) * np.exp(0.005 * rng.standard_normal(rows))
    return {"n_params": n, "n_tokens": d, "loss": loss}


@pytest.fixture(scope="module")
def made() -> Fit:
    """A fit of the planted table."""
    return fit("chinchilla", plant(), noise=Noise("log"), draws=200)


def test_it_is_fit_predict_with_both_intervals(made: Fit) -> None:
    rows = pl.DataFrame({"n_params": [1e8, 7e9], "n_tokens": [1e10, 4e12], "name": ["a", "b"]})
    found = predict(made, rows, level=0.9)
    mean, new = made.predict(rows, 0.9), made.predict(rows, 0.9, new_run=True)
    for name in ("name", "predicted", "low", "high"):
        assert found.table[name].equals(mean[name])
    assert found.table["new_low"].equals(new["low"].alias("new_low"))
    assert found.table["new_high"].equals(new["high"].alias("new_high"))
    assert (found.table["new_low"] < found.table["low"]).all()
    assert (found.table["new_high"] > found.table["high"]).all()


def test_how_far_each_row_lies_from_the_measured_ones(made: Fit) -> None:
    rows = {"n_params": [1e8, 7e9, 1e6], "n_tokens": [1e10, 4e12, 1e10]}
    found = predict(made, rows)
    most, dearest = plant()["n_params"].max(), 0.0
    for n, d in zip(plant()["n_params"], plant()["n_tokens"], strict=True):
        dearest = max(dearest, n * d)
    table = found.table
    assert table["extrapolation_n_params"].to_list() == pytest.approx([1.0, 7e9 / most, 0.1])
    assert table["extrapolation_n_tokens"].to_list() == pytest.approx([1.0, 40.0, 1.0])
    spent = [1e18 / dearest, 2.8e22 / dearest, 1e16 / dearest]
    assert table["extrapolation"].to_list() == pytest.approx(spent)
    said = " ".join(found.notes)
    assert "n_tokens = 4e+12 is 40 times the largest measured" in said
    assert "6 n_params n_tokens is up to" in said


def test_the_document(made: Fit) -> None:
    rows = {"n_params": [1e8], "n_tokens": [1e10], "name": ["a"], "gap": [math.nan]}
    document = describe_prediction(predict(made, rows))
    (row,) = document["rows"]
    assert row["at"] == {"n_params": 1e8, "n_tokens": 1e10, "name": "a", "gap": None}
    assert set(row["predicted"]) == {"value", "low", "high"}
    assert row["new_measurement"]["low"] < row["predicted"]["low"]
    assert row["extrapolations"] == {"n_params": 1.0, "n_tokens": 1.0}
    assert 0 < row["extrapolation"] < 1
    assert document["variance"]["run"] is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"n_params": [1e9]}, "no column 'n_tokens'"),
        ({"n_params": [1e9, math.nan], "n_tokens": [1e9, 1e9]}, "not finite, nan, in row 2 of 2"),
        ({"n_params": [math.inf], "n_tokens": [1e9]}, "not finite, inf, in row 1"),
        ({"n_params": [-1e9], "n_tokens": [1e9]}, "not positive, -1e.09, in row 1"),
        ({"n_params": [None], "n_tokens": [1e9]}, "missing value, in row 1"),
        ({"n_params": [1e-300], "n_tokens": [1e-320]}, "no finite value|not finite"),
        ({"n_params": ["7B"], "n_tokens": [1e9]}, "must hold numbers but holds text: '7B'"),
    ],
)
def test_what_cannot_be_predicted(row: dict[str, Any], message: str, made: Fit) -> None:
    if "1e-320" in str(row) or row["n_params"] == [1e-300]:
        made = dataclasses.replace(made, params={**made.params, "alpha": 2.0})
    with pytest.raises(BadTable, match=message):
        predict(made, row)


def test_a_value_that_could_not_be_measured_is_refused() -> None:
    x = np.arange(1.0, 21.0)
    table = {"x": x, "loss": 10 - 0.2 * x + 0.01 * np.sin(7 * x)}
    found = fit("a - b*x", table, noise=Noise("log"), draws=50)
    assert found.usable
    with pytest.raises(BadTable, match=r"gives loss = -9.*which is not positive, in row 1 of 1"):
        predict(found, {"x": [100.0]})


def test_an_unusable_fit_is_refused(made: Fit) -> None:
    flat = dataclasses.replace(made, status=Status.FLAT, reason="A and B trade off")
    with pytest.raises(BadLaw, match=r"cannot support a prediction: flat, A and B trade off\.$"):
        predict(flat, {"n_params": [1e8], "n_tokens": [1e10]})


def test_names_and_rows_that_cannot_be(made: Fit) -> None:
    with pytest.raises(BadTable, match="The table has no rows"):
        predict(made, {"n_params": np.empty(0), "n_tokens": np.empty(0)})
    table = {"low": np.arange(1.0, 9.0), "loss": np.arange(1.0, 9.0) ** -0.5}
    found = fit("A*low**-b", table, draws=0)
    with pytest.raises(BadTable, match="variable 'low' has the name of a column of predictions"):
        predict(found, {"low": [1.0]})


def test_unknown_numbers_say_why(made: Fit) -> None:
    bare = dataclasses.replace(
        made, draws={}, covariance=None, residuals=np.empty(0), components=None, ranges={},
        outermost=(),
    )  # fmt: skip
    found = predict(bare, {"n_params": [1e8], "n_tokens": [1e10]})
    row = found.table.row(0, named=True)
    for name in ("low", "new_high", "extrapolation", "extrapolation_n_params"):
        assert math.isnan(row[name])
    said = " ".join(found.notes)
    assert "no intervals" in said
    assert "extrapolation is unknown" in said


def test_many_rows_are_predicted_in_parts(made: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"n_params": np.geomspace(1e7, 1e9, 50), "n_tokens": np.geomspace(1e9, 1e11, 50)}
    whole = predict(made, rows).table
    monkeypatch.setattr("kleiber.fitting.prediction.CHUNK_VALUES", 7 * made.n_draws)
    assert predict(made, rows).table.equals(whole)


def test_a_data_frame_comes_back_as_what_it_was(made: Fit) -> None:
    rows = {"n_params": [1e8, 7e9], "n_tokens": [1e10, 4e12]}
    wanted = made.predict(rows)["predicted"].to_list()
    pandas = pd.DataFrame(rows, index=pd.Index([5, 9]))
    for found in (made.predict(pandas), predict(made, pandas).table):
        assert isinstance(found, pd.DataFrame)
        assert found.index.to_list() == [5, 9]
        assert found["predicted"].to_list() == wanted
        assert found["n_params"].to_list() == rows["n_params"]
    assert list(pandas.columns) == ["n_params", "n_tokens"]  # the given one is as it was
    arrow = pl.DataFrame(rows).to_arrow()
    assert type(made.predict(arrow)) is type(arrow)
    assert describe_prediction(predict(made, pandas)) == describe_prediction(predict(made, rows))
