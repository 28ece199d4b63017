"""A table and a law as a checked minimisation problem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from kleiber.errors import BadLaw, BadTable, reason
from kleiber.fitting.engine.problem import Problem, pose
from kleiber.fitting.options import Options
from kleiber.formula import walk
from kleiber.law import Law, restrict
from kleiber.measurements import Measurements, take_measurements
from kleiber.table import warn_duplicates


def read_measurements(law: Law, table: Any, options: Options) -> Measurements:
    """Return the checked rows of the table that a fit of this law needs. Raises BadTable."""
    if options.target in law.variables:
        raise BadTable(f"The target {options.target!r} is also a variable of law {law.name}.")
    if options.target in law.params:
        raise BadTable(f"The target {options.target!r} is also a parameter of law {law.name}.")
    positive = [*positive_columns(law), *([options.target] if options.noise.scale == "log" else [])]
    return take_measurements(
        table,
        law.variables,
        options.target,
        positive=positive,
        weights=options.weights,
        by=options.by,
    )


def pose_rows(law: Law, rows: Measurements, options: Options) -> Problem:
    """Make the problem of a law and a table's rows.

    Raises BadTable for too few rows, BadLaw for what is fixed or tied wrongly.
    """
    free = (
        restrict(law, fixed=options.fixed, tied=options.tied)
        if options.fixed or options.tied
        else law
    )
    columns = {name: rows.columns[name] for name in law.variables}
    if law.expr is None:
        try_function(law, columns)
    used = int((rows.weights > 0).sum())
    if used < len(free.params):
        raise BadTable(
            f"Law {law.name} has {len(free.params)} free parameters and the table has only "
            f"{used} rows{' of positive weight' if options.weights else ''}; "
            "add runs, or fix or tie parameters."
        )
    warn_duplicates(rows.frame, [*law.variables, options.target])
    return pose(free, options.noise, columns, rows.target, rows.weights)


def try_function(law: Law, columns: Mapping[str, Float[np.ndarray, "rows"]]) -> None:
    """Raise BadLaw if a law that could not be traced does not work on the table's columns."""
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
    """Return the variables of which the law takes the logarithm, or a power to a fitted exponent,
    directly."""
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
