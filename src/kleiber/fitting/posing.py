"""A table and a law at the door: checked, and posed as a problem."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from kleiber.errors import BadLaw, BadTable, listed, nearest, reason
from kleiber.fitting.engine.problem import Problem, pose
from kleiber.fitting.options import Options
from kleiber.formula import walk
from kleiber.law import Law, restrict
from kleiber.rows import given_columns
from kleiber.table import check_weights, numbers, warn_duplicates


def pose_table(
    law: Law, frame: pl.DataFrame, ask: Options
) -> tuple[Problem, Int[np.ndarray, "rows"] | None]:
    """Check the table and pose the problem; also the group of each row, when rows are grouped.

    Raises BadTable for a table that cannot be fitted, BadLaw for what is fixed or tied wrongly.
    """
    if ask.target in law.variables:
        raise BadTable(f"The target {ask.target!r} is also a variable of law {law.name}.")
    if ask.target in law.params:
        raise BadTable(f"The target {ask.target!r} is also a parameter of law {law.name}.")
    free = restrict(law, fixed=ask.fixed, tied=ask.tied) if ask.fixed or ask.tied else law
    columns = {name: numbers(frame, name) for name in law.variables}
    y = numbers(frame, ask.target, positive=ask.noise.scale == "log")
    for name in positive_columns(law):
        numbers(frame, name, positive=True)
    if law.expr is None:
        try_function(law, columns)
    w = np.ones(len(y)) if ask.weights is None else check_weights(frame, ask.weights)
    used = int((w > 0).sum())
    if used < len(free.params):
        raise BadTable(
            f"Law {law.name} has {len(free.params)} free parameters and the table has only "
            f"{used} rows{' of positive weight' if ask.weights else ''}; "
            "add runs, or fix or tie parameters."
        )
    warn_duplicates(frame, [*law.variables, ask.target])
    groups = None if ask.by is None else number_groups(frame, ask.by)
    return pose(free, ask.noise, columns, y, w), groups


def number_groups(frame: pl.DataFrame, by: str) -> Int[np.ndarray, "rows"]:
    """The number, from 0, of each row's group: its value in the column ``by``."""
    if by not in frame.columns:
        raise BadTable(
            f"No column {by!r} to group by; the table has {listed(given_columns(frame))}."
            f"{nearest(by, given_columns(frame))}"
        )
    series = frame[by]
    missing = series.is_null() | (series.is_nan() if series.dtype.is_float() else False)
    if missing.any():
        raise BadTable(
            f"Column {by!r} to group by has a missing value, in row "
            f"{(missing.arg_max() or 0) + 1} of {len(frame)}."
        )
    return series.rank("dense").to_numpy().astype(np.int64) - 1


def try_function(law: Law, columns: Mapping[str, Float[np.ndarray, "rows"]]) -> None:
    """BadLaw if a law that could not be traced does not work on the table's columns."""
    some = {n: np.full((2, 1), 1.0 if d.low is None else d.low) for n, d in law.domains.items()}
    try:
        with np.errstate(all="ignore"):
            value = np.asarray(law.function(*columns.values(), **some))
        if value.dtype.kind not in "iuf":
            raise TypeError(f"it gives {value.dtype} rather than numbers")
        np.broadcast_to(value, (2, len(next(iter(columns.values())))))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the user's function raises is reported as such
        raise BadLaw(
            f"Law {law.name} does not work elementwise on arrays of columns and parameters: "
            f"{type(error).__name__}: {reason(error)}."
        ) from error


def positive_columns(law: Law) -> list[str]:
    """Variables whose logarithm, or power to a fitted exponent, the law takes directly."""
    if law.expr is None:
        return []
    found: list[str] = []
    for node in walk(law.expr):
        fitted = node.op == "pow" and node.args[1].op != "number"
        if (node.op == "log" or fitted) and node.args[0].op == "symbol":
            name = str(node.args[0].value)
            if name in law.variables and name not in found:
                found.append(name)
    return found
