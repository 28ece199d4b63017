"""The entries of a saved fit, checked before any of them is used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, NonNegativeInt, TypeAdapter, ValidationError

from kleiber.errors import BadTable, shown

Maybe = float | None
Pairs = dict[str, tuple[float, float]]
Texts = list[str]
NUMBERS = "numbers by name"

# Every entry of the document: its type, and what it holds in the words of a message.
ENTRIES: Mapping[str, tuple[Any, str]] = {
    "law": (str, "text"),
    "formula": (str, "text"),
    "params": (dict[str, dict[Literal["value", "low", "high", "stderr"], Maybe]], "its parameters"),
    "level": (float, "a number"),
    "objective": (Maybe, "a number"),
    "status": (str, "text"),
    "misfit": (dict[str, Any] | None, "a misfit"),
    "rows": (NonNegativeInt, "a whole number from 0"),
    "target": (str, "text"),
    "seconds": (Maybe, "a number"),
    "reason": (str, "text"),
    "notes": (Texts, "a list of texts"),
    "condition": (Maybe, "a number"),
    "noise": (dict[Literal["scale", "delta", "dof"], float | str | None], "a noise model"),
    "fixed": (dict[str, float], NUMBERS),
    "tied": (dict[str, str], "names by name"),
    "by": (str | None, "text"),
    "weights": (str | None, "text"),
    "resample": (str, "text"),
    "priors": (Pairs, "pairs of numbers by name"),
    "inside": (float, "a number"),
    "straight": (bool, "true or false"),
    "unknown": (Texts, "a list of names"),
    "variance": (dict[str, Maybe] | None, NUMBERS),
    "starts": (Pairs, "pairs of numbers by name"),
    "draws": (dict[str, list[float | Literal["inf", "-inf"]]], "lists of numbers by name"),
    "ranges": (Pairs, "pairs of numbers by name"),
    "digest": (str, "text"),
    "version": (str | None, "text"),
    "domains": (dict[str, dict[Literal["kind", "low", "high"], str | Maybe]], "domains by name"),
    "variables": (Texts, "a list of names"),
    "origin": (str | None, "text"),
    "doc": (str, "text"),
    "units": (NonNegativeInt, "a whole number from 0"),
    "free": (Texts, "a list of names"),
    "covariance": (list[list[float]] | None, "a matrix of numbers"),
    "moments": (dict[Literal["root", "fourth"], list[Any]] | None, "two arrays"),
    "residuals": (list[float], "a list of numbers"),
    "outermost": (list[dict[str, float]], "a list of runs"),
    "options": (dict[Literal["draws", "start", "resample", "real", "seed"], Any], "options"),
    "best_runs": (list[dict[str, float]], "a list of runs"),
}
STRICT = ConfigDict(strict=True, allow_inf_nan=False)


def check_entries(given: Mapping[str, Any]) -> None:
    """Raise BadTable for the first entry of a saved fit that holds the wrong kind of value."""
    for name, (kind, what) in ENTRIES.items():
        if name not in given:
            continue
        try:
            TypeAdapter(kind, config=STRICT).validate_json(json.dumps(given[name]))
        except ValidationError as error:
            place = ", ".join(str(part) for part in error.errors()[0]["loc"][:2])
            raise BadTable(
                f"Its entry {name!r} must hold {what}, but holds "
                f"{shown(error.errors()[0]['input'])}{f' in {shown(place)}' if place else ''}."
            ) from None
