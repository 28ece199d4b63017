"""A Fit as a JSON document, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kleiber.errors import BadLaw, BadTable
from kleiber.files import land
from kleiber.fitting.noise import Noise
from kleiber.fitting.record import Fit
from kleiber.fitting.status import Status
from kleiber.formula import parse, symbols
from kleiber.law import Domain, Law, formula_law, law_from_file
from kleiber.laws import catalogue
from kleiber.version import __version__

REQUIRED = ("law", "formula", "params", "status", "target")


def describe(fit: Fit) -> dict[str, Any]:
    """The document that ``fit --json`` prints."""
    params = {}
    for name, value in fit.params.items():
        low, high = fit.interval(name, fit.level)
        params[name] = {"value": value, "low": low, "high": high, "stderr": fit.stderr.get(name)}
    document = {
        "law": fit.law.name,
        "formula": fit.law.formula,
        "params": params,
        "level": fit.level,
        "objective": fit.objective,
        "status": str(fit.status),
        "rows": fit.rows,
        "target": fit.target,
        "seconds": fit.seconds,
        "reason": fit.reason,
        "notes": list(fit.notes),
        "condition": fit.condition,
        "noise": {"scale": fit.noise.scale, "delta": fit.noise.delta, "dof": fit.noise.dof},
        "fixed": dict(fit.fixed),
        "tied": dict(fit.tied),
        "by": fit.by,
        "starts": {name: list(ends) for name, ends in fit.starts.items()},
    }
    return _plain(document)


def document(fit: Fit) -> dict[str, Any]:
    """The whole fit: ``describe`` with draws, ranges, digest, and what predictions need."""
    whole = {
        "draws": {name: values.tolist() for name, values in fit.draws.items()},
        "ranges": {name: list(ends) for name, ends in fit.ranges.items()},
        "digest": fit.digest,
        "version": __version__,
        "domains": {
            name: {"kind": d.kind, "low": d.low, "high": d.high}
            for name, d in fit.law.domains.items()
        },
        "variables": list(fit.law.variables),
        "origin": fit.law.origin,
        "doc": fit.law.doc,
        "units": fit.units,
        "free": list(fit.free),
        "covariance": None if fit.covariance is None else fit.covariance.tolist(),
        "residuals": fit.residuals.tolist(),
        "outermost": [dict(row) for row in fit.outermost],
    }
    return describe(fit) | _plain(whole)


def save(fit: Fit, path: str | Path) -> None:
    """Write the fit as JSON; the file appears whole or not at all."""
    if not isinstance(fit, Fit):
        raise TypeError(f"save takes a Fit, got {type(fit).__name__}")
    text = json.dumps(document(fit), indent=1, allow_nan=False)
    with land(path) as temporary:
        Path(temporary).write_text(text + "\n", encoding="utf-8")


def load(path: str | Path) -> Fit:
    """Read a fit that ``save`` or ``kleiber fit -o`` wrote.

    A document with no more than the keys of ``fit --json`` is accepted too: without draws and
    ranges its intervals are unknown. Raises BadTable for anything else.
    """
    try:
        given = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadTable(
            f"no file {str(path)!r}; save a fit with: kleiber fit ... -o fit.json"
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadTable(f"{path} is not a saved fit: {error}") from None
    missing = [key for key in REQUIRED if not isinstance(given, dict) or key not in given]
    if missing:
        raise BadTable(f"{path} is not a saved fit: it has no {', '.join(missing)}")
    try:
        return _fit_from(given)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, (BadTable, BadLaw)):
            raise
        raise BadTable(f"{path} is not a saved fit: {type(error).__name__} {error}") from None


def _fit_from(given: Mapping[str, Any]) -> Fit:
    params = {name: float(item["value"]) for name, item in given["params"].items()}
    noise = given.get("noise") or {"scale": "log", "delta": None, "dof": None}
    covariance = given.get("covariance")
    fixed, tied = given.get("fixed") or {}, given.get("tied") or {}
    free = tuple(given.get("free") or [n for n in params if n not in fixed and n not in tied])
    rows = int(given.get("rows", 0))
    draws = given.get("draws") or {}
    return Fit(
        law=_law_from(given, tuple(params)),
        params=params,
        status=Status(given["status"]),
        reason=str(given.get("reason", "")),
        objective=float(given.get("objective") or math.nan),
        residuals=np.array(given.get("residuals") or [], dtype=float),
        condition=float(given.get("condition") or math.inf),
        draws={name: np.array(draws[name], dtype=float) for name in params} if draws else {},
        ranges={n: (float(lo), float(hi)) for n, (lo, hi) in (given.get("ranges") or {}).items()},
        digest=str(given.get("digest", "")),
        noise=Noise(**noise),
        target=str(given["target"]),
        rows=rows,
        units=int(given.get("units", rows)),
        free=free,
        covariance=None if covariance is None else np.array(covariance, dtype=float),
        stderr={n: _number(item.get("stderr")) for n, item in given["params"].items() if n in free},
        starts={n: (float(lo), float(hi)) for n, (lo, hi) in (given.get("starts") or {}).items()},
        fixed=fixed,
        tied=tied,
        level=float(given.get("level", 0.95)),
        seconds=float(given.get("seconds", 0.0)),
        by=given.get("by"),
        outermost=tuple(given.get("outermost") or ()),
        notes=tuple(given.get("notes") or ()),
    )


def _law_from(given: Mapping[str, Any], params: tuple[str, ...]) -> Law:
    """The law by its catalogue name when the formula agrees, else from the formula.

    Only a law that no formula can express is read again from its file, which runs that file.
    """
    known = catalogue().get(given["law"])
    if known is not None and known.formula == given["formula"]:
        return known
    if given.get("origin") and given["formula"] == given["origin"]:
        return law_from_file(given["origin"])
    expr = parse(given["formula"])
    found = symbols(expr)
    variables = tuple(given.get("variables") or sorted(found - set(params)))
    strange = found - set(params) - set(variables)
    if strange or not variables:
        raise BadTable(f"the formula {given['formula']!r} does not match the saved parameters")
    domains = {
        name: Domain(**(given.get("domains") or {}).get(name, {"kind": "real"})) for name in params
    }
    return formula_law(expr, variables, domains, name=given["law"], doc=given.get("doc", ""))


def _number(item: Any) -> float:
    return math.nan if item is None else float(item)


def _plain(item: Any) -> Any:
    """The document with NumPy numbers made plain and non-finite ones null (JSON has none)."""
    if isinstance(item, Mapping):
        return {str(key): _plain(value) for key, value in item.items()}
    if isinstance(item, (list, tuple)):
        return [_plain(value) for value in item]
    if isinstance(item, (float, np.floating)):
        return float(item) if math.isfinite(item) else None
    return item
