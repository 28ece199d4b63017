"""The next run: the candidate that is expected to narrow an interval most, or most per unit of
cost.

The draws of a fit carry how uncertain quantities move together. If q is the quantity and
g(x) the law's value at a candidate run x (its logarithm for log noise), measuring g(x) with noise
of variance s^2 is expected to leave

    Var(q | run) = Var(q) - Cov(q, g)^2 / (Var(g) + s^2)

(linear conditioning; MacKay 1992). A ladder of runs is chosen one at a time, the covariances
conditioned on each choice; no run is chosen twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.arguments import check_flag, check_mapping, check_number, check_whole
from kleiber.errors import BadPlan, BadTable, listed, nearest, shown
from kleiber.fitting.record import Fit, call_quantity
from kleiber.forecasting.record import Forecast
from kleiber.formula import calculate
from kleiber.planning.amounts import check_budget
from kleiber.planning.cost import Cost, find_cost, six_nd
from kleiber.planning.plan import check_support
from kleiber.planning.source import fit_of
from kleiber.table import as_frame, numbers

GRID = 24  # candidates along each variable when none are given
REACH = 4.0  # largest candidate over the largest measured value
CELLS = 2 * 10**6  # predictions that are made at a time
KEPT = 16 * 10**6  # predictions that are kept, where all of them are no more than this
NEAR = 2.0  # times below the largest measured run, that candidates of a forecast may be
MIN_DRAWS = 50  # needed to estimate covariances


def next_run(
    fit: Fit | Forecast,
    quantity: str | Callable[[Mapping[str, Any]], Any] | Mapping[str, float],
    budget: float,
    cost: Cost | str = six_nd,
    *,
    runs: int = 1,
    candidates: Any = None,
    per_cost: bool = False,
    given: Mapping[str, float] | None = None,
    limits: Mapping[str, tuple[float, float]] | None = None,
) -> pl.DataFrame:
    """Choose up to ``runs`` different further runs that together cost at most ``budget``.

    Parameters
    ----------
    fit
        A fit with at least 50 draws, or a forecast of one group.
    quantity
        Whose interval is to be narrowed: a parameter's name, a function of the parameters, or a
        mapping of columns at which the law is to be predicted.
    budget
        What the runs may cost together, in the unit of ``cost``.
    cost
        A Cost, the name of one, a column, or a formula of columns.
    runs
        How many runs to choose at most.
    candidates
        A table of possible runs, each chosen at most once. Without one, a grid from the smallest
        measured value of each variable to four times the largest.
    per_cost
        Whether to take the largest reduction of the log width for each unit of cost, instead of the
        largest that is affordable.
    given
        Values of the cost's variables that no candidate has.
    limits
        The lowest and highest value of a variable: they replace the ends of its grid (0 and
        infinity leave an end as it is), or leave out the candidates outside.

    Returns
    -------
    polars.DataFrame
        The chosen runs in order with their ``cost`` and ``remaining``: the share of today's
        interval that is expected to remain after each. Fewer than ``runs`` where the budget or the
        candidates come to an end.

    Raises
    ------
    BadPlan
        When no candidate is affordable or lies within the limits, and for a fit that cannot tell.
    BadTable
        For candidates that cannot be used.

    Examples
    --------
    >>> import kleiber
    >>> sizes = [1e6, 3e6, 1e7, 3e7, 1e8, 3e8, 1e9]
    >>> noise = [1.002, 0.998, 1.001, 0.999, 1.001, 1.000, 0.999]
    >>> loss = [(1.8 + 400 / n**0.4) * x for n, x in zip(sizes, noise)]
    >>> runs = {"n_params": sizes, "loss": loss}
    >>> fit = kleiber.fit("E + A/n_params**alpha", runs, draws=100)
    >>> chosen = kleiber.next_run(fit, "E", budget=4e9, cost="6*n_params")
    >>> f"{chosen['n_params'][0]:.0e}"
    '7e+08'
    """
    recent = isinstance(fit, Forecast)
    fit = fit_of(fit)
    if fit.status != "flat":  # a flat fit is just what further runs are for
        check_support(fit)
    if fit.n_draws < MIN_DRAWS:
        raise BadPlan(
            f"The next run needs a fit with at least {MIN_DRAWS} draws; this has {fit.n_draws}."
        )
    runs = check_whole("runs", runs, low=1, error=BadPlan)
    per_cost = check_flag("per_cost", per_cost)
    given = check_mapping("given", given, "a mapping from columns to numbers or None")
    for name, value in given.items():
        check_number(f"given[{name!r}]", value, error=BadPlan)
        if name not in (known := find_cost(cost).variables):
            raise BadPlan(
                f"The given values have an entry {shown(name)}, but the cost uses {listed(known)}."
                f"{nearest(name, known)}"
            )
    limits = check_mapping("limits", limits, "a mapping from columns to (low, high) or None")
    priced, limit = find_cost(cost), check_budget(budget)
    table = _candidates(fit, candidates, limits)
    if recent and candidates is None:
        table = _near_frontier(fit, table)
    prices = _prices(table, priced, given)
    draws_of_quantity = _quantity(fit, quantity)
    predictions = partial(_centered_predictions, fit, table)
    chosen, shares = _choose(
        draws_of_quantity, predictions, prices, limit, runs, _noise_variance(fit), per_cost
    )
    if not chosen:
        raise BadPlan(
            f"No candidate run costs at most {limit:g} {priced.unit}; the cheapest costs "
            f"{np.nanmin(prices):.3g}."
        )
    return table[chosen].with_columns(
        pl.Series("cost", prices[chosen]), pl.Series("remaining", shares)
    )


def _candidates(
    fit: Fit, candidates: Any, limits: Mapping[str, tuple[float, float]]
) -> pl.DataFrame:
    """Return the candidate runs without duplicates."""
    if candidates is None:
        return _grid(fit, _check_limits(limits, fit.law.variables))
    frame = as_frame(candidates)
    if frame.is_empty():
        raise BadTable("The table of candidates has no rows.")
    for name in fit.law.variables:
        numbers(frame, name)
    limits = _check_limits(limits, frame.columns)
    inside = np.ones(len(frame), dtype=bool)
    for name, (low, high) in limits.items():
        values = numbers(frame, name)
        inside &= (values >= low) & (values <= high)
    if not inside.any():
        raise BadPlan(f"None of the {len(frame)} candidates lies within the limits.")
    return frame.filter(pl.Series(inside)).unique(maintain_order=True)


def _near_frontier(fit: Fit, table: pl.DataFrame) -> pl.DataFrame:
    """Return the candidates near the largest measured run: a forecast gives others no weight."""
    largest = max(math.prod(run.values()) for run in fit.outermost)
    product = np.prod([table[name].to_numpy() for name in fit.law.variables], axis=0)
    near = product >= largest / NEAR
    if not near.any():
        raise BadPlan(
            f"No candidate comes within {NEAR:g} times of the largest measured run, and a forecast "
            "learns little from smaller ones: give candidates, or wider limits."
        )
    return table.filter(pl.Series(near))


def _check_limits(
    limits: Mapping[str, Any], known: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """Return the limits as pairs of numbers; raise BadPlan for anything else."""
    made: dict[str, tuple[float, float]] = {}
    for name, ends in limits.items():
        accepted = "a pair of numbers (low, high)"
        given: Any = ends
        if not isinstance(ends, Sequence) or isinstance(ends, str) or len(given) != 2:
            raise BadPlan(f"The limits of {name} must be {accepted}, got {shown(given)}.")
        low, high = (
            check_number(f"limits[{name!r}]", each, accepted, allow_infinite=True, error=BadPlan)
            for each in cast("Sequence[Any]", ends)
        )
        made[name] = low, high
        if name not in known:
            raise BadPlan(
                f"The limits have an entry {name!r}, but the candidates have {listed(known)}."
                f"{nearest(name, known)}"
            )
        if not 0 <= low <= high:
            raise BadPlan(f"The limits of {name} must be 0 <= low <= high, got {low:g}:{high:g}.")
    return made


def _grid(fit: Fit, limits: Mapping[str, tuple[float, float]]) -> pl.DataFrame:
    """Return runs evenly spaced in the logarithm of each variable, within its limits."""
    axes: list[np.ndarray] = []
    boxes = {name: limits.get(name, (0.0, np.inf)) for name in fit.law.variables}
    open_names = [name for name, (low, high) in boxes.items() if low == 0 or np.isinf(high)]
    missing = [name for name in open_names if name not in fit.ranges]
    if missing:
        raise BadPlan(
            f"The fit records no range of {', '.join(missing)}; give candidates, or limits of each."
        )
    for name, (low, high) in boxes.items():
        smallest, largest = fit.ranges.get(name, (low, high))
        low, high = low or smallest, REACH * largest if np.isinf(high) else high
        if low <= 0:
            raise BadPlan(
                f"{name} reaches {low:g}, so there is no grid of its logarithm; give candidates, "
                f"or limits of {name} above 0."
            )
        if low > high:
            raise BadPlan(
                f"The limits of {name} leave {low:g} to {high:g}, since its measured values are "
                f"{smallest:g} to {largest:g}; give both ends."
            )
        axes.append(np.geomspace(low, high, GRID if high > low else 1))
    mesh = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")])
    return pl.DataFrame(dict(zip(fit.law.variables, mesh, strict=True)))


def _prices(table: pl.DataFrame, cost: Cost, given: Mapping[str, float]) -> np.ndarray:
    values: dict[str, Any] = dict(given)
    for name in cost.variables:
        if name not in values:
            values[name] = numbers(table, name)
    prices = np.broadcast_to(calculate(cost.expr, values), (len(table),)).astype(float)
    if not (prices > 0).all():
        raise BadPlan(
            f"Every candidate must cost something; by {cost.name!r} one costs {prices.min():g}."
        )
    return prices


def _quantity(
    fit: Fit, quantity: str | Callable[[Mapping[str, Any]], Any] | Mapping[str, float]
) -> Float[np.ndarray, "draws"]:
    """Return the quantity on every draw, as logarithms if it is positive, so that widths are
    relative."""
    if isinstance(quantity, str) or callable(quantity):
        fit.interval(quantity)  # refuses an unknown name, and what gives no number
        drawn = call_quantity(quantity, fit.draws) if callable(quantity) else fit.draws[quantity]
    else:
        drawn = _law_at(fit, quantity)
    values = np.asarray(drawn, dtype=float)
    values = np.broadcast_to(values, (fit.n_draws,))
    values = np.log(values) if (values > 0).all() else values
    known = values[np.isfinite(values)]
    if not (len(known) and np.ptp(known) > 0):
        raise BadPlan("The quantity does not vary over the draws: nothing is left to narrow.")
    return values


def _law_at(fit: Fit, columns: Mapping[str, float]) -> Float[np.ndarray, "..."]:
    """Return the law at the given columns, on every draw."""
    accepted = "a parameter, a function of them, or a mapping from columns to finite numbers"
    columns = check_mapping("quantity", columns, accepted)
    for name, value in columns.items():
        finite = "a finite number (a prediction is at finite values)"
        check_number(f"quantity[{name!r}]", value, finite, error=BadPlan)
    if set(columns) != set(fit.law.variables):
        raise BadPlan(
            f"A prediction is at values of {', '.join(fit.law.variables)}; given are "
            f"{', '.join(columns) or 'none'}."
        )
    return fit.law(**columns, **fit.draws)


def _predictions(fit: Fit, table: pl.DataFrame) -> Float[np.ndarray, "draws candidates"]:
    """Return the law at every candidate on every draw, on the noise model's scale."""
    columns = {name: numbers(table, name)[None, :] for name in fit.law.variables}
    params = {name: values[:, None] for name, values in fit.draws.items()}
    value = np.broadcast_to(fit.law(**columns, **params), (fit.n_draws, len(table)))
    with np.errstate(all="ignore"):
        return np.log(np.where(value > 0, value, np.nan)) if fit.noise.scale == "log" else value


