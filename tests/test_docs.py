"""The documentation runs: its Python, its commands, and its links.

- ```python blocks run in order, those of a page in one namespace that begins as docs/index.md
  says; one that starts with ``# name.py`` is also that file. ```py marks a fragment.
- ```console blocks then run: commands are the lines that begin with ``kleiber``, each followed by
  what it prints, compared with numbers masked; ``# exit 1`` after a command is its exit code.
- Commands in other blocks are only parsed.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import kleiber
from kleiber.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
START = """
import kleiber

table = kleiber.read_table("runs.csv")
fit = kleiber.load("fit.json")
"""
# Runs command lines one after the other in one process, as the console script would each.
RUN = """
import contextlib, io, json, sys
from kleiber.cli import main

report = []
for words in json.load(sys.stdin):
    sys.argv, text, code = words, io.StringIO(), None
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        try:
            main()
        except SystemExit as end:
            code = end.code
    report.append([code, text.getvalue()])
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the table of the examples and the fit that the pages go on from."""
    folder = tmp_path_factory.mktemp("pages")
    shutil.copy(ROOT / "examples" / "runs.csv", folder)
    fit = kleiber.fit(kleiber.laws.chinchilla, kleiber.read_table(folder / "runs.csv"))
    kleiber.save(fit, folder / "fit.json")
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page(page: Path, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(START, names)
    for text in blocks(page, "python"):
        if named := re.match(r"# (\w+\.py)\n", text):
            Path(named[1]).write_text(text)
        exec(compile(text, page.name, "exec", dont_inherit=True), names)
    asked = [item for text in blocks(page, "console") for item in commands(text)]
    words = [shlex.split(command, comments=True) for command, _ in asked]
    for (command, shown), (code, printed) in zip(asked, run(words) if words else [], strict=True):
        wanted = re.search(r"# exit (\d+)$", command)
        assert code == int(wanted[1] if wanted else 0), f"{command}\n{printed}"
        seen = [masked(line) for line in printed.splitlines()]
        assert [line for line in shown if masked(line) not in seen] == [], f"{command}\n{printed}"


def run(words: list[list[str]]) -> list[tuple[int, str]]:
    """Exit code and output of each command line."""
    done = subprocess.run(
        [sys.executable, "-c", RUN], input=json.dumps(words), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [(code, text) for code, text in json.loads(done.stdout)]


def masked(line: str) -> str:
    """A line without its numbers, runs of spaces, and the length of its rules."""
    return re.sub(r"-?\d[\d.]*(e-?\d+)?|─+", "#", " ".join(line.split()))


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
    index = (ROOT / "docs" / "index.md").read_text()
    assert [p.name for p in PAGES[1:] if f"({p.name})" not in index and p.stem != "index"] == []


def test_every_law_and_every_public_name_is_documented() -> None:
    text = "".join(page.read_text() for page in PAGES[1:])
    laws = (ROOT / "docs" / "laws.md").read_text()
    assert [name for name in kleiber.laws.catalogue() if f"`{name}`" not in laws] == []
    names = [name for name in kleiber.__all__ if not name.startswith("_")]
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []
