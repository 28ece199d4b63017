"""The systems: each folder here is a paper, with its theory, simulation, measures and claims.

A system's ``__init__`` declares what it offers without importing it: ``THEORIES`` and
``REDUCTIONS`` (names on the command line) and ``PUBLIC`` (names in ``kleiber.reduce``), each a
mapping from a name to the module and the attribute; ``claims`` holds ``TITLE``, ``CITATION`` and
``CLAIMS``. All of it is discovered: adding a folder adds a system, removing it removes one.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any


def names() -> list[str]:
    """Return the names of the systems, sorted."""
    return sorted(item.name for item in pkgutil.iter_modules(__path__) if item.ispkg)


def declared(entry: str) -> dict[str, tuple[str, str]]:
    """Return what all systems declare under an entry: module and attribute by name."""
    found: dict[str, tuple[str, str]] = {}
    for name in names():
        system = f"{__name__}.{name}"
        offers: Mapping[str, tuple[str, str]] = getattr(importlib.import_module(system), entry, {})
        for offer, (module, attribute) in offers.items():
            found[offer] = (f"{system}.{module}", attribute)
    return dict(sorted(found.items()))


def load(place: tuple[str, str]) -> Any:
    """Return the attribute of a module, which is imported."""
    module, attribute = place
    return getattr(importlib.import_module(module), attribute)