def _noise_variance(fit: Fit) -> float:
    """Return the variance of one run's residual: the mean square for least squares, or an estimate
    from the median absolute residual under robust noise."""
    if not len(fit.residuals):
        raise BadPlan("This fit was saved without residuals, which tell a run's noise.")
    square = float(np.mean(fit.residuals**2))
    if fit.noise.delta is not None or fit.noise.dof is not None:
        square = (float(np.median(np.abs(fit.residuals))) / 0.6745) ** 2
    return max(square, 1e-24) * fit.rows / max(fit.rows - len(fit.free), 1)


def _centered_predictions(
    fit: Fit, table: pl.DataFrame, part: slice
) -> Float[np.ndarray, "draws candidates"]:
    """Predict a part of the candidates on every draw and subtract their medians."""
    return _center_draws(_predictions(fit, table[part]))


def _choose(
    draws_of_quantity: np.ndarray,
    predictions: Callable[[slice], Float[np.ndarray, "draws candidates"]],
    prices: np.ndarray,
    budget: float,
    runs: int,
    noise: float,
    per_cost: bool,
) -> tuple[list[int], list[float]]:
    """Choose different runs greedily, conditioning the draws on each run chosen.

    Many predictions are made anew in parts, so that all of them need not fit in memory.
    """
    q = _center_draws(draws_of_quantity[:, None])[:, 0]
    variance = start = float(q @ q) / len(q)
    chosen: list[int] = []
    shares: list[float] = []
    measured: list[tuple[np.ndarray, float]] = []  # predictions of the chosen, and their weights
    kept = predictions(slice(None)) if len(q) * len(prices) <= KEPT else None
    remaining_budget = budget

    def part_of(part: slice) -> Float[np.ndarray, "draws candidates"]:
        return kept[:, part] if kept is not None else _conditioned(predictions(part), measured)

    for _ in range(int(runs)):
        variances, covariances = _moments(part_of, q, len(prices))
        remaining_variance = np.maximum(
            variance - covariances**2 / (variances + noise), 1e-12 * start
        )
        gain = np.where(
            prices <= remaining_budget, 0.5 * np.log(variance / remaining_variance), -np.inf
        )
        gain = np.where(np.isfinite(gain), gain, -np.inf)
        gain[chosen] = -np.inf
        score = gain / prices if per_cost else gain
        best = int(np.argmax(score))
        if not np.isfinite(score[best]):
            break
        chosen.append(best)
        remaining_budget -= float(prices[best])
        # condition draws on the measurement: regress its part out, shrunk by its noise
        weight = (1 - np.sqrt(noise / (variances[best] + noise))) / max(variances[best], 1e-300)
        column = part_of(slice(best, best + 1))[:, 0].copy()
        if kept is None:
            measured.append((column, weight / len(q)))
        else:
            kept -= np.outer(column, weight / len(q) * (column @ kept))
        q = q - column * (weight * (column @ q) / len(q))
        variance = float(q @ q) / len(q)
        shares.append(float(np.sqrt(variance / start)))
    return chosen, shares


