"""Derivatives of a law that cannot be traced: complex step, or differences.

The complex step is exact to rounding (Squire & Trapp 1998) but wants a law that accepts complex
numbers; where it disagrees with central differences, those are used. All members are computed in
one call of the law when it is elementwise, and one at a time when it branches on a value. What a
law allows is found out at the first point.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from kleiber.fitting.engine.derivatives import Differentiate, Slopes
from kleiber.law import Law, run_function

TINY = 1e-30  # complex step, relative to the parameter
STEP = 6e-6  # real step in the fitted coordinate


@dataclass(frozen=True)
class _Steps:
    """A law on a table, and how it may be differentiated."""

    law: Law
    data: tuple[np.ndarray, ...]
    target: np.ndarray
    scale: str
    together: bool
    complex_step: bool

    def residual(self, theta: np.ndarray) -> np.ndarray:
        """Residuals at parameters (members x params), which may be complex."""
        with np.errstate(all="ignore"):
            parts = [theta] if self.together else [row[None] for row in theta]
            value = np.concatenate([self._call(part) for part in parts])
            if self.scale == "linear":
                return value - self.target
            return np.log(np.where(np.real(value) > 0, value, np.nan)) - self.target

    def _call(self, theta: np.ndarray) -> np.ndarray:
        columns = [theta[:, [k]] if self.together else theta[0, k] for k in range(theta.shape[1])]
        named = dict(zip(self.law.params, columns, strict=True))
        value = np.asarray(run_function(self.law, self.data, named))
        return np.broadcast_to(value, (len(theta), len(self.target)))

    def slope(self, u: np.ndarray, k: int) -> np.ndarray:
        """Derivative of every residual in the coordinate k."""
        domain = list(self.law.domains.values())[k]
        if self.complex_step:
            theta = _outer(self.law, u).astype(complex)
            with np.errstate(all="ignore"):  # nothing is finite where a parameter has run off
                size = TINY * np.maximum(np.abs(np.real(theta[:, k])), 1e-100)
                theta[:, k] += 1j * size
                slope = np.imag(self.residual(theta)) / size[:, None]
                return slope * domain.stretch(u[:, [k]])
        size = STEP * np.maximum(1.0, np.abs(u[:, k]))
        upper, lower = u.copy(), u.copy()
        upper[:, k] += size
        lower[:, k] -= size
        rise = self.residual(_outer(self.law, upper)) - self.residual(_outer(self.law, lower))
        return rise / (2 * size[:, None])

    def slopes(self, u: np.ndarray) -> np.ndarray:
        """All derivatives: members x params x rows."""
        return np.stack([self.slope(u, k) for k in range(u.shape[1])], axis=1)


def _outer(law: Law, u: np.ndarray) -> np.ndarray:
    kinds = law.domains.values()
    return np.stack([domain.outer(u[:, k]) for k, domain in enumerate(kinds)], axis=1)


def stepped_slopes(
    law: Law,
    columns: dict[str, Float[np.ndarray, "rows"]],
    target: Float[np.ndarray, "rows"],
    scale: str,
) -> Differentiate:
    """Residuals and first derivatives of an untraced law; ``target`` is on the noise's scale."""
    data = tuple(columns[name] for name in law.variables)
    plain = _Steps(law, data, target, scale, together=False, complex_step=False)
    chosen: list[_Steps] = []

    def differentiate(u: Float[np.ndarray, "members params"], second: bool) -> Slopes:
        if not chosen:
            chosen.append(_allowed(plain, u[0]))
        steps = chosen[0]
        return Slopes(np.real(steps.residual(_outer(law, u))), steps.slopes(u), None)

    return differentiate


def _allowed(plain: _Steps, u: np.ndarray) -> _Steps:
    """The fastest way that agrees with one member at a time and real differences."""
    points = np.stack([u, u + 0.01 * np.maximum(np.abs(u), 0.1), u * 0.98])
    with np.errstate(all="ignore"):
        rough, value = plain.slopes(points), plain.residual(_outer(plain.law, points))
    best = plain
    for change in ({"complex_step": True}, {"together": True}):
        trial = replace(best, **change)
        try:
            slopes = trial.slopes(points)
            same = np.real(trial.residual(_outer(plain.law, points)))
        except (TypeError, ValueError, IndexError, AttributeError):
            continue  # the law does not take complex numbers, or not many members at once
        if _agree(slopes, rough, 1e-3) and _agree(same, value, 1e-12):
            best = trial
    return best


def _agree(first: np.ndarray, second: np.ndarray, tolerance: float) -> bool:
    if first.shape != second.shape:
        return False
    known = np.isfinite(first) & np.isfinite(second)
    gap = np.abs(first - second)[known].max(initial=0.0)
    return bool(gap <= tolerance * max(np.abs(second[known]).max(initial=0.0), 1e-300))
