"""The width and time that make the loss smallest at a given compute."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from kleiber.errors import NotConverged
from kleiber.systems.feature_learning.curves import infinite_loss, loss_of
from kleiber.systems.feature_learning.limits import exponents

Values = Float[np.ndarray, "values"]
COARSE, FINE = 2.0, 5.0  # widths a decade
FINE_OF_FEW = 20.0  # where modes are finite and the loss falls exponentially beyond their number
MARGIN = 0.5  # decades about the best widths of the coarse search
RESOLVED = 1e-7  # of the loss at the start; widths beyond the modes are solved to 1e-10 of it


def frontier(model: Any, compute: Values) -> dict[str, Values]:
    """Return the compute values with the best width, time and loss at each."""
    low, high = _span(model, compute)
    fine = FINE if np.isinf(model.modes) else FINE_OF_FEW
    widths = np.unique(np.round(10 ** np.arange(low, high + 1 / fine, 1 / fine)))
    log, loss = np.log(widths), _table(model, widths, compute)
    best = np.clip(loss.argmin(axis=0), 1, len(widths) - 2)
    at, column = best[:, None] + (-1, 0, 1), np.arange(compute.size)[:, None]
    x, y = _lowest(log[at] - log[best][:, None], loss[at, column])
    width = widths[best] * np.exp(x)
    return {"compute": compute, "width": width, "time": compute / width, "loss": np.exp(y)}


def _lowest(
    x: Float[np.ndarray, "values 3"], y: Float[np.ndarray, "values 3"]
) -> tuple[Values, Values]:
    """Find the minimum of a parabola through three points, between the outer two (middle at 0)."""
    left, right = ((y[:, i] - y[:, 1]) / x[:, i] for i in (0, 2))
    curvature = (right - left) / (x[:, 2] - x[:, 0])
    slope = left - curvature * x[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        at = np.where(
            curvature > 0, -slope / (2 * curvature), np.where(slope > 0, x[:, 0], x[:, 2])
        )
    at = np.clip(at, x[:, 0], x[:, 2])
    return at, y[:, 1] + slope * at + curvature * at**2


def _span(model: Any, compute: Values) -> tuple[float, float]:
    """Find the range of the best widths in decades, by a coarse search at both ends of compute."""
    ends = np.array([compute.min(), compute.max()])
    share = exponents(model)["compute_width"]
    guess = np.log10(ends) * share
    widths = np.unique(np.round(10 ** np.arange(0, max(guess.max(), 0) + 2, 1 / COARSE)))
    table = _table(model, widths, ends)
    found = np.log10(widths[table.argmin(axis=0)])
    return max(float(found.min()) - MARGIN, 0.0), float(found.max()) + MARGIN


def _table(
    model: Any, widths: Float[np.ndarray, "widths"], compute: Values
) -> Float[np.ndarray, "widths values"]:
    """Return the log loss of each width at each compute.

    Raises ValueError where the smallest is below what the contours resolve of finitely many modes.
    """
    if np.isinf(model.modes):
        return np.log(np.stack([loss_of(replace(model, width=n), compute / n) for n in widths]))
    loss = np.stack([_loss_of_few(model, n, compute) for n in widths])
    start = float(infinite_loss(model, np.zeros(1))[0])
    if (lost := loss.min(axis=0) < RESOLVED * start).any():
        raise ValueError(
            f"At a compute of {compute[lost].min():g} the smallest loss of a model with "
            f"modes={model.modes:g} is below {RESOLVED:g} of the loss at the start, which the "
            "solver does not resolve; give a smaller compute or more modes."
        )
    return np.log(np.maximum(loss, RESOLVED**2 * start))


def _loss_of_few(model: Any, width: float, compute: Values) -> Values:
    """Return the loss of a width where modes are finite, 0 where their flow has died away."""
    try:
        return loss_of(replace(model, width=width), compute / width)
    except NotConverged:
        if width < model.modes:
            raise
        return np.where(compute < compute.max(), np.inf, 0.0)
