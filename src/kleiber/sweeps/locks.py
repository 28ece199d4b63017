"""File locks that reserve a run for one process and vanish with it."""

from __future__ import annotations

import contextlib
import errno
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

try:
    import resource
except ImportError:  # not a POSIX system
    resource = None

UNSUPPORTED = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
MAX_OPEN = 20_000  # files that are open at once, even where more are allowed
Release = Callable[[], None]


def claim(path: Path) -> Release | None:
    """Acquire the lock file `path` and return the function that releases it, or None if it is
    taken.

    The lock is the system's lock on an open file, so it ends with the process, however that ends,
    and also holds between the threads of one process. On a file system without locks a warning says
    so and every claim is granted. Raises OSError if the file cannot be made.
    """
    from filelock import FileLock, Timeout  # here: only who writes into a store needs it

    while True:
        lock = FileLock(path, blocking=False, thread_local=False, fallback_to_soft=False)
        try:
            lock.acquire()
        except Timeout:
            if path.exists():
                return None  # else it was given back between our open and our lock: again
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            _warn()
            return partial(_release, path, lambda: None)
        else:
            return partial(_release, path, lock.release)


def _warn() -> None:
    warnings.warn(
        "There are no file locks here: do not start two sweeps on one store at once.",
        UserWarning,
        stacklevel=3,
    )


def _release(path: Path, unlock: Release) -> None:
    """Remove the lock file while it is still locked, so that whoever opened it before notices, then
    unlock it (Windows removes it when it is unlocked)."""
    with contextlib.suppress(OSError):
        path.unlink()
    unlock()


def capacity() -> int:
    """Return how many locks this process should hold at once: half of the files it may open."""
    limit = 512 if resource is None else resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(1, min(limit if limit > 0 else MAX_OPEN, MAX_OPEN) // 2)
