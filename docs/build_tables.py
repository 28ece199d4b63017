"""Write the tables of the pages that repeat what the code says.

    python docs/build_tables.py [VERDICTS.json ...]

rewrites what stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->`` in README.md and
in the pages of docs/. tests/test_docs.py fails where that would change a page.

A table of claims, ``<!-- claims: PAPER -->``, keeps the numbers that are written there, and takes
those of files that ``kleiber check --scale laptop --json`` wrote.
"""

from __future__ import annotations

import inspect
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import typer

import kleiber
from kleiber.claim import SOURCES, VERDICTS, Verdict
from kleiber.cli import app
from kleiber.reports.listing import list_columns, list_costs, list_data, list_reductions
from kleiber.reports.verdicts import bound, number
from kleiber.systems import papers
from kleiber.theory import catalogue as theories

FOLDER = Path(__file__).parent
BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.S)
CLAIMS = re.compile(r"(<!-- claims: (\w+) -->\n)(.*?)(<!-- end of table -->)", re.S)
NOT_RUN = "not run"
LONGEST = 64  # characters of a formula in the table of laws; longer ones are written out below it


def list_pages() -> list[Path]:
    """Return the pages that may hold tables."""
    return [FOLDER.parent / "README.md", *sorted(FOLDER.glob("**/*.md"))]


def rebuild(text: str, numbers: Mapping[tuple[str, str, str], str] = MappingProxyType({})) -> str:
    """Return the text of a page with today's tables; numbers are by paper, place and sentence."""
    text = BLOCK.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", text)
    return CLAIMS.sub(
        lambda found: f"{found[1]}{claims(found[2], found[3], numbers)}{found[4]}", text
    )


def claims(paper: str, written: str, numbers: Mapping[tuple[str, str, str], str]) -> str:
    """Return the claims of a paper with their known verdicts, and the numbers that we obtained."""
    rows = [split_row(line) for line in written.splitlines()]
    known = {(row[0], row[1]): row[-2] for row in rows if len(row) > 4}
    lines: list[tuple[str, ...]] = []
    for claim in papers.catalogue()[paper].claims:
        place = escape(claim.where), escape(claim.says)
        obtained = numbers.get((paper, *place), known.get(place, NOT_RUN))
        verdict = claim.known if claim.known == "holds" else f"*{claim.known}*"
        lines.append((claim.where, claim.says, claim.source, bound(claim), obtained, verdict))
    return write_table(("where", "the claim", "source", "expected", "obtained", "verdict"), lines)


