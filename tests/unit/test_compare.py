"""compare: rolling origins, honest verdicts, and what is refused."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

import jaxtyping
import numpy as np
import polars as pl
import pytest
from scipy import stats

from kleiber import laws
from kleiber.errors import BadFormula, BadLaw, BadTable
from kleiber.fitting import origins as module
from kleiber.fitting import ratios
from kleiber.fitting.compare import Comparison, compare, describe_comparison
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.engine.problem import Problem
from kleiber.fitting.fit import fit
from kleiber.fitting.options import Options
from kleiber.fitting.origins import Errors, choose_origins
from kleiber.fitting.table_problem import pose_rows, read_measurements
from kleiber.law import Law, positive, real
from kleiber.laws import find

LEAST, PLAIN = Noise("log"), Noise("linear")
FLOOR, NO_FLOOR = "E + A*n**-alpha", "A*n**-alpha"
Table = dict[str, np.ndarray]


def floored(rows: int = 40, noise: float = 0.02, seed: int = 1) -> Table:
    """Runs of a power law with a floor."""
    rng = np.random.default_rng(seed)
    n = np.exp(rng.uniform(0, 6, rows))
    return {"n": n, "loss": (1.8 + 2 * n**-0.5) * np.exp(noise * rng.standard_normal(rows))}


@pytest.fixture(scope="module")
def made() -> Comparison:
    return compare([NO_FLOOR, FLOOR], floored(), beyond="n", noise=LEAST, draws=60)


# Verdicts


def test_the_right_law_wins_against_one_without_a_floor(made: Comparison) -> None:
    assert made.verdict == f"{FLOOR} extrapolates best"
    best, other = made.contenders
    assert (best.law, best.verdict, best.n_params) == (FLOOR, "best", 3)
    assert (other.law, other.verdict, other.n_params) == (NO_FLOOR, "worse", 2)
    assert best.error.value < other.error.value
    assert best.behind.value == best.behind.low == best.behind.high == 0.0
    assert best.ratio.value == best.ratio.low == best.ratio.high == 1.0
    assert other.behind.value == pytest.approx(other.error.value - best.error.value, rel=1e-12)
    assert other.ratio.value == pytest.approx(other.error.value / best.error.value, rel=1e-12)
    assert 1 < other.ratio.low < other.ratio.value < other.ratio.high
    for end in ("low", "high"):  # of the same interval
        wanted = best.error.value * (getattr(other.ratio, end) - 1)
        assert getattr(other.behind, end) == pytest.approx(wanted, rel=1e-12)
    assert best.error.low < best.error.value < best.error.high
    assert best.aicc < other.aicc - 10
    assert made.notes == ()
    assert made.beyond == "n"
    assert made.level == 0.95


def test_a_law_against_itself_cannot_be_told() -> None:
    """Under another name, and with its parameters named otherwise."""
    pairs = [[FLOOR, FLOOR], [FLOOR, "L + C*n**-gamma"], ["m2", "power_law_floor"]]
    table = floored()
    for pair in pairs:
        data = table if "n" in pair[0] else {"n_data": table["n"], "loss": table["loss"]}
        beyond = "n" if data is table else "n_data"
        two = compare(pair, data, beyond=beyond, noise=LEAST, draws=20, origins=[60.0])
        assert two.verdict.startswith("cannot tell ")
        assert two.contenders[1].verdict == "cannot tell"
        assert two.contenders[1].behind.value == pytest.approx(0, abs=1e-6)
        assert two.contenders[0].aicc == pytest.approx(two.contenders[1].aicc, rel=1e-9)


@pytest.mark.long
def test_two_laws_that_are_wrong_alike_are_not_told_apart() -> None:
    """The truth is symmetric in two columns; each law knows one. Of six tables (binomial, 5%
    each) at most two are told apart."""
    told = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        a, b = np.exp(rng.uniform(0, 6, (2, 40)))
        loss = (1.8 + a**-0.4 + b**-0.4) * np.exp(0.02 * rng.standard_normal(40))
        table = {"a": a, "b": b, "size": a * b, "loss": loss}
        pair = ["E + A*a**-alpha", "E + B*b**-beta"]
        cut = [float(np.median(a * b))]
        two = compare(
            pair, table, beyond="size", noise=LEAST, draws=40, origins=cut, level=0.95, seed=seed
        )
        told += two.contenders[1].verdict == "worse"
    assert told <= 2


def test_more_rivals_are_given_more_room() -> None:
    """Of k laws each interval is read at 1 - (1 - level)/(k (k - 1)/2): any pair may err."""
    table = floored(noise=0.05)
    asked: dict[str, Any] = {"beyond": "n", "noise": LEAST, "draws": 100, "origins": [20.0, 60.0]}
    pair = compare([FLOOR, NO_FLOOR], table, **asked)
    more = [FLOOR, NO_FLOOR, "E + A*n**-0.3", "E + A*n**-0.9"]
    four = compare(more, table, **asked)
    assert len(four.contenders) == 4
    for few, many in ((pair, four), (pair, pair)):
        assert few.level == many.level == 0.95
    widths = [
        np.log(item.ratio.high / item.ratio.low) / (item.ratio.stderr / item.ratio.value)
        for item in (pair.contenders[1], *four.contenders[1:])
    ]
    judges = np.mean([(table["n"] > cut).sum() for cut in (20.0, 60.0)])
    for width, pairs in zip(widths, (1, 6, 6, 6), strict=True):
        t = [stats.t.ppf(1 - 0.025 / pairs, n - 1) for n in (judges - 8, judges + 8)]
        most = max(m / (m - 3) for m in [(table["n"] <= cut).sum() for cut in (20.0, 60.0)])
        assert 2 * t[1] < width < 2 * t[0] * np.sqrt(most)
    assert min(widths[1:]) > max(widths[0], 2 * stats.norm.ppf(1 - 0.025 / 6))


def test_laws_are_ranked_by_their_error() -> None:
    four = compare(
        [NO_FLOOR, "E + A*n**-0.1", FLOOR, "E*(n/n)"],
        floored(),
        beyond="n",
        noise=LEAST,
        draws=20,
        origins=[20.0, 60.0],
    )
    values = [item.error.value for item in four.contenders]
    assert values == sorted(values)
    assert four.contenders[0].verdict == "best"
    assert {item.verdict for item in four.contenders[1:]} <= {"worse", "cannot tell"}


RISING = {  # accuracy of E - A/n_data**a with noise, which no falling power law can follow
    "n_data": [100, 187.381742, 351.119173, 657.933225, 1232.84674, 2310.1297, 4328.76128,
               8111.30831, 15199.1108, 28480.3587, 53366.9923, 100000],
    "acc": [0.303272496, 0.416325289, 0.514978812, 0.58942606, 0.650629223, 0.700090388,
            0.735428824, 0.770952643, 0.794780637, 0.825387406, 0.83410243, 0.845756425],
}  # fmt: skip


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.long
def test_a_law_that_is_far_worse_is_found_out_on_twelve_rows(seed: int) -> None:
    """Errors of about 0.5% and 34%, with intervals that do not overlap."""
    planted = "E - A/n_data**a"
    got = compare(
        ["power_law", planted], RISING, beyond="n_data", target="acc", draws=40, seed=seed
    )
    best, other = got.contenders
    assert (best.law, other.law, other.verdict) == (planted, "power_law", "worse")
    assert got.verdict == f"{planted} extrapolates best"
    assert best.error.high < other.error.low
    assert other.ratio.low > 2
    assert other.behind.low > 0


@pytest.mark.long
def test_three_times_worse_is_found_and_equally_wrong_is_not() -> None:
    """One exponent is too large by so much that errors are about three times larger; two are wrong
    by as much either way. Of 6 tables of 40 rows (binomial: 90% and 5%)."""
    found = told = 0
    for seed in range(6):
        rng = np.random.default_rng([seed, 3])
        n = np.exp(rng.uniform(0, 6, 40))
        table = {"n": n, "loss": (1.8 + 2 * n**-0.5) * np.exp(0.01 * rng.standard_normal(40))}
        asked: dict[str, Any] = {"beyond": "n", "noise": LEAST, "draws": 40, "seed": seed}
        asked["origins"] = np.quantile(n, [0.4, 0.7]).tolist()
        worse = compare([FLOOR, "E + A*n**-0.67"], table, **asked).contenders
        found += worse[1].verdict == "worse" and worse[0].law == FLOOR
        equal = compare(["E + A*n**-0.35", "E + A*n**-0.7"], table, **asked)
        told += equal.contenders[1].verdict == "worse"
    assert found >= 4
    assert told <= 1


def test_the_interval_of_the_difference_is_that_of_the_ratio() -> None:
    """So that it holds zero just where the verdict is "cannot tell"."""
    seen: set[str] = set()
    for noise in (0.005, 0.3):
        table = floored(rows=30, noise=noise)
        asked: dict[str, Any] = {"beyond": "n", "noise": LEAST, "origins": [20.0, 60.0]}
        best, other = compare([FLOOR, NO_FLOOR], table, draws=30, **asked).contenders
        seen.add(other.verdict)
        assert (other.verdict == "worse") == (other.behind.low > 0) == (other.ratio.low > 1)
        assert other.behind.low <= other.behind.value <= other.behind.high
        assert best.error.value * other.ratio.high == pytest.approx(
            best.error.value + other.behind.high, rel=1e-9
        )
    assert seen == {"worse", "cannot tell"}


@pytest.mark.long
def test_tables_without_noise() -> None:
    """Laws that are right to rounding are equal, whichever rounds better; others are worse."""
    n = np.geomspace(1, 400, 30)
    table = {"n": n, "loss": 1.8 + 2 * n**-0.5}
    forms = [FLOOR, "E + (n/c)**-alpha"]
    for noise, scale in ((LEAST, 1.0), (PLAIN, 1e6)):
        data = {**table, "loss": scale * table["loss"]}
        asked: dict[str, Any] = {"beyond": "n", "noise": noise, "origins": [20.0, 60.0]}
        got = compare([*forms, NO_FLOOR], data, draws=20, **asked)
        verdicts = {item.law: item.verdict for item in got.contenders}
        assert verdicts[NO_FLOOR] == "worse"
        assert {verdicts[law] for law in forms} == {"best", "cannot tell"}


# Ratios


ASKED = Options(noise=LEAST, draws=100)


@cache
def posed() -> Problem:
    """A law of two parameters on 30 rows."""
    law = find(NO_FLOOR, ["n"])
    return pose_rows(law, read_measurements(law, floored(rows=30), ASKED), ASKED)


def trial_of(logs: np.ndarray, points: np.ndarray, judges: float = 20.0) -> ratios.Trial:
    """Log errors of laws beyond origins, on resamples and on a table of 30 rows."""
    errors = Errors(np.exp(points), np.exp(logs))
    names = [f"law {k}" for k in range(len(logs))]
    each = np.full((2, logs.shape[1]), [[1e9], [judges]])
    return ratios.compare_errors(names, [posed()] * len(logs), errors, None, each, ASKED)


def test_origins_weigh_by_how_well_they_tell_laws_apart() -> None:
    """Spreads of 0.2, 0.4 and 0.8 of the log ratio: weights 16 : 4 : 1, and the interval is that of
    the weighted mean. What moves all laws alike says nothing."""
    rng = np.random.default_rng(0)
    draws = 4000
    apart = np.array([0.2, 0.4, 0.8])[:, None] * rng.standard_normal((3, draws))
    alike = 3 * rng.standard_normal((3, draws))
    logs = np.array([alike, alike + apart + np.array([[1.0], [0.5], [0.0]])])
    trial = trial_of(logs, logs.mean(axis=2))
    ratio = ratios.take_ratio(trial, 1, 0)
    assert np.log(ratio.value) == pytest.approx((16 + 4 * 0.5) / 21, abs=0.05)
    spread = np.sqrt((16 * 0.2) ** 2 + (4 * 0.4) ** 2 + 0.8**2) / 21
    assert ratio.stderr / ratio.value == pytest.approx(spread, rel=0.06)
    half = 0.5 * np.log(ratio.high / ratio.low)
    assert half == pytest.approx(stats.t.ppf(0.975, 19) * spread, rel=0.08)


def test_one_origin_gains_no_weight_from_laws_that_agree_there() -> None:
    """As where a parameter sits at its bound in most resamples: below a spread of 10% an origin
    gains no further weight."""
    rng = np.random.default_rng(0)
    apart = np.array([1e-9, 0.1])[:, None] * rng.standard_normal((2, 400))
    logs = np.array([np.zeros((2, 400)), apart + np.array([[0.0], [2.0]])])
    ratio = ratios.take_ratio(trial_of(logs, logs.mean(axis=2)), 1, 0)
    assert np.log(ratio.value) == pytest.approx(1.0, abs=0.1)


def test_percentiles_reach_farther_where_draws_are_skew() -> None:
    """And infinite draws reach as far as can be."""
    rng = np.random.default_rng(0)
    skew = rng.exponential(0.3, (1, 1000))
    logs = np.array([np.zeros((1, 1000)), skew])
    ratio = ratios.take_ratio(trial_of(logs, np.array([[0.0], [0.2]])), 1, 0)
    high = np.quantile(skew, 0.975)
    assert ratio.high == pytest.approx(np.exp(high), rel=0.01)
    assert np.log(ratio.low) == pytest.approx(0.2 - stats.t.ppf(0.975, 19) * 0.3, abs=0.06)
    logs[1, 0, :40] = np.inf
    ratio = ratios.take_ratio(trial_of(logs, np.array([[0.0], [0.2]])), 1, 0)
    assert ratio.high == np.inf
    assert math.isfinite(ratio.value)


@pytest.mark.long
def test_of_many_equal_laws_none_is_called_worse() -> None:
    """The best of six is chosen for its error: 300 tables of independent errors, of which 5% may
    err (binomial, four standard errors)."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(300):
        points = 0.3 * rng.standard_normal((6, 1))
        trial = trial_of(points[:, :, None] + 0.3 * rng.standard_normal((6, 1, 200)), points, 1e6)
        best = int(np.argmin(trial.points))
        wrong += any(ratios.take_ratio(trial, k, best).low > 1 for k in range(6) if k != best)
    assert wrong <= 300 * 0.05 + 4 * np.sqrt(300 * 0.05 * 0.95)


