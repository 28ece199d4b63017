"""Beta-binomial counts, with or without an atom of problems that are never solved.

symbol    meaning
a, b      shapes: p ~ Beta(a, b), so failure at k is B(a, b + k)/B(a, b) ~ Gamma(a+b)/Gamma(b) k**-a
zero      share of problems with p = 0 exactly
u         (log a, log b/a[, logit zero]): log a and the mean a/(a+b) are nearly independent
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from scipy import special

from kleiber.attempts.batch import Batch
from kleiber.attempts.family import Coordinates, Family, Score, sum_cells
from kleiber.attempts.gamma import digamma_rising, log_rising, trigamma_rising

LOW, HIGH = -16.0, 25.0  # of log a and of log b/a: shapes from 1e-7 to 7e10 and beyond
NO_ATOM = -16.0  # of logit zero, which stands for no atom
LIMITS: Mapping[tuple[int, str], str] = {
    (0, "high"): "All problems are equally hard as far as these counts can tell (binomial limit).",
    (0, "low"): "Every problem is either hopeless or certain as far as these counts can tell.",
    (1, "high"): "Hardly any attempt succeeds; the law is at its limit of a vanishing mean.",
    (1, "low"): "Hardly any attempt fails; the law is at its limit of certain success.",
}


def _shapes(u: Coordinates) -> tuple[Float[np.ndarray, "groups 1"], Float[np.ndarray, "groups 1"]]:
    return np.exp(u[:, :1]), np.exp(u[:, :1] + u[:, 1:2])


def cell_value(u: Coordinates, batch: Batch) -> Float[np.ndarray, "groups cells"]:
    """Return log B(a + c, b + n - c) - log B(a, b) of each cell."""
    a, b = _shapes(u)
    n, c = batch.attempts, batch.successes
    return log_rising(a, c) + log_rising(b, n - c) - log_rising(a + b, n)


def _cell_score(u: Coordinates, batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the value, gradient and Hessian of each cell with respect to (log a, log b/a)."""
    a, b = _shapes(u)
    n, c = batch.attempts, batch.successes
    first, second = digamma_rising(a + b, n), trigamma_rising(a + b, n)
    da, db = digamma_rising(a, c) - first, digamma_rising(b, n - c) - first
    daa, dbb = trigamma_rising(a, c) - second, trigamma_rising(b, n - c) - second
    aa = a * a * daa + a * da  # by log a twice, and so on
    bb, ab = b * b * dbb + b * db, -a * b * second
    value = log_rising(a, c) + log_rising(b, n - c) - log_rising(a + b, n)
    gradient = np.stack([a * da + b * db, b * db], -1)
    hessian = np.stack([aa + 2 * ab + bb, ab + bb, bb], -1)[..., [0, 1, 1, 2]]
    return value, gradient, hessian.reshape(*value.shape, 2, 2)


def score(u: Coordinates, batch: Batch) -> Score:
    """Return the log-likelihood with its derivatives in closed form."""
    cell, gradient, hessian = _cell_score(u, batch)
    w = batch.weights
    return Score(
        (w * cell).sum(1),
        np.einsum("gc,gcp->gp", w, gradient),
        np.einsum("gc,gcpq->gpq", w, hessian),
    )


def start(batch: Batch) -> Coordinates:
    """Return a start from moments: the mean success rate and its variance beyond binomial noise."""
    w, n, p = batch.weights, batch.attempts, batch.successes / batch.attempts
    total = batch.problems[:, None]
    mean = np.clip((w * p).sum(1) / total[:, 0], 1e-9, 1 - 1e-9)[:, None]
    spread = (w * (p - mean) ** 2).sum(1, keepdims=True) / total
    mean_inverse = (w / n).sum(1, keepdims=True) / total  # mean of 1/n
    share = (spread / (mean * (1 - mean)) - mean_inverse) / np.maximum(1 - mean_inverse, 1e-3)
    sum_of_shapes = 1 / np.clip(share, 1e-3, 0.98) - 1
    log_a = np.log(np.clip(mean * sum_of_shapes, 0.02, 1e3))
    return np.concatenate([log_a, np.log1p(-mean) - np.log(mean)], 1)


