"""Weak priors: closed forms, what they settle, and that they are stated wherever a fit goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kleiber import laws
from kleiber.errors import BadLaw
from kleiber.fitting.engine.levenberg import LocalModel
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.engine.prior import (
    _check_pair,  # pyright: ignore[reportPrivateUsage]
    add_prior,
    make_prior,
)
from kleiber.fitting.engine.problem import untransform_exponents
from kleiber.fitting.fit import fit
from kleiber.fitting.saved import describe, load, save
from kleiber.law import Law, fraction, positive, real

LEAST, HUBER, PLAIN = Noise("log"), Noise("log", delta=1e-3), Noise("linear")
HOFFMANN = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
Table = dict[str, np.ndarray]


@Law
def line(x: Any, *, a: Any = real(-10, 10), b: Any = real(-10, 10)) -> Any:
    """A straight line."""
    return a + b * x


def scattered(rows: int = 40, seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 1, rows)
    return {"x": x, "loss": 1 + 2 * x + 0.1 * rng.standard_normal(rows)}


def one_amount_of_data(rows: int = 40) -> Table:
    """Many sizes and one number of tokens: E and B cannot be told apart, beta not at all."""
    rng = np.random.default_rng(0)
    n = np.geomspace(1e7, 1e10, rows)
    table = {"n_params": n, "n_tokens": np.full(rows, 2e10)}
    noise = np.exp(0.005 * rng.standard_normal(rows))
    return {**table, "loss": laws.chinchilla(**table, **HOFFMANN) * noise}


def ridge(
    table: Table, centre: dict[str, float], spread: dict[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean and standard deviations of a line under normal priors, with the variance of
    the residuals without them."""
    x, y = np.stack([np.ones(len(table["x"])), table["x"]], axis=1), table["loss"]
    rss = np.linalg.lstsq(x, y, rcond=None)[1][0]
    s2 = rss / (len(y) - 2)
    pull = np.diag([s2 / spread[name] ** 2 if name in spread else 0.0 for name in "ab"])
    matrix = x.T @ x + pull
    aim = np.array([centre.get(name, 0.0) for name in "ab"])
    values = np.linalg.solve(matrix, x.T @ y + pull @ aim)
    return values, np.sqrt(s2 * np.diag(np.linalg.inv(matrix)))


@pytest.mark.parametrize("spread", [0.02, 0.1, 1.0])
def test_of_a_line_it_is_the_closed_form(spread: float) -> None:
    table = scattered()
    found = fit(line, table, noise=PLAIN, draws=0, priors={"b": (1.9, spread)})
    values, _ = ridge(table, {"b": 1.9}, {"b": spread})
    np.testing.assert_allclose(list(found.params.values()), values, rtol=1e-8)
    off = found.params["b"] - 1.9
    x = table["x"]
    s2 = 2 * fit(line, table, noise=PLAIN, draws=0).objective / 38
    r = found.params["a"] + found.params["b"] * x - table["loss"]
    assert found.objective == pytest.approx(
        0.5 * (r**2).sum() + 0.5 * s2 * (off / spread) ** 2, rel=1e-9
    )


def test_two_priors_are_the_closed_form() -> None:
    table = scattered()
    found = fit(line, table, noise=PLAIN, draws=0, priors={"a": (1.1, 0.05), "b": (1.9, 0.1)})
    values, _ = ridge(table, {"a": 1.1, "b": 1.9}, {"a": 0.05, "b": 0.1})
    np.testing.assert_allclose(list(found.params.values()), values, rtol=1e-8)


@pytest.mark.parametrize("resample", ["rows", "wild"])
def test_draws_carry_the_priors_spread(resample: str) -> None:
    """Centres move by their own spread: draws spread as the posterior of a line does (up to the
    stretching of residuals, p/n here, and four errors of the spread of 2000 draws)."""
    table = scattered(rows=80, seed=4)
    spread = {"b": 0.03}
    _, errors = ridge(table, {"b": 2.0}, spread)
    alone = ridge(table, {}, {})[1]
    found = fit(line, table, noise=PLAIN, draws=2000, resample=resample, priors={"b": (2.0, 0.03)})
    for k, name in enumerate("ab"):
        got = found.draws[name].std(ddof=1)
        assert got == pytest.approx(errors[k], rel=2 / 80 + 4 / np.sqrt(2 * 2000) + 0.05), name
        assert got < 0.85 * alone[k]


