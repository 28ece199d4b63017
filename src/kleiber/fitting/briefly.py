"""A fit in one line."""

from __future__ import annotations

from typing import Any

from kleiber.brief import brief, listed, number


def fit_briefly(made: Any) -> str:
    """Return the parameters of a Fit with standard errors, its status, rows and misfit."""
    pairs = ((name, value, made.stderr.get(name)) for name, value in made.params.items())
    values = listed(f"{name} = {number(value)} ± {number(error)}" for name, value, error in pairs)
    missed = "" if made.misfit is None else f"typical error {made.misfit.typical_error:.2g}%"
    head = f"{made.law.name} of {made.target}, {made.status}"
    return brief("Fit", head, {"parameters": values, "rows": made.rows, "misfit": missed})
