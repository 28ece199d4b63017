"""The questions of plans, built from the user's arguments and checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from kleiber.arguments import check_mapping, check_record
from kleiber.attempts.record import CountFit
from kleiber.errors import BadPlan, nearest, shown
from kleiber.fitting.record import Fit
from kleiber.formula import calculate
from kleiber.planning.amounts import check_budget, is_real
from kleiber.planning.constraint import Constraints, read_constraints
from kleiber.planning.cost import Cost, find_cost
from kleiber.planning.costs.combining import total
from kleiber.planning.counts_curve import counts_curve
from kleiber.planning.curve import FailureCurve, theory_curve
from kleiber.planning.direction import find_sense
from kleiber.planning.problem import LARGEST, SMALLEST, Attempts, Ends, Question
from kleiber.planning.question import ask, read_ends
from kleiber.planning.source import Source, source_from_curve, source_from_fit

USER_FORMULA = "formula given by the user"  # the convention of a formula, which is not repeated
MAX_ATTEMPTS = 1e12  # at each query
# factors on the measured range if no limit is given
BELOW_MEASURED, BEYOND_MEASURED = 10.0, 1000.0
Posed = tuple[Source, Question, Mapping[str, Ends]]


@dataclass(frozen=True)
class Settings:
    """The arguments that every plan takes, as the user gives them."""

    budget: float | None
    reach: float | None
    cost: Cost | str | None
    under: Constraints | None = None
    limits: Mapping[str, Ends] | None = None
    choices: Mapping[str, Sequence[float]] | None = None
    given: Mapping[str, float] | None = None

    def checked(self) -> Settings:
        """Return the settings with empty mappings in the place of None."""
        contents = {"given": "numbers", "limits": "(low, high)", "choices": "values"}
        checked = {
            name: check_mapping(
                name, getattr(self, name), f"a mapping from columns to {what} or None"
            )
            for name, what in contents.items()
        }
        return replace(self, **checked)


def find_curve(source: Any, law: Any = None, series: str | None = None) -> FailureCurve:
    """Return the curve of a theory, of counts along a column, or of counts along a loss with its
    law; ``series`` names one of several series of counts."""
    if isinstance(source, CountFit):
        if law is not None:
            check_record("law", law, Fit, "a Fit of the loss or None")
        return counts_curve(source, law, series)
    if series is not None:
        raise BadPlan(f"The series {shown(series)} is of a law of counts, and this is none.")
    if isinstance(source, FailureCurve):
        return source
    if not hasattr(source, "solve"):
        raise BadPlan(
            "A plan with attempts takes as its source a theory or a law of counts (fit_counts), "
            f"got {shown(source)}."
        )
    if law is not None:
        raise BadPlan(f"{type(source).__name__} knows its own loss; leave out the loss law.")
    return theory_curve(source)


def pose_question(fit: Fit, asked: Settings) -> Posed:
    """Build the question of a plan by a fitted law, with the sense in which the law is
    optimised."""
    if (asked.budget is None) == (asked.reach is None):
        raise BadPlan("A plan takes a budget, or a value to reach, and not both.")
    asked = asked.checked()
    limits, given = dict(asked.limits or {}), dict(asked.given or {})
    columns = (*fit.law.variables, *given)
    first = np.inf if asked.budget is None else check_budget(asked.budget)
    priced: Any = asked.cost
    costs = [(find_cost(priced, columns), first), *read_constraints(asked.under, columns)]
    question = ask(
        fit.law, costs, limits=limits, given=given, choices=asked.choices, target=asked.reach
    )
    held = {*limits, *question.choices}
    sense = find_sense(question, fit.params, fit.ranges, fit.target, held)
    return source_from_fit(fit), replace(question, sense=sense), limits


def pose_attempts(
    curve: FailureCurve,
    asked: Settings,
    attempt: Cost | str | float,
    queries: float,
    weight: float,
    far: bool = False,
) -> Posed:
    """Build the question of a plan with attempts, where k is a variable and the cost includes
    attempts."""
    asked = asked.checked()
    given = dict(asked.given or {})
    chosen = [name for name in curve.variables if name not in given]
    columns = (*curve.variables, *given)
    train = _cost_of_training(asked.cost, chosen, columns)
    each = find_cost(_attempt_price(attempt), columns)
    if not 1 <= len(chosen) <= 2:
        raise BadPlan(
            f"The curve {curve.name} leaves {len(chosen)} training variables to choose of "
            f"{', '.join(curve.variables)}; a plan chooses one or two: give the others' values."
        )
    _check_cost_variables(curve, train, each, chosen, given)
    constraints = read_constraints(asked.under, (*columns, "k"))
    names = {
        name for cost in (train, each, *(c for c, _ in constraints)) for name in cost.variables
    }
    _check_given({*curve.variables, "k", *names}, given)
    _check_amounts(curve, queries, weight)
    reach = _check_reach(asked, weight)
    first = np.inf if asked.budget is None else check_budget(asked.budget)
    attempts = Attempts(train, each, float(queries))
    costs = [(total_cost(attempts), first), *constraints]
    limits = _search_box(curve, chosen, asked, far)
    _check_price(attempts, {name: limits[name] for name in chosen if name in limits}, asked)
    source = source_from_curve(curve, given, float(weight))
    question = ask(
        source.law,
        costs,
        limits=limits,
        given=given,
        choices=_whole_choices(asked.choices),
        target=None if reach is None else 1 - reach,
        attempts=attempts,
    )
    return source, question, limits


def _cost_of_training(cost: Cost | str | None, chosen: list[str], columns: Sequence[str]) -> Cost:
    """Return the cost of training: the one given, or n_data if that is the only variable, or
    6nd."""
    if cost is None:
        cost = "n_data" if chosen == ["n_data"] else "6nd"
    return find_cost("1*n_data" if cost == "n_data" else cost, columns)


def _attempt_price(attempt: Cost | str | float) -> Cost | str:
    """Return the cost of an attempt, with a number as text."""
    if isinstance(attempt, Cost | str):
        return attempt
    if not (is_real(attempt) and attempt > 0):
        raise BadPlan(f"The cost of an attempt must be a positive number, got {shown(attempt)}.")
    return repr(float(attempt))


def _check_cost_variables(
    curve: FailureCurve, train: Cost, attempt: Cost, chosen: list[str], given: Mapping[str, float]
) -> None:
    """Raise BadPlan if a cost needs a variable that is neither chosen nor given, or if training
    does not pay for a variable."""
    known = {*chosen, *given} - {"k"}
    for what, price in (("training", train), ("an attempt", attempt)):
        missing = [name for name in price.variables if name not in known]
        if missing:
            raise BadPlan(
                f"The cost of {what}, {price.name!r}, needs {missing[0]}, which {curve.name} does "
                f"not choose; give its value (given={{{missing[0]!r}: ...}})."
                f"{nearest(missing[0], chosen)}"
            )
    unpriced = [name for name in chosen if name not in train.variables]
    if unpriced:
        raise BadPlan(
            f"The cost of training, {train.name!r}, does not depend on {unpriced[0]}, so a budget "
            f"does not limit it; give a cost that contains it, or its value."
        )


def _check_given(used: Collection[str], given: Mapping[str, float]) -> None:
    """Raise BadPlan for a given value that nothing uses or that is not positive, and for a k that
    is not whole."""
    for name, value in given.items():
        if name not in used:
            raise BadPlan(
                f"The given values have an entry {name!r}, which nothing uses.{nearest(name, used)}"
            )
        if not (is_real(value) and value > 0):
            raise BadPlan(f"The given {name} must be a positive number, got {shown(value)}.")
    _check_whole("value of k", given.get("k", 1.0))


def _check_amounts(curve: FailureCurve, queries: float, weight: float) -> None:
    if not (is_real(queries) and 0 < queries <= LARGEST):
        raise BadPlan(f"The queries must be a positive number, got {shown(queries)}.")
    if not (is_real(weight) and weight >= 0):
        raise BadPlan(f"The weight must be zero or more, got {shown(weight)}.")
    if weight and curve.loss is None:
        raise BadPlan(
            f"The curve {curve.name} knows no generalisation loss that a weight could be of."
        )


def _check_reach(asked: Settings, weight: float) -> float | None:
    """Return the pass rate to reach, or None if there is a budget."""
    reach = asked.reach
    if (asked.budget is None) == (reach is None):
        raise BadPlan("A plan takes a budget, or a pass rate to reach, and not both.")
    if reach is not None and not (is_real(reach) and 0 < reach < 1 and not weight):
        raise BadPlan(
            f"The pass rate to reach lies between 0 and 1, and takes no weight, got {shown(reach)}."
        )
    return reach


def _check_price(attempts: Attempts, limits: Mapping[str, Ends], asked: Settings) -> None:
    """Raise BadPlan for attempts that cost nothing even where all variables are largest."""
    largest = {name: LARGEST if ends[1] is None else ends[1] for name, ends in limits.items()}
    values = {**dict.fromkeys(asked.choices or {}, LARGEST), **largest, **(asked.given or {})}
    with np.errstate(over="ignore"):
        highest_cost = calculate(attempts.attempt.expr, values)
    if highest_cost <= 0:
        raise BadPlan(
            f"An attempt must cost more than nothing, got a cost of {attempts.attempt.name}."
        )


def _search_box(
    curve: FailureCurve, chosen: list[str], asked: Settings, far: bool
) -> dict[str, Ends]:
    """Return the search limits of each variable: the user's, or a range about the measured values;
    variables with choices have only the user's."""
    own = dict(asked.limits or {})
    box: dict[str, Ends] = {}
    for name in (*chosen, *([] if "k" in (asked.given or {}) else ["k"])):
        if name in own:
            box[name] = read_ends(name, own[name])
        elif name not in (asked.choices or {}):
            box[name] = _default_limits(curve, name, far)
    if "k" in own and "k" in box:
        low, high = (float(end or 0.0) for end in box["k"])
        box["k"] = max(low, 1.0), min(high, MAX_ATTEMPTS)
        if not box["k"][0] <= box["k"][1]:  # pyright: ignore[reportOperatorIssue]
            raise BadPlan(
                f"The limits of k lie between 1 and {MAX_ATTEMPTS:g} attempts, got "
                f"{shown(own['k'])}."
            )
    return box | {name: ends for name, ends in own.items() if name not in box}


