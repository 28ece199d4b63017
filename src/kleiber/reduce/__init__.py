"""Reductions, from table to table: the function of each file here, and those that systems declare.

A file ``NAME.py`` contains a function NAME(table, ...) that returns a data frame or a mapping.

Examples
--------
>>> import kleiber
>>> "average" in kleiber.reduce.reducers()
True
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kleiber.arguments import check_text
from kleiber.errors import BadTable, nearest, shown
from kleiber.reduce.isoflop import IsoFLOP as IsoFLOP
from kleiber.reduce.isoflop import isoflop as isoflop

if TYPE_CHECKING:
    from kleiber.systems.feature_learning.spectrum import estimate_spectrum as estimate_spectrum
    from kleiber.systems.implicit_bias.collapse import dynamical_exponents as dynamical_exponents

PACKAGE = __name__.partition(".")[0]


def __getattr__(name: str) -> Any:
    """Return a public reduction of a system, loaded when it is first used."""
    public = _declared("PUBLIC")
    if name not in public:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _load(public[name])


def places() -> dict[str, tuple[str, str]]:
    """Return the module and function of each reduction by its name on the command line.

    Returns
    -------
    dict
        The module and the function of each, sorted by name.

    Examples
    --------
    >>> import kleiber
    >>> kleiber.reduce.places()["average"]
    ('kleiber.reduce.average', 'average')
    """
    files = [item.name for item in pkgutil.iter_modules(__path__)]
    core = {name.replace("_", "-"): (f"{__name__}.{name}", name) for name in files}
    return dict(sorted({**core, **_declared("REDUCTIONS")}.items()))


def _declared(entry: str) -> dict[str, tuple[str, str]]:
    """Return the reductions that the systems declare, found without importing one."""
    return importlib.import_module(f"{PACKAGE}.systems").declared(entry)


def reducers() -> dict[str, Callable[..., Any]]:
    """Load every reduction.

    Returns
    -------
    dict
        The functions by their names on the command line, sorted. Each takes a table first.

    Examples
    --------
    >>> import kleiber
    >>> "pass-at-k" in kleiber.reduce.reducers()
    True
    """
    return {name: _load(place) for name, place in places().items()}


def find(name: str) -> Callable[..., Any]:
    """Find a reduction by its name.

    Parameters
    ----------
    name
        Its name on the command line, such as ``"average"``; ``_`` may stand for ``-``.

    Returns
    -------
    function
        ``function(table, ...)`` that returns a data frame, or a mapping of numbers.

    Raises
    ------
    BadTable
        For any other name; the message has the nearest one.

    Examples
    --------
    >>> import kleiber
    >>> average = kleiber.reduce.find("average")
    >>> average({"seed": [0, 1], "loss": [2.0, 2.2]})["loss"].to_list()
    [2.1]
    """
    folded = check_text("name", name, "the name of a reduction").strip().replace("_", "-")
    known = places()
    if folded not in known:
        raise BadTable(
            f"No reduction is called {shown(name)}.{nearest(folded, known)} "
            f"There are: {', '.join(known)}."
        )
    return _load(known[folded])


def files_of(name: str) -> tuple[str, ...]:
    """Return the suffixes of files other than tables that a reduction reads itself.

    They are the constant ``FILES`` of its module.

    Parameters
    ----------
    name
        Its name on the command line.

    Returns
    -------
    tuple of str
        The suffixes, such as ``(".npz", ".npy")``; none for most.

    Raises
    ------
    BadTable
        For an unknown name.

    Examples
    --------
    >>> import kleiber
    >>> kleiber.reduce.files_of("average")
    ()
    """
    return tuple(getattr(sys.modules[find(name).__module__], "FILES", ()))


def _load(place: tuple[str, str]) -> Callable[..., Any]:
    module, function = place
    return getattr(importlib.import_module(module), function)
