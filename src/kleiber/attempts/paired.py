"""compare_counts: the pass@k of two models on the same problems, paired, with a band over all k."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.arguments import check_memory, check_whole
from kleiber.attempts.counts import read_k, refuse_stopped
from kleiber.attempts.errors import check_level, failure_of
from kleiber.attempts.table import Counts, read_counts
from kleiber.errors import BadTable, listed
from kleiber.maths.seeds import stream
from kleiber.table import as_frame, numbers

CHUNK = 4 * 10**6  # numbers drawn at a time
MIN_PROBLEMS = 10  # fewer have no band that a bootstrap could give
GRID = 200  # values of k by default, all of them where there are no more
DIRECTIONS = ("a", "b")


@dataclass(frozen=True)
class PairedCounts:
    """The difference of pass@k of B and A on the same problems.

    Attributes
    ----------
    table
        A row for each k: ``a`` and ``b`` (pass@k of each), ``difference`` (b - a) with ``_stderr``,
        ``_low`` and ``_high`` (the band that holds for all k at once), and ``better``: ``"a"`` or
        ``"b"`` where the band excludes 0, "" where one cannot tell.
    problems
        The number of problems that both attempted.
    critical
        Standard errors on either side of the difference that make the band.
    level
        The level of the band, for all k at once.
    notes
        Warnings, and at which k which of the two is better.

    Examples
    --------
    >>> import kleiber
    >>> a = {"problem": list(range(20)), "attempts": 20 * [10], "successes": [*range(10)] * 2}
    >>> b = a | {"successes": [(c + c % 2) for c in a["successes"]]}
    >>> kleiber.compare_counts(a, b, k=[1]).problems
    20
    """

    table: pl.DataFrame
    problems: int
    critical: float
    level: float
    notes: tuple[str, ...]


def compare_counts(
    a: object,
    b: object,
    k: Sequence[int] | int | None = None,
    *,
    sum_by: str | Sequence[str] | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
    stopped: bool | None = None,
) -> PairedCounts:
    """Compare the pass@k of two models on the same problems, with a band for all k at once.

    Each problem has its own unbiased difference f_A(k) - f_B(k) of failures (Chen et al. 2021,
    arXiv:2107.03374), and the mean over problems its paired standard error; the band is as many of
    these as hold the largest deviation over k in a share ``level`` of bootstrap draws over
    problems (sup-t; Montiel Olea and Plagborg-Moller 2019).

    Parameters
    ----------
    a, b
        Any data frames with columns problem, attempts, successes: one model each.
    k
        The numbers of attempts, up to the fewest made; by default 1 to that, at most 200 of them.
    sum_by
        ``"problem"`` adds up the rows of each problem first.
    level
        The level of the band, between 0 and 1.
    draws, seed
        The number of bootstrap draws over problems, and their seed.
    stopped
        Whether attempts stopped on success; by default the column ``stopped`` says so.

    Returns
    -------
    PairedCounts
        A row for each k in ``.table``, and where which of the two is better in ``.notes``.

    Raises
    ------
    BadTable
        For fewer than ten problems in common, for more than one model in a table, for k beyond the
        attempts, and for attempts that stopped on success.

    Examples
    --------
    >>> import kleiber
    >>> a = {"problem": list(range(20)), "attempts": 20 * [10], "successes": [*range(10)] * 2}
    >>> b = a | {"successes": [min(c + 1, 10) for c in a["successes"]]}
    >>> kleiber.compare_counts(a, b, k=[1]).table["difference"].round(3).to_list()
    [0.1]
    """
    level = check_level(level)
    draws = check_whole("draws", draws, low=100, error=BadTable)
    one, other = (_read(item, name, sum_by, stopped) for item, name in ((a, "A"), (b, "B")))
    both, left = _match(one, other)
    if both.height < MIN_PROBLEMS:
        raise BadTable(
            f"A paired band needs {MIN_PROBLEMS} problems that both models attempted, "
            f"got {both.height}."
        )
    ks = _values_of_k(one, other, k)
    check_memory(f"{both.height} problems at {len(ks)} k", 64.0 * both.height * len(ks))
    failures = [_failures(both, end, ks) for end in ("", "_b")]
    each = failures[0] - failures[1]
    error: Float[np.ndarray, "k"] = each.std(0, ddof=1) / np.sqrt(len(each))
    critical = _critical(each, level, draws, seed)
    mean, half = each.mean(0), critical * error
    low, high = np.maximum(mean - half, -1.0), np.minimum(mean + half, 1.0)
    known = error > 0
    better = np.where(known & (low > 0), "b", np.where(known & (high < 0), "a", ""))
    table = pl.DataFrame(
        {
            "k": ks.astype(int),
            "a": 1 - failures[0].mean(0),
            "b": 1 - failures[1].mean(0),
            "difference": mean,
            "difference_stderr": np.where(known, error, np.nan),
            "difference_low": np.where(known, low, np.nan),
            "difference_high": np.where(known, high, np.nan),
            "better": better,
        }
    ).with_columns(pl.col(pl.Float64).fill_nan(None))
    notes = (*left, *_verdicts(ks, better), *_unknown(ks, known))
    return PairedCounts(table, both.height, critical, level, notes)


def _read(
    table: object, name: str, sum_by: str | Sequence[str] | None, stopped: bool | None
) -> Counts:
    counts = read_counts(as_frame(table), None, stopped=stopped, sum_by=sum_by)
    if len(counts.names) != 1:
        raise BadTable(
            f"Table {name} holds {len(counts.names)} models ({listed(counts.names)}); a comparison "
            "is of one model with another, so keep the rows of one (where=...)."
        )
    refuse_stopped(counts, given=stopped)
    return counts


def _match(one: Counts, other: Counts) -> tuple[pl.DataFrame, list[str]]:
    """Return attempts n and successes c of the problems in both, and a note on the others."""
    assert one.labels is not None
    assert other.labels is not None
    kinds = one.labels["problem"].dtype, other.labels["problem"].dtype
    if kinds[0].is_numeric() != kinds[1].is_numeric():
        raise BadTable(f"Column 'problem' holds {kinds[0]} in table A and {kinds[1]} in table B.")
    columns = [pl.col("attempts").alias("n"), pl.col("successes").alias("c"), "problem"]
    left, right = one.labels.select(columns), other.labels.select(columns)
    both = left.join(right.cast({"problem": kinds[0]}), on="problem", how="inner", suffix="_b")
    lost = left.height - both.height, right.height - both.height
    if not any(lost):
        return both, []
    said = f"{lost[0]} problems of A and {lost[1]} of B are left out: the other has none of them."
    return both, [said]


def _values_of_k(
    one: Counts, other: Counts, k: Sequence[int] | int | None
) -> Float[np.ndarray, "k"]:
    if k is not None:
        for counts in (one, other):
            read_k(counts, k)
        return np.unique(read_k(one, k))
    most = int(min(one.attempts.min(), other.attempts.min()))
    if most <= GRID:
        return np.arange(1.0, most + 1)
    return np.unique(np.round(np.geomspace(1, most, GRID)))


def _failures(
    both: pl.DataFrame, end: str, ks: Float[np.ndarray, "k"]
) -> Float[np.ndarray, "problems k"]:
    n, c = (numbers(both, f"{what}{end}")[:, None] for what in ("n", "c"))
    return failure_of(n, c, ks)


def _critical(each: Float[np.ndarray, "problems k"], level: float, draws: int, seed: int) -> float:
    """Return the quantile of the largest studentised deviation over k of bootstrap means.

    Each draw is divided by its own standard error, floored at a tenth of that of the table: where
    few problems carry the difference, draws without them would have none.
    """
    rng, m = stream(seed, "paired_counts"), len(each)
    error = each.std(0, ddof=1) / np.sqrt(m)
    each, error = each[:, error > 0], error[error > 0]
    if not each.shape[1]:
        return float("nan")
    centred = each - each.mean(0)
    found: list[Float[np.ndarray, "draws"]] = []
    size = max(1, CHUNK // (m + 2 * each.shape[1]))
    for start in range(0, draws, size):
        weights = rng.multinomial(m, np.full(m, 1 / m), size=min(size, draws - start)) / m
        mean = weights @ centred
        own = np.sqrt(np.maximum(weights @ centred**2 - mean**2, 0.0) / (m - 1))
        found.append((np.abs(mean) / np.maximum(own, error / 10)).max(axis=1))
    return float(np.quantile(np.concatenate(found), level))


def _verdicts(ks: Float[np.ndarray, "k"], better: np.ndarray) -> list[str]:
    """Say at which k which model is better."""
    said = [
        f"{name.upper()} is better at k = {spans(ks, better == name)}."
        for name in DIRECTIONS
        if (better == name).any()
    ]
    return said or ["The band holds 0 at every k: the table cannot tell the two apart."]


def _unknown(ks: Float[np.ndarray, "k"], known: np.ndarray) -> list[str]:
    if known.all():
        return []
    return [f"All problems have the same difference at k = {spans(ks, ~known)}: no band there."]


def spans(ks: Float[np.ndarray, "k"], chosen: np.ndarray) -> str:
    """Write the chosen k as ranges of neighbours among those looked at."""
    places = np.flatnonzero(chosen)
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    ends = [(int(ks[run[0]]), int(ks[run[-1]])) for run in runs]
    return ", ".join(str(low) if low == high else f"{low} to {high}" for low, high in ends)
