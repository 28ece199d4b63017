"""Likelihood contours: the parameter values that the counts do not exclude, for many groups at
once.

The profile-likelihood interval of any quantity g is the range of g over the region where the
log-likelihood lies less than q/2 below its maximum. The region's edge is found along rays that
leave the maximum in all directions (in units of the curvature), once for all quantities.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy import special

from kleiber.attempts.batch import Batch
from kleiber.attempts.family import Family
from kleiber.attempts.newton import Peak

RAYS = {2: 64, 3: 200}
MAX_RADIUS = 60.0  # standard errors; a region that goes further is open there


def likelihood_drop(
    level: float, problems: Float[np.ndarray, "groups"], params: int
) -> Float[np.ndarray, "groups"]:
    """Return q, the drop of twice the log-likelihood at an interval's end: the square of Student's
    t quantile.

    With (problems - params) degrees of freedom; the usual chi-squared quantile for many problems.
    """
    return special.stdtrit(np.maximum(problems - params, 1.0), 0.5 + level / 2) ** 2


def unit_vectors(p: int, rays: int) -> Float[np.ndarray, "rays coordinates"]:
    """Return unit vectors that cover the circle (p = 2) or the sphere (p = 3) evenly."""
    if p == 2:
        angle = 2 * np.pi * np.arange(rays) / rays
        return np.stack([np.cos(angle), np.sin(angle)], 1)
    i = np.arange(rays) + 0.5  # Fibonacci's spiral
    height, angle = 1 - 2 * i / rays, np.pi * (1 + 5**0.5) * i
    ring = np.sqrt(1 - height**2)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), height], 1)


def trace_contour(
    family: Family, batch: Batch, peak: Peak, drop: Float[np.ndarray, "groups"]
) -> Float[np.ndarray, "groups rays coordinates"]:
    """Return the maximum of each group and points of its contour, found by the Illinois rule
    (regula falsi) along all rays at once. Rays that do not meet the contour end at the bounds."""
    p = peak.u.shape[1]
    rays = unit_vectors(p, family.rays or RAYS[p])
    outward = _scale_rays(peak, rays)
    shape = outward.shape[:2]
    owner = np.repeat(np.arange(len(peak.u)), len(rays))
    base, direction = peak.u[owner], outward.reshape(len(owner), -1)
    again = batch.take(owner)
    target = peak.value[owner] - drop[owner] / 2

    def excess(r: np.ndarray, which: np.ndarray) -> np.ndarray:
        u = np.clip(base[which] + r[:, None] * direction[which], family.low, family.high)
        return family.value(u, again.take(which)) - target[which]

    radius = _find_radii(excess, np.sqrt(drop)[owner], (drop / 2)[owner])
    edge = np.clip(base + radius[:, None] * direction, family.low, family.high)
    return np.concatenate([peak.u[:, None], edge.reshape(*shape, -1)], 1)


def _scale_rays(peak: Peak, rays: np.ndarray) -> Float[np.ndarray, "groups rays coordinates"]:
    """Scale rays so that their unit length is one standard error, at most 10 in a flat
    direction."""
    values, vectors = np.linalg.eigh(-peak.hessian)
    size = 1 / np.sqrt(np.maximum(values, 1e-2))
    return np.einsum("rq,gq,gpq->grp", rays, size, vectors)


def _find_radii(
    excess: Callable[[np.ndarray, np.ndarray], np.ndarray], guess: np.ndarray, top: np.ndarray
) -> np.ndarray:
    """Return the radius along each ray at which the log-likelihood crosses the target."""
    rows = np.arange(len(guess))
    low, f_low = np.zeros(len(rows)), top.copy()
    high = guess.copy()
    f_high = excess(high, rows)
    while (inside := rows[(f_high > 0) & (high < MAX_RADIUS)]).size:
        low[inside], f_low[inside] = high[inside], f_high[inside]
        high[inside] *= 1.7
        f_high[inside] = excess(high[inside], inside)
    radius = np.where(f_high > 0, MAX_RADIUS, high)
    active = rows[f_high <= 0]
    for _ in range(40):
        if not active.size:
            break
        span = f_low[active] - f_high[active]
        middle = high[active] + f_high[active] * (high[active] - low[active]) / np.where(
            span > 0, span, 1
        )
        middle = np.clip(middle, low[active], high[active])
        found = excess(middle, active)
        radius[active] = middle
        above = found > 0
        up, down = active[above], active[~above]
        low[up], f_low[up] = middle[above], found[above]
        f_high[up] *= 0.5
        high[down], f_high[down] = middle[~above], found[~above]
        f_low[down] *= 0.5
        active = active[np.abs(found) > 1e-4]
    return radius
