"""Two models on the same problems: the paired difference of pass@k and its simultaneous band."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import kleiber
from kleiber import BadTable
from kleiber.cli import main


def counts(successes: list[int], attempts: int = 50) -> pl.DataFrame:
    n = len(successes)
    return pl.DataFrame({"problem": range(n), "attempts": [attempts] * n, "successes": successes})


def pair(gain: int, problems: int = 60) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Problems of very different difficulty; B has a few more successes at each but some."""
    rng = np.random.default_rng(1)
    first = rng.binomial(50, rng.beta(0.4, 1.0, problems))
    more = np.clip(first + gain + rng.integers(-1, 2, problems), 0, 50)
    return counts(first.tolist()), counts(more.tolist())


def test_the_difference_at_one_attempt_is_that_of_success_rates() -> None:
    a, b = pair(2)
    row = kleiber.compare_counts(a, b, k=[1]).table.row(0, named=True)
    each = (b["successes"] - a["successes"]).to_numpy() / 50
    assert row["difference"] == pytest.approx(each.mean())
    assert row["difference_stderr"] == pytest.approx(each.std(ddof=1) / np.sqrt(60))
    assert row["b"] - row["a"] == pytest.approx(row["difference"])


def test_the_paired_band_finds_what_separate_intervals_do_not() -> None:
    a, b = pair(2)
    made = kleiber.compare_counts(a, b)
    alone = [kleiber.reduce.find("pass-at-k")(t, k=[1]).row(0, named=True) for t in (a, b)]
    assert alone[0]["pass_at_k_high"] > alone[1]["pass_at_k_low"]
    assert made.table["better"][0] == "b"
    assert made.notes[-1].startswith("B is better at k = 1 to ")


def test_swapping_the_models_changes_the_sign_alone() -> None:
    a, b = pair(2)
    one, other = kleiber.compare_counts(a, b), kleiber.compare_counts(b, a)
    np.testing.assert_allclose(one.table["difference"], -other.table["difference"])
    np.testing.assert_allclose(one.table["difference_low"], -other.table["difference_high"])
    assert set(other.table["better"]) <= {"a", ""}


def test_the_band_over_many_k_is_wider_than_that_of_one() -> None:
    a, b = pair(1)
    one, many = kleiber.compare_counts(a, b, k=[1]), kleiber.compare_counts(a, b)
    assert many.critical > one.critical > 1.9


def test_problems_of_one_model_alone_are_left_out_and_counted() -> None:
    a, b = pair(2)
    made = kleiber.compare_counts(a.head(50), b.tail(55).sample(fraction=1, shuffle=True, seed=0))
    assert made.problems == 45
    assert made.notes[0].startswith("5 problems of A and 10 of B are left out")
    with pytest.raises(BadTable, match="got 5"):
        kleiber.compare_counts(a.head(5), b)


def test_equal_models_are_not_told_apart() -> None:
    a, _ = pair(0)
    made = kleiber.compare_counts(a, a)
    assert made.table["difference"].abs().max() == 0
    assert made.table["difference_low"].null_count() == made.table.height
    assert any("no band" in note for note in made.notes)


def test_two_models_in_a_table_are_refused() -> None:
    a, b = pair(2)
    two = pl.concat([a.with_columns(model=pl.lit("x")), a.with_columns(model=pl.lit("y"))])
    with pytest.raises(BadTable, match="holds 2 models"):
        kleiber.compare_counts(two, b)
    with pytest.raises(BadTable, match="pass@51"):
        kleiber.compare_counts(a, b, k=[51])


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def code(*words: str | Path) -> int | str | None:
        monkeypatch.setattr(sys, "argv", ["kleiber", "counts", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code

    files = tmp_path / "a.csv", tmp_path / "b.csv"
    for table, file in zip(pair(2), files, strict=True):
        table.write_csv(file)
    assert code(files[0], "--against", files[1], "--k", "1,5", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["k"] for row in document["rows"]] == [1, 5]
    assert document["problems"] == 60
    assert code(files[0], "--against", files[1]) == 0
    assert "B is better at k = 1 to" in capsys.readouterr().out
    assert code(files[0], "--against", files[1], "--along", "n_tokens") == 2
    assert "no --along" in capsys.readouterr().err
