"""Ridge regression: the estimator for many data sets at once, and its expected risk.

The risk is the deterministic equivalent for Gaussian features (Dobriban and Wager 2018; Hastie et
al. 2022; Simon et al. 2023), whose only unknown is the effective ridge kappa. It holds as rows and
dims grow together; at finite size its relative error is O(1/rows), largest near the peak.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.linalg import cho_factor, cho_solve

from kleiber.errors import NotConverged

Array = Float[np.ndarray, "..."]
DRIFT = 1e-3  # largest last correction, relative to the weights, that a Cholesky solve may have
ROUNDING = 4 * np.finfo(float).eps
BLOCK = 2**22  # numbers in memory at once: dims times values of n_data


def solve_ridge(
    features: Float[np.ndarray, "*batch rows dims"],
    targets: Float[np.ndarray, "*batch rows outputs"],
    ridge: float | Float[np.ndarray, "*batch"],
) -> Float[np.ndarray, "*batch dims outputs"]:
    """Find the weights w that minimise (1/rows) sum |y - x w|^2 + ridge |w|^2, for each data set.

    Ridge 0 means its limit from above: least squares, and the solution of smallest norm where that
    is not unique. The smaller of the two Gram matrices is factorised (the dual form for rows <
    dims) and the result refined once with the data; a batch that is too ill conditioned for this is
    solved by singular values. Raises ValueError for a negative ridge or numbers that are not
    finite.
    """
    scaled = np.asarray(ridge, float)
    if not (np.isfinite(scaled) & (scaled >= 0)).all():
        raise ValueError(f"The ridge must be finite and not negative, got {ridge!r}.")
    if not (np.isfinite(features).all() and np.isfinite(targets).all()):
        raise ValueError("The features and targets must be finite numbers.")
    rows, dims = features.shape[-2:]
    penalty = rows * scaled[..., None, None]
    if min(rows, dims) == 0:
        return np.zeros((*features.shape[:-2], dims, targets.shape[-1]))
    solve = _dual if rows < dims else _primal
    try:
        weights, correction = solve(features, targets, penalty)
    except np.linalg.LinAlgError:
        return _by_singular_values(features, targets, penalty)
    size = np.abs(weights).max(axis=(-2, -1))
    settled = np.abs(correction).max(axis=(-2, -1)) <= DRIFT * size
    return weights if settled.all() else _by_singular_values(features, targets, penalty)


def _primal(x: Array, y: Array, penalty: Array) -> tuple[Array, Array]:
    """Solve (X'X + penalty) w = X'y with one step of refinement; return w and the correction."""
    transposed = np.swapaxes(x, -1, -2)
    invert = _factorise(transposed @ x, penalty)
    first = invert(transposed @ y)
    correction = invert(transposed @ (y - x @ first) - penalty * first)
    return first + correction, correction


def _dual(x: Array, y: Array, penalty: Array) -> tuple[Array, Array]:
    """Compute w = X'(XX' + penalty)^-1 y with one step of refinement, and the correction."""
    transposed = np.swapaxes(x, -1, -2)
    invert = _factorise(x @ transposed, penalty)
    inner = invert(y)
    dual_correction = invert(y - x @ (transposed @ inner) - penalty * inner)
    return transposed @ (inner + dual_correction), transposed @ dual_correction


def _factorise(gram: Array, penalty: Array) -> Callable[[Array], Array]:
    """Return a solver for gram + penalty by Cholesky. Raises LinAlgError for a singular matrix."""
    size = gram.shape[-1]
    each = (gram + penalty * np.eye(size)).reshape(-1, size, size)
    factors = [cho_factor(one, lower=True, check_finite=False) for one in each]
    for factor, _ in factors:
        pivots = np.diagonal(factor) ** 2
        if pivots.min() <= 10 * size * np.finfo(float).eps * pivots.max():
            raise np.linalg.LinAlgError("The Gram matrix is singular to rounding.")

    def solve(right: Array) -> Array:
        flat = right.reshape(-1, *right.shape[-2:])
        solved: list[Array] = [
            cho_solve(factor, one, check_finite=False)
            for factor, one in zip(factors, flat, strict=True)
        ]
        return np.stack(solved).reshape(right.shape)

    return solve


def _by_singular_values(x: Array, y: Array, penalty: Array) -> Array:
    """Compute w = V s/(s^2 + penalty) U'y, where singular values of rounding size count as zero."""
    left, size, right = np.linalg.svd(x, full_matrices=False)
    floor = size[..., :1] * max(x.shape[-2:]) * np.finfo(float).eps
    kept = size > floor
    below = np.where(kept, size**2 + penalty[..., 0], 1.0)
    shrunk = np.where(kept, size / below, 0.0)
    inner = shrunk[..., None] * (np.swapaxes(left, -1, -2) @ y)
    return np.swapaxes(right, -1, -2) @ inner


@dataclass(frozen=True)
class Risk:
    """The expected excess risk of ridge regression, and its parts, for each number of data.

    `kappa` is the effective ridge, `bias` the part from the target and `variance` the part from
    label noise; `loss` is their sum, infinite at the interpolation peak of ridge 0.
    """

    loss: Float[np.ndarray, "points"]
    bias: Float[np.ndarray, "points"]
    variance: Float[np.ndarray, "points"]
    kappa: Float[np.ndarray, "points"]


