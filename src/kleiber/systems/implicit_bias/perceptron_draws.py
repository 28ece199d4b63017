"""Perceptrons trained on random data: at fixed norm, and by gradient flow without a constraint.

Data: P = load * N inputs of N random signs, a Gaussian teacher, z = y w.x/sqrt(N). Both minimise
the sum of V(z) = log(1 + e^(-2z)) over the examples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit

from kleiber.errors import NotConverged
from kleiber.maths.seeds import stream

Weights = Float[np.ndarray, "dimension"]
Matrix = Float[np.ndarray, "examples dimension"]
NEWTON_STEPS, GRADIENT = 400, 1e-9  # gradient tolerance relative to the ridge term
STEP, GROWTH = 0.8, 0.02  # of a gradient step: times the largest curvature, relative to the norm
START = 1e-3  # norm from which the flow starts along Hebb's direction, at most a tenth of the first
FLOW_STEPS = 200_000


@dataclass(frozen=True)
class Sample:
    """One draw: examples times labels over sqrt(N), and the teacher, of norm sqrt(N)."""

    examples: Matrix
    teacher: Weights


@dataclass(frozen=True)
class Trained:
    """Weights at each norm asked for, and the time at which the flow has them."""

    weights: Float[np.ndarray, "norms dimension"]
    time: Float[np.ndarray, "norms"]


def draw_sample(load: float, size: int, seed: int, member: int) -> Sample:
    """Draw round(load * size) examples in `size` dimensions and a teacher, for one member."""
    rng = stream(seed, f"perceptron {member} {size}")
    teacher = rng.standard_normal(size)
    signs = rng.integers(0, 2, (max(1, round(load * size)), size), dtype=np.int8)
    inputs = 2.0 * signs - 1
    labels = np.where(inputs @ teacher >= 0, 1.0, -1.0)
    scale = np.sqrt(size)
    return Sample(inputs * (labels / scale)[:, None], teacher * scale / np.linalg.norm(teacher))


def train_ridge(
    sample: Sample, norm: Float[np.ndarray, "norms"], ridge: Float[np.ndarray, "norms"]
) -> Trained:
    """Minimise sum V(z) + ridge |w|^2/2 for each ridge, by Newton's method from the last solution.

    Norms must rise; they only scale the starting point. Raises NotConverged.
    """
    a = sample.examples
    hebb = a.sum(0)
    w = hebb * (norm[0] * np.sqrt(hebb.size) / np.linalg.norm(hebb))
    found = np.empty((norm.size, w.size))
    for i, (lam, mu) in enumerate(zip(norm, ridge, strict=True)):
        w = _newton(a, w * (lam * np.sqrt(w.size) / np.linalg.norm(w)), float(mu))
        found[i] = w
    return Trained(found, np.full(norm.size, np.inf))


def _newton(a: Matrix, w: Weights, mu: float) -> Weights:
    """Minimise the loss with ridge mu, in units of mu, which may be very small.

    |V'''| <= 2 V'' makes V quasi-self-concordant (Bach 2010): the step times log(1 + q)/q, where
    q/2 is its largest change of z, always descends.
    """
    remaining = np.inf
    for _ in range(NEWTON_STEPS):
        z = a @ w
        miss = 2 * expit(-2 * z) / mu
        gradient = w - miss @ a
        remaining = float(np.linalg.norm(gradient) / np.linalg.norm(w))
        if remaining < GRADIENT:
            return w
        curvature = 2 * miss * expit(2 * z)
        if a.shape[0] < a.shape[1]:  # Woodbury: solve among the examples
            inner = (a * curvature[:, None]) @ a.T
            inner[np.diag_indices_from(inner)] += 1
            step = gradient - a.T @ np.linalg.solve(inner, curvature * (a @ gradient))
        else:
            hessian = (a * np.sqrt(curvature)[:, None]).T
            hessian = hessian @ hessian.T
            hessian[np.diag_indices_from(hessian)] += 1
            try:
                step = cho_solve(cho_factor(hessian, overwrite_a=True), gradient)
            except np.linalg.LinAlgError:  # beyond double precision
                break
        q = max(2 * float(np.abs(a @ step).max()), 1e-12)
        w = w - step * (np.log1p(q) / q)
    raise NotConverged(
        f"The weights of the drawn perceptron with ridge {mu:.3g} were not found.",
        remaining,
        NEWTON_STEPS,
    )


def train_flow(sample: Sample, norm: Float[np.ndarray, "norms"]) -> Trained:
    """Return weights at which gradient flow passes each rising norm, from a small norm on.

    Steps are STEP over the largest curvature (by power iteration), or as long as the norm grows by
    GROWTH; weights at a norm are interpolated within a step. Raises NotConverged.
    """
    a, scale = sample.examples, np.sqrt(sample.teacher.size)
    w = a.sum(0)
    first = min(START, 0.1 * float(norm[0]))
    size = float(np.linalg.norm(w))
    w, time = w * (first * scale / size), first * scale / size
    probe: Weights = w / np.linalg.norm(w)
    found, times = np.empty((norm.size, w.size)), np.empty(norm.size)
    done = 0
    reach = first
    for _ in range(FLOW_STEPS):
        fall = np.asarray(expit(-2 * (a @ w)), float)
        force: Weights = 2 * (fall @ a)
        probe: Weights = (4 * fall * (1 - fall) * (a @ probe)) @ a
        top = max(float(np.linalg.norm(probe)), 1e-300)
        probe = probe / top
        pace = min(STEP / top, GROWTH * reach * scale / float(np.linalg.norm(force)))
        new: Weights = w + pace * force
        reach = float(np.linalg.norm(new)) / scale
        while done < norm.size and norm[done] <= reach:
            share = _crossing(w, new, float(norm[done]) * scale)
            found[done], times[done] = w + share * (new - w), time + share * pace
            done += 1
        if done == norm.size:
            return Trained(found, times)
        w, time = new, time + pace
    raise NotConverged(
        f"The flow has not reached norm {norm[-1]:g}.", float(norm[-1] - reach), FLOW_STEPS
    )


def _crossing(start: Weights, end: Weights, norm: float) -> float:
    """Return the fraction of the step from start to end at which the norm is passed."""
    step = end - start
    a, b, c = float(step @ step), float(start @ step), float(start @ start) - norm**2
    return min(1.0, -c / (b + np.sqrt(max(b**2 - a * c, 0.0))))
