"""One run, and the worker processes that make runs.

A worker is a fresh process (spawn) with one thread for BLAS and torch. It gets one run at a time
over a pipe, so its death is noticed at once and attributed to that run alone; it ends when its
parent does.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Any, cast

import polars as pl

from kleiber.errors import reason
from kleiber.sweeps.interrupts import shield_from_interrupts
from kleiber.sweeps.runs import Spec

Run = Callable[[Any], pl.DataFrame]  # of an Experiment
MAX_STARTS = 20  # of a worker that is killed each time before it is ready
MAX_DEATHS = 3  # of workers under one run, after which the run is left for another time
ONE_THREAD = {
    name: "1"
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "POLARS_MAX_THREADS",
    )
}


@dataclass(frozen=True)
class Outcome:
    """The outcome of one run: a table, or an error (with the step and the traceback if known)."""

    table: pl.DataFrame | None
    error: str = ""
    step: int | None = None
    traceback: str = ""
    lost: bool = False
    seconds: float = 0.0


def attempt(run: Run, spec: Spec) -> Outcome:
    """Make one run; whatever it raises becomes an Outcome, so that the others continue.

    That includes SystemExit and polars' panics, which must not end a sweep as if it had succeeded;
    only an interrupt does end it.
    """
    start = time.monotonic()
    try:
        table = run(spec)
        if not isinstance(cast(Any, table), pl.DataFrame) or not table.height or not table.width:
            raise TypeError(
                f"A run must return a polars table with rows, got {_describe_result(table)}."
            )
        if pl.Object in table.dtypes:  # it could neither be sent nor kept
            raise TypeError("A run must return a polars table, got one of Python objects.")
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        step = getattr(error, "step", None)
        return Outcome(
            None,
            error=f"{type(error).__name__}: {error}".strip(": "),
            step=step if isinstance(step, int) else None,
            traceback=traceback.format_exc(),
            seconds=time.monotonic() - start,
        )
    return Outcome(table, seconds=time.monotonic() - start)


def _describe_result(table: Any) -> str:
    return "one without" if isinstance(table, pl.DataFrame) else f"a {type(table).__name__}"


@dataclass(frozen=True)
class Worker:
    """A process and the pipe to it."""

    process: BaseProcess
    pipe: Connection


@dataclass(frozen=True)
class Workers:
    """A pool of worker processes; `attempt` may be called from as many threads at a time.

    Processes start when they are first needed, and one that dies is replaced.
    """

    count: int
    idle: SimpleQueue[Worker | None] = field(default_factory=SimpleQueue[Worker | None])
    alive: list[Worker] = field(default_factory=list[Worker])
    stopped: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        for _ in range(self.count):
            self.idle.put(None)

    def attempt(self, run: Run, spec: Spec) -> Outcome:
        """Make one run in an idle worker; a run whose worker dies is tried again, then lost."""
        cause = ""
        for _ in range(MAX_DEATHS):
            worker = self.idle.get()
            try:
                worker = worker or self._start()
                if outcome := send_run(worker, run, spec):
                    return outcome
                cause = self._remove(worker)
                worker = None
            finally:
                self.idle.put(worker)
            if self.stopped.is_set():
                return Outcome(None, error="The sweep was stopped.", lost=True)
        return Outcome(None, error=f"The worker died {MAX_DEATHS} times ({cause}).", lost=True)

    def _start(self) -> Worker:
        """Start a worker and wait until it is ready; raise RuntimeError if none can be started."""
        context, cause = get_context("spawn"), ""
        for _ in range(MAX_STARTS):
            ours, theirs = context.Pipe()
            worker = Worker(context.Process(target=run_worker, args=(theirs,), daemon=True), ours)
            with (
                self.lock,
                _environment_variables(ONE_THREAD),
                contextlib.suppress(BrokenPipeError),
            ):
                with shield_from_interrupts():  # we end it; it need not say it was interrupted
                    worker.process.start()  # the pipe breaks if it is killed while it starts
                self.alive.append(worker)
            theirs.close()
            if self.stopped.is_set():
                self.stop()
            if receive(ours) is not None:
                return worker
            cause = self._remove(worker)
            if self.stopped.is_set() or not cause.startswith("signal"):
                break
        raise RuntimeError(
            f"A worker process could not start ({cause}); a script that sweeps with workers must "
            'do so under `if __name__ == "__main__":`.'
        )

    def _remove(self, worker: Worker) -> str:
        """Remove a worker whose pipe has closed, and return how it ended."""
        worker.pipe.close()
        if worker.process.pid is None:
            return "signal, while it started"
        worker.process.join(timeout=10)
        worker.process.kill()
        worker.process.join()
        with self.lock:
            if worker in self.alive:
                self.alive.remove(worker)
        code = worker.process.exitcode or 0
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def stop(self) -> None:
        """End all workers now, whatever they are doing."""
        self.stopped.set()
        with self.lock:
            for worker in self.alive:
                worker.process.kill()


def send_run(worker: Worker, run: Run, spec: Spec) -> Outcome | None:
    """Return the outcome of a run made by that worker, None if the worker died."""
    try:
        worker.pipe.send((run, spec))
    except OSError:
        return None
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise TypeError(
            f"A run for worker processes must be a function of a module, and its spec picklable: "
            f"{reason(error)}."
        ) from error
    return receive(worker.pipe)


def receive(pipe: Connection) -> Any:
    """Return the next message, or None if the other end closed before all of it arrived."""
    try:
        return pipe.recv()
    except (EOFError, OSError):
        return None


def run_worker(pipe: Connection) -> None:
    """Make runs and send their outcomes until the pipe or the parent closes: the worker's main
    loop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it is heard; the parent ends us
    os.dup2(2, 1)  # what a library prints must not mix with --json
    threading.Thread(target=_die_with_parent, daemon=True).start()
    pipe.send("ready")
    while True:
        try:
            message = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            run, spec = pickle.loads(message)
        except BaseException as error:  # the run's or the spec's module cannot be imported
            text = f"The worker cannot read the run: {type(error).__name__}: {error}."
            pipe.send(Outcome(None, error=text, traceback=traceback.format_exc()))
            continue
        pipe.send(attempt(run, spec))


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextlib.contextmanager
def _environment_variables(values: Mapping[str, str]) -> Generator[None]:
    """Set environment variables for processes that are started in the block."""
    previous = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in previous.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
