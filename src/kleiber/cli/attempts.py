"""What a plan with --attempts is made of: a theory, or counts of successes along training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kleiber.cli.options import read_columns, read_frame, read_number, read_pairs
from kleiber.cli.words import parameters_of, read_arguments
from kleiber.errors import BadTable, nearest

if TYPE_CHECKING:
    from kleiber.attempts.record import CountFit
    from kleiber.fitting.record import Fit
    from kleiber.planning.curve import FailureCurve


DRAWS = 200  # of the counts
NAMES = {"attempt": "--attempt-cost", "settings": "--set", "derive": "--with", "sum_by": "--sum-by"}


@dataclass(frozen=True)
class PriceOptions:
    """Options for the price of attempts and for the current allocation."""

    attempt: str | None = None
    queries: float = 1.0
    weight: float = 0.0
    now: Sequence[str] | None = None

    def current_values(self) -> dict[str, float] | None:
        """Return the current allocation as numbers."""
        pairs = read_pairs(self.now, "now", "NAME=VALUE, one for k too")
        return {name: read_number(text, "now") for name, text in pairs.items()} or None


@dataclass(frozen=True)
class CountsOptions:
    """Options for a table of counts, as text."""

    along: str | None = None
    family: str = "beta_binomial"
    by: str | None = None
    prior: str | None = None
    stopped: bool = False
    sum_by: str | None = None
    rename: Sequence[str] | None = None
    where: str | None = None
    derive: Sequence[str] | None = None


def read_sources(
    source: str,
    law: Fit | None,
    counted: CountsOptions,
    priced: PriceOptions,
    settings: Sequence[str] | None,
) -> tuple[str, Mapping[str, Any]]:
    """Return the curves of failure of a theory, or of each series of a table of counts or of a
    saved fit of one.

    With a loss law the counts follow it. A single series has the name ""; before them comes the
    name of what tells several apart.
    """
    from kleiber import theory
    from kleiber.attempts.fit import fit_counts
    from kleiber.attempts.table import DEFAULT_GROUP
    from kleiber.planning.pose import find_curve

    if priced.attempt is None:
        raise BadTable("--attempts needs --attempt-cost: a number, or a formula of columns.")
    known = theory.catalogue()
    if source in known:
        for name in _given(counted):
            raise BadTable(f"{name} is of a table of counts, and {source!r} is a theory.")
        given = read_pairs(settings, "set", "NAME=VALUE, e.g. tail=2.5")
        made = known[source](**read_arguments(given, parameters_of(known[source]), source))
        return "", {"": find_curve(made, law)}
    if settings:
        raise BadTable(f"--set is for a theory, and {source!r} is none.{nearest(source, known)}")
    if not Path(source).exists():
        raise BadTable(
            f"--attempts takes a table of counts, a saved fit of one or a theory "
            f"({', '.join(known)}); there is no {source!r}.{nearest(source, known)}"
        )
    if Path(source).suffix.lower() == ".json":
        saved = _load_counts(source, counted)
        along = "" if saved.pooled is None else saved.pooled.along
        others = [name for name in saved.counts.keys.columns if name != along]
        return ",".join(others), _curves(saved, law)
    fit = fit_counts(
        read_frame(Path(source), counted.rename, counted.where, counted.derive),
        family=counted.family,
        by=read_columns(counted.by),
        along=counted.along or (law.target if law is not None else "n_tokens"),
        prior=counted.prior,
        stopped=True if counted.stopped else None,
        sum_by=read_columns(counted.sum_by),
        draws=DRAWS,
    )
    return counted.by or DEFAULT_GROUP, _curves(fit, law)


def _curves(fit: CountFit, law: Fit | None) -> Mapping[str, FailureCurve]:
    """Return the curve of each series, of a single one with the name ""."""
    from kleiber.planning.counts_curve import counts_curve, list_series

    names = list_series(fit)
    if len(names) < 2:
        return {"": counts_curve(fit, law)}
    return {name: counts_curve(fit, law, name) for name in names}


def _load_counts(source: str, counted: CountsOptions) -> CountFit:
    """Read a saved fit of counts; refuse options that a table of counts takes."""
    from kleiber.attempts.record import CountFit
    from kleiber.documents import load

    for name in _given(counted):
        raise BadTable(
            f"{name} is of a table of counts, and {source!r} is a saved fit: fit the table again "
            f"(kleiber counts TABLE {name} ... -o {source})."
        )
    fit = load(source)
    if not isinstance(fit, CountFit):
        raise BadTable(
            f"--attempts takes a fit of counts (kleiber counts TABLE --along COLUMN -o FILE), and "
            f"{source!r} holds a {type(fit).__name__}."
        )
    return fit


def refuse_unused(
    priced: PriceOptions, counted: CountsOptions, settings: Sequence[str] | None
) -> None:
    """Raise BadTable for an option that only a plan with attempts takes."""
    for name in (*_given(priced), *_given(counted), *(["--set"] if settings else [])):
        raise BadTable(f"{name} is an option of a plan with --attempts.")


def _given(options: PriceOptions | CountsOptions) -> list[str]:
    """Return the options that were given, as they are written."""
    return [
        NAMES.get(item.name, f"--{item.name}")
        for item in fields(options)
        if getattr(options, item.name) not in (item.default, [])
    ]
