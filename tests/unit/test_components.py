"""Variance components: against dense matrices, and what a further measurement is taken to be."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from kleiber import BadTable, Fit, Noise, fit, load, save
from kleiber.fitting.spread.components import (
    VarianceComponents,
    estimate_components,
    noise_margins,
    read_components,
    standard_deviation_interval,
    widen_by_noise,
)


def plant(
    runs: int, run: float, one: float, *, seed: int = 0, tail: int = 0
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """A power law from runs that were evaluated 1 to 10 times, and the number of each row's run."""
    rng = np.random.default_rng(seed)
    number = np.repeat(np.arange(runs), rng.integers(1, 11, runs))
    n = np.exp(rng.uniform(np.log(1e2), np.log(1e6), runs))[number]
    noise = rng.standard_t(tail, len(n)) / math.sqrt(3) if tail else rng.standard_normal(len(n))
    loss = 5 * n**-0.3 * np.exp(run * rng.standard_normal(runs)[number] + one * noise)
    return {"n_data": n, "loss": loss, "run": number}, number


def dense(r: np.ndarray, x: np.ndarray, number: np.ndarray, ratio: float) -> tuple[float, ...]:
    """-2 log restricted likelihood, and information matrix, from matrices of all rows."""
    z = np.eye(number.max() + 1)[number]
    inverse = np.linalg.inv(np.eye(len(r)) + ratio * z @ z.T)
    middle = x.T @ inverse @ x
    p = inverse - inverse @ x @ np.linalg.solve(middle, x.T @ inverse)
    volume = -np.linalg.slogdet(inverse)[1] + np.linalg.slogdet(middle)[1]
    spare = len(r) - x.shape[1]
    parts = [p @ z @ z.T, p]
    known = np.array([[np.trace(a @ b) / 2 for b in parts] for a in parts])
    likelihood = volume + spare * math.log(r @ p @ r)
    return likelihood, *known.ravel()


@pytest.mark.parametrize("run", [0.0, 0.1, 3.0])
def test_the_restricted_likelihood_is_that_of_dense_matrices(run: float) -> None:
    rng = np.random.default_rng(4)
    number = np.repeat(np.arange(15), rng.integers(1, 8, 15))
    x = np.stack([np.ones(len(number)), rng.normal(size=15)[number], rng.normal(size=len(number))])
    r = run * rng.normal(size=15)[number] + rng.normal(size=len(number))
    found = estimate_components(r, x.T, number)
    assert found.run is not None
    ratio = found.run / found.evaluation
    least, *known = dense(r, x.T, number, ratio)
    others = [dense(r, x.T, number, k)[0] for k in np.geomspace(1e-4, 1e4, 200)]
    assert least <= min(others) + 1e-6
    spread = np.linalg.inv(np.reshape(known, (2, 2)))
    assert found.degrees_of_freedom == pytest.approx(2 * (1 + ratio) ** 2 / spread.sum(), rel=1e-6)
    assert found.evaluation_degrees_of_freedom == pytest.approx(2 / spread[1, 1], rel=1e-6)


def test_equal_numbers_of_evaluations_give_the_analysis_of_variance() -> None:
    rng = np.random.default_rng(1)
    number = np.repeat(np.arange(20), 4)
    r = rng.normal(size=20)[number] + 0.5 * rng.normal(size=80)
    r -= r.mean()
    found = estimate_components(r, np.ones((80, 1)), number)
    means = r.reshape(20, 4).mean(axis=1)
    within = ((r - means[number]) ** 2).sum() / 60
    between = 4 * (means**2).sum() / 19
    assert found.evaluation == pytest.approx(within, rel=1e-3)
    assert found.run == pytest.approx((between - within) / 4, rel=1e-3)


def test_rows_alone_have_the_residual_variance_of_the_rows_that_are_left() -> None:
    r, x = np.array([1.0, -2.0, 3.0, -4.0, 2.0]), np.ones((5, 1))
    found = estimate_components(r, x, None)
    assert found == VarianceComponents(None, r.var(ddof=1), 4, 0, 4)
    assert estimate_components(r, x, np.arange(5)) == found  # no run was evaluated twice
    twice = np.repeat(np.arange(5), 2)  # nor is a repeat of the same number an evaluation
    assert estimate_components(r[twice], x[twice], twice) == found


def test_nothing_is_known_without_degrees_of_freedom() -> None:
    found = estimate_components(np.zeros(2), np.eye(2), None)
    assert found.degrees_of_freedom == 0
    assert all(math.isnan(x) for x in noise_margins(found, None, 0.95))
    flat = estimate_components(np.array([0.1, -0.1, 0.2, 0.3]), np.repeat(np.eye(2), 2, 0),
                          np.repeat(np.arange(2), 2))  # fmt: skip
    assert flat.degrees_of_freedom == 0  # as many parameters between runs as runs
    number = np.repeat(np.arange(3), 3)
    full = estimate_components(np.sin(np.arange(9.0)), np.eye(3)[number] * 1e3, number)
    assert (full.run, full.degrees_of_freedom) == (None, 0)


