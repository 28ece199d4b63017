"""Which columns residuals are compared with, and where along one the law is furthest off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from kleiber.columns import COLUMNS, FILE_ROW
from kleiber.fitting.judge.misfit import COMPUTE, PREDICTION, Trend
from kleiber.fitting.judge.trends import (
    SIGNED,
    Question,
    group_means,
    place,
    refit_tangent,
    try_columns,
)
from kleiber.table import floats, kind_of

MANY = 60  # columns beyond the law's own that are looked at, the first of the table
BINS = 8  # of a column, in which the law's gap is looked at
MEASURES = frozenset(  # words in the names of columns that are measured, not chosen: the noise
    # of a run moves them with its target
    "loss losses acc accuracy error err ppl perplexity bpb bpc nll score pass success successes "
    "norm grad gradient failure failures predicted low high stderr std seconds runtime wall "
    "timestamp diverged reward residual".split()
)


@dataclass(frozen=True, eq=False)
class Seen:
    """What a fit left on the rows that count, ``rows`` of the table: residuals r, the Jacobian and
    the ``target`` on the noise model's scale, what was predicted and measured, and the ``gap``,
    predicted over measured less 1."""

    frame: pl.DataFrame
    rows: Int[np.ndarray, "rows"]
    r: Float[np.ndarray, "rows"]
    jacobian: Float[np.ndarray, "rows free"]
    weights: Float[np.ndarray, "rows"]
    gap: Float[np.ndarray, "rows"]
    target: Float[np.ndarray, "rows"]
    predicted: Float[np.ndarray, "rows"]
    measured: Float[np.ndarray, "rows"]
    variables: Mapping[str, Float[np.ndarray, "rows"]]


@dataclass(frozen=True, eq=False)
class Suspect:
    """A column to compare residuals with; ``chosen`` as in ``Trend``, ``words`` its text."""

    asked: Question
    chosen: bool = True
    words: tuple[str, ...] = ()


def find_suspects(seen: Seen, skipped: tuple[str | None, ...]) -> dict[str, Suspect]:
    """The law's variables, the prediction, the compute, and every other column that residuals can
    be compared with, each partition or order of the rows once."""
    found: dict[str, Suspect] = {}
    known: set[bytes] = set()

    def add(name: str, suspect: Suspect) -> None:
        values = suspect.asked.values
        ranks = np.round(place(values), 9) if suspect.asked.ordered else first_seen(values)
        keys = {(ranks + 0.0).tobytes(), (0.0 - ranks).tobytes()}
        if np.ptp(values) > 0 and not keys & known:
            known.update(keys)
            found[name] = suspect

    for name, values in seen.variables.items():
        add(name, Suspect(Question(values)))
    add(PREDICTION, Suspect(Question(seen.predicted)))
    both = [_numbers(seen.frame, name) for name in ("n_params", "n_tokens")]
    if both[0] is not None and both[1] is not None and "flops" not in seen.frame.columns:
        add(COMPUTE, Suspect(Question(both[0] * both[1])))
    taken = {*found, *seen.variables, *skipped, FILE_ROW}
    others = [name for name in seen.frame.columns if name not in taken and not is_measure(name)]
    for name in others[:MANY]:
        values = _numbers(seen.frame, name)
        if values is not None:
            add(name, Suspect(Question(values), _chosen(name, values)))
        elif kind_of(seen.frame[name]) in ("text", "booleans"):
            words, which = np.unique(
                seen.frame[name].cast(pl.String).fill_null("missing").to_numpy(),
                return_inverse=True,
            )
            text = tuple(str(word) for word in words)
            add(name, Suspect(Question(which.ravel().astype(float), ordered=False), True, text))
    return found


def first_seen(values: Float[np.ndarray, "rows"]) -> Float[np.ndarray, "rows"]:
    """The row in which each value is first seen: the same for any naming of a partition."""
    _, first, which = np.unique(values, return_index=True, return_inverse=True)
    return first[which.ravel()].astype(float)


def is_measure(name: str) -> bool:
    """Whether a column's name says that it was measured, not chosen."""
    words = "".join(x if x.isalnum() else " " for x in name.casefold()).split()
    return name in ("pass_at_k", "weight_norm") or bool(MEASURES & set(words))


