"""Claims on what finite width and finite data leave: floors and the terms before them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from kleiber.claim import Claim, Context, Estimate, estimate
from kleiber.maths.slopes import window_slope
from kleiber.systems.feature_learning.claims.compute import Compute, solved_claim
from kleiber.systems.feature_learning.claims.slopes import ALPHA, falls
from kleiber.systems.feature_learning.theory import FeatureLearning


def _floors(
    source: float, size: str, column: str
) -> tuple[Float[np.ndarray, "sizes"], list[float]]:
    sizes: Float[np.ndarray, "sizes"] = np.geomspace(1e3, 1e6, 7).round()
    models = [FeatureLearning(ALPHA, source, 1.0, **{size: float(n)}) for n in sizes]  # pyright: ignore[reportArgumentType]
    return sizes, [float(model.solve({"time": [0.0]})[column][0]) for model in models]


def floor_exponent(source: float, size: str) -> Compute:
    """Return the exponent of the floor in a size, from 1e3 to 1e6, alpha = 1.5."""

    def exponent(_: Context) -> Estimate:
        column = "model_floor" if size == "width" else "data_floor"
        sizes, floors = _floors(source, size, column)
        return estimate(-float(window_slope(np.log(sizes), np.log(np.array(floors)))))

    return exponent


def bias_exponent(_: Context) -> Estimate:
    """Return the exponent in N of the mean predictor's loss over draws of A(0), source 1.5."""
    k = np.unique(np.round(np.geomspace(1, 3e7, 4000)))
    weight = np.gradient(k)
    lam, power = k**-ALPHA, k ** (-ALPHA * 1.5 - 1) * weight
    sizes: Float[np.ndarray, "sizes"] = np.geomspace(1e3, 1e5, 5).round()
    bias: list[float] = []
    for n in sizes:
        made = FeatureLearning(ALPHA, 1.5, width=float(n))
        share = made.learned([1e12], [1.0])[0, 0]
        kappa = 1 / share - 1
        bias.append(float((power * (kappa / (kappa + lam)) ** 2).sum()))
    return estimate(-float(window_slope(np.log(sizes), np.log(np.array(bias)))))


def width_power(_: Context) -> Estimate:
    """Return the exponent in N of what width adds at time 1e3 (alpha 2, beta 2.5)."""
    sizes: Float[np.ndarray, "sizes"] = np.geomspace(1e5, 1e7, 5).round()
    added = [
        float(FeatureLearning(2.0, 2.5, width=float(n)).solve({"time": [1e3]})["width_part"][0])
        for n in sizes
    ]
    return estimate(-float(window_slope(np.log(sizes), np.log(np.array(added)))))


STATEMENTS: tuple[Claim, ...] = (
    solved_claim(
        "bottleneck of width",
        "The loss saturates at N^(-alpha min(2, beta)): the exponent is 0.75 for alpha = 1.5, "
        "beta = 0.5.",
        0.75,
        0.02,
        floor_exponent(0.5, "width"),
        source="second-hand",
    ),
    solved_claim(
        "bottleneck of width",
        "The loss saturates at N^(-alpha min(2, beta)): the exponent is 2.25 for beta = 1.5.",
        2.25,
        0.02,
        floor_exponent(1.5, "width"),
        known="fails",
        why="That is the loss of the mean predictor over draws of A(0); a single draw adds a "
        "variance of order N^-alpha. The law as quoted agrees if its third term, (1/N) t^-(1 - "
        "1/alpha), stops falling at t ~ N^alpha, where it is N^-alpha.",
        source="second-hand",
    ),
    solved_claim(
        "bottleneck of width, corrected",
        "The loss saturates at N^(-alpha min(1, beta)): the exponent is 1.5 for beta = 1.5.",
        1.5,
        0.02,
        floor_exponent(1.5, "width"),
        source="ours",
    ),
    solved_claim(
        "bottleneck of width, corrected",
        "The predictor that is averaged over draws of A(0) saturates at N^(-alpha min(2, beta)): "
        "the exponent is 2.25 for beta = 1.5.",
        2.25,
        0.03,
        bias_exponent,
        source="ours",
    ),
    *(
        solved_claim(
            "bottleneck of data",
            "The loss saturates at D^(-alpha min(2, beta)): the exponent is "
            f"{1.5 * min(2, beta):g} for beta = {beta}.",
            1.5 * min(2, beta),
            0.02,
            floor_exponent(beta, "n_data"),
            source="second-hand",
        )
        for beta in (0.5, 1.5, 2.5)
    ),
    solved_claim(
        "transient of width",
        "Before its floor, finite width adds (1/N) t^-(1 - 1/alpha): the exponent in t is 0.5 "
        "for alpha = 2, beta = 2.5.",
        0.5,
        0.02,
        falls(2.5, 0.0, capacity=2.0, width=1e8, window=(1e4, 1e7), column="width_part"),
        source="second-hand",
    ),
    solved_claim(
        "transient of width",
        "The exponent of this term in N is 1.",
        1.0,
        0.02,
        width_power,
        source="second-hand",
    ),
    solved_claim(
        "transient of width",
        "For hard tasks finite width adds the same (1/N) t^-(1 - 1/alpha): the exponent in t is "
        "1/3 for alpha = 1.5, beta = 0.5, lazy.",
        1 / 3,
        0.03,
        falls(0.5, 0.0, width=1e8, window=(1e4, 1e7), column="width_part"),
        known="fails",
        why="The norm of the part of the target that has been learned grows as t^(1 - beta), and "
        "(1/N) t^(-(beta - 1/alpha)) grows with t until it meets the floor.",
        source="second-hand",
    ),
    solved_claim(
        "transient of width, corrected",
        "For hard tasks finite width adds (1/N) t^(-(beta - 1/alpha)): the exponent in t is -1/6 "
        "for alpha = 1.5, beta = 0.5.",
        -1 / 6,
        0.03,
        falls(0.5, 0.0, width=1e8, window=(1e4, 1e7), column="width_part"),
        source="ours",
    ),
)
