"""Counts of successes among attempts at problems, read from a table.

A row is a problem with its attempts and successes. With ``sum_by`` it is some of the attempts at a
problem, down to a single one, and the rows of each problem are summed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from kleiber.arguments import check_columns, check_flag
from kleiber.attempts.order import sort_groups
from kleiber.columns import COLUMNS
from kleiber.errors import BadTable, listed, shown
from kleiber.rows import name_row
from kleiber.table import as_frame, kind_of, numbers, require

DEFAULT_GROUP = "model"  # the column that makes groups by default
BOOLEAN_WORDS = {"true": 1.0, "false": 0.0}
MANY_ATTEMPTS = 20  # more attempts at a single problem are probably problems
USUAL_GROUPS = (
    "model",
    "checkpoint",
    "dataset",
    "task",
    "n_params",
    "n_tokens",
    "n_data",
    "step",
    "flops",
)


@dataclass(frozen=True)
class Counts:
    """Successes among attempts at problems, in groups; one row for each problem of a group.

    ``keys`` holds a row for each group with its columns ``by``: numbers, and text that differs in a
    number alone, in numerical order, other text in order of appearance; ``group`` and ``problem``
    are indices of the groups and of the distinct problems, which groups may share; ``stopped``
    marks rows whose number of attempts depended on their outcome. ``labels`` are the rows as a
    table: keys, problem, attempts and successes. ``notes`` describe how rows were summed.
    """

    keys: pl.DataFrame
    group: Int[np.ndarray, "rows"]
    problem: Int[np.ndarray, "rows"]
    attempts: Float[np.ndarray, "rows"]
    successes: Float[np.ndarray, "rows"]
    stopped: Bool[np.ndarray, "rows"]
    labels: pl.DataFrame | None = None
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each group: its values of ``by``, as many as distinguish the groups."""
        if not self.keys.width:
            return ("all",)
        keys = self.keys
        while keys.width > 1 and keys[:, :-1].n_unique() == keys.height:
            keys = keys[:, :-1]
        return tuple(
            ", ".join(f"{x:g}" if isinstance(x, float) else str(x) for x in row)
            for row in keys.rows()
        )

    def of(self, group: int) -> Int[np.ndarray, "rows"]:
        """Return the rows of a group."""
        return np.flatnonzero(self.group == group)


def read_counts(
    table: object,
    by: str | Sequence[str] | None = None,
    *,
    stopped: bool | None = None,
    sum_by: str | Sequence[str] | None = None,
    along: str | None = None,
) -> Counts:
    """Read the counts of a table with columns problem, attempts and successes, in the groups of
    ``by``.

    Without ``by`` the column ``model`` makes the groups, if there is one. ``successes`` holds
    numbers, or true and false for single attempts. ``stopped``: whether the number of attempts
    depended on their outcome (stop on success, adaptive budgets), for all rows; by default a column
    ``stopped`` says so, row by row. ``sum_by`` names the column (or columns) that tells problems
    apart where a problem has several rows in a group: their attempts and successes are added up,
    each row being one attempt where there is no column ``attempts``. ``along`` names the column of
    ``by`` by which groups are ordered where each has a single value of it.

    Raises BadTable for missing columns, for counts that are not whole, negative, or more successes
    than attempts, and for a problem that occurs twice in a group without ``sum_by``.
    """
    if stopped is not None:
        check_flag("stopped", stopped)
    frame = as_frame(table)
    columns = group_columns(frame, by)
    sum_cells = check_columns("sum_by", sum_by)
    rows = _read_columns(frame, columns, sum_cells, stopped)
    notes: tuple[str, ...] = ()
    if sum_by is not None:
        notes = _note_mixed_rows(frame, [*sum_cells, *columns])
        rows = _add_up(rows, columns)
    keys, group = sort_groups(*_encode_rows(rows, columns), along)
    _, problem = _encode_rows(rows, ["(problem)"])
    _check_repeats(rows, columns, group, problem)
    attempts, successes = numbers(rows, "(attempts)"), numbers(rows, "(successes)")
    labels = pl.DataFrame(
        {
            **{name: rows[name] for name in columns},
            "problem": rows["(problem)"],
            "attempts": attempts.astype(int),
            "successes": successes.astype(int),
        }
    )
    flags = rows["(stopped)"].to_numpy().astype(bool)
    return Counts(keys, group, problem, attempts, successes, flags, labels, notes)


