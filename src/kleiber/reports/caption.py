"""Captions: the lines of words above and below the panels, broken where their room ends.

How wide a text is when set is for the drawing library to say: it comes in as a function.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

from kleiber.errors import BadFormula
from kleiber.formula import parse
from kleiber.reports.notation import typeset_name, typeset_terms
from kleiber.reports.panels import Panels

INK, FAINT, RED, AMBER, GREEN = "#222222", "#666666", "#C03F00", "#8A5A00", "#00664B"
RASTER = 500  # more points than this become a picture inside the file

Measure = Callable[[str, float, bool], float]  # text, size in points, bold: width in inches


@dataclass(frozen=True)
class Line:
    """One line of the header or of the notes; ``cells`` are its texts at their left edges."""

    cells: tuple[tuple[float, str], ...]
    size: float
    height: float
    colour: str = INK
    bold: bool = False


def header_lines(panels: Panels, room: float, measure: Measure) -> list[Line]:
    """The law, its fitted numbers, how the fit ended, and on what it rests."""
    lines = [_line(plain(panels.title), 15.0, 0.34, bold=True)]
    lines += [
        _line(text, 9.0, 0.21, FAINT) for text in _wrapped(panels.about, 9.0, room, measure, most=2)
    ]
    law = _law_lines(panels, room, measure)
    lines.append(_line("", 4.0, 0.04))
    lines += [_line(text, 13.0, 0.36) for text in law]
    if not law:
        lines.append(_line("(its formula has no short notation)", 9.0, 0.21, FAINT))
    lines.append(_line("", 4.0, 0.06))
    lines += _parameter_lines(panels, room, measure)
    lines += _verdict_lines(panels, room, measure)
    return lines + [
        _line(text, 9.0, 0.21, FAINT) for text in _wrapped(panels.facts, 9.0, room, measure, most=2)
    ]


def _verdict_lines(panels: Panels, room: float, measure: Measure) -> list[Line]:
    """How the fit ended, and how badly the law misses the table."""
    good = panels.converged and not panels.missed
    colour = GREEN if good else AMBER if panels.settled else RED
    flag = "" if panels.converged else "Note: " if panels.settled else "NOT USABLE: "
    sentence = f"{flag}{panels.status}: {panels.reason}" if panels.reason else panels.status
    lines = [
        _line(text, 10.0, 0.23, colour, bold=not panels.converged)
        for text in _wrapped(sentence, 10.0, room, measure, most=4, bold=not panels.converged)
    ]
    shade, bold = (RED, True) if panels.missed else (FAINT, False)
    return lines + [
        _line(text, 10.0, 0.23, shade, bold=bold)
        for text in _wrapped(panels.misfit, 10.0, room, measure, most=4, bold=bold)
    ]


def note_lines(panels: Panels, room: float, measure: Measure) -> list[Line]:
    """What a reader has to know beside the header, below the panels."""
    notes = list(panels.notes)
    if panels.band.startswith("no band"):
        notes.insert(0, panels.band)
    if panels.shown.sum() > RASTER:
        notes.append("in .svg and .pdf files the points are a picture")
    text = [
        each
        for note in notes
        for each in _wrapped(
            f"{note[:1].upper()}{note[1:].rstrip('.')}.", 8.5, room, measure, most=3
        )
    ]
    return [_line(each, 8.5, 0.19, FAINT) for each in text]


def _line(text: str, size: float, height: float, colour: str = INK, *, bold: bool = False) -> Line:
    return Line(((0.0, text),), size, height, colour, bold)


def _parameter_lines(panels: Panels, room: float, measure: Measure) -> list[Line]:
    """The fitted numbers in columns, intervals below the values."""
    cells = [(f"{_symbol(p.name, measure)} = {p.value}", plain(p.interval)) for p in panels.params]
    widest = max(max(measure(a, 11.0, False), measure(b, 8.5, False)) for a, b in cells) + 0.3
    count = max(1, min(len(cells), int(room / widest)))
    lines: list[Line] = []
    for start in range(0, len(cells), count):
        row = cells[start : start + count]
        step = max(widest, 1.6) if len(cells) * max(widest, 1.6) <= room else widest
        for k, (size, height, colour) in enumerate(((11.0, 0.21, INK), (8.5, 0.27, FAINT))):
            places = tuple((step * i, cell[k]) for i, cell in enumerate(row))
            lines.append(Line(places, size, height, colour))
    return lines


def _symbol(name: str, measure: Measure) -> str:
    """A parameter's symbol, its plain name where that cannot be set."""
    symbol = f"${typeset_name(name)}$"
    return symbol if math.isfinite(measure(symbol, 11.0, False)) else plain(name)


def _law_lines(panels: Panels, room: float, measure: Measure) -> list[str]:
    """The law in mathematical notation, broken between terms; none if two lines do not hold it."""
    terms: tuple[str, ...] = ()
    try:
        terms = typeset_terms(parse(panels.formula), panels.variables) if panels.formula else ()
    except BadFormula:
        pass  # steps, which the text of a formula cannot say
    lines = [rf"{typeset_name(panels.target, [panels.target])}\;=\;"]
    for k, term in enumerate(terms):
        spaced = rf"\;{term[0]}\;{term[1:]}" if term[0] in "+-" and k else term
        if measure(f"${lines[-1]}{spaced}$", 13.0, False) <= room:
            lines[-1] += spaced
        else:
            lines.append(rf"\qquad{spaced}")
    lines = [f"${line}$" for line in lines]
    fits = len(lines) <= 2 and all(measure(line, 13.0, False) <= room for line in lines)
    return lines if terms and fits else []


def plain(text: str) -> str:
    """Text that is not to be read as mathematics."""
    return text.replace("$", r"\$")


def _wrapped(
    text: str, size: float, room: float, measure: Measure, *, most: int, bold: bool = False
) -> list[str]:
    """Plain text broken into at most ``most`` lines that fit the figure."""
    em = measure("n", size, bold)
    count = int(1.3 * room / em)
    while True:
        lines = textwrap.wrap(plain(text), count, max_lines=most, placeholder=" …")
        if count < 20 or all(measure(line, size, bold) <= room for line in lines):
            return lines
        count -= 4
