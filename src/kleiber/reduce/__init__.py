"""Reductions, table to table: those of the core, named here, and those that systems declare."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kleiber.arguments import check_text
from kleiber.errors import BadTable, nearest, shown

if TYPE_CHECKING:
    from kleiber.systems.feature_learning.spectrum import estimate_spectrum as estimate_spectrum
    from kleiber.systems.implicit_bias.collapse import dynamical_exponents as dynamical_exponents

PACKAGE = __name__.partition(".")[0]

# name on the command line -> module and function of the core: function(table, ...) -> frame
CORE: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "average": (f"{__name__}.average", "average"),
        "exponent": (f"{__name__}.exponent", "exponent"),
        "pass-at-k": (f"{PACKAGE}.attempts.counts", "pass_at_k"),
    }
)


def __getattr__(name: str) -> Any:
    """The part of the public contract that is a system's reduction, loaded when asked for."""
    public = _declared("PUBLIC")
    if name not in public:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _load(public[name])


def places() -> dict[str, tuple[str, str]]:
    """Where each reduction is, by its name on the command line, sorted."""
    return dict(sorted({**CORE, **_declared("REDUCTIONS")}.items()))


def _declared(entry: str) -> dict[str, tuple[str, str]]:
    """What the systems offer, found without importing one."""
    return importlib.import_module(f"{PACKAGE}.systems").declared(entry)


def reducers() -> dict[str, Callable[..., Any]]:
    """Every reduction by its name on the command line, sorted."""
    return {name: _load(place) for name, place in places().items()}


def find(name: str) -> Callable[..., Any]:
    """The reduction of that name; BadTable with the nearest name there is for any other."""
    folded = check_text("name", name, "the name of a reduction").strip().replace("_", "-")
    known = places()
    if folded not in known:
        raise BadTable(
            f"No reduction is called {shown(name)}.{nearest(folded, known)} "
            f"There are: {', '.join(known)}."
        )
    return _load(known[folded])


def _load(place: tuple[str, str]) -> Callable[..., Any]:
    module, function = place
    return getattr(importlib.import_module(module), function)
