"""Claims on inference: failure at k attempts, its exponents, and their limits.

Everything here is deterministic (quadrature), in units of the label noise: rho is the root of the
generalisation loss over the noise, r the tolerance over the noise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln
from scipy.stats import t as student

from kleiber.claim import Claim, Context, Estimate, estimate
from kleiber.systems.hard_tail.theory import HardTail

TAIL = 2.5  # the paper's beta
EARLY, LATE, FAR = (10.0, 1e3), (1e2, 1e4), (1e6, 1e10)  # windows of k
QUADRATURE = "it is computed by quadrature, without anything random"
IDENTITY = "it is an identity, exact to rounding"
EULER = 0.5772156649015329
Compute = Callable[[Context], Estimate]
Precision = Literal["gamma", "bounded", "fixed"]


def failures(
    k: Float[np.ndarray, "attempts"],
    rho: float,
    *,
    r: float = 1.0,
    tail: float = TAIL,
    precision: Precision = "gamma",
) -> Float[np.ndarray, "attempts"]:
    """Return failure at k attempts."""
    model = HardTail(tail=tail, tolerance=r, noise=1.0, precision=precision)
    return np.asarray(model.failure(k=k, rho=rho), dtype=float)


def window_exponents(
    rhos: Float[np.ndarray, "rhos"], window: tuple[float, float], *, r: float = 1.0
) -> Float[np.ndarray, "rhos"]:
    """Return F(rho), minus the least-squares slope of log failure over 15 evenly spaced log k."""
    return HardTail(tail=TAIL, tolerance=r, noise=1.0).window_exponent(rhos, *window)


def window_exponent(rho: float, window: tuple[float, float], *, r: float = 1.0) -> float:
    """Return F at one rho."""
    return float(window_exponents(np.array([rho]), window, r=r)[0])


def local_exponent(
    rho: float, k: float, *, r: float = 1.0, precision: Precision = "gamma"
) -> float:
    """Return -dlog failure/dlog k."""
    model = HardTail(tail=TAIL, tolerance=r, noise=1.0, precision=precision)
    return float(model.solve({"rho": rho, "k": k})["local_exponent"][0])


def plateau(_: Context) -> Estimate:
    """Return the exponent over k = 100 to 10,000 without bias."""
    return estimate(window_exponent(0.0, LATE))


def prefactor(_: Context) -> Estimate:
    """Return failure/(P k^-beta) at k = 1e6, with P = 2 Gamma(beta)/(Gamma(beta/2) c^beta)."""
    r, k = 0.3, 1e6
    c = np.sqrt(2 / np.pi) * r
    log_p = np.log(2) + gammaln(TAIL) - gammaln(TAIL / 2) - TAIL * np.log(c * k)
    return estimate(float(failures(np.array([k]), 0.0, r=r)[0] / np.exp(log_p)))


def first_try(_: Context) -> Estimate:
    """Return pass@1 without bias less that of Student's t with beta degrees of freedom."""
    r = 0.3
    passed = 1 - failures(np.array([1.0]), 0.0, r=r)[0]
    edge = r * float(np.sqrt(TAIL / 2))
    return estimate(float(passed) - 1 + 2 * float(student(TAIL).sf(edge)))


def decay_of_exponent(_: Context) -> Estimate:
    """Return the local exponent at k = 1e15 over that at 1e8, for rho = 1, r = 0.01."""
    return estimate(local_exponent(1.0, 1e15, r=0.01) / local_exponent(1.0, 1e8, r=0.01))


def saddle(rho: float, k: float, r: float) -> float:
    """Return the saddle point t = [log(k c t^(1/4)) + Euler's constant]/rho^2."""
    t = 1.0
    for _ in range(200):
        t = (np.log(k * np.sqrt(2 / np.pi) * r * t**0.25) + EULER) / rho**2
    return float(t)


def saddle_exponent(_: Context) -> Estimate:
    """Return the local exponent over [t^-1/2 - (beta/4 - 1/2)/t]/rho^2, at k = 1e15, rho = 1, r =
    0.01."""
    t = saddle(1.0, 1e15, 0.01)
    return estimate(local_exponent(1.0, 1e15, r=0.01) / (t**-0.5 - (TAIL / 4 - 0.5) / t))


