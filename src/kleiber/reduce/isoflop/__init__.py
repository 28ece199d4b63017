"""IsoFLOP parabolas: the best size of each budget, and its growth (approach 2 of Chinchilla)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float
from scipy import special

from kleiber.arguments import check_column, check_level, check_memory, check_number, check_whole
from kleiber.claim import Estimate, student
from kleiber.errors import BadTable
from kleiber.plain import plain_estimate
from kleiber.reduce.isoflop.parabolas import (
    MIN_SIZES,
    Budget,
    Optima,
    cubic_chance,
    cubic_minima,
    draw_optima,
    find_optima,
    read_budgets,
)
from kleiber.table import as_frame, require

LOST = 0.05  # share of resamples without a minimum from which there is no interval
SCATTER = 0.01  # probability of scatter about the line beyond which noise does not explain it
UNKNOWN = Estimate(math.nan, math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class IsoFLOP:
    """The optimum of each budget and the growth of the best size with the budget.

    Attributes
    ----------
    table
        A row for each budget: the budget (the geometric mean of what was logged), the best size and
        the tokens there with ``_low`` and ``_high``, the target at the minimum with its own, the
        number of runs, and why a budget has no optimum or no interval ("" if it has both).
    exponent
        a in N* ~ C^a.
    token_exponent
        b in D* ~ C^b; NaN where the tokens are unknown.
    without
        The exponent a without each budget in turn, by budget.
    level
        The level of all intervals.
    notes
        Warnings, and how budgets and tokens were read.
    size, budget, target
        The columns.
    runs
        The runs as they were read: budget, size and target.
    curves
        The parabola of each budget with an optimum: target = c0 + c1 u + c2 u^2 with u = log size
        minus ``centre``.

    Examples
    --------
    >>> import kleiber
    >>> cells = [(c, (c / 6) ** 0.5 * r) for c in (1e18, 1e19) for r in (0.25, 0.5, 1, 2, 4)]
    >>> runs = {"flops": [c for c, _ in cells], "n_params": [n for _, n in cells]}
    >>> runs["loss"] = [2 + 400 / n**0.34 + 400 / (c / 6 / n) ** 0.34 for c, n in cells]
    >>> kleiber.reduce.isoflop(runs).table["runs"].to_list()
    [5, 5]
    """

    table: pl.DataFrame
    exponent: Estimate
    token_exponent: Estimate
    without: Mapping[float, float]
    level: float
    notes: tuple[str, ...]
    size: str = "n_params"
    budget: str = "flops"
    target: str = "loss"
    runs: pl.DataFrame = field(default_factory=pl.DataFrame, repr=False)
    curves: pl.DataFrame = field(default_factory=pl.DataFrame, repr=False)


def isoflop(
    table: object,
    *,
    size: str = "n_params",
    budget: str = "flops",
    target: str = "loss",
    tolerance: float = 0.05,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> IsoFLOP:
    """Find the best size of each budget from a parabola in log size, and its growth.

    target = c0 + c1 u + c2 u^2 with u = log size in each budget, whose minimum is at u* = -c1/(2
    c2); then N* ~ C^a is a line through the minima on the logarithms (approach 2 of Hoffmann et al.
    2022, arXiv:2203.15556). A budget whose minimum is not inside its sizes has no optimum.

    Parameters
    ----------
    table
        Any data frame with a row for each run.
    size, budget, target
        The columns of the size, of the compute of a run, and of what is lowest at the optimum.
    tolerance
        The relative difference up to which neighbouring budgets count as one.
    level
        The level of the intervals, between 0 and 1.
    draws, seed
        The number of bootstrap draws and their seed: the residuals of all budgets, relative to the
        parabolas, are drawn anew, and intervals are Student's with the spread of the draws.

    Returns
    -------
    IsoFLOP
        The optimum of each budget in ``.table``, the exponents with intervals, and notes.

    Raises
    ------
    BadTable
        For a missing column, values that are not positive, and an unusable option.

    Examples
    --------
    >>> import kleiber
    >>> cells = [(c, (c / 6) ** 0.5 * r) for c in (1e18, 1e19) for r in (0.25, 0.5, 1, 2, 4)]
    >>> runs = {"flops": [c for c, _ in cells], "n_params": [n for _, n in cells]}
    >>> runs["loss"] = [2 + 400 / n**0.34 + 400 / (c / 6 / n) ** 0.34 for c, n in cells]
    >>> round(kleiber.reduce.isoflop(runs).exponent.value, 3)
    0.5
    """
    for name, value in (("size", size), ("budget", budget), ("target", target)):
        check_column(name, value)
    level = check_level(level, error=BadTable)
    draws = check_whole("draws", draws, low=2, error=BadTable)
    tolerance = check_number("tolerance", tolerance, low=0.0, high=0.5, error=BadTable)
    frame = as_frame(table)
    require(frame, [size, budget, target])
    frame = frame.filter(pl.col(target).is_not_null())
    check_memory(f"{draws:,} draws", 8 * draws * max(frame.height, 1) * 3, "ask for fewer draws")
    budgets, said = read_budgets(frame, size, budget, target, tolerance)
    used = [item for item in budgets if not item.why]
    dof = sum(len(item.u) - 3 for item in used)
    found = [find_optima(item, item.coefficients[:, None]) for item in used]
    drawn = draw_optima(used, draws, seed) if dof > 0 else []
    rows = _rows(budgets, found, drawn, dof, level, (size, target))
    log_c = np.log([item.flops for item in used])
    sizes = _exponent(log_c, [x.size for x in found], [x.size for x in drawn], dof, level)
    tokens = _exponent(log_c, [x.tokens for x in found], [x.tokens for x in drawn], dof, level)
    without = _leave_out(used, np.array([x.size[0] for x in found]))
    curves = pl.DataFrame(
        {"budget": [item.flops for item in used], "centre": [item.centre for item in used]}
        | {f"c{k}": [float(item.coefficients[k]) for item in used] for k in range(3)},
        schema_overrides={"budget": pl.Float64, "centre": pl.Float64},
    )
    runs = pl.DataFrame(
        {
            "budget": np.concatenate([np.full(len(item.u), item.flops) for item in budgets]),
            "size": np.exp(np.concatenate([item.u + item.centre for item in budgets])),
            "target": np.concatenate([item.y for item in budgets]),
        }
    )
    notes = (*said, *_about(budgets, used, sizes, without, dof))
    return IsoFLOP(
        rows.rename({"budget": budget}),
        sizes[0], tokens[0], without, level, notes, size, budget, target, runs, curves,
    )  # fmt: skip


def _interval(
    value: float, drawn: Float[np.ndarray, "draws"], dof: float, level: float
) -> Estimate:
    """Return Student's interval with the spread of the draws; NaN where too many are lost."""
    known = np.isfinite(drawn)
    if dof < 1 or known.mean() < 1 - LOST:
        return student(value, math.nan, 0)
    return student(value, float(drawn[known].std(ddof=1)), dof, level)


