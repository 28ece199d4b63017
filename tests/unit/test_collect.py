"""collect_attempts: counts from any model, finished batches that are never lost, clear refusals."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import kleiber
from kleiber.attempts.batches import missing
from kleiber.attempts.problems import read_problems
from kleiber.errors import BadArgument, BadTable

RATES = {"easy": 0.9, "middle": 0.5, "hard": 0.1}


def generate(problems: list[float], seed: int) -> list[str]:
    """A model that solves each problem at the rate that the problem is."""
    draw = random.Random(seed)
    return ["right" if draw.random() < rate else "wrong" for rate in problems]


def verify(problem: float, answer: str) -> bool:
    return answer == "right"


class Model:
    """The same model, which remembers its calls and can be told to fail at one of them."""

    def __init__(self, fail_at: int | None = None, error: type[BaseException] = KeyboardInterrupt):
        self.calls: list[tuple[int, int]] = []
        self.fail_at, self.error = fail_at, error

    def __call__(self, problems: list[float], seed: int) -> list[str]:
        if len(self.calls) == self.fail_at:
            raise self.error("stopped")
        self.calls.append((len(problems), seed))
        return generate(problems, seed)


def collect(
    ask: Callable[[list[Any], int], Any] = generate, attempts: int = 20, /, **options: Any
) -> pl.DataFrame:
    options = {"problems": RATES, "verify": verify, "batch": 8} | options
    return kleiber.collect_attempts(
        options.pop("problems"), ask, options.pop("verify"), attempts, **options
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("[!.]*.parquet")}


def test_counts_are_ready_for_a_fit() -> None:
    table = collect(generate, 200, model_size=3, n_tokens=1e9, dataset="toy")
    assert table.columns == [
        "problem", "attempts", "successes", "model_size", "n_tokens", "dataset",
    ]  # fmt: skip
    assert table["problem"].to_list() == list(RATES)
    assert table["attempts"].to_list() == [200] * 3
    for rate, count in zip(RATES.values(), table["successes"], strict=True):
        assert abs(count - 200 * rate) < 5 * (200 * rate * (1 - rate)) ** 0.5
    fit = kleiber.fit_counts(pl.concat([table, table.with_columns(n_tokens=2e9)]), by="n_tokens")
    assert len(fit.pass_at([1]).value) == 2


def test_every_problem_is_asked_as_often_as_it_has_attempts() -> None:
    seen: list[list[str]] = []

    def answer(problems: list[str], seed: int) -> list[int]:
        seen.append(list(problems))
        return [0] * len(problems)

    table = collect(answer, 5, problems=["a", "b", "c"], verify=lambda p, x: p == "b", batch=4)
    assert [len(call) for call in seen] == [4, 4, 4, 3]
    assert [name for call in seen for name in call] == ["a", "b", "c"] * 5  # round by round
    assert table.rows() == [(0, 5, 0), (1, 5, 5), (2, 5, 0)]


def test_seeds_differ_between_calls_and_follow_the_seed() -> None:
    first, again, other = Model(), Model(), Model()
    assert collect(first).equals(collect(again))
    collect(other, seed=1)
    seeds = [seed for _, seed in first.calls]
    assert len(set(seeds)) == len(seeds) == 8
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert again.calls == first.calls
    assert not set(seeds) & {seed for _, seed in other.calls}


def test_columns_of_numpy_numbers_and_truth_values() -> None:
    table = collect(n_tokens=np.int64(10**9), lr=np.float32(0.5), finetuned=np.bool_(True))
    assert table.row(0)[3:] == (10**9, 0.5, True)


def test_attempts_that_are_repetitions_of_one_are_named() -> None:
    def greedy(problems: list[int], seed: int) -> list[str]:
        return ["right" if problem % 2 else "wrong" for problem in problems]

    with pytest.warns(UserWarning, match=r"all of its 20 attempts or in none: .* without sampling"):
        collect(greedy, problems=list(range(6)))
    for few in ({"problems": [0, 1]}, {"problems": [1, 3, 5, 7, 9]}):  # as if by chance, or easy
        assert collect(greedy, **few)["attempts"][0] == 20  # and no warning, which is an error


@pytest.mark.parametrize("kind", ["polars", "pandas", "mapping", "unnamed"])
def test_rows_of_a_table_are_problems(kind: str) -> None:
    columns = {"problem": ["x", "y"], "rate": [1.0, 0.0]}
    table: Any = {
        "polars": pl.DataFrame(columns),
        "pandas": pd.DataFrame(columns),
        "mapping": columns,
        "unnamed": pl.DataFrame(columns).drop("problem"),
    }[kind]
    found = collect(
        lambda rows, seed: generate([row["rate"] for row in rows], seed), 3, problems=table
    )
    names = [0, 1] if kind == "unnamed" else ["x", "y"]
    assert found.rows() == [(names[0], 3, 3), (names[1], 3, 0)]


def test_somebody_elses_list_of_problems() -> None:
    class Rows:
        def __len__(self) -> int:
            return 2

        def __iter__(self) -> Any:
            return iter([{"rate": 1.0}, {"rate": 0.0}])

    found = collect(lambda rows, _: generate([r["rate"] for r in rows], 0), 2, problems=Rows())
    assert found["successes"].to_list() == [2, 0]
    assert collect(generate, 2, problems=np.array([1.0, 0.0]))["successes"].to_list() == [2, 0]


def test_progress_counts_attempts(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    with pytest.raises(KeyboardInterrupt):
        collect(Model(2), path=tmp_path, progress=lambda *item: told.append(item))
    assert told == [(done, 60, "attempts") for done in (0, 8, 16)]
    told.clear()
    collect(path=tmp_path, progress=lambda *item: told.append(item))
    assert told == [(done, 60, "attempts") for done in (16, 24, 32, 40, 48, 56, 60)]


def test_finished_batches_are_not_asked_again(tmp_path: Path) -> None:
    whole = Model()
    table = collect(whole, path=tmp_path)
    again = Model(0)
    assert collect(again, path=tmp_path).equals(table)
    assert again.calls == []
    sorted(tmp_path.glob("*.parquet"))[3].unlink()
    gap = Model()
    assert collect(gap, path=tmp_path).equals(table)
    assert gap.calls == [whole.calls[3]]


def test_damaged_files_are_made_again(tmp_path: Path) -> None:
    table = collect(path=tmp_path)
    file = sorted(tmp_path.glob("*.parquet"))[2]
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.warns(UserWarning, match="truncated or damaged"):
        assert collect(path=tmp_path).equals(table)
    assert (tmp_path / "aside" / file.name).exists()
    half = file.read_bytes()
    file.write_bytes(half[:4] + bytes(len(half) // 2 - 4) + half[len(half) // 2 :])
    with pytest.warns(UserWarning, match="damaged"):
        assert collect(path=tmp_path).equals(table)


def test_a_file_with_too_few_attempts_is_made_again(tmp_path: Path) -> None:
    table = collect(path=tmp_path)
    file = sorted(tmp_path.glob("*.parquet"))[2]
    label = pl.read_parquet_metadata(file)["kleiber"]
    pl.read_parquet(file)[:2].write_parquet(file, metadata={"kleiber": label})
    model = Model()
    assert collect(model, path=tmp_path).equals(table)
    assert len(model.calls) == 1


def test_more_attempts_extend_the_finished_ones(tmp_path: Path) -> None:
    first, more = Model(), Model()
    before = collect(first, 3, path=tmp_path)  # 9 attempts: a batch of 8, and one of 1
    kept = contents(tmp_path)
    table = collect(more, 7, path=tmp_path)
    assert [size for size, _ in first.calls + more.calls] == [8, 1, 7, 5]
    assert contents(tmp_path).items() >= kept.items()
    gained = table["successes"] - before["successes"]
    assert (gained >= 0).all()
    assert (gained <= 4).all()
    assert len({seed for _, seed in first.calls + more.calls}) == 4


def test_fewer_attempts_than_there_are_are_refused(tmp_path: Path) -> None:
    collect(generate, 7, path=tmp_path)
    with pytest.raises(BadTable, match=r"more attempts than were asked for; ask for 7 at each"):
        collect(generate, 6, path=tmp_path)


def test_an_evaluation_that_was_stopped_can_end_early(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        collect(Model(4), 100, path=tmp_path)
    with pytest.raises(BadTable, match="ask for 11 at each problem, or for more"):
        collect(generate, 10, path=tmp_path)
    assert collect(generate, 11, path=tmp_path)["attempts"].to_list() == [11] * 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"problems": {**RATES, "hard": 0.2}}, "with other problems"),
        ({"problems": dict(reversed(RATES.items()))}, "with other problems"),
        ({"problems": {**RATES, "more": 0.2}}, "with other problems"),
        ({"batch": 16}, "with batch=8"),
        ({"seed": 3, "batch": 4}, "with batch=8 and seed=0"),
        ({"answers": True}, "with answers=False"),
        ({"model": "large"}, "with other columns"),
        ({"model": "small", "n_tokens": 1}, "with other columns"),
    ],
)
def test_another_evaluation_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    collect(path=tmp_path, model="small")
    kept, model = contents(tmp_path), Model()
    with pytest.raises(BadTable, match=rf"holds another evaluation, {said}; give another path"):
        collect(model, path=tmp_path, **({"model": "small"} | change))
    assert model.calls == []
    assert contents(tmp_path) == kept


def test_the_same_number_in_another_form_is_the_same_column(tmp_path: Path) -> None:
    table = collect(path=tmp_path, n_tokens=10**9)
    assert table["n_tokens"].dtype == pl.Int64
    assert collect(Model(0), path=tmp_path, n_tokens=1e9)["successes"].equals(table["successes"])


def test_problems_are_told_apart_across_processes() -> None:
    code = (
        "import kleiber.attempts.problems as p, dataclasses\n"
        "class Own: pass\n"
        "print(p.read_problems([{'a', 'b', 'c'}, Own(), {1: 2, (3,): 4}, b'x']).digest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in "12"
    }
    assert len(found) == 1

    class Own:
        pass

    both = Own(), Own()  # at two addresses, as in two processes
    assert len({read_problems([each]).digest() for each in both}) == 1
    assert len({read_problems([{(1,): each}]).digest() for each in both}) == 1
    assert read_problems([np.arange(9)]).digest() != read_problems([np.arange(9) + 1]).digest()
    assert read_problems([b"x"]).digest() != read_problems([b"y"]).digest()


def test_other_peoples_folders_are_refused(tmp_path: Path) -> None:
    base = {"task": {"kind": "formula"}, "net": {"kind": "mlp", "width": 8}, "batch": 64}
    runs = tmp_path / "runs"
    kleiber.sweep([base], str(runs), run=lambda spec: kleiber.read_table({"loss": [1.0]}))
    with pytest.raises(BadTable, match="holds the runs of a sweep"):
        collect(path=runs)
    mine = tmp_path / "mine"
    mine.mkdir()
    pl.DataFrame({"a": [1]}).write_parquet(mine / "a.parquet")
    with pytest.raises(BadTable, match="Parquet files that no evaluation wrote"):
        collect(path=mine)
    assert [file.name for file in mine.iterdir()] == ["a.parquet"]
    with pytest.raises(BadTable, match="is a file; give a folder"):
        collect(path=mine / "a.parquet")


def test_the_folder_is_a_table_of_counts(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        collect(Model(5), path=tmp_path, model="small")
    table = kleiber.sweeps.store.Folder(tmp_path).read()  # what kleiber table reads
    counts = kleiber.fit_counts(table, sum_by="problem")
    assert table["attempts"].sum() == 40
    assert counts.pass_at([1]).value.size == 1
    assert set(table["model"]) == {"small"}


def test_a_folder_is_held_by_one_call_at_a_time(tmp_path: Path) -> None:
    def nested(problems: list[float], seed: int) -> list[str]:
        with pytest.raises(BadTable, match="Another call collects attempts"):
            collect(path=tmp_path)
        return generate(problems, seed)

    assert collect(nested, 2, path=tmp_path).height == 3
    assert list((tmp_path / ".claims").iterdir()) == []


def test_answers_are_kept_and_verified_anew(tmp_path: Path) -> None:
    table = collect(path=tmp_path, answers=True)
    assert table.equals(collect())
    opposite = collect(Model(0), path=tmp_path, answers=True, verify=lambda p, x: x == "wrong")
    assert (opposite["successes"] + table["successes"]).to_list() == [20] * 3
    kept = kleiber.sweeps.store.Folder(tmp_path).read()
    assert kept.filter(problem="easy", answer="right").height == table["successes"][0]


def test_answers_outlive_a_verifier_that_fails(tmp_path: Path) -> None:
    def broken(problem: float, answer: str) -> bool:
        raise RuntimeError("the verifier is broken")

    with pytest.raises(RuntimeError, match="broken"):
        collect(path=tmp_path, answers=True, verify=broken)
    model = Model()
    assert collect(model, path=tmp_path, answers=True).equals(collect())
    assert len(model.calls) == 7


def test_answers_must_be_text_to_be_kept(tmp_path: Path) -> None:
    for answer, said in ((3, "must be text, got 3"), ("\ud800", "must be Unicode text")):
        with pytest.raises(BadArgument, match=said):
            collect(lambda p, s, x=answer: [x] * len(p), path=tmp_path, answers=True)
    with pytest.raises(BadTable, match="answers=True needs a path"):
        collect(answers=True)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (lambda p, s: ["right"] * (len(p) - 1), BadTable, "each of the 8 problems .* got 7"),
        (lambda p, s: ["right"] * (len(p) + 1), BadTable, "each of the 8 problems .* got 9"),
        (lambda p, s: "x" * len(p), BadArgument, "must return a list of answers, got 'xxx"),
        (lambda p, s: None, BadArgument, "must return a list of answers, got None"),
        (lambda p, s: dict.fromkeys(range(8)), BadArgument, "must return a list of answers"),
        (lambda p: p, BadArgument, "generate must be a function of a list of problems and a seed"),
        ("model", BadArgument, "generate must be a function of a list of problems and a seed"),
    ],
)
def test_a_wrong_generate_is_refused(given: Any, error: type[ValueError], said: str) -> None:
    with pytest.raises(error, match=said):
        collect(given)


@pytest.mark.parametrize("wrong", [None, 1, "yes", 0.5])
def test_a_wrong_verify_is_refused(wrong: Any) -> None:
    with pytest.raises(BadArgument, match=r"must return True or False, got .* problem 'easy'\.$"):
        collect(verify=lambda p, x: wrong)


def test_numpy_truth_values_and_generators_are_accepted() -> None:
    table = collect(lambda p, s: iter(generate(p, s)), verify=lambda p, x: np.bool_(x == "right"))
    assert table.equals(collect())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"problems": {}}, "There are no problems"),
        ({"problems": None}, "problems must be a mapping"),
        ({"problems": "abc"}, "problems must be a mapping"),
        ({"problems": 3}, "problems must be a mapping"),
        ({"problems": {"a": 1, 2: 1}}, "all text or all whole numbers, got 'a' and 2"),
        ({"problems": {1.5: 1}}, "must be text or a whole number of at most 64 bits, got 1.5"),
        ({"problems": {True: 1}}, "must be text or a whole number"),
        ({"problems": {2**70: 1}}, "of at most 64 bits"),
        ({"problems": pl.DataFrame({"problem": ["a", "a"]})}, "The problem 'a' occurs twice"),
        ({"problems": pl.DataFrame({"problem": ["a", None]})}, "got None"),
        ({"attempts": 0}, "attempts must be a whole number from 1"),
        ({"attempts": 10**12}, "At most 1e"),
        ({"batch": 0}, "batch must be a whole number from 1"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 2**63}, "seed must be"),
        ({"answers": "yes"}, "answers must be True or False"),
        ({"path": 3}, "path must be the path of a folder or None"),
        ({"progress": 3}, "progress must be a function of done, total and note"),
        ({"verify": lambda p: True}, "verify must be a function of a problem and an answer"),
        ({"bacth": 3}, "no keyword 'bacth'. Did you mean 'batch'"),
        ({"seeds": 3}, "no keyword 'seeds'. Did you mean 'seed'"),
        ({"model": ["a", "b", "c"]}, "one text, finite number or truth value for all rows"),
        ({"n_tokens": float("nan")}, "one text, finite number or truth value for all rows"),
        ({"successes": 3}, "cannot be named 'successes'"),
        ({"stopped": True}, "cannot be named 'stopped'"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], said: str) -> None:
    model = Model()
    with pytest.raises(ValueError, match=said) as caught:
        collect(model, options.pop("attempts", 20), **options)
    assert model.calls == []
    assert str(caught.value)[0].isupper()
    assert str(caught.value).endswith((".", "?"))


def test_batches_end_at_multiples_and_where_finished_ones_begin() -> None:
    assert list(missing([], 10, 4)) == [(0, 4), (4, 8), (8, 10)]
    assert list(missing([(0, 4), (4, 6)], 10, 4)) == [(6, 8), (8, 10)]
    assert list(missing([(2, 4), (8, 9)], 10, 4)) == [(0, 2), (4, 8), (9, 10)]
    assert list(missing([(0, 10)], 10, 4)) == []


KILLED = """
import sys, time
sys.path.insert(0, {here!r})
import kleiber
from test_collect import RATES, generate, verify

