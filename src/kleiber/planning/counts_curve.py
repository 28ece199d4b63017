"""How failure falls with training and attempts, from counts of successes along training.

Each group of the counts has a law of its own, with coordinates (log a, log b/a[, logit zero]) of
the beta-binomial law; each of these follows a line along training (``planning.along_training``).
The form of the exponent's line is the one that the counts' trend prefers, that of the others has
the smallest AIC. Every draw has forms drawn by their weights, fitted to the groups' refits to
resampled problems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import expit

from kleiber.attempts.gamma import log_rising
from kleiber.attempts.record import USABLE, CountFit
from kleiber.attempts.trend import Trend
from kleiber.errors import BadPlan, listed, nearest, shown
from kleiber.fitting.record import Fit, complete_params
from kleiber.maths.seeds import stream
from kleiber.planning.along_training import (
    FormWeights,
    Line,
    akaike_weights,
    draw_lines,
    fit_line,
    weigh_forms,
)
from kleiber.planning.curve import Array, FailureCurve, Parameter, Values
from kleiber.planning.support import check_support

FAMILIES = ("beta_binomial", "zero_inflated")
COORDINATES = ("a", "b_over_a", "zero_odds")  # their logarithms are lines along training


@dataclass(frozen=True)
class TrainingLines:
    """The fitted lines of one series of counts, for the best estimate and for every draw, as
    functions of the centred logarithm of a column; ``law`` is the loss law that predicts the
    column, if any."""

    name: str
    column: str
    center: float
    lines: tuple[Line, ...]
    drawn: tuple[Line, ...]
    law: Fit | None

    def at(self, values: Values, some: int) -> Array:
        """Return the centred logarithm of the training column, for the best estimate or for the
        first ``some`` draws."""
        if self.law is None:
            return np.log(values[self.column]) - self.center
        law = self.law
        params = {n: x[:some, None] for n, x in law.draws.items()} if some else law.params
        columns = {name: values[name] for name in law.law.variables}
        return np.log(np.asarray(law.law(**columns, **params), float)) - self.center

    def curve(self) -> FailureCurve:
        """Return the FailureCurve of the lines, without ranges, notes and parameters."""
        return FailureCurve(
            self.name,
            (self.column,) if self.law is None else self.law.law.variables,
            lambda values, k: _failure(self.lines, self.at(values, 0), k),
            lambda values, k, some: _failure(
                [line.of(slice(some)) for line in self.drawn], self.at(values, some), k
            ),
        )


def counts_curve(fit: CountFit, law: Fit | None = None, series: str | None = None) -> FailureCurve:
    """Build the curve of counts fitted along a column (``fit_counts(..., along=...)``).

    With a loss ``law`` whose target is that column, the training variables are those of the law.
    ``series`` names one of several. Raises BadPlan if the counts cannot support a plan.
    """
    trend = _trend(fit, series)
    if law is not None:
        check_support(law)
        if law.target != trend.along:
            raise BadPlan(
                f"The loss law predicts {law.target}, but the counts were fitted along "
                f"{trend.along}: fit one of them along the other's column."
            )
    rows = np.array([status in USABLE for status in fit.statuses])
    if isinstance(fit.trend, Mapping):
        rows &= np.array([name in trend.groups for name in fit.groups])
    x = fit.counts.keys[trend.along].to_numpy().astype(float)[rows]
    center = float(np.log(x).mean())
    z = np.log(x) - center
    # b/a falls with training
    direction = -1.0 if np.polyfit(z, fit.peak.u[rows, 1], 1)[0] > 0 else 1.0
    lines, drawn = _lines(fit, rows, z, direction, trend)
    draws = len(fit.drawn) if law is None else min(len(fit.drawn), law.n_draws)
    name = f"{fit.family.name} along {trend.along}"
    along = TrainingLines(name, trend.along, center, tuple(lines), tuple(drawn), law)
    return replace(
        along.curve(),
        draws=draws,
        ranges=_ranges(fit, law, trend.along, x, rows),
        notes=_notes(fit, law, lines, draws, trend),
        params=dict(_parameters(along)),
    )


def list_series(fit: CountFit) -> tuple[str, ...]:
    """Return the names of the series along training, empty for a single one."""
    trend: Any = fit.trend
    if not isinstance(trend, Mapping):
        return ()
    return tuple(str(name) for name in cast("Mapping[str, Trend]", trend))


def _trend(fit: CountFit, series: str | None) -> Trend:
    trend: Any = fit.trend
    if trend is None:
        raise BadPlan(
            "The counts were not fitted along training; fit them with along='n_tokens', say."
        )
    if fit.family.name not in FAMILIES:
        raise BadPlan(
            f"A plan takes counts fitted with the family {' or '.join(FAMILIES)}, not "
            f"{fit.family.name}."
        )
    names = list_series(fit)
    if series is None and len(names) < 2:
        return trend[names[0]] if names else trend
    if series is None:
        raise BadPlan(
            "The counts hold several series along training: name one (series=...), or keep the "
            f"rows of one ({', '.join(names)})."
        )
    if series not in names:
        raise BadPlan(
            f"The counts hold no series {shown(series)}; they hold {listed(names) or 'one'}."
            f"{nearest(str(series), names)}"
        )
    return trend[series]


def _lines(
    fit: CountFit,
    rows: Bool[np.ndarray, "all"],
    z: Float[np.ndarray, "groups"],
    direction: float,
    trend: Trend,
) -> tuple[list[Line], list[Line]]:
    """Fit the line of each coordinate, for the best estimate and for every draw."""
    coordinates = fit.peak.u.shape[1]
    curvature = -fit.peak.hessian[rows] + 1e-3 * np.eye(coordinates)
    variances = np.clip(np.linalg.inv(curvature).diagonal(axis1=1, axis2=2), 1e-6, 4.0)
    lines, drawn = list[Line](), list[Line]()
    rng = stream(0, "lines along training")
    for j in range(coordinates):
        u, own = fit.peak.u[rows, j], variances[:, j]
        weighed = weigh_forms(u, z, own, direction)
        if j == 0:
            weighed = _weigh_by_trend(trend, weighed)
        spread = weighed.spreads[weighed.best]
        lines.append(fit_line(weighed.best, u[None], z, own + spread, direction).of(0))
        drawn.append(draw_lines(weighed, fit.drawn[:, rows, j], z, own, direction, rng))
    return lines, drawn


def _weigh_by_trend(trend: Trend, weighed: FormWeights) -> FormWeights:
    """Replace the weights of the exponent's forms by those of the joint likelihood of the
    counts."""
    criteria = {form: trend.curves[form].aicc for form in weighed.weights if form in trend.curves}
    if "saturating" in criteria and "offset" in trend.curves:  # which levels off too
        criteria["saturating"] = min(criteria["saturating"], trend.curves["offset"].aicc)
    return replace(weighed, weights=akaike_weights(criteria)) if criteria else weighed


def _parameters(along: TrainingLines) -> Iterator[tuple[str, Parameter]]:
    """Yield the parameters of failure: the level, rate and midpoint of each coordinate's line, and
    the parameters of the loss law. The level is the value at the centre of the data, or the
    limit."""
    taken = set[str]()
    for j, (name, line, drawn) in enumerate(
        zip(COORDINATES, along.lines, along.drawn, strict=False)
    ):
        for part, value, spread, change in _line_parameters(line, drawn, along.center):

            def curve_with_line(x: float, j: int = j, change: Any = change) -> FailureCurve:
                lines = (*along.lines[:j], change(x), *along.lines[j + 1 :])
                return replace(along, lines=lines).curve()

            known = spread[np.isfinite(spread)]
            stderr = float(known.std(ddof=1)) if len(known) > 1 else np.nan
            taken.add(f"{name}{part}")
            yield f"{name}{part}", Parameter(value, stderr, curve_with_line)
    if (law := along.law) is not None:
        for name in law.free:

            def curve_with_law(x: float, name: str = name, law: Fit = law) -> FailureCurve:
                return replace(
                    along, law=replace(law, params=complete_params(law, {name: x}))
                ).curve()

            own = name if name not in taken else f"{name} of {law.target}"
            yield own, Parameter(law.params[name], law.stderr.get(name, np.nan), curve_with_law)


LineParameter = tuple[str, float, Float[np.ndarray, "draws"], Callable[[float], Line]]


def _line_parameters(line: Line, drawn: Line, center: float) -> Iterator[LineParameter]:
    """Yield the free parameters of a line: name, value, the values of draws of the same form, and a
    function that returns the line with another value."""
    saturates, is_power = bool(line.size.any()), bool(line.slope.any())
    same_form = np.asarray(drawn.size != 0 if saturates else drawn.slope != 0)[:, 0]
    levels = np.exp(drawn.c[same_form, 0] if saturates else drawn.at(np.zeros(1))[:, 0])
    at = np.asarray
    yield "", float(np.exp(line.c)), levels, lambda x: replace(line, c=at(np.log(x)))
    if saturates:
        halves = np.exp(drawn.midpoint[same_form, 0] + center)
        rates = drawn.rate[same_form, 0]
        half = float(np.exp(line.midpoint + center))
        yield "_rate", float(line.rate), rates, lambda x: replace(line, rate=at(x))
        yield "_half", half, halves, lambda x: replace(line, midpoint=at(np.log(x) - center))
    elif is_power:
        slopes = drawn.slope[same_form, 0]
        yield "_rate", float(line.slope), slopes, lambda x: replace(line, slope=at(x))


def _failure(lines: Sequence[Line], z: Array, k: Array) -> Array:
    """Compute E (1 - p)^k for the (zero-inflated) beta distribution of p whose coordinates the
    lines give."""
    u = [line.at(z) for line in lines]
    a, b = np.exp(np.clip(u[0], -16, 25)), np.exp(np.clip(u[0] + u[1], -30, 50))
    failure = np.exp(np.minimum(log_rising(b, k) - log_rising(a + b, k), 0.0))
    if len(u) == 2:
        return failure
    zero = expit(u[2])
    return zero + (1 - zero) * failure


def _ranges(
    fit: CountFit,
    law: Fit | None,
    along: str,
    x: Float[np.ndarray, "groups"],
    rows: Bool[np.ndarray, "all"],
) -> dict[str, tuple[float, float]]:
    """Return the measured ranges of the training variables and of the number of attempts."""
    own = rows[fit.counts.group] | (not isinstance(fit.trend, Mapping))
    attempts_range = {"k": (1.0, float(fit.counts.attempts[own].max()))}
    if law is None:
        return {along: (float(x.min()), float(x.max()))} | attempts_range
    return {n: ends for n, ends in law.ranges.items() if n in law.law.variables} | attempts_range


def _notes(
    fit: CountFit, law: Fit | None, lines: list[Line], draws: int, trend: Trend
) -> tuple[str, ...]:
    several = isinstance(fit.trend, Mapping)
    others = [name for name in fit.groups if several and name not in trend.groups]
    notes = [note for note in fit.notes if not any(f"'{name}'" in note for name in others)]
    if not len(fit.drawn):
        notes.append("The counts have no draws: fit them again with draws=200.")
    elif law is not None and not draws:
        notes.append("The loss law has no draws: fit it again with draws=1000.")
    if all(not line.slope.any() and not line.size.any() for line in lines):
        notes.append(f"As far as these counts tell, failure does not depend on {trend.along}.")
    return tuple(notes)
