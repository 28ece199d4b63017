"""How the CPU time and the memory of each verb grow with the size of its work.

Each size runs in a fresh process: seconds of CPU of the second call (the first loads libraries and
fills caches), and what the first call adds to the peak memory of the process. The exponent is that
of CPU time between the two largest sizes: 1 is linear. Readers are compared with polars on the same
file in the same process.

Run: python benchmarks/growth.py [CASE ...]
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import kleiber
from kleiber.attempts.counts import pass_at_k
from kleiber.systems.feature_learning.dmft import solve_dmft

Call = Callable[[], Any]
RNG = np.random.default_rng(0)


def make_runs(rows: int) -> pl.DataFrame:
    """Make runs that follow Chinchilla's law, with noise of 0.3%."""
    n, d = 10 ** RNG.uniform(7, 10, rows), 10 ** RNG.uniform(8.5, 11, rows)
    loss = (1.7 + 400 / n**0.34 + 400 / d**0.28) * np.exp(0.003 * RNG.normal(size=rows))
    return pl.DataFrame({"n_params": n, "n_tokens": d, "loss": loss})


def make_counts(problems: int, models: int = 1) -> pl.DataFrame:
    """Make counts of successes in 100 attempts at problems of beta-distributed difficulty."""
    size = problems * models
    return pl.DataFrame(
        {
            "model": np.repeat(np.arange(models), problems).astype(str),
            "problem": np.tile(np.arange(problems), models),
            "attempts": np.full(size, 100),
            "successes": RNG.binomial(100, RNG.beta(0.5, 2.0, size)),
        }
    )


def fit_rows(rows: int) -> Call:
    """Fit a law with 200 refits to so many rows."""
    table = make_runs(rows)
    return lambda: kleiber.fit(kleiber.laws.chinchilla, table, draws=200)


def plan_draws(draws: int) -> Call:
    """Plan a budget over so many draws."""
    fitted = kleiber.fit(kleiber.laws.chinchilla, make_runs(240), draws=draws)
    return lambda: kleiber.plan(fitted, budget=1e22)


def frontier_budgets(budgets: int) -> Call:
    """Trace the optimal curve over so many budgets with 1,000 draws."""
    fitted = kleiber.fit(kleiber.laws.chinchilla, make_runs(240))
    return lambda: kleiber.trace_frontier(fitted, np.geomspace(1e20, 1e23, budgets).tolist())


def next_candidates(candidates: int) -> Call:
    """Choose the next run among so many candidates with 1,000 draws."""
    x = np.geomspace(1e6, 1e9, 30)
    loss = (1.8 + 400 / x**0.4) * np.exp(0.002 * RNG.normal(size=30))
    fitted = kleiber.fit("E + A/n_params**alpha", {"n_params": x, "loss": loss})
    table = pl.DataFrame({"n_params": 10 ** RNG.uniform(6, 11, candidates)})
    return lambda: kleiber.next_run(fitted, "E", 1e12, "6*n_params", candidates=table)


def pass_problems(problems: int) -> Call:
    """Measure pass@k of so many problems, with errors from 1,000 resamples."""
    table = make_counts(problems)
    return lambda: pass_at_k(table, k=[1, 10], draws=1000)


def lid_models(models: int) -> Call:
    """Fit the hard-tail family to so many models at 100 problems each, without draws."""
    table = make_counts(100, models)
    return lambda: kleiber.fit_counts(table, family="lid", by="model", draws=0)


def failure_attempts(points: int) -> Call:
    """Compute the hard tail's failure at so many k."""
    model, k = kleiber.theory.HardTail(), np.geomspace(1, 1e6, points)
    return lambda: model.failure(k=k, rho=0.35)


def solve_points(points: int) -> Call:
    """Solve the hard tail at so many amounts of data."""
    model = kleiber.theory.HardTail()
    grid = {"n_data": np.unique(np.round(np.geomspace(200, 1e6, points))), "k": [10.0]}
    rows = {"n_data": grid["n_data"], "k": np.full(len(grid["n_data"]), 10.0)}
    return lambda: model.solve(rows)


