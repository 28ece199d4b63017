"""Run files: finished runs as Parquet files, found, checked, and read into one table."""

from __future__ import annotations

import hashlib
import io
import json
import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import polars as pl

from kleiber.arguments import machine_memory
from kleiber.errors import BadExperiment, BadTable, reason, shown
from kleiber.experiment.reading import check_fields
from kleiber.table import kind_of
from kleiber.text_tables import POLARS_FAILURES
from kleiber.version import __version__

METADATA_KEY = (
    "kleiber"  # the entry of a file's metadata: {"key", "spec", "schema", "version"} as JSON
)
FILE_COLUMN = "_file_"  # a column for file names while files are read
COLUMN_NAMES = {  # of fields; the names of all others are joined by _, as in optimiser_momentum
    "task.kind": "task",
    "task.dataset": "dataset",
    "task.n_data": "n_data",
    "net.kind": "model",
    "net.width": "width",
    "net.depth": "depth",
    "net.richness": "richness",
    "optimiser.kind": "optimiser",
    "optimiser.rate": "rate",
    "schedule.kind": "schedule",
    "batch": "batch_size",
}
MAX_FIELDS = 1000  # of a spec
OMITTED = ("seeds", "measures", "checkpoints")  # they are the rows and columns of the run


@runtime_checkable
class Spec(Protocol):
    """What a store needs of an Experiment: a key, and JSON."""

    def key(self) -> str: ...

    def model_dump_json(self) -> str: ...


@dataclass(frozen=True)
class RunFile:
    """A finished run: its file, its spec, and a digest of its columns' names and types."""

    path: Path
    spec: Mapping[str, Any]
    schema: str


