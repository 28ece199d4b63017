"""What any store of finished runs must do, and what the folder does beyond it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kleiber.errors import BadTable
from kleiber.sweeps.locks import claim
from kleiber.sweeps.runs import Spec, is_store, run_bytes, spec_table
from kleiber.sweeps.store import Failure, Folder, Store
from kleiber.table import read_tables

sys.path.insert(0, str(Path(__file__).parent))
from sweep_fakes import Fake, fake_run

RUNS = [Fake(n) for n in range(4)]


@dataclass(frozen=True)
class Memory:
    """A store of another kind, to show that the contract is not the folder's alone."""

    tables: dict[str, pl.DataFrame] = field(default_factory=dict[str, pl.DataFrame])
    specs: dict[str, Any] = field(default_factory=dict[str, Any])
    failed: dict[str, Failure] = field(default_factory=dict[str, Failure])
    claims: set[str] = field(default_factory=set[str])

    def finished(self) -> frozenset[str]:
        return frozenset(self.tables)

    def holds(self, key: str) -> bool:
        return key in self.tables

    def claim(self, key: str) -> Callable[[], None] | None:
        if key in self.claims:
            return None
        self.claims.add(key)
        return lambda: self.claims.discard(key)

    def keep(self, spec: Spec, table: pl.DataFrame) -> None:
        self.tables[spec.key()] = table
        self.specs[spec.key()] = json.loads(spec.model_dump_json())
        self.failed.pop(spec.key(), None)

    def record(self, failure: Failure) -> None:
        self.failed[failure.key] = failure

    def failures(self) -> Mapping[str, Failure]:
        return {key: item for key, item in self.failed.items() if key not in self.tables}

    def failure(self, key: str) -> Failure | None:
        return self.failures().get(key)

    def read(self, keys: Iterable[str] | None = None) -> pl.DataFrame:
        wanted = sorted(self.tables if keys is None else self.tables.keys() & set(keys))
        if not wanted:
            raise BadTable("no finished run")
        own = pl.exclude("run")
        runs = [self.tables[k].select(pl.lit(k).alias("run"), own) for k in wanted]
        table = pl.concat(runs, how="diagonal_relaxed")
        fields = spec_table(wanted, [self.specs[k] for k in wanted])
        fields = fields.drop(table.columns[1:], strict=False)
        return fields.join(table, on="run", maintain_order="left_right")


@dataclass(frozen=True)
class Spoken:
    """A spec with one field of any kind."""

    name: str
    x: Any

    def key(self) -> str:
        return self.name

    def model_dump_json(self) -> str:
        return json.dumps({"net": {"x": self.x}})


