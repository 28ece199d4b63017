"""Limits of the perceptron's theory: reference rules, early law, master curve, and flow.

Symbols as in ``perceptron.py``; Dt is the standard Gaussian measure.

- Rules with one load and no norm: Hebb's (norm -> 0), maximal stability (norm -> infinity), Gibbs's
  (a random vector without training error) and Bayes's (their average), which no rule beats.
- Load -> infinity at fixed norm: error/Hebb error = sqrt(2 A), A = Int_0^inf Dt
  (1 - tanh lambda t)^2 (`early_curve`), k1 lambda^(-1/2) for large norms.
- Load and norm -> infinity with ell = lambda/alpha: error = d(ell)/(pi alpha) (`master_curve`).
- Gradient flow without a constraint, load -> infinity at fixed norm (`flow_curve`): writing
  w = lambda w* + v, each example of margin t adds phi(t) to v, and with c1 = 2 Int_0^inf Dt t (1 -
  tanh lambda t) and H = 2 Int_0^inf Dt sech^2(lambda t),
      dlambda/dtime = alpha c1,   dphi/dlambda = (1 - tanh lambda t)/c1 - (H/c1) phi,
      (error/Hebb error)^2 = (2/pi) lambda^-2 2 Int_0^inf Dt phi^2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr

from kleiber.arguments import check_array
from kleiber.errors import NotConverged
from kleiber.systems.implicit_bias.perceptron_saddle import FAR, solve_saddle

Points = Float[np.ndarray, "points"]
PANELS, NODES = 20, 16  # panels and nodes of an integral over the margin
STEPS, STAGES = 24, 8  # panels and nodes of an integral along the flow
MEMORY = 45.0  # relaxation times after which the past of the flow no longer matters
DEAD = 20.0  # tanh(20) is 1 in double precision
EARLY_AMPLITUDE = math.sqrt(2 * (2 * math.log(2) - 1) / math.sqrt(2 * math.pi))
"""k1 = 0.555174: error/Hebb error is k1 lambda^(-1/2) for 1 << lambda << load."""


@dataclass(frozen=True)
class References:
    """Generalisation errors of rules that have no norm, and the stability kappa of the best margin
    (the smallest y w.x/(|w| sqrt(N)))."""

    hebb: float
    gibbs: float
    bayes: float
    max_stability: float
    kappa: float


@dataclass(frozen=True)
class MasterOptimum:
    """The minimum of the master curve: norm_opt = ell alpha, error_opt = d/(pi alpha)."""

    ell: float
    d: float


def hebb_error(load: float) -> float:
    """Return the error of Hebb's rule, arctan(sqrt(pi/(2 alpha)))/pi."""
    return math.atan(math.sqrt(math.pi / 2 / load)) / math.pi


def references(load: float) -> References:
    """Compute the errors of Hebb's, Gibbs's and Bayes's rules and of maximal stability."""
    far, kappa = _max_stability(load)
    y = _gibbs(load)
    gibbs, bayes = 2 * math.asin(math.sqrt(y / 2)), math.asin(math.sqrt(y))
    return References(hebb_error(load), gibbs / math.pi, bayes / math.pi, far, kappa)


def early_curve(norm: ArrayLike) -> Points:
    """Return error/Hebb error at fixed norm, large load: sqrt(2 Int_0^inf Dt (1 - tanh)^2).

    Raises ValueError for a norm that is not positive.
    """
    lam = check_positive("norm", norm)
    t, weight = _half_line(lam)
    return np.sqrt(2 * (weight * _miss(lam[:, None] * t) ** 2).sum(1))


def master_curve(ell: ArrayLike) -> Points:
    """Return d(ell), ell = norm/load: error = d/(pi load) for load and norm -> infinity.

    Raises ValueError for an ell that is not positive, and NotConverged.
    """
    return solve_saddle(1.0, check_positive("ell", ell), limit=True).delta


