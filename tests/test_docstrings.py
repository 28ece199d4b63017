"""The public docstrings: their examples run, and they say of every argument what it is."""

from __future__ import annotations

import builtins
import dataclasses
import doctest
import enum
import inspect
import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import kleiber
from kleiber import errors, systems
from kleiber.attempts.record import CountFit

PENDING: tuple[str, ...] = ()  # public names whose docstrings are still to be written
EXTRAS = {"train": "torch", "sample_posterior": "emcee"}  # what an example needs, if it is here
METHODS = ("solve", "simulate", "exponents")  # of every theory
INSIDE = ("load", "places")  # what the module of the theories uses, and is no part of it


def discover() -> dict[str, Any]:
    """Every public function, record and module, by the name that a user types after kleiber."""
    found = {name: getattr(kleiber, name) for name in kleiber.__all__ if name != "__version__"}
    found["CountFit"] = CountFit  # what fit_counts returns
    for name in dir(kleiber.theory):
        value = getattr(kleiber.theory, name)
        own = getattr(value, "__module__", "").startswith("kleiber.")
        if own and not name.startswith("_") and name not in INSIDE:
            found[f"theory.{name}"] = value
    for record in kleiber.theory.catalogue().values():
        for method in METHODS:
            found[f"theory.{record.__name__}.{method}"] = getattr(record, method)
    for name in ("catalogue", "find"):
        found[f"laws.{name}"] = getattr(kleiber.laws, name)
    for name, value in vars(kleiber.reduce).items():
        if inspect.isfunction(value) and not name.startswith("_"):
            if value.__module__ == kleiber.reduce.__name__:
                found[f"reduce.{name}"] = value
    for name in systems.declared("PUBLIC"):
        found[f"reduce.{name}"] = getattr(kleiber.reduce, name)
    for name, value in kleiber.reduce.reducers().items():
        found[f"reduce.find({name!r})"] = value
    return dict(sorted(found.items()))


PUBLIC = discover()
WRITTEN = [name for name in PUBLIC if name not in PENDING]
FUNCTIONS = [name for name in WRITTEN if inspect.isfunction(PUBLIC[name])]


def sections(documented: Any) -> Mapping[str, list[str]]:
    """The lines of each section of a docstring in numpydoc's form, by its heading."""
    lines = inspect.cleandoc(documented.__doc__ or "").splitlines()
    found: dict[str, list[str]] = {}
    heading = "Summary"
    for k, line in enumerate(lines):
        below = lines[k + 1] if k + 1 < len(lines) else ""
        if line and below == "-" * len(line):
            heading = line
        elif set(line) != {"-"}:
            found.setdefault(heading, []).append(line)
    return found


def entries(lines: list[str]) -> list[str]:
    """The names that a section explains: what is not indented, several on a line with commas."""
    heads = [line for line in lines if line and not line[0].isspace()]
    return [name.strip() for line in heads for name in line.split(",")]


def arguments(function: Any) -> list[str]:
    """The names of a function's parameters."""
    return [name for name in inspect.signature(function).parameters if name != "self"]


def fields(record: Any) -> list[str] | None:
    """The names of a record's fields; None for a class that has none of its own."""
    if dataclasses.is_dataclass(record):
        return [item.name for item in dataclasses.fields(record)]
    if issubclass(record, enum.Enum):
        return list(record.__members__)
    found: Any = getattr(record, "model_fields", None) or getattr(record, "_fields", None)
    return None if found is None else list(found)


@pytest.mark.parametrize("name", WRITTEN)
def test_the_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    finder = doctest.DocTestFinder(recurse=False)
    (test,) = finder.find(PUBLIC[name], name, module=False, globs={})  # pyright: ignore[reportArgumentType]
    assert test.examples, f"{name} has no example"
    said = io.StringIO()
    failed, _ = doctest.DocTestRunner().run(test, out=said.write)
    assert failed == 0, said.getvalue()


@pytest.mark.parametrize("name", WRITTEN)
def test_there_is_a_sentence_and_an_example(name: str) -> None:
    found = sections(PUBLIC[name])
    assert found["Summary"][0].endswith(".")
    assert any(line.startswith(">>> import kleiber") for line in found["Examples"])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_is_explained(name: str) -> None:
    found, takes = sections(PUBLIC[name]), arguments(PUBLIC[name])
    assert sorted(entries(found.get("Parameters", []))) == sorted(takes)
    returns = inspect.signature(PUBLIC[name]).return_annotation
    assert ("Returns" in found) == (returns not in (None, "None"))
    assert "Raises" in found or not takes  # who takes an argument refuses a wrong one


@pytest.mark.parametrize("name", [name for name in WRITTEN if inspect.isclass(PUBLIC[name])])
def test_every_field_is_explained(name: str) -> None:
    record, found = PUBLIC[name], sections(PUBLIC[name])
    said = entries(found.get("Attributes", []) or found.get("Parameters", []))
    if (known := fields(record)) is None:
        known = arguments(record) if "__init__" in vars(record) else []
        known = [] if getattr(record, "_is_protocol", False) else known
    assert sorted(said) == sorted(known)


@pytest.mark.parametrize("name", WRITTEN)
def test_the_errors_exist(name: str) -> None:
    for error in entries(sections(PUBLIC[name]).get("Raises", [])):
        kind = getattr(errors, error, None) or getattr(builtins, error)
        assert issubclass(kind, Exception)


def test_what_is_pending_is_still_pending() -> None:
    assert set(PENDING) <= set(PUBLIC)
    done = [name for name in PENDING if "Examples" in sections(PUBLIC[name])]
    assert done == [], "take these out of PENDING"
