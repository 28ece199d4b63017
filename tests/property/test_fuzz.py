"""Mutated tables, documents, specs, stores and arguments: a result or one sentence, in time."""

from __future__ import annotations

import json
import random
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import numpy as np
import polars as pl
import pytest

from kleiber.cli import main
from kleiber.errors import BadExperiment
from kleiber.experiment import read_experiment
from kleiber.fitting.fit import fit
from kleiber.fitting.saved import document
from kleiber.laws import find
from kleiber.sweeps.grid import read_sweep
from kleiber.sweeps.store import Failure, Folder
from kleiber.table import write_table

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE = 30  # seconds, far more than any of these inputs takes
CHUNKS = [0, *(pytest.param(k, marks=pytest.mark.slow) for k in range(1, 12))]
ATOMS = (  # what is put in place of a piece of text
    "", " ", "0", "-1", "1e400", "-1e-400", "nan", "inf", "NaN", "null", "None", "true", "1" * 400,
    "9223372036854775808", "0x10", "1_0", "1,5", '"', "'", "\\", "\n", "\r\n", "\t", "\0",
    "\x1b[2J", "\ufeff", "\u202e", "é", "文", "\U0001f600", "{", "}", "[", "]", "[" * 3000,
    "{" * 999, ":", ",", ",,,,", "=", "#", "--", "/*", "%s", "{0}", "$(ls)", "../..", "/dev/zero",
    "/dev/null", ".", "~", "n_params", "loss", "select", "e", "1e", "+", "**", "(", ")", "x" * 5000,
    "1970-01-01", "1e308",
)  # fmt: skip