def _rows(
    budgets: list[Budget],
    found: list[Optima],
    drawn: list[Optima],
    dof: int,
    level: float,
    names: tuple[str, str],
) -> pl.DataFrame:
    """Return a row for each budget."""
    size, target = names
    labels = (size, "n_tokens") if size != "n_tokens" else (size, "other")
    rows: list[dict[str, float | str]] = []
    places = iter(range(len(found)))
    for item in budgets:
        k = None if item.why else next(places)
        why, row = item.why, dict[str, float | str](budget=item.flops)
        for name, what in ((labels[0], "size"), (labels[1], "tokens"), (target, "target")):
            made = UNKNOWN
            if k is not None:
                value = float(getattr(found[k], what)[0])
                sample = getattr(drawn[k], what) if drawn else np.full(2, np.nan)
                made = _interval(value, sample, dof, level)
            ends = (made.value, made.low, made.high)
            given = ends if what == "target" else tuple(_exp(end) for end in ends)
            row |= {name: given[0], f"{name}_low": given[1], f"{name}_high": given[2]}
        if k is not None and math.isnan(float(row[f"{size}_low"])):
            why = (
                f"no interval: {MIN_SIZES - 1} parameters fit the runs exactly"
                if dof < 1
                else "no interval: many resamples have no minimum inside the sizes"
            )
        rows.append({**row, "runs": len(item.u), "why": why})
    frame = pl.DataFrame(rows).with_columns(pl.col(pl.Float64).fill_nan(None))
    return frame if size != "n_tokens" else frame.drop("other", "other_low", "other_high")


