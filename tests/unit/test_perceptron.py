"""The theory of the perceptron: its doors, its columns, its corners, and its simulations."""

from __future__ import annotations

import itertools
import math
import pickle
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.integrate import quad
from scipy.special import ndtr

import kleiber
from kleiber.errors import BadTable, NotConverged
from kleiber.systems.implicit_bias import perceptron_saddle
from kleiber.systems.implicit_bias.perceptron import (
    PREDICTED,
    early_curve,
    flow_curve,
    flow_time,
    from_logistic_norm,
    logistic_norm,
    master_curve,
    references,
)
from kleiber.systems.implicit_bias.perceptron_draws import draw_sample, train_ridge
from kleiber.systems.implicit_bias.perceptron_limits import lowest
from kleiber.systems.implicit_bias.perceptron_saddle import fresh_loss, solve_saddle
from kleiber.theory import Perceptron, Theory, catalogue, find

FIVE = Perceptron(load=5.0)


def test_it_is_a_theory() -> None:
    assert catalogue()["perceptron"] is Perceptron is find("Perceptron")
    assert isinstance(kleiber.theory.Perceptron(load=5.0), Theory)
    assert pickle.loads(pickle.dumps(FIVE)) == FIVE == Perceptron()


@pytest.mark.parametrize("load", [0, -1.0, float("inf"), float("nan"), True, "5", None])
def test_the_load_is_checked(load: Any) -> None:
    theory = Perceptron()
    object.__setattr__(theory, "load", load)
    with pytest.raises(ValueError, match="load must be a finite positive number"):
        theory.__post_init__()


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"nrom": [1.0]}, "Did you mean 'norm'"),
        ({"norm": [0.0]}, "not positive"),
        ({"norm": []}, "a value or a list"),
        (pl.DataFrame({"norm": [1.0], "error": [0.1]}), "a column 'error' already"),
        (pl.DataFrame({"n_data": [1.0]}), "norm"),
    ],
)
def test_a_bad_grid_is_refused(grid: Any, words: str) -> None:
    for ask in (FIVE.solve, FIVE.simulate, FIVE.simulate_flow):
        with pytest.raises(BadTable, match=words):
            ask(grid)


def test_rows_keep_their_order_and_their_other_columns() -> None:
    table = pl.DataFrame({"model": ["a", "b", "c"], "norm": [3.0, 0.1, 3.0]})
    solved = FIVE.solve(table)
    assert solved.columns == [*table.columns, *PREDICTED]
    assert solved.select(table.columns).equals(table)
    assert solved["error"][0] == solved["error"][2] < solved["error"][1]
    assert np.array_equal(FIVE.error([3.0, 0.1]), solved["error"].to_numpy()[:2])


@pytest.mark.parametrize("load", np.geomspace(0.1, 1e6, 8).tolist())
def test_every_corner_has_a_value(load: float) -> None:
    norms = np.geomspace(1e-4, 1e4, 33)
    solved, rules = Perceptron(load).solve({"norm": norms}), references(load)
    assert np.isfinite(solved.to_numpy()).all()
    error = solved["error"].to_numpy()
    assert (error > rules.bayes * (1 - 1e-9)).all()
    assert (error < max(rules.hebb, rules.max_stability) * (1 + 1e-9)).all()
    assert error[0] == pytest.approx(rules.hebb, rel=1e-4)
    assert (np.diff(solved["train_loss"].to_numpy()) <= 0).all()
    assert (solved["multiplier"] >= 0).all()
    assert np.allclose(np.cos(np.pi * error), solved["overlap"], rtol=1e-12)
    turns = np.diff(np.sign(np.diff(error)))
    assert (turns != 0).sum() <= 1  # a single minimum


def test_beyond_the_tested_range_there_is_a_value_or_an_error() -> None:
    for load, norm in ((1e-5, 1e-8), (1e9, 1e9), (1e-5, 1e9), (1e12, 1e-12)):
        try:
            error = Perceptron(load).error(norm)[0]
        except NotConverged:
            continue
        assert 0 < error < 0.5


def test_what_does_not_converge_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptron_saddle, "STEPS", 2)
    with pytest.raises(NotConverged, match="load 5 and norm") as caught:
        FIVE.solve({"norm": [0.5, 7.0]})
    assert caught.value.iterations == 2
    assert caught.value.residual > 1e-11


