"""Claims: which process works on a run now, as locks that vanish with the process."""

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
MOST = 20_000  # files that are open at once, even where more are allowed
Release = Callable[[], None]


def claim(path: Path) -> Release | None:
    """Take the lock file `path`; the function that gives it back, or None if somebody has it.

    The lock is the system's on an open file, so it ends with the process, however that ends, and
    holds between the threads of one process too. On a file system without locks a warning says so
    and every claim is granted. Raises OSError when the file cannot be made.
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
    """Remove the lock file while it is still locked, as whoever opened it before will notice, then
    unlock it; Windows removes it in unlocking."""
    with contextlib.suppress(OSError):
        path.unlink()
    unlock()


def capacity() -> int:
    """How many claims this process should hold at once: half of the files it may open."""
    limit = 512 if resource is None else resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(1, min(limit if limit > 0 else MOST, MOST) // 2)
