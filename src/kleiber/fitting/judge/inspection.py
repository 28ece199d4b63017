"""Inspection: a fitted law held against its table, whatever its parameters' intervals say.

Measured are the typical error of a row (that which 68% of the rows do not exceed, one standard
deviation of normal errors), how residuals depend on each column, on the prediction and on the
compute (``candidates.py``), whether repeated runs agree with the law (``repeats.py``), the worst
rows, and measurements below the law's floor. All of it describes the table at hand:
a law that passes may still be wrong where nothing was measured.
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
from kleiber.fitting.judge.candidates import Seen, find_suspects, find_trends
from kleiber.fitting.judge.misfit import FarRow, Floor, LackOfFit, Misfit, Trend
from kleiber.fitting.judge.repeats import (
    TYPICAL,
    find_twins,
    judge_repeats,
    names_run,
    number_cells,
    run_column,
    widening,
)
from kleiber.fitting.judge.sentences import remark, word_notes
from kleiber.fitting.judge.trends import MAD, Tangent, group_means, refit_tangent, smallest_of
from kleiber.fitting.options import Options
from kleiber.law import Law
from kleiber.measurements import Measurements, number_groups
from kleiber.rows import row_numbers

EXACT = 1e-7  # typical relative residuals that are rounding, in which no trend is looked for
LISTED = 5  # worst rows that are listed
FAR = (1e150, 1e250)  # where a law that has a floor has reached it


def inspect_fit(
    problem: Problem,
    point: Float[np.ndarray, "params"],
    held: tuple[int, ...],
    law: Law,
    params: Mapping[str, float],
    table: Measurements,
    ask: Options,
) -> Misfit:
    """The misfit of ``law`` with the fitted ``params``, which are ``point`` of its problem;
    coordinates ``held`` are at a bound."""
    frame = table.frame
    seen = _look_at(problem, point, held, frame, ask)
    size = np.abs(seen.gap)
    run = ask.by or run_column(frame)
    groups = None if run is None else _shared(_groups_of(table, ask.by, run)[seen.rows])
    tangent = refit_tangent(seen.r, seen.jacobian, seen.weights)
    if tangent is not None and tangent.scale <= EXACT * _unit(seen, ask):
        tangent = None
    trends, lack = _test(seen, tangent, groups, (ask.target, ask.weights, run), ask.seed)
    made = Misfit(
        typical_error=100 * float(np.quantile(size, TYPICAL)),
        rms_error=100 * float(np.sqrt(np.mean(size**2))),
        explained=_explained(seen),
        trends=trends,
        lack_of_fit=lack,
        worst=_worst(seen, tangent),
        floor=_find_floor(seen, law, params, tangent, ask.noise.scale == "log"),
        repeated=find_twins(frame, law.variables, run) if run and names_run(run) else (),
    )
    made = remark(made, spare=len(seen.rows) - seen.jacobian.shape[1], tested=tangent is not None)
    wide = 1.0
    if ask.by is None and groups is not None and tangent is not None:
        wide = widening(tangent.tamed, groups)
    return replace(made, notes=word_notes(made, frame, run, ask, wide))


def _look_at(
    problem: Problem, point: np.ndarray, held: tuple[int, ...], frame: pl.DataFrame, ask: Options
) -> Seen:
    derivatives = problem.differentiate(point[None], False)
    r, jac = derivatives.residual[0], np.delete(derivatives.jacobian[0].T, held, axis=1)
    rows = np.flatnonzero((problem.weights > 0) & np.isfinite(r) & np.isfinite(jac).all(axis=1))
    log = ask.noise.scale == "log"
    r, target = r[rows], problem.target[rows]
    with np.errstate(all="ignore"):
        measured, predicted = (np.exp(x) if log else x for x in (target, target + r))
        gap = np.expm1(np.clip(r, -700, 700)) if log else r / np.abs(measured)
    return Seen(
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


def _unit(seen: Seen, ask: Options) -> float:
    """The size of what residuals are relative to."""
    return 1.0 if ask.noise.scale == "log" else float(np.median(np.abs(seen.measured)))


def _groups_of(table: Measurements, by: str | None, run: str) -> Int[np.ndarray, "rows"]:
    """The run of each row: the groups of the fit, or else a column that names runs."""
    if by is not None and table.groups is not None:
        return table.groups
    return number_groups(table.frame, run)


def _shared(groups: Int[np.ndarray, "rows"]) -> Int[np.ndarray, "rows"] | None:
    """Groups numbered anew without gaps; None unless some rows share one."""
    _, which = np.unique(groups, return_inverse=True)
    which = which.ravel().astype(np.int64)
    return which if 1 < which.max() + 1 < len(which) else None


def _test(
    seen: Seen,
    tangent: Tangent | None,
    groups: Int[np.ndarray, "rows"] | None,
    skipped: tuple[str | None, ...],
    seed: int,
) -> tuple[tuple[Trend, ...], LackOfFit | None]:
    """Trends and lack of fit, their p-values corrected for the families of tests that they are."""
    if tangent is None:
        return (), None
    suspects = find_suspects(seen, skipped)
    trends, families = find_trends(seen, suspects, groups, seed)
    lack = _compare_repeats(seen, tangent, groups)
    families += lack is not None
    if families > 1:
        trends = tuple(replace(item, p=smallest_of(item.p, families)) for item in trends)
        lack = lack and replace(lack, p=smallest_of(lack.p, families))
    return trends, lack


def _compare_repeats(
    seen: Seen, tangent: Tangent, groups: Int[np.ndarray, "rows"] | None
) -> LackOfFit | None:
    """Lack of fit against repeated rows; rows of one run are no repeats of it."""
    cells = number_cells(list(seen.variables.values()))
    if groups is None:
        return judge_repeats(tangent, cells, seen.weights, seen.gap)
    count = np.bincount(groups)
    own = np.zeros(len(count), dtype=np.int64)
    own[groups] = cells
    if (own[groups] != cells).any():
        return None  # runs of several cells: what they share would pass for lack of fit

    r, gap = group_means(np.stack([seen.r, seen.gap], axis=1), groups).T
    between = refit_tangent(r, group_means(seen.jacobian, groups), np.ones(len(count)))
    return between and judge_repeats(between, own, np.ones(len(count)), gap)


def _explained(seen: Seen) -> float | None:
    """1 less the squared ratio of what 68% of the rows do not exceed: residuals, and distances
    from the median."""
    flat = float(np.quantile(np.abs(seen.target - np.median(seen.target)), TYPICAL))
    left = float(np.quantile(np.abs(seen.r), TYPICAL))
    return 1 - (left / flat) ** 2 if flat > 0 else None


def _worst(seen: Seen, tangent: Tangent | None) -> tuple[FarRow, ...]:
    scaled = seen.r * np.sqrt(seen.weights)
    order = np.argsort(-np.abs(scaled), kind="stable")[:LISTED]
    numbers = _number_rows(seen)
    return tuple(
        FarRow(
            numbers[int(k)],
            float(seen.gap[k]),
            None if tangent is None else float(scaled[k] / tangent.scale),
        )
        for k in order
        if seen.gap[k]
    )


def _number_rows(seen: Seen) -> list[int]:
    """The numbers of the rows that count: in their file, or in the table."""
    if FILE_ROW in seen.frame.columns:
        return row_numbers(seen.frame)
    return [int(row) + 1 for row in seen.rows]


def _find_floor(
    seen: Seen, law: Law, params: Mapping[str, float], tangent: Tangent | None, log: bool
) -> Floor | None:
    """The law's floor and the rows below it, if any lie lower than noise explains: one by itself
    (a normal quantile at 1% a table), or more of them than chance puts below their prediction. The
    noise is at most what neighbours differ by, in which a misfit does not count."""
    if tangent is None:
        return None
    try:
        with np.errstate(all="ignore"):
            near, far = (float(law(**dict.fromkeys(law.variables, x), **params)) for x in FAR)
    except (ArithmeticError, ValueError, TypeError):
        return None
    settled = np.isfinite(far) and abs(near - far) <= 1e-6 * abs(far)
    if not settled or (log and far <= 0):
        return None
    if (seen.predicted < far - 1e-9 * abs(far)).any() or not (seen.measured < far).any():
        return None
    below = np.flatnonzero(seen.measured < far)
    n = len(seen.r)
    depth = (np.log(far) if log else far) - seen.target
    z = depth * np.sqrt(seen.weights) / min(tangent.scale, _local_scale(seen))
    alone = z > special.ndtri(1 - 0.005 / n)
    many = len(below) > n / 2 + special.ndtri(1 - 0.005) * np.sqrt(n) / 2
    rows = below if many else np.intersect1d(below, np.flatnonzero(alone))
    order = rows[np.argsort(seen.measured[rows], kind="stable")]
    numbers = _number_rows(seen)
    return Floor(far, tuple(numbers[int(k)] for k in order)) if len(rows) else None


def _local_scale(seen: Seen) -> float:
    """The noise by the differences between neighbours along the prediction."""
    order = np.argsort(seen.predicted, kind="stable")
    jumps = np.abs(np.diff((seen.r * np.sqrt(seen.weights))[order]))
    size = MAD * float(np.median(jumps)) / math.sqrt(2) if len(jumps) else 0.0
    return size if size > 0 else math.inf
