"""Rows of attempts added up by problem, and the errors of pass@k in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import special, stats

import kleiber
from kleiber.attempts.counts import pass_at_k
from kleiber.attempts.errors import failure_of, mean_failure, share_interval
from kleiber.attempts.table import read_counts
from kleiber.errors import BadTable

RNG = np.random.default_rng(11)
WON = RNG.binomial(30, RNG.beta(0.5, 2, 40))
WHOLE = pl.DataFrame({"problem": np.arange(40), "attempts": 30, "successes": WON})
SINGLE = pl.DataFrame(
    {
        "problem": np.repeat(np.arange(40), 30),
        "successes": np.concatenate([np.arange(30) < won for won in WON]),
    }
).sample(fraction=1.0, shuffle=True, seed=0)


@pytest.mark.parametrize(
    "rows",
    [
        SINGLE,
        SINGLE.with_columns(pl.col("successes").cast(pl.Int64)),
        SINGLE.with_columns(pl.col("successes").cast(pl.Int64), attempts=1),
        SINGLE.with_columns(pl.col("successes").cast(pl.String)),
        SINGLE.with_columns(pl.col("successes").cast(pl.String).str.to_titlecase()),
        pl.concat([WHOLE.with_columns(attempts=n, successes=pl.col("successes").clip(*ends) - low)
                   for n, ends, low in ((12, (0, 12), 0), (18, (12, 30), 12))]),
    ],
)  # fmt: skip
def test_rows_of_attempts_add_up_to_the_counts(rows: pl.DataFrame) -> None:
    whole = read_counts(WHOLE)
    made = read_counts(rows, sum_by="problem")
    order = np.argsort(made.labels["problem"].to_numpy())  # type: ignore[index]
    np.testing.assert_array_equal(made.successes[order], whole.successes)
    np.testing.assert_array_equal(made.attempts[order], whole.attempts)


def test_chunks_add_up_in_groups_of_model_and_along_a_column() -> None:
    parts = [
        WHOLE.with_columns(
            attempts=pl.lit(n), successes=pl.min_horizontal("successes", n), model=pl.lit(name),
            n_tokens=pl.lit(tokens), chunk=pl.lit(n),
        )
        for name in ("x", "y") for tokens in (1e9, 1e10, 1e11) for n in (10, 20)
    ]  # fmt: skip
    rows = pl.concat(parts)
    made = kleiber.fit_counts(rows, sum_by="problem", along="n_tokens")
    assert len(made.groups) == 6
    assert (made.counts.attempts == 30).all()
    assert set(made.trend) == {"x", "y"}
    assert not any("added up" in note for note in made.notes)
    mixed = kleiber.fit_counts(rows, sum_by="problem")
    assert (mixed.counts.attempts == 90).all()
    assert "differ in n_tokens were added up" in mixed.notes[0]
    with pytest.warns(UserWarning, match="--by n_tokens"):
        pass_at_k(rows, 1, sum_by="problem")


def test_fits_and_reductions_are_those_of_the_whole() -> None:
    one, two = kleiber.fit_counts(WHOLE), kleiber.fit_counts(SINGLE, sum_by="problem")
    assert two.params == pytest.approx(one.params, rel=1e-6)
    first, second = pass_at_k(WHOLE, [1, 10]), pass_at_k(SINGLE, [1, 10], sum_by="problem")
    np.testing.assert_allclose(first["pass_at_k_stderr"], second["pass_at_k_stderr"])
    each = pass_at_k(SINGLE, 1, sum_by="problem", per_problem=True)
    assert each.sort("problem")["pass_at_k"].to_list() == pytest.approx((WON / 30).tolist())


def test_other_columns_may_tell_problems_apart() -> None:
    named = SINGLE.rename({"problem": "task_id"})
    assert len(read_counts(named, sum_by="task_id").attempts) == 40
    two = pl.concat([SINGLE.with_columns(source=pl.lit(s)) for s in ("a", "b")])
    made = read_counts(two, sum_by=["problem", "source"])
    assert len(made.attempts) == 80
    assert (made.attempts == 30).all()


def test_a_stopped_part_marks_the_whole() -> None:
    rows = {"problem": [1, 1, 2, 2], "attempts": [5, 5, 5, 5], "successes": [1, 2, 0, 3],
            "stopped": [True, False, False, False]}  # fmt: skip
    assert read_counts(rows, sum_by="problem").stopped.tolist() == [True, False]


@pytest.mark.parametrize(
    ("rows", "options", "says"),
    [
        (SINGLE, {}, "no column 'attempts'. If each row is one attempt.*--sum-by problem"),
        (SINGLE.with_columns(attempts=1), {}, "occurs 30 times.*--by COLUMN.*--sum-by problem"),
        (
            WHOLE.drop("attempts"),
            {"sum_by": "problem"},
            "more successes than attempts",
        ),
        (SINGLE, {"sum_by": "task"}, "no column 'task'"),
        (
            SINGLE.with_columns(successes=pl.Series(["true"] * 1199 + ["maybe"])),
            {"sum_by": "problem"},
            "true and false for single attempts; it holds 'maybe' in row 1200 of 1200",
        ),
        (SINGLE.with_columns(successes=pl.lit("x")), {"sum_by": "problem"}, "holds text: 'x'"),
        (
            SINGLE.with_columns(successes=pl.lit(None, pl.Boolean)),
            {"sum_by": "problem"},
            "'successes' has a missing value",
        ),
    ],
)
def test_what_cannot_be_added_up_is_one_sentence(
    rows: pl.DataFrame, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(BadTable, match=says):
        read_counts(rows, **options)


def spreads_of(
    k: list[float], fixed: bool, n: int = 12, problems: int = 30
) -> tuple[np.ndarray, np.ndarray]:
    """For each k the standard deviation of simulated pass@k, and the root mean square of the
    stated errors."""
    rng = np.random.default_rng(1 + fixed)
    same_p = rng.beta(0.6, 2, problems)
    values, errors = list[np.ndarray](), list[np.ndarray]()
    for _ in range(1500):
        p = same_p if fixed else rng.beta(0.6, 2, problems)
        made = mean_failure(
            np.full(problems, float(n)), rng.binomial(n, p) * 1.0, np.array(k), 0.95
        )
        values.append(made.mean)
        errors.append((made.fixed if fixed else made.stderr) ** 2)
    return np.std(values, axis=0), np.sqrt(np.mean(errors, axis=0))


def test_the_error_is_that_of_fresh_problems() -> None:
    spread, stated = spreads_of([1.0, 5.0, 12.0], fixed=False)
    assert stated == pytest.approx(spread, rel=0.06)


def test_the_fixed_error_is_that_of_new_attempts_at_these_problems() -> None:
    spread, stated = spreads_of([1.0, 3.0, 6.0], fixed=True)
    assert stated == pytest.approx(spread, rel=0.06)


def test_the_fixed_error_needs_twice_the_attempts() -> None:
    made = pass_at_k(WHOLE, [1, 15, 16])
    assert made["pass_at_k_stderr_fixed"].is_null().to_list() == [False, False, True]
    assert made["pass_at_k_stderr_fixed"][0] < made["pass_at_k_stderr"][0]


def test_the_closed_form_is_where_the_bootstrap_goes() -> None:
    closed, drawn = pass_at_k(WHOLE, [1, 10]), pass_at_k(WHOLE, [1, 10], draws=20_000)
    for name in ("pass_at_k", "failure", "neg_log_pass"):
        np.testing.assert_allclose(closed[f"{name}_stderr"], drawn[f"{name}_stderr"], rtol=0.08)
        for end in ("low", "high"):
            np.testing.assert_allclose(closed[f"{name}_{end}"], drawn[f"{name}_{end}"], rtol=0.2)


def test_one_problem_has_no_error_and_no_interval() -> None:
    with pytest.warns(UserWarning, match="164 attempts at one problem"):
        made = pass_at_k({"problem": [0], "attempts": [164], "successes": [50]}, [1, 10])
    assert made["pass_at_k"].to_list() == pytest.approx([50 / 164, 0.976786], abs=1e-6)
    for name in ("pass_at_k", "failure", "neg_log_pass"):
        for part in ("stderr", "low", "high"):
            assert made[f"{name}_{part}"].null_count() == 2
    assert made["why"].to_list() == ["One problem has no spread over problems."] * 2
    drawn = pass_at_k({"problem": [0], "attempts": [9], "successes": [5]}, 1, draws=50)
    assert drawn["failure_low"].null_count() == 1


def test_equal_problems_have_no_spread() -> None:
    made = pass_at_k({"problem": [0, 1, 2], "attempts": [10] * 3, "successes": [4] * 3}, 1)
    assert made["pass_at_k_stderr"].null_count() == made["pass_at_k_low"].null_count() == 1
    assert made["why"][0] == "All 3 problems have the same estimate."
    assert made["pass_at_k_stderr_fixed"][0] == pytest.approx(np.sqrt(3 * 0.24 / 9) / 3)


def test_intervals_of_single_attempts_are_clopper_and_pearsons_with_students_t() -> None:
    won = np.repeat([1.0, 0.0], [30, 70])
    made = mean_failure(np.ones(100), won, np.ones(1), 0.95)
    exact = stats.binomtest(70, 100).proportion_ci()
    assert (made.low[0], made.high[0]) == pytest.approx((exact.low, exact.high), abs=2e-3)
    none = share_interval(np.zeros((20, 1)), 0.9)
    assert none[0][0] == 0
    assert none[1][0] == pytest.approx(1 - 0.05 ** (1 / 20))


@pytest.mark.parametrize(("a", "b"), [(0.3, 10), (0.5, 0.5), (2, 2), (300, 300)])
@pytest.mark.parametrize("problems", [5, 40])
@pytest.mark.parametrize("k", [1, 10])
def test_intervals_cover(a: float, b: float, problems: int, k: int) -> None:
    rng = np.random.default_rng(problems)
    truth = np.exp(special.betaln(a, b + k) - special.betaln(a, b))
    won = rng.binomial(20, rng.beta(a, b, (problems, 400)))
    each = failure_of(np.full(won.shape, 20.0), won * 1.0, np.full(won.shape, k * 1.0))
    low, high = share_interval(each, 0.95)
    assert ((low <= truth) & (truth <= high)).mean() > 0.92


def test_levels_are_checked() -> None:
    with pytest.raises(BadTable, match="between 0 and 1, got 95"):
        pass_at_k(WHOLE, 1, level=95)
