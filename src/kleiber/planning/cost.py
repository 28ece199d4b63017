"""Costs: what a run of given columns takes, as a formula with its convention stated."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kleiber.errors import BadFormula, nearest
from kleiber.formula import Expr, parse, symbols


@dataclass(frozen=True)
class Cost:
    """A cost as an increasing formula of columns; ``unit`` and ``convention`` say what it counts."""

    name: str
    formula: str
    unit: str = "FLOPs"
    convention: str = ""

    @property
    def expr(self) -> Expr:
        """The formula as an expression."""
        return parse(self.formula)

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the columns it reads."""
        return tuple(sorted(symbols(self.expr)))


six_nd = Cost(
    "6nd",
    "6*n_params*n_tokens",
    "FLOPs",
    "training FLOPs C = 6 N D: two per parameter and token forward, four backward "
    "(Kaplan et al. 2020, section 2.1)",
)


def costs() -> dict[str, Cost]:
    """The named costs."""
    return {six_nd.name: six_nd}


def find_cost(given: Cost | str) -> Cost:
    """A Cost, a named one, or one from a formula of columns. Raises BadFormula."""
    if isinstance(given, Cost):
        return given
    known = costs()
    if given in known:
        return known[given]
    cost = Cost(given, given, "budget units", "formula given by the user")
    if cost.expr.op == "symbol":
        hint = nearest(given, list(known))
        raise BadFormula(
            f"no cost named {given!r}; named costs are {', '.join(known)}, or give a formula of "
            f"columns such as '6*n_params*n_tokens'.{hint}"
        )
    return cost


def check_budget(budget: float) -> float:
    """The budget as a float; ValueError unless it is finite and positive."""
    if isinstance(budget, bool) or not (math.isfinite(budget) and budget > 0):
        raise ValueError(f"the budget must be a positive number, got {budget}")
    return float(budget)
