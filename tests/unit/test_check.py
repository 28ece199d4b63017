"""kleiber.check and kleiber check: what is computed, kept, redone, printed and refused."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import kleiber
from kleiber.claim import Claim, Context, Estimate, estimate
from kleiber.cli import check as command
from kleiber.cli import main
from kleiber.systems import papers
from kleiber.systems.keeping import source_digest
from kleiber.systems.papers import Paper, catalogue, check, each_verdict, find

Counter = dict[str, int]


def paper_of(*claims: Claim, name: str = "made_up") -> Paper:
    return Paper(name, "A title", "Somebody 2020", claims)


def counted(calls: Counter, name: str, value: float = 1.0, **given: Any) -> Claim:
    """A claim that 1 is 1 within 0.1, which counts how often it is computed."""

    def compute(context: Context) -> Estimate:
        calls[name] = calls.get(name, 0) + 1
        return estimate(value + 0.001 * context.seed, 0.01)

    return Claim("section 1", name, 1.0, 0.1, compute, **given)


def fragile(failing: Counter) -> Claim:
    """A claim that is interrupted while ``failing`` holds anything."""

    def compute(_: Context) -> Estimate:
        if failing:
            raise KeyboardInterrupt
        return estimate(1.0, 0.01)

    return Claim("section 2", "may be stopped", 1.0, 0.1, compute)


def test_quick_keeps_nothing_and_leaves_larger_claims_out(tmp_path: Path) -> None:
    calls: Counter = {}
    paper = paper_of(counted(calls, "small"), counted(calls, "large", scale="laptop"))
    for _ in range(2):
        assert [v.says for v in check(paper, keep=tmp_path / "kept")] == ["small"]
    assert calls == {"small": 2}
    assert not (tmp_path / "kept").exists()


def test_finished_claims_are_kept_and_not_redone(tmp_path: Path) -> None:
    calls: Counter = {}
    paper = paper_of(counted(calls, "small"), counted(calls, "large", scale="laptop"))
    first = check(paper, scale="laptop", keep=tmp_path)
    second = check(paper, scale="laptop", keep=tmp_path)
    assert calls == {"small": 1, "large": 1}
    assert [v.kept for v in first + second] == [False, False, True, True]
    assert [(v.obtained, v.seconds) for v in first] == [(v.obtained, v.seconds) for v in second]
    check(paper, scale="laptop", seed=1, keep=tmp_path)
    check(paper, scale="full", keep=tmp_path)
    assert calls == {"small": 3, "large": 3}


def test_an_interrupted_check_goes_on_where_it_stopped(tmp_path: Path) -> None:
    calls: Counter = {}
    failing: Counter = {"yes": 1}
    paper = paper_of(counted(calls, "before"), fragile(failing), counted(calls, "after"))
    with pytest.raises(KeyboardInterrupt):
        check(paper, scale="laptop", keep=tmp_path)
    assert calls == {"before": 1}
    failing.clear()
    assert [v.verdict for v in check(paper, scale="laptop", keep=tmp_path)] == ["holds"] * 3
    assert calls == {"before": 1, "after": 1}


def test_errors_are_not_kept_and_lose_nothing_else(tmp_path: Path) -> None:
    calls: Counter = {}
    broken = Claim("section 2", "breaks", 1.0, 0.1, lambda _: estimate(math.log(-1.0)))
    paper = paper_of(broken, counted(calls, "sound"))
    found = check(paper, scale="laptop", keep=tmp_path)
    assert [v.verdict for v in found] == ["error", "holds"]
    assert len(list(tmp_path.glob("*.json"))) == 1


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"paper": "made_up"}', "null"])
def test_a_damaged_file_is_no_result(tmp_path: Path, damage: str) -> None:
    calls: Counter = {}
    paper = paper_of(counted(calls, "once"))
    check(paper, scale="laptop", keep=tmp_path)
    (file,) = tmp_path.glob("*.json")
    file.write_text(damage)
    assert check(paper, scale="laptop", keep=tmp_path)[0].verdict == "holds"
    assert calls == {"once": 2}


def test_a_changed_source_makes_a_result_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter = {}
    paper = paper_of(counted(calls, "once"))
    check(paper, scale="laptop", keep=tmp_path)
    monkeypatch.setattr(papers, "source_digest", lambda _: "other")
    check(paper, scale="laptop", keep=tmp_path)
    assert calls == {"once": 2}


def test_the_digest_follows_imports() -> None:
    digests = {name: source_digest(f"kleiber.{name}") for name in ("errors", "table", "reports")}
    assert len(set(digests.values())) == 3
    assert source_digest("kleiber.errors") == digests["errors"]
    assert source_digest("numpy") == source_digest("")


def test_progress_is_told_of_each_claim() -> None:
    told: list[tuple[int, int, str]] = []
    paper = paper_of(counted({}, "first"), counted({}, "second"))
    check(paper, progress=lambda *seen: told.append(seen))
    assert told == [(0, 2, "first"), (1, 2, "second")]


@pytest.mark.parametrize(
    ("words", "given", "sentence"),
    [
        (("hard_tale",), {}, "No paper is called 'hard_tale'"),
        ((), {"scale": "quik"}, "Did you mean 'quick'"),
        ((), {"seed": -1}, "whole number from 0"),
    ],
)
def test_what_cannot_be_checked_is_refused(words: Any, given: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        kleiber.check(*words, **given)


def test_papers_are_found_by_walking_the_package() -> None:
    for name, paper in catalogue().items():
        assert find(name.replace("_", "-").upper()) == paper
        assert paper.title
        assert paper.citation
        assert len({(c.where, c.says) for c in paper.claims}) == len(paper.claims)


# Sentences may begin with a symbol or a name that the paper writes with a small letter.
SYMBOL = re.compile(r"(beta_eff|gamma(_[1-2]|_measured)?|nu|sigma|norm_opt|error_opt)\b")


@pytest.mark.parametrize("name", catalogue())
def test_claims_and_their_reasons_are_sentences(name: str) -> None:
    for claim in catalogue()[name].claims:
        for sentence in filter(None, (claim.says, claim.why)):
            assert sentence.endswith("."), sentence
            assert not sentence[0].islower() or SYMBOL.match(sentence), sentence


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command line, for which the only paper is the given one."""
    monkeypatch.setenv("COLUMNS", "160")

    def call(paper: Paper, *words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(papers, "catalogue", lambda: {paper.name: paper})
        monkeypatch.setattr(sys, "argv", ["kleiber", "check", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, said.out, said.err

    return call


SOUND = paper_of(counted({}, "it is one"), counted({}, "so is two", 2.0, known="fails", why="No."))
UNSOUND = paper_of(counted({}, "it is one"), counted({}, "so is <two>", 2.0))


def test_the_command_exits_1_only_when_a_verdict_is_not_as_known(run: Run) -> None:
    code, out, err = run(SOUND)
    assert (code, err) == (0, "")
    assert "2 claims: 1 holds, 1 fails; 0 not as known. By source: ours 1 holds, 1 fails" in out
    assert "fails: A claim of our own does not hold (section 1): No." in out
    code, out, _ = run(UNSOUND)
    assert code == 1
    assert "fails (known: holds)" in out


def test_the_command_prints_the_contract(run: Run) -> None:
    code, out, err = run(UNSOUND, "made-up", "--json", "--seed", "3")
    assert (code, err) == (1, "")
    first, second = json.loads(out)
    assert first["obtained"] == pytest.approx(1.003)
    keys = "paper where says source expected within obtained stderr verdict known why seconds"
    assert {*keys.split()} <= set(first)
    assert (second["verdict"], second["known"]) == ("fails", "holds")


def test_an_interval_of_its_own_is_shown(run: Run) -> None:
    wide = Claim(
        "section 1", "it is one", 1.0, 0.1, lambda _: Estimate(1.0, 0.01, 0.5, 1.25),
        known="inconclusive", why="It depends on the setting.",
    )  # fmt: skip
    exact = Claim(
        "section 1", "a count", 4.0, 3.0, lambda _: Estimate(5.4, math.nan, -1.92, 5.4),
        exact="it is counted", known="inconclusive", why="It depends on the family.",
    )  # fmt: skip
    plain = counted({}, "so is this")
    certain = Claim("section 1", "and this", 1.0, 0.1, lambda _: estimate(1.0), exact="it is 1")
    code, out, _ = run(paper_of(wide, exact, plain, certain))
    assert code == 0
    assert "1 [0.5, 1.25]" in out
    assert "5.4 [-1.9, 5.4]" in out
    assert "1 ± 0.01" in out
    found = json.loads(run(paper_of(wide, exact, plain, certain), "--json")[1])
    assert [row["low"] for row in found] == [0.5, -1.92, pytest.approx(0.98), None]
    assert [row["high"] for row in found] == [1.25, 5.4, pytest.approx(1.02), None]


SOURCED = paper_of(
    counted({}, "it is one", source="abstract"),
    counted({}, "so is two", 2.0, known="fails", why="No.", source="second-hand"),
    counted({}, "and three", 3.0, known="fails", why="Never.", source="ours"),
)


def test_the_table_and_the_page_say_whose_claim_it_is(run: Run, tmp_path: Path) -> None:
    code, out, _ = run(SOURCED, "-o", tmp_path / "report.html")
    assert code == 0
    page = (tmp_path / "report.html").read_text()
    tally = "By source: abstract 1 holds; second-hand 1 fails; ours 1 fails"
    for text in (out, page):
        assert tally in text
        assert "A statement that we know only second-hand does not hold (section 1): No." in text
        assert "A claim of our own does not hold (section 1): Never." in text
    line = next(line for line in out.splitlines() if "it is one" in line)
    assert "abstract" in line
    assert "<td>second-hand</td>" in page
    assert "says nothing against the paper" in page


def test_only_the_claims_that_contain_a_word_are_computed(run: Run) -> None:
    calls: Counter = {}
    paper = paper_of(counted(calls, "the Tail"), counted(calls, "the head"))
    code, out, _ = run(paper, "--only", "tail")
    assert (code, calls) == (0, {"the Tail": 1})
    assert "1 claims" in out
    assert [v.says for v in check(paper, only="SECTION 1: the h")] == ["the head"]
    code, out, err = run(paper, "--only", "body")
    assert (code, out) == (2, "")
    assert "No claim of made_up up to scale quick contains 'body'." in err


def test_a_claim_whose_data_are_absent_is_skipped(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLEIBER_DATA", str(tmp_path))
    calls: Counter = {}
    paper = paper_of(
        counted(calls, "needs curves", needs=("norms",)),
        counted(calls, "needs curves too", needs=("norms",), known="fails", why="No."),
        counted(calls, "needs none"),
        counted(calls, "needs what we do not know", needs=("somebody else's",)),
    )
    code, out, err = run(paper)
    assert (code, err) == (0, "")
    assert calls == {"needs none": 1, "needs what we do not know": 1}
    assert "4 claims: 2 skipped, 2 holds; 0 not as known" in out
    assert "skipped: 2 claims of made_up: The data set norms is absent; `kleiber data" in out
    assert out.count("kleiber data fetch norms") == 1
    found = check(paper, scale="laptop", keep=tmp_path / "kept")
    assert [v.verdict for v in found] == ["skipped", "skipped", "holds", "holds"]
    assert len(list((tmp_path / "kept").glob("*.json"))) == 2
    assert json.loads(run(paper, "--json")[1])[0]["obtained"] is None


def test_a_claim_without_its_library_is_skipped(run: Run) -> None:
    def without(name: str) -> Callable[[Context], Estimate]:
        def compute(_: Context) -> Estimate:
            raise ImportError(f"No module named {name!r}", name=name)

        return compute

    code, out, err = run(paper_of(Claim("section 1", "nets", 0.0, 0.1, without("torch"))))
    assert (code, err) == (0, "")
    assert "torch is not installed; pip install 'kleiber[train]' installs it." in " ".join(
        out.split()
    )
    code, out, _ = run(paper_of(Claim("section 1", "typo", 0.0, 0.1, without("kleiber.no"))))
    assert code == 1
    assert "No module named 'kleiber.no'" in out


def test_a_finished_claim_needs_its_data_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "norms").mkdir()
    (tmp_path / "norms" / "learning_curves.csv").touch()
    monkeypatch.setenv("KLEIBER_DATA", str(tmp_path))
    paper = paper_of(counted({}, "needs curves", needs=("norms",)))
    assert check(paper, scale="laptop", keep=tmp_path / "kept")[0].verdict == "holds"
    (tmp_path / "norms" / "learning_curves.csv").unlink()
    (again,) = check(paper, scale="laptop", keep=tmp_path / "kept")
    assert (again.verdict, again.kept) == ("holds", True)


@pytest.mark.long
def test_the_report_is_one_whole_page(run: Run, tmp_path: Path) -> None:
    assert run(UNSOUND, "-o", tmp_path / "report.html")[0] == 1
    page = (tmp_path / "report.html").read_text()
    assert "so is &lt;two&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    open_tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            if tag != "meta":
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Reader().feed(page)
    assert open_tags == []


@pytest.mark.parametrize("words", [("-o", "report.pdf"), ("nobody",), ("--scale", "big")])
def test_the_command_refuses_in_one_sentence(run: Run, words: tuple[str, ...]) -> None:
    code, out, err = run(SOUND, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_claims_are_kept_where_the_command_says(run: Run, tmp_path: Path) -> None:
    assert run(SOUND, "--scale", "laptop", "--keep", tmp_path / "here")[0] == 0
    assert len(list((tmp_path / "here").glob("*.json"))) == 2
    assert "kept" in run(SOUND, "--scale", "laptop", "--keep", tmp_path / "here")[1]


def test_the_live_table_shows_what_is_being_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    from io import StringIO

    from rich.console import Console

    screen = StringIO()
    console = Console(file=screen, force_terminal=True, width=120, height=40)
    done = command._watch(partial(each_verdict, SOUND), console)
    assert [item.says for item in done] == [claim.says for claim in SOUND.claims]
    assert "it is one" in screen.getvalue()
    assert "..." in screen.getvalue()
