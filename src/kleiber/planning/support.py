"""Whether a fit, and the law that it found, can carry a plan at all."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from kleiber.errors import BadPlan
from kleiber.fitting.judge.status import Status
from kleiber.fitting.record import Fit, check_fit
from kleiber.planning.allocate import level_width
from kleiber.planning.problem import LARGEST, SMALLEST, Ends, Question, cost_at, law_at
from kleiber.planning.source import Source

LEVEL = 0.1  # logarithms of a variable over which equal predictions leave it open


def check_support(fit: Fit) -> None:
    """BadPlan unless the fit determines the law; the message names runs that would help."""
    if check_fit(fit).usable:
        return
    remedy = {
        Status.FLAT: _missing_runs(fit),
        Status.MAX_EVALUATIONS: "Fit again from other starts (another seed), or with fewer "
        "parameters",
        Status.TOO_FEW_POINTS: "Add runs",
        Status.UNFIT: "Fit a law that the data allow",
    }[fit.status]
    raise BadPlan(f"This fit cannot support a plan: {fit.status}, {fit.reason}. {remedy}.")


def _missing_runs(fit: Fit) -> str:
    """Which runs would separate parameters that trade off, from the measured ranges."""
    still = [n for n in fit.law.variables if n in fit.ranges and _ratio(fit.ranges[n]) < 2]
    if still:
        low, high = fit.ranges[still[0]]
        return (
            f"All runs have nearly the same {still[0]} ({low:.3g} to {high:.3g}): add runs with "
            f"{still[0]} at {low / 4:.3g} and {high * 4:.3g}, the others as they are"
        )
    if len(fit.law.variables) > 1:
        first, second = fit.law.variables[:2]
        return (
            f"Add runs that vary {first} and {second} separately: the smallest {first} with the "
            f"largest {second}, and the reverse"
        )
    return "Add runs over a wider range"


def _ratio(ends: tuple[float, float]) -> float:
    return ends[1] / ends[0] if ends[0] > 0 else np.inf


def check_answer(
    source: Source, question: Question, chosen: Mapping[str, float], limits: Mapping[str, Ends]
) -> None:
    """BadPlan where what was found is no best allocation: a fitted law does not improve with a
    variable, every split is as good, the best is where the search happens to end, or it breaks a
    constraint."""
    held = {*limits, *question.choices}
    if (fit := source.fit) is not None:
        _check_worth(fit, question, chosen, held)
        _check_flat(fit, question)
        for name in question.variables:
            _check_inside(fit, question, chosen, limits, name)
    logs = {name: np.log(chosen[name]) for name in question.variables}
    for k in question.bills:
        cost, most = question.costs[k]
        if not float(cost_at(question, cost, logs)) <= most * (1 + 1e-6):
            raise BadPlan(
                f"The constraint {cost.name!r} is not met by what was found: it rises and falls "
                "with a variable, which a plan cannot follow."
            )


def _check_worth(
    fit: Fit, question: Question, chosen: Mapping[str, float], held: Collection[str]
) -> None:
    """BadPlan where the fitted law does not improve with a variable: a plan would starve it."""
    params = {name: np.array([value]) for name, value in fit.params.items()}
    for name in question.variables:
        low, high = question.limits[name]
        if name in held or high - low < 1e-6:
            continue
        logs: dict[str, Any] = {n: np.full(3, np.log(chosen[n])) for n in question.variables}
        logs[name] = np.array([low, np.log(chosen[name]), high])
        least, *others = question.sense * law_at(question, params, logs)
        if not np.nanmin(others) < least - 1e-12 * abs(least):
            moves = "fall" if question.sense > 0 else "rise"
            raise BadPlan(
                f"The fitted law does not {moves} with {name}, so it cannot say how much of a "
                f"budget {name} deserves: add runs that vary {name}, or give its value or its "
                "limits."
            )


def _check_flat(fit: Fit, question: Question) -> None:
    """BadPlan where the law, or what a target costs, is the same for every split."""
    if level_width(question, fit.params) > LEVEL:
        what = fit.target if question.target is None else "cost"
        raise BadPlan(
            f"Every split between {' and '.join(question.variables)} has the same predicted {what}:"
            f" the fitted law does not say which to take; give the value of "
            f"{question.variables[0]} (given={{...}}, --given)."
        )


def open_ends(limits: Mapping[str, Ends], name: str) -> tuple[bool, bool]:
    """Whether the user leaves the lower and the upper end of a variable open."""
    low, high = limits.get(name, (None, None))
    return low is None, high is None or high >= LARGEST


def _check_inside(
    fit: Fit,
    question: Question,
    chosen: Mapping[str, float],
    limits: Mapping[str, Ends],
    name: str,
) -> None:
    """BadPlan where a variable goes to an end that is the search's own."""
    low, high = question.limits[name]
    if name in question.choices or high - low < 1e-6:
        return
    below, above = open_ends(limits, name)
    smallest = below and chosen[name] <= SMALLEST * (1 + 1e-9)
    if not smallest and not (above and chosen[name] >= LARGEST * (1 - 1e-9)):
        return
    size, end = ("smaller", SMALLEST) if smallest else ("larger", LARGEST)
    others = [other for other in question.variables if other != name]
    ends = fit.ranges.get(name)
    measured = "LOW:HIGH" if ends is None else f"{ends[0]:.3g}:{ends[1]:.3g}"
    what = (
        "this budget" if question.target is None else f"what {fit.target} {question.target:g} takes"
    )
    raise BadPlan(
        f"The fitted law has no best split of {what}: the {size} {name}, the better, to the end of "
        f"what is considered ({end:g}). Give limits of {' or of '.join([name, *others])}, for "
        f"example those of the measured runs, --limit {name}={measured} (limits={{...}})."
    )


def describe_missing(source: Source, question: Question) -> str:
    """Why there is no allocation."""
    target = source.target
    if question.target is None:
        if question.crossed:
            return (
                "No allocation meets every constraint within the budget; give a larger budget or "
                "fewer constraints."
            )
        return f"Law {source.law.name} has no finite value at any affordable allocation."
    if len(question.costs) > 1:
        others = ", ".join(cost.name for cost, _ in question.costs[1:])
        sure = (
            "" if len(question.variables) < 3 else " was found, though a narrow one can be missed"
        )
        return (
            f"No allocation that brings {target} to {question.target:g} within {others}{sure}; "
            "ask with a budget, or allow those costs more."
        )
    if question.attempts is not None:
        return f"A pass rate of {1 - question.target:g} is out of reach within the limits."
    far = {name: np.array([ends[1]]) for name, ends in question.limits.items()}
    best = float(law_at(question, source.single, far)[0])
    way = "falls no lower" if question.sense > 0 else "rises no higher"
    return (
        f"The {target} {question.target:g} is out of reach: within the limits the law {way} "
        f"than {best:.4g}."
    )
