"""How a registered forecast did, and a record of many."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl

from kleiber.arguments import check_path
from kleiber.brief import brief
from kleiber.errors import BadTable, reason, shown
from kleiber.files import write_atomically
from kleiber.forecasting.record import ADDED, Forecast, match_groups
from kleiber.frames import add_columns, as_frame
from kleiber.plain import as_plain
from kleiber.table import digest, numbers

FIELDS = ("made", "target", "digest", "level", "rows", "rms_error", "bias", "covered", "log_score")


@dataclass(frozen=True)
class Score:
    """How a forecast did at the rows that were measured since.

    Attributes
    ----------
    table
        The measured rows with ``predicted``, ``low``, ``high``, ``error`` (measured over predicted
        less 1), ``inside`` and ``log_score``, null where the forecast was refused.
    made
        The day on which the forecast was made.
    target, digest, level
        What was forecast, the digest of the table it was made from, and the level of its intervals.
    rows
        The number of rows that were scored.
    rms_error, bias
        The root mean square and the mean of the log of measured over predicted.
    covered
        The share of rows inside their interval.
    log_score
        The mean log of the probability density that the forecast gave to the log of what was
        measured; larger is better.
    notes
        Sentences on what to mind.

    Examples
    --------
    >>> import kleiber
    >>> sizes = [1e3 * 2**k for k in range(10)]
    >>> runs = {"n_data": sizes, "loss": [0.5 + 20 / n**0.5 for n in sizes]}
    >>> made = kleiber.forecast(runs, {"n_data": [2e6]}, x="n_data")
    >>> found = kleiber.score(made, {"n_data": [2e6], "loss": [0.514]})
    >>> found.rows, found.covered
    (1, 1.0)
    """

    table: Any
    made: str
    target: str
    digest: str
    level: float
    rows: int
    rms_error: float
    bias: float
    covered: float
    log_score: float
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        parts = {
            "rows": self.rows,
            "typical error": f"{self.rms_error:.2%}",
            "inside": f"{self.covered:.0%}",
        }
        return brief("Score", f"{self.target}, forecast of {self.made}", parts)


def score(forecast: Forecast | str | PathLike[str], table: Any) -> Score:
    """Score a registered forecast against what was measured since.

    Parameters
    ----------
    forecast
        The forecast, or the file that ``save`` or ``kleiber forecast -o`` wrote.
    table
        The measured rows: the columns of the forecast's ``x``, of its ``group``, and its target.

    Returns
    -------
    Score
        Errors, the share of rows inside their intervals, and the log score.

    Raises
    ------
    BadTable
        For a file that holds no forecast, and rows that lack a column, or have no forecast at all.

    Examples
    --------
    >>> import kleiber
    >>> sizes = [1e3 * 2**k for k in range(10)]
    >>> runs = {"n_data": sizes, "loss": [0.5 + 20 / n**0.5 for n in sizes]}
    >>> made = kleiber.forecast(runs, {"n_data": [2e6]}, x="n_data")
    >>> abs(kleiber.score(made, {"n_data": [2e6], "loss": [0.514]}).rms_error) < 0.02
    True
    """
    made = forecast if isinstance(forecast, Forecast) else _load(forecast)
    frame = as_frame(table)
    x = np.stack([numbers(frame, name, positive=True) for name in made.x], axis=1)
    measured = numbers(frame, made.target, positive=True)
    error, density = np.full(len(frame), np.nan), np.full(len(frame), np.nan)
    for part, rows in match_groups(made, frame):
        if part.mixture is not None:
            error[rows], density[rows] = part.mixture.log_score(x[rows], measured[rows])
    known = np.isfinite(error)
    if not known.any():
        raise BadTable("No measured row has a forecast that could be scored.")
    told = as_frame(made.predict(frame.drop(made.target)))
    low, high = told["low"].to_numpy(), told["high"].to_numpy()
    inside = (measured >= low) & (measured <= high)
    added: dict[str, Any] = {name: told[name].to_numpy() for name in ADDED[:3]}
    added["error"] = measured / added["predicted"] - 1
    added["inside"] = pl.Series(
        "inside", [bool(b) if k else None for b, k in zip(inside, known, strict=True)]
    )
    added["log_score"] = density
    return Score(
        add_columns(table, added),
        made.date,
        made.target,
        made.digest,
        made.level,
        int(known.sum()),
        float(np.sqrt(np.mean(error[known] ** 2))),
        float(np.mean(error[known])),
        float(np.mean(inside[known])),
        float(np.mean(density[known])),
        _notes(made, frame, told, known),
    )


def _load(path: Any) -> Forecast:
    from kleiber.forecasting.saved import forecast_from
    from kleiber.plain import read_document

    given: Any = read_document(path, "a saved forecast", "write one with kleiber forecast -o")
    if not isinstance(given, dict) or cast("Any", given).get("kind") != "Forecast":
        raise BadTable(f"The file {shown(str(path), 200)} holds no forecast.")
    document = cast("dict[str, Any]", given)
    try:
        return forecast_from({k: v for k, v in document.items() if k not in ("kind", "version")})
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise BadTable(
            f"The file {shown(str(path), 200)} holds no forecast that can be used: {reason(error)}."
        ) from None


def _notes(
    made: Forecast, frame: pl.DataFrame, told: pl.DataFrame, known: np.ndarray
) -> tuple[str, ...]:
    out: list[str] = []
    if digest(frame) == made.digest:
        out.append("This is the table that the forecast was made from: it is no test of it.")
    elif inner := int((told["beyond"].to_numpy()[known] <= 1).sum()):
        out.append(
            f"{inner} of {int(known.sum())} rows lie within the range that the forecast knew, and "
            "may have been among its data."
        )
    if missing := int((~known).sum()):
        out.append(f"{missing} rows have no forecast.")
    return tuple(out)


def describe_score(
    found: Score, history: Sequence[Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Return the document that ``score --json`` prints."""
    document: dict[str, Any] = {name: getattr(found, name) for name in FIELDS}
    document |= {"notes": list(found.notes), "table": as_plain(as_frame(found.table).to_dicts())}
    if history is not None:
        document["record"] = summarise(history)
    return as_plain(document)


