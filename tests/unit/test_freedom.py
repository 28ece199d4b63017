"""How well the variance of a quantity is known: by the rows, or groups, that decide it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import kleiber
from kleiber import Fit, Law, Noise, fit
from kleiber.errors import BadTable
from kleiber.fitting.spread.intervals import percentile_interval
from kleiber.fitting.spread.wild import DOF_PER_UNIT
from kleiber.law import real

MANY, FEW = 60, 4


@Law
def jump(x, *, a=real(-1, 1), b=real(-1, 1)):
    """Two levels. Made for this test."""
    return a + b * x


@pytest.fixture(scope="module")
def two_levels() -> Fit:
    """Many rows decide a, a few a + b: residuals of one size."""
    x = np.repeat([0.0, 1.0], [MANY, FEW])
    noise = np.tile([0.1, -0.1], (MANY + FEW) // 2) + 1e-9 * np.arange(MANY + FEW)
    table = {"x": x, "loss": 2 + x + noise}
    return fit(jump, table, noise=Noise("linear"), draws=2000)


def values(found: Fit) -> np.ndarray:
    return np.stack([found.draws["a"], found.draws["a"] + found.draws["b"]], axis=1)


def test_each_quantity_counts_the_rows_that_decide_it(two_levels: Fit) -> None:
    got = two_levels.degrees_of_freedom(values(two_levels))
    assert got == pytest.approx([DOF_PER_UNIT * MANY, DOF_PER_UNIT * FEW], rel=0.05)


def test_intervals_are_read_at_students_level_of_the_quantity(two_levels: Fit) -> None:
    for quantity, rows in ((lambda p: p["a"], MANY), (lambda p: p["a"] + p["b"], FEW)):
        t = stats.t.ppf(0.975, min(DOF_PER_UNIT * rows, MANY + FEW - 2))
        wanted = percentile_interval(quantity(two_levels.draws), 2 * stats.norm.cdf(t) - 1)
        assert two_levels.interval(quantity) == pytest.approx([float(x) for x in wanted], rel=5e-3)
    table = two_levels.predict({"x": [0.0, 1.0]})
    ends = [two_levels.interval("a"), two_levels.interval(lambda p: p["a"] + p["b"])]
    got = table.select("low", "high").to_numpy()
    np.testing.assert_allclose(got, np.array(ends), rtol=1e-12)


@Law
def bow(x, *, a=real(-1, 1), b=real(-1, 1), c=real(-1, 1)):
    """A parabola. Made for this test."""
    return a + b * x + c * x * x


def test_the_origin_of_a_column_does_not_matter() -> None:
    x, noise = np.arange(12.0), 0.05 * np.random.default_rng(0).standard_normal(12)
    found = [
        fit(bow, {"x": x + shift, "loss": 2 + 0.1 * x + noise}, noise=Noise("linear"), draws=500)
        for shift in (0.0, 200.0)
    ]
    freedom = []
    for made, shift in zip(found, (0.0, 200.0), strict=True):
        at = np.array([0.0, 5.0, 11.0]) + shift
        drawn = {name: values[:, None] for name, values in made.draws.items()}
        freedom.append(made.degrees_of_freedom(np.asarray(made.law(at, **drawn))))
    np.testing.assert_allclose(freedom[0], freedom[1], rtol=0.1)


def test_what_is_known_on_some_draws_counts_as_the_least(two_levels: Fit) -> None:
    some = values(two_levels)[:-1]
    assert two_levels.degrees_of_freedom(some) == pytest.approx([DOF_PER_UNIT * FEW] * 2, rel=0.2)


def test_draws_of_resampled_rows_have_no_such_limit(two_levels: Fit) -> None:
    bare = dataclasses.replace(two_levels, moments=None)
    assert bare.degrees_of_freedom(values(bare)).tolist() == [np.inf, np.inf]
    rows = fit("power_law", {"n_data": [1.0, 2, 4, 8], "loss": [4.0, 3, 2.2, 1.6]}, draws=5)
    assert rows.moments is None


def test_a_file_with_moments_of_another_law_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fit.json"
    x = np.geomspace(1, 1e4, 15)
    table = {"n_data": x, "loss": 4 * x**-0.3 * (1 + 0.01 * np.sin(9 * x))}
    kleiber.save(fit("power_law", table, noise=Noise("log"), draws=20), path)
    document = json.loads(path.read_text())
    document["moments"]["fourth"].pop()
    path.write_text(json.dumps(document))
    with pytest.raises(BadTable, match="Its moments are not those of 2 parameters"):
        kleiber.load(path)
