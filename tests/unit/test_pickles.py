"""Pickles of others run nothing: what they hold is read, or refused in one sentence."""

from __future__ import annotations

import io
import os
import pickle
import re
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kleiber.data.batches import read_batch
from kleiber.data.curves import read_curves
from kleiber.data.pickles import unpickle
from kleiber.errors import BadTable

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
BYTES = np.dtype("u1")
RECONSTRUCT: Any = np.empty(0).__reduce__()[0]
Door = Callable[[bytes, Path], Any]


def batch(content: bytes, folder: Path) -> Any:
    """The door of CIFAR's batches."""
    return read_batch(content, "a file")


def curves(content: bytes, folder: Path) -> Any:
    """The door of published curves: the same behind the header of a .npy file."""
    header = io.BytesIO()
    about = {"descr": "|O", "fortran_order": False, "shape": ()}
    np.lib.format.write_array_header_1_0(header, about)
    (folder / "a file.npy").write_bytes(header.getvalue() + content)
    return read_curves(folder / "a file.npy")


DOORS = pytest.mark.parametrize("door", [batch, curves])


class Hostile:
    """Pickles to a call of any function, and may change what that gives."""

    def __init__(self, function: Callable[..., Any], *given: object, state: object = None) -> None:
        self.call = (function, given) if state is None else (function, given, state)

    def __reduce__(self) -> Any:
        return self.call


def refused(door: Door, content: bytes, folder: Path) -> str:
    """The one sentence with which a pickle is refused."""
    with pytest.raises(BadTable) as caught:
        door(content, folder)
    message = str(caught.value)
    assert "a file" in message
    assert "\n" not in message
    assert message.endswith(".")
    assert len(message) < 600
    return message


