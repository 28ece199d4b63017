# pyright: standard
# (a law's arguments are arrays, complex numbers or expressions being traced, so they carry no type)
"""Laws of a net's width.

symbol           meaning                                                     where
N                width, or any measure of size in that column
E                the value of both terms where they are equal                ours
at               the N where that is: the crossover
beta             exponent beyond the crossover (1 of averaging tickets)      Liu & Tegmark
beta + gap       exponent before it (4/d of linear fits in cells)            Sharma & Kaplan
"""

from __future__ import annotations

from kleiber.law import Law, positive


@Law
def width_crossover(
    width,
    *,
    E=positive(),
    at=positive(),
    beta=positive(0.2, 3),
    gap=positive(0.3, 4),
):
    """Error of a net that falls faster up to a width `at` than beyond it. Liu et al. 2023
    (arXiv 2310.02258), of ReLU nets.

    There 4/d, of approximation (Sharma & Kaplan, arXiv 2004.10802), bends into 1, of averaging.
    E ((N/at)**-(beta + gap) + (N/at)**-beta), with N in the column ``width``: both terms are E at
    the crossover ``at``, which so has an interval of its own.
    """
    return E * ((width / at) ** -(beta + gap) + (width / at) ** -beta)
