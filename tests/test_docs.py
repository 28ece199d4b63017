"""The documentation runs: its Python, its commands, and its links.

- ```python blocks run in order, those of a page in one namespace that begins as docs/index.md
  says; one that starts with ``# name.py`` is also that file. ```py marks a fragment.
  An expression with a comment that ends in ``LOW to HIGH`` has those numbers.
- ```console blocks then run: commands are the lines that begin with ``kleiber``, each followed by
  lines that it prints, to the digits that are written; seconds may differ, ``...`` stands for
  anything, and lines may be left out. ``# exit 1`` after a command is its exit code.
- Commands in other blocks are only parsed.

``python tests/test_docs.py`` writes the numbers of today into the lines that have others.
"""

from __future__ import annotations

import ast
import atexit
import json
import math
import os
import pkgutil
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

import kleiber
from kleiber import systems
from kleiber.claim import Context, describe_verdict, examine
from kleiber.cli import app
from kleiber.systems.papers import find

ROOT = Path(__file__).parents[1]
PAPERS = sorted((ROOT / "docs" / "papers").glob("*.md"))
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *PAPERS,
]
ADDING = ("add-a-cost", "add-a-reduction", "add-a-paper")  # test_add_pages.py runs their files
# Pages that train nets for seconds, or fit laws to what nets have learnt: slow. Those of sweeps and
# of tickets train smaller ones.
TRAINING = {"networks", "spectra"}
NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
PIECES = re.compile(rf"({NUMBER} s\b)|({NUMBER})|(\.\.\.)|(─+)|(\s+)")
ENDS = re.compile(rf"#.*?(?<!from )({NUMBER}) to ({NUMBER})$")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
START = """
import kleiber

table = kleiber.read_table("runs.csv")
fit = kleiber.load("fit.json")
"""
# Runs command lines one after the other in one process, as the console script would each: each
# line of its input is a folder and the commands that run there.
RUN = """
import contextlib, io, json, os, sys
from kleiber.cli import main

for line in sys.stdin:
    folder, commands = json.loads(line)
    os.chdir(folder)
    report = []
    for words in commands:
        sys.argv, text, code = words, io.StringIO(), None
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            try:
                main()
            except SystemExit as end:
                code = end.code
        report.append([code, text.getvalue()])
    print(json.dumps(report), flush=True)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the table of the examples and the fit that the pages go on from."""
    return furnish(tmp_path_factory.mktemp("pages"))


