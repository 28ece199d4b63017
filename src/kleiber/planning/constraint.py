"""Constraints: what else may be spent beside the first cost, and inequalities between columns.

An inequality is a cost that may come to so much: ``n_params<=8e9`` as it stands, and
``n_tokens>=20*n_params`` as 20 n_params / n_tokens, which may come to 1.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from kleiber.errors import BadFormula, BadPlan, shown
from kleiber.formula import evaluate, number, symbols
from kleiber.planning.amounts import check_budget
from kleiber.planning.cost import Cost, find_cost

SIGN = re.compile(r"<=|>=|==|=|<|>|≤|≥")
EXAMPLES = "such as n_params<=8e9, n_tokens>=20*n_params or 16*n_params<=8e10"
Under = Mapping[Cost | str, float] | Sequence[str] | str


def read_constraints(given: Under | None, columns: Collection[str]) -> list[tuple[Cost, float]]:
    """Each constraint as a cost and the most that it may come to.

    ``given`` maps costs to what each may come to, or is one inequality or several, as text.
    ``columns`` are the names at hand.

    Raises BadPlan or BadFormula for what is no constraint.
    """
    if given is None:
        return []
    if isinstance(given, Mapping):
        return [
            (cost := find_cost(each, columns), check_budget(most, f"what {cost.name} may come to"))
            for each, most in given.items()
        ]
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, Sequence) or isinstance(texts, bytes):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise BadPlan(f"Constraints are inequalities, {EXAMPLES}, got {shown(given)}.")
    return [read_inequality(text, columns) for text in texts]


def read_inequality(text: str, columns: Collection[str]) -> tuple[Cost, float]:
    """An inequality between costs, columns, formulas of them and numbers, for example
    ``n_tokens>=20*n_params``, as a cost and the most that it may come to."""
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise BadPlan(f"A constraint is an inequality, {EXAMPLES}, got {shown(text)}.")
    signs = SIGN.findall(_without_options(text))
    if len(signs) != 1 or signs[0] in ("=", "=="):
        raise BadPlan(
            f"A constraint is one inequality with <= or >=, {EXAMPLES}, got {shown(text)}; a value "
            "that is held is given instead (given={...}, --given NAME=VALUE)."
        )
    place = _without_options(text).index(signs[0])
    left, right = text[:place].strip(), text[place + len(signs[0]) :].strip()
    if not left or not right:
        raise BadPlan(f"A constraint has a side on either side of {signs[0]}, got {shown(text)}.")
    if signs[0] in (">=", ">", "≥"):
        left, right = right, left  # what is smaller now stands on the left
    return _as_cost(left, right, text.strip(), columns)


def _as_cost(small: str, large: str, name: str, columns: Collection[str]) -> tuple[Cost, float]:
    """small <= large as a cost and what it may come to."""
    least, most = _read_number(small), _read_number(large)
    if least is not None and most is not None:
        raise BadPlan(f"The constraint {shown(name)} holds no column.")
    if most is not None:
        cost = find_cost(small, columns)
        return cost, check_budget(most, f"what {cost.name} may come to")
    if least is not None:
        upper = find_cost(large, columns)
        least = check_budget(least, f"the least of {upper.name}")
        return Cost(name, str(number(least) / upper.expr), "1", upper.convention), 1.0
    lower, upper = find_cost(small, columns), find_cost(large, columns)
    says = "; ".join(filter(None, (lower.convention, upper.convention)))
    return Cost(name, str(lower.expr / upper.expr), "1", says), 1.0


def say_constraint(cost: Cost, most: float) -> str:
    """A constraint as it may be written."""
    if SIGN.search(_without_options(cost.name)):
        return cost.name
    return f"{cost.name}<={most:g}".replace("e+0", "e").replace("e+", "e")


def _read_number(text: str) -> float | None:
    """The number that a side is, also written as 20*1e9; None for one with columns."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        side = Cost(text, text)
        return None if symbols(side.expr) else float(evaluate(side.expr, {}))
    except BadFormula:  # a named cost, or what find_cost will refuse
        return None


def _without_options(text: str) -> str:
    """The text with what stands in brackets blotted out: ``serve(tokens=1e12)`` is no equation."""
    depth, kept = 0, list[str]()
    for sign in text:
        depth += (sign == "(") - (sign == ")")
        kept.append("_" if depth > 0 else sign)
    return "".join(kept)
