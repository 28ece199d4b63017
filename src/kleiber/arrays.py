"""Arrays of numbers beside tables: NumPy files, and what functions check about a matrix."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float, Shaped

from kleiber.arguments import CONVERSION_ERRORS
from kleiber.errors import BadTable, listed, nearest, reason
from kleiber.formats import NPZ_FAILURES, check_content, load_npz, refuse_beyond_memory
from kleiber.text_tables import named

FORMATS: Mapping[str, str] = {".npz": "a zip archive", ".npy": "a single NumPy array (.npy)"}
Array = Shaped[np.ndarray, "..."]


def read_arrays(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read the arrays of an .npz file by their names, or that of an .npy file under the name of the
    file; pickled objects are refused unread. Raises BadTable."""
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix not in FORMATS:
        given = f"has the suffix {suffix!r}" if suffix else "has no suffix"
        raise BadTable(
            f"{named(file)} {given}; arrays are .npz or .npy files.{nearest(suffix, FORMATS)}"
        )
    try:
        check_content(file, suffix, FORMATS[suffix])
        return load_npz(file) if suffix == ".npz" else {file.stem: _load_npy(file)}
    except OSError as error:
        raise BadTable(f"Cannot read {named(file)}: {error.strerror or error}.") from error


def _load_npy(file: Path) -> Array:
    """Load an .npy file."""
    refuse_beyond_memory(file, file.stat().st_size)
    try:
        return np.asarray(np.load(file, allow_pickle=False))
    except NPZ_FAILURES as error:
        if "allow_pickle" in str(error):
            raise BadTable(
                f"{named(file)} holds Python objects, not an array of numbers."
            ) from error
        raise BadTable(f"{named(file)} is a damaged .npy file: {reason(error)}.") from error


def holds_matrix(value: object) -> bool:
    """Return whether a value is a mapping with an array of two or more axes, which no table has."""
    if not isinstance(value, Mapping):
        return False
    arrays = cast("Mapping[Any, Any]", value).values()
    return any(isinstance(item, np.ndarray) and item.ndim > 1 for item in arrays)


def check_names(arrays: Mapping[str, Any], wanted: Collection[str], accepted: str) -> None:
    """Raise BadTable unless all the arrays of the wanted names are there."""
    for name in wanted:
        if name not in arrays:
            there = listed(list(arrays)) or "none"
            raise BadTable(
                f"There is no array {name!r}; {accepted}, and there are {there}."
                f"{nearest(name, arrays)}"
            )


def check_matrix(
    name: str, value: Any, axes: str = "two axes", dims: Collection[int] = (2,)
) -> Float[np.ndarray, "..."]:
    """Check finite numbers with as many axes as `dims` allows, and at least one row and column."""
    try:
        array: Any = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise BadTable(f"The array {name!r} must hold numbers, got type {array.dtype}.")
        array = array.astype(float)
    except CONVERSION_ERRORS as error:
        if isinstance(error, BadTable):
            raise
        raise BadTable(f"The array {name!r} must hold numbers in rows of equal length.") from error
    if array.ndim not in dims or not array.size:
        raise BadTable(f"The array {name!r} must have {axes}, got shape {array.shape}.")
    if (wrong := ~np.isfinite(array)).any():
        place = ", ".join(str(at) for at in np.argwhere(wrong)[0])
        many = int(wrong.sum())
        raise BadTable(
            f"The array {name!r} must hold finite numbers; {many:,} of {array.size:,} are not, the "
            f"first at [{place}]."
        )
    return array
