"""What to know of an estimate of a spectrum, in sentences, for `reduce.spectrum`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kleiber.claim import Estimate
from kleiber.systems.feature_learning.spectrum_modes import Modes

SATURATED = 2.7  # a source beyond which the estimate, at most 3, bends
ENOUGH, FLAT = 100, 0.7  # modes; ratio of mean powers of the last two octaves, 1/2 or less by a law


def write_notes(
    estimates: Mapping[str, Estimate], rule: str, readings: Sequence[Modes], fitted: bool
) -> tuple[str, ...]:
    """The sentences; `readings` are those of the features (see `_curves`), `fitted` says that the
    noise was fitted with the source, or was given."""
    modes = readings[0]
    capacity, source = estimates["capacity"], estimates["source"]
    notes = list[str]()
    if capacity.value <= 1:
        notes.append(
            f"the capacity comes out as {capacity.value:.3g}, not above 1: over this window the "
            "kernel's trace does not converge, and forecasts take it as 1"
        )
    if fitted:
        notes += _bounds(source, estimates["noise_share"])
    elif source.value <= 0:
        notes.append("the target has no power left to learn beyond the window: no source")
    if len(readings) > 1:
        notes.append(
            f"the {modes.dimension:g} dimensions of the features are taken for all there are, and "
            "the exponents are those of power laws that end there too; as so many random features "
            f"of a wider kernel (width={modes.dimension:g}) they have others, which the intervals "
            f"allow for (dimension={modes.dimension:g} rules them out)"
        )
    if rule == "resolved" and source.value > SATURATED:
        notes.append("a source near 3 or above reads as 3 by this rule: it is a lower bound")
    if rule == "tails":
        notes += _tails(modes)
    return tuple(notes)


def _bounds(source: Estimate, share: Estimate) -> list[str]:
    """What the samples cannot tell of the source."""
    low, high = source.low > 0, np.isfinite(source.high)
    most = f"the fit gives noise {share.value:.2g} of the target's mean square"
    if not low and not high:
        return [
            "the source cannot be determined: beyond the first modes of the window the power left "
            f"is that of noise to within its error ({most}); more samples, or the noise where it "
            "is known (noise=), tell more"
        ]
    if not high:
        return [
            f"the source is at least {source.low:.2g}, and nothing bounds it from above: what "
            f"falls faster is lost in noise, or reads as 3 by this rule ({most})"
        ]
    if not low:
        return [
            f"the source is at most {source.high:.2g}, and nothing bounds it from below: power "
            f"that falls slowly cannot be told from label noise ({most}); give the noise where it "
            "is known (noise=)"
        ]
    return []


def _tails(modes: Modes) -> list[str]:
    """What the rule of tails cannot see."""
    if modes.n_data:
        return [
            "both tails are those of the sample, whose end is no tail of the population, and label "
            "noise reads as a smaller source; the rule 'resolved' allows for both"
        ]
    n = modes.powers.size
    if n < ENOUGH:
        return []
    last, before = modes.powers[n // 2 :].mean(), modes.powers[n // 4 : n // 2].mean()
    if last <= FLAT * before:
        return []
    return [
        f"the power of a mode stops falling towards the last of them (a mode of the last half has "
        f"{last / before:.2g} of the power of one of the quarter before, where a power law leaves "
        "half or less): powers measured on samples hold label noise, which reads as a smaller "
        "source; give features or a Gram matrix, of which noise and source are fitted together"
    ]
