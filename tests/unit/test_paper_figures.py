"""The figures of papers: how they are found, drawn into files, and refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from kleiber.claim import Context
from kleiber.cli import app
from kleiber.systems import names
from kleiber.systems.drawing import Drawing, figures_of
from kleiber.systems.feature_learning.figures import mark
from kleiber.systems.hard_tail import figures as hard_tail
from kleiber.systems.hard_tail.claims.tails import TAIL

pytest.importorskip("matplotlib")

from kleiber.reports import paper_figures
from kleiber.reports.paper_figures import Matplotlib, draw_figures


def line(draw: Drawing, context: Context) -> Any:
    """A first line, and two more."""
    figure = draw.figure(4, 3)
    axes = draw.panel(figure, (1, 1, 1), context.scale, "x", "y")
    for seed, colour in enumerate(draw.shades(3)):
        axes.plot([1, 10, 100], [3, 2 + context.seed, 1 + seed], color=colour)
    return figure


def absent(_: Drawing, __: Context) -> Any:
    raise FileNotFoundError("The data set is absent; kleiber data fetch it.")


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let hard_tail have two figures, one of which has no data, and the others none."""
    made = {"hard_tail": (line, absent)}
    monkeypatch.setattr(paper_figures, "figures_of", lambda name: made.get(name, ()))


def test_every_paper_has_figures_that_are_found_in_its_folder(monkeypatch: Any) -> None:
    assert all(len(figures_of(name)) >= 4 for name in names())
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert figures_of("hard_tail") == ()
    assert isinstance(Matplotlib(), Drawing)


@pytest.mark.usefixtures("figures")
@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_same_figure_is_the_same_file(tmp_path: Path, suffix: str) -> None:
    files = [tmp_path / each / f"hard_tail_1{suffix}" for each in ("a", "b", "c")]
    for file, seed in zip(files, (0, 0, 1), strict=True):
        drawn, missing = draw_figures(
            "hard-tail", folder=file.parent, seed=seed, png=suffix == ".png"
        )
        assert (drawn.file, drawn.why) == (file, "")
        assert (missing.file, missing.number) == (None, 2)
        assert missing.why == "The data set is absent; kleiber data fetch it"
    first, second, other = (file.read_bytes() for file in files)
    assert first == second != other
    assert first.startswith(b"\x89PNG" if suffix == ".png" else b"<?xml")


@pytest.mark.usefixtures("figures")
def test_the_command_draws_and_says_what_it_cannot(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    run = CliRunner().invoke
    said = run(app, ["check", "hard_tail", "--figures", str(folder)])
    assert said.exit_code == 1
    assert [file.name for file in folder.iterdir()] == ["hard_tail_1.svg"]
    assert "hard_tail_2 is not drawn: The data set is absent; kleiber data" in said.stderr
    said = run(app, ["check", "--figures", str(folder), "--png", "--json"])
    assert json.loads(said.stdout) == [
        {"paper": "hard_tail", "number": 1, "file": str(folder / "hard_tail_1.png"), "why": ""},
        {
            "paper": "hard_tail",
            "number": 2,
            "file": None,
            "why": "The data set is absent; kleiber data fetch it",
        },
    ]
    assert run(app, ["check", "lottery_tickets", "--figures", str(folder)]).exit_code == 0


@pytest.mark.usefixtures("figures")
@pytest.mark.parametrize("word", ["tail_1", "a FIRST"])
def test_only_the_figures_that_contain_a_word_are_drawn(tmp_path: Path, word: str) -> None:
    said = CliRunner().invoke(
        app, ["check", "hard_tail", "--figures", str(tmp_path), "--only", word]
    )
    assert said.exit_code == 0
    assert [file.name for file in tmp_path.iterdir()] == ["hard_tail_1.svg"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["hard_tail", "--png"], "give --figures FOLDER with it"),
        (["hard_tail", "--figures", "f", "-o", "x.html"], "--figures checks no claims"),
        (["hard_tale", "--figures", "f"], "Did you mean 'hard_tail'"),
        (["hard_tail", "--figures", "f", "--scale", "fast"], "scale must be one of quick"),
        (["hard_tail", "--figures", "file"], "and 'file' is a file"),
        (["hard_tail", "--figures", "f", "--only", "cats"], "No figure of hard_tail contains"),
    ],
)
def test_wrong_words_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    said = CliRunner().invoke(app, ["check", *words])
    assert isinstance(said.exception, ValueError)
    assert sentence in str(said.exception)


def test_without_matplotlib_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'kleiber\[report\]'"):
        next(draw_figures("hard_tail", folder=tmp_path))


def test_the_theory_of_the_hard_tail_is_drawn_as_medians() -> None:
    n = np.array([200.0, 1000.0])
    told = hard_tail.theory_quartiles(n)
    assert (told["low"] < told["middle"]).all()
    assert (told["middle"] < told["high"]).all()
    assert (told["middle"] < 0.9 * hard_tail.MODEL.loss(n)).all()  # of a heavy tail
    runs = hard_tail.MODEL.simulate({"n_data": [200]}, seeds=40)
    measured = np.median(runs["loss"].to_numpy())
    assert measured == pytest.approx(told["middle"][0], rel=0.1)


def test_a_fit_finds_a_planted_broken_power() -> None:
    n = np.geomspace(100, 1e4, 12)
    planted = (2.4, float(np.log(900.0)), 1.1, 1.5)
    values = hard_tail.broken_power(n, *planted)
    assert values[0] == pytest.approx(2.4 * (100 / 900) ** 1.1, rel=0.01)
    assert values[-1] == pytest.approx(2.4, rel=1e-3)
    found = hard_tail.fit_to(hard_tail.broken_power, n, values, (TAIL, 7.0, 1.0, 1.4))
    assert np.allclose(found, planted, rtol=1e-3)


def test_ticks_are_those_within_the_axis() -> None:
    draw = Matplotlib()
    axes = draw.panel(draw.figure(4, 3), (1, 1, 1), "", "", "")
    axes.set_ylim(0.037, 0.049)
    mark(axes, (0.01, 0.1, 1.0), (0.03, 0.04, 0.042, 0.045, 0.05))
    assert [text.get_text() for text in axes.get_yticklabels()] == ["0.04", "0.042", "0.045"]
