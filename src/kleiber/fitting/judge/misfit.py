"""Misfit: the record of how badly a fitted law misses its table, and its document.

How it is measured: ``inspection.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kleiber.plain import from_plain

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


def misfit_from(given: Any) -> Misfit | None:
    """The misfit of a document. Raises BadTable for another one."""
    return from_plain(Misfit, given, at="misfit") if given else None
