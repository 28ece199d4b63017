"""A table and a law at the door: checked, and posed as a problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Int

from kleiber.errors import BadTable, nearest
from kleiber.fitting.noise import Noise
from kleiber.fitting.problem import Problem, pose
from kleiber.formula import walk
from kleiber.law import Law, restrict
from kleiber.table import numbers, warn_duplicates


@dataclass(frozen=True)
class Settings:
    """What a fit was asked to do, beyond the law and the table."""

    target: str
    noise: Noise
    draws: int
    level: float
    by: str | None
    weights: str | None
    fixed: Mapping[str, float]
    tied: Mapping[str, str]
    start: Mapping[str, float] | None
    seed: int


def pose_table(
    law: Law, frame: pl.DataFrame, ask: Settings
) -> tuple[Problem, Int[np.ndarray, "rows"] | None]:
    """Check the table and pose the problem; also the group of each row, when rows are grouped.

    Raises BadTable for a table that cannot be fitted, BadLaw for what is fixed or tied wrongly.
    """
    if ask.target in law.variables:
        raise BadTable(f"the target {ask.target!r} is also a variable of law {law.name}")
    free = restrict(law, fixed=ask.fixed, tied=ask.tied) if ask.fixed or ask.tied else law
    columns = {name: numbers(frame, name) for name in law.variables}
    y = numbers(frame, ask.target, positive=ask.noise.scale == "log")
    for name in positive_columns(law):
        numbers(frame, name, positive=True)
    w = np.ones(len(y)) if ask.weights is None else numbers(frame, ask.weights)
    if (w < 0).any() or not (w > 0).any():
        raise BadTable(f"weights in {ask.weights!r} must be non-negative and not all zero")
    used = int((w > 0).sum())
    if used < len(free.params):
        raise BadTable(
            f"law {law.name} has {len(free.params)} free parameters and the table has only "
            f"{used} rows{' of positive weight' if ask.weights else ''}; "
            "add runs, or fix or tie parameters"
        )
    warn_duplicates(frame, [*law.variables, ask.target])
    groups = None if ask.by is None else number_groups(frame, ask.by)
    return pose(free, ask.noise, columns, y, w), groups


def number_groups(frame: pl.DataFrame, by: str) -> Int[np.ndarray, "rows"]:
    """The number, from 0, of each row's group: its value in the column ``by``."""
    if by not in frame.columns:
        raise BadTable(
            f"no column {by!r} to group by; the table has {', '.join(frame.columns)}."
            f"{nearest(by, frame.columns)}"
        )
    return frame[by].rank("dense").to_numpy().astype(np.int64) - 1


def positive_columns(law: Law) -> list[str]:
    """Variables whose logarithm, or power to a fitted exponent, the law takes directly."""
    if law.expr is None:
        return []
    found = []
    for node in walk(law.expr):
        fitted = node.op == "pow" and node.args[1].op != "number"
        if (node.op == "log" or fitted) and node.args[0].op == "symbol":
            name = str(node.args[0].value)
            if name in law.variables and name not in found:
                found.append(name)
    return found
