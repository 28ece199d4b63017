"""The unbiased pass@k of attempts at problems, with its error.

Two observables fall as attempts grow, and they are not the same: the failure 1 - pass@k, which a
theory of hard instances describes, and -log pass@k, which papers on repeated sampling plot. They
agree only where the failure is small; here each has columns of its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float
from scipy import special

from kleiber.arguments import check_array, check_flag, check_memory, check_whole
from kleiber.attempts.errors import Errors, check_level, failure_of, mean_failure
from kleiber.attempts.table import Counts, looks_stopped, note_many_attempts, read_counts
from kleiber.errors import BadTable
from kleiber.maths.seeds import stream

CELLS = 4 * 10**6  # problems of all draws that are resampled at a time


def pass_at_k(
    table: object,
    k: Sequence[int] | int | None = None,
    *,
    by: str | Sequence[str] | None = None,
    sum_by: str | Sequence[str] | None = None,
    level: float = 0.95,
    draws: int | None = None,
    seed: int = 0,
    stopped: bool | None = None,
    per_problem: bool = False,
) -> pl.DataFrame:
    """Estimate pass@k of each group without bias, with errors in closed form.

    Of n attempts at a problem c succeed; the chance that k of them hold a success is 1 - C(n - c,
    k)/C(n, k), and pass@k is its mean over problems (Chen et al. 2021, arXiv:2107.03374).

    Parameters
    ----------
    table
        Any data frame with columns problem, attempts, successes.
    k
        The numbers of attempts, up to the fewest made; by default 1, 10, 100 and so on.
    by
        The columns that make groups; by default ``model`` where there is such a column.
    sum_by
        ``"problem"`` adds up the rows of each problem first (single attempts, or chunks of them).
    level
        The level of the intervals, between 0 and 1.
    draws, seed
        The number of bootstrap draws over problems that give the errors instead, and their seed.
    stopped
        Whether attempts stopped on success, for all rows; by default the column ``stopped`` says
        so.
    per_problem
        Whether to give each problem's own pass_at_k and failure.

    Returns
    -------
    polars.DataFrame
        The columns of ``by``, k, problems, and pass_at_k, failure (1 - pass@k) and neg_log_pass
        (-log pass@k, infinite where no problem passed), each with ``_stderr``, ``_low`` and
        ``_high`` for problems that are a sample of their kind: null where one problem, or problems
        that are all alike, leave them unknown, as ``why`` says. ``pass_at_k_stderr_fixed`` is the
        error for new attempts at these very problems; null for k beyond half the attempts.

    Raises
    ------
    BadTable
        For fewer than 2 draws, for k beyond the attempts, which only a law can give
        (``fit_counts``), and for attempts that stopped on success, for which the estimate would be
        biased.

    Examples
    --------
    >>> import kleiber
    >>> counts = {"problem": [1, 2, 3], "attempts": 3 * [10], "successes": [0, 2, 10]}
    >>> made = kleiber.reduce.find("pass-at-k")(counts, k=[1, 5])
    >>> made["pass_at_k"].round(3).to_list()
    [0.4, 0.593]
    """
    if draws is not None:
        draws = check_draws(draws, least=2)
        check_memory(f"{draws:,} draws", 8 * draws, "ask for fewer draws")
    level = check_level(level)
    per_problem = check_flag("per_problem", per_problem)
    rng = stream(seed, "pass_at_k")
    counts = read_counts(table, by, stopped=stopped, sum_by=sum_by)
    for note in (*counts.notes, *note_many_attempts(counts)):
        warnings.warn(note, UserWarning, stacklevel=2)
    refuse_stopped(counts, given=stopped)
    ks = read_k(counts, k)
    if per_problem:
        return _each_problem(counts, ks)
    parts: list[pl.DataFrame] = []
    for g in range(len(counts.names)):
        rows = counts.of(g)
        n, c = counts.attempts[rows], counts.successes[rows]
        made = mean_failure(n, c, ks, level)
        columns = _closed(made)
        if draws is not None:
            columns |= _drawn(failure_of(n[:, None], c[:, None], ks), made, level, draws, rng)
        parts.append(_framed(columns, ks, len(rows), counts.keys[g : g + 1]))
    return pl.concat(parts)


def check_draws(draws: Any, *, least: int) -> int:
    """Return the number of draws; raise BadTable unless it is a whole number of at least
    ``least``."""
    return check_whole("draws", draws, low=least, error=BadTable)


def read_k(counts: Counts, k: Sequence[int] | int | None) -> Float[np.ndarray, "k"]:
    """Return the numbers of attempts; raise BadTable unless they are whole, at least 1 and not too
    many."""
    fewest = int(counts.attempts.min())
    if k is None:
        return 10.0 ** np.arange(len(str(fewest)))
    ks = check_array("k", k, "a whole number of attempts from 1, or several", error=BadTable)
    for item in ks:
        if not (item >= 1 and item == round(item)):
            raise BadTable(f"K counts attempts, a whole number from 1; got {item:g}.")
        if item > fewest:
            raise BadTable(
                f"The value pass@{item:g} at k = {item:g} cannot be "
                f"estimated without bias from {fewest} attempts, the "
                f"fewest of any problem; take k up to {fewest}, or extrapolate by a law: "
                f"fit_counts(table).pass_at({item:g}), kleiber counts TABLE --k {item:g}."
            )
    return ks


def refuse_stopped(counts: Counts, *, given: bool | None) -> None:
    """Raise BadTable if attempts depended on their outcome, or look as if they did."""
    law = "a likelihood can use such counts: fit_counts, or kleiber counts"
    if counts.stopped.any():
        raise BadTable(
            f"The attempts of {int(counts.stopped.sum())} of {len(counts.group)} rows stopped when "
            f"they did because of their outcome, so the unbiased pass@k does not hold; {law}."
        )
    if given is None and looks_stopped(counts):
        raise BadTable(
            "No problem has more than one success and the attempts differ, as when they stop on "
            f"success; the unbiased pass@k would not hold, but {law}. If the numbers of attempts "
            "were fixed beforehand, say so: stopped=False."
        )


def _each_problem(counts: Counts, ks: Float[np.ndarray, "k"]) -> pl.DataFrame:
    failure = failure_of(counts.attempts[:, None], counts.successes[:, None], ks)
    assert counts.labels is not None
    parts = [
        counts.labels.with_columns(
            pl.lit(int(k)).alias("k"),
            pl.Series("pass_at_k", 1 - failure[:, j]),
            pl.Series("failure", failure[:, j]),
        )
        for j, k in enumerate(ks)
    ]
    return pl.concat(parts)


def _closed(made: Errors) -> dict[str, Any]:
    """Return the columns of one group; the error of -log pass@k is that of pass@k over pass@k."""
    passed = 1 - made.mean
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = [-np.log1p(-end) for end in (made.mean, made.low, made.high)]
        return {
            **_columns("pass_at_k", passed, made.stderr, 1 - made.high, 1 - made.low),
            "pass_at_k_stderr_fixed": made.fixed,
            **_columns("failure", made.mean, made.stderr, made.low, made.high),
            **_columns("neg_log_pass", logs[0], made.stderr / passed, logs[1], logs[2]),
            "why": list(made.why),
        }


def _columns(name: str, *values: Float[np.ndarray, "k"]) -> dict[str, Float[np.ndarray, "k"]]:
    names = (name, f"{name}_stderr", f"{name}_low", f"{name}_high")
    return {key: item + 0.0 for key, item in zip(names, values, strict=True)}


def _framed(
    columns: Mapping[str, Any], ks: Float[np.ndarray, "k"], problems: int, key: pl.DataFrame
) -> pl.DataFrame:
    """Return the rows of one group, null where a number is unknown."""
    count = {"k": ks.astype(int), "problems": np.full(len(ks), problems)}
    frame = pl.DataFrame({**count, **columns}).with_columns(pl.col(pl.Float64).fill_nan(None))
    if not key.width:
        return frame
    return pl.concat([pl.concat([key] * len(ks)), frame], how="horizontal")


def _drawn(
    failure: Float[np.ndarray, "problems k"],
    made: Errors,
    level: float,
    draws: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return errors and intervals by a bootstrap over problems, if these differ."""
    problems = len(failure)
    drawn = np.concatenate(
        [
            rng.multinomial(problems, np.full(problems, 1 / problems), size=some)
            / problems
            @ failure
            for some in _parts(draws, problems)
        ]
    )
    known = np.array([why == "" for why in made.why])
    low, high = _ends(drawn, problems, level)
    low, high = np.where(known, low, made.low), np.where(known, high, made.high)
    widen = np.sqrt(problems / max(problems - 1, 1))  # the bootstrap's variance lacks n/(n - 1)
    error = np.where(known, _spread(drawn) * widen, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = [-np.log1p(-end) for end in (made.mean, low, high)]
        of_log = np.where(known, _spread(-np.log1p(-drawn)) * widen, np.nan)
    return {
        **_columns("pass_at_k", 1 - made.mean, error, 1 - high, 1 - low),
        **_columns("failure", made.mean, error, low, high),
        **_columns("neg_log_pass", logs[0], of_log, logs[1], logs[2]),
    }


def _parts(draws: int, problems: int) -> list[int]:
    """Split draws into parts of which each holds at most CELLS resampled problems."""
    size = max(1, CELLS // problems)
    return [min(size, draws - done) for done in range(0, draws, size)]


def _spread(sample: Float[np.ndarray, "draws k"]) -> Float[np.ndarray, "k"]:
    """Return the standard deviation of the draws, infinite if some are (no problem of a draw
    passed)."""
    finite = np.isfinite(sample).all(0)
    out = np.full(sample.shape[1], np.inf)
    out[finite] = sample[:, finite].std(0, ddof=1)
    return out


def _ends(
    drawn: Float[np.ndarray, "draws k"], problems: int, level: float
) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"]]:
    """Return percentiles of the mean failure, widened for few problems (Hesterberg 2015, section
    5)."""
    degrees_of_freedom = max(problems - 1, 1)
    t = special.stdtrit(degrees_of_freedom, 0.5 + level / 2) * np.sqrt(
        problems / degrees_of_freedom
    )
    ends = np.quantile(drawn, special.ndtr([-t, t]), axis=0, method="hazen")
    return np.asarray(ends[0]), np.asarray(ends[1])
