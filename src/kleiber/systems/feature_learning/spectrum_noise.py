"""The source of a target with label noise: both are fitted to the remaining power.

Label noise of variance s^2, and power of the target that no mode of the kernel carries, add

    (1/P) s^2 tr (K/P + z)^-1 = s^2/kappa

to the sum G of ``spectrum_fit.py``, and so s^2 itself, at every kappa, to the remaining power:

    left(kappa) = A kappa^beta (1 - I(beta, 3 - beta)) + s^2,

I the share of modes beyond the dimension D of the features (incomplete beta function at
lam_D/(lam_D + kappa), 0 for infinitely many modes). The remaining power is a weighted sum of the
powers c_i of the modes. For Gaussian coefficients these have variance 2 (mean c_i)^2, so the
covariance of the remaining power at a few kappa is known, and with it chi-square of every source
and noise on a grid, with the best A. Intervals end where a profile of chi-square has risen by the
square of a normal quantile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline
from scipy.special import betainc, ndtr, ndtri

from kleiber.claim import Estimate
from kleiber.systems.feature_learning.spectrum_fit import Ridges, SpectrumCurve, raise_ridges
from kleiber.systems.feature_learning.spectrum_modes import Modes

PLACES = 14  # number of values of kappa at which the remaining power is compared
ROUGH = 0.01  # relative error of the power law itself at each
SOURCES = np.linspace(0.02, 2.98, 297)
FLOORS = 240  # number of values of the noise, from 0 to the largest possible
NEAR = 0.6  # share of a mode's number on either side over which mean powers are taken
PASSES = 3  # number of fits, each with the errors of the law found before
EDGE = 3  # grid points from an end of SOURCES within which the best source is unknown


@dataclass(frozen=True)
class Source:
    """Source and noise with their intervals, and a grid on which to draw the source.

    An end of the source's interval is 0 or infinite if nothing bounds it; its value is NaN if the
    fit leads to an end of the range. `shares` is the confidence that the source lies below each
    of SOURCES.
    """

    source: Estimate
    noise: Estimate
    shares: Float[np.ndarray, "sources"]


@dataclass(frozen=True)
class _RemainingPower:
    """The remaining power at a few kappa: measured, its weights of modes, and that of each
    source."""

    modes: Modes
    capacity: float
    measured: Float[np.ndarray, "places"]
    weights: Float[np.ndarray, "places modes"]
    shapes: Float[np.ndarray, "places sources"]


def fit_source(
    readings: Sequence[tuple[Modes, SpectrumCurve]], known: float | None, level: float
) -> Source:
    """Fit source and noise over the window of a resolved curve; `known` is a given noise.

    With several readings of the same samples (all features, or random ones of a wider kernel) the
    value is that of the first, and the interval contains what any of them allows.
    """
    remaining = [_measure(modes, curve) for modes, curve in readings]
    largest = max(_largest_noise(item) for item in remaining)
    floors = np.linspace(0.0, largest, FLOORS) if known is None else np.array([known])
    chi = np.stack(
        [
            _fit(item, floors, max(curve.exponents()[1], float(SOURCES[0])))
            for item, (_, curve) in zip(remaining, readings, strict=True)
        ]
    )
    first, lowest = chi[0], chi.min(axis=0)
    shares = _shares(SOURCES, lowest.min(axis=1), int(first.min(axis=1).argmin()))
    source = _bounded(SOURCES, first.min(axis=1), shares, level)
    return Source(source, _noise(floors, first.min(axis=0), lowest.min(axis=0), level), shares)


def _measure(modes: Modes, curve: SpectrumCurve) -> _RemainingPower:
    """Measure the remaining power over the window."""
    log_kappa = np.linspace(float(curve.log_x[0]), float(curve.log_x[-1]), PLACES)
    weights = _weights(raise_ridges(modes), log_kappa)
    measured = weights @ np.append(modes.powers, modes.rest_power)
    capacity = max(curve.exponents()[0], 1.0)
    return _RemainingPower(modes, capacity, measured, weights, _shapes(curve, log_kappa))


def _errors(
    remaining: _RemainingPower, source: float, noise: float
) -> Float[np.ndarray, "places modes"]:
    """Return the standard deviation that each mode adds to the remaining power at each kappa."""
    typical = _mean_powers(remaining.modes, remaining.capacity, source, noise)
    return remaining.weights * np.sqrt(2 / remaining.modes.outputs) * typical


def _largest_noise(remaining: _RemainingPower) -> float:
    """Return an upper bound of the noise: four errors above the smallest remaining power."""
    errors = _errors(remaining, float(SOURCES[0]), _initial_noise(remaining))
    return float((np.abs(remaining.measured) + 4 * np.sqrt((errors**2).sum(axis=1))).min())


def _initial_noise(remaining: _RemainingPower) -> float:
    """Return the starting value of the noise: half of the smallest remaining power."""
    return max(float(remaining.measured.min()) / 2, 0.0)


def _fit(
    remaining: _RemainingPower, floors: np.ndarray, source: float
) -> Float[np.ndarray, "sources floors"]:
    """Return chi-square less its minimum, divided by chi-square per degree of freedom if above 1.

    The errors are those of the law found before.
    """
    noise, chi, degrees_of_freedom = (
        _initial_noise(remaining),
        np.zeros((SOURCES.size, floors.size)),
        1.0,
    )
    for _ in range(PASSES):
        errors = _errors(remaining, source, noise)
        error = errors @ errors.T
        scale = np.abs(remaining.measured) + np.sqrt(np.diag(error))
        error = error / np.outer(scale, scale)
        whiten = np.linalg.inv(np.linalg.cholesky(error + ROUGH**2 * np.eye(PLACES)))
        chi = _chi_square(
            whiten @ (remaining.measured / scale),
            whiten @ (remaining.shapes / scale[:, None]),
            whiten @ (1 / scale),
            floors,
        )
        i, j = np.unravel_index(int(chi.argmin()), chi.shape)
        source, noise = float(SOURCES[i]), float(floors[j])
        degrees_of_freedom = max(float(np.trace(whiten @ error @ whiten.T)) - 2, 1.0)
    lowest = float(chi.min())
    return (chi - lowest) / max(1.0, lowest / degrees_of_freedom)


def draw_sources(found: Source, count: int, rng: np.random.Generator) -> Float[np.ndarray, "draws"]:
    """Draw the source from its confidence distribution; 0 or infinite beyond the grid."""
    at = rng.random(count)
    drawn = np.interp(at, found.shares, SOURCES)
    return np.where(at < found.shares[0], 0.0, np.where(at > found.shares[-1], np.inf, drawn))


def _weights(ridges: Ridges, log_kappa: np.ndarray) -> Float[np.ndarray, "places modes"]:
    """Return the weight of each mode's power in the remaining power at each kappa."""
    along = CubicSpline(ridges.log_kappa, ridges.shares * ridges.short[:, None])
    return np.exp(log_kappa)[:, None] / 2 * (along(log_kappa, 2) - along(log_kappa, 1))