def add_to_record(found: Score, path: str | PathLike[str]) -> list[dict[str, Any]]:
    """Add a score to a JSON Lines file, and return all scores in it.

    A score of the same forecast and rows is kept once. Raises BadTable for a file of something
    else.
    """
    check_path("path", path)
    entry = {name: getattr(found, name) for name in FIELDS}
    entry["measured"] = digest(as_frame(found.table).select(pl.exclude("inside")))
    kept: list[dict[str, Any]] = []
    if Path(path).exists():
        for line in Path(path).read_text(encoding="utf-8").splitlines():
            kept.append(_read_entry(line, path))
    same = [old for old in kept if all(old[n] == entry[n] for n in ("made", "digest", "measured"))]
    if not same:
        kept.append(as_plain(entry))
    with write_atomically(path) as temporary:
        text = "".join(json.dumps(item, allow_nan=False) + "\n" for item in kept)
        temporary.write_text(text, encoding="utf-8")
    return kept


def _read_entry(line: str, path: Any) -> dict[str, Any]:
    try:
        found = json.loads(line)
        if {*FIELDS, "measured"} <= set(found):
            return found
    except (ValueError, TypeError):
        pass
    raise BadTable(f"{shown(str(path), 200)} holds a line that is no score of a forecast.")


def summarise(history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how many forecasts were scored, and how they did together, row by row."""
    rows = np.array([item["rows"] for item in history], dtype=float)
    means = {
        name: float(np.average([item[name] for item in history], weights=rows))
        for name in ("covered", "bias", "log_score")
    }
    squares = np.average([item["rms_error"] ** 2 for item in history], weights=rows)
    return {
        "forecasts": len(history),
        "rows": int(rows.sum()),
        "rms_error": math.sqrt(squares),
    } | means
