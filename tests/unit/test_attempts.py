"""Counts of attempts: what is read, what is refused, and the unbiased pass@k."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import polars as pl
import pytest

from kleiber.attempts.counts import check_draws, pass_at_k
from kleiber.attempts.errors import failure_of
from kleiber.attempts.table import read_counts
from kleiber.errors import BadTable


def table(**changes: object) -> dict[str, object]:
    return {
        "problem": ["p", "q", "r", "s"],
        "attempts": [10, 10, 10, 10],
        "successes": [0, 3, 10, 1],
        **changes,
    }


def test_one_problem_is_the_published_value() -> None:
    made = pass_at_k({"problem": [1], "attempts": [10], "successes": [3]}, 5)
    assert made["pass_at_k"][0] == pytest.approx(0.9166667, abs=1e-7)
    assert made["failure"][0] == pytest.approx(1 / 12, abs=1e-15)


def test_it_is_the_share_of_subsets_without_a_success() -> None:
    n, c = 7, 2
    outcomes = [1] * c + [0] * (n - c)
    for k in range(1, n + 1):
        subsets = list(itertools.combinations(outcomes, k))
        none = sum(not any(item) for item in subsets) / len(subsets)
        assert failure_of(np.array(7.0), np.array(2.0), np.array(float(k))) == pytest.approx(none)


def test_observables_have_columns_of_their_own() -> None:
    made = pass_at_k(table(), [1, 5, 10])
    assert made["k"].to_list() == [1, 5, 10]
    np.testing.assert_allclose(made["failure"], 1 - made["pass_at_k"], atol=1e-15)
    np.testing.assert_allclose(made["neg_log_pass"], -np.log(made["pass_at_k"]))
    assert (made["failure"] != made["neg_log_pass"]).all()
    for name in ("pass_at_k", "failure", "neg_log_pass"):
        low, high = made[f"{name}_low"], made[f"{name}_high"]
        assert (low <= made[name]).all()
        assert (made[name] <= high).all()
        assert (made[f"{name}_stderr"] > 0).all()


def test_errors_are_those_of_a_mean_over_problems() -> None:
    rng = np.random.default_rng(0)
    successes = rng.binomial(50, rng.beta(0.5, 3, 400))
    counts = {"problem": np.arange(400), "attempts": np.full(400, 50), "successes": successes}
    made = pass_at_k(counts, 5, draws=4000)
    each = 1 - failure_of(np.full(400, 50.0), successes.astype(float), np.full(400, 5.0))
    assert made["pass_at_k_stderr"][0] == pytest.approx(each.std(ddof=1) / 20, rel=0.05)


def test_groups_come_from_the_model_or_from_by() -> None:
    both = table(problem=[1, 2, 1, 2], model=["x", "x", "y", "y"], size=[1, 1, 1, 2])
    assert pass_at_k(both, 1)["model"].to_list() == ["x", "y"]
    assert pass_at_k(both, 1, by=["model", "size"])["problems"].to_list() == [2, 1, 1]
    assert read_counts(both, ["size", "model"]).names == ("1, x", "1, y", "2, y")
    assert read_counts(both, ["model"]).names == ("x", "y")


def test_names_leave_out_columns_that_tell_nothing_apart() -> None:
    both = table(problem=[1, 2, 1, 2], model=["x", "x", "y", "y"], size=[1, 1, 2, 2])
    assert read_counts(both, ["model", "size"]).names == ("x", "y")


def test_ks_go_up_to_the_fewest_attempts_by_default() -> None:
    assert pass_at_k(table(attempts=[100, 120, 1000, 100]))["k"].to_list() == [1, 10, 100]


def test_each_problem_on_its_own() -> None:
    made = pass_at_k(table(), [1, 2], per_problem=True)
    assert made.height == 8
    assert made.filter(pl.col("k") == 1)["pass_at_k"].to_list() == pytest.approx([0, 0.3, 1, 0.1])


@pytest.mark.parametrize(("successes", "value"), [(0, 0.0), (10, 1.0)])
def test_no_variation_between_problems_still_leaves_an_interval(
    successes: int, value: float
) -> None:
    made = pass_at_k(table(successes=[successes] * 4), [1, 10])
    assert made["pass_at_k"].to_list() == [value, value]
    width = made["pass_at_k_high"] - made["pass_at_k_low"]
    np.testing.assert_allclose(width, 1 - 0.025**0.25)
    if value == 0:
        assert made["neg_log_pass"].to_list() == [np.inf, np.inf]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"successes": [0, 3, 11, 1]}, "'r' there are more successes than attempts.*row 3 of 4"),
        ({"successes": [0, -3, 1, 1]}, "'q' successes are negative: -3"),
        ({"successes": [0, 0.5, 1, 1]}, "not a whole number"),
        ({"attempts": [0, 10, 10, 10]}, "'p' attempts are below 1"),
        ({"attempts": [None, 10, 10, 10]}, "'attempts' has a missing value"),
        ({"problem": ["p", "q", "p", "s"]}, "'p' occurs 2 times; name the columns"),
        ({"problem": ["p", None, "r", "s"]}, "'problem' has a missing value"),
        ({"stopped": ["yes", "no", "no", "no"]}, "'stopped' must hold true or false"),
        ({"stopped": [True, False, False, False]}, "1 of 4 rows stopped.*fit_counts"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(changes: dict[str, object], says: str) -> None:
    with pytest.raises(BadTable, match=says):
        pass_at_k(table(**changes), 1)


def test_a_missing_column_is_named_with_its_likely_self() -> None:
    with pytest.raises(BadTable, match=r"no column 'attempts'.*Did you mean 'n'"):
        pass_at_k({"problem": [1], "n": [10], "successes": [3]}, 5)


@pytest.mark.parametrize(
    ("k", "says"), [(11, "from 10 attempts.*fit_counts"), (0, "from 1; got 0")]
)
def test_impossible_k_is_refused(k: int, says: str) -> None:
    with pytest.raises(BadTable, match=says):
        pass_at_k(table(), k)


@pytest.mark.parametrize("draws", [-1, 0, 1, 1.5, True])
def test_an_error_needs_two_draws(draws: Any) -> None:
    with pytest.raises(BadTable, match="draws must be a whole number from 2, got"):
        check_draws(draws, least=2)
    with pytest.raises(BadTable, match="from 2, got 1"):
        pass_at_k(table(), 1, draws=1)
    assert (pass_at_k(table(), 1, draws=2)["pass_at_k_stderr"] > 0).all()


def test_attempts_that_look_stopped_are_refused_until_said_not_to_be() -> None:
    looks = table(attempts=[10, 4, 2, 7], successes=[0, 1, 1, 1])
    with pytest.raises(BadTable, match="stop on success"):
        pass_at_k(looks, 1)
    assert pass_at_k(looks, 1, stopped=False).height == 1
    with pytest.raises(BadTable, match="4 of 4 rows"):
        pass_at_k(looks, 1, stopped=True)
