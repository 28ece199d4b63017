"""How much of two worker processes a sweep uses: CPU seconds of its runs over workers times wall.

The runs only burn CPU time, so that what is lost is the sweep's own: starting workers, sending
specs, landing files. One worker stands beside two.

Run: python benchmarks/sweep_workers.py [--repetitions 3]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

import polars as pl

import kleiber

CASES = ((0.45, 40), (0.05, 100))  # CPU seconds of a run, number of runs
GOAL = 0.9  # of two workers, at the longer runs


def burn(spec: kleiber.Experiment) -> pl.DataFrame:
    """Use as many milliseconds of CPU time as the spec has steps."""
    end = time.process_time() + spec.steps // 1000 / 1000
    while time.process_time() < end:
        pass
    return pl.DataFrame({"loss": [1.0]})


def efficiency(seconds: float, runs: int, workers: int) -> float:
    """Return the CPU seconds of the runs over workers times the wall time of the sweep."""
    milliseconds = round(1000 * seconds)
    specs = [
        kleiber.Experiment(
            task={"kind": "formula", "n_data": 64},
            net={"kind": "mlp", "width": 4},
            steps=1000 * milliseconds + number,
        )
        for number in range(runs)
    ]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        kleiber.sweep(specs, folder, workers=workers, run=burn)
        return runs * seconds / (workers * (time.perf_counter() - start))


def main() -> None:
    """Print the efficiency of each case; exit 1 if the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    repetitions = parser.parse_args().repetitions
    missed = False
    for seconds, runs in CASES:
        for workers in (1, 2):
            found = [efficiency(seconds, runs, workers) for _ in range(repetitions)]
            share = statistics.median(found)
            print(f"{runs} runs of {seconds} s on {workers} workers: {share:.0%} of their time")
            missed |= seconds == CASES[0][0] and workers == 2 and share < GOAL
    raise SystemExit(missed)


if __name__ == "__main__":
    main()
