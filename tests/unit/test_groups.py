"""One law a group: each as if it were alone, and those that cannot be fitted with their reason."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from kleiber import BadLaw, BadTable, GroupFits, Noise, fit, fit_groups, load, predict
from kleiber.fitting.groups import describe_groups, save_groups


def plant() -> pl.DataFrame:
    """Power laws of three tasks, and one task with a single row."""
    rng = np.random.default_rng(0)
    parts: list[dict[str, Any]] = []
    for task, alpha in ((10, 0.3), (9, 0.5), (100, 0.1)):
        n = 10 ** rng.uniform(2, 6, 20)
        loss = 5 * n**-alpha * np.exp(0.01 * rng.standard_normal(20))
        parts.append({"task": [task] * 20, "n_data": n, "loss": loss})
    parts.append({"task": [11], "n_data": [100.0], "loss": [1.0]})
    return pl.concat([pl.DataFrame(part) for part in parts]).sample(
        fraction=1, shuffle=True, seed=1
    )


OPTIONS: dict[str, Any] = {"noise": Noise("log"), "draws": 50, "seed": 3}


@pytest.fixture(scope="module")
def made() -> GroupFits:
    """The law of each task."""
    return fit_groups("power_law", plant(), group="task", **OPTIONS)


def test_groups_stand_in_numerical_order(made: GroupFits) -> None:
    assert [item.value for item in made.fits] == [9, 10, 11, 100]
    texts = plant().with_columns(pl.col("task").cast(pl.String))
    found = fit_groups("power_law", texts, group="task", **dict[str, Any](OPTIONS, draws=0))
    assert [item.value for item in found.fits] == ["9", "10", "11", "100"]
    words = texts.with_columns(task=pl.lit("b") + pl.col("task"))
    found = fit_groups("power_law", words, group="task", **dict[str, Any](OPTIONS, draws=0))
    assert [item.value for item in found.fits] == ["b10", "b100", "b11", "b9"]


def test_each_is_fitted_as_if_it_were_alone(made: GroupFits) -> None:
    alone = fit("power_law", plant().filter(pl.col("task") == 10), **OPTIONS)
    item = made.fits[1]
    assert item.fit is not None
    assert item.fit.params == alone.params
    assert item.fit.draws["alpha"].tolist() == alone.draws["alpha"].tolist()
    fewer = fit_groups("power_law", plant().filter(pl.col("task") != 9), group="task", **OPTIONS)
    same = fewer.fits[0].fit
    assert same is not None
    assert same.draws["alpha"].tolist() == alone.draws["alpha"].tolist()


def test_a_group_that_cannot_be_fitted_is_listed(made: GroupFits) -> None:
    assert not made.usable
    item = made.fits[2]
    assert (item.fit, item.status, item.rows) == (None, "too_few_points", 1)
    assert "2 free parameters and the table has only 1 rows" in item.reason
    assert [other.usable for other in made.fits] == [True, True, False, True]
    table = plant().with_columns(loss=pl.when(pl.col("task") == 9).then(-1.0).otherwise("loss"))
    wrong = fit_groups("power_law", table, group="task", **OPTIONS).fits[0]
    assert (wrong.fit, wrong.status) == (None, "refused")
    assert "not positive" in wrong.reason


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"group": "tsk"}, BadTable, "No column 'tsk' to group by.*Did you mean 'task'"),
        ({"target": "los"}, BadTable, "no column 'los'"),
        ({"weights": "w"}, BadTable, "no column 'w'"),
        ({"fixed": {"q": 1.0}}, BadLaw, "no parameter 'q'"),
        ({"law": "power_lw"}, BadLaw, "No law is called 'power_lw'"),
    ],
)
def test_what_is_wrong_whatever_the_group_is_refused(
    change: dict[str, Any], error: type[Exception], message: str
) -> None:
    given: dict[str, Any] = {"law": "power_law", "group": "task", **OPTIONS, **change}
    with pytest.raises(error, match=message):
        fit_groups(given.pop("law"), plant(), **given)


def test_a_row_without_a_group_is_refused() -> None:
    table = plant().with_columns(task=pl.when(pl.col("task") == 9).then(None).otherwise("task"))
    with pytest.raises(BadTable, match="'task' to group by has a missing value, in row"):
        fit_groups("power_law", table, group="task")


def test_the_document_lists_every_group(made: GroupFits) -> None:
    document = json.loads(json.dumps(describe_groups(made), allow_nan=False))
    assert document["group"] == "task"
    assert [item["value"] for item in document["groups"]] == [9, 10, 11, 100]
    assert set(document["groups"][0]["params"]) == {"A", "alpha"}
    assert "draws" not in document["groups"][0]
    assert document["groups"][2]["status"] == "too_few_points"
    assert "params" not in document["groups"][2]


def test_a_groups_fit_is_loaded_by_its_value(made: GroupFits, tmp_path: Path) -> None:
    path = tmp_path / "fits.json"
    save_groups(made, path)
    for value in (10, "10"):
        found, kept = load(path, group=value), made.fits[1].fit
        assert kept is not None
        assert found.params == kept.params
        row = {"n_data": [1e4]}
        assert predict(found, row).table.equals(predict(kept, row).table)
    with pytest.raises(BadTable, match=r"one fit for each value of 'task': 9, 10, 11, 100\. In"):
        load(path)
    with pytest.raises(BadTable, match="one fit for each value of 'task'"):
        load(path, group=12)
    with pytest.raises(BadTable, match=r"holds no fit of task = 11: .*only 1 rows"):
        load(path, group=11)
    path.write_text(json.dumps(describe_groups(made)["groups"][0]))
    assert not math.isnan(load(path).params["A"])
    with pytest.raises(BadTable, match="holds one fit, not one for each group"):
        load(path, group=9)
