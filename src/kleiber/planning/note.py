"""The notes of a plan, the gravest first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float

from kleiber.fitting.judge.status import Status
from kleiber.fitting.record import Fit
from kleiber.forecasting.closed import AVERAGE
from kleiber.planning.constraint import format_constraint
from kleiber.planning.cost import Cost
from kleiber.planning.direction import better_is
from kleiber.planning.extrapolation import (
    FAR,
    describe_better_runs,
    describe_distances,
    describe_outside,
)
from kleiber.planning.problem import SMALLEST, Ends, Question, cost_at
from kleiber.planning.question import read_ends
from kleiber.planning.source import Source
from kleiber.planning.support import open_ends

Draws = Mapping[str, Float[np.ndarray, "draws"]]


def collect_notes(
    source: Source,
    question: Question,
    chosen: Mapping[str, float],
    limits: Mapping[str, Ends],
    spent: float,
    far: tuple[float | None, str],
    values: Mapping[str, float],
    drawn: Draws,
) -> tuple[str, ...]:
    """Return the notes of a plan: measured runs that are better, warnings of the fit,
    extrapolation, limits, constraints and failed draws. ``values`` are those of the law's
    variables, given ones included; ``far`` is the extrapolation factor with the name of its
    reference."""
    fit = source.fit
    return (
        *(_on_runs(fit, question, chosen["predicted"], spent) if fit is not None else ()),
        *source.notes,
        *_on_intervals(source),
        *_on_distance(source, *far),
        *(describe_distances if fit is not None else describe_outside)(source.ranges, values),
        *(_on_fit(fit, question) if fit is not None else ()),
        *_on_limits(question, chosen, limits),
        *_on_constraints(question, chosen),
        *_on_draws(question, drawn, limits),
    )


def _on_runs(fit: Fit, question: Question, predicted: float, spent: float) -> Iterator[str]:
    """Yield notes on measured runs that are better, and on impossible predictions."""
    yield from describe_better_runs(fit, question, predicted, spent)
    low, high = fit.ranges.get(fit.target, (np.nan, np.nan))
    if low >= 0 and predicted < 0:
        yield f"The predicted {fit.target} {predicted:.4g} is negative, which none measured is."
    share = better_is(fit.target) < 0 or fit.target in ("error", "failure")
    if share and 0 <= low <= high <= 1 < predicted:
        yield f"The predicted {fit.target} {predicted:.4g} is above 1, which a share cannot be."


def _on_intervals(source: Source) -> Iterator[str]:
    if source.n_draws:
        return
    if source.fit is not None:
        yield "There are no intervals: the fit has no draws (fit again with --draws 1000)."
    else:
        yield f"There are no intervals: {source.law.name} has no draws."


def _on_distance(source: Source, factor: float | None, beyond: str) -> Iterator[str]:
    fit = source.fit
    if fit is not None and factor is None:
        yield "The extrapolation is unknown: the fit does not record the ranges of its table."
    elif fit is not None and not fit.outermost:
        yield "The extrapolation is a lower bound: only the ranges of the columns are recorded."
    if factor is not None and factor > FAR:
        what = "The budget is" if fit is not None else "The plan goes to"
        law = "one of the averaged laws" if source.law.name == AVERAGE else "the law itself"
        yield (
            f"{what} {factor:.3g} times {beyond}: intervals hold only if {law} does that far out."
        )


def _on_fit(fit: Fit, question: Question) -> Iterator[str]:
    """Yield notes on a parameter at its bound, and on a law that rises."""
    if fit.status is Status.BOUND_HIT:
        yield f"The fit hit a bound: {fit.reason}."
    if question.sense < 0:
        what = "the largest" if question.target is None else "at least that"
        yield f"The fitted {fit.target} rises with its variables, so the plan is for {what}."


def _on_limits(
    question: Question, chosen: Mapping[str, float], limits: Mapping[str, Ends]
) -> Iterator[str]:
    """Yield notes on limits that bind, and on budget that is left over."""
    for name, ends in limits.items():
        low, high = read_ends(name, ends)
        if chosen[name] >= high * (1 - 1e-9) or chosen[name] <= low * (1 + 1e-9):
            yield f"{name} = {chosen[name]:.4g} sits at its limit."
    if question.target is None and chosen["spent"] < question.budget * (1 - 1e-6):
        yield (
            f"Only {chosen['spent']:.4g} of the budget is spent: limits, choices or other costs "
            "allow no more."
        )


def _on_constraints(question: Question, chosen: Mapping[str, float]) -> Iterator[str]:
    """Yield notes on constraints that bind beside the budget."""
    logs = {name: np.log(chosen[name]) for name in question.variables}
    bound = [
        (cost, limit)
        for cost, limit in question.costs[1:]
        if float(cost_at(question, cost, logs)) > 0.99 * limit
    ]
    names = ", ".join(format_constraint(cost, limit) for cost, limit in bound)
    if (
        bound
        and question.target is not None
        and len(set(question.variables) - set(question.choices)) > 2
    ):
        yield (
            f"{names} allows no more; with three variables the plan keeps to that, but "
            "another that does may be cheaper by some per cent."
        )
    elif bound:
        yield f"The plan is held back by {names}."
    crossing = [(cost, limit) for cost, limit in bound if _is_searched_coarsely(question, cost)]
    if question.target is None and crossing:
        names = ", ".join(format_constraint(cost, limit) for cost, limit in crossing)
        yield (
            f"{names} holds two training variables and k together; the plan keeps to that, but "
            "another that does may have less failure."
        )


def _is_searched_coarsely(question: Question, cost: Cost) -> bool:
    """Return whether a constraint joins k with two free training variables: the best plan along its
    edge is not searched for."""
    free = set(question.variables) - set(question.choices)
    return question.attempts is not None and len(free & set(cost.variables)) > 2


def _on_draws(question: Question, drawn: Draws, limits: Mapping[str, Ends]) -> Iterator[str]:
    """Yield notes on draws without an allocation, and on draws whose optimum is at the end of the
    search."""
    if not drawn:
        return
    count, known = len(drawn["predicted"]), np.isfinite(drawn["predicted"])
    if missing := int((~known).sum()):
        why = "never reach the target" if question.target is not None else "have no allocation"
        yield f"{missing} of {count} draws {why}; intervals are of the others, and so too narrow."
    at_edge = np.zeros(count, dtype=bool)
    for name in question.variables:
        if name not in question.choices and open_ends(limits, name)[0]:
            at_edge |= drawn[name] <= SMALLEST * (1 + 1e-9)
    if at_edge.any() and len(question.variables) > 1:
        yield (
            f"{int(at_edge.sum())} of {count} draws have no best split, and stand in the intervals "
            "with the smallest run that is considered: give limits."
        )
