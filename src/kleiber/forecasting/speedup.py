"""What a change is worth: how many times the compute one system needs to reach what another does.

Two ladders of runs, of systems A and B, are fitted by one law in which B's columns are multiplied
(``multiplier``), by the families and recencies of a forecast, averaged by their evidence. The
effective-compute multiplier at C is the M with L_A(M C) = L_B(C) along a stated ratio of tokens to
parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
from jaxtyping import Float

from kleiber.arguments import check_number, check_text
from kleiber.errors import BadTable, shown
from kleiber.fitting.spread.intervals import check_level
from kleiber.forecasting.average import evidence_weights
from kleiber.forecasting.families import evaluate, families
from kleiber.forecasting.ladder import Ladder, read_ladders
from kleiber.forecasting.members import NEAREST, SOFT, recency_weights
from kleiber.forecasting.multiplier import Multiplied
from kleiber.forecasting.search import Found, Rows, search_model
from kleiber.forecasting.systems import DIFFERENCE, Sites, average_sizes, join_systems
from kleiber.maths.seeds import stream

Array = np.ndarray
Ratio = float | Literal["optimal"] | None
DRAWS = 64  # of each member
SCALE = 0.003  # noise that is expected before the data are seen
PAIRS = 4.0  # pairs whose weight the prior of their noise has
REACH, POINTS = 6.0, 241  # logs of multipliers that are looked through
TILT = 6.0  # logs of ratios that an optimum is looked for in
LEAST_FREEDOM = 6.0  # degrees of freedom of the intervals
FAR = 30.0  # times the largest measured compute: beyond it a note


@dataclass(frozen=True)
class Speedup:
    """How many times the compute system A needs to reach what B reaches.

    Attributes
    ----------
    value, stderr, low, high
        The multiplier, its standard error and its interval.
    level
        The level of the interval.
    at
        The compute of B, FLOPs.
    ratio
        Tokens for each parameter along which compute is spent: a number, or ``"optimal"``; None
        where the tables tell compute alone.
    beyond
        ``at`` over the largest measured compute.
    chance
        The probability that B needs less compute than A.
    pairs
        The number of sizes that both systems have.
    change
        dlog(multiplier)/dlog C with its interval: value, low, high.
    weights
        The weight of each law.
    notes
        Sentences on what to mind.

    Examples
    --------
    >>> import kleiber
    >>> flops = [1e18 * 2**k for k in range(8)]
    >>> first = {"flops": flops, "loss": [1.8 + 800 * c**-0.16 for c in flops]}
    >>> second = {"flops": flops, "loss": [1.8 + 800 * (1.2 * c) ** -0.16 for c in flops]}
    >>> found = kleiber.speedup(first, second, at=1e20)
    >>> found.low < 1.2 < found.high
    True
    """

    value: float
    stderr: float
    low: float
    high: float
    level: float
    at: float
    ratio: float | str | None
    beyond: float
    chance: float
    pairs: int
    change: tuple[float, float, float]
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """Which system needs less compute: ``"better"``, ``"worse"`` or ``"cannot tell"``."""
        return "better" if self.low > 1 else "worse" if self.high < 1 else "cannot tell"


def speedup(
    table_a: Any,
    table_b: Any,
    *,
    at: float,
    ratio: Ratio = None,
    target: str = "loss",
    level: float = 0.95,
    seed: int = 0,
) -> Speedup:
    """Measure what a change is worth: the compute that A needs over the compute that B needs.

    The multiplier M at C solves L_A(M C) = L_B(C) along a ratio of tokens to parameters, where both
    systems follow one law and B's columns are multiplied.

    Parameters
    ----------
    table_a, table_b
        The ladder of runs of each system: any data frame, or a mapping, with ``n_params`` and
        ``n_tokens``, or ``flops`` alone. Rows of one ``run`` are averaged first, and then the runs
        of one size.
    at
        The compute of B at which it is asked, FLOPs (6 n_params n_tokens).
    ratio
        Tokens for each parameter along which compute is spent. Without: the median of the runs.
        With ``"optimal"`` each system spends its compute in its best ratio.
    target
        The column that both are compared by: positive, and falling.
    level
        The level of the interval, between 0 and 1.
    seed
        Of the draws of parameters.

    Returns
    -------
    Speedup
        The multiplier with its interval.

    Raises
    ------
    BadTable
        For tables that lack a column or hold no positive numbers, and with fewer than four sizes.

    Examples
    --------
    >>> import kleiber
    >>> flops = [1e18 * 2**k for k in range(8)]
    >>> first = {"flops": flops, "loss": [1.8 + 800 * c**-0.16 for c in flops]}
    >>> second = {"flops": flops, "loss": [1.8 + 800 * (1.2 * c) ** -0.16 for c in flops]}
    >>> round(kleiber.speedup(first, second, at=1e20).value, 1)
    1.2
    """
    at, target = check_number("at", at, low=0.0), check_text("target", target, "a column")
    level = check_level(level)
    ladder = read_ladders(table_a, table_b, target, check_ratio(ratio))
    point = ladder.point(at)
    sites = join_systems(average_sizes(*ladder.a), average_sizes(*ladder.b))
    members = _Members(sites, point)
    rng = stream(seed, "speedup")
    logs, changes, weights = members.draw(ladder, rng)
    return _conclude(ladder, members, logs, changes, weights, at, level)


def check_ratio(ratio: Any) -> Ratio:
    """Return a ratio of tokens to parameters as it may be given."""
    if ratio is None or (isinstance(ratio, str) and ratio == "optimal"):
        return ratio
    accepted = 'a positive number, "optimal" or None'
    value = check_number("ratio", ratio, accepted)
    if value <= 0:
        raise BadTable(f"The value of ratio must be {accepted}, got {shown(ratio)}.")
    return value


class _Members:
    """The joint laws of all families and recencies, fitted."""

    def __init__(self, sites: Sites, point: Float[Array, "columns"]) -> None:
        self.sites = sites
        progress = sites.x.sum(axis=1)
        self.horizon = max(float(point.sum() - progress.max()), NEAREST)
        soft = np.exp(-(progress.max() - progress) / SOFT)
        self.frontier = soft @ sites.x / soft.sum()
        self.point = point - self.frontier
        self.weight = recency_weights(progress, self.horizon) * sites.count
        self.known = tuple(f for f in families(sites.x.shape[1]) if not f.level)
        self.factor = sites.factor
        self.found, self.models = self._fit()
        self.factor = self._scale_pairs()
        self.found, self.models = self._fit()

    @property
    def weights(self) -> Float[Array, "families recencies"]:
        """Weights by evidence."""
        evidence = np.stack([each.evidence for each in self.found])
        return evidence_weights(self.known, evidence, self.horizon)

    def _rows(self) -> Rows:
        count = len(self.weight)
        z = np.broadcast_to(self.sites.x - self.frontier, (count, *self.sites.x.shape))
        y = np.broadcast_to(self.sites.y * self.factor, (count, len(self.sites.y)))
        return Rows(z, y, self.weight)

    def _fit(self) -> tuple[list[Found], list[Multiplied]]:
        rows, plain = self._rows(), self.sites.kind != DIFFERENCE
        level = (self.weight * self.sites.y)[:, plain].sum(1) / self.weight[:, plain].sum(1)
        models = [
            Multiplied(f, self.sites.first, self.sites.second, self.factor, float(self.point.sum()))
            for f in self.known
        ]
        return [search_model(m, rows, level, scale=SCALE) for m in models], models

    def _scale_pairs(self) -> Float[Array, "rows"]:
        """Return factors that give differences of pairs the same scale as other rows."""
        if self.sites.pairs < 2:
            return self.factor
        rows = self._rows()
        values = [
            m.value(each.theta, rows.z) for m, each in zip(self.models, self.found, strict=True)
        ]
        mean = np.einsum("fr,frn->n", self.weights, np.stack(values))
        residual = self.sites.y * self.factor - mean
        pairs = self.sites.kind == DIFFERENCE
        ratio = np.log(_scale(residual[~pairs]) / _scale(residual[pairs]))
        ratio = np.clip(ratio * self.sites.pairs / (self.sites.pairs + PAIRS), -2, 2)
        return np.where(pairs, self.factor * np.exp(ratio), self.factor)

    def draw(
        self, ladder: Ladder, rng: np.random.Generator
    ) -> tuple[Float[Array, "draws"], Float[Array, "draws"], Float[Array, "draws"]]:
        """Return draws of the log multiplier, of its change with scale, and their weights."""
        logs: list[Array] = []
        changes: list[Array] = []
        weights: list[Array] = []
        for k, (model, found) in enumerate(zip(self.models, self.found, strict=True)):
            for r in range(len(self.weight)):
                theta = _draw(found, r, self._freedom(model, found, r), rng)
                logs.append(_multipliers(model, theta, self.point, ladder.ratio))
                changes.append(theta[:, -1])
                weights.append(np.full(DRAWS, self.weights[k, r] / DRAWS))
        return np.concatenate(logs), np.concatenate(changes), np.concatenate(weights)

    def _freedom(self, model: Multiplied, found: Found, r: int) -> float:
        """Return the degrees of freedom of the fitted scale: rows less parameters that they
        determine."""
        variance = np.diag(found.covariance[r])
        used = float(np.sum(1 - np.minimum(variance / model.spread**2, 1.0)))
        return max(float(self.weight[r].sum()) + 1 - used, LEAST_FREEDOM)


def _scale(values: Float[Array, "rows"]) -> float:
    """Return a robust scale of values about 0."""
    typical = float(np.median(np.abs(values))) / 0.6745
    clipped = np.clip(values, -3 * typical, 3 * typical)
    return max(float(np.sqrt((typical**2 + np.mean(clipped**2)) / 2)), 1e-7)


def _draw(
    found: Found, r: int, freedom: float, rng: np.random.Generator
) -> Float[Array, "draws parameters"]:
    """Return draws of one member's parameters from Student's t."""
    values, vectors = np.linalg.eigh(found.covariance[r])
    noise = rng.standard_normal((DRAWS, len(values)))
    noise -= noise.mean(axis=0)
    tails = np.sqrt(freedom / rng.chisquare(freedom, (DRAWS, 1)))
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return found.theta[r] + tails * noise @ root.T


def _multipliers(
    model: Multiplied, theta: Array, point: Float[Array, "columns"], ratio: Ratio
) -> Float[Array, "draws"]:
    """Return log M with L_A(M C) = L_B(C) for each draw."""
    inner = theta[:, : -model.added]
    if model.family.columns == 1:
        return theta[:, -2]
    tilts = np.linspace(-TILT, TILT, POINTS) if ratio == "optimal" else np.zeros(1)
    sides = np.array([0.5, -0.5])  # tokens rise as parameters fall
    split = tilts[:, None] * sides
    reached = evaluate(
        model.family, inner, model.shifted(theta, np.tile(point, (len(theta), 1, 1)) + split)
    )
    reached = cast("Array", reached.min(axis=1))
    steps = np.linspace(-REACH, REACH, POINTS)
    path = point + steps[:, None, None] / 2 + split  # [steps, tilts, columns]
    curve = evaluate(model.family, inner, path.reshape(1, -1, 2)).reshape(-1, POINTS, len(tilts))
    falling = cast("Array", curve.min(axis=2))
    found: list[float] = []
    for k in range(len(theta)):
        found.append(float(np.interp(-float(reached[k]), -falling[k], steps)))
    return np.array(found)


def _conclude(
    ladder: Ladder,
    members: _Members,
    logs: Array,
    changes: Array,
    weights: Array,
    at: float,
    level: float,
) -> Speedup:
    mean = float(weights @ logs)
    spread = float(np.sqrt(weights @ (logs - mean) ** 2))
    low, high = weighted_quantiles(logs, weights, level)
    half = weighted_quantiles(changes, weights, level)
    beyond = at / ladder.largest
    value = float(np.exp(mean))
    names = [family.name for family in members.known]
    shares = dict(zip(names, members.weights.sum(axis=1).tolist(), strict=True))
    return Speedup(
        value,
        value * spread,
        float(np.exp(low)),
        float(np.exp(high)),
        level,
        at,
        ladder.ratio,
        beyond,
        float(weights @ (logs > 0)),
        members.sites.pairs,
        (float(weights @ changes), *half),
        shares,
        tuple(_notes(ladder, members, beyond, (low, high))),
    )


def weighted_quantiles(
    values: Float[Array, "draws"], weights: Float[Array, "draws"], level: float
) -> tuple[float, float]:
    """Return the ends of the central interval of weighted draws."""
    order = np.argsort(values)
    ends = np.cumsum(weights[order])
    ends = (ends - weights[order] / 2) / ends[-1]
    low, high = np.interp([(1 - level) / 2, (1 + level) / 2], ends, values[order])
    return float(low), float(high)


def _notes(
    ladder: Ladder, members: _Members, beyond: float, ends: tuple[float, float]
) -> list[str]:
    out = list(ladder.notes)
    if beyond > FAR:
        out.append(f"The compute asked for is {beyond:.3g} times the largest measured.")
    if not members.sites.pairs:
        out.append("The systems share no size, so nothing that runs have in common cancels.")
    if members.horizon > 5 * max(float(np.ptp(members.sites.x.sum(axis=1))), 1e-9):
        out.append("The measured range is far smaller than the distance that is asked for.")
    if ends[1] - ends[0] > np.log(4):
        out.append("The interval is wider than a factor of 4: add runs nearer to what is asked.")
    return out
