"""Where data sets are looked for, and what is said when they cannot be had."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pooch
import pytest

from kleiber.data import fetch as module
from kleiber.data.fetch import catalogue, fetch, find
from kleiber.errors import BadTable


def test_every_entry_is_complete() -> None:
    for source in catalogue().values():
        assert source.says
        assert source.licence
        assert source.citation
        assert source.kind in ("images", "labels", "table", "curves")
        assert source.files or source.name == "digits"
        for file in source.files.values():
            assert not Path(file.path).is_absolute()
            assert file.url.startswith("https://") or file.origin
            algorithm, _, digest = file.checksum.partition(":")
            assert not file.checksum or len(digest) == 2 * hashlib.new(algorithm).digest_size


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(BadTable, match=r"no data named 'mnits'.*Did you mean 'mnist'"):
        find("mnits")
    with pytest.raises(BadTable, match="no images named 'passk'; known are digits, mnist"):
        find("passk", "images")


def test_the_given_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLEIBER_DATA", str(tmp_path))
    for file in find("mnist").files.values():
        (tmp_path / file.path).parent.mkdir(exist_ok=True)
        (tmp_path / file.path).write_bytes(b"rebuilt, so of another checksum")
    assert fetch("mnist")["test_labels"] == tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz"


def test_a_second_place_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLEIBER_DATA", str(tmp_path))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "chinchilla_epoch.csv").touch()
    assert fetch("chinchilla_epoch") == {"table": tmp_path / "runs" / "chinchilla_epoch.csv"}


def test_a_folder_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLEIBER_DATA", str(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError, match="which is no folder"):
        fetch("mnist")


@pytest.fixture
def public(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A stand-in for the network: what each address gives; downloads go to tmp_path."""
    held: dict[str, bytes] = {}

    def give(_: object, url: str, output_file: Any, *__: object, **___: object) -> None:
        if url not in held:
            raise ConnectionError(f"cannot reach {url}")
        Path(output_file).write_bytes(held[url])

    monkeypatch.delenv("KLEIBER_DATA", raising=False)
    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", give)
    monkeypatch.setattr(pooch, "os_cache", lambda _: tmp_path / "cache")
    return held


@pytest.mark.long
def test_offline_says_what_to_do(public: dict[str, bytes]) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        fetch("cifar10")
    message = str(caught.value)
    assert "Cannot download cifar10 from https://www.cs.toronto.edu" in message
    assert "put the file at cifar-10-python.tar.gz" in message
    assert "KLEIBER_DATA" in message
    assert "\n" not in message


def test_downloads_are_checked(
    public: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = find("cifar10").files["archive"]
    public[file.url] = b"something else"
    with pytest.raises(FileNotFoundError, match="gave for cifar10 is not the known file"):
        fetch("cifar10")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    right = module.File(file.path, file.url, "md5:" + hashlib.md5(b"something else").hexdigest())
    source = module.Source("cifar10", "", "images", "", "", {"archive": right})
    monkeypatch.setattr(module, "catalogue", lambda: {"cifar10": source})
    assert fetch("cifar10")["archive"].read_bytes() == b"something else"
    public.clear()  # a second time it is at hand
    assert fetch("cifar10")["archive"] == tmp_path / "cache" / "cifar-10-python.tar.gz"


def test_progress_counts_the_bytes_of_a_download(
    public: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = find("cifar10").files["archive"]

    def give(self: Any, url: str, output_file: Any, *_: object, **__: object) -> None:
        Path(output_file).write_bytes(b"abcdef")
        bar = self.progressbar  # as pooch tells of a download
        bar.total = 6
        bar.update(2)
        bar.update(4)
        bar.reset()
        bar.update(6)
        bar.close()

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", give)
    right = module.File(file.path, file.url, "md5:" + hashlib.md5(b"abcdef").hexdigest())
    source = module.Source("cifar10", "", "images", "", "", {"archive": right})
    monkeypatch.setattr(module, "catalogue", lambda: {"cifar10": source})
    seen: list[tuple[int, int, str]] = []
    fetch("cifar10", progress=lambda *told: seen.append(told))
    assert seen == [(done, 6, "cifar-10-python.tar.gz") for done in (2, 6, 6)]


def test_what_cannot_be_downloaded_says_how_it_is_made(public: dict[str, bytes]) -> None:
    with pytest.raises(FileNotFoundError, match=r"put norms/optima.csv into.*deep_norm"):
        fetch("norm_optima")


@pytest.mark.long
def test_pooch_is_imported_only_to_download() -> None:
    code = "import sys, kleiber.data.images as i; i.load_images(); print('pooch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
