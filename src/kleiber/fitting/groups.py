"""The function ``fit_groups``: one law fitted to each group of a table on its own."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from kleiber.arguments import check_text
from kleiber.brief import brief
from kleiber.brief import listed as listed_briefly
from kleiber.errors import BadTable
from kleiber.files import write_atomically
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
    """The fit of one group, or the reason why there is none.

    Attributes
    ----------
    value
        The group's value in the column of groups.
    rows
        The number of its rows.
    fit
        The ``Fit``; None where the rows cannot be fitted.
    status, reason
        How the fit ended and why, as of a ``Fit``; where there is none, ``"refused"`` or
        ``"too_few_points"`` and the message of the error.

    Examples
    --------
    >>> import kleiber
    >>> kleiber.GroupFit("code", 2, None, "too_few_points", "2 rows for 3 parameters.").usable
    False
    """

    value: Any
    rows: int
    fit: Fit | None
    status: str
    reason: str

    def __repr__(self) -> str:
        return brief("GroupFit", f"{self.value}, {self.status}", {"rows": self.rows})

    @property
    def usable(self) -> bool:
        """Whether predictions and plans may rely on it."""
        return self.fit is not None and self.fit.usable


@dataclass(frozen=True)
class GroupFits:
    """One fit for each value of a column.

    Attributes
    ----------
    group
        The column whose values are the groups.
    law, target, level
        The law, the column that it predicts and the level of intervals, as they were asked for.
    fits
        A ``GroupFit`` for each group, in order of the values.

    Examples
    --------
    >>> import kleiber
    >>> runs = {"task": list("aaaabb"), "n_params": [1e6, 1e7, 1e8, 1e9, 1e6, 1e7]}
    >>> runs["loss"] = [100 / n**0.2 for n in runs["n_params"]]
    >>> found = kleiber.fit_groups("A/n_params**alpha", runs, group="task", draws=0)
    >>> [(item.value, item.rows, item.status) for item in found.fits]
    [('a', 4, 'converged'), ('b', 2, 'too_few_points')]
    >>> found.usable
    False
    """

    group: str
    law: Law
    target: str
    level: float
    fits: tuple[GroupFit, ...]

    def __repr__(self) -> str:
        each = listed_briefly(f"{item.value} ({item.status})" for item in self.fits)
        return brief(
            "GroupFits", f"{self.law.name} of {self.target} by {self.group}", {"groups": each}
        )

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
    """Fit one law to each group of a table, each as if its rows were the whole table.

    Every group is fitted from the same seed, so no group's result depends on the others.

    Parameters
    ----------
    law, table, options, changes
        As for ``fit``.
    group
        The column whose values are the groups.
    progress
        Called with (done, total, note) as refits are done.

    Returns
    -------
    GroupFits
        A fit for each group, or the reason why there is none. Groups that are numbers come in
        numerical order, others in alphabetical order.

    Raises
    ------
    BadTable, BadLaw, BadFormula
        For what is wrong whatever the group: a missing column, an unknown law or parameter.

    Examples
    --------
    >>> import kleiber
    >>> runs = {"task": 4 * ["code"] + 4 * ["text"], "n_params": 2 * [1e6, 1e7, 1e8, 1e9]}
    >>> runs["loss"] = [100 / n ** (0.2 if t == "code" else 0.3) for t, n in zip(*runs.values())]
    >>> found = kleiber.fit_groups("A/n_params**alpha", runs, group="task", draws=0)
    >>> {item.value: round(item.fit.params["alpha"], 3) for item in found.fits}
    {'code': 0.2, 'text': 0.3}
    """
    options, progress = choose_options("fit", options, changes), check_progress(progress)
    frame = as_frame(table)
    law = find_law(law, [name for name in given_columns(frame) if name != options.target])
    number_groups(frame, check_text("group", group, "the name of a column"))
    require(
        frame, [*law.variables, options.target, *(n for n in (options.by, options.weights) if n)]
    )
    n_free = len(restrict(law, fixed=options.fixed, tied=options.tied).params)
    values = _order_values(frame[group])
    made: list[GroupFit] = []
    for k, value in enumerate(values):
        rows = frame.filter(pl.col(group) == value)
        done = partial(_report_progress, progress, k, len(values))
        try:
            found = fit(law, rows, options, progress=done)
            made.append(GroupFit(value, len(rows), found, str(found.status), found.reason))
        except BadTable as error:
            status = str(Status.TOO_FEW_POINTS) if len(rows) < n_free else REFUSED
            made.append(GroupFit(value, len(rows), None, status, str(error)))
    return GroupFits(group, law, options.target, options.level, tuple(made))


def _report_progress(
    progress: Progress, before: int, groups: int, done: int, total: int, note: str
) -> None:
    """Report the progress of one group as part of that of all groups."""
    progress(before * total + done, groups * total, note)


def _order_values(series: pl.Series) -> list[Any]:
    """Return the distinct values of a column in order: as numbers if all are, else as text."""
    values = series.unique().to_list()
    if all(isinstance(x, int | float) for x in values):
        return sorted(values)
    if all(is_number(str(x)) and math.isfinite(float(x)) for x in values):
        return sorted(values, key=lambda x: (float(x), str(x)))
    return sorted(values, key=str)


def describe_groups(made: GroupFits, *, whole: bool = False) -> dict[str, Any]:
    """Return the document that ``fit --group --json`` prints; with ``whole``, the one that is
    saved."""
    to_document = document if whole else describe
    groups: list[dict[str, Any]] = []
    for item in made.fits:
        plain = isinstance(item.value, bool | int | float | str)
        head = {"value": item.value if plain else str(item.value)}
        if item.fit is not None:
            groups.append(head | to_document(item.fit))
        else:
            refusal = {"status": item.status, "reason": item.reason, "rows": item.rows}
            groups.append(head | {"law": made.law.name, "target": made.target} | refusal)
    return {"group": made.group, "groups": groups}


def save_groups(made: GroupFits, path: str | Path) -> None:
    """Write the fits of all groups as one JSON document, which ``load(path, group=...)`` reads."""
    text = json.dumps(describe_groups(made, whole=True), indent=1, allow_nan=False)
    with write_atomically(path) as temporary:
        Path(temporary).write_text(text + "\n", encoding="utf-8")
