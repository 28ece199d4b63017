"""Compute-optimal curves over a range of budgets, and the sensitivity of a plan to the
parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from kleiber.arguments import check_array, check_flag
from kleiber.attempts.record import CountFit
from kleiber.errors import BadPlan, shown
from kleiber.fitting.record import Fit
from kleiber.planning.allocate import allocate
from kleiber.planning.amounts import is_real
from kleiber.planning.answer import answer
from kleiber.planning.constraint import Constraints
from kleiber.planning.cost import Cost
from kleiber.planning.pose import Posed, Settings, find_curve, pose_attempts, pose_question
from kleiber.planning.problem import Ends
from kleiber.planning.record import Plan
from kleiber.planning.source import fit_of, perturb_parameters
from kleiber.planning.support import check_support

STEP = 1e-3  # relative change of a parameter


def trace_frontier(
    fit: Any,
    budgets: Sequence[float],
    cost: Cost | str | None = None,
    *,
    attempt: Cost | str | float | None = None,
    queries: float = 1.0,
    law: Any = None,
    weight: float = 0.0,
    under: Constraints | None = None,
    limits: Mapping[str, Ends] | None = None,
    choices: Mapping[str, Sequence[float]] | None = None,
    given: Mapping[str, float] | None = None,
    series: str | None = None,
    level: float = 0.95,
    far: bool = False,
) -> pl.DataFrame:
    """Trace the compute-optimal curve, one row per budget with allocation, prediction, intervals.

    Parameters
    ----------
    fit
        A Fit, or with ``attempt`` a source of ``plan_attempts``.
    budgets
        What may be spent, in the unit of the cost: one plan for each.
    cost, under, limits, choices, given, level, far
        As for ``plan``.
    attempt, queries, law, weight, series
        As for ``plan_attempts``.

    Returns
    -------
    polars.DataFrame
        A row per budget: each variable and ``predicted``, with ``NAME_low`` and ``NAME_high``, NaN
        for a variable that a budget or a limit fixes. With attempts the pass rate and the share of
        training too.

    Raises
    ------
    BadPlan
        Where one of the budgets has no plan.

    Examples
    --------
    >>> import kleiber
    >>> sizes = [1e7, 1e8, 1e9]
    >>> runs = {"n_params": sizes * 3, "n_tokens": [n for n in (1e9, 1e10, 1e11) for _ in sizes]}
    >>> law = "E + A/n_params**a + B/n_tokens**b"
    >>> truth = {"E": 1.7, "A": 400, "B": 400, "a": 0.34, "b": 0.28}
    >>> runs["loss"] = list(kleiber.law_from_formula(law, list(runs))(**runs, **truth))
    >>> fit = kleiber.fit(law, runs, draws=0)
    >>> kleiber.trace_frontier(fit, [6e20, 6e21])["predicted"].round(3).to_list()
    [2.376, 2.175]
    """
    accepted = "a list of positive numbers"
    amounts = check_array("budgets", budgets, accepted, error=BadPlan).tolist()
    checked = _check_source(fit, attempt, law, series, queries, weight)
    rows: list[dict[str, Any]] = []
    for budget in amounts:
        asked = Settings(budget, None, cost, under, limits, choices, given)
        posed = _pose(checked, asked, attempt, queries, weight, far)
        rows.append(_row(answer(*posed, level=level, far=far)))
    return pl.DataFrame(rows, infer_schema_length=None)


def _row(made: Plan) -> dict[str, Any]:
    """Return a plan as a row of a compute-optimal curve."""
    row: dict[str, Any] = {"budget": made.budget}
    parts = {**made.allocation, "predicted": made.predicted}
    if made.advice:
        parts |= {"pass_rate": made.pass_rate, "training_share": made.training_share}
    for name, item in parts.items():
        row |= {name: item.value, f"{name}_low": item.low, f"{name}_high": item.high}
    row |= {f"{name}_extrapolation": item for name, item in made.extrapolations.items()}
    row |= {"tokens_per_param": made.tokens_per_param} if made.tokens_per_param else {}
    return row | {"extrapolation": made.extrapolation}


def sensitivity(
    fit: Any,
    budget: float | None = None,
    cost: Cost | str | None = None,
    *,
    attempt: Cost | str | float | None = None,
    queries: float = 1.0,
    reach: float | None = None,
    law: Any = None,
    weight: float = 0.0,
    under: Constraints | None = None,
    limits: Mapping[str, Ends] | None = None,
    choices: Mapping[str, Sequence[float]] | None = None,
    given: Mapping[str, float] | None = None,
    series: str | None = None,
    far: bool = False,
) -> pl.DataFrame:
    """Measure how a plan moves with each free parameter: elasticities dlog(plan)/dlog(parameter).

    Parameters
    ----------
    fit
        A Fit, or with ``attempt`` a source of ``plan_attempts``.
    budget, cost, reach, under, limits, choices, given, far
        As for ``plan``.
    attempt, queries, law, weight, series
        As for ``plan_attempts``; k moves as a real number.

    Returns
    -------
    polars.DataFrame
        A row per free parameter (with ``attempt`` those of the theory, or of the lines along
        training and of the loss law). An elasticity of 2 in ``n_params`` says that a parameter one
        per cent larger makes the best model two per cent larger; ``n_params_shift`` multiplies it
        by the parameter's relative standard error: how far its uncertainty moves the plan.

    Raises
    ------
    BadPlan
        Where there is no plan to move.

    Examples
    --------
    >>> import kleiber
    >>> sizes = [1e7, 1e8, 1e9]
    >>> runs = {"n_params": sizes * 3, "n_tokens": [n for n in (1e9, 1e10, 1e11) for _ in sizes]}
    >>> law = "E + A/n_params**a + B/n_tokens**b"
    >>> truth = {"E": 1.7, "A": 400, "B": 400, "a": 0.34, "b": 0.28}
    >>> runs["loss"] = list(kleiber.law_from_formula(law, list(runs))(**runs, **truth))
    >>> fit = kleiber.fit(law, runs, draws=0)
    >>> moved = kleiber.sensitivity(fit, 6e21)
    >>> dict(zip(moved["parameter"], moved["n_params"].round(2)))
    {'E': 0.0, 'A': 1.61, 'a': -10.53, 'B': -1.61, 'b': 10.22}
    """
    checked = _check_source(fit, attempt, law, series, queries, weight)
    asked = Settings(budget, reach, cost, under, limits, choices, given)
    source, question, ends = _pose(checked, asked, attempt, queries, weight, far)
    answer(replace(source, draws={}), question, ends, level=0.95, far=far)
    rows: list[dict[str, Any]] = []
    for name, relative, *both in perturb_parameters(source, STEP):
        up, down = (
            allocate(
                replace(question, law=moved.law),
                {key: np.array([value], dtype=float) for key, value in params.items()},
            )
            for moved, params in both
        )
        row: dict[str, Any] = {"parameter": name}
        for what in (*question.variables, "predicted"):
            slope = np.log(up[what][0] / down[what][0]) / (2 * STEP)
            row |= {what: float(slope), f"{what}_shift": float(slope * relative)}
        rows.append(row)
    return pl.DataFrame(rows)


def _check_source(fit: Any, attempt: Any, law: Any, series: Any, queries: Any, weight: Any) -> Any:
    """Return a Fit that supports a plan, or with attempts the curve of failure."""
    if attempt is not None:
        return find_curve(fit, law, series)
    if isinstance(fit, CountFit) or hasattr(fit, "solve"):
        raise BadPlan(
            "A plan by counts or by a theory takes the price of an attempt (attempt=...)."
        )
    defaults = {"law": None, "series": None, "queries": 1.0, "weight": 0.0}
    given = {"law": law, "series": series, "queries": queries, "weight": weight}
    for name, value in given.items():
        if value is not defaults[name] and not (is_real(value) and value == defaults[name]):
            raise BadPlan(
                f"The value of {name} is of a plan with attempts (attempt=...), which this is not, "
                f"got {shown(value)}."
            )
    fit = fit_of(fit)
    check_support(fit)
    return fit


def _pose(
    checked: Any, asked: Settings, attempt: Any, queries: float, weight: float, far: bool
) -> Posed:
    """Pose the question of a plan by a fit or a curve."""
    if isinstance(checked, Fit):
        return pose_question(
            checked, asked if asked.cost is not None else replace(asked, cost="6nd")
        )
    return pose_attempts(checked, asked, attempt, queries, weight, check_flag("far", far))
