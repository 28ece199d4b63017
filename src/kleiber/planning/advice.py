"""Train more, or sample more: which side deserves the next unit of budget, and how sure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from kleiber.claim import Estimate
from kleiber.errors import BadPlan, shown
from kleiber.fitting.spread.intervals import percentile_interval
from kleiber.planning.amounts import is_real
from kleiber.planning.spending import Spending, bills
from kleiber.planning.split import marginal, split

SIDES = {True: "training", False: "attempts"}
TIE = 0.005  # of a share, by which two sides that are alike may differ
FURTHER = 1.1  # the budget that tells where further budget goes, as a multiple


@dataclass(frozen=True)
class Advice:
    """What to do in words, the share of draws that agree, and what one more unit of budget brings
    in training and in attempts."""

    words: str
    sure: float | None
    marginal: Mapping[str, Estimate]


def estimate_of(value: float, draws: Float[np.ndarray, "draws"] | None, level: float) -> Estimate:
    """A value with the spread of its finite draws; unknown where there are fewer than two."""
    known = np.empty(0) if draws is None else draws[np.isfinite(draws)]
    if len(known) < 2:
        return Estimate(value, np.nan, np.nan, np.nan)
    low, high = percentile_interval(known[:, None], level)
    return Estimate(value, float(known.std(ddof=1)), float(low[0]), float(high[0]))


def standing(
    asked: Spending, best: Mapping[str, float], now: Mapping[str, float] | None
) -> dict[str, float]:
    """Where the marginal values are taken: where one is now, or at the plan."""
    names = (*asked.variables, "k")
    if now is None:
        return {name: best[name] for name in names}
    if set(now) != set(names):
        raise BadPlan(
            f"Where one is now takes a value of {', '.join(names)}, got {', '.join(now) or 'none'}."
        )
    for name, value in now.items():
        if not (is_real(value) and value >= (1 if name == "k" else 0) and value > 0):
            raise BadPlan(
                f"The {name} now must be a positive number (k from 1), got {shown(value)}."
            )
    return {name: float(now[name]) for name in names}


def advise(
    asked: Spending, at: Mapping[str, float], spent: float | None, draws: int, level: float
) -> Advice:
    """Which side deserves the next unit of budget.

    With ``spent``, what a plan spends: the side into which the best splits of a larger budget put
    most of the rise. Without: the side with the larger marginal value at ``at``. Sides whose parts
    (of the rise, or of both marginal values) are within 0.5% of a half are a tie.
    """
    gains, drawn = _gains(asked, at, 0), _gains(asked, at, draws) if draws else None
    marginals = {
        name: estimate_of(float(item[0]), None if drawn is None else drawn[name], level)
        for name, item in gains.items()
    }
    if spent is None:
        lead = gains["training"] - gains["attempts"]
        leads = None if drawn is None else drawn["training"] - drawn["attempts"]
        says = (
            f"one more unit of budget in training lowers failure by {gains['training'][0]:.3g}, "
            f"in attempts by {gains['attempts'][0]:.3g}"
        )
        tie = abs(lead[0]) <= 2 * TIE * (gains["training"] + gains["attempts"])[0]
    else:
        share = _next_share(asked, spent)
        lead = share - 0.5
        leads = _next_share(asked, spent, draws) - 0.5 if draws else None
        most = np.maximum(share, 1 - share)[0]
        says = f"{most:.0%} of further budget goes into {SIDES[lead[0] > 0]}"
        tie = abs(lead[0]) < TIE
        says = "further budget goes into training and attempts by halves" if tie else says
    training = bool(lead[0] > 0)
    known = np.array([] if leads is None else leads, dtype=float)
    known = known[np.isfinite(known)]
    agree = int(((known > 0) == training).sum())
    sure = agree / len(known) if len(known) else None
    lean = f"put more into {SIDES[training]}" if tie else "agree"
    held = "" if sure is None else f" ({sure:.0%} of draws {lean})"
    what = "a tie" if tie else "train more" if training else "sample more"
    return Advice(f"{what}: {says}{held}", sure, marginals)


def _gains(
    asked: Spending, at: Mapping[str, float], draws: int
) -> dict[str, Float[np.ndarray, "draws"]]:
    """The marginal values of both sides, of the best estimate or of each draw."""
    shape = (draws or 1, 1)
    values = {name: np.full(shape, at[name]) for name in asked.variables}
    both = marginal(asked.work(draws), values, np.full(shape, at["k"]))
    return {name: item.ravel() for name, item in both.items()}


def _next_share(asked: Spending, spent: float, draws: int = 0) -> Float[np.ndarray, "draws"]:
    """The part of further budget that the best split puts into training."""
    work = asked.work(draws)
    (training, attempts), (more, others) = (
        bills(asked, split(work, factor * spent)) for factor in (1.0, FURTHER)
    )
    rise = more - training + others - attempts
    return (more - training) / np.where(rise > 0, rise, np.nan)
