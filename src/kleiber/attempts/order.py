"""The order of groups: numerical where their names are numbers, of appearance elsewhere."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
from jaxtyping import Float, Int

SIZE = re.compile(r"(\D*)(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)([kKMBGT]?)(?![a-zA-Z])(.*)", re.DOTALL)
FACTORS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}


def sort_groups(
    keys: pl.DataFrame, group: Int[np.ndarray, "rows"], along: str | None = None
) -> tuple[pl.DataFrame, Int[np.ndarray, "rows"]]:
    """Return the keys in order, column by column, and the index of each row's group in them.

    Groups that have one value of the column ``along`` each are ordered by it alone.
    """
    if keys.height < 2:
        return keys, group
    columns = keys.columns
    others = [name for name in columns if name != along]
    if along in columns and (not others or keys.select(others).n_unique() == keys.height):
        columns = [along, *others]
    order = np.lexsort([_ranks(keys[name]) for name in reversed(columns)])
    place = np.empty(len(order), int)
    place[order] = np.arange(len(order))
    return keys[order.tolist()], place[group]


def _ranks(column: pl.Series) -> Float[np.ndarray, "groups"]:
    """Return numbers that order a column: its own, those in its text, or those of appearance."""
    if column.dtype.is_numeric():
        return column.cast(pl.Float64).to_numpy()
    words = [str(value) for value in column.to_list()]
    found = [SIZE.fullmatch(word) for word in words]
    sizes = [match for match in found if match is not None]
    if len(sizes) == len(words) and len({(m[1], m[4]) for m in sizes}) == 1:
        return np.array([float(match[2]) * FACTORS[match[3]] for match in sizes])
    first = {word: place for place, word in reversed(list(enumerate(words)))}
    return np.array([float(first[word]) for word in words])
