"""Dask: a sweep's runs on the workers of a cluster, or of one started on this machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from typing import Any, cast

from kleiber.sweeps.interrupts import defer_interrupts

LOCAL = "local"
TIMEOUT = 10  # seconds to reach a scheduler


@contextmanager
def dask_executor(address: str, workers: int | None = None) -> Generator[Executor]:
    """Return the executor of the Dask cluster at an address (tcp://HOST:PORT), or of a "local" one.

    A local cluster has `workers` processes of one thread (by default one for each core) and ends
    with the block; a worker that dies is replaced. Raises ImportError without Dask, OSError if no
    scheduler answers, ValueError for anything but an address.
    """
    try:
        import distributed
    except ImportError as error:
        raise ImportError(
            "Sweeps on Dask need the extra `cluster`: pip install 'kleiber[cluster]'."
        ) from error
    dask = cast(Any, distributed)
    if address == LOCAL:
        if workers is not None and workers < 1:
            raise ValueError(f"A sweep needs at least one worker, got {workers}.")
        with _local(dask, workers or os.cpu_count() or 1) as executor:
            yield executor
        return
    if "://" not in address:
        raise ValueError(f"The address of Dask must be tcp://HOST:PORT or local, got {address!r}.")
    if workers is not None:
        raise ValueError("A running Dask cluster has workers of its own; leave out their number.")
    try:
        client = dask.Client(address, timeout=TIMEOUT)
    except (OSError, TimeoutError, ValueError) as error:
        raise OSError(f"No Dask scheduler answers at {address!r}: {error}.") from error
    with client:
        yield client.get_executor()


@contextmanager
def _local(dask: Any, count: int) -> Generator[Executor]:
    """Return the executor of a cluster on this machine; an interrupt shuts it down properly."""
    with ExitStack() as stack:
        with defer_interrupts():
            cluster = dask.LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                dashboard_address=None,
                silence_logs=logging.ERROR,  # a worker that is slow to end is not worth a message
            )
            stack.enter_context(cluster)
            client = stack.enter_context(dask.Client(cluster))
        try:
            yield client.get_executor()
        finally:
            with defer_interrupts():
                stack.close()
