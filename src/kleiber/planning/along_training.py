"""The coordinates of a law as functions of training: constant, a power law, or saturating.

With z the logarithm of the training column and u a coordinate whose exponential is a parameter,

    constant    u = c
    power       u = c + s z, so that the parameter is a power of the column
    saturating  u = c -+ log(1 + exp(-r (z - h))), a power that levels off as training goes on

fitted by least squares with each point's own variance and a further one for their spread about the
curve. Forms are weighed by exp(-AIC/2) (Akaike weights; Burnham and Anderson 2002, section 2.9).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Float
from scipy.special import expit

Array = Float[np.ndarray, "..."]
FORMS = ("constant", "power", "saturating")
RATES = np.geomspace(0.15, 6.0, 12)
STEPS = 12  # Gauss-Newton steps from the best grid point
MIDPOINTS = np.linspace(-1.0, 2.0, 19)  # as parts of the measured range, from its start


@dataclass(frozen=True)
class Line:
    """c + slope z - size log(1 + exp(-rate (z - midpoint))), whose parts are numbers or arrays of
    shape (draws, 1).

    The sign of ``rate`` is the direction of z in which training goes on.
    """

    c: Array
    slope: Array
    size: Array
    rate: Array
    midpoint: Array

    def at(self, z: Array) -> Array:
        """Return the coordinate at z."""
        softplus = np.logaddexp(0.0, -self.rate * (z - self.midpoint))
        return self.c + self.slope * z - self.size * softplus

    def of(self, draws: int | slice) -> Line:
        """Return the line of one draw, or of several."""
        take = (draws, 0) if isinstance(draws, int) else draws
        parts = {item.name: np.asarray(getattr(self, item.name)[take]) for item in fields(self)}
        return replace(self, **parts)


@dataclass(frozen=True)
class FormWeights:
    """The Akaike weight of each form, and the variance of the points about it."""

    weights: Mapping[str, float]
    spreads: Mapping[str, float]

    @property
    def best(self) -> str:
        """The form with the largest weight."""
        return max(self.weights, key=lambda form: self.weights[form])


def fit_line(
    form: str,
    u: Float[np.ndarray, "draws points"],
    z: Float[np.ndarray, "points"],
    variances: Float[np.ndarray, "points"],
    direction: float,
) -> Line:
    """Fit a line to every draw by weighted least squares; ``direction`` is the sign of z along
    training."""
    w = 1 / variances
    w = w / w.sum()
    center = (w * z).sum()
    mean = (u @ w)[:, None]
    slope = (u @ (w * (z - center)))[:, None] / (w * (z - center) ** 2).sum()
    none = np.zeros_like(mean)
    if form == "constant":
        return Line(mean, none, none, none, none)
    if form == "power":
        return Line(mean - slope * center, slope, none, none, none)
    size = 1.0 if np.median(slope) * direction > 0 else -1.0
    start = z.min() if direction > 0 else z.max()
    midpoints = start + direction * MIDPOINTS * np.ptp(z)
    rate = direction * np.repeat(RATES, len(midpoints))[:, None]
    midpoint = np.tile(midpoints, len(RATES))[:, None]
    shape = -size * np.logaddexp(0.0, -rate * (z - midpoint))  # (options, points)
    c = mean - shape @ w  # (draws, options)
    misfit = (u[:, None] - c[:, :, None] - shape) ** 2 @ w
    pick = misfit.argmin(axis=1)
    best = c[np.arange(len(u)), pick][:, None]
    return _refine(Line(best, none, np.full_like(none, size), rate[pick], midpoint[pick]), u, z, w)


def _refine(
    line: Line,
    u: Float[np.ndarray, "draws points"],
    z: Float[np.ndarray, "points"],
    w: Float[np.ndarray, "points"],
) -> Line:
    """Refine c, log |rate| and midpoint of every draw by damped Gauss-Newton steps; only steps that
    lower the misfit are taken."""
    cost = ((u - line.at(z)) ** 2) @ w
    damping = np.full((len(u), 1, 1), 1e-3)
    for _ in range(STEPS):
        gate = expit(-line.rate * (z - line.midpoint)) * line.size * line.rate
        jacobian = np.stack([np.ones_like(gate), gate * (z - line.midpoint), -gate], axis=2)
        normal = np.einsum("dpi,p,dpj->dij", jacobian, w, jacobian)
        normal = normal + damping * np.eye(3) * (np.trace(normal, axis1=1, axis2=2)[:, None, None])
        gradient = np.einsum("dpi,p,dp->di", jacobian, w, u - line.at(z))
        full = np.asarray(np.linalg.solve(normal, gradient[:, :, None]), dtype=float)
        step = np.clip(full[:, :, 0], -0.5, 0.5)
        moved = replace(
            line,
            c=line.c + step[:, :1],
            rate=line.rate * np.exp(step[:, 1:2]),
            midpoint=line.midpoint + step[:, 2:],
        )
        new_cost = ((u - moved.at(z)) ** 2) @ w
        better = (new_cost < cost)[:, None] & (np.abs(moved.rate) <= RATES[-1])
        line = replace(
            line,
            c=np.where(better, moved.c, line.c),
            rate=np.where(better, moved.rate, line.rate),
            midpoint=np.where(better, moved.midpoint, line.midpoint),
        )
        cost = np.where(better[:, 0], new_cost, cost)
        damping = np.where(better[:, :, None], 0.2 * damping, 5 * damping)
    return line


def weigh_forms(
    u: Float[np.ndarray, "points"],
    z: Float[np.ndarray, "points"],
    variances: Float[np.ndarray, "points"],
    direction: float,
) -> FormWeights:
    """Return the Akaike weights of the forms with at least one degree of freedom left, and the
    variance of the points about each."""
    values: dict[str, float] = {}
    spreads: dict[str, float] = {}
    for count, form in enumerate(FORMS, start=1):
        if len(z) <= count and form != "constant":
            continue
        spread = 0.0
        for _ in range(20):  # moments: the weighted squares come to the degrees of freedom
            line = fit_line(form, u[None], z, variances + spread, direction)
            squares = (u - line.at(z)[0]) ** 2
            weights = 1 / (variances + spread)
            excess = float((weights * squares).sum()) - (len(z) - count)
            slope = max(float((weights**2 * squares).sum()), 1e-12)
            spread = max(spread + excess / slope, 0.0)
        full = variances + spread
        squares = (u - fit_line(form, u[None], z, full, direction).at(z)[0]) ** 2
        values[form] = float((squares / full + np.log(full)).sum()) + 2 * (count + 1)
        spreads[form] = spread
    return FormWeights(akaike_weights(values), spreads)


def akaike_weights(criteria: Mapping[str, float]) -> dict[str, float]:
    """Return the Akaike weights, exp(-AIC/2) divided by their sum."""
    lowest = min(criteria.values())
    raw = {form: float(np.exp(-0.5 * (value - lowest))) for form, value in criteria.items()}
    return {form: value / sum(raw.values()) for form, value in raw.items()}


def draw_lines(
    weighed: FormWeights,
    u: Float[np.ndarray, "draws points"],
    z: Float[np.ndarray, "points"],
    variances: Float[np.ndarray, "points"],
    direction: float,
    rng: np.random.Generator,
) -> Line:
    """Draw a line for every draw: a form drawn by its weight, fitted to the draw's points plus
    noise with the variance of the points about that form."""
    forms = list(weighed.weights)
    pick = rng.choice(len(forms), size=len(u), p=list(weighed.weights.values()))
    noise = rng.standard_normal(u.shape)
    parts = {item.name: np.zeros((len(u), 1)) for item in fields(Line)}
    for j, form in enumerate(forms):
        rows = np.flatnonzero(pick == j)
        if not len(rows):
            continue
        spread = weighed.spreads[form]
        moved = u[rows] + np.sqrt(spread) * noise[rows]
        line = fit_line(form, moved, z, variances + spread, direction)
        for name, values in parts.items():
            values[rows] = getattr(line, name)
    return Line(**parts)
