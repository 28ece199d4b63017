"""Few rows to spare: Student's intervals of a straight line, and refusals where none hold."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from kleiber import laws
from kleiber.errors import BadPlan
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.engine.problem import Problem, minimise, pose, residuals
from kleiber.fitting.fit import fit
from kleiber.fitting.record import Fit
from kleiber.fitting.saved import load, save
from kleiber.fitting.spread.student import (
    FEW_ROWS,
    count_residual_dof,
    draw_equal_noise,
    equal_noise_covariance,
    is_linear,
    linear_interval,
)
from kleiber.law import Law, real
from kleiber.planning.plan import plan

LEAST, HUBER = Noise("log"), Noise("log", delta=1e-3)
THREE = {"n_data": [100.0, 1e3, 1e4], "loss": [2.0, 1.5, 1.3]}
HOFFMANN = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}


def plant_power(rows: int, seed: int = 0, noise: float = 0.01) -> dict[str, np.ndarray]:
    """A table of a power law of the amount of data."""
    rng = np.random.default_rng([seed, rows])
    x = np.exp(rng.uniform(np.log(1e2), np.log(1e6), rows))
    return {"n_data": x, "loss": 5 * x**-0.3 * np.exp(noise * rng.standard_normal(rows))}


def plant_hoffmann(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """A table of Chinchilla's law on random sizes."""
    rng = np.random.default_rng([seed, rows])
    n, d = np.exp(rng.uniform(np.log([[1e7], [1e9]]), np.log([[1e10], [1e12]]), (2, rows)))
    loss = laws.chinchilla(n, d, **HOFFMANN) * np.exp(0.003 * rng.standard_normal(rows))
    return {"n_params": n, "n_tokens": d, "loss": loss}


def posed(table: dict[str, Any], noise: Noise = LEAST, **weights: Any) -> tuple[Problem, Any]:
    """A power law's problem on a table, and its optimum."""
    x, y = (np.asarray(table[name], float) for name in ("n_data", "loss"))
    w = np.asarray(weights.get("weights", np.ones(len(x))), float)
    problem = pose(laws.power_law, noise, {"n_data": x}, y, w)
    start = problem.to_coordinate(np.array([[5.0, 0.3]]))
    return problem, minimise(problem, start, problem.weights[None])[0].point[0]


# A straight line


@pytest.mark.parametrize("draws", [0, 20])
@pytest.mark.parametrize("spare", range(1, FEW_ROWS + 1))
def test_a_straight_line_has_students_intervals(spare: int, draws: int) -> None:
    table = plant_power(spare + 2)
    found = fit("power_law", table, noise=LEAST, draws=draws)
    x, y = np.log(table["n_data"]), np.log(table["loss"])
    line = stats.linregress(x, y)
    for level in (0.5, 0.95):
        t = stats.t.ppf(0.5 + level / 2, spare)
        slope = -line.slope + np.array([-t, t]) * line.stderr
        assert found.interval("alpha", level) == pytest.approx(np.maximum(slope, 0), rel=1e-6)
        start = line.intercept + np.array([-t, t]) * line.intercept_stderr
        assert found.interval("A", level) == pytest.approx(np.exp(start), rel=1e-6)
        twice = found.interval(lambda p: 2 * p["alpha"], level)
        assert twice == pytest.approx(2 * slope, rel=1e-6)
        row = found.predict({"n_data": [1e8]}, level).row(0, named=True)
        away = np.log(1e8) - x.mean()
        rest = y - line.intercept - line.slope * x
        sd = math.sqrt((rest @ rest) / spare * (1 / len(x) + away**2 / ((x - x.mean()) ** 2).sum()))
        middle = line.intercept + line.slope * np.log(1e8)
        assert [row["low"], row["high"]] == pytest.approx(
            np.exp(middle + np.array([-t, t]) * sd), rel=1e-6
        )
    assert found.stderr["alpha"] == pytest.approx(line.stderr, rel=1e-6)


@pytest.mark.parametrize("draws", [0, 100])
@pytest.mark.parametrize("noise", [LEAST, HUBER])
def test_three_runs_on_one_line(noise: Noise, draws: int) -> None:
    """At one degree of freedom alpha is 0.0935 [-0.137, 0.324], and positive by its law."""
    found = fit("power_law", THREE, noise=noise, draws=draws)
    low, high = found.interval("alpha")
    assert (low, high) == (0.0, pytest.approx(0.324, abs=5e-4))
    assert "does not tell alpha from 0" in found.reason
    assert any("Only 1 row more than parameters" in note for note in found.notes)


