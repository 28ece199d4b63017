"""The record of the feature-learning model: its doors, its columns, and its closed forms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

import kleiber
from kleiber.cli import repeat_options
from kleiber.errors import BadTable, NotConverged
from kleiber.systems.feature_learning import limits
from kleiber.systems.feature_learning.curves import PARTS
from kleiber.systems.feature_learning.flow import Spectrum, march, moments
from kleiber.systems.feature_learning.modes import exact_total, power_modes
from kleiber.theory import FeatureLearning, Theory, catalogue, find

RICH = FeatureLearning(capacity=1.5, source=0.5, richness=1.0)


def test_the_contract() -> None:
    made = kleiber.theory.FeatureLearning(capacity=1.5, source=0.5, richness=1.0)
    table = pl.DataFrame({"time": [0.0, 10.0, 1e3], "run": ["a", "b", "c"]})
    solved = made.solve(table)
    assert solved.columns[:3] == ["time", "run", "loss"]
    assert solved["run"].to_list() == ["a", "b", "c"]
    assert abs(solved["loss"][0] - exact_total(1.75, np.inf)) < 1e-9
    assert (np.diff(solved["loss"]) < 0).all()
    assert find("feature_learning") is FeatureLearning is catalogue()["feature_learning"]
    assert isinstance(made, Theory)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"capacity": 1.0}, "capacity must be above 1, .*, got 1.0"),
        ({"source": 0}, "source must be positive, got 0"),
        ({"richness": -1}, "richness must not be negative"),
        ({"width": 2.5}, "width must be a whole number from 1 or infinite, got 2.5"),
        ({"n_data": 0}, "n_data must be a whole number from 1"),
        ({"modes": float("nan")}, "modes must be a whole number"),
        ({"noise": float("inf")}, "noise must be a finite number"),
        ({"depth": 1}, "depth counts weight layers, a whole number from 2"),
        ({"width": True}, "width must be a whole number"),
        ({"batch_size": 4}, "step_size, which must be positive"),
        ({"batch_size": 4, "n_data": 10, "step_size": 0.1}, "give n_data or batch_size, not both"),
    ],
)
def test_parameters_are_checked(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FeatureLearning(**given)


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"time": [-1.0]}, "'time' must be finite and not negative"),
        ({"width": [10]}, "needs a column 'time'"),
        ({"time": [1.0], "step": [1]}, "and not both"),
        ({"step": [1]}, "positive step_size"),
        ({"tme": [1.0]}, "Did you mean 'time'"),
        ({"time": [1.0], "width": [0.5]}, "The grid cannot be solved.* width must be"),
        (pl.DataFrame({"time": [1.0], "loss": [1.0]}), "a column 'loss' already"),
    ],
)
def test_grids_are_checked(grid: Any, words: str) -> None:
    with pytest.raises(BadTable, match=words):
        RICH.solve(grid)


def test_other_doors_are_checked() -> None:
    with pytest.raises(ValueError, match=r"got 'limit'\. Did you mean 'limits'"):
        RICH.solve({"time": [1.0]}, solver="limit")
    with pytest.raises(ValueError, match="modes must be whole numbers from 1"):
        RICH.learned([1.0], [0.5])
    with pytest.raises(ValueError, match="time must be one or more finite numbers"):
        RICH.learned([np.nan], [1])
    with pytest.raises(ValueError, match="compute must be positive"):
        RICH.frontier([-1.0])
    with pytest.raises(ValueError, match="modes must be whole numbers from 1 to 40"):
        FeatureLearning(modes=40).learned([1.0], [41])
    with pytest.raises(ValueError, match="to the solver reduced alone, got 'limits'"):
        RICH.solve({"time": [1.0], "mode": [1]}, solver="limits")
    with pytest.raises(BadTable, match="The grid has no use for 'mode'"):
        RICH.simulate({"time": [1.0], "mode": [1]})
    with pytest.raises(ValueError, match="chooses the width and assumes"):
        FeatureLearning(width=10).frontier([1e4])
    with pytest.raises(BadTable, match="takes steps, so step_size must be positive"):
        RICH.solve({"step": [1]}, solver="dmft")
    with pytest.raises(ValueError, match="no power law in time"):
        FeatureLearning(source=1, richness=1).solve({"time": [1.0]}, solver="limits")
    loud = FeatureLearning(batch_size=1, step_size=1)
    with pytest.raises(NotConverged, match="grow without end"):
        loud.solve({"time": [1.0]})
    with pytest.raises(ValueError, match="grow without end"):
        loud.solve({"time": [1.0]}, solver="limits")


@pytest.mark.long
def test_a_grid_may_vary_sizes_and_parts_add_up() -> None:
    made = FeatureLearning(richness=1.0, step_size=0.02)
    grid = {"step": [0, 50, 5000], "width": [20, 40], "n_data": [30, np.inf]}
    solved = made.solve(grid)
    assert solved.height == 12
    assert solved["step"].to_list() == sorted(solved["step"])
    whole = np.sum([solved[name].to_numpy() for name in PARTS], axis=0)
    assert np.allclose(whole, solved["loss"], atol=1e-12)
    one = FeatureLearning(richness=1.0, width=40, n_data=30).solve({"time": [1.0]})
    there = solved.filter(
        (pl.col("width") == 40) & (pl.col("n_data") == 30) & (pl.col("step") == 50)
    )
    assert np.isclose(one["loss"][0], there["loss"][0], rtol=1e-9)
    assert one["train_loss"][0] == pytest.approx(there["train_loss"][0], rel=1e-9)
    alone = solved.filter(pl.col("n_data").is_infinite() & (pl.col("step") == 50))
    assert alone["data_part"].to_list() == [0.0, 0.0]
    assert alone["train_loss"].is_null().all()
    noisy = FeatureLearning(width=30, batch_size=4, step_size=0.02, noise=0.1, richness=1.0)
    row = noisy.solve({"time": [20.0]}).row(0, named=True)
    assert sum(row[name] for name in PARTS) == pytest.approx(row["loss"], rel=1e-12)
    assert row["batch_part"] > 0


def test_modes_are_summed_as_if_one_by_one() -> None:
    for capacity, source, count in ((1.5, 0.5, 1e5), (1.1, 0.2, 2e4), (3.0, 2.5, 1e4)):
        modes = power_modes(capacity, source, count, 1e-20)
        k = np.arange(1, count + 1)
        for tau in (1.0, 1e2, 1e5):
            exact = (k ** -(capacity * source + 1) * np.exp(-2 * k**-capacity * tau)).sum()
            found = (modes.power * np.exp(-2 * modes.lam * tau)).sum()
            assert abs(found / exact - 1) < 1e-6
        assert modes.trace == pytest.approx(exact_total(capacity, count), rel=1e-8)
    endless = power_modes(1.2, 0.3, np.inf, 1e-18)
    assert endless.total == pytest.approx(exact_total(1.36, np.inf), rel=1e-8)
    assert endless.trace == pytest.approx(exact_total(1.2, np.inf), rel=1e-8)
    assert endless.lam.size < 900


def test_moments_are_integrals() -> None:
    xi = np.array([0.3, 1.0])
    r = (np.arange(20_000) + 0.5) / 20_000
    for y in (1e-9, 0.5, 0.999, 1.001, 7.0 + 3j, 300 + 200j):
        found = moments(np.full((2, 1), y), xi)
        for p in range(found.shape[0]):
            for row, end in enumerate(xi):
                at = r * end
                exact = (np.exp(-y * (end - at)) * at**p).mean() * end
                assert abs(found[p, row, 0] / exact - 1) < 2e-4


@pytest.mark.long
def test_steps_are_few_and_right() -> None:
    modes = power_modes(1.5, 0.5, np.inf, 1e-20)
    spectrum = Spectrum(modes.lam, modes.power)
    path = march(spectrum, 1.0, 2, 1e9)
    assert path.tau.size < 250
    times = np.geomspace(1e-3, 1e9, 25)
    coarse = path.at(times)
    once, twice = (_small_steps(modes.lam, modes.power, 1.0, times[:11], h) for h in (0.01, 0.005))
    found = (coarse.missing**2) @ modes.power
    assert np.abs(found[:11] / ((4 * twice - once) / 3) - 1).max() < 1e-6


def _small_steps(lam: Any, power: Any, gamma: float, times: Any, h: float) -> Any:
    """The loss by many exponential midpoint steps of df/dt = a lam (1 - f) + b f, error O(h^2)."""
    keep = lam > 1e-15
    lam, power = lam[keep], power[keep]
    rest = power_modes(1.5, 0.5, np.inf, 1e-20).power[~keep].sum()
    t, f = 1e-9, lam * 1e-9
    out = []

    def rates(f: Any) -> tuple[float, float]:
        p = (power * f**2 / lam).sum()
        a = (1 + np.sqrt(1 + 4 * gamma * p)) / 2
        return a, gamma / a * (power * f * (1 - f)).sum()

    for end in times:
        while t < end * (1 - 1e-12):
            step = min(h * t if t > 1e-5 else 1e-5, end - t)
            a, b = rates(f)
            for _ in range(3):  # midpoint values of a and b, exponential in f
                z = (b - a * lam) * step
                new = f * np.exp(z) + a * lam * step * np.where(z == 0, 1, np.expm1(z) / z)
                a, b = rates((f + new) / 2)
            z = (b - a * lam) * step
            f = f * np.exp(z) + a * lam * step * np.expm1(z) / z
            t += step
        out.append((power * (1 - f) ** 2).sum() + rest)
    return np.array(out)


def test_learned_fractions_make_the_loss() -> None:
    small = FeatureLearning(capacity=1.5, source=0.7, richness=2.0, modes=40)
    k = np.arange(1, 41)
    for made in (small, FeatureLearning(capacity=1.5, source=0.7, modes=40)):
        share = made.learned([0.0, 0.5, 20.0], k)
        assert share.shape == (3, 40)
        loss = (k**-2.05 * (1 - share) ** 2).sum(axis=1)
        assert np.allclose(loss, made.solve({"time": [0.0, 0.5, 20.0]})["loss"], rtol=1e-7)
    lazy = FeatureLearning(width=50).learned([1e9], [1, 3, 1000])
    kappa = limits_kappa(50)
    lam = np.array([1.0, 3.0, 1000.0]) ** -1.5
    assert np.allclose(lazy[0], lam / (lam + kappa), rtol=1e-6)


def limits_kappa(width: int) -> float:
    """kappa_0 by bisection over two million modes and the integral of the rest."""
    lam = np.arange(1, 2_000_001) ** -1.5
    low, high = 1e-9, 1.0
    for _ in range(60):
        middle = np.sqrt(low * high)
        tail = 2 * 2_000_000.5**-0.5 / middle
        low, high = (middle, high) if (lam / (lam + middle)).sum() + tail > width else (low, middle)
    return float(low)


def test_the_local_exponent_is_the_slope() -> None:
    for made in (
        RICH,
        FeatureLearning(richness=1.0, width=60),
        FeatureLearning(richness=1.0, width=60, n_data=90, noise=0.2),
        FeatureLearning(richness=1.0, batch_size=8, step_size=0.02, noise=0.1),
        FeatureLearning(source=1.3, richness=2.0, depth=3),
    ):
        solved = made.solve({"time": [10.0, 10.01, 10.02]})
        slope = -np.diff(np.log(solved["loss"])[[0, 2]])[0] / np.log(1.002)
        assert solved["local_exponent"][1] == pytest.approx(slope, abs=2e-4)


@pytest.mark.parametrize(
    "model", [RICH, FeatureLearning(width=50), FeatureLearning(batch_size=8, step_size=0.1)]
)
def test_a_column_of_modes_is_answered_by_their_learned_fractions(model: FeatureLearning) -> None:
    times, modes = [0.5, 20.0], [7, 1, 100]
    found = model.solve({"mode": modes, "time": times})
    assert np.allclose(found["learned"].to_numpy().reshape(3, 2).T, model.learned(times, modes))
    without = model.solve({"time": times})
    assert found["loss"].to_list() == without["loss"].to_list() * 3
    assert "learned" not in without.columns
    rows = pl.DataFrame({"time": [20.0, 0.5], "mode": [1, 100], "width": [20.0, np.inf]})
    both = [
        replace(model, width=width).learned(time, mode)[0, 0]
        for time, mode, width in rows.iter_rows()
    ]
    assert np.allclose(model.solve(rows)["learned"], both)


@pytest.mark.parametrize("modes", [5, 50])
def test_the_frontier_of_finitely_many_modes(modes: int) -> None:
    model = FeatureLearning(modes=modes)
    compute = np.array([10.0, 4.0 * modes ** (1 + model.capacity)])
    found = model.frontier(compute)
    for row in found.iter_rows(named=True):
        widths = np.unique(np.round(np.geomspace(0.7, 1.4, 9) * row["width"]))
        near = [
            replace(model, width=n).solve({"time": [row["compute"] / n]})["loss"][0] for n in widths
        ]
        assert row["loss"] == pytest.approx(min(near), rel=0.01)
    with pytest.raises(ValueError, match=f"modes={modes:g} is below 1e-07 of the loss at the"):
        model.frontier([10.0, 1e12])


def test_as_many_units_as_modes_is_between_its_neighbours() -> None:
    for modes in (20, 50):
        losses = [
            FeatureLearning(modes=modes, width=width).solve({"time": [1.0, 100.0, 1e3]})["loss"]
            for width in (modes - 1, modes, modes + 1)
        ]
        assert np.allclose(losses[1] ** 2, losses[0] * losses[2], rtol=0.02)


def test_kernel_growth_and_spike() -> None:
    made = FeatureLearning(source=1.5, richness=2.0)
    row = made.solve({"time": [1e13]}).row(0, named=True)
    norm = exact_total(1.75, np.inf)
    grown = (1 + np.sqrt(1 + 8 * norm)) / 2
    assert row["kernel_growth"] == pytest.approx(grown, rel=1e-6)
    assert row["spike"] == pytest.approx(2 / grown * norm, rel=1e-6)
    lazy = FeatureLearning().solve({"time": [1e3]}).row(0, named=True)
    assert (lazy["kernel_growth"], lazy["spike"]) == (1.0, 0.0)


def test_exponents_and_phases() -> None:
    found = FeatureLearning(capacity=2.0, source=0.5, richness=1.0).exponents()
    assert found["time"] == pytest.approx(2 / 3)
    assert found["compute"] == pytest.approx(0.4)
    assert found["compute_width"] + found["compute_time"] == pytest.approx(1)
    assert FeatureLearning(capacity=2.0, source=0.5).exponents()["compute"] == pytest.approx(1 / 3)
    easy = FeatureLearning(capacity=2.0, source=1.3, richness=1.0)
    assert easy.exponents()["compute"] == pytest.approx(2.6 / 3.6)
    noisy = {"batch_size": 1, "step_size": 0.05}
    beyond = FeatureLearning(capacity=1.5, source=2.5, **noisy)
    assert beyond.exponents()["compute"] == pytest.approx(2 / 3)
    assert beyond.exponents()["compute_width"] == pytest.approx(0.5)
    assert (easy.phase, beyond.phase, RICH.phase) == (
        "easy, rich",
        "super-easy, lazy",
        "hard, rich",
    )
    at, past = (
        FeatureLearning(capacity=1.5, source=4 / 3 + shift, **noisy).exponents()
        for shift in (-1e-9, 1e-9)
    )
    assert at["compute"] == pytest.approx(past["compute"], abs=1e-6)
    assert FeatureLearning(source=0.5, richness=1, depth=4).exponents()["time"] == pytest.approx(
        0.8
    )


@pytest.mark.long
def test_limits_are_reached() -> None:
    for made in (
        RICH,
        FeatureLearning(source=0.3, richness=10.0, depth=3),
        FeatureLearning(source=0.4),
        FeatureLearning(source=1.4, richness=0.5),
        FeatureLearning(source=0.5, batch_size=1, step_size=0.02),
        FeatureLearning(source=2.5, richness=1.0, batch_size=1, step_size=0.02),
    ):
        full = made.solve({"time": [1e8]}).row(0, named=True)
        form = made.solve({"time": [1e8]}, solver="limits").row(0, named=True)
        for name in ("loss", "kernel_growth", "local_exponent"):
            assert form[name] == pytest.approx(full[name], rel=0.02), (made, name)
        if full["batch_part"] > 0:
            assert form["batch_part"] == pytest.approx(full["batch_part"], rel=0.02)
    wide = FeatureLearning(capacity=2.0, source=2.5, width=10**6)
    full, form = (
        wide.solve({"time": [1e7]}, solver=solver)["width_part"][0]
        for solver in ("reduced", "limits")
    )
    floor = wide.solve({"time": [1e7]})["model_floor"][0]
    assert form - floor == pytest.approx(full, rel=0.02)


def test_the_profile_solves_its_equation() -> None:
    x = np.geomspace(1e-3, 1e4, 2001)
    for rho in (0.05, 0.125, 0.3):
        f = 1 - limits.profile(x, rho)
        slope = np.gradient(f, np.log(x))
        error = slope - (x * (1 - f) + rho * f)
        assert np.abs(error[1:-1]).max() < 1e-3


def test_the_crossover() -> None:
    crossing = [FeatureLearning(source=0.8, richness=g).crossover() for g in (0.1, 0.01)]
    assert crossing[1] / crossing[0] == pytest.approx(1e5, rel=1e-6)
    assert FeatureLearning(source=0.8).crossover() == np.inf
    assert FeatureLearning(source=1.8, richness=1).crossover() == 0


def test_simulations_take_the_same_grid() -> None:
    made = FeatureLearning(richness=1.0, step_size=0.05, modes=50)
    drawn = made.simulate({"step": [0, 10], "width": [5, 8]}, seeds=2)
    assert drawn.height == 8
    assert {"seed", "loss", "kernel_growth"} <= set(drawn.columns)
    wide = drawn.filter((pl.col("width") == 8) & (pl.col("step") == 10))["loss"]
    alone = FeatureLearning(richness=1.0, step_size=0.05, modes=50, width=8)
    assert np.allclose(wide, alone.simulate({"step": [10]}, seeds=2)["loss"])


def test_several_settings_may_follow_one_option() -> None:
    words = "solve feature_learning --set source=.5 richness=1 --over time=1:9:3 width=5 -o a=b.csv"
    expected = (
        "solve feature_learning --set source=.5 --set richness=1 --over time=1:9:3 --over width=5 "
        "-o a=b.csv"
    )
    assert repeat_options(words.split()) == expected.split()
    assert repeat_options(expected.split()) == expected.split()
