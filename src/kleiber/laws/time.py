# pyright: standard
# (a law's arguments are arrays, complex numbers or expressions being traced, so they carry no type)
"""Laws of training time: the loss during training, by steps or by the norm reached.

symbol           meaning                                       where
N, S             n_params (parameters), step (optimiser steps)
N_c, alpha_N     scale and exponent of N                       Kaplan eq. 1.6
S_c, alpha_S     scale and exponent of S                       Kaplan eq. 1.6
k1, gamma_1      size and exponent of the fall with the norm   D'Amico, early law
k2, gamma_2      size and exponent of the best norm with P     D'Amico, optimum law
q1, q2           errors and norms that stay                    D'Amico, three regimes

P is n_data; the norm is any complexity norm of the weights (D'Amico: the spectral complexity).
"""

from __future__ import annotations

from kleiber.law import Law, positive


@Law
def steps_and_size(
    n_params,
    step,
    *,
    N_c=positive(1e9, 1e16),
    S_c=positive(1, 1e5),
    alpha_N=positive(0.03, 0.5),
    alpha_S=positive(0.1, 2),
):
    """Loss of n_params parameters after a number of steps on endless data. Kaplan et al. 2020
    (arXiv 2001.08361), eq. 1.6.

    There step is S_min, the steps that would be needed at a batch size far above the critical
    one, and n_params counts no embeddings.
    """
    return (N_c / n_params) ** alpha_N + (S_c / step) ** alpha_S


@Law
def early_norm(norm, *, k1=positive(), gamma_1=positive(0.005, 2), q1=positive()):
    """Error early in training, while the norm grows. D'Amico et al. 2025
    (arXiv 2505.13230), early law with a floor.

    k1 norm**-gamma_1 + q1, the same curve for all n_data until an elbow; their fits have q1 = 0,
    which is ``fixed={"q1": 0}``.
    """
    return k1 * norm**-gamma_1 + q1


@Law
def optimal_norm(n_data, *, k2=positive(), gamma_2=positive(0.1, 25), q2=positive()):
    """Norm at which the error is least. D'Amico et al. 2025 (arXiv 2505.13230),
    optimum law with an offset.

    k2 n_data**gamma_2 + q2; their fits have q2 = 0, which is ``fixed={"q2": 0}``.
    """
    return k2 * n_data**gamma_2 + q2


@Law
def three_regimes(
    n_data,
    *,
    k1=positive(),
    gamma_1=positive(0.05, 2),
    gamma_2=positive(0.1, 5),
    q1=positive(),
    q2=positive(),
):
    """Least error of n_data examples: plateau, power law, floor. D'Amico et al. 2025
    (arXiv 2505.13230), both laws together.

    k1 (n_data**gamma_2 + q2)**-gamma_1 + q1, the early law at the norm of the optimum law. The
    paper's k2 is 1 here: norms enter in its unit, as k1 k2**-gamma_1 and q2/k2 are all that errors
    tell. In between the exponent is gamma_1 gamma_2; the plateau ends at n_data = q2**(1/gamma_2)
    and the floor begins at (k1/q1)**(1/(gamma_1 gamma_2)).
    """
    return k1 * (n_data**gamma_2 + q2) ** -gamma_1 + q1
