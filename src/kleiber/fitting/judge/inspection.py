"""Inspection: how well a fitted law describes its table, whatever the intervals of its parameters.

It measures the typical error of a row (the error that 68% of the rows do not exceed, one standard
deviation of normal errors), how residuals depend on each column, on the prediction and on the
compute (``candidates.py``), whether repeated runs agree with the law (``repeats.py``), the worst
rows, and measurements below the law's floor. All of this describes the given table: a law that
passes may still be wrong where nothing was measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from scipy import special

from kleiber.columns import FILE_ROW
from kleiber.fitting.engine.problem import Problem
from kleiber.fitting.judge.candidates import FitResiduals, find_candidates, find_trends
from kleiber.fitting.judge.misfit import Floor, LackOfFit, Misfit, OutlyingRow, Trend
from kleiber.fitting.judge.repeats import (
    TYPICAL_SHARE,
    find_duplicate_rows,
    find_run_column,
    is_run_column,
    measure_lack_of_fit,
    narrowness,
    number_cells,
)
from kleiber.fitting.judge.sentences import add_sentence, write_notes
from kleiber.fitting.judge.trends import MAD, Tangent, group_means, refit_tangent, sidak_correct
from kleiber.fitting.options import Options
from kleiber.law import Law
from kleiber.measurements import Measurements, number_groups
from kleiber.rows import row_numbers

ROUNDING = 1e-7  # typical relative residuals that are rounding, in which no trend is looked for
N_WORST = 5  # worst rows that are listed
FAR_POINTS = (1e150, 1e250)  # where a law that has a floor has reached it


def inspect_fit(
    problem: Problem,
    point: Float[np.ndarray, "params"],
    at_bound: tuple[int, ...],
    law: Law,
    params: Mapping[str, float],
    table: Measurements,
    options: Options,
) -> Misfit:
    """Measure the misfit of ``law`` with the fitted ``params`` at ``point`` of its problem;
    coordinates ``at_bound`` are left out."""
    frame = table.frame
    fit_rows = _collect_residuals(problem, point, at_bound, frame, options)
    size = np.abs(fit_rows.gap)
    run = options.by or find_run_column(frame)
    groups = (
        None
        if run is None
        else _renumber_shared(_number_runs(table, options.by, run)[fit_rows.rows])
    )
    tangent = refit_tangent(fit_rows.r, fit_rows.jacobian, fit_rows.weights)
    if tangent is not None and tangent.scale <= ROUNDING * _residual_unit(fit_rows, options):
        tangent = None
    trends, lack = _run_tests(
        fit_rows, tangent, groups, (options.target, options.weights, run), options.seed
    )
    made = Misfit(
        typical_error=100 * float(np.quantile(size, TYPICAL_SHARE)),
        rms_error=100 * float(np.sqrt(np.mean(size**2))),
        explained=_explained(fit_rows),
        trends=trends,
        lack_of_fit=lack,
        worst=_find_outlying_rows(fit_rows, tangent),
        floor=_find_floor(fit_rows, law, params, tangent, options.noise.scale == "log"),
        repeated=find_duplicate_rows(frame, law.variables, run)
        if run and is_run_column(run)
        else (),
    )
    made = add_sentence(
        made, dof=len(fit_rows.rows) - fit_rows.jacobian.shape[1], tested=tangent is not None
    )
    narrowness_factor = 1.0
    if options.by is None and groups is not None and tangent is not None:
        narrowness_factor = narrowness(tangent.clipped, groups)
    return replace(made, notes=write_notes(made, frame, run, options, narrowness_factor))


def _collect_residuals(
    problem: Problem,
    point: np.ndarray,
    at_bound: tuple[int, ...],
    frame: pl.DataFrame,
    options: Options,
) -> FitResiduals:
    derivatives = problem.differentiate(point[None], False)
    r, jac = derivatives.residual[0], np.delete(derivatives.jacobian[0].T, at_bound, axis=1)
    rows = np.flatnonzero((problem.weights > 0) & np.isfinite(r) & np.isfinite(jac).all(axis=1))
    log = options.noise.scale == "log"
    r, target = r[rows], problem.target[rows]
    with np.errstate(all="ignore"):
        measured, predicted = (np.exp(x) if log else x for x in (target, target + r))
        gap = np.expm1(np.clip(r, -700, 700)) if log else r / np.abs(measured)
    return FitResiduals(
        frame=frame[rows.tolist()],
        rows=rows,
        r=r,
        jacobian=jac[rows],
        weights=problem.weights[rows],
        gap=np.nan_to_num(gap, posinf=0.0, neginf=0.0),
        target=target,
        predicted=predicted,
        measured=measured,
        variables={name: values[rows] for name, values in problem.columns.items()},
    )


def _residual_unit(fit_rows: FitResiduals, options: Options) -> float:
    """Return the size to which residuals are relative."""
    return 1.0 if options.noise.scale == "log" else float(np.median(np.abs(fit_rows.measured)))


def _number_runs(table: Measurements, by: str | None, run: str) -> Int[np.ndarray, "rows"]:
    """Return the run of each row: the groups of the fit, or else a column that names runs."""
    if by is not None and table.groups is not None:
        return table.groups
    return number_groups(table.frame, run)


def _renumber_shared(groups: Int[np.ndarray, "rows"]) -> Int[np.ndarray, "rows"] | None:
    """Renumber groups without gaps; return None unless some rows share a group."""
    _, which = np.unique(groups, return_inverse=True)
    which = which.ravel().astype(np.int64)
    return which if 1 < which.max() + 1 < len(which) else None


def _run_tests(
    fit_rows: FitResiduals,
    tangent: Tangent | None,
    groups: Int[np.ndarray, "rows"] | None,
    skipped: tuple[str | None, ...],
    seed: int,
) -> tuple[tuple[Trend, ...], LackOfFit | None]:
    """Return trends and lack of fit, with p-values corrected for the number of families of
    tests."""
    if tangent is None:
        return (), None
    candidates = find_candidates(fit_rows, skipped)
    trends, families = find_trends(fit_rows, candidates, groups, seed)
    lack = _test_repeats(fit_rows, tangent, groups)
    families += lack is not None
    if families > 1:
        trends = tuple(replace(item, p=sidak_correct(item.p, families)) for item in trends)
        lack = lack and replace(lack, p=sidak_correct(lack.p, families))
    return trends, lack


def _test_repeats(
    fit_rows: FitResiduals, tangent: Tangent, groups: Int[np.ndarray, "rows"] | None
) -> LackOfFit | None:
    """Test lack of fit against repeated rows; rows of one run are not repeats of it."""
    cells = number_cells(list(fit_rows.variables.values()))
    if groups is None:
        return measure_lack_of_fit(tangent, cells, fit_rows.weights, fit_rows.gap)
    count = np.bincount(groups)
    run_cells = np.zeros(len(count), dtype=np.int64)
    run_cells[groups] = cells
    if (run_cells[groups] != cells).any():
        return None  # runs of several cells: what they share would pass for lack of fit

    r, gap = group_means(np.stack([fit_rows.r, fit_rows.gap], axis=1), groups).T
    between = refit_tangent(r, group_means(fit_rows.jacobian, groups), np.ones(len(count)))
    return between and measure_lack_of_fit(between, run_cells, np.ones(len(count)), gap)


def _explained(fit_rows: FitResiduals) -> float | None:
    """Return 1 minus the squared ratio of two 68% quantiles: of the residuals, and of the distances
    from the median."""
    flat = float(np.quantile(np.abs(fit_rows.target - np.median(fit_rows.target)), TYPICAL_SHARE))
    left = float(np.quantile(np.abs(fit_rows.r), TYPICAL_SHARE))
    return 1 - (left / flat) ** 2 if flat > 0 else None


def _find_outlying_rows(fit_rows: FitResiduals, tangent: Tangent | None) -> tuple[OutlyingRow, ...]:
    scaled = fit_rows.r * np.sqrt(fit_rows.weights)
    order = np.argsort(-np.abs(scaled), kind="stable")[:N_WORST]
    numbers = _number_rows(fit_rows)
    return tuple(
        OutlyingRow(
            numbers[int(k)],
            float(fit_rows.gap[k]),
            None if tangent is None else float(scaled[k] / tangent.scale),
        )
        for k in order
        if fit_rows.gap[k]
    )


def _number_rows(fit_rows: FitResiduals) -> list[int]:
    """Return the row numbers used in messages: those of the file, or those of the table."""
    if FILE_ROW in fit_rows.frame.columns:
        return row_numbers(fit_rows.frame)
    return [int(row) + 1 for row in fit_rows.rows]


def _find_floor(
    fit_rows: FitResiduals,
    law: Law,
    params: Mapping[str, float],
    tangent: Tangent | None,
    log: bool,
) -> Floor | None:
    """Return the law's floor and the rows below it, if noise does not explain them: one row alone
    (a normal quantile at 1% a table), or more rows than chance puts below their prediction. The
    noise is at most the difference between neighbours, to which a misfit does not contribute."""
    if tangent is None:
        return None
    try:
        with np.errstate(all="ignore"):
            near, far = (
                float(law(**dict.fromkeys(law.variables, x), **params)) for x in FAR_POINTS
            )
    except (ArithmeticError, ValueError, TypeError):
        return None
    settled = np.isfinite(far) and abs(near - far) <= 1e-6 * abs(far)
    if not settled or (log and far <= 0):
        return None
    if (fit_rows.predicted < far - 1e-9 * abs(far)).any() or not (fit_rows.measured < far).any():
        return None
    below = np.flatnonzero(fit_rows.measured < far)
    n = len(fit_rows.r)
    depth = (np.log(far) if log else far) - fit_rows.target
    z = depth * np.sqrt(fit_rows.weights) / min(tangent.scale, _neighbour_scale(fit_rows))
    alone = z > special.ndtri(1 - 0.005 / n)
    many = len(below) > n / 2 + special.ndtri(1 - 0.005) * np.sqrt(n) / 2
    rows = below if many else np.intersect1d(below, np.flatnonzero(alone))
    order = rows[np.argsort(fit_rows.measured[rows], kind="stable")]
    numbers = _number_rows(fit_rows)
    return Floor(far, tuple(numbers[int(k)] for k in order)) if len(rows) else None


def _neighbour_scale(fit_rows: FitResiduals) -> float:
    """Estimate the noise from the differences between neighbours along the prediction."""
    order = np.argsort(fit_rows.predicted, kind="stable")
    jumps = np.abs(np.diff((fit_rows.r * np.sqrt(fit_rows.weights))[order]))
    size = MAD * float(np.median(jumps)) / math.sqrt(2) if len(jumps) else 0.0
    return size if size > 0 else math.inf
