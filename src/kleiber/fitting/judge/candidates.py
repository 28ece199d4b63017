"""Columns that residuals are compared with, and where along one of them the law is furthest off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from kleiber.columns import COLUMNS, FILE_ROW
from kleiber.fitting.judge.misfit import COMPUTE, PREDICTION, Trend
from kleiber.fitting.judge.trends import (
    MIN_SIGN_GROUPS,
    ColumnValues,
    compute_p_values,
    group_means,
    refit_tangent,
    scaled_ranks,
)
from kleiber.table import floats, kind_of

MAX_COLUMNS = 60  # columns beyond the law's own that are looked at, the first of the table
N_BINS = 8  # of a column, in which the law's gap is looked at
MEASUREMENT_WORDS = frozenset(  # in names of measured columns, which share the target's noise
    "loss losses acc accuracy error err ppl perplexity bpb bpc nll score pass success successes "
    "norm grad gradient failure failures predicted low high stderr std seconds runtime wall "
    "timestamp diverged reward residual".split()
)


@dataclass(frozen=True, eq=False)
class FitResiduals:
    """Residuals of a fit on the rows that count, ``rows`` of the table: residuals r, the Jacobian
    and the ``target`` on the scale of the noise model, predicted and measured values, and the
    ``gap``, predicted over measured minus 1."""

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
class CandidateColumn:
    """A column to compare residuals with; ``chosen`` as in ``Trend``, ``words`` are its text
    values."""

    column: ColumnValues
    chosen: bool = True
    words: tuple[str, ...] = ()


def find_candidates(
    fit_rows: FitResiduals, skipped: tuple[str | None, ...]
) -> dict[str, CandidateColumn]:
    """Return the law's variables, the prediction, the compute, and every other column that
    residuals can be compared with; columns with the same order or partition of the rows are listed
    once."""
    found: dict[str, CandidateColumn] = {}
    known: set[bytes] = set()

    def add(name: str, candidate: CandidateColumn) -> None:
        values = candidate.column.values
        ranks = (
            np.round(scaled_ranks(values), 9)
            if candidate.column.ordered
            else number_by_first_row(values)
        )
        keys = {(ranks + 0.0).tobytes(), (0.0 - ranks).tobytes()}
        if np.ptp(values) > 0 and not keys & known:
            known.update(keys)
            found[name] = candidate

    for name, values in fit_rows.variables.items():
        add(name, CandidateColumn(ColumnValues(values)))
    add(PREDICTION, CandidateColumn(ColumnValues(fit_rows.predicted)))
    both = [_numbers(fit_rows.frame, name) for name in ("n_params", "n_tokens")]
    if both[0] is not None and both[1] is not None and "flops" not in fit_rows.frame.columns:
        add(COMPUTE, CandidateColumn(ColumnValues(both[0] * both[1])))
    known_names = {*found, *fit_rows.variables, *skipped, FILE_ROW}
    others = [
        name
        for name in fit_rows.frame.columns
        if name not in known_names and not is_measurement_name(name)
    ]
    for name in others[:MAX_COLUMNS]:
        values = _numbers(fit_rows.frame, name)
        if values is not None:
            add(name, CandidateColumn(ColumnValues(values), _looks_chosen(name, values)))
        elif kind_of(fit_rows.frame[name]) in ("text", "booleans"):
            words, which = np.unique(
                fit_rows.frame[name].cast(pl.String).fill_null("missing").to_numpy(),
                return_inverse=True,
            )
            text = tuple(str(word) for word in words)
            add(
                name,
                CandidateColumn(
                    ColumnValues(which.ravel().astype(float), ordered=False), True, text
                ),
            )
    return found


def number_by_first_row(values: Float[np.ndarray, "rows"]) -> Float[np.ndarray, "rows"]:
    """Return the row in which each value occurs first, which is the same for any naming of a
    partition."""
    _, first, which = np.unique(values, return_index=True, return_inverse=True)
    return first[which.ravel()].astype(float)


def is_measurement_name(name: str) -> bool:
    """Return whether a column's name says that it was measured, not chosen."""
    words = "".join(x if x.isalnum() else " " for x in name.casefold()).split()
    return name in ("pass_at_k", "weight_norm") or bool(MEASUREMENT_WORDS & set(words))


def _looks_chosen(name: str, values: Float[np.ndarray, "rows"]) -> bool:
    """Return whether a column of numbers looks like a setting: known, whole or repeated."""
    whole = bool((values == np.round(values)).all())
    return name in COLUMNS or whole or len(np.unique(values)) <= len(values) / 2


