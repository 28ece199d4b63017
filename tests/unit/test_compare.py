"""compare: rolling origins, honest verdicts, and what is refused."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from kleiber import laws
from kleiber.errors import BadFormula, BadLaw, BadTable
from kleiber.fitting import origins as module
from kleiber.fitting.compare import Comparison, compare, compare_steps, describe_comparison
from kleiber.fitting.fit import fit
from kleiber.fitting.noise import Noise
from kleiber.fitting.origins import choose_origins, measure_errors
from kleiber.fitting.problem import Problem
from kleiber.law import Law, positive, real

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
    return compare(floored(), [NO_FLOOR, FLOOR], beyond="n", noise=LEAST, draws=60)


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
        two = compare(data, pair, beyond=beyond, noise=LEAST, draws=20, origins=[60.0])
        assert two.verdict.startswith("cannot tell ")
        assert two.contenders[1].verdict == "cannot tell"
        assert two.contenders[1].behind.value == pytest.approx(0, abs=1e-6)
        assert two.contenders[0].aicc == pytest.approx(two.contenders[1].aicc, rel=1e-9)


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
            table, pair, beyond="size", noise=LEAST, draws=40, origins=cut, level=0.95, seed=seed
        )
        told += two.contenders[1].verdict == "worse"
    assert told <= 2


def test_more_rivals_are_given_more_room() -> None:
    """Of k laws each interval is read at 1 - (1 - level)/(k (k - 1)/2): any pair may err."""
    table = floored(noise=0.05)
    asked: dict[str, Any] = {"beyond": "n", "noise": LEAST, "draws": 100, "origins": [20.0, 60.0]}
    pair = compare(table, [FLOOR, NO_FLOOR], **asked)
    more = [FLOOR, NO_FLOOR, "E + A*n**-0.3", "E + A*n**-0.9"]
    four = compare(table, more, **asked)
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
        assert 2 * t[1] < width < 2 * t[0]
    assert min(widths[1:]) > max(widths[0], 2 * stats.norm.ppf(1 - 0.025 / 6))


def test_laws_are_ranked_by_their_error() -> None:
    four = compare(
        floored(),
        [NO_FLOOR, "E + A*n**-0.1", FLOOR, "E*(n/n)"],
        beyond="n",
        noise=LEAST,
        draws=20,
        origins=[20.0, 60.0],
    )
    values = [item.error.value for item in four.contenders]
    assert values == sorted(values)
    assert four.contenders[0].verdict == "best"
    assert {item.verdict for item in four.contenders[1:]} <= {"worse", "cannot tell"}


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


@pytest.mark.parametrize("noise", [LEAST, PLAIN, Noise("log", delta=0.01), Noise("log", dof=4.0)])
def test_the_error_is_that_of_fits_that_end_at_the_origins(noise: Noise) -> None:
    """A fit of the rows up to each origin by itself; its mean absolute residual beyond. An error
    is a geometric mean of those, with weights that all laws share."""
    table = pl.DataFrame(floored())
    cuts = (20.0, 60.0, 150.0)
    got = compare(table, [FLOOR, NO_FLOOR], beyond="n", noise=noise, origins=cuts, draws=10)
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
        one = compare(table, [item.law] * 2, beyond="n", noise=noise, origins=cuts[:1], draws=5)
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
    compare(floored(), [FLOOR, NO_FLOOR], beyond="n", noise=LEAST, origins=cuts, draws=5)
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
        compare(item, [FLOOR, NO_FLOOR], beyond="n", noise=LEAST, origins=[60.0], draws=20)
        for item in (table, moved)
    )
    for law in (FLOOR, NO_FLOOR):
        a, b = (next(c for c in item.contenders if c.law == law) for item in (one, two))
        found = fit(law, {k: v[~far] for k, v in table.items()}, noise=LEAST, draws=0)
        gap = np.log(found.law(n=table["n"][far], **found.params)) - np.log(table["loss"][far])
        assert a.error.value == pytest.approx(np.abs(gap).mean(), rel=1e-6)
        assert b.error.value == pytest.approx(np.abs(gap - np.log(1000)).mean(), rel=1e-6)


# Groups, formulas, files, other frames


def test_groups_are_resampled_whole() -> None:
    """Three copies of each run, by group, are as uncertain as the runs; by row far less."""
    table = pl.DataFrame(floored(rows=30)).with_row_index("run")
    copies = pl.concat([table] * 3)
    pair = [FLOOR, NO_FLOOR]
    asked: dict[str, Any] = {"beyond": "n", "noise": LEAST, "origins": [20.0, 60.0]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the copies, which are duplicates
        grouped = compare(copies, pair, draws=60, by="run", **asked)
        single = compare(copies, pair, draws=60, **asked)
    alone = compare(table, pair, draws=60, **asked)
    spreads = [item.contenders[1].behind.stderr for item in (alone, grouped, single)]
    assert spreads[1] == pytest.approx(spreads[0], rel=0.01)  # draws end within a tolerance
    assert spreads[2] < 0.7 * spreads[1]


def test_few_groups_are_noted_and_still_compared() -> None:
    """Fewer groups than parameters: a group is worth one degree of freedom, as in a fit."""
    table = {**floored(), "run": np.arange(40) % 4}
    got = compare(
        table, [FLOOR, NO_FLOOR], beyond="n", noise=LEAST, by="run", draws=50, origins=[60.0]
    )
    assert any("Only 4 groups in 'run'" in note for note in got.notes)
    assert got.contenders[0].error.low < got.contenders[0].error.high
    alone = compare(
        {**table, "run": np.zeros(40)},
        [FLOOR, NO_FLOOR],
        beyond="n",
        noise=LEAST,
        by="run",
        draws=20,
        origins=[60.0],
    )
    assert any("1 groups in 'run' are too few to resample" in note for note in alone.notes)
    assert math.isnan(alone.contenders[1].behind.low)
    assert alone.contenders[1].verdict == "cannot tell"


def test_resamples_that_leave_one_side_bare_count_for_nothing() -> None:
    """One row beyond the only origin: a third of the resamples do not hold it. No warning, no
    zero error."""
    table = floored(rows=20)
    cut = np.sort(table["n"])[-2]
    got = compare(table, [FLOOR, NO_FLOOR], beyond="n", noise=LEAST, origins=[cut], draws=60)
    assert got.notes == ("One origin only: the ranking rests on a single split.",)
    for item in got.contenders:
        assert item.error.low > 0
        assert math.isfinite(item.error.high)
    table = {**floored(rows=20), "run": (np.argsort(np.argsort(floored(rows=20)["n"])) > 9) * 1}
    got = compare(table, [FLOOR, NO_FLOOR], beyond="n", noise=LEAST, by="run", draws=60)
    assert all(math.isfinite(item.error.value) for item in got.contenders)


def test_laws_of_any_kind_are_compared_by_name() -> None:
    table = {"n_data": floored()["n"], "loss": floored()["loss"]}
    twice = [laws.power_law, "power_law", "A*n_data**-alpha", "A/n_data**alpha"]
    got = compare(table, twice, beyond="n_data", noise=LEAST, draws=5, origins=[60.0])
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
    got = compare(table, [bare, untraced], beyond="n", noise=LEAST, draws=10, origins=[50.0])
    one, two = got.contenders
    assert one.error.value == pytest.approx(two.error.value, rel=1e-6)
    assert one.error.stderr == pytest.approx(two.error.stderr, rel=1e-4)


def test_the_same_seed_gives_the_same_comparison(made: Comparison) -> None:
    pair = [NO_FLOOR, FLOOR]
    frame = pl.DataFrame(floored()).to_pandas()  # nor does the kind of frame matter
    assert compare(frame, pair, beyond="n", noise=LEAST, draws=60) == made
    other = compare(floored(), pair, beyond="n", noise=LEAST, draws=20, seed=1)
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
    got = compare(steep(), [falling, FLOOR], beyond="n", noise=LEAST, draws=50, origins=[60.0])
    best, other = got.contenders
    assert best.law == FLOOR
    assert got.verdict == f"{FLOOR} extrapolates best"
    assert other.error.value == other.behind.value == other.behind.high == math.inf
    assert other.behind.low > 0
    assert other.ratio.value == other.ratio.high == math.inf
    assert any("falling: infinite error" in note for note in got.notes)
    text = describe_comparison(got)
    assert text["laws"][1]["error"]["value"] is None
    plain = compare(steep(), [falling, FLOOR], beyond="n", noise=PLAIN, draws=5, origins=[60.0])
    assert all(math.isfinite(item.error.value) for item in plain.contenders)


def test_two_laws_that_fail_alike_cannot_be_told() -> None:
    got = compare(steep(), [falling, falling], beyond="n", noise=LEAST, draws=20, origins=[60.0])
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
        got = compare(table, [NO_FLOOR, FLOOR], beyond="n", noise=noise, draws=5, origins=[60.0])
        value = next(item.aicc for item in got.contenders if item.law == NO_FLOOR)
        assert value == pytest.approx(wanted, rel=1e-9)


def test_aicc_needs_rows_to_spare() -> None:
    x = np.arange(1.0, 6.0)
    table = {"n": x, "loss": 1 + 1 / x}
    got = compare(table, ["A*n**-1 + 0*c", NO_FLOOR], beyond="n", origins=[4.0], draws=5)
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
        ({"laws": [FLOOR, "chinchila"]}, r"no law is called 'chinchila'. Did you mean"),
        ({"laws": [FLOOR, "E +* n"]}, r"cannot read the formula"),
        ({"laws": [FLOOR, "E + A*m**-alpha"]}, r"no symbol of .* is a column"),
        ({"laws": [FLOOR, "chinchilla"]}, r"n_params"),
        ({"beyond": "N"}, r"no column 'N' to extrapolate along; the table has n, loss, name"),
        ({"beyond": "name"}, r"name"),
        ({"target": "los"}, r"los"),
        ({"by": "run"}, r"no column 'run' to group by"),
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
        compare(table, asked.pop("laws"), noise=LEAST, **asked)


def test_too_few_rows_are_refused() -> None:
    table = {name: x[:5] for name, x in floored().items()}
    with pytest.raises(BadTable, match=r"no origin that leaves 5 rows to fit"):
        compare(table, [FLOOR, NO_FLOOR], beyond="n")
    table = {name: x[:2] for name, x in floored().items()}
    with pytest.raises(BadTable, match=r"has 3 free parameters and the table has only 2 rows"):
        compare(table, [FLOOR, NO_FLOOR], beyond="n")
    same = {**floored(), "n": np.full(40, 3.0)}
    with pytest.raises(BadTable, match=r"runs from 3 to 3 in 1 distinct values"):
        compare(same, [FLOOR, NO_FLOOR], beyond="n")


def test_origins_left_out_are_noted() -> None:
    got = compare(
        floored(), [FLOOR, NO_FLOOR], beyond="n", noise=LEAST, origins=[1.5, 60, 1e9], draws=5
    )
    assert got.origins == (60.0,)
    assert "Too few rows up to, or none beyond, 1.5, 1e+09: left out." in got.notes