def split_row(line: str) -> list[str]:
    """Return the cells of a line of a table in Markdown, with their escapes."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def read_numbers(files: Iterable[str]) -> dict[tuple[str, str, str], str]:
    """Return the numbers of verdicts that ``kleiber check --json`` wrote, as tables show them."""
    found: dict[tuple[str, str, str], str] = {}
    for file in files:
        for row in json.loads(Path(file).read_text(encoding="utf-8")):
            if row["obtained"] is not None:
                unknown = {
                    key: math.nan for key in ("stderr", "low", "high") if row.get(key) is None
                }
                verdict = Verdict(**row | unknown)
                place = verdict.paper, escape(verdict.where), escape(verdict.says)
                found[place] = escape(number(verdict))
    return found


def write_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(map(escape, line))} |\n" for line in lines)


def escape(cell: str) -> str:
    """Return the text of a cell, which must not end the cell or the line."""
    return " ".join(cell.replace("|", "\\|").replace("``", "`").split())


def first_sentence(documented: Any) -> str:
    """Return the first sentence of a docstring."""
    paragraph = " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[.])(?<!e\.g\.)\s+(?=[A-Z])", paragraph)[0]


def commands() -> str:
    """Return the commands with the first sentence of their help."""
    group: Any = typer.main.get_command(app)
    rows = [
        (f"`kleiber {name}`", one.get_short_help_str(200)) for name, one in group.commands.items()
    ]
    return write_table(("command", "does"), rows)


def names(wanted: Callable[[Any], bool]) -> str:
    """Return the public names of one kind with the first sentence of their docstrings."""
    found = {name: getattr(kleiber, name) for name in kleiber.__all__ if name != "__version__"}
    rows = [(f"`{name}`", first_sentence(each)) for name, each in found.items() if wanted(each)]
    return write_table(("name", "is"), rows)


def is_error(each: Any) -> bool:
    """Return whether a public name is an exception."""
    return inspect.isclass(each) and issubclass(each, Exception)


def laws() -> str:
    """Return the laws with their formulas, where these are short, and their sources."""
    rows = [
        (
            f"`{law.name}`",
            law.doc.split("\n\n")[0].replace("\n", " ").split(". ")[0] + ".",
            f"`{law.formula}`" if 2 < len(law.formula) <= LONGEST else "below",
            law.citation,
        )
        for law in kleiber.laws.catalogue().values()
    ]
    return write_table(("name", "predicts", "formula", "source"), rows)


def costs() -> str:
    """Return the named costs and those with options."""
    rows = [
        (f"`{row['name']}`", row["counts"], row["formula"] and f"`{row['formula']}`")
        for row in list_costs()
    ]
    return write_table(("cost", "counts", "formula"), rows)


def columns() -> str:
    """Return the columns that kleiber knows."""
    rows = [(f"`{row['name']}`", row["unit"], row["meaning"]) for row in list_columns()]
    return write_table(("column", "unit", "meaning"), rows)


def list_theories() -> str:
    """Return the theories with their records."""
    rows = [
        (f"`{name}`", f"`kleiber.theory.{record.__name__}`", first_sentence(record))
        for name, record in theories().items()
    ]
    return write_table(("name", "in Python", "is"), rows)


def reductions() -> str:
    """Return the reductions with their options."""
    rows = [
        (f"`{row['name']}`", row["does"], " ".join(f"`{each}`" for each in options(row["options"])))
        for row in list_reductions()
    ]
    return write_table(("reduction", "does", "options"), rows)


def options(text: str) -> list[str]:
    """Return the options of a reduction without their defaults."""
    return [line.split(" ")[0] for line in text.splitlines()]


def data() -> str:
    """Return the public data sets."""
    rows = [(f"`{row['name']}`", row["holds"], row["licence"]) for row in list_data()]
    return write_table(("name", "holds", "licence"), rows)


def list_papers() -> str:
    """Return the papers with the number of their claims and their pages."""
    rows: list[tuple[str, ...]] = []
    for name, paper in papers.catalogue().items():
        counted = Counter(claim.scale for claim in paper.claims)
        scales = ", ".join(f"{number} {scale}" for scale, number in counted.items())
        page = f"[papers/{name}.md](papers/{name}.md)"
        rows.append(
            (f"`{name}`", f"{paper.title}. {paper.citation}.", scales, by_source(paper), page)
        )
    return write_table(("paper", "title", "claims by scale", "by source", "page"), rows)


def by_source(paper: papers.Paper) -> str:
    """Return how many claims of each source are known to hold, to fail and to be inconclusive."""
    parts: list[str] = []
    for source in SOURCES:
        counted = Counter(claim.known for claim in paper.claims if claim.source == source)
        kinds = ", ".join(f"{counted[name]} {name}" for name in VERDICTS if counted[name])
        parts += [f"{source}: {kinds}"] if kinds else []
    return "; ".join(parts)


TABLES: Mapping[str, Callable[[], str]] = {
    "commands": commands,
    "functions": lambda: names(inspect.isfunction),
    "records": lambda: names(lambda each: inspect.isclass(each) and not is_error(each)),
    "errors": lambda: names(is_error),
    "modules": lambda: names(inspect.ismodule),
    "laws": laws,
    "costs": costs,
    "columns": columns,
    "theories": list_theories,
    "reductions": reductions,
    "data": data,
    "papers": list_papers,
}


def main() -> None:
    """Rewrite the tables of every page, and name the pages that change."""
    numbers = read_numbers(sys.argv[1:])
    for page in list_pages():
        text = page.read_text(encoding="utf-8")
        if (rebuilt := rebuild(text, numbers)) != text:
            page.write_text(rebuilt, encoding="utf-8")
            sys.stdout.write(f"{page.relative_to(FOLDER.parent)}\n")


if __name__ == "__main__":
    main()