def test_few_rows_before_an_origin_widen_the_interval() -> None:
    """By sqrt(m/(m - p)), weighed as the origins are: p = 2, with m of 4 and of 10."""
    rng = np.random.default_rng(0)
    apart = np.array([[0.2], [0.4]]) * rng.standard_normal((2, 1000))
    logs = np.array([np.zeros((2, 1000)), apart])
    errors = Errors(np.exp(np.zeros((2, 2))), np.exp(logs))
    halves: list[float] = []
    for train in ([1e9, 1e9], [4, 10]):
        units = np.array([train, [20, 20]], float)
        trial = ratios.compare_errors(["a", "b"], [posed()] * 2, errors, None, units, ASKED)
        halves.append(float(np.log(ratios.take_ratio(trial, 1, 0).high)))
    wanted = np.sqrt((4 * 4 / 2 + 10 / 8) / 5)
    assert halves[1] / halves[0] == pytest.approx(wanted, rel=0.02)


# Steps


def test_steps_count_what_is_done() -> None:
    """The first comes before any fit, and counts rise to their totals."""
    seen: list[tuple[int, int, str]] = []
    asked: dict[str, Any] = {"beyond": "n", "noise": LEAST, "origins": [20.0, 60.0], "draws": 30}
    made = compare([FLOOR, NO_FLOOR], floored(), **asked, progress=lambda *told: seen.append(told))
    assert seen == [
        *((k, 4, "searches") for k in range(5)),
        *((done, 120, "refits") for done in (30, 60, 90, 120)),
    ]
    assert made == compare([FLOOR, NO_FLOOR], floored(), **asked)