def test_a_run_that_went_wrong_does_not_widen_the_rest() -> None:
    table, number = plant(40, 0.03, 0.01)
    clean = fit("power_law", table, by="run", draws=20).components
    table["loss"] = np.where(number == 7, 100.0, 1.0) * table["loss"]
    table["loss"][3] *= 50.0
    wrong = fit("power_law", table, by="run", draws=20).components
    assert clean is not None
    assert wrong is not None
    assert math.sqrt(wrong.total) < 1.6 * math.sqrt(clean.total)


@pytest.mark.parametrize(("run", "one"), [(0.024, 0.009), (0.009, 0.024)])
@pytest.mark.parametrize("noise", [None, Noise("log")])
def test_a_new_run_has_the_interval_of_a_run(run: float, one: float, noise: Noise | None) -> None:
    table, _ = plant(60, run, one, seed=5)
    found = fit("power_law", table, by="run", noise=noise, draws=100)
    row = found.predict({"n_data": [1e4]}, new_run=True).row(0, named=True)
    exact = 2 * 1.96 * math.hypot(run, one)  # 0.1 for both
    assert math.log(row["high"] / row["low"]) == pytest.approx(exact, rel=0.2)
    known = found.components
    assert known is not None
    assert known.run is not None
    low, high = standard_deviation_interval(known.run, known.run_degrees_of_freedom, 0.99)
    assert low < run < high
    low, high = standard_deviation_interval(
        known.evaluation, known.evaluation_degrees_of_freedom, 0.99
    )
    assert low < one < high


@pytest.mark.parametrize("tail", [0, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.long
def test_further_runs_lie_inside(tail: int) -> None:
    inside: list[bool] = []
    for seed in range(40):
        table, _ = plant(15, 0.03, 0.01, seed=seed, tail=tail)
        found = fit("power_law", table, by="run", noise=Noise("log"), draws=60, seed=seed)
        fresh, number = plant(50, 0.03, 0.01, seed=1000 + seed, tail=tail)
        first = np.unique(number, return_index=True)[1]
        out = found.predict({k: x[first] for k, x in fresh.items()}, new_run=True)
        inside += ((out["low"] <= out["loss"]) & (out["loss"] <= out["high"])).to_list()
    assert 0.93 < np.mean(inside) < 0.97  # 2,000 of them, standard error 0.6%


def test_many_rows_speak_for_themselves() -> None:
    rng = np.random.default_rng(0)
    r = rng.exponential(size=1000) - 1
    known = estimate_components(r, np.ones((1000, 1)), None)
    below, above = noise_margins(known, r, 0.95)  # residuals are prediction minus data
    assert below == pytest.approx(-math.log(0.025) - 1, rel=0.15)
    assert above == pytest.approx(1 + math.log(0.975), rel=0.05)
    few = estimate_components(r[:100], np.ones((100, 1)), None)
    t = stats.t(99).ppf(0.975) * math.sqrt(few.total)
    assert noise_margins(few, r[:100], 0.95) == pytest.approx((t, t))


def test_noise_is_added_in_squares() -> None:
    value, low, high = np.array([2.0]), np.array([1.7]), np.array([2.4])
    lower, upper = widen_by_noise(value, (low, high), (0.4, 0.3), log=False)
    assert (lower[0], upper[0]) == pytest.approx((1.5, 2.5))
    lower, upper = widen_by_noise(np.exp(value), (np.exp(low), np.exp(high)), (0.4, 0.3), log=True)
    assert np.log([lower[0], upper[0]]) == pytest.approx([1.5, 2.5])
    lower, upper = widen_by_noise(value, (np.array([-1.0]), np.array([math.inf])), (1, 1), log=True)
    assert (lower[0], upper[0]) == (-1.0, math.inf)


@pytest.fixture(scope="module")
def grouped() -> Fit:
    """A fit by runs that were evaluated repeatedly."""
    return fit("power_law", plant(12, 0.03, 0.01)[0], by="run", draws=50)


def test_the_variances_are_saved_with_the_fit(grouped: Fit, tmp_path: Path) -> None:
    save(grouped, tmp_path / "fit.json")
    assert load(tmp_path / "fit.json").components == grouped.components
    document = json.loads((tmp_path / "fit.json").read_text())
    for value, message in (
        (-1.0, "must be finite and not negative"),
        ("inf", "'variance' must hold numbers by name"),
    ):
        document["variance"]["run"] = value
        (tmp_path / "bad.json").write_text(json.dumps(document))
        with pytest.raises(BadTable, match=message):
            load(tmp_path / "bad.json")
    del document["variance"]
    (tmp_path / "old.json").write_text(json.dumps(document))
    with pytest.raises(BadTable, match=r"earlier kleiber saved it.*Fit the table again\.$"):
        load(tmp_path / "old.json").predict({"n_data": [1e4]}, new_run=True)


def test_an_earlier_fit_of_rows_has_the_variance_of_its_residuals() -> None:
    found = fit("power_law", plant(12, 0.0, 0.02)[0], noise=Noise("log"), draws=50)
    old = dataclasses.replace(found, components=None)
    one, two = (x.predict({"n_data": [1e4]}, new_run=True) for x in (found, old))
    assert one["low"][0] == pytest.approx(two["low"][0], rel=1e-6)
    assert read_components(None) is None
