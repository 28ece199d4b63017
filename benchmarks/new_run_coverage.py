"""Coverage of the interval of a new measurement: how often one further evaluation of one further
run lies inside a nominal 95% interval, on planted tables with runs that were evaluated repeatedly.

Each table has so many runs, each evaluated 1 to 10 times (uneven) at its own columns or along its
training; runs differ from the law by one standard deviation, evaluations from their run by another.
Twenty further runs at random columns of the same range are drawn for each table. Fits descend from
the truth, which saves the search. ``rows`` is the coverage of a fit that takes every row for a run
of its own, ``length`` the median length over that of an exact interval (the truth known).
Chinchilla's law, whose fits cost ten times as much, has a third of the tables.

    python benchmarks/new_run_coverage.py --tables 300 > docs/new_run_coverage.txt
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

import kleiber

LEVEL, FRESH, MOST = 0.95, 20, 10
TRUTH = {
    "power_law": {"A": 5.0, "alpha": 0.3},
    "chinchilla": {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37},
}
RANGES = {"n_params": (1e7, 1e10), "n_tokens": (1e9, 1e12), "n_data": (1e2, 1e6)}
SPREADS = ((0.03, 0.01), (0.01, 0.03), (0.02, 0.02), (0.0, 0.02))


@dataclass(frozen=True)
class Cell:
    """One planted situation; ``tail`` is the degrees of freedom of the noise (0: normal)."""

    law: str
    runs: int
    spread: tuple[float, float]
    least: bool
    along: bool = False
    tail: int = 0
    single: bool = False

    def __str__(self) -> str:
        loss = "squares" if self.least else "Huber"
        kind = "rows alone" if self.single else "training" if self.along else "repeats"
        noise = f"t{self.tail}" if self.tail else "normal"
        run, one = self.spread
        return f"{self.law:<11}{self.runs:>3} {kind:<11}{run:>5.2f}{one:>6.2f}  {noise:<7}{loss:<8}"


def draw_noise(cell: Cell, rng: np.random.Generator, size: int) -> np.ndarray:
    """Noise of unit variance."""
    if not cell.tail:
        return rng.standard_normal(size)
    return rng.standard_t(cell.tail, size) / np.sqrt(cell.tail / (cell.tail - 2))


def draw_columns(cell: Cell, rng: np.random.Generator, size: int) -> dict[str, np.ndarray]:
    """Random columns of so many runs."""
    ends = {n: np.log(RANGES[n]) for n in kleiber.laws.catalogue()[cell.law].variables}
    return {n: np.exp(rng.uniform(low, high, size)) for n, (low, high) in ends.items()}


def measure(
    cell: Cell, rng: np.random.Generator, columns: dict[str, np.ndarray], run: np.ndarray
) -> np.ndarray:
    """Evaluations at the columns, the rows of one run sharing what it differs by."""
    between, within = cell.spread
    shared = between * draw_noise(cell, rng, int(run.max()) + 1)[run]
    clean = np.asarray(kleiber.laws.catalogue()[cell.law](**columns, **TRUTH[cell.law]))
    return clean * np.exp(shared + within * draw_noise(cell, rng, len(run)))


def try_table(cell: Cell, seed: int) -> tuple[float, float, float] | None:
    """Shares of further runs inside both intervals, and the length; None for an unusable fit."""
    rng = np.random.default_rng([seed, cell.runs, len(cell.law)])
    count = np.ones(cell.runs, int) if cell.single else rng.integers(1, MOST + 1, cell.runs)
    run = np.repeat(np.arange(cell.runs), count)
    columns = {name: x[run] for name, x in draw_columns(cell, rng, cell.runs).items()}
    if cell.along:
        last = list(columns)[-1]
        columns[last] = columns[last] * 10 ** -rng.uniform(0, 1, len(run))
    table = {**columns, "run": run, "loss": measure(cell, rng, columns, run)}
    noise = kleiber.Noise("log") if cell.least else None
    options = {"noise": noise, "draws": 99, "seed": seed, "start": TRUTH[cell.law]}
    fit = kleiber.fit(cell.law, table, by=None if cell.single else "run", **options)
    if not fit.usable:
        return None
    fresh = draw_columns(cell, rng, FRESH)
    told = measure(cell, rng, fresh, np.arange(FRESH))
    share, length = share_inside(fit, fresh, told)
    rows = np.nan
    if cell.spread == SPREADS[0] and cell.law == "power_law":
        rows = share_inside(kleiber.fit(cell.law, table, **options), fresh, told)[0]
    return share, rows, length / (2 * 1.96 * float(np.hypot(*cell.spread)))


def share_inside(
    fit: kleiber.Fit, columns: dict[str, np.ndarray], told: np.ndarray
) -> tuple[float, float]:
    """The share of measurements inside their intervals, and the median length of those in logs."""
    out = fit.predict(columns, LEVEL, new_run=True)
    low, high = out["low"].to_numpy(), out["high"].to_numpy()
    return float(((low <= told) & (told <= high)).mean()), float(np.median(np.log(high / low)))


def run_slice(job: tuple[Cell, int, int]) -> list[tuple[float, float, float] | None]:
    """So many tables of a cell."""
    warnings.simplefilter("ignore")
    return [try_table(job[0], seed) for seed in range(job[1], job[2])]


def list_cells() -> list[Cell]:
    """Every cell."""
    made: list[Cell] = []
    for runs in (12, 30):
        for least in (True, False):
            made += [Cell("power_law", runs, spread, least) for spread in SPREADS]
            made.append(Cell("power_law", runs, (0.0, 0.02), least, single=True))
            made.append(Cell("power_law", runs, SPREADS[0], least, tail=3))
    made += [Cell("chinchilla", runs, s, True) for runs in (12, 30) for s in SPREADS[:2]]
    made += [Cell("chinchilla", 30, s, True, along=True) for s in SPREADS[:2]]
    made.append(Cell("chinchilla", 30, SPREADS[0], False))
    return made


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default="", help="cells whose line contains this")
    ask = parser.parse_args()
    print(f"nominal {LEVEL:.0%}, {ask.tables} tables a cell, {FRESH} further runs of each")
    print("law       runs evaluations  run   one  noise  loss     coverage +- error   rows  length")
    with ProcessPoolExecutor(ask.workers) as pool:
        for cell in list_cells():
            if ask.only not in str(cell):
                continue
            began = time.perf_counter()
            tables = ask.tables if cell.law == "power_law" else ask.tables // 3
            cuts = np.linspace(0, tables, 4 * ask.workers + 1).astype(int).tolist()
            jobs = [(cell, a, b) for a, b in itertools.pairwise(cuts)]
            every = [item for part in pool.map(run_slice, jobs) for item in part]
            found = np.array([item for item in every if item is not None])
            share, error = found[:, 0].mean(), found[:, 0].std() / np.sqrt(len(found))
            rows = "" if np.isnan(found[:, 1]).any() else f"{found[:, 1].mean():.3f}"
            lost = f"   {len(every) - len(found)} unusable" if len(found) < len(every) else ""
            length = np.median(found[:, 2])
            line = f"{cell} {share:>8.3f} +- {error:.3f}  {rows:>5}  {length:>6.2f}{lost}"
            print(line, flush=True)
            print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
