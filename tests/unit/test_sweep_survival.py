"""Sweeps that are interfered with: killed, doubled, interrupted, out of disk."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kleiber.sweeps.run import run_sweep
from kleiber.sweeps.store import Folder

sys.path.insert(0, str(Path(__file__).parent))
from sweep_fakes import LOG, Fake, fake_run, starts

HERE = str(Path(__file__).parent)

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="finds worker processes in /proc"
)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where runs sign in when they begin."""
    monkeypatch.setenv(LOG, str(tmp_path / "log"))
    return tmp_path / "log"


@pytest.fixture
def store(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "runs")


def start(store: Folder, count: int, *, workers: int, seconds: float) -> subprocess.Popen[str]:
    """A sweep of fakes in a process of its own."""
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        f"sys.path.insert(0, {HERE!r}); from sweep_fakes import sweep_fakes;"
        f"sweep_fakes({str(store.path)!r}, {count}, {workers}, {seconds})"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """The processes that make runs for a process (another keeps track of shared resources)."""
    found: list[int] = []
    for children in Path(f"/proc/{process.pid}/task").glob("*/children"):
        found += [int(word) for word in children.read_text().split()]
    return [pid for pid in found if b"spawn_main" in command(pid)]


def command(pid: int) -> bytes:
    """The command line of a process, empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def files(store: Folder) -> dict[str, bytes]:
    """What the run files of a store hold; a killed sweep leaves hidden files of half a run."""
    return {file.name: file.read_bytes() for file in store.path.glob("[!.]*.parquet")}


def undisturbed(folder: Path, count: int, seconds: float) -> dict[str, bytes]:
    """The run files that a sweep in one process leaves when nothing happens to it."""
    whole = Folder(folder / "undisturbed")
    for spec in (Fake(n, seconds=seconds) for n in range(count)):
        whole.keep(spec, fake_run(Fake(spec.n_data)))
    return files(whole)


def check_none_again(store: Folder, log: Path) -> None:
    """No run began after its file had landed (a rename sets the time of the last change)."""
    for line in log.read_text().splitlines():
        key, began, _ = line.split()
        assert int(began) < (store.path / f"{key}.parquet").stat().st_ctime_ns


@pytest.mark.parametrize("count", [60, pytest.param(200, marks=pytest.mark.slow)])
def test_killed_workers_cost_nothing(count: int, store: Folder, log: Path, tmp_path: Path) -> None:
    rng, killed, seconds, out, err = random.Random(count), 0, 0.02, "", ""
    for turn in range(3):  # twice the sweep is killed too, then it is left to end
        process = start(store, count, workers=2, seconds=seconds)
        deadline = time.monotonic() + rng.uniform(1.5, 2.5)
        while process.poll() is None and (turn == 2 or time.monotonic() < deadline):
            time.sleep(rng.uniform(0.05, 0.3))
            for pid in workers_of(process):
                if rng.random() < 0.5 and killed < count // 8:
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
        process.kill()
        out, err = process.communicate()
    assert killed > 5
    if any(failure.lost for failure in store.failures().values()):
        out, err = start(store, count, workers=2, seconds=seconds).communicate()
    assert f"rows {6 * count}" in out, err
    check_none_again(store, log)
    assert len(starts(log)) <= count + killed + 2 * 2  # the killed sweeps had two runs each
    assert files(store) == undisturbed(tmp_path, count, seconds)


def test_workers_end_with_their_sweep(store: Folder, log: Path) -> None:
    process = start(store, 4, workers=2, seconds=90)
    wait_for(lambda: len(starts(log)) == 2)
    workers = workers_of(process)
    assert len(workers) == 2
    process.kill()
    process.communicate()
    wait_for(lambda: not any(command(pid) for pid in workers))


def test_an_interrupt_ends_a_sweep_at_once(store: Folder, log: Path) -> None:
    process = start(store, 4, workers=2, seconds=90)
    wait_for(lambda: len(starts(log)) == 2)
    workers, began = workers_of(process), time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert time.monotonic() - began < 45
    assert "KeyboardInterrupt" in err
    assert "Fake" not in err  # no worker has printed a traceback of its own
    assert not any(command(pid) for pid in workers)
    assert list((store.path / ".claims").iterdir()) == []


def test_two_sweeps_on_one_store_share_the_work(store: Folder, log: Path, tmp_path: Path) -> None:
    both = [start(store, 40, workers=1, seconds=0.02) for _ in range(2)]
    for process in both:
        out, err = process.communicate()
        assert "rows 240" in out, err
    assert sorted(starts(log)) == [Fake(n).key() for n in range(40)]
    assert len({line.split()[2] for line in log.read_text().splitlines()}) == 2
    assert files(store) == undisturbed(tmp_path, 40, 0.02)


@pytest.mark.slow
def test_a_sweep_takes_over_from_one_that_was_killed(store: Folder, log: Path) -> None:
    first = start(store, 12, workers=0, seconds=0.5)
    wait_for(lambda: len(starts(log)) == 2)
    second = start(store, 12, workers=0, seconds=0.01)
    wait_for(lambda: len(starts(log)) > 4)
    first.kill()
    first.communicate()
    out, err = second.communicate()
    assert "rows 72" in out, err
    check_none_again(store, log)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something holds; fail if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("workers", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_a_full_disk_ends_a_sweep_and_it_goes_on_later(
    small_disk: Path, workers: int | None, log: Path
) -> None:
    store, specs = Folder(small_disk / "runs"), [Fake(n) for n in range(30)]
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 40_000)
    with pytest.raises(OSError, match=r"'.*runs': No space left on device\. What has finished"):
        run_sweep(specs, store, run=fake_run, workers=workers)
    kept = store.finished()
    assert 0 < len(kept) < 30
    assert dict(store.failures()) == {}
    ballast.unlink()
    log.unlink()
    with pytest.raises(OSError, match="No space left"):  # it takes 30 pages and more
        run_sweep(specs, store, run=fake_run, workers=workers)
    assert kept < store.finished()
    assert not kept & set(starts(log))


def test_a_read_only_store_ends_a_sweep_before_any_run(small_disk: Path, log: Path) -> None:
    store = Folder(small_disk / "runs")
    run_sweep([Fake(0)], store, run=fake_run)
    log.unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OSError, match=r"Cannot write into the store .*Read-only"):
        run_sweep([Fake(0), Fake(1)], store, run=fake_run)
    assert not log.exists()
    assert run_sweep([Fake(0)], store, run=fake_run).state.finished == 1


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write")
def test_a_folder_without_permission_ends_a_sweep_before_any_run(store: Folder, log: Path) -> None:
    store.path.mkdir(mode=0o555)
    with pytest.raises(OSError, match="Permission denied"):
        run_sweep([Fake(0)], store, run=fake_run)
    assert not log.exists()


DASK = """
import os, signal, sys, threading, time
sys.path.insert(0, {here!r})
from sweep_fakes import Fake, fake_run, starts
from kleiber.sweeps.cluster import dask_executor
from kleiber.sweeps.run import run_sweep
from kleiber.sweeps.store import Folder
from pathlib import Path

