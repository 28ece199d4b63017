"""Noise models: the scale of the residuals, and the loss function rho that is applied to them.

With r = log(prediction) - log(data) (or their plain difference), the loss of a row is rho(r):

- least squares    rho = r^2 / 2
- Huber, width d   rho = r^2 / 2 for abs(r) <= d, else d (abs(r) - d/2)      (Huber 1964)
- Student-t, nu    rho = (nu+1)/2 log(1 + r^2/(nu s^2)) + log s, s fitted    (Lange et al. 1989)

The objective of a fit is the weighted sum of rho: half the sum of squares for least squares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from kleiber.arguments import check_number
from kleiber.errors import nearest, shown


@dataclass(frozen=True)
class Noise:
    """How the residuals of a fit are measured: their scale and their loss function.

    The residual is r = log(prediction) - log(target) on the scale ``"log"``, or the plain
    difference on ``"linear"``. The loss function rho(r) is r^2/2 (least squares); or Huber's of
    width d, r^2/2 for abs(r) <= d and d (abs(r) - d/2) beyond (Huber 1964); or that of Student-t
    noise with nu degrees of freedom, (nu + 1)/2 log(1 + r^2/(nu s^2)) + log s with s fitted (Lange
    et al. 1989).

    Attributes
    ----------
    scale
        ``"log"`` or ``"linear"``.
    delta
        The width d of Huber's loss function, in the unit of the residuals; None for least squares.
    dof
        The degrees of freedom nu of Student-t noise; None for noise that is not Student-t.

    Raises
    ------
    ValueError
        For an unknown scale, a number that is not positive, and both ``delta`` and ``dof``.

    Examples
    --------
    >>> import kleiber
    >>> kleiber.Noise("log", delta=1e-3).describe()
    'Huber 0.001 on log residuals'
    >>> kleiber.Noise("linear").describe()
    'least squares on plain residuals'
    """

    scale: Literal["log", "linear"] = "log"
    delta: float | None = None
    dof: float | None = None

    def __post_init__(self) -> None:
        if self.scale not in ("log", "linear"):
            hint = nearest(str(self.scale), ("log", "linear"))
            raise ValueError(
                f"The noise scale is 'log' or 'linear', got {shown(self.scale)}.{hint}"
            )
        for name, value in (("delta", self.delta), ("dof", self.dof)):
            if value is not None:
                check_number(f"noise {name}", value, "a positive number or None", above=0)
        if self.delta is not None and self.dof is not None:
            raise ValueError("The noise is Huber (delta) or Student-t (dof), not both.")

    def describe(self) -> str:
        """Describe the noise model in one phrase."""
        kind = "least squares" if self.delta is None else f"Huber {self.delta:g}"
        if self.dof is not None:
            kind = f"Student-t with {self.dof:g} degrees of freedom"
        return f"{kind} on {'log' if self.scale == 'log' else 'plain'} residuals"


@dataclass(frozen=True)
class LossTerms:
    """Loss rho of each residual with the terms of its derivatives: psi = rho', weight = psi/r,
    curvature = rho''."""

    rho: Float[np.ndarray, "batch rows"]
    psi: Float[np.ndarray, "batch rows"]
    weight: Float[np.ndarray, "batch rows"]
    curvature: Float[np.ndarray, "batch rows"]


def evaluate_loss(
    noise: Noise, r: Float[np.ndarray, "batch rows"], scale: Float[np.ndarray, "batch"]
) -> LossTerms:
    """Evaluate the loss of every residual; ``scale`` is s of Student-t noise and is ignored
    otherwise."""
    if noise.dof is not None:
        s2 = (noise.dof * scale**2)[:, None]
        base = s2 + r * r
        weight = (noise.dof + 1) / base
        rho = 0.5 * (noise.dof + 1) * np.log1p(r * r / s2) + np.log(scale)[:, None]
        return LossTerms(rho, weight * r, weight, weight * (s2 - r * r) / base)
    if noise.delta is None:
        one = np.ones_like(r)
        return LossTerms(0.5 * r * r, r, one, one)
    size = np.abs(r)
    small = np.minimum(size, noise.delta)
    weight = small / np.where(size > 0, size, 1.0)
    weight = np.where(size > 0, weight, 1.0)
    inside = (size <= noise.delta).astype(float)
    return LossTerms(small * (size - 0.5 * small), weight * r, weight, inside)


def fit_scale(
    r: Float[np.ndarray, "batch rows"],
    weights: Float[np.ndarray, "batch rows"],
    dof: float,
    start: Float[np.ndarray, "batch"],
) -> Float[np.ndarray, "batch"]:
    """Estimate the scale s of Student-t residuals by maximum likelihood, with EM iterations."""
    s = start.copy()
    total = weights.sum(axis=1)
    for _ in range(200):
        s2 = (s**2)[:, None]
        new = np.sqrt((weights * (dof + 1) * r * r / (dof + r * r / s2)).sum(axis=1) / total)
        done = np.abs(new - s) <= 1e-10 * s
        s = np.maximum(new, 1e-300)
        if done.all():
            break
    return s
