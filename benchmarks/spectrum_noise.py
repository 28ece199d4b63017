"""Source, capacity and label noise of planted kernels: bias of the values, coverage of intervals.

A target with Gaussian coefficients of power k^-(capacity source + 1) on Gaussian features of
eigenvalues k^-capacity, its labels with noise of a share of the target's power. First table: a
kernel without end, given as a Gram matrix (what is beyond the modes drawn adds its trace, and its
power as noise of 1e-3 or less of what is left at the window's end); source and noise as fitted, and
the slope that takes all power for the target's. Second table: features of so many dimensions, given
as such with the dimension known, not known, and as a Gram matrix.

    python benchmarks/spectrum_noise.py [--sets 100] [--samples 300]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np
from scipy.special import zeta

from kleiber.claim import Estimate
from kleiber.systems.feature_learning.spectrum import estimate_spectrum
from kleiber.systems.feature_learning.spectrum_fit import default_window, resolved_curve
from kleiber.systems.feature_learning.spectrum_modes import Samples, modes_of
from kleiber.systems.feature_learning.spectrum_noise import fit_source

Found = dict[str, Estimate]
CAPACITIES, SOURCES, NOISES = (1.3, 1.8, 2.5), (0.3, 0.8, 1.5), (0.0, 0.01, 0.1)
FINITE = ((1.3, 0.5, 0.01), (1.5, 0.5, 0.0), (1.5, 0.8, 0.1), (2.0, 0.5, 0.01), (2.0, 1.5, 0.0))
SHAPES = ((1000, 150), (300, 300), (300, 1000))  # samples, dimensions
MODES = 1000
DRAWS = 8


def draw_features(samples: int, modes: int, capacity: float, seed: int) -> np.ndarray:
    """Gaussian features of the first modes."""
    x = np.random.default_rng((seed, 1)).standard_normal((samples, modes))
    return x * np.arange(1.0, modes + 1) ** (-capacity / 2)


def draw_target(features: np.ndarray, source: float, capacity: float, seed: int) -> np.ndarray:
    """Labels without noise, of mean square 1 over all modes of the law."""
    k, decay = np.arange(1.0, features.shape[1] + 1), capacity * source + 1
    weights = np.random.default_rng((seed, 2)).standard_normal(k.size) / np.sqrt(zeta(decay, 1))
    return features @ (weights * k ** (capacity / 2 - decay / 2))


def add_noise(clean: np.ndarray, share: float, seed: int) -> np.ndarray:
    """The labels with noise of that variance."""
    return clean + np.sqrt(share) * np.random.default_rng((seed, 3)).standard_normal(clean.size)


def endless(capacity: float, source: float, noise: float, samples: int, seed: int) -> Found:
    """Source and noise as `estimate_spectrum` fits them, and the plain slope."""
    x = draw_features(samples, MODES, capacity, seed)
    gram = x @ x.T + zeta(capacity, MODES + 1) * np.eye(samples)
    decay = capacity * source + 1
    beyond = float(zeta(decay, MODES + 1) / zeta(decay, 1))
    clean = add_noise(draw_target(x, source, capacity, seed), beyond, seed + 10**6)
    y = add_noise(clean, noise, seed)
    modes = modes_of(Samples("gram", gram, y[:, None]))
    curve = resolved_curve(modes, default_window(modes, "resolved"))
    made = fit_source([(modes, curve)], None, 0.95)
    alpha, slope = curve.exponents()
    return {
        "source": made.source, "noise": made.noise,
        "slope": Estimate(slope, np.nan, np.nan, np.nan),
        "capacity": Estimate(alpha, np.nan, np.nan, np.nan),
    }  # fmt: skip


def finite(
    capacity: float, source: float, noise: float, samples: int, dimension: int, seed: int
) -> list[Found]:
    """The dimension given, left to be assumed, and as a Gram matrix."""
    x = draw_features(samples, dimension, capacity, seed)
    y = add_noise(draw_target(x, source, capacity, seed), noise, seed)
    given = estimate_spectrum(x, y, kind="features", dimension=dimension, draws=DRAWS)
    assumed = estimate_spectrum(x, y, kind="features", draws=DRAWS)
    gram = estimate_spectrum(x @ x.T, y, kind="gram", draws=DRAWS)
    return [dict(each.estimates) for each in (given, assumed, gram)]


def describe(made: list[Found], name: str, truth: float) -> str:
    """Median value, median interval, and share of the intervals that hold the truth."""
    items = [each[name] for each in made]
    values = np.array([item.value for item in items])
    low, high = np.array([[item.low, item.high] for item in items]).T
    value = f"{np.nanmedian(values):.3f}" if np.isfinite(values).mean() > 0.5 else "?"
    if np.isnan(low).all():
        return f"{value} ± {values.std():.3f}"
    inside = float(((low <= truth) & (truth <= high)).mean())
    ends = [f"{np.median(each):.3g}" for each in (low, high)]
    return f"{value:>6} [{', '.join(ends)}] {inside:.0%}"


def endless_rows(sets: int, samples: int) -> Iterator[str]:
    """One line for each capacity, source and noise, and the mean over all."""
    held = {"source": list[float](), "noise": list[float]()}
    yield (
        f"{'capacity, source, noise':<24}{'capacity':<16}{'source':<26}{'unknown':<9}{'noise':<32}"
        "as a slope"
    )
    for capacity in CAPACITIES:
        for source in SOURCES:
            for noise in NOISES:
                made = [endless(capacity, source, noise, samples, seed) for seed in range(sets)]
                for name, truth in (("source", source), ("noise", noise)):
                    held[name] += [m[name].low <= truth <= m[name].high for m in made]
                unknown = np.mean([np.isnan(m["source"].value) for m in made])
                yield (
                    f"{f'{capacity:g}, {source:g}, {noise:g}':<24}"
                    f"{describe(made, 'capacity', capacity):<16}"
                    f"{describe(made, 'source', source):<26}{f'{unknown:.0%}':<9}"
                    f"{describe(made, 'noise', noise):<32}{describe(made, 'slope', source)}"
                )
    yield "intervals that hold the truth: " + ", ".join(
        f"{name} {np.mean(each):.1%}" for name, each in held.items()
    )


def finite_rows(sets: int) -> Iterator[str]:
    """One line for each shape of features, law and way in which they are given."""
    for samples, dimension in SHAPES:
        for capacity, source, noise in FINITE:
            made = [
                finite(capacity, source, noise, samples, dimension, seed) for seed in range(sets)
            ]
            for i, how in enumerate(("given", "assumed", "gram")):
                each = [item[i] for item in made]
                yield (
                    f"{samples:<6}{dimension:<6}{capacity:<5g}{source:<5g}{noise:<6g}{how:<9}"
                    f"{describe(each, 'capacity', capacity):<30}"
                    f"{describe(each, 'source', source):<30}{describe(each, 'noise', noise)}"
                )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=100, help="planted kernels a row")
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--part", choices=("endless", "finite", "both"), default="both")
    ask = parser.parse_args()
    tables: dict[str, Callable[[], Iterator[str]]] = {
        "endless": lambda: endless_rows(ask.sets, ask.samples),
        "finite": lambda: finite_rows(ask.sets),
    }
    print(f"{ask.sets} sets a row: median value [median ends of 95% intervals] share that hold it")
    for name, rows in tables.items():
        if ask.part in (name, "both"):
            print(f"\n{name}")
            for row in rows():
                print(row, flush=True)


if __name__ == "__main__":
    main()
