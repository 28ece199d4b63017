"""CPU-seconds of default fits (1,000 draws, Huber 1e-3) on large tables, for every law.

First a table like those of learning-rate studies: 17 sizes, many learning rates and batch sizes,
1,911 rows with residuals of 5% under a Huber width of 1e-3, whose floor goes to its bound, so that
draws may leave it. Then each law of the catalogue, planted on 5,000 rows with 1% noise. The ratio
is to as many refits by SciPy's BFGS with exact gradients from the optimum, three of which are timed
in the same process.

    OPENBLAS_NUM_THREADS=1 python benchmarks/default_fits.py [--numpy] [LAW ...]
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np
import polars as pl
from fit_catalogue import PLANTED, RANGES, middle
from scipy import optimize

import kleiber
from kleiber.fitting.engine.noise import evaluate_loss
from kleiber.fitting.options import Options
from kleiber.fitting.table_problem import pose_rows, read_measurements
from kleiber.law import Law

NOISE = kleiber.Noise("log", delta=1e-3)


def learning_rate_study(seed: int = 0) -> pl.DataFrame:
    """Losses without a floor over sizes, learning rates and batch sizes, 1,911 rows."""
    rng = np.random.default_rng(seed)
    n = np.exp(rng.uniform(np.log(6e7), np.log(1.1e9), 17))
    d = np.exp(rng.uniform(np.log(2e9), np.log(1e11), 17))
    mesh = np.meshgrid(n, np.geomspace(2e-4, 8e-3, 10), np.geomspace(3e4, 4e6, 12), indexing="ij")
    n_params, lr, batch = (axis.ravel() for axis in mesh)
    n_tokens = np.repeat(d, 120)
    valley = (np.log(lr) - np.log(1.8) + 0.71 * np.log(n_params) - 0.31 * np.log(n_tokens)) ** 2
    loss = 40 * n_params**-0.19 + 30 * n_tokens**-0.14 - 0.3
    loss = loss * np.exp(0.01 * rng.standard_normal(len(loss))) + 0.02 * valley
    loss = loss + 0.01 * (np.log(batch) - np.log(4e5)) ** 2
    kept = np.sort(rng.choice(len(loss), 1911, replace=False))
    whole = {"n_params": n_params, "n_tokens": n_tokens, "lr": lr, "batch_size": batch}
    return pl.DataFrame({**whole, "loss": loss})[kept]


def plant(law: Law, rows: int) -> pl.DataFrame:
    """A table of the law with 1% noise."""
    rng = np.random.default_rng(0)
    columns = {
        n: np.exp(rng.uniform(np.log(RANGES[n][0]), np.log(RANGES[n][1]), rows))
        for n in law.variables
    }
    chosen = PLANTED.get(law.name, PLANTED.get(law.name.split("_")[0], {}))
    truth = {name: chosen.get(name, middle(domain)) for name, domain in law.domains.items()}
    for k in (2, 3):  # further breaks, further out
        truth |= {n: v for n, v in {f"d{k}": 3e3 * 5**k, f"f{k}": 0.3}.items() if n in truth}
    y = law(**columns, **truth) * np.exp(0.01 * rng.standard_normal(rows))
    return pl.DataFrame({**columns, "loss": y})


def baseline(law: Law, table: pl.DataFrame, fit: kleiber.Fit) -> float:
    """CPU-seconds of one refit by BFGS with exact gradients, the median of three."""
    ask = Options(noise=NOISE, draws=0)
    problem = pose_rows(law, read_measurements(law, table, ask), ask)
    u = problem.to_coordinate(np.array([[max(fit.params[n], 1e-300) for n in problem.law.params]]))[
        0
    ]
    rng, times = np.random.default_rng(0), list[float]()
    for _ in range(3):
        weights = np.bincount(rng.integers(0, len(table), len(table)), minlength=len(table))

        def value(point: np.ndarray, w: np.ndarray = weights) -> tuple[float, np.ndarray]:
            derivatives = problem.differentiate(point[None], False)
            terms = evaluate_loss(problem.noise, derivatives.residual, np.ones(1))
            return float(terms.rho[0] @ w), derivatives.jacobian[0] @ (w * terms.psi[0])

        began = time.process_time()
        optimize.minimize(value, u, jac=True, method="BFGS", options={"gtol": 1e-9})
        times.append(time.process_time() - began)
    return float(np.median(times))


def report(name: str, law: Law, table: pl.DataFrame, draws: int) -> None:
    """One line."""
    began = time.process_time()
    fit = kleiber.fit(law, table, noise=NOISE, draws=draws)
    spent = time.process_time() - began
    ratio = baseline(law, table, fit) * draws / spent
    unsettled = next((n.split(" draws")[0] for n in fit.notes if "had not converged" in n), "0")
    print(
        f"{name:<24}{len(table):>6} rows{spent:>9.1f} s of CPU{ratio:>8.1f} times BFGS  "
        f"{fit.status}, unsettled {unsettled}",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("laws", nargs="*")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--numpy", action="store_true", help="without the compiled path")
    ask = parser.parse_args()
    if ask.numpy:
        os.environ["KLEIBER_FAST"] = "0"
    catalogue = kleiber.laws.catalogue()
    study = learning_rate_study()
    for name in ("chinchilla", "chinchilla_tied", "over_training"):
        if not ask.laws or name in ask.laws:
            report(f"{name} (study)", catalogue[name], study, ask.draws)
    for name, law in catalogue.items():
        if not ask.laws or name in ask.laws:
            report(name, law, plant(law, ask.rows), ask.draws)


if __name__ == "__main__":
    main()