def test_the_result_does_not_depend_on_how_the_work_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {"beyond": "n", "noise": LEAST, "origins": [60.0], "draws": 30}
    whole = compare([FLOOR, NO_FLOOR], floored(), **asked)
    monkeypatch.setattr(module, "CHUNK_ROWS", 40 * 7)
    parts = compare([FLOOR, NO_FLOOR], floored(), **asked)
    for one, two in zip(whole.contenders, parts.contenders, strict=True):
        assert one.ratio.low == pytest.approx(two.ratio.low, rel=1e-6)
        assert one.error.high == pytest.approx(two.error.high, rel=1e-6)


# Origins


def test_the_default_origins_are_quantiles(made: Comparison) -> None:
    n = np.sort(floored()["n"])
    wanted = np.quantile(n, [0.4, 0.5, 0.6, 0.7, 0.8], method="lower")
    np.testing.assert_array_equal(made.origins, wanted)


def test_origins_that_are_no_good_are_left_out() -> None:
    x = np.array([1.0, 1, 2, 3, 3, 3, 4, 5])
    assert choose_origins(x, [2.5, 3.5, 4.5, 5.0, 9.0, math.nan], 2) == (3.5, 4.5)
    assert choose_origins(x, None, 1) == (2.0, 3.0, 4.0)
    with pytest.raises(
        BadTable, match=r"no origin that leaves 9 rows to fit.*from 1 to 5 in 5 distinct"
    ):
        choose_origins(x, None, 7)


