"""Constraints on a plan: upper limits of further costs, and inequalities between columns.

Every constraint is COST<=LIMIT: ``n_params<=8e9`` as it stands, and ``n_tokens>=20*n_params`` as 20
n_params / n_tokens <= 1.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from kleiber.errors import BadFormula, BadPlan, shown
from kleiber.formula import evaluate, number, symbols
from kleiber.planning.amounts import check_budget
from kleiber.planning.cost import Cost, find_cost

RELATION = re.compile(r"<=|>=|==|=|<|>|≤|≥")
EXAMPLES = "such as n_params<=8e9, n_tokens>=20*n_params or 16*n_params<=8e10"
Constraints = Mapping[Cost | str, float] | Sequence[str] | str


def read_constraints(
    given: Constraints | None, columns: Collection[str]
) -> list[tuple[Cost, float]]:
    """Return each constraint COST<=LIMIT as a pair (cost, limit).

    ``given`` maps costs to their limits, or is one inequality or several, as text. ``columns`` are
    the names that may be used.

    Raises BadPlan or BadFormula for anything else.
    """
    if given is None:
        return []
    if isinstance(given, Mapping):
        return [
            (cost := find_cost(each, columns), check_budget(limit, f"what {cost.name} may come to"))
            for each, limit in given.items()
        ]
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, Sequence) or isinstance(texts, bytes):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise BadPlan(f"Constraints are inequalities, {EXAMPLES}, got {shown(given)}.")
    return [read_inequality(text, columns) for text in texts]


def read_inequality(text: str, columns: Collection[str]) -> tuple[Cost, float]:
    """Return an inequality between costs, columns, formulas and numbers, such as
    ``n_tokens>=20*n_params``, as a pair (cost, limit)."""
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise BadPlan(f"A constraint is an inequality, {EXAMPLES}, got {shown(text)}.")
    relations = RELATION.findall(_without_options(text))
    if len(relations) != 1 or relations[0] in ("=", "=="):
        raise BadPlan(
            f"A constraint is one inequality with <= or >=, {EXAMPLES}, got {shown(text)}; a value "
            "that is held is given instead (given={...}, --given NAME=VALUE)."
        )
    position = _without_options(text).index(relations[0])
    left, right = text[:position].strip(), text[position + len(relations[0]) :].strip()
    if not left or not right:
        raise BadPlan(
            f"A constraint has a side on either side of {relations[0]}, got {shown(text)}."
        )
    if relations[0] in (">=", ">", "≥"):
        left, right = right, left  # what is smaller now stands on the left
    return _inequality_as_cost(left, right, text.strip(), columns)


def _inequality_as_cost(
    smaller: str, larger: str, name: str, columns: Collection[str]
) -> tuple[Cost, float]:
    """Return smaller <= larger as a pair (cost, limit)."""
    lower_value, limit = _read_number(smaller), _read_number(larger)
    if lower_value is not None and limit is not None:
        raise BadPlan(f"The constraint {shown(name)} holds no column.")
    if limit is not None:
        cost = find_cost(smaller, columns)
        return cost, check_budget(limit, f"what {cost.name} may come to")
    if lower_value is not None:
        upper = find_cost(larger, columns)
        lower_value = check_budget(lower_value, f"the lower limit of {upper.name}")
        return Cost(name, str(number(lower_value) / upper.expr), "1", upper.convention), 1.0
    lower, upper = find_cost(smaller, columns), find_cost(larger, columns)
    convention = "; ".join(filter(None, (lower.convention, upper.convention)))
    return Cost(name, str(lower.expr / upper.expr), "1", convention), 1.0


def format_constraint(cost: Cost, limit: float) -> str:
    """Return a constraint as text."""
    if RELATION.search(_without_options(cost.name)):
        return cost.name
    return f"{cost.name}<={limit:g}".replace("e+0", "e").replace("e+", "e")


def _read_number(text: str) -> float | None:
    """Return the number on one side, such as 20*1e9, or None for a side with columns."""
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
    """Return the text with everything inside brackets masked, so that the equals sign in
    ``serve(tokens=1e12)`` is not taken for a relation."""
    depth, shown_signs = 0, list[str]()
    for sign in text:
        depth += (sign == "(") - (sign == ")")
        shown_signs.append("_" if depth > 0 else sign)
    return "".join(shown_signs)
