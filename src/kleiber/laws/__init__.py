"""The catalogue of laws, and how a law is found by name, file or formula.

Examples
--------
>>> import kleiber
>>> kleiber.laws.chinchilla.formula
'E + A*n_params**-alpha + B*n_tokens**-beta'
"""

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
    """Return a law of the catalogue as an attribute."""
    known = {} if name.startswith("_") else catalogue()
    if name not in known:
        raise AttributeError(
            f"Module {__name__!r} has no attribute {name!r}.{nearest(name, known)}"
        )
    return known[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *catalogue()})


def catalogue() -> dict[str, Law]:
    """Load every law that a module of this package defines.

    Returns
    -------
    dict of Law
        The laws by name, sorted.

    Examples
    --------
    >>> import kleiber
    >>> "chinchilla" in kleiber.laws.catalogue()
    True
    """
    found: dict[str, Law] = {}
    for item in pkgutil.iter_modules(__path__, f"{__name__}."):
        module = importlib.import_module(item.name)
        found |= {law.name: law for law in vars(module).values() if isinstance(law, Law)}
    return dict(sorted(found.items()))


def find_law(given: Any, columns: Collection[str]) -> Law:
    """Return a Law as it is, or find the one that a text names (``find``)."""
    if isinstance(given, str):
        return find(given, columns)
    return check_record(
        "law", given, Law, "a kleiber.Law, the name of one, a formula, or file.py:name"
    )


def find(spec: str, columns: Collection[str]) -> Law:
    """Find the law that a text means: a name of the catalogue, ``file.py:name``, or a formula.

    Parameters
    ----------
    spec
        The text. A file is run as Python.
    columns
        The names of the columns that a formula may use; its other symbols are parameters.

    Returns
    -------
    Law
        The law.

    Raises
    ------
    BadLaw
        For an unknown name or an unusable file.
    BadFormula
        For text that is no formula.

    Examples
    --------
    >>> import kleiber
    >>> kleiber.laws.find("A/width**alpha", ["width"]).params
    ('A', 'alpha')
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
