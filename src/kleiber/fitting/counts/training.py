"""Failure against training and attempts together, from a joint law of counts: what a plan needs."""

from __future__ import annotations

from typing import cast

import numpy as np
from jaxtyping import Float

from kleiber.errors import BadTable
from kleiber.fitting.counts.record import CountFit
from kleiber.fitting.counts.trend import Trend


def failure_along(
    made: CountFit,
    x: Float[np.ndarray, "points"],
    k: Float[np.ndarray, "points"],
    *,
    draws: int = 0,
) -> Float[np.ndarray, "draws points"]:
    """Failure of k attempts at values x of the column that the joint law runs along.

    The exponent is that of the trend's best curve; the family's other coordinates are straight
    lines in log x through those of the groups. The first row is the best estimate; then come so
    many ``draws``, in which the curve's level and slope and the lines move as they do in the refits
    to resampled problems. Raises BadTable without a joint law of one series, or enough draws.
    """
    trend = made.trend
    if not isinstance(trend, Trend) or made.family.name == "lid":
        raise BadTable(
            "failure along training needs a law fitted along one column, for one series: "
            "fit_counts(table, along=...) with a family other than lid"
        )
    if draws > len(made.drawn):
        raise BadTable(
            f"the fit has {len(made.drawn)} draws, not {draws}: fit_counts(draws={draws})"
        )
    rows = np.array([made.groups.index(name) for name in trend.groups])
    z0 = np.log(np.array(trend.x))
    centre = z0.mean()
    design = np.stack([np.ones_like(z0), z0 - centre], 1)
    at = np.stack([np.ones(np.shape(x)), np.log(x) - centre], 1)
    u = np.concatenate([made.peak.u[None, rows], made.drawn[:draws][:, rows]])
    lines = np.einsum("xg,dgp->dxp", at @ _projection(made, rows, design), u)
    shift = lines[:, :, 0] - lines[:1, :, 0]
    lines[:, :, 0] = np.log(trend.predict(x)) + shift
    lines = np.clip(lines, made.family.low, made.family.high)
    points = np.asarray(k, float)
    out = np.empty(lines.shape[:2])
    for j, item in enumerate(points):  # one k for each point
        out[:, j] = np.exp(made.family.log_failure(lines[:, j], np.array([item]))[:, 0])
    return out


def _projection(made: CountFit, rows: np.ndarray, design: np.ndarray) -> np.ndarray:
    """Weighted least squares on a line: groups count by how well their counts tell the exponent."""
    weight = np.clip(-made.peak.hessian[rows, 0, 0], 1e-3, 1e4)
    weight = 1 / (1 / weight + 0.01)  # a tenth of scatter, so that no group rules alone
    scaled = design * weight[:, None]
    return cast("np.ndarray", np.linalg.solve(design.T @ scaled, scaled.T))
