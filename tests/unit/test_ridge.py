"""Ridge regression: both forms, the limits, and the risk without data."""

from __future__ import annotations

import numpy as np
import pytest

from kleiber.errors import NotConverged
from kleiber.maths.spectrum import power_law
from kleiber.systems.hard_tail import ridge as module
from kleiber.systems.hard_tail.ridge import deterministic_risk, effective_ridge, solve_ridge

RNG = np.random.default_rng(0)


def draw(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Features with a spread of scales, and two outputs."""
    scales = np.geomspace(1, 1e-2, shape[-1])
    return RNG.standard_normal(shape) * scales, RNG.standard_normal((*shape[:-1], 2))


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (3, 9, 5), (2, 3, 5, 9), (5, 5)])
@pytest.mark.parametrize("ridge", [0.0, 1e-9, 0.3])
def test_weights_are_those_of_the_normal_equations(shape: tuple[int, ...], ridge: float) -> None:
    x, y = draw(*shape)
    w = solve_ridge(x, y, ridge)
    assert w.shape == (*shape[:-2], shape[-1], 2)
    gradient = np.swapaxes(x, -1, -2) @ (x @ w - y) / shape[-2] + ridge * w
    assert np.abs(gradient).max() < 1e-13 * max(1, np.abs(w).max())
    if ridge == 0:
        assert np.allclose(w, np.linalg.pinv(x) @ y, rtol=1e-10, atol=1e-12)


def test_each_of_a_batch_has_its_own_ridge() -> None:
    x, y = draw(3, 8, 5)
    ridges = np.array([0.0, 1e-3, 2.0])
    together = solve_ridge(x, y, ridges)
    alone = [solve_ridge(x[i], y[i], float(ridges[i])) for i in range(3)]
    assert np.array_equal(together, np.stack(alone))


@pytest.mark.parametrize("shape", [(20, 8), (8, 20)])
def test_what_is_rank_deficient_gets_the_smallest_solution(shape: tuple[int, int]) -> None:
    x, y = draw(*shape)
    x[:, 3] = x[:, 4]
    x[2] = x[1]
    y[2] = y[1]
    w = solve_ridge(x, y, 0.0)
    assert np.allclose(w, np.linalg.pinv(x, rcond=1e-12) @ y, atol=1e-9)
    assert np.allclose(w[3], w[4])


def test_an_ill_conditioned_problem_keeps_its_digits() -> None:
    x, y = draw(60, 12)
    x = x * np.geomspace(1, 1e-6, 12)  # singular values over eight decades, the Gram over sixteen
    best = np.linalg.lstsq(x, y, rcond=None)[0]
    assert np.abs((solve_ridge(x, y, 0.0) - best) / best).max() < 1e-6


@pytest.mark.parametrize("shape", [(0, 3), (4, 0)])
def test_nothing_to_learn_from(shape: tuple[int, int]) -> None:
    w = solve_ridge(np.zeros(shape), np.zeros((shape[0], 1)), 1.0)
    assert w.shape == (shape[1], 1)
    assert not w.any()


def test_bad_input_is_refused() -> None:
    x, y = draw(5, 3)
    with pytest.raises(ValueError, match="ridge must be finite"):
        solve_ridge(x, y, -1.0)
    x[0, 0] = np.nan
    with pytest.raises(ValueError, match="finite numbers"):
        solve_ridge(x, y, 1.0)


def test_kappa_solves_its_equation() -> None:
    spectrum, n = power_law(300, 1.7), np.array([1.0, 3.0, 40.0, 299.0, 300.0, 301.0, 5000.0])
    for ridge in (1e-12, 1e-3, 10.0):
        kappa = effective_ridge(spectrum, n, ridge)
        right = ridge + kappa / n * (spectrum / (spectrum + kappa[:, None])).sum(axis=1)
        assert np.abs(right / kappa - 1).max() < 1e-12
    kappa = effective_ridge(spectrum, n, 0.0)
    assert (kappa[n >= 300] == 0).all()
    filled = (spectrum / (spectrum + kappa[n < 300, None])).sum(axis=1)
    assert np.allclose(filled, n[n < 300], rtol=1e-12)


def test_isotropic_risk_has_its_closed_form() -> None:
    """Hastie et al. 2022, Theorem 1: bias (1 - 1/r), variance 1/(r - 1) for r = d/N > 1."""
    d = 1000
    n = np.array([100.0, 400.0, 900.0, 1100.0, 4000.0])
    risk = deterministic_risk(np.ones(d), np.full(d, 1 / d), n, 0.0, 0.25)
    under = n > d
    bias = np.where(under, 0, 1 - n / d)
    variance = 0.25 * np.where(under, d / np.where(under, n - d, 1), n / (d - n + (d == n)))
    assert np.allclose(risk.bias, bias, rtol=1e-11, atol=1e-14)
    assert np.allclose(risk.variance, variance, rtol=1e-11)
    assert np.array_equal(risk.loss, risk.bias + risk.variance)


def test_the_double_descent_peak_is_there() -> None:
    spectrum = power_law(100, 2.0)
    n = np.arange(20.0, 400.0)
    ridgeless = deterministic_risk(spectrum, np.ones(100), n, 0.0, 1e-2)
    assert np.isinf(ridgeless.loss[n == 100]).all()
    assert np.isfinite(ridgeless.loss[n != 100]).all()
    little = deterministic_risk(spectrum, np.ones(100), n, 1e-7, 1e-2)
    assert np.isfinite(little.loss).all()
    assert abs(n[little.loss.argmax()] - 100) <= 2
    much = deterministic_risk(spectrum, np.ones(100), n, 1e-2, 1e-2)
    assert (np.diff(much.loss) < 0).all()


def test_an_exhausted_iteration_says_so() -> None:
    with pytest.raises(NotConverged) as caught:
        module._newton(power_law(50, 2.0), np.array([20.0]), 0.0, steps=1)
    assert caught.value.iterations == 1
    assert caught.value.residual > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"eigenvalues": np.array([1.0, -1.0])}, "eigenvalues"),
        ({"eigenvalues": np.zeros(2)}, "eigenvalues"),
        ({"source": np.array([1.0, -1.0])}, "source"),
        ({"n_data": [10.0, 0.0]}, "n_data"),
        ({"ridge": -1.0}, "ridge"),
        ({"noise": float("nan")}, "noise"),
    ],
)
def test_risk_refuses(change: dict[str, object], words: str) -> None:
    given = {
        "eigenvalues": np.ones(2),
        "source": np.ones(2),
        "n_data": 5,
        "ridge": 0.0,
        "noise": 1.0,
    }
    with pytest.raises(ValueError, match=words):
        deterministic_risk(**{**given, **change})  # pyright: ignore[reportArgumentType]


def test_power_law_spectrum() -> None:
    assert np.allclose(power_law(3, 2.0, first=5.0), [5, 5 / 4, 5 / 9])
    with pytest.raises(ValueError, match="at least one dimension"):
        power_law(0, 1.0)