@pytest.mark.parametrize(
    "noise",
    [
        PLAIN,
        Noise("log", delta=0.01),
        *(pytest.param(noise, marks=pytest.mark.slow) for noise in (LEAST, Noise("log", dof=4.0))),
    ],
)
@pytest.mark.long
def test_the_error_is_that_of_fits_that_end_at_the_origins(noise: Noise) -> None:
    """A fit of the rows up to each origin by itself; its mean absolute residual beyond. An error
    is a geometric mean of those, with weights that all laws share."""
    table = pl.DataFrame(floored())
    cuts = (20.0, 60.0, 150.0)
    got = compare([FLOOR, NO_FLOOR], table, beyond="n", noise=noise, origins=cuts, draws=10)
    assert got.origins == cuts
    logs: list[list[float]] = []
    for item in got.contenders:
        misses: list[float] = []
        for cut in cuts:
            found = fit(item.law, table.filter(pl.col("n") <= cut), noise=noise, draws=0)
            far = table.filter(pl.col("n") > cut)
            value = found.predict(far)["predicted"].to_numpy()
            loss = far["loss"].to_numpy()
            if noise.scale == "log":
                value, loss = np.log(value), np.log(loss)
            misses.append(float(np.abs(value - loss).mean()))
        logs.append(np.log(misses).tolist())
        one = compare([item.law] * 2, table, beyond="n", noise=noise, origins=cuts[:1], draws=5)
        assert one.contenders[0].error.value == pytest.approx(misses[0], rel=1e-6)
    # two laws and weights of sum 1: two of the three weights are free, and two equations hold
    errors = np.log([item.error.value for item in got.contenders])
    share = np.linalg.solve(np.array([*logs, [1.0] * 3]), [*errors, 1.0])
    assert (share > 0).all()


