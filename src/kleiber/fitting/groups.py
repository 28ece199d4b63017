"""The verb: one law fitted to each group of a table, each as if it were alone."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from kleiber.arguments import check_mapping, check_options, check_text
from kleiber.errors import BadTable
from kleiber.files import land
from kleiber.fitting.fit import Progress, check_draws, fit, fit_steps
from kleiber.fitting.judge.status import Status
from kleiber.fitting.posing import number_groups
from kleiber.fitting.record import Fit
from kleiber.fitting.saved import describe, document
from kleiber.law import Law, restrict
from kleiber.laws import find_law
from kleiber.rows import given_columns
from kleiber.table import as_frame, require
from kleiber.text_tables import is_number

OPTIONS = tuple(inspect.signature(fit).parameters)[2:]  # keywords of ``fit``
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


def fit_groups(law: Law | str, table: Any, *, group: str, **options: Any) -> GroupFits:
    """Fit one law to each group of a table.

    Parameters
    ----------
    law, table
        As for ``fit``.
    group
        The column whose values are the groups. Each is fitted as if its rows were the whole table,
        from the same seed, so that no group's result depends on the others.
    options
        All keywords of ``fit``: ``target``, ``noise``, ``draws``, ``by``, ``fixed`` and so on.

    Returns
    -------
    GroupFits
        A fit for each group, or the reason why there is none; numbers in numerical order.

    Raises
    ------
    BadTable, BadLaw, BadFormula
        What is wrong whatever the group: a missing column, an unknown law or parameter.
    """
    steps = group_steps(law, table, group=group, **options)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def group_steps(
    law: Law | str, table: Any, *, group: str, **options: Any
) -> Generator[Progress, None, GroupFits]:
    """``fit_groups`` in steps, for callers that show progress."""
    frame = as_frame(table)
    target = check_text("target", options.get("target", "loss"), "the name of a column")
    law = find_law(law, [name for name in given_columns(frame) if name != target])
    number_groups(frame, check_text("group", group, "the name of a column"))
    check_options("fit", options, OPTIONS)
    named = [
        None if options.get(key) is None else check_text(key, options[key], "the name of a column")
        for key in ("by", "weights")
    ]
    require(frame, [*law.variables, target, *(name for name in named if name)])
    held = {
        key: check_mapping(key, options.get(key), "a mapping from parameters or None")
        for key in ("fixed", "tied")
    }
    least = len(restrict(law, **held).params)
    values = _in_order(frame[group])
    draws = check_draws(options.get("draws", 1000))
    made: list[GroupFit] = []
    for k, value in enumerate(values):
        rows = frame.filter(pl.col(group) == value)
        try:
            steps = fit_steps(law, rows, **options)
            while True:
                try:
                    seen = next(steps)
                except StopIteration as end:
                    found: Fit = end.value
                    break
                yield Progress(k * draws + seen.done, len(values) * draws)
            made.append(GroupFit(value, len(rows), found, str(found.status), found.reason))
        except BadTable as error:
            status = str(Status.TOO_FEW_POINTS) if len(rows) < least else REFUSED
            made.append(GroupFit(value, len(rows), None, status, str(error)))
    return GroupFits(group, law, target, float(options.get("level", 0.95)), tuple(made))


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
