"""Makes examples/runs.csv: measured runs of a model small enough to train here in seconds.

Each run trains a linear model on the first ``n_params`` of 4,096 features by one pass of averaged
stochastic gradient descent over ``n_tokens`` fresh examples. Feature k has variance k^-1.5 and the
target weight makes its share of the signal k^-1.6; the labels carry noise of variance 0.5. The loss
is the exact squared error on new examples, noise included, so it falls with model size and with
data towards a floor of 0.5. Three seeds a cell.

    python examples/make_runs.py examples/runs.csv
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl

import kleiber

MODES, NOISE = 4096, 0.5
SIZES = (8, 16, 32, 64, 128, 256)
EXAMPLES = (500, 1_500, 5_000, 15_000, 50_000)


def train_once(n_params: int, n_tokens: int, rng: np.random.Generator) -> float:
    """Exact test error of the averaged iterate after one pass."""
    k = np.arange(1, MODES + 1)
    variance, share = k**-1.5, k**-1.6
    weight = np.sqrt(share / variance)
    scale = np.sqrt(variance[:n_params])
    rest = share[n_params:].sum()  # features that the model does not see act as label noise
    step = 0.5 / variance[:n_params].sum()
    w, mean = np.zeros(n_params), np.zeros(n_params)
    skip = n_tokens // 2
    for i in range(n_tokens):
        x = scale * rng.standard_normal(n_params)
        y = x @ weight[:n_params] + np.sqrt(rest + NOISE) * rng.standard_normal()
        w += step * (y - x @ w) * x
        if i >= skip:
            mean += (w - mean) / (i - skip + 1)
    return float(NOISE + rest + (variance[:n_params] * (mean - weight[:n_params]) ** 2).sum())


def make_runs(seeds: int = 3) -> pl.DataFrame:
    """The table of all runs."""
    rows = []
    for n_params in SIZES:
        for n_tokens in EXAMPLES:
            for seed in range(seeds):
                rng = np.random.default_rng([seed, n_params, n_tokens])
                loss = train_once(n_params, n_tokens, rng)
                rows.append(
                    {"n_params": n_params, "n_tokens": n_tokens, "seed": seed, "loss": loss}
                )
    return pl.DataFrame(rows)


def main() -> None:
    """Make the table named on the command line; without a name, one cell of it."""
    if len(sys.argv) > 1 and sys.argv[1].endswith(".csv"):
        kleiber.write_table(make_runs(), Path(sys.argv[1]))
    else:
        print(train_once(8, 500, np.random.default_rng([0, 8, 500])))


if __name__ == "__main__":
    main()
