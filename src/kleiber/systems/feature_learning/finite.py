"""Finite width and finite data: the spectra on which the infinite model's dynamics run.

The dynamics of N neurons or D examples are those of the infinite model on the spectrum of
A(0)^T A(0)/N or of the data, renormalised. Its deterministic equivalent, good to O(1/N, 1/D), has

    H_k(z) = [(z + S)^-1]_kk z = kappa/(kappa + lam_k),  df = sum_k lam_k/(lam_k + kappa),
    z = kappa R1 R3,  R1 = 1 - df/D,  R3 = 1 - df/N.

An integral over the spectrum of a function h that is analytic about the positive axis needs no
spectral density: with z = -x, and x from 0 to beyond the spectrum along

    x(v) = R/(1 + exp(v - i phi)),   v real,

int mu(dx) h(x) = (1/pi) Im int G(-x) h(x) dx, whose trapezoidal sum converges exponentially (error
about exp(-2 pi phi/step)). What the model cannot fit is the pole of G at 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float

from kleiber.errors import NotConverged
from kleiber.systems.feature_learning.flow import Spectrum
from kleiber.systems.feature_learning.modes import Modes, power_modes

Points = Complex[np.ndarray, "points"]
Vector = Float[np.ndarray, "modes"]
ANGLE = np.pi / 4
SPACING = 0.2  # of v
BEYOND = 26.0  # how far v goes beyond the spectrum's upper end, exp(-BEYOND)
NEAR = 1e-8  # of the smallest eigenvalue, where x ends
MIN_DIFFERENCE = 1e-3  # by which width and n_data differ at least, relative
ROUNDING, COARSE = 1e-12, 1e-6  # last correction of kappa, relative: aimed at, and at most
MASS_ERROR = 1e-5  # of the integral of 1, relative, above which the contour is wrong
BELOW = 1e-6  # of kappa_0: functions are linear in lam below that


@dataclass(frozen=True)
class Contour:
    """Nodes x with dx/pi i from 0 outwards, and kappa, R1 and R3 at z = -x."""

    modes: Modes
    width: float
    n_data: float
    kappa_0: float
    x: Points
    dx: Points
    kappa: Points
    r1: Points
    r3: Points

    def response(self, power: Vector) -> Points:
        """Return sum_k power_k kappa/(kappa + lam_k) at the nodes."""
        return self.kappa * ((1 / (self.kappa[:, None] + self.modes.lam)) @ power)

    def at_zero(self, power: Vector) -> float:
        """Return the same sum at z = 0."""
        if self.kappa_0 == 0:
            return 0.0
        return float(self.kappa_0 * (power / (self.kappa_0 + self.modes.lam)).sum())

    def weights(self, transform: Points, pole: float) -> Points:
        """Return the weights of the measure with the given Stieltjes transform at z = -x.

        `pole` is the transform's residue at z = 0, which is left out.
        """
        return self.dx * (transform + pole / self.x)

    def test(self, power: Vector) -> Spectrum:
        """Return the measure of the loss over draws of A(0) or of the data, with one resolvent."""
        rest = self.at_zero(power)
        found = Spectrum(self.x, self.weights(-self.response(power) / self.x, rest), rest)
        return _checked(found, float(power.sum()))

    def train(self, power: Vector, noise: float) -> Spectrum:
        """Return the measure of the loss on training data whose labels have noise of that
        spread."""
        response = self.response(power) + noise**2
        rest = (self.at_zero(power) + noise**2) * max(1 - self.rank / self.n_data, 0.0)
        found = Spectrum(self.x, self.weights(-self.r1 * response / self.x, rest), rest)
        return _checked(found, float(power.sum()) + noise**2)

    @property
    def rank(self) -> float:
        """The number of directions that can be learned."""
        return min(self.width, self.n_data, float(self.modes.count.sum()))


def contour(
    capacity: float, source: float, modes: float, *, width: float, n_data: float
) -> Contour:
    """Build the contour for sizes of which at least one is finite. Raises NotConverged.

    If width and n_data are equal, n_data is increased by 0.1%, to separate the poles at 0.
    """
    if width == n_data:
        n_data *= 1 + MIN_DIFFERENCE
    size = min(width, n_data)
    shape = np.pi / capacity / np.sin(np.pi / capacity)
    smallest = BELOW * (shape / (size + shape)) ** capacity
    spectrum = power_modes(capacity, source, modes, smallest)
    kappa_0 = effective_ridge(spectrum, size, modes)
    lowest = kappa_0 if kappa_0 > 0 else float(spectrum.lam.min())
    sizes = sorted((width, n_data, modes))
    apart = 1 - sizes[0] / sizes[1]
    lowest *= max(apart**2, NEAR)
    highest = 6 * spectrum.lam[0] * (1 + spectrum.trace / width) * (1 + spectrum.trace / n_data)
    v = np.arange(-BEYOND, np.log(highest / lowest / NEAR), SPACING)
    y = np.exp(v - 1j * ANGLE)
    x = highest / (1 + y)
    dx = highest * y / (1 + y) ** 2 * SPACING / (1j * np.pi)
    kappa = _kappas(spectrum, x, 1 / width, 1 / n_data)
    df = degrees(spectrum, kappa)
    return Contour(spectrum, width, n_data, kappa_0, x, dx, kappa, 1 - df / n_data, 1 - df / width)


def degrees(modes: Modes, kappa: Points) -> Points:
    """Return the degrees of freedom df = sum lam/(lam + kappa)."""
    return (1 / (modes.lam + kappa[:, None])) @ (modes.count * modes.lam)


def effective_ridge(modes: Modes, size: float, modes_total: float) -> float:
    """Solve sum lam/(lam + kappa_0) = size for kappa_0; 0 if there are no more modes than size."""
    if size >= modes_total:
        return 0.0
    mass = modes.count * modes.lam
    low, high = np.log(modes.lam.min()) - 40, np.log(modes.trace)
    for _ in range(200):
        middle = (low + high) / 2
        if (mass / (modes.lam + np.exp(middle))).sum() > size:
            low = middle
        else:
            high = middle
        if high - low < 1e-15 * max(abs(low), 1):
            break
    return float(np.exp((low + high) / 2))


def _kappas(modes: Modes, x: Points, per_width: float, per_data: float) -> Points:
    """Solve for kappa along the contour, by Newton's method from each node to the next."""
    mass = modes.count * modes.lam
    found = np.empty_like(x)
    kappa = last = -x[0]
    for row, z in enumerate(-x):
        guess = kappa * (kappa / last if row > 1 else 1)
        last, kappa = kappa, guess
        step = np.inf
        for _ in range(60):
            share = 1 / (modes.lam + kappa)
            df, derivative = share @ mass, -((share * share) @ mass)
            r1, r3 = 1 - df * per_data, 1 - df * per_width
            value = kappa * r1 * r3 - z
            derivative_z = r1 * r3 - kappa * derivative * (per_data * r3 + per_width * r1)
            step = value / derivative_z
            kappa = kappa - step
            if abs(step) < ROUNDING * abs(kappa):
                break
        if not abs(step) < COARSE * abs(kappa):
            raise NotConverged("The renormalised spectrum was not found.", abs(step / kappa), 60)
        found[row] = kappa
    return found


