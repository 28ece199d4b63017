"""How often the simultaneous band of `kleiber.compare_counts` holds the true difference at all k.

Problems have p ~ Beta(a, b) for model A; model B has the same p with its odds times `gain` and a
spread of its own. The truth is the mean difference of 1 - (1 - p)^k over 200,000 problems.
`band` is how often it lies inside at every k, `false` how often one is called better where neither
is (gain 1), `ratio` the mean unpaired over paired standard error at k = 10.

    python benchmarks/paired_coverage.py
"""

from __future__ import annotations

import argparse

import numpy as np
import polars as pl
from scipy import special

from kleiber import compare_counts

ATTEMPTS = 100
CELLS = ((128, 0.3, 3.0, 1.0), (128, 0.3, 3.0, 1.5), (40, 0.5, 2.0, 1.5), (300, 0.2, 6.0, 1.0))


def rates(
    problems: int, a: float, b: float, gain: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Success rates of both models at each problem."""
    first = rng.beta(a, b, problems)
    odds = special.logit(np.clip(first, 1e-12, 1 - 1e-12)) + np.log(gain)
    moved = special.expit(odds + 0.7 * rng.standard_normal(problems))
    if gain == 1:  # the two are exchangeable: neither is better at any k
        swap = rng.random(problems) < 0.5
        first, moved = np.where(swap, moved, first), np.where(swap, first, moved)
    return first, moved


def table(p: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    """Counts of ATTEMPTS attempts at each problem."""
    n = len(p)
    counts = {"problem": np.arange(n), "attempts": np.full(n, ATTEMPTS)}
    return pl.DataFrame(counts | {"successes": rng.binomial(ATTEMPTS, p)})


def main() -> None:
    """Print a row for each number of problems and shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=500)
    tables = parser.parse_args().tables
    ks = np.arange(1, ATTEMPTS + 1)
    for problems, a, b, gain in CELLS:
        rng = np.random.default_rng(0)
        p, q = rates(200_000, a, b, gain, rng)
        truth = np.array([((1 - p) ** k - (1 - q) ** k).mean() for k in ks])
        if gain == 1:
            truth = np.zeros(len(ks))
        held, called, ratios = 0, 0, list[float]()
        for seed in range(tables):
            one, other = (table(x, rng) for x in rates(problems, a, b, gain, rng))
            made = compare_counts(one, other, draws=1000, seed=seed).table
            low, high = made["difference_low"].to_numpy(), made["difference_high"].to_numpy()
            held += bool(((low <= truth) & (truth <= high)).all())
            called += bool((made["better"] != "").any())
            alone = [1 - (1 - t["successes"] / ATTEMPTS) ** 10 for t in (one, other)]
            apart = np.sqrt(sum(float(np.var(x.to_numpy(), ddof=1)) for x in alone) / problems)
            ratios.append(apart / made["difference_stderr"][9])
        called_as = "false" if gain == 1 else "found"
        print(
            f"{problems} problems, Beta({a:g}, {b:g}), gain {gain:g}:  band {held / tables:.1%}  "
            f"{called_as} {called / tables:.1%}  ratio {np.mean(ratios):.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
