"""Reading a store of 10,000 finished runs into one table, against reading file by file.

The runs have 4 seeds at 12 checkpoints, 11 or 12 columns and 28 fields in the spec, as a sweep
writes them. Both read the same files in one process, the disk warm; the baseline is a loop over
polars' read_parquet and a concatenation, without the spec. The goal is 5 seconds.
Run: python benchmarks/read_store.py [--runs 10000]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from kleiber.sweeps.runs import run_bytes
from kleiber.sweeps.store import Folder

GOAL = 5.0
SEEDS, CHECKPOINTS, COLUMNS, FIELDS = 4, 12, 12, 28


@dataclass(frozen=True)
class Numbered:
    """A spec with as many fields as an Experiment has."""

    number: int

    def key(self) -> str:
        return f"{self.number:024x}"

    def model_dump_json(self) -> str:
        fields = {f"field_{k}": k * self.number for k in range(FIELDS)}
        return json.dumps({"task": {"kind": "teacher"}, "net": fields})


def write(folder: Path, runs: int) -> None:
    """Files as `Folder.keep` writes them, without waiting for the disk after each."""
    rng, rows = np.random.default_rng(0), SEEDS * CHECKPOINTS
    for number in range(runs):
        columns = {f"own_{k}": np.full(rows, k) for k in range(COLUMNS - 2 - number % 2)}
        columns |= {"seed": np.repeat(np.arange(SEEDS), CHECKPOINTS), "loss": rng.random(rows)}
        content = run_bytes(Numbered(number), pl.DataFrame(columns))
        (folder / f"{Numbered(number).key()}.parquet").write_bytes(content)


def one_by_one(folder: Path) -> pl.DataFrame:
    """The baseline."""
    files = sorted(folder.glob("*.parquet"))
    frames = [pl.read_parquet(f).with_columns(run=pl.lit(f.stem)) for f in files]
    return pl.concat(frames, how="diagonal_relaxed")


def clock(read: Callable[[], pl.DataFrame]) -> tuple[float, float, int]:
    """Wall and CPU seconds of a call, and the rows it gave."""
    wall, cpu = time.perf_counter(), time.process_time()
    rows = read().height
    return time.perf_counter() - wall, time.process_time() - cpu, rows


def main() -> None:
    """Print both times and their ratio; exit 1 if ours is over the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, runs)
        ours = min(clock(Folder(folder).read) for _ in range(3))
        baseline = clock(lambda: one_by_one(folder))
    for what, (wall, cpu, rows) in (("file by file", baseline), ("the store", ours)):
        print(f"{what}: {wall:.2f} s, {cpu:.2f} CPU s, {rows} rows of {runs} runs")
    print(f"ratio {ours[0] / baseline[0]:.2f} (goal: at most {GOAL:g} s for 10,000)")
    raise SystemExit(ours[0] > GOAL * max(1, runs / 10_000))


if __name__ == "__main__":
    main()
