"""Claims on growth along training: Pythia checkpoints on MATH, one law of all model sizes.

Training tokens stand where the paper has training examples. Checkpoints below 6e9 tokens solve no
problem and have no exponent, so they have no part in the law. Intervals are those of problems
resampled whole, the same problems for all checkpoints.
"""

from __future__ import annotations

import polars as pl

from kleiber.attempts.fit import fit_counts
from kleiber.attempts.pooled import PooledTrend
from kleiber.attempts.trend import Finding
from kleiber.claim import Claim, Context, Estimate
from kleiber.data.runs import load_runs

FIRST_SOLVED = 6e9  # tokens of the first checkpoints that solve anything
NEEDS = ("passk_checkpoints",)


def pooled(context: Context) -> PooledTrend:
    """Fit one law along n_tokens to the checkpoints of all sizes."""

    def fit() -> PooledTrend:
        table = load_runs("passk_checkpoints").filter(pl.col("n_tokens") >= FIRST_SOLVED)
        found = fit_counts(table, by="model", along="n_tokens").pooled
        if found is None:
            raise ValueError("There are not two models with an exponent along n_tokens.")
        return found

    return context.share("pooled checkpoints", fit)


def growth(context: Context) -> Estimate:
    """Return the common rate of the log exponent in log n_tokens."""
    return _estimate(pooled(context).growth)


def reached(context: Context) -> Estimate:
    """Return the share of the plateau that is reached at the last checkpoint."""
    found = pooled(context).saturation
    if found is None:
        raise ValueError("There are too few checkpoints to tell a plateau.")
    return _estimate(found)


def _estimate(found: Finding) -> Estimate:
    low, high = found.interval
    assert found.value is not None
    return Estimate(found.value, (high - low) / 4, low, high)


STATEMENTS = (
    Claim(
        "growth along training, Pythia at MATH",
        "The exponent of failure grows with training: dlog a/dlog n_tokens, common to eight model "
        "sizes with a from beta-binomial laws, is positive from 6e9 to 3e11 tokens.",
        expected=0.0,
        within=0.0,
        compute=growth,
        side="at_least",
        needs=NEEDS,
        source="ours",
    ),
    Claim(
        "growth along training, Pythia at MATH",
        "The growth saturates: at 3e11 tokens the exponent is at least 95% of its plateau.",
        expected=0.95,
        within=0.0,
        compute=reached,
        known="inconclusive",
        why="Five checkpoints a size and 128 problems do not tell a plateau from a power law: the "
        "interval of the share reaches from 0 to 0.99.",
        side="at_least",
        needs=NEEDS,
        source="ours",
    ),
)
