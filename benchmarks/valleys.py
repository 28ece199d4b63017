"""How often the search finds a planted valley in the learning rate and in the batch size.

Each table has 17 sizes of model and data, 10 learning rates and 11 batch sizes (or 8 and 14), of
which 1,900 rows or as many as asked for are kept, with half a per cent of noise. Its formula is
Chinchilla's law plus k (log lr - (c - p log N + q log D))^2, or that plus such a valley in batch
size. Counted are the fits whose objective is not above that of a descent from the planted values.

    OPENBLAS_NUM_THREADS=1 python benchmarks/valleys.py --seeds 100 --rows 600
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import polars as pl

import kleiber

RATE = "k*(log(lr) - (c - p*log(n_params) + q*log(n_tokens)))**2"
BATCH = "m*(log(batch_size) - (g + h*log(n_tokens)))**2"
FORMULA = f"E + A/n_params**alpha + B/n_tokens**beta + {RATE}"


def plant(seed: int, rows: int, *, both: bool) -> tuple[str, pl.DataFrame, dict[str, float]]:
    """A formula, a table of it, and the values that were planted."""
    rng = np.random.default_rng(seed)
    n = np.exp(rng.uniform(np.log(6e7), np.log(1.1e9), 17))
    d = np.exp(rng.uniform(np.log(2e9), np.log(1e11), 17))
    rates, batches = (8, 14) if both else (10, 11)
    axes = np.geomspace(2e-4, 8e-3, rates), np.geomspace(3e4, 4e6, batches)
    n_params, lr, batch = (x.ravel() for x in np.meshgrid(n, *axes, indexing="ij"))
    columns = {"n_params": n_params, "n_tokens": np.repeat(d, rates * batches)}
    columns |= {"lr": lr, "batch_size": batch}
    kept = np.sort(rng.choice(len(lr), min(rows, len(lr)), replace=False))
    columns = {name: values[kept] for name, values in columns.items()}
    truth = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
    truth["k"] = float(np.exp(rng.uniform(np.log(0.003), np.log(0.05))))
    truth |= {"p": float(rng.uniform(0.3, 0.8)), "q": float(rng.uniform(0.1, 0.4))}
    middle = np.log(1.3e-3) + rng.uniform(-0.5, 0.5)
    truth["c"] = float(middle + truth["p"] * np.log(3e8) - truth["q"] * np.log(1e10))
    if both:
        truth["m"] = float(np.exp(rng.uniform(np.log(0.003), np.log(0.03))))
        truth["h"] = float(rng.uniform(0.3, 0.6))
        truth["g"] = float(np.log(4e5) - truth["h"] * np.log(1e10))
    formula = f"{FORMULA} + {BATCH}" if both else FORMULA
    law = kleiber.law_from_formula(formula, list(columns))
    loss = law(**{name: columns[name] for name in law.variables}, **truth)
    loss = loss * np.exp(0.005 * rng.standard_normal(len(loss)))
    return formula, pl.DataFrame({**columns, "loss": loss}), truth


def main() -> None:
    """Print a line for each formula and noise model."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--rows", type=int, default=1900)
    ask = parser.parse_args()
    for both in (False, True):
        for noise in (kleiber.Noise("log", delta=1e-3), kleiber.Noise("log")):
            found, spent = 0, 0.0
            for seed in range(ask.seeds):
                formula, table, truth = plant(seed, ask.rows, both=both)
                began = time.process_time()
                fit = kleiber.fit(formula, table, noise=noise, draws=0, seed=seed)
                spent += time.process_time() - began
                near = kleiber.fit(formula, table, noise=noise, draws=0, start=truth)
                found += fit.objective <= near.objective * (1 + 1e-7)
            what = "learning rate and batch size" if both else "learning rate"
            print(
                f"{what}, {noise.describe()}: {found} of {ask.seeds} at the planted optimum, "
                f"{spent / ask.seeds:.2f} s of CPU a fit",
                flush=True,
            )


if __name__ == "__main__":
    main()
