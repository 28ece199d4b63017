"""Captions: the text above and below the panels of a fit."""

from __future__ import annotations

import math

from kleiber.errors import BadFormula
from kleiber.fitting.judge.status import Status
from kleiber.fitting.record import Fit
from kleiber.formula import parse
from kleiber.reports.axes import format_number, shorten_name, unit_of
from kleiber.reports.notation import typeset_terms
from kleiber.reports.panels import FURTHEST, Panels


def title(fit: Fit) -> str:
    """Return which law was fitted to what."""
    name = "Formula" if fit.law.name == "formula" else shorten_name(fit.law.name)
    return f"{name} fitted to {shorten_name(fit.target)}"


def about(fit: Fit) -> str:
    """Return the description of the law, "" for a formula given by the user."""
    return "" if fit.law.name == "formula" else " ".join(fit.law.doc.split("\n\n")[0].split())


def terms(fit: Fit) -> tuple[str, ...]:
    """Return the law's terms in mathematical notation, () if it is too long to read."""
    try:
        written_out = fit.law.formula if fit.law.expr is not None else ""
        return typeset_terms(parse(written_out), fit.law.variables) if written_out else ()
    except BadFormula:  # too long, or steps, which the text of a formula cannot say
        return ()


def interval(fit: Fit, name: str) -> str:
    """Return a parameter's interval, or why it has none."""
    if name in fit.options.fixed:
        return "fixed"
    low, high = fit.interval(name, fit.level)
    ends = (
        "no interval"
        if math.isnan(low + high)
        else f"{format_number(low)} to {format_number(high)}"
    )
    return f"{ends}, tied" if name in fit.options.tied else ends


def ending(fit: Fit) -> str:
    """Return the fit's status, with a warning if the fit is not usable."""
    flag = "" if fit.status is Status.CONVERGED else "Note: " if fit.usable else "NOT USABLE: "
    return f"{flag}{fit.status}: {fit.reason}" if fit.reason else f"{flag}{fit.status}"


def facts(panels: Panels) -> str:
    """Return the data and the noise model that the fit is based on."""
    fit = panels.fit
    parts = [f"{len(panels.shown):,} rows", fit.noise.describe()]
    if fit.n_draws:
        what = f"groups of {shorten_name(fit.options.by)!r}" if fit.options.by else "rows"
        parts.append(
            f"intervals at {100 * fit.level:g}% from {fit.n_draws:,} refits to resampled {what}"
        )
    elif fit.covariance is not None:
        parts.append(f"intervals at {100 * fit.level:g}% from the covariance alone")
    return "; ".join(parts)


def band(panels: Panels) -> str:
    """Return what the band shows, or why there is none."""
    fit = panels.fit
    degrees_of_freedom = fit.units - (1 if fit.options.by else len(fit.free))
    if fit.rows and degrees_of_freedom <= 0:
        what = "group" if fit.options.by else "row"
        return f"no band: {fit.units} {what}{'s' * (fit.units != 1)} cannot show how far runs vary"
    if not fit.n_draws:
        return "no band: the fit has no draws (fit again with draws=1000)"
    if all(curve.low is None for curve in panels.law.curves):
        return "no band: the interval of the law is unknown everywhere"
    return f"{100 * fit.level:g}% interval of the law"


def held(panels: Panels) -> str:
    """Return the values of the variables that the first panel does not show."""
    parts: list[str] = []
    for name, value in panels.law.held.items():
        how = "in all rows" if name in panels.law.constant else "(the median)"
        unit = f" {unit_of(name)}" if unit_of(name) else ""
        parts.append(f"{shorten_name(name)} = {format_number(value)}{unit} {how}")
    return f"law drawn at {', '.join(parts)}" if parts else ""


def notes(panels: Panels) -> tuple[str, ...]:
    """Return the notes that a reader needs beside the header."""
    fit, match, rows = panels.fit, panels.match, len(panels.shown)
    parts = "" if fit.misfit is None else fit.misfit.sentence  # it stands in the header
    found = [note for note in fit.notes if note != parts]
    if len(panels.drawn) < rows:
        found.append(
            f"{rows - len(panels.drawn):,} of {rows:,} rows are missing from the panels at the "
            "right: the law has no usable value there"
        )
    if not panels.shown.all():
        found.append(
            f"{panels.shown.sum():,} of {rows:,} runs are drawn: the {FURTHEST} with the largest "
            f"residuals, and others evenly by {shorten_name(fit.target)}; the fit uses all"
        )
    if 0 < len(match.barred) < len(match.measured):
        found.append(
            f"{len(match.barred)} of {len(match.measured):,} intervals of a new run are drawn"
        )
    if not panels.same:
        found.append("the table drawn is not the table that was fitted")
    return tuple(dict.fromkeys(found))
