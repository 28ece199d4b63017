"""kleiber data and kleiber list data."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from kleiber.cli import app

RUN = CliRunner()


def test_list() -> None:
    done = RUN.invoke(app, ["list", "data", "--json"])
    names = [row["name"] for row in json.loads(done.stdout)]
    assert {"digits", "mnist", "cifar10", "cifar100", "cifar10h"} <= set(names)


def test_fetch_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLEIBER_DATA", str(tmp_path))
    (tmp_path / "cifar-100-python.tar.gz").touch()
    done = RUN.invoke(app, ["data", "fetch", "cifar100", "--json"])
    document = json.loads(done.stdout)
    assert document["files"] == {"archive": str(tmp_path / "cifar-100-python.tar.gz")}
    assert document["citation"].startswith("Krizhevsky")
    shown = RUN.invoke(app, ["data", "fetch", "cifar100"])
    assert "cifar-100-python.tar.gz" in shown.stdout.replace("\n", "")


def test_fetch_writes_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLEIBER_DATA", str(tmp_path))
    (tmp_path / "passk").mkdir()
    text = "model,benchmark,problem,n,c\nPythia 1B,MATH,7,100,3\n"
    (tmp_path / "passk" / "pythia_math_n10000.csv").write_text(text)
    out = tmp_path / "counts.csv"
    assert RUN.invoke(app, ["data", "fetch", "passk", "-o", str(out)]).exit_code == 0
    assert pl.read_csv(out).row(0) == ("Pythia 1B", 1e9, "MATH", 7, 100, 3)
    refused = RUN.invoke(app, ["data", "fetch", "digits", "-o", str(out)])
    assert "no table that -o could write" in str(refused.exception)


def test_fetch_refuses_an_unusable_suffix_before_it_downloads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    monkeypatch.setattr("kleiber.data.fetch.fetch", lambda name, **_: fetched.append(name))
    done = RUN.invoke(app, ["data", "fetch", "passk", "-o", str(tmp_path / "c.xyz")])
    assert "the unknown suffix '.xyz'" in str(done.exception)
    assert fetched == []