def furnish(folder: Path) -> Path:
    """The folder with the table of the examples, and its fit."""
    shutil.copy(ROOT / "examples" / "runs.csv", folder)
    fit = kleiber.fit(kleiber.laws.chinchilla, kleiber.read_table(folder / "runs.csv"))
    kleiber.save(fit, folder / "fit.json")
    return folder


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] if page.stem in TRAINING else [])
        for page in PAGES
    ],
    ids=lambda page: page.stem,
)
def test_page(page: Path, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(START, names)
    for text in blocks(page, "python"):
        if named := re.match(r"# (\w+\.py)\n", text):
            Path(named[1]).write_text(text)
        execute(text, page.name, names)
    for command, shown, code, lines in answers(page):
        wanted = re.search(r"# exit (\d+)$", command)
        assert code == int(wanted[1] if wanted else 0), f"{command}\n{lines}"
        stale = [line for line in shown if not any(agrees(line, each) for each in lines)]
        assert stale == [], "\n".join([command, *lines])


def execute(text: str, name: str, names: dict[str, Any]) -> None:
    """Run a block of Python, and compare values with the ends that its comments give."""
    lines = text.splitlines()
    for node in ast.parse(text).body:
        told = ENDS.search(lines[(node.end_lineno or 1) - 1])
        if isinstance(node, ast.Expr) and told:
            value = eval(compile(ast.Expression(node.value), name, "eval"), names)
            assert all(map(close, told.groups(), map(float, value))), (told[0], value)
        else:
            exec(compile(ast.Module([node], []), name, "exec", dont_inherit=True), names)


def answers(page: Path) -> Iterator[tuple[str, list[str], int, list[str]]]:
    """Each command of a page's console blocks, with the lines under it, its exit code, and the
    lines that it prints."""
    asked = [item for text in blocks(page, "console") for item in commands(text)]
    words = [shlex.split(command, comments=True) for command, _ in asked]
    for (command, shown), (code, text) in zip(asked, run(words) if words else [], strict=True):
        yield command, shown, code, text.splitlines()


def run(words: list[list[str]]) -> list[tuple[int, str]]:
    """Exit code and output of each command line."""
    process = console()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps([str(Path.cwd()), words]) + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    assert answer, "the process that runs the commands has ended"
    return [(code, text) for code, text in json.loads(answer)]


@cache
def console() -> subprocess.Popen[str]:
    """The process that runs the commands of all pages, so that kleiber is loaded once; it ends
    with the test run."""
    command = [sys.executable, "-c", RUN]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(process.communicate)
    return process


def agrees(shown: str, printed: str) -> bool:
    """Whether a documented line is a printed one, to the digits that it has."""
    told = re.fullmatch(pattern(shown), printed.strip())
    numbers = [found[2] for found in PIECES.finditer(shown.strip()) if found[2]]
    return told is not None and all(map(close, numbers, map(float, told.groups())))


def pattern(shown: str) -> str:
    """An expression for lines that differ from a documented one in numbers only."""

    def loose(found: re.Match[str]) -> str:
        seconds, number, dots, rule, _space = found.groups()
        loosely = ".*" if dots else "─+" if rule else r"\s+"
        return rf"{NUMBER} s" if seconds else f"({NUMBER})" if number else loosely

    text, end, out = shown.strip(), 0, ""
    for found in PIECES.finditer(text):
        out += re.escape(text[end : found.start()]) + loose(found)
        end = found.end()
    return out + re.escape(text[end:])


def close(written: str, value: float) -> bool:
    """Whether a number is a written one: whole ones to the last digit, others to one unit of it."""
    digits, _, exponent = written.partition("e")
    if not exponent and "." not in digits:
        return value == float(written)
    unit = 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))
    return math.isclose(value, float(written), rel_tol=0, abs_tol=1.01 * unit)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_parse(page: Path) -> None:
    group: Any = typer.main.get_command(app)
    for text in blocks(page):
        for command, _ in commands(text):
            words = shlex.split(command, comments=True)[1:]
            with group.make_context("kleiber", words) as top:
                name, one, rest = group.resolve_command(top, words)
                one.make_context(name, rest, parent=top).close()