def slowly(problems, seed):
    time.sleep(0.03)
    return generate(problems, seed)

kleiber.collect_attempts(RATES, slowly, verify, 100, path={path!r}, batch=8)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_evaluation_goes_on(how: signal.Signals, tmp_path: Path) -> None:
    folder = tmp_path / "attempts"
    code = KILLED.format(here=str(Path(__file__).parent), path=str(folder))
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while len(contents(folder)) < 3:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(how)
    assert process.communicate()[1].count("KeyboardInterrupt") == (how == signal.SIGINT)
    assert process.returncode != 0
    kept, model = contents(folder), Model()
    assert 3 <= len(kept) < 38
    table = collect(model, 100, path=folder)
    assert len(model.calls) == 38 - len(kept)
    assert contents(folder).items() >= kept.items()
    assert table.equals(collect(generate, 100, path=tmp_path / "undisturbed"))
    assert contents(folder) == contents(tmp_path / "undisturbed")


def test_a_read_only_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("Cannot write into the store.")

    table, model = collect(path=tmp_path), Model()
    monkeypatch.setattr(kleiber.sweeps.store.Folder, "claim", refuse)
    assert collect(model, path=tmp_path).equals(table)
    with pytest.raises(OSError, match="Cannot write into the store"):
        collect(model, 30, path=tmp_path)
    assert model.calls == []


def test_a_folder_that_cannot_be_made_is_refused_before_any_call(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    model = Model()
    with pytest.raises((OSError, BadTable)):
        collect(model, path=tmp_path / "file" / "attempts")
    assert model.calls == []
