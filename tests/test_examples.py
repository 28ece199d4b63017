"""Every script in examples/ runs to its end."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from kleiber import laws

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_example(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # what it writes by default lands here, not in the repository
    monkeypatch.setattr("sys.argv", [str(script)])
    runpy.run_path(str(script))["main"]()


def test_the_examples_are_found() -> None:
    assert EXAMPLES.is_dir()
    tables = [file for file in EXAMPLES.iterdir() if file.suffix == ".csv"]
    assert tables, "examples/ ships the table of the README's first command"
    assert SCRIPTS, "examples/ ships the script that made it"


def test_the_table_of_speeds_has_a_range_for_every_column_of_the_catalogue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(
        str(EXAMPLES.parent / "benchmarks")
    )  # where scripts find each other
    made = runpy.run_path(str(EXAMPLES.parent / "benchmarks" / "fit_catalogue.py"))
    needed = {name for law in laws.catalogue().values() for name in law.variables}
    assert needed <= set(made["RANGES"])
