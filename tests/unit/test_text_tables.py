"""Lines along training: each form is found again, and told from the others."""

from __future__ import annotations

import numpy as np
import pytest

from kleiber.planning.along_training import FORMS, akaike_weights, draw_lines, fit_line, weigh_forms

Z = np.linspace(-2.0, 2.0, 9)
OWN = np.full(9, 1e-4)
TRUTH = {
    "constant": np.full(9, 0.7),
    "power": 0.7 - 0.4 * Z,
    "saturating": 0.7 - np.log1p(np.exp(-2.0 * (Z + 0.5))),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_planted_form_is_found(form: str) -> None:
    u = TRUTH[form] + 0.01 * np.random.default_rng(4).standard_normal(9)
    weighed = weigh_forms(u, Z, OWN, direction=1.0)
    assert weighed.best == form
    assert sum(weighed.weights.values()) == pytest.approx(1)
    assert fit_line(form, u[None], Z, OWN, 1.0).of(0).at(Z) == pytest.approx(TRUTH[form], abs=0.03)


def test_the_direction_of_training_is_where_it_levels_off() -> None:
    """Against z and falling: the same shape, turned."""
    line = fit_line("saturating", -TRUTH["saturating"][None, ::-1], Z, OWN, direction=-1.0).of(0)
    assert line.at(np.array([-50.0, -60.0])) == pytest.approx([-0.7, -0.7], abs=0.02)
    assert line.at(Z) == pytest.approx(-TRUTH["saturating"][::-1], abs=0.05)


def test_the_spread_about_a_curve() -> None:
    rng = np.random.default_rng(5)
    z = np.linspace(-2, 2, 60)
    u = 0.3 * z + 0.2 * rng.standard_normal(60)
    assert weigh_forms(u, z, np.full(60, 1e-3), 1.0).spreads["power"] == pytest.approx(
        0.04, rel=0.4
    )
    assert weigh_forms(0.3 * z, z, np.full(60, 1e-3), 1.0).spreads["power"] == 0


def test_draws_take_forms_by_their_weights() -> None:
    weighed = weigh_forms(TRUTH["power"], Z, np.full(9, 0.5), 1.0)  # little is told apart
    rng = np.random.default_rng(6)
    u = TRUTH["power"] + np.sqrt(0.5) * rng.standard_normal((400, 9))
    lines = draw_lines(weighed, u, Z, np.full(9, 0.5), 1.0, rng)
    flat = ((lines.slope == 0) & (lines.size == 0)).mean()
    assert flat == pytest.approx(weighed.weights["constant"], abs=0.08)
    spread = lines.at(Z[None]).std(axis=0)
    assert (spread > 0.15).all()


def test_weights() -> None:
    assert akaike_weights({"a": 3.0, "b": 3.0}) == {"a": 0.5, "b": 0.5}
    assert akaike_weights({"a": 0.0, "b": 2.0})["b"] == pytest.approx(1 / (1 + np.e))