def run_bytes(spec: Spec, table: pl.DataFrame) -> bytes:
    """Return the Parquet file of a run: the same bytes for the same spec and table.

    Raises BadTable for a table that could not be read back together with other runs.
    """
    label = {"key": spec.key(), "version": __version__, "schema": _digest(table.schema)}
    buffer = io.BytesIO()
    try:
        label["spec"] = fields = json.loads(spec.model_dump_json())
        check_fields(fields, MAX_FIELDS)
        text = json.dumps(label, allow_nan=False)
        table.write_parquet(buffer, metadata={METADATA_KEY: text}, statistics=False)
        if FILE_COLUMN in table.columns:
            raise ValueError(f"a column may not be named {FILE_COLUMN!r}")
    except (*POLARS_FAILURES, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadTable(f"The run {spec.key()} cannot be kept: {reason(error)}.") from error
    return buffer.getvalue()


def _digest(schema: Mapping[str, Any]) -> str:
    return hashlib.sha256(repr([*schema.items()]).encode()).hexdigest()[:16]


def is_store(folder: Path) -> bool:
    """Return whether a folder holds at least one finished run of a sweep."""
    return any(isinstance(run_file(file), RunFile) for file in list_parquet_files(folder))


def find_runs(folder: Path) -> tuple[dict[str, RunFile], dict[Path, str]]:
    """Return the finished runs by key, and every other Parquet file with the reason why it is
    none."""
    runs: dict[str, RunFile] = {}
    other_files: dict[Path, str] = {}
    for file in list_parquet_files(folder):
        found = run_file(file)
        if isinstance(found, RunFile):
            runs[file.stem] = found
        else:
            other_files[file] = found
    return runs, other_files


def list_parquet_files(folder: Path) -> list[Path]:
    """Return the visible Parquet files of a folder, by name."""
    try:
        with os.scandir(folder) as items:
            names = [item.name for item in items if item.name.endswith(".parquet")]
    except FileNotFoundError:
        return []
    except NotADirectoryError as error:
        raise BadTable(f"The store {str(folder)!r} is a file; give a folder.") from error
    return [folder / name for name in sorted(names) if not name.startswith(".")]


def run_file(file: Path) -> RunFile | str:
    """Return a finished run from the footer of its file, or the reason why it is none."""
    try:
        if not file.is_file():  # opening a pipe would wait for ever
            return "it is a folder, a pipe, a device or a link to nothing"
        label = json.loads(pl.read_parquet_metadata(file)[METADATA_KEY])
        key, spec, schema = label["key"], label["spec"], label["schema"]
    except POLARS_FAILURES:
        return "it is a truncated or damaged Parquet file"
    except OSError as error:
        return f"it cannot be read ({error.strerror or error})"
    except (KeyError, ValueError, TypeError, RecursionError):
        return "it was not written by a sweep"
    if not (isinstance(key, str) and isinstance(spec, dict) and isinstance(schema, str)):
        return "it was not written by a sweep"
    if key != file.stem:
        return f"it holds the run {shown(key)}, which is not its name"
    try:
        check_fields(cast("dict[str, Any]", spec), MAX_FIELDS)
    except BadExperiment as error:
        return f"its spec cannot stand in a table ({reason(error)})"
    return RunFile(file, cast("dict[str, Any]", spec), schema)


def read_runs(runs: Sequence[RunFile]) -> pl.DataFrame:
    """Return the rows of runs in their order: the key as `run`, the fields of the spec, own
    columns.

    Files with the same columns are scanned together. A column that a run lacks is null in its rows;
    own columns replace fields of the same name. Damaged files are left out with a warning.
    """
    groups: dict[str, list[Path]] = {}
    for run in runs:
        groups.setdefault(run.schema, []).append(run.path)
    tables = [table for group in groups.values() for table in _scan(group)]
    if not tables:
        return pl.DataFrame()
    table = _concat_runs(tables)
    fields = spec_table([run.path.stem for run in runs], [run.spec for run in runs])
    fields = fields.select(name for name in fields.columns if name not in table.columns[1:])
    return fields.join(table, on="run", how="inner", maintain_order="left_right")


def _concat_runs(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Concatenate tables of runs; runs whose column types differ from the majority are left out."""
    votes: dict[str, Counter[str]] = {}
    for table in tables:
        for name, kind in _kinds(table).items():
            votes.setdefault(name, Counter())[kind] += table["run"].n_unique()
    majority = {name: kinds.most_common(1)[0][0] for name, kinds in votes.items()}
    compatible: list[pl.DataFrame] = []
    for table in tables:
        other = next(((n, k) for n, k in _kinds(table).items() if k != majority[n]), None)
        if other is None:
            compatible.append(table)
            continue
        name, kind = other
        for run in table["run"].unique(maintain_order=True):
            warn_user(
                f"The run {run} is left out: {name} holds {kind}, elsewhere {majority[name]}."
            )
    try:
        return pl.concat(compatible, how="diagonal_relaxed") if compatible else pl.DataFrame()
    except POLARS_FAILURES as error:
        raise BadTable(f"The runs cannot be joined into one table: {reason(error)}.") from error


def _kinds(table: pl.DataFrame) -> dict[str, str]:
    """Return the kind of each column of a table, without columns that have no values."""
    kinds = {series.name: kind_of(series) for series in table.get_columns()}
    return {name: kind for name, kind in kinds.items() if kind != "nothing"}


def _scan(files: list[Path]) -> list[pl.DataFrame]:
    """Read files with equal columns, each with its name as `run`."""
    name = pl.col(FILE_COLUMN).str.extract(r"([^/\\]*)\.parquet$").alias("run")
    try:
        frame = pl.scan_parquet(files, include_file_paths=FILE_COLUMN, glob=False)
        n_bytes = len(frame.collect_schema()) * 8 * frame.select(pl.len()).collect().item()
        if n_bytes > machine_memory():  # a few bytes can promise any number of rows
            raise pl.exceptions.ComputeError("its rows do not fit into memory")
        return [frame.select(name, pl.exclude(FILE_COLUMN, "run")).collect()]
    except POLARS_FAILURES as error:
        if len(files) > 1:  # one by one, to find which
            return [table for file in files for table in _scan([file])]
        warn_user(f"{str(files[0])!r} is left out: it is damaged ({reason(error)}).")
        return []


def spec_table(keys: Sequence[str], specs: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return one row for each spec: its key as `run`, its numbers, texts and booleans, its lists as
    JSON."""
    columns: dict[str, list[Any]] = {}
    known: dict[str, dict[str, list[Any]]] = {}  # prefix -> field -> column

    def fill(row: int, record: Mapping[str, Any], prefix: str) -> None:
        here = known.setdefault(prefix, {})
        for field, value in record.items():
            if isinstance(value, dict):
                fill(row, cast("dict[str, Any]", value), f"{prefix}{field}.")
            elif value is not None:
                if field not in here:
                    path = prefix + field
                    name = COLUMN_NAMES.get(path, path.replace(".", "_"))
                    here[field] = columns.setdefault(name, [None] * len(specs))
                here[field][row] = json.dumps(value) if isinstance(value, list) else value

    for row, spec in enumerate(specs):
        fill(row, spec, "")
    for name in (*OMITTED, "run"):
        columns.pop(name, None)
    return pl.DataFrame([pl.Series("run", keys), *(_series(*item) for item in columns.items())])


def spec_fields(spec: Spec) -> dict[str, Any]:
    """Return the fields of a spec as JSON has them, empty if they cannot be written as JSON."""
    try:
        fields = json.loads(spec.model_dump_json())
    except (ValueError, TypeError, RecursionError):
        return {}
    return cast("dict[str, Any]", fields) if isinstance(fields, dict) else {}


def _series(name: str, values: list[Any]) -> pl.Series:
    """Return one field of all specs as a column; a mixture of types becomes text."""
    kinds: set[type] = {type(value) for value in values if value is not None}
    for known, dtype in (({bool}, pl.Boolean), ({int}, pl.Int64), ({int, float}, pl.Float64)):
        if kinds <= known:
            return pl.Series(name, values, dtype)
    texts = [None if value is None else str(value) for value in values]
    return pl.Series(name, texts, pl.String)


def set_aside(file: Path, why: str) -> None:
    """Move a file out of the store, under a free name in aside/, with a warning."""
    place = file.parent / "aside"
    target, count = place / file.name, 0
    try:
        place.mkdir(exist_ok=True)
        while os.path.lexists(target):
            count += 1
            target = place / f"{file.stem}-{count}{file.suffix}"
        file.rename(target)
    except FileNotFoundError:
        return  # somebody else moved it first
    except OSError as error:
        warn_user(f"{str(file)!r} is left where it is: {why}; {error.strerror or error}.")
        return
    warn_user(f"{str(file)!r} is set aside as {str(target)!r}: {why}.")


def warn_user(sentence: str) -> None:
    """Warn the caller of the public function."""
    warnings.warn(sentence, UserWarning, stacklevel=3)
