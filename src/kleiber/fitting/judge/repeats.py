"""Repeated rows: how far repeated runs differ, and rows that occur twice by mistake.

Rows with the same value of every variable of the law are repeats of one cell, for which the law
predicts one number. Their differences are pure error, and the law fits if the means of the cells
lie no further from it than pure error explains (Fisher 1922; Draper & Smith 1998, section 2.1):

    F = (sum n_c (mean_c - law_c)^2 / (m - p)) / (sum (r - mean_c)^2 / (n - m)),

for n rows in m cells and p parameters, on residuals in the tangent with outliers clipped.
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

TYPICAL_SHARE = 0.6827  # the share of normal errors that lie within one standard deviation
RUN_NAMES = ("run", "run_id", "run_name")  # columns that name the run that a row was measured in
DISTINGUISHING = ("step", "n_tokens", "time", "epoch", "seed", "task", "dataset", "model", "recipe")
MAX_PAIRS = 100  # pairs of rows that are listed


def number_cells(columns: Sequence[Float[np.ndarray, "rows"]]) -> Int[np.ndarray, "rows"]:
    """Return the number of each row's cell, that is of its values in all the columns."""
    _, which = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
    return which.ravel().astype(np.int64)


def measure_lack_of_fit(
    tangent: Tangent,
    cells: Int[np.ndarray, "rows"],
    weights: Float[np.ndarray, "rows"],
    residual: Float[np.ndarray, "rows"],
) -> LackOfFit | None:
    """Test the lack of fit; return None if nothing is repeated or the cells leave no degree of
    freedom.

    ``residual`` is the error of the law in each row, as a share of the measured value.
    """
    count = np.bincount(cells)
    cell_dof, row_dof = len(count) - tangent.basis.shape[1], len(cells) - len(count)
    if row_dof < 2 or cell_dof < 1:
        return None
    root = np.sqrt(weights)
    mean = np.bincount(cells, root * tangent.clipped) / np.bincount(cells, weights)
    pure_error = float(((tangent.clipped - root * mean[cells]) ** 2).sum())
    law = float((tangent.clipped**2).sum() - ((tangent.basis.T @ tangent.clipped) ** 2).sum())
    lack = max(law - pure_error, 0.0)
    p = float(f_probability(np.asarray(lack), np.asarray(lack + pure_error), cell_dof, row_dof))
    run_cells = np.bincount(cells, residual) / count
    many = count[cells] > 1
    spread = np.sqrt(count / np.maximum(count - 1, 1))[cells]
    deviations = (np.abs(residual - run_cells[cells]) * spread)[many]
    error = 100 * float(np.quantile(deviations, TYPICAL_SHARE))
    return LackOfFit(p, error, int((count > 1).sum()), int(many.sum()))


def find_run_column(frame: pl.DataFrame) -> str | None:
    """Return the column that names runs of several rows each, if there is one."""
    for name in filter(is_run_column, frame.columns):
        kind = kind_of(frame[name])
        gaps = frame[name].null_count() or (
            kind == "numbers" and np.isnan(floats(frame, name)).any()
        )
        if kind in ("numbers", "text") and not gaps:
            if 2 <= frame[name].n_unique() <= len(frame) / 2:
                return name
    return None


def is_run_column(name: str) -> bool:
    """Return whether the name of a column says that it names runs."""
    return name.casefold() in RUN_NAMES


def find_duplicate_rows(
    frame: pl.DataFrame, variables: Sequence[str], run: str
) -> tuple[tuple[int, int], ...]:
    """Return the numbers of rows that one run holds twice, each with its first such row: the same
    run, the same values of the law's variables and of every column that distinguishes
    measurements."""
    kinds = {name: kind_of(frame[name]) for name in frame.columns}
    texts = [name for name, kind in kinds.items() if kind == "text"]
    others = [name for name in DISTINGUISHING if kinds.get(name) == "numbers"]
    names = dict.fromkeys([run, *variables, *texts, *others])
    _, first, which = np.unique(
        np.stack([frame[name].rank("dense").fill_null(0).to_numpy() for name in names], axis=1),
        axis=0, return_index=True, return_inverse=True,
    )  # fmt: skip
    origin = first[which.ravel()]
    again = np.flatnonzero(origin != np.arange(len(frame)))
    numbers = row_numbers(frame)
    return tuple((numbers[int(origin[row])], numbers[int(row)]) for row in again[:MAX_PAIRS])


def narrowness(values: Float[np.ndarray, "rows"], groups: Int[np.ndarray, "rows"]) -> float:
    """Return how many times too narrow intervals are if rows of one group are taken as independent:
    sqrt(1 + (m - 1) rho) for m rows a group with intra-class correlation rho (Kish 1965); 1 if the
    group means differ no more than those of independent rows."""
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
