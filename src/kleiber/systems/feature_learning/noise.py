"""One pass over fresh batches: the flow with the noise of small steps, e = step_size/batch_size.

    symbol   meaning
    Phi      growth of what is learned; f = Phi u, with Phi = 1 where a step starts
    V        variance of the weights along a mode, V = Phi^2 v2
    l        e a (loss + sigma^2)/Phi^2

    du/dtau = x (1/Phi - u),  dv2/dtau = -2 x v2 + x l,  dlog Phi/dtau = beta,
    loss = sum c (1 - f)^2 + sum m x V,   p = n (1 + gamma n)^(L - 1) = sum c f^2/x + sum m V,
    beta = (L - 1) gamma/((1 + gamma n) a) (sum c f (1 - f) - sum m x V),  a as without noise,

with m modes and the loss c at each node x. The noise is that of a loss that many modes share; the
share of a single mode in it is left out. Within a step 1/Phi and l are polynomials, found together
by Newton's method.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Inexact

from kleiber.errors import NotConverged
from kleiber.systems.feature_learning.flow import (
    DEGREE,
    LARGEST_RATIO,
    POINTS,
    TO_POWERS,
    Array,
    Spectral,
    Spectrum,
    Times,
    invert_clock,
    moments,
    real,
    real_sum,
    weigh,
)

Values = Float[np.ndarray, "points"]
TOLERANCE = 1e-5  # of the last Chebyshev coefficients of 1/Phi and l, relative
SETTLED = 1e-9
MAX_ITERATIONS = 15
STATIONARY = 1e-6  # change of log loss and log a by log time, below which nothing changes any more
ORDERS = np.arange(DEGREE + 1)
INTEGRAL = (POINTS[1:, None] ** (ORDERS + 1) / (ORDERS + 1)) @ TO_POWERS  # from 0 to each point


@dataclass(frozen=True)
class Noisy:
    """A spectrum with `density`, the weights of x times the number of modes, and the noise."""

    spectrum: Spectrum
    density: Spectral
    richness: float
    depth: int
    rate: float  # e
    labels: float  # sigma^2


@dataclass(frozen=True)
class NoisyState:
    """The flow at some times: loss, its part from noise, and what the kernel has grown to."""

    time: Times
    a: Times
    n: Times
    p: Times
    loss: Times
    noise: Times
    rate: Times  # dloss/dt
    learned: Inexact[np.ndarray, "times nodes"]


@dataclass(frozen=True)
class NoisyPath:
    """A flow with noise, step by step."""

    noisy: Noisy
    tau: Float[np.ndarray, "steps"]
    length: Float[np.ndarray, "steps"]
    time: Float[np.ndarray, "steps+1"]
    powers: Float[np.ndarray, "steps powers"]
    drive: Float[np.ndarray, "steps powers"]
    clock: Float[np.ndarray, "steps clock"]
    u: Inexact[np.ndarray, "steps nodes"]
    v: Inexact[np.ndarray, "steps nodes"]
    v2: Inexact[np.ndarray, "steps nodes"]

    def at(self, times: Times) -> NoisyState:
        """Return the flow at the times; it is stationary after the last step."""
        stationary, requested = times > self.time[-1], times
        times = np.minimum(times, self.time[-1])
        noisy, x = self.noisy, self.noisy.spectrum.x
        step = np.clip(np.searchsorted(self.time, times, "right") - 1, 0, self.tau.size - 1)
        xi = invert_clock(self.clock[step], times - self.time[step])
        y = self.length[step, None] * x
        kept, twice = moments(y, xi), moments(2 * y, xi)
        decay = np.exp(-y * xi[:, None])
        powers, drive = self.powers[step], self.drive[step]
        u = decay * self.u[step] + y * np.einsum("tp,ptk->tk", powers, kept)
        slope = powers[:, 1:] * ORDERS[1:]
        v = decay * self.v[step] + np.einsum("tp,ptk->tk", slope, kept[:-1])
        v2 = decay**2 * self.v2[step] + y * np.einsum("tp,ptk->tk", drive, twice)
        raised = xi[:, None] ** ORDERS
        s, l = (powers * raised).sum(axis=1), (drive * raised).sum(axis=1)
        found = _state(noisy, requested, s, l, u, v, v2)
        return replace(found, rate=np.where(stationary, 0.0, found.rate))


def _state(
    noisy: Noisy,
    times: Times,
    s: Times,
    l: Times,
    u: Inexact[np.ndarray, "times nodes"],
    v: Inexact[np.ndarray, "times nodes"],
    v2: Inexact[np.ndarray, "times nodes"],
) -> NoisyState:
    """Compute the state from u, v, v2, s = 1/Phi and l."""
    spectrum, x, gamma = noisy.spectrum, noisy.spectrum.x, noisy.richness
    w, scale = spectrum.weight, s**-2
    mixed = weigh(u * v, w)
    noise = scale * weigh(v2, noisy.density)
    loss = scale * weigh(v * v, w) + spectrum.atom + noise
    p = scale * (weigh(u * u, w / x) + weigh(v2, noisy.density / x))
    n = readout_of(np.maximum(p, 0), gamma, noisy.depth)
    a = (1 + gamma * n) ** (noisy.depth - 1)
    beta = (noisy.depth - 1) * gamma / ((1 + gamma * n) * a) * (scale * mixed - noise)
    # of each part by tau: d(1 - f) = -(x (1 - f) + beta f), dV = -2 (x - beta) V + x l Phi^2
    missed = -2 * scale * (weigh(v * v, w * x) + beta * mixed)
    drift = scale * (-2 * weigh(v2, noisy.density * x) + l * real_sum(noisy.density * x))
    rate = a * (missed + 2 * beta * noise + drift)
    return NoisyState(times, a, n, p, loss, noise, rate, u / s[:, None])


def readout_of(
    p: Float[np.ndarray, "*rows"], gamma: float, depth: int
) -> Float[np.ndarray, "*rows"]:
    """Solve n (1 + gamma n)^(L - 1) = p >= 0 for n."""
    if gamma == 0:
        return p
    if depth == 2:
        return 2 * p / (1 + np.sqrt(1 + 4 * gamma * p))
    n = np.minimum(p, (p / max(gamma, 1e-300) ** (depth - 1)) ** (1 / depth))
    for _ in range(60):
        grown = 1 + gamma * n
        value = n * grown ** (depth - 1) - p
        rise = grown ** (depth - 2) * (1 + depth * gamma * n)
        new = n - value / rise
        if np.abs(new - n).max(initial=0) <= 1e-14 * np.abs(n).max(initial=0):
            return new
        n = np.maximum(new, 0)
    return n


def march_noisy(noisy: Noisy, until: float) -> NoisyPath:
    """Follow the flow from f = 0 to time `until`.

    Raises NotConverged if the noise makes the loss grow without end, or if the steps vanish.
    """
    spectrum = noisy.spectrum
    feedback = noisy.rate * real_sum(noisy.density) / 2
    if feedback >= 1:
        raise NotConverged(
            "The noise of fresh batches makes the loss grow without end: step_size/batch_size "
            "times half the sum of eigenvalues must be below 1; take smaller steps or larger "
            "batches.",
            float(feedback),
            0,
        )
    bound = float(np.abs(spectrum.x).max())
    drive = max(real_sum(spectrum.weight * spectrum.x), 1e-300)
    h = 0.1 / (bound + np.sqrt(noisy.richness * drive * noisy.depth))
    tau = time = 0.0
    u = np.zeros(spectrum.x.size, spectrum.x.dtype)  # f, 1 - f and V where a step starts
    state = (u, np.ones_like(u), np.zeros_like(u))
    ends = np.array([1.0, noisy.rate * (spectrum.total + noisy.labels)])
    guess: Array = np.repeat(ends, DEGREE)
    rows: list[tuple[Any, ...]] = []
    while True:
        attempt = _step(noisy, h, state, ends, guess)
        error = attempt.error / TOLERANCE
        if error > 1 and h < 1e-9 * max(tau, 1e-3 / bound):
            raise NotConverged(
                "The steps of the noisy feature-learning flow vanish.", error, len(rows)
            )
        factor = 0.9 * max(error, 1e-9) ** (-1 / (DEGREE + 1)) if np.isfinite(error) else 0.25
        if error > 1:
            h *= float(np.clip(factor, 0.1, 0.7))
            guess = np.repeat(ends, DEGREE)
            continue
        rows.append((tau, h, time, *attempt.powers, attempt.clock, *state))
        tau, time = tau + h, time + float(attempt.clock.sum())
        if time >= until:
            break
        if attempt.change < STATIONARY * np.log(time / rows[-1][2] if rows[-1][2] else 2):
            break
        longer = h * float(np.clip(factor, 0.2, LARGEST_RATIO))
        longer = min(longer, (LARGEST_RATIO - 1) * tau)
        last, unit = attempt.powers.sum(axis=1), attempt.powers[0].sum() ** -np.array([1.0, 2.0])
        state, ends = attempt.state, last * unit
        ahead = attempt.powers @ ((1 + longer / h * POINTS[1:, None]) ** ORDERS).T
        guess = (np.clip(ahead, 0.3 * last[:, None], 3 * last[:, None]) * unit[:, None]).ravel()
        h = longer
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    columns[2] = np.append(columns[2], time)
    return NoisyPath(noisy, *columns)


@dataclass(frozen=True)
class _Step:
    """The result of one step.

    It has the polynomials of 1/Phi, l and the time, f, 1 - f and V at the end, the error, and the
    changes of log loss and log a.
    """

    powers: Float[np.ndarray, "2 powers"]
    clock: Float[np.ndarray, "clock"]
    state: tuple[Spectral, Spectral, Spectral]
    error: float
    change: float


@dataclass(frozen=True)
class _Forms:
    """Sums over nodes at the points of a step: quadratic forms of (1, 1/Phi at the points), and
    linear forms of (1, l at the points)."""

    missing: Float[np.ndarray, "points forms forms"]
    norm: Float[np.ndarray, "points forms forms"]
    mixed: Float[np.ndarray, "points forms forms"]
    noise: Float[np.ndarray, "points forms"]
    spread: Float[np.ndarray, "points forms"]


def _step(
    noisy: Noisy,
    h: float,
    state: tuple[Spectral, Spectral, Spectral],
    ends: Float[np.ndarray, "2"],
    guess: Float[np.ndarray, "unknowns"],
) -> _Step:
    """Take a step of length h; the error is infinite if Newton's method does not converge."""
    u, v, v2 = _driven(noisy, h, state)
    forms = _sums(noisy, u, v, v2)
    logs: Array = np.log(guess)
    change = np.inf
    perturbation = 1e-6 * np.eye(2 * DEGREE)
    for _ in range(MAX_ITERATIONS):
        found, _ = _residuals(
            noisy, forms, h, ends, np.concatenate([logs[None], logs + perturbation])
        )
        if not np.isfinite(found).all():
            break
        step = real(np.linalg.solve((found[1:] - found[0]).T / 1e-6, -found[0]))
        change = float(np.abs(step).max())
        logs = logs + np.clip(step, -0.7, 0.7)
        if change < SETTLED:
            break
    _, a = _residuals(noisy, forms, h, ends, logs[None])
    values = np.concatenate([ends[:, None], np.exp(logs).reshape(2, DEGREE)], axis=1)
    powers = values @ TO_POWERS.T
    error = np.inf
    if change < SETTLED:
        last = np.append(powers[:, -1] / values.min(axis=1), (TO_POWERS @ a[0])[-1] / a[0].min())
        error = float(np.abs(last).max()) / 128
    clock = TO_POWERS @ (1 / a[0]) * h / (ORDERS + 1)
    s, l = np.append(1.0, values[0]), np.append(1.0, values[1])
    unit = 1 / s[-1]
    new_state = (unit * (s @ u[-1]), unit * (s @ v[-1]), unit**2 * (l @ v2[-1]))
    grown = float(np.log(a[0, -1] / a[0, 0]))
    fallen = float(np.log(values[1, -1] / values[1, 0]) + 2 * np.log(unit)) - grown
    return _Step(powers, clock, new_state, error, max(abs(grown), abs(fallen)))


