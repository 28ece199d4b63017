"""The pages that say how to add something are right: their files work, and can be removed again."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from test_floors import faults

ROOT = Path(__file__).parents[1]
FILE = re.compile(r"^```py\n# src/(kleiber/\S+\.py)\n(.*?)^```$", re.M | re.S)
LISTS = ("laws", "theories", "papers", "reductions", "costs")
NAMES = f"""
import json
from kleiber.reports import listing
from kleiber.systems.papers import list_papers
lists = {{**vars(listing), "list_papers": list_papers}}
print(json.dumps({{k: [row["name"] for row in lists["list_" + k]()] for k in {LISTS!r}}}))
"""
EXAMPLES = """
import doctest, importlib, sys
for name in sys.argv[1:]:
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0, name
"""
USES = {
    "add-a-cost": """
import kleiber
from kleiber.formula import evaluate
at = {"n_params": 1e9, "n_tokens": 2e10}
hours = kleiber.cost.gpu_hours("6nd", flops_per_second=1e15, utilisation=0.4)
power = kleiber.cost.energy(hours, watts=700)
assert abs(evaluate(power.expr, at) / evaluate(hours.expr, at) - 0.7) < 1e-12
assert kleiber.cost.find_cost(power.name) == power
assert evaluate(kleiber.cost.find_cost("8nd").expr, at) == 1.6e20
""",
    "add-a-reduction": """
import kleiber
runs = {"n_params": [8, 8, 16], "loss": [2.2, 2.0, 1.0]}
assert kleiber.reduce.find("best")(runs)["loss"].to_list() == [2.0, 1.0]
""",
    "add-a-paper": """
import kleiber
from kleiber.systems.papers import find
verdicts = kleiber.check("coin")
assert [item.verdict for item in verdicts] == ["holds"] * 6, verdicts
assert {claim.scale for claim in find("coin").claims} == {"quick"}
assert isinstance(kleiber.theory.Coin(), kleiber.theory.Theory)
""",
}
NEW = {
    "add-a-cost": {"costs": {"8nd", "energy(COST, watts=NUMBER)"}},
    "add-a-reduction": {"reductions": {"best"}},
    "add-a-paper": {"papers": {"coin"}, "theories": {"coin"}, "reductions": {"tosses"}},
}


def run(source: Path, code: str, *words: str) -> str:
    """What a fresh interpreter prints that imports kleiber from a folder."""
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(source)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def listed(source: Path) -> dict[str, set[str]]:
    """The names in each list of kleiber."""
    return {what: set(names) for what, names in json.loads(run(source, NAMES)).items()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the package."""
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src" / "kleiber", tmp_path / "kleiber", ignore=skip)
    return tmp_path


@pytest.fixture(scope="module")
def before() -> dict[str, set[str]]:
    """The names in each list of kleiber as it is."""
    return listed(ROOT / "src")


SLOW = ("add-a-cost", "add-a-reduction")  # a paper brings files of both kinds: found, not listed


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] if page in SLOW else []) for page in USES],
)
def test_the_files_of_a_page_are_all_that_is_needed(
    page: str, source: Path, before: dict[str, set[str]]
) -> None:
    files: dict[str, str] = dict(FILE.findall((ROOT / "docs" / f"{page}.md").read_text()))
    assert files
    for name, text in files.items():
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(text)
    after = listed(source)
    assert {what: after[what] - before[what] for what in NEW[page]} == NEW[page]
    assert faults(source / "kleiber") == []
    run(source, USES[page])
    modules = [name.removesuffix(".py").replace("/", ".") for name in files]
    run(source, EXAMPLES, *(name.removesuffix(".__init__") for name in modules))
    folders = {(source / name).parent for name in files}
    for folder in folders if page == "add-a-paper" else ():
        shutil.rmtree(folder)
    for name in () if page == "add-a-paper" else files:
        (source / name).unlink()
    assert listed(source) == before


def test_contributing_names_what_exists() -> None:
    """Every file and folder of the repository that CONTRIBUTING.md names is there."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"(?:src|tests|docs|benchmarks|examples)/[\w./-]+", text))
    assert named
    assert [name for name in named if "NAME" not in name and not (ROOT / name).exists()] == []


def test_contributing_names_every_part_of_the_package() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    folders = {item.parent.name for item in (ROOT / "src" / "kleiber").glob("*/__init__.py")}
    assert {name for name in folders if f"{name}/" not in text} == set()


def test_every_selection_of_contributing_selects_tests() -> None:
    """The words after -k in CONTRIBUTING.md occur in names of test files."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    files = {file.stem for file in (ROOT / "tests").rglob("test_*.py")}
    for words in re.findall(r'-k "([\w ]+)"', text):
        for word in words.split(" or "):
            assert any(word in name for name in files), word


def test_contributing_states_the_number_of_quick_claims() -> None:
    tree: Any = ast.parse((ROOT / "tests" / "systems" / "test_papers.py").read_text())
    (limit,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "QUICK_CLAIMS"
    )
    words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    sentence = f"at least {words[limit]} claims of scale `quick`"
    for page in ("CONTRIBUTING.md", "docs/add-a-paper.md"):
        assert sentence in " ".join((ROOT / page).read_text().split()), page
