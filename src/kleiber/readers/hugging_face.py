# pyright: basic
# (the values of foreign documents have no types)
"""Hugging Face ``trainer_state.json``: training and evaluation rows, and a summary at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kleiber.errors import BadTable
from kleiber.readers.columns import frame_of_rows, keep_last, merge_steps
from kleiber.readers.record import Logs, Reader

LOSSES: dict[Any, str] = {"loss": "train_loss", "eval_loss": "loss"}
SPEED = ("_runtime", "_per_second")


def _is_state(path: Path, head: bytes) -> bool:
    return path.suffix == ".json" and b'"log_history"' in head


def _read_state(path: Path) -> Logs:
    given: Any = json.loads(path.read_text(encoding="utf-8"))
    history: Any = given.get("log_history")
    if not isinstance(history, list):
        raise BadTable(f"{path.name} has no list log_history.")
    notes: list[str] = []
    rows: list[dict[str, Any]] = []
    for item in history:
        if "train_runtime" in item:
            notes.append("The last row of the log is a mean over the run and was left out.")
            continue
        kept = {n: v for n, v in item.items() if not n.endswith(SPEED)}
        row = {str(LOSSES.get(n, n)): v for n, v in kept.items()}
        rows.append(row | {"kind": "evaluation" if "eval_loss" in item else "training"})
    table = frame_of_rows(rows)
    table, said = keep_last(table, ["step", "kind"])
    return Logs(merge_steps(table.drop("kind"), ["step"]), tuple(notes + said))


READER = Reader("trainer_state", "Hugging Face trainer_state.json", _is_state, _read_state)
