"""Whether an exponent grows along training and whether its growth slows down, from the joint
likelihood of all problems' counts.

A curve ties the exponents of the groups, whose other parameters are free. With several series
(models) each has a level of its own, and the rest of the curve is common:

curve       log exponent of series i at z                 parameters
constant    level_i                                       the levels
power       level_i + rate z                              and rate
saturating  level_i - log(1 + exp(rate (last - z) - t))   and rate, t: plateaus exp(level_i), of
            which the share 1/(1 + exp(-t)) is reached at the last z; power for t -> -infinity

A likelihood ratio is divided by its inflation, since the groups share problems (``tied``). Where
the groups scatter about the curves by more than the sampling of problems explains, their own
estimates are regressed on z with that scatter as a further variance (``scattered``), and the
groups, no longer the problems, give the degrees of freedom; intervals of a plateau are then those
of a likelihood divided by its dispersion (McCullagh and Nelder 1989, section 9).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special

from kleiber.attempts.batch import Batch
from kleiber.attempts.family import Coordinates, Family
from kleiber.attempts.newton import Peak, maximise
from kleiber.attempts.scattered import regress
from kleiber.attempts.tied import (
    Directions,
    Sandwich,
    Tie,
    Vector,
    Wide,
    sandwich,
    tie_groups,
    widen,
)

ALPHA = 0.05
LEVELS = (-12.0, 12.0)  # of the logarithm of an exponent
STEEPEST = 8.0  # change of the log exponent over the range of z, if that is less than 1
MAX_SHARE = 10.0  # of the logit of the share of the plateau
KNEES = ((3.0, 1.0), (6.0, 3.0), (12.0, 8.0))  # starts: rate over the range of z, t
LEAST_GAIN = 1e-2  # in log-likelihood, below which the best plateau is that of the power
LEAST_RATE = 0.1  # at which the direction of a plateau is still apart from that of the power


Array = Float[np.ndarray, "rows"]
Mean = Callable[[Vector], Float[np.ndarray, "rows groups"]]


@dataclass(frozen=True)
class Grouping:
    """Where the groups lie: centred logarithms ``z``, and the series ``of`` each group."""

    z: Float[np.ndarray, "groups"]
    of: Int[np.ndarray, "groups"]

    @property
    def series(self) -> int:
        """Number of series."""
        return int(self.of.max()) + 1

    @property
    def levels(self) -> Float[np.ndarray, "groups series"]:
        """Derivatives of the groups' coordinates with respect to the levels."""
        return np.eye(self.series)[self.of]

    @property
    def shared_parameters(self) -> int:
        """Number of parameters of a curve that all series share, with so many groups at hand."""
        return 2 if len(self.z) > self.series + 2 else 1


def curve_ties(at: Grouping, coordinates: int) -> dict[str, Tie]:
    """Return the curves, and ``own``: a power law whose rate is each series' own."""
    z, of, count = at.z, at.of, at.series
    steepest = STEEPEST * max(1.0, 1.0 / float(np.ptp(z)))

    def saturating(q: np.ndarray) -> np.ndarray:
        past = q[:, count : count + 1] * (z.max() - z)
        return q[:, of] - np.logaddexp(0, past - q[:, count + 1 :])

    def constant(q: np.ndarray) -> np.ndarray:
        return q[:, of]

    def power(q: np.ndarray) -> np.ndarray:
        return q[:, of] + q[:, count:] * z

    def own(q: np.ndarray) -> np.ndarray:
        return q[:, of] + q[:, count:][:, of] * z

    def free(q: np.ndarray) -> np.ndarray:
        return q

    either = (-steepest, steepest)
    each: dict[str, tuple[Mean, list[tuple[float, float]]]] = {
        "constant": (constant, []),
        "power": (power, [either]),
        "saturating": (saturating, [(0.0, 2 * steepest), (-MAX_SHARE, MAX_SHARE)]),
        "own": (own, [either] * count),
        "free": (free, []),
    }
    out: dict[str, Tie] = {}
    for name, (mean, more) in each.items():
        levels = len(z) if name == "free" else count
        low, high = zip(*[LEVELS] * levels, *more, strict=True)
        nonlinear = 2 if name == "saturating" else 0
        out[name] = Tie(name, mean, low, high, len(z), coordinates, nonlinear=nonlinear)
    return out


def fit_curves(
    family: Family, wide: Wide, at: Grouping, free: Peak, names: tuple[str, ...]
) -> dict[str, Peak]:
    """Maximise the joint likelihood with each curve, for every row of the wide batch.

    ``free`` are the groups' own maxima, those of a row one after the other.
    """
    rows, p = len(wide), free.u.shape[1]
    ties = curve_ties(at, p)
    u = free.u.reshape(rows, len(at.z), p)
    weight = np.clip(-free.hessian[:, 0, 0], 1e-3, None).reshape(rows, -1)
    levels, rate = _start_line(np.clip(u[..., 0], -5.0, 3.0), weight, at)
    found: dict[str, Peak] = {}
    for name in names:
        if name == "saturating":
            starts = _saturating_starts(levels, rate, at)
            u = ties["power"].spread(found["power"].u)
        else:
            repeat = {"constant": 0, "power": 1, "own": at.series}[name]
            starts = [np.concatenate([levels, np.tile(rate, repeat)], axis=1)]
        law = tie_groups(family, ties[name])
        peaks = [
            maximise(law, wide, start=ties[name].start(q, u), max_iterations=60) for q in starts
        ]
        found[name] = _best(peaks)
    return found


def _start_line(
    s: Float[np.ndarray, "rows groups"], weight: Float[np.ndarray, "rows groups"], at: Grouping
) -> tuple[Float[np.ndarray, "rows series"], Float[np.ndarray, "rows 1"]]:
    """Return the weighted mean of each series and the weighted slope about these means."""
    total = weight @ at.levels
    middle, height = ((weight * x) @ at.levels / total for x in (at.z, s))
    z, t = at.z - middle[:, at.of], s - height[:, at.of]
    rate = (weight * z * t).sum(1) / np.maximum((weight * z * z).sum(1), 1e-9)
    reach = 2.0 / max(float(np.ptp(at.z)), 1e-9)
    rate = np.clip(rate, -reach, reach)[:, None]
    return height - rate * middle, rate


def _saturating_starts(levels: np.ndarray, rate: np.ndarray, at: Grouping) -> list[np.ndarray]:
    last, span = at.z.max(), float(np.ptp(at.z))
    rising = np.clip(rate, 0.05 / span, None)
    late = np.full_like(rate, -4.0)
    starts = [(rising * 1.02, late), *((0 * rate + r / span, 0 * rate + t) for r, t in KNEES)]
    return [
        np.concatenate([levels + rate * last + np.logaddexp(0, -t), r, t], axis=1)
        for r, t in starts
    ]


def _best(peaks: list[Peak]) -> Peak:
    """Return the highest of several maxima, row by row."""
    values = np.stack([peak.value for peak in peaks])
    pick, rows = values.argmax(0), np.arange(int(values.shape[1]))
    return Peak(
        np.stack([peak.u for peak in peaks])[pick, rows],
        values[pick, rows],
        np.stack([peak.hessian for peak in peaks])[pick, rows],
        np.stack([peak.converged for peak in peaks])[pick, rows],
        max(peak.iterations for peak in peaks),
    )


@dataclass(frozen=True)
class Ratio:
    """A likelihood ratio (of the composite likelihood), what it is divided by, and the degrees of
    freedom of its square root, a Student t."""

    statistic: Float[np.ndarray, "rows"]
    divisor: Float[np.ndarray, "rows"]
    degrees_of_freedom: Float[np.ndarray, "rows"]

    @property
    def p_value(self) -> Float[np.ndarray, "rows"]:
        """Two-sided p-value."""
        root = np.sqrt(np.maximum(self.statistic, 0.0) / self.divisor)
        return np.asarray(2 * special.stdtr(self.degrees_of_freedom, -root))

    def drop(self, level: float) -> Float[np.ndarray, "rows"]:
        """Return the fall of twice the log-likelihood at the end of an interval."""
        t = special.stdtrit(self.degrees_of_freedom, 0.5 + level / 2)
        return np.asarray(t * t * self.divisor)


