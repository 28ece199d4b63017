"""The verb: one law fitted to each group of a table, each as if it were alone."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from kleiber.arguments import check_text
from kleiber.errors import BadTable
from kleiber.files import land
from kleiber.fitting.fit import fit
from kleiber.fitting.judge.status import Status
from kleiber.fitting.options import Options, choose_options
from kleiber.fitting.record import Fit
from kleiber.fitting.saved import describe, document
from kleiber.law import Law, restrict
from kleiber.laws import find_law
from kleiber.measurements import number_groups
from kleiber.progress import Progress, check_progress
from kleiber.rows import given_columns
from kleiber.table import as_frame, require
from kleiber.text_tables import is_number

REFUSED = "refused"  # instead of a status, where a group's rows cannot be fitted


@dataclass(frozen=True)
class GroupFit:
    """The fit of one group; None where its rows cannot be fitted, and ``reason`` says why."""

    value: Any
    rows: int
    fit: Fit | None
    status: str
    reason: str

    @property
    def usable(self) -> bool:
        """Whether predictions and plans may rest on it."""
        return self.fit is not None and self.fit.usable


@dataclass(frozen=True)
class GroupFits:
    """One fit for each value of the column ``group``, in order of the values."""

    group: str
    law: Law
    target: str
    level: float
    fits: tuple[GroupFit, ...]

    @property
    def usable(self) -> bool:
        """Whether every group's fit is usable."""
        return all(item.usable for item in self.fits)


def fit_groups(
    law: Law | str,
    table: Any,
    options: Options | None = None,
    *,
    group: str,
    progress: Progress | None = None,
    **changes: Any,
) -> GroupFits:
    """Fit one law to each group of a table.

    Parameters
    ----------
    law, table, options, changes
        As for ``fit``.
    group
        The column whose values are the groups. Each is fitted as if its rows were the whole table,
        from the same seed, so that no group's result depends on the others.
    progress
        Called with (done, total, note) as refits are done.

    Returns
    -------
    GroupFits
        A fit for each group, or the reason why there is none; numbers in numerical order.

    Raises
    ------
    BadTable, BadLaw, BadFormula
        What is wrong whatever the group: a missing column, an unknown law or parameter.
    """
    ask, heard = choose_options("fit", options, changes), check_progress(progress)
    frame = as_frame(table)
    law = find_law(law, [name for name in given_columns(frame) if name != ask.target])
    number_groups(frame, check_text("group", group, "the name of a column"))
    require(frame, [*law.variables, ask.target, *(n for n in (ask.by, ask.weights) if n)])
    least = len(restrict(law, fixed=ask.fixed, tied=ask.tied).params)
    values = _in_order(frame[group])
    made: list[GroupFit] = []
    for k, value in enumerate(values):
        rows = frame.filter(pl.col(group) == value)
        done = partial(_count, heard, k, len(values))
        try:
            found = fit(law, rows, ask, progress=done)
            made.append(GroupFit(value, len(rows), found, str(found.status), found.reason))
        except BadTable as error:
            status = str(Status.TOO_FEW_POINTS) if len(rows) < least else REFUSED
            made.append(GroupFit(value, len(rows), None, status, str(error)))
    return GroupFits(group, law, ask.target, ask.level, tuple(made))


def _count(progress: Progress, before: int, groups: int, done: int, total: int, note: str) -> None:
    """One group's progress as that of all."""
    progress(before * total + done, groups * total, note)


def _in_order(series: pl.Series) -> list[Any]:
    """The values of a column, each once: as numbers where all are, else as text."""
    values = series.unique().to_list()
    if all(isinstance(x, int | float) for x in values):
        return sorted(values)
    if all(is_number(str(x)) and math.isfinite(float(x)) for x in values):
        return sorted(values, key=lambda x: (float(x), str(x)))
    return sorted(values, key=str)


def describe_groups(made: GroupFits, *, whole: bool = False) -> dict[str, Any]:
    """The document that ``fit --group --json`` prints: with ``whole``, the one that is saved."""
    tell = document if whole else describe
    groups: list[dict[str, Any]] = []
    for item in made.fits:
        plain = isinstance(item.value, bool | int | float | str)
        head = {"value": item.value if plain else str(item.value)}
        if item.fit is not None:
            groups.append(head | tell(item.fit))
        else:
            told = {"status": item.status, "reason": item.reason, "rows": item.rows}
            groups.append(head | {"law": made.law.name, "target": made.target} | told)
    return {"group": made.group, "groups": groups}


def save_groups(made: GroupFits, path: str | Path) -> None:
    """Write the fits of all groups as one JSON document, which ``load(path, group=...)`` reads."""
    text = json.dumps(describe_groups(made, whole=True), indent=1, allow_nan=False)
    with land(path) as temporary:
        Path(temporary).write_text(text + "\n", encoding="utf-8")
