"""Rows that are asked for on the command line: every combination of the values of each column."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kleiber.cli.options import read_number
from kleiber.errors import BadTable, listed, nearest

if TYPE_CHECKING:
    import polars as pl

POINTS = 1_000_000  # at most so many rows from --at


def cross_values(given: Mapping[str, str], variables: Sequence[str]) -> pl.DataFrame:
    """Build the rows that --at asks for: every combination of the values of each column."""
    import polars as pl

    for name in given:
        if name not in variables:
            raise BadTable(
                f"The law has no variable {name!r}; it has {listed(variables)}."
                f"{nearest(name, variables)}"
            )
    missing = [name for name in variables if name not in given]
    if missing:
        raise BadTable(f"The law needs {listed(missing)} too; give --at {missing[0]}=VALUE.")
    values = [[read_number(x, "at") for x in given[name].split(",")] for name in variables]
    if math.prod(map(len, values)) > POINTS:
        raise BadTable(f"--at makes more than {POINTS:,} rows; give fewer values, or --table.")
    rows = list(itertools.product(*values))
    return pl.DataFrame(rows, schema={name: pl.Float64 for name in variables}, orient="row")
