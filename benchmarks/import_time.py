"""CPU time of importing kleiber, and of quick commands, against its four heavy dependencies alone.

The commands are `--help`, `--version`, a mistyped one, the help of every command and an option that
does not exist. Each statement runs in fresh processes,
baseline and ours in turn; the medians are compared. The goal is a ratio of at most 1.4 for the
import and .6 for the commands.

Run: python benchmarks/import_time.py [--processes 15]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

from kleiber.cli import COMMANDS

GOAL = 1.4
BASELINE = "import numpy, scipy.optimize, polars, pydantic"
OURS = "import kleiber"
COMMAND_GOAL = 0.6
QUICK = ("--help", "--version", "fitt", "fit law table --drawss 3")
COMMAND = (
    "import contextlib, io, sys\nfrom kleiber.cli import main\n"
    "sys.argv = ['kleiber', *{words!r}.split()]\n"
    "try:\n with contextlib.redirect_stdout(io.StringIO()): main()\n"
    "except SystemExit as end: assert (end.code or 0) == {code}, end.code"
)


def cpu_seconds(statement: str) -> float:
    """CPU seconds, of the user and the system, that a fresh interpreter spends on a statement."""
    code = (
        f"import time\nstart = time.process_time()\n{statement}\nprint(time.process_time() - start)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def measure(processes: int, statement: str = OURS) -> tuple[float, float]:
    """Median CPU seconds of the baseline and of kleiber, after one run of each to warm the disk."""
    pairs = [(cpu_seconds(BASELINE), cpu_seconds(statement)) for _ in range(processes + 1)][1:]
    baseline, ours = zip(*pairs, strict=True)
    return statistics.median(baseline), statistics.median(ours)


def main() -> None:
    """Print both times and their ratio; exit 1 if the ratio is over the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=15)
    processes = parser.parse_args().processes
    baseline, ours = measure(processes)
    print(f"{BASELINE}: {baseline:.3f} CPU s")
    print(f"{OURS}: {ours:.3f} CPU s")
    print(f"ratio {ours / baseline:.2f} (goal: at most {GOAL})")
    missed = ours / baseline > GOAL
    for words in (*QUICK, *(f"{command} --help" for command in COMMANDS)):
        code = 2 if words.startswith("fit") and "help" not in words else 0
        baseline, ours = measure(processes, COMMAND.format(words=words, code=code))
        ratio = ours / baseline
        print(f"kleiber {words}: {ours:.3f} CPU s, ratio {ratio:.2f} (goal: {COMMAND_GOAL})")
        missed |= ratio > COMMAND_GOAL
    raise SystemExit(missed)


if __name__ == "__main__":
    main()
