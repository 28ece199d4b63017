"""Claims on the split of a budget between training data and attempts.

A budget C buys N = n_data at cost 1 each and k = (C - N) / price attempts. The loss is that of
least squares, rho^2 = 2 d/((beta - 2)(N - d - 1)) in units of the label noise, for N > d + 1. What
is minimised is weight * loss + failure(k, rho); weight 0 is where only pass@k matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float

from kleiber.claim import Claim, Context, Estimate, estimate
from kleiber.systems.hard_tail.claims.tails import QUADRATURE, TAIL, Compute, failures

DIMENSION = 100
POINTS = 18  # splits in each round, evenly spaced in log(N/(C - N))


@dataclass(frozen=True)
class Split:
    """The best N and k for a budget, and the share of it that goes to training."""

    n_data: float
    k: float
    share: float


def loss_of(n_data: Float[np.ndarray, "points"]) -> Float[np.ndarray, "points"]:
    """Return the expected excess risk of least squares over the squared label noise."""
    return 2 * DIMENSION / ((TAIL - 2) * (n_data - DIMENSION - 1))


@cache
def best_split(budget: float, price: float, weight: float, *, constant: bool = False) -> Split:
    """Find the split that minimises the total loss, with N above d + 1 and k at least 1.

    With ``constant`` the failure is the one without bias, whatever N: the baseline of a constant
    exponent.
    """
    lowest, highest = DIMENSION + 2.0, budget - price
    low = float(np.log(lowest / (budget - lowest)))
    high = float(np.log(highest / price))
    chosen = low
    for _ in range(4):
        odds = np.linspace(low, high, POINTS)
        n, k = _parts(odds, budget)
        best = int(np.argmin(_totals(n, np.maximum(k / price, 1.0), weight, constant)))
        chosen, low, high = (
            float(odds[at]) for at in (best, max(best - 2, 0), min(best + 2, POINTS - 1))
        )
    n, k = _parts(np.array([chosen]), budget)
    return Split(float(n[0]), float(k[0] / price), float(n[0] / budget))


def _parts(
    odds: Float[np.ndarray, "points"], budget: float
) -> tuple[Float[np.ndarray, "points"], Float[np.ndarray, "points"]]:
    """Return the parts of the budget for training and attempts, from the log of their ratio."""
    return budget / (1 + np.exp(-odds)), budget / (1 + np.exp(odds))


def _totals(
    n: Float[np.ndarray, "points"], k: Float[np.ndarray, "points"], weight: float, constant: bool
) -> Float[np.ndarray, "points"]:
    loss = loss_of(n)
    if constant:
        failure = failures(k, 0.0)
    else:
        pairs = zip(k, np.sqrt(loss), strict=True)
        failure = np.array([failures(np.array([one]), rho)[0] for one, rho in pairs])
    return weight * loss + failure


def size_at(budget: float, price: float) -> Compute:
    """Return the best N/d if only pass@k matters."""
    return lambda _: estimate(best_split(budget, price, 0.0).n_data / DIMENSION)


def share_at(budget: float, price: float, weight: float) -> Compute:
    """Return the share of the budget that goes to training."""
    return lambda _: estimate(best_split(budget, price, weight).share)


def marginal_share(_: Context) -> Estimate:
    """Return the share of the budget from 1e4 to 1e5 that goes to attempts, if only pass@k
    matters."""
    low, high = (best_split(budget, 1.0, 0.0).n_data for budget in (1e4, 1e5))
    return estimate(1 - (high - low) / (1e5 - 1e4))


def growth_of_attempts(_: Context) -> Estimate:
    """Return dlog k/dlog C between budgets of 1e7 and 1e9, with equal weights of loss and
    failure."""
    low, high = (best_split(budget, 1.0, 1.0).k for budget in (1e7, 1e9))
    return estimate(np.log(high / low) / np.log(100))


def shift_of_size(_: Context) -> Estimate:
    """Return the best N over that of a constant exponent, at C = 1,000 and weight 1e-4 of the
    loss."""
    sizes = [best_split(1e3, 1.0, 1e-4, constant=flag).n_data for flag in (False, True)]
    return estimate(sizes[0] / sizes[1])


STATEMENTS = (
    Claim(
        "compute split",
        "The rule favours training before saturation: if only pass@k matters, the share of "
        "training in a budget of 1,000 is at least a half (d = 100; an attempt costs as much as "
        "an example).",
        expected=0.5,
        within=0.0,
        compute=share_at(1e3, 1.0, 0.0),
        side="at_least",
        exact=QUADRATURE,
        source="abstract",
    ),
    Claim(
        "compute split",
        "The rule favours attempts after saturation: of what a budget of 100,000 has more than one "
        "of 10,000, the share of attempts is at least 0.9.",
        expected=0.9,
        within=0.0,
        compute=marginal_share,
        side="at_least",
        exact=QUADRATURE,
        source="abstract",
    ),
    Claim(
        "compute split",
        "If only pass@k matters, one trains until beta_eff saturates and spends the rest on "
        "attempts: the best N/d for a budget of 10,000 is 26.4 (d = 100; an attempt costs as "
        "much as an example).",
        expected=26.4,
        within=2.0,
        compute=size_at(1e4, 1.0),
        exact=QUADRATURE,
        source="ours",
    ),
    Claim(
        "compute split",
        "The share of the budget that goes to training therefore vanishes: it is 3% at a budget "
        "of 100,000.",
        expected=0.03,
        within=0.01,
        compute=share_at(1e5, 1.0, 0.0),
        exact=QUADRATURE,
        source="ours",
    ),
    Claim(
        "compute split",
        "The same rule holds if the loss itself counts (R = 1): the share of training vanishes "
        "at a budget of 1,000,000.",
        expected=0.0,
        within=0.1,
        compute=share_at(1e6, 1.0, 1.0),
        known="fails",
        why="A loss that falls as 1/N is a slower power than k^-beta, so nearly all of a large "
        "budget goes to training, and k grows only as C^((1+1)/(beta+1)).",
        exact=QUADRATURE,
        source="ours",
    ),
    Claim(
        "compute split, corrected",
        "If the loss counts, the best number of attempts grows as C^(2/(beta+1)): dlog k/dlog C "
        "between budgets of 1e7 and 1e9 is 4/7.",
        expected=4 / 7,
        within=0.01,
        compute=growth_of_attempts,
        exact=QUADRATURE,
        source="ours",
    ),
    Claim(
        "figure 2",
        "A beta_eff that grows with N moves the optimum to a larger N than a constant one does: "
        "the ratio of the best N at a budget of 1,000 (R = 0.0001) is at least 1.",
        expected=1.0,
        within=0.0,
        compute=shift_of_size,
        side="at_least",
        exact=QUADRATURE,
        source="second-hand",
    ),
)
