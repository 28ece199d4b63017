"""Coverage of the intervals of ``kleiber.speedup`` on planted ladders of two systems.

    python benchmarks/speedup_coverage.py --trials 200 > docs/speedup_coverage.txt

Each trial plants a law for A, a change for B (its compute multiplied by 0.9 to 1.65, another
exponent of the data term, another floor), and noise, which two runs of one size may share. Asked is
the multiplier at ten times the largest measured compute, or at it; the truth is found on the
planted laws themselves.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import kleiber

Array = np.ndarray
RATIO, LARGEST = 20.0, 1e20
SHARED = 0.8  # of the noise of two runs of one size, where they share any


@dataclass(frozen=True)
class Case:
    """A planted comparison."""

    name: str
    law: str = "chinchilla"
    change: str = "multiplier"
    sizes: int = 8
    noise: float = 0.003
    same: bool = True  # whether both systems have the same sizes
    shared: bool = False  # whether runs of one size share noise
    ratios: tuple[float, ...] = (RATIO,)
    beyond: float = 10.0


CASES = (
    Case("same sizes"),
    Case("same sizes, at the largest run", beyond=1.0),
    Case("runs of one size share noise", shared=True),
    Case("other sizes", same=False),
    Case("20 sizes", sizes=20),
    Case("little noise, 6 sizes", sizes=6, noise=0.001),
    Case("much noise, 12 sizes", sizes=12, noise=0.01),
    Case("Kaplan's law", law="kaplan"),
    Case("B has another exponent", change="exponent"),
    Case("B has another floor", change="floor"),
    Case("three ratios of tokens", ratios=(5.0, 20.0, 80.0), sizes=6),
)


def laws(case: Case, rng: np.random.Generator) -> tuple[Callable[..., Array], Callable[..., Array]]:
    """Return the loss of both systems as functions of parameters and tokens."""

    def chinchilla(n: Array, d: Array, floor: float = 1.8, beta: float = 0.36) -> Array:
        return floor + 480 * n**-0.34 + 2080 * (1e10 ** (beta - 0.36)) * d**-beta

    def kaplan(n: Array, d: Array) -> Array:
        return ((8.8e13 / n) ** (0.076 / 0.095) + 5.4e13 / d) ** 0.095

    first = chinchilla if case.law == "chinchilla" else kaplan
    if case.change == "exponent":
        return first, lambda n, d: chinchilla(n, d, beta=0.37)
    if case.change == "floor":
        return first, lambda n, d: chinchilla(n, d, floor=1.79)
    root = np.sqrt(np.exp(rng.uniform(-0.1, 0.5)))
    return first, lambda n, d: first(root * n, root * d)


def ladder(compute: Array, ratios: tuple[float, ...]) -> tuple[Array, Array]:
    """Return parameters and tokens of runs at every compute and ratio."""
    c, r = (grid.ravel() for grid in np.meshgrid(compute, ratios, indexing="ij"))
    n = np.sqrt(c / 6 / r)
    return n, r * n


def truth(first: Callable[..., Array], second: Callable[..., Array], at: float) -> float:
    """Return the log of the multiplier."""
    reached = second(*ladder(np.array([at]), (RATIO,)))
    steps = np.linspace(-2, 2, 40_001)
    curve = first(*ladder(at * np.exp(steps), (RATIO,)))
    return float(np.interp(-reached[0], -curve, steps))


def trial(case: Case, seed: int) -> tuple[float, bool, float]:
    """Return the error of the log multiplier, whether its interval holds, and its log width."""
    rng = np.random.default_rng([seed, 3])
    first, second = laws(case, rng)
    low = 1e18 if case.same else 1.3e18
    sizes = [np.geomspace(start, LARGEST, case.sizes) for start in (1e18, low)]
    runs = [ladder(each, case.ratios) for each in sizes]
    own = np.sqrt(1 - SHARED**2) if case.shared else 1.0
    common = SHARED * rng.standard_normal(len(runs[0][0])) if case.shared else 0.0
    tables = []
    for (n, d), law in zip(runs, (first, second), strict=True):
        noise = case.noise * (own * rng.standard_normal(len(n)) + common)
        tables.append({"n_params": n, "n_tokens": d, "loss": law(n, d) * np.exp(noise)})
    at = case.beyond * LARGEST
    found = kleiber.speedup(*tables, at=at, ratio=RATIO if len(case.ratios) > 1 else None)
    log = truth(first, second, at)
    inside = np.log(found.low) <= log <= np.log(found.high)
    return np.log(found.value) - log, inside, float(np.log(found.high / found.low))


def main() -> None:
    """Print the coverage of each case."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=200)
    trials = parser.parse_args().trials
    print(f"{trials} trials a case; intervals of 95%; two standard errors of a share of 95%: "
          f"{2 * np.sqrt(0.95 * 0.05 / trials):.1%}")  # fmt: skip
    print(f"{'':<34} inside  typical error  width (a factor)  CPU-s")
    for case in CASES:
        start = time.process_time()
        found = np.array([trial(case, seed) for seed in range(trials)], dtype=float)
        seconds = (time.process_time() - start) / trials
        error = np.sqrt(np.mean(found[:, 0] ** 2))
        print(
            f"{case.name:<34} {found[:, 1].mean():>6.1%}  {error:>12.1%}  "
            f"{np.exp(np.median(found[:, 2])):>15.2f}  {seconds:>6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
