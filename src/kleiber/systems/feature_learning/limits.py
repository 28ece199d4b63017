"""Closed forms of the feature-learning model for late times and large sizes, and its exponents.

    symbol   meaning
    s        (1 - beta) (L - 1)/L, power of the kernel's growth: a ~ tau^s for hard, rich tasks
    rho      s/2; the learned fraction is F(lam tau), F(x) = x/(1 - rho) 1F1(1; 2 - rho; -x)
    G, K     (1/alpha) int x^(beta - 2) F^2 dx, (1/alpha) int x^(beta - 1) (1 - F)^2 dx
    tau      [(1 - s) (gamma G)^((L - 1)/L) t]^(1/(1 - s));  loss = K tau^-beta

for beta < 1 and gamma > 0. Without feature learning tau = t, and for easy tasks tau = a t with the
growth a of the target's norm |w*|^2 = sum c_k/lam_k; then F = 1 - exp(-x), K = Gamma(beta)
2^-beta/alpha. To this come the floors, for easy tasks the excess of N neurons,

    (|w*|^2/N) Gamma(1 - 1/alpha) (2 tau)^-(1 - 1/alpha)/alpha  (until it meets the floor),

and that of the noise of fresh batches, e = eta/B: a factor 1/(1 - e a sum lam/2) of the loss, plus
e int a loss dt Gamma(2 - 1/alpha) (2 tau)^-(2 - 1/alpha)/alpha where the loss falls faster.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import gamma as gamma_function
from scipy.special import hyp1f1

from kleiber.systems.feature_learning.model import Model
from kleiber.systems.feature_learning.modes import exact_total
from kleiber.systems.feature_learning.noise import readout_of

Times = Float[np.ndarray, "times"]
FINE = 0.05  # step of log x in the integrals
ENDS = 34.0  # exp(-ENDS) is where an integrand ends
FAR = 60.0  # x beyond which F is computed by its asymptotic series


@dataclass(frozen=True)
class AsymptoticLaw:
    """The laws tau = (scale t)^power and loss = amplitude tau^-beta."""

    scale: float
    power: float
    amplitude: float
    beta: float

    def tau(self, times: Times) -> Times:
        return (self.scale * times) ** self.power

    def loss(self, times: Times) -> Times:
        return self.amplitude * self.tau(times) ** -self.beta

    @property
    def exponent(self) -> float:
        return self.beta * self.power


def lazy_law(model: Model) -> AsymptoticLaw:
    """Return the law of the loss for infinite sizes without feature learning."""
    amplitude = gamma_function(model.source) * 2**-model.source / model.capacity
    return AsymptoticLaw(1.0, 1.0, float(amplitude), model.source)


def rich_law(model: Model) -> AsymptoticLaw:
    """Return the law of the loss for infinite sizes with feature learning.

    Raises ValueError for source 1, for which the law has logarithms.
    """
    beta, layers = model.source, model.depth
    if beta == 1:
        raise ValueError(
            "A source of 1 separates hard from easy tasks and has no power law in time; give "
            "another one."
        )
    if beta > 1:
        grown = final_growth(model)
        return AsymptoticLaw(grown, 1.0, lazy_law(model).amplitude, beta)
    s = (1 - beta) * (layers - 1) / layers
    g, k = constants(model.capacity, beta, s / 2)
    return AsymptoticLaw(
        float((1 - s) * (model.richness * g) ** ((layers - 1) / layers)), 1 / (1 - s), k, beta
    )


def law_of(model: Model) -> AsymptoticLaw:
    """Return the law that holds at late times."""
    return rich_law(model) if model.richness > 0 else lazy_law(model)


def final_growth(model: Model) -> float:
    """Return the growth a when everything is learned, for a source above 1 or finite modes."""
    norm = exact_total(model.capacity * (model.source - 1) + 1, model.modes)
    n = readout_of(np.array([norm]), model.richness, model.depth)
    return float((1 + model.richness * n[0]) ** (model.depth - 1))


def target_norm(model: Model) -> float:
    """Return |w*|^2, for a source above 1 or finitely many modes."""
    return exact_total(model.capacity * (model.source - 1) + 1, model.modes)


def crossover(model: Model) -> float:
    """Return the time at which the rich law of a hard task falls below the lazy one.

    It is proportional to richness^(-1/(1 - source)), infinite without richness, 0 for easy tasks.
    """
    if model.source >= 1:
        return 0.0
    if model.richness == 0:
        return float("inf")
    lazy, rich = lazy_law(model), rich_law(model)
    log = np.log(rich.amplitude / lazy.amplitude) - rich.exponent * np.log(rich.scale)
    return float(np.exp(log / (rich.exponent - lazy.exponent)))


def profile(x: Float[np.ndarray, "points"], rho: float) -> Float[np.ndarray, "points"]:
    """Return 1 - F(x), with x dF/dx = x (1 - F) + rho F and F(0) = 0."""
    near = np.minimum(x, FAR)
    found = 1 - near / (1 - rho) * hyp1f1(1.0, 2 - rho, -near)
    far = np.maximum(x, FAR)
    term, series = np.ones_like(far), np.zeros_like(far)
    for k in range(20):
        term = term * (rho + k) / far
        series = series - term
    return np.where(x < FAR, found, series)


def constants(capacity: float, source: float, rho: float) -> tuple[float, float]:
    """Compute G and K for a source below 1, by the trapezoidal rule in log x."""
    x = np.exp(np.arange(-ENDS / source, max(ENDS / (1 - source), ENDS), FINE))
    missing = profile(x, rho)
    g = FINE * float((x ** (source - 1) * (1 - missing) ** 2).sum()) / capacity
    k = FINE * float((x**source * missing**2).sum()) / capacity
    return g, k


def width_transient(model: Model, tau: Times) -> Times:
    """Return the excess loss of N neurons before the floor, for easy tasks.

    It is 0 for hard tasks, where it is a relative correction k*(t)/N.
    """
    if model.source <= 1 or np.isinf(model.width):
        return np.zeros(tau.size)
    power = 1 - 1 / model.capacity
    scale = target_norm(model) / model.width * gamma_function(power) / model.capacity
    return scale * (2 * tau) ** -power


def noise_feedback(model: Model) -> float:
    """Return e a sum lam/2 with the final growth a: the share of the loss that its noise returns.

    Raises ValueError for hard tasks with richness, for which the growth has no limit.
    """
    if np.isinf(model.batch_size):
        return 0.0
    if model.richness > 0 and model.source <= 1:
        raise ValueError(
            "With fresh batches a rich hard task slows down once the noise has grown with the "
            "kernel, which has no closed form; use solver='reduced'."
        )
    grown = final_growth(model) if model.richness > 0 else 1.0
    return model.step_size / model.batch_size * grown * exact_total(model.capacity, model.modes) / 2


def exponents(model: Model) -> dict[str, float]:
    """Return the exponents of each term, as `FeatureLearning.exponents` describes them."""
    alpha, beta, layers = model.capacity, model.source, model.depth
    rich = model.richness > 0
    s = max(1 - beta, 0.0) * (layers - 1) / layers if rich else 0.0
    time = beta / (1 - s)
    noisy = np.isfinite(model.batch_size)
    stopped = rich and beta < 1
    found = {
        "time": time,
        "kernel_growth": s / (1 - s),
        "width": alpha * min(1.0, beta),
        "width_bias": alpha * min(2.0, beta),
        "data": alpha * min(2.0, beta),
        "width_transient": (min(beta, 1.0) - 1 / alpha) / (1 - s),
        "batch": 0.0 if stopped else min(beta, 2 - 1 / alpha),
    }
    if beta <= 1:
        share = time / (time + alpha * beta)
        compute = alpha * beta * share
    else:
        fall = min(beta, 2 - 1 / alpha) if noisy else beta
        share = (fall - 1 + 1 / alpha) / (fall + 1 / alpha)
        compute = fall * (1 - share)
    return found | {"compute": compute, "compute_width": share, "compute_time": 1 - share}


def phase_of(model: Model) -> str:
    """Return the phase: hard, easy or super-easy, and lazy or rich."""
    if model.source <= 1:
        task = "hard"
    else:
        task = "easy" if model.source <= 2 - 1 / model.capacity else "super-easy"
    return f"{task}, {'rich' if model.richness > 0 else 'lazy'}"
