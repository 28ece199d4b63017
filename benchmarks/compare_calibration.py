"""How often `compare` keeps its word on planted truth.

- equal: two laws that are wrong in the same way. The truth and the design are symmetric in two
  columns; one law knows the first column only, the other the second only. Neither extrapolates
  better, so `compare` should answer 'cannot tell' in at least 95% of tables.
- nested: the truth is the smaller of two nested laws; both are right, the larger only noisier.
- different: one law is right, the other has no floor; how often that is found (power).

    python benchmarks/compare_calibration.py --trials 200
"""

from __future__ import annotations

import argparse
import itertools
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import polars as pl
from scipy import stats

import kleiber

FIRST, SECOND = "E + A*a**-alpha", "E + B*b**-beta"
FLOOR, NO_FLOOR = "E + A*a**-alpha", "A*a**-alpha"
CASES = ("equal", "nested", "different")


def plant(case: str, rows: int, rng: np.random.Generator) -> tuple[pl.DataFrame, list[str], str]:
    """A table, the laws to compare, and the column to extrapolate along."""
    a, b = np.exp(rng.uniform(0, 6, (2, rows)))
    noise = np.exp(0.02 * rng.standard_normal(rows))
    if case == "different":
        loss = (1.8 + 2.0 * a**-0.5) * noise
        return pl.DataFrame({"a": a, "loss": loss}), [FLOOR, NO_FLOOR], "a"
    loss = (1.8 + 1.0 * a**-0.4 + 1.0 * b**-0.4) * noise
    table = pl.DataFrame({"a": a, "b": b, "loss": loss, "size": a * b})
    if case == "equal":
        return table, [FIRST, SECOND], "size"
    return table, [f"{FIRST} + B*b**-beta", f"{FIRST} + B*b**-alpha"], "size"


def answer(job: tuple[str, int, int, int]) -> tuple[int, int]:
    """How many of a slice of tables are answered 'cannot tell', and how many rank the first law
    strictly best."""
    case, rows, first, last = job
    unsure = right = 0
    for seed in range(first, last):
        rng = np.random.default_rng([seed, rows, CASES.index(case)])
        table, laws, beyond = plant(case, rows, rng)
        made = kleiber.compare(
            table, laws, beyond=beyond, noise=kleiber.Noise("log"), draws=200, seed=seed
        )
        unsure += made.contenders[1].verdict == "cannot tell"
        right += made.contenders[1].verdict == "worse" and made.contenders[0].law == laws[0]
    return unsure, right


def main() -> None:
    """Print one line per case."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    ask = parser.parse_args()
    print(f"{ask.trials} planted tables a line; 99% Clopper-Pearson interval of the share")
    print("case       rows  cannot tell           first law found best")
    with ProcessPoolExecutor(ask.workers) as pool:
        for case, rows in itertools.product(CASES, (40, 120)):
            cuts = np.linspace(0, ask.trials, 4 * ask.workers + 1).astype(int).tolist()
            jobs = [(case, rows, a, b) for a, b in itertools.pairwise(cuts)]
            parts = list(pool.map(answer, jobs))
            unsure = sum(part[0] for part in parts)
            right = sum(part[1] for part in parts)
            ends = stats.binomtest(unsure, ask.trials).proportion_ci(0.99, method="exact")
            print(
                f"{case:<10} {rows:>4}  {unsure / ask.trials:.3f} [{ends.low:.3f}, {ends.high:.3f}]"
                f"  {right / ask.trials:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
