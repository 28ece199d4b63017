"""What there is to choose from, as records of text: laws, columns, costs."""

from __future__ import annotations

from kleiber.columns import COLUMNS
from kleiber.law import Domain
from kleiber.laws import catalogue
from kleiber.planning.cost import costs, describe_makers


def list_laws() -> list[dict[str, str]]:
    """Every law of the catalogue with formula, domains and citation."""
    return [
        {
            "name": law.name,
            "formula": law.formula,
            "parameters": "\n".join(_domain(*item) for item in law.domains.items()),
            "citation": law.citation,
        }
        for law in catalogue().values()
    ]


def _domain(name: str, domain: Domain) -> str:
    ends = "" if domain.low is None else f", starts {domain.low:g} to {domain.high:g}"
    return f"{name} {domain.kind}{ends}"


def list_columns() -> list[dict[str, str]]:
    """Every known column with its unit."""
    return [
        {"name": item.name, "unit": item.unit, "meaning": item.meaning} for item in COLUMNS.values()
    ]


def list_costs() -> list[dict[str, str]]:
    """Every named cost with its convention."""
    named = [
        {"name": item.name, "formula": item.formula, "unit": item.unit, "counts": item.convention}
        for item in costs().values()
    ]
    made = [
        {"name": usage, "formula": "", "unit": "", "counts": counts}
        for usage, counts in describe_makers().items()
    ]
    return named + made
