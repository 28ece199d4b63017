"""A Fit as a JSON document, and back."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from jaxtyping import Float

from kleiber.arguments import check_flag, check_path, check_record
from kleiber.errors import BadFormula, BadLaw, BadTable, reason, shown
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.entries import check_entries
from kleiber.fitting.group_document import pick_group
from kleiber.fitting.judge.misfit import read_misfit
from kleiber.fitting.judge.status import Status
from kleiber.fitting.options import Options
from kleiber.fitting.record import IDLE_VALUE, Fit
from kleiber.fitting.spread.components import describe_components, read_components
from kleiber.fitting.spread.wild import Moments
from kleiber.formula import parse, symbols
from kleiber.law import Domain, Kind, Law, formula_law, law_from_file
from kleiber.laws import catalogue
from kleiber.plain import as_plain, read_document, write_document
from kleiber.version import __version__

OPTION_NAMES = (
    "draws",
    "start",
    "resample",
    "real",
    "seed",
)  # options without an entry of their own
REQUIRED = ("law", "formula", "params", "status", "target")


def describe(fit: Fit) -> dict[str, Any]:
    """Return the document that ``fit --json`` prints."""
    params = {}
    for name, value in fit.params.items():
        low, high = fit.interval(name, fit.level)
        known = None if name in fit.unknown else value
        params[name] = {"value": known, "low": low, "high": high, "stderr": fit.stderr.get(name)}
    document: dict[str, Any] = {
        "law": fit.law.name,
        "formula": fit.law.formula,
        "params": params,
        "level": fit.level,
        "objective": fit.objective,
        "status": str(fit.status),
        "misfit": fit.misfit,
        "rows": fit.rows,
        "target": fit.target,
        "seconds": fit.seconds,
        "reason": fit.reason,
        "notes": fit.notes,
        "condition": fit.condition,
        "noise": fit.noise,
        "fixed": fit.options.fixed,
        "tied": fit.options.tied,
        "by": fit.options.by,
        "weights": fit.options.weights,
        "resample": fit.resample,
        "priors": fit.options.priors,
        "inside": fit.quadratic_share,
        "straight": fit.linear,
        "unknown": fit.unknown,
        "variance": describe_components(fit.components),
        "starts": fit.starts,
    }
    return as_plain(document)


def document(fit: Fit) -> dict[str, Any]:
    """Return the whole fit: ``describe`` with draws, ranges, digest, and what predictions need."""
    whole = {
        "draws": fit.draws,
        "ranges": fit.ranges,
        "digest": fit.digest,
        "version": __version__,
        "domains": fit.law.domains,
        "variables": fit.law.variables,
        "origin": fit.law.origin,
        "doc": fit.law.doc,
        "units": fit.units,
        "free": fit.free,
        "covariance": fit.covariance,
        "moments": fit.moments,
        "residuals": fit.residuals,
        "outermost": fit.outermost,
        "best_runs": fit.best_runs,
        "options": {name: getattr(fit.options, name) for name in OPTION_NAMES},
    }
    return describe(fit) | as_plain(whole, keep_infinities=True)


def save(fit: Fit, path: str | Path) -> None:
    """Write the fit as JSON; an interrupted write leaves no partial file."""
    fit = check_record("fit", fit, Fit, "a Fit, as kleiber.fit returns it, for save")
    write_document(document(fit), check_path("path", path))


def load(path: str | Path, *, group: Any = None, trust: bool = False) -> Fit:
    """Read a fit that ``save`` or ``kleiber fit -o`` wrote; of ``fit --group``, the fit of
    ``group``.

    A document with no more than the keys of ``fit --json`` is accepted too: without draws and
    ranges its intervals are unknown. A law that no formula expresses is in a Python file, which is
    run only with ``trust``. Raises BadTable for anything else, and for a document of a newer
    version.
    """
    check_flag("trust", trust)
    given = read_document(path, "a saved fit", "save a fit with `kleiber fit ... -o fit.json`")
    return fit_from(given, str(path), group=group, trust=trust)


def fit_from(given: Any, path: str, *, group: Any = None, trust: bool = False) -> Fit:
    """Return the fit of a document that was read from a file."""
    given = pick_group(given, group, path)
    kind = cast("dict[str, Any]", given).get("kind") if isinstance(given, dict) else None
    if kind is not None:
        raise BadTable(f"{path} holds a {shown(kind)}, and not a fit.")
    missing = [key for key in REQUIRED if not isinstance(given, dict) or key not in given]
    if missing:
        raise BadTable(f"{path} is not a saved fit: it has no {', '.join(missing)}.")
    whole = cast("Mapping[str, Any]", given)
    refuse_newer(whole.get("version"), path)
    try:
        check_entries(whole)
        fit = _fit_from(whole, trust)
        _check_fit(fit)
        return fit
    except (BadTable, BadLaw, BadFormula) as error:
        raise BadTable(f"{path} is no fit that can be used: {error}") from None
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        what = f"{type(error).__name__}: {reason(error)}"
        raise BadTable(f"{path} is not a saved fit: {what}.") from None


def refuse_newer(version: Any, path: str) -> None:
    """Raise BadTable for a document written by a newer version, whose meaning may have changed."""
    if version is None:
        return
    numbers = re.match(r"(\d{1,9})\.(\d{1,9})", str(version))
    own = re.match(r"(\d+)\.(\d+)", __version__)
    assert own is not None
    if numbers is None:
        raise BadTable(f"{path} names no version that can be read: {shown(version)}.")
    if tuple(map(int, numbers.groups())) > tuple(map(int, own.groups())):
        raise BadTable(
            f"{path} was written by kleiber {version}, newer than this {__version__}; update "
            "kleiber to read it."
        )


def _check_fit(fit: Fit) -> None:
    """Raise BadTable for numbers that no fit can hold."""
    for name in fit.free:
        domain, value = fit.law.domains[name], fit.params[name]
        if not (domain.contains(value) or value in domain.bounds) or not math.isfinite(value):
            raise BadTable(f"{name} = {value:g} lies outside its domain ({domain.kind}).")
        low, high = domain.bounds
        drawn = fit.draws.get(name, np.empty(0))
        if (drawn < low).any() or (drawn > high).any():
            raise BadTable(f"Draws of {name} lie outside its domain ({domain.kind}).")
    if fit.rows < 0 or fit.units < 0 or fit.units > max(fit.rows, 0):
        raise BadTable(f"It cannot have {fit.rows} rows in {fit.units} units.")
    if len(fit.residuals) not in (0, fit.rows) or not np.isfinite(fit.residuals).all():
        raise BadTable(f"Its residuals are not {fit.rows} finite numbers.")
    if fit.covariance is not None and not np.isfinite(fit.covariance).all():
        raise BadTable("Its covariance is not finite.")
    for name, (low, high) in fit.ranges.items():
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise BadTable(
                f"Its range of {name}, {low:g} to {high:g}, is not finite and increasing."
            )
    _check_runs(fit)


def _check_names(given: Mapping[str, Any]) -> None:
    """Raise BadTable for names that are not parameters, or that occur twice."""
    for entry in ("free", "unknown", "fixed", "tied", "priors", "draws"):
        names = list(given.get(entry) or ())
        strange = [name for name in names if name not in given["params"]]
        if strange or len(set(names)) < len(names):
            raise BadTable(f"Its entry {entry!r} must name some of its parameters, each once.")


def _check_runs(fit: Fit) -> None:
    """Raise BadTable for draws without units, and for measured runs that lack a variable of the
    law."""
    if fit.n_draws and not fit.units:
        raise BadTable("It has draws, but no rows or groups that were resampled.")
    for run in (*fit.outermost, *fit.best_runs):
        missing = [name for name in fit.law.variables if name not in run]
        if missing:
            raise BadTable(f"One of its measured runs has no {missing[0]!r}.")


def _fit_from(given: Mapping[str, Any], trust: bool) -> Fit:
    _check_names(given)
    unknown = tuple(given.get("unknown") or ())
    params = {
        name: IDLE_VALUE if name in unknown else float(item["value"])
        for name, item in given["params"].items()
    }
    law = _law_from(given, tuple(params), trust)
    if set(law.params) != set(params):
        raise BadTable(f"Law {law.name} has parameters {', '.join(law.params)}, not those saved.")
    fixed, tied = _mapping(given, "fixed"), _mapping(given, "tied")
    free = tuple(given.get("free") or [n for n in params if n not in fixed and n not in tied])
    rows = int(given.get("rows", 0))
    return Fit(
        law=law,
        params=params,
        status=Status(given["status"]),
        reason=str(given.get("reason", "")),
        objective=_number(given.get("objective")),
        residuals=np.array(given.get("residuals") or [], dtype=float),
        condition=float(given.get("condition") or math.inf),
        draws=_draws_from(_mapping(given, "draws"), tuple(params)),
        ranges=_pairs_from(_mapping(given, "ranges")),
        digest=str(given.get("digest", "")),
        options=_options_from(given, fixed, tied),
        rows=rows,
        units=int(given.get("units", rows)),
        free=free,
        covariance=_matrix_from(given.get("covariance"), len(free)),
        stderr={n: _number(item.get("stderr")) for n, item in given["params"].items() if n in free},
        starts=_pairs_from(_mapping(given, "starts")),
        seconds=float(given.get("seconds", 0.0)),
        resample=str(given.get("resample", "rows")),
        quadratic_share=float(given.get("inside", 1.0)),
        linear=bool(given.get("straight", False)),
        unknown=unknown,
        moments=_moments_from(given.get("moments"), len(free)),
        outermost=tuple(given.get("outermost") or ()),
        components=read_components(given.get("variance")),
        best_runs=_runs_from(given.get("best_runs") or ()),
        notes=tuple(given.get("notes") or ()),
        misfit=read_misfit(given.get("misfit")),
    )


def _options_from(
    given: Mapping[str, Any], fixed: Mapping[str, float], tied: Mapping[str, str]
) -> Options:
    """Return the options of the fit; for an earlier document, as far as it records them."""
    return Options(
        target=str(given["target"]),
        noise=Noise(**_mapping(given, "noise")),
        level=given.get("level", 0.95),
        by=given.get("by"),
        weights=given.get("weights"),
        fixed=fixed,
        tied=tied,
        priors=_pairs_from(_mapping(given, "priors")),
        **_mapping(given, "options"),
    )


def _runs_from(given: Any) -> tuple[Mapping[str, float], ...]:
    """Return measured runs as mappings from column to number."""
    return tuple({str(name): float(value) for name, value in row.items()} for row in given)


def _moments_from(given: Any, free: int) -> Moments | None:
    if not given:
        return None
    moments = Moments(*(np.array(given[key], dtype=float) for key in ("root", "fourth")))
    if not moments.fits(free):
        raise BadTable(f"Its moments are not those of {free} parameters.")
    return moments


def _mapping(given: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a mapping inside the document; empty if the document has none."""
    return dict(given.get(key) or {})


