"""Parameters at the bound 0 that want to be below it: what formulas do, and what laws say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kleiber
from kleiber.errors import BadLaw
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.fit import fit
from kleiber.fitting.record import Fit

LEAST, HUBER = Noise("log"), Noise("log", 1e-3)
RNG = np.random.default_rng(5)
N, D = np.exp(RNG.uniform(np.log([[1e7], [1e9]]), np.log([[1e10], [1e12]]), (2, 40)))
LEVEL = np.exp(0.01 * RNG.standard_normal(40))


def learning_rates() -> dict[str, Any]:
    """lr = 1.8 N^-0.7 D^0.3 with 1% noise."""
    return {"n_params": N, "n_tokens": D, "lr": 1.8 * N**-0.7 * D**0.3 * LEVEL}


def rising() -> dict[str, Any]:
    """An accuracy that rises to 0.9."""
    return {"n_data": D, "acc": (0.9 - 300 * D**-0.35) * LEVEL**0.1}


@pytest.mark.parametrize("noise", [LEAST, HUBER], ids=["least", "huber"])
def test_a_formula_takes_the_sign_that_the_data_want(noise: Noise) -> None:
    found = fit("c*n_params**a*n_tokens**b", learning_rates(), target="lr", noise=noise, draws=100)
    logs = np.stack([np.ones(40), np.log(N), np.log(D)], axis=1)
    a = np.linalg.lstsq(logs, np.log(learning_rates()["lr"]), rcond=None)[0][1]
    assert found.status == "converged"
    assert found.params["a"] == pytest.approx(a if noise is LEAST else -0.7, abs=2e-3)
    low, high = found.interval("a")
    assert low < -0.69 < high + 0.02
    assert high < 0
    assert any("want a below 0" in note and "--real a" in note for note in found.notes)
    assert found.law.domains["a"].kind == "real"
    assert found.law.domains["b"].kind == "positive"


def test_a_declared_sign_is_not_noted() -> None:
    found = fit(
        "c*n_params**a*n_tokens**b", learning_rates(), target="lr", noise=LEAST, draws=0, real=["a"]
    )
    assert found.params["a"] == pytest.approx(-0.7, abs=2e-3)
    assert not any("below 0" in note for note in found.notes)


def test_a_parameter_that_may_be_real_must_exist() -> None:
    with pytest.raises(BadLaw, match="no parameter 'z'"):
        fit("c*n_params**a", {"n_params": N, "loss": N**-0.1}, draws=0, real=["z"])


def refused(found: Fit) -> str:
    assert found.status == "unfit"
    assert not found.usable
    assert "do not need" not in found.reason
    return found.reason


@pytest.mark.parametrize("noise", [LEAST, HUBER], ids=["least", "huber"])
def test_a_falling_law_refuses_a_rising_target(noise: Noise) -> None:
    found = fit("power_law_floor", rising(), target="acc", noise=noise, draws=0)
    reason = refused(found)
    assert "The data want A = -" in reason
    assert "--real A" in reason
    as_told = fit("power_law_floor", rising(), target="acc", noise=noise, draws=0, real=["A"])
    assert as_told.usable
    assert as_told.params["E"] == pytest.approx(0.9, abs=0.01)
    reason = refused(fit("power_law", rising(), target="acc", noise=noise, draws=0))
    assert "alpha = -" in reason


def test_a_floor_held_above_the_data_is_named() -> None:
    table = {"n_data": D, "loss": (0.5 + 30 * D**-0.3) * LEVEL}
    found = fit("power_law_floor", table, fixed={"E": 1.2}, draws=0)
    reason = refused(found)
    assert reason.startswith("With E = 1.2 the law cannot go below 1.2, above every measured loss")


def test_a_parabola_has_the_signs_of_its_data() -> None:
    x = np.linspace(1, 5, 30)
    y = 3 - 2 * x + 0.5 * x**2 + 0.001 * np.sin(40 * x)
    found = fit("a + b*x + c*x**2", {"x": x, "y": y}, target="y", noise=Noise("linear"), draws=0)
    assert found.params == pytest.approx({"a": 3, "b": -2, "c": 0.5}, abs=0.01)


def test_negative_losses_have_a_negative_floor() -> None:
    table = {"n_data": D, "reward": -2 + 300 * D**-0.3 + 0.001 * (LEVEL - 1)}
    found = fit("E + A/n_data**alpha", table, target="reward", noise=Noise("linear"), draws=0)
    assert found.params["E"] == pytest.approx(-2, abs=0.01)
    assert found.params["alpha"] == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("law", ["chinchilla", "E + A/n_params**alpha + B/n_tokens**beta"])
def test_a_law_that_lost_every_term_is_unfit(law: str) -> None:
    """A target that is noise alone: what is fitted is its level, and no plan may rest on it."""
    noise = np.random.default_rng(0).permutation(np.linspace(-1, 1, 40))
    noise -= np.polyval(np.polyfit(np.log(N), noise, 1), np.log(N))
    found = fit(law, {"n_params": N, "n_tokens": D, "loss": 2 + 1e-3 * noise}, draws=0)
    if found.status == "unfit":
        assert "no term that depends on n_params or n_tokens is left" in found.reason
    else:
        assert found.status in ("flat", "bound_hit", "max_evaluations")


def test_a_term_that_the_data_do_not_need_is_still_said() -> None:
    table = {"n_params": N, "n_tokens": D, "loss": 480 / N**0.35 + 2100 / D**0.37}
    found = fit("chinchilla", table, draws=0)
    assert found.status == "bound_hit"
    assert "E went to 0: the data do not need that term" in found.reason


@pytest.mark.long
def test_an_unfit_law_cannot_be_planned_with() -> None:
    table = {"n_params": N, "n_tokens": D, "loss": 3 - 480 / N**0.35 - 2100 / D**0.37}
    found = fit(kleiber.laws.chinchilla, table, draws=10)
    assert found.status == "unfit"
    with pytest.raises(kleiber.errors.BadPlan, match="unfit"):
        kleiber.plan(found, 1e21)
