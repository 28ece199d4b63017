"""What messages call the rows of a table: their numbers in the file, where those are known.

The command line adds the column ``file_row`` to what it reads, so that a message about a row that
is left after a filter still names the row that the user sees in the file.
"""

from __future__ import annotations

from typing import cast

import polars as pl

from kleiber.columns import FILE_ROW


def given_columns(table: pl.DataFrame) -> list[str]:
    """The columns of a table but for the numbers of its rows, which kleiber has added."""
    return [name for name in table.columns if name != FILE_ROW]


def name_row(table: pl.DataFrame, index: int) -> str:
    """Where a value stands: its row in the file where that is known, else among the rows here."""
    if FILE_ROW in table.columns:
        return f"row {table[FILE_ROW][index]} of the file"
    return f"row {index + 1} of {table.height}"


def row_numbers(table: pl.DataFrame) -> list[int]:
    """The numbers by which messages call the rows of a table, as in ``name_row``."""
    if FILE_ROW in table.columns:
        return cast("list[int]", table[FILE_ROW].to_list())
    return list(range(1, table.height + 1))
