"""Attempts at problems: reading counts, and the unbiased pass@k with its error.

Two observables fall as attempts grow, and they are not the same: the failure 1 - pass@k, which a
theory of hard instances describes, and -log pass@k, which papers on repeated sampling plot. They
agree only where the failure is small; here each has columns of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int
from scipy import special

from kleiber.errors import BadTable, shown
from kleiber.maths.gamma import log_rising
from kleiber.maths.seeds import stream
from kleiber.table import as_frame, numbers, require

NAME = "model"  # groups a table by default where there is such a column
OBSERVABLES = ("pass_at_k", "failure", "neg_log_pass")


@dataclass(frozen=True)
class Counts:
    """Successes among attempts at problems, in groups; one row for each problem of a group.

    ``keys`` holds a row for each group with its columns ``by``, in order of appearance; ``group``
    and ``problem`` are places in it and among the distinct problems, which groups may share;
    ``stopped`` marks rows whose number of attempts depended on what they brought.
    """

    keys: pl.DataFrame
    group: Int[np.ndarray, "rows"]
    problem: Int[np.ndarray, "rows"]
    attempts: Float[np.ndarray, "rows"]
    successes: Float[np.ndarray, "rows"]
    stopped: Bool[np.ndarray, "rows"]

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each group: its values of ``by``, as many as tell the groups apart."""
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
        """The rows of a group."""
        return np.flatnonzero(self.group == group)


def read_counts(
    table: object, by: str | Sequence[str] | None = None, *, stopped: bool | None = None
) -> Counts:
    """Counts of a table with columns problem, attempts and successes, in the groups of ``by``.

    Without ``by`` the column ``model`` makes the groups, if there is one. ``stopped``: whether the
    number of attempts depended on their outcome (stop on success, adaptive budgets), for all rows;
    by default a column ``stopped`` says so, row by row. Raises BadTable for missing columns, for
    counts that are not whole, negative, or more successes than attempts, and for a problem that
    occurs twice in a group.
    """
    frame = as_frame(table)
    require(frame, ["problem", "attempts", "successes"])
    if frame.height == 0:
        raise BadTable("The table has no rows; it needs a row for each problem.")
    columns = group_columns(frame, by)
    attempts, successes = _whole(frame, "attempts"), _whole(frame, "successes")
    _refuse(attempts < 1, "attempts are below 1", frame, attempts)
    _refuse(successes < 0, "successes are negative", frame, successes)
    _refuse(successes > attempts, "there are more successes than attempts", frame, successes)
    for name in ("problem", *columns):
        if frame[name].null_count():
            raise BadTable(f"Column {name!r} has a missing value; each row needs one.")
    keys, group = _coded(frame, columns)
    _, problem = _coded(frame, ["problem"])
    _refuse_repeats(frame, columns, group, problem)
    return Counts(keys, group, problem, attempts, successes, _stopped(frame, stopped))


def group_columns(frame: pl.DataFrame, by: str | Sequence[str] | None) -> list[str]:
    """The columns that make groups: ``by``, else ``model`` where the table has it."""
    columns = (
        [NAME] * (NAME in frame.columns) if by is None else [by] if isinstance(by, str) else by
    )
    require(frame, columns)
    return list(columns)


def _coded(frame: pl.DataFrame, columns: list[str]) -> tuple[pl.DataFrame, Int[np.ndarray, "rows"]]:
    """The distinct rows of some columns in order of appearance, and which of them each row is."""
    if not columns:
        return pl.DataFrame(), np.zeros(frame.height, int)
    keys = frame.select(columns).unique(maintain_order=True)
    codes = keys.with_row_index("code_")
    joined = frame.select(columns).join(codes, on=columns, how="left", maintain_order="left")
    return keys, joined["code_"].to_numpy().astype(int)


def _whole(frame: pl.DataFrame, name: str) -> Float[np.ndarray, "rows"]:
    values = numbers(frame, name)
    _refuse(values != np.round(values), f"{name} are not a whole number", frame, values)
    return values


def _refuse(wrong: np.ndarray, what: str, frame: pl.DataFrame, values: np.ndarray) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise BadTable(
            f"For problem {shown(frame['problem'][row])} {what}: {values[row]:g} "
            f"of {shown(frame['attempts'][row])} attempts, in row {row + 1} of {frame.height}."
        )


