"""Exponents of a spectrum, two ways, for `reduce.spectrum`.

"tails" reads them off the modes k in a window, as Bordelon, Atanasov and Pehlevan 2024 (arXiv
2402.01092) do: -dlog lam_k/dlog k and -dlog sum_{l>k} c_l/dlog k, where l ends with the samples;
half of c_k is counted too, so that the sum is a power of k from the first modes on.

"resolved" allows for the number of samples P, through what a ridge z makes of their modes:

    df = sum_k lam_k/(lam_k + z),   z = kappa (1 - df/N) (1 - df/P),
    G = (1 - df/N) sum_k c_k/(lam_k + z).

By the deterministic equivalent of ridge regression, as P grows these are sums over the modes of the
population, df = sum_k lam_k/(lam_k + kappa) and G = sum_k c_k/(lam_k + kappa), functions of kappa.
For a power law

    df + 1/2 ~ kappa^(-1/alpha),   left = (kappa^3/2) d^2 G/dkappa^2
                                        = sum_k c_k kappa^3/(lam_k + kappa)^3 ~ kappa^min(beta, 3)

(the half is what a sum from 1 lacks of its integral). N is the number of random features that the
kernel is made of, if that is small (`width`), else infinite. The window is one of df. The modes at
the end of an empirical spectrum are no modes of the population; here they only set kappa.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq

from kleiber.errors import BadTable
from kleiber.maths.slopes import window_slope
from kleiber.reduce.spectrum_modes import Modes

Points = Float[np.ndarray, "points"]
POINTS = 60  # evenly spaced in the logarithm, to which slopes are fitted
FEWEST = 8  # modes in a window
GRID, SMALLEST = 800, 1e-12  # ridges, from the largest eigenvalue down to this part of it


@dataclass(frozen=True)
class Curve:
    """Two curves whose slopes against log x are -1/alpha and beta, or -alpha and -alpha beta."""

    log_x: Points
    log_size: Points
    log_power: Points
    resolved: bool

    def cut(self, low: float, high: float) -> Curve:
        """The part between two values of log x."""
        x = np.linspace(low, high, POINTS)
        size = np.interp(x, self.log_x, self.log_size)
        return Curve(x, size, np.interp(x, self.log_x, self.log_power), self.resolved)

    def exponents(self) -> tuple[float, float]:
        """alpha and beta."""
        size = float(window_slope(self.log_x, self.log_size))
        power = float(window_slope(self.log_x, self.log_power))
        return (-1 / size, power) if self.resolved else (-size, power / size)


def default_window(modes: Modes, rule: str) -> tuple[float, float]:
    """From 10 modes to a tenth of them ("tails"), or ("resolved") to a third of the samples and of
    the width, the modes computed, or a fifth of the rank where the features end before."""
    if rule == "tails":
        return 10.0, (modes.n_data or modes.eigenvalues.size) / 10
    computed = modes.eigenvalues.size if modes.rest_trace > 0 else np.inf
    ends = modes.rank < 0.9 * min(modes.n_data, modes.width)
    short = modes.rank / 5 if ends else np.inf
    return 10.0, float(min(modes.n_data / 3, modes.width / 3, computed, short))


def resolved_curve(modes: Modes, window: tuple[float, float]) -> Curve:
    """log (df + 1/2) and log left against log kappa, where df is in the window."""
    many: Points = np.append(np.ones(modes.eigenvalues.size), modes.rest_count)
    lam: Points = np.append(modes.eigenvalues, modes.rest_trace / max(modes.rest_count, 1))
    power: Points = np.append(modes.powers, modes.rest_power)
    z: Points = float(lam[0]) * np.geomspace(1.0, SMALLEST, GRID)[::-1]
    share = 1 / (lam + z[:, None])
    df = (share * lam) @ many
    few = df < 0.999 * min(modes.n_data, modes.width)
    z, share, df = z[few], share[few], df[few]
    short = 1 - df / modes.width
    kappa = z / (short * (1 - df / modes.n_data))
    rises = kappa < np.append(np.minimum.accumulate(kappa[::-1])[::-1][1:], np.inf)
    df, kappa = df[rises], kappa[rises]
    if kappa.size < 2 * FEWEST:
        raise BadTable(_too_short(modes, window))
    along = CubicSpline(np.log(kappa), (share @ power * short)[rises])
    left = kappa / 2 * (along(np.log(kappa), 2) - along(np.log(kappa), 1))
    inside = (df > 0.5) & (df < window[1] + 1) & (left > 0)
    x, size = np.log(kappa[inside]), np.log(df[inside])
    ends = np.interp(np.log(window)[::-1], size[::-1], x[::-1])
    if not (inside.sum() > FEWEST and window[1] >= 2 * window[0] and df.max() >= window[1]):
        raise BadTable(_too_short(modes, window))
    whole = Curve(x, np.log(df[inside] + 0.5), np.log(left[inside]), True)
    return whole.cut(float(ends[0]), float(ends[1]))


def tail_curve(modes: Modes, window: tuple[float, float]) -> Curve:
    """log lam_k and the log of the power beyond k against log k, in the window."""
    k = np.arange(1.0, modes.eigenvalues.size + 1)
    beyond = modes.rest_power + _beyond(modes.powers) + modes.powers / 2
    if modes.n_data == 0:
        beyond = beyond + _unseen(k, beyond, window)
    inside = (k >= window[0]) & (k <= window[1]) & (modes.eigenvalues > 0) & (beyond > 0)
    if inside.sum() < FEWEST:
        raise BadTable(_too_short(modes, window))
    x = np.log(k[inside])
    whole = Curve(x, np.log(modes.eigenvalues[inside]), np.log(beyond[inside]), False)
    return whole.cut(float(x[0]), float(x[-1]))


def _beyond(powers: Points) -> Points:
    """The sum over the modes after each."""
    return np.append(np.cumsum(powers[:0:-1])[::-1], 0.0)


def _unseen(k: Points, beyond: Points, window: tuple[float, float]) -> float:
    """The power beyond the last mode given, where modes end but the target does not: the amount
    with which the power beyond k is a power of k at the window's ends and middle."""
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
        f"The window from {window[0]:g} to {window[1]:g} holds too little of the spectrum of "
        f"{what} (rank {modes.rank}) for an exponent; give more samples or modes, or "
        "window=(low, high) with high at least twice low."
    )
