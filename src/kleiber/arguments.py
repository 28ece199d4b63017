"""Checks of the arguments of public functions, with messages that say what was given and what is
accepted.

Each check takes the name of the argument and its value, and returns the value as the function uses
it. A wrong type raises BadArgument and a wrong value the given `error`, both in one sentence.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from numbers import Integral, Real
from typing import Any, TypeVar, cast

import numpy as np
from jaxtyping import Float

from kleiber.errors import BadArgument, listed, nearest, shown

T = TypeVar("T")
MAX_COUNT = 10**18  # of what is counted
MEMORY_SHARE = 0.8  # of the machine's memory that one call may ask for
CONVERSION_ERRORS = (TypeError, ValueError, OverflowError)


def refuse(
    name: str, accepted: str, value: object, error: type[ValueError] = ValueError
) -> ValueError:
    """Make the error for a wrong argument: BadArgument, unless the function has an error of its
    own."""
    kind = BadArgument if error is ValueError else error
    return kind(f"The value of {name} must be {accepted}, got {shown(value)}.")


def check_number(
    name: str,
    value: Any,
    accepted: str = "a finite number",
    *,
    low: float = -math.inf,
    high: float = math.inf,
    above: float = -math.inf,
    allow_infinite: bool = False,
    error: type[ValueError] = ValueError,
) -> float:
    """Check a real number from `low` (and above `above`) to `high`; infinities only if
    `allow_infinite`."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise refuse(name, accepted, cast("Any", value), error)
    try:
        number = float(value)
    except OverflowError:  # a whole number that no float holds
        number = math.nan
    good = low <= number <= high and (number > above or above == -math.inf)
    if not good or (math.isinf(number) and not allow_infinite):
        raise error(f"The value of {name} must be {accepted}, got {shown(value)}.")
    return number


def check_whole(
    name: str,
    value: Any,
    low: int = 0,
    high: int | None = None,
    *,
    accepted: str = "",
    error: type[ValueError] = ValueError,
) -> int:
    """Check a whole number from `low` to `high`, which may also be written as a float."""
    if not accepted:
        accepted = f"a whole number from {low}" + (f" to {high:,}" if high is not None else "")
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise refuse(name, accepted, cast("Any", value), error)
    whole = isinstance(value, Integral) or (math.isfinite(value) and float(value).is_integer())
    number = int(cast("Any", value)) if whole else -1
    if not whole or number < low or (high is not None and number > high):
        raise error(f"The value of {name} must be {accepted}, got {shown(cast('Any', value))}.")
    if number > MAX_COUNT and high is None and name != "seed":
        raise error(f"The value of {name} may be at most {MAX_COUNT:.0e}, got {shown(number)}.")
    return number


def check_level(level: Any, *, error: type[ValueError] = ValueError) -> float:
    """Check the level of an interval, strictly between 0 and 1."""
    value = check_number(
        "level", level, "a share between 0 and 1", allow_infinite=True, error=error
    )
    if not 0 < value < 1:
        hint = f"; write {value / 100:g} for {value:g}%" if 1 < value < 100 else ""
        raise error(f"The level must lie between 0 and 1, got {shown(level)}{hint}.")
    return value


def check_text(name: str, value: Any, accepted: str = "text") -> str:
    """Check a text."""
    if not isinstance(value, str):
        raise refuse(name, accepted, value)
    return value


