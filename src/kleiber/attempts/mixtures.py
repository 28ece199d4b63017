"""Families without a closed-form likelihood: Kumaraswamy's distribution and a scaled beta.

The density of a distribution that is wide in logit p is summed over the grid's bins. One that is
narrower than ``NARROW`` could fall between them: it has nodes of its own, uniform in a coordinate
in which it has a standard shape, whose masses are interpolated to the bins. Both sums converge
faster than any power of their spacing, so the likelihood is smooth; masses are normalised to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float
from scipy import special

from kleiber.attempts.batch import Batch
from kleiber.attempts.beta import HIGH, LIMITS, LOW, beta_binomial
from kleiber.attempts.family import Coordinates, Family, finite_difference_score, sum_cells
from kleiber.attempts.grid import (
    MAX_LOGIT,
    MIN_LOGIT,
    best_candidate,
    build_grid,
    interpolate_masses,
    mixture,
    mixture_failure,
)
from kleiber.attempts.newton import maximise

MAX_SCALE = 9.0  # the coordinate of scale at which the scale is 1
NARROW = 0.5  # standard deviation of logit p below which a distribution is narrow
NODES, COARSE = 1201, 101  # of a narrow distribution; to estimate its width
SHARPEST = 2500.0  # n p (1-p) of the sharpest kernel, 0.02 in logit p: reached at 10,000 attempts
MIN_LOG_T, MAX_LOG_T = -30.0, 4.0  # of the logarithm of an exponential variate: all of it but 1e-13

Logs = Float[np.ndarray, "_ _"]  # of each group (or of all alike), at each node


def log_rest(log: Logs) -> Logs:
    """Return log(1 - x) from log x, exact at both ends, -inf for x = 1."""
    with np.errstate(divide="ignore", under="ignore"):
        return np.where(log > -0.7, np.log(-np.expm1(log)), np.log1p(-np.exp(log)))


def _normalise(log_mass: Logs) -> Logs:
    """Return masses that sum to 1 from their logarithms."""
    with np.errstate(under="ignore"):
        mass = np.exp(log_mass - log_mass.max(1, keepdims=True))
        return mass / mass.sum(1, keepdims=True)


def _masses_by_width(
    u: Coordinates, width: np.ndarray, wide: Callable[..., Logs], narrow: Callable[..., Logs]
) -> Logs:
    """Return each group's bin masses, by the sum that suits the width of its distribution."""
    is_narrow = width < NARROW
    if is_narrow.all():
        return narrow(u)
    if not is_narrow.any():
        return wide(u)
    first = wide(u[~is_narrow])
    out = np.empty((len(u), first.shape[1]))
    out[~is_narrow], out[is_narrow] = first, narrow(u[is_narrow])
    return out


