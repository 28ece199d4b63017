"""The theory of the hard tail: its doors, its columns, and its simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

import kleiber
from kleiber.errors import BadTable
from kleiber.systems.grid import rows_of
from kleiber.theory import HardTail, Theory, catalogue, find

SMALL = HardTail(tail=6.0, noise=0.1, tolerance=0.05, dimension=10)
UNIT = HardTail(tail=2.5, noise=1.0, tolerance=1.0)


def test_the_contract() -> None:
    lid = kleiber.theory.HardTail(tail=2.7, tolerance=0.6, noise=1.0)
    found = lid.failure(k=[1, 7, 50], rho=0.35)
    assert found.shape == (3,)
    assert (np.diff(found) < 0).all()
    assert np.array_equal(lid.failure(7, 0.35), lid.failure([7], 0.35))
    scaled = HardTail(tail=2.7, tolerance=6e-4, noise=1e-3).failure([1, 7, 50], 0.35)
    assert np.allclose(scaled, found, rtol=1e-12)


def test_theories_are_found() -> None:
    assert catalogue()["hard_tail"] is HardTail
    assert find("hard_tail") is HardTail is find("HardTail")
    assert isinstance(HardTail(), Theory)
    with pytest.raises(ValueError, match="Did you mean 'hard_tail'"):
        find("hard_tale")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tail": 0}, "tail must be positive, got 0"),
        ({"noise": -1.0}, "noise must be positive"),
        ({"tolerance": float("inf")}, "tolerance must be a finite number"),
        ({"ridge": -1e-9}, "ridge must not be negative"),
        ({"dimension": 0}, "dimension must be a whole number"),
        ({"capacity": True}, "capacity must be a finite number"),
    ],
)
def test_parameters_are_checked(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        HardTail(**given)


def test_the_law_of_precision_is_checked() -> None:
    lid = HardTail()
    object.__setattr__(lid, "precision", "gama")
    with pytest.raises(
        ValueError, match=r"gamma, bounded, fixed, got 'gama'\. Did you mean 'gamma'"
    ):
        lid.__post_init__()


def test_attempts_bias_and_window_are_checked() -> None:
    with pytest.raises(ValueError, match=r"from 1 to .*, got 0\.5"):
        UNIT.failure([0.5, 2], 1.0)
    with pytest.raises(ValueError, match="rho must be finite"):
        UNIT.failure(1, -0.1)
    with pytest.raises(ValueError, match=r"from 1 to 1e\+15, got 0\.5, 1e\+16\.$"):
        UNIT.failure([1, 1e16, 1, 0.5], 1.0)
    with pytest.raises(ValueError, match=r"one rho and one k or a list of k, got shapes \(2,\)"):
        UNIT.failure([1, 2], [0.1, 0.2])
    with pytest.raises(ValueError, match=r"a number of attempts or a list of them, got \[\["):
        UNIT.failure([[1, 2]], 0.1)
    with pytest.raises(ValueError, match=r"rho must be finite and not negative, got \[\]"):
        UNIT.failure(1, [])
    with pytest.raises(ValueError, match="window"):
        UNIT.window_exponent(1.0, 100, 10)
    with pytest.raises(ValueError, match="from 2, got 1"):
        UNIT.window_exponent(1.0, 10, 100, points=1)


def test_a_grid_is_crossed_and_a_frame_is_not() -> None:
    known = ("n_data", "k")
    crossed = rows_of({"n_data": [1, 2], "k": [3, 4, 5]}, known, ())
    assert crossed.rows() == [(1, 3), (1, 4), (1, 5), (2, 3), (2, 4), (2, 5)]
    frame = pl.DataFrame({"n_data": [200, 300], "k": [3, 4], "name": ["a", "b"]})
    solved = SMALL.solve(frame)
    assert solved.select(frame.columns).equals(frame)
    each = SMALL.solve({"n_data": [200, 300], "k": [3, 4]})
    assert np.allclose(solved["failure"], each["failure"].to_numpy()[[0, 3]], rtol=1e-12)


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"n_dta": [10], "k": 1}, "Did you mean 'n_data'"),
        ({"k": [1]}, "no column 'n_data'"),
        ({"n_data": [10], "rho": [1.0]}, "both n_data and rho"),
        ({"n_data": [0.5]}, "n_data must be finite and from 1"),
        ({"n_data": [50], "k": [0]}, "Column 'k' of the grid: .* must be from 1"),
        ({"n_data": []}, "a value or a list"),
        ({"n_data": range(1, 9001), "k": range(1, 9001)}, "81,000,000 rows.*up to 5,000,000"),
        ({}, "no columns"),
        (pl.DataFrame({"n_data": [50], "loss": [1.0]}), "a column 'loss' already"),
        (pl.DataFrame({"n_data": ["a"]}), "must hold numbers"),
    ],
)
def test_a_bad_grid_is_refused(grid: Any, words: str) -> None:
    with pytest.raises(BadTable, match=words):
        SMALL.solve(grid)


def test_infinite_losses_are_refused() -> None:
    heavy = HardTail(tail=1.5, noise=1.0, tolerance=1.0)
    with pytest.raises(BadTable, match=r"With tail 1\.5 the label noise has no variance"):
        heavy.solve({"n_data": 50})
    assert 0 < heavy.failure(10, 0.5)[0] < 1
    solved = heavy.solve({"rho": [0.5], "k": [10]})["failure"][0]
    assert solved == pytest.approx(heavy.failure(10, 0.5)[0], rel=1e-10)
    with pytest.raises(BadTable, match="infinite at n_data = dimension = 10"):
        HardTail(dimension=10, ridge=0.0).solve({"n_data": [10]})


@pytest.mark.long
def test_columns_are_consistent() -> None:
    table = UNIT.solve({"rho": [0.0, 0.3, 0.8, 2.0], "k": [1, 10, 1e3, 1e9]})
    assert np.allclose(table["intrinsic"] + table["bias"], table["failure"], rtol=1e-12)
    assert np.allclose(table["hard_share"], table["intrinsic"] / table["failure"], rtol=1e-12)
    unbiased = table.filter(table["rho"] == 0)
    assert (unbiased["bias"] == 0).all()
    assert unbiased["crossover"].is_infinite().all()
    assert np.allclose(table["loss"], table["rho"] ** 2)
    for rho in (0.3, 0.8):
        cross = float(UNIT.crossover(rho)[0])
        half = UNIT.solve({"rho": rho, "k": [cross / 1.001, cross, cross * 1.001]})["hard_share"]
        assert half[0] > 0.5 > half[2]
        assert half[1] == pytest.approx(0.5, abs=1e-6)
    assert (UNIT.crossover([0.05, 50.0]) == [np.inf, 1.0]).all()
    exponents = table.filter(table["k"] == 1)["window_exponent"]
    assert np.allclose(exponents, UNIT.window_exponent([0.0, 0.3, 0.8, 2.0]), rtol=1e-9)


def test_without_attempts_there_is_training_alone() -> None:
    table = SMALL.solve({"n_data": [3, 30, 300]})
    assert table.columns == ["n_data", "loss", "rho", "window_exponent", "crossover"]
    assert np.allclose(table["rho"], np.sqrt(table["loss"]) / 0.1)
    assert np.allclose(table["loss"], SMALL.loss([3, 30, 300]), rtol=1e-13)


def test_losses_of_the_training_sets_own_noise() -> None:
    assert SMALL.label_noise == pytest.approx(0.01 * 2 / 4)
    assert HardTail(precision="bounded", tail=3.0).label_noise == pytest.approx(3e-6)
    assert HardTail(precision="fixed", tail=1.0).label_noise == pytest.approx(1e-6)
    doubled = SMALL.loss(500, label_noise=0.01)[0]
    assert doubled == pytest.approx(2 * SMALL.loss(500)[0], rel=1e-5)


def test_exponents() -> None:
    assert HardTail().exponents() == {
        "intrinsic": 2.5,
        "bias": 0.0,
        "inference": 0.0,
        "training": 1.0,
        "training_beyond_peak": 1.0,
    }
    assert HardTail(precision="bounded").exponents(rho=2.0)["inference"] == 0.25
    assert HardTail(precision="bounded").exponents(rho=0.1)["inference"] == 2.5
    assert HardTail(precision="fixed").exponents()["intrinsic"] == np.inf
    assert HardTail(source=9.0).exponents()["training"] == 4.0
    assert "training" not in HardTail(tail=2.0).exponents()
    assert HardTail().exponents(rho=0)["inference"] == 2.5


def test_simulation_has_the_same_columns_and_keeps_its_numbers() -> None:
    grid = {"n_data": [8, 40], "k": [1, 100]}
    drawn, solved = SMALL.simulate(grid, seeds=2), SMALL.solve(grid)
    assert drawn.height == 2 * solved.height
    assert set(solved.columns) - {"crossover"} <= set(drawn.columns)
    assert drawn.equals(SMALL.simulate(grid, seeds=2))
    more = SMALL.simulate({"n_data": [8, 40, 90], "k": [1, 100]}, seeds=3)
    both = more.filter((more["seed"] < 2) & (more["n_data"] < 90))
    assert np.allclose(both["loss"], drawn["loss"], rtol=1e-12)  # nested data, seeds of their own
    assert not np.allclose(SMALL.simulate(grid, seeds=2, seed=1)["loss"], drawn["loss"])


@pytest.mark.long
def test_simulated_failures_are_those_of_the_run() -> None:
    """Given the loss a head has, for all three laws and far into the tail."""
    for precision in ("gamma", "bounded", "fixed"):
        lid = HardTail(tail=3.0, noise=0.1, tolerance=0.03, dimension=10, precision=precision)
        drawn = lid.simulate({"n_data": [15, 60], "k": [1, 10, 1e3, 1e6]}, seeds=3)
        for row in drawn.iter_rows(named=True):
            exact = lid.failure(row["k"], row["rho"])[0]
            assert abs(row["failure"] - exact) < 5 * row["failure_stderr"]
            assert row["failure_stderr"] < 0.12 * exact
            assert 0 <= row["failure"] <= 1
            slope = lid.window_exponent(row["rho"])[0]
            assert row["window_exponent"] == pytest.approx(slope, abs=0.06, rel=0.03)


def test_simulated_failures_are_at_most_one() -> None:
    rare = HardTail(noise=5.0, tolerance=0.05, dimension=20)
    drawn = rare.simulate({"n_data": [25, 100], "k": 1})
    assert drawn["failure"].max() == 1  # of some heads the mean of the weights is above
    assert (drawn["failure_stderr"] > 0).all()
    assert np.allclose(drawn["intrinsic"] + drawn["bias"], drawn["failure"], rtol=1e-12)


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"n_data": [10.5]}, "whole numbers"),
        ({"n_data": [1e12]}, "at most 20000000 for 10 dimensions"),
        ({"rho": [1.0]}, "no use for 'rho'"),
    ],
)
def test_what_cannot_be_simulated(grid: dict[str, Any], words: str) -> None:
    with pytest.raises(BadTable, match=words):
        SMALL.simulate(grid)
    with pytest.raises(ValueError, match="seeds must be"):
        SMALL.simulate({"n_data": 10}, seeds=0)
