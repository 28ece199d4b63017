"""sweep: trains many Experiments on any executor into one store; calling it again continues."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from kleiber.errors import BadTable
from kleiber.progress import Progress, check_progress
from kleiber.sweeps.dispatch import Dispatcher, open_dispatcher
from kleiber.sweeps.inputs import SpecLike, check_own, open_store, read_specs
from kleiber.sweeps.locks import Release
from kleiber.sweeps.runs import Spec, spec_fields, warn_user
from kleiber.sweeps.state import State, describe_progress
from kleiber.sweeps.store import Failure, Folder, Store
from kleiber.sweeps.workers import Outcome, Run

POLL = 0.2  # seconds between looks at interrupts and at runs that another sweep works on


@dataclass(frozen=True)
class SweepResult:
    """The result of a sweep: the counts, and the runs that failed."""

    state: State
    failures: Mapping[str, Failure]
    keys: tuple[str, ...]


def sweep(
    specs: Iterable[SpecLike] | SpecLike,
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
    target, experiments = open_store(store), read_specs(specs)
    if not adopt:
        check_own(target)
    done = run_sweep(
        experiments,
        target,
        executor,
        workers=workers,
        run=run,
        retry_failed=retry_failed,
        progress=progress,
    )
    if done.failures:
        warn_user(describe_failures(done))
    return target.read(done.keys)


def describe_failures(done: SweepResult) -> str:
    """Describe the runs that failed in one sentence."""
    first = next(iter(done.failures.values()))
    lost = done.state.lost
    more = f", {lost} of them with their worker" if lost else ""
    return (
        f"{len(done.failures)} of {done.state.total} runs failed{more}; {first.key}: "
        f"{first.error.splitlines()[0] if first.error else 'unknown'}"
    )


def run_sweep(
    specs: Iterable[Spec],
    store: Store,
    executor: Executor | None = None,
    *,
    workers: int | None = None,
    run: Run | None = None,
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> SweepResult:
    """Run a sweep as `sweep` does, but return the counts and failures instead of the table."""
    by_key = {spec.key(): spec for spec in specs}
    if not by_key:
        raise ValueError("A sweep needs at least one Experiment.")
    finished = store.finished() & by_key.keys()
    before = store.failures()
    failed = {
        key: item
        for key, item in before.items()
        if key in by_key and not retry_failed and not item.lost
    }
    schedule = Schedule(
        store,
        run or make_training(store),
        deque(spec for key, spec in by_key.items() if key not in finished and key not in failed),
        State(len(by_key), len(finished), len(finished), failed=len(failed)),
        check_progress(progress),
        before,
        dict(failed),
        len(finished) + len(failed),
    )
    with open_dispatcher(executor, workers) as dispatcher:
        run_all(schedule, dispatcher)
    return SweepResult(schedule.state, schedule.failures, tuple(by_key))


def train_experiment(spec: Any, states: Path | None = None) -> pl.DataFrame:
    """Train an Experiment: the default run. The state of a long run is kept in the folder `states`,
    if there is one, so that it continues after it is killed."""
    from kleiber.networks.loop import train  # here: torch takes seconds to import

    if states is None or not states.parent.is_dir():  # another machine, without these files
        return train(spec)
    states.mkdir(exist_ok=True)
    return train(spec, resume=states / f"{spec.key()}.pt")


def make_training(store: Store) -> Run:
    """Return the default run: with a folder for states beside a store's folder, without one for any
    other store."""
    if isinstance(store, Folder):
        return partial(train_experiment, states=store.path.resolve() / ".states")
    return train_experiment


@dataclass
class Schedule:
    """The runs of a sweep in progress: waiting, running and failed ones."""

    store: Store
    run: Run
    waiting: deque[Spec]
    state: State
    report: Progress
    before: Mapping[str, Failure]  # as they were when the sweep began
    failures: dict[str, Failure]
    at_start: int  # runs that were finished, or had failed and stay so
    elsewhere: deque[Spec] = field(default_factory=deque[Spec])
    running: dict[Future[Outcome], tuple[Spec, Release]] = field(
        default_factory=dict[Future[Outcome], tuple[Spec, Release]]
    )
    start: float = field(default_factory=time.monotonic)


def run_all(schedule: Schedule, dispatcher: Dispatcher) -> None:
    """Submit runs and collect their outcomes until none is waiting or running."""
    _report(schedule)
    try:
        while schedule.waiting or schedule.running or schedule.elsewhere:
            while schedule.waiting and len(schedule.running) < dispatcher.limit:
                start_run(schedule, schedule.waiting.popleft(), dispatcher)
            _report(schedule)
            if schedule.running:  # not for ever: a wait without an end can sleep through a Ctrl-C
                for future in wait(schedule.running, POLL, FIRST_COMPLETED).done:
                    finish_run(schedule, future)
            elif schedule.elsewhere:
                time.sleep(POLL)
            if (
                schedule.elsewhere and not schedule.waiting
            ):  # has the other sweep finished one, or died?
                schedule.waiting, schedule.elsewhere = schedule.elsewhere, deque()
        _report(schedule)
    finally:
        for future, (_, release) in schedule.running.items():
            future.cancel()
            release()


def start_run(schedule: Schedule, spec: Spec, dispatcher: Dispatcher) -> None:
    """Start a run, unless another sweep works on it or has finished it meanwhile."""
    key = spec.key()
    release = schedule.store.claim(key)
    if release is None:
        schedule.elsewhere.append(spec)
        return
    try:
        if schedule.store.holds(key):
            add_counts(schedule, finished=1)
        elif (recorded := _failed_since(schedule, key)) is not None:
            schedule.failures[key] = recorded
            add_counts(schedule, failed=1)
        else:
            _report(schedule, starting=1)
            with _explain_executor_errors(schedule):
                schedule.running[dispatcher.submit(schedule.run, spec)] = (spec, release)
            return
    except BaseException:
        release()
        raise
    release()


def _failed_since(schedule: Schedule, key: str) -> Failure | None:
    """Return the failure of a run that another sweep recorded after this one began."""
    recorded = schedule.store.failure(key)
    return (
        None
        if recorded is None or recorded == schedule.before.get(key) or recorded.lost
        else recorded
    )


def finish_run(schedule: Schedule, future: Future[Outcome]) -> None:
    """Store the outcome of a run, then release its lock."""
    spec, release = schedule.running.pop(future)
    try:
        outcome = keep_outcome(schedule.store, spec, read_outcome(future, schedule))
        if outcome.table is None:
            failure = make_failure(spec, outcome)
            schedule.store.record(failure)
            schedule.failures[spec.key()] = failure
            add_counts(schedule, failed=1, lost=int(outcome.lost))
        else:
            add_counts(schedule, finished=1, diverged=int(has_diverged(outcome.table)))
    finally:
        release()


def keep_outcome(store: Store, spec: Spec, outcome: Outcome) -> Outcome:
    """Store the table of an outcome and return the outcome; a table that cannot be stored is a
    failure."""
    if outcome.table is None:
        return outcome
    try:
        store.keep(spec, outcome.table)
    except BadTable as error:
        return replace(outcome, table=None, error=f"{type(error).__name__}: {error}")
    return outcome


def read_outcome(future: Future[Outcome], schedule: Schedule) -> Outcome:
    """Return the outcome of a future, also for a run that Dask gave up."""
    try:
        with _explain_executor_errors(schedule):
            return future.result()
    except Exception as error:
        if type(error).__name__ != "KilledWorker":  # Dask's, after several workers died under it
            raise
        return Outcome(None, error=f"KilledWorker: {error}", lost=True)


@contextlib.contextmanager
def _explain_executor_errors(schedule: Schedule) -> Generator[None]:
    """Raise the errors of an executor with a sentence that says what is kept."""
    kept = (
        f"{schedule.state.finished} of {schedule.state.total} runs are finished and kept; give the "
        "same command again to go on"
    )
    try:
        yield
    except BrokenExecutor as error:
        raise RuntimeError(f"A worker of the executor died; {kept}.") from error
    except CancelledError as error:
        raise RuntimeError(f"The executor cancelled its runs; {kept}.") from error


def make_failure(spec: Spec, outcome: Outcome) -> Failure:
    """Return the record of a run that made no table."""
    return Failure(
        spec.key(),
        outcome.error,
        outcome.step,
        outcome.traceback,
        outcome.lost,
        time.time(),
        spec_fields(spec),
    )


def has_diverged(table: pl.DataFrame) -> bool:
    """Return whether a net of the run diverged."""
    return "diverged" in table.columns and bool(table["diverged"].cast(pl.Boolean).any())


def add_counts(schedule: Schedule, **more: int) -> None:
    """Add to the counts of the state."""
    new = {name: getattr(schedule.state, name) + number for name, number in more.items()}
    schedule.state = replace(schedule.state, **new)


def _report(schedule: Schedule, starting: int = 0) -> None:
    """Report the state, with the remaining time if the other runs take as long as those so far."""
    state = schedule.state
    seconds = time.monotonic() - schedule.start
    ended = state.finished + state.failed
    done = ended - schedule.at_start
    left = seconds / done * (state.total - ended) if done else None
    schedule.state = replace(
        state,
        running=len(schedule.running) + starting,
        elsewhere=len(schedule.elsewhere),
        seconds=seconds,
        left=left,
    )
    schedule.report(ended, state.total, describe_progress(schedule.state))
