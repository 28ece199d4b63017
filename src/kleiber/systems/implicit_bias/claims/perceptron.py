"""Measures for the claims on the perceptron: the replica theory, which is exact.

Errors relative to Hebb's at the same load are called relative; loads are examples per dimension.
All are deterministic: roots to 1e-11.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from kleiber.claim import Context, Estimate, estimate
from kleiber.maths.slopes import window_slope
from kleiber.systems.implicit_bias.perceptron import (
    EARLY_AMPLITUDE,
    Optimum,
    Perceptron,
    early_curve,
    master_curve,
    master_optimum,
)

LOADS = (3.1, 6.25, 12.5, 25.0, 50.0, 100.0)  # of figures 2 and 3
STARS = (3.0, 5.8, 11.0, 23.0, 46.0, 92.0)  # norm_opt and relative error read off figure 2
HEIGHTS = (0.64, 0.46, 0.32, 0.226, 0.158, 0.111)
ROOTS = "it solves the saddle-point equations to 1e-11, without anything random"
Compute = Callable[[Context], Estimate]


def error(load: float, norm: float) -> Compute:
    """Return the generalisation error at a fixed norm."""
    return lambda _: estimate(Perceptron(load).error(norm)[0])


def optima(context: Context, loads: tuple[float, ...] = LOADS) -> list[Optimum]:
    """Return the optima at some loads."""

    def solve() -> list[Optimum]:
        return [Perceptron(load).optimum() for load in loads]

    return context.share(f"perceptron optima {loads}", solve)


def above_bayes(context: Context) -> Estimate:
    """Return the largest error_opt/Bayes error - 1 of the six loads."""
    pairs = zip(optima(context), LOADS, strict=True)
    return estimate(max(o.error / Perceptron(load).references().bayes - 1 for o, load in pairs))


def early_slope(_: Context) -> Estimate:
    """Return -dlog(relative error)/dlog norm of the early law from norm 100 to 101."""
    pair = early_curve([100.0, 101.0])
    return estimate(-np.log(pair[1] / pair[0]) / np.log(1.01))


def early_amplitude(_: Context) -> Estimate:
    """Return the relative error times sqrt(norm) at norm 100, load 1e8."""
    return estimate(10 * relative(1e8, np.array([100.0]))[0])


def relative(load: float, norm: Float[np.ndarray, "norms"]) -> Float[np.ndarray, "norms"]:
    """Return the error over that of Hebb's rule."""
    return Perceptron(load).solve({"norm": norm})["relative_error"].to_numpy()


def steepest(load: float) -> float:
    """Return the largest local exponent before the optimum."""
    norms = np.geomspace(0.2, 40, 160)
    return float(np.max(Perceptron(load).solve({"norm": norms})["local_exponent"].to_numpy()))


def steepest_gap(_: Context) -> Estimate:
    """Return the largest distance of the steepest slope from 1/2 - 0.75 load^(-2/3), 25 to
    1,000."""
    loads = (25.0, 50.0, 100.0, 300.0, 1000.0)
    return estimate(max(abs(steepest(a) - 0.5 + 0.75 * a ** (-2 / 3)) for a in loads))


def overlap(name: str) -> Compute:
    """Return the (relative) error at load 100 over that at load 12.5, both at norm 1."""

    def ratio(_: Context) -> Estimate:
        high, low = (Perceptron(a).solve({"norm": 1.0})[name][0] for a in (100.0, 12.5))
        return estimate(high / low)

    return ratio


def slope(what: str, first: int = 0) -> Compute:
    """Return the slope of the log of a field of the optimum against log load, from `first` on."""

    def fit(context: Context) -> Estimate:
        values = np.array([getattr(o, what) for o in optima(context)][first:])
        return estimate(float(window_slope(np.log(np.array(LOADS[first:])), np.log(values))))

    return fit


def read_off(what: str, from_figure: tuple[float, ...]) -> Compute:
    """Return the largest relative distance between values read from the figure and ours."""

    def distance(context: Context) -> Estimate:
        ours = np.array([getattr(o, what) for o in optima(context)])
        return estimate(np.abs(np.array(from_figure) / ours - 1).max())

    return distance


def collapse(*which: int) -> Compute:
    """Return the largest relative distance of rescaled curves from the master curve, x = 0.3 to
    5."""

    def distance(context: Context) -> Estimate:
        x, best = np.geomspace(0.3, 5, 60), master_optimum()
        phi = master_curve(x * best.ell) / best.d
        worst = 0.0
        for k in which:
            there = optima(context)[k]
            curve = Perceptron(LOADS[k]).error(x * there.norm) / there.error
            worst = max(worst, float(np.abs(curve / phi - 1).max()))
        return estimate(worst)

    return distance


def amplitude(context: Context) -> Estimate:
    """Return the relative error at the optimum over k1 (k2 load)^(-1/2), load 1e6."""
    there = optima(context, (1e6,))[0]
    return estimate(there.relative_error / (EARLY_AMPLITUDE * there.norm**-0.5))


def limit(what: str) -> Compute:
    """Return norm_opt/load or error_opt * load at load 1e6."""

    def value(context: Context) -> Estimate:
        there = optima(context, (1e6,))[0]
        return estimate(there.norm / 1e6 if what == "norm" else there.error * 1e6)

    return value


def elbow(_: Context) -> Estimate:
    """Return norm/load at which the relative error is 10% above its early law, load -> infinity."""
    ells = np.geomspace(0.03, 0.5, 200)
    excess = master_curve(ells) * np.sqrt(ells) / (np.sqrt(np.pi / 2) * EARLY_AMPLITUDE)
    return estimate(np.interp(1.1, excess, ells))