def _refuse_repeats(
    frame: pl.DataFrame, columns: list[str], group: np.ndarray, problem: np.ndarray
) -> None:
    code = group * (int(problem.max()) + 1) + problem
    _, first, times = np.unique(code, return_index=True, return_counts=True)
    if times.max() > 1:
        row = int(first[np.argmax(times > 1)])
        place = ", ".join(f"{name} {shown(frame[name][row])}" for name in columns)
        raise BadTable(
            f"Problem {shown(frame['problem'][row])} occurs {int(times.max())} times"
            f"{f' for {place}' if place else ''}; name the columns that tell the rows apart "
            "(by=..., --by on the command line), or add their attempts and successes up."
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


def failure_of(
    attempts: Float[np.ndarray, "..."],
    successes: Float[np.ndarray, "..."],
    k: Float[np.ndarray, "..."],
) -> Float[np.ndarray, "..."]:
    """The unbiased estimate of (1 - p)**k from c successes in n attempts, for k up to n.

    C(n - c, k)/C(n, k), 0 where k > n - c: one minus the pass@k of Chen et al. 2021
    (arXiv 2107.03374), eq. 1. Written with the smaller of c and k, so that nothing cancels.
    """
    n, c, k = np.broadcast_arrays(*(np.asarray(x, float) for x in (attempts, successes, k)))
    less = np.minimum(c, k)
    inside = n - c - k >= 0
    start = np.where(inside, n - c - k + 1, 1.0)
    log = log_rising(start, less) - log_rising(n - less + 1, less)
    return np.where(inside, np.exp(np.minimum(log, 0.0)), 0.0)


def pass_at_k(
    table: object,
    k: Sequence[int] | int | None = None,
    *,
    by: str | Sequence[str] | None = None,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
    stopped: bool | None = None,
    per_problem: bool = False,
) -> pl.DataFrame:
    """Unbiased pass@k of each group, with errors by bootstrap over its problems.

    Columns: those of ``by``, k, problems, and pass_at_k, failure (1 - pass@k) and neg_log_pass
    (-log pass@k, infinite where no problem passed), each with ``_stderr``, ``_low`` and ``_high``.
    ``k`` defaults to 1, 10, 100 ... up to the fewest attempts. ``per_problem`` gives each problem's
    own pass_at_k and failure instead. Raises BadTable for fewer than 2 draws, for k beyond the
    attempts, which only a law can give (``fit_counts``), and for attempts that stopped on success,
    for which the estimate would be biased.
    """
    check_draws(draws, least=2)
    counts = read_counts(table, by, stopped=stopped)
    refuse_stopped(counts, given=stopped)
    ks = read_k(counts, k)
    failure = failure_of(counts.attempts[:, None], counts.successes[:, None], ks)
    if per_problem:
        return _each_problem(as_frame(table), counts, ks, failure)
    rng = stream(seed, "pass_at_k")
    parts = [
        _averaged(failure[counts.of(g)], ks, counts.keys[g : g + 1], level, draws, rng)
        for g in range(len(counts.names))
    ]
    return pl.concat(parts)


def check_draws(draws: object, *, least: int) -> None:
    """BadTable unless draws is a whole number and not below the least."""
    if isinstance(draws, bool) or not isinstance(draws, Integral) or int(draws) < least:
        raise BadTable(f"draws must be a whole number from {least}, got {shown(draws)}.")


def read_k(counts: Counts, k: Sequence[int] | int | None) -> Float[np.ndarray, "k"]:
    """The numbers of attempts asked for; BadTable unless whole, at least 1 and not too many."""
    fewest = int(counts.attempts.min())
    if k is None:
        return 10.0 ** np.arange(len(str(fewest)))
    ks = np.atleast_1d(np.asarray(k, float))
    for item in ks:
        if not (item >= 1 and item == round(item)):
            raise BadTable(f"k counts attempts, a whole number from 1; got {item:g}.")
        if item > fewest:
            raise BadTable(
                f"pass@{item:g} cannot be estimated without bias from {fewest} attempts, the "
                f"fewest of any problem; take k up to {fewest}, or extrapolate by a law: "
                f"fit_counts(table).pass_at({item:g}), kleiber counts TABLE --k {item:g}."
            )
    return ks


def refuse_stopped(counts: Counts, *, given: bool | None) -> None:
    """BadTable where attempts depended on their outcome, or look as if they did."""
    law = "a likelihood can use such counts: fit_counts, or kleiber counts"
    if counts.stopped.any():
        raise BadTable(
            f"The attempts of {int(counts.stopped.sum())} of {len(counts.group)} rows stopped when "
            f"they did because of their outcome, so the unbiased pass@k does not hold; {law}."
        )
    looks = np.ptp(counts.attempts) > 0 and counts.successes.max() == 1
    if looks and given is None and (counts.successes == 1).sum() > 2:
        raise BadTable(
            "No problem has more than one success and the attempts differ, as when they stop on "
            f"success; the unbiased pass@k would not hold, but {law}. If the numbers of attempts "
            "were fixed beforehand, say so: stopped=False."
        )


def _each_problem(
    frame: pl.DataFrame, counts: Counts, ks: np.ndarray, failure: np.ndarray
) -> pl.DataFrame:
    names = [*counts.keys.columns, "problem", "attempts", "successes"]
    rows = frame.select(names)
    parts = [
        rows.with_columns(
            pl.lit(int(k)).alias("k"),
            pl.Series("pass_at_k", 1 - failure[:, j]),
            pl.Series("failure", failure[:, j]),
        )
        for j, k in enumerate(ks)
    ]
    return pl.concat(parts)


def _averaged(
    failure: Float[np.ndarray, "problems k"],
    ks: Float[np.ndarray, "k"],
    key: pl.DataFrame,
    level: float,
    draws: int,
    rng: np.random.Generator,
) -> pl.DataFrame:
    """The rows of one group."""
    problems = len(failure)
    weights = rng.multinomial(problems, np.full(problems, 1 / problems), size=draws) / problems
    drawn = weights @ failure
    mean = failure.mean(0)
    columns = {"k": ks.astype(int), "problems": np.full(len(ks), problems)}
    low, high = _ends(drawn, mean, problems, level)
    widen = np.sqrt(problems / max(problems - 1, 1))  # the bootstrap's variance lacks n/(n - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        for name, values, ends, sample in (
            ("pass_at_k", 1 - mean, (1 - high, 1 - low), 1 - drawn),
            ("failure", mean, (low, high), drawn),
            ("neg_log_pass", -np.log1p(-mean), (-np.log1p(-low), -np.log1p(-high)),
             -np.log1p(-drawn)),
        ):  # fmt: skip
            columns[name] = values + 0.0
            columns[f"{name}_stderr"] = _spread(sample) * widen
            columns[f"{name}_low"], columns[f"{name}_high"] = ends[0] + 0.0, ends[1] + 0.0
    frame = pl.DataFrame(columns)
    if not key.width:
        return frame
    return pl.concat([pl.concat([key] * len(ks)), frame], how="horizontal")


def _spread(sample: Float[np.ndarray, "draws k"]) -> Float[np.ndarray, "k"]:
    """Standard deviation of the draws; infinite where some are (no problem of a draw passed)."""
    finite = np.isfinite(sample).all(0)
    out = np.full(sample.shape[1], np.inf)
    if len(sample) > 1:
        out[finite] = sample[:, finite].std(0, ddof=1)
    return out


def _ends(
    drawn: Float[np.ndarray, "draws k"], mean: Float[np.ndarray, "k"], problems: int, level: float
) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"]]:
    """Percentiles of the mean failure, widened for few problems (Hesterberg 2015, section 5).

    Where all problems fail or all pass, the draws do not vary, and the ends are those of
    Clopper and Pearson (1934) for so many problems.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    spare = max(problems - 1, 1)
    t = special.stdtrit(spare, 0.5 + level / 2) * np.sqrt(problems / spare)
    shares = special.ndtr([-t, t])
    ends = np.quantile(drawn, shares, axis=0, method="hazen")
    bare = ((1 - level) / 2) ** (1 / problems)
    low, high = np.asarray(ends[0]), np.asarray(ends[1])
    low[mean >= 1], high[mean <= 0] = bare, 1 - bare
    return low, high