def test_a_long_grid_is_solved_in_parts() -> None:
    norms = np.geomspace(0.01, 100, 300)
    assert np.allclose(FIVE.error(norms)[::50], FIVE.error(norms[::50]), rtol=1e-11)


def test_columns_are_tied_to_each_other() -> None:
    norms = np.array([0.05, 0.5, 2.0, 5.0, 20.0])
    solved, h = FIVE.solve({"norm": norms}), 1e-4
    up, down = (FIVE.solve({"norm": norms * math.exp(s)}) for s in (h, -h))
    slope = -(np.log(up["error"].to_numpy()) - np.log(down["error"].to_numpy())) / (2 * h)
    assert np.allclose(slope, solved["local_exponent"], atol=1e-7)
    # the multiplier is what a longer norm would gain: k = -load dtrain_loss/dnorm
    gain = -(up["train_loss"].to_numpy() - down["train_loss"].to_numpy()) / (2 * h) / norms
    assert np.allclose(5 * gain, solved["multiplier"], rtol=1e-6)
    hebb = references(5.0).hebb
    assert np.allclose(solved["relative_error"] * hebb, solved["error"], rtol=1e-14)


@pytest.mark.parametrize(("ratio", "norm"), [(3.0, 0.01), (0.2, 2.0), (20.0, 300.0), (-0.5, 4.0)])
def test_the_loss_of_fresh_examples(ratio: float, norm: float) -> None:
    def at(t: float) -> float:
        density = 2 * ndtr(ratio * t) * math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
        return float(density) * float(np.logaddexp(0, -2 * norm * t))

    ends = sorted({-9.0, -1.0, -0.3, -0.05, -0.01, 0.0, 0.01, 0.05, 0.3, 1.0, 9.0})
    pairs = itertools.pairwise(ends)
    total = sum(quad(at, low, high, epsabs=1e-13)[0] for low, high in pairs)
    assert fresh_loss(np.array([ratio]), np.array([norm]))[0] == pytest.approx(total, rel=1e-9)


def test_exponents_are_those_of_the_curves() -> None:
    found = Perceptron(1e6).exponents()
    assert found["relative_error_opt"] == found["gamma_1"] * found["gamma_2"]
    one, ten = (Perceptron(load).optimum() for load in (1e5, 1e6))
    assert math.log10(ten.norm / one.norm) == pytest.approx(found["gamma_2"], abs=1e-4)
    assert math.log10(one.error / ten.error) == pytest.approx(found["error_opt"], abs=1e-4)
    early = early_curve([1e3, 1e4])
    assert math.log10(early[0] / early[1]) == pytest.approx(found["gamma_1"], abs=1e-6)


def test_the_optimum_at_any_load() -> None:
    for load in (1e-3, 0.1, 1.0, 30.0, 1e4, 1e8):
        best = Perceptron(load).optimum()
        around = Perceptron(load).error(best.norm * np.array([0.9, 1.0, 1.1]))
        assert around[1] < min(around[0], around[2])
        assert best.error == pytest.approx(around[1], rel=1e-9)


def test_a_minimum_outside_the_range_is_no_minimum() -> None:
    with pytest.raises(NotConverged, match="No minimum"):
        lowest(lambda x: x, 0.0, 1.0)


def test_the_norm_of_pytorch_is_twice_ours() -> None:
    assert logistic_norm(3.0) == [6.0]
    assert np.array_equal(from_logistic_norm(logistic_norm([0.1, 2.0])), [0.1, 2.0])
    z = np.linspace(-3, 3, 7)  # y w.x/sqrt(N) in our norm: the same loss
    assert np.allclose(np.log1p(np.exp(-logistic_norm(1.0) * z)), -z + np.log(2 * np.cosh(z)))


@pytest.mark.parametrize("curve", [early_curve, master_curve, flow_curve, flow_time])
def test_limits_take_positive_norms(curve: Any) -> None:
    assert curve(2.0).shape == (1,)
    assert np.allclose(curve([0.3, 2.0])[1], curve(2.0)[0], rtol=1e-10)
    for bad in (0.0, [1.0, -1.0], [], [[1.0]], float("inf")):
        with pytest.raises(ValueError, match="finite positive numbers"):
            curve(bad)


