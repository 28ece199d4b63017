"""Claims on trained perceptrons: unconstrained gradient flow against training at fixed norm on the
same data, and theory against simulation.

Load 5, as in figure 1. Quick: 16 data sets in 200 dimensions; laptop: 32 in 400.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.claim import Claim, Context, Estimate, estimate
from kleiber.systems.implicit_bias.perceptron import Perceptron, early_curve, flow_curve, flow_time

LOAD = 5.0
NORMS = np.array([0.1, 0.3, 1.0, 2.2, 2.7, 3.2, 3.8, 4.5, 5.4, 6.4, 7.6, 9.0])
AROUND = slice(3, None)  # of these, those about the optimum
INTEGRALS = "it is computed by quadrature for load -> infinity, without anything random"
Errors = Float[np.ndarray, "seeds norms"]
Compute = Callable[[Context], Estimate]


@dataclass(frozen=True)
class Runs:
    """Errors of the flow and at fixed norms, and the flow's training error and growth."""

    flow: Errors
    fixed: Errors
    train_error: Errors
    growth: Errors


def train(context: Context) -> Runs:
    """Train the runs that all claims here share."""

    def make() -> Runs:
        seeds, size = context.choose((16, 200), (32, 400))
        words = {"seeds": seeds, "seed": context.seed, "size": size}
        flow = Perceptron(LOAD).simulate_flow({"norm": NORMS}, **words)
        fixed = Perceptron(LOAD).simulate({"norm": NORMS}, **words)
        return Runs(
            by_seed(flow, "error"),
            by_seed(fixed, "error"),
            by_seed(flow, "train_error"),
            by_seed(flow, "multiplier"),
        )

    return context.share("perceptron runs", make)


def by_seed(table: pl.DataFrame, column: str) -> Errors:
    """Return a column of a simulation, one row per seed."""
    return table[column].to_numpy().reshape(-1, NORMS.size)


def jackknife(seeds: int, value: Callable[[Float[np.ndarray, "kept"]], float]) -> Estimate:
    """Estimate a function of the seeds with its jackknife error."""
    every = np.arange(seeds)
    each = np.array([value(every[every != k]) for k in every])
    return estimate(value(every), np.sqrt((seeds - 1) * each.var()))


def ratio_at(norm: float) -> Compute:
    """Return the mean error of the flow over that at fixed norm, on the same data sets."""
    k = int(np.argmin(np.abs(NORMS - norm)))

    def ratio(context: Context) -> Estimate:
        runs = train(context)
        return jackknife(
            len(runs.flow),
            lambda kept: float(runs.flow[kept, k].mean() / runs.fixed[kept, k].mean()),
        )

    return ratio


def best_norm(errors: Errors) -> float:
    """Return the norm at the minimum of a cubic in log norm fitted to the mean errors."""
    x = np.log(NORMS[AROUND])
    fine = np.linspace(float(x[0]), float(x[-1]), 600)
    cubic = np.polynomial.Polynomial.fit(x, errors.mean(0)[AROUND], 3)
    return float(np.exp(fine[int(np.argmin(np.asarray(cubic(fine), float)))]))


def ratio_of_best(context: Context) -> Estimate:
    """Return the best norm of the flow over the best fixed norm, on the same data sets."""
    runs = train(context)
    return jackknife(
        len(runs.flow), lambda kept: best_norm(runs.flow[kept]) / best_norm(runs.fixed[kept])
    )


def theory_gap(norm: float) -> Compute:
    """Return the mean error at a fixed norm over the theory's."""
    k = int(np.argmin(np.abs(NORMS - norm)))

    def ratio(context: Context) -> Estimate:
        values = train(context).fixed[:, k] / Perceptron(LOAD).error(norm)[0]
        return estimate(values.mean(), values.std(ddof=1) / np.sqrt(len(values)))

    return ratio


