"""Whether a plan minimises its law, because the law falls, or maximises it, because it rises.

The fitted law itself decides, where the runs were measured; what the target is called can only
contradict it, since a loss that rises with every variable is a fault of the table or of the law.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from kleiber.errors import BadPlan
from kleiber.planning.problem import Logs, Question, law_at

POINTS = 5  # at which the law is evaluated along each variable
ROUNDING = 1e-12  # relative change of the law that counts as none
LOWER = frozenset("loss error failure perplexity ppl nll bpb bpc".split())
HIGHER = frozenset("accuracy acc auc pass success successes".split())


def better_is(target: str) -> float:
    """Return 1 if a target of this name should be small, -1 if it should be large, 0 if that is
    unknown."""
    words = set(re.split(r"[^a-z]+", target.casefold()))
    if words & LOWER or target == "neg_log_pass":
        return 1.0
    return -1.0 if words & HIGHER else 0.0


def find_sense(
    question: Question,
    params: Mapping[str, float],
    ranges: Mapping[str, tuple[float, float]],
    target: str,
    held: Collection[str],
) -> float:
    """Return 1 if the law is to be minimised and -1 if it is to be maximised.

    ``ranges`` are those of the measured runs; ``held`` are the variables that the user limits,
    which only count if no variable is free.

    Raises BadPlan for a law that rises with one variable and falls with another, and for one that
    moves against what the name of its target suggests.
    """
    falls, rises, overall = _find_trends(question, params, ranges)
    free = [n for n in question.variables if n not in held] or list(question.variables)
    up = [name for name in free if name in rises and name not in falls]
    down = [name for name in free if name in falls and name not in rises]
    expected = better_is(target)
    if up and down:
        raise BadPlan(
            f"The fitted {target} falls with {' and '.join(down)} and rises with "
            f"{' and '.join(up)}, so neither the smallest nor the largest is what more of a budget "
            f"buys: add runs that vary {up[0] if expected >= 0 else down[0]}, or give its value "
            "(given={...}, --given) or its limits (limits={...}, --limit)."
        )
    sense = 1.0 if down else -1.0 if up else expected or overall
    if expected and sense != expected:
        way, should = ("falls", "rise") if sense > 0 else ("rises", "fall")
        raise BadPlan(
            f"The fitted {target} {way} with {' and '.join(up or down)}, and a target of that name "
            f"should {should}: no plan is made from it. Look at the fit for a wrong column, units "
            "or law."
        )
    return sense


def _find_trends(
    question: Question,
    params: Mapping[str, float],
    ranges: Mapping[str, tuple[float, float]],
) -> tuple[set[str], set[str], float]:
    """Return the variables with which the law falls somewhere, those with which it rises somewhere,
    and whether it falls (1) or rises (-1) from the smallest values to the largest."""
    axes = [_axis(question, name, ranges) for name in question.variables]
    mesh = np.array(list(itertools.product(*axes))).T
    logs: Logs = dict(zip(question.variables, mesh, strict=True))
    fixed: dict[str, Any] = {name: np.array([value]) for name, value in params.items()}
    values = np.broadcast_to(law_at(question, fixed, logs), mesh.shape[1:])
    values = values.reshape([len(axis) for axis in axes])
    falls, rises = set[str](), set[str]()
    with np.errstate(invalid="ignore"):
        for k, name in enumerate(question.variables):
            moved = np.diff(values, axis=k)
            rounding = ROUNDING * np.abs(np.take(values, range(1, len(axes[k])), axis=k))
            if (moved < -rounding).any():
                falls.add(name)
            if (moved > rounding).any():
                rises.add(name)
        known = values[np.isfinite(values)]
        last, first = (known[-1], known[0]) if len(known) else (0.0, 0.0)
    return falls, rises, -1.0 if last > first else 1.0


def _axis(question: Question, name: str, ranges: Mapping[str, tuple[float, float]]) -> np.ndarray:
    """Return logarithms of a variable over its measured range, or else over its limits."""
    low, high = ranges.get(name, (0.0, 0.0))
    if 0 < low < high < np.inf:
        return np.linspace(math.log(low), math.log(high), POINTS)
    if 0 < low < np.inf:  # all runs have the same
        return np.linspace(math.log(low / 2), math.log(low * 2), POINTS)
    return np.linspace(*question.limits[name], POINTS)