def test_weights_of_a_straight_line_are_aitkens() -> None:
    table = plant_power(6) | {"w": np.array([1.0, 4.0, 0.5, 2.0, 1.0, 0.0])}
    found = fit("power_law", table, noise=LEAST, draws=20, weights="w")
    w, y = table["w"][:5], np.log(table["loss"][:5])
    x = np.stack([np.ones(5), -np.log(table["n_data"][:5])], axis=1)
    inverse = np.linalg.inv((x.T * w) @ x)
    best = inverse @ (x.T * w) @ y
    sd = np.sqrt(w @ (y - x @ best) ** 2 / 3 * inverse[1, 1])
    assert found.units == 5
    assert found.interval("alpha") == pytest.approx(
        best[1] + np.array([-1, 1]) * stats.t.ppf(0.975, 3) * sd, rel=1e-6
    )


def test_a_saved_line_keeps_its_intervals(tmp_path: Any) -> None:
    found = fit("power_law", plant_power(4), noise=LEAST, draws=20)
    save(found, tmp_path / "fit.json")
    again = load(tmp_path / "fit.json")
    for name in ("A", "alpha"):
        assert again.interval(name) == pytest.approx(found.interval(name), rel=1e-12)


def test_what_is_a_straight_line() -> None:
    problem, best = posed(plant_power(5))
    assert is_linear(problem, best)
    plain = pose(
        laws.power_law, Noise("linear"), problem.columns, np.exp(problem.target), problem.weights
    )
    assert not is_linear(plain, best)
    table = plant_hoffmann(9)
    columns = {name: table[name] for name in ("n_params", "n_tokens")}
    curved = pose(laws.chinchilla, LEAST, columns, table["loss"], np.ones(9))
    assert not is_linear(curved, curved.to_coordinate(np.array([list(HOFFMANN.values())]))[0])


def test_only_what_is_linear_has_a_straight_interval() -> None:
    u, covariance = np.array([0.3, -1.2]), np.array([[0.04, 0.01], [0.01, 0.09]])

    def what(point: np.ndarray) -> np.ndarray:
        line = 1.0 + 2 * point[0] - point[1]
        return np.array([line, np.exp(line), line**2, np.sin(line), 7.0])

    low, high = linear_interval(what, u, covariance, 3, 0.9)
    sd = math.sqrt(4 * 0.04 + 0.09 - 4 * 0.01)
    ends = 2.8 + np.array([-1, 1]) * stats.t.ppf(0.95, 3) * sd
    assert [low[0], high[0]] == pytest.approx(ends)
    assert [low[1], high[1]] == pytest.approx(np.exp(ends))
    assert np.isnan([low[2], high[2], low[3], high[3]]).all()
    assert [low[4], high[4]] == [7.0, 7.0]


# Draws and covariance


def test_noise_leaves_as_much_as_the_residuals() -> None:
    weights = [1.0, 2.0, 0.5, 1.0, 3.0, 0.0]
    problem, best = posed(plant_power(6), weights=weights)
    r = residuals(problem, best[None])[0]
    noise = draw_equal_noise(problem, best, r, np.random.default_rng(0), 50)
    root = np.sqrt(weights)
    jac = problem.differentiate(best[None], False).jacobian[0].T * root[:, None]
    off = np.eye(6) - jac @ np.linalg.pinv(jac)
    left = np.linalg.norm((noise * root) @ off, axis=1)
    assert left == pytest.approx(np.full(50, np.linalg.norm(off @ (root * r))), rel=1e-9)
    assert (noise[:, -1] == 0).all()
    assert count_residual_dof(problem) == 3


@pytest.mark.parametrize("spare", [1, 3, 8])
def test_draws_of_a_straight_line_are_students(spare: int) -> None:
    table = plant_power(spare + 2)
    found = fit("power_law", table, noise=LEAST, draws=1500)
    t = (np.log(found.draws["A"]) - np.log(found.params["A"])) * found.params["A"]
    t = t / found.stderr["A"]
    inside = np.abs(t) < stats.t.ppf(0.975, spare)
    assert stats.binomtest(int(inside.sum()), 1500, 0.95).pvalue > 1e-3
    if spare > 1:  # at one degree of freedom some draws of alpha are held at 0
        assert stats.kstest(t, stats.t(spare).cdf).pvalue > 1e-3


