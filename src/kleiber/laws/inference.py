# pyright: standard
# (a law's arguments are arrays, complex numbers or expressions being traced, so they carry no type)
"""Laws of repeated attempts: failure and -log pass@k against k, and their exponent along training.

symbol           meaning                                            where
k                attempts; failure is 1 - pass@k
A                failure (or -log pass@k) at k = 1
beta             exponent of the intrinsic tail                     Levi section 3
P, Q, gamma      share of each tail, exponent of the bias tail      Levi, theorem of the two tails
a, b             shape and rate of Gamma-distributed success        Schaeffer section 4
Delta, c, nu     exponent missing without data; how it comes back   Levi, saturating fit
"""

from __future__ import annotations

from kleiber.law import Law, positive


@Law
def failure_power(k, *, A=positive(1e-2, 3), beta=positive(0.05, 4)):
    """Failure of k attempts as a power of k. Levi 2026 (arXiv 2601.03764), intrinsic tail.

    A k**-beta: the late limit, where failure is small; early windows are flatter.
    """
    return A * k**-beta


@Law
def failure_two_tails(
    k,
    *,
    P=positive(1e-2, 3),
    beta=positive(0.5, 4),
    Q=positive(1e-3, 1),
    gamma=positive(0.05, 1),
):
    """Failure of k attempts as an intrinsic tail and one made by bias. Levi 2026
    (arXiv 2601.03764), theorem of the two tails.

    P k**-beta + Q k**-gamma, which holds for bounded precision, or in a window of k.
    """
    return P * k**-beta + Q * k**-gamma


@Law
def failure_gamma(k, *, a=positive(0.05, 4), b=positive(1, 1e4)):
    """Failure of k attempts when success is rare and Gamma distributed over problems. Schaeffer
    et al. 2025 (arXiv 2502.17578), the limit of their beta law.

    (1 + k/b)**-a: the beta-binomial law with b far above 1. Starts at 1, ends as k**-a.
    """
    return (1 + k / b) ** -a


@Law
def neg_log_pass_power(k, *, A=positive(0.1, 10), beta=positive(0.05, 2)):
    """Minus the logarithm of pass@k as a power of k. Schaeffer et al. 2025 (arXiv 2502.17578),
    after Brown et al. 2024.

    -log pass@k = A k**-beta. It is not the failure: they agree where both are small.
    """
    return A * k**-beta


@Law
def exponent_saturating(
    n_data,
    *,
    beta=positive(1, 4),
    Delta=positive(0.1, 0.9),
    c=positive(1e-6, 1e-2),
    nu=positive(0.3, 2),
):
    """Windowed exponent of failure that grows with training and saturates. Levi 2026
    (arXiv 2601.03764), the saturating fit.

    beta - Delta/(1 + c x**nu), with x in the column ``n_data``: rename any column to it.
    """
    return beta - Delta / (1 + c * n_data**nu)
