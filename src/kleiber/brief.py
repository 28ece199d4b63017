"""Short representations of records: what a person wants to see of one in a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

LONGEST = 8  # items of a list that are shown
WIDEST = 60  # characters of one item


def number(value: Any) -> str:
    """Return a number with four digits."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "unknown"
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def between(value: Any, low: Any, high: Any) -> str:
    """Return a value with its interval."""
    ends = f" [{number(low)}, {number(high)}]" if low == low and high == high else ""
    return f"{number(value)}{ends}"


def listed(items: Iterable[str]) -> str:
    """Return the first items, and how many more there are."""
    kept = [item if len(item) <= WIDEST else f"{item[: WIDEST - 1]}…" for item in items]
    more = f", and {len(kept) - LONGEST} more" if len(kept) > LONGEST else ""
    return ", ".join(kept[:LONGEST]) + more


def brief(kind: str, head: str, parts: Mapping[str, Any]) -> str:
    """Return ``Kind(head; name: value; ...)``, without parts that are empty."""
    told = [f"{name}: {value}" for name, value in parts.items() if value not in ("", None, (), 0)]
    return f"{kind}({'; '.join([head, *told] if head else told)})"