def mean_field_steps(steps: int) -> Call:
    """Solve the mean-field theory up to so many steps."""
    model = kleiber.theory.FeatureLearning(width=50, batch_size=20, step_size=0.3, richness=1.0)
    return lambda: solve_dmft(model, np.array([steps]))


def _written(rows: int, suffix: str, folder: Path) -> Path:
    table = make_runs(rows).with_columns(run=pl.Series([f"r{i % 97}" for i in range(rows)]))
    file = folder / f"runs{suffix}"
    table.write_csv(file) if suffix == ".csv" else table.write_ndjson(file)
    return file


def read_csv(rows: int) -> Call:
    """Read a CSV file of so many rows."""
    return _reader(rows, ".csv")


def read_json_lines(rows: int) -> Call:
    """Read a JSON Lines file of so many rows."""
    return _reader(rows, ".jsonl")


def _reader(rows: int, suffix: str) -> Call:
    folder = tempfile.TemporaryDirectory()
    file = _written(rows, suffix, Path(folder.name))

    def read() -> None:
        kleiber.read_table(file)
        assert folder.name  # the folder lives as long as the call

    read.baseline = lambda: (pl.read_csv if suffix == ".csv" else pl.read_ndjson)(file)  # pyright: ignore
    return read


CASES: dict[str, tuple[Callable[[int], Call], tuple[int, ...], str]] = {
    "fit": (fit_rows, (240, 2_400, 24_000), "linear"),
    "plan": (plan_draws, (100, 1_000, 10_000), "20 ms at 1,000"),
    "frontier": (frontier_budgets, (5, 20, 80), "linear"),
    "next": (next_candidates, (500, 5_000, 50_000), "300 MB at 50,000"),
    "pass_at_k": (pass_problems, (1_000, 10_000, 100_000), "300 MB at 100,000"),
    "lid": (lid_models, (5, 35), "under 6.5 s at 35"),
    "failure": (failure_attempts, (1_000, 10_000, 100_000), "300 MB at 100,000"),
    "hard_tail": (solve_points, (50, 200), "under 8 ms a point"),
    "mean_field": (mean_field_steps, (250, 500, 1_000), "10 s at 1,000"),
    "csv": (read_csv, (20_000, 200_000), "under 6 times polars"),
    "json_lines": (read_json_lines, (20_000, 200_000), "under 18 times polars"),
}


def peak_memory() -> float:
    """Return the peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cpu_seconds(call: Call, repetitions: int) -> float:
    """Return the median CPU seconds of a call."""
    times: list[float] = []
    for _ in range(repetitions):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return statistics.median(times)


def measure(name: str, size: int) -> None:
    """Print the CPU seconds, the added MB and the baseline's seconds of one case."""
    call = CASES[name][0](size)
    before = peak_memory()
    first = cpu_seconds(call, 1)
    added = peak_memory() - before
    seconds = cpu_seconds(call, 5 if first < 1 else 1)
    baseline = getattr(call, "baseline", None)
    print(seconds, added, cpu_seconds(baseline, 5) if baseline else math.nan)


def main() -> None:
    """Print a line for each size of each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--one", nargs=2, metavar=("CASE", "SIZE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        return measure(given.one[0], int(given.one[1]))
    for name in given.cases or CASES:
        _, sizes, goal = CASES[name]
        found: list[tuple[int, float]] = []
        for size in sizes:
            words = [sys.executable, __file__, "--one", name, str(size)]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            seconds, added, baseline = (float(word) for word in done.stdout.split()[-3:])
            found.append((size, seconds))
            times = f", {seconds / baseline:.1f} times polars" if math.isfinite(baseline) else ""
            print(f"{name:>10} {size:>7,}: {seconds:8.3f} CPU s, {added:6.0f} MB more{times}")
        (low, start), (high, end) = found[-2:]
        exponent = math.log(end / start) / math.log(high / low)
        print(f"{name:>10} grows as size^{exponent:.1f} (goal: {goal})", flush=True)


if __name__ == "__main__":
    main()
