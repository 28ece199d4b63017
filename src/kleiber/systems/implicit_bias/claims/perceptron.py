"""Claims on the perceptron: the replica theory of figures 1 to 3, which is exact.

Errors relative to Hebb's at the same load are called relative; loads are examples per dimension.
All claims except those of ``flow.py`` are deterministic: roots to 1e-11.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from kleiber.claim import Claim, Context, Estimate, estimate
from kleiber.maths.slopes import window_slope
from kleiber.systems.implicit_bias.claims.flow import STATEMENTS as FLOW
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


def exact(
    where: str,
    says: str,
    expected: float,
    within: float,
    compute: Compute,
    *,
    side: str = "both",
    why: str = "",
) -> Claim:
    """Make a claim without a standard error, which fails if a reason is given."""
    known = "fails" if why else "holds"
    return Claim(
        where, says, expected, within, compute, known=known, side=side, why=why, exact=ROOTS
    )


FIGURES = (
    exact(
        "figure 1",
        "At load 5 and norm 0.01 the plateau is the error of Hebb's rule, 0.163.",
        0.163,
        0.002,
        error(5, 0.01),
    ),
    exact(
        "figure 1",
        "At load 5 the best norm is near 4.5.",
        4.5,
        0.1,
        lambda c: estimate(optima(c, (5.0,))[0].norm),
    ),
    exact(
        "figure 1",
        "At load 5 the smallest error is near 0.084.",
        0.084,
        5e-4,
        lambda c: estimate(optima(c, (5.0,))[0].error),
    ),
    exact(
        "figure 1",
        "At load 5 and large norms the error rises to that of maximal stability, 0.094.",
        0.094,
        5e-4,
        error(5, 1000),
    ),
    exact(
        "figure 1",
        "The minimum almost touches the Bayes error: over the six loads, the ratio of the two "
        "exceeds 1 by at most 0.001.",
        1e-3,
        0.0,
        above_bayes,
        side="at_most",
    ),
    exact(
        "figure 2, law 1",
        "The relative error falls as norm^(-1/2) for load -> infinity: minus its slope at norm "
        "100 is 1/2.",
        0.5,
        1e-3,
        early_slope,
    ),
    exact(
        "figure 2, law 1",
        "The amplitude of this law is k1 = 0.5552.",
        EARLY_AMPLITUDE,
        1e-3,
        early_amplitude,
    ),
    exact(
        "figure 2, law 1",
        "The curves shown reach the dashed slope 1/2: the steepest slope at load 100, the "
        "largest, is 1/2.",
        0.5,
        0.02,
        lambda _: estimate(steepest(100.0)),
        why="The slope is 1/2 - 0.102/norm^2 - 0.80 norm/load, at most 1/2 - 0.75 load^(-2/3): "
        "0.465 at load 100 and 0.28 at 6.25. It exceeds 0.49 from load 650 on.",
    ),
    exact(
        "figure 2, law 1, corrected",
        "The steepest slope is 1/2 - 0.75 load^(-2/3): for loads 25 to 1,000 the largest "
        "deviation is 0.",
        0.0,
        0.002,
        steepest_gap,
    ),
    exact(
        "figure 2, law 1",
        "Curves of different loads coincide early, as those of deep networks do: the ratio of "
        "the error at load 100 to that at load 12.5 is 1 at norm 1.",
        1.0,
        0.1,
        overlap("error"),
        why="The perceptron's early error is that of Hebb's rule times a function of the norm, "
        "and Hebb's error falls as load^(-1/2); only the relative errors coincide.",
    ),
    exact(
        "figure 2, law 1, corrected",
        "The relative errors of different loads coincide, to order norm/load: the same ratio of "
        "relative errors is 1.",
        1.0,
        0.1,
        overlap("relative_error"),
    ),
    exact(
        "figure 2",
        "The stars of the figure are at norms 3, 5.8, 11, 23, 46 and 92: our largest relative "
        "deviation from them is 0.",
        0.0,
        0.05,
        read_off("norm", STARS),
    ),
    exact(
        "figure 2",
        "The stars are at relative errors 0.64, 0.46, 0.32, 0.226, 0.158 and 0.111: our largest "
        "relative deviation from them is 0.",
        0.0,
        0.015,
        read_off("relative_error", HEIGHTS),
    ),
    exact(
        "figure 3, law 2",
        "norm_opt is proportional to the load: its exponent over the six loads is 1.",
        1.0,
        0.02,
        slope("norm"),
    ),
    exact(
        "figure 3, law 2",
        "The exponent of norm_opt is 1 over loads 25, 50 and 100 as well.",
        1.0,
        2e-3,
        slope("norm", 3),
    ),
    exact("figure 3, law 2", "norm_opt/load tends to 0.8836.", 0.8836, 5e-4, limit("norm")),
    exact(
        "figure 3",
        "The relative error at the optimum falls as load^(-1/2): its slope over the six loads is "
        "-1/2.",
        -0.5,
        0.015,
        slope("relative_error"),
    ),
    exact(
        "figure 3",
        "The error itself has the exponent 1/2: its slope over loads 25, 50 and 100 is -1/2.",
        -0.5,
        0.05,
        slope("error", 3),
        why="Hebb's error contributes another 1/2: error_opt ~ 0.44198/load.",
    ),
    exact(
        "figure 3, corrected",
        "The error itself falls as 1/load: its slope over loads 25, 50 and 100 is -1.",
        -1.0,
        0.005,
        slope("error", 3),
    ),
    exact(
        "figure 3, corrected",
        "error_opt times load tends to 0.44198.",
        0.44198,
        2e-5,
        limit("error"),
    ),
    exact(
        "figure 3, law 3",
        "Rescaled by its optimum, every curve shown is the master curve: the largest relative "
        "deviation at norms from 0.3 to 5 times the best is 0.",
        0.0,
        0.01,
        collapse(0, 1, 2, 3, 4, 5),
        why="The curves collapse at large loads only: the deviation is 5.9% at load 3.1, 2.1% at "
        "6.25 and 0.6% at 12.5, falling as load^-2.",
    ),
    exact(
        "figure 3, law 3, corrected",
        "From load 12.5 on, rescaled curves are the master curve to 0.7%.",
        0.0,
        0.007,
        collapse(2, 3, 4, 5),
    ),
    exact(
        "figure 3, law 3, corrected",
        "From load 25 on, rescaled curves are the master curve to 0.2%.",
        0.0,
        0.002,
        collapse(3, 4, 5),
    ),
    exact(
        "product of the laws",
        "The two laws also give the amplitude: the ratio of the relative error at the optimum to "
        "k1 (k2 load)^(-1/2) is 1.",
        1.0,
        0.1,
        amplitude,
        why="At its optimum the curve is above the early law by the factor 1.876 of the master "
        "curve: exponents combine, but amplitudes need the whole curve.",
    ),
    exact(
        "product of the laws, corrected",
        "The ratio is the factor of the master curve, 1.876.",
        1.876,
        2e-3,
        amplitude,
    ),
    exact(
        "elbow",
        "The curves leave the early law at a norm that is proportional to the load: they are 10% "
        "above it at 0.12 load.",
        0.12,
        5e-3,
        elbow,
    ),
)
STATEMENTS: tuple[Claim, ...] = (*FIGURES, *FLOW)
