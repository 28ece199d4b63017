"""Claims: which process works on a run now, as locks that vanish with the process."""

from __future__ import annotations

import contextlib
import errno
import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

try:
    import fcntl
    import resource
except ImportError:  # not a POSIX system
    fcntl = resource = None

UNSUPPORTED = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
MOST = 20_000  # files that are open at once, even where more are allowed
Release = Callable[[], None]


def claim(path: Path) -> Release | None:
    """Take the lock file `path`; the function that gives it back, or None if somebody has it.

    The lock is flock(2) on an open file, so it ends with the process, however that ends, and holds
    between the threads of one process too. On a file system without locks a warning says so and
    every claim is granted. Raises OSError when the file cannot be made.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            if not _locked(handle):
                os.close(handle)
                return None
            if _same(handle, path):
                return partial(_release, handle, path)
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its last owner removed the file between our open and our lock: again


def _locked(handle: int) -> bool:
    """Whether the lock on an open file was taken."""
    if fcntl is None:
        _warn()
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        _warn()
    return True


def _warn() -> None:
    warnings.warn(
        "There are no file locks here: do not start two sweeps on one store at once.",
        UserWarning,
        stacklevel=4,
    )


def _same(handle: int, path: Path) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    opened = os.fstat(handle)
    return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)


def _release(handle: int, path: Path) -> None:
    """Remove the lock file while it is still locked, then unlock it by closing it."""
    with contextlib.suppress(OSError):
        path.unlink()
    os.close(handle)


def capacity() -> int:
    """How many claims this process should hold at once: half of the files it may open."""
    limit = 512 if resource is None else resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(1, min(limit if limit > 0 else MOST, MOST) // 2)