def _driven(
    noisy: Noisy, h: float, state: tuple[Spectral, Spectral, Spectral]
) -> tuple[Any, Any, Any]:
    """Return u, v, v2 at each point as linear forms of 1 and of 1/Phi or l at all points."""
    u, v, v2 = state
    y = (noisy.spectrum.x * h)[None]
    kept, twice = moments(y, POINTS), moments(2 * y, POINTS)
    decay = np.exp(-y * POINTS[:, None])
    slopes = ORDERS[1:, None] * TO_POWERS[1:]

    def form(start: Any, matrix: Any, driven: Any) -> Any:
        return np.concatenate([start[:, None], np.einsum("pi,pjk->jik", matrix, driven)], axis=1)

    return (
        form(decay * u, TO_POWERS, y * kept),
        form(decay * v, slopes, kept[:-1]),
        form(decay**2 * v2, TO_POWERS, y * twice),
    )


def _sums(noisy: Noisy, u: Any, v: Any, v2: Any) -> _Forms:
    """Return the sums over nodes that loss, p and beta need."""
    w, x, density = noisy.spectrum.weight, noisy.spectrum.x, noisy.density

    def square(left: Any, right: Any, weight: Any) -> Any:
        return np.real(np.matmul(left * weight, np.swapaxes(right, 1, 2)))

    return _Forms(
        square(v, v, w),
        square(u, u, w / x),
        square(u, v, w),
        np.asarray(weigh(v2, density)),
        np.asarray(weigh(v2, density / x)),
    )


