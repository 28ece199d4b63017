"""Notes on the estimates of a spectrum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kleiber.claim import Estimate
from kleiber.systems.feature_learning.spectrum_modes import Modes

SATURATED = 2.7  # source beyond which the estimate, at most 3, saturates
ENOUGH, FLAT = 100, 0.7  # modes; ratio of mean powers of the last two octaves, 1/2 or less by a law


def write_notes(
    estimates: Mapping[str, Estimate], rule: str, readings: Sequence[Modes], fitted: bool
) -> tuple[str, ...]:
    """Write the notes on an estimate, one sentence each.

    `readings` are those of the features (see `_curves`), `fitted` says whether the noise was fitted
    with the source or given.
    """
    modes = readings[0]
    capacity, source = estimates["capacity"], estimates["source"]
    notes = list[str]()
    if capacity.value <= 1:
        notes.append(
            f"The capacity is {capacity.value:.3g}, not above 1: over this window the kernel's "
            "trace does not converge, and forecasts use a capacity of 1."
        )
    if fitted:
        notes += _bounds(source, estimates["noise_share"])
    elif source.value <= 0:
        notes.append("The target has no power beyond the window, so the source is unknown.")
    if len(readings) > 1:
        notes.append(
            f"The {modes.dimension:g} dimensions of the features are assumed to be all, and the "
            "exponents are those of power laws that end there. Random features of a wider kernel "
            f"(width={modes.dimension:g}) would have other exponents, which the intervals include "
            f"(dimension={modes.dimension:g} excludes them)."
        )
    if rule == "resolved" and source.value > SATURATED:
        notes.append(
            "This rule gives 3 for any source near 3 or above, so the source is a lower bound."
        )
    if rule == "tails":
        notes += _tails(modes)
    return tuple(notes)


def _bounds(source: Estimate, share: Estimate) -> list[str]:
    """Describe what the samples do not determine about the source."""
    low, high = source.low > 0, np.isfinite(source.high)
    fit_text = f"the fitted noise is {share.value:.2g} of the target's mean square"
    if not low and not high:
        return [
            "The source cannot be determined: beyond the first modes of the window the remaining "
            f"power is that of noise within its error ({fit_text}); use more samples, or give the "
            "noise if it is known (noise=)."
        ]
    if not high:
        return [
            f"The source is at least {source.low:.2g}, and nothing bounds it from above: power "
            "that "
            f"falls faster is hidden by noise, or gives 3 by this rule ({fit_text})."
        ]
    if not low:
        return [
            f"The source is at most {source.high:.2g}, and nothing bounds it from below: power "
            "that "
            f"falls slowly cannot be distinguished from label noise ({fit_text}); give the noise "
            "if "
            "it is known (noise=)."
        ]
    return []


def _tails(modes: Modes) -> list[str]:
    """Describe what the rule "tails" does not account for."""
    if modes.n_data:
        return [
            "Both tails are those of the sample, which end before those of the population, and "
            "label noise makes the source smaller; the rule 'resolved' accounts for both."
        ]
    n = modes.powers.size
    if n < ENOUGH:
        return []
    last, before = modes.powers[n // 2 :].mean(), modes.powers[n // 4 : n // 2].mean()
    if last <= FLAT * before:
        return []
    return [
        f"The power per mode stops falling towards the last modes (those of the last half have "
        f"{last / before:.2g} of the power of the quarter before, and a power law would have half "
        "or less): powers measured on samples contain label noise, which makes the source smaller. "
        "Give features or a Gram matrix, for which noise and source are fitted together."
    ]
