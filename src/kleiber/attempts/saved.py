"""Saving a CountFit as a document and reading it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kleiber.attempts.batch import pack
from kleiber.attempts.fit import find_family
from kleiber.attempts.judge import CountStatus
from kleiber.attempts.misfit import Misfit
from kleiber.attempts.newton import Peak
from kleiber.attempts.pooled import PooledTrend
from kleiber.attempts.record import CountFit
from kleiber.attempts.straight import add_straight_prior
from kleiber.attempts.table import Counts
from kleiber.attempts.trend import Trend
from kleiber.errors import BadTable, listed
from kleiber.plain import as_plain, from_plain

SAVED = (
    "counts", "peak", "statuses", "reasons", "level", "prior", "drawn", "trend", "notes", "misfits",
)  # fmt: skip
ADDED = ("pooled",)  # which older documents do not have


def document(made: CountFit) -> dict[str, Any]:
    """Return the fit as a JSON document."""
    saved = {name: getattr(made, name) for name in (*SAVED, *ADDED)}
    return {"family": made.family.name} | as_plain(saved, keep_infinities=True)


def count_fit_from(given: Mapping[str, Any]) -> CountFit:
    """Return the fit of a document; raise BadTable for any other document."""
    missing = [name for name in ("family", *SAVED) if name not in given]
    if missing:
        raise BadTable(f"It has no {listed(missing)}.")

    def read(name: str, kind: Any) -> Any:
        return from_plain(kind, given[name], at=name)

    counts = read("counts", Counts)
    batch, prior = pack(counts), read("prior", str | None)
    family = find_family(given["family"])(batch.pairs)
    law = family if prior is None else add_straight_prior(family)
    peak, groups = read("peak", Peak), len(batch)
    if peak.u.shape != (groups, len(law.low)) or len(given["statuses"]) != groups:
        raise BadTable(f"Its fits are not those of {groups} groups by {law.name}.")
    drawn = np.reshape(read("drawn", np.ndarray), (-1, *peak.u.shape))
    trend: Any = given["trend"]
    if trend is not None:
        several = "along" not in trend
        trend = read("trend", dict[str, Trend] if several else Trend)
    return CountFit(
        law, counts, batch, peak, read("statuses", tuple[CountStatus, ...]),
        read("reasons", tuple[str, ...]), read("level", float), prior, drawn, trend,
        read("notes", tuple[str, ...]), read("misfits", tuple[Misfit | None, ...]),
        pooled=read("pooled", PooledTrend | None) if given.get("pooled") is not None else None,
    )  # fmt: skip
