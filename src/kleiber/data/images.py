"""Labelled images: MNIST, CIFAR-10, CIFAR-100, and small digits that come with the package.

Pixels are as published: whole numbers from 0 to ``top``. Training subsets are nested: the first
examples of one fixed shuffle.
"""

from __future__ import annotations

import gzip
import math
import re
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Int64, UInt8

from kleiber.data.batches import read_batch
from kleiber.data.fetch import fetch, find
from kleiber.errors import BadTable
from kleiber.maths.seeds import stream

PLANES = (3, 32, 32)  # colours, rows, columns of a CIFAR image
KINDS = {8: np.dtype(np.uint8)}  # of IDX files; images and labels are single bytes


@dataclass(frozen=True)
class Images:
    """Labelled images; ``classes`` names the labels in order, ``notes`` describe what is
    missing."""

    name: str
    train_images: UInt8[np.ndarray, "train channels rows columns"]
    train_labels: Int64[np.ndarray, "train"]
    test_images: UInt8[np.ndarray, "test channels rows columns"]
    test_labels: Int64[np.ndarray, "test"]
    classes: tuple[str, ...]
    top: int = 255
    notes: tuple[str, ...] = ()


def load_images(name: str = "digits") -> Images:
    """Load the images of a name: digits (needs no file), mnist, cifar10 or cifar100.

    Raises BadTable for another name or a damaged file, FileNotFoundError for one not to be had.
    """
    find(name, "images")
    match name:
        case "digits":
            return _digits()
        case "mnist":
            return _mnist(fetch(name))
        case "cifar10":
            return _cifar10(fetch(name)["archive"])
        case _:
            return _cifar100(fetch(name)["archive"])


def subset(images: Images, size: int, *, seed: int = 0) -> Images:
    """Return the images with only ``size`` training examples: the first of a shuffle with a seed.

    Subsets of one seed are nested: a larger one begins with all of a smaller one.
    """
    available = len(images.train_labels)
    if isinstance(size, bool) or int(size) != size or not 1 <= size <= available:
        raise BadTable(
            f"{images.name} has 1 to {available} training images to choose, got {size!r}."
        )
    rows = stream(seed, f"subset of {images.name}").permutation(available)[: int(size)]
    return replace(
        images, train_images=images.train_images[rows], train_labels=images.train_labels[rows]
    )


def _digits() -> Images:
    """Return the first 1,297 digits for training, the last 500 (mostly of other writers) for
    testing."""
    with resources.files("kleiber.data").joinpath("digits.npz").open("rb") as file:
        held = np.load(file, allow_pickle=False)
        pixels, labels = held["images"][:, None], held["labels"].astype(np.int64)
    names = tuple("0123456789")
    return Images(
        "digits", pixels[:1297], labels[:1297], pixels[1297:], labels[1297:], names, top=16
    )


def _mnist(files: Mapping[str, Path]) -> Images:
    arrays = {role: read_idx(path) for role, path in files.items()}
    for part in ("train", "test"):
        pixels, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        if pixels.shape != (len(labels), 28, 28) or labels.ndim != 1 or labels.max(initial=0) > 9:
            raise BadTable(
                f"The {part} files of mnist do not belong together: images of shape "
                f"{pixels.shape}, labels of shape {labels.shape}."
            )
    return Images(
        "mnist",
        arrays["train_images"][:, None],
        arrays["train_labels"].astype(np.int64),
        arrays["test_images"][:, None],
        arrays["test_labels"].astype(np.int64),
        tuple("0123456789"),
    )


def read_idx(path: Path) -> UInt8[np.ndarray, "..."]:
    """Read a gzipped IDX file of single bytes. Raises BadTable if it is damaged or something
    else."""
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise BadTable(f"{path} is not a whole gzip file: {error}.") from None
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in KINDS:
        raise BadTable(f"{path} is not an IDX file of single bytes.")
    start = 4 + 4 * content[3]
    content = content.ljust(start, b"\xff")  # sizes cut off are then wrong ones
    shape = tuple(np.frombuffer(content[4:start], dtype=">u4").tolist())
    if len(content) - start != math.prod(shape):
        raise BadTable(f"{path} says it is of shape {shape} but holds {len(content)} bytes.")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy()


def _members(archive: Path, wanted: str) -> dict[str, bytes]:
    """Return the contents of the members whose file name matches, without unpacking to disk."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as file:
            for member in file:
                name = Path(member.name).name
                if re.fullmatch(wanted, name) and (held := file.extractfile(member)) is not None:
                    found[name] = held.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise BadTable(f"{archive} is not a whole tar.gz file: {error}.") from None
    return found


def _cifar10(archive: Path) -> Images:
    held = _members(archive, r"data_batch_[1-5]|test_batch|batches\.meta")
    batches = {name: read_batch(content, name) for name, content in sorted(held.items())}
    parts = [name for name in batches if name.startswith("data_batch")]
    _require(archive, batches, "test_batch", "batches.meta", *([] if parts else ["data_batch_1"]))
    missing = [f"data_batch_{k}" for k in range(1, 6) if f"data_batch_{k}" not in batches]
    pairs = [_labelled(batches[name], "labels", name, 10) for name in parts]
    names = _names(batches["batches.meta"], "label_names", 10)
    test = _labelled(batches["test_batch"], "labels", "test_batch", 10)
    pixels = np.concatenate([pair[0] for pair in pairs])
    note = f"{archive.name} lacks {', '.join(missing)}: {len(pixels)} training images"
    return Images(
        "cifar10",
        pixels,
        np.concatenate([pair[1] for pair in pairs]),
        *test,
        names,
        notes=(note,) if missing else (),
    )


def _cifar100(archive: Path) -> Images:
    held = _members(archive, r"train|test|meta")
    batches = {name: read_batch(content, name) for name, content in held.items()}
    _require(archive, batches, "train", "test", "meta")
    train, test = (_labelled(batches[k], "fine_labels", k, 100) for k in ("train", "test"))
    return Images("cifar100", *train, *test, _names(batches["meta"], "fine_label_names", 100))


def _require(archive: Path, batches: Mapping[str, Any], *names: str) -> None:
    missing = [name for name in names if name not in batches]
    if missing:
        raise BadTable(f"{archive} has no {', '.join(missing)}.")


def _names(meta: Mapping[str, Any], key: str, count: int) -> tuple[str, ...]:
    names = meta.get(key)
    if not isinstance(names, list) or len(cast("list[Any]", names)) != count:
        raise BadTable(f"CIFAR's list of {count} class names ({key}) is missing.")
    return tuple(str(name) for name in cast("list[Any]", names))


def _labelled(
    batch: Mapping[str, Any], key: str, name: str, classes: int
) -> tuple[
    UInt8[np.ndarray, "images channels rows columns"],
    Int64[np.ndarray, "images"],
]:
    """Return the checked images and labels of one batch."""
    pixels, given = batch.get("data"), batch.get(key)
    flat = cast("np.ndarray", pixels) if isinstance(pixels, np.ndarray) else np.zeros(0)
    if flat.shape[1:] != (math.prod(PLANES),):
        raise BadTable(f"{name} holds no array of images of {math.prod(PLANES)} bytes.")
    images = flat.reshape(-1, *PLANES)
    items = cast("list[Any]", given) if isinstance(given, list) else []
    labels = np.array([x if type(x) is int and 0 <= x < classes else -1 for x in items], np.int64)
    if len(labels) != len(images) or (labels < 0).any():
        raise BadTable(f"{name} holds no list of {len(images)} labels from 0 to {classes - 1}.")
    return images, labels
