"""Gradient flow of the feature-learning model on any spectrum, in a few hundred steps.

    symbol   meaning
    t, tau   time; tau = int a dt, the time of the kernel's growth
    x, w     nodes of the spectrum and their weights: sums over modes are Re sum w h(x)
    n        |w|^2/N, squared norm of the readout over the width
    a        (1 + gamma n)^(L - 1), growth of the kernel; L = depth in weight layers
    s        a^(-1/2)
    f        learned fraction of the target along a mode

The hidden layers can be eliminated, and with f = u/s one scalar unknown remains:

    du/dtau = x (s - u),  n = sum w u^2/x,  s = (1 + gamma n)^(-(L - 1)/2),  loss = sum w (1 - f)^2

(for L = 2 this is df/dt = a x (1 - f) + b f, b = (gamma/a) sum w f (1 - f)). Within a step s is a
polynomial of degree 4 in tau through five Chebyshev points, by Newton's method; u follows exactly
from it, whatever x tau is, and so does v = s - u, which is kept beside u because it is small where
a mode is learned. Steps follow the last Chebyshev coefficient of s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Inexact

from kleiber.errors import NotConverged

Spectral = Inexact[np.ndarray, "nodes"]
Times = Float[np.ndarray, "times"]
Array = Float[np.ndarray, "..."]
DEGREE = 4
POINTS = (1 - np.cos(np.pi * np.arange(DEGREE + 1) / DEGREE)) / 2  # of a step, from 0 to 1
TO_POWERS = np.linalg.inv(np.vander(POINTS, increasing=True))  # values at POINTS to coefficients
TOLERANCE = 1e-6  # of the last Chebyshev coefficient of s, relative
SETTLED = 1e-10  # change of s in the last iteration, relative
MAX_ITERATIONS = 12
LARGEST_RATIO = 3.0  # of one tau to the next
BACKWARD = 18  # moments from which the backward recursion starts


@dataclass(frozen=True)
class Spectrum:
    """Nodes x, complex weights of the loss's measure, and `atom`, the loss at x = 0.

    With x off the real axis the weights are those of a contour: for functions h that are real on
    the axis, Re sum weight h(x) is the integral over the measure without its atom.
    """

    x: Spectral
    weight: Spectral
    atom: float = 0.0

    @property
    def total(self) -> float:
        """The total loss at the start."""
        return real_sum(self.weight) + self.atom


@dataclass(frozen=True)
class State:
    """The flow at some times: u and v = s - u of each node, and the scalars."""

    time: Times
    tau: Times
    n: Times
    a: Times
    u: Inexact[np.ndarray, "times nodes"]
    v: Inexact[np.ndarray, "times nodes"]

    @property
    def learned(self) -> Inexact[np.ndarray, "times nodes"]:
        """The learned fraction f of each node."""
        return self.u * np.sqrt(self.a)[:, None]

    @property
    def missing(self) -> Inexact[np.ndarray, "times nodes"]:
        """The missing fraction 1 - f of each node."""
        return self.v * np.sqrt(self.a)[:, None]


@dataclass(frozen=True)
class Path:
    """A flow by steps: start and length in tau, time at the start, polynomial of s, u and v."""

    spectrum: Spectrum
    richness: float
    depth: int
    tau: Float[np.ndarray, "steps"]
    length: Float[np.ndarray, "steps"]
    time: Float[np.ndarray, "steps+1"]
    powers: Float[np.ndarray, "steps powers"]
    clock: Float[np.ndarray, "steps clock"]
    u: Inexact[np.ndarray, "steps nodes"]
    v: Inexact[np.ndarray, "steps nodes"]

    def at(self, times: Times) -> State:
        """Return the flow at times up to the last."""
        step = np.clip(np.searchsorted(self.time, times, "right") - 1, 0, self.tau.size - 1)
        xi = invert_clock(self.clock[step], times - self.time[step])
        powers = self.powers[step]
        y = self.length[step, None] * self.spectrum.x
        decay = np.exp(-y * xi[:, None])
        kept = moments(y, xi)
        u = decay * self.u[step] + y * np.einsum("tp,ptk->tk", powers, kept)
        derivative = powers[:, 1:] * np.arange(1, DEGREE + 1)
        v = decay * self.v[step] + np.einsum("tp,ptk->tk", derivative, kept[:-1])
        n = readout(self.spectrum, u)
        a = (1 + self.richness * n) ** (self.depth - 1)
        v = _remaining(a[:, None] ** -0.5, u, v)
        return State(times, self.tau[step] + xi * self.length[step], n, a, u, v)


def weigh(
    values: Inexact[np.ndarray, "*rows nodes"], weight: Spectral
) -> Float[np.ndarray, "*rows"]:
    """Return the real part of the weighted sum of the values over the nodes."""
    return real(values @ weight)


def real(values: Any) -> Array:
    """Return the real part."""
    return np.asarray(values.real, float)


def real_sum(values: Spectral) -> float:
    """Return the real part of the sum of the values."""
    return complex(values.sum()).real


def readout(spectrum: Spectrum, u: Inexact[np.ndarray, "rows nodes"]) -> Float[np.ndarray, "rows"]:
    """Return n = sum w u^2/x."""
    return np.maximum(weigh(u * u, spectrum.weight / spectrum.x), 0.0)


def moments(
    y: Inexact[np.ndarray, "*#rows nodes"], xi: Float[np.ndarray, "*rows"]
) -> Inexact[np.ndarray, "powers *rows nodes"]:
    """Return the integrals of exp(-y (xi - r)) r^p over r from 0 to xi, p = 0..DEGREE."""
    end = xi[..., None]
    q = y * end
    small = np.abs(q) < 1
    near = np.where(small, q, 0)
    found = np.empty((DEGREE + 1, *q.shape), q.dtype)
    last = (1 - near / (BACKWARD + 2)) / (BACKWARD + 1)
    for p in range(BACKWARD, 0, -1):
        last = (1 - near * last) / p
        if p <= DEGREE + 1:
            found[p - 1] = last
    far = np.where(small, 1, q)
    last = -np.expm1(-far) / far
    for p in range(DEGREE + 1):
        if p:
            last = (1 - p * last) / far
        found[p] = np.where(small, found[p], last) * end ** (p + 1)
    return found


def march(spectrum: Spectrum, richness: float, depth: int, until: float) -> Path:
    """Follow the flow from u = 0 to time `until`. Raises NotConverged if the steps vanish."""
    power = (depth - 1) / 2
    bound = float(np.abs(spectrum.x).max())
    drive = max(real_sum(spectrum.weight * spectrum.x), 1e-300)
    h = 0.1 / (bound + np.sqrt(richness * drive * depth))
    tau = time = 0.0
    s0, guess = 1.0, np.array([1.0, 0, 0, 0, 0])
    u = np.zeros(spectrum.x.size, spectrum.x.dtype)
    v = np.ones_like(u)
    rows: list[tuple[Any, ...]] = []
    while True:
        attempt = _step(spectrum, richness, power, h, u, guess, s0)
        error = attempt.error / TOLERANCE
        if error > 1 and h < 1e-12 * max(tau, 1 / bound):
            raise NotConverged("The steps of the feature-learning flow vanish.", error, len(rows))
        factor = 0.9 * max(error, 1e-9) ** (-1 / (DEGREE + 1)) if np.isfinite(error) else 0.25
        if error > 1:
            h *= float(np.clip(factor, 0.1, 0.7))
            guess = np.array([s0, 0, 0, 0, 0])
            continue
        rows.append((tau, h, time, attempt.powers, attempt.clock, u, v))
        tau, time = tau + h, time + float(attempt.clock.sum())
        if time >= until:
            break
        s0 = float(attempt.powers.sum())
        u, v = attempt.u, _remaining(s0, attempt.u, decayed(v, spectrum.x * h, attempt))
        longer = h * float(np.clip(factor, 0.2, LARGEST_RATIO))
        longer = min(longer, (LARGEST_RATIO - 1) * tau)
        guess = _continued(attempt.powers, longer / h)
        h = longer
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    columns[2] = np.append(columns[2], time)
    return Path(spectrum, richness, depth, *columns)


@dataclass(frozen=True)
class Step:
    """The result of one step: polynomials of s and of the time, u at its end, and its error."""

    powers: Float[np.ndarray, "powers"]
    clock: Float[np.ndarray, "clock"]
    u: Spectral
    kept: Inexact[np.ndarray, "powers nodes"]
    error: float


def _step(
    spectrum: Spectrum,
    richness: float,
    power: float,
    h: float,
    u: Spectral,
    guess: Float[np.ndarray, "powers"],
    s0: float,
) -> Step:
    """Take a step of length h, by Newton's method for s at its points, where n is quadratic in s.

    The error is infinite if the method does not converge.
    """
    y = spectrum.x * h
    kept = moments(y[None, :], POINTS[1:])
    driven = np.einsum("pi,pjk->jik", TO_POWERS, y * kept)  # u at point j from s at point i
    start = np.exp(-y * POINTS[1:, None]) * u + driven[:, 0] * s0
    driven = driven[:, 1:]
    weighed = driven * (spectrum.weight / spectrum.x)
    square = real(np.matmul(weighed, np.swapaxes(driven, 1, 2)))
    cross = 2 * real(np.einsum("jik,jk->ji", weighed, start))
    offset = weigh(start * start, spectrum.weight / spectrum.x)
    s = np.polynomial.polynomial.polyval(POINTS[1:], guess)
    change = np.inf
    for _ in range(MAX_ITERATIONS):
        quadratic = square @ s
        n = np.maximum(offset + cross @ s + quadratic @ s, 0)
        grown = 1 + richness * n
        residual = s - grown**-power
        derivative = power * richness * grown ** (-power - 1)
        step: Array = np.linalg.solve(
            np.eye(DEGREE) + derivative[:, None] * (cross + 2 * quadratic), residual
        )
        s = np.maximum(s - step, s / 4)
        change = float(np.abs(step / s).max())
        if change < SETTLED:
            break
    values = np.append(s0, s)
    powers = TO_POWERS @ values
    error = np.inf if not change < SETTLED else abs(powers[-1]) / 128 / values.min()
    clock = TO_POWERS @ values**2 * h / np.arange(1, DEGREE + 2)
    end = start[-1] + s @ driven[-1]
    return Step(powers, clock, end, kept[:, -1], error)


def decayed(v: Spectral, y: Spectral, step: Step) -> Spectral:
    """Return v at the end of a step."""
    derivative = step.powers[1:] * np.arange(1, DEGREE + 1)
    return np.exp(-y) * v + np.tensordot(derivative, step.kept[:-1], 1)


def _remaining(s: Any, u: Any, v: Any) -> Any:
    """Return v, as s - u if less than half is learned, where that is more accurate."""
    little: Any = np.abs(u) < s / 2
    return little * (s - u) + (1 - little) * v


def _continued(powers: Float[np.ndarray, "powers"], ratio: float) -> Float[np.ndarray, "powers"]:
    """Extrapolate the polynomial of the last step to the next one.

    Its end value is used if the extrapolation is not positive or too far off.
    """
    end = float(powers.sum())
    values: Array = (1 + ratio * POINTS[:, None]) ** np.arange(DEGREE + 1) @ powers
    if values.min() < 0.2 * end or values.max() > 5 * end:
        return np.array([end, 0, 0, 0, 0])
    return TO_POWERS @ values


def invert_clock(clock: Float[np.ndarray, "rows clock"], passed: Times) -> Times:
    """Solve sum_p clock_p xi^(p + 1) = passed for xi from 0 to 1, by Newton's method."""
    orders: Array = np.arange(1, len(clock.T) + 1)
    xi: Array = np.clip(passed / clock.sum(axis=1), 0, 1)
    for _ in range(30):
        value: Array = (clock * xi[:, None] ** orders).sum(axis=1) - passed
        derivative: Array = (clock * orders * xi[:, None] ** (orders - 1)).sum(axis=1)
        new: Array = np.clip(xi - value / derivative, 0, 1)
        settled = np.abs(new - xi).max(initial=0) < 1e-15
        xi = new
        if settled:
            break
    return xi