def _checked(found: Spectrum, mass: float) -> Spectrum:
    """Return the spectrum after checking its total mass. Raises NotConverged."""
    error = abs(found.total / mass - 1)
    if not error < MASS_ERROR:
        raise NotConverged("The renormalised spectrum has lost mass.", error, found.x.size)
    return found


def floor(modes: Modes, modes_total: float, *, width: float, n_data: float, noise: float) -> float:
    """Return the loss after infinite training, for sizes of which at least one is finite.

    It is infinite if both are equal.

    With kappa of df = min(N, D) = m and q = sum lam^2/(lam + kappa)^2,

        [sum_k c_k (kappa/(lam + kappa) - kappa lam/(lam + kappa)^2 (N - m)/(N - q)) + sigma^2]
        / [1 - (q (N - 2 m) + m^2)/(D (N - q))] - sigma^2.
    """
    size = min(width, n_data)
    if width == n_data < modes_total:
        return math.inf
    kappa = effective_ridge(modes, size, modes_total)
    m = min(size, modes_total)
    share = modes.lam / (modes.lam + kappa)
    q = float((modes.count * share**2).sum())
    free = 1.0 if np.isinf(width) else (width - m) / (width - q) if width > m else 0.0
    fitted = float((modes.power * (1 - share) * (1 - share * free)).sum())
    if np.isinf(n_data):
        return fitted
    over = q if np.isinf(width) else (q * (width - 2 * m) + m**2) / (width - q)
    return (fitted + noise**2) / (1 - over / n_data) - noise**2
