"""Simulation of heads that are trained on random data, and of their failures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from scipy.special import gammaln

from kleiber.maths.seeds import stream
from kleiber.maths.slopes import window_slope
from kleiber.maths.spectrum import power_law
from kleiber.systems.hard_tail import band
from kleiber.systems.hard_tail.quadrature import PrecisionLaw
from kleiber.systems.hard_tail.ridge import solve_ridge

PARTS, CELLS, ACROSS = 16, 72, 32  # independent parts; strata of tau and of bias in each part
POINTS = 15
LEFT = 0.1  # share of instances drawn from the tail of log tau below the evenly covered range
HALF, MIDDLE = 0.5, -3.0  # cumulated share of the instances below this log tau
FARTHEST = 30.0  # largest bias drawn, in units of its standard deviation


@runtime_checkable
class Parameters(Protocol):
    """The parameters of a HardTail that the simulation reads."""

    @property
    def capacity(self) -> float: ...
    @property
    def tail(self) -> float: ...
    @property
    def noise(self) -> float: ...
    @property
    def tolerance(self) -> float: ...
    @property
    def dimension(self) -> int: ...
    @property
    def ridge(self) -> float: ...
    @property
    def source(self) -> float: ...
    @property
    def signal(self) -> float: ...
    @property
    def precision(self) -> PrecisionLaw: ...


@dataclass(frozen=True)
class Trained:
    """The excess risk and the mean label-noise variance of the heads of one seed."""

    loss: Float[np.ndarray, "sizes"]
    label_noise: Float[np.ndarray, "sizes"]


@dataclass(frozen=True)
class Measured:
    """The failures of the heads of one seed, by column, and their exponents over a window."""

    by_attempts: dict[str, Float[np.ndarray, "sizes attempts"]]
    window_exponent: Float[np.ndarray, "sizes"]


def draw_losses(
    model: Parameters, n_data: Int[np.ndarray, "sizes"], seed: int, member: int
) -> Trained:
    """Train a head on the first n of one sequence of labelled inputs, for each n."""
    spectrum = power_law(model.dimension, 1 + model.capacity)
    spread = model.signal * power_law(model.dimension, model.source / 2)
    target = spread * stream(seed, f"hard_tail target {member}").standard_normal(model.dimension)
    maximum = int(n_data.max())
    inputs = stream(seed, f"hard_tail inputs {member}")
    x = inputs.standard_normal((maximum, model.dimension)) * np.sqrt(spectrum)
    variance = model.noise**2 / draw_precision(model, maximum, seed, member)
    noise = np.sqrt(variance) * stream(seed, f"hard_tail noise {member}").standard_normal(maximum)
    y = x @ target + noise
    loss, level = np.empty(n_data.size), np.empty(n_data.size)
    for i, n in enumerate(n_data):
        weights = solve_ridge(x[:n], y[:n, None], model.ridge)[:, 0]
        loss[i] = (spectrum * (weights - target) ** 2).sum()
        level[i] = variance[:n].mean()
    return Trained(loss, level)


def draw_precision(
    model: Parameters, size: int, seed: int, member: int
) -> Float[np.ndarray, "size"]:
    """Draw the precision tau of each label."""
    rng, shape = stream(seed, f"hard_tail precision {member}"), model.tail / 2
    if model.precision == "fixed":
        return np.ones(size)
    if model.precision == "gamma":
        return np.maximum(rng.standard_gamma(shape, size), np.finfo(float).tiny)
    return np.maximum((1 - rng.random(size)) ** (1 / shape), np.finfo(float).tiny)


def measure(
    model: Parameters,
    loss: Float[np.ndarray, "sizes"],
    k: Float[np.ndarray, "attempts"],
    window: tuple[float, float],
    seed: int,
    member: int,
) -> Measured:
    """Measure failures at k and window exponents of heads whose error at a fresh input is N(0,
    loss)."""
    inner = np.geomspace(*window, POINTS)
    names = ("failure", "failure_stderr", "intrinsic", "bias", "local_exponent", "hard_share")
    by_attempts = {name: np.empty((loss.size, k.size)) for name in names}
    exponents = np.empty(loss.size)
    last = max(float(k.max()), window[1])
    for row, rho in enumerate(np.sqrt(loss) / model.noise):
        rng = stream(seed, f"hard_tail instances {member}")  # the same for every size
        tau, log_weight = draw_instances(model, last, rng)
        g, log_ratio = draw_bias(model, float(rho), last, rng)
        log_weight = log_weight + log_ratio
        v = model.tolerance / model.noise * np.sqrt(tau)
        here, centred = hardness(v, rho * g * np.sqrt(tau)), hardness(v, np.zeros_like(v))
        log_mean, relative = _log_mean(log_weight, here, k)
        log_hard, _ = _log_mean(log_weight, centred, k)
        log_lam = np.log(np.maximum(here, np.finfo(float).tiny))
        rate = [_parts(log_weight + log_lam - each * here) for each in k]
        log_rate = np.array([scale + np.log(parts.mean()) for parts, scale in rate])
        by_attempts["failure"][row] = np.exp(np.minimum(log_mean, 0))
        by_attempts["intrinsic"][row] = np.exp(np.minimum(log_hard, 0))
        by_attempts["bias"][row] = by_attempts["failure"][row] - by_attempts["intrinsic"][row]
        by_attempts["failure_stderr"][row] = relative * np.exp(log_mean)
        by_attempts["local_exponent"][row] = k * np.exp(log_rate - log_mean)
        by_attempts["hard_share"][row] = np.exp(np.minimum(log_hard - log_mean, 0))
        exponents[row] = -window_slope(np.log(inner), _log_mean(log_weight, here, inner)[0])
    return Measured(by_attempts, exponents)


def draw_instances(
    model: Parameters, last: float, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "parts strata"], Float[np.ndarray, "parts strata"]]:
    """Draw stratified tau down to where `last` attempts nearly always fail.

    Returns tau and the log of the ratio of its density to the one it is drawn from.
    """
    u = (np.arange(CELLS) + rng.random((PARTS, ACROSS, CELLS))) / CELLS
    u = u.reshape(PARTS, -1)
    if model.precision == "fixed":
        return np.ones_like(u), np.zeros_like(u)
    a = model.tail / 2
    low = 2 * np.log(min(0.1 / last * model.noise / model.tolerance, 0.01))
    high = 0.0
    if model.precision == "gamma":
        high = float(np.log(40 + 4 * a + model.tail * np.log(last)))
    knots, places = np.array([LEFT, HALF, 1.0]), np.array([low, MIDDLE, high])
    x, left = np.interp(u, knots, places), u < LEFT
    x[left] = low + np.log(np.maximum(u[left], np.finfo(float).tiny) / LEFT) / a
    even = np.log(np.diff(knots) / np.diff(places))[(u > HALF).astype(int)]
    log_drawn = np.where(left, np.log(LEFT * a) + a * (x - low), even)
    log_density = (
        a * x - np.exp(x) - gammaln(a) if model.precision == "gamma" else a * x + np.log(a)
    )
    return np.exp(x), np.asarray(log_density - log_drawn, float)


def draw_bias(
    model: Parameters, rho: float, last: float, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "parts strata"], Float[np.ndarray, "parts strata"]]:
    """Draw stratified |g|, evenly spread over the relevant range.

    Returns |g| and the log of the ratio of its density to the one it is drawn from.
    """
    fixed = model.precision == "fixed"
    within = 1 if fixed else CELLS
    across = ACROSS * CELLS // within
    u = (np.arange(across)[:, None] + rng.random((PARTS, across, within))) / across
    far = float(np.sqrt(2 * (model.tail * np.log(last) + 30)))
    if fixed:  # as far as it takes to make `last` attempts fail
        reach = model.tolerance / model.noise + np.sqrt(2 * np.log(last)) + 3
        far = float(np.sqrt(60) + min(reach / max(rho, 1e-9), FARTHEST))
    g = far * u.reshape(PARTS, -1)
    return g, np.log(far * np.sqrt(2 / np.pi)) - g**2 / 2


def hardness(
    v: Float[np.ndarray, "*shape"], w: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """Return -log(1 - q) of an attempt, accurate for q near 0 and near 1."""
    q = band.inside(v.ravel(), w.ravel())
    likely = q > 0.5
    lam = -np.log1p(-np.where(likely, 0, q))
    failed = band.outside(v.ravel()[likely], w.ravel()[likely])
    lam[likely] = -np.log(np.maximum(failed, np.finfo(float).tiny))
    return lam.reshape(v.shape)


def _parts(terms: Float[np.ndarray, "parts strata"]) -> tuple[Float[np.ndarray, "parts"], float]:
    """Return the mean of exp(terms) in each part divided by exp(scale), and the scale."""
    top = float(terms.max())
    return np.exp(terms - top).mean(axis=1), top


def _log_mean(
    log_weight: Float[np.ndarray, "parts strata"],
    lam: Float[np.ndarray, "parts strata"],
    k: Float[np.ndarray, "attempts"],
) -> tuple[Float[np.ndarray, "attempts"], Float[np.ndarray, "attempts"]]:
    """Return the log of the mean of weight exp(-k lam) at each k, and its relative standard error.

    A mean near 1 is computed from its complement, in which the spread of the weights hardly
    matters.
    """
    means, errors = np.empty((2, k.size))
    weight = np.exp(log_weight)
    for i, each in enumerate(k):
        parts, scale = _parts(log_weight - each * lam)
        if parts.mean() * np.exp(min(scale, 1)) > 0.5:
            parts, scale = 1 + (weight * np.expm1(-each * lam)).mean(axis=1), 0.0
        means[i] = scale + np.log(parts.mean())
        errors[i] = parts.std(ddof=1) / np.sqrt(len(parts)) / parts.mean()
    return means, errors
