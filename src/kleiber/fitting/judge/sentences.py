"""The misfit of a fit in words: one sentence, and notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from kleiber.errors import listed, shown
from kleiber.fitting.judge.misfit import COMPUTE, PREDICTION, FarRow, Misfit, Trend
from kleiber.fitting.options import Options

ALARM = 0.01  # a misfit is said where noise alone shows as much in fewer tables than this
MANY = 3.0  # times the repeats' error: what a law misses by that is not their noise
NAMED = 3  # columns and rows that a sentence names
WORSE = -0.2  # explained share below which a constant is closer than the law, noise aside
WIDE = 1.2  # times too narrow: intervals of which that is said


def remark(made: Misfit, *, spare: int, tested: bool) -> Misfit:
    """The misfit with its sentence, and with an alarm where a trend or lack of fit is beyond
    noise, the floor lies above several rows, or a constant lies closer to them.

    ``spare`` degrees of freedom are left; ``tested`` is false of residuals that are rounding.
    """
    if reasons := _reasons(made) if spare > 0 else []:
        sentence = f"The law misses the table: {'; '.join(reasons)}; {_errors(made)}."
        return replace(made, alarm=True, sentence=sentence)
    if spare <= 0:
        sentence = "The law has as many parameters as rows: nothing is left to judge it by."
    elif not tested:
        most = "most" if any(abs(item.gap) > 1e-6 for item in made.worst) else "the"
        sentence = f"The law meets {most} rows to rounding: {_errors(made)}."
    elif not made.trends:
        sentence = f"There are too few rows to look for trends in residuals: {_errors(made)}."
    else:
        sentence = f"Residuals show no trend: {_errors(made)}."
    return replace(made, sentence=sentence)


def _reasons(made: Misfit) -> list[str]:
    """Why the law misses the table by more than noise, most telling first."""
    said = [item for item in made.trends if item.p < ALARM and item.chosen]
    reasons = [f"residuals depend on {_trends(said)}"] if said else []
    lack, floor = made.lack_of_fit, made.floor
    if lack is not None and lack.p < ALARM:
        reasons.append(
            f"repeated runs differ by {per_cent(lack.repeat_error)} only"
            if made.typical_error > MANY * lack.repeat_error
            else "the means of repeated runs lie further off than the runs differ"
        )
        reasons[-1] += f" ({probability(lack.p)})"
    if floor is not None and len(floor.rows) > 1:
        reasons.append(f"its floor, {floor.value:.4g}, lies above {rows_named(floor.rows)}")
    if made.explained is not None and made.explained < WORSE:
        reasons.append("a constant would lie closer to the rows")
    return reasons


def _trends(said: Sequence[Trend]) -> str:
    """The columns with their p-values, those of the table first, and where the law is furthest off
    along the first."""
    order = sorted(said, key=lambda item: item.column in (PREDICTION, COMPUTE))
    first = order[0]
    named = [f"{shorten(item.column)} ({probability(item.p)})" for item in order[:NAMED]]
    more = f" and {len(said) - NAMED} more" if len(said) > NAMED else ""
    side = "low" if first.gap < 0 else "high"
    return f"{', '.join(named)}{more}; the law is {_by(first.gap)} too {side} {_where(first)}"


def _where(item: Trend) -> str:
    name = shorten(item.column)
    if item.level is not None:
        return f"for {name} = {shown(item.level)}"
    if item.low == item.high:
        return f"at {name} = {item.low:.4g}"
    return f"for {name} from {item.low:.4g} to {item.high:.4g}"


def _errors(made: Misfit) -> str:
    text = f"typical error {per_cent(made.typical_error)}"
    if made.rms_error > MANY * made.typical_error:
        text += f", root mean square {per_cent(made.rms_error)}"
    return text + (f", largest in row {_far(made.worst[0])}" if made.worst else "")


def _far(item: FarRow) -> str:
    return f"{item.row} ({_by(item.gap)})"


def _by(gap: float) -> str:
    """A gap as a per cent of what was measured, or as a factor where it is large."""
    if gap > 1:
        return f"a factor of {1 + gap:.3g}"
    if -1 < gap < -0.5:
        return f"a factor of {1 / (1 + gap):.3g}"
    return per_cent(100 * abs(gap))


def per_cent(value: float) -> str:
    """A per cent in two digits."""
    return f"{value:.2g}%" if value < 99.5 else f"{value:.0f}%"


def probability(p: float) -> str:
    """A p-value in one digit, 1e-8 rather than 1e-08."""
    mantissa, _, exponent = f"{max(p, 1e-99):.0e}".partition("e")
    return f"p = {p:.1g}" if p >= 1e-3 else f"p = {mantissa}e{int(exponent)}"


def shorten(name: str) -> str:
    """A column's name, cut where it is long."""
    return name if len(name) <= 40 and name.isprintable() else shown(name)


def word_notes(
    made: Misfit, frame: pl.DataFrame, run: str | None, ask: Options, wide: float
) -> tuple[str, ...]:
    """What else a reader has to know: the alarm, a floor above measurements, rows that repeat,
    runs whose rows were taken as independent (``wide`` times too narrow, by the residuals)."""
    notes = [made.sentence] if made.alarm else []
    if made.floor is not None:
        rows = made.floor.rows
        notes.append(
            f"The law cannot go below {made.floor.value:.4g}, but {ask.target} was measured below "
            f"that, by more than the noise, in {rows_named(rows)}."
        )
    if made.repeated and run is not None:
        pairs = listed((f"{one} and {other}" for one, other in made.repeated), NAMED)
        notes.append(
            f"Rows {pairs} are the same measurement of the same run twice (column {run!r}), as "
            "after a restart; drop one of each."
        )
    if run is not None and ask.by is None:
        count = frame[run].n_unique()
        much = f"about {wide:.2g} times" if wide >= WIDE else "several times"
        alike = "their residuals are alike" if wide >= WIDE else "rows of a run share its luck"
        notes.append(
            f"Column {run!r} names {count} runs of several rows each, which were taken as "
            f"independent; {alike}, so that intervals may be {much} too narrow: "
            f"fit with --by {run} (by={run!r} in Python)."
        )
    return tuple(notes)


def rows_named(rows: Sequence[int]) -> str:
    """Row 12, or rows 3, 4, 5 and 7 more."""
    return f"row{'s' * (len(rows) != 1)} {listed((str(row) for row in rows), NAMED)}"
