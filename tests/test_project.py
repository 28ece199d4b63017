"""The files around the package agree with each other and with the package."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from kleiber.version import __version__

ROOT = Path(__file__).parents[1]


def test_readme_has_exactly_two_commands() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    assert len(blocks) == 2
    main, test = (shlex.split(block) for block in blocks)
    assert ".venv/bin/kleiber" in main
    assert "examples/runs.csv" in main
    assert (ROOT / "examples" / "runs.csv").is_file()
    assert test[-2:] == [".venv/bin/pytest", "-q"]
    assert "constraints.txt" in main
    assert "constraints.txt" in test


def test_the_version_is_the_same_everywhere() -> None:
    assert re.search(rf"^version: {re.escape(__version__)}$", text("CITATION.cff"), re.M)
    assert f"## {__version__}" in text("CHANGELOG.md")


@pytest.mark.parametrize("group", ["core", "fast", "train", "report", "cluster", "dev"])
def test_every_dependency_is_explained(group: str) -> None:
    project = tomllib.loads(text("pyproject.toml"))["project"]
    wanted = project["dependencies"] if group == "core" else project["optional-dependencies"][group]
    explained = set(re.findall(r"^- `([\w-]+)`", text("docs/dependencies.md"), re.M))
    names = {re.split(r"[\[>=<]", item)[0] for item in wanted} - {"kleiber"}
    assert names
    assert names <= explained


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads(text("pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dev"], *extras["report"], *extras["fast"]]
    names = {re.split(r"[\[>=<]", item)[0] for item in [*wanted, *extras["train"]]} - {"kleiber"}
    pins = re.findall(r"^([\w.-]+)==[\w.]+$", text("constraints.txt"), re.M)
    assert names <= set(pins)


def text(name: str) -> str:
    return (ROOT / name).read_text()
