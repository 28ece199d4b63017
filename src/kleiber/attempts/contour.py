"""Likelihood contours: the parameters that the counts do not rule out, for many groups at once.

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
FARTHEST = 60.0  # standard errors; a region that reaches beyond has no edge there


def drop_of(
    level: float, problems: Float[np.ndarray, "groups"], params: int
) -> Float[np.ndarray, "groups"]:
    """q, the fall of twice the log-likelihood: the square of Student's t quantile.

    With (problems - params) degrees of freedom; the usual chi-squared quantile for many problems.
    """
    return special.stdtrit(np.maximum(problems - params, 1.0), 0.5 + level / 2) ** 2


def directions(p: int, rays: int) -> Float[np.ndarray, "rays coordinates"]:
    """Unit vectors that cover the circle (p = 2) or the sphere (p = 3) evenly."""
    if p == 2:
        angle = 2 * np.pi * np.arange(rays) / rays
        return np.stack([np.cos(angle), np.sin(angle)], 1)
    i = np.arange(rays) + 0.5  # Fibonacci's spiral
    height, turn = 1 - 2 * i / rays, np.pi * (1 + 5**0.5) * i
    ring = np.sqrt(1 - height**2)
    return np.stack([ring * np.cos(turn), ring * np.sin(turn), height], 1)


def trace_contour(
    family: Family, batch: Batch, peak: Peak, drop: Float[np.ndarray, "groups"]
) -> Float[np.ndarray, "groups rays coordinates"]:
    """The maximum of each group and points of its contour; at the end of a coordinate's range
    along rays that meet no edge. Illinois' rule (regula falsi) along all rays at once.
    """
    p = peak.u.shape[1]
    rays = directions(p, family.rays or RAYS[p])
    outward = _scaled(peak, rays)
    shape = outward.shape[:2]
    owner = np.repeat(np.arange(len(peak.u)), len(rays))
    base, way = peak.u[owner], outward.reshape(len(owner), -1)
    again = batch.take(owner)
    target = peak.value[owner] - drop[owner] / 2

    def excess(r: np.ndarray, which: np.ndarray) -> np.ndarray:
        u = np.clip(base[which] + r[:, None] * way[which], family.low, family.high)
        return family.value(u, again.take(which)) - target[which]

    radius = _edges(excess, np.sqrt(drop)[owner], (drop / 2)[owner])
    edge = np.clip(base + radius[:, None] * way, family.low, family.high)
    return np.concatenate([peak.u[:, None], edge.reshape(*shape, -1)], 1)


def _scaled(peak: Peak, rays: np.ndarray) -> Float[np.ndarray, "groups rays coordinates"]:
    """Rays whose unit length is one standard error; at most 10 in a flat direction."""
    values, vectors = np.linalg.eigh(-peak.hessian)
    size = 1 / np.sqrt(np.maximum(values, 1e-2))
    return np.einsum("rq,gq,gpq->grp", rays, size, vectors)


def _edges(
    excess: Callable[[np.ndarray, np.ndarray], np.ndarray], guess: np.ndarray, top: np.ndarray
) -> np.ndarray:
    """The radius along each ray at which the excess over the target is zero; inf if nowhere."""
    rows = np.arange(len(guess))
    low, f_low = np.zeros(len(rows)), top.copy()
    high = guess.copy()
    f_high = excess(high, rows)
    while (short := rows[(f_high > 0) & (high < FARTHEST)]).size:
        low[short], f_low[short] = high[short], f_high[short]
        high[short] *= 1.7
        f_high[short] = excess(high[short], short)
    radius = np.where(f_high > 0, FARTHEST, high)
    seek = rows[f_high <= 0]
    for _ in range(40):
        if not seek.size:
            break
        span = f_low[seek] - f_high[seek]
        middle = high[seek] + f_high[seek] * (high[seek] - low[seek]) / np.where(span > 0, span, 1)
        middle = np.clip(middle, low[seek], high[seek])
        got = excess(middle, seek)
        radius[seek] = middle
        above = got > 0
        up, down = seek[above], seek[~above]
        low[up], f_low[up] = middle[above], got[above]
        f_high[up] *= 0.5
        high[down], f_high[down] = middle[~above], got[~above]
        f_low[down] *= 0.5
        seek = seek[np.abs(got) > 1e-4]
    return radius