@pytest.mark.long
def test_a_parameter_of_which_the_table_says_nothing_keeps_its_prior() -> None:
    found = fit(
        "chinchilla",
        one_amount_of_data(),
        noise=LEAST,
        draws=400,
        priors={"B": (2100.0, 0.5), "beta": (0.37, 0.1)},
    )
    assert found.params["beta"] == pytest.approx(0.37, rel=1e-3)
    assert found.params["B"] == pytest.approx(2100.0, rel=1e-3)
    for name, spread in (("B", 0.5), ("beta", 0.1)):
        got = np.log(found.draws[name]).std(ddof=1)
        assert got == pytest.approx(spread, rel=4 / np.sqrt(2 * 400)), name
        middle = np.log(found.draws[name]).mean() - np.log(found.params[name])
        assert abs(middle) < 4 * spread / np.sqrt(400), name


@pytest.mark.parametrize("noise", [LEAST, HUBER], ids=["least squares", "Huber"])
def test_a_prior_settles_a_flat_table(noise: Noise) -> None:
    table = one_amount_of_data()
    bare = fit("chinchilla", table, noise=noise, draws=0)
    assert bare.status == "flat"
    believed = fit(
        "chinchilla",
        table,
        noise=noise,
        draws=0,
        priors={"B": (2100.0, 0.5), "beta": (0.37, 0.1)},
    )
    assert believed.status == "converged"
    assert believed.condition < 1e5 < bare.condition
    assert believed.stderr["beta"] == pytest.approx(0.037, rel=0.1)
    assert believed.params["alpha"] == pytest.approx(bare.params["alpha"], rel=1e-3)


@pytest.mark.parametrize("noise", [LEAST, HUBER], ids=["least squares", "Huber"])
def test_a_wide_prior_changes_nothing(noise: Noise) -> None:
    rng = np.random.default_rng(1)
    x = np.exp(rng.uniform(np.log(1e2), np.log(1e6), 60))
    y = laws.power_law_floor(x, E=1.7, A=40.0, alpha=0.4) * np.exp(0.01 * rng.standard_normal(60))
    table = {"n_data": x, "loss": y}
    bare = fit("power_law_floor", table, noise=noise, draws=0)
    wide = {"E": (3.0, 1e4), "A": (1.0, 1e4), "alpha": (1.0, 1e4)}
    believed = fit("power_law_floor", table, noise=noise, draws=0, priors=wide)
    for name, value in bare.params.items():
        assert believed.params[name] == pytest.approx(value, rel=1e-6), name
        assert believed.stderr[name] == pytest.approx(bare.stderr[name], rel=1e-4), name


def test_a_narrow_prior_holds_a_parameter() -> None:
    table = scattered()
    held = fit(line, table, noise=PLAIN, draws=0, fixed={"b": 1.5})
    believed = fit(line, table, noise=PLAIN, draws=0, priors={"b": (1.5, 1e-7)})
    assert believed.params["b"] == pytest.approx(1.5, abs=1e-9)
    assert believed.params["a"] == pytest.approx(held.params["a"], rel=1e-8)


# What is added to the objective


@Law
def mixed(
    x: Any,
    *,
    A: Any = positive(1, 10),
    alpha: Any = positive(0.1, 1),
    p: Any = fraction(),
    c: Any = real(-1, 1),
) -> Any:
    """A parameter of every kind; the exponent is fitted as it is."""
    return A * x**-alpha + p * x + c


def test_a_prior_is_normal_in_its_parameters_own_coordinate() -> None:
    """Value, slopes and curvature against the definition, for every kind of parameter."""
    fitted = untransform_exponents(mixed)
    given = {"alpha": (0.5, 0.2), "A": (3.0, 0.5), "p": (0.3, 0.4), "c": (0.1, 0.05)}
    prior = make_prior(mixed, fitted, given, 0.7)
    theta = {"A": 4.0, "alpha": 0.4, "p": 0.2, "c": 0.25}
    u = np.array([[np.log(4.0), 0.4, np.log(0.2 / 0.8), 0.25]])
    none = LocalModel(np.zeros(1), np.zeros((1, 4)), np.zeros((1, 4, 4)), np.zeros((1, 4, 4)))

    def logit(p: float) -> float:
        return float(np.log(p / (1 - p)))

    off = {
        "A": (np.log(theta["A"]) - np.log(3.0)) / 0.5,
        "alpha": (np.log(theta["alpha"]) - np.log(0.5)) / 0.2,
        "p": (logit(theta["p"]) - logit(0.3)) / 0.4,
        "c": (theta["c"] - 0.1) / 0.05,
    }
    got = add_prior(none, u, prior, None)
    assert got.objective[0] == pytest.approx(0.35 * sum(x**2 for x in off.values()), rel=1e-12)
    step = 1e-5
    for k in range(4):
        ahead, behind = (add_prior(none, u + s * step * np.eye(4)[k], prior, None) for s in (1, -1))
        slope = (ahead.objective[0] - behind.objective[0]) / (2 * step)
        assert got.gradient[0, k] == pytest.approx(slope, rel=1e-7)
        bend = (ahead.gradient[0] - behind.gradient[0]) / (2 * step)
        np.testing.assert_allclose(got.newton[0, k], bend, rtol=1e-7, atol=1e-7)
        assert got.gauss[0, k, k] > 0
    moved = add_prior(none, u, prior, np.array([[0.2, 0.0, 0.0, 0.0]]))
    shifted = make_prior(mixed, fitted, {**given, "alpha": (0.5 * np.exp(0.2), 0.2)}, 0.7)
    np.testing.assert_allclose(moved.objective, add_prior(none, u, shifted, None).objective)