@dataclass(frozen=True)
class Scatter:
    """How far the groups lie from the curves: a likelihood ratio, its p-value, the dispersion per
    degree of freedom, and how many of these there are (0: nothing is left to judge it by)."""

    statistic: Float[np.ndarray, "rows"]
    p_value: Float[np.ndarray, "rows"]
    dispersion: Float[np.ndarray, "rows"]
    degrees_of_freedom: Float[np.ndarray, "rows"]

    @property
    def seen(self) -> Bool[np.ndarray, "rows"]:
        """Whether it is more than the sampling of problems explains."""
        return self.p_value < ALPHA

    def ratio(self, statistic: np.ndarray, inflation: np.ndarray, problems: np.ndarray) -> Ratio:
        """Return the likelihood ratio of one parameter, with the scatter counted in if seen."""
        divisor = inflation * np.where(self.seen, np.maximum(self.dispersion, 1.0), 1.0)
        return Ratio(
            statistic, divisor, np.where(self.seen, self.degrees_of_freedom, problems - 1.0)
        )


@dataclass(frozen=True)
class Evidence:
    """Growth and saturation of every row: the rate of the power, the likelihood ratios of power to
    constant and of saturating to power, and the scatter about the curves.

    ``saturation`` is None where there are too few groups; the divisor and degrees of freedom of
    ``plateau`` are those of a plateau's interval; ``halves`` is the covariance it all rests on.
    Where the scatter is seen, the ratios are squares of an estimate over its standard error.
    """

    rate: Float[np.ndarray, "rows"]
    growth: Ratio
    saturation: Ratio | None
    plateau: Ratio
    scatter: Scatter
    halves: Sandwich

    @property
    def grows(self) -> Bool[np.ndarray, "rows"]:
        """Whether growth is supported."""
        return (self.growth.p_value < ALPHA) & (self.rate > 0)

    @property
    def saturates(self) -> Bool[np.ndarray, "rows"]:
        """Whether growth and its slowing down are supported; the power lies at the edge of the
        saturating curves, so that half of the p-value counts."""
        if self.saturation is None:
            return np.zeros(len(self.rate), bool)
        return self.grows & (self.saturation.p_value / 2 < ALPHA)


def weigh_evidence(
    family: Family,
    wide: Wide,
    at: Grouping,
    free: Peak,
    peaks: Mapping[str, Peak],
    places: Int[np.ndarray, "rows groups problems"],
) -> Evidence:
    """Test growth, its slowing down, and scatter about the curves, for every row."""
    rows, p, count = len(wide), free.u.shape[1], at.series
    ties = curve_ties(at, p)
    power = peaks["power"]
    u = np.clip(ties["power"].spread(power.u), family.low, family.high)
    halves = sandwich(family, ties["free"], ties["free"].start(u[..., 0], u), wide, places)
    problems = (places >= 0).any(1).sum(1).astype(float)
    own = free.value.reshape(rows, -1).sum(1)
    level, line, nonlinear = _directions(at, power.u[:, count], rows)
    scatter = measure_scatter(halves, 2 * (own - power.value), line)
    if "saturating" in peaks:
        highest = peaks["saturating"].value
        about_bent = measure_scatter(halves, 2 * (own - highest), nonlinear)
        scatter = _choose(about_bent, scatter, highest > power.value + LEAST_GAIN)
    growth = scatter.ratio(
        2 * (power.value - peaks["constant"].value), halves.inflation(line, level).mean, problems
    )
    saturation = None
    plateau = scatter.ratio(np.zeros(rows), halves.inflation(nonlinear, line).mean, problems)
    if "saturating" in peaks:
        gain = 2 * (peaks["saturating"].value - power.value)
        parts = (plateau.divisor.copy(), plateau.degrees_of_freedom.copy())
        saturation = Ratio(np.maximum(gain, 0.0), *parts)
    rate = power.u[:, count].copy()
    for row in np.flatnonzero(scatter.seen).tolist():
        rate[row] = _set_regression(growth, row, halves, line)
        if saturation is not None and at.shared_parameters == 2:
            _set_regression(saturation, row, halves, nonlinear, one_sided=True)
    return Evidence(rate, growth, saturation, plateau, scatter, halves)


