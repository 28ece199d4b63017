"""fit_counts: a law of repeated attempts fitted to counts of successes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from kleiber.errors import BadTable, listed, nearest
from kleiber.fitting.counts.along import fit_along
from kleiber.fitting.counts.batch import Batch, pack
from kleiber.fitting.counts.beta import beta_binomial, zero_inflated
from kleiber.fitting.counts.family import Family
from kleiber.fitting.counts.lid import lid
from kleiber.fitting.counts.mixtures import kumaraswamy, scaled_beta
from kleiber.fitting.counts.newton import Peak, maximise
from kleiber.fitting.counts.record import USABLE, CountFit, CountStatus
from kleiber.fitting.counts.straight import straighten
from kleiber.fitting.intervals import check_level
from kleiber.maths.seeds import stream
from kleiber.reduce.attempts import check_draws
from kleiber.reduce.attempts_table import Counts, group_columns, read_counts
from kleiber.table import as_frame, numbers

FAMILIES: Mapping[str, Callable[[Float[np.ndarray, "pairs 2"]], Family]] = {
    "beta_binomial": lambda pairs: beta_binomial,
    "zero_inflated": lambda pairs: zero_inflated,
    "scaled_beta": scaled_beta,
    "kumaraswamy": kumaraswamy,
    "lid": lid,
}
FLAT = 0.01  # log-likelihood lost at the end of a coordinate's range that is no loss
GAMMA = 50.0  # b from which the beta-binomial law is nearly its Gamma limit,
RARE = 0.1  # if the mean success rate is below this


def find_family(name: str) -> Callable[[Float[np.ndarray, "pairs 2"]], Family]:
    """The family of that name; BadTable with the nearest name for any other."""
    folded = name.strip().lower().replace("-", "_")
    if folded not in FAMILIES:
        raise BadTable(
            f"no family is called {name!r}.{nearest(folded, FAMILIES)} There are: "
            f"{', '.join(FAMILIES)}."
        )
    return FAMILIES[folded]


def fit_counts(
    table: Any,
    *,
    family: str = "beta_binomial",
    by: str | Sequence[str] | None = None,
    along: str | None = None,
    prior: str | None = None,
    level: float = 0.95,
    stopped: bool | None = None,
    draws: int = 0,
    seed: int = 0,
) -> CountFit:
    """Fit the distribution of success probabilities over problems, by maximum likelihood.

    The table has columns problem, attempts, successes. Groups are the values of ``by``, by default
    of ``model`` where there is such a column; all are fitted in one batch. ``family`` is
    beta_binomial, zero_inflated, scaled_beta, kumaraswamy or lid. ``along`` fits a joint law of the
    exponent along a column, such as n_tokens or n_params (``CountFit.trend``).
    ``prior="straight"`` adds the weak prior that -log pass@k is nearly a power law, for few
    attempts. Attempts may have stopped on success: the likelihood is the same. ``draws`` refits to
    resampled problems, the same problems in all groups. Raises BadTable.
    """
    frame = as_frame(table)
    make = find_family(family)
    level = check_level(level)
    check_draws(draws, least=0)
    if prior not in (None, "straight"):
        raise BadTable(f"prior is None or 'straight', got {prior!r}.")
    columns = group_columns(frame, by)
    if along is not None:
        numbers(frame, along, positive=True)
        columns = columns if along in columns else [*columns, along]
    counts = read_counts(frame, columns, stopped=stopped)
    batch = pack(counts)
    law = make(batch.pairs) if prior is None else straighten(make(batch.pairs))
    enough = batch.problems > len(law.params)
    if not enough.any():
        raise BadTable(
            f"{law.name} has {len(law.params)} parameters, so it needs more problems than that; "
            f"the table has {int(batch.problems.max())} in a group."
        )
    peak = maximise(law, batch)
    ended = [_judge(law, batch, peak, g) for g in range(len(batch))]
    statuses, reasons = tuple(s for s, _ in ended), tuple(r for _, r in ended)
    usable = np.array([s in USABLE for s in statuses])
    notes = _notes(law, batch, peak, counts, by, usable, prior)
    trend = None
    if along is not None:
        trend = fit_along(law, counts, batch, peak, usable, along, level)
    drawn = _redraw(law, counts, peak, draws, seed)
    return CountFit(law, counts, batch, peak, statuses, reasons, level, prior, drawn, trend, notes)


def _judge(law: Family, batch: Batch, peak: Peak, g: int) -> tuple[CountStatus, str]:
    """The status of a group and its sentence."""
    one = batch.take(np.array([g]))
    problems, solved = int(one.problems[0]), int(one.solved[0])
    if problems <= len(law.params):
        return CountStatus.TOO_FEW_PROBLEMS, (
            f"{problems} problems cannot determine the {len(law.params)} parameters of {law.name}"
        )
    if solved == 0:
        return CountStatus.ALL_ZERO, (
            f"none of the {problems} problems was ever solved, so pass@k may be anything from 0 "
            "upwards: make more attempts, or easier problems"
        )
    if (one.weights * (one.attempts - one.successes)).sum() == 0:
        return CountStatus.ALL_SOLVED, (
            f"every attempt at each of the {problems} problems succeeded, so failure may be "
            "anything from 0 upwards: harder problems would tell"
        )
    if not peak.converged[g]:
        return CountStatus.MAX_EVALUATIONS, (
            f"the ascent had not settled after {peak.iterations} iterations; the values are the "
            "best seen, not an optimum"
        )
    for (axis, side), words in law.limits.items():
        moved = peak.u[g : g + 1].copy()
        moved[0, axis] = (law.low if side == "low" else law.high)[axis]
        if law.value(moved, one)[0] >= peak.value[g] - FLAT:
            return CountStatus.LIMIT, words
    return CountStatus.CONVERGED, "every parameter is determined by the counts"


def _notes(
    law: Family,
    batch: Batch,
    peak: Peak,
    counts: Counts,
    by: Any,
    usable: np.ndarray,
    prior: str | None,
) -> tuple[str, ...]:
    notes: list[str] = []
    if by is None and "model" in counts.keys.columns and len(counts.names) > 1:
        alone = counts.keys.width == 1 and len(np.unique(counts.problem)) == len(counts.problem)
        notes.append("grouped by model" + "; by=[] takes all rows as one group" * alone)
    if counts.stopped.any():
        notes.append(
            f"{int(counts.stopped.sum())} rows stopped on their outcome: the likelihood holds for "
            "them, the unbiased pass@k does not"
        )
    none = np.where(usable, 1 - batch.solved / batch.problems, 0.0)
    worst = int(np.argmax(none))
    if none[worst] > 0.5:
        notes.append(
            f"{none[worst]:.0%} of the problems of {counts.names[worst]!r} were never solved: its "
            "exponent rests on the others and on the family's form"
        )
    if "b" in law.params and law.name == "beta_binomial":
        a, b = (law.outer(peak.u)[name] for name in ("a", "b"))
        limit = usable & (b >= GAMMA) & (a < RARE * (a + b))
        if near := [counts.names[g] for g in np.flatnonzero(limit)]:
            notes.append(
                f"b is above {GAMMA:g} for {listed(near)}: the law is near its Gamma limit, "
                "failure (1 + k/b)**-a, where success is rare everywhere"
            )
    if prior == "straight":
        notes.append(
            "with the prior that -log pass@k is nearly a power law of k; intervals rest on it"
        )
    return tuple(notes)


def _redraw(
    law: Family, counts: Counts, peak: Peak, draws: int, seed: int
) -> Float[np.ndarray, "draws groups coordinates"]:
    """Refits to resampled problems, all draws and groups in one batch.

    A group of which a draw leaves no solved problem keeps its estimate in that draw.
    """
    groups, p = peak.u.shape
    rng = stream(seed, "counts")
    problems = int(counts.problem.max()) + 1
    times = rng.multinomial(problems, np.full(problems, 1 / problems), size=draws).astype(float)
    batch = pack(counts, times)
    start = np.tile(peak.u, (draws, 1))
    found = start.copy()
    told = np.flatnonzero(batch.solved > 0)
    if len(told):
        found[told] = maximise(law, batch.take(told), start=start[told], most=40).u
    return found.reshape(draws, groups, p)
