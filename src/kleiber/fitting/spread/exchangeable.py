"""Terms that may change places: the breaks of a broken law, say, whose order means nothing.

A refit may find the same terms in another order than the fit did. Its parameters are then given
the names that bring them nearest to the fit's, or else an interval of one break would hold all.
"""

from __future__ import annotations

import itertools
import re

import numpy as np
from jaxtyping import Float

from kleiber.fitting.engine.problem import Problem, residuals

NUMBERED = re.compile(r"(.*?)(\d+)")
FAR = 3.0  # in any coordinate: parameters farther apart than this are just far
SAME = 1e-9  # relative change of the residuals that is rounding


def find_twins(problem: Problem, u: Float[np.ndarray, "params"]) -> tuple[tuple[int, ...], ...]:
    """Positions of the parameters of each of the terms that may change places; none if there are
    no such terms. They are those whose parameters are named alike but for a number at the end."""
    blocks: dict[str, dict[str, int]] = {}
    for k, name in enumerate(problem.law.params):
        if found := NUMBERED.fullmatch(name):
            blocks.setdefault(found[2], {})[found[1]] = k
    stems = max((tuple(block) for block in blocks.values()), key=len, default=())
    alike = [tuple(b[s] for s in stems) for b in blocks.values() if set(b) == set(stems)]
    if len(alike) < 2:
        return ()
    as_it_is = residuals(problem, u[None])[0]
    for one, two in itertools.combinations(alike, 2):
        turned = u.copy()
        turned[[*one, *two]] = u[[*two, *one]]
        change = np.abs(residuals(problem, turned[None])[0] - as_it_is)
        if not (change <= SAME * (1 + np.abs(problem.target))).all():
            return ()
    return tuple(alike)


def align_draws(
    drawn: Float[np.ndarray, "draws params"],
    u: Float[np.ndarray, "params"],
    twins: tuple[tuple[int, ...], ...],
) -> Float[np.ndarray, "draws params"]:
    """The coordinates of draws with twins in the order in which they lie nearest to ``u``."""
    flat = [k for block in twins for k in block]
    best, least = drawn.copy(), np.full(len(drawn), np.inf)
    for order in itertools.permutations(twins):
        turned = drawn.copy()
        turned[:, flat] = drawn[:, [k for block in order for k in block]]
        apart = np.minimum(np.abs(turned[:, flat] - u[flat]), FAR).sum(axis=1)
        nearer = apart < least
        best[nearer], least[nearer] = turned[nearer], apart[nearer]
    return best