def _set_regression(
    ratio: Ratio, row: int, halves: Sandwich, design: Directions, *, one_sided: bool = False
) -> float:
    """Put the regression of the groups' own estimates in the place of a row's likelihood ratio, and
    return the coefficient."""
    made = regress(halves.own[row], halves.covariance[row], design[row])
    against = one_sided and made.value < 0
    ratio.statistic[row] = 0.0 if against else (made.value / made.error) ** 2
    ratio.divisor[row], ratio.degrees_of_freedom[row] = 1.0, max(made.degrees_of_freedom, 1)
    return made.value


def measure_scatter(halves: Sandwich, statistic: np.ndarray, curve: Directions) -> Scatter:
    """Return the scatter of groups about a curve, from the likelihood ratio of free exponents to
    the curve and the curve's directions."""
    rows, groups, params = map(int, curve.shape)
    left = groups - params
    if left < 1:
        return Scatter(np.zeros(rows), np.ones(rows), np.ones(rows), np.zeros(rows))
    free = np.broadcast_to(np.eye(groups), (rows, groups, groups))
    weights = halves.inflation(free, curve)
    scaled: Array = np.maximum(statistic, 0.0) / weights.mean
    p_value = np.asarray(special.chdtrc(weights.count, scaled * weights.count / left))
    return Scatter(statistic, p_value, scaled / left, np.full(rows, float(left)))


def _choose(one: Scatter, other: Scatter, first: Bool[np.ndarray, "rows"]) -> Scatter:
    """Return one scatter where ``first`` is true and the other elsewhere."""
    each: dict[str, Array] = {
        item.name: np.where(first, getattr(one, item.name), getattr(other, item.name))
        for item in fields(Scatter)
    }
    return Scatter(**each)


def _directions(
    at: Grouping, rate: Float[np.ndarray, "rows"], rows: int
) -> tuple[Directions, Directions, Directions]:
    """Return the directions of the levels, with that of the rate, and with that of a plateau."""
    level = np.broadcast_to(at.levels, (rows, *at.levels.shape))
    z = np.broadcast_to(at.z, (rows, len(at.z)))
    line = np.concatenate([level, z[:, :, None]], axis=2)
    least = LEAST_RATE * max(1.0, 4.0 / float(np.ptp(at.z)))
    curvature = -np.exp(np.clip(rate, least, None)[:, None] * (z - at.z.max()))
    return level, line, np.concatenate([line, curvature[:, :, None]], axis=2)


def series_batch(batch: Batch) -> Wide:
    """Return all groups of a batch as the one row of a wide batch."""
    return widen(batch, len(batch))


def profile_ends(
    family: Family,
    tie: Tie,
    wide: Wide,
    peak: Peak,
    index: int,
    drop: float,
    far: float,
    points: int = 12,
) -> tuple[float, float]:
    """Return the interval of one parameter of a curve by the profile of the joint likelihood,
    infinite where the likelihood does not fall by half of ``drop`` within ``far``."""
    law = tie_groups(family, tie)
    offsets = far * np.linspace(0, 1, points + 1)[1:] ** 2
    steps = np.concatenate([-offsets, offsets])
    start: Coordinates = np.tile(peak.u[0], (2 * points, 1))
    start[:, index] += steps
    inside = (start[:, index] >= law.low[index]) & (start[:, index] <= law.high[index])
    rows = wide.take(np.zeros(2 * points, int))
    found = maximise(law, rows, start=start, max_iterations=40, fixed=(index,))
    fall = np.maximum(2 * (peak.value[0] - found.value), 0.0).reshape(2, points)
    ends: list[float] = []
    for sign, part, known in zip((-1, 1), fall, inside.reshape(2, points), strict=True):
        root: Array = np.sqrt(np.maximum.accumulate(np.concatenate([[0.0], part[known]])))
        at = np.concatenate([[0.0], offsets[known]])
        if root[-1] < np.sqrt(drop):
            ends.append(sign * np.inf)
            continue
        i = int((root < np.sqrt(drop)).sum())
        share = float(np.sqrt(drop) - root[i - 1]) / max(float(root[i] - root[i - 1]), 1e-12)
        moved = float(at[i - 1] + share * (at[i] - at[i - 1]))
        ends.append(float(peak.u[0, index]) + sign * moved)
    return ends[0], ends[1]
