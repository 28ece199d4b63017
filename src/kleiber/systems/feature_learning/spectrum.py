"""Exponents of the spectrum of a kernel or of features, and the learning speed they forecast.

Eigenvalues fall as k^-alpha (capacity), the target's power beyond mode k as k^(-alpha beta): a task
is hard for a source beta < 1, easy up to 2 - 1/alpha and super-easy beyond.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Float
from numpy.typing import ArrayLike

from kleiber.arguments import (
    check_array,
    check_level,
    check_memory,
    check_number,
    check_whole,
)
from kleiber.claim import Estimate
from kleiber.errors import BadTable, shown
from kleiber.maths.seeds import stream
from kleiber.systems.feature_learning.spectrum_fit import (
    SpectrumCurve,
    default_window,
    resolved_curve,
    tail_curve,
)
from kleiber.systems.feature_learning.spectrum_forecast import forecast_exponents
from kleiber.systems.feature_learning.spectrum_modes import (
    Modes,
    Samples,
    modes_of,
    read_samples,
)
from kleiber.systems.feature_learning.spectrum_noise import Source, draw_sources, fit_source
from kleiber.systems.feature_learning.spectrum_notes import write_notes

Rule = Literal["resolved", "tails"]
HALVES = 24  # number of random halves of the samples
FORECAST_DRAWS = 4000  # draws of both exponents, from which forecasts get their intervals


@dataclass(frozen=True)
class Spectrum:
    """A spectrum, its exponents and what follows from them.

    `estimates` are capacity, source and tail (their product), the exponents of the loss time_lazy,
    time_rich, compute_lazy and compute_rich, and time_gain and compute_gain, rich over lazy; with
    the source by the rule "resolved" also noise, the variance of the labels' noise with the power
    that no mode carries, and noise_share, it over the target's mean square. A value is NaN where
    the samples cannot tell, an end of an interval 0 or infinite where nothing bounds it.
    `dimension` is that of features with which the spectrum ends. `regime` is hard, easy or
    super_easy where at least the level of the draws (`chances`) agree, else undecided.
    `windows` are the exponents by other windows and the other rule.
    """

    eigenvalues: Float[np.ndarray, "modes"]
    powers: Float[np.ndarray, "modes"]
    rest: float
    n_data: int
    rule: str
    window: tuple[float, float]
    estimates: Mapping[str, Estimate]
    regime: str
    chances: Mapping[str, float]
    windows: pl.DataFrame
    level: float
    notes: tuple[str, ...] = ()
    dimension: float = np.inf


def estimate_spectrum(
    given: ArrayLike,
    targets: ArrayLike,
    *,
    kind: str | None = None,
    rule: Rule | None = None,
    window: Sequence[float] | None = None,
    modes: int | None = None,
    width: float = np.inf,
    dimension: float | None = None,
    noise: float | None = None,
    draws: int = HALVES,
    level: float = 0.95,
    seed: int = 0,
) -> Spectrum:
    """Estimate capacity, source and label noise of a kernel, and forecast how nets learn.

    The kernel's eigenvalues fall as k^-capacity, the target's power beyond mode k as k^(-capacity
    source); the forecast is that of Bordelon et al. 2024 (arXiv:2409.17858). The standard error of
    the capacity joins the spread over halves of the samples and half the difference between the two
    halves of the window; source and noise are those of ``spectrum_noise.py``. With the noise known
    to be 0, or by the rule ``"tails"``, the source is a slope too, and its error that of the
    capacity and the spread over targets of the same power law with Gaussian coefficients.

    Parameters
    ----------
    given, targets
        A Gram matrix with targets of its samples (one column or several), features with a row for
        each sample, or eigenvalues with the target's power along each (see ``kind``).
    kind
        ``"gram"``, ``"features"`` or ``"eigenvalues"``; by default what the shape says.
    rule
        ``"resolved"`` (the default with samples, see ``spectrum_fit.py``) or ``"tails"``.
    window
        Modes from which to which exponents are taken; those of ``default_window``.
    modes
        How many are computed: all up to 4000 samples, the 500 largest beyond.
    width
        Number of random features that make the kernel, if it is not far above that of the samples;
        the exponents are then those of infinitely many.
    dimension
        Number of dimensions of features with which the spectrum ends, infinite for a kernel without
        end; by default the number of features given, or the rank of a Gram matrix.
    noise
        Variance of the label noise where it is known, 0 for none; by default it is fitted.
    draws, level, seed
        Halves of the samples that are drawn; level of the intervals; seed of the draws.

    Returns
    -------
    Spectrum
        Estimates and what they rest on; NaN where the samples cannot tell, and a note says why.

    Raises
    ------
    BadTable
        For arrays that are none of these, and windows with too few modes.

    Examples
    --------
    >>> import kleiber, numpy
    >>> k = numpy.arange(1, 401)
    >>> found = kleiber.reduce.estimate_spectrum(k**-1.5, k**-1.75)
    >>> round(found.estimates["capacity"].value, 2), found.regime
    (1.5, 'hard')
    """
    read = read_samples(given, targets, kind)
    _check_options(width, dimension, noise)
    draws, level = (
        check_whole("draws", draws, 2, error=BadTable),
        check_level(level, error=BadTable),
    )
    check_memory(f"{draws:,} draws", 8 * draws, "ask for fewer draws")
    if modes is not None:
        modes = check_whole("modes", modes, 1, error=BadTable)
    seed = check_whole("seed", seed)
    if isinstance(read, Modes):
        found = read
    else:
        found = modes_of(read, modes, seed, width, dimension)
    chosen: Rule = rule if rule is not None else ("resolved" if found.n_data else "tails")
    if chosen not in ("resolved", "tails") or (chosen == "resolved" and not found.n_data):
        raise BadTable(
            "The rule is 'resolved' (which needs samples, not eigenvalues) or 'tails', got "
            f"{shown(chosen)}."
        )
    ends = _check_window(window, default_window(found, chosen))
    curves = _curves(found, chosen, ends, dimension is None)
    best = np.array(curves[0][1].exponents())
    covariance = _covariance(read, curves, chosen, ends, draws, seed)
    drawn = stream(seed, "spectrum forecast").multivariate_normal(best, covariance, FORECAST_DRAWS)
    fitted = chosen == "resolved" and noise != 0
    source = fit_source(curves, noise, level) if fitted else None
    if source is not None:
        best[1] = source.source.value
        drawn[:, 1] = draw_sources(source, FORECAST_DRAWS, stream(seed, "spectrum source"))
    estimates, chances = forecast_exponents(best, drawn, level)
    if source is not None:
        estimates |= _with_noise(source, found)
    likely = max(chances, key=lambda name: chances[name])
    return Spectrum(
        found.eigenvalues, found.powers, found.rest_power, found.n_data, chosen, ends, estimates,
        likely if chances[likely] >= level else "undecided", chances,
        _windows(found, ends, chosen, noise, level), level,
        write_notes(estimates, chosen, [m for m, _ in curves], source is not None), found.dimension,
    )  # fmt: skip


def _check_options(width: float, dimension: float | None, noise: float | None) -> None:
    check_number("width", width, "a number above 0", above=0, allow_infinite=True, error=BadTable)
    if dimension is not None:
        accepted = "a number of features from 1, or None"
        check_number("dimension", dimension, accepted, low=1, allow_infinite=True, error=BadTable)
    if dimension is not None and np.isfinite(dimension) and np.isfinite(width):
        raise BadTable(
            "Features are random ones of a wider kernel (width) or end with their dimension, not "
            "both."
        )
    if noise is not None:
        accepted = "a variance of label noise, a number from 0, or None"
        check_number("noise", noise, accepted, low=0, error=BadTable)


def _curves(
    found: Modes, rule: str, window: tuple[float, float], assumed: bool
) -> list[tuple[Modes, SpectrumCurve]]:
    """Return the curve, and a second one if the features may be random ones of a wider kernel."""
    curves = [(found, _curve(found, rule, window))]
    if rule == "resolved" and assumed and np.isfinite(found.dimension):
        other = replace(found, width=found.dimension, dimension=np.inf)
        curves.append((other, _curve(other, rule, window)))
    return curves


def _covariance(
    read: Samples | Modes,
    curves: list[tuple[Modes, SpectrumCurve]],
    rule: str,
    window: tuple[float, float],
    draws: int,
    seed: int,
) -> Float[np.ndarray, "2 2"]:
    """Return the covariance of alpha and beta as slopes.

    It is the sum of those over targets, over samples, over the window, and over the two readings of
    the features.
    """
    found, curve = curves[0]
    spread = _over_targets(found, rule, window, draws, seed)
    if isinstance(read, Samples):
        spread = spread + _over_samples(read, found, rule, window, curve, draws, seed)
    low, high = _halves(curve)
    spread = spread + np.diag(((high - low) / 2) ** 2)
    for _, other in curves[1:]:
        difference = np.subtract(other.exponents(), curve.exponents())
        spread = spread + np.outer(difference, difference) / 4
    return spread


def _with_noise(source: Source, modes: Modes) -> dict[str, Estimate]:
    """Return fitted source and noise, and the noise as a share of the target's mean square."""
    whole = float(modes.powers.sum()) + modes.rest_power
    noise = source.noise
    parts = (noise.value, noise.stderr, noise.low, noise.high)
    share = Estimate(*(part / whole for part in parts))
    return {"source": source.source, "noise": noise, "noise_share": share}


