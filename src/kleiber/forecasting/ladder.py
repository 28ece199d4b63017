"""Ladders of runs of two systems, and the ratio of tokens to parameters along which they grow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.errors import BadTable, listed
from kleiber.frames import as_frame
from kleiber.rows import given_columns
from kleiber.table import numbers

Array = np.ndarray
SIZE, TOKENS, COMPUTE, RUN = "n_params", "n_tokens", "flops", "run"
SIX = 6.0
VARIES = 1.5  # largest over smallest tokens for each parameter of a ladder that grows along one
LEAST = 4  # sizes of a system


@dataclass(frozen=True)
class Ladder:
    """Logs of columns and target of both systems; columns are parameters and tokens, or compute
    alone. ``ratio`` is the one along which compute is spent."""

    a: tuple[Float[np.ndarray, "rows columns"], Float[np.ndarray, "rows"]]
    b: tuple[Float[np.ndarray, "rows columns"], Float[np.ndarray, "rows"]]
    ratio: float | Literal["optimal"] | None
    own_ratio: float | None
    largest: float
    notes: tuple[str, ...]

    def point(self, compute: float) -> Float[np.ndarray, "columns"]:
        """Return the logs of the columns at a compute."""
        if self.a[0].shape[1] == 1:
            return np.log([compute])
        ratio = self.own_ratio if self.ratio == "optimal" else self.ratio
        assert isinstance(ratio, float)
        size = np.sqrt(compute / (SIX * ratio))
        return np.log([size, ratio * size])


def read_ladders(table_a: Any, table_b: Any, target: str, ratio: Any) -> Ladder:
    """Return the ladders of two tables. Raises BadTable."""
    frames = [_average_runs(as_frame(table), target) for table in (table_a, table_b)]
    both = all({SIZE, TOKENS} <= set(frame.columns) for frame in frames)
    ratios = [_ratios(frame) for frame in frames] if both else []
    notes: list[str] = []
    own = float(np.exp(np.median(np.log(np.concatenate(ratios))))) if both else None
    spread = max((float(r.max() / r.min()) for r in ratios), default=1.0)
    apart = both and abs(np.log(np.median(ratios[0]) / np.median(ratios[1]))) > np.log(VARIES)
    split = bool(both and (spread > VARIES or apart))
    if not both and ratio is not None:
        raise BadTable(f"A ratio needs the columns {SIZE} and {TOKENS} in both tables.")
    if both and not split and ratio is not None:
        notes.append(
            f"All runs have about {own:.3g} tokens for each parameter, so the tables cannot tell "
            "what another ratio does."
        )
        ratio = own
    if split and ratio is None:
        ratio = own
        notes.append(f"Compute is spent at {own:.3g} tokens for each parameter, the runs' median.")
    columns = [_columns(frame, split=split, both=both) for frame in frames]
    targets = [np.log(numbers(frame, target, positive=True)) for frame in frames]
    for name, x in zip("AB", columns, strict=True):
        if (sizes := len(np.unique(x, axis=0))) < LEAST:
            raise BadTable(f"System {name} has runs of {sizes} sizes; a comparison needs {LEAST}.")
    scale = SIX if split else 1.0
    largest = scale * float(np.exp(max(x.sum(axis=1).max() for x in columns)))
    a, b = zip(columns, targets, strict=True)
    return Ladder(a, b, ratio if split else own, own, largest, tuple(notes))


def _average_runs(frame: pl.DataFrame, target: str) -> pl.DataFrame:
    """Return the mean target of the evaluations of each run, in logs."""
    for name in (target,):
        if name not in frame.columns:
            raise BadTable(f"No column {name!r}; the table has {listed(given_columns(frame))}.")
    keys = [name for name in (SIZE, TOKENS, COMPUTE) if name in frame.columns]
    if not keys:
        raise BadTable(
            f"A ladder needs the columns {SIZE} and {TOKENS}, or {COMPUTE}; the table has "
            f"{listed(given_columns(frame))}."
        )
    numbers(frame, target, positive=True)
    if RUN not in frame.columns:
        return frame
    mean = pl.col(target).cast(pl.Float64).log().mean().exp()
    return frame.group_by(RUN, *keys, maintain_order=True).agg(mean)


def _ratios(frame: pl.DataFrame) -> Float[np.ndarray, "rows"]:
    return numbers(frame, TOKENS, positive=True) / numbers(frame, SIZE, positive=True)


def _columns(frame: pl.DataFrame, *, split: bool, both: bool) -> Float[np.ndarray, "rows columns"]:
    if split:
        names = (SIZE, TOKENS)
        return np.log(np.stack([numbers(frame, n, positive=True) for n in names], axis=1))
    if both:
        size, tokens = (numbers(frame, n, positive=True) for n in (SIZE, TOKENS))
        return np.log(SIX * size * tokens)[:, None]
    if COMPUTE not in frame.columns:
        raise BadTable(f"Both tables need {SIZE} and {TOKENS}, or both {COMPUTE}.")
    return np.log(numbers(frame, COMPUTE, positive=True))[:, None]
