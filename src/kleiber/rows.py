"""Row numbers in messages: those of the file, if they are known.

The command line adds the column ``file_row`` to the tables that it reads, so that a message about a
row after a filter still names the row that the user sees in the file.
"""

from __future__ import annotations

from typing import cast

import polars as pl

from kleiber.columns import FILE_ROW


def given_columns(table: pl.DataFrame) -> list[str]:
    """Return the columns of a table without the row numbers that kleiber has added."""
    return [name for name in table.columns if name != FILE_ROW]


def name_row(table: pl.DataFrame, index: int) -> str:
    """Return the name of a row in messages: its row in the file if that is known, else in the
    table."""
    if FILE_ROW in table.columns:
        return f"row {table[FILE_ROW][index]} of the file"
    return f"row {index + 1} of {table.height}"


def row_numbers(table: pl.DataFrame) -> list[int]:
    """Return the row numbers used in messages, as in ``name_row``."""
    if FILE_ROW in table.columns:
        return cast("list[int]", table[FILE_ROW].to_list())
    return list(range(1, table.height + 1))
