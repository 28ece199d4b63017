"""How far a plan extrapolates beyond the measured runs, and whether a measured run is better."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from kleiber.errors import BadPlan
from kleiber.fitting.record import Fit
from kleiber.formula import calculate
from kleiber.planning.cost import Cost
from kleiber.planning.problem import LARGEST, Question
from kleiber.planning.record import DEAREST
from kleiber.planning.source import Source

FAR = 10.0  # times the dearest run, or the largest measured value: beyond it a warning
FARTHEST = 1e4  # beyond it a plan needs far=True
FAR_HINT = "give far=True (--far) if it is meant."
ROUNDING = 1e-9  # relative excess that is due to rounding


def extrapolation(
    source: Source, question: Question, chosen: Mapping[str, float], spent: float
) -> tuple[float | None, str]:
    """Return the cost of a plan over that of the dearest measured run, and the name of that
    reference (None if unknown). With attempts it is the larger of that ratio for training and k
    over the most attempts measured."""
    runs = source.fit.outermost if source.fit is not None else ()
    runs = runs or ([{n: ends[1] for n, ends in source.ranges.items()}] if source.ranges else [])
    split = question.attempts
    cost = question.cost if split is None else split.train
    priced = (_price(question, cost, run) for run in runs)
    costs = [price for price in priced if price is not None and price > 0]
    if split is None:
        return (spent / max(costs) if costs else None), DEAREST
    if not costs:
        return None, ""
    here = _price(question, cost, chosen)
    factor = np.nan if here is None else here / max(costs)
    k = {**question.given, **chosen}["k"]
    attempts_factor = k / source.ranges["k"][1] if "k" in source.ranges else 0.0
    return max((factor, DEAREST), (attempts_factor, "the most attempts made"))


def extrapolations(
    ranges: Mapping[str, tuple[float, float]], values: Mapping[str, float]
) -> dict[str, float | None]:
    """Return each value over the largest measured value of its column (None if unknown)."""
    found: dict[str, float | None] = {}
    for name, value in values.items():
        largest = ranges[name][1] if name in ranges else np.nan
        found[name] = value / largest if 0 < largest < np.inf else None
    return found


def check_spending(source: Source, question: Question, factor: float | None) -> None:
    """Raise BadPlan for a plan that costs more than 1e4 times the dearest measured run."""
    if factor is not None and factor > FARTHEST:
        raise BadPlan(
            f"The plan spends {factor:.3g} times the dearest measured run, and no fitted law is "
            f"known so far out (a plan goes to {FARTHEST:g} times): check that the table and the "
            f"cost have the same units ({_largest_values(source, question)} in the table), or "
            f"{FAR_HINT}"
        )


def check_variables(
    source: Source, beyond: Mapping[str, float | None], held: Collection[str]
) -> None:
    """Raise BadPlan for a plan at more than 1e4 times the largest measured value of a variable that
    the user neither gives nor limits."""
    for name, times in beyond.items():
        if times is not None and times > FARTHEST and name not in held:
            raise BadPlan(
                f"The plan takes {times:.3g} times the largest measured {name} "
                f"({source.ranges[name][1]:.3g}), and no fitted law is known so far out (a plan "
                f"goes to {FARTHEST:g} times): give limits of {name}, or {FAR_HINT}"
            )


def _largest_values(source: Source, question: Question) -> str:
    names = [name for name in question.law.variables if name in source.ranges]
    return ", ".join(f"{name} reaches {source.ranges[name][1]:.3g}" for name in names)


def describe_outside(
    ranges: Mapping[str, tuple[float, float]], values: Mapping[str, float]
) -> Iterator[str]:
    """Yield a sentence for every value outside its measured range."""
    for name, (low, high) in ranges.items():
        value = values.get(name)
        if value is not None and not low * (1 - ROUNDING) <= value <= high * (1 + ROUNDING):
            yield f"{name} = {value:.4g} lies outside what was measured, {low:.4g} to {high:.4g}."


def describe_distances(
    ranges: Mapping[str, tuple[float, float]], values: Mapping[str, float]
) -> Iterator[str]:
    """Yield a sentence for every value far above the largest measured one, or below the
    smallest."""
    for name, value in values.items():
        low, high = ranges.get(name, (np.nan, np.nan))
        if 0 < high and value > FAR * high:
            yield (
                f"{name} = {value:.4g} is {value / high:.3g} times the largest measured "
                f"({high:.3g}): intervals hold only if the law itself does that far out."
            )
        elif 0 < low and value < low * (1 - ROUNDING):
            yield f"{name} = {value:.4g} lies below the smallest measured ({low:.3g})."


def describe_better_runs(
    fit: Fit, question: Question, predicted: float, spent: float
) -> Iterator[str]:
    """Yield a sentence if a measured run is better than the plan at no higher cost, and one if the
    law cannot reach what was measured."""
    sign, target = question.sense, fit.target
    best = next(_comparable(fit, question, spent), None)
    if best is not None and sign * best[target] < sign * predicted - ROUNDING * abs(predicted):
        where = ", ".join(f"{name} {best[name]:.4g}" for name in question.law.variables)
        slight = abs(_residual(fit, best[target], predicted)) <= 2 * _scatter(fit)
        yield (
            f"The plan is no better than a measured run: one in the table ({where}) costs no more "
            f"and reached {target} {best[target]:.4g}, where {predicted:.4g} is predicted here"
            + (", a difference within the scatter of the runs about the law." if slight else ".")
        )
    limit, known = _limiting_value(fit, question), fit.ranges.get(target)
    if (
        limit is None
        or known is None
        or sign * limit > sign * predicted + ROUNDING * abs(predicted)
    ):
        return
    reached = known[0] if sign > 0 else known[1]
    if sign * reached < sign * limit:
        way = (
            ("falls no lower", "floor", "below")
            if sign > 0
            else ("rises no higher", "ceiling", "above")
        )
        yield (
            f"The fitted law {way[0]} than {limit:.4g}, and {target} {reached:.4g} was measured: a "
            f"{way[1]} that runs already lie {way[2]} is wrong, and so are plans near it."
        )


def _comparable(fit: Fit, question: Question, spent: float) -> Iterator[Mapping[str, float]]:
    """Yield the measured runs that meet the constraints of the question at no higher cost, the best
    first."""
    law = question.law.variables
    known = (run for run in fit.best_runs if all(name in run for name in (fit.target, *law)))
    for run in sorted(known, key=lambda run: question.sense * run[fit.target]):
        price = _price(question, question.cost, run)
        if price is None or not price <= spent * (1 + ROUNDING):
            continue
        others = [(_price(question, *priced[:1], run), priced[1]) for priced in question.costs[1:]]
        if any(other is None or not other <= limit * (1 + ROUNDING) for other, limit in others):
            continue
        if any(
            run[name] > question.given[name] * (1 + ROUNDING)
            for name in law
            if name in question.given
        ):
            continue
        if all(_inside(run[name], question.limits[name]) for name in question.variables):
            yield run


def _inside(value: float, ends: tuple[float, float]) -> bool:
    """Return whether a value lies within limits, which are logarithms."""
    return value > 0 and ends[0] - ROUNDING <= math.log(value) <= ends[1] + ROUNDING


def _price(question: Question, cost: Cost, run: Mapping[str, float]) -> float | None:
    """Return the cost of a measured run, or None if it is unknown."""
    values_of_run = {**question.given, **run}
    if not all(name in values_of_run for name in cost.variables):
        return None
    price = float(calculate(cost.expr, values_of_run))
    return price if np.isfinite(price) else None


def _residual(fit: Fit, measured: float, predicted: float) -> float:
    if fit.noise.scale == "log" and measured > 0 and predicted > 0:
        return math.log(measured / predicted)
    return measured - predicted


def _scatter(fit: Fit) -> float:
    """Return the typical size of the residuals, from their median."""
    known = np.abs(fit.residuals[np.isfinite(fit.residuals)])
    return float(np.median(known)) / 0.6745 if len(known) else 0.0


def _limiting_value(fit: Fit, question: Question) -> float | None:
    """Return the law's value where every variable is largest (None if it is not finite)."""
    columns: dict[str, Any] = dict.fromkeys(question.law.variables, LARGEST)
    with np.errstate(all="ignore"):
        value = float(np.asarray(question.law(**columns, **fit.params), dtype=float))
    return value if np.isfinite(value) else None
