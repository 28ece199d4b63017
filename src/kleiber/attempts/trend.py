"""Trend: how an exponent depends on a training resource, according to the counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from kleiber.errors import BadTable, nearest
from kleiber.fitting.spread.intervals import Interval


@dataclass(frozen=True)
class ExponentCurve:
    """One form of the exponent along the resource, fitted to all groups together.

    ``spread`` is the standard deviation of the groups' log exponents about the curve.
    """

    name: str
    params: Mapping[str, float]
    spread: float
    log_likelihood: float
    aicc: float


@dataclass(frozen=True)
class Finding:
    """Whether an effect is supported, with its likelihood ratio, its p-value, its interval (of the
    rate for growth, of the plateau for saturation), and a sentence.

    ``verdict`` is ``"grows"``, ``"falls"``, ``"no growth seen"`` (a factor of 2 over the measured
    range is excluded), ``"saturates"`` or ``"cannot be told"``. The p-value is that of Student's t
    with ``degrees_of_freedom``, whose square is the likelihood ratio over ``divisor``: groups share
    problems, and may scatter. ``value`` is the estimate that the interval is of.
    """

    supported: bool
    likelihood_ratio: float
    p_value: float
    interval: Interval
    says: str
    verdict: str = ""
    value: float | None = None
    divisor: float = 1.0
    degrees_of_freedom: float = float("inf")


@dataclass(frozen=True)
class Departure:
    """Whether groups (or rates of models) differ by more than the sampling of problems explains,
    with the likelihood ratio, its p-value, and a sentence."""

    seen: bool
    likelihood_ratio: float
    p_value: float
    says: str


@dataclass(frozen=True)
class Trend:
    """The joint law of one series of groups.

    ``exponents`` are those of the groups, shrunk towards the curve as far as their counts allow;
    ``best`` is the curve with the smallest AICc.
    """

    along: str
    groups: tuple[str, ...]
    x: tuple[float, ...]
    exponents: Mapping[str, float]
    curves: Mapping[str, ExponentCurve]
    best: str
    growth: Finding
    saturation: Finding | None
    scatter: Departure | None = None

    def predict(self, x: object, curve: str | None = None) -> Float[np.ndarray, "..."]:
        """Return the exponent at values of the resource by a curve (by default the best one), or
        for the universal law the ratio rho of bias to noise."""
        name = self.best if curve is None else curve
        if name not in self.curves:
            raise BadTable(
                f"There is no curve {name!r}; there are {', '.join(self.curves)}."
                f"{nearest(name, self.curves)}"
            )
        p, at = self.curves[name].params, np.asarray(x, float)
        if name == "constant":
            return np.full(at.shape, p["a"])
        if name == "power":
            return np.asarray(p["a"] * (at / p["x0"]) ** p["rate"])
        if name == "universal":
            return np.asarray(p["rho0"] * (at / p["x0"]) ** -p["rate"])
        return np.asarray(p["beta"] - p["Delta"] / (1 + (at / p["x_half"]) ** p["rate"]))

    def summary(self) -> str:
        """Return a few sentences that summarise the trend."""
        parts = [summarise_finding(self.growth, "rate")]
        if self.saturation is not None:
            parts.append(summarise_finding(self.saturation, "plateau"))
        if self.scatter is not None and self.scatter.seen:
            parts.append(self.scatter.says)
        parts.append(f"smallest AICc: {self.best}")
        return "; ".join(parts)


def summarise_finding(found: Finding, of: str) -> str:
    """Return a finding as a sentence, with what its interval is ``of``."""
    return (
        f"{found.says} (likelihood ratio {found.likelihood_ratio:.2f}, p = {found.p_value:.2g}; "
        f"{of} [{found.interval.low:.3g}, {found.interval.high:.3g}])"
    )
