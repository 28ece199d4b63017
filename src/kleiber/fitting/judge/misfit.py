"""Records of how badly a fitted law misses its table, and their document.

How it is measured: ``inspection.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kleiber.plain import from_plain

PREDICTION, COMPUTE = "prediction", "n_params*n_tokens"  # columns that no table has


@dataclass(frozen=True)
class Trend:
    """Dependence of residuals on one column: ``p`` of the test, corrected for all tests, and where
    the law is furthest off. ``gap`` is predicted over measured minus 1 there, for values from
    ``low`` to ``high`` or at ``level`` of a text column. ``chosen`` is false for a column that may
    have been measured and so shares the noise of the target."""

    column: str
    p: float
    gap: float
    low: float | None = None
    high: float | None = None
    level: str | None = None
    chosen: bool = True


@dataclass(frozen=True)
class LackOfFit:
    """Test of the law against runs repeated in all of its variables: ``p`` of the F test, and
    ``repeat_error``, the typical difference of repeated runs from their mean in per cent."""

    p: float
    repeat_error: float
    cells: int
    rows: int


@dataclass(frozen=True)
class OutlyingRow:
    """A row far from the law: its number from 1, predicted over measured minus 1, and its residual
    in robust standard deviations (None if those are unknown)."""

    row: int
    gap: float
    z: float | None


@dataclass(frozen=True)
class Floor:
    """The limit of the law where all its variables are large, and the rows measured below it by
    more than the noise."""

    value: float
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Misfit:
    """How badly a law misses its table.

    ``typical_error`` is the error that 68% of the rows do not exceed and ``rms_error`` the root
    mean square, both in per cent of the measured value. ``explained`` is the share of the target's
    spread that the law accounts for (1 minus the ratio of squared typical errors, of the law and of
    a constant; below 0 where a constant does better, None for a target that does not vary).
    ``trends`` lists columns in order of their p-values, ``worst`` the rows furthest off, and
    ``repeated`` pairs of rows that one run holds twice. ``alarm`` says whether the law misses the
    table by more than noise, ``sentence`` describes it in words, and ``notes`` holds everything
    else that a reader has to know.
    """

    typical_error: float
    rms_error: float
    explained: float | None = None
    alarm: bool = False
    sentence: str = ""
    trends: tuple[Trend, ...] = ()
    lack_of_fit: LackOfFit | None = None
    worst: tuple[OutlyingRow, ...] = ()
    floor: Floor | None = None
    repeated: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()


def read_misfit(given: Any) -> Misfit | None:
    """Return the misfit of a document. Raises BadTable for another one."""
    return from_plain(Misfit, given, at="misfit") if given else None
