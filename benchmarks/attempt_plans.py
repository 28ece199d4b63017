"""How often a plan's intervals hold, and how much worse than the best a plan is, on planted counts.

Seven checkpoints, 150 problems, 200 attempts each; p ~ Beta(a(x), 20 x^-0.3), with an exponent a(x)
that grows as a power or that levels off. Prints the share of tables in which the 95% interval of
the failure and of the training share hold the truth, and the excess failure of the plan.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

import kleiber
from kleiber.attempts.fit import fit_counts
from kleiber.attempts.gamma import log_rising
from kleiber.planning.curve import FailureCurve

CHECKPOINTS = np.geomspace(1.0, 64.0, 7)
EXPONENTS: dict[str, Callable[[Any], Any]] = {
    "power": lambda x: 0.2 * x**0.25,
    "levelling off": lambda x: 0.8 / (1 + 6 / x),
}
ASKED: dict[str, Any] = {"attempt": 1.0, "limits": {"n_tokens": (0.5, 200), "k": (1, 1e4)}}


def plant(exponent: Callable[[Any], Any], seed: int) -> pl.DataFrame:
    """Counts of 150 problems at each checkpoint."""
    rng = np.random.default_rng(seed)
    parts = [
        {
            "problem": np.arange(150),
            "n_tokens": np.full(150, x),
            "attempts": np.full(150, 200),
            "successes": rng.binomial(200, rng.beta(exponent(x), 20 * x**-0.3, 150)),
        }
        for x in CHECKPOINTS
    ]
    return pl.concat([pl.DataFrame(part) for part in parts])


def measure(exponent: Callable[[Any], Any], tables: int) -> dict[str, float]:
    """Shares of tables in which intervals hold, and the excess of the plan's true failure."""

    def truth(values: Any, k: Any) -> Any:
        a, b = exponent(values["n_tokens"]), 20 * values["n_tokens"] ** -0.3
        return np.exp(log_rising(b, k) - log_rising(a + b, k))

    best = kleiber.plan_attempts(
        FailureCurve("truth", ("n_tokens",), truth), 200.0, "2*n_tokens", **ASKED
    )
    held, excess = [], []
    for seed in range(tables):
        fit = fit_counts(plant(exponent, seed), along="n_tokens", draws=60)
        made = kleiber.plan_attempts(fit, 200.0, "2*n_tokens", **ASKED)
        at = {name: np.array([item.value]) for name, item in made.allocation.items()}
        failure = float(truth(at, at["k"])[0])
        share = made.training_share
        held.append(
            (
                made.predicted.low <= failure <= made.predicted.high,
                share.low <= best.training_share.value <= share.high,
            )
        )
        excess.append(failure / best.predicted.value - 1)
    failures, shares = np.mean(held, axis=0)
    return {
        "failure held": float(failures),
        "share held": float(shares),
        "excess, median": float(np.median(excess)),
        "excess, worst": float(np.max(excess)),
    }


def main(tables: int = 30) -> None:
    """Print a line for each exponent."""
    for name, exponent in EXPONENTS.items():
        row = measure(exponent, tables)
        print(f"{name}: " + ", ".join(f"{key} {value:.4f}" for key, value in row.items()))


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