def saddle_height(_: Context) -> Estimate:
    """Return failure over t^(beta/4 - 1/2) exp(-2 sqrt t)/Gamma(beta/2), for the same values."""
    t = saddle(1.0, 1e15, 0.01)
    log_height = (TAIL / 4 - 0.5) * np.log(t) - 2 * np.sqrt(t) - gammaln(TAIL / 2)
    return estimate(failures(np.array([1e15]), 1.0, r=0.01)[0] / np.exp(log_height))


def bounded_exponent(_: Context) -> Estimate:
    """Return rho^2 times the local exponent at k = 1e15 for precision up to 1, rho = 1.5."""
    return estimate(1.5**2 * local_exponent(1.5, 1e15, r=0.3, precision="bounded"))


def bounded_plateau(_: Context) -> Estimate:
    """Return the local exponent at k = 1e12 for precision up to 1, rho = 0.6."""
    return estimate(local_exponent(0.6, 1e12, r=0.3, precision="bounded"))


def loss_slope(precision: Precision, window: tuple[float, float]) -> float:
    """Return dlog(window exponent)/dlog(loss) for rho from 0.5 to 1."""
    rhos = np.geomspace(0.5, 1, 7)
    model = HardTail(tail=TAIL, tolerance=1.0, noise=1.0, precision=precision)
    exponents = model.window_exponent(rhos, *window)
    return float(np.polyfit(2 * np.log(rhos), np.log(exponents), 1)[0])


def exponent_by_loss(precision: Precision) -> Compute:
    """Return dlog(window exponent)/dlog(loss) over k = 1e6 to 1e10."""
    return lambda _: estimate(loss_slope(precision, FAR))


def alike(_: Context) -> Estimate:
    """Return that slope for Gamma precision less that for fixed precision, k = 10 to 1,000."""
    return estimate(loss_slope("gamma", EARLY) - loss_slope("fixed", EARLY))


def overshoot(window: tuple[float, float]) -> Compute:
    """Return the largest window exponent at any bias less that without bias, r = 0.1."""

    def excess(_: Context) -> Estimate:
        biased = window_exponents(np.linspace(0.1, 0.4, 13), window, r=0.1)
        return estimate(biased.max() - window_exponent(0.0, window, r=0.1))

    return excess


def crossover(_: Context) -> Estimate:
    """Return log10 of the k beyond which most failures are due to bias, rho = 0.2, r = 0.01."""
    model = HardTail(tail=TAIL, tolerance=0.01, noise=1.0)
    return estimate(np.log10(model.crossover(0.2)[0]))


def hard_share(rho: float) -> Compute:
    """Return failure at k = 1,000 without bias over that with it: the share training cannot
    remove."""
    k = np.array([1000.0])
    return lambda _: estimate(failures(k, 0.0)[0] / failures(k, rho)[0])


