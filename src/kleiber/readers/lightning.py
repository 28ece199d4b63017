# pyright: basic
# (the values of foreign documents have no types)
"""Lightning's CSVLogger: training and evaluation rows alternate."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from kleiber.readers.columns import as_number, frame_of_rows, merge_steps
from kleiber.readers.record import Logs, Reader


def _is_metrics(path: Path, head: bytes) -> bool:
    first = head.splitlines()[:1]
    return path.name == "metrics.csv" and bool(first) and b"step" in first[0]


def _read_metrics(path: Path) -> Logs:
    rows = pl.read_csv(path, infer_schema=False).to_dicts()
    table = frame_of_rows({n: as_number(v) for n, v in row.items()} for row in rows)
    steps = table["step"].cast(pl.Float64).cast(pl.Int64)
    table = merge_steps(table.with_columns(steps.alias("step")), ["step"])
    return Logs(table.sort("step", maintain_order=True))


READER = Reader("lightning", "metrics.csv of Lightning's CSVLogger", _is_metrics, _read_metrics)
