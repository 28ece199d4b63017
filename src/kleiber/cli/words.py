"""Text of the command line as arguments of a function or fields of a record, by their types."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from kleiber.errors import BadTable, listed, nearest

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float


POINTS = 1_000_000  # at most so many values of one column
WHOLE = frozenset(
    {"examples", "attempts", "steps", "parameters", "tokens", "units", "layers", "modes"}
)


def parameters_of(target: Callable[..., Any], skip: int = 0) -> dict[str, Any]:
    """Return the parameters of a function or record after the first ``skip``, with their types (Any
    without an annotation)."""
    hints = get_type_hints(target)
    names = list(inspect.signature(target).parameters)[skip:]
    return {name: hints.get(name, Any) for name in names}


def read_arguments(
    given: Mapping[str, str], known: Mapping[str, Any], owner: str
) -> dict[str, Any]:
    """Convert each text to its parameter's type (BadTable for an unknown parameter)."""
    for name in given:
        if name not in known:
            raise BadTable(
                f"{owner} has no parameter {name!r}.{nearest(name, known)} "
                f"It has {listed(known, 20)}."
            )
    return {name: read_value(text, known[name], name) for name, text in given.items()}


def read_value(text: str, hint: Any, name: str) -> Any:
    """Convert a text to a value of a type: number, text, truth, choice, list, or one of several."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _read_any(text, inner, name)
    if origin is Literal:
        if text not in inner:
            raise BadTable(
                f"{name} is one of {', '.join(map(str, inner))}, got {text!r}."
                f"{nearest(text, map(str, inner))}"
            )
        return text
    if hint is type(None):
        if text.casefold() != "none":
            raise BadTable(f"{name} takes none, got {text!r}.")
        return None
    if hint is bool:
        truths = {"true": True, "yes": True, "false": False, "no": False}
        if text.casefold() not in truths:
            raise BadTable(f"{name} takes true or false, got {text!r}.")
        return truths[text.casefold()]
    if hint in (int, float):
        return _read_number(text, hint, name)
    if hint is str:
        return text
    if origin in (list, tuple, Sequence) or (origin and issubclass(origin, Sequence)):
        return [read_value(item.strip(), inner[0], name) for item in text.split(",")]
    return _read_freely(text)


def _read_any(text: str, hints: Sequence[Any], name: str) -> Any:
    """Convert to the first type that fits; text is the last resort, and a list needs a comma."""
    order = sorted(hints, key=lambda hint: 2 * ("," not in text and _is_list(hint)) + (hint is str))
    refusal: BadTable | None = None
    for hint in order:
        try:
            return read_value(text, hint, name)
        except BadTable as error:
            refusal = refusal or error
    raise refusal or BadTable(f"{name} cannot be read from {text!r}")


def _is_list(hint: Any) -> bool:
    return get_origin(hint) is not None and get_origin(hint) is not Literal


def _read_number(text: str, kind: type, name: str) -> int | float:
    try:
        value = float(text)
    except ValueError:
        raise BadTable(f"{name} takes a number, got {text!r}.") from None
    if kind is not int:
        return value
    if not value.is_integer():
        raise BadTable(f"{name} takes a whole number, got {text!r}.")
    return int(value)


def _read_freely(text: str) -> Any:
    """Convert to a number or a list of numbers if possible, else keep the text."""
    parts = text.split(",")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        return text
    return values if len(parts) > 1 else values[0]


def read_grid(
    items: Sequence[str], option: str = "--over"
) -> dict[str, Float[np.ndarray, "points"]]:
    """Read columns and their values from column=low:high:points (evenly spaced logarithms) and
    column=a,b,c; columns that count something are rounded to distinct whole numbers."""
    import numpy as np

    from kleiber.columns import COLUMNS

    grid: dict[str, Float[np.ndarray, "points"]] = {}
    for item in items:
        name, equals, text = (part.strip() for part in item.partition("="))
        if not (name and equals and text):
            raise BadTable(
                f"{option} takes COLUMN=LOW:HIGH:POINTS or COLUMN=A,B,..., got {item!r}."
            )
        if name in grid:
            raise BadTable(f"{option} names {name!r} twice.")
        values = _spaced(text, item, option) if ":" in text else _listed(text, name)
        if name in COLUMNS and COLUMNS[name].unit in WHOLE:
            values = np.unique(np.round(values)) if ":" in text else _whole(values, name)
        grid[name] = values
    return grid


def _spaced(text: str, item: str, option: str) -> Float[np.ndarray, "points"]:
    import numpy as np

    parts = text.split(":")
    if len(parts) != 3:
        raise BadTable(f"{option} takes COLUMN=LOW:HIGH:POINTS, got {item!r}.")
    low, high = (_read_number(part, float, f"{option} {item!r}") for part in parts[:2])
    points = _read_number(parts[2], int, f"the number of points in {option} {item!r}")
    if not (0 < low <= high < np.inf and 1 <= points <= POINTS):
        raise BadTable(f"{option} needs 0 < LOW <= HIGH and 1 to {POINTS} points, got {item!r}.")
    return np.geomspace(low, high, int(points)) if points > 1 else np.array([low], dtype=float)


def _listed(text: str, name: str) -> Float[np.ndarray, "points"]:
    import numpy as np

    return np.array([_read_number(part, float, name) for part in text.split(",")], dtype=float)


def _whole(values: Float[np.ndarray, "points"], name: str) -> Float[np.ndarray, "points"]:
    import numpy as np

    from kleiber.columns import COLUMNS

    wrong = values[~np.isinf(values) & (values != np.round(values))]  # infinite sizes are limits
    if len(wrong):
        raise BadTable(f"{name} counts {COLUMNS[name].unit}, so it is whole; got {wrong[0]:g}.")
    return values