STATEMENTS = (
    Claim(
        "pass@1",
        "Without bias, pass@1 is the probability that Student's t with beta degrees of freedom "
        "gives: their difference is 0.",
        expected=0.0,
        within=1e-9,
        compute=first_try,
        exact=IDENTITY,
        source="ours",
    ),
    Claim(
        "intrinsic tail",
        "Without bias, failure falls as k^-beta: its exponent over k = 100 to 10,000 is beta = "
        "2.5.",
        expected=2.5,
        within=0.02,
        compute=plateau,
        exact=QUADRATURE,
        source="abstract",
    ),
    Claim(
        "intrinsic tail",
        "The prefactor of this power law is 2 Gamma(beta)/(Gamma(beta/2) c^beta): the ratio of "
        "failure to the law at k = 1e6 is 1.",
        expected=1.0,
        within=1e-3,
        compute=prefactor,
        exact=QUADRATURE,
        source="ours",
    ),
    Claim(
        "two-tail theorem",
        "At fixed N the bias adds a power law k^-gamma(N) if the precision has a Gamma "
        "distribution: the local exponent (rho = 1) is the same at k = 1e15 and at k = 1e8, so "
        "their ratio is 1.",
        expected=1.0,
        within=0.05,
        compute=decay_of_exponent,
        known="fails",
        why="If the precision is unbounded, the tail from bias is exp(-(2/rho) sqrt(log k)) up "
        "to logarithms, which is slower than every power: at fixed N the exponent tends to 0.",
        exact=QUADRATURE,
        source="second-hand",
    ),
    Claim(
        "two-tail theorem, corrected",
        "For Gamma precision the local exponent is [t^-1/2 - (beta/4 - 1/2)/t]/rho^2 with t = "
        "log(k ..)/rho^2: the ratio of the exact to the asymptotic value at k = 1e15 is 1.",
        expected=1.0,
        within=0.05,
        compute=saddle_exponent,
        exact=QUADRATURE,
        source="ours",
    ),
    Claim(
        "two-tail theorem, corrected",
        "For Gamma precision failure is t^(beta/4 - 1/2) exp(-2 sqrt t)/Gamma(beta/2) with the "
        "same t: the ratio of the exact to the asymptotic value at k = 1e15 is 1.",
        expected=1.0,
        within=0.1,
        compute=saddle_height,
        exact=QUADRATURE,
        source="ours",
    ),
    Claim(
        "two-tail theorem, corrected",
        "If the precision is at most 1, the theorem holds with gamma = 1/rho^2, up to 1/log k: "
        "rho^2 times the local exponent at k = 1e15 (rho = 1.5) is 1.",
        expected=1.0,
        within=0.15,
        compute=bounded_exponent,
        exact=QUADRATURE,
        source="ours",
    ),
    Claim(
        "two-tail theorem, corrected",
        "If the precision is at most 1 and 1/rho^2 exceeds beta, the exponent is beta: it is 2.5 "
        "at rho = 0.6, k = 1e12.",
        expected=2.5,
        within=0.01,
        compute=bounded_plateau,
        exact=QUADRATURE,
        source="ours",
    ),
    Claim(
        "corollary, fixed window",
        "gamma(N) is proportional to 1/L_gen(N) for Gamma precision: dlog(exponent)/dlog(loss) is "
        "-1 (k from 1e6 to 1e10, rho from 0.5 to 1).",
        expected=-1.0,
        within=0.1,
        compute=exponent_by_loss("gamma"),
        known="fails",
        why="The power -1 is that of a fixed precision, which is the next claim. We could not read "
        "the proof: if it assumes a bounded precision, this is a remark on its scope.",
        exact=QUADRATURE,
        source="second-hand",
    ),
    Claim(
        "corollary, control",
        "For a fixed precision the same slope is -1.",
        expected=-1.0,
        within=0.1,
        compute=exponent_by_loss("fixed"),
        exact=QUADRATURE,
        source="ours",
    ),
    Claim(
        "corollary, corrected",
        "For Gamma precision the exponent of a window is proportional to L_gen^-1/2: the same "
        "slope is -0.5.",
        expected=-0.5,
        within=0.1,
        compute=exponent_by_loss("gamma"),
        exact=QUADRATURE,
        source="ours",
    ),
    Claim(
        "corollary, control",
        "Up to k = 1,000 and at delta = sigma, Gamma and fixed precision look alike: their slopes "
        "over k = 10 to 1,000 differ by 0.",
        expected=0.0,
        within=0.15,
        compute=alike,
        exact=QUADRATURE,
        source="ours",
    ),
    Claim(
        "corollary, fixed window",
        "beta_eff is min(beta, gamma(N)) + o(1), so bias can raise it only by what vanishes for "
        "large k: over k = 100 to 10,000 the largest rise is 0 (delta = 0.1 sigma).",
        expected=0.0,
        within=0.005,
        compute=overshoot(LATE),
        exact=QUADRATURE,
        source="second-hand",
    ),
    Claim(
        "corollary, finite window",
        "Over k = 10 to 1,000 the largest rise is larger, at least 0.01.",
        expected=0.01,
        within=0.0,
        compute=overshoot(EARLY),
        side="at_least",
        exact=QUADRATURE,
        source="ours",
    ),
    Claim(
        "crossover surface",
        "The tail from bias appears only beyond k ~ exp(4/(beta rho)^2)/c: log10 of the k at "
        "which it causes half of all failures (rho = 0.2, r = 0.01) is within a decade of 9.05.",
        expected=9.05,
        within=1.0,
        compute=crossover,
        exact=QUADRATURE,
        source="ours",
    ),
    Claim(
        "interpretation",
        "The bias at finite N makes instances fail that are not hard: of the failures at k = "
        "1,000 and rho = 1, the share that would also fail without bias is 0.",
        expected=0.0,
        within=0.05,
        compute=hard_share(1.0),
        exact=QUADRATURE,
        source="second-hand",
    ),
    Claim(
        "interpretation",
        "Training removes these failures: the same share at rho = 0.1 is 1.",
        expected=1.0,
        within=0.05,
        compute=hard_share(0.1),
        exact=QUADRATURE,
        source="abstract",
    ),
)