def test_limits_are_limits() -> None:
    norms = np.array([0.1, 1.0, 10.0])
    high = Perceptron(1e8).solve({"norm": norms})["relative_error"]
    assert np.allclose(high, early_curve(norms), rtol=1e-6)
    ells = np.array([0.1, 1.0, 5.0])
    assert np.allclose(
        Perceptron(1e5).error(ells * 1e5) * math.pi * 1e5, master_curve(ells), rtol=1e-8
    )


def test_a_simulation_repeats_itself() -> None:
    grid = {"norm": [2.0, 0.5]}
    first, again = (FIVE.simulate(grid, seeds=2, size=50) for _ in range(2))
    assert first.equals(again)
    more = FIVE.simulate(grid, seeds=3, size=50)
    assert more.head(4).equals(first)
    other = FIVE.simulate(grid, seeds=2, seed=1, size=50)
    assert not other["error"].equals(first["error"])
    assert set(first.columns) == {
        "norm", "seed", "measured_norm", *(name for name in PREDICTED if name != "local_exponent"),
    }  # fmt: skip
    assert first["norm"].to_list() == [2.0, 0.5, 2.0, 0.5]
    assert first["seed"].to_list() == [0, 0, 1, 1]


@pytest.mark.parametrize("load", [0.4, 3.0])
def test_ridge_weights_are_stationary(load: float) -> None:
    sample = draw_sample(load, 60, 0, 0)
    norm = np.array([0.3, 3.0])
    ridge = Perceptron(load).solve({"norm": norm})["multiplier"].to_numpy() / norm
    trained = train_ridge(sample, norm, ridge)
    for w, mu in zip(trained.weights, ridge, strict=True):
        gradient = 2 / (1 + np.exp(2 * sample.examples @ w)) @ sample.examples
        assert np.linalg.norm(gradient - mu * w) < 1e-8 * np.linalg.norm(mu * w)


def test_very_large_norms_are_trained_or_refused() -> None:
    drawn = FIVE.simulate({"norm": [300.0]}, seeds=2, size=40)
    assert (drawn["train_error"] == 0).all()
    assert (drawn["train_loss"] < 1e-12).all()
    with pytest.raises(BadTable, match="the norm 5000 is that of a ridge below 1e-290"):
        FIVE.simulate({"norm": [3.0, 5000.0]}, seeds=1, size=40)
    with pytest.raises(BadTable, match="followed to norm 100"):
        FIVE.simulate_flow({"norm": [101.0]})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"seeds": 0}, "seeds must be a whole number from 1"),
        ({"size": 1}, "size must be a whole number from 2"),
        ({"size": 10**5}, "size must be a whole number from 2 to 3162 at load 5"),
        ({"seed": -1}, "seed must be a whole number from 0"),
    ],
)
def test_a_bad_simulation_is_refused(given: dict[str, int], words: str) -> None:
    for ask in (FIVE.simulate, FIVE.simulate_flow):
        with pytest.raises(ValueError, match=words):
            ask({"norm": 1.0}, **given)


def test_the_flow_passes_every_norm() -> None:
    norms = [0.05, 1.0, 4.0]
    flowed = FIVE.simulate_flow({"norm": norms}, seeds=2, size=60)
    assert np.allclose(flowed["measured_norm"], flowed["norm"], rtol=1e-12)
    assert flowed.filter(pl.col("seed") == 0)["time"].is_sorted()
    assert (flowed["multiplier"] > 0).all()
    assert FIVE.simulate_flow({"norm": norms}, seeds=2, size=60).equals(flowed)
    fewer = FIVE.simulate_flow({"norm": norms[1:]}, seeds=2, size=60)
    assert np.allclose(fewer["error"], flowed.filter(pl.col("norm") > 0.5)["error"], rtol=1e-3)


def test_the_saddle_says_what_was_left() -> None:
    found = solve_saddle(5.0, np.array([0.1, 1.0]))
    assert found.residual < 1e-11
    assert 1 < found.iterations < 10


def test_a_point_that_is_lost_is_not_converged(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(load: float, norm: Any, limit: bool) -> Any:
        return np.full(norm.size, 1e4), np.full(norm.size, 1e4)  # overflows at once

    monkeypatch.setattr(perceptron_saddle, "_start", lost)
    with pytest.raises(NotConverged):
        FIVE.solve({"norm": [1.0]})
