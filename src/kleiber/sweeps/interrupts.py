"""Interrupts: Ctrl-C reaches all processes of a terminal, but only the sweep must react to it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any


@contextmanager
def shield_from_interrupts() -> Generator[None]:
    """Start processes in this block (from this thread, or a thread that it starts) that never
    receive an interrupt, where the system lets them inherit that."""
    set_mask: Any = getattr(signal, "pthread_sigmask", None)
    if set_mask is None:
        yield
        return
    from multiprocessing.resource_tracker import ensure_running  # POSIX only

    ensure_running()  # starting it in the block would end the block
    previous = set_mask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        set_mask(signal.SIG_SETMASK, previous)


@contextmanager
def defer_interrupts() -> Generator[None]:
    """Defer an interrupt to the end of the block, and start processes in it that never receive
    one."""
    if threading.current_thread() is not threading.main_thread():
        with shield_from_interrupts():
            yield
        return
    received: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        with shield_from_interrupts():
            yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if received:
        raise KeyboardInterrupt