def group_columns(frame: pl.DataFrame, by: str | Sequence[str] | None) -> list[str]:
    """Return the columns that make groups: ``by``, or ``model`` if the table has it."""
    columns = (
        [DEFAULT_GROUP] * (DEFAULT_GROUP in frame.columns)
        if by is None
        else list(dict.fromkeys(check_columns("by", by)))
    )
    require(frame, columns)
    return columns


def _read_columns(
    frame: pl.DataFrame, columns: list[str], sum_by: list[str], stopped: bool | None
) -> pl.DataFrame:
    """Return the columns of groups, then (problem), (attempts), (successes) and (stopped), all
    checked."""
    _require_counts(frame, sum_by)
    if frame.height == 0:
        raise BadTable("The table has no rows; it needs a row for each problem.")
    named = sum_by or ["problem"]
    for name in (*named, *columns):
        if frame[name].null_count():
            raise BadTable(f"Column {name!r} has a missing value; each row needs one.")
        if frame.schema[name].is_nested() or frame.schema[name] == pl.Object:
            raise BadTable(
                f"Column {name!r} tells rows apart, so it must hold numbers or text, but it holds "
                f"{kind_of(frame[name])}."
            )
    problem = frame[named[0]]
    if len(named) > 1:
        keys, code = _encode_rows(frame, named)
        labels = [", ".join(str(x) for x in row) for row in keys.rows()]
        problem = pl.Series("problem", labels, pl.String)[code]
    attempts = np.ones(frame.height)
    if "attempts" in frame.columns:
        attempts = _whole(frame, "attempts", problem)
    successes = _outcomes(frame, problem)
    for wrong, what, values in (
        (attempts < 1, "attempts are below 1", attempts),
        (successes < 0, "successes are negative", successes),
        (successes > attempts, "there are more successes than attempts", successes),
    ):
        _raise_first(wrong, what, frame, problem, values, attempts)
    return pl.DataFrame(
        [
            *(frame[name] for name in columns),
            problem.alias("(problem)"),
            pl.Series("(attempts)", attempts),
            pl.Series("(successes)", successes),
            pl.Series("(stopped)", _stopped(frame, stopped)),
        ]
    )


def _require_counts(frame: pl.DataFrame, sum_by: list[str]) -> None:
    """Raise BadTable for the first missing column, with the option that makes it unnecessary."""
    require(frame, sum_by or ["problem"])
    known = (*COLUMNS["attempts"].aliases, "attempts")
    without_sum = not sum_by and "successes" in frame.columns
    if without_sum and not any(name in frame.columns for name in known):
        raise BadTable(
            "The table has no column 'attempts'. If each row is one attempt, add the rows of each "
            "problem up with --sum-by problem (sum_by='problem' in Python)."
        )
    require(frame, ["successes"] if sum_by else ["attempts", "successes"])


def _outcomes(frame: pl.DataFrame, problem: pl.Series) -> Float[np.ndarray, "rows"]:
    """Return the successes as numbers, from numbers, booleans, or the words true and false."""
    series = frame["successes"]
    kind = kind_of(series)
    if kind == "booleans" and not series.null_count():
        return series.cast(pl.Float64).to_numpy(writable=True)
    if kind == "text" and not series.null_count():
        words = series.cast(pl.String).str.strip_chars().str.to_lowercase()
        if words.is_in(list(BOOLEAN_WORDS)).all():
            return words.replace_strict(BOOLEAN_WORDS, return_dtype=pl.Float64).to_numpy(
                writable=True
            )
        wrong = (~words.is_in(list(BOOLEAN_WORDS))).arg_max() or 0
        if words.is_in(list(BOOLEAN_WORDS)).any():
            raise BadTable(
                "Column 'successes' must hold numbers, or true and false for single attempts; it "
                f"holds {shown(series[wrong])} in {name_row(frame, wrong)}."
            )
    return _whole(frame, "successes", problem)