def log_failure(u: Coordinates, k: Float[np.ndarray, "k"]) -> Float[np.ndarray, "groups k"]:
    """Return log B(a, b + k)/B(a, b), exact for any real k up to 1e15 and beyond."""
    a, b = _shapes(u)
    return log_rising(b, a) - log_rising(b + k, a)


def _outer(u: Coordinates) -> dict[str, Float[np.ndarray, "groups"]]:
    return {"a": np.exp(u[:, 0]), "b": np.exp(u[:, 0] + u[:, 1])}


beta_binomial = Family(
    name="beta_binomial",
    doc="p ~ Beta(a, b); failure falls as k**-a in the end.",
    params=("a", "b"),
    exponent="a",
    start=start,
    to_params=_outer,
    value=sum_cells(cell_value),
    score=score,
    log_failure=log_failure,
    low=(LOW, LOW),
    high=(HIGH, HIGH),
    limits=LIMITS,
    cells=cell_value,
)


def _mixed(
    u: Coordinates, batch: Batch, cell: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the log-likelihood of each cell with the atom, the beta part's share of it, and
    zero."""
    t = u[:, 2:3]
    none = batch.successes == 0
    log_zero, log_rest = -np.logaddexp(0, -t), -np.logaddexp(0, t)
    mixed = np.where(none, np.logaddexp(log_zero, log_rest + cell), log_rest + cell)
    part = np.where(none, special.expit(log_rest + cell - log_zero), 1.0)
    return mixed, part, special.expit(t)


def _zero_cells(u: Coordinates, batch: Batch) -> Float[np.ndarray, "groups cells"]:
    return _mixed(u, batch, cell_value(u[:, :2], batch))[0]


def _zero_score(u: Coordinates, batch: Batch) -> Score:
    cell, gradient, hessian = _cell_score(u[:, :2], batch)
    mixed, part, zero = _mixed(u, batch, cell)
    w, rest = batch.weights, 1 - part
    g = np.empty((*cell.shape, 3))
    g[..., :2] = part[..., None] * gradient
    g[..., 2] = rest - zero  # d/dt of log zero is 1 - zero, of log(1 - zero) is -zero
    h = np.empty((*cell.shape, 3, 3))
    products = gradient[..., :, None] * gradient[..., None, :]
    h[..., :2, :2] = part[..., None, None] * hessian + (part * rest)[..., None, None] * products
    h[..., 2, 2] = -zero * (1 - zero) + part * rest
    h[..., :2, 2] = h[..., 2, :2] = -(part * rest)[..., None] * gradient
    return Score((w * mixed).sum(1), np.einsum("gc,gcp->gp", w, g), np.einsum("gc,gcpq->gpq", w, h))


def _zero_start(batch: Batch) -> Coordinates:
    """Return a start: the plain law, with half of the unsolved problems in the atom."""
    plain = start(batch)
    share = np.clip(0.5 * (1 - batch.solved / batch.problems), 0.02, 0.9)
    return np.concatenate([plain + np.array([0.3, -0.3]), special.logit(share)[:, None]], 1)


def _zero_log_failure(u: Coordinates, k: Float[np.ndarray, "k"]) -> Float[np.ndarray, "groups k"]:
    t = u[:, 2:3]
    return np.logaddexp(-np.logaddexp(0, -t), -np.logaddexp(0, t) + log_failure(u[:, :2], k))


zero_inflated = Family(
    name="zero_inflated",
    doc="a share zero of problems is never solved, the others have p ~ Beta(a, b).",
    params=("a", "b", "zero"),
    exponent="a",
    start=_zero_start,
    to_params=lambda u: {
        **_outer(u),
        "zero": np.where(u[:, 2] <= NO_ATOM, 0.0, special.expit(u[:, 2])),
    },
    value=sum_cells(_zero_cells),
    score=_zero_score,
    log_failure=_zero_log_failure,
    low=(LOW, LOW, NO_ATOM),
    high=(HIGH, HIGH, 16.0),
    limits={
        **LIMITS,
        (2, "low"): "No atom of hopeless problems is needed (zero went to 0).",
        (2, "high"): "All problems are hopeless as far as these counts can tell.",
    },
    cells=_zero_cells,
)
