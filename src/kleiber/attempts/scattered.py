"""Linear regression of estimates that scatter about the line by more than their own errors.

Estimates y with covariance V are normal about X c with covariance V + spread^2, the spread by
restricted maximum likelihood. The errors of c are those of Hartung and Knapp (2001): multiplied by
the square root of what is left over per degree of freedom, unless that is below 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import optimize


class Regression(NamedTuple):
    """The last coefficient, its standard error, the spread, and the degrees of freedom."""

    value: float
    error: float
    spread: float
    degrees_of_freedom: int


def regress(
    y: Float[np.ndarray, "estimates"],
    covariance: Float[np.ndarray, "estimates estimates"],
    design: Float[np.ndarray, "estimates params"],
) -> Regression:
    """Return the coefficient of the last column of the design."""
    count, params = (int(n) for n in design.shape)

    def solve(spread: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        precision = np.linalg.inv(covariance + spread**2 * np.eye(count))
        information = design.T @ precision @ design
        coefficients = np.linalg.solve(information, design.T @ precision @ y)
        return precision, information, coefficients, y - design @ coefficients

    def lost(spread: float) -> float:
        precision, information, _, rest = solve(spread)
        logs = np.linalg.slogdet(information)[1] - np.linalg.slogdet(precision)[1]
        return float(rest @ precision @ rest + logs)

    rough = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    widest = 3 * float(np.sqrt(rough @ rough / max(count - params, 1))) + 1e-9
    found = optimize.minimize_scalar(lost, bounds=(0.0, widest), method="bounded")
    spread = 0.0 if lost(0.0) <= float(found.fun) else float(found.x)
    precision, information, coefficients, rest = solve(spread)
    left = count - params
    excess = max(float(rest @ precision @ rest) / max(left, 1), 1.0)
    error = float(np.sqrt(np.linalg.inv(information)[-1, -1] * excess))
    return Regression(float(coefficients[-1]), error, spread, left)