def check_texts(name: str, value: Any, accepted: str = "a name or a list of names") -> list[str]:
    """Check one text or several, and return a list."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, Iterable) or isinstance(value, bytes | Mapping):
        raise refuse(name, accepted, cast("Any", value))
    items = list(cast("Iterable[Any]", value))
    if not all(isinstance(item, str) for item in items):
        raise refuse(name, accepted, items)
    return items


def check_column(name: str, value: Any) -> str:
    """Check the name of a column."""
    return check_text(name, value, "the name of a column")


def check_columns(name: str, value: Any) -> list[str]:
    """Check the names of columns (one, several, or None) and return a list."""
    accepted = "the name of a column or a list of them"
    return [] if value is None else check_texts(name, value, accepted)


def check_choice(
    name: str, value: Any, known: Collection[str], *, error: type[ValueError] = ValueError
) -> str:
    """Check that a text is one of the known ones."""
    accepted = f"one of {', '.join(known)}"
    if not isinstance(value, str):
        raise refuse(name, accepted, value, error)
    if value not in known:
        hint = nearest(value[:80], known)
        raise error(f"The value of {name} must be {accepted}, got {shown(value)}.{hint}")
    return value


def check_flag(name: str, value: Any) -> bool:
    """Check a truth value."""
    if not isinstance(value, bool | np.bool_):
        raise refuse(name, "True or False", value)
    return bool(cast("Any", value))


def check_mapping(name: str, value: Any, accepted: str) -> dict[str, Any]:
    """Check a mapping from names and return it as a dict; None is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise refuse(name, accepted, value)
    made = dict(cast("Mapping[Any, Any]", value))
    if not all(isinstance(key, str) for key in made):
        raise refuse(name, accepted, made)
    return made


def check_call(name: str, value: Any, accepted: str = "a function") -> Callable[..., Any]:
    """Check a function or another callable."""
    if not callable(value):
        raise refuse(name, accepted, value)
    return value


def check_record(name: str, value: Any, kind: type[T], accepted: str) -> T:
    """Check an instance of the given class."""
    if not isinstance(value, kind):
        raise refuse(name, accepted, value)
    return value


def check_path(name: str, value: Any, accepted: str = "the path of a file") -> str:
    """Check a path, as text or a Path, and return it as text."""
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise refuse(name, accepted, cast("Any", value))
    return os.fspath(cast("str | os.PathLike[str]", value))


def check_array(
    name: str,
    value: Any,
    accepted: str = "a finite number or a list of them",
    *,
    low: float = -math.inf,
    above: float = -math.inf,
    error: type[ValueError] = ValueError,
) -> Float[np.ndarray, "values"]:
    """Check finite numbers, one or several, from `low` and above `above`, and return them as one
    row."""
    kind = np.asarray(value, dtype=None if _is_regular(value) else object).dtype.kind
    if kind not in "iufO" or isinstance(value, str | bytes | Mapping) or value is None:
        raise refuse(name, accepted, cast("Any", value), error)
    try:
        array = np.atleast_1d(np.asarray(value, dtype=float))
    except CONVERSION_ERRORS as fault:
        raise refuse(name, accepted, value, error) from fault
    inside = np.isfinite(array) & (array >= low) & ((array > above) | (above == -math.inf))
    if array.ndim > 1 or not array.size or not inside.all() or None in np.atleast_1d(value):
        raise error(f"The value of {name} must be {accepted}, got {shown(value)}.")
    return array


def _is_regular(value: Any) -> bool:
    """Return whether NumPy can make an array of a value without an error."""
    try:
        np.asarray(value)
    except CONVERSION_ERRORS:
        return False
    return True


def check_memory(what: str, size: float, advice: str = "ask for less") -> None:
    """Raise ValueError if the given number of bytes exceeds this machine's memory."""
    if size > MEMORY_SHARE * (memory := machine_memory()):
        raise ValueError(
            f"The memory for {what} would be {_format_bytes(size)}, and this machine has "
            f"{_format_bytes(memory)}: {advice}."
        )


def machine_memory() -> float:
    """Return the bytes of this machine's physical memory; infinite if unknown."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):  # no such call, as on Windows
        return math.inf


def _format_bytes(size: float) -> str:
    return f"{size / 2**30:.3g} GiB" if size < 1e15 else "far more than 900 TiB"


def check_options(verb: str, given: Collection[str], known: Collection[str]) -> None:
    """Raise BadArgument for an unknown keyword of a function, with the nearest known one."""
    for name in given:
        if name not in known:
            raise BadArgument(
                f"The verb {verb} has no keyword {shown(name)}; it has {listed(known, 20)}."
                f"{nearest(name, known)}"
            )
