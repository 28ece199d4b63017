"""Plans that split one budget between training and attempts: train more, or sample more?

    min failure(x, k)   subject to   cost(x) + queries k attempt(x) = budget,

with x what training chooses and k attempts at each query (Levi 2026, arXiv 2601.03764, figure 2;
there with ``weight`` times the generalisation loss added). What failure does comes from a theory,
or from a law fitted to counts along training, through a loss law if it was fitted along a loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from jaxtyping import Float

from kleiber.arguments import check_mapping
from kleiber.claim import Estimate
from kleiber.errors import BadPlan, shown
from kleiber.fitting.spread.intervals import Interval, check_level
from kleiber.planning.advice import advise, estimate_of, standing
from kleiber.planning.amounts import check_budget, is_real
from kleiber.planning.cost import Cost
from kleiber.planning.extrapolation import FAR, extrapolations
from kleiber.planning.source import curve_of
from kleiber.planning.plan import Plan, describe_plan
from kleiber.planning.question import Ends
from kleiber.planning.spending import (
    Found,
    Spending,
    bills,
    pose_spending,
    spent_on,
    starting_budget,
    whole_cost,
)
from kleiber.planning.split import Values, afford, reach, split

MOST_DRAWS = 200  # that a plan is made for


@dataclass(frozen=True)
class AttemptPlan:
    """A split between training and attempts: the fields of a Plan, and which side deserves more.

    ``allocation`` holds the training variables and k, attempts at each query; ``predicted`` is the
    failure, one minus ``pass_rate``. ``training_share`` is the part of the budget that training
    takes. ``marginal`` is by how much failure falls for one more unit of budget in training and
    in attempts, at ``at`` (where one is now, or the plan itself, where both are alike unless a
    limit binds). ``advice`` says in words which to do, ``sure`` the share of draws that agree.
    ``beyond`` says what ``extrapolation`` is a multiple of.
    """

    budget: float
    allocation: Mapping[str, Estimate]
    predicted: Estimate
    extrapolation: float | None
    cost: Cost
    level: float
    target: str
    notes: tuple[str, ...]
    needed: Estimate | None
    pass_rate: Estimate
    training_share: Estimate
    at: Mapping[str, float]
    marginal: Mapping[str, Estimate]
    advice: str
    sure: float | None
    beyond: str = ""
    extrapolations: Mapping[str, float | None] = field(default_factory=dict[str, float | None])
    tokens_per_param: float | None = None
    tokens_per_param_interval: Interval | None = None
    fixed: Mapping[str, str] = field(default_factory=dict[str, str])
    aim: str = "minimise"


def plan_attempts(
    source: Any,
    budget: float | None = None,
    cost: Cost | str | None = None,
    *,
    attempt: Cost | str | float,
    queries: float = 1.0,
    reach: float | None = None,
    law: Any = None,
    weight: float = 0.0,
    given: Mapping[str, float] | None = None,
    limits: Mapping[str, Ends] | None = None,
    now: Mapping[str, float] | None = None,
    level: float = 0.95,
) -> AttemptPlan:
    """Split a budget between training and k attempts at each of ``queries`` so that failure is
    least, or find the least budget with a pass rate of ``reach``.

    ``source`` is a theory with ``solve`` over n_data and k, a law of counts fitted along a column
    of training (``fit_counts(..., along=...)``), or a ``Curve``. ``law`` is a Fit of the loss that
    counts were fitted along. ``cost`` is that of training, ``attempt`` that of one attempt at one
    query: a number, or a formula of the training variables. ``weight`` times the generalisation
    loss is added to what is minimised (theories only). ``now`` is where one stands (values of the
    training variables and of k): the advice is then about the next unit of budget there.

    Raises BadPlan for a question without an answer.
    """
    curve = curve_of(source, law)
    given = check_mapping("given", given, "a mapping from columns to numbers or None")
    limits = check_mapping("limits", limits, "a mapping from columns to (low, high) or None")
    now = None if now is None else check_mapping("now", now, "a mapping to numbers or None")
    for name, value in (now or {}).items():
        if not (is_real(value) and value > 0):
            raise BadPlan(f"The {name} now must be a positive number, got {shown(value)}.")
    asked = pose_spending(curve, cost, attempt, queries, weight, given, limits)
    level = check_level(level)
    if (budget is None) == (reach is None):
        raise BadPlan("A plan takes a budget, or a pass rate to reach, and not both.")
    if reach is not None and not (is_real(reach) and 0 < reach < 1 and not weight):
        raise BadPlan(
            f"The pass rate to reach lies between 0 and 1, and takes no weight, got {shown(reach)}."
        )
    draws = min(curve.draws, MOST_DRAWS)
    best, spent = _best(asked, budget, reach)
    drawn = _drawn(asked, spent, reach, draws) if draws else {}
    notes = _notes(asked, best, spent, drawn)
    at = standing(asked, best, now)
    advice = advise(asked, at, spent if now is None else None, draws, level)
    failure = _failure(asked, best, draws, level)
    factor, beyond = _extrapolation(asked, best)
    each = _tokens_per_param(asked, best, drawn, level)
    return AttemptPlan(
        budget=spent,
        allocation={
            name: estimate_of(best[name], drawn.get(name), level)
            for name in (*asked.variables, "k")
        },
        predicted=failure,
        extrapolation=factor,
        cost=whole_cost(asked),
        level=level,
        target="failure",
        notes=notes,
        needed=None if reach is None else estimate_of(spent, drawn.get("spent"), level),
        pass_rate=Estimate(1 - failure.value, failure.stderr, 1 - failure.high, 1 - failure.low),
        training_share=_share(asked, best, drawn, spent, level),
        at=at,
        marginal=advice.marginal,
        advice=advice.words,
        sure=advice.sure,
        beyond=beyond,
        extrapolations=extrapolations(
            asked.curve.ranges, {name: best[name] for name in (*asked.variables, "k")}
        ),
        tokens_per_param=None if each is None else each.value,
        tokens_per_param_interval=None
        if each is None or np.isnan(each.low)
        else Interval(each.low, each.high),
    )


def _best(
    asked: Spending, budget: float | None, target: float | None
) -> tuple[dict[str, float], float]:
    """The best split with a whole k, and what it costs."""
    work = asked.work()
    if budget is not None:
        spent = check_budget(budget)
        found = split(work, spent)
        if np.isnan(found["aim"][0]):
            raise BadPlan(
                f"The budget {spent:g} does not pay for the least training and "
                f"{asked.limits['k'][0]:g} attempts at each query."
            )
        options = [_with_attempts(asked, found, k, spent) for k in _whole(asked, found)]
        affordable = [item for item in options if item is not None]
        if not affordable:  # limits leave no whole number
            return _valued(asked, *_parts(asked, found)), spent
        return min(affordable, key=lambda item: item["aim"]), spent
    assert target is not None
    found = reach(work, 1 - target, starting_budget(asked))
    if np.isnan(found["aim"][0]):
        raise BadPlan(f"A pass rate of {target:g} is out of reach within the limits.")
    options = [_just_enough(asked, found, k, 1 - target) for k in _whole(asked, found)]
    best = min(options, key=lambda item: spent_on(asked, item))
    return best, spent_on(asked, best)


def _whole(asked: Spending, found: Found) -> list[float]:
    """The whole numbers of attempts beside the best one, inside the limits."""
    low, high = asked.limits["k"]
    k = float(found["k"][0])
    near = {math.floor(k + 1e-9), math.ceil(k - 1e-9)}
    return [float(each) for each in near if low <= each <= high] or [k]


def _parts(asked: Spending, found: Found) -> tuple[Values, float]:
    """The training variables and k of what was found."""
    return {name: found[name][:1] for name in asked.variables}, float(found["k"][0])


def _with_attempts(
    asked: Spending, found: Found, k: float, spent: float
) -> dict[str, float] | None:
    """The split that takes so many attempts, the rest of the budget on the last variable; None if
    nothing is left for it."""
    work = asked.work()
    values = dict(_parts(asked, found)[0])

    def price(at: Values) -> Any:
        return work.train(at) + k * work.attempt(at)

    most = afford(work, price, values, np.full(1, spent))
    return None if np.isnan(most[0]) else _valued(asked, values | {asked.variables[-1]: most}, k)


def _just_enough(asked: Spending, found: Found, k: float, failure: float) -> dict[str, float]:
    """The split with so many attempts and as little of the last variable as meets the failure."""
    work, last = asked.work(), asked.variables[-1]
    values = dict(_parts(asked, found)[0])
    low, high = np.log(values[last]) - 2.0, np.log(values[last]) + 2.0
    low, high = (np.clip(x, *np.log(asked.limits[last])) for x in (low, high))

    def missed(z: Any) -> bool:
        return bool((work.aim({**values, last: np.exp(z)}, np.full(1, k)) > failure).any())

    if missed(high):
        return _valued(asked, *_parts(asked, found))
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if missed(middle) else (low, middle)
    return _valued(asked, values | {last: np.exp(high)}, k)


def _valued(asked: Spending, values: Values, k: float) -> dict[str, float]:
    aim = asked.work().aim(values, np.full(1, k))
    return {name: float(x[0]) for name, x in values.items()} | {"k": k, "aim": float(aim[0])}


def _drawn(
    asked: Spending, spent: float, target: float | None, draws: int
) -> dict[str, Float[np.ndarray, "draws"]]:
    """The best split of every draw, k as a real number."""
    work = asked.work(draws)
    return split(work, spent) if target is None else reach(work, 1 - target, spent)


def _failure(asked: Spending, best: Mapping[str, float], draws: int, level: float) -> Estimate:
    """The failure at the allocation, with its interval over the draws."""
    values = asked.filled({name: np.full((1, 1), best[name]) for name in asked.variables})
    k = np.full((1, 1), best["k"])
    value = float(asked.curve.failure(values, k)[0, 0])
    if not draws or asked.curve.drawn is None:
        return Estimate(value, np.nan, np.nan, np.nan)
    return estimate_of(value, asked.curve.drawn(values, k, draws)[:, 0], level)


def _share(
    asked: Spending, best: Mapping[str, float], drawn: Found, spent: float, level: float
) -> Estimate:
    """The part of what is spent that goes into training."""
    training, _ = bills(asked, {name: np.atleast_1d(x) for name, x in best.items()})
    shares = None
    if drawn:
        paid, others = bills(asked, drawn)
        shares = paid / (paid + others)
    return estimate_of(float(training[0]) / spent, shares, level)


def _tokens_per_param(
    asked: Spending, best: Mapping[str, float], drawn: Found, level: float
) -> Estimate | None:
    """n_tokens over n_params where both are known."""
    chosen = {**asked.given, **best}
    if not {"n_params", "n_tokens"} <= set(chosen):
        return None
    ratios = None
    if drawn:
        size, tokens = ({**asked.given, **drawn}[name] for name in ("n_params", "n_tokens"))
        ratios = np.asarray(tokens / size, dtype=float) if np.ndim(tokens / size) else None
    return estimate_of(chosen["n_tokens"] / chosen["n_params"], ratios, level)


def _notes(
    asked: Spending, best: Mapping[str, float], spent: float, drawn: Found
) -> tuple[str, ...]:
    notes = list(asked.curve.notes)
    if not asked.curve.draws:
        notes.append(f"no intervals: {asked.curve.name} has no draws")
    for name, (low, high) in asked.curve.ranges.items():
        value = best.get(name)
        if value is not None and not low * (1 - 1e-9) <= value <= high * (1 + 1e-9):
            notes.append(
                f"{name} = {value:.4g} lies outside what was measured, {low:.4g} to {high:.4g}"
            )
    for name in (*asked.variables, "k"):
        low, high = asked.limits[name]
        if best[name] >= high * (1 - 1e-9) or best[name] <= low * (1 + 1e-9):
            notes.append(f"{name} = {best[name]:.4g} sits at its limit")
    bill = spent_on(asked, best)
    if bill < spent * (1 - 1e-6):
        notes.append(f"only {bill:.4g} of the budget is spent: limits allow no more")
    factor, beyond = _extrapolation(asked, best)
    if factor is not None and factor > FAR:
        notes.append(
            f"the plan goes to {factor:.3g} times {beyond}: intervals hold only if the law itself "
            "does that far out"
        )
    if drawn and (lost := int((~np.isfinite(drawn["aim"])).sum())):
        notes.append(
            f"{lost} of {len(drawn['aim'])} draws never get there; intervals are of the others, "
            "and so too narrow"
        )
    return tuple(notes)


def _extrapolation(asked: Spending, best: Mapping[str, float]) -> tuple[float | None, str]:
    """How far the plan lies beyond the measurements: the larger of the cost of training over that
    of the dearest measured, and k over the most attempts measured, and which of them; None where
    nothing was."""
    ranges = asked.curve.ranges
    if not all(name in ranges for name in asked.variables):
        return None, ""
    top = {name: np.full(1, ranges[name][1]) for name in asked.variables}
    here = {name: np.full(1, best[name]) for name in asked.variables}
    price = asked.work().train
    factor = float(price(here)[0] / price(top)[0])
    more = best["k"] / ranges["k"][1] if "k" in ranges else 0.0
    return max((factor, "the dearest measured run"), (more, "the most attempts made"))


def describe_attempts(made: AttemptPlan) -> dict[str, Any]:
    """The document that ``plan --attempts --json`` prints: that of a plan, and more."""

    def ends(item: Estimate) -> dict[str, float | None]:
        three = {"value": item.value, "low": item.low, "high": item.high}
        return {key: float(x) if np.isfinite(x) else None for key, x in three.items()}

    plain = Plan(**{each.name: getattr(made, each.name) for each in fields(Plan)})
    return describe_plan(plain) | {
        "pass_rate": ends(made.pass_rate),
        "training_share": ends(made.training_share),
        "at": dict(made.at),
        "marginal": {name: ends(item) for name, item in made.marginal.items()},
        "advice": made.advice,
        "sure": made.sure,
    }
