"""Interrupts: Ctrl-C reaches all processes of a terminal, and only the sweep shall act on it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any


@contextmanager
def unheard() -> Generator[None]:
    """Processes that this thread, or a thread started in the block, starts in it never hear of an
    interrupt (where the system lets them inherit that)."""
    block: Any = getattr(signal, "pthread_sigmask", None)
    if block is None:
        yield
        return
    from multiprocessing.resource_tracker import ensure_running  # POSIX only

    ensure_running()  # starting it in the block would end the block
    before = block(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        block(signal.SIG_SETMASK, before)


@contextmanager
def uninterrupted() -> Generator[None]:
    """An interrupt in the block comes at its end, and processes started in it never hear of it."""
    if threading.current_thread() is not threading.main_thread():
        with unheard():
            yield
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        with unheard():
            yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        raise KeyboardInterrupt
