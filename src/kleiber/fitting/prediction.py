"""The function ``predict``: what a fit predicts for given runs, and how far they extrapolate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.brief import brief
from kleiber.columns import FILE_ROW
from kleiber.errors import BadLaw, BadTable, listed
from kleiber.fitting.judge.status import Status
from kleiber.fitting.record import Fit, check_fit
from kleiber.fitting.spread.components import (
    VarianceComponents,
    describe_components,
    standard_deviation_interval,
)
from kleiber.fitting.spread.intervals import check_level
from kleiber.fitting.table_problem import positive_columns
from kleiber.measurements import take_columns
from kleiber.plain import as_plain
from kleiber.rows import name_row
from kleiber.table import add_columns, as_frame

FAR_FACTOR = 10.0  # columns and costs beyond this multiple of what was measured are warned of
CHUNK_VALUES = 4_000_000  # draws times rows predicted at once
INTERVAL_COLUMNS = ("low", "high", "new_low", "new_high")
SIZE_AND_DATA = ("n_params", "n_tokens")  # whose product times six is the cost of a run


@dataclass(frozen=True)
class Prediction:
    """What a fit predicts for the rows of a table.

    Attributes
    ----------
    table
        The given rows, as the kind of data frame that was given, with further columns:
        ``predicted``; ``low`` and ``high``, the interval of the law's value (the mean); ``new_low``
        and ``new_high``, that of one further measurement; ``extrapolation_x`` for each variable x,
        its value over the largest measured one where it is larger, over the smallest where it is
        smaller, else 1; and ``extrapolation``, 6 n_params n_tokens over that of the dearest
        measured run, where the law has both. Unknown numbers are NaN.
    variables, target, law
        The names of the law's columns, of the predicted column and of the law.
    level
        The level of both intervals.
    components
        The variances of runs about the law and of evaluations about their run; None if unknown.
    noise
        A sentence on what a new measurement is and how it varies; empty if that is unknown.
    notes
        Sentences on what to mind, such as how far a row lies beyond the measured ones.

    Examples
    --------
    >>> import kleiber
    >>> sizes = [1e6, 3e6, 1e7, 3e7, 1e8, 3e8]
    >>> runs = {"n_params": sizes, "loss": [1.8 + 400 / n**0.4 for n in sizes]}
    >>> found = kleiber.fit("E + A/n_params**alpha", runs, draws=0)
    >>> made = kleiber.predict(found, {"n_params": [3e9]})
    >>> made.factors
    {'n_params': 'extrapolation_n_params'}
    >>> made.table["extrapolation_n_params"].round(1).to_list()
    [10.0]
    """

    table: Any  # of the kind that was given
    variables: tuple[str, ...]
    target: str
    law: str
    level: float
    components: VarianceComponents | None
    noise: str
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        rows = len(as_frame(self.table))
        return brief(
            "Prediction", f"{self.law} of {self.target}", {"rows": rows, "notes": len(self.notes)}
        )

    @property
    def factors(self) -> dict[str, str]:
        """The column of each variable's extrapolation factor."""
        return {name: f"extrapolation_{name}" for name in self.variables}

    @property
    def has_cost(self) -> bool:
        """Whether the law depends on size and data, so that the cost of a run is known."""
        return all(name in self.variables for name in SIZE_AND_DATA)


def predict(fit: Fit, table: Any, *, level: float = 0.95) -> Prediction:
    """Predict the target of further runs, with intervals of the mean and of a new measurement.

    The prediction is the law at the fitted parameters. The interval of the mean is read from the
    draws of the fit, and that of a new measurement adds the variance of runs about the law.

    Parameters
    ----------
    fit
        A usable fit (``fit.usable``).
    table
        A data frame, or a mapping of names to values, with every variable of the law; other columns
        pass through.
    level
        The level of both intervals, between 0 and 1.

    Returns
    -------
    Prediction
        The table with predictions beside its columns, and notes on what to mind. The new
        measurement is one evaluation of one further run: where evaluations were repeated within
        runs (``by``), its variance is that between runs and that between evaluations.

    Raises
    ------
    BadLaw
        The fit is not usable; the message says why.
    BadTable
        A variable is missing, no number, NaN or outside the law's domain.

    Examples
    --------
    >>> import kleiber
    >>> sizes = [1e6, 3e6, 1e7, 3e7, 1e8, 3e8]
    >>> runs = {"n_params": sizes, "loss": [1.8 + 400 / n**0.4 for n in sizes]}
    >>> found = kleiber.fit("E + A/n_params**alpha", runs, draws=0)
    >>> made = kleiber.predict(found, {"n_params": [1e9]})
    >>> made.table["predicted"].round(3).to_list()
    [1.9]
    """
    fit, level = check_fit(fit), check_level(level)
    if not fit.usable:
        raise BadLaw(explain_refusal(fit))
    clashing = [name for name in fit.law.variables if name in ("predicted", *INTERVAL_COLUMNS)]
    if clashing:
        raise BadTable(
            f"The law's variable {clashing[0]!r} has the name of a column of predictions."
        )
    frame, columns = take_columns(table, fit.law.variables, positive_columns(fit.law))
    if not len(frame):
        raise BadTable("The table has no rows; it needs at least one.")
    _check_values(fit, columns, frame)
    mean, new = _intervals(fit, frame, level)
    further = {
        f"extrapolation_{name}": _extrapolation_factor(fit, name, x) for name, x in columns.items()
    }
    if all(name in columns for name in SIZE_AND_DATA):
        further["extrapolation"] = _cost_factor(fit, columns)
    added = {"predicted": mean[0], "low": mean[1], "high": mean[2]}
    added |= {"new_low": new[0], "new_high": new[1]} | further
    given = table.drop(FILE_ROW, strict=False) if isinstance(table, pl.DataFrame) else table
    found = add_columns(given, added)
    return Prediction(
        found,
        fit.law.variables,
        fit.target,
        fit.law.name,
        level,
        fit.components,
        _describe_noise(fit, level),
        _notes(fit, columns, added),
    )


