"""The JSON document of a fit of counts, as ``kleiber counts --json`` prints it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from kleiber.attempts.judge import max_measured_k, measure
from kleiber.attempts.misfit import Misfit
from kleiber.attempts.pooled import PooledTrend
from kleiber.attempts.record import CountFit
from kleiber.attempts.trend import Finding, Trend
from kleiber.plain import as_plain, plain_number


def describe_counts(made: CountFit, k: Sequence[float]) -> dict[str, Any]:
    """Return the results of a fit of counts, group by group, with null for unknown numbers."""
    groups = [_group(made, g, k) for g in range(len(made.groups))]
    trend: Any = made.trend
    if isinstance(trend, dict):
        series = cast("dict[str, Trend]", trend)
        along: Any = {name: describe_trend(item) for name, item in series.items()}
    else:
        along = describe_trend(trend) if trend is not None else None
    return {
        "family": made.family.name,
        "exponent": made.family.exponent,
        "prior": made.prior,
        "level": made.level,
        "groups": groups,
        "trend": along,
        "pooled": None if made.pooled is None else describe_pooled(made.pooled),
        "notes": list(made.notes),
    }


def slope_window(made: CountFit, group: int) -> tuple[float, float]:
    """Return the range of k over which slopes are reported: 10 to the attempts made, or from 1 if
    they are few."""
    attempts = float(made.batch.attempts[group][made.batch.weights[group] > 0].max())
    return (10.0 if attempts >= 100 else 1.0), max(attempts, 2.0)


def _group(made: CountFit, g: int, k: Sequence[float]) -> dict[str, Any]:
    name = made.groups[g]

    def of(values: Any) -> Any:
        return values[name] if len(made.groups) > 1 else values

    rates = made.pass_at(list(k))
    value, low, high, why = (np.atleast_2d(x)[g] for x in
                             (rates.value, rates.low, rates.high, rates.reasons))  # fmt: skip
    start, end = slope_window(made, g)
    problems, solved = float(made.batch.problems[g]), float(made.batch.solved[g])
    params = {
        key: _ends(of(made.params[key]), *of(made.interval(key))) for key in made.family.params
    }
    return {
        "group": name,
        **({key: made.counts.keys[key][g] for key in made.counts.keys.columns}),
        "status": str(made.statuses[g]),
        "reason": made.reasons[g],
        "problems": int(problems),
        "unsolved": 1 - solved / problems,
        "params": params,
        "window": {
            "low": start,
            "high": end,
            **{
                item: _ends(**of(made.window(start, end, item)))
                for item in ("failure", "neg_log_pass")
            },
        },
        "pass_at": [
            {
                "k": float(k[j]),
                **_ends(value[j], low[j], high[j]),
                "why": str(why[j]),
                **_unbiased(made, g, float(k[j])),
            }
            for j in range(len(k))
        ],
        "misfit": _misfit(made.misfits[g]),
    }


def _unbiased(made: CountFit, g: int, k: float) -> dict[str, float | None]:
    """Return the unbiased pass@k with its error and interval, null if it does not exist."""
    measured = None
    if k <= max_measured_k(made.counts, g) and k == round(k):
        measured = measure(made.counts, g, np.array([k]), made.level)
    if measured is None:
        names = ("unbiased", "unbiased_stderr", "unbiased_low", "unbiased_high")
        return dict.fromkeys(names)
    return {
        "unbiased": 1 - float(measured.mean[0]),
        "unbiased_stderr": plain_number(measured.stderr[0]),
        "unbiased_low": plain_number(1 - measured.high[0]),
        "unbiased_high": plain_number(1 - measured.low[0]),
    }


def _misfit(found: Misfit | None) -> dict[str, Any] | None:
    """Return how well the family describes the group, null if it has no parameters."""
    if found is None:
        return None
    return as_plain(found)


def describe_trend(trend: Trend) -> dict[str, Any]:
    """Return the joint law of one series."""
    return {
        "along": trend.along,
        "groups": [
            {"group": name, trend.along: x, "exponent": trend.exponents[name]}
            for name, x in zip(trend.groups, trend.x, strict=True)
        ],
        "curves": [
            {**dataclasses.asdict(curve), "params": dict(curve.params)}
            for curve in trend.curves.values()
        ],
        "best": trend.best,
        "growth": _finding(trend.growth),
        "saturation": None if trend.saturation is None else _finding(trend.saturation),
        "scatter": as_plain(trend.scatter),
    }


def describe_pooled(pooled: PooledTrend) -> dict[str, Any]:
    """Return the law of several series together."""
    return {
        "along": pooled.along,
        "x0": pooled.x0,
        "series": {name: as_plain(item) for name, item in pooled.series.items()},
        "groups": [
            {"group": name, pooled.along: x}
            for name, x in zip(pooled.groups, pooled.x, strict=True)
        ],
        "rates": pooled.rates,
        "spread": pooled.spread,
        "growth": _finding(pooled.growth),
        "saturation": None if pooled.saturation is None else _finding(pooled.saturation),
        "differ": as_plain(pooled.differ),
        "scatter": as_plain(pooled.scatter),
    }


def _finding(found: Finding) -> dict[str, Any]:
    return {
        "supported": found.supported,
        "verdict": found.verdict,
        "says": found.says,
        "value": None if found.value is None else plain_number(found.value),
        "likelihood_ratio": found.likelihood_ratio,
        "p_value": found.p_value,
        "low": plain_number(found.interval.low),
        "high": plain_number(found.interval.high),
        "divisor": plain_number(found.divisor),
        "degrees_of_freedom": plain_number(found.degrees_of_freedom),
    }


def _ends(value: float, low: float, high: float) -> dict[str, float | None]:
    return {"value": plain_number(value), "low": plain_number(low), "high": plain_number(high)}
