"""Every script in examples/ runs to its end."""

from __future__ import annotations

import runpy
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kleiber import laws

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_example(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # what it writes by default lands here, not in the repository
    monkeypatch.setattr("sys.argv", [str(script)])
    runpy.run_path(str(script))["main"]()


@pytest.mark.long  # 8,792 answers are read
def test_the_lines_that_plug_in_a_model_run(
    data_path: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[Any] = []

    def write(chats: list[Any], **options: Any) -> list[list[dict[str, str]]]:
        asked.extend(chats)
        assert options["do_sample"]
        texts = "so it is 18.", "so it is 17."  # the first is right for test/0
        return [[{"generated_text": texts[k % 3 > 0]}] for k in range(len(chats))]

    hub: Any = types.ModuleType("transformers")
    hub.set_seed = lambda seed: None
    hub.pipeline = lambda task, name: write
    write.tokenizer = types.SimpleNamespace()  # pyright: ignore[reportFunctionMemberAccess]
    monkeypatch.setitem(sys.modules, "transformers", hub)
    monkeypatch.setenv("KLEIBER_DATA", str(data_path("gsm8k/test.jsonl").parents[1]))
    monkeypatch.chdir(tmp_path)
    script = runpy.run_path(str(EXAMPLES / "attempts_of_a_model.py"))
    lines = [line[4:] for line in script["__doc__"].splitlines() if line.startswith("    ")]
    code = "\n".join(line for line in lines if not line.startswith("python "))
    exec(code.replace("[:200]", "[:4]"), {"main": script["main"]})
    assert len(asked) == 4 * 40
    assert asked[0][0]["content"].startswith("Janet")
    assert "4 problems, 3 of them never solved" in capsys.readouterr().out


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