def test_no_fit_sees_a_row_beyond_its_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, float]] = []
    inner = {"search": module.search, "minimise": module.minimise}

    def watch(name: str) -> Any:
        def run(problem: Problem, *given: Any, **options: Any) -> Any:
            seen.append((name, float(problem.columns["n"].max())))
            return inner[name](problem, *given, **options)  # pyright: ignore[reportCallIssue]

        return run

    def skip(problem: Problem, seed: int) -> float:
        return 0.0

    for name in inner:
        monkeypatch.setattr(module, name, watch(name))
    monkeypatch.setattr("kleiber.fitting.compare.corrected_aic", skip)  # of all rows, as it says
    cuts = (30.0, 100.0)
    compare([FLOOR, NO_FLOOR], floored(), beyond="n", noise=LEAST, origins=cuts, draws=5)
    assert {name for name, _ in seen} == {"search", "minimise"}
    assert len(seen) == 2 * 2 * 2
    for name in inner:
        for k, most in enumerate(most for kind, most in seen if kind == name):
            assert most <= cuts[k % 2]


def test_what_lies_beyond_changes_no_fit() -> None:
    """Losses beyond the only origin a thousand times larger: all errors move by their logarithm."""
    table = floored()
    far = table["n"] > 60
    moved = {**table, "loss": np.where(far, 1000.0, 1.0) * table["loss"]}
    one, two = (
        compare([FLOOR, NO_FLOOR], item, beyond="n", noise=LEAST, origins=[60.0], draws=20)
        for item in (table, moved)
    )
    for law in (FLOOR, NO_FLOOR):
        a, b = (next(c for c in item.contenders if c.law == law) for item in (one, two))
        found = fit(law, {k: v[~far] for k, v in table.items()}, noise=LEAST, draws=0)
        gap = np.log(found.law(n=table["n"][far], **found.params)) - np.log(table["loss"][far])
        assert a.error.value == pytest.approx(np.abs(gap).mean(), rel=1e-6)
        assert b.error.value == pytest.approx(np.abs(gap - np.log(1000)).mean(), rel=1e-6)


