"""Conversion of frozen records to JSON values and back, with one rule for numbers, arrays and
intervals.

A record is an object of its fields, an array nested lists, a table an object of columns. JSON has
no NaN, which becomes null, and no infinity: output for other programs has null there too, and saved
documents have "inf" or "-inf", so that it can be read back.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import os
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, cast, get_args, get_origin

import jaxtyping
import numpy as np
import polars as pl

from kleiber.arguments import check_path
from kleiber.errors import BadTable, listed, reason, shown
from kleiber.files import check_regular_file, write_atomically

MAX_BYTES = 2**30  # bytes of a document
INFINITIES = {"inf": math.inf, "-inf": -math.inf}
WORDS: Mapping[Any, str] = {  # what an entry holds, as a message says it
    float: "a number", int: "a whole number", str: "text", bool: "true or false"
}  # fmt: skip


def write_document(document: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a document as JSON, atomically."""
    text = json.dumps(document, indent=1, allow_nan=False)
    with write_atomically(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_document(path: str | os.PathLike[str], what: str, command: str) -> Any:
    """Read the JSON of a file that ``write_document`` wrote. Raises BadTable, which says that the
    file is not ``what``, and how such a file is made."""
    check_path("path", path, f"the path of {what}")
    try:
        check_regular_file(path, MAX_BYTES)
        return json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise BadTable(f"There is no file {shown(str(path), 200)}; {command}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadTable(f"The file {shown(path, 200)} is not {what}: {reason(error)}.") from None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"it holds {name}, which JSON does not have")


def as_plain(item: Any, *, keep_infinities: bool = False) -> Any:
    """Convert records, mappings, arrays, tables and numbers to JSON values.

    With ``keep_infinities`` an infinity becomes "inf" or "-inf" and can be read back; without, it
    becomes null.
    """

    def again(value: Any) -> Any:
        return as_plain(value, keep_infinities=keep_infinities)

    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        names = [field.name for field in dataclasses.fields(item)]
        return {name: again(getattr(item, name)) for name in names}
    if isinstance(item, Mapping):
        return {str(key): again(x) for key, x in cast("Mapping[Any, Any]", item).items()}
    if isinstance(item, pl.DataFrame):
        return {name: again(item[name].to_list()) for name in item.columns}
    if isinstance(item, tuple) and hasattr(cast("Any", item), "_asdict"):
        return again(cast("Any", item)._asdict())
    if isinstance(item, np.ndarray | np.generic):
        array = cast("Any", item)
        kind = array.dtype.kind
        plain = kind in "biu" or (kind == "f" and np.isfinite(array).all())
        return array.tolist() if plain else again(array.tolist())
    if isinstance(item, list | tuple | set | frozenset):
        return [again(x) for x in cast("Sequence[Any]", item)]
    if isinstance(item, enum.Enum):
        return item.value
    if isinstance(item, float) and not math.isfinite(item):
        return str(item) if keep_infinities and not math.isnan(item) else None
    return item


def plain_estimate(found: Any) -> dict[str, float | None]:
    """Return the value and the interval of an estimate, null where one is unknown."""
    return {name: plain_number(getattr(found, name)) for name in ("value", "low", "high")}


def plain_number(value: float) -> float | None:
    """Return a number, or None if it is not finite."""
    return float(value) if math.isfinite(value) else None


def from_plain(kind: Any, given: Any, *, at: str = "it") -> Any:
    """Convert JSON values written by ``as_plain`` back to the record, or whatever type ``kind`` is.

    ``at`` says where in the document the value is. Raises BadTable for anything else.
    """
    try:
        return _convert(kind, given, at)
    except (TypeError, ValueError, OverflowError, LookupError) as error:
        if isinstance(error, BadTable):
            raise
        raise _make_error(kind, given, at) from error


def _convert(kind: Any, given: Any, at: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)

    def again(part: Any, value: Any, place: object) -> Any:
        return from_plain(part, value, at=f"{at}.{place}")

    if kind is Any or kind is object:
        return given
    if origin is typing.Annotated:
        return from_plain(inner[0], given, at=at)
    if origin in (Union, types.UnionType):
        return _any_of(inner, given, at)
    if origin is Literal:
        return _require(given, given in inner, kind, at)
    if _is_array(kind):
        return _array(kind, given, at)
    if origin is not None and issubclass(origin, Mapping):
        items = _require(given, isinstance(given, dict), kind, at).items()
        return {key: again(inner[1], value, key) for key, value in items}
    if origin is tuple:
        _require(given, isinstance(given, list), kind, at)
        kinds = [inner[0]] * len(given) if inner[-1] is Ellipsis else inner
        _require(given, len(kinds) == len(given), kind, at)
        return tuple(
            again(part, x, k) for k, (part, x) in enumerate(zip(kinds, given, strict=True))
        )
    if origin is not None and issubclass(origin, Sequence):
        _require(given, isinstance(given, list), kind, at)
        return [again(inner[0], x, k) for k, x in enumerate(given)]
    if dataclasses.is_dataclass(kind) or hasattr(kind, "_fields"):
        return _record(kind, given, at)
    return _single(kind, given, at)


def _single(kind: Any, given: Any, at: str) -> Any:
    """Convert a number, text, truth value, table or member of an enumeration."""
    if kind is float:
        number = isinstance(given, int | float) and not isinstance(given, bool)
        _require(given, number or given is None or str(given) in INFINITIES, kind, at)
        return math.nan if given is None else INFINITIES.get(str(given), given) * 1.0
    if kind is pl.DataFrame:
        return pl.DataFrame(_require(given, isinstance(given, dict), kind, at))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(given)
    if kind in (None, type(None)):
        return _require(given, given is None, kind, at)
    exact = isinstance(given, kind) and (kind is bool or not isinstance(given, bool))
    return _require(given, exact, kind, at)


def _record(kind: Any, given: Any, at: str) -> Any:
    """Convert a dataclass or named tuple; fields that the document lacks have their defaults."""
    _require(given, isinstance(given, dict), kind, at)
    hints = typing.get_type_hints(kind, include_extras=True)
    fields: Any = getattr(kind, "__dataclass_fields__", {})
    names = [name for name in fields if fields[name].init] or list(kind.__annotations__)
    strange = [name for name in given if name not in names]
    if strange:
        raise BadTable(
            f"The entry {at} has a field {shown(strange[0])}; the fields of {kind.__name__} are "
            f"{listed(names, 20)}."
        )
    return kind(
        **{
            name: from_plain(hints[name], given[name], at=f"{at}.{name}")
            for name in names
            if name in given
        }
    )


def _any_of(kinds: Sequence[Any], given: Any, at: str) -> Any:
    """Convert to the first of several types that accepts the value; null is None where that is one
    of them."""
    if given is None and type(None) in kinds:
        return None
    fault: BadTable | None = None
    for kind in (kind for kind in kinds if kind is not type(None)):
        try:
            return from_plain(kind, given, at=at)
        except BadTable as error:
            fault = error
    assert fault is not None
    raise fault


def _is_array(kind: Any) -> bool:
    return isinstance(kind, type) and (
        issubclass(kind, jaxtyping.AbstractArray) or kind is np.ndarray
    )


def _array(kind: Any, given: Any, at: str) -> np.ndarray:
    """Convert to an array of the number type in its annotation."""
    words = set(map(str, getattr(kind, "dtypes", None) or ()))
    of = bool if "bool" in words else np.int64 if "int64" in words else float
    return np.array(_require(given, isinstance(given, list), kind, at), dtype=of)


def _require(given: Any, good: bool, kind: Any, at: str) -> Any:
    if not good:
        raise _make_error(kind, given, at)
    return given


def _make_error(kind: Any, given: Any, at: str) -> BadTable:
    origin, inner = get_origin(kind), get_args(kind)
    if kind in WORDS:
        what = WORDS[kind]
    elif origin is Literal:
        what = f"one of {', '.join(map(repr, inner))}"
    elif isinstance(kind, type) and issubclass(kind, enum.Enum):
        what = f"one of {', '.join(repr(item.value) for item in kind)}"
    elif _is_array(kind) or (origin is not None and not issubclass(origin, Mapping)):
        what = "a list"
    else:
        what = f"the fields of {kind.__name__}" if isinstance(kind, type) else "values by name"
    return BadTable(f"The entry {at} must hold {what}, but holds {shown(given)}.")