def _pairs_from(given: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    return {name: (float(low), float(high)) for name, (low, high) in given.items()}


def _draws_from(
    given: Mapping[str, Any], params: tuple[str, ...]
) -> dict[str, Float[np.ndarray, "draws"]]:
    draws = {name: np.array(given[name], dtype=float) for name in params} if given else {}
    if len({values.shape for values in draws.values()}) > 1:
        raise BadTable("Its draws differ in length.")
    if any(values.ndim != 1 or np.isnan(values).any() for values in draws.values()):
        raise BadTable("Its draws are not lists of numbers.")
    return draws


def _matrix_from(given: Any, size: int) -> Float[np.ndarray, "free free"] | None:
    matrix = None if given is None else np.array(given, dtype=float)
    if matrix is not None and matrix.shape != (size, size):
        raise BadTable(f"Its covariance is not {size} by {size}.")
    return matrix


def _law_from(given: Mapping[str, Any], params: tuple[str, ...], trust: bool) -> Law:
    """Return the law by its catalogue name if formula and domains agree, else from the formula.

    Only a law that no formula can express is read again from its file, which runs that file, and
    only with ``trust``.
    """
    known = catalogue().get(given["law"])
    domains = {name: _domain(item) for name, item in _mapping(given, "domains").items()}
    if known is not None and known.formula == given["formula"]:
        if not domains or domains == dict(known.domains):
            return known
    try:
        expr = parse(given["formula"])
    except BadFormula:
        expr = None
    if expr is None or given["formula"] in (given["law"], given.get("origin")):
        if given.get("origin") and not trust:
            raise BadTable(
                f"Its law is in the Python file {shown(given['origin'])}, which loading would "
                "run; if you trust that file, load with trust=True (--trust)."
            )
        if given.get("origin"):
            return law_from_file(given["origin"])
        raise BadTable(
            f"Its law {given['law']!r} is a Python function that no formula expresses; put it in a "
            "file and fit with file.py:name, so that the file can be read again."
        )
    found = symbols(expr)
    variables = tuple(given.get("variables") or sorted(found - set(params)))
    strange = found - set(params) - set(variables)
    if strange or not variables:
        raise BadTable(f"The formula {given['formula']!r} does not match the saved parameters.")
    domains = {name: domains.get(name, Domain("real")) for name in params}
    return formula_law(expr, variables, domains, name=given["law"], doc=given.get("doc", ""))


def _domain(given: Mapping[str, Any]) -> Domain:
    if given["kind"] not in get_args(Kind):
        raise BadTable(f"There is no domain of kind {given['kind']!r}.")
    return Domain(**given)


def _number(item: Any) -> float:
    return math.nan if item is None else float(item)
