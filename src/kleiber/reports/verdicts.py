"""Verdicts as a grid for the terminal, explanations of those that fail, and a page."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kleiber.claim import SIDES, SKIPPED, SOURCES, STANDARD_ERRORS, Claim, Verdict
from kleiber.reports.console import print_line
from kleiber.reports.grids import figure
from kleiber.version import __version__

COLOURS = {
    "holds": "green", "fails": "yellow", "inconclusive": "yellow", "error": "red", "skipped": "cyan"
}  # fmt: skip
TITLES = ("claim", "source", "expected", "obtained", "verdict", "seconds")
OUTCOMES = {
    "fails": "does not hold",
    "inconclusive": "is not decided",
    "error": "could not be computed",
    "skipped": "is skipped",
}
SAME_INTERVAL = 1e-6  # part of its width by which an interval may miss two standard errors
EXPLAINED = (
    "The source of a claim is the paper's abstract, the paper's text, a second-hand account of it, "
    "or ours: a hypothesis, derivation or earlier number of our own, which says nothing against "
    "the paper where it fails."
)
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 72rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .45rem .6rem;
  border-bottom: 1px solid #ddd; }
td.number { white-space: nowrap; font-variant-numeric: tabular-nums; }
.where, .why { color: #666; font-size: .87rem; }
.holds { color: #00664b; } .fails, .inconclusive { color: #8a5a00; } .error { color: #c03f00; }
.skipped { color: #555; }
.differs { background: #fdece6; }
"""


def bound(item: Claim | Verdict) -> str:
    """Return the expected value as text: 2.5 ± 0.1, at least 0.3, 1 exactly."""
    margin = f" ± {figure(item.within, 3)}" if item.within else ""
    if item.side == "both":
        return figure(item.expected, 6) + (margin or " exactly")
    missing = f" (less {figure(item.within, 3)})" if item.side == "at_least" else ""
    missing = f" (plus {figure(item.within, 3)})" if item.side == "at_most" else missing
    return f"{SIDES[item.side]} {figure(item.expected, 6)}{missing if item.within else ''}"


def number(verdict: Verdict) -> str:
    """Return the obtained value with its standard error, or with its interval where that is another
    than two standard errors, in as many digits as they justify."""
    value, error = verdict.obtained, verdict.stderr
    if not math.isfinite(value):
        return "nothing"
    if _has_own_interval(verdict):
        digits = _digits(value, (verdict.high - verdict.low) / 2)
        low, high = (figure(end, _digits(end, (verdict.high - verdict.low) / 2))
                     for end in (verdict.low, verdict.high))  # fmt: skip
        return f"{figure(value, digits)} [{low}, {high}]"
    if not math.isfinite(error) or error <= 0:
        return figure(value, 6)
    return f"{figure(value, _digits(value, error))} ± {figure(error, 2)}"


def _has_own_interval(verdict: Verdict) -> bool:
    half = STANDARD_ERRORS * verdict.stderr if math.isfinite(verdict.stderr) else 0.0
    ends = verdict.obtained - half - verdict.low, verdict.high - half - verdict.obtained
    width = verdict.high - verdict.low
    return math.isfinite(width) and width > 0 and max(map(abs, ends)) > SAME_INTERVAL * width


def _digits(value: float, error: float) -> int:
    """Return how many digits of a value an error justifies."""
    lost = math.floor(math.log10(abs(value))) - math.floor(math.log10(error)) if value else 0
    return min(max(lost + 2, 2), 12)


def judgement(verdict: Verdict) -> str:
    """Return the verdict, and the known verdict if it differs."""
    return verdict.verdict if verdict.as_known else f"{verdict.verdict} (known: {verdict.known})"


def tally(verdicts: Sequence[Verdict]) -> str:
    """Return the number of verdicts of each kind, how many differ from what is known, and the
    numbers by source."""
    differ = sum(not item.as_known for item in verdicts)
    total = f"{len(verdicts)} claims: {_kinds(verdicts)}; {differ} not as known"
    parts = {name: [item for item in verdicts if item.source == name] for name in SOURCES}
    by_source = "; ".join(f"{name} {_kinds(part)}" for name, part in parts.items() if part)
    return f"{total}. By source: {by_source}" if by_source else total


