"""The latent instance difficulty model as a family: success when |B - eta| <= delta with a random
precision.

symbol      meaning (Levi 2026, arXiv 2601.03764)
beta        tail exponent: precision tau ~ Gamma(beta/2, rate 1)
r           tolerance/noise, delta/sigma_eta
rho         bias/noise, sqrt(L_gen)/sigma_eta: all that training changes; B = rho g, g ~ N(0, 1)
q           success of one attempt, Phi((r - B) sqrt tau) - Phi((-r - B) sqrt tau)
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import special

from kleiber.attempts.batch import Batch
from kleiber.attempts.beta import beta_binomial
from kleiber.attempts.family import Coordinates, Family, finite_difference_score, sum_cells
from kleiber.attempts.grid import TINY, best_candidate, build_grid, interpolate_masses, mixture
from kleiber.attempts.newton import maximise

NODES, BIASES = 320, 32  # of the precision, of the bias
SHARPEST = 48.0  # n q (1-q) of the sharpest kernel: 0.14 in logit q, where the law is smooth
DEEPEST = 110.0  # log of the smallest precision, below the typical one
GAUSS = np.polynomial.legendre.leggauss(BIASES)
FARTHEST = 7.5  # of |g|


def nodes(u: Coordinates) -> tuple[np.ndarray, np.ndarray]:
    """Return log q and its mass at the nodes of precision and bias: (groups, nodes).

    Bins of log tau are fine where Gamma(beta/2) is narrow, and hold their exact mass.
    """
    beta, r, rho = (np.exp(u[:, i : i + 1]) for i in range(3))
    shape = beta / 2
    width = 1 / np.sqrt(1 + shape)
    far, near = np.arcsinh(DEEPEST / width), np.arcsinh(7.0)
    y = -far + (far + near) * np.linspace(0, 1, NODES + 1)
    log_tau = np.log(shape + 0.3) + width * np.sinh(y)
    edge = np.exp(log_tau)
    below = np.array(special.gammainc(shape, edge), float)
    above = np.array(special.gammaincc(shape, edge), float)
    below[:, 0], above[:, 0], below[:, -1], above[:, -1] = 0.0, 1.0, 1.0, 0.0
    mass = np.where(below[:, 1:] < 0.5, np.diff(below, axis=1), -np.diff(above, axis=1))
    middle = (log_tau[:, 1:] + log_tau[:, :-1]) / 2
    root = np.exp(middle / 2)[:, :, None]
    bias, probability = _bias_nodes(rho)
    reach, shift = r[:, :, None], rho[:, :, None] * bias[:, None]
    log_q = _log_between(-(reach + shift) * root, (reach - shift) * root)
    weights = np.maximum(mass, 0.0)[:, :, None] * probability[:, None]
    return log_q.reshape(len(u), -1), weights.reshape(len(u), -1)


def _bias_nodes(rho: Float[np.ndarray, "groups 1"]) -> tuple[np.ndarray, np.ndarray]:
    """Return |g| and its probability at Gauss-Legendre nodes that are dense where rho |g| is
    small."""
    scale = 1 / (1 + rho)
    end = np.arcsinh(FARTHEST / scale)
    y = (GAUSS[0] + 1) / 2 * end
    g = scale * np.sinh(y)
    probability = GAUSS[1] * scale * np.cosh(y) * np.exp(-g * g / 2)
    return g, probability / probability.sum(1, keepdims=True)


def _log_between(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return log(Phi(high) - Phi(low)) for low < 0 and |high| <= |low|, at least log 1e-30.

    Both are lower tails, or lie on both sides of zero, so the difference keeps its digits; where
    they are close, it is the density at their middle times the width.
    """
    width, middle = high - low, (high + low) / 2
    with np.errstate(under="ignore"):
        between = np.where(
            width * (1 + np.abs(middle)) < 1e-5,
            width * np.exp(-middle * middle / 2) / np.sqrt(2 * np.pi),
            special.ndtr(high) - special.ndtr(low),
        )
    return np.log(np.maximum(between, 1e-30))


def lid(pairs: Float[np.ndarray, "pairs 2"]) -> Family:
    """Return the hard-tail model as a likelihood with u = (log beta, log r, log rho)."""
    grid = build_grid(pairs, 0.1, SHARPEST)

    def masses(u: Coordinates) -> Float[np.ndarray, "groups bins"]:
        out = np.empty((len(u), len(grid.middle)))
        for g in range(len(u)):  # one at a time stays in the processor's cache
            log_q, mass = nodes(u[g : g + 1])
            logit = log_q - np.log(-np.expm1(np.minimum(log_q, -1e-16)))
            out[g] = interpolate_masses(grid, logit, mass)[0]
        return out

    cells = mixture(grid, masses)
    value = sum_cells(cells)

    def start(batch: Batch) -> Coordinates:
        log_a, log_ratio = maximise(beta_binomial, batch).u.T
        log_a = np.clip(log_a, -4.0, 3.0)
        candidates = [
            np.stack(
                [log_a, r - 0.5 * np.clip(log_ratio - 2, -6, 12) - log_a / 2, 0 * log_a + rho], 1
            )
            for r in (-1.0, 0.5)
            for rho in (-2.0, 0.0, 1.5)
        ]
        return best_candidate(value, np.stack(candidates, 1), batch)

    return Family(
        name="lid",
        doc="tau ~ Gamma(beta/2), success iff |rho g + eta| <= r, eta ~ N(0, 1/tau), g ~ N(0, 1).",
        params=("beta", "r", "rho"),
        exponent="beta",
        start=start,
        to_params=lambda u: {name: np.exp(u[:, i]) for i, name in enumerate(("beta", "r", "rho"))},
        value=value,
        score=finite_difference_score(value, 1e-2),
        log_failure=log_failure,
        low=(-6.0, -30.0, -7.0),
        high=(20.0, 8.0, 7.0),
        limits={
            (0, "high"): "All problems are equally hard as far as these counts can tell.",
            (2, "low"): "No bias is needed (rho went to 0): the tail is intrinsic.",
            (2, "high"): "The bias makes the whole tail (rho without end).",
        },
        tolerance=1e-4,
        rays=60,
        cells=cells,
    )


def log_failure(u: Coordinates, k: Float[np.ndarray, "k"]) -> Float[np.ndarray, "groups k"]:
    """Return log E[(1 - q)**k] by quadrature over precision and bias."""
    log_q, mass = nodes(u)
    with np.errstate(divide="ignore", under="ignore"):
        log_rest = np.log1p(-np.exp(np.minimum(log_q, -1e-300)))
        each = [(mass * np.exp(np.maximum(item * log_rest, -745.0))).sum(1) for item in k]
        return np.log(np.maximum(np.stack(each, 1), TINY))
