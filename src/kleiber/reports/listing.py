"""The available laws, theories, columns, costs, reductions and data sets, as records of text."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from kleiber.columns import COLUMNS
from kleiber.data.fetch import catalogue as data_catalogue
from kleiber.law import Domain
from kleiber.laws import catalogue
from kleiber.planning.cost import costs, describe_makers
from kleiber.readers.registry import catalogue as readers
from kleiber.reduce import reducers
from kleiber.theory import catalogue as theories


def list_laws() -> list[dict[str, str]]:
    """Return every law of the catalogue with its formula, domains and citation."""
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


def list_theories() -> list[dict[str, str]]:
    """Return every theory with its parameters and their defaults."""
    return [
        {
            "name": name,
            "parameters": "\n".join(map(_setting, inspect.signature(kind).parameters.values())),
            "does": _first_line(kind),
        }
        for name, kind in theories().items()
    ]


def _setting(item: inspect.Parameter) -> str:
    return item.name if item.default is item.empty else f"{item.name}={item.default}"


def _first_line(item: object) -> str:
    return (inspect.getdoc(item) or "").partition("\n")[0]


def list_readers() -> list[dict[str, str]]:
    """Return every reader of logs with what it reads."""
    return [{"name": name, "reads": reader.doc} for name, reader in readers().items()]


def list_reductions() -> list[dict[str, str]]:
    """Return every reduction of `kleiber reduce` with its options."""
    return [
        {
            "name": name,
            "options": "\n".join(_option(item) for item in _keywords(function)),
            "does": _first_line(function),
        }
        for name, function in reducers().items()
    ]


def _keywords(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())[1:]


def _option(item: inspect.Parameter) -> str:
    default = "" if item.default is item.empty else f" [{item.default}]"
    return f"--{item.name.replace('_', '-')}{default}"


def list_columns() -> list[dict[str, str]]:
    """Return every known column with its unit."""
    return [
        {"name": item.name, "unit": item.unit, "meaning": item.meaning} for item in COLUMNS.values()
    ]


def list_costs() -> list[dict[str, str]]:
    """Return every named cost with its convention."""
    named = [
        {"name": item.name, "formula": item.formula, "unit": item.unit, "counts": item.convention}
        for item in costs().values()
    ]
    made = [
        {"name": usage, "formula": "", "unit": "", "counts": counts}
        for usage, counts in describe_makers().items()
    ]
    return named + made


def list_data() -> list[dict[str, str]]:
    """Return every data set with its licence and citation."""
    return [
        {
            "name": item.name,
            "holds": item.says,
            "licence": item.licence,
            "citation": item.citation,
        }
        for item in data_catalogue().values()
    ]
