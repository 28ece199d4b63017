"""Newton's method for the log-likelihoods of many groups at once, each with its own step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from kleiber.attempts.batch import Batch
from kleiber.attempts.family import Coordinates, Family, Score

LONGEST = 2.0  # the most that a coordinate moves in one step
CREEP, PATIENCE = 1e-4, 10  # gain of a step that is next to none, and how many of these end it
PROMISE = 1e-2  # of such a step: as much log-likelihood as nobody can tell


@dataclass(frozen=True)
class Peak:
    """Where the log-likelihoods are largest, and their shape there."""

    u: Coordinates
    value: Float[np.ndarray, "groups"]
    hessian: Float[np.ndarray, "groups coordinates coordinates"]
    converged: Bool[np.ndarray, "groups"]
    iterations: int


def maximise(
    family: Family,
    batch: Batch,
    *,
    start: Coordinates | None = None,
    most: int = 100,
    held: tuple[int, ...] = (),
) -> Peak:
    """The maximum likelihood of every group; groups that have settled drop out of the work.

    A group has settled when its step promises less than ``family.settled``, or at most 100 times
    that (or 1e-5) and brings next to nothing: differences over a grid's bins leave the gradient of
    a maximum slightly off zero. So has one that creeps towards a limit at infinity. Coordinates
    that are ``held`` stay where they start.
    """
    u = np.array(family.start(batch) if start is None else start, float)
    u = np.clip(u, family.low, family.high)
    at = family.score(u, batch)
    value, gradient, hessian = (np.array(part) for part in at)
    converged = np.zeros(len(u), bool)
    open_, iterations, creeping = np.arange(len(u)), 0, np.zeros(len(u), int)
    while len(open_) and iterations < most:
        iterations += 1
        part = batch.take(open_)
        step, gain = _steps(
            u[open_], Score(value[open_], gradient[open_], hessian[open_]), family, held
        )
        before = value[open_]
        moved, better = _searched(family, part, u[open_], step, before)
        u[open_] = moved
        at = family.score(moved, part)
        value[open_], gradient[open_], hessian[open_] = at
        near = gain < max(1e-5, 100 * family.settled)
        stalled = near & (value[open_] - before < 0.1 * family.settled)
        slow = (value[open_] - before < CREEP) & (gain < PROMISE)
        creeping[open_] = np.where(slow, creeping[open_] + 1, 0)
        crept = creeping[open_] >= PATIENCE
        done = (gain < family.settled) | ~better | stalled | crept
        converged[open_[done]] = (near | crept)[done]
        open_ = open_[~done]
    return Peak(u, value, hessian, converged, iterations)


def _steps(
    u: Coordinates, at: Score, family: Family, still: tuple[int, ...]
) -> tuple[Coordinates, Float[np.ndarray, "groups"]]:
    """Newton steps uphill, of limited length, and the gain that each promises.

    Negative curvature is turned round; coordinates at an end of their range that would leave it
    are held.
    """
    low, high = np.asarray(family.low), np.asarray(family.high)
    held = ((u <= low) & (at.gradient < 0)) | ((u >= high) & (at.gradient > 0))
    held[:, list(still)] = True
    gradient = np.where(held, 0.0, at.gradient)
    curvature = -np.where(held[:, :, None] | held[:, None, :], 0.0, at.hessian)
    curvature[:, np.arange(u.shape[1]), np.arange(u.shape[1])] += held
    values, vectors = np.linalg.eigh(curvature)
    floor = 1e-9 * np.maximum(np.abs(values).max(1, keepdims=True), 1e-6)
    along = np.einsum("gpq,gp->gq", vectors, gradient)
    step = np.einsum("gpq,gq->gp", vectors, along / np.maximum(np.abs(values), floor))
    longest = np.abs(step).max(1)
    step *= np.minimum(1.0, LONGEST / np.maximum(longest, 1e-300))[:, None]
    return step, 0.5 * np.abs((gradient * step).sum(1))


def _searched(
    family: Family,
    batch: Batch,
    u: Coordinates,
    step: Coordinates,
    value: Float[np.ndarray, "groups"],
) -> tuple[Coordinates, Bool[np.ndarray, "groups"]]:
    """The points after the first of the halved steps that does not go down."""
    moved, better = u.copy(), np.zeros(len(u), bool)
    trying, size = np.arange(len(u)), 1.0
    for _ in range(30):
        there = np.clip(u[trying] + size * step[trying], family.low, family.high)
        got = family.value(there, batch.take(trying))
        good = got >= value[trying] - 1e-12 * np.abs(value[trying])
        moved[trying[good]], better[trying[good]] = there[good], True
        trying = trying[~good]
        if not len(trying):
            break
        size *= 0.4
    return moved, better
