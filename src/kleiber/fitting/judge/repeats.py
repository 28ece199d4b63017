"""Rows that repeat: how far repeated runs differ, and rows that should not be there twice.

Rows with the same value of every variable of the law are repeats of one cell; the law predicts one
number for them. What they differ by is pure error, and the law fits where the cells' means lie no
further from it than pure error explains (Fisher 1922; Draper & Smith 1998, section 2.1):

    F = (sum n_c (mean_c - law_c)^2 / (m - p)) / (sum (r - mean_c)^2 / (n - m)),

of n rows in m cells and p parameters, on residuals in the tangent with outliers tamed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from kleiber.fitting.judge.misfit import LackOfFit
from kleiber.fitting.judge.trends import Tangent, f_probability
from kleiber.rows import row_numbers
from kleiber.table import floats, kind_of

TYPICAL = 0.6827  # the share of normal errors that lie within one standard deviation
RUNS = ("run", "run_id", "run_name")  # columns that name the run that a row was measured in
OTHERWISE = ("step", "n_tokens", "time", "epoch", "seed", "task", "dataset", "model", "recipe")
MOST = 100  # pairs of rows that are listed


def number_cells(columns: Sequence[Float[np.ndarray, "rows"]]) -> Int[np.ndarray, "rows"]:
    """The number of each row's cell: its values of all the columns."""
    _, which = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
    return which.ravel().astype(np.int64)


def judge_repeats(
    tangent: Tangent,
    cells: Int[np.ndarray, "rows"],
    weights: Float[np.ndarray, "rows"],
    residual: Float[np.ndarray, "rows"],
) -> LackOfFit | None:
    """The lack-of-fit test; None where nothing is repeated or cells leave nothing to judge.

    ``residual`` is what the law misses each row by, as a share of it.
    """
    count = np.bincount(cells)
    cells_left, rows_left = len(count) - tangent.basis.shape[1], len(cells) - len(count)
    if rows_left < 2 or cells_left < 1:
        return None
    root = np.sqrt(weights)
    mean = np.bincount(cells, root * tangent.tamed) / np.bincount(cells, weights)
    pure = float(((tangent.tamed - root * mean[cells]) ** 2).sum())
    law = float((tangent.tamed**2).sum() - ((tangent.basis.T @ tangent.tamed) ** 2).sum())
    lack = max(law - pure, 0.0)
    p = float(f_probability(np.asarray(lack), np.asarray(lack + pure), cells_left, rows_left))
    own = np.bincount(cells, residual) / count
    many = count[cells] > 1
    spread = np.sqrt(count / np.maximum(count - 1, 1))[cells]
    apart = (np.abs(residual - own[cells]) * spread)[many]
    error = 100 * float(np.quantile(apart, TYPICAL))
    return LackOfFit(p, error, int((count > 1).sum()), int(many.sum()))


def run_column(frame: pl.DataFrame) -> str | None:
    """The column that names runs of several rows each, if there is one."""
    for name in filter(names_run, frame.columns):
        kind = kind_of(frame[name])
        gaps = frame[name].null_count() or (
            kind == "numbers" and np.isnan(floats(frame, name)).any()
        )
        if kind in ("numbers", "text") and not gaps:
            if 2 <= frame[name].n_unique() <= len(frame) / 2:
                return name
    return None


def names_run(name: str) -> bool:
    """Whether a column's name says that it names runs."""
    return name.casefold() in RUNS


def find_twins(
    frame: pl.DataFrame, variables: Sequence[str], run: str
) -> tuple[tuple[int, int], ...]:
    """Numbers of rows that one run holds twice: the same run, the same values of the
    law's variables and of all that tells measurements apart, each with its first such row."""
    kinds = {name: kind_of(frame[name]) for name in frame.columns}
    texts = [name for name, kind in kinds.items() if kind == "text"]
    others = [name for name in OTHERWISE if kinds.get(name) == "numbers"]
    names = dict.fromkeys([run, *variables, *texts, *others])
    _, first, which = np.unique(
        np.stack([frame[name].rank("dense").fill_null(0).to_numpy() for name in names], axis=1),
        axis=0, return_index=True, return_inverse=True,
    )  # fmt: skip
    origin = first[which.ravel()]
    again = np.flatnonzero(origin != np.arange(len(frame)))
    numbers = row_numbers(frame)
    return tuple((numbers[int(origin[row])], numbers[int(row)]) for row in again[:MOST])


def widening(values: Float[np.ndarray, "rows"], groups: Int[np.ndarray, "rows"]) -> float:
    """How many times too narrow intervals may be that take rows of one group as independent:
    sqrt(1 + (m - 1) rho) of m rows a group, rho their intra-class correlation (Kish 1965); 1 where
    the groups' means differ no more than independent rows' would."""
    count = np.bincount(groups)
    k, n = len(count), len(values)
    mean = np.bincount(groups, values) / count
    within = float(((values - mean[groups]) ** 2).sum()) / max(n - k, 1)
    between = float((count * (mean - values.mean()) ** 2).sum()) / max(k - 1, 1)
    size = (n - float((count**2).sum()) / n) / max(k - 1, 1)
    p = f_probability(
        np.asarray((k - 1) * between), np.asarray((k - 1) * between + (n - k) * within), k - 1,
        max(n - k, 1),
    )  # fmt: skip
    if not p < 0.05 or not between > 0:
        return 1.0
    rho = (between - within) / (between + (size - 1) * within)
    return float(np.sqrt(1 + (float(count.mean()) - 1) * max(rho, 0.0)))