def _exp(value: float) -> float:
    return math.exp(value) if math.isfinite(value) else math.nan


def _exponent(
    log_c: Float[np.ndarray, "budgets"],
    found: list[Float[np.ndarray, "1"]],
    drawn: list[Float[np.ndarray, "draws"]],
    dof: int,
    level: float,
) -> tuple[Estimate, bool]:
    """Return the slope of the minima, and whether they scatter about the line beyond the noise.

    Where they do, the interval is that of the scatter, with two degrees of freedom fewer than there
    are budgets.
    """
    if len(log_c) < 2 or not all(np.isfinite(item).all() for item in found):
        return UNKNOWN, False
    x = log_c - log_c.mean()
    weights = x / (x @ x)
    y = np.array([item[0] for item in found])
    value = float(weights @ y)
    if not drawn:
        return student(value, math.nan, 0), False
    sample = np.stack(drawn)
    noise = _interval(value, weights @ sample, dof, level)
    rest = len(y) - 2
    if rest < 1 or math.isnan(noise.stderr):
        return noise, False
    variance = np.nanvar(sample, axis=1, ddof=1).mean()
    scatter = float(((y - y.mean() - value * x) ** 2).sum()) / rest
    if scatter <= variance * float(special.fdtri(rest, dof, 1 - SCATTER)):
        return noise, False
    return student(value, math.sqrt(scatter / float(x @ x)), rest, level), True


def _leave_out(used: list[Budget], y: Float[np.ndarray, "budgets"]) -> dict[float, float]:
    """Return the exponent without each budget in turn; none for fewer than three budgets."""
    if len(y) < 3:
        return {}
    log_c = np.log([item.flops for item in used])
    return {
        used[k].flops: float(np.polyfit(np.delete(log_c, k), np.delete(y, k), 1)[0])
        for k in range(len(y))
    }


def _about(
    budgets: list[Budget],
    used: list[Budget],
    sizes: tuple[Estimate, bool],
    without: Mapping[float, float],
    dof: int,
) -> list[str]:
    """Return what one must know before the exponent is used."""
    notes = [
        f"The budget {item.flops:.3g} has no optimum: {item.why}." for item in budgets if item.why
    ]
    if len(used) < 2:
        return [*notes, f"An exponent needs two budgets with an optimum; there are {len(used)}."]
    if dof < 1:
        notes.append("Nothing has an interval: the parabolas pass through all runs exactly.")
    if len(used) == 2:
        notes.append("The exponent rests on two budgets, and any two points lie on a line.")
    if sizes[1]:
        notes.append(
            "The optima scatter about the line by more than the noise of the runs explains, so the "
            "interval of the exponent is that of the scatter."
        )
    if without:
        worst = max(without, key=lambda c: abs(without[c] - sizes[0].value))
        ends = f"{min(without.values()):.3f} to {max(without.values()):.3f}"
        notes.append(f"Without one budget the exponent is {ends}; {worst:.3g} changes it the most.")
    cubic = cubic_minima(used)
    if np.isfinite(cubic).all():
        value = float(np.polyfit(np.log([item.flops for item in used]), cubic, 1)[0])
        notes.append(f"With a cubic term in each budget the exponent would be {value:.3f}.")
    chance = cubic_chance(used)
    if chance < SCATTER:
        notes.append(
            f"The cubic term is real (p = {chance:.2g}): the sizes span more than a parabola "
            "describes, so optima are off by more than their intervals; leave out the outermost "
            "sizes."
        )
    return notes


def describe_isoflop(made: IsoFLOP) -> dict[str, Any]:
    """Return the document that ``reduce isoflop --json`` prints."""
    return {
        "budgets": made.table.to_dicts(),
        "exponent": plain_estimate(made.exponent),
        "token_exponent": plain_estimate(made.token_exponent),
        "without": [{"budget": key, "exponent": value} for key, value in made.without.items()],
        "level": made.level,
        "notes": list(made.notes),
    }
