"""Claims on the perceptron: the replica theory of figures 1 to 3, which is exact.

All claims except those of ``flow.py`` are deterministic: roots to 1e-11.
"""

from __future__ import annotations

from kleiber.claim import Claim, estimate
from kleiber.systems.implicit_bias.claims.flow import STATEMENTS as FLOW
from kleiber.systems.implicit_bias.claims.perceptron import (
    HEIGHTS,
    ROOTS,
    STARS,
    Compute,
    above_bayes,
    amplitude,
    collapse,
    early_amplitude,
    early_slope,
    elbow,
    error,
    limit,
    optima,
    overlap,
    read_off,
    slope,
    steepest,
    steepest_gap,
)
from kleiber.systems.implicit_bias.perceptron import EARLY_AMPLITUDE


def exact(
    where: str,
    says: str,
    expected: float,
    within: float,
    compute: Compute,
    *,
    source: str,
    side: str = "both",
    why: str = "",
) -> Claim:
    """Make a claim without a standard error, which fails if a reason is given."""
    known = "fails" if why else "holds"
    return Claim(
        where,
        says,
        expected,
        within,
        compute,
        known=known,
        side=side,
        why=why,
        exact=ROOTS,
        source=source,
    )


FIGURES = (
    exact(
        "figure 1",
        "At load 5 and norm 0.01 the plateau is the error of Hebb's rule, 0.163.",
        0.163,
        0.002,
        error(5, 0.01),
        source="paper",
    ),
    exact(
        "figure 1",
        "At load 5 the best norm is near 4.5.",
        4.5,
        0.1,
        lambda c: estimate(optima(c, (5.0,))[0].norm),
        source="paper",
    ),
    exact(
        "figure 1",
        "At load 5 the smallest error is near 0.084.",
        0.084,
        5e-4,
        lambda c: estimate(optima(c, (5.0,))[0].error),
        source="paper",
    ),
    exact(
        "figure 1",
        "At load 5 and large norms the error rises to that of maximal stability, 0.094.",
        0.094,
        5e-4,
        error(5, 1000),
        source="paper",
    ),
    exact(
        "figure 1",
        "The minimum almost touches the Bayes error: over the six loads, the ratio of the two "
        "exceeds 1 by at most 0.001.",
        1e-3,
        0.0,
        above_bayes,
        side="at_most",
        source="second-hand",
    ),
    exact(
        "figure 2, law 1",
        "The relative error falls as norm^(-1/2) for load -> infinity: minus its slope at norm "
        "100 is 1/2.",
        0.5,
        1e-3,
        early_slope,
        source="paper",
    ),
    exact(
        "figure 2, law 1",
        "The amplitude of this law is k1 = 0.5552.",
        EARLY_AMPLITUDE,
        1e-3,
        early_amplitude,
        source="ours",
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
        source="ours",
    ),
    exact(
        "figure 2, law 1, corrected",
        "The steepest slope is 1/2 - 0.75 load^(-2/3): for loads 25 to 1,000 the largest "
        "deviation is 0.",
        0.0,
        0.002,
        steepest_gap,
        source="ours",
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
        source="ours",
    ),
    exact(
        "figure 2, law 1, corrected",
        "The relative errors of different loads coincide, to order norm/load: the same ratio of "
        "relative errors is 1.",
        1.0,
        0.1,
        overlap("relative_error"),
        source="paper",
    ),
    exact(
        "figure 2",
        "The stars of the figure are at norms 3, 5.8, 11, 23, 46 and 92: our largest relative "
        "deviation from them is 0.",
        0.0,
        0.05,
        read_off("norm", STARS),
        source="paper",
    ),
    exact(
        "figure 2",
        "The stars are at relative errors 0.64, 0.46, 0.32, 0.226, 0.158 and 0.111: our largest "
        "relative deviation from them is 0.",
        0.0,
        0.015,
        read_off("relative_error", HEIGHTS),
        source="paper",
    ),
    exact(
        "figure 3, law 2",
        "norm_opt is proportional to the load: its exponent over the six loads is 1.",
        1.0,
        0.02,
        slope("norm"),
        source="paper",
    ),
    exact(
        "figure 3, law 2",
        "The exponent of norm_opt is 1 over loads 25, 50 and 100 as well.",
        1.0,
        2e-3,
        slope("norm", 3),
        source="paper",
    ),
    exact(
        "figure 3, law 2",
        "norm_opt/load tends to 0.8836.",
        0.8836,
        5e-4,
        limit("norm"),
        source="ours",
    ),
    exact(
        "figure 3",
        "The relative error at the optimum falls as load^(-1/2): its slope over the six loads is "
        "-1/2.",
        -0.5,
        0.015,
        slope("relative_error"),
        source="paper",
    ),
    exact(
        "figure 3",
        "The error itself has the exponent 1/2: its slope over loads 25, 50 and 100 is -1/2.",
        -0.5,
        0.05,
        slope("error", 3),
        why="Hebb's error contributes another 1/2: error_opt ~ 0.44198/load.",
        source="ours",
    ),
    exact(
        "figure 3, corrected",
        "The error itself falls as 1/load: its slope over loads 25, 50 and 100 is -1.",
        -1.0,
        0.005,
        slope("error", 3),
        source="ours",
    ),
    exact(
        "figure 3, corrected",
        "error_opt times load tends to 0.44198.",
        0.44198,
        2e-5,
        limit("error"),
        source="ours",
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
        source="ours",
    ),
    exact(
        "figure 3, law 3, corrected",
        "From load 12.5 on, rescaled curves are the master curve to 0.7%.",
        0.0,
        0.007,
        collapse(2, 3, 4, 5),
        source="ours",
    ),
    exact(
        "figure 3, law 3, corrected",
        "From load 25 on, rescaled curves are the master curve to 0.2%.",
        0.0,
        0.002,
        collapse(3, 4, 5),
        source="ours",
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
        source="ours",
    ),
    exact(
        "product of the laws, corrected",
        "The ratio is the factor of the master curve, 1.876.",
        1.876,
        2e-3,
        amplitude,
        source="ours",
    ),
    exact(
        "elbow",
        "The curves leave the early law at a norm that is proportional to the load: they are 10% "
        "above it at 0.12 load.",
        0.12,
        5e-3,
        elbow,
        source="ours",
    ),
)
STATEMENTS: tuple[Claim, ...] = (*FIGURES, *FLOW)
