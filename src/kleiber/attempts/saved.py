"""A CountFit as a document, and back: its counts are kept, and what follows from them is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kleiber.attempts.batch import pack
from kleiber.attempts.fit import find_family
from kleiber.attempts.judge import CountStatus
from kleiber.attempts.misfit import Misfit
from kleiber.attempts.newton import Peak
from kleiber.attempts.record import CountFit
from kleiber.attempts.straight import straighten
from kleiber.attempts.table import Counts
from kleiber.attempts.trend import Trend
from kleiber.errors import BadTable, listed
from kleiber.plain import as_plain, from_plain

KEPT = (
    "counts", "peak", "statuses", "reasons", "level", "prior", "drawn", "trend", "notes", "misfits",
)  # fmt: skip


def document(made: CountFit) -> dict[str, Any]:
    """The fit as JSON can hold it."""
    kept = {name: getattr(made, name) for name in KEPT}
    return {"family": made.family.name} | as_plain(kept, endless=True)


def count_fit_from(given: Mapping[str, Any]) -> CountFit:
    """The fit of a document. Raises BadTable for what is none."""
    missing = [name for name in ("family", *KEPT) if name not in given]
    if missing:
        raise BadTable(f"It has no {listed(missing)}.")

    def read(name: str, kind: Any) -> Any:
        return from_plain(kind, given[name], at=name)

    counts = read("counts", Counts)
    batch, prior = pack(counts), read("prior", str | None)
    family = find_family(given["family"])(batch.pairs)
    law = family if prior is None else straighten(family)
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
    )  # fmt: skip
