"""What the two rules of `dynamical_exponents` make of curves whose exponents are known.

Three kinds of curves, each at several n_data, with 40 norms from 1/100 (or 1/1000) to 10 times the
best one, and what real runs have: each seed's norms off by a factor (10%) and errors by another
(2%), and each point by 1%.

- "master": the perceptron's master curve (gamma_1 = 1/2, gamma_2 = 1). Its early law is no pure
  power: in the windows found its slope is a little below 1/2, so that gamma_1 comes out low.
- "power": an early law that is a pure power up to a decade below the optimum (.4, 1).
- "slow": x^-.4 + 2 x^.2, whose slope is .4 only far below all norms (.4, .8).

Prints, by rule, mean and root-mean-square error of each exponent, the share of 95% intervals that
held the truth, and half of their mean width over 1.96 root-mean-square errors (1 if as wide as
needed).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from kleiber.systems.implicit_bias.collapse import dynamical_exponents
from kleiber.systems.implicit_bias.collapse_record import NAMES
from kleiber.systems.implicit_bias.perceptron import master_curve, master_optimum


@dataclass(frozen=True)
class Kind:
    """Curves error/error_opt of norm/norm_opt, their exponents, and where they begin."""

    curve: Callable[[Any], Any]
    gamma_1: float
    gamma_2: float
    start: float


def _master(x: Any) -> Any:
    best = master_optimum()
    return master_curve(best.ell * x) / best.d


def _power(x: Any) -> Any:
    return x**-0.4 * ((1 + 4 / 3 * x**2.1) / (7 / 3)) ** (1 / 3)


KINDS = {
    "master": Kind(_master, 0.5, 1.0, -2.0),
    "power": Kind(_power, 0.4, 1.0, -2.0),
    "slow": Kind(lambda x: (x**-0.4 + 2 * x**0.2) / 3, 0.4, 0.8, -3.0),
}
SETS = ((6, 1), (6, 3), (6, 10), (10, 3))  # numbers of n_data and of seeds


def planted(kind: Kind, numbers: int, seeds: int, rng: np.random.Generator) -> pl.DataFrame:
    """One table of noisy curves."""
    x = np.logspace(kind.start, 1, 40)
    clean = kind.curve(x)
    rows: list[pl.DataFrame] = []
    for size in 200.0 * np.geomspace(1, 32, numbers):
        for seed in range(seeds):
            shift, level = np.exp(rng.normal(size=2) * [0.1, 0.02])
            least = 0.1 * size ** -(kind.gamma_1 * kind.gamma_2)
            error = clean * least * level * np.exp(0.01 * rng.normal(size=len(x)))
            columns = {"norm": x * size**kind.gamma_2 * shift, "error": error}
            rows.append(pl.DataFrame(columns).with_columns(n_data=pl.lit(size), seed=pl.lit(seed)))
    return pl.concat(rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=50)
    parser.add_argument("--only", choices=KINDS, nargs="*", default=list(KINDS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 3, 10])
    given = parser.parse_args()
    tables = given.tables
    start = time.process_time()
    print(f"{tables} tables a row; mean, rms error, coverage, width over what is needed\n")
    print("kind   n_data seeds rule    " + "".join(f"{name:>27s}" for name in NAMES))
    for name in given.only:
        kind = KINDS[name]
        for numbers, seeds in SETS:
            if seeds not in given.seeds:
                continue
            rng = np.random.default_rng(0)
            made = [planted(kind, numbers, seeds, rng) for _ in range(tables)]
            for rule in ("authors", "robust"):
                cells = measure(made, rule, kind)
                print(f"{name:8s}{numbers:5d}{seeds:6d} {rule:8s}" + "".join(cells), flush=True)
    print(f"\n{time.process_time() - start:.0f} s of CPU")


def measure(tables: list[pl.DataFrame], rule: str, kind: Kind) -> list[str]:
    """One cell for each exponent."""
    found = [dynamical_exponents(table, rule=rule) for table in tables]
    product = kind.gamma_1 * kind.gamma_2
    cells: list[str] = []
    for name, truth in zip(NAMES, (kind.gamma_1, kind.gamma_2, product, product), strict=True):
        values, low, high = (
            np.array([getattr(item[name], part) for item in found])
            for part in ("value", "low", "high")
        )
        held = np.mean((low <= truth) & (truth <= high))
        rms = np.sqrt(np.mean((values - truth) ** 2))
        wide = np.mean(high - low) / 2 / 1.96 / rms
        cells.append(f"{values.mean():11.3f} {rms:5.3f} {held:4.0%} {wide:4.1f}")
    return cells


if __name__ == "__main__":
    main()
