"""Source: the objective of a plan, and what is known about it.

A plan needs an objective for the best estimate and for every draw, the measured ranges, and a way
to turn draws into intervals. A Fit has all of that, and so has the failure of k attempts, whether
it comes from a theory, from counts along training, or from counts along a loss with its law.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from kleiber.claim import Estimate
from kleiber.fitting.record import Fit, check_fit, complete_params
from kleiber.fitting.spread.intervals import percentile_interval
from kleiber.forecasting.closed import as_fit
from kleiber.forecasting.record import Forecast
from kleiber.planning.curve import FailureCurve
from kleiber.planning.problem import Objective

MAX_DRAWS = 200  # of failure that a plan uses
BEST = -1.0  # index of the best estimate among the draws
EstimateOf = Callable[[float, "np.ndarray | None", float], Estimate]


@dataclass(frozen=True)
class Failure:
    """The failure of k attempts as a law of the training variables and k whose only parameter is
    the index of the draw; ``weight`` times the generalisation loss is added to it."""

    curve: FailureCurve
    given: Mapping[str, float] = field(default_factory=dict[str, float])
    weight: float = 0.0
    expr: None = None

    @property
    def name(self) -> str:
        """Name of the curve."""
        return self.curve.name

    @property
    def variables(self) -> tuple[str, ...]:
        """The training variables and k."""
        return (*self.curve.variables, "k")

    def __call__(self, *columns: Any, **named: Any) -> Float[np.ndarray, "..."]:
        """Compute failure at columns, for the best estimate (any one shape) or for each draw (draws
        are the first axis; columns may have a second one)."""
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
    """The objective ``law`` of a plan with its parameters and draws; ``reported`` is the law whose
    prediction is reported (without a weighted loss), ``estimate`` makes an Estimate of a value and
    its draws, and ``fit`` or ``curve`` is where the source comes from."""

    law: Objective
    reported: Objective
    target: str
    params: Mapping[str, float]
    draws: Mapping[str, Float[np.ndarray, "draws"]]
    ranges: Mapping[str, tuple[float, float]]
    notes: tuple[str, ...]
    estimate: EstimateOf
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


def fit_of(given: Any) -> Fit:
    """Return a Fit as it is, and a Forecast as the Fit of one formula whose draws are its laws."""
    return as_fit(given) if isinstance(given, Forecast) else check_fit(given)


def source_from_fit(fit: Fit) -> Source:
    """Return the source of a fitted law."""

    def estimate(value: float, draws: np.ndarray | None, level: float) -> Estimate:
        if draws is None or not len(draws):
            return Estimate(value, np.nan, np.nan, np.nan)
        known = draws[np.isfinite(draws)]
        low, high = fit.interval(lambda _: known, level)
        with np.errstate(over="ignore"):  # of draws that ran off
            return Estimate(value, float(known.std(ddof=1)), low, high)

    return Source(
        fit.law, fit.law, fit.target, fit.params, fit.draws, fit.ranges, fit.notes, estimate, fit
    )


def source_from_curve(
    curve: FailureCurve, given: Mapping[str, float], weight: float = 0.0
) -> Source:
    """Return the source of a failure curve."""

    def estimate(value: float, draws: np.ndarray | None, level: float) -> Estimate:
        known = np.empty(0) if draws is None else draws[np.isfinite(draws)]
        if len(known) < 2:
            return Estimate(value, np.nan, np.nan, np.nan)
        low, high = percentile_interval(known[:, None], level)
        return Estimate(value, float(known.std(ddof=1)), float(low[0]), float(high[0]))

    count = min(curve.draws, MAX_DRAWS)
    plain = Failure(curve, given)
    return Source(
        replace(plain, weight=weight),
        plain,
        "failure",
        {"draw": BEST},
        {"draw": np.arange(count, dtype=float)} if count else {},
        curve.ranges,
        curve.notes,
        estimate,
        curve=curve,
    )


Perturbed = tuple[Source, Mapping[str, float]]


def perturb_parameters(
    source: Source, step: float
) -> Iterator[tuple[str, float, Perturbed, Perturbed]]:
    """Yield each free parameter: its name, its relative standard error, and the source with the
    parameter larger and smaller by a relative ``step``."""
    if (fit := source.fit) is not None:
        for name in fit.free:
            value = fit.params[name]
            relative = fit.stderr.get(name, np.nan) / abs(value) if value else np.nan
            up, down = (
                (source, complete_params(fit, {name: value * (1 + sign * step)}))
                for sign in (1, -1)
            )
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
    return replace(source, law=law, reported=replace(law, weight=0.0))
