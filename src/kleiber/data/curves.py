"""Published curves: ``.npy`` files of one pickled dictionary, read without running any code in
them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np

from kleiber.data.pickles import unpickle
from kleiber.errors import BadTable, reason


def read_curves(path: Path) -> dict[str, Any]:
    """Return the dictionary of numbers and arrays in a ``.npy`` file of one object.

    Raises BadTable for any other file, OSError for one that cannot be read.
    """
    what = "a .npy file of one dictionary"
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise ValueError(f"its format is {version}")
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        except ValueError as error:
            raise BadTable(f"{path} is not {what}: {reason(error)}.") from None
        if dtype.kind != "O" or shape != ():
            raise BadTable(f"{path} is not {what}: it is an array of {dtype} of shape {shape}.")
        held = unpickle(file.read(), str(path), what)
    if not isinstance(held, dict):
        raise BadTable(f"{path} is not {what}: it holds no dictionary.")
    return {str(key): value for key, value in cast("dict[Any, Any]", held).items()}
