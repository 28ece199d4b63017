"""Errors of the unbiased pass@k: stated against true, and how often its 95% interval covers.

Each cell draws problems with p ~ Beta(a, b) and 20 attempts at each, 1,000 times (or --tables).
`error` is the root mean square of the stated standard errors over the standard deviation of the
estimates; `closed` the coverage of the closed form, `bootstrap` that of percentiles of resampled
problems (on a tenth of the tables), and `width` the ratio of their mean widths.

    python benchmarks/attempts_coverage.py
"""

from __future__ import annotations

import argparse

import numpy as np
import polars as pl
from scipy import special

from kleiber.attempts.counts import pass_at_k
from kleiber.attempts.errors import failure_of, share_interval

ATTEMPTS, LEVEL = 20, 0.95
SHAPES = ((0.3, 10.0), (0.1, 100.0), (0.5, 0.5), (2.0, 2.0), (300.0, 300.0))
PROBLEMS, KS = (2, 5, 10, 40, 128), (1, 10, 20)


def draw(a: float, b: float, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Successes of tables of problems."""
    return rng.binomial(ATTEMPTS, rng.beta(a, b, shape))


def resampled(won: np.ndarray, k: int, truth: float) -> tuple[float, float]:
    """Coverage and mean width of the bootstrap over some tables."""
    tables, problems = won.shape
    frame = pl.DataFrame(
        {
            "table": np.repeat(np.arange(tables), problems),
            "problem": np.tile(np.arange(problems), tables),
            "attempts": ATTEMPTS,
            "successes": won.ravel(),
        }
    )
    made = pass_at_k(frame, k, by="table", draws=400, stopped=False)
    low, high = (made[f"failure_{end}"].to_numpy() for end in ("low", "high"))
    return float(((low <= truth) & (truth <= high)).mean()), float(np.nanmean(high - low))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=1000)
    args = parser.parse_args()
    print(f"{'p':<16}{'probl':>6}{'k':>4}{'error':>8}{'closed':>8}{'bootstrap':>11}{'width':>7}")
    for a, b in SHAPES:
        for problems in PROBLEMS:
            rng = np.random.default_rng(problems)
            won = draw(a, b, (args.tables, problems), rng)
            for k in KS:
                each = failure_of(np.full(won.shape, ATTEMPTS), won, np.full(won.shape, k))
                truth = float(np.exp(special.betaln(a, b + k) - special.betaln(a, b)))
                mean, spread = each.mean(1), each.std(1, ddof=1) / np.sqrt(problems)
                low, high = share_interval(each.T, LEVEL)
                covered = float(((low <= truth) & (truth <= high)).mean())
                error = float(np.sqrt((spread**2).mean()) / max(mean.std(), 1e-300))
                some = won[: max(args.tables // 10, 20)]
                other, width = resampled(some, k, truth)
                ratio = float((high - low)[: len(some)].mean()) / width
                name = f"Beta({a:g}, {b:g})"
                print(
                    f"{name:<16}{problems:>6}{k:>4}{error:>8.3f}{covered:>8.3f}{other:>11.3f}"
                    f"{ratio:>7.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
