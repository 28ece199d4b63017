"""Reading spec files: TOML as fields that a store can keep."""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from kleiber.errors import BadExperiment, reason
from kleiber.files import check_regular_file

MAX_BYTES = 4_000_000  # of a spec file
MAX_DEPTH = 16  # tables within tables of a spec
LONG_NAME = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){64}""")
LARGEST = 2**63 - 1  # an integer of a column


def read_toml(source: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the fields of a TOML file.

    Raises BadExperiment with one sentence for what is no ordinary file of a reasonable size, no
    TOML, or holds what `check_fields` refuses.
    """
    path = Path(source)
    try:
        check_regular_file(path, MAX_BYTES)
        text = path.read_bytes().decode("utf-8-sig")
        if LONG_NAME.search(text):  # it takes tomllib minutes
            raise RecursionError
        fields = tomllib.loads(text)
    except OSError as error:
        raise BadExperiment(f"Cannot read {str(path)!r}: {error.strerror or error}.") from None
    except RecursionError:
        raise BadExperiment(f"{str(path)!r} is nested too deeply to be a spec.") from None
    except ValueError as error:  # no UTF-8, no TOML, an integer of thousands of digits
        raise BadExperiment(f"{str(path)!r} is not TOML: {reason(error)}.") from None
    try:
        check_fields(fields)
    except BadExperiment as error:
        raise BadExperiment(f"{path.name}: {error}") from None
    return fields


def check_fields(fields: Mapping[str, Any], max_fields: int | None = None) -> None:
    """Raise BadExperiment for a number that a column or JSON cannot hold, for deep nesting, and for
    more than `max_fields` fields."""
    count = len(fields)
    remaining: list[tuple[str, int, Any]] = [
        (str(name), 1, value) for name, value in fields.items()
    ]
    while remaining:
        if max_fields is not None and count > max_fields:
            raise BadExperiment(f"A spec has at most {max_fields} fields.")
        name, depth, value = remaining.pop()
        if value is None or isinstance(value, str | bool):
            continue
        if isinstance(value, Mapping | list | tuple):
            if depth > MAX_DEPTH:
                raise BadExperiment(f"{name[:80]}: a spec is nested at most {MAX_DEPTH} deep.")
            inner = cast("Mapping[Any, Any] | list[Any] | tuple[Any, ...]", value)
            if isinstance(inner, Mapping):
                count += len(inner)
                remaining += [(f"{name}.{key}", depth + 1, item) for key, item in inner.items()]
            else:
                remaining += [(name, depth + 1, item) for item in inner]
        elif isinstance(value, int) and not -LARGEST - 1 <= value <= LARGEST:
            raise BadExperiment(
                f"{name}: an integer has at most 64 bits, {-LARGEST - 1} to {LARGEST}, got one of "
                f"{value.bit_length() + 1} bits."
            )
        elif isinstance(value, float) and not math.isfinite(value):
            raise BadExperiment(f"{name}: a finite number is needed, got {value}.")
