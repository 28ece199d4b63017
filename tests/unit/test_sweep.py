"""Sweeps: what is made, what is kept, and what is made again, on every kind of executor."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kleiber.errors import BadExperiment, BadTable
from kleiber.experiment import Experiment
from kleiber.sweeps.inputs import check_executor, open_store, read_specs
from kleiber.sweeps.run import (
    SweepResult,
    run_sweep,
    sweep,
)
from kleiber.sweeps.store import Failure, Folder

sys.path.insert(0, str(Path(__file__).parent))
from sweep_fakes import LOG, MENDED, Fake, fake_run, starts

HERE = str(Path(__file__).parent)

GOOD = [Fake(n) for n in range(6)]
MIXED = [*GOOD[:3], Fake(7, "fail"), Fake(8, "diverge"), Fake(9, "nothing"), *GOOD[3:]]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where runs sign in when they begin."""
    monkeypatch.setenv(LOG, str(tmp_path / "log"))
    return tmp_path / "log"


@pytest.fixture
def store(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "runs")


def made(store: Folder, specs: list[Fake] = MIXED, **options: Any) -> SweepResult:
    """A sweep of fakes."""
    return run_sweep(specs, store, run=fake_run, **options)


def test_a_sweep_makes_one_table(store: Folder) -> None:
    table = sweep(GOOD, store.path, run=fake_run)
    assert table.columns == ["run", "n_data", "task_do", "task_seconds", "seed", "step", "loss"]
    assert table["run"].unique(maintain_order=True).to_list() == [spec.key() for spec in GOOD]
    for spec in GOOD:
        rows = table.filter(pl.col("n_data") == spec.n_data)
        assert rows.select("seed", "step", "loss").equals(fake_run(spec))
    assert sweep(GOOD[2:3], str(store.path), run=fake_run).height == 6


def test_what_has_finished_is_not_made_again(store: Folder, log: Path) -> None:
    made(store, GOOD[:4])
    assert sorted(starts(log)) == [spec.key() for spec in GOOD[:4]]
    done = made(store, [*GOOD, *GOOD])
    assert sorted(starts(log)) == [spec.key() for spec in GOOD]
    assert (done.state.total, done.state.found, done.state.finished) == (6, 4, 6)


def test_only_runs_that_are_wanted_are_counted(store: Folder) -> None:
    """A store may hold runs of other sweeps too."""
    made(store, GOOD[:4])
    state = made(store, GOOD[3:]).state
    assert (state.total, state.found, state.finished, state.left) == (3, 1, 3, 0)


def test_progress_is_told(store: Folder) -> None:
    told: list[tuple[int, int, str]] = []
    done = made(store, progress=lambda *seen: told.append(seen))
    assert told[0] == (0, 9, "")
    assert told[-1] == (9, 9, "2 failed, 1 diverged")
    assert {note.split(" running")[0] for _, _, note in told if "running" in note} == {"1"}
    ended = [ended for ended, _, _ in told]
    assert ended == sorted(ended)
    assert all(" left" in note for ended, total, note in told if 0 < ended < total)
    last = done.state
    assert (last.finished, last.failed, last.diverged, last.lost) == (7, 2, 1, 0)
    assert last.left == 0


HOPELESS = {
    "exit": "SystemExit: 0",
    "panic": "PanicException: it panicked",
    "objects": "TypeError: A run must return a polars table, got one of Python objects.",
    "unkept": "BadTable: The run .* cannot be kept: a column may not be named '_file_'.",
    "nan": "BadTable: The run .* cannot be kept: task.n_data: a finite number is needed, got nan.",
}


@pytest.mark.parametrize("workers", [None, 1])
def test_what_cannot_be_made_or_kept_fails_that_run_alone(
    store: Folder, workers: int | None
) -> None:
    specs = [GOOD[0], *(Fake(9, do) for do in HOPELESS), GOOD[1]]
    done = made(store, specs, workers=workers)
    assert (done.state.finished, done.state.failed, done.state.lost) == (2, 5, 0)
    for do, sentence in HOPELESS.items():
        assert re.fullmatch(sentence, done.failures[Fake(9, do).key()].error)
    assert store.failures() == done.failures
    assert store.read()["run"].n_unique() == 2


