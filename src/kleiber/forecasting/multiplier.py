"""One law for two systems, the second of which has its columns multiplied.

    log L_A = f(z),   log L_B = f(z + s),   s_c = mu_c + c u/m in each of m columns,

u the log distance of a row's product of columns from that at which the multiplier is asked for:
both systems share a law, and what the second gains may change with scale as a power c. Where both
have runs of the same size, their mean and their difference are what is fitted, with a scale of
noise each: what the two share, such as the order of data, does not blur the difference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from kleiber.forecasting.families import (
    Family,
    evaluate,
    evaluate_with_slopes,
    exponents_in_logs,
)

Array = np.ndarray
MULTIPLIER_SD = 1.0  # of mu: a factor of 2.7
CHANGE_SD = 0.05  # of c
STEP = 1e-4  # of the derivative by a shift


@dataclass(frozen=True)
class Multiplied:
    """The law of both systems: a row is ``first`` log L_A + ``second`` log L_B, times ``factor``.

    Its parameters are the family's, mu of each column, and c.
    """

    family: Family
    first: Float[np.ndarray, "rows"]
    second: Float[np.ndarray, "rows"]
    factor: Float[np.ndarray, "rows"]
    target: float  # the sum of z at which the multiplier is asked for

    @property
    def added(self) -> int:
        """Number of parameters beside the family's."""
        return self.family.columns + 1

    @property
    def centre(self) -> Float[np.ndarray, "parameters"]:
        """Means of the priors."""
        return np.append(self.family.centre, np.zeros(self.added))

    @property
    def spread(self) -> Float[np.ndarray, "parameters"]:
        """Standard deviations of the priors."""
        each = [MULTIPLIER_SD / np.sqrt(self.family.columns)] * self.family.columns
        return np.append(self.family.spread, [*each, CHANGE_SD])

    def value(self, theta: Array, z: Array) -> Array:
        """Return the rows' logs."""
        inner = theta[..., : -self.added]
        here = evaluate(self.family, inner, z)
        there = evaluate(self.family, inner, self.shifted(theta, z))
        return self.factor * (self.first * here + self.second * there)

    def value_with_slopes(self, theta: Array, z: Array) -> tuple[Array, Array]:
        """Return the rows' logs and their Jacobian."""
        inner, there = theta[..., : -self.added], self.shifted(theta, z)
        here, own = evaluate_with_slopes(self.family, inner, z)
        other, slopes = evaluate_with_slopes(self.family, inner, there)
        value = self.first * here + self.second * other
        jacobian = self.first[:, None] * own + self.second[:, None] * slopes
        each = [self.second * part for part in self._by_column(inner, there)]
        change = sum(each) * (z.sum(axis=-1) - self.target) / len(each)
        added = np.stack([*each, change], axis=-1)
        whole = np.concatenate([jacobian, added], axis=-1)
        return self.factor * value, self.factor[:, None] * whole

    def _by_column(self, inner: Array, z: Array) -> list[Array]:
        """Return the derivative of log L by the log of each column."""
        out: list[Array] = []
        for k in range(z.shape[-1]):
            step = np.zeros(z.shape[-1])
            step[k] = STEP
            up, down = (evaluate(self.family, inner, z + sign * step) for sign in (1, -1))
            out.append((up - down) / (2 * STEP))
        return out

    def exponents(self, theta: Array) -> tuple[Array, Array]:
        """Return the logs of the family's exponents and their Jacobian."""
        value, slopes = exponents_in_logs(self.family, theta[:, : -self.added])
        nothing = np.zeros((*slopes.shape[:2], self.added))
        return value, np.concatenate([slopes, nothing], axis=-1)

    def shifted(self, theta: Array, z: Array) -> Array:
        """Return where the second system's rows are on the law."""
        distance = z.sum(axis=-1) - self.target
        change = theta[..., -1:] * distance / z.shape[-1]
        return z + theta[..., None, -self.added : -1] + change[..., None]
