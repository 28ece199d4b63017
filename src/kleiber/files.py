"""Atomic writing of files: a file appears whole under its name, or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def write_atomically(path: str | os.PathLike[str]) -> Generator[Path]:
    """Yield a temporary path beside `path`, which is renamed to `path` on success and removed on
    failure.

    The temporary file exists, is empty and has the suffix of `path`. When the block ends it is
    flushed to disk and renamed, so a reader sees the old file or the new one, never half of one; an
    error or Ctrl-C in the block leaves `path` as it was. An existing file keeps its mode. Raises an
    OSError with one sentence when `path` cannot be written.
    """
    target = resolve_target(path)
    temporary = target.with_name(f".kleiber-{secrets.token_hex(6)}{target.suffix}")
    try:
        create(temporary, like=target)
        yield temporary
        flush(temporary)
        temporary.replace(target)
        flush(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def cache_folder() -> Path:
    """Return the folder of machine code: $KLEIBER_CACHE, else kleiber/ in the user's cache
    folder."""
    given = os.environ.get("KLEIBER_CACHE")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kleiber"


def check_regular_file(path: str | os.PathLike[str], max_bytes: int) -> None:
    """Raise an OSError with one sentence unless `path` is a regular file of at most `most` bytes:
    reading a pipe or a device may never end."""
    place = Path(path)
    if place.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder; give a file.")
    found = place.stat()  # a missing file, a loop of links: as the system says it
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{str(path)!r} is a pipe or a device; give an ordinary file.")
    if found.st_size > max_bytes:
        raise OSError(f"{str(path)!r} has {found.st_size:,} bytes; at most {max_bytes:,} are read.")


def resolve_target(path: str | os.PathLike[str]) -> Path:
    """Return the real file that `path` points to (through links), after checking that it can be
    written."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"Cannot write {str(path)!r}: it is a folder; give a file name.")
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"Cannot write {str(path)!r}: there is no folder {str(target.parent)!r}; make it first."
        )
    if target.exists() and not target.is_file():
        raise OSError(f"Cannot write {str(path)!r}: it is not an ordinary file.")
    if not os.access(target if target.exists() else target.parent, os.W_OK):
        raise PermissionError(f"Cannot write {str(path)!r}: no permission to write there.")
    return target


def create(temporary: Path, *, like: Path) -> None:
    """Make the empty file `temporary` with the mode of `like`, or the user's default mode."""
    mode = like.stat().st_mode & 0o777 if like.exists() else None
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise OSError(f"Cannot write {str(like)!r}: {error.strerror or error}.") from error
    if mode is not None:
        temporary.chmod(mode)


def flush(path: Path) -> None:
    """Force a file, or a folder's list of names, to disk (folders only if the system can do so)."""
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
