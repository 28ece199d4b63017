"""The finished batches of an evaluation: one file each in a sweep's store, checked and read.

Attempts are numbered round by round: the first at every problem, then the second, and so on, so
that an evaluation that was stopped has as many attempts at each problem as possible. A batch is a
range of these numbers. A file holds the counts of its problems, or the answers themselves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl

from kleiber.errors import BadTable, shown
from kleiber.sweeps.runs import RunFile, find_runs, read_runs
from kleiber.sweeps.store import Folder

Span = tuple[int, int]  # numbers of attempts, from and up to but without
WORDS = {  # how messages name the parts of an evaluation
    "problems": "other problems",
    "n_problems": "other problems",
    "batch": "batch={}",
    "seed": "seed={}",
    "answers": "answers={}",
    "columns": "other columns",
}


@dataclass(frozen=True)
class Evaluation:
    """What makes the batches of two calls belong together."""

    problems: str  # their digest
    n_problems: int
    batch: int
    seed: int
    answers: bool
    columns: Mapping[str, Any]

    def name(self) -> str:
        """Return the beginning of the names of its files."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class BatchSpec:
    """The spec under which a store keeps a batch."""

    evaluation: Evaluation
    span: Span

    def key(self) -> str:
        """Return the name of the file: the evaluation and where the batch begins."""
        return f"{self.evaluation.name()}-{self.span[0]:013d}"

    def model_dump_json(self) -> str:
        """Return the spec as JSON; the columns of the caller are columns of the store's table."""
        fields = asdict(self.evaluation)
        columns = fields.pop("columns")
        return json.dumps(
            {"evaluation": {**fields, "start": self.span[0], "stop": self.span[1]}, **columns}
        )


def check_folder(folder: Folder, asked: Evaluation) -> None:
    """Raise BadTable for a folder that holds anything but batches of this evaluation."""
    place = shown(str(folder.path), 200)
    if folder.other_files():
        raise BadTable(
            f"The folder {place} holds Parquet files that no evaluation wrote; give another path."
        )
    for run in find_runs(folder.path)[0].values():
        found = _identity(run)
        if found is None:
            raise BadTable(f"The folder {place} holds the runs of a sweep; give another path.")
        if found != asdict(asked):
            raise BadTable(
                f"The folder {place} holds another evaluation, with {_difference(found, asked)}; "
                "give another path, or the same arguments to go on."
            )


def _identity(run: RunFile) -> dict[str, Any] | None:
    """Return the fields of the evaluation that a file belongs to, None if it is no batch."""
    fields = dict(run.spec)
    found = fields.pop("evaluation", None)
    if not isinstance(found, dict):
        return None
    kept = dict(cast("dict[str, Any]", found))
    kept.pop("start", None)
    kept.pop("stop", None)
    return {**kept, "columns": fields}


def _difference(found: Mapping[str, Any], asked: Evaluation) -> str:
    """Describe in what another evaluation differs."""
    mine = asdict(asked)
    parts = [
        text.format(shown(found.get(name)))
        for name, text in WORDS.items()
        if found.get(name) != mine[name]
    ]
    return " and ".join(dict.fromkeys(parts)) or "a spec of another version"


def read_batches(folder: Folder, asked: Evaluation) -> dict[Span, pl.DataFrame]:
    """Return the finished batches by their range, in order; damaged files are set aside or left
    out, with a warning, so that they are made again."""
    finished = folder.finished()
    runs = [run for key, run in find_runs(folder.path)[0].items() if key in finished]
    table = read_runs(runs)
    parts = table.partition_by("run", as_dict=True) if table.height else {}
    found: dict[Span, pl.DataFrame] = {}
    end = 0
    for run in runs:  # by name, so by where they begin
        spec = run.spec["evaluation"]
        start, stop = int(spec["start"]), int(spec["stop"])
        part = parts.get((run.path.stem,))
        whole = part is not None and _attempts(part, asked.answers) == stop - start
        if part is not None and whole and start >= end:
            found[start, stop] = part
            end = stop
    return found


def _attempts(part: pl.DataFrame, answers: bool) -> int:
    """Return the number of attempts in a file."""
    return part.height if answers else int(part["attempts"].sum())


def missing(done: Sequence[Span], total: int, batch: int) -> Iterator[Span]:
    """Yield the batches that are not finished; they end at multiples of ``batch``, or where a
    finished one begins."""
    at = 0
    for start, stop in (*done, (total, total)):
        while at < start:
            end = min((at // batch + 1) * batch, start)
            yield at, end
            at = end
        at = max(at, stop)


def count_table(names: pl.Series, rows: np.ndarray, successes: np.ndarray) -> pl.DataFrame:
    """Return the counts of a batch: problem, attempts, successes."""
    attempts = np.bincount(rows, minlength=len(names))
    table = pl.DataFrame({"problem": names, "attempts": attempts, "successes": successes})
    return table.filter(pl.col("attempts") > 0)


def count_batches(names: pl.Series, parts: Sequence[pl.DataFrame]) -> np.ndarray:
    """Return the successes of each problem in finished batches of counts."""
    if not parts:
        return np.zeros(len(names), np.int64)
    sums = pl.concat([part.select("problem", "successes") for part in parts])
    sums = sums.group_by("problem").agg(pl.col("successes").sum())
    table = pl.DataFrame({"problem": names}).join(
        sums, on="problem", how="left", maintain_order="left"
    )
    return table["successes"].fill_null(0).cast(pl.Int64).to_numpy(writable=True)


def open_folder(path: str) -> Folder:
    """Return the store at a path."""
    return Folder(Path(path).expanduser())
