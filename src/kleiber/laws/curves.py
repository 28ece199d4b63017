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

from kleiber.errors import BadLaw
from kleiber.formula import symbol
from kleiber.law import Law, positive, real, trace_law

TINY = 1e-300  # keeps the slope of sqrt(z**2) finite at z = 0 and changes no value


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


def _softplus(t):
    """log(1 + exp(t)) for real and complex t, without overflow."""
    right = np.real(t) > 0
    return np.where(right, t, 0) + np.log1p(np.exp(np.where(right, -t, t)))


def _balance(target, alpha):
    """The t at which log s - alpha log(1 - s) = ``target``, where s = 1/(1 + exp(-t)).

    The left side rises with t, lies above t and is convex where alpha > 1, lies below t and is
    concave where alpha < 1: from t = target Newton's steps never pass the root. Two more steps
    than the real part needs settle an imaginary part (complex-step derivatives).
    """
    t, settled = target + 0 * alpha, 0
    for _ in range(200):
        s = np.exp(-_softplus(-t))
        step = (alpha * _softplus(t) - _softplus(-t) - target) / (1 - s + alpha * s)
        t = np.where(np.isfinite(step), t - step, t)  # an infinite target is its own root
        moved = np.abs(np.real(step)) > 1e-13 * (1 + np.abs(np.real(t)))
        settled += not moved.any()
        if settled > 2:
            break
    return t


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
    M2. The law has no formula in closed form and is not traced.
    """
    with np.errstate(all="ignore"):
        target = np.log(A) + (alpha - 1) * np.log(span) - c * np.log(n_data)
        return E + span * np.exp(-_softplus(-_balance(target, alpha)))


def _bend(z, width):
    """width log(1 + exp(z/width)), written so that neither it nor its slopes overflow."""
    size = np.sqrt(z * z + TINY)
    return (z + size) / 2 + width * np.log1p(np.exp(-size / width))


def broken(n: int) -> Law:
    """The smoothly broken power law with ``n`` breaks.

    a + b x**-c0 prod_i (1 + (x/d_i)**(1/f_i))**(-c_i f_i), Caballero et al. 2023
    (arXiv 2210.14891), eq. 1: break i lies at d_i, is f_i wide in log x and steepens the slope
    by c_i. Raises BadLaw unless ``n`` is at least 1.
    """
    if n < 1:
        raise BadLaw(f"a broken power law has at least 1 break, got {n}; without, use power_law")
    domains = {"a": positive(), "b": positive(), "c0": real(0, 1)}
    for i in range(1, n + 1):
        domains |= {f"c{i}": real(-0.5, 1), f"d{i}": positive(), f"f{i}": positive(0.05, 2)}

    def function(n_data, **named):
        fall = named["c0"] * np.log(n_data)
        for i in range(1, n + 1):
            fall = fall + named[f"c{i}"] * _bend(np.log(n_data / named[f"d{i}"]), named[f"f{i}"])
        return named["a"] + named["b"] * np.exp(-fall)

    expr = trace_law(function, ("n_data",), {key: symbol(key) for key in ("n_data", *domains)})
    doc = (
        f"Power law with {n} smooth break{'s' * (n > 1)}. Caballero et al. 2023 (arXiv 2210.14891),"
        " eq. 1.\n\na + b x**-c0 prod_i (1 + (x/d_i)**(1/f_i))**(-c_i f_i), with x in the column"
        " ``n_data``:\nrename any column to it. Breaks may come in any order."
    )
    return Law(function, f"broken_{n}", ("n_data",), domains, expr, doc)


broken_1, broken_2, broken_3 = broken(1), broken(2), broken(3)
