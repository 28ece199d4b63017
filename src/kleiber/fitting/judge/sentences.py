"""The misfit of a fit in words: one sentence, and notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from kleiber.errors import listed, shown
from kleiber.fitting.judge.misfit import COMPUTE, PREDICTION, Misfit, OutlyingRow, Trend
from kleiber.fitting.options import Options

ALARM_P = 0.01  # a misfit is said where noise alone shows as much in fewer tables than this
MANY_TIMES = 3.0  # times the repeats' error: what a law misses by that is not their noise
N_NAMED = 3  # columns and rows that a sentence names
WORSE_THAN_CONSTANT = (
    -0.2
)  # explained share below which a constant is closer than the law, noise aside
MIN_NARROWNESS = 1.2  # times too narrow: intervals of which that is said


def add_sentence(made: Misfit, *, dof: int, tested: bool) -> Misfit:
    """Return the misfit with its sentence, and with an alarm if a trend or lack of fit is beyond
    noise, if the floor lies above several rows, or if a constant fits better.

    ``dof`` degrees of freedom are left; ``tested`` is false if residuals are rounding errors.
    """
    if reasons := _list_reasons(made) if dof > 0 else []:
        sentence = f"The law misses the table: {'; '.join(reasons)}; {_describe_errors(made)}."
        return replace(made, alarm=True, sentence=sentence)
    if dof <= 0:
        sentence = "The law has as many parameters as rows: nothing is left to test it with."
    elif not tested:
        most = "most" if any(abs(item.gap) > 1e-6 for item in made.worst) else "the"
        sentence = f"The law fits {most} rows to rounding: {_describe_errors(made)}."
    elif not made.trends:
        sentence = (
            f"There are too few rows to look for trends in residuals: {_describe_errors(made)}."
        )
    else:
        sentence = f"Residuals show no trend: {_describe_errors(made)}."
    return replace(made, sentence=sentence)


def _list_reasons(made: Misfit) -> list[str]:
    """Return the reasons why the law misses the table by more than noise, most important first."""
    alarming = [item for item in made.trends if item.p < ALARM_P and item.chosen]
    reasons = [f"residuals depend on {_describe_trends(alarming)}"] if alarming else []
    lack, floor = made.lack_of_fit, made.floor
    if lack is not None and lack.p < ALARM_P:
        reasons.append(
            f"repeated runs differ by {per_cent(lack.repeat_error)} only"
            if made.typical_error > MANY_TIMES * lack.repeat_error
            else "the means of repeated runs lie further off than the runs differ"
        )
        reasons[-1] += f" ({probability(lack.p)})"
    if floor is not None and len(floor.rows) > 1:
        reasons.append(f"its floor, {floor.value:.4g}, lies above {name_rows(floor.rows)}")
    if made.explained is not None and made.explained < WORSE_THAN_CONSTANT:
        reasons.append("a constant would lie closer to the rows")
    return reasons


def _describe_trends(alarming: Sequence[Trend]) -> str:
    """Describe the columns with their p-values, those of the table first, and where the law is
    furthest off along the first."""
    in_order = sorted(alarming, key=lambda item: item.column in (PREDICTION, COMPUTE))
    first = in_order[0]
    named = [f"{shorten(item.column)} ({probability(item.p)})" for item in in_order[:N_NAMED]]
    more = f" and {len(alarming) - N_NAMED} more" if len(alarming) > N_NAMED else ""
    side = "low" if first.gap < 0 else "high"
    gap, span = _describe_gap(first.gap), _describe_range(first)
    return f"{', '.join(named)}{more}; the law is {gap} too {side} {span}"


def _describe_range(item: Trend) -> str:
    name = shorten(item.column)
    if item.level is not None:
        return f"for {name} = {shown(item.level)}"
    if item.low == item.high:
        return f"at {name} = {item.low:.4g}"
    return f"for {name} from {item.low:.4g} to {item.high:.4g}"


def _describe_errors(made: Misfit) -> str:
    text = f"typical error {per_cent(made.typical_error)}"
    if made.rms_error > MANY_TIMES * made.typical_error:
        text += f", root mean square {per_cent(made.rms_error)}"
    return text + (f", largest in row {_describe_row(made.worst[0])}" if made.worst else "")


def _describe_row(item: OutlyingRow) -> str:
    return f"{item.row} ({_describe_gap(item.gap)})"


def _describe_gap(gap: float) -> str:
    """Describe a gap in per cent of the measured value, or as a factor if it is large."""
    if gap > 1:
        return f"a factor of {1 + gap:.3g}"
    if -1 < gap < -0.5:
        return f"a factor of {1 / (1 + gap):.3g}"
    return per_cent(100 * abs(gap))


def per_cent(value: float) -> str:
    """Return a per cent in two digits."""
    return f"{value:.2g}%" if value < 99.5 else f"{value:.0f}%"


def probability(p: float) -> str:
    """Return a p-value in one digit, as 1e-8 rather than 1e-08."""
    mantissa, _, exponent = f"{max(p, 1e-99):.0e}".partition("e")
    return f"p = {p:.1g}" if p >= 1e-3 else f"p = {mantissa}e{int(exponent)}"


def shorten(name: str) -> str:
    """Return a column's name, cut if it is long."""
    return name if len(name) <= 40 and name.isprintable() else shown(name)


def write_notes(
    made: Misfit, frame: pl.DataFrame, run: str | None, options: Options, narrowness: float
) -> tuple[str, ...]:
    """Write the notes of a misfit: the alarm, a floor above measurements, repeated rows, and runs
    whose rows were taken as independent (intervals ``narrowness`` times too narrow, by the
    residuals)."""
    notes = [made.sentence] if made.alarm else []
    if made.floor is not None:
        rows = made.floor.rows
        notes.append(
            f"The law cannot go below {made.floor.value:.4g}, but {options.target} was measured "
            f"below that, by more than the noise, in {name_rows(rows)}."
        )
    if made.repeated and run is not None:
        pairs = listed((f"{one} and {other}" for one, other in made.repeated), N_NAMED)
        notes.append(
            f"Rows {pairs} are the same measurement of the same run twice (column {run!r}), as "
            "after a restart; drop one of each."
        )
    if run is not None and options.by is None:
        count = frame[run].n_unique()
        much = f"about {narrowness:.2g} times" if narrowness >= MIN_NARROWNESS else "several times"
        alike = (
            "their residuals are alike"
            if narrowness >= MIN_NARROWNESS
            else "rows of a run share its luck"
        )
        notes.append(
            f"Column {run!r} names {count} runs of several rows each, which were taken as "
            f"independent; {alike}, so that intervals may be {much} too narrow: "
            f"fit with --by {run} (by={run!r} in Python)."
        )
    return tuple(notes)


def name_rows(rows: Sequence[int]) -> str:
    """Return "row 12", or "rows 3, 4, 5 and 7 more"."""
    return f"row{'s' * (len(rows) != 1)} {listed((str(row) for row in rows), N_NAMED)}"
