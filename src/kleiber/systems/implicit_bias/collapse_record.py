"""The record of the two laws of learning curves, and sentences on its weaknesses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import special

from kleiber.claim import Estimate
from kleiber.systems.implicit_bias.collapse_curves import Curves
from kleiber.systems.implicit_bias.collapse_fit import fit_line
from kleiber.systems.implicit_bias.collapse_window import Window

NAMES = ("gamma_1", "gamma_2", "gamma_predicted", "gamma_measured")
OVERLAP = 0.1  # relative spread of raw curves early in training that is too much
QUALITY = 0.05  # relative spread of rescaled curves late in training that is too much
CURVED = 0.1  # relative change of error_opt's exponent over all n_data that is too much
SIGNIFICANCE = 0.01  # two-sided, of the test for curvature
FEW_SIZES = 4  # smallest number of n_data for a law

Sizes = Float[np.ndarray, "sizes"]


@dataclass(frozen=True)
class Collapse:
    """The exponents of the two laws and the numbers they are based on.

    ``estimates`` has gamma_1, gamma_2, gamma_predicted = gamma_1 gamma_2, gamma_measured; ``sigma``
    is the error of predicted - measured, sqrt((g1 s2)^2 + (g2 s1)^2 + s^2). For each n_data there
    are ``log_norm_opt`` (to which gamma_2 is fitted), ``log_error_opt``, ``at_end`` (whether the
    smallest error is the last point) and ``log_elbow`` (where the curve is 10% above the early law;
    NaN if nowhere, or if the curve is not in the fit). ``drift`` is d in k1 ~ n_data^-d, which is 0
    if raw curves overlap early; the exponents combine as gamma_1 gamma_2 + d. ``overlap`` and
    ``quality`` are root-mean-square relative spreads over raw early and rescaled late curves.
    ``sensitivity`` has the four exponents for other windows and n_data. ``flags`` are sentences.
    """

    rule: str
    curves: Curves
    window: Window
    estimates: Mapping[str, Estimate]
    sigma: float
    log_norm_opt: Sizes
    log_error_opt: Sizes
    at_end: Bool[np.ndarray, "sizes"]
    early: Bool[np.ndarray, "sizes"]
    late: Bool[np.ndarray, "sizes"]
    measured: Bool[np.ndarray, "sizes"]
    log_elbow: Sizes
    log_k1: float
    log_k2: float
    drift: Estimate
    overlap: float
    quality: float
    decades: float
    sensitivity: Mapping[str, Mapping[str, float]]
    flags: tuple[str, ...]


def find_flags(found: Collapse) -> tuple[str, ...]:
    """Return the warnings about the exponents, one sentence each."""
    return tuple(sentence for check in CHECKS if (sentence := check(found)))


def _sizes(sizes: Float[np.ndarray, "some"]) -> str:
    return ", ".join(f"{size:g}" for size in sizes)


def _warn_ended(found: Collapse) -> str:
    if not (found.at_end & found.late).any():
        return ""
    return (
        "The smallest error is at the end of training for n_data = "
        f"{_sizes(found.curves.n_data[found.at_end & found.late])}: there norm_opt, and with it "
        "gamma_2, shows how long training lasted and not where it should have stopped."
    )


def _warn_short(found: Collapse) -> str:
    if found.decades >= 1:
        return ""
    return f"The early law is fitted over {found.decades:.2g} decades of the norm, less than one."


def _warn_ranges(found: Collapse) -> str:
    if (found.early == found.measured).all() and (found.early == found.late).all():
        return ""
    sets = {"gamma_1": found.early, "gamma_2": found.late, "gamma_measured": found.measured}
    lows = {name: found.curves.n_data[rows] for name, rows in sets.items()}
    parts = [f"{name} {low[0]:g} to {low[-1]:g}" for name, low in lows.items()]
    return f"The exponents are fitted to different n_data: {'; '.join(parts)}."


def _warn_dropped(found: Collapse) -> str:
    sizes = found.curves.n_data
    out = ~found.early & (sizes >= found.window.least_early)
    if not out.any():
        return ""
    where = "enter no exponent" if found.rule == "robust" else "do not enter gamma_1"
    return (
        f"Curves with n_data = {_sizes(sizes[out])} have fewer than 3 points in the window and "
        f"{where}."
    )


def _warn_falling(found: Collapse) -> str:
    if not found.curves.falls:
        return ""
    return (
        f"The norm falls in {found.curves.falls:.0%} of the steps between checkpoints, so it does "
        "not "
        "measure the progress of training; errors at the same norm were averaged."
    )


def _warn_overlap(found: Collapse) -> str:
    if np.isnan(found.overlap):
        return "The curves have no norm in common early in training, so their overlap is unknown."
    if found.overlap <= OVERLAP:
        return ""
    return (
        f"Raw curves differ by {found.overlap:.0%} early in training, where they should overlap, "
        "so gamma_1 gamma_2 is not the exponent of error_opt: k1 falls as n_data^-"
        f"{found.drift.value:.2g}, and the exponent is gamma_1 gamma_2 + {found.drift.value:.2g}."
    )


def _warn_collapse(found: Collapse) -> str:
    if np.isnan(found.quality):
        return "The curves share no range of norm/norm_opt above the window to compare them in."
    if found.quality <= QUALITY:
        return ""
    return (
        f"Rescaled curves differ by {found.quality:.0%} beyond the window, so they do not collapse "
        "and gamma_measured need not be gamma_1 gamma_2."
    )


def _warn_curved(found: Collapse) -> str:
    """Warn if log error_opt is curved along log n_data, by Student's test of a quadratic term."""
    x, y = np.log(found.curves.n_data), found.log_error_opt
    n = len(x)
    if n < FEW_SIZES + 1:
        return ""
    z = 2 * (x - x[0]) / (x[-1] - x[0]) - 1
    design = np.column_stack([np.ones(n), z, z**2])
    weights = np.asarray(np.linalg.pinv(design), float)
    _, slope, curvature = (float(item) for item in weights @ y)
    residuals = y - design @ (weights @ y)
    error = float(np.sqrt(residuals @ residuals / (n - 3) * (weights[2] @ weights[2])))
    threshold = float(special.stdtrit(n - 3, 1 - SIGNIFICANCE / 2)) * error
    if abs(curvature) <= max(threshold, CURVED * abs(slope) / 4):  # slope from -2 to 2 curvatures
        return ""
    half = n // 2
    parts = (slice(None, half + n % 2), slice(half, None))
    low, high = (fit_line(x[part], y[part]).fall.value for part in parts)
    sizes, measured = found.curves.n_data, found.estimates["gamma_measured"].value
    own = sizes[found.measured]
    return (
        f"error_opt is not a power law in n_data: its exponent is {low:.2g} over n_data "
        f"{sizes[0]:g} "
        f"to {sizes[parts[0]][-1]:g} and {high:.2g} over {sizes[half]:g} to {sizes[-1]:g}; "
        f"gamma_measured is {measured:.2g}, over {own[0]:g} to {own[-1]:g}."
    )


def _warn_few(found: Collapse) -> str:
    counts = {name: int(getattr(found, name).sum()) for name in ("early", "late", "measured")}
    fewest = min(counts.values())
    if fewest >= FEW_SIZES:
        return ""
    unknown = ", so gamma_2 has no standard error" if counts["late"] < 3 else ""
    return f"Only {fewest} n_data enter one of the exponents{unknown}."


CHECKS = (
    _warn_ended,
    _warn_short,
    _warn_ranges,
    _warn_dropped,
    _warn_falling,
    _warn_overlap,
    _warn_collapse,
    _warn_curved,
    _warn_few,
)