def _mean_powers(
    modes: Modes, capacity: float, source: float, noise: float
) -> Float[np.ndarray, "modes"]:
    """Return the mean power around each mode, falling as a law with noise.

    So a mode that is small by chance is not taken as exact. The modes that were not computed are
    one mode whose variance is that of their sum.
    """
    n = modes.powers.size
    fall = modes.eigenvalues ** (source + 1 / capacity)
    law = max(float(modes.powers.sum()) - noise, 0.0) / float(fall.sum()) * fall
    law = law + noise / modes.n_data
    law = np.maximum(law, np.finfo(float).eps * float(law.max()))
    total, place = np.append(0.0, np.cumsum(modes.powers / law)), np.arange(n)
    reach = np.maximum(3, (NEAR * (place + 1)).astype(int))
    low, high = np.maximum(place - reach, 0), np.minimum(place + reach + 1, n)
    uncomputed = modes.rest_power / np.sqrt(max(modes.rest_count, 1))
    return np.append(law * (total[high] - total[low]) / (high - low), uncomputed)


def _shapes(curve: SpectrumCurve, log_kappa: np.ndarray) -> Float[np.ndarray, "places sources"]:
    """Return the remaining power of a unit target of each source, divided by its largest value."""
    end = np.exp(curve.log_end - log_kappa)[:, None]
    beyond = betainc(SOURCES, 3 - SOURCES, end / (1 + end))
    return np.exp(np.outer(log_kappa - log_kappa[-1], SOURCES)) * (1 - beyond)


def _chi_square(
    measured: np.ndarray, shapes: np.ndarray, flat: np.ndarray, floors: np.ndarray
) -> Float[np.ndarray, "sources floors"]:
    """Return chi-square of whitened values, with the best non-negative amplitude."""
    residual = measured[:, None] - flat[:, None] * floors
    along = np.maximum(shapes.T @ residual, 0.0)
    return (residual**2).sum(axis=0) - along**2 / (shapes**2).sum(axis=0)[:, None]


def _shares(grid: np.ndarray, profile: np.ndarray, best: int) -> Float[np.ndarray, "grid"]:
    """Return the confidence that the value lies below each grid point.

    It is the normal distribution function of the signed root of the rise of chi-square.
    """
    root = np.sqrt(np.maximum(profile, 0.0))
    return np.maximum.accumulate(ndtr(np.where(grid < grid[best], -root, root)))


def _bounded(grid: np.ndarray, profile: np.ndarray, shares: np.ndarray, level: float) -> Estimate:
    """Estimate the source with its interval; NaN, 0 and infinity as in `Source`."""
    best, tail = int(profile.argmin()), (1 - level) / 2
    low = float(np.interp(tail, shares, grid)) if shares[0] < tail else 0.0
    high = float(np.interp(1 - tail, shares, grid)) if shares[-1] > 1 - tail else np.inf
    value = _vertex(grid, profile, best)
    if not EDGE <= best < grid.size - EDGE or (low == 0 and np.isinf(high)):
        value = np.nan
    return Estimate(value, (high - low) / (2 * float(ndtri(1 - tail))), low, high)


def _noise(floors: np.ndarray, profile: np.ndarray, wide: np.ndarray, level: float) -> Estimate:
    """Estimate the noise with its interval, which is exact if the noise was given."""
    if floors.size == 1:
        return Estimate(float(floors[0]), 0.0, float(floors[0]), float(floors[0]))
    best, tail = int(profile.argmin()), (1 - level) / 2
    shares = _shares(floors, wide, best)
    low = float(np.interp(tail, shares, floors)) if shares[0] < tail else 0.0
    high = float(np.interp(1 - tail, shares, floors))
    value = max(_vertex(floors, profile, best), 0.0)
    return Estimate(value, (high - low) / (2 * float(ndtri(1 - tail))), low, high)


def _vertex(grid: np.ndarray, profile: np.ndarray, best: int) -> float:
    """Find the minimum of the parabola through the lowest point of a profile and its neighbours."""
    if not 0 < best < grid.size - 1:
        return float(grid[best])
    left, middle, right = profile[best - 1 : best + 2]
    curvature = float(left - 2 * middle + right)
    shift = 0.5 * float(left - right) / curvature if curvature > 0 else 0.0
    return float(grid[best] + shift * (grid[1] - grid[0]))
