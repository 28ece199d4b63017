"""Five tests of whether a trained net is an ensemble of its tickets, each with a reading.

    T1  nets average: the share of the error that all seeds have in common   ensembling | shared
    T2  two nets of width N against one of 2 N, MSE_2(N)/MSE_1(2 N): 1 if    ensembling | synergy
        a net is an ensemble of its parts, above 1 if the parts work         | noise
        together, below 1 if the wider net is the noisier
    T3  do the tickets inside err independently: synergy of                  ensembling | synergy
        `lottery_tickets.subsets`, 1 if they do, above 1 if they cancel,    | shared
        below 1 if they err alike
    T4  the error over that of least squares on the same neurons             optimisation | width
    T5  the exponent when the rate falls as 1/N against that at one rate     speed | width

The last two ask what limits the error: the progress of training, or the width. A reading is given
if the interval decides it, else it is "undecided"; over several widths it is the common reading of
those that are decided, or "mixed".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kleiber.claim import Estimate
from kleiber.errors import BadTable
from kleiber.systems.lottery_tickets.ensemble import EnsembleVerdict, judge_ensemble
from kleiber.systems.lottery_tickets.intervals import MIN_SEEDS, median_of, ratio_of, slope_of
from kleiber.systems.lottery_tickets.nets import (
    Nets,
    Points,
    check_target,
    keep_nets,
    mean_squares,
    outputs,
)
from kleiber.systems.lottery_tickets.pairs import (
    Matching,
    Solo,
    judge_pairs,
    judge_solo,
    match_neurons,
)
from kleiber.systems.lottery_tickets.shares import By, participation
from kleiber.systems.lottery_tickets.solutions import POINTS_PER_NEURON
from kleiber.systems.lottery_tickets.subsets import cancellation, solve_nets

SAME = 1.25  # T2: ratios within this factor of 1 count as equal
INDEPENDENT = 3.0  # T3: ratios within this factor of 1 count as independent
FAR = 10.0  # T4: multiple of the least-squares error that the width cannot explain
TOLERANCE = 0.1  # distance of the mirrored pairs that the sentences count


@dataclass(frozen=True)
class Finding:
    """One test: its question, the estimates (by width; "base" and "control" for T5), a reading for
    each width, and one for all."""

    name: str
    asks: str
    estimates: Mapping[float | str, Estimate]
    each: Mapping[float | str, str]
    reading: str


@dataclass(frozen=True)
class TicketsVerdict:
    """The results of all tests that the data allowed, by name, and related estimates by width.

    `reading` is "ensembling", "synergy" or "undecided", from T1 to T3; `growth` is the exponent of
    the participation number; `words` are sentences, one for each finding.
    """

    reading: str
    tests: Mapping[str, Finding]
    matching: Mapping[int, Matching]
    participation: Mapping[int, Estimate]
    growth: Estimate | None
    solo: Mapping[int, Solo]
    dropped: Mapping[int, int]
    words: tuple[str, ...]


def judge_average(verdict: EnsembleVerdict) -> Finding:
    """Evaluate T1 from the parts of the nets' error.

    The reading is "ensembling" if the interval of the shared part lies below half of the error, and
    "shared" if it lies above.
    """
    names = {"averages": "ensembling", "shared": "shared"}
    each = {part.width: names.get(part.reading, "undecided") for part in verdict.widths}
    shares = {part.width: part.bias_share for part in verdict.widths}
    return _make_finding("T1", "What share of the error do all seeds have in common", shares, each)


def judge_equivalence(verdict: EnsembleVerdict, *, members: int = 2) -> Finding:
    """Evaluate T2 from the parts of the nets' error, for pairs of widths with the ratio `members`.

    The reading is "ensembling" if the interval of the ratio lies within a factor of 1.25 of 1,
    "synergy" if it lies above 1 and "noise" if below. Raises BadTable without such widths.
    """
    ratios = {item.width: item.ratio for item in verdict.trades if item.members == members}
    if not ratios:
        raise BadTable(f"T2 needs two widths of which one is {members} times the other.")
    each = {width: _read_equivalence(ratio) for width, ratio in ratios.items()}
    asks = f"Is one net {members} times as wide better than the average of {members} nets"
    return _make_finding("T2", asks, ratios, each)


def judge_subsets(
    nets: Mapping[int, Nets], x: ArrayLike, y: ArrayLike, *, seed: int = 0
) -> Finding:
    """Evaluate T3: sum_k <E_k^2>/<(sum_k E_k)^2> over the tickets of each net, means over nets.

    The reading is "ensembling" if the interval lies within a factor of 3 of 1, "synergy" if it lies
    above 3 and "shared" if below 1/3. Widths below 4 (one ticket) are left out. Raises BadTable.
    """
    ratios: dict[float | str, Estimate] = {}
    if max(nets, default=0) < 4:
        raise BadTable(f"T3 needs a width of at least 4, two tickets, got {sorted(nets)}.")
    for width in sorted(width for width in nets if width >= 4):
        apart, together = cancellation(nets[width], x, y)
        ratios[width] = ratio_of(apart, together, seed=seed)
    each = {width: _read_independence(ratio) for width, ratio in ratios.items()}
    return _make_finding("T3", "Do the errors of tickets cancel more than by chance", ratios, each)


def judge_bound(nets: Mapping[int, Nets], x: ArrayLike, y: ArrayLike) -> Finding:
    """Evaluate T4: the error over that of least squares on the same neurons, medians over nets.

    The reading is "optimisation" if the interval lies above 10 and "width" if below. Widths with
    fewer than 4 points per neuron are left out. Raises BadTable.
    """
    inputs, target = check_target(x, y)
    ratios: dict[float | str, Estimate] = {}
    for width in sorted(nets):
        if width * POINTS_PER_NEURON <= inputs.size:
            solved = mean_squares(solve_nets(nets[width], inputs, target), inputs, target)
            own = mean_squares(nets[width], inputs, target)
            floor = np.finfo(float).eps ** 2 * float((target**2).mean())  # of rounding
            ratios[width] = median_of(own / np.maximum(solved, floor))
    if not ratios:
        raise BadTable(f"T4 needs {POINTS_PER_NEURON} points per neuron, got {inputs.size} points.")
    each = {
        width: _read_side(ratio, FAR, "optimisation", "width") for width, ratio in ratios.items()
    }
    return _make_finding(
        "T4", "How far is the error from the least that these neurons allow", ratios, each
    )


def judge_speed(base: Estimate, control: Estimate) -> Finding:
    """Evaluate T5 from two exponents of N: at one rate (`base`) and at rates as 1/N (`control`).

    The reading is "speed" if the control's interval lies below half of the base and "width" if
    above.
    """
    half = Estimate(base.value / 2, base.stderr / 2, base.low / 2, base.high / 2)
    reading = "undecided"
    if base.low > 0:
        reading = "speed" if control.high < half.low else reading
        reading = "width" if control.low > half.high else reading
    asks = "What remains of the exponent when wider nets do not learn faster"
    return Finding("T5", asks, {"base": base, "control": control}, {"control": reading}, reading)


def judge_tickets(
    nets: Mapping[int, Nets],
    x: ArrayLike,
    y: ArrayLike,
    *,
    initial: Mapping[int, Nets] | None = None,
    speeds: tuple[Estimate, Estimate] | None = None,
    by: By = "curvature",
    drop: float | None = 30.0,
    seed: int = 0,
) -> TicketsVerdict:
    """Test whether trained nets of one or more widths are ensembles of tickets.

    `nets` are `Nets` by width, at least 4 seeds each; `x` and `y` a dense common grid and the
    target. `initial` are the same nets before training, a null of the mirrored pairs; `speeds` are
    the two exponents of T5. `drop` leaves out nets whose error exceeds that multiple of their
    width's median. Tests that the data do not allow are left out. Raises BadTable.
    """
    inputs, target = check_target(x, y)
    kept, masks, dropped = _select_nets(nets, inputs, target, drop)
    made = {width: outputs(item, inputs) for width, item in kept.items()}
    predictions = judge_ensemble(made, target, seed=seed)
    found = [judge_average(predictions)]
    if any(trade.members == 2 for trade in predictions.trades):
        found.append(judge_equivalence(predictions))
    if max(kept) >= 4:
        found.append(judge_subsets(kept, inputs, target, seed=seed))
    if min(kept) * POINTS_PER_NEURON <= inputs.size:
        found.append(judge_bound(kept, inputs, target))
    if speeds is not None:
        found.append(judge_speed(*speeds))
    before = {n: keep_nets(item, masks[n]) for n, item in (initial or {}).items() if n in kept}
    matching = {n: judge_pairs(item, initial=before.get(n), seed=seed) for n, item in kept.items()}
    counts = {n: participation(item, inputs, target, by=by) for n, item in kept.items()}
    alive = all((item > 0).all() for item in counts.values())
    growth = slope_of(counts, seed=seed) if len(counts) > 1 and alive else None
    solo = {n: judge_solo(item, inputs, target) for n, item in kept.items() if _has_pairs(item)}
    tests = {item.name: item for item in found}
    participants = {n: median_of(item) for n, item in counts.items()}
    words = (*_describe(tests, matching, participants, growth), *predictions.notes)
    return TicketsVerdict(
        _combine(tests), tests, matching, participants, growth, solo, dropped, words
    )


def _select_nets(
    nets: Mapping[int, Nets], x: Points, y: Points, drop: float | None
) -> tuple[dict[int, Nets], dict[int, Any], dict[int, int]]:
    """Return the nets without outliers by width, their masks, and the numbers of outliers."""
    if not nets:
        raise BadTable("There are no nets; give Nets by width.")
    if drop is not None and not drop >= 1:
        raise BadTable(f"The drop must be at least 1 times the median, got {drop!r}.")
    kept: dict[int, Nets] = {}
    masks: dict[int, Any] = {}
    dropped: dict[int, int] = {}
    for width in sorted(nets):
        if nets[width].width != width:
            raise BadTable(f"Nets of width {nets[width].width} are given as width {width}.")
        errors = mean_squares(nets[width], x, y)
        good = errors <= (np.inf if drop is None else drop * np.median(errors))
        if good.sum() < MIN_SEEDS:
            raise BadTable(f"Width {width} keeps {good.sum()} of {good.size} nets; it needs 4.")
        kept[width], masks[width] = keep_nets(nets[width], good), good
        dropped[width] = int((~good).sum())
    return kept, masks, dropped


def _has_pairs(nets: Nets) -> bool:
    """Return whether enough nets have neurons on both sides, so that some can be matched."""
    return sum(len(item) > 0 for item in match_neurons(nets).distance) >= MIN_SEEDS


def _make_finding(
    name: str, asks: str, estimates: Mapping[Any, Estimate], each: Mapping[Any, str]
) -> Finding:
    return Finding(name, asks, dict(estimates), dict(each), _agree(each.values()))


def _agree(words: Iterable[str]) -> str:
    """Return the reading of all that are decided, "mixed" if these differ, "undecided" if none
    is."""
    decided = {reading for reading in words if reading != "undecided"}
    return decided.pop() if len(decided) == 1 else "mixed" if decided else "undecided"


def _read_equivalence(ratio: Estimate) -> str:
    if 1 / SAME <= ratio.low and ratio.high <= SAME:
        return "ensembling"
    return _read_side(ratio, 1.0, "synergy", "noise")


def _read_independence(ratio: Estimate) -> str:
    if 1 / INDEPENDENT < ratio.low and ratio.high < INDEPENDENT:
        return "ensembling"
    if ratio.low > INDEPENDENT:
        return "synergy"
    return "shared" if ratio.high < 1 / INDEPENDENT else "undecided"


def _read_side(found: Estimate, middle: float, above: str, below: str) -> str:
    return above if found.low > middle else below if found.high < middle else "undecided"


def _combine(tests: Mapping[str, Finding]) -> str:
    """Combine T1 to T3: T2 and T3 decide, and an error that all seeds share excludes an
    ensemble."""
    inside = {tests[name].reading for name in ("T2", "T3") if name in tests} - {"undecided"}
    if inside == {"synergy"}:
        return "synergy"
    if inside == {"ensembling"} and tests["T1"].reading in ("ensembling", "undecided"):
        return "ensembling"
    return "undecided"


def _describe(
    tests: Mapping[str, Finding],
    matching: Mapping[int, Matching],
    participants: Mapping[int, Estimate],
    growth: Estimate | None,
) -> Iterable[str]:
    """Write one sentence for each finding."""
    for item in tests.values():
        values = ", ".join(
            f"{key if isinstance(key, str) else f'N = {key:g}'}: {_format_estimate(found)}"
            for key, found in item.estimates.items()
        )
        yield f"{item.name}, {item.asks}? {item.reading} ({values})."
    for width, item in matching.items():
        at = item.tolerances.index(TOLERANCE)
        yield (
            f"N = {width}: {_format_estimate(item.share[at])} of the neurons are in a mirrored "
            "pair closer "
            f"than {TOLERANCE:g}, {_format_estimate(item.crossed[at])} between halves of "
            "different nets: "
            f"{item.reading[at]}."
        )
    for width, found in participants.items():
        yield f"N = {width}: {_format_estimate(found)} neurons participate."
    if growth is not None:
        yield f"The number of participating neurons grows as N^{_format_estimate(growth)}."


def _format_estimate(found: Estimate) -> str:
    return f"{found.value:.3g} [{found.low:.3g}, {found.high:.3g}]"