# Groups, formulas, files, other frames


@pytest.mark.long
def test_groups_are_resampled_whole() -> None:
    """Three copies of each run, by group, are as uncertain as the runs; by row far less."""
    table = pl.DataFrame(floored(rows=30)).with_row_index("run")
    copies = pl.concat([table] * 3)
    pair = [FLOOR, NO_FLOOR]
    asked: dict[str, Any] = {"beyond": "n", "noise": LEAST, "origins": [20.0, 60.0]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the copies, which are duplicates
        grouped = compare(pair, copies, draws=60, by="run", **asked)
        single = compare(pair, copies, draws=60, **asked)
    alone = compare(pair, table, draws=60, **asked)
    spreads = [item.contenders[1].behind.stderr for item in (alone, grouped, single)]
    assert spreads[1] == pytest.approx(spreads[0], rel=0.01)  # draws end within a tolerance
    assert spreads[2] < 0.7 * spreads[1]


def test_few_groups_are_noted_and_still_compared() -> None:
    """Fewer groups than parameters: a group is worth one degree of freedom, as in a fit."""
    table = {**floored(), "run": np.arange(40) % 4}
    got = compare(
        [FLOOR, NO_FLOOR], table, beyond="n", noise=LEAST, by="run", draws=50, origins=[60.0]
    )
    assert any("Only 4 groups in 'run'" in note for note in got.notes)
    assert got.contenders[0].error.low < got.contenders[0].error.high
    alone = compare(
        [FLOOR, NO_FLOOR],
        {**table, "run": np.zeros(40)},
        beyond="n",
        noise=LEAST,
        by="run",
        draws=20,
        origins=[60.0],
    )
    assert any("1 groups in 'run' are too few to resample" in note for note in alone.notes)
    assert math.isnan(alone.contenders[1].behind.low)
    assert alone.contenders[1].verdict == "cannot tell"


@pytest.mark.long
def test_resamples_that_leave_one_side_bare_count_for_nothing() -> None:
    """One row beyond the only origin: a third of the resamples do not hold it. No warning, no
    zero error."""
    table = floored(rows=20)
    cut = np.sort(table["n"])[-2]
    got = compare([FLOOR, NO_FLOOR], table, beyond="n", noise=LEAST, origins=[cut], draws=60)
    assert got.notes == ("One origin only: the ranking rests on a single split.",)
    for item in got.contenders:
        assert item.error.low > 0
        assert math.isfinite(item.error.high)
    table = {**floored(rows=20), "run": (np.argsort(np.argsort(floored(rows=20)["n"])) > 9) * 1}
    got = compare([FLOOR, NO_FLOOR], table, beyond="n", noise=LEAST, by="run", draws=60)
    assert all(math.isfinite(item.error.value) for item in got.contenders)


def test_laws_of_any_kind_are_compared_by_name() -> None:
    table = {"n_data": floored()["n"], "loss": floored()["loss"]}
    twice = [laws.power_law, "power_law", "A*n_data**-alpha", "A/n_data**alpha"]
    got = compare(twice, table, beyond="n_data", noise=LEAST, draws=5, origins=[60.0])
    names = {item.law for item in got.contenders}
    assert names == {"power_law (1)", "power_law (2)", "A*n_data**-alpha", "A/n_data**alpha"}


@Law
def bare(n: Any, *, A: Any = positive(0.1, 100), alpha: Any = positive(0.05, 2)) -> Any:
    """A power law."""
    return A * n**-alpha


@Law
def untraced(n: Any, *, A: Any = positive(0.1, 100), alpha: Any = positive(0.05, 2)) -> Any:
    """The same, written so that it cannot be traced."""
    return A * np.exp(-alpha * np.where(n > 0, np.log(n), 0.0))


def test_a_law_that_cannot_be_traced_is_compared_too() -> None:
    assert untraced.expr is None
    table = floored(rows=30)
    got = compare([bare, untraced], table, beyond="n", noise=LEAST, draws=10, origins=[50.0])
    one, two = got.contenders
    assert one.error.value == pytest.approx(two.error.value, rel=1e-6)
    assert one.error.stderr == pytest.approx(two.error.stderr, rel=1e-4)


def test_the_same_seed_gives_the_same_comparison(made: Comparison) -> None:
    pair = [NO_FLOOR, FLOOR]
    frame = pl.DataFrame(floored()).to_pandas()  # nor does the kind of frame matter
    assert compare(pair, frame, beyond="n", noise=LEAST, draws=60) == made
    other = compare(pair, floored(), beyond="n", noise=LEAST, draws=20, seed=1)
    assert other.contenders[1].behind.low != made.contenders[1].behind.low


# Laws that fail beyond


@Law
def falling(n: Any, *, a: Any = real(0, 5), b: Any = real(0, 1)) -> Any:
    """A line in log n, which becomes negative."""
    return a - b * np.log(n)


def steep() -> Table:
    """Runs whose beginning is steep: a line in log n drawn through it ends below zero."""
    rng = np.random.default_rng(0)
    n = np.exp(np.linspace(0, 9, 40))
    return {"n": n, "loss": (0.1 + 3 * n**-0.7) * np.exp(0.01 * rng.standard_normal(40))}


def test_a_prediction_below_zero_is_infinitely_wrong_on_logarithms() -> None:
    got = compare([falling, FLOOR], steep(), beyond="n", noise=LEAST, draws=50, origins=[60.0])
    best, other = got.contenders
    assert best.law == FLOOR
    assert got.verdict == f"{FLOOR} extrapolates best"
    assert other.error.value == other.behind.value == other.behind.high == math.inf
    assert other.behind.low > 0
    assert other.ratio.value == other.ratio.high == math.inf
    assert any("falling: infinite error" in note for note in got.notes)
    text = describe_comparison(got)
    assert text["laws"][1]["error"]["value"] is None
    plain = compare([falling, FLOOR], steep(), beyond="n", noise=PLAIN, draws=5, origins=[60.0])
    assert all(math.isfinite(item.error.value) for item in plain.contenders)


def test_two_laws_that_fail_alike_cannot_be_told() -> None:
    got = compare([falling, falling], steep(), beyond="n", noise=LEAST, draws=20, origins=[60.0])
    assert got.verdict == "cannot tell falling (1) from falling (2)"
    assert all(item.error.value == math.inf for item in got.contenders)


# AICc


def test_aicc_is_that_of_least_squares() -> None:
    """n log(RSS/n) + 2k + 2k(k+1)/(n-k-1) with k = 3: two parameters and the variance."""
    table = floored()
    line = np.stack([np.ones(40), -np.log(table["n"])], axis=1)
    rss = np.linalg.lstsq(line, np.log(table["loss"]), rcond=None)[1][0]
    wanted = 40 * np.log(rss / 40) + 6 + 24 / 36
    for noise in (LEAST, Noise("log", delta=1e-3)):
        got = compare([NO_FLOOR, FLOOR], table, beyond="n", noise=noise, draws=5, origins=[60.0])
        value = next(item.aicc for item in got.contenders if item.law == NO_FLOOR)
        assert value == pytest.approx(wanted, rel=1e-9)


def test_aicc_needs_rows_to_spare() -> None:
    x = np.arange(1.0, 6.0)
    table = {"n": x, "loss": 1 + 1 / x}
    got = compare(["A*n**-1 + 0*c", NO_FLOOR], table, beyond="n", origins=[4.0], draws=5)
    by_name = {item.law: item for item in got.contenders}
    assert math.isfinite(by_name[NO_FLOOR].aicc)
    text = describe_comparison(got)
    assert {item["law"] for item in text["laws"]} == set(by_name)


# Documents and refusals


def test_the_document(made: Comparison) -> None:
    text: Mapping[str, Any] = describe_comparison(made)
    assert set(text) == {"beyond", "origins", "level", "verdict", "laws", "notes"}
    assert [item["law"] for item in text["laws"]] == [FLOOR, NO_FLOOR]
    first = text["laws"][1]
    assert set(first) == {"law", "n_params", "error", "aicc", "behind", "ratio", "verdict"}
    assert set(first["behind"]) == set(first["ratio"]) == {"value", "low", "high"}
    assert first["behind"]["low"] == made.contenders[1].behind.low


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"laws": [FLOOR]}, r"a list of at least two laws, got 1"),
        ({"laws": []}, r"a list of at least two laws, got 0"),
        ({"laws": FLOOR}, r"a list of at least two laws, got 'E \+ A\*n\*\*-alpha'"),
        ({"laws": [FLOOR, "chinchila"]}, r"No law is called 'chinchila'. Did you mean"),
        ({"laws": [FLOOR, "E +* n"]}, r"Cannot read the formula"),
        ({"laws": [FLOOR, "E + A*m**-alpha"]}, r"No symbol of .* is a column"),
        ({"laws": [FLOOR, "chinchilla"]}, r"n_params"),
        ({"beyond": "N"}, r"no column 'N' to extrapolate along; the table has n, loss, name"),
        ({"beyond": "name"}, r"name"),
        ({"target": "los"}, r"los"),
        ({"by": "run"}, r"No column 'run' to group by"),
        ({"origins": [1e9]}, r"no origin that leaves 5 rows to fit and any row beyond"),
        ({"origins": []}, r"no origin that leaves 5 rows"),
        ({"draws": 1}, r"draws must be a whole number from 2, got 1"),
        ({"draws": -3}, r"draws must be a whole number from 2, got -3"),
        ({"level": 95.0}, r"level must lie between 0 and 1, got 95"),
        ({"seed": -1}, r"seed must be a whole number from 0"),
    ],
)
def test_questions_that_are_refused(change: dict[str, Any], message: str) -> None:
    table = {**floored(), "name": np.array(["run"] * 40)}
    asked: dict[str, Any] = {"laws": [FLOOR, NO_FLOOR], "beyond": "n", **change}
    with pytest.raises((BadTable, BadLaw, BadFormula, ValueError), match=message):
        compare(asked.pop("laws"), table, noise=LEAST, **asked)


