"""The loss on fresh data of a model trained on n_data examples, at any width.

With f the learned fraction as a function of the data's eigenvalue x, the error of the weights is
w* - f(K0 Lhat) w* - [f(x)/x](K0 Lhat) K0 Psi^T eps/D, so that the loss is a double contour integral
of f f' against the mean of two resolvents. With sums P over modes,

    P_j = sum_k q_k/((kappa + lam_k)(kappa' + lam_k)),  q = c, lam, c lam, lam^2 for j = 0, 1, 2, 3,
    d = 1 - P_3/D - kappa kappa' P_1^2/(N D (1 - P_3/N)),
    signal: (kappa kappa'/(z z')) [P_0 + P_1 P_2/(N (1 - P_3/N))]/d,   noise: sigma^2 (1/d - 1),

the noise with f/x in place of f. These are the two-time equations of the model's mean-field theory
without feature learning, solved in the Laplace domain; feature learning changes f alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float, Inexact

from kleiber.systems.feature_learning.finite import Contour
from kleiber.systems.feature_learning.flow import weigh

Square = Complex[np.ndarray, "nodes nodes"]


@dataclass(frozen=True)
class TestLoss:
    """The loss on fresh data as start - 2 Re(once f) + Re(f both f + f across conj f)/2."""

    __test__ = False  # not a test, whatever its name

    start: float
    once: Complex[np.ndarray, "nodes"]
    both: Square
    across: Square

    def at(self, learned: Inexact[np.ndarray, "times nodes"]) -> Float[np.ndarray, "times"]:
        """Return the loss for the learned fractions at the nodes."""
        pairs = (learned @ self.both) * learned + (learned @ self.across) * learned.conj()
        return self.start - 2 * weigh(learned, self.once) + np.real(pairs.sum(axis=1)) / 2

    def rate(
        self,
        learned: Inexact[np.ndarray, "times nodes"],
        change: Inexact[np.ndarray, "times nodes"],
    ) -> Float[np.ndarray, "times"]:
        """Return the rate of the loss for the rates of change of the learned fractions."""
        pairs = (learned @ self.both) * change + (learned @ self.across) * change.conj()
        return -2 * weigh(change, self.once) + np.real(pairs.sum(axis=1))


def make_test_loss(contour: Contour, noise: float) -> TestLoss:
    """Build the loss on fresh data as a function of the learned fraction along the contour."""
    power = contour.modes.power
    once = contour.test(power).weight
    both = _pairs(contour, noise, mirrored=False)
    across = _pairs(contour, noise, mirrored=True)
    return TestLoss(float(power.sum()), once, both, across)


def _pairs(contour: Contour, noise: float, *, mirrored: bool) -> Square:
    """Return the kernel of f f' (of f conj f if `mirrored`), with the contour's weights.

    Its poles at x = 0 and x' = 0, which do not contribute since f(0) = 0, are left out: the last
    row and column below are their residues.
    """

    def other(values: Complex[np.ndarray, "*any"]) -> Complex[np.ndarray, "*any"]:
        return values.conj() if mirrored else values

    lam = contour.modes.lam
    kappa = np.append(contour.kappa, contour.kappa_0)
    share = 1 / (kappa[:, None] + lam)

    def total(mass: Float[np.ndarray, "modes"]) -> Square:
        return (share * mass) @ other(share).T

    mass, power = contour.modes.count * lam, contour.modes.power
    kappas = kappa[:, None] * other(kappa)
    p0, p1, p3 = total(power), total(mass), total(mass * lam)
    per_width, per_data = 1 / contour.width, 1 / contour.n_data
    free = 1 - p3 * per_width
    bottleneck = 1 - p3 * per_data - kappas * p1**2 * per_width * per_data / free
    signal = p0 if per_width == 0 else p0 + p1 * total(power * lam) * per_width / free
    found = signal * kappas / bottleneck
    if noise > 0:
        found = found + noise**2 * (1 / bottleneck - 1)
    found = found[:-1, :-1] - found[-1:, :-1] - found[:-1, -1:] + found[-1, -1]
    step = contour.dx / contour.x
    return step[:, None] * other(step) * found
