"""Exchangeable terms of a law, such as the breaks of a broken power law, whose order has no
meaning.

A refit may find the same terms in another order than the fit did. Its parameters are then
relabelled so that they lie nearest to those of the fit; otherwise the interval of one break would
contain all breaks.
"""

from __future__ import annotations

import itertools
import re

import numpy as np
from jaxtyping import Float

from kleiber.fitting.engine.problem import Problem, residuals

NUMBERED = re.compile(r"(.*?)(\d+)")
MAX_DISTANCE = 3.0  # in any coordinate: parameters farther apart than this are just far
RELATIVE_ROUNDING = 1e-9  # relative change of the residuals that is rounding


def find_exchangeable_terms(
    problem: Problem, u: Float[np.ndarray, "params"]
) -> tuple[tuple[int, ...], ...]:
    """Return the positions of the parameters of each exchangeable term, or none. Such terms have
    parameters whose names differ only in a number at the end."""
    blocks: dict[str, dict[str, int]] = {}
    for k, name in enumerate(problem.law.params):
        if found := NUMBERED.fullmatch(name):
            blocks.setdefault(found[2], {})[found[1]] = k
    stems = max((tuple(block) for block in blocks.values()), key=len, default=())
    terms = [tuple(b[s] for s in stems) for b in blocks.values() if set(b) == set(stems)]
    if len(terms) < 2:
        return ()
    original = residuals(problem, u[None])[0]
    for first, second in itertools.combinations(terms, 2):
        permuted = u.copy()
        permuted[[*first, *second]] = u[[*second, *first]]
        change = np.abs(residuals(problem, permuted[None])[0] - original)
        if not (change <= RELATIVE_ROUNDING * (1 + np.abs(problem.target))).all():
            return ()
    return tuple(terms)


def align_draws(
    drawn: Float[np.ndarray, "draws params"],
    u: Float[np.ndarray, "params"],
    exchangeable: tuple[tuple[int, ...], ...],
) -> Float[np.ndarray, "draws params"]:
    """Return the coordinates of draws with their exchangeable terms in the order nearest to
    ``u``."""
    flat = [k for block in exchangeable for k in block]
    best, smallest = drawn.copy(), np.full(len(drawn), np.inf)
    for order in itertools.permutations(exchangeable):
        permuted = drawn.copy()
        permuted[:, flat] = drawn[:, [k for block in order for k in block]]
        distance = np.minimum(np.abs(permuted[:, flat] - u[flat]), MAX_DISTANCE).sum(axis=1)
        nearer = distance < smallest
        best[nearer], smallest[nearer] = permuted[nearer], distance[nearer]
    return best
