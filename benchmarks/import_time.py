"""CPU time of `import kleiber` against the import of its four heavy dependencies alone.

Each import runs in fresh processes, the two kinds in turn; the medians are compared. The goal is
a ratio of at most 1.4.  Run: python benchmarks/import_time.py [--processes 15]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

GOAL = 1.4
BASELINE = "import numpy, scipy.optimize, polars, pydantic"
OURS = "import kleiber"


def cpu_seconds(statement: str) -> float:
    """CPU seconds, of the user and the system, that a fresh interpreter spends on a statement."""
    code = (
        f"import time\nstart = time.process_time()\n{statement}\nprint(time.process_time() - start)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def measure(processes: int) -> tuple[float, float]:
    """Median CPU seconds of the baseline and of kleiber, after one run of each to warm the disk."""
    pairs = [(cpu_seconds(BASELINE), cpu_seconds(OURS)) for _ in range(processes + 1)][1:]
    baseline, ours = zip(*pairs, strict=True)
    return statistics.median(baseline), statistics.median(ours)


def main() -> None:
    """Print both times and their ratio; exit 1 if the ratio is over the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=15)
    baseline, ours = measure(parser.parse_args().processes)
    print(f"{BASELINE}: {baseline:.3f} CPU s")
    print(f"{OURS}: {ours:.3f} CPU s")
    print(f"ratio {ours / baseline:.2f} (goal: at most {GOAL})")
    raise SystemExit(ours / baseline > GOAL)


if __name__ == "__main__":
    main()
