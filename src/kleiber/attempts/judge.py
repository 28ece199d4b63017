"""The status of a fit of counts, group by group, with a sentence that explains it.

Attempts identify E[(1 - p)^k] up to the number of attempts made at enough problems, and a family
needs as many of these moments as it has parameters. A fit must not miss the unbiased pass@1, which
needs no family, by more than ``MAX_STANDARD_ERRORS``.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from jaxtyping import Float

from kleiber.attempts.batch import Batch
from kleiber.attempts.errors import Errors, mean_failure
from kleiber.attempts.family import Coordinates, Family
from kleiber.attempts.newton import Peak
from kleiber.attempts.table import Counts
from kleiber.errors import listed

FLAT_LOSS = 0.01  # of log-likelihood at the end of a coordinate's range that counts as none
MAX_STANDARD_ERRORS = 3.0  # by which a law's pass@1 may miss the unbiased one
ROUNDING = 1e-6  # relative error of a pass@1 that coordinates and grids resolve
UNKNOWN_FACTOR = 20.0  # a parameter uncertain by more than this factor (95%) is undetermined
SHARES = ("zero", "scale")  # parameters that are not scales


class CountStatus(StrEnum):
    """How a fit to counts ended."""

    CONVERGED = "converged"
    LIMIT = "limit"
    FLAT = "flat"
    ALL_ZERO = "all_zero"
    ALL_SOLVED = "all_solved"
    TOO_FEW_PROBLEMS = "too_few_problems"
    TOO_FEW_ATTEMPTS = "too_few_attempts"
    MAX_EVALUATIONS = "max_evaluations"
    FAILED = "failed"


USABLE = (CountStatus.CONVERGED, CountStatus.LIMIT, CountStatus.FLAT)
BROKEN = (CountStatus.MAX_EVALUATIONS, CountStatus.FAILED)  # the fit failed, not the data


def measure(counts: Counts, group: int, k: Float[np.ndarray, "k"], level: float) -> Errors | None:
    """Return the unbiased failure of a group at some k up to the fewest attempts of its problems,
    or None if attempts stopped because of their outcome."""
    rows = counts.of(group)
    if counts.stopped[rows].any():
        return None
    return mean_failure(counts.attempts[rows], counts.successes[rows], k, level)


def judge(law: Family, counts: Counts, batch: Batch, peak: Peak, g: int) -> tuple[CountStatus, str]:
    """Return the status of a group and its sentence."""
    one = batch.take(np.array([g]))
    problems, params = int(one.problems[0]), len(law.params)
    if problems <= params:
        return CountStatus.TOO_FEW_PROBLEMS, (
            f"{problems} problems cannot determine the {params} parameters of {law.name}."
        )
    if one.solved[0] == 0:
        return CountStatus.ALL_ZERO, (
            f"None of the {problems} problems was ever solved, so pass@k may be anything from 0 "
            "upwards: make more attempts, or take easier problems."
        )
    if (one.weights * (one.attempts - one.successes)).sum() == 0:
        return CountStatus.ALL_SOLVED, (
            f"Every attempt at each of the {problems} problems succeeded, so failure may be "
            "anything from 0 upwards: harder problems would tell."
        )
    if too_few := _explain_few_attempts(law, counts, g):
        return CountStatus.TOO_FEW_ATTEMPTS, too_few
    if not peak.converged[g]:
        return CountStatus.MAX_EVALUATIONS, (
            f"The ascent had not settled after {peak.iterations} iterations; the values are the "
            "best seen, not an optimum."
        )
    if failure_reason := _explain_failure(law, counts, peak, g):
        return CountStatus.FAILED, failure_reason
    for (axis, side), words in law.limits.items():
        at_limit = peak.u[g : g + 1].copy()
        at_limit[0, axis] = (law.low if side == "low" else law.high)[axis]
        if law.value(at_limit, one)[0] >= peak.value[g] - FLAT_LOSS:
            return CountStatus.LIMIT, words
    if undetermined := _undetermined_params(law, peak.u[g], peak.hessian[g]):
        return CountStatus.FLAT, (
            f"These counts know {listed(undetermined)} only to a factor of more than "
            f"{UNKNOWN_FACTOR:g}: read the interval, not the value."
        )
    return CountStatus.CONVERGED, "Every parameter is determined by the counts."


def max_measured_k(counts: Counts, group: int) -> int:
    """Return the largest k whose pass@k is measured without a family: the fewest attempts of a
    problem."""
    return int(counts.attempts[counts.of(group)].min())


def pass_rate_bounds(counts: Counts, group: int, k: float) -> tuple[float, float]:
    """Return the smallest and largest pass@k that the measured part allows, for k beyond it.

    With f the mean of (1 - p)^m over problems, that of (1 - p)^k lies between f^(k/m) (Jensen) and
    f.
    """
    m = max_measured_k(counts, group)
    measured = measure(counts, group, np.array([float(m)]), 0.95)
    assert measured is not None
    f = float(measured.mean[0])
    return 1 - f, 1 - f ** (k / m)


def _explain_few_attempts(law: Family, counts: Counts, g: int) -> str:
    """Explain why the attempts do not identify the family, or return ""."""
    rows, params = counts.of(g), len(law.params)
    attempts = counts.attempts[rows].copy()
    ended = counts.stopped[rows] & (counts.successes[rows] > 0)
    if ended.any():  # by a success: as many would have been made as at the others
        attempts[ended] = attempts.max() if ended.all() else np.median(attempts[~ended])
    sufficient = int((attempts >= params).sum())
    if sufficient > params:
        return ""
    max_attempts = int(attempts.max())
    if max_attempts == 1:
        return (
            "One attempt a problem identifies pass@1 alone, which is the share of problems solved: "
            "any law of how p varies over problems fits it. Make more attempts at each problem."
        )
    return (
        f"The {params} parameters of {law.name} need more than {params} problems with at least "
        f"{params} attempts; there are {sufficient}. Make more attempts at each problem, or take a "
        "family with fewer parameters."
    )


def _explain_failure(law: Family, counts: Counts, peak: Peak, g: int) -> str:
    """Explain by how much the law's pass@1 misses the unbiased one if that is too much, or return
    ""."""
    measured = measure(counts, g, np.ones(1), 0.95)
    if measured is None:
        return ""
    failure = float(np.exp(law.log_failure(peak.u[g : g + 1], np.ones(1))[0, 0]))
    error = float(np.nanmax([measured.stderr[0], measured.fixed[0], 0.0]))
    difference = abs(failure - float(measured.mean[0]))
    if error == 0 or difference <= MAX_STANDARD_ERRORS * error + ROUNDING * (1 - failure):
        return ""
    return (
        f"The law's pass@1, {1 - failure:.4g}, lies {difference / error:.3g} standard errors from "
        f"the unbiased {1 - measured.mean[0]:.4g}: {law.name} does not describe these counts."
    )


def _undetermined_params(
    law: Family, u: Float[np.ndarray, "coordinates"], hessian: Float[np.ndarray, "p p"]
) -> list[str]:
    """Return the parameters that the curvature of the likelihood leaves uncertain by more than a
    factor."""
    values, vectors = np.linalg.eigh(-hessian)
    covariance = vectors / np.maximum(values, 1e-9) @ vectors.T
    step = 1e-4
    moves: Coordinates = np.concatenate([u + step * np.eye(len(u)), u - step * np.eye(len(u))])
    undetermined: list[str] = []
    for name, found in law.to_params(moves).items():
        if name in SHARES:
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            up, down = np.split(np.log(found), 2)
            slope = (up - down) / (2 * step)
        spread = float(slope @ covariance @ slope)
        if not 2 * 1.96 * np.sqrt(max(spread, 0.0)) <= np.log(UNKNOWN_FACTOR):
            undetermined.append(name)
    return undetermined
