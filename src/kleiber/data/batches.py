"""CIFAR batches: pickles that are read without running any code in them."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from kleiber.data.pickles import unpickle
from kleiber.errors import BadTable


def read_batch(content: bytes, name: str) -> dict[str, Any]:
    """Return the dictionary of a pickled batch, with text for names and uint8 arrays.

    ``name`` is said in messages. Raises BadTable for anything that a batch does not hold.
    """
    given = unpickle(content, name, "a batch of CIFAR")
    if not isinstance(given, dict):
        raise BadTable(f"{name} is not a batch of CIFAR: it holds no dictionary.")
    items = cast("dict[Any, Any]", given)
    for value in items.values():
        kind = cast("np.ndarray", value).dtype if isinstance(value, np.ndarray) else np.uint8
        if kind != np.uint8:
            raise BadTable(f"{name} holds an array of {kind}, not of single bytes.")
    return {str(key): value for key, value in items.items()}
