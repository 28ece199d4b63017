"""Image files are read as published, and damaged or hostile ones are refused."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kleiber.data.batches import read_batch
from kleiber.data.cifar10h import load_cifar10h
from kleiber.data.images import Images, load_images, read_idx, subset
from kleiber.errors import BadTable


def test_digits_need_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KLEIBER_DATA", raising=False)
    digits = load_images()
    assert digits.train_images.shape == (1297, 1, 8, 8)
    assert digits.test_images.shape == (500, 1, 8, 8)
    assert digits.train_images.max() == digits.top == 16
    # class sizes of the published test set of optdigits (UCI's description)
    labels = np.concatenate([digits.train_labels, digits.test_labels])
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    # the pixels belong to the labels: nearest class means get most of the other writers right
    means = np.array([digits.train_images[digits.train_labels == k].mean(0) for k in range(10)])
    far = ((digits.test_images[:, None] - means[None]) ** 2).sum((2, 3, 4))
    assert (far.argmin(1) == digits.test_labels).mean() > 0.85


def test_subsets_are_nested_and_fixed() -> None:
    digits = load_images()
    small, large = subset(digits, 50, seed=3), subset(digits, 400, seed=3)
    assert np.array_equal(small.train_images, large.train_images[:50])
    assert np.array_equal(small.train_labels, large.train_labels[:50])
    assert not np.array_equal(small.train_labels, subset(digits, 50, seed=4).train_labels)
    whole = subset(digits, 1297, seed=3)
    assert sorted(map(bytes, whole.train_images)) == sorted(map(bytes, digits.train_images))
    assert np.array_equal(small.test_images, digits.test_images)
    for size in (0, 1298, True):
        with pytest.raises(BadTable, match="has 1 to 1297 training images"):
            subset(digits, size)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def write_mnist(folder: Path, rng: np.random.Generator) -> dict[str, np.ndarray]:
    (folder / "mnist").mkdir()
    made: dict[str, np.ndarray] = {}
    for part, file, count in (("train", "train", 7), ("test", "t10k", 3)):
        made[f"{part}_images"] = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        made[f"{part}_labels"] = rng.integers(0, 10, count).astype(np.uint8)
        for what, ending in (
            ("images", "images-idx3-ubyte.gz"),
            ("labels", "labels-idx1-ubyte.gz"),
        ):
            content = gzip.compress(idx(made[f"{part}_{what}"]))
            (folder / "mnist" / f"{file}-{ending}").write_bytes(content)
    return made


def test_mnist_reads_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLEIBER_DATA", str(tmp_path))
    made = write_mnist(tmp_path, np.random.default_rng(0))
    images = load_images("mnist")
    assert np.array_equal(images.train_images[:, 0], made["train_images"])
    assert np.array_equal(images.test_labels, made["test_labels"])
    name = tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz"
    name.write_bytes(gzip.compress(idx(np.zeros(4, np.uint8))))
    with pytest.raises(BadTable, match="test files of mnist do not belong together"):
        load_images("mnist")


def damaged() -> dict[str, tuple[bytes, str]]:
    good = idx(np.zeros((2, 3), np.uint8))
    return {
        "no gzip": (good, "not a whole gzip"),
        "cut gzip": (gzip.compress(good)[:-9], "not a whole gzip"),
        "short": (gzip.compress(good[:-1]), "says it is of shape"),
        "long": (gzip.compress(good + b"x"), "says it is of shape"),
        "cut header": (gzip.compress(good[:6]), "says it is of shape"),
        "floats": (gzip.compress(b"\0\0\x0d\1" + bytes(8)), "not an IDX file"),
        "empty": (gzip.compress(b""), "not an IDX file"),
    }


@pytest.mark.parametrize("case", damaged())
def test_damaged_idx_files_are_refused(case: str, tmp_path: Path) -> None:
    content, message = damaged()[case]
    (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(BadTable, match=message):
        read_idx(tmp_path / "x.gz")


def write_cifar(path: Path, members: dict[str, Any], protocol: int = 2) -> None:
    with tarfile.open(path, "w:gz") as file:
        for name, item in members.items():
            content = item if isinstance(item, bytes) else pickle.dumps(item, protocol=protocol)
            member = tarfile.TarInfo(f"cifar/{name}")
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))


def batch(rng: np.random.Generator, count: int, classes: int, key: bytes) -> dict[bytes, Any]:
    pixels = rng.integers(0, 256, (count, 3072)).astype(np.uint8)
    return {b"data": pixels, key: rng.integers(0, classes, count).tolist(), b"batch_label": b"made"}


def cifar10_members(parts: tuple[int, ...]) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    made: dict[str, Any] = {f"data_batch_{k}": batch(rng, 4, 10, b"labels") for k in parts}
    made["test_batch"] = batch(rng, 2, 10, b"labels")
    made["batches.meta"] = {b"label_names": [f"c{k}".encode() for k in range(10)]}
    return made


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_cifar10_of_every_protocol(
    protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLEIBER_DATA", str(tmp_path))
    made = cifar10_members((1, 2, 3, 4, 5))
    write_cifar(tmp_path / "cifar-10-python.tar.gz", made, protocol)
    images = load_images("cifar10")
    expected = np.concatenate([made[f"data_batch_{k}"][b"data"] for k in range(1, 6)])
    assert np.array_equal(images.train_images.reshape(20, -1), expected)
    assert images.test_labels.tolist() == made["test_batch"][b"labels"]
    assert images.classes[3] == "c3"
    assert images.notes == ()


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLEIBER_DATA", str(tmp_path))
    archive = tmp_path / "cifar-10-python.tar.gz"
    write_cifar(archive, cifar10_members((2, 5)))
    images = load_images("cifar10")
    assert len(images.train_labels) == 8
    assert images.notes == (
        "cifar-10-python.tar.gz lacks data_batch_1, data_batch_3, data_batch_4: 8 training images",
    )
    write_cifar(archive, cifar10_members(()))
    with pytest.raises(BadTable, match="has no data_batch_1"):
        load_images("cifar10")
    archive.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(BadTable, match=r"not a whole tar\.gz|has no"):
        load_images("cifar10")


def test_cifar100_fine_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLEIBER_DATA", str(tmp_path))
    rng = np.random.default_rng(2)
    made: dict[str, Any] = {"train": batch(rng, 6, 100, b"fine_labels")}
    made["train"][b"coarse_labels"] = [0] * 6
    made["test"] = batch(rng, 3, 100, b"fine_labels")
    made["meta"] = {b"fine_label_names": [f"f{k}".encode() for k in range(100)]}
    write_cifar(tmp_path / "cifar-100-python.tar.gz", made)
    images = load_images("cifar100")
    assert images.train_labels.tolist() == made["train"][b"fine_labels"]
    assert np.array_equal(images.test_images.reshape(3, -1), made["test"][b"data"])
    assert len(images.classes) == 100
    made["test"][b"fine_labels"] = [0, 1, 100]
    write_cifar(tmp_path / "cifar-100-python.tar.gz", made)
    with pytest.raises(BadTable, match="no list of 3 labels from 0 to 99"):
        load_images("cifar100")


def test_columns_first_arrays() -> None:
    array = np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert np.array_equal(
            read_batch(pickle.dumps({"data": array}, protocol), "x")["data"], array
        )


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"data": np.zeros(2)}, "array of float64, not of single bytes"),
        ({"data": np.array([None, {}])}, "array of object, not of single bytes"),
        ([1, 2], "holds no dictionary"),
    ],
)
def test_other_contents_are_refused(item: Any, message: str) -> None:
    with pytest.raises(BadTable, match=message):
        read_batch(pickle.dumps(item, 2), "batch")


def test_damaged_pickles_never_raise_anything_else() -> None:
    whole = pickle.dumps(batch(np.random.default_rng(0), 1, 10, b"labels"), 2)
    rng = np.random.default_rng(5)
    for cut in range(0, 300, 3):
        try_to_read(whole[:cut])
    for _ in range(300):
        broken = bytearray(whole)
        for place in rng.integers(0, 400, 3):
            broken[place] = rng.integers(256)
        try_to_read(bytes(broken))


def try_to_read(content: bytes) -> None:
    try:
        read_batch(content, "batch")
    except BadTable:
        pass


@pytest.mark.long
def test_the_shared_files(
    data_path: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = data_path("cifar-10-python.tar.gz").parent
    monkeypatch.setenv("KLEIBER_DATA", str(folder))
    cifar: Images = load_images("cifar10")
    humans = load_cifar10h()
    # 7.6 of the notes on the hard tail, and Peterson et al. 2019
    assert humans.counts.sum() == 511_000
    assert (humans.counts.sum(axis=1).min(), humans.counts.sum(axis=1).max()) == (47, 63)
    assert (humans.counts.argmax(axis=1) == cifar.test_labels).mean() == pytest.approx(0.9921)
    share = humans.counts / humans.counts.sum(axis=1, keepdims=True)
    assert share[np.arange(10_000), cifar.test_labels].mean() == pytest.approx(0.95235, abs=5e-6)
    assert (share.max(axis=1) == 1).mean() == pytest.approx(0.4393)
    assert (humans.probabilities.argmax(axis=1) == cifar.test_labels).mean() == pytest.approx(
        0.9294
    )


def test_label_files_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLEIBER_DATA", str(tmp_path))
    good = np.full((2, 10), 0.1)
    for counts, probabilities, message in (
        (np.ones((2, 9), int), good, "no table of 10 columns"),
        (np.ones((2, 10)), good, "no counts of labels"),
        (np.zeros((2, 10), int), good, "no counts of labels"),
        (np.ones((3, 10), int), good, "3 counts but 2 prob"),
        (np.ones((2, 10), int), 2 * good, "no probabilities"),
        (np.array([[None] * 10] * 2), good, r"not a whole \.npy"),
    ):
        np.save(tmp_path / "cifar10h-counts.npy", counts)
        np.save(tmp_path / "cifar10-test-pyx.npy", probabilities)
        with pytest.raises(BadTable, match=message):
            load_cifar10h()
