"""Estimates over seeds with 95% intervals: means, medians, ratios, shares and slopes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from scipy import special

from kleiber.claim import Estimate, student
from kleiber.errors import BadTable
from kleiber.maths.seeds import stream

LEVEL = 0.95
DRAWS = 999
MIN_SEEDS = 4  # seeds

Seeds = Float[np.ndarray, "seeds"]


def mean_of(values: Seeds) -> Estimate:
    """Estimate the mean over seeds, with Student's interval."""
    n = _check_count(values)
    error = float(values.std(ddof=1)) / n**0.5
    return student(float(values.mean()), error, n - 1, LEVEL)


def median_of(values: Seeds, *, seed: int = 0) -> Estimate:
    """Estimate the median over seeds.

    The interval is between order statistics and needs no assumption (with 5 seeds or fewer it is
    the whole range); the standard error is that of a bootstrap.
    """
    n = _check_count(values)
    ordered = np.sort(values)
    chances = special.bdtr(
        np.arange(n), n, 0.5
    )  # probabilities of that many values below the median
    skipped = max(int((chances <= (1 - LEVEL) / 2).sum()), 1)
    error = float(np.median(_resample(values, seed), axis=1).std(ddof=1))
    return Estimate(
        float(np.median(values)), error, float(ordered[skipped - 1]), float(ordered[n - skipped])
    )


def ratio_of(top: Seeds, bottom: Seeds, *, seed: int = 0) -> Estimate:
    """Estimate the ratio of two positive means over the same seeds.

    The interval is Student's in the logarithm, with the spread of a bootstrap.
    """
    n = _check_count(top)
    if (top < 0).any() or (bottom <= 0).any() or not top.any():
        raise BadTable(
            "A ratio needs positive denominators for all seeds, and numerators from 0 of which at "
            "least "
            "one is positive."
        )
    rows = stream(seed, "seeds").integers(n, size=(DRAWS, n))
    means = np.asarray(top[rows].mean(1), float)
    means = np.where(means > 0, means, float(top.mean()) / n)  # a draw of seeds that are 0
    drawn = np.log(means) - np.log(bottom[rows].mean(1))
    value = float(top.mean() / bottom.mean())
    return _log_interval(value, drawn, n)


def share_of(count: int, total: int) -> Estimate:
    """Estimate the share count/total with Wilson's interval (Wilson 1927)."""
    if not 0 <= count <= total or total < 1:
        raise BadTable(f"A share needs a count from 0 to a total above 0, got {count} of {total}.")
    z = float(special.ndtri(0.5 + LEVEL / 2))
    value = count / total
    centre = (value + z**2 / (2 * total)) / (1 + z**2 / total)
    spread: float = (value * (1 - value) / total + z**2 / (4 * total**2)) ** 0.5
    half = z / (1 + z**2 / total) * spread
    low, high = max(centre - half, 0.0), min(centre + half, 1.0)
    return Estimate(value, float(half / z), float(min(low, value)), float(max(high, value)))


def slope_of(values: Mapping[int, Seeds], *, seed: int = 0) -> Estimate:
    """Estimate the slope of log median against log width, by a bootstrap over each width's
    seeds."""
    if len(values) < 2:
        raise BadTable("A slope needs at least 2 widths.")
    x = np.log(sorted(values))
    each = [values[width] for width in sorted(values)]
    if any((item <= 0).any() for item in each):
        raise BadTable("The slope of a logarithm needs positive numbers.")
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    medians = np.log([float(np.median(item)) for item in each])
    drawn = [
        np.log(np.median(_resample(item, seed, width), axis=1))
        for width, item in zip(sorted(values), each, strict=True)
    ]
    n = min(_check_count(item) for item in each)
    # a bootstrap of n seeds lacks the factor sqrt(n/(n - 1))
    error = float((weights @ np.stack(drawn)).std(ddof=1)) * (1 + 1 / (n - 1)) ** 0.5
    return student(float(weights @ medians), error, n - 1, LEVEL)


def _log_interval(value: float, drawn: Float[np.ndarray, "draws"], n: int) -> Estimate:
    """Return the interval of a positive number from bootstrap draws of its logarithm."""
    spread = float(drawn.std(ddof=1)) * (1 + 1 / (n - 1)) ** 0.5
    stretch = float(np.exp(float(special.stdtrit(n - 1, 0.5 + LEVEL / 2)) * spread))
    return Estimate(value, value * spread, value / stretch, value * stretch)


def _resample(values: Seeds, seed: int, width: int = 0) -> Float[np.ndarray, "draws seeds"]:
    n = len(values)
    return values[stream(seed, f"seeds {width}").integers(n, size=(DRAWS, n))]


def _check_count(values: Seeds) -> int:
    if len(values) < MIN_SEEDS:
        raise BadTable(
            f"An interval over seeds needs at least {MIN_SEEDS} of them, got {len(values)}."
        )
    return len(values)