def explain_refusal(fit: Fit) -> str:
    """Return the message for a fit that cannot support a prediction."""
    return f"This fit cannot support a prediction: {fit.status}, {fit.reason}."


def _check_values(fit: Fit, columns: Mapping[str, np.ndarray], frame: pl.DataFrame) -> None:
    """Raise BadTable for the first row in which the law has no value that could be measured."""
    with np.errstate(all="ignore"):
        value = np.broadcast_to(np.asarray(fit.law(**columns, **fit.params), float), (len(frame),))
    not_finite = ~np.isfinite(value)
    wrong = not_finite | (value <= 0 if fit.noise.scale == "log" else not_finite)
    if not wrong.any():
        return
    k = int(np.argmax(wrong))
    where = listed(f"{name} = {x[k]:.6g}" for name, x in columns.items())
    problem = f"gives {fit.target} = {value[k]:.4g}, which is not positive," * (not not_finite[k])
    problem = problem or f"has no finite value for {fit.target}"
    raise BadTable(f"Law {fit.law.name} {problem} in {name_row(frame, k)} ({where}).")


def _intervals(
    fit: Fit, frame: pl.DataFrame, level: float
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return the values with the interval of the mean, and the interval of a new measurement."""
    frame = frame.select(fit.law.variables)
    known = fit.components is not None or (
        len(fit.residuals) > 0 and fit.options.by is fit.options.weights is None
    )
    block = max(1, CHUNK_VALUES // max(fit.n_draws, 1))
    parts: list[np.ndarray] = []
    for first in range(0, len(frame), block):
        some = frame.slice(first, block)
        mean = fit.predict(some, level).select("predicted", "low", "high").to_numpy()
        new = np.full((len(some), 2), math.nan)
        if known:
            new = fit.predict(some, level, new_run=True).select("low", "high").to_numpy()
        parts.append(np.concatenate([mean, new], axis=1))
    value, low, high, new_low, new_high = np.concatenate(parts).T
    return (value, low, high), (new_low, new_high)


def _extrapolation_factor(
    fit: Fit, name: str, x: Float[np.ndarray, "rows"]
) -> Float[np.ndarray, "rows"]:
    """Return the ratio by which each value lies outside the measured range; NaN if there is
    none."""
    if name not in fit.ranges:
        return np.full(len(x), math.nan)
    low, high = fit.ranges[name]
    with np.errstate(divide="ignore", invalid="ignore"):
        above = np.where(high > 0, x / high, math.nan)
        below = np.where((low > 0) & (x > 0), x / low, math.nan)
    return np.where(x > high, above, np.where(x < low, below, 1.0))


def _cost_factor(fit: Fit, columns: Mapping[str, np.ndarray]) -> Float[np.ndarray, "rows"]:
    """Return 6 n_params n_tokens of each row over that of the most expensive measured run."""
    ends = {name: fit.ranges[name][1] for name in SIZE_AND_DATA if name in fit.ranges}
    runs = fit.outermost or ((ends,) if len(ends) == len(SIZE_AND_DATA) else ())
    spent = [math.prod(run[name] for name in SIZE_AND_DATA) for run in runs]
    asked = columns["n_params"] * columns["n_tokens"]
    return asked / max(spent) if spent and max(spent) > 0 else np.full(len(asked), math.nan)


def _describe_noise(fit: Fit, level: float) -> str:
    """Describe a new measurement and how it varies in one sentence."""
    found = fit.components
    if found is None or not found.degrees_of_freedom >= 1:
        return ""
    largest = standard_deviation_interval(
        found.total, found.degrees_of_freedom, level
    ).high  # no part exceeds the sum
    evaluation = _describe_deviation(
        fit, found.evaluation, found.evaluation_degrees_of_freedom, level, largest
    )
    if found.run is None:
        return f"A new measurement is one further row, whose standard deviation is {evaluation}."
    run = _describe_deviation(fit, found.run, found.run_degrees_of_freedom, level, largest)
    by = fit.options.by
    return (
        f"A new measurement is one evaluation of one further {by}: standard deviation {run} "
        f"from {by} to {by}, {evaluation} between evaluations of one."
    )


def _describe_deviation(
    fit: Fit, variance: float, degrees_of_freedom: float, level: float, largest: float
) -> str:
    """Describe a standard deviation with its interval, in per cent if residuals are logarithms."""
    log = fit.noise.scale == "log"
    low, high = standard_deviation_interval(variance, degrees_of_freedom, level)
    sizes = [100 * x if log else x for x in (math.sqrt(variance), low, min(high, largest))]
    value, low, high = (f"{x:.2g}" if x < 100 else f"{x:.0f}" for x in sizes)
    return f"{value}{'%' if log else ''} [{low}, {high}]"


def _notes(
    fit: Fit, columns: Mapping[str, np.ndarray], added: Mapping[str, np.ndarray]
) -> tuple[str, ...]:
    notes = list(fit.notes)
    if fit.status is Status.BOUND_HIT:
        notes.append(f"The fit hit a bound: {fit.reason}.")
    if np.isnan(added["low"]).any():
        notes.append(
            "There are no intervals if the fit has neither draws nor a covariance, or if its table "
            "has too few rows to estimate the noise."
        )
    elif np.isnan(added["new_low"]).any():
        notes.append(
            "There is no interval of a new measurement: the fit does not say how far runs and "
            "their evaluations lie from the law (fit the table again)."
        )
    if not fit.ranges:
        notes.append(
            "The extrapolation is unknown: the fit does not record the ranges of its table."
        )
    for name, x in columns.items():
        notes += _note_far(name, x, added[f"extrapolation_{name}"])
    cost = added.get("extrapolation", np.empty(0))
    if (cost > FAR_FACTOR).any():
        notes.append(
            f"6 n_params n_tokens is up to {cost.max():.3g} times that of the dearest measured "
            "run: intervals hold only if the law itself does that far out."
        )
    return tuple(notes)


def _note_far(name: str, x: np.ndarray, factor: np.ndarray) -> list[str]:
    """Note the largest and the smallest value if they are far from the measured ones."""
    notes: list[str] = []
    factor = np.nan_to_num(factor, nan=1.0)
    for k, word, is_far in (
        (int(np.argmax(factor)), "largest", factor.max() > FAR_FACTOR),
        (int(np.argmin(factor)), "smallest", factor.min() < 1 / FAR_FACTOR),
    ):
        if is_far:
            notes.append(
                f"{name} = {x[k]:.4g} is {factor[k]:.3g} times the {word} measured: intervals hold "
                "only if the law itself does that far out."
            )
    return notes


def describe_prediction(made: Prediction) -> dict[str, Any]:
    """Return the document that ``predict --json`` prints."""
    shared = {*made.factors.values(), "predicted", *INTERVAL_COLUMNS}
    if made.has_cost:
        shared.add("extrapolation")
    rows = as_frame(made.table)
    given = [name for name in rows.columns if name not in shared]
    return {
        "law": made.law,
        "target": made.target,
        "level": made.level,
        "rows": [_describe_row(made, given, row) for row in rows.to_dicts()],
        "variance": as_plain(describe_components(made.components)),
        "notes": list(made.notes),
    }


def _describe_row(made: Prediction, given: list[str], row: Mapping[str, Any]) -> dict[str, Any]:
    low, high, new_low, new_high = (_finite(row[name]) for name in INTERVAL_COLUMNS)
    return {
        "at": {name: _finite(row[name]) for name in given},
        "predicted": {"value": row["predicted"], "low": low, "high": high},
        "new_measurement": {"low": new_low, "high": new_high},
        "extrapolations": {name: _finite(row[key]) for name, key in made.factors.items()},
        "extrapolation": _finite(row["extrapolation"]) if made.has_cost else None,
    }


def _finite(value: Any) -> Any:
    """Return the value as JSON can hold it."""
    plain = value is None or isinstance(value, bool | int | float)
    return as_plain(value) if plain else str(value)
