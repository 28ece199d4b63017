"""A fit of counts in one line."""

from __future__ import annotations

from typing import Any

from kleiber.brief import brief, listed


def counts_briefly(made: Any) -> str:
    """Return the family of a CountFit and how the fit of each group ended."""
    pairs = zip(made.groups, made.statuses, strict=True)
    groups = listed(f"{name} ({status})" for name, status in pairs)
    return brief("CountFit", str(made.family.name), {"groups": groups, "notes": len(made.notes)})
