"""The width at which a family of shapes has a given number of parameters, in closed form."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kleiber.arguments import check_record
from kleiber.counting.convention import Convention, exact, find_convention
from kleiber.counting.shape import Quantity, Shape, ShapeRule, read_quantity, shape_at
from kleiber.counting.terms import count_params
from kleiber.errors import shown

LARGEST = 1e100  # parameters, whose square is taken


def powers_of_width(
    rule: ShapeRule,
    count: Callable[[Shape], Quantity],
    depth: float | None = None,
) -> tuple[float, float, float]:
    """Return (c1, c2, c3) with count(model of width w) = c1 w + c2 w^2 + c3 w^3.

    With a given depth c3 is zero. ValueError for a count that has a part without the width.
    """
    from numpy.polynomial import Polynomial

    total = count(shape_at(rule, Polynomial([0.0, 1.0]), depth))
    c0, c1, c2, c3, *_ = (*np.asarray(getattr(total, "coef", [total]), dtype=float), 0, 0, 0)
    if c0 != 0:
        raise ValueError(f"The count has a part of {c0:g} that does not depend on the width.")
    return float(c1), float(c2), float(c3)


def solve_width(
    rule: ShapeRule, n_params: Quantity, convention: Convention | str = exact
) -> Quantity:
    """Return the width at which the rule's model has ``n_params`` parameters, in closed form.

    A rule makes N = c1 w + c2 w^2 + c3 w^3. With w = x - s, s = c2/3 c3, this is x^3 + p x = q;
    Cardano's u^3 = q/2 + sqrt(q^2/4 + p^3/27) gives x = u - p/3u, written as
    q / (u^2 + p/3 + (p/3u)^2) so that nothing cancels.
    """
    rule = check_record("rule", rule, ShapeRule, "a ShapeRule")
    n_params = read_quantity("n_params", n_params)
    if isinstance(n_params, int | float) and n_params > LARGEST:
        raise ValueError(f"The value of n_params may be up to {LARGEST:g}, got {shown(n_params)}.")
    convention = find_convention(convention)
    c1, c2, c3 = powers_of_width(rule, lambda shape: count_params(shape, convention).total)
    s = c2 / (3 * c3)
    p = c1 / c3 - 3 * s**2
    if p == 0 and s == 0:
        return (n_params / c3) ** (1 / 3)
    q = n_params / c3 + (s * c1 / c3 - 2 * s**3)
    u = (q / 2 + np.sqrt(q**2 / 4 + p**3 / 27)) ** (1 / 3)
    return q / (u**2 + p / 3 + (p / 3 / u) ** 2) - s
