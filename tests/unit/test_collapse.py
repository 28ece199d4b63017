"""The two laws of learning curves: doors, seeds, flags, and the table of `kleiber reduce`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from kleiber import reduce
from kleiber.claim import Estimate
from kleiber.cli import app
from kleiber.errors import BadTable
from kleiber.systems.implicit_bias.collapse import measure_collapse, rescale_curves
from kleiber.systems.implicit_bias.collapse_curves import (
    Curves,
    MeanCurve,
    find_lowest,
    find_optimum,
    read_curves,
    read_items,
)
from kleiber.systems.implicit_bias.collapse_fit import fit_line
from kleiber.systems.implicit_bias.collapse_table import collapse
from kleiber.systems.implicit_bias.collapse_window import AUTHORS, Window, authors_window

SIZES = (100.0, 200.0, 400.0, 800.0)
X = np.geomspace(1e-2, 10, 40)


def curve(size: float, x: np.ndarray = X, **columns: object) -> pl.DataFrame:
    """error/error_opt = (x^-0.4 + 2 x^0.2)/3, least at x = 1; norm_opt = size, error_opt
    = size^-0.4: gamma_1 near 0.4, gamma_2 = 1, and raw curves overlap early."""
    error = size**-0.4 * (x**-0.4 + 2 * x**0.2) / 3
    frame = pl.DataFrame({"n_data": size, "norm": x * size, "error": error})
    return frame.with_columns(**{name: pl.lit(value) for name, value in columns.items()})


def curves(x: np.ndarray = X, sizes: tuple[float, ...] = SIZES) -> pl.DataFrame:
    return pl.concat([curve(size, x) for size in sizes])


def seeded(seeds: int = 5, noise: float = 0.02) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    parts = [
        curve(size, X * np.exp(0.1 * rng.normal()), seed=seed).with_columns(
            pl.col("error") * np.exp(noise * rng.normal(size=len(X)))
        )
        for size in SIZES
        for seed in range(seeds)
    ]
    return pl.concat(parts)


def test_four_estimates_come_by_name() -> None:
    found = reduce.dynamical_exponents(curves())
    assert list(found) == ["gamma_1", "gamma_2", "gamma_predicted", "gamma_measured"]
    assert all(isinstance(item, Estimate) for item in found.values())
    assert found["gamma_2"].value == pytest.approx(1.0, rel=1e-9)
    assert found["gamma_measured"].value == pytest.approx(0.4, rel=1e-9)


def test_gamma_1_is_the_mean_slope_in_the_window() -> None:
    window = (0.02, 0.2)
    found = measure_collapse(curves(), window=window)
    frame = curve(100.0)
    x = frame["norm"].to_numpy() / 100
    keep = (x >= window[0]) & (x <= window[1])
    slope, _ = np.polyfit(np.log(x[keep]), np.log(frame["error"].to_numpy()[keep]), 1)
    assert found.estimates["gamma_1"].value == pytest.approx(-slope, rel=1e-9)
    assert found.decades == pytest.approx(np.ptp(np.log10(x[keep])), rel=1e-9)


def test_a_line_has_the_textbook_error() -> None:
    x, y = np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 3.1, 4.9, 7.0])
    line = fit_line(x, y)
    covariance = np.polyfit(x, y, 1, cov="unscaled")[1]
    rest = y - np.polyval(np.polyfit(x, y, 1), x)
    assert line.stderr == pytest.approx(np.sqrt(covariance[0, 0] * (rest @ rest) / 2), rel=1e-9)
    assert np.isnan(fit_line(x[:2], y[:2]).stderr)


def test_optima_replace_the_mean_curves_own() -> None:
    optima = pl.DataFrame(
        {"n_data": SIZES, "norm_opt_mean_over_seeds": [size**1.5 for size in SIZES]}
    )
    found = reduce.dynamical_exponents(curves(), optima)
    assert found["gamma_2"].value == pytest.approx(1.5, rel=1e-9)
    assert found["gamma_measured"].value == pytest.approx(0.4, rel=1e-9)
    with pytest.raises(BadTable, match="no row of n_data = 800"):
        reduce.dynamical_exponents(curves(), optima.head(3))
    with pytest.raises(BadTable, match="several rows of one n_data"):
        reduce.dynamical_exponents(curves(), pl.concat([optima, optima]))


def test_seeds_are_averaged_on_a_common_grid() -> None:
    table = pl.concat(
        [curve(100.0, X, seed=0), curve(100.0, X, seed=1).with_columns(pl.col("error") * 1.2)]
    )
    (item,) = read_items(table)
    assert item.n_seeds == 2
    assert item.parts is not None
    np.testing.assert_allclose(item.parts[1] / item.parts[0], 1.2)
    np.testing.assert_allclose(np.exp(item.log_error), item.parts.mean(0))
    assert item.seed_optima == pytest.approx([np.log(100 * X[27])] * 2, abs=0.2)


def test_a_point_that_few_seeds_reach_counts_by_the_authors_rule_alone() -> None:
    long, short = curve(100.0, X, seed=0), curve(100.0, X[:20], seed=1)
    other = curve(100.0, X[:20], seed=2)
    table = pl.concat([long, short, other])
    (loose,), (strict,) = (read_items(table, share=share) for share in (0.0, 0.5))
    assert loose.log_norm[-1] == pytest.approx(np.log(100 * X[-1]))
    assert strict.log_norm[-1] <= np.log(100 * X[19]) + 1e-9


def test_by_the_authors_rule_norm_opt_is_the_arithmetic_mean_over_seeds() -> None:
    parts = [curve(size, X, seed=0) for size in SIZES]
    parts += [
        curve(size, X, seed=1).with_columns(pl.col("norm") * (10.0 if size == 800 else 1.0))
        for size in SIZES
    ]
    found = measure_collapse(pl.concat(parts))
    best = np.exp(found.log_norm_opt)
    assert best[3] / best[2] == pytest.approx(2 * (1 + 10) / 2, rel=1e-6)


@pytest.mark.long
def test_seeds_give_errors_that_shrink_with_their_number() -> None:
    few = measure_collapse(seeded(3, 0.05), rule="robust").estimates
    many = measure_collapse(seeded(24, 0.05), rule="robust").estimates
    assert many["gamma_measured"].stderr < few["gamma_measured"].stderr
    assert many["gamma_measured"].low <= 0.4 <= many["gamma_measured"].high
    again = measure_collapse(seeded(3, 0.05), rule="robust").estimates
    assert again == few


def test_the_optimum_of_a_noisy_bottom_is_smoothed() -> None:
    u = np.linspace(-4, 4, 41)
    rng = np.random.default_rng(0)
    rough, smooth = [], []
    for _ in range(100):
        item = MeanCurve(1.0, u, 0.02 * (u - 0.33) ** 2 + 0.003 * rng.normal(size=41))
        rough.append(find_lowest(item)[0])
        smooth.append(find_optimum(item)[0])
    assert np.std(smooth) < np.std(rough) / 2
    assert np.mean(smooth) == pytest.approx(0.33, abs=0.05)


def test_a_curve_that_still_falls_has_its_optimum_at_the_end() -> None:
    u = np.linspace(0, 5, 30)
    assert find_optimum(MeanCurve(1.0, u, -u)) == (5.0, -5.0)


def test_the_end_of_training_is_flagged() -> None:
    found = measure_collapse(curves(X[X < 0.8]), window=(0.01, 0.3))
    assert found.at_end.all()
    assert "at the end of training for n_data = 100, 200, 400, 800" in found.flags[0]


def test_short_windows_and_other_n_data_are_flagged() -> None:
    window = Window(0.02, 0.1, least_early=200, least_optimum=400)
    found = measure_collapse(curves(), window=window)
    assert any("0.62 decades" in flag or "less than one" in flag for flag in found.flags)
    (ranges,) = (flag for flag in found.flags if "different n_data" in flag)
    assert "gamma_1 200 to 800; gamma_2 400 to 800; gamma_measured 100 to 800" in ranges
    assert any("Only 2 n_data" in flag and "no standard error" in flag for flag in found.flags)
    assert all(flag[0].isupper() and flag.endswith(".") for flag in found.flags)
    assert np.isnan(found.estimates["gamma_2"].stderr)


def test_clean_curves_raise_no_flag_by_our_rule() -> None:
    x = np.geomspace(1e-4, 10, 80)
    found = measure_collapse(curves(x), rule="robust")
    assert found.flags == ()
    assert found.quality < 1e-3
    assert found.overlap < 0.05
    assert set(found.sensitivity) >= {"window twice as wide", "large n_data"}


def test_curves_that_do_not_collapse_are_flagged() -> None:
    parts = [curve(size) for size in SIZES]
    parts[0] = parts[0].with_columns(
        error=pl.when(pl.col("norm") > 100).then(pl.col("error") * 2).otherwise(pl.col("error"))
    )
    found = measure_collapse(pl.concat(parts), window=(0.01, 0.3))
    assert any("do not collapse" in flag for flag in found.flags)


def test_a_norm_that_falls_in_training_is_flagged() -> None:
    rising = curves().with_columns(step=pl.int_range(pl.len()))
    assert measure_collapse(rising).curves.falls == 0
    falling = rising.with_columns(step=-pl.col("step"))
    found = measure_collapse(falling)
    assert found.curves.falls == 1
    assert any("falls in 100% of the steps" in flag for flag in found.flags)


@pytest.mark.long
def test_an_error_that_bends_along_n_data_is_flagged() -> None:
    bent = curves().with_columns(pl.col("error") * (1 + 200 / pl.col("n_data")))
    more = [curve(size) for size in (1600.0, 3200.0)]
    more = [part.with_columns(pl.col("error") * (1 + 200 / pl.col("n_data"))) for part in more]
    found = measure_collapse(pl.concat([bent, *more]), rule="robust")
    (flag,) = (item for item in found.flags if "not a power law in n_data" in item)
    assert "over n_data 100 to 400 and" in flag
    assert "over 800 to 3200; gamma_measured is" in flag
    rng, false = np.random.default_rng(0), 0
    for _ in range(100):
        noisy = [
            curve(size).with_columns(pl.col("error") * np.exp(0.05 * rng.normal()))
            for size in (100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0)
        ]
        flags = measure_collapse(pl.concat(noisy), window=(0.02, 0.2)).flags
        false += any("not a power law" in item for item in flags)
    assert false <= 5  # 1 in 100 by chance


def test_n_data_without_points_in_the_window_enter_the_variant() -> None:
    """As of ViT on MNIST: small n_data begin above the window, and the error bends."""
    parts = [curve(size) for size in SIZES]
    parts[0] = curve(100.0, X[X > 0.1]).with_columns(pl.col("error") * 2)
    found = measure_collapse(pl.concat(parts), rule="robust", window=(0.015, 0.08))
    assert list(found.measured) == [False, True, True, True]
    assert found.estimates["gamma_measured"].value == pytest.approx(0.4, rel=1e-6)
    varied = found.sensitivity["all n_data"]["gamma_measured"]
    x = np.log(SIZES)
    expected = -np.polyfit(x, -0.4 * x + np.log(2) * (x == x[0]), 1)[0]
    assert varied == pytest.approx(expected, rel=0.02)


def test_intervals_reach_from_the_mean_slope_to_the_steepest() -> None:
    found = measure_collapse(curves(np.geomspace(1e-3, 10, 60)), rule="robust").estimates
    for name, truth in (("gamma_1", 0.4), ("gamma_predicted", 0.4)):
        one = found[name]
        assert one.low <= one.value <= truth <= one.high
        assert one.high - one.value > one.value - one.low  # the early law is steeper still


def test_the_command_is_robust_unless_told() -> None:
    made = collapse(curves())
    (note,) = made.filter(pl.col("quantity") == "rule")["note"].to_list()
    assert note.startswith("robust")
    told = collapse(curves(), rule="authors")
    (note,) = told.filter(pl.col("quantity") == "rule")["note"].to_list()
    assert note.startswith("authors")
    exact = measure_collapse(curves(), rule="robust").estimates["gamma_1"].value
    assert made.filter(pl.col("quantity") == "gamma_1")["value"].to_list() == [exact]
    assert measure_collapse(curves()).rule == "authors"
    with pytest.raises(BadTable, match="Give the rule 'authors' with optima"):
        collapse(curves(), optima="optima.csv")


def test_min_data_leaves_out_small_runs() -> None:
    found = measure_collapse(curves(), rule="robust", min_data=200)
    assert list(found.early) == [False, True, True, True]
    with pytest.raises(BadTable, match="leaves fewer than 2 of the 4 n_data"):
        measure_collapse(curves(), min_data=500)


def test_published_windows_are_for_published_curves() -> None:
    def labelled(model: str, dataset: str, sizes: tuple[int, ...]) -> Curves:
        item = MeanCurve(1.0, np.zeros(3), np.zeros(3))
        items = tuple(MeanCurve(float(size), item.log_norm, item.log_error) for size in sizes)
        return Curves(model, dataset, items)

    full = tuple(range(4000, 48001, 4000))
    assert authors_window(labelled("CNN", "CIFAR-10", full)) is AUTHORS["cnn", "cifar10"]
    assert authors_window(labelled("cnn", "cifar_100", full)) is AUTHORS["cnn", "cifar100"]
    assert authors_window(labelled("CNN", "CIFAR10", full[:5])) is None
    assert authors_window(labelled("CNN", "SVHN", full)) is None
    assert len(AUTHORS) == 9


@pytest.mark.parametrize(
    "table",
    [
        curves(X[:6]),  # falling all the way
        curves(X[30:]),  # rising all the way
        curves(X[25:31]),
        curves(X, SIZES[:2]),
        curves(np.array([0.1, 1.0, 2.0])),
    ],
    ids=["falling", "rising", "bottom", "two sizes", "three points"],
)
@pytest.mark.parametrize("rule", ["authors", "robust"])
def test_without_a_window_there_is_always_an_answer(table: pl.DataFrame, rule: str) -> None:
    found = measure_collapse(table, rule=rule)
    assert all(np.isfinite(item.value) for item in found.estimates.values())
    assert found.window.source.startswith("automatic")


def refused(change: pl.Expr) -> pl.DataFrame:
    return curves().with_columns(change)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (refused(pl.lit(float("nan")).alias("error")), "'error' has a value that is not finite"),
        (refused((pl.col("norm") - 1).alias("norm")), "'norm' has a value that is not positive"),
        (refused(pl.lit(0.0).alias("error")), "'error' has a value that is not positive"),
        (curves().drop("norm"), "norm"),
        (curves().drop("n_data"), "n_data"),
        (curves().head(0), "no rows"),
        (curve(100.0), "at least 2 different n_data, got only 100"),
        (curves(X[:2]), "at least 3 different norms; at n_data = 100 one has 2"),
        (
            pl.concat([curves().with_columns(model=pl.lit(name)) for name in "ab"]),
            "several kinds, model is a, b",
        ),
    ],
)
def test_bad_tables_are_refused_with_a_sentence(table: pl.DataFrame, says: str) -> None:
    with pytest.raises(BadTable, match=says):
        reduce.dynamical_exponents(table)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rule": "robst"}, "rule is one of authors, robust, got 'robst'. Did you mean 'robust'"),
        ({"window": (0.3, 0.1)}, "0 <= low < high; got 0.3 to 0.1"),
        ({"window": (0.1,)}, "A window is .low, high. of norm/norm_opt"),
        ({"window": (1e-9, 1e-8)}, "has 3 points of fewer than 2 curves"),
    ],
)
def test_bad_options_are_refused_with_a_sentence(options: dict[str, object], says: str) -> None:
    with pytest.raises(BadTable, match=says):
        measure_collapse(curves(), **options)  # pyright: ignore[reportArgumentType]


def test_an_open_window_has_none_at_its_open_end() -> None:
    open_low = measure_collapse(curves(), window=(None, 0.3)).estimates
    assert open_low == measure_collapse(curves(), window=(0, 0.3)).estimates


def test_rescaled_curves_meet_at_one() -> None:
    made = rescale_curves(measure_collapse(curves()))
    assert made.columns == ["n_data", "norm", "error", "x", "y"]
    assert made["y"].min() == pytest.approx(1.0)
    assert made.filter(pl.col("x") == 1.0)["y"].to_list() == [1.0] * len(SIZES)


def test_the_table_holds_every_model_by_itself() -> None:
    table = pl.concat([curves().with_columns(model=pl.lit(name)) for name in ("a", "b")])
    made = collapse(table)
    assert made["model"].unique(maintain_order=True).to_list() == ["a", "b"]
    for name in ("a", "b"):
        part = made.filter(pl.col("model") == name)
        assert part.filter(pl.col("quantity") == "gamma_2")["value"].to_list() == [
            pytest.approx(1.0)
        ]
        assert part.filter(pl.col("quantity") == "error_opt")["n_data"].to_list() == list(SIZES)
    rescaled = collapse(table, curves=True)
    assert rescaled.columns == ["model", "n_data", "norm", "error", "x", "y"]
    assert len(read_curves(curves()).items) == len(SIZES)


def test_the_command_line_reduces_a_file(tmp_path: Path) -> None:
    curves().write_csv(tmp_path / "curves.csv")
    words = ["reduce", "collapse", str(tmp_path / "curves.csv"), "--rule", "robust"]
    words += ["--window", "0.02,0.2", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    rows = rows["rows"] if isinstance(rows, dict) else rows
    found = {row["quantity"]: row for row in rows}
    exact = measure_collapse(curves(), rule="robust", window=(0.02, 0.2))
    assert found["gamma_1"]["value"] == pytest.approx(exact.estimates["gamma_1"].value)
    bad = CliRunner().invoke(app, [*words[:4], "none", "--json"])
    assert isinstance(bad.exception, BadTable)