def test_only_an_interrupt_ends_a_sweep(store: Folder) -> None:
    def interrupted(spec: Fake) -> pl.DataFrame:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(GOOD, store, run=interrupted)
    assert dict(store.failures()) == {}


def test_a_folder_of_somebody_else_is_not_touched(store: Folder) -> None:
    store.path.mkdir()
    for name in ("a", "b"):
        fake_run(GOOD[0]).write_parquet(store.path / f"{name}.parquet")
    sentence = r"^The folder '.*' holds 2 Parquet files and no run of kleiber.*adopt=True.*\.$"
    with pytest.raises(BadExperiment, match=sentence):
        sweep(GOOD, store.path, run=fake_run)
    assert sorted(item.name for item in store.path.iterdir()) == ["a.parquet", "b.parquet"]
    with pytest.warns(UserWarning, match="is set aside") as heard:
        assert sweep(GOOD, store.path, run=fake_run, adopt=True)["run"].n_unique() == 6
    assert len(heard) == 2
    fake_run(GOOD[0]).write_parquet(store.path / "c.parquet")
    with pytest.warns(UserWarning, match="is set aside"):
        sweep(GOOD, store.path, run=fake_run)


def test_a_store_whose_runs_all_failed_is_ours(store: Folder) -> None:
    made(store, [Fake(7, "fail")])
    fake_run(GOOD[0]).write_parquet(store.path / "a.parquet")
    with pytest.warns(UserWarning, match="is set aside"):
        assert sweep(GOOD, store.path, run=fake_run)["run"].n_unique() == 6


def test_a_failing_run_is_recorded_and_the_rest_goes_on(store: Folder, log: Path) -> None:
    done = made(store)
    assert sorted(done.failures) == ["fake-fail-0007", "fake-nothing-0009"]
    failure = json.loads((store.path / "failed" / "fake-fail-0007.json").read_text())
    assert failure["error"] == "Stopped: stopped at 7"
    assert failure["step"] == 7
    assert "in fake_run\n" in failure["traceback"]
    assert failure["spec"]["task"]["do"] == "fail"
    assert "must return a polars table" in done.failures["fake-nothing-0009"].error
    begun = len(starts(log))
    again = made(store)
    assert again.state.failed == 2
    assert again.failures == done.failures
    assert len(starts(log)) == begun


