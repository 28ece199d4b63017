"""Derivatives of a law that cannot be traced, by complex steps or finite differences.

The complex step is exact to rounding (Squire & Trapp 1998) but needs a law that accepts complex
numbers; where it disagrees with central differences, those are used. All points of a batch are
computed in one call if the law is elementwise, and one at a time if it branches on a value. What a
law allows is found out at the first point.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from kleiber.fitting.engine.derivatives import Derivatives, Differentiate
from kleiber.law import Law, run_function

COMPLEX_STEP = 1e-30  # complex step, relative to the parameter
REAL_STEP = 6e-6  # real step in the fitted coordinate


@dataclass(frozen=True)
class _StepMethod:
    """A law on a table, and the method by which it is differentiated."""

    law: Law
    data: tuple[np.ndarray, ...]
    target: np.ndarray
    scale: str
    vectorised: bool
    complex_step: bool

    def residual(self, theta: np.ndarray) -> np.ndarray:
        """Return residuals at parameter values (batch x params), which may be complex."""
        with np.errstate(all="ignore"):
            parts = [theta] if self.vectorised else [row[None] for row in theta]
            value = np.concatenate([self._call(part) for part in parts])
            if self.scale == "linear":
                return value - self.target
            return np.log(np.where(np.real(value) > 0, value, np.nan)) - self.target

    def _call(self, theta: np.ndarray) -> np.ndarray:
        columns = [theta[:, [k]] if self.vectorised else theta[0, k] for k in range(theta.shape[1])]
        named = dict(zip(self.law.params, columns, strict=True))
        value = np.asarray(run_function(self.law, self.data, named))
        return np.broadcast_to(value, (len(theta), len(self.target)))

    def differentiate_by(self, u: np.ndarray, k: int) -> np.ndarray:
        """Return the derivative of every residual in coordinate k."""
        domain = list(self.law.domains.values())[k]
        if self.complex_step:
            theta = _to_values(self.law, u).astype(complex)
            with np.errstate(all="ignore"):  # nothing is finite where a parameter has run off
                size = COMPLEX_STEP * np.maximum(np.abs(np.real(theta[:, k])), 1e-100)
                theta[:, k] += 1j * size
                differentiate_by = np.imag(self.residual(theta)) / size[:, None]
                return differentiate_by * domain.derivative(u[:, [k]])
        size = REAL_STEP * np.maximum(1.0, np.abs(u[:, k]))
        upper, lower = u.copy(), u.copy()
        upper[:, k] += size
        lower[:, k] -= size
        difference = self.residual(_to_values(self.law, upper)) - self.residual(
            _to_values(self.law, lower)
        )
        return difference / (2 * size[:, None])

    def jacobian(self, u: np.ndarray) -> np.ndarray:
        """Return all first derivatives, batch x params x rows."""
        return np.stack([self.differentiate_by(u, k) for k in range(u.shape[1])], axis=1)


def _to_values(law: Law, u: np.ndarray) -> np.ndarray:
    kinds = law.domains.values()
    return np.stack([domain.from_coordinate(u[:, k]) for k, domain in enumerate(kinds)], axis=1)


def numeric_derivatives(
    law: Law,
    columns: dict[str, Float[np.ndarray, "rows"]],
    target: Float[np.ndarray, "rows"],
    scale: str,
) -> Differentiate:
    """Return the function that differentiates an untraced law; ``target`` is on the scale of the
    noise model."""
    data = tuple(columns[name] for name in law.variables)
    safest = _StepMethod(law, data, target, scale, vectorised=False, complex_step=False)
    chosen: list[_StepMethod] = []

    def differentiate(u: Float[np.ndarray, "batch params"], second: bool) -> Derivatives:
        if not chosen:
            chosen.append(_choose_method(safest, u[0]))
        steps = chosen[0]
        return Derivatives(np.real(steps.residual(_to_values(law, u))), steps.jacobian(u), None)

    return differentiate


def _choose_method(safest: _StepMethod, u: np.ndarray) -> _StepMethod:
    """Return the fastest method that agrees with real differences of one point at a time."""
    points = np.stack([u, u + 0.01 * np.maximum(np.abs(u), 0.1), u * 0.98])
    with np.errstate(all="ignore"):
        rough, value = safest.jacobian(points), safest.residual(_to_values(safest.law, points))
    best = safest
    for change in ({"complex_step": True}, {"vectorised": True}):
        trial = replace(best, **change)
        try:
            jacobian = trial.jacobian(points)
            same = np.real(trial.residual(_to_values(safest.law, points)))
        except (TypeError, ValueError, IndexError, AttributeError):
            continue  # the law does not take complex numbers, or not many members at once
        if _arrays_agree(jacobian, rough, 1e-3) and _arrays_agree(same, value, 1e-12):
            best = trial
    return best


def _arrays_agree(first: np.ndarray, second: np.ndarray, tolerance: float) -> bool:
    if first.shape != second.shape:
        return False
    known = np.isfinite(first) & np.isfinite(second)
    gap = np.abs(first - second)[known].max(initial=0.0)
    return bool(gap <= tolerance * max(np.abs(second[known]).max(initial=0.0), 1e-300))