def _chosen(name: str, values: Float[np.ndarray, "rows"]) -> bool:
    """Whether a column of numbers looks like one that was chosen: known, counted or repeated."""
    whole = bool((values == np.round(values)).all())
    return name in COLUMNS or whole or len(np.unique(values)) <= len(values) / 2


def _numbers(frame: pl.DataFrame, name: str) -> Float[np.ndarray, "rows"] | None:
    """A column of finite numbers without gaps; None for any other."""
    if name not in frame.columns or kind_of(frame[name]) != "numbers":
        return None
    values = floats(frame, name)
    return values if np.isfinite(values).all() else None


def find_trends(
    seen: Seen,
    suspects: Mapping[str, Suspect],
    groups: Int[np.ndarray, "rows"] | None,
    seed: int,
) -> tuple[tuple[Trend, ...], int]:
    """How residuals depend on each suspect, in order of p, and the number of families of tests
    (rows; or the means of groups, and rows within groups)."""
    asked = {name: item.asked for name, item in suspects.items()}
    families: list[dict[str, float]] = []
    if groups is None:
        tangent = refit_tangent(seen.r, seen.jacobian, seen.weights)
        families.append({} if tangent is None else try_columns(tangent, asked, None, seed))
    else:
        families += [_between(seen, asked, groups, seed), _within(seen, asked, groups, seed)]
    families = [each for each in families if each]
    found: dict[str, float] = {}
    for each in families:
        for name, p in each.items():
            found[name] = min(p, found.get(name, 1.0))
    order = sorted(found, key=lambda name: found[name])
    made = [_trend(seen, name, suspects[name], found[name]) for name in order]
    return tuple(made), len(families)


def _between(
    seen: Seen, asked: Mapping[str, Question], groups: Int[np.ndarray, "rows"], seed: int
) -> dict[str, float]:
    """Means of groups against the columns' means."""
    r = group_means(seen.r[:, None], groups)[:, 0]
    tangent = refit_tangent(r, group_means(seen.jacobian, groups), np.ones(len(r)))
    if tangent is None:
        return {}
    own = {
        name: Question(group_means(each.values[:, None], groups)[:, 0], each.ordered)
        for name, each in asked.items()
        if each.ordered or (_within_range(each.values, groups) == 0).all()
    }
    return try_columns(tangent, own, None, seed)


def _within(
    seen: Seen, asked: Mapping[str, Question], groups: Int[np.ndarray, "rows"], seed: int
) -> dict[str, float]:
    """Rows against what varies within their groups, each group with a mean of its own."""
    tangent = refit_tangent(seen.r, seen.jacobian, seen.weights, groups)
    if tangent is None:
        return {}
    own = {n: each for n, each in asked.items() if (_within_range(each.values, groups) > 0).any()}
    return try_columns(tangent, own, groups if groups.max() + 1 >= SIGNED else None, seed)


def _within_range(
    values: Float[np.ndarray, "rows"], groups: Int[np.ndarray, "rows"]
) -> Float[np.ndarray, "groups"]:
    """How far values differ inside each group."""
    order = np.argsort(groups, kind="stable")
    start = np.flatnonzero(np.diff(groups[order], prepend=-1))
    ordered = values[order]
    return np.maximum.reduceat(ordered, start) - np.minimum.reduceat(ordered, start)


def _trend(seen: Seen, name: str, suspect: Suspect, p: float) -> Trend:
    """Where along the column the law is furthest off: the part whose residuals stand out most."""
    values, ordered = suspect.asked.values, suspect.asked.ordered
    levels, part = np.unique(values, return_inverse=True)
    if ordered and len(levels) > BINS:
        edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
        part = np.searchsorted(edges, values, side="left")
    scale = float(np.median(np.abs(seen.r))) or 1.0
    count = np.bincount(part.ravel())
    pull = np.bincount(part.ravel(), np.clip(seen.r / scale, -3, 3))
    worst = int(np.argmax(np.abs(pull) / np.sqrt(np.maximum(count, 1))))
    there = part.ravel() == worst
    gap = float(np.median(seen.gap[there]))
    if not ordered:
        return Trend(name, p, gap, level=suspect.words[int(values[there][0])])
    low, high = float(values[there].min()), float(values[there].max())
    return Trend(name, p, gap, low, high, chosen=suspect.chosen)