def _default_limits(curve: FailureCurve, name: str, far: bool) -> tuple[float, float]:
    """Return the search limits of a variable that the user does not limit."""
    if name == "k":
        known = "k" in curve.ranges and not far
        return 1.0, min(
            BEYOND_MEASURED * curve.ranges["k"][1], MAX_ATTEMPTS
        ) if known else MAX_ATTEMPTS
    if far or name not in curve.ranges:
        return SMALLEST, LARGEST
    low, high = curve.ranges[name]
    return low / BELOW_MEASURED, high * BEYOND_MEASURED


def _whole_choices(choices: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the choices, after a check that those of k are whole numbers."""
    ladder: Any = (choices or {}).get("k", ())
    listed = isinstance(ladder, Sequence) and not isinstance(ladder, str)
    for value in cast("Sequence[Any]", ladder) if listed else ():
        _check_whole("choices of k", value)
    return choices or {}


def _check_whole(what: str, value: Any) -> None:
    if not (is_real(value) and 1 <= value <= MAX_ATTEMPTS and value % 1 == 0):
        raise BadPlan(f"The {what} must be whole, from 1 to {MAX_ATTEMPTS:g}, got {shown(value)}.")


def total_cost(attempts: Attempts) -> Cost:
    """Return the cost of training and attempts as one formula of the training variables and k."""
    count = f"{attempts.queries:.12g}"
    count = count if float(count) == attempts.queries else repr(attempts.queries)
    formula = f"{count}*k*({attempts.attempt.formula})"
    convention = attempts.attempt.convention
    whole = total(attempts.train, Cost(formula, formula, attempts.attempt.unit, convention))
    words = [
        part for part in (attempts.train.convention, convention) if part and part != USER_FORMULA
    ]
    return replace(whole, convention="; plus attempts: ".join(words))
