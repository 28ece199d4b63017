"""The neural tangent kernel of infinitely wide MLPs on the circle, and its loss.

    Theta_1 = Sigma_1 = cos(theta),  Sigma_{l+1} = kappa(Sigma_l),
    Theta_{l+1} = Sigma_{l+1} + Theta_l kappa'(Sigma_l)

kappa(rho) is E phi(u) phi(v) for unit Gaussians of correlation rho and an activation phi of unit
second moment, kappa' its derivative (Jacot et al. 2018, arXiv 1806.07572; Cho & Saul 2009 for
powers of relu). On the circle the eigenfunctions are cos(k theta) and sin(k theta).

    symbol     meaning                                      shape
    theta      angle between two inputs                     [points]
    lambda_k   eigenvalue of mode k, uniform measure        [modes], k = 0, 1, ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

Array = Float[np.ndarray, "points"]


def _relu(angle: Array) -> Array:
    return (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi


def _relu_derivative(angle: Array) -> Array:
    return (np.pi - angle) / np.pi


def _relu_squared(angle: Array) -> Array:
    sine, cosine = np.sin(angle), np.cos(angle)
    return (3 * sine * cosine + (np.pi - angle) * (1 + 2 * cosine**2)) / (3 * np.pi)


def _relu_squared_derivative(angle: Array) -> Array:
    return 4 / 3 * _relu(angle)


# activation -> kappa and kappa' as functions of the angle arccos(rho)
DUALS: Mapping[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = MappingProxyType(
    {"relu": (_relu, _relu_derivative), "relu_squared": (_relu_squared, _relu_squared_derivative)}
)


def circle_kernel(angle: Array, *, activation: str = "relu", depth: int = 2) -> Array:
    """Compute the kernel between inputs at angles from 0 to pi.

    The MLP has ``depth`` hidden layers without biases, unit Gaussian weights over sqrt(fan in), and
    activations of unit second moment.

    Raises ValueError for another activation than relu and relu_squared, and for a depth below 1.
    """
    if activation not in DUALS or depth < 1:
        raise ValueError(
            f"The kernel is known for {', '.join(DUALS)} and a depth of at least 1, "
            f"got {activation!r} and {depth}."
        )
    dual, derivative = DUALS[activation]
    kernel = np.cos(angle)
    for _ in range(depth):
        grown = kernel * derivative(angle)
        overlap = dual(angle)
        angle = np.arccos(np.clip(overlap, -1, 1))
        kernel = overlap + grown
    return kernel


def circle_spectrum(
    modes: int, *, activation: str = "relu", depth: int = 2, points: int = 1 << 16
) -> Float[np.ndarray, "modes"]:
    """Compute the eigenvalues lambda_0, ..., lambda_{modes - 1} of that kernel, uniform measure.

    By a Fourier transform on ``points`` angles; ValueError for more modes than a quarter of them.
    """
    if not 1 <= modes <= points // 4:
        raise ValueError(
            f"The modes must be from 1 to {points // 4} for {points} points, got {modes}."
        )
    angle = 2 * np.pi * np.arange(points) / points
    folded = np.minimum(angle, 2 * np.pi - angle)
    kernel = circle_kernel(folded, activation=activation, depth=depth)
    return np.fft.rfft(kernel).real[:modes] / points


def lazy_loss(
    time: Float[np.ndarray, "times"],
    eigenvalues: Float[np.ndarray, "modes"],
    weights: Float[np.ndarray, "modes"],
) -> Float[np.ndarray, "times"]:
    """Return the loss of the kernel's gradient flow, sum_k c_k exp(-2 lambda_k t).

    ``weights`` are c_k, the loss in each mode at the start.
    """
    return np.exp(-2 * np.multiply.outer(time, eigenvalues)) @ weights
