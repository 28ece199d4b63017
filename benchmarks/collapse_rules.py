"""What the two rules of `dynamical_exponents` make of curves whose exponents are known.

The curves are the perceptron's master curve (gamma_1 = 1/2, gamma_2 = 1, product and measured
exponent 1/2), at six n_data and 40 norms from 1/100 to 10 times the best one, with what real runs
have: each seed's norms off by a factor (10%) and errors by another (2%), and each point by 1%.
Prints mean and root-mean-square error of each exponent and how often its 95% interval held the
truth. The early law of the master curve is not a pure power: in the windows found its slope is a
little below 1/2, which is why both rules are low.
"""

from __future__ import annotations

import time

import numpy as np
import polars as pl

from kleiber.reduce.collapse import dynamical_exponents
from kleiber.reduce.collapse_record import NAMES
from kleiber.theory.perceptron import master_curve, master_optimum

SIZES = 200.0 * 2.0 ** np.arange(6)
TRUTH = dict(zip(NAMES, (0.5, 1.0, 0.5, 0.5), strict=True))
TABLES = 50


def planted(seeds: int, rng: np.random.Generator) -> pl.DataFrame:
    """One table of noisy curves."""
    best = master_optimum().ell
    ell = best * np.geomspace(0.01, 10, 40)
    clean = master_curve(ell)
    rows: list[pl.DataFrame] = []
    for size in SIZES:
        for seed in range(seeds):
            shift, level = np.exp(rng.normal(size=2) * [0.1, 0.02])
            error = 0.1 * clean * size**-0.5 * level * np.exp(0.01 * rng.normal(size=len(ell)))
            columns = {"norm": ell * size * shift, "error": error}
            rows.append(pl.DataFrame(columns).with_columns(n_data=pl.lit(size), seed=pl.lit(seed)))
    return pl.concat(rows)


def main() -> None:
    """Print the table."""
    start = time.process_time()
    rng = np.random.default_rng(0)
    rules: tuple[str, ...] = ("authors", "robust")
    print(f"{TABLES} tables each; mean, rms error, share of 95% intervals that held the truth\n")
    print(f"{'seeds':>5s} {'rule':8s}" + "".join(f"{name:>26s}" for name in NAMES))
    for seeds in (1, 3, 10):
        tables = [planted(seeds, rng) for _ in range(TABLES)]
        for rule in rules:
            found = [dynamical_exponents(table, rule=rule) for table in tables]
            cells: list[str] = []
            for name, truth in TRUTH.items():
                values = np.array([item[name].value for item in found])
                held = np.mean([item[name].low <= truth <= item[name].high for item in found])
                rms = np.sqrt(np.mean((values - truth) ** 2))
                cells.append(f"{values.mean():12.4f} {rms:7.4f} {held:5.0%}")
            print(f"{seeds:5d} {rule:8s}" + "".join(cells))
    print(f"\n{time.process_time() - start:.0f} s of CPU")


if __name__ == "__main__":
    main()
