"""The panels hold the fit's own numbers, in words and units, for every kind of fit."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kleiber.errors import BadTable
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.fit import fit
from kleiber.fitting.judge.status import Status
from kleiber.fitting.record import Fit
from kleiber.fitting.saved import describe, load
from kleiber.reports import caption
from kleiber.reports.axes import format_number
from kleiber.reports.panels import BARS, FURTHEST, POINTS, QUANTILES, Panels, fit_panels

Case = tuple[Fit, pl.DataFrame]


def two_variables(rows: int = 60, *, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    n, d = 10 ** rng.uniform(7, 9.5, rows), 10 ** rng.uniform(9, 11, rows)
    loss = (1.8 + 480 * n**-0.35 + 2100 * d**-0.37) * np.exp(0.01 * rng.standard_normal(rows))
    return pl.DataFrame({"n_params": n, "n_tokens": d, "loss": loss})


def one_variable(rows: int = 30, *, seed: int = 1) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    x = np.geomspace(1e3, 1e7, rows)
    loss = (0.5 + 40 * x**-0.4) * np.exp(0.03 * rng.standard_normal(rows))
    return pl.DataFrame({"n_data": x, "loss": loss})


@pytest.fixture(scope="module")
def chinchilla() -> Case:
    table = two_variables()
    return fit("chinchilla", table, draws=40), table


@pytest.fixture(scope="module")
def floor() -> Case:
    table = one_variable()
    return fit("power_law_floor", table, draws=40, noise=Noise("log", delta=0.02)), table


@pytest.fixture(scope="module")
def plain() -> Case:
    rng = np.random.default_rng(2)
    x = np.linspace(-3, 3, 40)
    y = 1.5 - 2 * np.tanh(0.8 * x) + 0.1 * rng.standard_normal(40)
    table = pl.DataFrame({"angle": x, "score": y})
    noise = Noise("linear", delta=0.15)
    return fit("a - b*tanh(c*angle)", table, target="score", noise=noise, draws=40), table


@pytest.mark.parametrize("name", ["chinchilla", "floor", "plain"])
def test_the_numbers_are_those_of_predict(name: str, request: pytest.FixtureRequest) -> None:
    made, table = request.getfixturevalue(name)
    panels = fit_panels(made, table)
    expected = made.predict(table)["predicted"].to_numpy()
    measured = table[made.target].to_numpy()
    np.testing.assert_array_equal(panels.drawn, np.arange(len(table)))
    np.testing.assert_array_equal(panels.residuals.predicted, expected)
    np.testing.assert_array_equal(panels.match.predicted, expected)
    np.testing.assert_array_equal(panels.match.measured, measured)
    np.testing.assert_allclose(panels.residuals.residual, made.residuals, rtol=0, atol=1e-12)
    assert panels.residuals.width == made.noise.delta
    bars = made.predict(table, made.level, new_run=True)[panels.match.barred.tolist()]
    np.testing.assert_array_equal(panels.match.barred, np.arange(len(table)))
    np.testing.assert_array_equal(panels.match.low, bars["low"].to_numpy())
    np.testing.assert_array_equal(panels.match.high, bars["high"].to_numpy())
    inside = (bars["low"].to_numpy() <= measured) & (measured <= bars["high"].to_numpy())
    assert panels.match.inside == inside.sum() > 0.8 * len(table)


def test_curves_and_bands_of_two_variables(chinchilla: Case) -> None:
    made, table = chinchilla
    panels = fit_panels(made, table)
    sizes, tokens = table["n_params"].to_numpy(), table["n_tokens"].to_numpy()
    levels = [curve.at for curve in panels.law.curves if curve.at is not None]
    assert (
        levels
        == sorted(levels)
        == [float(np.quantile(tokens, q, method="nearest")) for q in QUANTILES]
    )
    for curve in panels.law.curves:
        points = pl.DataFrame({"n_params": curve.x}).with_columns(n_tokens=pl.lit(curve.at))
        found = made.predict(points, made.level)
        np.testing.assert_array_equal(curve.y, found["predicted"].to_numpy())
        assert curve.low is not None
        assert curve.high is not None
        np.testing.assert_array_equal(curve.low, found["low"].to_numpy())
        np.testing.assert_array_equal(curve.high, found["high"].to_numpy())
        assert curve.x[0] == pytest.approx(sizes.min(), rel=1e-12)
        assert curve.x[-1] == pytest.approx(sizes.max(), rel=1e-12)
    assert panels.colour is not None
    np.testing.assert_array_equal(panels.colour.values, tokens)
    assert caption.band(panels) == "95% interval of the law"
    assert caption.held(panels) == ""


def test_labels_are_words_with_units(chinchilla: Case, floor: Case, plain: Case) -> None:
    first = fit_panels(*chinchilla)
    assert first.law.x.label == "n_params: trainable parameters of the model (parameters)"
    assert first.law.y.label == "loss: loss on held-out data (nats)"
    assert first.colour is not None
    assert first.colour.axis.label == "n_tokens: tokens seen in training, repeats included (tokens)"
    assert first.residuals.y.label == "log predicted \N{MINUS SIGN} log measured"
    assert first.match.x.label == "Measured loss (nats)"
    assert first.match.y.label == first.residuals.x.label == "Predicted loss (nats)"
    assert fit_panels(*floor).law.x.label == "n_data: distinct training examples (examples)"
    last = fit_panels(*plain)
    assert (last.law.x.label, last.law.y.label) == ("angle", "score")
    assert last.residuals.y.label == "predicted \N{MINUS SIGN} measured"
    assert caption.title(last.fit) == "Formula fitted to score"


def test_axes_follow_the_noise_and_the_range(floor: Case, plain: Case) -> None:
    made, table = floor
    panels = fit_panels(made, table)
    assert panels.law.x.log
    assert panels.law.y.log
    assert not panels.residuals.y.log
    assert not fit_panels(*plain).law.x.log
    linear = fit("power_law_floor", table, draws=0, noise=Noise("linear"))
    other = fit_panels(linear, table)
    assert other.law.x.log  # four decades
    assert not other.law.y.log  # less than one


def test_header_has_values_intervals_and_status(chinchilla: Case) -> None:
    made, table = chinchilla
    panels = fit_panels(made, table)
    assert panels.fit is made
    for name in made.params:
        low, _, high = caption.interval(made, name).partition(" to ")
        interval = made.interval(name, made.level)
        assert float(low) == pytest.approx(interval.low, rel=5e-4)
        if high.isdecimal():
            assert float(high) == pytest.approx(interval.high, rel=5e-4)
    assert caption.ending(made) == "converged: every parameter is determined by the table"
    assert caption.facts(panels) == (
        "60 rows; Huber 0.001 on log residuals; intervals at 95% from 40 refits to resampled rows"
    )
    assert "Hoffmann et al. 2022" in caption.about(made)
    assert len(caption.terms(made)) == 3
    assert caption.notes(panels) == made.notes


def test_three_variables_are_held_at_the_median() -> None:
    table = two_variables().with_columns(n_unique=pl.col("n_tokens") / 4, q=pl.lit(2.0))
    table = table.with_columns(n_unique=pl.col("n_unique") * np.linspace(0.5, 1.5, 60))
    law = "E + A*n_params**-a + B*n_tokens**-b + 0.001*n_unique**-c*q"
    panels = fit_panels(fit(law, table, draws=0), table)
    median = float(np.median(table["n_unique"].to_numpy()))
    assert panels.law.held == {"n_unique": median, "q": 2.0}
    assert caption.held(panels).startswith("law drawn at n_unique = ")
    assert caption.held(panels).endswith("(the median), q = 2.000 in all rows")


def test_three_variables_with_draws() -> None:
    table = two_variables(90).with_columns(batch_size=pl.lit(1.0) + np.arange(90) % 7)
    law = "E + A*n_params**-a + B*n_tokens**-b + c/batch_size"
    made = fit(law, table, draws=10)
    panels = fit_panels(made, table)
    curve = panels.law.curves[2]
    points = pl.DataFrame({"n_params": curve.x}).with_columns(
        n_tokens=pl.lit(curve.at), batch_size=pl.lit(4.0)
    )
    assert curve.low is not None
    np.testing.assert_array_equal(curve.low, made.predict(points)["low"].to_numpy())
    assert caption.held(panels) == "law drawn at batch_size = 4.000 examples (the median)"


def test_few_values_of_the_second_variable_are_all_drawn() -> None:
    table = two_variables(40).with_columns(n_tokens=pl.Series([1e9, 5e9, 2e10, 8e10] * 10))
    panels = fit_panels(fit("chinchilla", table, draws=0), table)
    assert [curve.at for curve in panels.law.curves] == [1e9, 5e9, 2e10, 8e10]


def test_a_constant_second_variable_has_no_colour() -> None:
    table = two_variables().with_columns(n_tokens=pl.lit(2e10))
    made = fit("chinchilla", table, draws=0, fixed={"B": 2100, "beta": 0.37})
    panels = fit_panels(made, table)
    assert panels.colour is None
    assert len(panels.law.curves) == 1
    assert caption.held(panels).endswith("tokens in all rows")


def test_a_constant_first_variable_gives_way() -> None:
    table = two_variables().with_columns(n_params=pl.lit(1e8))
    made = fit("chinchilla", table, draws=0, fixed={"A": 480, "alpha": 0.35})
    panels = fit_panels(made, table)
    assert panels.law.x.label.startswith("n_tokens")
    assert panels.law.held == {"n_params": 1e8}


def test_without_draws_there_is_no_band_and_why() -> None:
    table = one_variable()
    made = fit("power_law_floor", table, draws=0)
    panels = fit_panels(made, table)
    assert caption.band(panels) == "no band: the fit has no draws (fit again with draws=1000)"
    (curve,) = panels.law.curves
    assert curve.low is None
    assert curve.high is None
    assert len(panels.match.barred) == panels.match.inside == 0
    expected = made.predict(pl.DataFrame({"n_data": curve.x}))["predicted"].to_numpy()
    np.testing.assert_array_equal(curve.y, expected)
    assert caption.facts(panels).endswith("intervals at 95% from the covariance alone")


def test_too_few_rows_for_a_band_and_why() -> None:
    table = one_variable(3)
    assert caption.band(fit_panels(fit("power_law_floor", table), table)) == (
        "no band: 3 rows cannot show how far runs vary"
    )
    grouped = one_variable(9).with_columns(run=pl.lit("a"))
    panels = fit_panels(fit("power_law_floor", grouped, draws=10, by="run"), grouped)
    assert caption.band(panels) == "no band: 1 group cannot show how far runs vary"
    assert {caption.interval(panels.fit, name) for name in panels.fit.params} == {"no interval"}


def test_a_fit_read_from_the_shortest_document(floor: Case, tmp_path: Path) -> None:
    made, table = floor
    path = tmp_path / "fit.json"
    path.write_text(json.dumps(describe(made)))
    panels = fit_panels(load(path), table)
    np.testing.assert_allclose(panels.residuals.residual, made.residuals, rtol=0, atol=1e-12)
    assert caption.band(panels).startswith("no band")
    assert "not the table" not in " ".join(caption.notes(panels))


def test_fixed_and_tied_parameters_say_so() -> None:
    table = two_variables()
    made = fit("chinchilla", table, draws=20, fixed={"E": 1.8}, tied={"beta": "alpha"})
    texts = {name: caption.interval(made, name) for name in made.params}
    assert texts["E"] == "fixed"
    assert texts["beta"] == f"{texts['alpha']}, tied"


def test_a_bound_that_was_hit() -> None:
    x = np.geomspace(1e3, 1e7, 40)
    noise = np.exp(0.03 * np.random.default_rng(1).standard_normal(40))
    table = pl.DataFrame({"n_data": x, "loss": 40 * x**-0.4 * (1 + x / 3e7) ** -0.3 * noise})
    made = fit("power_law_floor", table, draws=20)
    assert made.status is Status.BOUND_HIT
    panels = fit_panels(made, table)
    assert caption.ending(made).startswith("Note: bound_hit: ")
    name, value = next(iter(made.params.items()))
    assert format_number(value) == "0"
    assert caption.interval(made, name).startswith("0 to ")
    assert panels.law.curves[0].low is not None


@pytest.mark.parametrize("status", [Status.FLAT, Status.MAX_EVALUATIONS])
def test_unusable_fits_say_so(floor: Case, status: Status) -> None:
    made, table = floor
    unsure = replace(made, status=status, reason="why")
    assert caption.ending(fit_panels(unsure, table).fit) == f"NOT USABLE: {status}: why"


def test_ten_thousand_rows_are_thinned_and_it_says_so() -> None:
    table = two_variables(10_000)
    made = fit("chinchilla", table, draws=4)
    panels = fit_panels(made, table)
    assert len(panels.shown) == len(panels.residuals.residual) == 10_000
    assert POINTS - FURTHEST <= panels.shown.sum() <= POINTS
    furthest = np.argsort(-np.abs(made.residuals))[:FURTHEST]
    assert panels.shown[furthest].all()
    assert len(panels.match.barred) == BARS
    assert caption.notes(panels)[-2].startswith(f"{panels.shown.sum():,} of 10,000 runs are drawn")
    assert caption.notes(panels)[-1] == "300 of 10,000 intervals of a new run are drawn"
    rows = table[panels.match.barred.tolist()]
    expected = made.predict(rows, new_run=True)["low"].to_numpy()
    np.testing.assert_array_equal(panels.match.low, expected)


def test_another_table_is_named(floor: Case) -> None:
    made, table = floor
    sentence = "the table drawn is not the table that was fitted"
    assert caption.notes(fit_panels(made, table)) == made.notes
    assert caption.notes(fit_panels(made, table.with_columns(extra=pl.lit("x")))) == made.notes
    assert caption.notes(fit_panels(made, table.head(20))) == (*made.notes, sentence)
    assert sentence in caption.notes(fit_panels(made, table.with_columns(loss=pl.col("loss") * 2)))


def test_rows_without_a_value_are_counted() -> None:
    x = np.linspace(-2, 5, 30)
    noise = 0.01 * np.random.default_rng(0).standard_normal(30)
    table = pl.DataFrame({"angle": x, "loss": 3 + np.sqrt(x + 2.5) + noise})
    made = fit("a + b*sqrt(angle + 2.5)", table, draws=4, noise=Noise("linear"))
    other = pl.concat([pl.DataFrame({"angle": [-5.0], "loss": [1.0]}), table])
    panels = fit_panels(made, other)
    assert caption.notes(panels)[-2].startswith(
        "1 of 31 rows are missing from the panels at the right"
    )
    np.testing.assert_array_equal(panels.drawn, np.arange(1, 31))
    assert len(panels.residuals.residual) == len(panels.match.predicted) == 30
    assert len(panels.law.data_x) == 31
    nothing = fit_panels(made, other.head(1))
    assert len(nothing.drawn) == len(nothing.match.measured) == 0


def test_a_fit_without_residuals_has_no_intervals_of_a_new_run(floor: Case) -> None:
    made, table = floor
    panels = fit_panels(replace(made, residuals=np.empty(0)), table)
    assert len(panels.match.barred) == 0
    assert panels.law.curves[0].low is not None


def test_unusable_tables_are_refused(floor: Case) -> None:
    made, table = floor
    with pytest.raises(BadTable, match="no column 'n_data'"):
        fit_panels(made, table.drop("n_data"))
    with pytest.raises(BadTable, match="not positive"):
        fit_panels(made, table.with_columns(loss=-pl.col("loss")))
    with pytest.raises(BadTable, match="not positive"):
        fit_panels(made, table.with_columns(n_data=-pl.col("n_data")))
    with pytest.raises(BadTable, match="no rows"):
        fit_panels(made, table.head(0))


def test_panels_are_frozen(floor: Case) -> None:
    panels = fit_panels(*floor)
    assert isinstance(panels, Panels)
    with pytest.raises(AttributeError):
        panels.same = False  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.long
def test_no_drawing_library_is_imported() -> None:
    code = (
        "import sys, kleiber.reports.panels, kleiber.reports.caption, kleiber.reports.figure, "
        "kleiber.reports.overlay_figure;"
        "print([name for name in ('matplotlib', 'plotly') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
