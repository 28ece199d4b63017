"""What choosing runs by `next_run` saves against choosing them at random, on planted truth.

Each trial plants Chinchilla's law, measures 20 small runs, and adds runs from one ladder of
affordable sizes until the relative standard error of the loss predicted at a far target is at most
a given width, refitting after every run. Random choice draws from the same ladder, every size alike
or, which is the harder rival, with odds in inverse proportion to the price. Printed is the compute
of the added runs, as a ratio of means over trials and trial by trial.

    python benchmarks/next_run_value.py --trials 100
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import polars as pl

import kleiber

TRUTH = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
TARGET = {"n_params": 7e10, "n_tokens": 1.4e12}
SIGMA, WIDTH, MOST = 0.01, 0.006, 60  # noise, relative width to reach, runs at most
WAYS = ("chosen", "uniform", "thrifty")  # thrifty: odds 1/price
SIZES, LENGTHS = np.geomspace(2e7, 5e9, 12), np.geomspace(1e9, 2e11, 12)


def measure(n_params: np.ndarray, n_tokens: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    """Noisy runs of the planted law."""
    clean = kleiber.laws.chinchilla(n_params, n_tokens, **TRUTH)
    loss = clean * np.exp(SIGMA * rng.standard_normal(len(clean)))
    return pl.DataFrame({"n_params": n_params, "n_tokens": n_tokens, "loss": loss})


def width_of(fit: kleiber.Fit) -> float:
    """Robust relative standard error of the prediction at the target."""
    values = np.log(fit.law(**TARGET, **fit.draws))
    low, high = np.quantile(values, [0.16, 0.84])
    return float(high - low) / 2


def spend(seed: int, how: str) -> float:
    """Compute of the runs added until the width is reached: ``how`` says who picks them."""
    rng = np.random.default_rng([seed, 7])
    mesh = np.meshgrid(SIZES, LENGTHS, indexing="ij")
    ladder = pl.DataFrame({"n_params": mesh[0].ravel(), "n_tokens": mesh[1].ravel()})
    prices = 6 * ladder["n_params"].to_numpy() * ladder["n_tokens"].to_numpy()
    small = np.flatnonzero(prices <= np.quantile(prices, 0.3))
    pick = rng.choice(small, 20)
    table = measure(ladder["n_params"].to_numpy()[pick], ladder["n_tokens"].to_numpy()[pick], rng)
    total = 0.0
    for _ in range(MOST):
        fit = kleiber.fit(
            kleiber.laws.chinchilla, table, noise=kleiber.Noise("log"), draws=200, seed=seed
        )
        if width_of(fit) <= WIDTH:
            break
        if how == "chosen":
            best = kleiber.next_run(
                fit, TARGET, float(prices.max()), candidates=ladder, per_cost=True
            )
            n, d = best["n_params"].to_numpy(), best["n_tokens"].to_numpy()
        else:
            odds = np.ones(len(prices)) if how == "uniform" else 1 / prices
            k = rng.choice(len(ladder), p=odds / odds.sum())
            n, d = ladder["n_params"].to_numpy()[[k]], ladder["n_tokens"].to_numpy()[[k]]
        table = pl.concat([table, measure(n, d, rng)])
        total += float((6 * n * d).sum())
    return total


def run(seed: int) -> tuple[float, ...]:
    """Compute of each way of choosing, from the same start."""
    return tuple(spend(seed, how) for how in WAYS)


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    ask = parser.parse_args()
    with ProcessPoolExecutor(ask.workers) as pool:
        parts = np.array(list(pool.map(run, range(ask.trials))))
    picks = np.random.default_rng(0).integers(0, ask.trials, (2000, ask.trials))
    print(f"{ask.trials} trials; compute of added runs until the width {WIDTH:g} is reached")
    chosen = parts[:, 0]
    print(f"chosen by next_run: {chosen.mean():.3g} FLOPs on average")
    for name, other in zip(WAYS[1:], parts.T[1:], strict=True):
        ratios = chosen[picks].mean(axis=1) / other[picks].mean(axis=1)
        low, high = np.quantile(ratios, [0.025, 0.975])
        both = (chosen > 0) & (other > 0)
        print(
            f"random, {name}: {other.mean():.3g} FLOPs; ratio of means "
            f"{chosen.mean() / other.mean():.3f} [{low:.3f}, {high:.3f}], median of trial ratios "
            f"{np.median(chosen[both] / other[both]):.3f}, cheaper when chosen in "
            f"{np.mean(chosen[both] < other[both]):.0%}"
        )


if __name__ == "__main__":
    main()
