# pyright: basic
# (the values of foreign documents have no types)
"""SQLite files of trackers: trackio and MLflow, opened for reading only."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kleiber.readers.columns import as_number, flatten, frame_of_rows, keep_last, merge_steps
from kleiber.readers.record import Logs, Reader

MAGIC = b"SQLite format 3\x00"


@contextlib.contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    link = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    link.text_factory = lambda raw: raw.decode("utf-8", "replace")
    try:
        yield link
    finally:
        link.close()


def _tables(path: Path, head: bytes) -> set[str]:
    if not head.startswith(MAGIC):
        return set()
    try:
        with _open(path) as link:
            rows = link.execute("select name from sqlite_master where type = 'table'").fetchall()
    except sqlite3.DatabaseError:
        return set()
    return {name for (name,) in rows}


def _is_trackio(path: Path, head: bytes) -> bool:
    return {"metrics", "configs"} <= _tables(path, head)


def _read_trackio(path: Path) -> Logs:
    with _open(path) as link:
        configs = {
            key: flatten(json.loads(text))
            for key, text in link.execute("select run_id, config from configs")
        }
        logged = link.execute(
            "select run_id, run_name, step, metrics from metrics order by id"
        ).fetchall()
    rows: list[dict[str, Any]] = []
    for key, run, step, text in logged:
        config = {n: v for n, v in configs.get(key, {}).items() if not n.startswith("_")}
        rows.append({"run": run, "step": step} | config | flatten(json.loads(text)))
    table, notes = keep_last(frame_of_rows(rows), ["run", "step"])
    return Logs(table, tuple(notes))


def _is_mlflow(path: Path, head: bytes) -> bool:
    return {"runs", "metrics", "params", "experiments"} <= _tables(path, head)


def _read_mlflow(path: Path) -> Logs:
    with _open(path) as link:
        names = dict(link.execute("select run_uuid, name from runs").fetchall())
        params: dict[str, dict[str, Any]] = {}
        for key, name, value in link.execute("select run_uuid, key, value from params"):
            params.setdefault(key, {})[name] = as_number(value)
        logged = link.execute(
            "select run_uuid, key, value, step, is_nan from metrics order by timestamp"
        ).fetchall()
    rows = [
        {"run": names.get(key) or key, "step": step} | params.get(key, {})
        | {name: None if bad else value}
        for key, name, value, step, bad in logged
    ]  # fmt: skip
    return Logs(merge_steps(frame_of_rows(rows), ["run", "step"]))


def _is_mlruns(path: Path, head: bytes) -> bool:
    return path.is_dir() and any(path.glob("*/*/meta.yaml")) and any(path.glob("*/*/metrics"))


def _read_mlruns(path: Path) -> Logs:
    """Read the folders of a file store: RUN/metrics/NAME holds ``time value step`` lines."""
    rows: list[dict[str, Any]] = []
    for metrics in sorted(path.glob("*/*/metrics")):
        folder = metrics.parent
        name = folder / "tags" / "mlflow.runName"
        run = name.read_text(encoding="utf-8").strip() if name.is_file() else folder.name
        params = {
            str(file.relative_to(folder / "params")): as_number(file.read_text("utf-8").strip())
            for file in sorted((folder / "params").rglob("*"))
            if file.is_file()
        }
        for file in sorted(metrics.rglob("*")):
            if not file.is_file():
                continue
            for line in file.read_text("utf-8").splitlines():
                _, value, step = line.split()[:3]
                row = {"run": run, "step": int(step)} | params
                rows.append(row | {str(file.relative_to(metrics)): as_number(value)})
    return Logs(merge_steps(frame_of_rows(rows), ["run", "step"]))


READERS = (
    Reader("trackio", "trackio's SQLite file", _is_trackio, _read_trackio),
    Reader("mlflow", "MLflow's SQLite file", _is_mlflow, _read_mlflow),
    Reader("mlflow_folder", "MLflow's folder mlruns", _is_mlruns, _read_mlruns),
)
