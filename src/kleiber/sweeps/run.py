"""sweep: many Experiments on any executor into one store; the same call again goes on."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl

from kleiber.errors import BadTable
from kleiber.progress import Progress, check_progress
from kleiber.sweeps.doors import Given, check_executor, check_own, specs_of, store_of
from kleiber.sweeps.locks import Release, capacity
from kleiber.sweeps.runs import Spec, fields_of, warn_of
from kleiber.sweeps.state import State, remarks
from kleiber.sweeps.store import Failure, Folder, Store
from kleiber.sweeps.workers import Outcome, Run, Workers, attempt

POLL = 0.2  # seconds between looks at interrupts and at runs that another sweep works on
Submit: TypeAlias = Callable[[Run, Spec], "Future[Outcome]"]


@dataclass(frozen=True)
class Swept:
    """How a sweep ended: the counts, and the runs of it that failed."""

    state: State
    failures: Mapping[str, Failure]
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Lane:
    """Where runs are made: how to hand one over, and how many at a time."""

    submit: Submit
    limit: int


def sweep(
    specs: Iterable[Given] | Given,
    store: str | os.PathLike[str] | Store,
    executor: Executor | None = None,
    *,
    workers: int | None = None,
    run: Run | None = None,
    retry_failed: bool = False,
    adopt: bool = False,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Train every Experiment that a store does not hold yet, and return the table of all.

    The same call again goes on where it was interrupted. A run that raises is recorded in the store
    and named in a warning, and the others go on.

    Parameters
    ----------
    specs
        Experiments, their TOML files or their fields; or a sweep file, or a mapping of its form,
        with a ``base`` Experiment and axes in ``grid`` (every combination) and ``zip`` (side by
        side).
    store
        The folder that keeps a file for each finished run, or a ``Store``.
    executor
        Any executor of ``concurrent.futures``; for Dask, ``Client(...).get_executor()``. By default
        runs are made one after the other in this process.
    workers
        The number of worker processes, instead of an executor.
    run
        A function that makes a table of one spec; by default it trains the Experiment.
    retry_failed
        Whether runs that failed in an earlier sweep are tried again.
    adopt
        Whether to work in a folder of somebody's Parquet files without a run of kleiber; they are
        set aside. Such a folder is refused otherwise.
    progress
        Called with (runs ended, runs in all, the other counts in words) after every change.

    Returns
    -------
    polars.DataFrame
        The rows of all finished runs: the key as ``run``, the fields of the spec, the run's
        columns.

    Raises
    ------
    BadExperiment
        For what is no spec, executor or store, and for a folder of somebody else's files.
    BadTable
        When no run finished.
    ValueError
        For no spec at all, and for both an executor and workers.
    OSError
        When the store cannot be written.

    Examples
    --------
    >>> import kleiber, tempfile
    >>> base = {"task": {"kind": "formula"}, "net": {"kind": "mlp", "width": 8}, "batch": 64}
    >>> def measure(spec):  # in place of training
    ...     return kleiber.read_table({"loss": [1 / spec.net.width]})
    >>> axes = {"base": base, "grid": {"net.width": [4, 8]}}
    >>> table = kleiber.sweep(axes, tempfile.mkdtemp(), run=measure)
    >>> table.select("width", "loss").sort("width").rows()
    [(4, 0.25), (8, 0.125)]
    """
    place, wanted = store_of(store), specs_of(specs)
    if not adopt:
        check_own(place)
    done = carry_out(
        wanted,
        place,
        executor,
        workers=workers,
        run=run,
        retry_failed=retry_failed,
        progress=progress,
    )
    if done.failures:
        warn_of(describe_failures(done))
    return place.read(done.keys)


def describe_failures(done: Swept) -> str:
    """One sentence on the runs that failed."""
    first = next(iter(done.failures.values()))
    lost = done.state.lost
    more = f", {lost} of them with their worker" if lost else ""
    return (
        f"{len(done.failures)} of {done.state.total} runs failed{more}; {first.key}: "
        f"{first.error.splitlines()[0] if first.error else 'unknown'}"
    )


