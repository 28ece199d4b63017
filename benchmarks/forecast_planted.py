"""Tables and curves with known laws, which ``benchmarks/forecast.py`` forecasts.

Laws are those of the literature and some that no family of the forecast contains: small runs that
are under-tuned, a data term that begins late, breaks, plateaus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
NOISES = (0.002, 0.01)
CURVE_NOISES = (0.001, 0.01, 0.05)
CURVE_SIZES = ((7, 100.0), (15, 300.0), (40, 1000.0))  # rows, largest over smallest x


@dataclass(frozen=True)
class Planted:
    """A table to forecast from, and the rows that are held out: columns and measured target."""

    name: str
    x: Array
    y: Array
    at: Array
    measured: Array


def isoflop(rng: np.random.Generator) -> Array:
    """Seven sizes at each of eleven budgets."""
    rows = []
    for budget in np.geomspace(1e18, 3e21, 11):
        best = 0.1 * (budget / 6) ** 0.5 * rng.uniform(0.5, 2)
        for k in np.linspace(-1, 1, 7):
            size = best * 10 ** (k / 2)
            rows.append((size, budget / 6 / size))
    return np.array(rows)


def ladder(rng: np.random.Generator) -> Array:
    """Eight sizes with 5 to 640 tokens for each parameter."""
    ratios = 5 * 2.0 ** np.arange(8)
    return np.array([(n, n * r) for n in np.geomspace(1e7, 7e9, 8) for r in ratios])


def grid(rng: np.random.Generator) -> Array:
    """Six sizes with eight numbers of tokens."""
    tokens = np.geomspace(1e9, 3e11, 8)
    return np.array([(n, d) for n in np.geomspace(3e7, 2e9, 6) for d in tokens])


def checkpoints(rng: np.random.Generator) -> Array:
    """Thirty checkpoints of each of fifteen sizes."""
    tokens = np.linspace(2e9, 3.5e11, 30)
    return np.array([(n, d) for n in np.geomspace(5e7, 2e9, 15) for d in tokens])


def chinchilla(x: Array) -> Array:
    return 1.8 + 480 * x[:, 0] ** -0.34 + 2080 * x[:, 1] ** -0.36


def kaplan(x: Array) -> Array:
    return ((8.8e13 / x[:, 0]) ** (0.076 / 0.095) + 5.4e13 / x[:, 1]) ** 0.095


def joint(x: Array) -> Array:
    g = 0.6
    return 1.6 + ((700 * x[:, 0] ** -0.4) ** (1 / g) + (1800 * x[:, 1] ** -0.35) ** (1 / g)) ** g


def undertuned(x: Array) -> Array:
    return chinchilla(x) * (1 + 0.06 * (x[:, 1] / 1e9) ** -0.7)


def late(x: Array) -> Array:
    return 1.9 + 300 * x[:, 0] ** -0.32 + 8e3 * (x[:, 1] + 2e9) ** -0.43


DESIGNS = (isoflop, ladder, grid, checkpoints)
LAWS = (chinchilla, kaplan, joint, undertuned, late)
CURVES: dict[str, Callable[[Array], Array]] = {  # of log x from 0 on
    "floor": lambda z: 0.2 + 0.8 * np.exp(-0.4 * z),
    "no floor": lambda z: np.exp(-0.25 * z),
    "steep": lambda z: np.exp(-z) + 0.001,
    "plateau": lambda z: 0.3 + 0.7 * np.exp(-1.2 * z),
    "slow": lambda z: 2 + np.exp(-0.1 * z),
    "steeper late": lambda z: np.exp(-0.1 * z - 0.15 * np.logaddexp(0, 2 * (z - 3))),
    "flatter late": lambda z: np.exp(-0.5 * z + 0.175 * np.logaddexp(0, 2 * (z - 3))),
    "ceiling": lambda z: 0.1 + 0.9 / (1 + np.exp(0.6 * (z - 2.5))),
}


def planted_tables(cut: float, seed: int) -> Iterator[Planted]:
    """Tables of which rows up to 1/cut of the largest compute are known, those above 1/5 asked."""
    rng = np.random.default_rng(seed)
    for design in DESIGNS:
        for law in LAWS:
            for noise in NOISES:
                x = design(rng)
                y = law(x) * np.exp(noise * rng.standard_t(5, len(x)))
                compute = x.prod(axis=1)
                known, asked = compute <= compute.max() / cut, compute > compute.max() / 5
                name = f"{design.__name__}, {law.__name__}, noise {noise:g}"
                if known.sum() >= 8:
                    yield Planted(name, x[known], y[known], x[asked], y[asked])


def planted_curves(seed: int) -> Iterator[Planted]:
    """Curves in one column, asked for up to four times their largest x."""
    rng = np.random.default_rng(seed)
    for name, law in CURVES.items():
        for rows, span in CURVE_SIZES:
            for noise in CURVE_NOISES:
                z = np.linspace(0, np.log(span), rows)
                far = np.linspace(z[-1] + 0.1, z[-1] + np.log(4), 8)
                y, measured = (law(u) * np.exp(noise * rng.normal(size=len(u))) for u in (z, far))
                title = f"{name}, {rows} rows, noise {noise:g}"
                yield Planted(title, np.exp(z)[:, None], y, np.exp(far)[:, None], measured)
