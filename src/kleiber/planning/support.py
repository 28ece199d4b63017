"""Checks that a fit, and the allocation that it leads to, can support a plan."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from kleiber.errors import BadPlan
from kleiber.fitting.judge.status import Status
from kleiber.fitting.record import Fit, check_fit
from kleiber.planning.allocate import flat_width
from kleiber.planning.problem import LARGEST, SMALLEST, Ends, Question, cost_at, law_at
from kleiber.planning.source import Source

FLAT_WIDTH = 0.1  # equal predictions over more logarithms than this leave a variable open


def check_support(fit: Fit) -> None:
    """Raise BadPlan unless the fit determines the law; the message names runs that would help."""
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
    """Describe the runs that would separate parameters that trade off, from the measured ranges."""
    constant = [n for n in fit.law.variables if n in fit.ranges and _ratio(fit.ranges[n]) < 2]
    if constant:
        low, high = fit.ranges[constant[0]]
        return (
            f"All runs have nearly the same {constant[0]} ({low:.3g} to {high:.3g}): add runs with "
            f"{constant[0]} at {low / 4:.3g} and {high * 4:.3g}, the others as they are"
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
    """Raise BadPlan if an allocation is not a proper optimum: a fitted law does not improve with a
    variable, every split is equally good, the optimum is at the end of the search, or a constraint
    is violated."""
    limited = {*limits, *question.choices}
    if (fit := source.fit) is not None:
        _check_improvement(fit, question, chosen, limited)
        _check_flat(fit, question)
        for name in question.variables:
            _check_interior(fit, question, chosen, limits, name)
    logs = {name: np.log(chosen[name]) for name in question.variables}
    for k in question.budgeted:
        cost, limit = question.costs[k]
        if not float(cost_at(question, cost, logs)) <= limit * (1 + 1e-6):
            raise BadPlan(
                f"The constraint {cost.name!r} is not met by what was found: it rises and falls "
                "with a variable, which a plan cannot follow."
            )


def _check_improvement(
    fit: Fit, question: Question, chosen: Mapping[str, float], limited: Collection[str]
) -> None:
    """Raise BadPlan if the fitted law does not improve with a variable."""
    params = {name: np.array([value]) for name, value in fit.params.items()}
    for name in question.variables:
        low, high = question.limits[name]
        if name in limited or high - low < 1e-6:
            continue
        logs: dict[str, Any] = {n: np.full(3, np.log(chosen[n])) for n in question.variables}
        logs[name] = np.array([low, np.log(chosen[name]), high])
        lowest, *others = question.sense * law_at(question, params, logs)
        if not np.nanmin(others) < lowest - 1e-12 * abs(lowest):
            direction = "fall" if question.sense > 0 else "rise"
            raise BadPlan(
                f"The fitted law does not {direction} with {name}, so it cannot say how much of a "
                f"budget {name} deserves: add runs that vary {name}, or give its value or its "
                "limits."
            )


def _check_flat(fit: Fit, question: Question) -> None:
    """Raise BadPlan if the law, or the cost of a target, is equal for every split."""
    if flat_width(question, fit.params) > FLAT_WIDTH:
        what = fit.target if question.target is None else "cost"
        raise BadPlan(
            f"Every split between {' and '.join(question.variables)} has the same predicted {what}:"
            f" the fitted law does not say which to take; give the value of "
            f"{question.variables[0]} (given={{...}}, --given)."
        )


def open_ends(limits: Mapping[str, Ends], name: str) -> tuple[bool, bool]:
    """Return whether the user leaves the lower and the upper end of a variable open."""
    low, high = limits.get(name, (None, None))
    return low is None, high is None or high >= LARGEST


def _check_interior(
    fit: Fit,
    question: Question,
    chosen: Mapping[str, float],
    limits: Mapping[str, Ends],
    name: str,
) -> None:
    """Raise BadPlan if a variable is at an end of the search that the user did not set."""
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
    """Explain why there is no allocation."""
    target = source.target
    if question.target is None:
        if question.has_falling_cost:
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
    moves = "falls no lower" if question.sense > 0 else "rises no higher"
    return (
        f"The {target} {question.target:g} is out of reach: within the limits the law {moves} "
        f"than {best:.4g}."
    )