class StoreContract:
    """Tests that any store must pass: give an empty one as the fixture `store`."""

    def test_an_empty_store(self, store: Store) -> None:
        assert store.finished() == frozenset()
        assert dict(store.failures()) == {}
        assert not store.holds(RUNS[0].key())
        assert store.failure(RUNS[0].key()) is None
        with pytest.raises(BadTable, match="no finished run"):
            store.read()

    def test_what_is_kept_is_read(self, store: Store) -> None:
        for spec in reversed(RUNS):
            store.keep(spec, fake_run(spec))
        assert store.finished() == {spec.key() for spec in RUNS}
        assert all(store.holds(spec.key()) for spec in RUNS)
        table = store.read()
        assert table.columns[0] == "run"
        assert table["run"].unique(maintain_order=True).to_list() == sorted(s.key() for s in RUNS)
        for spec in RUNS:
            rows = table.filter(pl.col("run") == spec.key()).drop("run")
            assert rows.select("seed", "step", "loss").equals(fake_run(spec))
            assert rows.columns == ["n_data", "task_do", "task_seconds", "seed", "step", "loss"]
            assert set(rows["n_data"]) == {spec.n_data}

    def test_own_columns_win_over_fields_of_the_spec(self, store: Store) -> None:
        store.keep(RUNS[3], pl.DataFrame({"n_data": [70, 80], "loss": [1.0, 2.0]}))
        assert store.read()["n_data"].to_list() == [70, 80]

    def test_fields_of_several_kinds_are_text(self, store: Store) -> None:
        for spec in (Spoken("a", 1), Spoken("b", 2.5), Spoken("c", [1, 2]), Spoken("d", None)):
            store.keep(spec, pl.DataFrame({"loss": [1.0]}))
        assert store.read()["net_x"].to_list() == ["1", "2.5", "[1, 2]", None]
        assert store.read(["a", "b"])["net_x"].to_list() == [1.0, 2.5]

    def test_some_are_read(self, store: Store) -> None:
        for spec in RUNS:
            store.keep(spec, fake_run(spec))
        wanted = [RUNS[2].key(), RUNS[0].key(), "not-there"]
        assert set(store.read(wanted)["run"]) == {RUNS[2].key(), RUNS[0].key()}
        with pytest.raises(BadTable, match="no finished run"):
            store.read(["not-there"])

    def test_runs_with_other_columns_and_types_are_joined(self, store: Store) -> None:
        store.keep(RUNS[0], pl.DataFrame({"rate": [1], "loss": [0.5]}))
        store.keep(RUNS[1], pl.DataFrame({"loss": [0.25], "error": [0.1], "rate": [0.5]}))
        store.keep(RUNS[2], pl.DataFrame({"loss": [None], "rate": [2.0]}))
        table = store.read()
        assert table["rate"].to_list() == [1.0, 0.5, 2.0]
        assert table["error"].to_list() == [None, 0.1, None]
        assert table["loss"].to_list() == [0.5, 0.25, None]

    def test_a_column_of_that_name_gives_way_to_the_run(self, store: Store) -> None:
        store.keep(RUNS[0], pl.DataFrame({"loss": [1.0], "run": ["mine"]}))
        assert store.read()["run"].to_list() == [RUNS[0].key()]

    def test_keeping_twice_is_keeping_once(self, store: Store) -> None:
        for _ in range(2):
            store.keep(RUNS[0], fake_run(RUNS[0]))
        assert store.read().height == fake_run(RUNS[0]).height

    def test_a_claim_excludes_until_it_is_given_back(self, store: Store) -> None:
        key = RUNS[0].key()
        release = store.claim(key)
        assert release is not None
        assert store.claim(key) is None
        other = store.claim(RUNS[1].key())
        assert other is not None
        release()
        again = store.claim(key)
        assert again is not None
        again()
        other()

    def test_a_failure_is_recorded_until_the_run_finishes(self, store: Store) -> None:
        key = RUNS[0].key()
        failure = Failure(key, "ValueError: no\nmore", 7, "trace", True, 1.5, {"task": {"n": 1}})
        store.record(failure)
        assert dict(store.failures()) == {key: failure}
        assert store.failure(key) == failure
        assert store.finished() == frozenset()
        store.record(Failure(key, "again"))
        assert store.failures()[key].error == "again"
        store.keep(RUNS[0], fake_run(RUNS[0]))
        assert dict(store.failures()) == {}
        assert store.failure(key) is None


