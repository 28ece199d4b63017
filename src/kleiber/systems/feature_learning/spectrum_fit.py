"""Exponents of a spectrum by the rules "tails" and "resolved".

"tails" reads them off the modes k in a window, as Bordelon, Atanasov and Pehlevan 2024 (arXiv
2402.01092) do: -dlog lam_k/dlog k and -dlog sum_{l>k} c_l/dlog k, where l ends with the samples;
half of c_k is counted too, so that the sum is a power of k from the first modes on.

"resolved" accounts for the number of samples P, through the response of their modes to a ridge z:

    df = sum_k lam_k/(lam_k + z),   z = kappa (1 - df/N) (1 - df/P),
    G = (1 - df/N) sum_k c_k/(lam_k + z).

By the deterministic equivalent of ridge regression, as P grows these are sums over the modes of the
population, df = sum_k lam_k/(lam_k + kappa) and G = sum_k c_k/(lam_k + kappa), functions of kappa.
For a power law

    df + 1/2 ~ kappa^(-1/alpha),   left = (kappa^3/2) d^2 G/dkappa^2
                                        = sum_k c_k kappa^3/(lam_k + kappa)^3 ~ kappa^min(beta, 3)

(the half is what a sum from 1 lacks of its integral). N is the number of random features that the
kernel is made of, if that is small (`width`), else infinite. The window is one of df. The modes at
the end of an empirical spectrum are not modes of the population; here they only determine kappa.

Features of D dimensions end the spectrum of the population at D (`dimension`), where a power law
continues. Then df + 1/2 lacks the share I(1 - 1/alpha, 1/alpha), and `left` the share
I(beta, 3 - beta), with I the regularised incomplete beta function at lam_D/(lam_D + kappa); both
are corrected with the exponents found, until these no longer change. Label noise:
``spectrum_noise.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq
from scipy.special import betainc

from kleiber.errors import BadTable
from kleiber.maths.slopes import window_slope
from kleiber.systems.feature_learning.spectrum_modes import Modes

Points = Float[np.ndarray, "points"]
POINTS = 60  # evenly spaced in the logarithm, to which slopes are fitted
MIN_MODES = 8  # modes in a window
GRID, SMALLEST = 800, 1e-12  # ridges, from the largest eigenvalue down to this part of it
ROUNDS, SETTLED = 60, 1e-7  # iterations of the correction for the dimension; last change


@dataclass(frozen=True)
class Ridges:
    """log kappa of rising ridges with df, 1/(lam_i + z) of every mode, and 1 - df/N.

    The last mode represents those that were not computed.
    """

    log_kappa: Float[np.ndarray, "ridges"]
    df: Float[np.ndarray, "ridges"]
    shares: Float[np.ndarray, "ridges modes"]
    short: Float[np.ndarray, "ridges"]


@dataclass(frozen=True)
class SpectrumCurve:
    """Two curves whose slopes against log x are -1/alpha and beta, or -alpha and -alpha beta;
    `log_end` is that of the last eigenvalue that the features have."""

    log_x: Points
    log_size: Points
    log_power: Points
    resolved: bool
    log_end: float = -np.inf

    def cut(self, low: float, high: float) -> SpectrumCurve:
        """Return the part between two values of log x."""
        x = np.linspace(low, high, POINTS)
        size = np.interp(x, self.log_x, self.log_size)
        power = np.interp(x, self.log_x, self.log_power)
        return SpectrumCurve(x, size, power, self.resolved, self.log_end)

    def exponents(self) -> tuple[float, float]:
        """Fit alpha and beta as slopes."""
        size = float(window_slope(self.log_x, self.log_size))
        power = float(window_slope(self.log_x, self.log_power))
        return (-1 / size, power) if self.resolved else (-size, power / size)


def default_window(modes: Modes, rule: str) -> tuple[float, float]:
    """Return the default window of modes.

    It is from 10 to a tenth of the modes ("tails"), or ("resolved") to the smallest of a third of
    the samples, width and dimension, the modes computed, and a fifth of the rank if the features
    end although an infinite kernel was asked for.
    """
    if rule == "tails":
        return 10.0, (modes.n_data or modes.eigenvalues.size) / 10
    computed = modes.eigenvalues.size if modes.rest_trace > 0 else np.inf
    ends = modes.rank < 0.9 * min(modes.n_data, modes.width, modes.dimension)
    short = modes.rank / 5 if ends else np.inf
    return 10.0, float(min(min(modes.n_data, modes.width, modes.dimension) / 3, computed, short))


def raise_ridges(modes: Modes) -> Ridges:
    """Evaluate the modes at ridges for which kappa rises. Raises BadTable for too few modes."""
    counts: Points = np.append(np.ones(modes.eigenvalues.size), modes.rest_count)
    lam: Points = np.append(modes.eigenvalues, modes.rest_trace / max(modes.rest_count, 1))
    z: Points = float(lam[0]) * np.geomspace(1.0, SMALLEST, GRID)[::-1]
    share = 1 / (lam + z[:, None])
    df = (share * lam) @ counts
    below_rank = df < 0.999 * min(modes.n_data, modes.width)
    z, share, df = z[below_rank], share[below_rank], df[below_rank]
    short = 1 - df / modes.width
    kappa = z / (short * (1 - df / modes.n_data))
    rises = kappa < np.append(np.minimum.accumulate(kappa[::-1])[::-1][1:], np.inf)
    if rises.sum() < 2 * MIN_MODES:
        raise BadTable(_too_short(modes, default_window(modes, "resolved")))
    return Ridges(np.log(kappa[rises]), df[rises], share[rises], short[rises])


def resolved_curve(modes: Modes, window: tuple[float, float]) -> SpectrumCurve:
    """Return log (df + 1/2) and log left against log kappa, for df in the window."""
    ridges = raise_ridges(modes)
    df, log_kappa = ridges.df, ridges.log_kappa
    powers = np.append(modes.powers, modes.rest_power)
    along = CubicSpline(log_kappa, ridges.shares @ powers * ridges.short)
    left = np.exp(log_kappa) / 2 * (along(log_kappa, 2) - along(log_kappa, 1))
    inside = (df > 0.5) & (df < window[1] + 1) & (left > 0)
    x, size = log_kappa[inside], np.log(df[inside])
    if not (inside.sum() > MIN_MODES and window[1] >= 2 * window[0] and df.max() >= window[1]):
        raise BadTable(_too_short(modes, window))
    ends = np.interp(np.log(window)[::-1], size[::-1], x[::-1])
    whole = SpectrumCurve(x, np.log(df[inside] + 0.5), np.log(left[inside]), True)
    return _without_end(whole.cut(float(ends[0]), float(ends[1])), modes.dimension)


def _without_end(curve: SpectrumCurve, dimension: float) -> SpectrumCurve:
    """Correct a resolved curve for the modes beyond the features' dimension.

    It is unchanged for a capacity up to 1, whose power law cannot continue.
    """
    found = curve
    if not np.isfinite(dimension):
        return found
    for _ in range(ROUNDS):
        alpha, beta = found.exponents()
        if alpha <= 1:
            return curve
        # df + 1/2 = (a/kappa)^(1/alpha) (pi/alpha)/sin(pi/alpha) for lam_k = a k^-alpha
        one = np.log(np.pi / alpha / np.sin(np.pi / alpha))
        log_a = float((alpha * (found.log_size - one) + found.log_x).mean())
        log_end = log_a - alpha * np.log(dimension + 0.5)
        end = np.exp(log_end - curve.log_x)
        near, part = min(max(beta, 0.01), 2.99), end / (1 + end)
        modes = cast("Points", betainc(1 - 1 / alpha, 1 / alpha, part))
        power = cast("Points", betainc(near, 3 - near, part))
        new = SpectrumCurve(
            curve.log_x,
            curve.log_size - np.log1p(-modes),
            curve.log_power - np.log1p(-power),
            True,
            float(log_end),
        )
        if np.abs(np.subtract(new.exponents(), (alpha, beta))).max() < SETTLED:
            return new
        found = new
    return found


def tail_curve(modes: Modes, window: tuple[float, float]) -> SpectrumCurve:
    """Return log lam_k and the log of the power beyond k against log k, in the window."""
    k = np.arange(1.0, modes.eigenvalues.size + 1)
    beyond = modes.rest_power + _tail_sums(modes.powers) + modes.powers / 2
    if modes.n_data == 0:
        beyond = beyond + _power_beyond(k, beyond, window)
    inside = (k >= window[0]) & (k <= window[1]) & (modes.eigenvalues > 0) & (beyond > 0)
    if inside.sum() < MIN_MODES:
        raise BadTable(_too_short(modes, window))
    x = np.log(k[inside])
    whole = SpectrumCurve(x, np.log(modes.eigenvalues[inside]), np.log(beyond[inside]), False)
    return whole.cut(float(x[0]), float(x[-1]))


def _tail_sums(powers: Points) -> Points:
    """Return the sum over the modes after each."""
    return np.append(np.cumsum(powers[:0:-1])[::-1], 0.0)


def _power_beyond(k: Points, beyond: Points, window: tuple[float, float]) -> float:
    """Estimate the target's power beyond the last given mode.

    It is the amount with which the power beyond k is a power of k at the window's ends and middle.
    """
    marks = np.sqrt([window[0] ** 2, window[0] * window[1], window[1] ** 2])
    a, b, c = (float(value) for value in np.interp(marks, k, beyond))
    if not (a > b > c > 0):
        return 0.0

    def curved(extra: float) -> float:
        return float(np.log(a + extra) + np.log(c + extra) - 2 * np.log(b + extra))

    if curved(0.0) >= 0 or curved(100 * a) <= 0:
        return 0.0
    return float(brentq(curved, 0.0, 100 * a))


def _too_short(modes: Modes, window: tuple[float, float]) -> str:
    what = f"{modes.n_data} samples" if modes.n_data else f"{modes.eigenvalues.size} modes"
    return (
        f"The window from {window[0]:g} to {window[1]:g} has too little of the spectrum of "
        f"{what} (rank {modes.rank}) for an exponent; give more samples or modes, or "
        "window=(low, high) with high at least twice low."
    )
