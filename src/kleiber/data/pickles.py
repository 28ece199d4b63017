"""A safe reader of pickles, which runs no code in them.

Only dictionaries, lists, tuples, text, numbers and arrays of numbers come out; bytes are taken for
Latin-1 text, as in the pickles of Python 2. The few names of NumPy that a pickled array asks for
are replaced by records that keep what the pickle says of it; the array is then built here, from
bytes whose count is right.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
import struct
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from kleiber.errors import BadTable, reason

NUMBERS = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")  # dtypes of which an array may be
OBJECTS = re.compile(r"\|?O8?")
ALLOWED = {  # what may be asked for, and what it makes
    ("_codecs", "encode"): "bytes",
    ("numpy", "ndarray"): "array",
    ("numpy", "dtype"): "dtype",
    ("numpy.core.multiarray", "_reconstruct"): "array",
    ("numpy._core.multiarray", "_reconstruct"): "array",
    ("numpy.core.numeric", "_frombuffer"): "whole",
    ("numpy._core.numeric", "_frombuffer"): "whole",
    ("numpy.core.multiarray", "scalar"): "scalar",
    ("numpy._core.multiarray", "scalar"): "scalar",
}
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


@dataclass
class _Kind:
    """A pickled dtype."""

    code: str

    def __setstate__(self, state: Any) -> None:
        order, parts = state[1], state[2:5]
        if any(part is not None for part in parts):
            raise pickle.UnpicklingError("it has an array of records")
        self.code = ("" if self.code[:1] in "<>|=" else _text(order)) + self.code


@dataclass
class _Array:
    """A pickled array, or a single number."""

    shape: Any = ()
    kind: Any = None
    columns_first: bool = False
    raw: Any = b""
    single: bool = False

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.kind, self.columns_first, self.raw = state


@dataclass(frozen=True)
class _Maker:
    """A stand-in for an allowed name, made anew each time so that a pickle cannot change it."""

    factory: str

    def __call__(self, *given: Any) -> Any:
        match self.factory, given:
            case "bytes", (str() as text, "latin1" | b"latin1"):
                return text.encode("latin1")
            case "dtype", (code, *_):
                return _Kind(_text(code))
            case "array", _:
                return _Array()
            case "scalar", (kind, raw):
                return _Array((), kind, False, raw, single=True)
            case "whole", (raw, kind, shape, order) | (raw, kind, shape, order, None):
                return _Array(tuple(shape), kind, _text(order) == "F", bytes(raw))
            case _:
                raise pickle.UnpicklingError(f"it calls for {self.factory} in an unknown way")


class _Reader(pickle.Unpickler):
    """The restricted Unpickler, the only class that must be inherited from the standard library."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return _Maker(ALLOWED[module_name, global_name])
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}") from None


def unpickle(content: bytes, name: str, what: str) -> Any:
    """Return the contents of a pickle as plain objects and arrays of numbers; a single array of one
    object becomes that object.

    ``name`` and ``what`` it should be are said in messages. Raises BadTable for anything else.
    """
    try:
        _check_memo_indices(content)
        return _Plain(len(content)).of(_Reader(io.BytesIO(content), encoding="bytes").load())
    except BROKEN as error:
        raise BadTable(f"{name} is not {what}: {reason(error)}.") from None


def _check_memo_indices(content: bytes) -> None:
    """Raise UnpicklingError for a memo index beyond the file's size, for which memory would be
    allocated."""
    for opcode, place, _ in pickletools.genops(content):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(place or 0) > len(content):
            raise pickle.UnpicklingError(f"it keeps something at place {place}")


@dataclass
class _Plain:
    """Converts pickled records to plain objects; ``items_left`` limits the items that it still
    converts."""

    items_left: int

    def of(self, item: Any) -> Any:
        self.items_left -= 1
        if self.items_left < 0:  # parts that refer to one another multiply
            raise pickle.UnpicklingError("it holds more items than bytes")
        match item:
            case _Array():
                return self._build(item)
            case dict():
                pairs = cast("dict[Any, Any]", item).items()
                return {self.of(key): self.of(value) for key, value in pairs}
            case list():
                return [self.of(each) for each in cast("list[Any]", item)]
            case tuple():
                return tuple([self.of(each) for each in cast("tuple[Any]", item)])
            case bytes():
                return _text(item)
            case None | bool() | int() | float() | str():
                return item
            case _:
                raise pickle.UnpicklingError("it holds something that is neither number nor text")

    def _build(self, item: _Array) -> Any:
        code = getattr(item.kind, "code", "")
        shape = cast("tuple[int, ...]", item.shape)
        whole = isinstance(item.shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
        if not whole:
            raise pickle.UnpicklingError("it has an array without a shape")
        count, raw = math.prod(shape), item.raw
        if OBJECTS.fullmatch(code) and isinstance(raw, list):
            return self._of_objects(cast("list[Any]", raw), shape)
        if not NUMBERS.fullmatch(code) or not isinstance(raw, bytes | bytearray):
            raise pickle.UnpicklingError(f"it has an array of {code[:20]!r}, not of numbers")
        dtype = np.dtype(code)
        if count * dtype.itemsize != len(raw):
            raise pickle.UnpicklingError(f"it has an array of shape {shape} in {len(raw)} bytes")
        order = "F" if item.columns_first else "C"
        built = np.frombuffer(raw, dtype=dtype).reshape(shape, order=order).copy(order)
        return built[()] if item.single else built

    def _of_objects(self, raw: list[Any], shape: tuple[int, ...]) -> Any:
        if len(raw) != math.prod(shape):
            raise pickle.UnpicklingError(f"it has an array of shape {shape} of {len(raw)} objects")
        if not shape:
            return self.of(raw[0])
        built = np.empty(len(raw), dtype=object)
        for k, each in enumerate(raw):
            built[k] = self.of(each)
        return built.reshape(shape)


def _text(item: Any) -> str:
    return item.decode("latin1") if isinstance(item, bytes) else str(item)