def carry_out(
    specs: Iterable[Spec],
    store: Store,
    executor: Executor | None = None,
    *,
    workers: int | None = None,
    run: Run | None = None,
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> Swept:
    """As `sweep`, but the counts and failures in place of the table."""
    wanted = {spec.key(): spec for spec in specs}
    if not wanted:
        raise ValueError("a sweep needs at least one Experiment")
    found = store.finished() & wanted.keys()
    before = store.failures()
    stay = {
        key: item
        for key, item in before.items()
        if key in wanted and not retry_failed and not item.lost
    }
    board = Board(
        store,
        run or training_into(store),
        deque(spec for key, spec in wanted.items() if key not in found and key not in stay),
        State(len(wanted), len(found), len(found), failed=len(stay)),
        check_progress(progress),
        before,
        dict(stay),
        len(found) + len(stay),
    )
    with lane(executor, workers) as there:
        work(board, there)
    return Swept(board.state, board.failures, tuple(wanted))


def train_experiment(spec: Any, states: Path | None = None) -> pl.DataFrame:
    """The default run: train it, keeping the state of a long run in the folder `states`, where
    there is such a place, so that it goes on if it is killed."""
    from kleiber.networks.loop import train  # here: torch takes seconds to import

    if states is None or not states.parent.is_dir():  # another machine, without these files
        return train(spec)
    states.mkdir(exist_ok=True)
    return train(spec, resume=states / f"{spec.key()}.pt")


def training_into(store: Store) -> Run:
    """Training beside a store's folder, or without a place for states in any other store."""
    if isinstance(store, Folder):
        return partial(train_experiment, states=store.path.resolve() / ".states")
    return train_experiment


@dataclass
class Board:
    """What a sweep in progress keeps track of."""

    store: Store
    run: Run
    waiting: deque[Spec]
    state: State
    tell: Progress
    before: Mapping[str, Failure]  # as they were when the sweep began
    failures: dict[str, Failure]
    at_start: int  # runs that were finished, or had failed and stay so
    elsewhere: deque[Spec] = field(default_factory=deque[Spec])
    running: dict[Future[Outcome], tuple[Spec, Release]] = field(
        default_factory=dict[Future[Outcome], tuple[Spec, Release]]
    )
    start: float = field(default_factory=time.monotonic)


def work(board: Board, there: Lane) -> None:
    """Hand out runs, take in what comes back, until nothing is left or running."""
    _tell(board)
    try:
        while board.waiting or board.running or board.elsewhere:
            while board.waiting and len(board.running) < there.limit:
                begin(board, board.waiting.popleft(), there)
            _tell(board)
            if board.running:  # not for ever: a wait without an end can sleep through a Ctrl-C
                for future in wait(board.running, POLL, FIRST_COMPLETED).done:
                    end(board, future)
            elif board.elsewhere:
                time.sleep(POLL)
            if board.elsewhere and not board.waiting:  # has the other sweep finished one, or died?
                board.waiting, board.elsewhere = board.elsewhere, deque()
        _tell(board)
    finally:
        for future, (_, release) in board.running.items():
            future.cancel()
            release()


def begin(board: Board, spec: Spec, there: Lane) -> None:
    """Start a run, unless another sweep works on it or has done so meanwhile."""
    key = spec.key()
    release = board.store.claim(key)
    if release is None:
        board.elsewhere.append(spec)
        return
    try:
        if board.store.holds(key):
            count(board, finished=1)
        elif (known := _failed_since(board, key)) is not None:
            board.failures[key] = known
            count(board, failed=1)
        else:
            _tell(board, starting=1)
            with _plain_faults(board):
                board.running[there.submit(board.run, spec)] = (spec, release)
            return
    except BaseException:
        release()
        raise
    release()


def _failed_since(board: Board, key: str) -> Failure | None:
    """The failure of a run that another sweep recorded after this one began."""
    known = board.store.failure(key)
    return None if known is None or known == board.before.get(key) or known.lost else known


def end(board: Board, future: Future[Outcome]) -> None:
    """Land what a run has come to, then give up the claim on it."""
    spec, release = board.running.pop(future)
    try:
        outcome = kept(board.store, spec, result_of(future, board))
        if outcome.table is None:
            failure = failure_of(spec, outcome)
            board.store.record(failure)
            board.failures[spec.key()] = failure
            count(board, failed=1, lost=int(outcome.lost))
        else:
            count(board, finished=1, diverged=int(has_diverged(outcome.table)))
    finally:
        release()


def kept(store: Store, spec: Spec, outcome: Outcome) -> Outcome:
    """The outcome once its table is in the store; a table that no store can hold is a failure."""
    if outcome.table is None:
        return outcome
    try:
        store.keep(spec, outcome.table)
    except BadTable as error:
        return replace(outcome, table=None, error=f"{type(error).__name__}: {error}")
    return outcome


def result_of(future: Future[Outcome], board: Board) -> Outcome:
    """The outcome of a future; a run that Dask gave up is an outcome too."""
    try:
        with _plain_faults(board):
            return future.result()
    except Exception as error:
        if type(error).__name__ != "KilledWorker":  # Dask's, after several workers died under it
            raise
        return Outcome(None, error=f"KilledWorker: {error}", lost=True)


@contextlib.contextmanager
def _plain_faults(board: Board) -> Generator[None]:
    """The faults of an executor as errors that say what is kept."""
    kept = (
        f"{board.state.finished} of {board.state.total} runs are finished and kept; give the same "
        "command again to go on"
    )
    try:
        yield
    except BrokenExecutor as error:
        raise RuntimeError(f"A worker of the executor died; {kept}.") from error
    except CancelledError as error:
        raise RuntimeError(f"The executor cancelled its runs; {kept}.") from error


def failure_of(spec: Spec, outcome: Outcome) -> Failure:
    """The record of a run that came to no table."""
    return Failure(
        spec.key(),
        outcome.error,
        outcome.step,
        outcome.traceback,
        outcome.lost,
        time.time(),
        fields_of(spec),
    )


def has_diverged(table: pl.DataFrame) -> bool:
    """Whether a member of the run diverged."""
    return "diverged" in table.columns and bool(table["diverged"].cast(pl.Boolean).any())


def count(board: Board, **more: int) -> None:
    """Add to the counts of the state."""
    new = {name: getattr(board.state, name) + number for name, number in more.items()}
    board.state = replace(board.state, **new)


def _tell(board: Board, starting: int = 0) -> None:
    """Report the state, with the time that is left if the rest goes as what was done here."""
    state = board.state
    seconds = time.monotonic() - board.start
    ended = state.finished + state.failed
    done = ended - board.at_start
    left = seconds / done * (state.total - ended) if done else None
    board.state = replace(
        state,
        running=len(board.running) + starting,
        elsewhere=len(board.elsewhere),
        seconds=seconds,
        left=left,
    )
    board.tell(ended, state.total, remarks(board.state))


@contextlib.contextmanager
def lane(executor: Executor | None, workers: int | None) -> Generator[Lane]:
    """This process, a given executor, or as many worker processes, which end with the block."""
    if executor is not None:
        if workers is not None:
            raise ValueError("give an executor or a number of workers, not both")
        check_executor(executor)
        most = getattr(executor, "_max_workers", None)
        limit = most + 1 if isinstance(most, int) else capacity()
        yield Lane(lambda run, spec: executor.submit(attempt, run, spec), limit)
    elif workers is None:
        yield Lane(_here, 1)
    elif workers < 1:
        raise ValueError(f"a sweep needs at least one worker, got {workers}")
    else:
        pool, threads = Workers(workers), ThreadPoolExecutor(workers)
        try:
            yield Lane(lambda run, spec: threads.submit(pool.attempt, run, spec), workers)
        finally:
            pool.stop()
            threads.shutdown(cancel_futures=True)


def _here(run: Run, spec: Spec) -> Future[Outcome]:
    """Make the run now, in this process."""
    future = Future[Outcome]()
    future.set_result(attempt(run, spec))
    return future