def kill_one():
    log = Path(os.environ["KLEIBER_TEST_LOG"])
    while not log.exists() or len(log.read_text().splitlines()) < 5:
        time.sleep(0.05)
    os.kill(int(log.read_text().splitlines()[-1].split()[2]), signal.SIGKILL)

if __name__ == "__main__":
    threading.Thread(target=kill_one, daemon=True).start()
    specs = [Fake(n, seconds=0.2) for n in range(20)] + [Fake(90, "fail")]
    with dask_executor("local", 2) as executor:
        done = run_sweep(specs, Folder(Path({store!r})), executor, run=fake_run)
    print("ended", done.state.finished, done.state.failed, done.state.lost)
"""


def test_a_dask_worker_killed_in_a_run_costs_nothing(
    store: Folder, log: Path, tmp_path: Path
) -> None:
    pytest.importorskip("distributed", reason="needs the extra cluster")
    (tmp_path / "script.py").write_text(DASK.format(here=HERE, store=str(store.path)))
    words = [sys.executable, str(tmp_path / "script.py")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "ended 20 1 0" in done.stdout, done.stderr
    for line in log.read_text().splitlines():
        key, began, _ = line.split()
        if key != "fake-fail-0090":
            assert int(began) < (store.path / f"{key}.parquet").stat().st_ctime_ns
    assert len(starts(log)) >= 22  # the killed one was made again
    (store.path / "fake-fail-0090.parquet").unlink(missing_ok=True)
    assert files(store) == undisturbed(tmp_path, 20, 0.2)


INTERRUPTED = """
import contextlib, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {here!r})
from pathlib import Path
from sweep_fakes import Fake, fake_run
from kleiber.sweeps.cluster import dask_executor
from kleiber.sweeps.run import run_sweep
from kleiber.sweeps.store import Folder

if __name__ == "__main__":
    specs = [Fake(n, seconds=0.2) for n in range(4)] + [Fake(90, seconds=60.0)]
    place = dask_executor("local", 1) if {dask} else contextlib.nullcontext()
    try:
        with place as executor:
            workers = None if executor else 1
            run_sweep(specs, Folder(Path({store!r})), executor, workers=workers, run=fake_run)
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize(
    ("dask", "when"),
    [
        (False, "as workers start"),
        (False, "in a run"),
        (True, "in a run"),
        pytest.param(True, "as workers start", marks=pytest.mark.slow),
    ],
)
def test_an_interrupt_of_all_processes_ends_them_without_tracebacks(
    dask: bool, when: str, store: Folder, log: Path, tmp_path: Path
) -> None:
    """As a terminal sends it: to the sweep and to all of its workers at once."""
    if dask:
        pytest.importorskip("distributed", reason="needs the extra cluster")
    text = INTERRUPTED.format(here=HERE, store=str(store.path), dask=dask)
    (tmp_path / "script.py").write_text(text)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: bool(workers_of(process)))
    workers = workers_of(process)
    if when == "in a run":
        wait_for(lambda: store.path.exists() and len(files(store)) == 4)
    else:
        time.sleep(0.3)  # it imports its modules now
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "")
    wait_for(lambda: not any(command(pid) for pid in workers), 10)
    assert len(store.finished()) == (4 if when == "in a run" else 0)
    assert store.failures() == {}
