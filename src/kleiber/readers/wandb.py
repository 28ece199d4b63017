# pyright: basic
# (the values of foreign documents have no types)
"""Exports of Weights & Biases: the table of runs, a panel, and a run's history."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl

from kleiber.errors import BadTable
from kleiber.readers.columns import as_number, flatten, frame_of_rows, keep_last
from kleiber.readers.record import Logs, Reader

PANEL = re.compile(r"^(?P<run>.+) - (?P<metric>[^-].*)$")
ENDS = ("__MIN", "__MAX")
PARTIAL = ("crashed", "failed", "killed")
SAMPLED = 500  # rows to which the history of a run is sampled by default
OTHERS = ("Notes", "User", "Tags", "Created", "Runtime", "Sweep", "ID", "Group", "Job Type")


def _header(head: bytes) -> list[str]:
    first = head.decode("utf-8", "replace").splitlines()[:1]
    return [cell.strip('" ') for cell in re.split(r",(?=\")|,", first[0])] if first else []


def _text_csv(path: Path) -> pl.DataFrame:
    return pl.read_csv(path, infer_schema=False)


def _is_runs_table(path: Path, head: bytes) -> bool:
    names = _header(head)
    return path.suffix == ".csv" and names[:1] == ["Name"] and "State" in names


def _read_runs_table(path: Path) -> Logs:
    rows = _text_csv(path).to_dicts()
    notes: list[str] = []
    partial = [row["Name"] for row in rows if row["State"] in PARTIAL]
    if partial:
        notes.append(f"Runs that did not finish: {', '.join(partial[:5])} ({len(partial)} in all).")
    kept = [
        {"run": row["Name"], "state": row["State"]}
        | {n: as_number(v) for n, v in row.items() if n not in ("Name", "State", *OTHERS)}
        for row in rows
    ]
    notes.append("A table of runs holds each run's last logged values.")
    return Logs(frame_of_rows(kept), tuple(notes))


def _is_panel(path: Path, head: bytes) -> bool:
    names = _header(head)
    return path.suffix == ".csv" and any(PANEL.match(n) for n in names[1:]) and len(names) > 1


def _read_panel(path: Path) -> Logs:
    table = _text_csv(path)
    steps, *others = table.columns
    parts: list[pl.DataFrame] = []
    for name in others:
        found = PANEL.match(name)
        if found is None or name.endswith(ENDS):
            continue
        values = [as_number(v) for v in table[name].to_list()]
        part = pl.DataFrame(
            {
                "run": [found["run"]] * len(table),
                steps: [as_number(v) for v in table[steps].to_list()],
                found["metric"]: pl.Series(values, dtype=pl.Float64, strict=False),
            }
        )
        parts.append(part.drop_nulls())
    if not parts:
        raise BadTable(f"{path.name} has no column of the form RUN - METRIC.")
    long = pl.concat(parts, how="diagonal_relaxed")
    whole = pl.col(steps).cast(pl.Float64)
    if (long[steps].cast(pl.Float64) % 1 == 0).all():
        whole = whole.cast(pl.Int64)
    metrics = [n for n in long.columns if n not in ("run", steps)]
    if len(metrics) > 1:
        last = [pl.col(n).drop_nulls().last() for n in metrics]
        long = long.group_by("run", steps, maintain_order=True).agg(last)
    said = "A panel shows sampled steps: ranges (__MIN, __MAX) are left out."
    return Logs(long.with_columns(whole), (said,))


def _is_history(path: Path, head: bytes) -> bool:
    if path.suffix == ".parquet" and head[:4] == b"PAR1":
        return "_step" in pl.read_parquet_schema(path)
    return path.suffix in (".jsonl", ".ndjson") and b'"_step"' in head.partition(b"\n")[0]


def _read_history(path: Path) -> Logs:
    if path.suffix == ".parquet":
        table = pl.read_parquet(path)
    else:
        lines = path.read_text(encoding="utf-8").splitlines()
        table = frame_of_rows(flatten(json.loads(line)) for line in lines if line.strip())
    drop = [name for name in ("_runtime", "_timestamp") if name in table.columns]
    table, notes = keep_last(table.drop(drop), ["_step"])
    if len(table) == SAMPLED:
        notes.append("The history holds 500 rows, to which exports are sampled by default.")
    return Logs(table, tuple(notes))


READERS = (
    Reader("wandb_runs", "table of runs of Weights & Biases", _is_runs_table, _read_runs_table),
    Reader("wandb_panel", "panel of Weights & Biases (RUN - METRIC)", _is_panel, _read_panel),
    Reader("wandb_history", "history of a run of Weights & Biases", _is_history, _read_history),
)
