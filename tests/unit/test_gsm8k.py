"""GSM8K: the problems, and the exact verification of answers."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

import kleiber
from kleiber.cli import app
from kleiber.data.gsm8k import extract_answer, is_right, load_gsm8k
from kleiber.data.runs import load_runs
from kleiber.errors import BadTable


@pytest.fixture
def folder(data_path: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    place = data_path("gsm8k/train.jsonl").parents[1]
    monkeypatch.setenv("KLEIBER_DATA", str(place))
    return place


def make(folder: Path, monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
    """Small files in the form of the data set."""
    monkeypatch.setenv("KLEIBER_DATA", str(folder))
    (folder / "gsm8k").mkdir(exist_ok=True)
    lines = [json.dumps({"question": "How many,\n then?", "answer": answer}) for answer in answers]
    for split in ("train", "test"):
        (folder / "gsm8k" / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


@pytest.mark.long
def test_every_worked_answer_is_right_for_its_own_number_alone(folder: Path) -> None:
    table = load_gsm8k()
    assert table.columns == ["problem", "split", "question", "answer", "final"]
    assert table["split"].value_counts(sort=True).rows() == [("train", 7473), ("test", 1319)]
    assert table["problem"].n_unique() == 8792
    lines = (folder / "gsm8k" / "test.jsonl").read_text().splitlines()
    at = table.filter(problem="test/17").row(0, named=True)
    assert {"question": at["question"], "answer": at["answer"]} == json.loads(lines[17])
    draw = random.Random(0)
    known = sorted({int(final) for final in table["final"]})
    for answer, final in table.select("answer", "final").rows():
        number = int(answer.rsplit("#### ", 1)[1].replace(",", ""))  # not our parser
        assert is_right(answer, final)
        assert extract_answer(answer) == number == int(final)
        assert is_right(f"So the answer is ${number:,}.00.", final)
        others = {
            number + 1,
            number - 1,
            10 * number or 1,
            -number or 1,
            *draw.sample(known, 4),
        }
        assert not any(is_right(answer, other) for other in others - {number})
        assert not is_right(answer, f"{number}.5")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("#### 18", "18"),
        ("16 - 3 - 4 = 9\n9 * 2 = 18\n#### 18", "18"),
        ("#### 1,450,000", "1450000"),
        ("####-12", "-12"),
        ("####\n\n$18.50.", "18.5"),
        ("#### The answer is 7 dollars\nQuestion: what is 2 + 2?\n#### 4", "7"),
        ("3 and then #### nothing", "3"),
        ("so that she has $1,234,567.50.", "1234567.5"),
        ("that is 50%", "50"),
        ("it fell to -$5", "-5"),
        ("it fell to $-5", "-5"),
        ("it fell to \u22125 degrees", "-5"),
        ("16-5", "5"),
        ("16 - 5", "5"),
        ("(2)-3", "3"),
        ("- 12 apples", "12"),
        ("pages 3-5", "5"),
        ("x = .5", "0.5"),
        ("-.5", "-0.5"),
        ("5.0", "5"),
        ("5.", "5"),
        ("1/2", "0.5"),
        ("1,000/8", "125"),
        ("2.5e3", "2500"),
        ("5 eggs", "5"),
        ("\\boxed{42}", "42"),
        ("(3,4)", "4"),
        ("9" * 9000, "9" * 9000),
    ],
)
def test_the_final_number(text: str, number: str) -> None:
    found = extract_answer(text)
    assert found == Decimal(number)
    assert is_right(text, number)
    assert not is_right(text, Decimal(number) + 1 if len(number) < 20 else 1)


@pytest.mark.parametrize(
    "text", ["", "none", "$ and %", "#### 1/3", "7/0", "0/0", "-", "...", "\u0663"]
)
def test_no_number(text: str) -> None:
    assert extract_answer(text) is None
    assert not any(is_right(text, number) for number in range(10))


def test_comparison_is_exact() -> None:
    assert is_right("0.1", 0.1)
    assert is_right("0.30", "0.3")
    assert is_right("0.3", Decimal("0.3"))
    assert not is_right("0.1 + 0.2 = 0.30000000000000004", "0.3")
    assert not is_right("9007199254740993", 9007199254740992)
    assert not is_right("1e999", "1e998")


@pytest.mark.parametrize("final", ["none", "1/3", "", float("nan"), float("inf"), "5 eggs"])
def test_a_final_that_is_no_number_is_refused(final: object) -> None:
    with pytest.raises(BadTable, match=r"final must be a number, got .*\.$"):
        is_right("#### 5", final)  # pyright: ignore[reportArgumentType]


def test_files_of_another_kind_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, monkeypatch, "#### 3", "so it is 5")
    with pytest.raises(
        BadTable, match=r"train\.jsonl: the answer of row 2 has no number after ###"
    ):
        load_gsm8k()
    (tmp_path / "gsm8k" / "train.jsonl").write_text('{"question": "a", "reply": "b"}\n')
    with pytest.raises(BadTable, match=r"train\.jsonl: .*'answer'"):
        load_gsm8k()


def test_the_command_line_writes_the_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, monkeypatch, "1 + 1,\n#### 2", "#### 1,000")
    for suffix in ("csv", "parquet"):
        out = tmp_path / f"problems.{suffix}"
        assert CliRunner().invoke(app, ["data", "fetch", "gsm8k", "-o", str(out)]).exit_code == 0
        table = kleiber.read_table(out)
        assert table["problem"].to_list() == ["train/0", "train/1", "test/0", "test/1"]
        assert table["question"][0] == "How many,\n then?"
        assert table["final"].cast(pl.Int64).to_list() == [2, 1000] * 2
    assert load_runs("gsm8k").equals(load_gsm8k())
    shown = CliRunner().invoke(app, ["data", "fetch", "gsm8k", "--json"])
    document = json.loads(shown.stdout)
    assert set(document["files"]) == {"train", "test"}
    assert document["licence"] == "MIT"
    assert "2110.14168" in document["citation"]
