"""The further run that would narrow a forecast most (linear conditioning; MacKay 1992)."""

from __future__ import annotations

import numpy as np

from kleiber.forecasting.mixture import Mixture
from kleiber.forecasting.record import NextRun
from kleiber.forecasting.support import Asked

LARGER, SMALLER = 2.0, 0.5  # the product of its columns over the largest measured
STEPS = 9  # candidates along each column
FLAT = 0.999  # a run that leaves more than this of the width is not worth a sentence


def find_next_run(asked: Asked, mixture: Mixture) -> NextRun | None:
    """Return the run, at most twice the largest measured, that narrows the farthest forecast most.

    With q the log forecast and g the log of the candidate's outcome, a run leaves
    Var(q) - Cov(q, g)^2/(Var(g) + noise^2).
    """
    weights = mixture.draw_weights
    farthest = asked.at[[int(np.argmax(asked.distance))]]
    candidates = _candidates(asked)
    if not len(candidates):
        return None
    logs = mixture.log_draws(np.concatenate([farthest, candidates]))
    logs = logs - weights @ logs
    together = (weights[:, None] * logs[:, :1] * logs).sum(axis=0)
    variance = weights @ logs**2
    whole = variance[0] + mixture.noise**2
    left = variance[0] - together[1:] ** 2 / (variance[1:] + mixture.noise**2)
    best = int(np.argmin(left))
    remaining = float(np.sqrt((max(left[best], 0.0) + mixture.noise**2) / whole))
    if remaining > FLAT:
        return None
    row = candidates[best]
    return NextRun({n: float(v) for n, v in zip(asked.names, row, strict=True)}, remaining)


def _candidates(asked: Asked) -> np.ndarray:
    """Return runs whose product of the columns is near the largest measured one."""
    most = np.log(asked.x).sum(axis=1).max()
    low, high = np.log(asked.x.min(axis=0)), np.log(asked.x.max(axis=0) * LARGER)
    steps = (np.indices([STEPS] * len(low)).reshape(len(low), -1) / (STEPS - 1)).T
    grid = low + (high - low) * steps
    beyond = grid.sum(axis=1) - most
    near = (beyond <= np.log(LARGER) + 1e-9) & (beyond >= np.log(SMALLER) - 1e-9)
    return np.exp(grid[near])
