"""How often 95% intervals of `reduce envelope-exponents` hold the truth for sizes with one seed.

Curves of seven sizes with L = 1/n + n/C^.5 times noise, whose exponents of N* and of the loss are
.25, 200 sets of curves a row.

    python benchmarks/envelope_coverage.py
"""

from __future__ import annotations

import argparse

import numpy as np
import polars as pl

from kleiber.errors import BadTable
from kleiber.systems.feature_learning.envelope import envelope_exponents

TRUTH, SIZES = 0.25, 2.0 ** np.arange(1, 8)
COMPUTE = 1e3 * 2.0 ** np.arange(0, 28, 0.25)


def curves(noise: float, rng: np.random.Generator) -> pl.DataFrame:
    """A curve for each size, with independent noise at each point."""
    n, c = (item.ravel() for item in np.meshgrid(SIZES, COMPUTE))
    loss = (1 / n + n / c**0.5) * np.exp(noise * rng.standard_normal(len(n)))
    return pl.DataFrame({"width": n, "flops": c, "loss": loss})


def main() -> None:
    """Print a row for each noise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=200)
    sets = parser.parse_args().sets
    for noise in (0.003, 0.01, 0.03):
        rng = np.random.default_rng(0)
        held: dict[str, list[bool]] = {"width": [], "loss": []}
        refused = 0
        for _ in range(sets):
            try:
                found = envelope_exponents(curves(noise, rng))
            except BadTable:
                refused += 1
                continue
            for name, item in found.items():
                held[name].append(item.low <= TRUTH <= item.high)
        shares = "  ".join(f"{name} {np.mean(item):.1%}" for name, item in held.items())
        print(f"noise {noise:.1%}:  {shares}  refused {refused}", flush=True)


if __name__ == "__main__":
    main()