def lazy_loss(found: Spectrum, time: ArrayLike) -> pl.DataFrame:
    """Return the mean squared error, over gradient-flow time, of a network with this kernel.

    loss = sum_k c_k exp(-2 lam_k t) + rest, with K/P's eigenvalues lam_k, so that the first mode is
    learned at t = 1/lam_1; it is the training error on these samples, and that of fresh data as
    long as `resolved` is true: until the modes beyond a tenth of the samples begin to be learned.
    """
    t = np.atleast_1d(np.asarray(time, float)).ravel()
    if not (np.isfinite(t) & (t >= 0)).all():
        raise BadTable("Times must be finite numbers from 0.")
    left = np.exp(-2 * np.outer(t, found.eigenvalues)) @ found.powers + found.rest
    last = found.eigenvalues[min(max(found.n_data // 10, 1), found.eigenvalues.size) - 1]
    columns = {"time": t, "loss": left}
    return pl.DataFrame(columns).with_columns(
        pl.Series("resolved", (t * last < 1) | (found.n_data == 0))
    )


def _curve(modes: Modes, rule: str, window: tuple[float, float]) -> SpectrumCurve:
    return (resolved_curve if rule == "resolved" else tail_curve)(modes, window)


def _check_window(
    window: Sequence[float] | None, default: tuple[float, float]
) -> tuple[float, float]:
    if window is None:
        return default
    ends = check_array("window", window, "two rising numbers of modes from 1", error=BadTable)
    if len(ends) != 2 or not 1 <= ends[0] < ends[1] < np.inf:
        raise BadTable(f"A window is two rising numbers of modes from 1, got {shown(window)}.")
    return float(ends[0]), float(ends[1])


def _halves(curve: SpectrumCurve) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """Return alpha and beta in the lower and the upper half of the window."""
    low, high = curve.log_x[0], curve.log_x[-1]
    middle = (low + high) / 2
    parts = (curve.cut(low, middle), curve.cut(middle, high))
    return np.array(parts[0].exponents()), np.array(parts[1].exponents())


def _over_samples(
    read: Samples,
    found: Modes,
    rule: str,
    window: tuple[float, float],
    curve: SpectrumCurve,
    draws: int,
    seed: int,
) -> Float[np.ndarray, "2 2"]:
    """Estimate the covariance of alpha and beta over samples from halves of them."""
    rng, n = stream(seed, "spectrum samples"), len(read.targets)
    ends = float(curve.log_x[0]), float(curve.log_x[-1])
    top = found.eigenvalues.size if found.rest_trace > 0 else None
    drawn = list[tuple[float, float]]()
    for _ in range(draws):
        rows = np.sort(rng.permutation(n)[: n // 2])
        half = modes_of(read.part(rows), top, seed, found.width, found.dimension)
        drawn.append(_same_range(half, rule, window, ends).exponents())
    return np.cov(np.array(drawn).T)


def _over_targets(
    modes: Modes, rule: str, window: tuple[float, float], draws: int, seed: int
) -> Float[np.ndarray, "2 2"]:
    """Estimate the covariance of alpha and beta over other targets of the same spectrum.

    Squares of Gaussian coefficients have a variance of twice their mean square. The given powers
    scatter already, and gamma weights of variance 2/3 reproduce that variance.
    """
    rng = stream(seed, "spectrum targets")
    shape = 1.5 * modes.outputs
    drawn = list[tuple[float, float]]()
    for _ in range(draws):
        weights = rng.standard_gamma(shape, modes.powers.size) / shape
        other = replace(modes, powers=modes.powers * weights)
        drawn.append(_curve(other, rule, window).exponents())
    return np.cov(np.array(drawn).T)


def _same_range(
    half: Modes, rule: str, window: tuple[float, float], ends: tuple[float, float]
) -> SpectrumCurve:
    """Return the curve of half the samples over the whole sample's range of kappa or k."""
    if rule == "tails":
        return _curve(half, rule, (window[0], min(window[1], half.n_data / 5)))
    wide = resolved_curve(half, (window[0] / 3, 0.98 * min(half.n_data, 1.4 * window[1])))
    return wide.cut(max(ends[0], wide.log_x[0]), ends[1])


def _windows(
    modes: Modes, window: tuple[float, float], rule: str, noise: float | None, level: float
) -> pl.DataFrame:
    """Return the exponents by both rules over the window, its halves, and a lower window."""
    low, high = window
    middle = float(np.sqrt(low * high))
    rows = list[tuple[str, float, float, float, float]]()
    for each in ("resolved", "tails") if modes.n_data else ("tails",):
        ends = default_window(modes, each) if each != rule else window
        for part in (ends, (low, middle), (middle, ends[1]), (low / 2, ends[1])):
            try:
                curve = _curve(modes, each, part)
            except BadTable:
                continue
            alpha, beta = curve.exponents()
            if each == "resolved" and noise != 0:
                beta = fit_source([(modes, curve)], noise, level).source.value
            rows.append((each, *part, alpha, beta))
    return pl.DataFrame(rows, schema=["rule", "low", "high", "capacity", "source"], orient="row")