@cache
def master_optimum() -> MasterOptimum:
    """Find ell* = 0.8836 and d* = 1.3885: norm_opt = 0.8836 load, error_opt = 0.44198/load."""
    log_ell, d = lowest(lambda x: master_curve(np.exp(x)), math.log(0.2), math.log(4.0))
    return MasterOptimum(math.exp(log_ell), d)


def lowest(curve: Callable[[Points], Points], low: float, high: float) -> tuple[float, float]:
    """Find the place and value of the single minimum of a smooth curve between low and high.

    Grids are refined around it, and a parabola through three points ends the search. Raises
    NotConverged for a minimum at either end.
    """
    for step in range(1, 7):
        x = np.linspace(low, high, 25)
        y = curve(x)
        best = int(np.argmin(y))
        if best in (0, x.size - 1):
            raise NotConverged("No minimum lies inside the range searched.", high - low, step)
        low, high = float(x[best - 1]), float(x[best + 1])
        if high - low < 1e-3:
            a, b, c = (float(item) for item in y[best - 1 : best + 2])
            shift = 0.5 * (a - c) / (a - 2 * b + c)
            return float(x[best]) + shift * (high - low) / 2, b - (a - c) * shift / 4
    raise NotConverged("The grids did not converge to the minimum.", high - low, 6)


def flow_curve(norm: ArrayLike) -> Points:
    """Return error/Hebb error of gradient flow at the norm, for load -> infinity.

    It lies above `early_curve`, by at most 15% (near norm 0.66) and by (pi^2/48)/norm^2 for large
    norms. Raises ValueError for a norm that is not positive.
    """
    lam = check_positive("norm", norm)
    return np.concatenate([_flow(lam[i : i + 16]) for i in range(0, lam.size, 16)])


def flow_time(norm: ArrayLike) -> Points:
    """Return load times the time at which gradient flow from zero reaches the norm (large load).

    time = Int_0^norm dlambda/(alpha c1), about norm^3/(0.984 alpha) for large norms. Raises
    ValueError for a norm that is not positive.
    """
    lam = check_positive("norm", norm)
    ends = np.concatenate([[0.0], 2.0 ** np.arange(-20, 1)])
    x, weight = np.polynomial.legendre.leggauss(NODES)
    half = np.diff(ends)[:, None] / 2
    at, weight = (ends[:-1, None] + half * (1 + x)).ravel(), (half * weight).ravel()
    return np.array([each * (weight / _flow_rates(each * at)[0]).sum() for each in lam])


def check_positive(name: str, values: ArrayLike) -> Points:
    """Return the values as an array. Raises ValueError unless they are finite and positive."""
    return check_array(name, values, "finite positive numbers, one or a list", above=0)


