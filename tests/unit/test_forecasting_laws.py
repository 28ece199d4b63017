"""The families of a forecast: derivatives, meaning of coordinates, and the search."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from kleiber.forecasting import search as engine
from kleiber.forecasting.families import (
    Family,
    evaluate,
    evaluate_with_slopes,
    exponents_in_logs,
    families,
)
from kleiber.forecasting.members import EFFECTIVE, recency_weights
from kleiber.forecasting.search import Plain, Rows, search

ALL = [family for columns in (1, 2, 3) for family in families(columns)]


def name(family: Family) -> str:
    return f"{family.name}-{family.columns}"


def draw(family: Family, rows: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    theta = family.centre + 0.4 * rng.standard_normal((3, len(family.centre)))
    return theta, rng.normal(-1.0, 1.5, (3, rows, family.columns))


@pytest.mark.parametrize("family", ALL, ids=name)
def test_slopes(family: Family) -> None:
    theta, z = draw(family)
    value, slopes = evaluate_with_slopes(family, theta, z)
    logs, bends = exponents_in_logs(family, theta)
    assert value == pytest.approx(evaluate(family, theta, z))
    for k in range(theta.shape[1]):
        step = 1e-6 * (np.arange(theta.shape[1]) == k)
        up, down = evaluate(family, theta + step, z), evaluate(family, theta - step, z)
        assert slopes[..., k] == pytest.approx((up - down) / 2e-6, abs=1e-6)
        ends = [exponents_in_logs(family, theta + sign * step)[0] for sign in (1, -1)]
        if logs.size:
            assert bends[..., k] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-6)


@pytest.mark.parametrize("family", ALL, ids=name)
def test_coordinates_mean_what_they_say(family: Family) -> None:
    theta, _ = draw(family)
    frontier = np.zeros((3, 1, family.columns))
    assert evaluate(family, theta, frontier)[:, 0] == pytest.approx(theta[:, 0])
    if family.bent or family.level:
        return
    local = []
    for k in range(family.columns):
        step = np.zeros(family.columns)
        step[k] = 1e-5
        ends = [evaluate(family, theta, frontier + sign * step)[:, 0] for sign in (1, -1)]
        local.append((ends[1] - ends[0]) / 2e-5)
    rates = np.exp(theta[:, 1 : 1 + family.rates])
    found = np.stack(local, axis=1)
    assert (found.sum(axis=1, keepdims=True) if family.tied else found) == pytest.approx(rates)


def test_a_floor_with_added_powers_is_chinchilla() -> None:
    (family,) = (f for f in families(2) if f.name == "separable")
    share, parts, rates = 0.6, np.array([0.3, 0.7]), np.array([0.05, 0.08])
    theta = np.array(
        [[0.4, *np.log(rates), np.log(share / (1 - share)), np.log(parts[0] / parts[1])]]
    )
    z = np.random.default_rng(0).normal(0, 2, (1, 5, 2))
    exponents = rates / ((1 - share) * parts)
    level = np.exp(0.4)
    loss = level * (share + (1 - share) * (parts * np.exp(-exponents * z[0])).sum(axis=1))
    assert np.exp(evaluate(family, theta, z)[0]) == pytest.approx(loss)
    assert np.exp(exponents_in_logs(family, theta)[0][0]) == pytest.approx(exponents)


@pytest.mark.parametrize("family", [f for f in ALL if f.columns < 3], ids=name)
def test_the_search_finds_the_minimum(family: Family) -> None:
    """No start of SciPy's minimiser finds a smaller value of the same objective."""
    rng = np.random.default_rng(5)
    z = rng.uniform(-4, 0, (1, 40, family.columns))
    y = np.log(0.6 + 0.4 * np.exp(-0.5 * z).mean(axis=-1)) + 0.005 * rng.standard_normal((1, 40))
    rows = Rows(z, y, np.ones((1, 40)))
    found = search(family, rows)
    model, centre = Plain(family), family.centre.copy()
    centre[0] = y.mean()

    def objective(point: np.ndarray) -> float:
        theta, squared = point[None, :-1], np.exp(point[-1:])
        return float(engine._objective(model, rows, centre[None], theta, squared)[0])

    best = np.append(found.theta[0], 2 * np.log(found.scale[0]))
    for start in (best, np.append(centre, np.log(1e-4))):
        rival = optimize.minimize(objective, start, method="BFGS", options={"gtol": 1e-6})
        assert objective(best) <= rival.fun + 2e-3


def test_recency_counts_enough_rows() -> None:
    progress = np.log(np.geomspace(1, 1e4, 60))
    weights = recency_weights(progress, 0.3)
    counted = weights.sum(axis=1) ** 2 / (weights**2).sum(axis=1)
    assert (counted >= EFFECTIVE - 1e-9).all()
    assert (np.diff(weights, axis=1) > 0).all()
    assert recency_weights(progress[:5], 0.3).shape == (4, 5)
