"""The source of a target with label noise: both fitted to the power left, for `reduce.spectrum`.

Label noise of variance s^2, and power of the target that no mode of the kernel carries, add

    (1/P) s^2 tr (K/P + z)^-1 = s^2/kappa

to the sum G of ``spectrum_fit.py``, and so s^2 itself, at every kappa, to the power left:

    left(kappa) = A kappa^beta (1 - I(beta, 3 - beta)) + s^2,

I the share of modes beyond the dimension D of the features (incomplete beta function at
lam_D/(lam_D + kappa), 0 for endless modes). The power left is a sum of the powers c_i of the modes,
with weights. For Gaussian coefficients these have variance 2 (mean c_i)^2, so the covariance of the
power left at a few kappa is known, and chi-square of every source and noise on a grid, A solved
for. Intervals are where a profile of chi-square rises by the square of a normal quantile.
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

PLACES = 14  # values of kappa at which the power left is compared
ROUGH = 0.01  # relative error of the power law itself at each
SOURCES = np.linspace(0.02, 2.98, 297)
FLOORS = 240  # values of the noise, from none to what is left at the end of the window
NEAR = 0.6  # share of a mode's number on either side over which mean powers are taken
PASSES = 3  # of fitting, each with the errors of the law found before
EDGE = 3  # grid points from an end of SOURCES at which the best source is that end


@dataclass(frozen=True)
class Source:
    """Source and noise with their intervals, and a grid on which to draw the source.

    An end of the source's interval is 0 or infinite where nothing bounds it; its value is NaN where
    the fit leads to an end of the range. `shares` is the confidence that the source lies below each
    of SOURCES.
    """

    source: Estimate
    noise: Estimate
    shares: Float[np.ndarray, "sources"]


@dataclass(frozen=True)
class _Left:
    """The power left at a few kappa: as seen, what each mode adds, and that of each source."""

    modes: Modes
    capacity: float
    seen: Float[np.ndarray, "places"]
    weights: Float[np.ndarray, "places modes"]
    shapes: Float[np.ndarray, "places sources"]


def fit_source(
    readings: Sequence[tuple[Modes, SpectrumCurve]], known: float | None, level: float
) -> Source:
    """Source and noise over the window of a resolved curve; the noise alone is given if `known`.

    With several readings of the same samples (features that are all there are, or random ones of
    more) the value is that of the first and the interval holds what any of them allows.
    """
    left = [_measure(modes, curve) for modes, curve in readings]
    most = max(_most(item) for item in left)
    floors = np.linspace(0.0, most, FLOORS) if known is None else np.array([known])
    chi = np.stack(
        [
            _fit(item, floors, max(curve.exponents()[1], float(SOURCES[0])))
            for item, (_, curve) in zip(left, readings, strict=True)
        ]
    )
    first, least = chi[0], chi.min(axis=0)
    shares = _shares(SOURCES, least.min(axis=1), int(first.min(axis=1).argmin()))
    source = _bounded(SOURCES, first.min(axis=1), shares, level)
    return Source(source, _noise(floors, first.min(axis=0), least.min(axis=0), level), shares)


def _measure(modes: Modes, curve: SpectrumCurve) -> _Left:
    """The power left over the window."""
    log_kappa = np.linspace(float(curve.log_x[0]), float(curve.log_x[-1]), PLACES)
    weights = _weights(raise_ridges(modes), log_kappa)
    seen = weights @ np.append(modes.powers, modes.rest_power)
    capacity = max(curve.exponents()[0], 1.0)
    return _Left(modes, capacity, seen, weights, _shapes(curve, log_kappa))


def _errors(left: _Left, source: float, noise: float) -> Float[np.ndarray, "places modes"]:
    """The standard deviation that each mode adds to the power left at each kappa."""
    typical = _typical(left.modes, left.capacity, source, noise)
    return left.weights * np.sqrt(2 / left.modes.outputs) * typical


def _most(left: _Left) -> float:
    """Noise beyond all doubt: four errors above the power left where that is least."""
    errors = _errors(left, float(SOURCES[0]), _least(left))
    return float((np.abs(left.seen) + 4 * np.sqrt((errors**2).sum(axis=1))).min())


def _least(left: _Left) -> float:
    """Half of the power left where that is least, from which the search for the noise begins."""
    return max(float(left.seen.min()) / 2, 0.0)


def _fit(left: _Left, floors: np.ndarray, source: float) -> Float[np.ndarray, "sources floors"]:
    """What chi-square rises by from its least, over its mean a degree of freedom where the law
    misfits; the errors are those of the law found before."""
    noise, chi, free = _least(left), np.zeros((SOURCES.size, floors.size)), 1.0
    for _ in range(PASSES):
        errors = _errors(left, source, noise)
        error = errors @ errors.T
        scale = np.abs(left.seen) + np.sqrt(np.diag(error))
        error = error / np.outer(scale, scale)
        whiten = np.linalg.inv(np.linalg.cholesky(error + ROUGH**2 * np.eye(PLACES)))
        chi = _chi_square(
            whiten @ (left.seen / scale),
            whiten @ (left.shapes / scale[:, None]),
            whiten @ (1 / scale),
            floors,
        )
        i, j = np.unravel_index(int(chi.argmin()), chi.shape)
        source, noise = float(SOURCES[i]), float(floors[j])
        free = max(float(np.trace(whiten @ error @ whiten.T)) - 2, 1.0)
    least = float(chi.min())
    return (chi - least) / max(1.0, least / free)


def draw_sources(found: Source, count: int, rng: np.random.Generator) -> Float[np.ndarray, "draws"]:
    """Draws of the source from its confidence distribution; 0 or infinite beyond the grid."""
    at = rng.random(count)
    drawn = np.interp(at, found.shares, SOURCES)
    return np.where(at < found.shares[0], 0.0, np.where(at > found.shares[-1], np.inf, drawn))


def _weights(ridges: Ridges, log_kappa: np.ndarray) -> Float[np.ndarray, "places modes"]:
    """What the power of each mode adds to the power left at each kappa."""
    along = CubicSpline(ridges.log_kappa, ridges.shares * ridges.short[:, None])
    return np.exp(log_kappa)[:, None] / 2 * (along(log_kappa, 2) - along(log_kappa, 1))


def _typical(
    modes: Modes, capacity: float, source: float, noise: float
) -> Float[np.ndarray, "modes"]:
    """The mean power about each mode, so that one that is small by chance is not exact, its fall
    being that of a law with noise; that of the modes not computed as one whose variance is that of
    their sum."""
    n = modes.powers.size
    fall = modes.eigenvalues ** (source + 1 / capacity)
    law = max(float(modes.powers.sum()) - noise, 0.0) / float(fall.sum()) * fall
    law = law + noise / modes.n_data
    law = np.maximum(law, np.finfo(float).eps * float(law.max()))
    total, place = np.append(0.0, np.cumsum(modes.powers / law)), np.arange(n)
    reach = np.maximum(3, (NEAR * (place + 1)).astype(int))
    low, high = np.maximum(place - reach, 0), np.minimum(place + reach + 1, n)
    rest = modes.rest_power / np.sqrt(max(modes.rest_count, 1))
    return np.append(law * (total[high] - total[low]) / (high - low), rest)


def _shapes(curve: SpectrumCurve, log_kappa: np.ndarray) -> Float[np.ndarray, "places sources"]:
    """The power left of a unit target of each source, over its largest value."""
    end = np.exp(curve.log_end - log_kappa)[:, None]
    beyond = betainc(SOURCES, 3 - SOURCES, end / (1 + end))
    return np.exp(np.outer(log_kappa - log_kappa[-1], SOURCES)) * (1 - beyond)


def _chi_square(
    seen: np.ndarray, shapes: np.ndarray, flat: np.ndarray, floors: np.ndarray
) -> Float[np.ndarray, "sources floors"]:
    """Chi-square of whitened values, with the best amplitude that is not negative."""
    residual = seen[:, None] - flat[:, None] * floors
    along = np.maximum(shapes.T @ residual, 0.0)
    return (residual**2).sum(axis=0) - along**2 / (shapes**2).sum(axis=0)[:, None]


def _shares(grid: np.ndarray, profile: np.ndarray, best: int) -> Float[np.ndarray, "grid"]:
    """The confidence that the value lies below each of a grid: the normal share of the signed root
    of what chi-square rises by."""
    root = np.sqrt(np.maximum(profile, 0.0))
    return np.maximum.accumulate(ndtr(np.where(grid < grid[best], -root, root)))


def _bounded(grid: np.ndarray, profile: np.ndarray, shares: np.ndarray, level: float) -> Estimate:
    """Value and interval of the source; NaN, 0 and infinity as in `Source`."""
    best, tail = int(profile.argmin()), (1 - level) / 2
    low = float(np.interp(tail, shares, grid)) if shares[0] < tail else 0.0
    high = float(np.interp(1 - tail, shares, grid)) if shares[-1] > 1 - tail else np.inf
    value = _vertex(grid, profile, best)
    if not EDGE <= best < grid.size - EDGE or (low == 0 and np.isinf(high)):
        value = np.nan
    return Estimate(value, (high - low) / (2 * float(ndtri(1 - tail))), low, high)


def _noise(floors: np.ndarray, profile: np.ndarray, wide: np.ndarray, level: float) -> Estimate:
    """Value and interval of the noise; an exact one if it was given."""
    if floors.size == 1:
        return Estimate(float(floors[0]), 0.0, float(floors[0]), float(floors[0]))
    best, tail = int(profile.argmin()), (1 - level) / 2
    shares = _shares(floors, wide, best)
    low = float(np.interp(tail, shares, floors)) if shares[0] < tail else 0.0
    high = float(np.interp(1 - tail, shares, floors))
    value = max(_vertex(floors, profile, best), 0.0)
    return Estimate(value, (high - low) / (2 * float(ndtri(1 - tail))), low, high)


def _vertex(grid: np.ndarray, profile: np.ndarray, best: int) -> float:
    """The minimum of the parabola through the least point of a profile and its neighbours."""
    if not 0 < best < grid.size - 1:
        return float(grid[best])
    left, middle, right = profile[best - 1 : best + 2]
    bend = float(left - 2 * middle + right)
    shift = 0.5 * float(left - right) / bend if bend > 0 else 0.0
    return float(grid[best] + shift * (grid[1] - grid[0]))
