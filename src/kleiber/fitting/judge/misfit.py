"""Misfit: the record of how badly a fitted law misses its table, and its document.

How it is measured: ``inspection.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

PREDICTION, COMPUTE = "prediction", "n_params*n_tokens"  # columns that no table has


@dataclass(frozen=True)
class Trend:
    """How residuals depend on one column: ``p`` of the test, corrected for all that were tried,
    and where the law is furthest off: ``gap`` is predicted over measured there, less 1, for values
    from ``low`` to ``high``, or at ``level`` of a column of text. ``chosen`` is false of a column
    that may have been measured, which the noise of a run moves together with its target."""

    column: str
    p: float
    gap: float
    low: float | None = None
    high: float | None = None
    level: str | None = None
    chosen: bool = True


@dataclass(frozen=True)
class LackOfFit:
    """The law against runs repeated in all of its variables: ``p`` of the F test, and
    ``repeat_error``, by how many per cent repeated runs typically differ from their mean."""

    p: float
    repeat_error: float
    cells: int
    rows: int


@dataclass(frozen=True)
class FarRow:
    """A row far from the law: its number from 1, predicted over measured less 1, and its residual
    in robust standard deviations (None where those are unknown)."""

    row: int
    gap: float
    z: float | None


@dataclass(frozen=True)
class Floor:
    """The law's limit where all its variables are large, and the rows measured below it by more
    than the noise."""

    value: float
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Misfit:
    """How badly a law misses its table.

    ``typical_error`` is what 68% of the rows do not exceed and ``rms_error`` the root mean square,
    in per cent of the measured value; ``explained`` the share of the target's spread that the law
    accounts for (1 less the ratio of squared typical errors, of the law and of a constant; below 0
    where a constant does better, None for a target that does not vary); ``trends`` the columns in
    order of their p-values; ``worst`` the rows furthest off; ``repeated`` pairs of rows that one
    run holds twice; ``alarm`` whether the law misses the table by more than noise; ``sentence``
    says it for people, and ``notes`` what else a reader has to know.
    """

    typical_error: float
    rms_error: float
    explained: float | None = None
    alarm: bool = False
    sentence: str = ""
    trends: tuple[Trend, ...] = ()
    lack_of_fit: LackOfFit | None = None
    worst: tuple[FarRow, ...] = ()
    floor: Floor | None = None
    repeated: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()


def describe_misfit(made: Misfit | None) -> dict[str, Any] | None:
    """The misfit as a JSON document; None of a fit that was saved without one."""
    return None if made is None else asdict(made)


def misfit_from(given: Mapping[str, Any] | None) -> Misfit | None:
    """The misfit of a document. Raises TypeError, ValueError or LookupError for another one."""
    if not given:
        return None
    lack, floor = given.get("lack_of_fit"), given.get("floor")
    explained = given.get("explained")
    return Misfit(
        typical_error=_number(given["typical_error"]),
        rms_error=_number(given["rms_error"]),
        explained=None if explained is None else float(explained),
        alarm=bool(given.get("alarm")),
        sentence=str(given.get("sentence", "")),
        trends=tuple(_trend(item) for item in given.get("trends") or ()),
        lack_of_fit=None
        if lack is None
        else LackOfFit(
            _number(lack["p"]), _number(lack["repeat_error"]), int(lack["cells"]), int(lack["rows"])
        ),
        worst=tuple(
            FarRow(int(item["row"]), _number(item["gap"]), _maybe(item.get("z")))
            for item in given.get("worst") or ()
        ),
        floor=None
        if floor is None
        else Floor(_number(floor["value"]), tuple(int(row) for row in floor["rows"])),
        repeated=tuple((int(one), int(other)) for one, other in given.get("repeated") or ()),
        notes=tuple(str(note) for note in given.get("notes") or ()),
    )


def _trend(item: Mapping[str, Any]) -> Trend:
    level = item.get("level")
    return Trend(
        str(item["column"]),
        _number(item["p"]),
        _number(item["gap"]),
        _maybe(item.get("low")),
        _maybe(item.get("high")),
        None if level is None else str(level),
        bool(item.get("chosen", True)),
    )


def _number(item: Any) -> float:
    return math.nan if item is None else float(item)


def _maybe(item: Any) -> float | None:
    return None if item is None else float(item)
