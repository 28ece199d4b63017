"""The files around the package agree with each other and with the package."""

from __future__ import annotations

import re
import shlex
import socket
import tomllib
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from kleiber.table import numbers
from kleiber.version import __version__

ROOT = Path(__file__).parents[1]


def test_readme_has_exactly_two_commands() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    assert len(blocks) == 2
    main, test = (shlex.split(block) for block in blocks)
    assert ".venv/bin/kleiber" in main
    assert "examples/runs.csv" in main
    assert (ROOT / "examples" / "runs.csv").is_file()
    assert test[-4:] == [".venv/bin/pytest", "-q", "-n", "2"]
    assert "constraints.txt" in main
    assert "constraints.txt" in test


def test_the_version_is_the_same_everywhere() -> None:
    assert re.search(rf"^version: {re.escape(__version__)}$", text("CITATION.cff"), re.M)
    assert f"## {__version__}" in text("CHANGELOG.md")


@pytest.mark.parametrize(
    "group", ["core", "fast", "train", "report", "posterior", "cluster", "dev"]
)
def test_every_dependency_is_explained(group: str) -> None:
    project = tomllib.loads(text("pyproject.toml"))["project"]
    wanted = project["dependencies"] if group == "core" else project["optional-dependencies"][group]
    explained = set(re.findall(r"^- `([\w-]+)`", text("docs/dependencies.md"), re.M))
    names = {re.split(r"[\[>=<]", item)[0] for item in wanted} - {"kleiber"}
    assert names
    assert names <= explained


def test_no_test_touches_the_network() -> None:
    with pytest.raises(RuntimeError, match="must not touch the network"):
        socket.create_connection(("127.0.0.1", 9), timeout=1)
    with socket.socket() as sock, pytest.raises(RuntimeError, match="must not touch the network"):
        sock.connect_ex(("127.0.0.1", 9))


def test_no_test_makes_a_silent_nan() -> None:
    with pytest.raises(FloatingPointError):
        np.log(np.array([-1.0]))
    with pytest.raises(FloatingPointError):
        np.divide(1.0, np.zeros(1))


@pytest.mark.typed
def test_tests_check_types_and_shapes() -> None:
    with pytest.raises(TypeCheckError):
        numbers("no table", "loss")  # pyright: ignore[reportArgumentType]


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads(text("pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dev"], *extras["report"], *extras["fast"]]
    names = {re.split(r"[\[>=<]", item)[0] for item in [*wanted, *extras["train"]]} - {"kleiber"}
    pins = re.findall(r"^([\w.-]+)==[\w.]+$", text("constraints.txt"), re.M)
    assert names <= set(pins)


def text(name: str) -> str:
    return (ROOT / name).read_text()