def test_too_few_rows_are_refused() -> None:
    table = {name: x[:5] for name, x in floored().items()}
    with pytest.raises(BadTable, match=r"no origin that leaves 5 rows to fit"):
        compare([FLOOR, NO_FLOOR], table, beyond="n")
    table = {name: x[:2] for name, x in floored().items()}
    with pytest.raises(BadTable, match=r"has 3 free parameters and the table has only 2 rows"):
        compare([FLOOR, NO_FLOOR], table, beyond="n")
    same = {**floored(), "n": np.full(40, 3.0)}
    with pytest.raises(BadTable, match=r"runs from 3 to 3 in 1 distinct values"):
        compare([FLOOR, NO_FLOOR], same, beyond="n")


def test_origins_left_out_are_noted() -> None:
    got = compare(
        [FLOOR, NO_FLOOR], floored(), beyond="n", noise=LEAST, origins=[1.5, 60, 1e9], draws=5
    )
    assert got.origins == (60.0,)
    assert "Too few rows up to, or none beyond, 1.5, 1e+09: left out." in got.notes


def test_the_old_order_is_understood_for_one_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # no user has these checks
    verb: Any = compare
    with pytest.warns(FutureWarning, match="laws come first now"):
        old = verb(floored(), [FLOOR, NO_FLOOR], beyond="n", noise=LEAST, draws=5)
    assert old == compare([FLOOR, NO_FLOOR], floored(), beyond="n", noise=LEAST, draws=5)
