"""Spending: what a plan with attempts is asked, checked, and what each side then costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from kleiber.errors import BadPlan, nearest, shown
from kleiber.formula import calculate
from kleiber.planning.amounts import is_real
from kleiber.planning.cost import Cost, find_cost, total
from kleiber.planning.curve import FailureCurve
from kleiber.planning.question import LARGEST, SMALLEST, Ends, read_ends
from kleiber.planning.split import Values, Work

GIVEN = "formula given by the user"  # a convention that says nothing
MOST_ATTEMPTS = 1e12  # at each query
BELOW, BEYOND = 10.0, 1000.0  # times the smallest and largest measured, where no limit is given
Found = Mapping[str, Float[np.ndarray, "draws"]]


@dataclass(frozen=True)
class Spending:
    """The question: costs of training and of one attempt at one query, and what is held."""

    curve: FailureCurve
    train: Cost
    attempt: Cost
    queries: float
    weight: float
    given: Mapping[str, float]
    variables: tuple[str, ...]
    limits: Mapping[str, tuple[float, float]]

    def work(self, draws: int = 0) -> Work:
        """What is split: for the best estimate, or for the first ``draws`` draws."""
        curve = self.curve

        def aim(values: Values, k: Any) -> Any:
            whole = self.filled(values)
            if draws and curve.drawn is not None:
                out = curve.drawn(whole, k, draws)
            else:
                out = curve.failure(whole, k)
            if self.weight and curve.loss is not None:
                out = out + self.weight * curve.loss(whole)
            return out

        return Work(
            self.variables,
            self.limits,
            lambda values: self.priced(self.train, values),
            lambda values: self.queries * self.priced(self.attempt, values),
            aim,
            draws or 1,
        )

    def filled(self, values: Values) -> dict[str, Any]:
        """Values of all variables, those given too, as arrays of one shape."""
        shape = np.shape(next(iter(values.values())))
        return {name: np.full(shape, value) for name, value in self.given.items()} | dict(values)

    def priced(self, cost: Cost, values: Values) -> Any:
        """A cost at values of the training variables."""
        whole = self.filled(values)
        price = calculate(cost.expr, {name: whole[name] for name in cost.variables})
        return np.broadcast_to(np.asarray(price, float), np.shape(next(iter(values.values()))))


def pose_spending(
    curve: FailureCurve,
    cost: Cost | str | None,
    attempt: Cost | str | float,
    queries: float,
    weight: float,
    given: Mapping[str, float],
    limits: Mapping[str, Ends],
) -> Spending:
    """The question, checked."""
    chosen = [name for name in curve.variables if name not in given]
    if cost is None:
        cost = chosen[0] if chosen == ["n_data"] else "6nd"
    columns = (*curve.variables, *given)
    train = find_cost("1*n_data" if cost == "n_data" else cost, columns)
    each = find_cost(_price_of(attempt), columns)
    if not chosen or len(chosen) > 2:
        raise BadPlan(
            f"The curve {curve.name} leaves {len(chosen)} training variables to choose of "
            f"{', '.join(curve.variables)}; a plan chooses one or two: give the others' values."
        )
    _check_variables(curve, train, each, chosen, given)
    if not (is_real(queries) and 0 < queries <= LARGEST):
        raise BadPlan(f"The queries must be a positive number, got {shown(queries)}.")
    if not (is_real(weight) and weight >= 0):
        raise BadPlan(f"The weight must be zero or more, got {shown(weight)}.")
    if weight and curve.loss is None:
        raise BadPlan(
            f"The curve {curve.name} knows no generalisation loss that a weight could be of."
        )
    box = {name: _span(curve, name) for name in (*chosen, "k")}
    for name, ends in limits.items():
        if name not in box:
            raise BadPlan(
                f"The limits name {name!r}, and this plan chooses {', '.join(box)}."
                f"{nearest(name, box)}"
            )
        low, high = read_ends(name, ends)
        box[name] = (max(low, 1.0), min(high, MOST_ATTEMPTS)) if name == "k" else (low, high)
        if not box[name][0] <= box[name][1]:
            raise BadPlan(
                f"The limits of k lie between 1 and {MOST_ATTEMPTS:g} attempts, got {shown(ends)}."
            )
    order = sorted(chosen, key=lambda name: name not in each.variables)  # the last follows from
    asked = Spending(curve, train, each, queries, weight, dict(given), tuple(order), box)  # a share
    with np.errstate(over="ignore"):
        most = asked.priced(each, {name: np.full(1, box[name][1]) for name in order})
    if most[0] <= 0:
        raise BadPlan(f"An attempt must cost more than nothing, got a cost of {each.name}.")
    return asked


def _price_of(attempt: Cost | str | float) -> Cost | str:
    """What an attempt costs, a number as text."""
    if isinstance(attempt, Cost | str):
        return attempt
    if not (is_real(attempt) and attempt > 0):
        raise BadPlan(f"The cost of an attempt must be a positive number, got {shown(attempt)}.")
    return repr(float(attempt))


def _span(curve: FailureCurve, name: str) -> tuple[float, float]:
    """Where a variable is looked for, when no limits are given: about where it was measured."""
    if name == "k":
        return 1.0, min(
            BEYOND * curve.ranges["k"][1], MOST_ATTEMPTS
        ) if curve.ranges else MOST_ATTEMPTS
    if name not in curve.ranges:
        return SMALLEST, LARGEST
    low, high = curve.ranges[name]
    return low / BELOW, high * BEYOND


def _check_variables(
    curve: FailureCurve, train: Cost, attempt: Cost, chosen: list[str], given: Mapping[str, float]
) -> None:
    known = {*chosen, *given}
    for what, price in (("training", train), ("an attempt", attempt)):
        missing = [name for name in price.variables if name not in known]
        if missing:
            raise BadPlan(
                f"The cost of {what}, {price.name!r}, needs {missing[0]}, which {curve.name} does "
                f"not choose; give its value (given={{{missing[0]!r}: ...}})."
                f"{nearest(missing[0], chosen)}"
            )
    unpaid = [name for name in chosen if name not in train.variables]
    if unpaid:
        raise BadPlan(
            f"The cost of training, {train.name!r}, does not depend on {unpaid[0]}, so a budget "
            f"does not limit it; give a cost that contains it, or its value."
        )
    used = {*curve.variables, *train.variables, *attempt.variables}
    for name, value in given.items():
        if name not in used:
            raise BadPlan(
                f"The given values name {name!r}, which nothing uses.{nearest(name, used)}"
            )
        if not (is_real(value) and value > 0):
            raise BadPlan(f"The given {name} must be a positive number, got {shown(value)}.")


def spent_on(asked: Spending, best: Mapping[str, float]) -> float:
    training, attempts = bills(asked, {name: np.atleast_1d(x) for name, x in best.items()})
    return float(training[0] + attempts[0])


def bills(
    asked: Spending, found: Found
) -> tuple[Float[np.ndarray, "draws"], Float[np.ndarray, "draws"]]:
    """What training and what attempts cost."""
    work = asked.work()
    values = {name: found[name] for name in asked.variables}
    return work.train(values), found["k"] * work.attempt(values)


def starting_budget(asked: Spending) -> float:
    """A budget to begin a search with: twice the least that does anything."""
    least = {name: np.full(1, asked.limits[name][0]) for name in (*asked.variables, "k")}
    training, attempts = bills(asked, least)
    return 2.0 * float(training[0] + attempts[0])


def whole_cost(asked: Spending) -> Cost:
    """Training and attempts as one formula of the training variables and k."""
    formula = f"{asked.queries:.12g}*k*({asked.attempt.formula})"
    says = asked.attempt.convention
    whole = total(asked.train, Cost(formula, formula, asked.attempt.unit, says))
    parts = [part for part in (asked.train.convention, says) if part and part != GIVEN]
    return replace(whole, convention="; plus attempts: ".join(parts))