def least_growth(context: Context) -> Estimate:
    """Return the smallest dlambda/dtime = (1/N) sum (1 - tanh z) z/lambda along each run."""
    values = train(context).growth.min(1)
    return estimate(values.mean(), values.std(ddof=1) / np.sqrt(len(values)))


def last_train_error(context: Context) -> Estimate:
    """Return the training error of the flow at norm 9."""
    values = train(context).train_error[:, -1]
    return estimate(values.mean(), values.std(ddof=1) / np.sqrt(len(values)))


def largest_excess(_: Context) -> Estimate:
    """Return the largest ratio of the flow's error to that at fixed norm, load -> infinity."""
    norms = np.geomspace(0.2, 3, 60)
    return estimate((flow_curve(norms) / early_curve(norms)).max())


def flow_slope(_: Context) -> Estimate:
    """Return -dlog(relative error)/dlog norm of the flow at norm 100."""
    pair = flow_curve([100.0, 101.0])
    return estimate(-np.log(pair[1] / pair[0]) / np.log(1.01))


def clock(_: Context) -> Estimate:
    """Return dlog time/dlog norm of the flow at norm 100, load -> infinity."""
    pair = flow_time([100.0, 101.0])
    return estimate(np.log(pair[1] / pair[0]) / np.log(1.01))


STATEMENTS = (
    Claim(
        "figure 1, simulation",
        "The theory is exact: the ratio of the mean error of perceptrons trained at norm 1 (load "
        "5) to the theory's is 1.",
        1.0,
        0.05,
        theory_gap(1.0),
        source="ours",
    ),
    Claim(
        "figure 1, simulation",
        "The theory is exact at the best norm, 4.5, too: the same ratio is 1.",
        1.0,
        0.06,
        theory_gap(4.5),
        source="ours",
    ),
    Claim(
        "figure 1, gradient descent",
        "Without a constraint the norm grows monotonically: its smallest rate of growth at 12 "
        "norms from 0.1 to 9 is positive.",
        0.0,
        0.0,
        least_growth,
        side="at_least",
        source="paper",
    ),
    Claim(
        "figure 1, gradient descent",
        "The error of gradient descent lies above that at fixed norm: the ratio of the errors at "
        "norm 1 is at least 1.05.",
        1.05,
        0.0,
        ratio_at(1.0),
        side="at_least",
        source="paper",
    ),
    Claim(
        "figure 1, gradient descent",
        "The two errors agree at the minimum: their ratio at norm 4.5 is 1.",
        1.0,
        0.02,
        ratio_at(4.5),
        source="paper",
    ),
    Claim(
        "figure 1, gradient descent",
        "Gradient descent and training at fixed norm have the same best norm: the ratio of the "
        "two is 1.",
        1.0,
        0.04,
        ratio_of_best,
        known="fails",
        why="The flow lags behind its norm, so at load 5 its minimum comes at a norm 10 to 13% "
        "larger; its smallest error is the same to 1%, and the lag in norm vanishes for large "
        "loads.",
        source="ours",
    ),
    Claim(
        "figure 1, gradient descent",
        "Gradient descent separates the training set: the training error at norm 9 is 0.",
        0.0,
        1e-3,
        last_train_error,
        source="ours",
    ),
    Claim(
        "figure 1, gradient descent",
        "For large loads the error of the flow exceeds that at fixed norm by at most 15%: the "
        "largest ratio is 1.148.",
        1.148,
        2e-3,
        largest_excess,
        exact=INTEGRALS,
        source="ours",
    ),
    Claim(
        "figure 1, gradient descent",
        "The flow has the same exponent gamma_1: its slope at norm 100 is 0.5.",
        0.5,
        1e-3,
        flow_slope,
        exact=INTEGRALS,
        source="ours",
    ),
    Claim(
        "implicit bias",
        "The norm is the clock of training: before separation the time grows as norm^3/load, so "
        "its exponent at norm 100 is 3.",
        3.0,
        5e-3,
        clock,
        exact=INTEGRALS,
        source="ours",
    ),
)
