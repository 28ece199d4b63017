"""Source: what a plan makes small or large, and what is known about it.

A plan needs an objective on the best estimate and on every draw, the ranges that were measured, and
how draws become intervals. A Fit has all of that; so has the failure of k attempts, wherever it is
known from: a theory, a law of counts along training, or that along a loss law.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from kleiber.claim import Estimate
from kleiber.fitting.record import Fit, fill
from kleiber.fitting.spread.intervals import percentile_interval
from kleiber.planning.curve import FailureCurve
from kleiber.planning.problem import Objective

MOST_DRAWS = 200  # of failure, that a plan is made for
BEST = -1.0  # the draw that is the best estimate
Spread = Callable[[float, "np.ndarray | None", float], Estimate]


@dataclass(frozen=True)
class Failure:
    """The failure of k attempts as a law of the training variables and k, whose one parameter is
    the draw; ``weight`` times the generalisation loss is added to it."""

    curve: FailureCurve
    given: Mapping[str, float] = field(default_factory=dict[str, float])
    weight: float = 0.0
    expr: None = None

    @property
    def name(self) -> str:
        """Of the curve."""
        return self.curve.name

    @property
    def variables(self) -> tuple[str, ...]:
        """What training chooses, and k."""
        return (*self.curve.variables, "k")

    def __call__(self, *columns: Any, **named: Any) -> Float[np.ndarray, "..."]:
        """Failure at columns, for the best estimate (any one shape) or each draw: the draws are the
        first axis, of which columns may have a second one."""
        draw = np.asarray(named.pop("draw"), dtype=float)
        whole = dict(zip(self.variables, columns, strict=False)) | named
        arrays = np.broadcast_arrays(draw, *whole.values())
        shape, first = arrays[0].shape, len(draw) if draw.ndim else 1
        flat = [np.reshape(x, (first, -1)) for x in arrays[1:]]
        known = np.logical_and.reduce([np.isfinite(x) for x in flat])
        values = {n: np.where(known, x, 1.0) for n, x in zip(whole, flat, strict=True)}
        fixed = {n: np.full(known.shape, x) for n, x in self.given.items() if n not in values}
        k, values = values.pop("k"), fixed | values
        if self.curve.drawn is None or (draw == BEST).all():
            out = self.curve.failure(values, k)
        else:
            out = self.curve.drawn(values, k, len(draw))
        if self.weight and self.curve.loss is not None:
            out = out + self.weight * self.curve.loss(values)
        return np.where(known, out, np.nan).reshape(shape)


@dataclass(frozen=True)
class Source:
    """``law`` is the objective; ``shown`` what is predicted of an allocation, the same but for a
    weighted loss; ``params`` and ``draws`` are what both take; ``spread`` makes an Estimate of a
    value and its draws; ``fit`` is the Fit that this is of, ``curve`` the curve."""

    law: Objective
    shown: Objective
    target: str
    params: Mapping[str, float]
    draws: Mapping[str, Float[np.ndarray, "draws"]]
    ranges: Mapping[str, tuple[float, float]]
    notes: tuple[str, ...]
    spread: Spread
    fit: Fit | None = None
    curve: FailureCurve | None = None

    @property
    def n_draws(self) -> int:
        """Number of draws."""
        return len(next(iter(self.draws.values()))) if self.draws else 0

    @property
    def single(self) -> dict[str, Float[np.ndarray, "1"]]:
        """The best estimate as the only draw."""
        return {name: np.array([value]) for name, value in self.params.items()}


def of_fit(fit: Fit) -> Source:
    """What a fitted law knows."""

    def spread(value: float, draws: np.ndarray | None, level: float) -> Estimate:
        if draws is None or not len(draws):
            return Estimate(value, np.nan, np.nan, np.nan)
        known = draws[np.isfinite(draws)]
        low, high = fit.interval(lambda _: known, level)
        with np.errstate(over="ignore"):  # of draws that ran off
            return Estimate(value, float(known.std(ddof=1)), low, high)

    return Source(
        fit.law, fit.law, fit.target, fit.params, fit.draws, fit.ranges, fit.notes, spread, fit
    )


def of_failure(curve: FailureCurve, given: Mapping[str, float], weight: float = 0.0) -> Source:
    """What is known of failure."""

    def spread(value: float, draws: np.ndarray | None, level: float) -> Estimate:
        known = np.empty(0) if draws is None else draws[np.isfinite(draws)]
        if len(known) < 2:
            return Estimate(value, np.nan, np.nan, np.nan)
        low, high = percentile_interval(known[:, None], level)
        return Estimate(value, float(known.std(ddof=1)), float(low[0]), float(high[0]))

    count = min(curve.draws, MOST_DRAWS)
    plain = Failure(curve, given)
    return Source(
        replace(plain, weight=weight),
        plain,
        "failure",
        {"draw": BEST},
        {"draw": np.arange(count, dtype=float)} if count else {},
        curve.ranges,
        curve.notes,
        spread,
        curve=curve,
    )


Moved = tuple[Source, Mapping[str, float]]


def moves(source: Source, step: float) -> Iterator[tuple[str, float, Moved, Moved]]:
    """Each parameter that is free: its name, its relative standard error, and the source with the
    parameter larger and smaller by a relative ``step``."""
    if (fit := source.fit) is not None:
        for name in fit.free:
            value = fit.params[name]
            relative = fit.stderr.get(name, np.nan) / abs(value) if value else np.nan
            up, down = ((source, fill(fit, {name: value * (1 + sign * step)})) for sign in (1, -1))
            yield name, relative, up, down
    elif source.curve is not None and isinstance(source.law, Failure):
        for name, item in source.curve.params.items():
            up, down = (
                (_with_curve(source, source.law, item.moved(item.value * (1 + sign * step))),
                 source.params)
                for sign in (1, -1)
            )  # fmt: skip
            yield name, item.stderr / abs(item.value) if item.value else np.nan, up, down


def _with_curve(source: Source, law: Failure, curve: FailureCurve) -> Source:
    law = replace(law, curve=curve)
    return replace(source, law=law, shown=replace(law, weight=0.0))
