# pyright: standard
# (a law's arguments are arrays, complex numbers or expressions being traced, so they carry no type)
"""Laws of one variable: how an error or a loss falls along one axis.

x stands for the variable, which is called ``n_data``; rename any column to it.

symbol      meaning                                          where
E, a        value at infinite x (irreducible)                M2, M4; Caballero eq. 1
A, b        coefficient of the power of x                    beta in Alabdulmohsin; Caballero eq. 1
alpha, c    how fast the value falls (a positive exponent)   -c in Alabdulmohsin
gamma       1/x at which the fall levels off                 M3
span        value without data minus value at infinite x     eps_0 - eps_inf in M4
d, f        place and width of a break                       Caballero eq. 1
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kleiber.arguments import check_whole
from kleiber.errors import BadLaw
from kleiber.formula import hold, symbol
from kleiber.law import Law, positive, real, trace_law

TINY = 1e-300  # keeps log(x), 1/x and the slope of sqrt(x**2) finite at 0; changes nothing else
STEPS = 12  # of Halley's, that m4 takes


@Law
def power_law(n_data, *, A=positive(), alpha=positive(0.05, 2)):
    """Power law that falls to zero. Alabdulmohsin et al. 2022 (arXiv 2209.06640), estimator M1.

    A x**-alpha, with x in the column ``n_data``: rename any column to it.
    """
    return A * n_data**-alpha


@Law
def power_law_floor(n_data, *, E=positive(), A=positive(), alpha=positive(0.05, 2)):
    """Power law that falls to a floor E. Alabdulmohsin et al. 2022 (arXiv 2209.06640),
    estimator M2.

    E + A x**-alpha, with x in the column ``n_data``: rename any column to it.
    """
    return E + A * n_data**-alpha


m2 = replace(
    power_law_floor,
    name="m2",
    doc=power_law_floor.doc.replace("to a floor E.", "to a floor E (power_law_floor).", 1),
)


@Law
def m3(n_data, *, A=positive(), gamma=positive(), alpha=positive(0.05, 2)):
    """Power law that levels off at x = 1/gamma. Alabdulmohsin et al. 2022 (arXiv 2209.06640),
    estimator M3.

    A (1/x + gamma)**alpha, with x in the column ``n_data``: rename any column to it.
    """
    return A * ((1 + gamma * n_data) / n_data) ** alpha


def _split(t):
    """Return the negative and the positive part of t, and exp of the one and of minus the other."""
    low = np.minimum(t, 0)
    return low, t - low, np.exp(low), np.exp(low - t)


def _halley_step(t, target, alpha):
    """Return one Halley step towards the t where log s - alpha log(1 - s) = ``target``, with s =
    1/(1 + exp(-t))."""
    low, high, rise, fall = _split(t)
    whole = rise + fall
    s, rest, log = rise / whole, fall / whole, np.log(whole)
    difference = low - log + alpha * (high + log) - target
    first, second = rest + alpha * s, (alpha - 1) * s * rest
    return t - difference * first / (first * first - 0.5 * difference * second)


def _solve_balance(target, alpha):
    """Return the s between 0 and 1 with log s - alpha log(1 - s) = ``target``.

    The left side, as a function of t, runs from the line t into alpha t. From where ``target``
    meets these lines STEPS of Halley's settle s to rounding for every alpha from 1e-13 to 1e6.
    They are held, and one more gives derivatives to second order, for its error is cubic.
    """
    t = np.minimum(target, 0) + np.maximum(target, 0) / (alpha + TINY)
    for _ in range(STEPS):
        t = _halley_step(t, target, alpha)
    _, _, rise, fall = _split(_halley_step(hold(t), target, alpha))
    return rise / (rise + fall)


@Law
def m4(
    n_data,
    *,
    E=positive(1e-3, 3),
    span=positive(0.1, 10),
    A=positive(1e-2, 1e6),
    c=positive(0.05, 1.5),
    alpha=positive(0.05, 5),
):
    """Sigmoid from E + span without data to a power law that ends at E. Alabdulmohsin et al. 2022
    (arXiv 2209.06640), estimator M4.

    The value y solves (y - E) / (E + span - y)**alpha = A x**-c, with x in the column ``n_data``:
    rename any column to it. The paper's eps_0 is E + span, so that eps_0 > eps_inf by
    construction; a known eps_0 such as 0.999 is the tie ``span="0.999 - E"``. Small alpha gives
    M2.
    """
    with np.errstate(all="ignore"):
        target = np.log(A) + (alpha - 1) * np.log(span) - c * np.log(n_data + TINY)
        return E + span * _solve_balance(target, alpha)


def _softplus(z, width):
    """width log(1 + exp(z/width)), written so that neither it nor its slopes overflow."""
    size = np.sqrt(z * z + TINY)
    return (z + size) / 2 + width * np.log1p(np.exp(-size / width))


MAX_BREAKS = 100  # each takes three parameters


def broken(n: int) -> Law:
    """Make the smoothly broken power law with ``n`` breaks.

    a + b x**-c0 prod_i (1 + (x/d_i)**(1/f_i))**(-c_i f_i), Caballero et al. 2023
    (arXiv 2210.14891), eq. 1: break i lies at d_i, is f_i wide in log x and steepens the slope
    by c_i. Raises BadLaw unless ``n`` is at least 1.
    """
    accepted = f"1 to {MAX_BREAKS} breaks (without one, use power_law)"
    n = check_whole("n", n, 1, MAX_BREAKS, accepted=accepted, error=BadLaw)
    domains = {"a": positive(), "b": positive(), "c0": real(0, 1)}
    for i in range(1, n + 1):
        domains |= {f"c{i}": real(-0.5, 1), f"d{i}": positive(), f"f{i}": positive(0.05, 2)}

    def function(n_data, **named):
        fall = named["c0"] * np.log(n_data)
        for i in range(1, n + 1):
            fall = fall + named[f"c{i}"] * _softplus(
                np.log(n_data / named[f"d{i}"]), named[f"f{i}"]
            )
        return named["a"] + named["b"] * np.exp(-fall)

    expr = trace_law(function, ("n_data",), {key: symbol(key) for key in ("n_data", *domains)})
    doc = (
        f"Power law with {n} smooth break{'s' * (n > 1)}. Caballero et al. 2023 (arXiv 2210.14891),"
        " eq. 1.\n\na + b x**-c0 prod_i (1 + (x/d_i)**(1/f_i))**(-c_i f_i), with x in the column"
        " ``n_data``:\nrename any column to it. Breaks may come in any order."
    )
    return Law(function, f"broken_{n}", ("n_data",), domains, expr, doc)


broken_1, broken_2, broken_3 = broken(1), broken(2), broken(3)