def _conditioned(
    values: Float[np.ndarray, "draws candidates"], measured: Sequence[tuple[np.ndarray, float]]
) -> Float[np.ndarray, "draws candidates"]:
    """Condition predictions on the runs that are taken as measured."""
    for column, weight in measured:
        values = values - np.outer(column, weight * (column @ values))
    return values


def _moments(
    predictions: Callable[[slice], Float[np.ndarray, "draws candidates"]],
    q: Float[np.ndarray, "draws"],
    candidates: int,
) -> tuple[Float[np.ndarray, "candidates"], Float[np.ndarray, "candidates"]]:
    """Return the variance of each candidate's predictions and their covariance with q."""
    found = np.empty((2, candidates))
    size = max(1, CELLS // len(q))
    for at in range(0, candidates, size):
        values = predictions(slice(at, at + size))
        found[0, at : at + size] = np.einsum("dc,dc->c", values, values) / len(q)
        found[1, at : at + size] = q @ values / len(q)
    return found[0], found[1]


def _center_draws(values: np.ndarray) -> np.ndarray:
    """Subtract the median of the draws and clip outliers at five robust deviations (not if most
    draws are equal, as at a bound); NaN becomes zero."""
    known = np.where(np.isnan(values).all(axis=0), 0.0, values)
    median: Callable[..., np.ndarray] = np.nanmedian if np.isnan(known).any() else np.median
    with np.errstate(invalid="ignore"):
        deviations: np.ndarray = known - median(known, axis=0)
        median = np.nanmedian if np.isnan(deviations).any() else np.median
        size: np.ndarray = 1.4826 * median(np.abs(deviations), axis=0)
    largest = np.where(size > 0, 5 * size, np.inf)
    return np.nan_to_num(np.clip(deviations, -largest, largest), posinf=0.0, neginf=0.0)