def test_failures_are_tried_again_when_asked(
    store: Folder, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(store)
    log.unlink()
    monkeypatch.setenv(MENDED, "1")
    done = made(store, retry_failed=True)
    assert sorted(starts(log)) == ["fake-fail-0007", "fake-nothing-0009"]
    assert list(done.failures) == ["fake-nothing-0009"]
    assert sorted(path.stem for path in (store.path / "failed").iterdir()) == ["fake-nothing-0009"]
    assert store.holds("fake-fail-0007")


def test_a_sweep_warns_of_failures(store: Folder) -> None:
    expected = "2 of 9 runs failed; fake-fail-0007: Stopped: stopped at 7"
    with pytest.warns(UserWarning, match=expected):
        table = sweep(MIXED, store, run=fake_run)
    assert table["run"].n_unique() == 7


def test_nothing_finished_and_nothing_to_do_are_errors(store: Folder) -> None:
    with (
        pytest.warns(UserWarning, match="1 of 1 runs failed"),
        pytest.raises(BadTable, match="no finished run"),
    ):
        sweep([Fake(1, "fail")], store, run=fake_run)
    with pytest.raises(ValueError, match="at least one Experiment"):
        sweep([], store, run=fake_run)
    with pytest.raises(ValueError, match="at least one worker, got 0"):
        sweep(GOOD, store, run=fake_run, workers=0)
    with ThreadPoolExecutor() as pool, pytest.raises(ValueError, match="not both"):
        sweep(GOOD, store, pool, run=fake_run, workers=2)


def files(folder: Path) -> dict[str, bytes]:
    """What the run files of a store hold."""
    return {file.name: file.read_bytes() for file in folder.glob("*.parquet")}


@pytest.fixture
def undisturbed(tmp_path: Path) -> Callable[[list[Fake]], dict[str, bytes]]:
    """The run files that a sweep leaves when nothing happens to it."""

    def make(specs: list[Fake]) -> dict[str, bytes]:
        made(Folder(tmp_path / "undisturbed"), specs)
        return files(tmp_path / "undisturbed")

    return make


def test_workers_make_the_same_files(
    store: Folder, undisturbed: Callable[[list[Fake]], dict[str, bytes]], capfd: Any
) -> None:
    specs = [*MIXED, Fake(10, "die"), Fake(11, "print")]
    done = made(store, specs, workers=2)
    assert (done.state.finished, done.state.failed, done.state.lost) == (8, 3, 1)
    assert done.failures["fake-die-0010"].error == "The worker died 3 times (signal 9)."
    assert files(store.path) == undisturbed([*MIXED, Fake(11, "print")])
    assert capfd.readouterr().out.count("noise") == 1  # of the undisturbed sweep in this process


def test_a_run_whose_worker_died_is_tried_again_unasked(
    store: Folder, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kleiber.sweeps.workers.MAX_DEATHS", 1)
    made(store, [Fake(10, "die")], workers=1)
    assert store.failures()["fake-die-0010"].lost
    made(store, [Fake(10, "die")], workers=1)
    assert starts(log) == ["fake-die-0010"] * 2


def test_workers_have_one_thread(store: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    made(store, [Fake(0, "threads")], workers=1)
    assert store.read()["threads"].to_list() == ["1 1 1"]
    assert "OMP_NUM_THREADS" not in os.environ
    assert os.environ["OPENBLAS_NUM_THREADS"] == "4"


def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {HERE!r})\n"
        "from sweep_fakes import sweep_fakes\n"
        f"sweep_fakes({str(tmp_path / 'runs')!r}, 2, 1, 0)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "RuntimeError: A worker process could not start (exit code 1)" in last
    assert '__name__ == "__main__"' in last


def test_a_run_that_workers_cannot_import_is_refused(store: Folder) -> None:
    with pytest.raises(TypeError, match=r"must be a function of a module.*pickle"):
        run_sweep(GOOD, store, run=lambda spec: fake_run(spec), workers=1)


def threads() -> Executor:
    return ThreadPoolExecutor(3)


def processes() -> Executor:
    return ProcessPoolExecutor(2, mp_context=get_context("spawn"))


@pytest.mark.parametrize("kind", [threads, processes])
def test_any_executor_makes_the_same_files(
    kind: Callable[[], Executor],
    store: Folder,
    undisturbed: Callable[[list[Fake]], dict[str, bytes]],
) -> None:
    with kind() as executor:
        done = made(store, executor=executor)
    assert (done.state.finished, done.state.failed) == (7, 2)
    assert files(store.path) == undisturbed(MIXED)


def test_an_executor_that_breaks_loses_nothing_finished(store: Folder, log: Path) -> None:
    specs = [*GOOD[:4], Fake(9, "die"), *GOOD[4:]]
    expected = r"worker of the executor died; \d of 7 runs are finished and kept"
    with processes() as executor, pytest.raises(RuntimeError, match=expected):
        made(store, specs, executor=executor)
    kept = store.finished()
    log.unlink()
    assert made(store, GOOD).state.found == len(kept)
    assert sorted([*starts(log), *kept]) == [spec.key() for spec in GOOD]


def test_without_locks_a_warning_says_so(store: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.warns(UserWarning, match="no file locks here: do not start two sweeps"):
        assert made(store, GOOD).state.finished == 6


def test_a_run_that_another_sweep_finishes_is_waited_for(store: Folder, log: Path) -> None:
    release = store.claim(GOOD[2].key())
    assert release is not None
    table = fake_run(GOOD[2])
    log.unlink()

    def tell(ended: int, total: int, note: str) -> None:
        if "elsewhere" in note and not store.holds(GOOD[2].key()):
            store.keep(GOOD[2], table)
            release()

    done = made(store, GOOD, progress=tell)
    assert (done.state.finished, done.state.elsewhere) == (6, 0)
    assert GOOD[2].key() not in starts(log)


def test_a_run_that_fails_in_another_sweep_is_not_made_here(store: Folder, log: Path) -> None:
    spec = Fake(7, "fail")
    release = store.claim(spec.key())
    assert release is not None
    made_there = Failure(spec.key(), "it failed there", when=5.0)

    def tell(ended: int, total: int, note: str) -> None:
        if "elsewhere" in note and not store.failures():
            store.record(made_there)
            release()

    done = made(store, [*GOOD, spec], retry_failed=True, progress=tell)
    assert dict(done.failures) == {spec.key(): made_there}
    assert spec.key() not in starts(log)


def test_a_run_that_another_sweep_drops_is_made_here(store: Folder, log: Path) -> None:
    release = store.claim(GOOD[2].key())
    assert release is not None

    def tell(ended: int, total: int, note: str) -> None:
        if "elsewhere" in note and ended == 5:
            release()

    assert made(store, GOOD, progress=tell).state.finished == 6
    assert starts(log)[-1] == GOOD[2].key()


def test_claims_are_given_back_however_a_sweep_ends(store: Folder) -> None:
    def interrupt(ended: int, total: int, note: str) -> None:
        if ended == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(store, GOOD, progress=interrupt)
    assert list((store.path / ".claims").iterdir()) == []
    assert len(store.finished()) == 3
    assert made(store, GOOD).state.found == 3


def test_workers_that_are_killed_as_they_start_are_replaced(
    store: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = iter(range(4))
    start = SpawnProcess.start

    def start_or_die(process: SpawnProcess) -> None:
        start(process)
        if (death := next(deaths, None)) is not None:
            process.kill()
            if death == 3:
                raise BrokenPipeError

    monkeypatch.setattr(SpawnProcess, "start", start_or_die)
    assert made(store, GOOD, workers=1).state.finished == 6


def test_workers_that_never_start_end_the_sweep(
    store: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(process: SpawnProcess) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(SpawnProcess, "start", fail)
    with pytest.raises(RuntimeError, match=r"could not start \(signal, while it started\)"):
        made(store, GOOD, workers=2)


FIELDS = {"task": {"kind": "teacher", "n_data": 8}, "net": {"kind": "mlp", "width": 4}, "steps": 5}
TOML = 'steps = 5\n[task]\nkind = "teacher"\nn_data = 8\n[net]\nkind = "mlp"\nwidth = 4\n'


def test_specs_are_experiments_fields_files_or_one_alone(tmp_path: Path) -> None:
    file = tmp_path / "one.toml"
    file.write_text(TOML)
    spec = Experiment(**FIELDS)
    for given in ([FIELDS], [file], [str(file)], spec, [spec], (FIELDS, spec), {"base": FIELDS}):
        assert [item.key() for item in read_specs(given)] == [spec.key()] * len(read_specs(given))
    assert len(read_specs((FIELDS, spec))) == 2
    table = sweep(Fake(1), tmp_path / "runs", run=fake_run)
    assert table["run"].unique().to_list() == [Fake(1).key()]


@pytest.mark.parametrize("given", [[1], 3, None, Experiment, [Experiment], [[FIELDS]], [None]])
def test_what_is_no_spec_is_refused(given: Any) -> None:
    with pytest.raises(BadExperiment, match=r"^A sweep takes Experiments, .*, got "):
        read_specs(given)


@pytest.mark.parametrize("given", [3, ThreadPoolExecutor])
def test_what_is_no_executor_is_refused(given: Any) -> None:
    with pytest.raises(BadExperiment, match=r"^An executor must have a method submit.* got "):
        check_executor(given)


def test_a_store_is_a_folder_or_a_store() -> None:
    with pytest.raises(BadExperiment, match="A store must be a folder's path or a Store, got 3"):
        open_store(3)