@DOORS
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pickle_runs_nothing(door: Door, protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    hostile = {
        "system": Hostile(os.system, f"touch {mark}"),
        "builtin": Hostile(eval, f"open({str(mark)!r}, 'w')"),
        "path": Hostile(Path.touch, mark),
        "getattr": Hostile(getattr, Hostile(getattr, "numpy", "strip"), "__self__"),
        "load": Hostile(np.load, str(mark), None, True),
        "bytes": Hostile(bytearray, 10),
    }
    for item in hostile.values():
        message = refused(door, pickle.dumps({"data": item}, protocol), tmp_path)
        assert "it asks for" in message
    assert not mark.exists()


@DOORS
@pytest.mark.parametrize(
    "name", ["os system", "builtins eval", "numpy core.multiarray", "numpy ndarray.tofile",
             "numpy.core.multiarray scalar.__class__", "numpy.lib format", "numpy dtype.__new__"],
)  # fmt: skip
def test_dotted_and_nested_names_are_refused(door: Door, name: str, tmp_path: Path) -> None:
    module, attribute = name.split(" ")
    short = struct.pack("<B", len(module)), struct.pack("<B", len(attribute))
    content = (
        b"\x80\x04\x8c" + short[0] + module.encode() + b"\x8c" + short[1] + attribute.encode()
        + b"\x93."
    )  # fmt: skip
    assert f"it asks for {module}.{attribute}" in refused(door, content, tmp_path)


@DOORS
@pytest.mark.parametrize(
    "array",
    [
        np.zeros(2, dtype=[("a", "f8"), ("b", "i4")]),
        np.array(["text", "more"]),
        np.array([b"text", b"more"]),
        np.zeros(3, dtype="V8"),
        np.zeros(3, dtype="datetime64[s]"),
        np.zeros(3, dtype=complex),
        np.ma.masked_array([1.0, 2.0], [True, False]),
        np.rec.array([(1.0, 2)], dtype=[("a", "f8"), ("b", "i4")]),
    ],
    ids=lambda array: str(array.dtype),
)
def test_arrays_of_other_things_are_refused(door: Door, array: Any, tmp_path: Path) -> None:
    for protocol in PROTOCOLS:
        refused(door, pickle.dumps({"data": array}, protocol), tmp_path)


def stated(state: object, *made: object) -> bytes:
    """A dictionary with an array of which a pickle says this."""
    array = Hostile(RECONSTRUCT, np.ndarray, (0,), b"b", state=state)
    return pickle.dumps({"data": array, **{f"more {k}": each for k, each in enumerate(made)}}, 2)


@DOORS
@pytest.mark.parametrize(
    "state",
    [
        (1, (10**12,), BYTES, False, b"x"),
        (1, (-1,), BYTES, False, b"x"),
        (1, (1,), np.dtype("f8"), False, b"x"),
        (1, (1,), np.dtype("O"), False, b"01234567"),
        (1, (2**62, 0), BYTES, False, b""),
        (1, (1,) * 100, BYTES, False, b"x"),
        (1, (1.0,), BYTES, False, b"x"),
        (1, (True,), BYTES, False, b"x"),
        (1, None, BYTES, False, b"x"),
        (1, (1,), "u1", False, b"x"),
        (1, (1,), BYTES, False, "x"),
        (1, (1,), BYTES, False, None),
        (1, (3,), np.dtype("O"), False, [1]),
        (1, (1,), Hostile(np.dtype, "u1", state=(3, "|", ("u1", (9,)), None, None, -1, -1, 0)),
         False, b"x"),
        (1, (1,), Hostile(np.dtype, "V1000000000"), False, b"x"),
        (1, (1,), Hostile(np.dtype, "u1,u1"), False, b"xx"),
        (1, (1,), BYTES, False),
        {"__class__": "array"},
    ],
    ids=lambda state: re.sub(" at 0x[0-9a-f]+", "", str(state)),  # the same in every process
)  # fmt: skip
def test_what_a_pickle_says_of_an_array_is_checked(door: Door, state: Any, tmp_path: Path) -> None:
    refused(door, stated(state), tmp_path)


STATES = [{"makes": "scalar"}, (None, {"makes": "scalar"}), (None, {"__class__": 1})]


@DOORS
@pytest.mark.parametrize("function", ["_codecs encode", "numpy dtype", "numpy ndarray"])
@pytest.mark.parametrize(
    "state", [{"makes": "scalar"}, (None, {"makes": "scalar"}), (None, {"__class__": 1})]
)
def test_a_pickle_changes_no_function(
    door: Door, function: str, state: Any, tmp_path: Path
) -> None:
    module, name = function.split(" ")
    inner = pickle.dumps(state, 2)[2:-1]
    content = b"\x80\x02c" + f"{module}\n{name}\n".encode() + inner + b"b."
    refused(door, content, tmp_path)
    array = np.arange(4, dtype=np.uint8)
    held = pickle.dumps({"data": array, "text": b"x"}, 2)
    assert np.array_equal(door(held, tmp_path)["data"], array)


@DOORS
@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02]r\xff\xff\xff\x7f.",  # LONG_BINPUT
        b"]p2147483647\n.",  # PUT
        b"\x80\x04\x8e\xff\xff\xff\xff\x00\x00\x00\x00x.",  # BINBYTES8
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x00].",  # FRAME
        b"\x80\x02\x8b\xff\xff\xff\x7f1.",  # LONG4
    ],
    ids=["memo", "memo as text", "bytes", "frame", "number"],
)
def test_no_room_is_made_for_what_is_not_there(door: Door, content: bytes, tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        refused(door, content, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


@DOORS
def test_parts_that_hold_one_another_end(door: Door, tmp_path: Path) -> None:
    doubled: list[Any] = []
    for _ in range(60):
        doubled = [doubled, doubled]
    assert "more items than bytes" in refused(door, pickle.dumps({"a": doubled}, 2), tmp_path)
    ring: list[Any] = []
    ring.append(ring)
    refused(door, pickle.dumps({"a": ring}, 2), tmp_path)
    deep = b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b"."
    refused(door, deep, tmp_path)


@DOORS
@pytest.mark.parametrize("content", [b"", b".", b"nonsense", b"\x80\x02", pickle.dumps([1, 2])])
def test_what_is_no_dictionary_is_refused(door: Door, content: bytes, tmp_path: Path) -> None:
    refused(door, content, tmp_path)


@DOORS
def test_damaged_pickles_never_raise_anything_else(door: Door, tmp_path: Path) -> None:
    whole = pickle.dumps({"data": np.arange(60, dtype=np.uint8), "list": [1, 2.5, "x"]}, 2)
    rng = np.random.default_rng(5)
    for turn in range(300):
        broken = bytearray(whole[: turn + 1] if turn < len(whole) // 2 else whole)
        for place in rng.integers(0, len(broken), 3):
            broken[place] = rng.integers(256)
        try:
            door(bytes(broken), tmp_path)
        except BadTable:
            pass


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_pickles_may_hold(protocol: int) -> None:
    held: dict[str, Any] = {
        "floats": np.linspace(0, 1, 5),
        "big ends": np.arange(3, dtype=">i4"),
        "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "whether": np.array([True, False]),
        "objects": np.array([np.float64(1.5), None, np.arange(2)], dtype=object),
        "number": np.float32(0.5),
        "nested": {"a": [1, (2.5, None, True)], "b": "text", 7: b"bytes"},
    }
    if protocol > 2:  # below, empty bytes are a call of bytes, which nobody may make
        held["nothing"] = np.empty((0, 3))
    found = unpickle(pickle.dumps(held, protocol), "a file", "a pickle")
    numbers = {n: v for n, v in held.items() if isinstance(v, np.ndarray) and n != "objects"}
    for name, array in numbers.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    assert found["objects"][0] == 1.5
    assert found["objects"][1] is None
    assert found["objects"][2].tolist() == [0, 1]
    assert (found["number"], type(found["number"])) == (0.5, np.float32)
    assert found["nested"] == {"a": [1, (2.5, None, True)], "b": "text", 7: "bytes"}


def test_the_published_curves(data_path: Callable[[str], Path]) -> None:
    files = sorted(data_path("norms/public").rglob("*.npy"))
    assert len(files) == 19
    for file in files:
        found = read_curves(file)
        trusted = np.load(file, allow_pickle=True).item()
        assert found.keys() == trusted.keys()
        for name, value in trusted.items():
            np.testing.assert_equal(found[name], value)


def test_other_npy_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a file.npy"
    np.save(path, np.arange(3.0))
    with pytest.raises(BadTable, match="it is an array of float64 of shape"):
        read_curves(path)
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(BadTable, match=r"not a \.npy file of one dictionary"):
        read_curves(path)
