"""The kernel of infinitely wide nets on the circle."""

from __future__ import annotations

import numpy as np
import pytest

from kleiber.systems.feature_learning.wide_kernel import circle_kernel, circle_spectrum, lazy_loss


def gauss(activation: str, rho: float) -> tuple[float, float]:
    """kappa and kappa' by quadrature over two correlated Gaussians."""
    power, size = (1, np.sqrt(2)) if activation == "relu" else (2, np.sqrt(2 / 3))
    z = np.linspace(-8, 8, 1601)
    u, w = np.meshgrid(z, z, indexing="ij")
    v = rho * u + np.sqrt(1 - rho**2) * w
    weight = np.exp(-(u**2 + w**2) / 2) / (2 * np.pi) * (z[1] - z[0]) ** 2
    a, b = np.maximum(u, 0), np.maximum(v, 0)
    slope = (a > 0) * (b > 0) if power == 1 else 4 * a * b
    return float((size**2 * a**power * b**power * weight).sum()), float(
        (size**2 * slope * weight).sum()
    )


@pytest.mark.parametrize("activation", ["relu", "relu_squared"])
@pytest.mark.long
def test_the_kernel_is_that_of_the_recursion(activation: str) -> None:
    rho = 0.3
    kappa, slope = gauss(activation, rho)
    deeper, deeper_slope = gauss(activation, kappa)
    one = kappa + rho * slope
    two = deeper + one * deeper_slope
    angle = np.array([np.arccos(rho)])
    assert circle_kernel(angle, activation=activation, depth=1) == pytest.approx(one, rel=2e-3)
    assert circle_kernel(angle, activation=activation, depth=2) == pytest.approx(two, rel=2e-3)


@pytest.mark.parametrize(("activation", "power"), [("relu", 2.0), ("relu_squared", 4.0)])
def test_eigenvalues_fall_as_a_power(activation: str, power: float) -> None:
    found = circle_spectrum(513, activation=activation)
    for start in (64, 65):
        k = np.arange(start, 513, 2)
        assert -np.polyfit(np.log(k), np.log(found[k]), 1)[0] == pytest.approx(power, abs=0.01)
    assert found[64] / found[65] == pytest.approx({2.0: 1.444, 4.0: 0.896}[power], abs=1e-3)


def test_the_spectrum_adds_up_to_the_kernel() -> None:
    found = circle_spectrum(1 << 14)
    at = np.array([0.0, 1.0])
    series = found[0] + 2 * np.cos(np.outer(at, np.arange(1, len(found)))) @ found[1:]
    np.testing.assert_allclose(series, circle_kernel(at), atol=1e-3)
    assert circle_kernel(np.zeros(1))[0] == pytest.approx(3)  # one for each layer of weights


def test_one_hidden_layer_without_biases_misses_every_other_mode() -> None:
    relu, squared = (
        circle_spectrum(12, activation=name, depth=1) for name in ("relu", "relu_squared")
    )
    assert np.abs(relu[3::2]).max() < 1e-12 < relu[2::2].min()
    assert np.abs(squared[4::2]).max() < 1e-12 < squared[5::2].min()
    assert circle_spectrum(12, depth=2).min() > 1e-4


def test_the_lazy_loss_is_a_sum_of_exponentials() -> None:
    made = lazy_loss(np.array([0.0, 1.0]), np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    np.testing.assert_allclose(made, [7.0, 3 * np.exp(-2) + 4 * np.exp(-4)])


def test_what_is_unknown_is_refused() -> None:
    with pytest.raises(ValueError, match="relu, relu_squared"):
        circle_kernel(np.zeros(1), activation="tanh")
    with pytest.raises(ValueError, match="from 1 to 16 for 64 points"):
        circle_spectrum(17, points=64)