def _kinds(verdicts: Sequence[Verdict]) -> str:
    counts = Counter(item.verdict for item in verdicts)
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"


def explain(verdict: Verdict) -> str:
    """Return why a claim does not hold, after a sentence that says whose claim it is."""
    whose = SOURCES[verdict.source]
    lead = f"{whose[0].upper()}{whose[1:]} {OUTCOMES[verdict.verdict]}"
    return f"{lead} ({verdict.where}): {verdict.why}"


def verdict_grid(verdicts: Iterable[Verdict], running: str = "") -> Table:
    """Return a grid of verdicts in which claims wrap and numbers do not, with the running one
    last."""
    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for k, title in enumerate(TITLES):
        grid.add_column(title, no_wrap=k > 0, overflow="fold", ratio=1 if k == 0 else None)
    for item in verdicts:
        colour = COLOURS[item.verdict] if item.as_known else "red"
        cells = (
            Text(_claim(item)), Text(item.source), Text(bound(item)), Text(number(item))
        )  # fmt: skip
        spent = "kept" if item.kept else f"{item.seconds:.1f}"
        grid.add_row(*cells, Text(judgement(item), style=colour), Text(spent))
    if running:
        grid.add_row(Text(running), "", "", Text("..."), "", "")
    return grid


def _claim(item: Claim | Verdict) -> str:
    return f"{item.where}: {item.says}"


def show_verdicts(console: Console, verdicts: Sequence[Verdict]) -> None:
    """Print the grid of each paper, why some claims do not hold, and the tally."""
    for paper in dict.fromkeys(item.paper for item in verdicts):
        mine = [item for item in verdicts if item.paper == paper]
        print_line(console, Text(paper, style="bold"))
        console.print(verdict_grid(mine))
        for item in mine:
            if item.verdict not in ("holds", SKIPPED) and item.why:
                label = Text(f"{item.verdict}: ", style=COLOURS[item.verdict])
                print_line(console, label + Text(explain(item)))
        skipped = Counter(item.why for item in mine if item.verdict == SKIPPED)
        for why, count in skipped.items():
            claims = f"{count} claim{'s' if count > 1 else ''} of {paper}"
            print_line(console, Text(f"{SKIPPED}: ", style=COLOURS[SKIPPED]) + f"{claims}: {why}")
    print_line(console, tally(verdicts))


def verdicts_page(verdicts: Sequence[Verdict], scale: str, seed: int) -> str:
    """Return a self-contained HTML page with one table for each paper."""
    papers = list(dict.fromkeys(item.paper for item in verdicts))
    tables = "\n".join(
        f"<h2>{html.escape(paper)}</h2>\n{_table([v for v in verdicts if v.paper == paper])}"
        for paper in papers
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>kleiber check: {html.escape(', '.join(papers))}</title>"
        f"<style>{STYLE}</style></head>\n<body><h1>Claims and verdicts</h1>\n"
        f"<p>{html.escape(tally(verdicts))}. Scale {html.escape(scale)}, seed {seed}, "
        f"kleiber {__version__}. A claim holds when the number obtained, give or take two standard "
        f"errors, lies wholly in the range expected, and fails when it lies wholly outside. "
        f"{html.escape(EXPLAINED)}</p>\n"
        f"{tables}\n</body></html>\n"
    )


def _table(verdicts: Iterable[Verdict]) -> str:
    head = "".join(f"<th>{title}</th>" for title in TITLES)
    return f"<table><tr>{head}</tr>\n{''.join(map(_row, verdicts))}</table>"


def _row(item: Verdict) -> str:
    reason = item.why if item.verdict == "holds" or not item.why else explain(item)
    why = f'<div class="why">{html.escape(reason)}</div>' if reason else ""
    claim = f'{html.escape(item.says)}<div class="where">{html.escape(item.where)}</div>{why}'
    spent = "kept" if item.kept else f"{item.seconds:.1f}"
    numbers = "".join(
        f'<td class="number">{html.escape(text)}</td>' for text in (bound(item), number(item))
    )
    row = "" if item.as_known else ' class="differs"'
    return (
        f"<tr{row}><td>{claim}</td><td>{html.escape(item.source)}</td>{numbers}"
        f'<td class="{item.verdict}">{html.escape(judgement(item))}</td>'
        f'<td class="number">{spent}</td></tr>\n'
    )
