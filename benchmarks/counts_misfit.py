"""Misfit of counts: how often a family is faulted when it is true, and found out when it is not.

Each cell plants problems and fits a family to many tables, the groups of one fit. Counted are
groups whose fit has failed (pass@1 more than three standard errors from the unbiased one), those
for which another family is named, and those whose successes are not distributed as the family says
(p < 0.001). `off` is how far the mean of the family's pass@1 is from the planted one, in per cent.

    python benchmarks/counts_misfit.py --tables 400
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import polars as pl

from kleiber.attempts.fit import fit_counts
from kleiber.attempts.judge import CountStatus
from kleiber.attempts.misfit import RARE

Draw = Callable[[np.random.Generator, int], np.ndarray]
Cell = tuple[str, str, Draw, int, int]  # planted, fitted, p of fresh problems, problems, attempts


def atom(share: float, at: float, a: float, b: float) -> Draw:
    """A share of problems with p at a value, the others with p ~ Beta(a, b)."""
    return lambda rng, m: np.where(rng.random(m) < share, at, rng.beta(a, b, m))


def kumaraswamy(a: float, b: float) -> Draw:
    """Kumaraswamy's distribution."""
    return lambda rng, m: (1 - rng.random(m) ** (1 / b)) ** (1 / a)


TRUE: tuple[Cell, ...] = (
    ("Beta(0.3, 10)", "beta_binomial", atom(0, 0, 0.3, 10), 128, 100),
    ("Beta(0.3, 10)", "beta_binomial", atom(0, 0, 0.3, 10), 40, 20),
    ("Beta(0.065, 100)", "beta_binomial", atom(0, 0, 0.065, 100), 128, 10_000),
    ("Beta(0.5, 0.5)", "beta_binomial", atom(0, 0, 0.5, 0.5), 164, 10),
    ("Beta(300, 300)", "beta_binomial", atom(0, 0, 300, 300), 80, 20),
    ("30% 0, Beta(0.6, 20)", "zero_inflated", atom(0.3, 0, 0.6, 20), 200, 1000),
    ("20% 0, Beta(6, 1.2)", "zero_inflated", atom(0.2, 0, 6, 1.2), 164, 20),
    ("Kumaraswamy(0.4, 5.5)", "kumaraswamy", kumaraswamy(0.4, 5.5), 128, 100),
)
FALSE: tuple[Cell, ...] = (
    ("20% 0, Beta(6, 1.2)", "beta_binomial", atom(0.2, 0, 6, 1.2), 164, 20),
    ("20% 0, Beta(6, 1.2)", "beta_binomial", atom(0.2, 0, 6, 1.2), 500, 20),
    ("30% 0, Beta(0.6, 20)", "beta_binomial", atom(0.3, 0, 0.6, 20), 200, 1000),
    ("30% 1, Beta(0.3, 5)", "beta_binomial", atom(0.3, 1, 0.3, 5), 164, 100),
    ("30% 1, Beta(0.3, 5)", "beta_binomial", atom(0.3, 1, 0.3, 5), 164, 10_000),
    ("50% 0.9, Beta(2, 6)", "beta_binomial", atom(0.5, 0.9, 2, 6), 164, 100),
)


def run(cell: Cell, tables: int, rng: np.random.Generator) -> str:
    """The line of one cell."""
    planted, family, draw, problems, attempts = cell
    p = draw(rng, tables * problems)
    table = pl.DataFrame(
        {
            "table": np.repeat(np.arange(tables), problems),
            "problem": np.tile(np.arange(problems), tables),
            "attempts": attempts,
            "successes": rng.binomial(attempts, p),
        }
    )
    made = fit_counts(table, family=family, by="table")
    found = [item for item in made.misfits if item is not None]
    failed = np.mean([status is CountStatus.FAILED for status in made.statuses])
    named = np.mean([item.better is not None for item in found])
    odd = np.mean([item.p_value < RARE for item in found])
    first = 1 - np.exp(made.family.log_failure(made.peak.u, np.ones(1))[:, 0])
    off = 100 * abs(np.mean(first) / draw(rng, 10**6).mean() - 1)
    return (
        f"{planted:<24}{family:<15}{problems:>5}{attempts:>7}{len(found):>7}"
        f"{failed:>9.3f}{named:>9.3f}{odd:>9.3f}{off:>7.1f}"
    )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for title, cells in (("the family is true", TRUE), ("it is not", FALSE)):
        print(
            f"{title:<24}{'fitted':<15}{'probl':>5}{'att':>7}{'tables':>7}"
            f"{'failed':>9}{'better':>9}{'p<.001':>9}{'off %':>7}"
        )
        for number, cell in enumerate(cells):
            print(run(cell, args.tables, np.random.default_rng(args.seed + number)), flush=True)


if __name__ == "__main__":
    main()
