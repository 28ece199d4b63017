# pyright: standard
# (a law's arguments are arrays, complex numbers or expressions being traced, so they carry no type)
"""Laws of training time: the loss during training.

symbol           meaning                                       where
N, S             n_params (parameters), step (optimiser steps)
N_c, alpha_N     scale and exponent of N                       Kaplan eq. 1.6
S_c, alpha_S     scale and exponent of S                       Kaplan eq. 1.6
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
