"""The forecast from capacity and source: exponents of the loss and the regime of the task."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from kleiber.claim import Estimate
from kleiber.laws.bottlenecks import bottleneck_exponents

ENDLESS = 1e6  # stands for an infinite source in the arithmetic
SMALLEST = (
    1e-6  # of a source, and of a capacity above 1: below there is no forecast, and a note says so
)
REGIMES = ("hard", "easy", "super_easy")


def forecast_exponents(
    value: Float[np.ndarray, "2"], drawn: Float[np.ndarray, "draws 2"], level: float
) -> tuple[dict[str, Estimate], dict[str, float]]:
    """Return estimates by name and the share of the draws in each regime.

    `value` has capacity and source (NaN if unknown), `drawn` draws of both.
    """
    alpha, beta = np.minimum(np.vstack([value, drawn]), ENDLESS).T
    named = {"capacity": alpha, "source": beta, "tail": alpha * beta}
    capacity = np.maximum(alpha, 1 + SMALLEST)
    source = np.maximum(np.where(np.isnan(beta), 1.0, beta), SMALLEST)
    lazy = bottleneck_exponents(capacity, source, rich=False)
    rich = bottleneck_exponents(capacity, source, rich=True)
    for n in ("time", "compute"):
        named |= {f"{n}_lazy": lazy[n], f"{n}_rich": rich[n], f"{n}_gain": rich[n] / lazy[n]}
    if np.isnan(value[1]):
        for name in named.keys() - {"capacity"}:
            named[name][0] = np.nan
    estimates = {name: _estimate(values, level) for name, values in named.items()}
    hard, above = source[1:] < 1, source[1:] > 2 - 1 / capacity[1:]
    shares = (hard.mean(), (~hard & ~above).mean(), (~hard & above).mean())
    return estimates, {name: float(share) for name, share in zip(REGIMES, shares, strict=True)}


def _estimate(values: Float[np.ndarray, "draws"], level: float) -> Estimate:
    """Return the first value with the spread and quantiles of the others, or an infinite end."""
    drawn = values[1:]
    low, high = (float(end) for end in np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]))
    if high < ENDLESS / 10:
        return Estimate(float(values[0]), float(drawn.std()), low, high)
    return Estimate(float(values[0]), np.inf, low, np.inf)