def _residuals(
    noisy: Noisy,
    forms: _Forms,
    h: float,
    ends: Float[np.ndarray, "2"],
    logs: Float[np.ndarray, "tries unknowns"],
) -> tuple[Float[np.ndarray, "tries unknowns"], Float[np.ndarray, "tries points"]]:
    """Return the residuals of log 1/Phi and log l for each trial, and a."""
    values = np.exp(logs).reshape(-1, 2, DEGREE)
    full = np.concatenate([np.broadcast_to(ends[:, None], (len(logs), 2, 1)), values], axis=2)
    full = np.concatenate([np.ones((len(logs), 2, 1)), full], axis=2)
    s, line = full[:, 0], full[:, 1]
    scale = s[:, 1:] ** -2

    def squared(form: Any) -> Any:
        return np.einsum("ta,jab,tb->tj", s, form, s)

    noise = scale * (line @ forms.noise.T)
    loss = scale * squared(forms.missing) + noisy.spectrum.atom + noise
    p = scale * (squared(forms.norm) + line @ forms.spread.T)
    n = readout_of(np.maximum(p, 0), noisy.richness, noisy.depth)
    grown = 1 + noisy.richness * n
    a = grown ** (noisy.depth - 1)
    gain = scale * squared(forms.mixed) - noise
    beta = (noisy.depth - 1) * noisy.richness / (grown * a) * gain
    wanted = np.log(ends[0]) - h * beta @ INTEGRAL.T
    level = noisy.rate * a * np.maximum(loss + noisy.labels, 1e-300) / scale
    return np.concatenate([wanted, np.log(level[:, 1:])], axis=1) - logs, a