def deterministic_risk(
    eigenvalues: Float[np.ndarray, "dims"],
    source: Float[np.ndarray, "dims"],
    n_data: ArrayLike,
    ridge: float,
    noise: float,
) -> Risk:
    """Compute the excess risk of ridge regression on Gaussian features (deterministic equivalent).

    With l_j the eigenvalues of the features' covariance, t_j the squared coefficients of the
    target along them (`source`) and `noise` the variance of the label noise,

        kappa = ridge + (kappa/N) sum_j l_j/(l_j + kappa),  g = (1/N) sum_j l_j^2/(l_j + kappa)^2,
        loss = [kappa^2 sum_j l_j t_j/(l_j + kappa)^2 + noise g] / (1 - g).

    Ridge 0 is its limit from above. Raises ValueError for input out of range and NotConverged.
    """
    points = np.atleast_1d(np.asarray(n_data, float)).ravel()
    _check(eigenvalues, source, points, ridge, noise)
    kept = eigenvalues > 0
    spectrum, power = eigenvalues[kept], eigenvalues[kept] * source[kept]
    kappa = effective_ridge(spectrum, points, ridge)
    g, remaining = np.empty(points.size), np.empty(points.size)
    for part in _blocks(points.size, spectrum.size):
        share = 1 / (spectrum + kappa[part, None])
        g[part] = ((spectrum * share) ** 2).sum(axis=1) / points[part]
        remaining[part] = ((kappa[part, None] * share) ** 2 * power).sum(axis=1)
    denominator = 1 - g
    peak = denominator <= 8 * np.finfo(float).eps  # at ridge 0, as many data as dimensions
    safe = np.where(peak, 1.0, denominator)
    bias = np.where(peak & (remaining > 0), np.inf, remaining / safe)
    variance = np.where(peak, np.inf if noise > 0 else 0.0, noise * g / safe)
    return Risk(bias + variance, bias, variance, kappa)


def mean_losses(
    eigenvalues: Float[np.ndarray, "dims"],
    source: Float[np.ndarray, "dims"],
    n_data: Float[np.ndarray, "points"],
    ridge: float,
    noise: float,
) -> Float[np.ndarray, "points"]:
    """Compute the mean excess risk at each number of data N.

    For N > dims + 1 it is the risk at N - 1 data and ridge N/(N - 1), which is exact for ridge 0
    (inverse Wishart).
    """
    at = np.where(n_data > len(eigenvalues) + 1, n_data - 1, n_data)
    return np.array(
        [
            deterministic_risk(eigenvalues, source, there, ridge * float(n / there), noise).loss[0]
            for n, there in zip(n_data, at, strict=True)
        ]
    )


def effective_ridge(
    eigenvalues: Float[np.ndarray, "dims"], n_data: Float[np.ndarray, "points"], ridge: float
) -> Float[np.ndarray, "points"]:
    """Solve kappa = ridge + (kappa/N) sum_j l_j/(l_j + kappa) for kappa >= 0, for each N.

    f(kappa) = 1 - ridge/kappa - (1/N) sum_j l_j/(l_j + kappa) rises with kappa, so that Newton's
    method in log kappa within a shrinking bracket always converges. Zero where ridge is 0 and N is
    at least the number of dimensions. Raises NotConverged.
    """
    kappa = np.zeros(n_data.size)
    open_ = np.flatnonzero((n_data < eigenvalues.size) | (ridge > 0))
    for part in _blocks(open_.size, eigenvalues.size):
        kappa[open_[part]] = _newton(eigenvalues, n_data[open_[part]], ridge)
    return kappa


def _newton(spectrum: Array, n: Array, ridge: float, steps: int = 200) -> Array:
    """Find kappa by Newton's method in log kappa, bisecting if a step would leave the bracket."""
    high: Array = np.log(ridge + spectrum.sum() / n)  # f >= 0 there
    smallest = (
        np.maximum(spectrum.size / n - 1, 0) * spectrum.min()
    )  # from l/(l + kappa) >= l_min/(...)
    low: Array = np.log(np.maximum(np.maximum(smallest, ridge), np.finfo(float).tiny))
    low = np.minimum(low, high) - 1e-9
    x: Array = high.copy()
    change: Array = np.full(n.size, np.inf)
    for _ in range(steps):
        kappa = np.exp(x)
        share = spectrum / (spectrum + kappa[:, None])
        value = 1 - ridge / kappa - share.sum(axis=1) / n
        derivative = ridge / kappa + (share * (1 - share)).sum(axis=1) / n
        low, high = np.where(value < 0, x, low), np.where(value > 0, x, high)
        step = x - value / derivative
        new = np.where((step > low) & (step < high), step, (low + high) / 2)
        new = np.where(value == 0, x, new)
        change, x = np.abs(new - x), new
        if (change <= ROUNDING * np.maximum(1, np.abs(x))).all():
            return np.exp(x)
    raise NotConverged("The effective ridge was not found.", float(change.max()), steps)


def _blocks(points: int, dims: int) -> list[slice]:
    """Return slices of the points such that a block times `dims` fits in BLOCK numbers."""
    size = max(1, BLOCK // max(dims, 1))
    return [slice(start, start + size) for start in range(0, points, size)]


def _check(spectrum: Array, source: Array, points: Array, ridge: float, noise: float) -> None:
    """Raise ValueError for input for which the risk is not defined."""
    if not ((np.isfinite(spectrum) & (spectrum >= 0)).all() and (spectrum > 0).any()):
        raise ValueError(
            "The eigenvalues must be finite and not negative, and at least one positive."
        )
    if source.shape != spectrum.shape or not (np.isfinite(source) & (source >= 0)).all():
        raise ValueError("The source must be one finite number from 0 for each eigenvalue.")
    if not (np.isfinite(points) & (points > 0)).all():
        raise ValueError(f"The n_data must be positive and finite, got {float(points.min()):g}.")
    for name, value in (("ridge", ridge), ("noise", noise)):
        if not (np.isfinite(value) and value >= 0):
            raise ValueError(f"The {name} must be finite and not negative, got {value!r}.")
