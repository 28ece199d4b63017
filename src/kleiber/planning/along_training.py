"""A coordinate of a law along training: constant, a line, or a line that levels off.

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
STEPS = 12  # of least squares, from the best point of the grid
BENDS = np.linspace(-1.0, 2.0, 19)  # of the measured range, from its end of little training


@dataclass(frozen=True)
class Line:
    """c + slope z - size log(1 + exp(-rate (z - bend))): numbers, or arrays (draws, 1).

    The sign of ``rate`` is the direction of z in which training goes on.
    """

    c: Array
    slope: Array
    size: Array
    rate: Array
    bend: Array

    def at(self, z: Array) -> Array:
        """The coordinate at z."""
        bent = np.logaddexp(0.0, -self.rate * (z - self.bend))
        return self.c + self.slope * z - self.size * bent

    def of(self, draws: int | slice) -> Line:
        """The line of one draw, or of some."""
        take = (draws, 0) if isinstance(draws, int) else draws
        parts = {item.name: np.asarray(getattr(self, item.name)[take]) for item in fields(self)}
        return replace(self, **parts)


@dataclass(frozen=True)
class Weighed:
    """How far each form is supported (Akaike weights), and the points' variance about it."""

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
    way: float,
) -> Line:
    """Weighted least squares for every draw. ``way`` is the sign of z in which training goes on."""
    w = 1 / variances
    w = w / w.sum()
    middle = (w * z).sum()
    mean = (u @ w)[:, None]
    slope = (u @ (w * (z - middle)))[:, None] / (w * (z - middle) ** 2).sum()
    none = np.zeros_like(mean)
    if form == "constant":
        return Line(mean, none, none, none, none)
    if form == "power":
        return Line(mean - slope * middle, slope, none, none, none)
    size = 1.0 if np.median(slope) * way > 0 else -1.0
    start = z.min() if way > 0 else z.max()
    places = start + way * BENDS * np.ptp(z)
    rate = way * np.repeat(RATES, len(places))[:, None]
    bend = np.tile(places, len(RATES))[:, None]
    shape = -size * np.logaddexp(0.0, -rate * (z - bend))  # (options, points)
    c = mean - shape @ w  # (draws, options)
    left = (u[:, None] - c[:, :, None] - shape) ** 2 @ w
    pick = left.argmin(axis=1)
    best = c[np.arange(len(u)), pick][:, None]
    return _polish(Line(best, none, np.full_like(none, size), rate[pick], bend[pick]), u, z, w)


def _polish(
    line: Line,
    u: Float[np.ndarray, "draws points"],
    z: Float[np.ndarray, "points"],
    w: Float[np.ndarray, "points"],
) -> Line:
    """Damped Gauss-Newton steps on c, log |rate| and bend of every draw; only better ones are
    taken."""
    cost = ((u - line.at(z)) ** 2) @ w
    damping = np.full((len(u), 1, 1), 1e-3)
    for _ in range(STEPS):
        gate = expit(-line.rate * (z - line.bend)) * line.size * line.rate
        turn = np.stack([np.ones_like(gate), gate * (z - line.bend), -gate], axis=2)
        normal = np.einsum("dpi,p,dpj->dij", turn, w, turn)
        normal = normal + damping * np.eye(3) * (np.trace(normal, axis1=1, axis2=2)[:, None, None])
        aim = np.einsum("dpi,p,dp->di", turn, w, u - line.at(z))
        whole = np.asarray(np.linalg.solve(normal, aim[:, :, None]), dtype=float)
        step = np.clip(whole[:, :, 0], -0.5, 0.5)
        moved = replace(
            line,
            c=line.c + step[:, :1],
            rate=line.rate * np.exp(step[:, 1:2]),
            bend=line.bend + step[:, 2:],
        )
        again = ((u - moved.at(z)) ** 2) @ w
        better = (again < cost)[:, None] & (np.abs(moved.rate) <= RATES[-1])
        line = replace(
            line,
            c=np.where(better, moved.c, line.c),
            rate=np.where(better, moved.rate, line.rate),
            bend=np.where(better, moved.bend, line.bend),
        )
        cost = np.where(better[:, 0], again, cost)
        damping = np.where(better[:, :, None], 0.2 * damping, 5 * damping)
    return line


def weigh_forms(
    u: Float[np.ndarray, "points"],
    z: Float[np.ndarray, "points"],
    variances: Float[np.ndarray, "points"],
    way: float,
) -> Weighed:
    """Akaike weights of the forms that leave a degree of freedom, and the spreads about them."""
    values: dict[str, float] = {}
    spreads: dict[str, float] = {}
    for count, form in enumerate(FORMS, start=1):
        if len(z) <= count and form != "constant":
            continue
        spread = 0.0
        for _ in range(20):  # moments: the weighted squares come to the degrees of freedom
            line = fit_line(form, u[None], z, variances + spread, way)
            squares = (u - line.at(z)[0]) ** 2
            weights = 1 / (variances + spread)
            excess = float((weights * squares).sum()) - (len(z) - count)
            slope = max(float((weights**2 * squares).sum()), 1e-12)
            spread = max(spread + excess / slope, 0.0)
        whole = variances + spread
        squares = (u - fit_line(form, u[None], z, whole, way).at(z)[0]) ** 2
        values[form] = float((squares / whole + np.log(whole)).sum()) + 2 * (count + 1)
        spreads[form] = spread
    return Weighed(shares_of(values), spreads)


def shares_of(criteria: Mapping[str, float]) -> dict[str, float]:
    """Akaike weights, exp(-AIC/2) over their sum."""
    least = min(criteria.values())
    raw = {form: float(np.exp(-0.5 * (value - least))) for form, value in criteria.items()}
    return {form: value / sum(raw.values()) for form, value in raw.items()}


def draw_lines(
    weighed: Weighed,
    u: Float[np.ndarray, "draws points"],
    z: Float[np.ndarray, "points"],
    variances: Float[np.ndarray, "points"],
    way: float,
    rng: np.random.Generator,
) -> Line:
    """A line for every draw: a form drawn by its weight, fitted to the draw's points after these
    have moved by the spread about that form."""
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
        line = fit_line(form, moved, z, variances + spread, way)
        for name, values in parts.items():
            values[rows] = getattr(line, name)
    return Line(**parts)