def _numbers(frame: pl.DataFrame, name: str) -> Float[np.ndarray, "rows"] | None:
    """Return a column of finite numbers without gaps, or None for any other column."""
    if name not in frame.columns or kind_of(frame[name]) != "numbers":
        return None
    values = floats(frame, name)
    return values if np.isfinite(values).all() else None


def find_trends(
    fit_rows: FitResiduals,
    candidates: Mapping[str, CandidateColumn],
    groups: Int[np.ndarray, "rows"] | None,
    seed: int,
) -> tuple[tuple[Trend, ...], int]:
    """Return how residuals depend on each candidate, in order of p, and the number of families of
    tests (rows; or the means of groups, and rows within groups)."""
    column = {name: item.column for name, item in candidates.items()}
    families: list[dict[str, float]] = []
    if groups is None:
        tangent = refit_tangent(fit_rows.r, fit_rows.jacobian, fit_rows.weights)
        families.append({} if tangent is None else compute_p_values(tangent, column, None, seed))
    else:
        families += [
            _between(fit_rows, column, groups, seed),
            _within(fit_rows, column, groups, seed),
        ]
    families = [each for each in families if each]
    found: dict[str, float] = {}
    for each in families:
        for name, p in each.items():
            found[name] = min(p, found.get(name, 1.0))
    order = sorted(found, key=lambda name: found[name])
    made = [_describe_trend(fit_rows, name, candidates[name], found[name]) for name in order]
    return tuple(made), len(families)


def _between(
    fit_rows: FitResiduals,
    column: Mapping[str, ColumnValues],
    groups: Int[np.ndarray, "rows"],
    seed: int,
) -> dict[str, float]:
    """Test the means of groups against the columns' means."""
    r = group_means(fit_rows.r[:, None], groups)[:, 0]
    tangent = refit_tangent(r, group_means(fit_rows.jacobian, groups), np.ones(len(r)))
    if tangent is None:
        return {}
    run_cells = {
        name: ColumnValues(group_means(each.values[:, None], groups)[:, 0], each.ordered)
        for name, each in column.items()
        if each.ordered or (_within_range(each.values, groups) == 0).all()
    }
    return compute_p_values(tangent, run_cells, None, seed)


def _within(
    fit_rows: FitResiduals,
    column: Mapping[str, ColumnValues],
    groups: Int[np.ndarray, "rows"],
    seed: int,
) -> dict[str, float]:
    """Test rows against columns that vary within their groups, with a mean for each group."""
    tangent = refit_tangent(fit_rows.r, fit_rows.jacobian, fit_rows.weights, groups)
    if tangent is None:
        return {}
    run_cells = {
        n: each for n, each in column.items() if (_within_range(each.values, groups) > 0).any()
    }
    return compute_p_values(
        tangent, run_cells, groups if groups.max() + 1 >= MIN_SIGN_GROUPS else None, seed
    )


def _within_range(
    values: Float[np.ndarray, "rows"], groups: Int[np.ndarray, "rows"]
) -> Float[np.ndarray, "groups"]:
    """Return the range of values inside each group."""
    order = np.argsort(groups, kind="stable")
    start = np.flatnonzero(np.diff(groups[order], prepend=-1))
    ordered = values[order]
    return np.maximum.reduceat(ordered, start) - np.minimum.reduceat(ordered, start)


def _describe_trend(
    fit_rows: FitResiduals, name: str, candidate: CandidateColumn, p: float
) -> Trend:
    """Return the part of the column where residuals stand out most, and how far the law is off
    there."""
    values, ordered = candidate.column.values, candidate.column.ordered
    levels, part = np.unique(values, return_inverse=True)
    if ordered and len(levels) > N_BINS:
        edges = np.unique(np.quantile(values, np.linspace(0, 1, N_BINS + 1)[1:-1]))
        part = np.searchsorted(edges, values, side="left")
    scale = float(np.median(np.abs(fit_rows.r))) or 1.0
    count = np.bincount(part.ravel())
    sums = np.bincount(part.ravel(), np.clip(fit_rows.r / scale, -3, 3))
    worst = int(np.argmax(np.abs(sums) / np.sqrt(np.maximum(count, 1))))
    there = part.ravel() == worst
    gap = float(np.median(fit_rows.gap[there]))
    if not ordered:
        return Trend(name, p, gap, level=candidate.words[int(values[there][0])])
    low, high = float(values[there].min()), float(values[there].max())
    return Trend(name, p, gap, low, high, chosen=candidate.chosen)
