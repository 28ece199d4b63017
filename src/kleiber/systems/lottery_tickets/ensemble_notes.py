"""Notes on ensembles whose intervals depend on a few nets."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from kleiber.systems.lottery_tickets.ensemble_draws import Moments

FAR = 30.0  # multiple of the median error above which a net counts as dead or diverged
WIDE = 0.6  # standard deviation of log distances above which nets differ too much
ENOUGH = 30.0  # effective number of nets above which a heavy tail does little harm
LOPSIDED = -0.5  # skewness of log distances; of a chi^2 of 1 to 3 degrees it is -1.5 to -0.9


def note_nets(
    width: float, errors: Float[np.ndarray, "seeds points outputs"], own: Moments
) -> list[str]:
    """Return a note if some nets are far off, or if the distances have a heavy upper tail.

    The squared distances of nets from their mean are similar if nets differ in many modes, and
    nearly a chi^2 if they differ in a few random modes, whose logarithm has a long lower tail; if
    they spread as widely without that tail, the upper tail is heavy.
    """
    each = (errors**2).sum(2).mean(1)
    far = each > FAR * np.median(each)
    n = len(each)
    if far.any():
        share = float(each[far].sum() / each.sum())
        return [
            f"Width {width:g}: {int(far.sum())} of {n} nets have more than {FAR:g} times the "
            f"median error and make up {share:.0%} of the total; {n} seeds hardly tell how "
            "frequent "
            f"such nets are, and so every mean is uncertain. drop={FAR:g} leaves them out."
        ]
    distances = ((errors - errors.mean(0)) ** 2).sum((1, 2))
    if own.degrees_of_freedom >= ENOUGH or not (distances > 0).all():
        return []
    logs = np.log(distances) - np.log(distances).mean()
    spread = float(logs.std(ddof=1))
    if spread > WIDE and float((logs**3).mean()) > LOPSIDED * float(logs.std()) ** 3:
        return [
            f"Width {width:g}: the distances of nets from their mean vary by a factor of "
            f"{np.exp(spread):.2g} either way, with a heavy upper tail; for simulated nets of this "
            "kind the 95% intervals contained the truth in 65% to 90% of cases (6 to 32 seeds)."
        ]
    return []