def kumaraswamy(pairs: Float[np.ndarray, "pairs 2"]) -> Family:
    """Return Kumaraswamy's distribution, Pr(p <= x) = 1 - (1 - x**a)**b, with u = (log a,
    log(b)/a).

    t = -b log(1 - x**a) is an exponential variate; as a grows, p tends to exp(-u[1]).
    """
    grid = build_grid(pairs, 0.05, SHARPEST)
    log_width = np.log(np.diff(grid.edges))

    def shapes(u: Coordinates) -> tuple[np.ndarray, np.ndarray]:
        a = np.exp(u[:, :1])
        return a, a * u[:, 1:2]  # a and log b

    def variate(u: Coordinates, log_x: Logs) -> tuple[Logs, Logs]:
        """Return log t, and log(1 - x**a)."""
        a, log_b = shapes(u)
        power = a * log_x
        rest = log_rest(np.minimum(power, -1e-300))
        with np.errstate(divide="ignore"):
            tiny = np.where(power < -30, power, np.log(-rest))  # -log(1 - y) is y where y is tiny
        return log_b + tiny, rest

    def nodes(u: Coordinates, count: int) -> tuple[Logs, Logs]:
        """Return logit p and the log mass of nodes that are uniform in log t."""
        a, log_b = shapes(u)
        log_t = np.linspace(MIN_LOG_T, MAX_LOG_T, count)[None] + np.zeros((len(u), 1))
        part = log_t - log_b  # log(t/b), and x**a = 1 - exp(-t/b)
        with np.errstate(over="ignore", under="ignore"):
            log_x = log_rest(np.minimum(-np.exp(np.minimum(part, 700)), -1e-300)) / a
        log_x = np.where(part < -30, part / a, log_x)
        rest = np.maximum(log_rest(np.minimum(log_x, -1e-300)), -MAX_LOGIT)
        return np.clip(log_x - rest, MIN_LOGIT, MAX_LOGIT), log_t - np.exp(log_t)

    def wide(u: Coordinates) -> Logs:
        a, log_b = shapes(u)
        log_t, rest = variate(u, grid.log_p[None])
        with np.errstate(over="ignore"):
            t = np.exp(np.minimum(log_t, 700))
            log = -t + np.log(a) + log_b + a * grid.log_p + grid.log_rest - rest + log_width
            ends = variate(u, -np.logaddexp(0, -grid.edges[None, [0, -1]]))[0]
            ends = np.exp(np.minimum(ends, 700))
        with np.errstate(divide="ignore"):
            log[:, 0] = np.logaddexp(log[:, 0], np.log(-np.expm1(-ends[:, 0])))
        log[:, -1] = np.logaddexp(log[:, -1], -ends[:, 1])
        return _normalise(log)

    def masses(u: Coordinates) -> Float[np.ndarray, "groups bins"]:
        logit, log = nodes(u, COARSE)
        share = _normalise(log)
        middle = (share * logit).sum(1, keepdims=True)
        width = np.sqrt((share * (logit - middle) ** 2).sum(1))

        def narrow(v: Coordinates) -> Logs:
            logit_p, log = nodes(v, NODES)
            return interpolate_masses(grid, logit_p, _normalise(log))

        return _masses_by_width(u, width, wide, narrow)

    cells = mixture(grid, masses)
    value = sum_cells(cells)

    def start(batch: Batch) -> Coordinates:
        log_a, log_ratio = maximise(beta_binomial, batch).u.T
        log_a = np.clip(log_a, -5.0, 4.0)
        candidates = [
            np.stack([log_a + d, log_ratio + e], 1) for d in (0.0, 0.4) for e in (0, 1.5, 4)
        ]
        equal = -np.log(np.clip(batch.mean, 1e-12, 1 - 1e-6))
        candidates += [np.stack([0 * equal + size, equal], 1) for size in (0.0, 1.5, 3.0)]
        return best_candidate(value, np.stack(candidates, 1), batch)

    def to_params(u: Coordinates) -> dict[str, np.ndarray]:
        a, log_b = shapes(u)
        with np.errstate(over="ignore"):
            return {"a": a[:, 0], "b": np.exp(log_b[:, 0])}

    return Family(
        name="kumaraswamy",
        doc="Pr(p <= x) = 1 - (1 - x**a)**b; failure falls as k**-a in the end.",
        params=("a", "b"),
        exponent="a",
        start=start,
        to_params=to_params,
        value=value,
        score=finite_difference_score(value),
        log_failure=mixture_failure(grid, masses),
        low=(-8.0, -20.0),
        high=(12.0, 600.0),
        limits={(0, "high"): LIMITS[0, "high"], (0, "low"): LIMITS[0, "low"]},
        tolerance=1e-7,
        cells=cells,
    )


