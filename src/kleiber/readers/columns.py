# pyright: basic
# (the values of foreign documents have no types)
"""Names and runs: what trackers call things, under kleiber's column names."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

NAMES: Mapping[str, str] = {
    "_step": "step", "Step": "step", "global_step": "step", "iteration": "step", "iter": "step",
    "train/loss": "train_loss", "loss/train": "train_loss", "train loss": "train_loss",
    "training_loss": "train_loss", "lm loss": "train_loss", "train/CE loss": "train_loss",
    "eval/loss": "loss", "val/loss": "loss", "eval_loss": "loss", "val_loss": "loss",
    "valid_loss": "loss", "validation/loss": "loss", "validation_loss": "loss", "val loss": "loss",
    "test/loss": "loss", "loss/val": "loss", "tokens": "n_tokens", "num_tokens": "n_tokens",
    "total_tokens": "n_tokens", "num_params": "n_params", "model.n_params": "n_params",
    "config.n_params": "n_params", "config.n_tokens": "n_tokens", "learning_rate": "lr",
    "learning rate": "lr", "global batch size": "batch_size",
}  # fmt: skip


def known_name(name: str) -> str:
    """Return kleiber's name of a column, or the name itself."""
    return NAMES.get(name, NAMES.get(name.rpartition("summary.")[2], name))


def rename_known(table: pl.DataFrame) -> pl.DataFrame:
    """Return a table under kleiber's column names, where each is not taken already."""
    renamed: dict[str, str] = {}
    for name in table.columns:
        new = known_name(name)
        if new != name and new not in table.columns and new not in renamed.values():
            renamed[name] = new
    return table.rename(renamed)


def frame_of_rows(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Return rows of any fields as a table; numbers as floats, everything else as text."""
    kept = [dict(row) for row in rows]
    names = list(dict.fromkeys(name for row in kept for name in row))
    columns = {name: [row.get(name) for row in kept] for name in names}
    return pl.DataFrame([_series(name, values) for name, values in columns.items()])


def _series(name: str, values: list[Any]) -> pl.Series:
    known = [value for value in values if value is not None]
    if known and all(isinstance(value, bool) for value in known):
        return pl.Series(name, values, dtype=pl.Boolean)
    if all(isinstance(value, int) and not isinstance(value, bool) for value in known) and known:
        if all(abs(value) < 2**62 for value in known):
            return pl.Series(name, values, dtype=pl.Int64)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        return pl.Series(name, [None if v is None else float(v) for v in values], dtype=pl.Float64)
    return pl.Series(name, [None if v is None else str(v) for v in values], dtype=pl.String)


def flatten(given: Mapping[str, Any], head: str = "") -> dict[str, Any]:
    """Return nested values under names joined by dots; lists are left out."""
    out: dict[str, Any] = {}
    for key, value in given.items():
        name = f"{head}{key}"
        if isinstance(value, Mapping):
            out |= flatten(value, f"{name}.")
        elif not isinstance(value, list):
            out[name] = as_number(value)
    return out


def as_number(value: Any) -> Any:
    """Return text that is a number as one."""
    if not isinstance(value, str):
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    return number if math.isfinite(number) else None


def keep_last(table: pl.DataFrame, keys: list[str]) -> tuple[pl.DataFrame, list[str]]:
    """Return one row for each step of a run, the later of two, and a sentence if any went."""
    kept = table.unique(keys, keep="last", maintain_order=True)
    gone = len(table) - len(kept)
    said = f"{gone} steps were logged again after a restart: the later rows are kept."
    return kept, [said] if gone else []


def merge_steps(table: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Return one row for each step of a run, with the last value of each column."""
    others = [name for name in table.columns if name not in keys]
    if not others:
        return table
    last = [pl.col(name).drop_nulls().last() for name in others]
    return table.group_by(keys, maintain_order=True).agg(last)


SUFFIX = re.compile(r"^\s*(-?[\d.]+)\s*([KMBGT])\s*$", re.I)
FACTORS = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}


def read_suffix(text: str) -> float | None:
    """Return "10M" or "1.4T" as a number, None for other text."""
    found = SUFFIX.match(text)
    if not found:
        return None
    try:
        return float(found[1]) * FACTORS[found[2].lower()]
    except ValueError:
        return None
