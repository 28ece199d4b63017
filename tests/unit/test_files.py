"""A file lands whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kleiber.files import write_atomically


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def write_half(target: Path | str, error: type[BaseException]) -> None:
    with write_atomically(target) as temporary:
        temporary.write_text("half")
        raise error


def test_a_file_lands(tmp_path: Path) -> None:
    with write_atomically(tmp_path / "out.txt") as temporary:
        temporary.write_text("whole")
        assert not (tmp_path / "out.txt").exists()
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".txt"
    assert (tmp_path / "out.txt").read_text() == "whole"
    assert names(tmp_path) == ["out.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(error):
        write_half(target, error)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["out.txt"]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        write_half(str(tmp_path / "out.txt"), ZeroDivisionError)
    assert names(tmp_path) == []


def test_ctrl_c_from_outside_leaves_nothing(tmp_path: Path) -> None:
    code = f"""
import os, signal
from kleiber.files import write_atomically
with write_atomically({str(tmp_path / "out.txt")!r}) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert b"KeyboardInterrupt" in done.stderr
    assert names(tmp_path) == []


def test_a_new_file_has_the_usual_mode(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with write_atomically(tmp_path / "landed"):
        pass
    assert (tmp_path / "landed").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_an_old_file_keeps_its_mode(tmp_path: Path) -> None:
    target = tmp_path / "private"
    target.touch(0o600)
    with write_atomically(target) as temporary:
        temporary.write_text("new")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.read_text() == "new"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    with write_atomically(tmp_path / "link.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=r"it is a folder; give a file name\.$"):
        write_atomically(tmp_path).__enter__()


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere.*make it first\.$"):
        write_atomically(tmp_path / "nowhere" / "out.txt").__enter__()


def test_a_device_is_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match=r"it is not an ordinary file\.$"):
        write_atomically(pipe).__enter__()
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_name_too_long_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File name too long"):
        write_atomically(tmp_path / ("x" * 300)).__enter__()
    assert names(tmp_path) == []