@dataclass
class Watch:
    """Whether a call ran out of patience."""

    late: bool = False
    faults: list[str] = field(default_factory=list[str])


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Break off a call that takes too long."""
    seen = Watch()

    def ring(_number: int, _frame: FrameType | None) -> None:
        seen.late = True
        raise TimeoutError("out of patience")

    before = signal.signal(signal.SIGALRM, ring)
    yield seen
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


Call = Callable[..., None]


@pytest.fixture
def call(
    watch: Watch,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Call:
    """Run a command and note what is wrong with how it ends."""
    monkeypatch.chdir(tmp_path)

    def run(label: str, *words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["kleiber", *words])
        signal.alarm(PATIENCE)
        code: object = None
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        except BaseException as error:
            code = f"{type(error).__name__}: {error}"
        signal.alarm(0)
        out, err = capsys.readouterr()
        if fault := judge(code, out, err, watch.late):
            watch.faults.append(f"{label}: kleiber {' '.join(words)!r}: {fault[:700]}")
        watch.late = False

    return run


def judge(code: object, out: str, err: str, late: bool) -> str:
    """What is wrong with how a command ended, or ''."""
    lines = [line for line in err.splitlines() if line.startswith("kleiber: ")]
    if late:
        return "took too long"
    if code not in (0, 1, 2):
        return f"ended with {code}"
    if "Traceback" in err or "fault of its own" in err:
        return f"said {err}"
    if code == 2 and len(lines) != 1:
        return f"refused with {len(lines)} sentences: {err}"
    if any(len(line) > 620 for line in err.splitlines()):
        return f"said too much: {err}"
    if any(not (x.isprintable() or x in "\n\t") for x in out + err):
        return f"printed control characters: {out + err!r}"
    return ""


def mutated(text: str, rng: random.Random) -> str:
    """Text with one to four pieces replaced, doubled, moved or lost."""
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(len(text) + 1)
        end = min(len(text), at + rng.choice([0, 1, 1, 3, 10, 100]))
        piece = rng.choice([*ATOMS, *ATOMS, text[at:end] * 2, text[end : end + 30]])
        text = text[:at] + piece + text[end:]
    return text


def words_mutated(text: str, rng: random.Random) -> str:
    """Text with one to three of its words (numbers, names, literals) replaced."""
    spans = [item.span() for item in re.finditer(r"[\w.+-]+", text)]
    for start, end in sorted(rng.sample(spans, min(len(spans), rng.choice([1, 1, 2, 3])))[::-1]):
        if rng.random() < 0.7:
            text = text[:start] + rng.choice(ATOMS) + text[end:]
            break
    return text


def bytes_mutated(raw: bytes, rng: random.Random) -> bytes:
    """Bytes with some changed, cut or doubled; of a Parquet file in its footer, for polars 2.1
    ends the process on about one in 3,000 damaged pages, before kleiber can say a word."""
    made, start = bytearray(raw), 0
    if raw.startswith(b"PAR1"):
        start = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
    for _ in range(rng.choice([1, 2, 8])):
        at = rng.randrange(min(start, len(made) - 1), len(made))
        kind = rng.random()
        if kind < 0.7:
            made[at] = rng.choice([0, 127, 128, 255, rng.randrange(256)])
        elif kind < 0.85:
            del made[at : at + rng.choice([1, 4, 100])]
        else:
            made[at:at] = made[at : at + rng.choice([1, 8, 64])]
    return bytes(made)


def either(text: str, rng: random.Random) -> str:
    return (mutated if rng.random() < 0.5 else words_mutated)(text, rng)


def table() -> pl.DataFrame:
    """A small table that every command can read."""
    rng = np.random.default_rng(0)
    n, d = (x.ravel() for x in np.meshgrid(np.geomspace(1e6, 1e9, 4), np.geomspace(1e8, 1e11, 4)))
    loss = (1.7 + 400 / n**0.34 + 410 / d**0.28) * np.exp(0.01 * rng.standard_normal(16))
    return pl.DataFrame(
        {
            "n_params": n, "n_tokens": d, "loss": loss, "problem": [f"p{k}" for k in range(16)],
            "attempts": [8] * 16, "successes": [k % 9 for k in range(16)], "seed": [0, 1] * 8,
        }
    )  # fmt: skip


TABLE_CALLS = (
    ("table",),
    ("fit", "a*n_params**-b", "--draws", "2"),
    ("counts", "--k", "1,4"),
    ("reduce", "average", "--by", "problem"),
    ("table", "--where", "n_params > 2e6", "--with", "flops=6*n_params*n_tokens"),
)


def put(words: tuple[str, ...], name: str) -> tuple[str, ...]:
    """The words of a call with the file in its place."""
    first = 2 if words[0] in ("fit", "reduce") else 1
    return (*words[:first], name, *words[first:])


@pytest.mark.parametrize("chunk", CHUNKS)
def test_tables(chunk: int, call: Call, watch: Watch, tmp_path: Path) -> None:
    rng, whole = random.Random(chunk), table()
    csv, lines = whole.write_csv(), whole.write_ndjson()
    whole.write_parquet(tmp_path / "whole.parquet")
    write_table(whole.select("n_params", "n_tokens", "loss"), tmp_path / "whole.npz")
    for turn in range(55):
        suffix = rng.choice(["csv", "csv", "csv", "jsonl", "parquet", "npz"])
        file = tmp_path / f"t.{suffix}"
        if suffix in ("csv", "jsonl"):
            text = either(csv if suffix == "csv" else lines, rng)
            file.write_bytes(text.encode("utf-8", "surrogatepass"))
        else:
            file.write_bytes(bytes_mutated((tmp_path / f"whole.{suffix}").read_bytes(), rng))
        call(f"{chunk}.{turn}", *put(rng.choice(TABLE_CALLS), file.name))
    assert not watch.faults, "\n".join(watch.faults)


@pytest.fixture(scope="module")
def saved() -> str:
    """A fit as JSON."""
    return json.dumps(document(fit(find("chinchilla", []), table(), draws=20)))


@pytest.mark.parametrize("chunk", CHUNKS)
def test_documents(chunk: int, call: Call, watch: Watch, tmp_path: Path, saved: str) -> None:
    rng, text = random.Random(100 + chunk), saved
    whole = json.loads(text)
    calls = (
        *[("predict", "fit.json", "--at", "n_params=1e9", "--at", "n_tokens=1e11")] * 4,
        ("plan", "fit.json", "--budget", "1e20"),
    )
    for turn in range(45):
        if rng.random() < 0.5:
            document = either(text, rng)
        else:
            document = json.dumps(twisted(whole, rng))
        (tmp_path / "fit.json").write_bytes(document.encode("utf-8", "surrogatepass"))
        call(f"{chunk}.{turn}", *rng.choice(calls))
    assert not watch.faults, "\n".join(watch.faults)


def twisted(document: object, rng: random.Random) -> object:
    """A document with one value, somewhere in it, of another kind, missing or doubled."""
    odd: tuple[object, ...] = (None, True, -1, 0, 1e308, "", "x" * 9000, [], {}, [[]], "NaN", 2**70)
    if isinstance(document, dict) and document and rng.random() < 0.85:
        key = rng.choice(sorted(document))
        rest = dict(document)
        if rng.random() < 0.1:
            del rest[key]
        else:
            rest[key] = twisted(document[key], rng)
        return rest
    if isinstance(document, list) and document and rng.random() < 0.6:
        at = rng.randrange(len(document))
        return [*document[:at], twisted(document[at], rng), *document[at + rng.randrange(2) :]]
    return rng.choice(odd)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_specs(chunk: int, watch: Watch, tmp_path: Path) -> None:
    rng, file = random.Random(200 + chunk), tmp_path / "spec.toml"
    texts = [path.read_text() for path in sorted(EXAMPLES.glob("*.toml"))]
    assert texts
    for turn in range(75):
        file.write_bytes(either(rng.choice(texts), rng).encode("utf-8", "surrogatepass"))
        for reader in (read_experiment, read_sweep):
            signal.alarm(PATIENCE)
            try:
                reader(file)
            except BadExperiment as error:
                if len(str(error)) > 1200 or "\x1b" in str(error):
                    watch.faults.append(f"{chunk}.{turn}: {str(error)[:300]!r}")
            except BaseException as error:
                watch.faults.append(f"{chunk}.{turn}: {type(error).__name__} {str(error)[:300]}")
            signal.alarm(0)
    assert not watch.faults, "\n".join(watch.faults)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_stores(chunk: int, call: Call, watch: Watch, tmp_path: Path) -> None:
    """A store one of whose files is damaged: what is whole is read, or one sentence."""
    rng = random.Random(400 + chunk)
    store, specs = Folder(tmp_path / "runs"), read_sweep(EXAMPLES / "sweep.toml")[:3]
    for spec in specs:
        store.keep(spec, pl.DataFrame({"seed": [0, 1], "step": [1, 1], "loss": [2.0, 3.0]}))
    store.record(Failure("gone", "ValueError: no", spec={"a": 1}))
    files = [*sorted(store.path.glob("*.parquet")), store.path / "failed" / "gone.json"]
    wholes = {file: file.read_bytes() for file in files}
    for turn in range(30):
        file = rng.choice(files)
        file.write_bytes(bytes_mutated(wholes[file], rng))
        call(f"{chunk}.{turn}", "table", "runs")
        file.write_bytes(wholes[file])
    assert not watch.faults, "\n".join(watch.faults)


ARGUMENTS = {
    "fit": (["power_law", "t.csv"], ["--draws", "--seed", "--level", "--huber", "--by", "--where",
            "--with", "--rename", "--weights", "--fix", "--tie", "--prior", "--target", "--real"]),
    "counts": (["t.csv"], ["--family", "--by", "--k", "--along", "--level", "--sum-by", "--prior"]),
    "plan": (["fit.json"], ["--budget", "--cost", "--under", "--limit", "--reach", "--choice",
             "--level", "--frontier"]),
    "predict": (["fit.json"], ["--at", "--level", "--table"]),
    "next": (["fit.json"], ["--budget", "--parameter", "--at", "--cost", "--runs", "--limit"]),
    "reduce": (["average", "t.csv"], ["--by", "--columns", "--level", "--measures"]),
    "solve": (["hard_tail"], ["--set", "--over", "--solver", "-o"]),
    "table": (["t.csv"], ["--where", "--with", "--rename", "-o"]),
    "list": (["laws"], ["--json"]),
}  # fmt: skip
PLAUSIBLE = (
    "2", "n_params", "n_params=1e9", "n_tokens=1e9:1e10", "loss", "0.9", "1e20", "k=1:10:3",
    "b=0.5", "n_params**2", "n_params<=1e9", "x.csv", "6nd", "tail=2", "seed", "model=seed",
)  # fmt: skip


@pytest.mark.parametrize("chunk", CHUNKS)
def test_arguments(chunk: int, call: Call, watch: Watch, tmp_path: Path, saved: str) -> None:
    rng = random.Random(300 + chunk)
    table().write_csv(tmp_path / "t.csv")
    (tmp_path / "fit.json").write_text(saved)
    for turn in range(55):
        command = rng.choice(sorted(ARGUMENTS))
        words, options = list(ARGUMENTS[command][0]), ARGUMENTS[command][1]
        if rng.random() < 0.3:
            words[rng.randrange(len(words))] = rng.choice(ATOMS)
        for _ in range(rng.choice([1, 1, 2, 3])):
            value = rng.choice([*ATOMS, *PLAUSIBLE, *PLAUSIBLE])
            if rng.random() < 0.3:
                value = mutated(rng.choice(PLAUSIBLE), rng)
            words += [rng.choice(options), value.replace("\0", "")]
        few = ["--draws", "2"] if command == "fit" and "--draws" not in words else []
        call(f"{chunk}.{turn}", command, *(word.replace("\0", "") for word in words), *few)
    assert not watch.faults, "\n".join(watch.faults)
