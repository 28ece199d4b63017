"""The posterior: closed forms, the normaliser of a Huber likelihood, and what has no posterior."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from kleiber.errors import BadLaw, BadTable, NotConverged
from kleiber.fitting.engine.noise import Noise, evaluate_loss
from kleiber.fitting.fit import fit
from kleiber.fitting.spread.posterior import (
    Posterior,
    _log_normaliser,  # pyright: ignore[reportPrivateUsage]
    sample_posterior,
)
from kleiber.law import Law, real

PLAIN = Noise("linear")
STEPS = 2500
Table = dict[str, np.ndarray]

pytest.importorskip("emcee", reason="a posterior needs emcee: kleiber[posterior]")


@Law
def line(x: Any, *, a: Any = real(-10, 10), b: Any = real(-10, 10)) -> Any:
    """A straight line."""
    return a + b * x


def scattered(rows: int = 20) -> Table:
    rng = np.random.default_rng(0)
    x = np.linspace(0, 1, rows)
    return {"x": x, "loss": 1 + 2 * x + 0.1 * rng.standard_normal(rows)}


@pytest.fixture(scope="module")
def sampled() -> Posterior:
    table = scattered()
    return sample_posterior(fit(line, table, noise=PLAIN, draws=0), table, steps=STEPS)


def closed_form() -> tuple[np.ndarray, np.ndarray, float]:
    """Estimates, standard errors, and the residual sum of squares of the line."""
    table = scattered()
    x = np.stack([np.ones(20), table["x"]], axis=1)
    values, rss, *_ = np.linalg.lstsq(x, table["loss"], rcond=None)
    return values, np.sqrt(rss[0] / 18 * np.diag(np.linalg.inv(x.T @ x))), float(rss[0])


@pytest.mark.long
def test_a_linear_gaussian_model_has_its_closed_form(sampled: Posterior) -> None:
    """With flat priors in a, b and log(tau): Student's t with n - p degrees of freedom about the
    estimates, and RSS/tau of chi squared. Probabilities at deciles, within four Monte-Carlo
    errors (samples are two to an autocorrelation time)."""
    values, errors, rss = closed_form()
    whole = {
        "a": (sampled.samples["a"] - values[0]) / errors[0],
        "b": (sampled.samples["b"] - values[1]) / errors[1],
        "tau": rss / sampled.samples["tau"],
    }
    shares = np.linspace(0.1, 0.9, 9)
    for name, x in whole.items():
        known = stats.chi2(18) if name == "tau" else stats.t(18)
        got = (x[:, None] <= known.ppf(shares)).mean(axis=0)
        error = np.sqrt(shares * (1 - shares) / (len(x) / 2))
        assert (np.abs(got - shares) < 4 * error).all(), name
        assert (error < 0.015).all()


def test_its_intervals_are_equal_tailed(sampled: Posterior) -> None:
    values, errors, _ = closed_form()
    for k, name in enumerate(("a", "b")):
        far = stats.t.ppf(0.975, 18) * errors[k]
        low, high = sampled.interval(name)
        assert low == pytest.approx(values[k] - far, abs=0.15 * errors[k])
        assert high == pytest.approx(values[k] + far, abs=0.15 * errors[k])
        inside = (sampled.samples[name] > low) & (sampled.samples[name] < high)
        assert inside.mean() == pytest.approx(0.95, abs=1e-3)


def test_how_the_chain_mixed_is_told(sampled: Posterior) -> None:
    assert 5 < sampled.autocorrelation < STEPS / 50
    assert 0.2 < sampled.acceptance < 0.9
    assert len({len(x) for x in sampled.samples.values()}) == 1


def test_the_same_seed_gives_the_same_chain() -> None:
    """Told by the autocorrelation time of a chain too short to be handed out."""
    table = scattered()
    found = fit(line, table, noise=PLAIN, draws=0)
    times: list[float] = []
    for seed in (0, 0, 1):
        with pytest.raises(NotConverged) as caught:
            sample_posterior(found, table, steps=200, seed=seed)
        times.append(caught.value.residual)
    assert times[0] == times[1] != times[2]


@pytest.mark.parametrize("delta", [0.01, 0.3, 5.0])
@pytest.mark.parametrize("tau", [1e-4, 0.05, 2.0])
def test_the_normaliser_is_the_integral_of_the_likelihood(delta: float, tau: float) -> None:
    noise = Noise("linear", delta=delta)

    def likelihood(r: float) -> float:
        rho = evaluate_loss(noise, np.array([[r]]), np.ones(1)).rho[0, 0]
        return float(np.exp(-rho / tau))

    ends = [0, min(delta, 8 * tau**0.5), delta, delta + 40 * tau / delta]
    parts = [
        integrate.quad(likelihood, a, b, epsabs=0, epsrel=1e-11)[0]
        for a, b in itertools.pairwise(ends)
    ]
    got = float(np.exp(_log_normaliser(np.array([tau]), delta))[0])
    assert got == pytest.approx(2 * sum(parts), rel=1e-9)


def test_the_normaliser_of_least_squares_is_that_of_a_wide_huber_loss() -> None:
    tau = np.array([1e-4, 0.05, 2.0])
    np.testing.assert_allclose(_log_normaliser(tau, None), 0.5 * np.log(2 * np.pi * tau))
    np.testing.assert_allclose(_log_normaliser(tau, 50.0), _log_normaliser(tau, None), rtol=1e-12)


@pytest.mark.long
def test_a_huber_posterior_is_that_of_its_density_on_a_grid() -> None:
    """One parameter and tau, against quadrature on a grid."""
    law = Law(lambda x, *, b=real(-10, 10): b * x)
    rng = np.random.default_rng(3)
    x = np.linspace(0.5, 1.5, 25)
    table = {"x": x, "loss": 2 * x + 0.1 * rng.standard_t(2, 25)}
    noise = Noise("linear", delta=0.1)
    found = fit(law, table, noise=noise, draws=0)
    made = sample_posterior(found, table, steps=STEPS)
    b = np.linspace(1.7, 2.3, 301)
    log_tau = np.linspace(np.log(1e-4), np.log(0.5), 301)
    rho = evaluate_loss(noise, b[:, None] * x - table["loss"], np.ones(301)).rho.sum(axis=1)
    tau = np.exp(log_tau)
    density = -rho[:, None] / tau - 25 * _log_normaliser(tau, 0.1)
    density = np.exp(density - density.max())
    for name, axis, marginal in (("b", b, density.sum(axis=1)), ("tau", tau, density.sum(axis=0))):
        share = np.cumsum(marginal) / marginal.sum()
        for p in (0.1, 0.5, 0.9):
            cut = np.interp(p, share, axis)
            got = float((made.samples[name] <= cut).mean())
            error = np.sqrt(p * (1 - p) / (len(made.samples[name]) / 2))
            assert abs(got - p) < 4 * error + 0.01, (name, p)  # 0.01: the grid's cells


@pytest.mark.long
def test_of_student_noise_the_scale_is_sampled() -> None:
    rng = np.random.default_rng(2)
    x = np.linspace(0, 1, 60)
    table = {"x": x, "loss": 1 + 2 * x + 0.1 * rng.standard_t(4, 60)}
    found = fit(line, table, noise=Noise("linear", dof=4.0), draws=0)
    made = sample_posterior(found, table, steps=STEPS)
    assert set(made.samples) == {"a", "b", "s"}
    low, high = made.interval("s", 0.99)
    assert 0.03 < low < 0.1 < high < 0.2
    for name, value in (("a", 1.0), ("b", 2.0)):
        low, high = made.interval(name, 0.99)
        assert low < value < high


@pytest.mark.long
def test_only_what_is_free_is_sampled() -> None:
    table = scattered() | {"w": np.where(np.arange(20) < 15, 1.0, 0.0)}
    found = fit(line, table, noise=PLAIN, draws=0, fixed={"a": 1.0}, weights="w")
    made = sample_posterior(found, table, steps=STEPS)
    assert set(made.samples) == {"b", "tau"}
    x, y = table["x"][:15], table["loss"][:15] - 1
    b = (x @ y) / (x @ x)
    error = np.sqrt(((y - b * x) ** 2).sum() / 14 / (x @ x))
    assert made.samples["b"].mean() == pytest.approx(b, abs=0.15 * error)
    assert made.samples["b"].std() == pytest.approx(error * np.sqrt(14 / 12), rel=0.15)


# Refusals


def test_a_chain_that_is_too_short_says_so() -> None:
    table = scattered()
    found = fit(line, table, noise=PLAIN, draws=0)
    with pytest.raises(NotConverged, match=r"chain of 200 steps lasts only \d+ autocorrelation"):
        sample_posterior(found, table, steps=200)
    for steps in (0, 99, -5):
        with pytest.raises(ValueError, match=f"steps must be a whole number from 100, got {steps}"):
            sample_posterior(found, table, steps=steps)


def test_what_has_no_posterior() -> None:
    table = scattered()
    found = fit(line, table, noise=PLAIN, draws=0)
    with pytest.raises(BadTable, match="not the table of the fit"):
        sample_posterior(found, table | {"loss": table["loss"] + 1})
    believed = fit(line, table, noise=PLAIN, draws=0, priors={"b": (2.0, 0.5)})
    with pytest.raises(BadLaw, match="flat priors"):
        sample_posterior(believed, table)
    with pytest.raises(BadLaw, match="independent rows, not of groups by 'run'"):
        sample_posterior(replace(found, options=replace(found.options, by="run")), table)
    same = {"x": np.ones(20), "loss": table["loss"]}
    flat = fit(line, same, noise=PLAIN, draws=0)
    with pytest.raises(BadLaw, match="No posterior of a fit that is flat"):
        sample_posterior(flat, same)


def test_a_parameter_at_its_bound_has_no_posterior() -> None:
    """Flat in log(E), the posterior of a floor that may be zero cannot be normalised."""
    x = np.geomspace(1, 1e4, 40)
    noise = 0.02 * np.random.default_rng(2).standard_normal(40)
    table = {"n_data": x, "loss": 5 * x**-0.3 * np.exp(noise)}
    found = fit("power_law_floor", table, noise=Noise("log"), draws=0)
    assert found.status == "bound_hit"
    with pytest.raises(BadLaw, match=r"E at its bound has no proper posterior.*\{'E': 0\}"):
        sample_posterior(found, table)


def test_names_and_levels_that_are_refused(sampled: Posterior) -> None:
    with pytest.raises(BadLaw, match=r"No samples of 'alpha'; sampled are a, b, tau"):
        sampled.interval("alpha")
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        sampled.interval("a", 95)


def test_without_emcee_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    table = scattered()
    found = fit(line, table, noise=PLAIN, draws=0)
    monkeypatch.setitem(sys.modules, "emcee", None)
    with pytest.raises(ImportError, match=r"needs emcee: pip install 'kleiber\[posterior\]'"):
        sample_posterior(found, table)
