"""Reductions, table to table; those that `kleiber reduce` offers are named here, one a line."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kleiber.arguments import check_text
from kleiber.errors import BadTable, nearest, shown

if TYPE_CHECKING:
    from kleiber.reduce.collapse import dynamical_exponents as dynamical_exponents
    from kleiber.reduce.spectrum import estimate_spectrum as estimate_spectrum

# name on the command line -> module of this package and function: function(table, ...) -> frame
REDUCERS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "average": ("average", "average"),
        "pass-at-k": ("attempts", "pass_at_k"),
        "exponent": ("exponent", "exponent"),
        "width-exponent": ("width_exponent", "width_exponent"),
        "width-curve": ("width_exponent", "width_curve"),
        "ensemble": ("ensemble", "ensemble"),
        "collapse": ("collapse_table", "collapse"),
        "envelope": ("envelope", "envelope"),
        "envelope-exponents": ("envelope", "envelope_exponents"),
        "spectrum": ("spectrum", "spectrum"),
    }
)

# part of the public contract -> module of this package
PUBLIC: Mapping[str, str] = MappingProxyType(
    {"dynamical_exponents": "collapse", "estimate_spectrum": "spectrum"}
)


def __getattr__(name: str) -> Any:
    """The part of the public contract that is a reduction, loaded when first asked for."""
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{PUBLIC[name]}"), name)


def reducers() -> dict[str, Callable[..., Any]]:
    """Every reduction by its name on the command line, sorted."""
    return {name: _load(name) for name in sorted(REDUCERS)}


def find(name: str) -> Callable[..., Any]:
    """The reduction of that name; BadTable with the nearest name there is for any other."""
    folded = check_text("name", name, "the name of a reduction").strip().replace("_", "-")
    if folded not in REDUCERS:
        raise BadTable(
            f"No reduction is called {shown(name)}.{nearest(folded, REDUCERS)} "
            f"There are: {', '.join(REDUCERS)}."
        )
    return _load(folded)


def _load(name: str) -> Callable[..., Any]:
    module, function = REDUCERS[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), function)