def scaled_beta(pairs: Float[np.ndarray, "pairs 2"]) -> Family:
    """Return the family p = scale * v with v ~ Beta(a, b) and u = (log a, log b/a, s), where s is
    the logit of scale up to a factor 1.0001 that lets it reach 1.

    The family of Schaeffer et al. 2025 (arXiv 2502.17578), here with all three parameters by
    maximum likelihood and no bound on a and b.
    """
    grid = build_grid(pairs, 0.08, SHARPEST)
    log_width = np.log(np.diff(grid.edges))

    def shapes(u: Coordinates) -> tuple[np.ndarray, np.ndarray]:
        return np.exp(u[:, :1]), np.exp(u[:, :1] + u[:, 1:2])

    def log_scale_of(u: Coordinates) -> Logs:
        return np.logaddexp(0, -MAX_SCALE) - np.logaddexp(0, -u[:, 2:3])

    def width(u: Coordinates) -> np.ndarray:
        """Return the standard deviation of logit v."""
        return np.sqrt(sum(special.polygamma(1, shape[:, 0]) for shape in shapes(u)))

    def wide(u: Coordinates) -> Logs:
        a, b = shapes(u)
        log = a * grid.log_p + b * grid.log_rest + log_width
        ends = [a * grid.edges[0] - np.log(a), -b * grid.edges[-1] - np.log(b)]  # the tails
        for place, tail in zip((0, -1), ends, strict=True):
            log[:, place] = np.logaddexp(log[:, place], tail[:, 0])
        return rescaled(u, grid.log_p[None], grid.log_rest[None], log)

    def narrow(u: Coordinates) -> Logs:
        a, b = shapes(u)
        middle = special.digamma(a) - special.digamma(b)
        logit = middle + width(u)[:, None] * np.linspace(-12, 12, NODES)
        log_v, rest = -np.logaddexp(0, -logit), -np.logaddexp(0, logit)
        top = a * (log_v - (np.log(a) - np.log(a + b)))  # relative to the mean: no large numbers
        return rescaled(u, log_v, rest, top + b * (rest - (np.log(b) - np.log(a + b))))

    def rescaled(u: Coordinates, log_v: Logs, rest: Logs, log: Logs) -> Logs:
        """Move masses from v to p: logit(scale v), with log(1 - scale v) = log(1 - v + v (1 -
        scale))."""
        log_scale = log_scale_of(u)
        log_off = log_rest(np.minimum(log_scale, 0.0))
        logit = log_v + log_scale - np.logaddexp(rest, log_v + log_off)
        return interpolate_masses(grid, logit, _normalise(log))

    def masses(u: Coordinates) -> Float[np.ndarray, "groups bins"]:
        return _masses_by_width(u, width(u), wide, narrow)

    cells = mixture(grid, masses)
    value = sum_cells(cells)

    def start(batch: Batch) -> Coordinates:
        plain = maximise(beta_binomial, batch).u  # its mean is kept at half and a tenth the scale
        smaller = [plain + np.array([0.0, np.log(s)]) for s in (1.0, 0.5, 0.1)]
        each = zip(smaller, (6.0, 0.0, -2.2), strict=True)
        candidates = np.stack([np.column_stack([u, np.full(len(u), t)]) for u, t in each], 1)
        return best_candidate(value, np.clip(candidates, SCALED_LOW, SCALED_HIGH), batch)

    limits: Mapping[tuple[int, str], str] = {
        **LIMITS,
        (2, "high"): "The scale went to 1: the plain beta-binomial law.",
        (2, "low"): "Hardly any attempt succeeds.",
    }

    def to_params(u: Coordinates) -> dict[str, np.ndarray]:
        return {
            "a": np.exp(u[:, 0]),
            "b": np.exp(u[:, 0] + u[:, 1]),
            "scale": np.exp(log_scale_of(u)[:, 0]),
        }

    return Family(
        name="scaled_beta",
        doc="p = scale v with v ~ Beta(a, b); failure falls as k**-a in the end.",
        params=("a", "b", "scale"),
        exponent="a",
        start=start,
        to_params=to_params,
        value=value,
        score=finite_difference_score(value, 1e-2),
        log_failure=mixture_failure(grid, masses),
        low=SCALED_LOW,
        high=SCALED_HIGH,
        limits=limits,
        tolerance=1e-6,
        rays=200,
        cells=cells,
    )


# ends of scaled_beta's coordinates
SCALED_LOW, SCALED_HIGH = (-8.0, LOW, -20.0), (14.0, HIGH, MAX_SCALE)
