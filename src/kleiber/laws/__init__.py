"""The catalogue of laws, and how a law is found by name, file or formula."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection
from typing import Any

from kleiber.arguments import check_record, check_text, check_texts
from kleiber.errors import BadLaw, nearest, shown
from kleiber.law import Law, law_from_file, law_from_formula
from kleiber.laws.bottlenecks import bottleneck_exponents as bottleneck_exponents
from kleiber.laws.curves import broken as broken


def __getattr__(name: str) -> Law:
    """A law of the catalogue as an attribute."""
    known = {} if name.startswith("_") else catalogue()
    if name not in known:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{nearest(name, known)}")
    return known[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *catalogue()})


def catalogue() -> dict[str, Law]:
    """Every law that a module of this package defines, by name, sorted."""
    found: dict[str, Law] = {}
    for item in pkgutil.iter_modules(__path__, f"{__name__}."):
        module = importlib.import_module(item.name)
        found |= {law.name: law for law in vars(module).values() if isinstance(law, Law)}
    return dict(sorted(found.items()))


def find_law(given: Any, columns: Collection[str]) -> Law:
    """A Law as it is, or the one that a text means (``find``)."""
    if isinstance(given, str):
        return find(given, columns)
    return check_record(
        "law", given, Law, "a kleiber.Law, the name of one, a formula, or file.py:name"
    )


def find(spec: str, columns: Collection[str]) -> Law:
    """The law meant by ``spec``: a name of the catalogue, ``file.py:name``, or a formula.

    Symbols of a formula that are among ``columns`` are variables, the others parameters. Raises
    BadLaw for an unknown name or an unusable file, BadFormula for text that is no formula.
    """
    spec = check_text("spec", spec, "the name of a law, a formula, or file.py:name").strip()
    columns = check_texts("columns", columns, "a list of column names")
    known = catalogue()
    if spec in known:
        return known[spec]
    if spec.endswith(".py"):
        raise BadLaw(
            f"{shown(spec)} is a file; say which of its laws is meant, as {spec[:60]}:name."
        )
    if ":" in spec:
        return law_from_file(spec)
    if spec.isidentifier():
        raise BadLaw(
            f"No law is called {shown(spec)}.{nearest(spec, known)} See: kleiber list laws "
            "(or give a formula, or file.py:name)."
        )
    return law_from_formula(spec, columns)
