"""fit_counts: fits a distribution of success probabilities to counts of successes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from kleiber.arguments import check_flag, check_memory, check_text, check_whole
from kleiber.attempts.along import fit_along, note_left_out
from kleiber.attempts.batch import Batch, pack
from kleiber.attempts.beta import beta_binomial, zero_inflated
from kleiber.attempts.counts import check_draws
from kleiber.attempts.family import Family
from kleiber.attempts.judge import USABLE, CountStatus, judge
from kleiber.attempts.lid import lid
from kleiber.attempts.misfit import compare_families, misfit_notes
from kleiber.attempts.mixtures import kumaraswamy, scaled_beta
from kleiber.attempts.newton import Peak, maximise
from kleiber.attempts.record import CountFit
from kleiber.attempts.straight import add_straight_prior
from kleiber.attempts.table import (
    Counts,
    group_columns,
    looks_stopped,
    note_many_attempts,
    read_counts,
)
from kleiber.errors import BadTable, listed, nearest, shown
from kleiber.fitting.spread.intervals import check_level
from kleiber.maths.seeds import stream
from kleiber.table import as_frame, numbers

FAMILIES: Mapping[str, Callable[[Float[np.ndarray, "pairs 2"]], Family]] = {
    "beta_binomial": lambda pairs: beta_binomial,
    "zero_inflated": lambda pairs: zero_inflated,
    "scaled_beta": scaled_beta,
    "kumaraswamy": kumaraswamy,
    "lid": lid,
}
MAX_PRIOR_COST = 5.0  # log-likelihood that a prior may cost without a note
GAMMA_LIMIT = 50.0  # b from which the beta-binomial law is nearly its Gamma limit,
RARE = 0.1  # if the mean success rate is below this


def find_family(name: str) -> Callable[[Float[np.ndarray, "pairs 2"]], Family]:
    """Return the family of a name; raise BadTable with the nearest name for any other."""
    folded = check_text("family", name, "the name of a family").strip().lower().replace("-", "_")
    if folded not in FAMILIES:
        raise BadTable(
            f"No family is called {shown(name)}.{nearest(folded, FAMILIES)} There are: "
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
    sum_by: str | Sequence[str] | None = None,
    draws: int = 0,
    seed: int = 0,
) -> CountFit:
    """Fit the distribution of success probabilities over problems, by maximum likelihood.

    Of n attempts at a problem c succeed, a binomial number with the problem's own probability p.
    The family says how p varies over problems: for ``"beta_binomial"`` p has the density p^(a-1)
    (1-p)^(b-1)/B(a, b), so that k attempts all fail with the probability B(a, b + k)/B(a, b), which
    falls as k^-a.

    Parameters
    ----------
    table
        Any data frame with columns problem, attempts, successes. Attempts may have stopped on
        success: the likelihood is the same.
    family
        ``"beta_binomial"``, ``"zero_inflated"``, ``"scaled_beta"``, ``"kumaraswamy"`` or ``"lid"``.
    by
        The columns whose values make the groups, fitted each by itself; by default ``model`` where
        there is such a column, ``[]`` for one group.
    along
        A column such as ``"n_tokens"`` along which a joint law of the exponent is fitted
        (``CountFit.trend``), and where there are several series, such as models, one law of all
        (``CountFit.pooled``).
    prior
        ``"straight"`` adds the weak prior that -log pass@k is nearly a power law of k, for few
        attempts.
    level
        The level of the intervals, between 0 and 1.
    stopped
        Whether the number of attempts depended on their outcome, for all rows; by default the
        column ``stopped`` says so, or the counts do.
    sum_by
        The column that tells problems apart, such as ``"problem"``, where a problem has several
        rows in a group: single attempts (successes true or false, no column attempts) or chunks of
        them, which are added up.
    draws
        The number of refits to resampled problems, the same problems in all groups.
    seed
        The seed of the draws.

    Returns
    -------
    CountFit
        ``params``, ``interval(name)``, ``pass_at(k)`` and ``status``: of the only group, or by the
        name of the group. ``misfit`` compares the family with others and with the successes.

    Raises
    ------
    BadTable
        For missing columns, counts that are not whole or more successes than attempts, an unknown
        family or prior, and too few problems.

    Examples
    --------
    >>> import kleiber
    >>> counts = {"problem": list("abcdef"), "attempts": 6 * [9], "successes": [0, 1, 2, 4, 7, 9]}
    >>> found = kleiber.fit_counts(counts)
    >>> round(found.params["a"], 2)
    0.52
    >>> found.pass_at([1, 100]).value.round(2).tolist()
    [0.45, 0.94]
    """
    if stopped is not None:
        check_flag("stopped", stopped)
    if along is not None:
        check_text("along", along, "the name of a column or None")
    check_whole("seed", seed)
    frame = as_frame(table)
    make = find_family(family)
    level = check_level(level)
    draws = check_draws(draws, least=0)
    check_memory(f"{draws:,} draws", 8 * draws * frame.height, "ask for fewer draws")
    if prior not in (None, "straight"):
        raise BadTable(f"The prior is None or 'straight', got {shown(prior)}.")
    columns = group_columns(frame, by)
    if along is not None:
        numbers(frame, along, positive=True)
        columns = columns if along in columns else [*columns, along]
    counts = read_counts(frame, columns, stopped=stopped, sum_by=sum_by, along=along)
    counts = _mark_stopped(counts, stopped)
    batch = pack(counts)
    law = make(batch.pairs) if prior is None else add_straight_prior(make(batch.pairs))
    _check_problems(law, batch, counts)
    peak = maximise(law, batch)
    verdicts = [judge(law, counts, batch, peak, g) for g in range(len(batch))]
    statuses, reasons = tuple(s for s, _ in verdicts), tuple(r for _, r in verdicts)
    usable = np.array([s in USABLE for s in statuses])
    fitted = usable | np.array([s is CountStatus.FAILED for s in statuses])
    misfit = compare_families(law, FAMILIES, counts, batch, peak, fitted)
    notes = _notes(law, batch, peak, counts, by, usable)
    if prior is not None:
        notes += _prior_notes(make(batch.pairs), batch, peak, counts.names, usable)
    notes += misfit_notes(law, counts.names, misfit)
    trend = pooled = None
    if along is not None:
        trend, pooled = fit_along(law, counts, batch, peak, usable, along, level)
        notes += note_left_out(counts, batch, usable, along)
    drawn = _redraw(law, counts, peak, draws, seed)
    return CountFit(
        law, counts, batch, peak, statuses, reasons, level, prior, drawn, trend, notes, misfit,
        pooled=pooled,
    )  # fmt: skip


def _mark_stopped(counts: Counts, stopped: bool | None) -> Counts:
    """Mark the counts as stopped on success if they look so and the user did not say otherwise."""
    if stopped is not None or counts.stopped.any() or not looks_stopped(counts):
        return counts
    note = (
        "No problem has more than one success and the attempts differ, as when they stop on "
        "success: they are taken as such (if their numbers were fixed beforehand, give a column "
        "stopped that is false, or stopped=False in Python)."
    )
    return replace(counts, stopped=np.ones(len(counts.group), bool), notes=(*counts.notes, note))


def _check_problems(law: Family, batch: Batch, counts: Counts) -> None:
    """Raise BadTable if no group has more problems than the family has parameters."""
    largest = int(batch.problems.max())
    if largest > len(law.params):
        return
    raise BadTable(
        f"{law.name} has {len(law.params)} parameters, so it needs more problems than that; "
        f"the table has {largest} in a group. {' '.join(note_many_attempts(counts))}".strip()
    )


def _notes(
    law: Family,
    batch: Batch,
    peak: Peak,
    counts: Counts,
    by: Any,
    usable: np.ndarray,
) -> tuple[str, ...]:
    notes = [*counts.notes]
    if by is None and "model" in counts.keys.columns and len(counts.names) > 1:
        independent = counts.keys.width == 1 and len(np.unique(counts.problem)) == len(
            counts.problem
        )
        notes.append("Grouped by model" + "; by=[] takes all rows as one group" * independent + ".")
    if counts.stopped.any():
        notes.append(
            f"{int(counts.stopped.sum())} rows stopped on their outcome: the likelihood holds for "
            "them, the unbiased pass@k does not."
        )
    none = np.where(usable, 1 - batch.solved / batch.problems, 0.0)
    worst = int(np.argmax(none))
    if none[worst] > 0.5:
        notes.append(
            f"{none[worst]:.0%} of the problems of {counts.names[worst]!r} were never solved: its "
            "exponent rests on the others and on the family's form."
        )
    if "b" in law.params and law.name == "beta_binomial":
        a, b = (law.to_params(peak.u)[name] for name in ("a", "b"))
        limit = usable & (b >= GAMMA_LIMIT) & (a < RARE * (a + b))
        if near := [counts.names[g] for g in np.flatnonzero(limit)]:
            notes.append(
                f"Success is rare everywhere in {listed(near)}, and b is above {GAMMA_LIMIT:g}: "
                "the law is near its Gamma limit, failure (1 + k/b)**-a."
            )
    return tuple(notes)


def _prior_notes(
    plain: Family, batch: Batch, peak: Peak, names: tuple[str, ...], usable: np.ndarray
) -> tuple[str, ...]:
    """Return notes on the prior, and on the groups whose counts contradict it."""
    notes = ["The prior says that -log pass@k is nearly a power law of k; intervals rest on it."]
    cost = np.where(usable, maximise(plain, batch).value - plain.value(peak.u, batch), 0.0)
    if conflicting := [names[g] for g in np.flatnonzero(cost > MAX_PRIOR_COST)]:
        notes.append(
            f"The prior pulls against the counts of {listed(conflicting)}: it costs up to "
            f"{cost.max():.3g} in log-likelihood. Fit without it."
        )
    return tuple(notes)


def _redraw(
    law: Family, counts: Counts, peak: Peak, draws: int, seed: int
) -> Float[np.ndarray, "draws groups coordinates"]:
    """Refit to resampled problems, all draws and groups in one batch.

    A group without a solved problem in a draw keeps its estimate in that draw.
    """
    groups, p = peak.u.shape
    rng = stream(seed, "counts")
    problems = int(counts.problem.max()) + 1
    times = rng.multinomial(problems, np.full(problems, 1 / problems), size=draws).astype(float)
    batch = pack(counts, times)
    start = np.tile(peak.u, (draws, 1))
    found = start.copy()
    solved_some = np.flatnonzero(batch.solved > 0)
    if len(solved_some):
        found[solved_some] = maximise(
            law, batch.take(solved_some), start=start[solved_some], max_iterations=40
        ).u
    return found.reshape(draws, groups, p)
