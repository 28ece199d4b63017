"""Problems as a user gives them: their names, their contents, and a digest that tells them from
others."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import polars as pl

from kleiber.arguments import refuse
from kleiber.errors import BadTable, shown
from kleiber.frames import as_frame
from kleiber.table import kind_of

ACCEPTED = "a mapping from names to problems, a table, or a list of problems"
ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")  # in the repr of an object; another in each process
LARGEST = 2**63 - 1  # a whole number that is a name


@dataclass(frozen=True)
class Problems:
    """Problems in their order: ``names`` is the column ``problem``, ``items`` what the functions of
    the user are called with."""

    names: pl.Series
    items: tuple[Any, ...]

    def digest(self) -> str:
        """Return a SHA-256 of the names and contents, the same in every process."""
        total = hashlib.sha256()
        for name, item in zip(self.names, self.items, strict=True):
            total.update(f"{_as_text(name)}\n{_as_text(item)}\n".encode())
        return total.hexdigest()


def read_problems(given: Any) -> Problems:
    """Return the problems of a mapping, of the rows of a table (named by its column ``problem``,
    else by their numbers from 0), or of a list (named by their numbers).

    A mapping with a key ``problem`` is a table, as everywhere in kleiber.

    Raises BadTable for names that are missing, occur twice or are neither text nor whole numbers,
    and BadArgument for what holds no problems.
    """
    if given is None or isinstance(given, str | bytes | set | frozenset):
        raise refuse("problems", ACCEPTED, cast("Any", given))
    if isinstance(given, Mapping) and "problem" not in given:  # else it is a table, by columns
        pairs = cast("Mapping[Any, Any]", given)
        return _problems(list(pairs), pairs.values())
    if isinstance(given, list | tuple):
        items = cast("list[Any] | tuple[Any, ...]", given)
        return _problems(list(range(len(items))), items)
    try:
        frame = as_frame(given)
    except BadTable:  # somebody's own list, such as a data set of another library
        if not (isinstance(given, Sized) and isinstance(given, Iterable)):
            raise refuse("problems", ACCEPTED, given) from None
        items = list(cast("Iterable[Any]", given))
        return _problems(list(range(len(items))), items)
    named = "problem" in frame.columns
    names = frame["problem"].to_list() if named else list(range(frame.height))
    if named and kind_of(frame["problem"]) == "numbers" and frame["problem"].dtype.is_float():
        names = [int(x) if x is not None and float(x).is_integer() else x for x in names]
    return _problems(names, frame.rows(named=True))


def _problems(names: list[Any], items: Iterable[Any]) -> Problems:
    """Check the names, and return them with the contents."""
    if not names:
        raise BadTable("There are no problems; give at least one.")
    plain: list[Any] = [item.item() if isinstance(item, np.generic) else item for item in names]
    texts = isinstance(plain[0], str)
    for item in plain:
        if not _is_name(item):
            raise BadTable(
                "The name of a problem must be text or a whole number of at most 64 bits, got "
                f"{shown(item)}."
            )
        if isinstance(item, str) != texts:
            raise BadTable(
                "The names of problems must be all text or all whole numbers, got "
                f"{shown(plain[0])} and {shown(item)}."
            )
    column = pl.Series("problem", plain, pl.String if texts else pl.Int64)
    if column.n_unique() < len(column):
        twice = column.filter(column.is_duplicated())[0]
        raise BadTable(f"The problem {shown(twice)} occurs twice; each needs a name of its own.")
    return Problems(column, tuple(items))


def _is_name(item: Any) -> bool:
    """Return whether a problem can have that name."""
    if isinstance(item, bool):
        return False
    return isinstance(item, str) or (isinstance(item, int) and -LARGEST - 1 <= item <= LARGEST)


def _as_text(item: Any) -> str:
    """Return what JSON can hold of a value, with the repr of everything else."""
    try:
        return json.dumps(item, sort_keys=True, default=_plain)
    except (TypeError, ValueError, RecursionError):  # keys that are no text, a loop
        return ADDRESS.sub("", repr(item))


def _plain(item: Any) -> Any:
    """Return a value that JSON cannot hold as one that it can."""
    if isinstance(item, np.ndarray | np.generic):
        return cast("Any", item).tolist()
    if isinstance(item, set | frozenset):  # their order differs between processes
        return sorted(_as_text(each) for each in cast("set[Any]", item))
    return ADDRESS.sub("", repr(item))
