"""Where the runs of a sweep are made: in this process, on an executor, or in worker processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

from kleiber.sweeps.inputs import check_executor
from kleiber.sweeps.locks import capacity
from kleiber.sweeps.runs import Spec
from kleiber.sweeps.workers import Outcome, Run, Workers, attempt

Submit: TypeAlias = Callable[[Run, Spec], "Future[Outcome]"]


@dataclass(frozen=True)
class Dispatcher:
    """How runs are submitted, and how many at a time."""

    submit: Submit
    limit: int


@contextlib.contextmanager
def open_dispatcher(executor: Executor | None, workers: int | None) -> Generator[Dispatcher]:
    """Dispatch to this process, to a given executor, or to worker processes that end with the
    block."""
    if executor is not None:
        if workers is not None:
            raise ValueError("A sweep takes an executor or a number of workers, not both.")
        check_executor(executor)
        max_workers = getattr(executor, "_max_workers", None)
        limit = max_workers + 1 if isinstance(max_workers, int) else capacity()
        yield Dispatcher(lambda run, spec: executor.submit(attempt, run, spec), limit)
    elif workers is None:
        yield Dispatcher(_run_in_process, 1)
    elif workers < 1:
        raise ValueError(f"A sweep needs at least one worker, got {workers}.")
    else:
        pool, threads = Workers(workers), ThreadPoolExecutor(workers)
        try:
            yield Dispatcher(lambda run, spec: threads.submit(pool.attempt, run, spec), workers)
        finally:
            pool.stop()
            threads.shutdown(cancel_futures=True)


def _run_in_process(run: Run, spec: Spec) -> Future[Outcome]:
    """Make the run now, in this process."""
    future = Future[Outcome]()
    future.set_result(attempt(run, spec))
    return future
