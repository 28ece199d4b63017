"""How often the intervals of `judge_ensemble` hold the truth where nets are not alike.

Ensembles at 32 points whose mean and variance are known, at widths 8 and 16, B^2 and V alike, or
nothing shared (B = 0). Nets differ

- "many modes": independently at every point;
- "one mode": by one function times a random number, so that squared errors are chi^2 of one degree;
- "three modes": by three functions;
- "Student, 3" and "log-normal": as "many modes", each net by its own random factor, whose squares
  have no variance (3 degrees of freedom) or a log-normal law (1.5);
- "dead": as "many modes", but 15% of the nets make one and the same error, 100 times as large.

Prints the share of sets whose 95% interval held the truth, and of sets that came with a note; of
"dead" and heavy tails also among the sets without a note (in brackets).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from kleiber.systems.lottery_tickets.ensemble import EnsembleVerdict, judge_ensemble

POINTS = 32
DEAD, FAR = 0.15, 10.0
NAMES = ("mse", "bias", "variance", "share", "mse of 4", "ratio")

Functions = Float[np.ndarray, "functions points"]
Drawn = Float[np.ndarray, "nets points"]


def _functions() -> Functions:
    k, at = np.arange(1, 8)[:, None], (np.arange(POINTS) + 0.5) / POINTS
    return np.sqrt(2) * np.cos(np.pi * k * at)  # orthonormal


MODES = _functions()
KINDS: dict[str, Callable[[np.random.Generator, int], Drawn]] = {
    "many modes": lambda rng, n: rng.standard_normal((n, POINTS)),
    "one mode": lambda rng, n: rng.standard_normal((n, 1)) * MODES[0],
    "three modes": lambda rng, n: rng.standard_normal((n, 3)) @ MODES[:3] / 3**0.5,
    "Student, 3": lambda rng, n: (
        rng.standard_normal((n, POINTS)) / np.sqrt(rng.chisquare(3, (n, 1)))
    ),
    "log-normal": lambda rng, n: (
        rng.standard_normal((n, POINTS)) * np.exp(0.75 * rng.standard_normal((n, 1)) - 0.75**2)
    ),
}  # of mean 0 and variance 1


def draw(kind: str, nets: int, shared: float, rng: np.random.Generator) -> Drawn:
    """Errors of nets; ``shared`` is B."""
    bias = shared * MODES[4]
    if kind != "dead":
        return bias + KINDS[kind](rng, nets)
    alive = bias + KINDS["many modes"](rng, nets)
    return np.where(rng.random((nets, 1)) < DEAD, FAR * MODES[0], alive)


def parts(kind: str, shared: float) -> tuple[float, float]:
    """B^2 and V."""
    if kind != "dead":
        return shared**2, 1.0
    mean = (1 - DEAD) * shared * MODES[4] + DEAD * FAR * MODES[0]
    total = (1 - DEAD) * (1 + shared**2) + DEAD * FAR**2
    bias = float((mean**2).mean())
    return bias, total - bias


def holds(verdict: EnsembleVerdict, bias: float, variance: float) -> list[bool]:
    """Which intervals hold the truth."""
    part, total = verdict.widths[0], bias + variance
    found = (
        (part.mse, total),
        (part.bias, bias),
        (part.variance, variance),
        (part.bias_share, bias / total),
        (part.ensembles[4], bias + variance / 4),
        (verdict.trades[0].ratio, (bias + variance / 2) / total),
    )
    return [item.low <= truth <= item.high for item, truth in found]


def measure(kind: str, nets: int, shared: float, sets: int) -> Sequence[str]:
    """A row of the table."""
    rng = np.random.default_rng(0)
    truth = parts(kind, shared)
    rows: list[list[bool]] = []
    noted: list[bool] = []
    for case in range(sets):
        errors = {width: draw(kind, nets, shared, rng) for width in (8, 16)}
        verdict = judge_ensemble(errors, np.zeros(POINTS), members=(4,), seed=case)
        rows.append(holds(verdict, *truth))
        noted.append(any(note.startswith("Width 8:") for note in verdict.notes))
    held, quiet = np.array(rows), ~np.array(noted)
    cells = [f"{share:7.0%}" for share in held.mean(0)]
    if 0 < quiet.sum() < sets:
        without = held[quiet].mean(0)
        cells = [f"{cell} ({share:4.0%})" for cell, share in zip(cells, without, strict=True)]
    return [f"{cell:>15s}" for cell in cells] + [f"{np.mean(noted):8.0%}"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=200)
    sets = parser.parse_args().sets
    start = time.process_time()
    print(f"{sets} sets a row; in brackets, of sets without a note\n")
    print(
        f"{'':12s}{'nets':>5s}{'B^2':>5s}" + "".join(f"{name:>15s}" for name in NAMES) + "   noted"
    )
    for kind in (*KINDS, "dead"):
        for nets in (6, 10, 32):
            for shared in (0.0, 1.0):
                row = "".join(measure(kind, nets, shared, sets))
                print(f"{kind:12s}{nets:5d}{shared**2:5.0f}{row}", flush=True)
    print(f"\n{time.process_time() - start:.0f} s of CPU")


if __name__ == "__main__":
    main()
