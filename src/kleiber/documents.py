"""Results as JSON files: ``save`` and ``load`` for every record that a public function returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, cast

from kleiber.arguments import check_flag, check_path, refuse
from kleiber.attempts import saved as counts
from kleiber.attempts.record import CountFit
from kleiber.errors import BadTable, listed, nearest, reason, shown
from kleiber.fitting import saved as fits
from kleiber.fitting.compare import Comparison
from kleiber.fitting.groups import GroupFits, describe_groups
from kleiber.fitting.record import Fit
from kleiber.forecasting import saved as forecasts
from kleiber.forecasting.record import Forecast
from kleiber.plain import as_plain, from_plain, read_document, write_document
from kleiber.planning.record import Plan
from kleiber.version import __version__


@dataclass(frozen=True)
class Kind:
    """A kind of record that can be saved: its type, and how it is converted to a document and
    back."""

    record: type
    write: Callable[[Any], dict[str, Any]]
    read: Callable[[Mapping[str, Any]], Any]


def _kind_of_fields(record: type) -> Kind:
    """Make the Kind of a record that is fully described by its fields."""
    return Kind(
        record,
        lambda made: as_plain(made, keep_infinities=True),
        lambda given: from_plain(record, given),
    )


KINDS: Mapping[str, Kind] = {
    "CountFit": Kind(CountFit, counts.document, counts.count_fit_from),
    "Comparison": _kind_of_fields(Comparison),
    "Forecast": Kind(Forecast, forecasts.document, forecasts.forecast_from),
    "Plan": _kind_of_fields(Plan),
}
SAVED_TYPES = (Fit, GroupFits, *(kind.record for kind in KINDS.values()))


def save(result: Any, path: str | PathLike[str]) -> None:
    """Write a result as JSON; the file appears whole or not at all.

    Parameters
    ----------
    result
        A Fit, the fits of groups, a CountFit, a Comparison, a Forecast or a Plan.
    path
        The file, which ``load`` reads.

    Raises
    ------
    BadArgument
        For anything else.
    OSError
        Where the file cannot be written.

    Examples
    --------
    >>> import kleiber, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "fit.json"
    >>> runs = {"n_params": [1e6, 1e7, 1e8, 1e9], "loss": [4.0, 2.0, 1.0, 0.5]}
    >>> kleiber.save(kleiber.fit("A/n_params**alpha", runs, draws=0), path)
    >>> path.exists()
    True
    """
    check_path("path", path)
    if isinstance(result, Fit):
        fits.save(result, Path(path))
        return
    if isinstance(result, GroupFits):
        write_document(describe_groups(result, whole=True), path)
        return
    for name, kind in KINDS.items():
        if isinstance(result, kind.record):
            head = {"kind": name, "version": __version__}
            write_document(head | kind.write(result), path)
            return
    raise refuse("result", f"one of {', '.join(kind.__name__ for kind in SAVED_TYPES)}", result)


def load(path: str | PathLike[str], *, group: Any = None, trust: bool = False) -> Any:
    """Read a result that ``save`` or ``kleiber fit -o`` wrote.

    Parameters
    ----------
    path
        The file.
    group
        Of the fits of groups, whose fit.
    trust
        Whether a Python file that a fit's law stands in may be run.

    Returns
    -------
    Fit, CountFit, Comparison, Forecast or Plan
        The record as it was saved. A document with no more than the keys of ``fit --json`` is a
        fit too: without draws and ranges its intervals are unknown.

    Raises
    ------
    BadTable
        For what is no such file, and for a document of a newer version.

    Examples
    --------
    >>> import kleiber, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "fit.json"
    >>> runs = {"n_params": [1e6, 1e7, 1e8, 1e9], "loss": [4.0, 2.0, 1.0, 0.5]}
    >>> kleiber.save(kleiber.fit("A/n_params**alpha", runs, draws=0), path)
    >>> round(kleiber.load(path).params["alpha"], 3)
    0.301
    """
    what, command = "a saved result", "write one with kleiber.save, or kleiber fit -o"
    return read_result(path, what, command, group=group, trust=trust)


def read_result(
    path: str | PathLike[str], what: str, command: str, *, group: Any = None, trust: bool = False
) -> Any:
    """Read a result as ``load`` does; an error says that the file is not ``what``, and how such a
    file is made."""
    check_flag("trust", trust)
    given = read_document(path, what, command)
    if not isinstance(given, dict) or "kind" not in given:
        return fits.fit_from(given, str(path), group=group, trust=trust)
    document = dict(cast("dict[str, Any]", given))
    name, version = document.pop("kind"), document.pop("version", None)
    if name not in KINDS:
        raise BadTable(
            f"The file {shown(str(path), 200)} holds a {shown(name)}; what can be read is a Fit, "
            f"{listed(KINDS)}.{nearest(str(name), KINDS)}"
        )
    fits.refuse_newer(version, str(path))
    try:
        return KINDS[name].read(document)
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise BadTable(
            f"The file {shown(str(path), 200)} holds no {name} that can be used: {reason(error)}."
        ) from None
