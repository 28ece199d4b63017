"""Claims on simulated draws of the model: figure 2, super-easy tasks, and what sizes leave.

Draws are projected gradient descent with random A(0), data and batches. The crossover of figure 2
is that of a hard task (beta = 1/4, richness 0.3), the super-easy task has alpha = 2, beta = 3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.claim import Claim, Context, Estimate, estimate
from kleiber.maths.seeds import stream
from kleiber.maths.slopes import window_slope
from kleiber.systems.feature_learning.claims.compute import Compute
from kleiber.systems.feature_learning.theory import FeatureLearning

DRAWS = 32  # of figure 2
FIGURE_2 = FeatureLearning(source=0.25, width=256, step_size=0.15, modes=1500)
STEPS = np.unique(np.geomspace(4, 320, 24).round()).astype(int)
LAST = STEPS >= 80  # time 12 to 48
SUPER_EASY = FeatureLearning(capacity=2.0, source=3.0, batch_size=1, step_size=0.1, modes=100)
NOISY = np.geomspace(20.0, 400.0, 10)
MADE = 200  # resamples of a bootstrap over draws
Losses = Float[np.ndarray, "seeds points"]


@dataclass(frozen=True)
class Draws:
    """Losses of the draws, a row for each, and of the mean-field theory at the same steps."""

    simulated: Losses
    theory: Float[np.ndarray, "points"]


def figure_2(context: Context, richness: float) -> Draws:
    """Return 32 draws of the model and its mean-field theory."""

    def run() -> Draws:
        model, grid = replace(FIGURE_2, richness=richness), pl.DataFrame({"step": STEPS})
        drawn = model.simulate(grid, seeds=DRAWS, seed=context.seed)["loss"].to_numpy()
        theory = model.solve(grid, solver="dmft")["loss"].to_numpy()
        return Draws(drawn.reshape(DRAWS, -1), theory)

    return context.share(f"figure 2, richness {richness}", run)


def last_slopes(losses: Float[np.ndarray, "*seeds points"]) -> Float[np.ndarray, "*seeds"]:
    """Return minus the slope of log loss against log time over the last factor 4 of time."""
    return -np.asarray(window_slope(np.log(STEPS[LAST]), np.log(losses[..., LAST])))


def over_seeds(values: Float[np.ndarray, "seeds"]) -> Estimate:
    """Estimate the mean with its standard error."""
    return estimate(values.mean(), float(values.std(ddof=1)) / np.sqrt(len(values)))


def away_from_theory(richness: float) -> Compute:
    """Return simulated over predicted loss, less one, averaged over all steps."""

    def relative(context: Context) -> Estimate:
        found = figure_2(context, richness)
        return over_seeds((found.simulated / found.theory - 1).mean(axis=1))

    return relative


def exponent_from_theory(context: Context) -> Estimate:
    """Return the exponent of the draws at time 12 to 48 less that of the theory, richness 0.3."""
    found = figure_2(context, 0.3)
    return over_seeds(last_slopes(found.simulated) - float(last_slopes(found.theory)))


def crossover(context: Context) -> Estimate:
    """Return the exponent of rich draws less that of lazy draws of the same systems."""
    rich, lazy = (last_slopes(figure_2(context, gamma).simulated) for gamma in (0.3, 0.0))
    return over_seeds(rich - lazy)


def super_easy(context: Context, richness: float, batch: int = 1) -> Losses:
    """Return losses of draws of the super-easy task at times 20 to 400."""

    def run() -> Losses:
        seeds = context.choose(quick=64, laptop=256)
        model = replace(SUPER_EASY, richness=richness, batch_size=batch)
        table = model.simulate({"time": NOISY}, seeds=seeds, seed=context.seed)
        return table["loss"].to_numpy().reshape(seeds, -1)

    return context.share(f"super-easy, richness {richness}, batch {batch}", run)


def mean_slopes(context: Context, losses: Losses, name: str) -> Float[np.ndarray, "draws"]:
    """Return the exponent of the mean loss over draws, and then those of resamples of them."""
    rng = stream(context.seed, name)
    rows = [losses, *(losses[rng.integers(len(losses), size=len(losses))] for _ in range(MADE))]
    means = np.array([each.mean(axis=0) for each in rows])
    return -np.asarray(window_slope(np.log(NOISY), np.log(means)))


def super_easy_exponent(richness: float) -> Compute:
    """Return the exponent in time of the mean loss of the super-easy draws."""

    def exponent(context: Context) -> Estimate:
        slopes = mean_slopes(context, super_easy(context, richness), f"super-easy {richness}")
        return estimate(slopes[0], slopes[1:].std(ddof=1))

    return exponent


def super_easy_gain(context: Context) -> Estimate:
    """Return the exponent of rich draws of the super-easy task less that of lazy ones."""
    rich, lazy = (
        mean_slopes(context, super_easy(context, gamma), f"super-easy {gamma}")
        for gamma in (1.0, 0.0)
    )
    return estimate(rich[0] - lazy[0], (rich[1:] - lazy[1:]).std(ddof=1))


def noise_by_batch(context: Context) -> Estimate:
    """Return the exponent in B, from 1 to 4, of the lazy super-easy loss over times 20 to 400."""
    one, four = (np.log(super_easy(context, 0.0, batch)).mean(axis=1) for batch in (1, 4))
    value = (one.mean() - four.mean()) / np.log(4)
    spread = np.hypot(one.std(ddof=1), four.std(ddof=1)) / np.sqrt(len(one)) / np.log(4)
    return estimate(value, spread)


STATEMENTS = (
    Claim(
        "figure 2",
        "The mean-field theory predicts the loss of 32 draws at finite richness: the simulated "
        "loss differs from it by a relative 0 (beta = 0.25, N = 256, richness 0.3, 320 steps).",
        expected=0.0,
        within=0.03,
        compute=away_from_theory(0.3),
        source="second-hand",
    ),
    Claim(
        "figure 2",
        "The mean-field theory predicts the lazy loss of 32 draws: the relative difference is 0.",
        expected=0.0,
        within=0.03,
        compute=away_from_theory(0.0),
        source="second-hand",
    ),
    Claim(
        "figure 2, crossover",
        "The crossover of the draws is the theory's: their exponents over t = 12 to 48 differ by "
        "0 at richness 0.3.",
        expected=0.0,
        within=0.03,
        compute=exponent_from_theory,
        source="second-hand",
    ),
    Claim(
        "abstract, simulation",
        "On a hard task feature learning improves the exponent in time of simulated draws: over t "
        "= 12 to 48 it exceeds that of lazy draws by at least 0.05 (beta = 0.25, richness 0.3).",
        expected=0.05,
        within=0.0,
        side="at_least",
        compute=crossover,
        source="abstract",
    ),
    Claim(
        "abstract, simulation",
        "On a super-easy task feature learning does not change the exponent in time of simulated "
        "draws: rich and lazy differ by 0 (alpha = 2, beta = 3, one example a step, t = 20 to "
        "400).",
        expected=0.0,
        within=0.1,
        compute=super_easy_gain,
        source="abstract",
    ),
    *(
        Claim(
            "super-easy tasks, simulation",
            f"The loss of super-easy draws falls as t^-(2 - 1/alpha): the exponent is 1.5, {kind}.",
            expected=1.5,
            within=0.15,
            compute=super_easy_exponent(richness),
            source="second-hand",
        )
        for kind, richness in (("lazy", 0.0), ("rich", 1.0))
    ),
    Claim(
        "super-easy tasks, simulation",
        "This loss is the noise of batches, in proportion to 1/B: its exponent in B from 1 to 4 "
        "is 1.",
        expected=1.0,
        within=0.15,
        compute=noise_by_batch,
        source="second-hand",
    ),
)