def _add_up(rows: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    """Sum the rows of each problem of a group; the sum is stopped if any of its rows is."""
    return rows.group_by([*columns, "(problem)"], maintain_order=True).agg(
        pl.col("(attempts)", "(successes)").sum(), pl.col("(stopped)").any()
    )


def _note_mixed_rows(frame: pl.DataFrame, keys: list[str]) -> tuple[str, ...]:
    """Return a note on columns that usually make groups and differ within the rows that are
    summed."""
    keys = list(dict.fromkeys(keys))
    others = [name for name in USUAL_GROUPS if name in frame.columns and name not in keys]
    cells = frame.select(keys).n_unique()
    mixed = [name for name in others if frame.select(*keys, name).n_unique() > cells]
    if not mixed:
        return ()
    return (
        f"Rows of one problem that differ in {listed(mixed)} were added up; --by {mixed[0]} "
        f"(by={mixed[0]!r}) keeps them apart.",
    )


def _encode_rows(
    frame: pl.DataFrame, columns: list[str]
) -> tuple[pl.DataFrame, Int[np.ndarray, "rows"]]:
    """Return the distinct rows of some columns in order of appearance, and the index of each row in
    them."""
    if not columns:
        return pl.DataFrame(), np.zeros(frame.height, int)
    keys = frame.select(columns).unique(maintain_order=True)
    codes = keys.with_row_index("code_")
    joined = frame.select(columns).join(codes, on=columns, how="left", maintain_order="left")
    return keys, joined["code_"].to_numpy().astype(int)


def _whole(frame: pl.DataFrame, name: str, problem: pl.Series) -> Float[np.ndarray, "rows"]:
    values = numbers(frame, name)
    _raise_first(
        values != np.round(values), f"{name} are not a whole number", frame, problem, values
    )
    _raise_first(
        np.abs(values) > 2.0**53, f"{name} are beyond 2^53, and not exact", frame, problem, values
    )
    return values


def _raise_first(
    wrong: np.ndarray,
    what: str,
    frame: pl.DataFrame,
    problem: pl.Series,
    values: np.ndarray,
    attempts: np.ndarray | None = None,
) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        out_of = "" if attempts is None else f" of {attempts[row]:g} attempts"
        raise BadTable(
            f"For problem {shown(problem[row])} {what}: {values[row]:g}{out_of}, "
            f"in {name_row(frame, row)}."
        )


def _check_repeats(
    frame: pl.DataFrame, columns: list[str], group: np.ndarray, problem: np.ndarray
) -> None:
    code = group * (int(problem.max()) + 1) + problem
    _, first, times = np.unique(code, return_index=True, return_counts=True)
    if times.max() > 1:
        row = int(first[np.argmax(times > 1)])
        place = ", ".join(f"{name} {shown(frame[name][row])}" for name in columns)
        raise BadTable(
            f"Problem {shown(frame['(problem)'][row])} occurs {int(times.max())} times"
            f"{f' for {place}' if place else ''}; name the columns that tell the rows apart "
            "(--by COLUMN, by='COLUMN' in Python), or add the rows of each problem up with "
            "--sum-by problem (sum_by='problem' in Python)."
        )


def _stopped(frame: pl.DataFrame, given: bool | None) -> Bool[np.ndarray, "rows"]:
    if given is not None or "stopped" not in frame.columns:
        return np.full(frame.height, bool(given))
    column = frame["stopped"]
    if column.dtype == pl.Boolean and not column.null_count():
        return column.to_numpy().astype(bool)
    if column.dtype.is_numeric() and column.is_in([0, 1]).all():
        return column.cast(pl.Boolean).to_numpy().astype(bool)
    raise BadTable("Column 'stopped' must hold true or false (or 1 and 0) in each row.")


def looks_stopped(counts: Counts, rows: Int[np.ndarray, "some"] | slice = slice(None)) -> bool:
    """Return whether attempts look as if they had ended at the first success."""
    successes, attempts = counts.successes[rows], counts.attempts[rows]
    differ = bool(np.ptp(attempts) > 0) and float(successes.max()) == 1.0
    return differ and int((successes == 1).sum()) > 2


def note_many_attempts(counts: Counts) -> tuple[str, ...]:
    """Return a note on a single problem with many attempts, which is usually a mistake."""
    rows, attempts = len(counts.group), float(counts.attempts.max())
    if rows > 1 or attempts <= MANY_ATTEMPTS:
        return ()
    return (
        f"There are {attempts:g} attempts at one problem: if they are as many problems with an "
        "attempt each, give each a row of its own.",
    )
