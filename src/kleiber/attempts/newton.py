"""Newton's method for the log-likelihoods of many groups at once, each with its own step length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from kleiber.attempts.batch import Batch
from kleiber.attempts.family import Coordinates, Family, Score

MAX_STEP = 2.0  # of a coordinate in one step
SMALL_GAIN, PATIENCE = 1e-4, 10  # of a step; so many of these in a row end the search
SMALL_PREDICTED_GAIN = 1e-2  # of such a step, in log-likelihood


@dataclass(frozen=True)
class Peak:
    """The maxima of the log-likelihoods, and their Hessians there."""

    u: Coordinates
    value: Float[np.ndarray, "groups"]
    hessian: Float[np.ndarray, "groups coordinates coordinates"]
    converged: Bool[np.ndarray, "groups"]
    iterations: int


def take_peak(peak: Peak, which: Int[np.ndarray, "some"]) -> Peak:
    """Return the maxima of some of the groups."""
    return Peak(
        peak.u[which], peak.value[which], peak.hessian[which], peak.converged[which],
        peak.iterations,
    )  # fmt: skip


def maximise(
    family: Family,
    batch: Batch,
    *,
    start: Coordinates | None = None,
    max_iterations: int = 100,
    fixed: tuple[int, ...] = (),
) -> Peak:
    """Maximise the likelihood of every group; groups that have converged are not evaluated again.

    A group has converged when the predicted gain of its step is less than ``family.tolerance``, or
    when the predicted gain is at most 100 times that (or 1e-5) and the actual gain is next to
    nothing: differences over a grid's bins leave the gradient at a maximum slightly off zero. A
    group that creeps towards a limit at infinity has converged too. ``fixed`` coordinates stay at
    their start.
    """
    u = np.array(family.start(batch) if start is None else start, float)
    u = np.clip(u, family.low, family.high)
    at = family.score(u, batch)
    value, gradient, hessian = (np.array(part) for part in at)
    converged = np.zeros(len(u), bool)
    active, iterations, slow_steps = np.arange(len(u)), 0, np.zeros(len(u), int)
    while len(active) and iterations < max_iterations:
        iterations += 1
        part = batch.take(active)
        step, gain = _steps(
            u[active], Score(value[active], gradient[active], hessian[active]), family, fixed
        )
        before = value[active]
        moved, better = _line_search(family, part, u[active], step, before)
        u[active] = moved
        at = family.score(moved, part)
        value[active], gradient[active], hessian[active] = at
        near = gain < max(1e-5, 100 * family.tolerance)
        stalled = near & (value[active] - before < 0.1 * family.tolerance)
        slow = (value[active] - before < SMALL_GAIN) & (gain < SMALL_PREDICTED_GAIN)
        slow_steps[active] = np.where(slow, slow_steps[active] + 1, 0)
        crawled = slow_steps[active] >= PATIENCE
        done = (gain < family.tolerance) | ~better | stalled | crawled
        converged[active[done]] = (near | crawled)[done]
        active = active[~done]
    return Peak(u, value, hessian, converged, iterations)


def _steps(
    u: Coordinates, at: Score, family: Family, always_fixed: tuple[int, ...]
) -> tuple[Coordinates, Float[np.ndarray, "groups"]]:
    """Return Newton steps uphill, of limited length, and the predicted gain of each.

    Negative curvature changes sign; coordinates at a bound that a step would leave stay there.
    """
    low, high = np.asarray(family.low), np.asarray(family.high)
    fixed = ((u <= low) & (at.gradient < 0)) | ((u >= high) & (at.gradient > 0))
    fixed[:, list(always_fixed)] = True
    gradient = np.where(fixed, 0.0, at.gradient)
    curvature = -np.where(fixed[:, :, None] | fixed[:, None, :], 0.0, at.hessian)
    curvature[:, np.arange(u.shape[1]), np.arange(u.shape[1])] += fixed
    values, vectors = np.linalg.eigh(curvature)
    floor = 1e-9 * np.maximum(np.abs(values).max(1, keepdims=True), 1e-6)
    projected = np.einsum("gpq,gp->gq", vectors, gradient)
    step = np.einsum("gpq,gq->gp", vectors, projected / np.maximum(np.abs(values), floor))
    longest = np.abs(step).max(1)
    step *= np.minimum(1.0, MAX_STEP / np.maximum(longest, 1e-300))[:, None]
    return step, 0.5 * np.abs((gradient * step).sum(1))


def _line_search(
    family: Family,
    batch: Batch,
    u: Coordinates,
    step: Coordinates,
    value: Float[np.ndarray, "groups"],
) -> tuple[Coordinates, Bool[np.ndarray, "groups"]]:
    """Return the points of the first shortened step that does not lower the value."""
    moved, better = u.copy(), np.zeros(len(u), bool)
    remaining, size = np.arange(len(u)), 1.0
    for _ in range(30):
        trial = np.clip(u[remaining] + size * step[remaining], family.low, family.high)
        trial_value = family.value(trial, batch.take(remaining))
        good = trial_value >= value[remaining] - 1e-12 * np.abs(value[remaining])
        moved[remaining[good]], better[remaining[good]] = trial[good], True
        remaining = remaining[~good]
        if not len(remaining):
            break
        size *= 0.4
    return moved, better
