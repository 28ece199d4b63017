"""A Forecast as a JSON document, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from kleiber.forecasting.record import ADDED, Forecast
from kleiber.frames import as_frame
from kleiber.plain import as_plain, from_plain, plain_number
from kleiber.version import __version__


def document(made: Forecast) -> dict[str, Any]:
    """Return the whole forecast: what is needed to forecast further rows, and to score it."""
    fields = {name: getattr(made, name) for name in Forecast.__dataclass_fields__}
    return as_plain(fields | {"table": as_frame(made.table)}, keep_infinities=True)


def forecast_from(given: Mapping[str, Any]) -> Forecast:
    """Return the forecast of a document."""
    frame = from_plain(pl.DataFrame, given["table"], at="table")
    numbers = [pl.col(name).cast(pl.Float64).fill_null(float("nan")) for name in ADDED[:-1]]
    frame = frame.with_columns(*numbers, pl.col(ADDED[-1]).cast(pl.String))
    made = from_plain(Forecast, {**given, "table": None})
    return replace(made, table=frame)


def describe_forecast(made: Forecast) -> dict[str, Any]:
    """Return the document that ``forecast --json`` prints."""
    groups = [
        {
            "value": list(part.values),
            "rows": part.rows,
            "weights": dict(part.weights),
            "notes": list(part.notes),
            "why": part.why or None,
            "next_run": as_plain(part.next_run),
            "back_tests": as_plain(part.tests.to_dicts()),
        }
        for part in made.groups
    ]
    return {
        "x": list(made.x),
        "target": made.target,
        "group": list(made.group),
        "level": made.level,
        "rows": as_plain(as_frame(made.table).to_dicts()),
        "weights": as_plain(made.weights),
        "expected_error": plain_number(made.expected_error),
        "notes": list(made.notes),
        "groups": groups,
        "digest": made.digest,
        "date": made.date,
        "version": __version__,
    }
