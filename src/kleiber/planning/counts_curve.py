"""How failure falls with training and attempts according to counts of successes along training.

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
from kleiber.fitting.record import Fit, fill
from kleiber.maths.seeds import stream
from kleiber.planning.along_training import (
    Line,
    Weighed,
    draw_lines,
    fit_line,
    shares_of,
    weigh_forms,
)
from kleiber.planning.curve import Array, FailureCurve, Parameter, Values
from kleiber.planning.support import check_support

FAMILIES = ("beta_binomial", "zero_inflated")
COORDINATES = ("a", "b_over_a", "zero_odds")  # whose logarithms follow lines along training


@dataclass(frozen=True)
class Along:
    """The lines of one series of counts, of the best estimate and of every draw, in the logarithm
    of a column less its ``middle``; and the loss law that predicts the column, if one does."""

    name: str
    column: str
    middle: float
    lines: tuple[Line, ...]
    many: tuple[Line, ...]
    law: Fit | None

    def at(self, values: Values, some: int) -> Array:
        """log of the training column, of the best estimate or of some draws."""
        if self.law is None:
            return np.log(values[self.column]) - self.middle
        law = self.law
        params = {n: x[:some, None] for n, x in law.draws.items()} if some else law.params
        columns = {name: values[name] for name in law.law.variables}
        return np.log(np.asarray(law.law(**columns, **params), float)) - self.middle

    def curve(self) -> FailureCurve:
        """Failure by the lines, without what else is known of it."""
        return FailureCurve(
            self.name,
            (self.column,) if self.law is None else self.law.law.variables,
            lambda values, k: _failure(self.lines, self.at(values, 0), k),
            lambda values, k, some: _failure(
                [line.of(slice(some)) for line in self.many], self.at(values, some), k
            ),
        )


def counts_curve(fit: CountFit, law: Fit | None = None, series: str | None = None) -> FailureCurve:
    """The curve of a law of counts fitted along a column (``fit_counts(..., along=...)``).

    With a loss ``law``, whose target is that column, training chooses the law's variables.
    ``series`` names one of several. Raises BadPlan where the counts cannot support a plan.
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
    middle = float(np.log(x).mean())
    z = np.log(x) - middle
    way = -1.0 if np.polyfit(z, fit.peak.u[rows, 1], 1)[0] > 0 else 1.0  # b/a falls with training
    lines, many = _lines(fit, rows, z, way, trend)
    draws = len(fit.drawn) if law is None else min(len(fit.drawn), law.n_draws)
    name = f"{fit.family.name} along {trend.along}"
    along = Along(name, trend.along, middle, tuple(lines), tuple(many), law)
    return replace(
        along.curve(),
        draws=draws,
        ranges=_ranges(fit, law, trend.along, x, rows),
        notes=_notes(fit, law, lines, draws, trend),
        params=dict(_parameters(along)),
    )


def names_of_series(fit: CountFit) -> tuple[str, ...]:
    """The series along training that counts hold, if they hold several."""
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
    names = names_of_series(fit)
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
    way: float,
    trend: Trend,
) -> tuple[list[Line], list[Line]]:
    """Each coordinate's line, of the best estimate and of every draw."""
    coordinates = fit.peak.u.shape[1]
    curvature = -fit.peak.hessian[rows] + 1e-3 * np.eye(coordinates)
    variances = np.clip(np.linalg.inv(curvature).diagonal(axis1=1, axis2=2), 1e-6, 4.0)
    lines, many = list[Line](), list[Line]()
    rng = stream(0, "lines along training")
    for j in range(coordinates):
        u, own = fit.peak.u[rows, j], variances[:, j]
        weighed = weigh_forms(u, z, own, way)
        if j == 0:
            weighed = _as_the_trend(trend, weighed)
        spread = weighed.spreads[weighed.best]
        lines.append(fit_line(weighed.best, u[None], z, own + spread, way).of(0))
        many.append(draw_lines(weighed, fit.drawn[:, rows, j], z, own, way, rng))
    return lines, many


def _as_the_trend(trend: Trend, weighed: Weighed) -> Weighed:
    """The forms of the exponent weighed by the joint likelihood of the counts."""
    criteria = {form: trend.curves[form].aicc for form in weighed.weights if form in trend.curves}
    if "saturating" in criteria and "offset" in trend.curves:  # which levels off too
        criteria["saturating"] = min(criteria["saturating"], trend.curves["offset"].aicc)
    return replace(weighed, weights=shares_of(criteria)) if criteria else weighed


def _parameters(along: Along) -> Iterator[tuple[str, Parameter]]:
    """What failure depends on: the level, rate and half-way point of each coordinate's line, and
    the parameters of the loss law. A level is that in the middle of the measured, or the limit."""
    taken = set[str]()
    for j, (name, line, many) in enumerate(zip(COORDINATES, along.lines, along.many, strict=False)):
        for part, value, spread, change in _parts(line, many, along.middle):

            def moved(x: float, j: int = j, change: Any = change) -> FailureCurve:
                lines = (*along.lines[:j], change(x), *along.lines[j + 1 :])
                return replace(along, lines=lines).curve()

            known = spread[np.isfinite(spread)]
            stderr = float(known.std(ddof=1)) if len(known) > 1 else np.nan
            taken.add(f"{name}{part}")
            yield f"{name}{part}", Parameter(value, stderr, moved)
    if (law := along.law) is not None:
        for name in law.free:

            def filled(x: float, name: str = name, law: Fit = law) -> FailureCurve:
                return replace(along, law=replace(law, params=fill(law, {name: x}))).curve()

            own = name if name not in taken else f"{name} of {law.target}"
            yield own, Parameter(law.params[name], law.stderr.get(name, np.nan), filled)


Part = tuple[str, float, Float[np.ndarray, "draws"], Callable[[float], Line]]


def _parts(line: Line, many: Line, middle: float) -> Iterator[Part]:
    """The free parts of a line: name, value, that of each draw of the same form, and the line with
    another value."""
    bent, sloped = bool(line.size.any()), bool(line.slope.any())
    alike = np.asarray(many.size != 0 if bent else many.slope != 0)[:, 0]
    levels = np.exp(many.c[alike, 0] if bent else many.at(np.zeros(1))[:, 0])
    at = np.asarray
    yield "", float(np.exp(line.c)), levels, lambda x: replace(line, c=at(np.log(x)))
    if bent:
        halves = np.exp(many.bend[alike, 0] + middle)
        rates = many.rate[alike, 0]
        half = float(np.exp(line.bend + middle))
        yield "_rate", float(line.rate), rates, lambda x: replace(line, rate=at(x))
        yield "_half", half, halves, lambda x: replace(line, bend=at(np.log(x) - middle))
    elif sloped:
        slopes = many.slope[alike, 0]
        yield "_rate", float(line.slope), slopes, lambda x: replace(line, slope=at(x))


def _failure(lines: Sequence[Line], z: Array, k: Array) -> Array:
    """E (1 - p)^k for p of the (zero-inflated) beta distribution with the lines' coordinates."""
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
    """What was measured: of the training variables, and of attempts."""
    own = rows[fit.counts.group] | (not isinstance(fit.trend, Mapping))
    most = {"k": (1.0, float(fit.counts.attempts[own].max()))}
    if law is None:
        return {along: (float(x.min()), float(x.max()))} | most
    return {n: ends for n, ends in law.ranges.items() if n in law.law.variables} | most


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