def test_a_narrow_loss_has_a_larger_variance() -> None:
    """kappa: 1 for least squares and with one row to spare, pi/2 of it with many."""
    for rows, narrow in ((3, 1.0), (10, math.pi / 2)):
        problem, best = posed(plant_power(rows))
        least = equal_noise_covariance(problem, best, 1.0)
        w, jac = problem.weights, problem.differentiate(best[None], False).jacobian[0].T
        r = residuals(problem, best[None])[0]
        by_hand = w @ r**2 / (rows - 2) * np.linalg.inv(jac.T @ jac)
        np.testing.assert_allclose(least, by_hand, rtol=1e-6)
        absolute = replace(problem, noise=Noise("log", delta=1e-12))
        through = best.copy()  # as many rows inside the width as the fit passes through: none here
        widened = equal_noise_covariance(absolute, through, 1.0)
        np.testing.assert_allclose(widened, narrow * least, rtol=1e-6)
        wide = replace(problem, noise=Noise("log", delta=10.0))
        np.testing.assert_allclose(equal_noise_covariance(wide, best, 1.0), least, rtol=1e-12)


def test_priors_narrow_the_covariance() -> None:
    free = fit("power_law", plant_power(5), noise=LEAST, draws=0)
    held = fit("power_law", plant_power(5), noise=LEAST, draws=0, priors={"A": (5.0, 1e-4)})
    assert free.covariance is not None
    assert held.covariance is not None
    assert math.sqrt(held.covariance[0, 0]) == pytest.approx(1e-4, rel=0.05)
    assert math.sqrt(free.covariance[0, 0]) > 1e-3


def test_other_draws_are_noted_as_too_narrow() -> None:
    found = fit("power_law", plant_power(5), draws=20, resample="rows")
    assert found.resample == "rows"
    assert any("resample='rows' are too narrow to trust" in note for note in found.notes)
    many = fit("power_law", plant_power(FEW_ROWS + 3), draws=20)
    assert many.resample == "rows"
    assert not any("more than parameters" in note for note in many.notes)


# Too few


def refused(found: Fit) -> None:
    assert found.status == "too_few_points"
    assert not found.usable
    assert found.n_draws == 0
    for name in found.params:
        assert all(math.isnan(end) for end in found.interval(name))
        assert math.isnan(found.stderr[name])
    assert any("no intervals" in note for note in found.notes)


@pytest.mark.parametrize("draws", [0, 20])
def test_as_many_rows_as_parameters_are_too_few(draws: int) -> None:
    table = {"n_data": [1e3, 1e6], "loss": [3.0, 1.0]}
    found = fit("power_law", table, draws=draws)
    refused(found)
    assert found.reason.startswith("2 rows for 2 parameters leave nothing")
    weighted = {"n_data": [1e3, 1e4, 1e6], "loss": [3.0, 2.0, 1.0], "w": [1, 0, 1]}
    refused(fit("power_law", weighted, draws=draws, weights="w"))
    with pytest.raises(BadPlan, match="too_few_points"):
        plan(fit("chinchilla", plant_hoffmann(5), draws=draws), budget=1e21)


@pytest.mark.parametrize("rows", [6, 7])
def test_a_curved_law_needs_more_rows(rows: int) -> None:
    found = fit("chinchilla", plant_hoffmann(rows), draws=20)
    refused(found)
    assert f"leave {rows - 5} to estimate the noise from" in found.reason


def test_a_real_line_with_plain_residuals_is_straight() -> None:
    @Law
    def line(step, *, a=real(-1, 1), b=real(-1, 1)):
        """A straight line."""
        return a + b * step

    x = np.array([1.0, 2.0, 4.0, 7.0])
    y = np.array([1.1, -0.4, -2.2, -6.1])
    found = fit(line, {"step": x, "loss": y}, noise=Noise("linear"), draws=10)
    by_hand = stats.linregress(x, y)
    t = stats.t.ppf(0.975, 2)
    assert found.interval("b") == pytest.approx(
        [by_hand.slope - t * by_hand.stderr, by_hand.slope + t * by_hand.stderr], rel=1e-9
    )