class TestFolder(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return Folder(tmp_path / "deep" / "runs")


class TestMemory(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return Memory()


@pytest.fixture
def filled(tmp_path: Path) -> Folder:
    """A folder with four finished runs."""
    store = Folder(tmp_path / "runs")
    for spec in RUNS:
        store.keep(spec, fake_run(spec))
    return store


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def test_a_run_is_one_file_with_its_spec(filled: Folder) -> None:
    assert names(filled.path) == [f"{spec.key()}.parquet" for spec in RUNS]
    file = filled.path / f"{RUNS[1].key()}.parquet"
    label = json.loads(pl.read_parquet_metadata(file)["kleiber"])
    assert label["key"] == RUNS[1].key()
    assert label["spec"] == json.loads(RUNS[1].model_dump_json())
    assert pl.read_parquet(file).equals(fake_run(RUNS[1]))


def test_the_same_run_is_the_same_bytes(filled: Folder, tmp_path: Path) -> None:
    other = Folder(tmp_path / "other")
    other.keep(RUNS[3], fake_run(RUNS[3]))
    name = f"{RUNS[3].key()}.parquet"
    assert (other.path / name).read_bytes() == (filled.path / name).read_bytes()


def test_stores_merge_by_copying(filled: Folder, tmp_path: Path) -> None:
    other = Folder(tmp_path / "other")
    other.keep(Fake(9), fake_run(Fake(9)))
    other.record(Failure(RUNS[0].key(), "it failed there, and finished here"))
    subprocess.run(["cp", "-r", f"{other.path}/.", str(filled.path)], check=True)
    assert filled.finished() == {spec.key() for spec in [*RUNS, Fake(9)]}
    assert dict(filled.failures()) == {}
    assert filled.read()["run"].n_unique() == 5


def damage(filled: Folder) -> dict[str, str]:
    """Put things into a store that are no finished runs; the names, and what is said of them."""
    whole = (filled.path / f"{RUNS[0].key()}.parquet").read_bytes()
    (filled.path / "half.parquet").write_bytes(whole[: len(whole) // 2])
    (filled.path / "empty.parquet").touch()
    (filled.path / "text.parquet").write_text("step,loss\n1,2\n" * 20)
    (filled.path / "copy of a run.parquet").write_bytes(whole)
    fake_run(RUNS[0]).write_parquet(filled.path / "table.parquet")
    (filled.path / "notes.txt").write_text("mine")
    return {
        "half": "truncated or damaged",
        "empty": "truncated or damaged",
        "text": "truncated or damaged",
        "copy of a run": "holds the run 'fake-finish-0000', which is not its name",
        "table": "not written by a sweep",
    }


def said(function: Callable[[], object]) -> list[str]:
    """The warnings of a call."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        function()
    return [str(item.message) for item in heard]


def test_strangers_are_named_and_set_aside(filled: Folder) -> None:
    strangers = damage(filled)
    before = {name: (filled.path / f"{name}.parquet").read_bytes() for name in strangers}
    heard = said(filled.finished)
    assert len(heard) == len(strangers)
    for name, why in strangers.items():
        assert [why in line for line in heard if f"/{name}.parquet' is set aside" in line] == [True]
        assert (filled.path / "aside" / f"{name}.parquet").read_bytes() == before[name]
    assert names(filled.path) == sorted(
        [*(f"{spec.key()}.parquet" for spec in RUNS), "aside", "notes.txt"]
    )
    assert said(filled.finished) == []
    assert filled.finished() == {spec.key() for spec in RUNS}


def test_what_is_set_aside_never_replaces_what_was(filled: Folder) -> None:
    for text in ("one", "two", "three"):
        (filled.path / "x.parquet").write_text(text)
        assert len(said(filled.finished)) == 1
    aside = filled.path / "aside"
    assert names(aside) == ["x-1.parquet", "x-2.parquet", "x.parquet"]
    assert [(aside / name).read_text() for name in names(aside)] == ["two", "three", "one"]


def test_reading_leaves_strangers_out_and_where_they_are(filled: Folder) -> None:
    strangers = damage(filled)
    before = names(filled.path)
    heard = said(filled.read)
    assert sorted(line.split("/")[-1].split(".")[0] for line in heard) == sorted(strangers)
    assert names(filled.path) == before
    with pytest.warns(UserWarning, match="left out"):
        assert filled.read()["run"].n_unique() == len(RUNS)


def test_damage_in_the_middle_of_a_file_costs_that_run_alone(filled: Folder) -> None:
    file = filled.path / f"{RUNS[1].key()}.parquet"
    whole = bytearray(file.read_bytes())
    whole[4:60] = b"\xff" * 56
    file.write_bytes(bytes(whole))
    with pytest.warns(UserWarning, match=rf"{file.name}' is left out: it is damaged"):
        table = filled.read()
    assert set(table["run"]) == {spec.key() for spec in RUNS} - {RUNS[1].key()}


def test_a_record_of_a_failure_that_cannot_be_read_is_none(filled: Folder) -> None:
    filled.record(Failure("good", "it failed"))
    (filled.path / "failed" / "half.json").write_text('{"key": "half", "er')
    (filled.path / "failed" / "other.json").write_text('{"key": "good", "error": "x"}')
    (filled.path / "failed" / "list.json").write_text("[]")
    heard = said(lambda: filled.failures())
    assert len(heard) == 3
    assert all("is no record of a failed run" in line for line in heard)
    with pytest.warns(UserWarning, match="no record"):
        assert list(filled.failures()) == ["good"]


def test_a_lock_that_is_given_back_meanwhile_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last owner removes the file between our open and our lock: that file guards nothing."""
    path, flock = tmp_path / "a", fcntl.flock
    held = [claim(path)]

    def late(handle: int, how: int) -> None:
        if held and (release := held.pop()):
            release()
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    release = claim(path)
    assert release is not None
    assert path.exists()
    assert claim(path) is None
    release()
    assert not path.exists()


def test_a_claim_holds_between_threads(tmp_path: Path) -> None:
    release = claim(tmp_path / "a")
    assert release is not None
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(claim, tmp_path / "a").result() is None
        pool.submit(release).result()
        again = pool.submit(claim, tmp_path / "a").result()
    assert again is not None
    again()


def test_without_locks_every_claim_is_granted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    for _ in range(2):
        with pytest.warns(UserWarning, match="no file locks here"):
            release = claim(tmp_path / "a")
        assert release is not None
        release()
    assert names(tmp_path) == []


def test_a_claim_ends_with_the_process_that_held_it(tmp_path: Path) -> None:
    store = Folder(tmp_path)
    code = (
        "import sys, time; from pathlib import Path; from kleiber.sweeps.store import Folder;"
        f"held = Folder(Path({str(tmp_path)!r})).claim('a'); print('held', flush=True);"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert store.claim("a") is None
        process.kill()
        process.wait()
    release = store.claim("a")
    assert release is not None
    release()
    assert names(tmp_path / ".claims") == []


def open_files() -> int:
    """How many files this process has open, on Linux."""
    return len(list(Path("/proc/self/fd").glob("*")))


def test_claims_leave_no_files_open(tmp_path: Path) -> None:
    store = Folder(tmp_path)
    before = open_files()
    for n in range(50):
        held = store.claim(str(n % 2))
        assert store.claim(str(n % 2)) is None
        assert held is not None
        held()
    assert open_files() == before


def test_old_temporary_files_are_swept_up(filled: Folder) -> None:
    old, new = filled.path / ".kleiber-old.parquet", filled.path / ".kleiber-new.parquet"
    for file in (old, new):
        file.write_text("half a run")
    two_hours_ago = time.time() - 7200
    os.utime(old, (two_hours_ago, two_hours_ago))
    assert said(filled.finished) == []
    assert not old.exists()
    assert new.exists()


def test_hidden_files_are_none_of_a_store(tmp_path: Path) -> None:
    """A killed sweep leaves half a run under a hidden name; even a whole one is no run there."""
    content = run_bytes(RUNS[0], fake_run(RUNS[0]))
    (tmp_path / "failed").mkdir()
    (tmp_path / ".kleiber-0123.parquet").write_bytes(content)
    (tmp_path / f".{RUNS[0].key()}.parquet").write_bytes(content)
    (tmp_path / "failed" / ".kleiber-0123.json").write_text("{")
    store = Folder(tmp_path)
    assert said(store.finished) == []
    assert said(store.failures) == []
    assert store.other_files() == 0
    assert not is_store(tmp_path)
    with pytest.raises(BadTable, match=r"holds no \.parquet files"):
        read_tables(tmp_path)
    store.keep(RUNS[1], fake_run(RUNS[1]))
    assert store.finished() == {RUNS[1].key()}
    assert set(store.read()["run"]) == {RUNS[1].key()}


def label_of(**fields: Any) -> str:
    """What a file says of its run, changed as given."""
    return json.dumps({"key": "x", "schema": "s", "version": "0", "spec": {}, **fields})


LABELS = {
    "no JSON": "{",
    "deep": "[" * 100_000,
    "a list": "[]",
    "a number": "1",
    "no text": "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
    "key of digits": label_of(key=1),
    "spec as a list": label_of(spec=[]),
    "spec as text": label_of(spec="x"),
    "schema as a list": label_of(schema=[1]),
    "deep spec": label_of()[:-3] + '{"a":' * 200 + "1" + "}" * 202,
    "deep list": label_of()[:-3] + '{"a":' + "[" * 200 + "]" * 200 + "}}",
    "large integer": label_of(spec={"task": {"data_seed": 2**64}}),
    "larger integer": label_of()[:-3] + '{"a":' + "9" * 5000 + "}}",
    "no number": label_of(spec={"net": {"x": float("nan")}}),
    "infinite": label_of()[:-3] + '{"a": 1e400}}',
    "many fields": label_of(spec={str(n): n for n in range(5000)}),
}


@pytest.mark.parametrize("case", LABELS)
def test_a_file_with_a_label_that_is_none_is_left_out(filled: Folder, case: str) -> None:
    file = filled.path / "x.parquet"
    fake_run(RUNS[0]).write_parquet(file, metadata={"kleiber": LABELS[case]})
    heard = said(filled.read)
    assert len(heard) == 1
    assert "x.parquet' is left out: " in heard[0]
    assert len(heard[0]) < 400
    with pytest.warns(UserWarning, match="left out"):
        assert filled.read()["run"].n_unique() == len(RUNS)
    assert not filled.holds("x")
    assert [("x.parquet' is set aside" in line) for line in said(filled.finished)] == [True]


def listen(path: Path) -> None:
    """Leave a socket of that name."""
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(path.parent):
        made.bind(path.name)  # by its name alone: a path of a hundred bytes is too long for it


ODD: dict[str, Callable[[Path], object]] = {  # what may have a file's name and is none
    "folder": lambda path: path.mkdir(),
    "pipe": os.mkfifo,
    "loop": lambda path: path.symlink_to(path.name),
    "link to nothing": lambda path: path.symlink_to("nowhere"),
    "socket": listen,
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_file_is_set_aside_and_its_run_kept(filled: Folder, kind: str) -> None:
    spec = Fake(50)
    file = filled.path / f"{spec.key()}.parquet"
    make = ODD[kind]
    make(file)
    assert len(said(filled.read)) == 1
    assert not filled.holds(spec.key())
    heard = said(lambda: filled.keep(spec, fake_run(spec)))  # as by train, which looks at one run
    assert len(heard) == 1
    assert "is set aside" in heard[0]
    assert filled.holds(spec.key())
    file.rename(filled.path / "kept")
    make(file)
    assert len(said(filled.finished)) == 1
    assert not os.path.lexists(file)


def test_keeping_never_replaces_what_is_no_run(filled: Folder) -> None:
    spec = Fake(50)
    file = filled.path / f"{spec.key()}.parquet"
    file.write_text("somebody's only copy")
    with pytest.warns(UserWarning, match="is set aside"):
        filled.keep(spec, fake_run(spec))
    assert (filled.path / "aside" / file.name).read_text() == "somebody's only copy"


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_record_gives_way_to_one(filled: Folder, kind: str) -> None:
    file = filled.path / "failed" / "x.json"
    file.parent.mkdir()
    ODD[kind](file)
    said(filled.failures)  # it ends
    with pytest.warns(UserWarning, match="is set aside"):
        filled.record(Failure("x", "it failed"))
    assert filled.failures()["x"].error == "it failed"


RECORDS: dict[str, Any] = {
    "step": {"step": [1]},
    "step as truth": {"step": True},
    "error": {"error": None},
    "traceback": {"traceback": 3},
    "lost": {"lost": "yes"},
    "when": {"when": "today"},
    "spec": {"spec": []},
    "key": {"key": "y"},
    "unknown": {"more": 1},
}


@pytest.mark.parametrize("case", [*RECORDS, "deep", "bytes", "huge"])
def test_a_record_of_wrong_types_is_none(filled: Folder, case: str) -> None:
    file = filled.path / "failed" / "x.json"
    file.parent.mkdir()
    if case in RECORDS:
        file.write_text(json.dumps({"key": "x", "error": "it failed", **RECORDS[case]}))
    elif case == "deep":
        file.write_text('{"key": "x", "error": "e", "spec": ' + "[" * 100_000)
    elif case == "bytes":
        file.write_bytes(b"\xff\xfe\x00")
    else:
        with file.open("wb") as handle:
            handle.truncate(10**12)  # it takes no space
    heard = said(filled.failures)
    assert len(heard) == 1
    assert "is no record of a failed run" in heard[0]
    assert len(heard[0]) < 500


def test_a_promise_of_more_rows_than_memory_is_left_out(
    filled: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = Fake(50)
    frame = pl.DataFrame({"loss": pl.repeat(None, 300_000, dtype=pl.Float64, eager=True)})
    filled.keep(spec, frame)
    assert (filled.path / f"{spec.key()}.parquet").stat().st_size < 5000
    monkeypatch.setattr("kleiber.sweeps.runs.machine_memory", lambda: 1e6)
    heard = said(filled.read)
    assert len(heard) == 1
    assert "do not fit into memory" in heard[0]


def test_text_where_other_runs_have_numbers_is_left_out(filled: Folder) -> None:
    filled.keep(Fake(50), pl.DataFrame({"loss": ["low"]}))
    with pytest.warns(UserWarning, match="run fake-finish-0050 is left out: loss holds text"):
        table = filled.read()
    assert table["loss"].dtype == pl.Float64
    assert filled.read([Fake(50).key()])["loss"].to_list() == ["low"]


@pytest.mark.parametrize(
    "x", [2**63, -(2**63) - 1, float("nan"), float("inf"), {str(n): n for n in range(5000)}]
)
def test_what_no_table_can_hold_is_not_kept(filled: Folder, x: Any) -> None:
    with pytest.raises(BadTable, match=r"^The run x cannot be kept: .*\.$"):
        filled.keep(Spoken("x", x), pl.DataFrame({"loss": [1.0]}))
    assert said(filled.read) == []


def test_a_table_that_cannot_be_written_is_not_kept(filled: Folder) -> None:
    for frame in (
        pl.DataFrame({"x": [object()]}, schema={"x": pl.Object}),
        pl.DataFrame({"_file_": [1.0]}),
    ):
        with pytest.raises(BadTable, match=r"^The run fake-finish-0050 cannot be kept: .*\.$"):
            filled.keep(Fake(50), frame)
    assert said(filled.read) == []


def test_a_key_cannot_leave_the_folder(filled: Folder) -> None:
    @dataclass(frozen=True)
    class Bad:
        def key(self) -> str:
            return "../escaped"

        def model_dump_json(self) -> str:
            return "{}"

    with pytest.raises(ValueError, match="key of a run must be letters"):
        filled.keep(Bad(), fake_run(RUNS[0]))


def test_a_store_that_is_a_file_says_so(tmp_path: Path) -> None:
    file = tmp_path / "runs"
    file.touch()
    with pytest.raises(BadTable, match="is a file; give a folder"):
        Folder(file).finished()


def test_which_folders_are_stores(filled: Folder, tmp_path: Path) -> None:
    assert is_store(filled.path)
    plain = tmp_path / "plain"
    plain.mkdir()
    fake_run(RUNS[0]).write_parquet(plain / "table.parquet")
    assert not is_store(plain)
    assert not is_store(tmp_path / "nowhere")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_says_so_and_loses_nothing(small_disk: Path) -> None:
    store, kept = Folder(small_disk / "runs"), list[Fake]()
    message = "Cannot write into the store .*No space left on device. What has finished is kept"
    with pytest.raises(OSError, match=message) as caught:  # noqa: PT012
        for n in range(100):
            store.keep(Fake(n), fake_run(Fake(n)))
            kept.append(Fake(n))
    assert caught.value.errno == errno.ENOSPC
    assert len(kept) > 3
    assert said(store.finished) == []
    assert store.finished() == {spec.key() for spec in kept}
    assert [name for name in names(store.path) if name.startswith(".kleiber")] == []
    assert store.read()["run"].n_unique() == len(kept)


def test_a_read_only_folder_says_so_and_can_be_read(small_disk: Path) -> None:
    store = Folder(small_disk / "runs")
    store.keep(RUNS[0], fake_run(RUNS[0]))
    (store.path / "half.parquet").touch()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for act in (
        lambda: store.keep(RUNS[1], fake_run(RUNS[1])),
        lambda: store.record(Failure("a", "b")),
        lambda: store.claim("a"),
    ):
        with pytest.raises(OSError, match=r"into the store '[^']*': (Read-only|no perm)"):
            act()
    with pytest.warns(UserWarning, match="left where it is"):
        assert store.finished() == {RUNS[0].key()}
    with pytest.warns(UserWarning, match="left out"):
        assert store.read().height == fake_run(RUNS[0]).height


@pytest.mark.slow
def test_ten_thousand_runs_are_read_in_five_seconds(tmp_path: Path) -> None:
    first = Folder(tmp_path)
    first.keep(Fake(0), fake_run(Fake(0)))
    for n in range(1, 10_000):  # as `keep` writes them, without waiting for the disk each time
        frame = fake_run(Fake(n))
        if n % 3 == 0:
            frame = frame.with_columns(error=0.5, width=n)
        (tmp_path / f"{Fake(n).key()}.parquet").write_bytes(run_bytes(Fake(n), frame))
    start = time.process_time()  # what else the machine does shall not count
    table = first.read()
    seconds = time.process_time() - start
    assert table["run"].n_unique() == 10_000
    assert table.height == 60_000
    assert seconds < 5
