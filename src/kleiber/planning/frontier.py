"""Plans over a range: the compute-optimal curve, and what each parameter does to a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from kleiber.arguments import check_array
from kleiber.errors import BadPlan
from kleiber.fitting.record import Fit, check_fit, fill
from kleiber.planning.allocate import allocate
from kleiber.planning.constraint import Under
from kleiber.planning.cost import Cost, six_nd
from kleiber.planning.plan import plan, pose_question
from kleiber.planning.question import Ends


def trace_frontier(
    fit: Fit,
    budgets: Sequence[float],
    cost: Cost | str = six_nd,
    *,
    under: Under | None = None,
    limits: Mapping[str, Ends] | None = None,
    choices: Mapping[str, Sequence[float]] | None = None,
    given: Mapping[str, float] | None = None,
    level: float = 0.95,
    far: bool = False,
) -> pl.DataFrame:
    """The compute-optimal curve: one row per budget with allocation, prediction and intervals.

    The arguments are those of ``plan``. ``low`` and ``high`` of a variable that a budget or a limit
    fixes are NaN. Raises BadPlan where one of the budgets has no plan.
    """
    accepted = "a list of positive numbers"
    amounts = check_array("budgets", budgets, accepted, error=BadPlan).tolist()
    rows: list[dict[str, Any]] = []
    for budget in amounts:
        each = plan(
            fit,
            budget,
            cost,
            under=under,
            limits=limits,
            choices=choices,
            given=given,
            level=level,
            far=far,
        )
        row: dict[str, Any] = {"budget": each.budget}
        for name, item in (*each.allocation.items(), ("predicted", each.predicted)):
            row |= {name: item.value, f"{name}_low": item.low, f"{name}_high": item.high}
        row |= {f"{name}_extrapolation": item for name, item in each.extrapolations.items()}
        row |= {"tokens_per_param": each.tokens_per_param} if each.tokens_per_param else {}
        rows.append(row | {"extrapolation": each.extrapolation})
    return pl.DataFrame(rows, infer_schema_length=None)


def sensitivity(
    fit: Fit,
    budget: float | None = None,
    cost: Cost | str = six_nd,
    *,
    reach: float | None = None,
    under: Under | None = None,
    limits: Mapping[str, Ends] | None = None,
    given: Mapping[str, float] | None = None,
    far: bool = False,
) -> pl.DataFrame:
    """How a plan moves with each free parameter: elasticities dlog(plan)/dlog(parameter).

    One row per free parameter: an elasticity of 2 in ``n_params`` says that a parameter one per
    cent larger makes the best model two per cent larger. ``shift`` columns multiply it by the
    parameter's relative standard error: how far that parameter's own uncertainty moves the plan.
    The arguments are those of ``plan``. Raises BadPlan where there is no plan to move.
    """
    fit = check_fit(fit)
    asked: dict[str, Any] = {"reach": reach, "under": under, "limits": limits, "given": given}
    plan(replace(fit, draws={}), budget, cost, **asked, far=far)
    question = pose_question(fit, budget, cost, reach, under, limits, None, given)
    step = 1e-3
    moved = [
        fill(fit, {name: fit.params[name] * (1 + sign * step)})
        for name in fit.free
        for sign in (1, -1)
    ]
    stacked = {name: np.array([float(each[name]) for each in moved]) for name in fit.params}
    found = allocate(question, stacked)
    rows: list[dict[str, Any]] = []
    for k, name in enumerate(fit.free):
        relative = (
            fit.stderr.get(name, np.nan) / abs(fit.params[name]) if fit.params[name] else np.nan
        )
        row: dict[str, Any] = {"parameter": name}
        for what in (*question.variables, "predicted"):
            slope = np.log(found[what][2 * k] / found[what][2 * k + 1]) / (2 * step)
            row |= {what: float(slope), f"{what}_shift": float(slope * relative)}
        rows.append(row)
    return pl.DataFrame(rows)
