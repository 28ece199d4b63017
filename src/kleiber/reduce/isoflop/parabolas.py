"""Parabolas in log size, one a budget: their minima, and those of resampled residuals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float
from scipy import special

from kleiber.errors import BadTable
from kleiber.maths.seeds import stream
from kleiber.table import numbers

MIN_SIZES = 4  # of a budget: three always lie on a parabola


@dataclass(frozen=True)
class Budget:
    """The runs of a budget and the parabola through them."""

    flops: float
    u: Float[np.ndarray, "runs"]
    y: Float[np.ndarray, "runs"]
    log_tokens: Float[np.ndarray, "runs"] | None
    centre: float
    solve: Float[np.ndarray, "3 runs"]
    coefficients: Float[np.ndarray, "3"]
    why: str

    @property
    def fitted(self) -> Float[np.ndarray, "runs"]:
        """The parabola at the runs."""
        return np.polynomial.polynomial.polyval(self.u, self.coefficients)


@dataclass(frozen=True)
class Optima:
    """Log size, log tokens and target at the minimum, for each draw; NaN without a minimum."""

    size: Float[np.ndarray, "draws"]
    tokens: Float[np.ndarray, "draws"]
    target: Float[np.ndarray, "draws"]


def read_budgets(
    frame: pl.DataFrame, size: str, budget: str, target: str, tolerance: float
) -> tuple[list[Budget], list[str]]:
    """Group the runs by budget, fit a parabola to each, and say how these were read."""
    if frame.height == 0:
        raise BadTable(f"The table has no run with a value of {target!r}.")
    c = numbers(frame, budget, positive=True)
    log_c = np.log(c)
    log_n = np.log(numbers(frame, size, positive=True))
    y = numbers(frame, target, positive=True)
    notes: list[str] = []
    log_d: Float[np.ndarray, "runs"] | None = None
    if "n_tokens" in frame.columns and size != "n_tokens":
        log_d = np.log(numbers(frame, "n_tokens", positive=True))
        ratio = float(np.exp(np.median(log_c - log_n - log_d))) / 6
        if size == "n_params" and budget == "flops" and abs(math.log(ratio)) > 0.1:
            notes.append(
                f"The column 'flops' is {ratio:.3g} times 6 n_params n_tokens in the median run, "
                "so budgets or sizes are counted in another way than 6ND."
            )
    elif size == "n_params" and budget == "flops":
        log_d = log_c - log_n - math.log(6)
        notes.append("Tokens are flops/(6 n_params), as the table has no column 'n_tokens'.")
    order = np.argsort(log_c, kind="stable")
    breaks = np.flatnonzero(np.diff(log_c[order]) > math.log1p(tolerance)) + 1
    groups = np.split(order, breaks)
    widest = max(float(np.ptp(log_c[rows])) for rows in groups)
    if widest > 3 * math.log1p(tolerance):
        raise BadTable(
            f"Budgets of {budget!r} run into one another: a chain of values, each within "
            f"{tolerance:.0%} of the next, spans a factor of {math.exp(widest):.3g}; isoFLOP needs "
            "several sizes at each of a few budgets, or a smaller tolerance."
        )
    if widest > 1e-9:
        notes.append(
            f"Values of {budget!r} within {tolerance:.0%} of their neighbour count as one budget: "
            f"those of one differ by up to {math.expm1(widest):.1%}."
        )
    made = [
        _budget(c[rows], log_n[rows], y[rows], None if log_d is None else log_d[rows])
        for rows in groups
    ]
    return made, notes


def _budget(
    c: Float[np.ndarray, "runs"],
    log_n: Float[np.ndarray, "runs"],
    y: Float[np.ndarray, "runs"],
    log_d: Float[np.ndarray, "runs"] | None,
) -> Budget:
    """Fit the parabola of a budget; ``why`` says why it has no minimum."""
    flops, centre = (
        float(c[0]) if np.ptp(c) == 0 else float(np.exp(np.log(c).mean())),
        float(log_n.mean()),
    )
    u, sizes = log_n - centre, np.unique(log_n)
    if len(sizes) < MIN_SIZES:
        why = f"{len(sizes)} sizes, and a minimum needs {MIN_SIZES} at least"
        nothing = np.full((3, len(u)), np.nan)
        return Budget(flops, u, y, log_d, centre, nothing, nothing[:, 0], why)
    solve = np.linalg.pinv(np.vander(u, 3, increasing=True))
    coefficients = solve @ y
    lowest = float(log_n[np.argmin([y[log_n == log_n[k]].mean() for k in range(len(u))])])
    vertex = float(_vertex(coefficients[:, None])[0])
    why = ""
    if coefficients[2] <= 0:
        why = "the parabola has no minimum (it is not convex)"
    elif lowest in (sizes[0], sizes[-1]):
        edge = "smallest" if lowest == sizes[0] else "largest"
        why = f"the lowest run is that of the {edge} size, so the minimum may lie beyond"
    elif not u.min() < vertex < u.max():
        why = "the minimum of the parabola lies outside the sizes"
    return Budget(flops, u, y, log_d, centre, solve, coefficients, why)


def _vertex(coefficients: Float[np.ndarray, "3 draws"]) -> Float[np.ndarray, "draws"]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return -coefficients[1] / (2 * coefficients[2])


def find_optima(item: Budget, coefficients: Float[np.ndarray, "3 draws"]) -> Optima:
    """Return the minima of parabolas of a budget; NaN where they are not inside its sizes."""
    u = _vertex(coefficients)
    inside = (coefficients[2] > 0) & (u > item.u.min()) & (u < item.u.max())
    u = np.where(inside, u, np.nan)
    tokens = np.full_like(u, np.nan)
    if item.log_tokens is not None:
        order = np.argsort(item.u)
        tokens = np.interp(u, item.u[order], item.log_tokens[order])
    return Optima(u + item.centre, tokens, coefficients[0] + coefficients[1] * u / 2)


def draw_optima(used: list[Budget], draws: int, seed: int) -> list[Optima]:
    """Return the minima of each budget for residuals drawn anew from those of all budgets.

    A residual is divided by what the fit leaves of it on average, sqrt(1 - leverage).
    """
    rng = stream(seed, "isoflop")
    pool: list[np.ndarray] = []
    for item in used:
        leverage = np.einsum("ij,ji->i", np.vander(item.u, 3, increasing=True), item.solve)
        left = np.sqrt(np.maximum(1 - leverage, 1e-9))
        kept = left > 1e-3
        pool.append((item.y / item.fitted - 1)[kept] / left[kept])
    residuals = np.concatenate(pool)
    residuals = residuals - residuals.mean()
    made: list[Optima] = []
    for item in used:
        noise = rng.choice(residuals, size=(len(item.u), draws))
        made.append(find_optima(item, item.solve @ (item.fitted[:, None] * (1 + noise))))
    return made


def cubic_minima(used: list[Budget]) -> Float[np.ndarray, "budgets"]:
    """Return log size at the minimum of a cubic in each budget, NaN where there is none."""
    return np.array([_cubic_minimum(item) for item in used])


def _cubic_minimum(item: Budget) -> float:
    if len(np.unique(item.u)) < MIN_SIZES + 1:
        return np.nan
    c = np.polynomial.Polynomial.fit(item.u, item.y, 3).convert().deriv()
    real = [root.real for root in c.roots() if abs(root.imag) < 1e-9]
    lowest = [x for x in real if c.deriv()(x) > 0 and item.u.min() < x < item.u.max()]
    return float(lowest[0]) + item.centre if lowest else np.nan


def cubic_chance(used: list[Budget]) -> float:
    """Return how probable it is that cubics fit so much better than parabolas by chance.

    An F test over all budgets, of relative residuals; 1 where runs are too few.
    """
    gain, left, dof = 0.0, 0.0, 0
    for item in used:
        if len(np.unique(item.u)) < MIN_SIZES + 1:
            return 1.0
        basis = np.vander(item.u, 4, increasing=True)
        residual = item.y - basis @ np.linalg.lstsq(basis, item.y)[0]
        scale = float(item.y.mean()) ** 2
        rest = float(residual @ residual) / scale
        gain += float(((item.y - item.fitted) ** 2).sum()) / scale - rest
        left, dof = left + rest, dof + len(item.u) - 4
    if left <= 0:
        return 1.0
    return float(special.fdtrc(len(used), dof, max(gain, 0.0) / len(used) / (left / dof)))
