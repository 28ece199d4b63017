"""Claims on the best use of compute: frontiers of the theory.

Compute is C = N t, the width times the time; the best width and loss follow from curves of the
theory over widths.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.claim import Claim, Context, Estimate, estimate
from kleiber.maths.slopes import window_slope
from kleiber.systems.feature_learning.theory import FeatureLearning

Compute = Callable[[Context], Estimate]
SOLVED = "it is the theory's own curve, solved without anything random"
NOISE = {"batch_size": 1, "step_size": 0.3}


def solved_claim(
    where: str,
    says: str,
    expected: float,
    within: float,
    compute: Compute,
    *,
    source: str,
    **more: str,
) -> Claim:
    return Claim(where, says, expected, within, compute, exact=SOLVED, source=source, **more)  # pyright: ignore[reportArgumentType]


def frontier(context: Context, model: FeatureLearning) -> pl.DataFrame:
    """Return the best width and loss for compute from 1e7 to 1e11 (1e13 above scale quick)."""
    high, points = context.choose(quick=(1e11, 5), laptop=(1e13, 13))
    compute: Float[np.ndarray, "points"] = np.geomspace(1e7, float(high), int(points))
    return context.share(f"frontier {model}", lambda: model.frontier(compute))


def best(
    column: str, capacity: float, source: float, richness: float, *, noisy: bool = False
) -> Compute:
    """Return the exponent of the best loss (as a fall) or width in compute."""

    def exponent(context: Context) -> Estimate:
        noise = NOISE if noisy else {}
        found = frontier(context, FeatureLearning(capacity, source, richness, **noise))  # pyright: ignore[reportArgumentType]
        logs = np.log(found["compute"].to_numpy()), np.log(found[column].to_numpy())
        return estimate(abs(float(window_slope(*logs))))

    return exponent


def gained(column: str) -> Compute:
    """Return the exponent of the best loss or width with feature learning less that without, for
    alpha = 2, beta = 0.5."""

    def difference(context: Context) -> Estimate:
        rich, lazy = (best(column, 2.0, 0.5, gamma)(context).value for gamma in (1.0, 0.0))
        return estimate(rich - lazy)

    return difference


COMPUTE = (
    solved_claim(
        "abstract, compute",
        "On hard tasks feature learning improves the scaling with compute: the exponent of the "
        "best loss is larger by at least 0.05 (alpha = 2, beta = 0.5).",
        0.05,
        0.0,
        gained("loss"),
        side="at_least",
        source="abstract",
    ),
    solved_claim(
        "abstract, compute",
        "The compute-optimal strategy is a different one: the exponent of the best width is larger "
        "by at least 0.05.",
        0.05,
        0.0,
        gained("width"),
        side="at_least",
        source="abstract",
    ),
    solved_claim(
        "compute-optimal, hard and lazy",
        "The best loss at compute C = N t falls as C^(-alpha beta/(alpha + 1)): the exponent is "
        "1/3 for alpha = 2, beta = 0.5.",
        1 / 3,
        0.01,
        best("loss", 2.0, 0.5, 0.0),
        source="second-hand",
    ),
    solved_claim(
        "compute-optimal, hard and lazy",
        "The best width grows as N ~ C^(1/(alpha + 1)): the exponent is 1/3.",
        1 / 3,
        0.01,
        best("width", 2.0, 0.5, 0.0),
        source="ours",
    ),
    solved_claim(
        "compute-optimal, hard and rich",
        "With feature learning the best loss falls as C^(-2 alpha beta/(alpha (1 + beta) + 2)): "
        "the exponent is 0.4.",
        0.4,
        0.012,
        best("loss", 2.0, 0.5, 1.0),
        source="second-hand",
    ),
    solved_claim(
        "compute-optimal, hard and rich",
        "Feature learning moves compute from time to width: the best width grows as N ~ "
        "C^(2/(alpha (1 + beta) + 2)), an exponent of 0.4.",
        0.4,
        0.012,
        best("width", 2.0, 0.5, 1.0),
        source="ours",
    ),
    solved_claim(
        "compute-optimal, easy",
        "Feature learning does not change the best exponent of easy tasks, alpha beta/(alpha "
        "beta + 1): it is 0.722 for alpha = 2, beta = 1.3, richness 1.",
        2.6 / 3.6,
        0.022,
        best("loss", 2.0, 1.3, 1.0),
        source="abstract",
    ),
    solved_claim(
        "compute-optimal, easy",
        "Without feature learning the best exponent of the same easy task is 0.722 as well.",
        2.6 / 3.6,
        0.022,
        best("loss", 2.0, 1.3, 0.0),
        source="second-hand",
    ),
    solved_claim(
        "compute-optimal, hard and lazy",
        "The best loss has the exponent alpha beta/(alpha + 1) = 0.167 for alpha = 2, beta = 0.25.",
        1 / 6,
        0.005,
        best("loss", 2.0, 0.25, 0.0),
        scale="laptop",
        source="second-hand",
    ),
    solved_claim(
        "compute-optimal, hard and rich",
        "The best loss has the exponent 2 alpha beta/(alpha (1 + beta) + 2) = 0.222 for alpha = "
        "2, beta = 0.25.",
        2 / 9,
        0.0067,
        best("loss", 2.0, 0.25, 1.0),
        scale="laptop",
        source="second-hand",
    ),
    solved_claim(
        "compute-optimal, super-easy",
        "With the noise of batches the best loss has the exponent 1 - 1/(2 alpha): 0.667 for "
        "alpha = 1.5, beta = 2.5, eta/B = 0.3.",
        2 / 3,
        0.02,
        best("loss", 1.5, 2.5, 0.0, noisy=True),
        scale="laptop",
        source="second-hand",
    ),
    solved_claim(
        "compute-optimal, super-easy",
        "The best width then grows as N ~ C^(1/2).",
        0.5,
        0.02,
        best("width", 1.5, 2.5, 0.0, noisy=True),
        scale="laptop",
        source="ours",
    ),
    solved_claim(
        "phases",
        "Super-easy tasks begin at beta = 2 - 1/alpha: for beta = 1.7 the best exponent is 1 - "
        "1/(2 alpha) = 0.667.",
        2 / 3,
        0.02,
        best("loss", 1.5, 1.7, 0.0, noisy=True),
        scale="laptop",
        source="second-hand",
    ),
)
