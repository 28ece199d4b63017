"""Pickled CIFAR batches read without running anything a pickle may ask for.

Only dictionaries, lists, text, bytes, whole numbers and arrays of bytes come out. NumPy's classes
are replaced by records that keep what a pickle says of an array; the array is then built by us.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from jaxtyping import UInt8

from kleiber.errors import BadTable


@dataclass
class _Kind:
    """What a pickle says of a dtype."""

    code: str

    def __setstate__(self, state: object) -> None:
        pass  # byte order and the like, which single bytes do not have


@dataclass
class _Array:
    """What a pickle says of an array."""

    shape: tuple[int, ...] = ()
    kind: _Kind = field(default_factory=lambda: _Kind(""))
    columns_first: bool = False
    raw: Any = b""

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.kind, self.columns_first, self.raw = state


def _dtype(code: Any, *_: object) -> _Kind:
    return _Kind(_text(code))


def _empty(*_: object) -> _Array:
    return _Array()


def _whole(raw: Any, kind: Any, shape: Any, order: Any) -> _Array:
    return _Array(tuple(shape), kind, _text(order) == "F", bytes(raw))


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes are spelt in {encoding!r}")
    return str(text).encode("latin1")


BROKEN = (  # what a pickle that is damaged, or no pickle, may lead to
    pickle.UnpicklingError,
    EOFError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)
ALLOWED: Mapping[tuple[str, str], Any] = {
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _dtype,
    ("numpy.core.multiarray", "_reconstruct"): _empty,
    ("numpy._core.multiarray", "_reconstruct"): _empty,
    ("numpy.core.numeric", "_frombuffer"): _whole,
    ("numpy._core.numeric", "_frombuffer"): _whole,
}


class _Reader(pickle.Unpickler):
    """The one class of the standard library that has to be inherited from to be restricted."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}") from None


def read_batch(content: bytes, name: str) -> dict[str, Any]:
    """The dictionary of a pickled batch, with text for names and uint8 arrays.

    ``name`` is said in messages. Raises BadTable for anything that a batch does not hold.
    """
    try:
        given = _Reader(io.BytesIO(content), encoding="bytes").load()
    except BROKEN as error:
        raise BadTable(
            f"{name} is not a batch of CIFAR: {error or type(error).__name__}."
        ) from None
    if not isinstance(given, dict):
        raise BadTable(f"{name} is not a batch of CIFAR: it holds no dictionary.")
    items = cast("dict[Any, Any]", given)
    return {_text(key): _plain(value, name) for key, value in items.items()}


def _text(item: Any) -> str:
    return item.decode("latin1") if isinstance(item, bytes) else str(item)


def _plain(item: Any, name: str) -> Any:
    if isinstance(item, _Array):
        return _built(item, name)
    if isinstance(item, list):
        return [_plain(each, name) for each in cast("list[Any]", item)]
    return _text(item) if isinstance(item, bytes) else item


def _built(item: _Array, name: str) -> UInt8[np.ndarray, "..."]:
    code = getattr(item.kind, "code", "")
    if code not in ("u1", "|u1", "uint8", "B"):
        raise BadTable(f"{name} holds an array of {code!r}, not of single bytes.")
    shape: Any = item.shape
    counted = isinstance(shape, tuple) and all(type(n) is int for n in cast("tuple[Any]", shape))
    if not (counted and isinstance(item.raw, bytes | bytearray)):
        raise BadTable(f"{name} holds an array without shape or bytes.")
    if min(item.shape, default=0) < 0 or math.prod(item.shape) != len(item.raw):
        raise BadTable(f"{name} holds an array of shape {item.shape} with {len(item.raw)} bytes.")
    flat = np.frombuffer(item.raw, dtype=np.uint8)
    return flat.reshape(item.shape, order="F" if item.columns_first else "C").copy()