def test_student_noise_is_a_likelihood_already() -> None:
    """Its charge needs no factor to weigh a prior: tau is one."""
    table = scattered()
    noise = Noise("linear", dof=4.0)
    found = fit(line, table, noise=noise, draws=0, priors={"b": (1.9, 0.05)})
    problem_free = fit(line, table, noise=noise, draws=0)
    assert 1.9 < found.params["b"] < problem_free.params["b"] or (
        problem_free.params["b"] < found.params["b"] < 1.9
    )
    r = found.residuals
    s = np.sqrt(np.mean(r**2))
    for _ in range(500):
        s = np.sqrt(np.mean(5 * r * r / (4 + r * r / s**2)))
    slope = (5 * r / (4 * s**2 + r * r) * table["x"]).sum() + (found.params["b"] - 1.9) / 0.05**2
    size = (np.abs(5 * r / (4 * s**2 + r * r)) * table["x"]).sum()
    assert abs(slope) < 1e-5 * size


# Stated


def test_a_prior_is_stated_in_notes_and_document(tmp_path: Path) -> None:
    table = scattered()
    assert fit(line, table, noise=PLAIN, draws=0).options.priors == {}
    found = fit(line, table, noise=PLAIN, draws=50, priors={"b": (1.9, 0.25)})
    assert any("prior on b is 1.9, with spread 0.25" in note for note in found.notes)
    assert found.options.priors == {"b": (1.9, 0.25)}
    assert describe(found)["priors"] == {"b": [1.9, 0.25]}
    formula = fit("a + b*x", table, noise=PLAIN, draws=50, priors={"b": (1.9, 0.25)})
    save(formula, tmp_path / "fit.json")
    assert json.loads((tmp_path / "fit.json").read_text())["priors"] == {"b": [1.9, 0.25]}
    again = load(tmp_path / "fit.json")
    assert again.options.priors == {"b": (1.9, 0.25)}
    assert any("prior on b" in note for note in again.notes)


@pytest.mark.parametrize(
    ("priors", "message"),
    [
        ({"slope": (1, 1)}, r"No free parameter 'slope' to have a prior; free are a, b"),
        ({"b": (1, 0)}, r"The prior of b is \(value, spread\).*positive spread, got \(1.0, 0.0\)"),
        ({"b": (1, -1)}, r"positive spread"),
        ({"b": (np.nan, 1)}, r"value in its domain \(real\)"),
        ({"b": (np.inf, 1)}, r"value in its domain"),
        ({"b": (1, np.inf)}, r"positive spread"),
    ],
)
def test_priors_that_are_refused(priors: dict[str, Any], message: str) -> None:
    with pytest.raises(BadLaw, match=message):
        fit(line, scattered(), noise=PLAIN, draws=0, priors=priors)


@pytest.mark.parametrize("pair", [0.5, (1, 2, 3), "wide", None, (1, "b")])
def test_what_is_no_pair_is_refused(pair: Any) -> None:
    with pytest.raises(BadLaw, match=r"The prior of b is \(value, spread\), got "):
        _check_pair("b", pair)


def test_a_prior_outside_the_domain_or_on_what_is_held_is_refused() -> None:
    x = np.geomspace(1, 100, 20)
    table = {"n_data": x, "loss": 5 * x**-0.3}
    with pytest.raises(BadLaw, match=r"value in its domain \(positive\)"):
        fit("power_law", table, draws=0, priors={"alpha": (-0.3, 0.1)})
    with pytest.raises(BadLaw, match="No free parameter 'alpha'"):
        fit("power_law", table, draws=0, priors={"alpha": (0.3, 0.1)}, fixed={"alpha": 0.3})