def blocks(page: Path, kind: str | None = None) -> list[str]:
    """The text of each fenced block, of one kind or of all."""
    found = BLOCK.findall(page.read_text())
    return [text for each, text in found if kind is None or each == kind]


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a block with the lines under it."""
    for part in re.split(r"^(?=kleiber )", text.replace("\\\n", " "), flags=re.M)[1:]:
        command, *output = part.splitlines()
        yield command, [line for line in output if line.strip()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        name, _, place = link.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), link
        titles = re.findall(r"^#+ (.*)$", file.read_text(), re.M) if place else []
        anchors = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
        assert not place or place in anchors, link


def test_every_page_is_in_the_index() -> None:
    folder = ROOT / "docs"
    index = (folder / "index.md").read_text()
    pages = [str(page.relative_to(folder)) for page in folder.rglob("*.md")]
    assert [name for name in pages if f"({name})" not in index and name != "index.md"] == []


def test_the_tables_are_those_of_the_code() -> None:
    build = runpy.run_path(str(ROOT / "docs" / "build_tables.py"))
    pages = build["list_pages"]()
    assert set(pages) == set(PAGES) - {ROOT / "CONTRIBUTING.md"}
    stale = [page.name for page in pages if build["rebuild"](page.read_text()) != page.read_text()]
    assert stale == [], "run: python docs/build_tables.py"
    blocks_used = {
        name for page in pages for _, name, _ in build["BLOCK"].findall(page.read_text())
    }
    assert blocks_used == set(build["TABLES"])


def test_a_table_that_differs_from_the_code_is_rebuilt() -> None:
    rebuild = runpy.run_path(str(ROOT / "docs" / "build_tables.py"))["rebuild"]
    text = (ROOT / "docs" / "laws.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| `chinchilla` |"))
    assert rebuild(text.replace(f"{row}\n", "")) == text
    assert rebuild(text.replace("eq. 2.", "eq. 3.")) == text


def test_a_table_of_claims_follows_the_code_and_keeps_its_numbers(tmp_path: Path) -> None:
    build = runpy.run_path(str(ROOT / "docs" / "build_tables.py"))
    text = (ROOT / "docs" / "papers" / "hard_tail.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| pass@1 | ")]
    (row,) = lines  # of one claim
    assert build["rebuild"](text.replace(row, row.replace("| ours |", "| abstract |"))) == text
    without = build["rebuild"](text.replace(f"{row}\n", ""))
    assert build["NOT_RUN"] in next(
        line for line in without.splitlines() if line.startswith("| pass@1 | ")
    )
    claim = next(each for each in find("hard_tail").claims if each.where == "pass@1")
    verdict, _ = examine("hard_tail", claim, Context())
    file = tmp_path / "verdicts.json"
    file.write_text(json.dumps([describe_verdict(replace(verdict, obtained=0.25))]))
    numbers = build["read_numbers"]([file])
    assert "| 0.25 | holds |" in build["rebuild"](without, numbers)


ONLY = re.compile(r'--only (?:"([^"]+)"|(\w+))')


@pytest.mark.parametrize("page", PAPERS, ids=lambda page: page.stem)
def test_the_words_that_a_page_gives_select_claims(page: Path) -> None:
    claims = find(page.stem).claims
    for words in ONLY.findall(page.read_text()):
        word = "".join(words).casefold()
        assert any(word in f"{each.where}: {each.says}".casefold() for each in claims), word


def test_every_paper_has_a_page_and_every_page_a_paper() -> None:
    names = {page.stem for page in PAPERS}
    assert names == set(systems.names()), (
        "a paper is a folder of systems/ and a page of docs/papers/"
    )


def test_every_figure_is_on_the_page_of_its_paper() -> None:
    for figure in (ROOT / "docs" / "papers").glob("*.svg"):
        page = figure.with_name(f"{figure.stem.rpartition('_')[0]}.md")
        assert f"({figure.name})" in page.read_text(), figure.name


def test_every_public_name_is_documented() -> None:
    text = "".join(page.read_text() for page in PAGES[2:])
    names = [name for name in kleiber.__all__ if not name.startswith("_")]
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.stem not in ADDING],
    ids=lambda page: page.stem,
)
def test_every_name_of_the_package_exists(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    for name in re.findall(r"`(kleiber\.[\w.]*\w)(?=[`(])", text):
        if not name.endswith("NAME"):
            pkgutil.resolve_name(name)
    for file in re.findall(r"`((?:src|tests|docs|benchmarks|examples)/[\w./-]+)", text):
        assert "NAME" in file or (ROOT / file).exists(), file
    assert re.findall(r"`kleiber/[\w./*-]+", text) == [], "write src/kleiber/..."


def test_a_stale_number_is_found() -> None:
    line = "E          0.521205  [0.4959, 0.5545]  0.01601"
    assert agrees(line, "E   0.521205   [0.4959, 0.5545] 0.01601   ")
    assert agrees("E ... 0.01601", line)
    assert agrees("90 rows, 1000 draws, 1.43 s", "90 rows, 1000 draws, 0.2 s")
    assert not agrees(line, line.replace("0.4959", "0.4948"))
    assert not agrees(line, line.replace("E", "A"))
    assert not agrees("90 rows", "91 rows")
    assert agrees("budget 1.0e3", "budget 1.1e3")  # a unit of the last digit, for rounding
    assert not agrees("budget 1.0e3", "budget 1.2e3")
    with pytest.raises(AssertionError):
        execute("(1.0, 2.0)  # 1.0 to 2.2", "page", {})


def renew(page: Path) -> None:
    """Write today's numbers into the documented lines of a page that have others."""
    text = page.read_text()
    for _, shown, _, lines in answers(page):
        for line in shown:
            same = [each for each in lines if re.fullmatch(pattern(line), each.strip())]
            if same and not any(agrees(line, each) for each in same) and "..." not in line:
                text = text.replace(f"{line}\n", f"{same[0].rstrip()}\n")
    page.write_text(text)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        os.chdir(furnish(Path(place)))
        for each in PAGES:
            renew(each)