def _miss(z: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Return 1 - tanh z for z >= 0, without cancellation."""
    fall = np.exp(-2 * z)
    return 2 * fall / (1 + fall)


def _half_line(
    lam: Points,
) -> tuple[Float[np.ndarray, "points nodes"], Float[np.ndarray, "points nodes"]]:
    """Return nodes t > 0 with the weights of Dt over the support of 1 - tanh(lambda t) and Dt."""
    x, weight = np.polynomial.legendre.leggauss(NODES)
    at = ((np.arange(PANELS)[:, None] + (1 + x) / 2) / PANELS).ravel()
    reach = np.minimum(FAR, DEAD / lam)[:, None]
    t = reach * at
    dt = reach * np.tile(weight, PANELS) / (2 * PANELS)
    return t, dt * np.exp(-(t**2) / 2) / math.sqrt(2 * math.pi)


def _flow_rates(lam: Points) -> tuple[Points, Points]:
    """Return c1 and H at each norm."""
    t, weight = _half_line(lam)
    miss = _miss(lam[:, None] * t)
    return 2 * (weight * t * miss).sum(1), 2 * (weight * miss * (2 - miss)).sum(1)


def _flow(lam: Points) -> Points:
    """Compute the flow's curve at a few norms: phi(t) by quadrature over the preceding norms.

    The relaxation rate H/c1 exceeds (24/pi^2) lambda, which bounds how far back norms matter.
    """
    x, weight = np.polynomial.legendre.leggauss(STAGES)
    first = np.sqrt(np.maximum(lam**2 - MEMORY * np.pi**2 / 12, 0))
    half = ((lam - first) / (2 * STEPS))[:, None, None]
    l = first[:, None, None] + half * (2 * np.arange(STEPS)[:, None] + 1 + x)
    c1, pull = (item.reshape(l.shape) for item in _flow_rates(l.ravel()))
    rate = pull / c1
    within = half * (rate @ _integration_matrix().T)  # from the panel's start to each node
    whole = (half * rate * weight).sum(2)
    ahead = np.flip(np.cumsum(np.flip(whole, 1), 1), 1)  # from the panel's start to the end
    kernel = half * weight / c1 * np.exp(within - ahead[:, :, None])
    t, measure = _half_line(np.maximum(first, 1e-3))
    integrand = _miss(l.reshape(lam.size, -1, 1) * t[:, None, :])
    phi = (kernel.reshape(lam.size, -1, 1) * integrand).sum(1)
    return np.sqrt(4 / np.pi * (measure * phi**2).sum(1)) / lam


@cache
def _integration_matrix() -> Float[np.ndarray, "nodes nodes"]:
    """Return the integrals of the nodes' Lagrange polynomials from -1 to each node."""
    legendre = np.polynomial.legendre
    x, _ = legendre.leggauss(STAGES)
    coefficients = np.linalg.inv(legendre.legvander(x, STAGES - 1))
    return legendre.legval(x, legendre.legint(coefficients, lbnd=-1, axis=0)).T


def _max_stability(load: float) -> tuple[float, float]:
    """Return error and stability, from a root in b = kappa/delta that gives R/delta in closed
    form."""
    x, weight = np.polynomial.legendre.leggauss(NODES)
    ends = np.concatenate([-np.array([FAR, 6, 4, 2.5, 1.2]), np.linspace(0, 1, 9)])

    def angle(b: float) -> float:
        density = math.exp(-b * b / 2) / math.sqrt(2 * math.pi)
        ratio = load * math.sqrt(2 / math.pi) * (b * float(ndtr(b)) + density)
        return math.atan2(1, ratio)

    def excess(log_b: float) -> float:
        b, theta = math.exp(log_b), angle(math.exp(log_b))
        edge = np.where(ends > 0, b * ends, ends)
        half = np.diff(edge)[:, None] / 2
        u = edge[:-1, None] + half * (1 + x)
        integrand = _gauss(math.sin(theta) * u) * ndtr(math.cos(theta) * u) * (b - u) ** 2
        total = float((half * weight * integrand).sum())
        return math.log(2 * load * math.sin(theta) * total)

    b = math.exp(brentq(excess, math.log(1e-2), math.log(1e3 + 10 / math.sqrt(load)), xtol=1e-13))
    return angle(b) / math.pi, b * math.sin(angle(b))


def _gibbs(load: float) -> float:
    """Return 1 - R of Gibbs's rule, from R = (alpha/pi) sqrt(1 - R) Int Dt e^(-R t^2/2)/H(sqrt(R)
    t)."""
    x, weight = np.polynomial.legendre.leggauss(NODES)
    edge = np.linspace(-FAR, FAR, 25)
    half = np.diff(edge)[:, None] / 2
    t, dt = edge[:-1, None] + half * (1 + x), half * weight

    def excess(log_y: float) -> float:
        y = math.exp(log_y)
        r = -math.expm1(log_y)
        logs = -(1 + r) * t**2 / 2 - log_ndtr(-math.sqrt(r) * t)
        total = float((dt * np.exp(logs)).sum()) / math.sqrt(2 * math.pi)
        return math.log(load / math.pi * math.sqrt(y) * total / r)

    return math.exp(brentq(excess, -80.0, -1e-13, xtol=1e-14))


def _gauss(t: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    return np.exp(-np.square(t) / 2) / math.sqrt(2 * math.pi)
