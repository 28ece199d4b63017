"""Misfit: planted ones are named, sound tables pass, and the tests are those of the textbooks."""

from __future__ import annotations

import json
import math
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from kleiber.cli import main
from kleiber.errors import BadPlan, BadTable
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.fit import fit
from kleiber.fitting.judge.candidates import is_measurement_name
from kleiber.fitting.judge.misfit import Misfit, read_misfit
from kleiber.fitting.judge.repeats import (
    find_duplicate_rows,
    measure_lack_of_fit,
    narrowness,
    number_cells,
)
from kleiber.fitting.judge.trends import (
    ColumnValues,
    added_basis,
    compute_p_values,
    make_regressors,
    neighbour_p_value,
    refit_tangent,
    scaled_ranks,
)
from kleiber.fitting.record import Fit
from kleiber.fitting.saved import describe, load, save
from kleiber.laws import catalogue
from kleiber.planning.costs.combining import gpu_hours
from kleiber.planning.plan import plan
from kleiber.reports import caption
from kleiber.reports.figure import compose
from kleiber.reports.panels import fit_panels
from kleiber.table import read_table

HUBER, LEAST = Noise("log", delta=1e-3), Noise("log")
TRUTH = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
EXAMPLE = Path(__file__).parents[2] / "examples" / "runs.csv"


def missed(made: Fit) -> Misfit:
    assert made.misfit is not None
    return made.misfit


def runs(rows: int = 40, size: float = 0.01, seed: int = 0, copies: int = 1) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    n = np.repeat(10 ** rng.uniform(7, 10, rows // copies), copies)
    d = np.repeat(10 ** rng.uniform(9, 12, rows // copies), copies)
    clean = catalogue()["chinchilla"](n_params=n, n_tokens=d, **TRUTH)
    return pl.DataFrame(
        {"n_params": n, "n_tokens": d, "loss": clean * np.exp(size * rng.standard_normal(len(n)))}
    )


def double_descent() -> pl.DataFrame:
    """Twenty-one widths, an error that peaks at width 60; the same numbers as in the issue."""
    width = np.geomspace(2, 2048, 21)
    hump = 0.35 * np.exp(-((np.log(width / 60) / 0.5) ** 2))
    noise = np.exp(0.01 * np.random.default_rng(3).standard_normal(21))
    return pl.DataFrame({"width": width, "error": (0.1 + 0.6 / width**0.5 + hump) * noise})


# What is planted is found


@pytest.mark.parametrize("noise", [HUBER, LEAST])
def test_double_descent_is_said(noise: Noise) -> None:
    made = fit("E + A/width**alpha", double_descent(), target="error", noise=noise, draws=0)
    got = missed(made)
    assert got.alarm
    assert got.trends[0].column == "width"
    assert got.trends[0].p < 1e-3
    low, high = got.trends[0].low, got.trends[0].high
    assert low is not None
    assert high is not None
    assert low <= 64 <= 2 * high
    assert got.trends[0].gap < -0.3
    assert "residuals depend on width" in got.sentence
    assert "too low" in got.sentence
    assert made.notes[0] == got.sentence
    assert made.summary().splitlines()[5] == got.sentence
    assert made.usable


def test_the_worst_row_is_named_by_its_number() -> None:
    table = runs()
    table[16, "loss"] = 100 * table["loss"][16]
    made = missed(fit("chinchilla", table, draws=0, start=TRUTH))
    assert made.worst[0].row == 17
    assert made.worst[0].gap == pytest.approx(-0.99, abs=0.001)
    assert abs(made.worst[0].z or 0) > 100
    assert re.search(r"largest in row 17 \(a factor of (9\d|10\d)\)", made.sentence)
    assert not made.alarm  # one row went wrong, not the law


def u_shape() -> tuple[str, pl.DataFrame]:
    n = np.geomspace(1e6, 1e10, 16)
    loss = 2 + 300 / n**0.4 + 0.02 * np.log10(n / 1e8).clip(0) ** 2
    return "E + A*n_params**-alpha", pl.DataFrame({"n_params": n, "loss": loss})


def warm_up() -> tuple[str, pl.DataFrame]:
    step = np.arange(20, 2001, 40).astype(float)
    loss = 2 + 30 / (step + 50) ** 0.5 + 4 * np.exp(-step / 120)
    return "E + A*step**-alpha", pl.DataFrame({"step": step, "loss": loss})


def recipes() -> tuple[str, pl.DataFrame]:
    table = runs().with_columns(recipe=pl.Series(["old", "new"] * 20))
    better = pl.when(pl.col("recipe") == "new").then(0.97).otherwise(1.0)
    return "chinchilla", table.with_columns(loss=pl.col("loss") * better)


def learning_rates() -> tuple[str, pl.DataFrame]:
    lr = np.tile([1e-4, 3e-4, 1e-3, 3e-3, 1e-2], 12)
    worse = 1 + 0.02 * np.log10(lr / 1e-3) ** 2
    table = runs(60).with_columns(lr=lr)
    return "chinchilla", table.with_columns(loss=pl.col("loss") * worse)


@pytest.mark.parametrize(
    ("planted", "column"),
    [(u_shape, "n_params"), (warm_up, "step"), (recipes, "recipe"), (learning_rates, "lr")],
)
@pytest.mark.parametrize("noise", [HUBER, LEAST])
def test_a_planted_misfit_is_named(planted: Any, column: str, noise: Noise) -> None:
    law, table = planted()
    rng = np.random.default_rng(5)
    noisy = table.with_columns(loss=table["loss"] * np.exp(0.003 * rng.standard_normal(len(table))))
    got = missed(fit(law, noisy, noise=noise, draws=0))
    assert got.alarm
    assert column in [item.column for item in got.trends if item.p < 0.01]
    assert column in got.sentence


def test_a_recipe_is_named_with_its_level() -> None:
    law, table = recipes()
    trend = next(item for item in missed(fit(law, table, draws=0)).trends if item.level)
    assert (trend.column, trend.level in ("old", "new")) == ("recipe", True)
    assert abs(trend.gap) == pytest.approx(0.015, abs=0.012)


def test_a_law_that_misses_what_repeats_agree_on() -> None:
    table = runs(45, copies=3)
    got = missed(fit("E + A*n_params**-alpha", table, draws=0))
    assert got.alarm
    assert got.lack_of_fit is not None
    assert got.lack_of_fit.p < 1e-6
    assert got.lack_of_fit.repeat_error == pytest.approx(1.0, rel=0.4)
    assert (got.lack_of_fit.cells, got.lack_of_fit.rows) == (15, 45)
    assert re.search(r"repeated runs differ by \S+% only", got.sentence)
    sound = missed(fit("chinchilla", table, draws=0))
    assert sound.lack_of_fit is not None
    assert sound.lack_of_fit.p > 0.01
    assert not sound.alarm


def test_the_example_misses_its_law() -> None:
    """Three seeds alike lie off Chinchilla's law there (docs/quickstart.md)."""
    got = missed(fit("chinchilla", read_table(EXAMPLE), draws=0))
    assert got.alarm
    assert got.lack_of_fit is not None
    assert got.lack_of_fit.p < 1e-9


# Sound tables pass


@pytest.mark.parametrize("noise", [HUBER, LEAST])
@pytest.mark.long
def test_sound_tables_pass(noise: Noise) -> None:
    rng = np.random.default_rng(0)
    alarms = 0
    for seed in range(20):
        table = runs(30, seed=seed + 100).with_columns(
            seed=rng.integers(0, 3, 30), lr=rng.choice([1e-3, 2e-3], 30), recipe=pl.Series(
                rng.choice(["a", "b"], 30)
            )
        )  # fmt: skip
        alarms += missed(fit("chinchilla", table, noise=noise, draws=0)).alarm
    assert alarms <= 1


def test_a_sound_fit_says_its_typical_error() -> None:
    made = fit("chinchilla", runs(200), draws=0)
    got = missed(made)
    assert got.typical_error == pytest.approx(1.0, rel=0.15)
    assert got.rms_error == pytest.approx(1.0, rel=0.15)
    assert got.explained is not None
    assert got.explained > 0.99
    assert got.sentence.startswith("Residuals show no trend: typical error 1")
    assert not any(got.sentence in note for note in made.notes)


@pytest.mark.parametrize("name", ["train_loss", "val/loss", "accuracy", "ppl", "grad_norm"])
def test_what_was_measured_beside_the_target_is_no_suspect(name: str) -> None:
    table = runs()
    made = fit("chinchilla", table.with_columns((pl.col("loss") * 1.01).alias(name)), draws=0)
    assert is_measurement_name(name)
    assert name not in [item.column for item in missed(made).trends]


def test_an_unknown_measurement_is_listed_without_alarm() -> None:
    table = runs(60)
    off = fit("chinchilla", table, draws=0).residuals
    noise = 0.002 * np.random.default_rng(1).standard_normal(60)
    got = missed(fit("chinchilla", table.with_columns(hella=off + noise), draws=0))
    trend = next(item for item in got.trends if item.column == "hella")
    assert trend.p < 1e-6
    assert not trend.chosen
    assert not got.alarm


def test_few_rows_and_exact_rows_are_said_to_be_so() -> None:
    five = missed(fit("chinchilla", runs(5), draws=0))
    assert "nothing is left to test it with" in five.sentence
    six = missed(fit("chinchilla", runs(6), draws=0))
    assert six.sentence.startswith("There are too few rows to look for trends")
    x = np.geomspace(1, 100, 12)
    exact = missed(fit("c*x**-a", {"x": x, "loss": 2 * x**-0.5}, draws=0))
    assert exact.sentence.startswith("The law fits the rows to rounding")
    assert not exact.alarm


def test_rows_of_weight_zero_do_not_count() -> None:
    table = runs(40).with_columns(w=pl.Series([1.0] * 39 + [0.0]))
    table[39, "loss"] = 1000.0
    got = missed(fit("chinchilla", table, weights="w", draws=0))
    assert all(item.row != 40 for item in got.worst)
    assert got.typical_error < 2
    assert "w" not in [item.column for item in got.trends]


def test_plain_residuals_are_per_cents_of_what_was_measured() -> None:
    table = runs(80)
    log = missed(fit("chinchilla", table, noise=LEAST, draws=0))
    plain = missed(fit("chinchilla", table, noise=Noise("linear"), draws=0))
    assert plain.typical_error == pytest.approx(log.typical_error, rel=0.2)


# Runs of several rows


def evaluations(seed: int = 0, bend: float = 0.0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    step = np.tile(np.geomspace(100, 1e5, 10), 14)
    size = np.repeat(10 ** rng.uniform(7, 10, 14), 10)
    run = np.arange(140) // 10
    loss = 1.8 + 480 / size**0.35 + 20 / step**0.4
    loss = loss + bend * np.exp(-(np.log(step / 3e3) ** 2))
    loss = loss * np.exp(0.02 * rng.standard_normal(14)[run] + 0.003 * rng.standard_normal(140))
    names = [f"run-{k}" for k in run]
    return pl.DataFrame({"n_params": size, "step": step, "loss": loss, "run": names})


CURVES = "E + A*n_params**-alpha + B*step**-beta"


def test_runs_without_by_are_noted_and_their_noise_is_no_misfit() -> None:
    made = fit(CURVES, evaluations(), draws=0)
    assert not missed(made).alarm
    note = next(note for note in made.notes if "--by run" in note)
    times = re.search(r"about (\S+) times too narrow", note)
    assert times
    assert 2 < float(times[1]) < 4
    grouped = fit(CURVES, evaluations(), by="run", draws=0)
    assert not any("--by run" in note for note in grouped.notes)


def test_a_bend_that_all_runs_share_is_found() -> None:
    got = missed(fit(CURVES, evaluations(bend=0.15), draws=0))
    assert got.alarm
    assert "step" in got.sentence


def test_a_step_that_a_run_holds_twice_is_named() -> None:
    table = evaluations()
    again = table[33:36].with_columns(loss=pl.col("loss") * 1.01)  # as after a restart
    made = fit(CURVES, pl.concat([table, again]), draws=0)
    assert missed(made).repeated == ((34, 141), (35, 142), (36, 143))
    assert any("Rows 34 and 141, 35 and 142, 36 and 143 are the same" in n for n in made.notes)
    assert missed(fit(CURVES, table, draws=0)).repeated == ()


def test_what_tells_measurements_apart_makes_no_twins() -> None:
    table = pl.DataFrame({"run": [1, 1, 1], "x": [1.0, 1.0, 2.0], "task": ["a", "b", "a"]})
    assert find_duplicate_rows(table, ["x"], "run") == ()
    assert find_duplicate_rows(table.drop("task"), ["x"], "run") == ((1, 2),)


def test_groups_that_are_no_runs_have_no_twins() -> None:
    table = runs(40, copies=2).with_columns(model=pl.Series(["a", "b", "c", "d"] * 10).sort())
    assert missed(fit("chinchilla", table, by="model", draws=0)).repeated == ()


@pytest.mark.parametrize(
    "run", [[float("nan"), *[1.0] * 39], [None, *["a"] * 39], [[1, 2]] * 40, [True, False] * 20]
)
def test_a_run_column_that_names_no_runs_is_let_be(run: list[Any]) -> None:
    made = fit("chinchilla", runs().with_columns(run=pl.Series(run)), draws=0)
    assert not any("--by" in note for note in made.notes)


def test_columns_of_any_kind_pass_through() -> None:
    table = runs().with_columns(
        pl.lit(None).alias("nothing"),
        pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 2, 9)).alias("day"),
        pl.Series("gaps", [None, *range(39)]),
        pl.Series("mixed", ["a", None] * 20),
        pl.Series("truth", [True, False] * 20),
        pl.lit(math.inf).alias("endless"),
        pl.lit(1).alias("one"),
        *(pl.lit(k).alias(f"c{k}") * pl.col("loss") for k in range(80)),
    )
    got = missed(fit("chinchilla", table, draws=0))
    names = [item.column for item in got.trends]
    assert "mixed" in names
    assert not {"nothing", "day", "gaps", "endless", "one"} & set(names)


# The floor


def test_a_floor_above_measurements_is_said() -> None:
    rng = np.random.default_rng(0)
    x = np.geomspace(1e2, 1e7, 40)
    y = (0.5 + 3 * x**-0.5) * np.exp(0.005 * rng.standard_normal(40))
    made = fit("power_law_floor", {"n_data": x, "loss": y}, fixed={"E": 0.55}, draws=0)
    floor = missed(made).floor
    assert floor is not None
    assert floor.value == pytest.approx(0.55)
    assert 40 in floor.rows
    assert any("cannot go below 0.55" in note for note in made.notes)
    assert "its floor, 0.55, lies above rows" in missed(made).sentence
    assert missed(fit("power_law_floor", {"n_data": x, "loss": y}, draws=0)).floor is None


def test_a_floor_far_above_all_rows_is_an_alarm() -> None:
    x = 2.0 ** np.arange(6)
    table = {"n_data": x, "loss": [0.9, 0.8, 0.72, 0.66, 0.62, 0.59]}
    got = missed(fit("power_law_floor", table, fixed={"E": 1.2}, draws=0))
    assert got.alarm
    assert got.floor is not None
    assert got.floor.rows == (6, 5, 4, 3, 2, 1)
    assert "a constant would lie closer" in got.sentence


# The tests are those of the textbooks


def line(rows: int = 30, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 1, rows)
    jac = np.stack([np.ones(rows), x], axis=1)
    return rng.standard_normal(rows), jac, x


def test_the_f_test_is_that_of_nested_regressions() -> None:
    r, jac, _ = line()
    tangent = refit_tangent(r, jac, np.ones(30))
    assert tangent is not None
    assert np.abs(tangent.basis.T @ np.clip(tangent.raw, -1.5, 1.5)).max() < 1e-6
    other = np.random.default_rng(9).integers(0, 3, 30).astype(float)
    p = compute_p_values(tangent, {"other": ColumnValues(other, ordered=False)}, None, 0)["other"]
    dummies = np.eye(3)[other.astype(int)][:, 1:]
    left = [
        float(np.linalg.lstsq(design, tangent.clipped, rcond=None)[1][0])
        for design in (jac, np.concatenate([jac, dummies], axis=1))
    ]
    ratio = (left[0] - left[1]) / 2 / (left[1] / (30 - 4))
    assert p == pytest.approx(float(stats.f.sf(ratio, 2, 26)), rel=1e-9)


def test_lack_of_fit_is_that_of_the_textbook() -> None:
    x = np.repeat(np.arange(6.0), 3)
    rng = np.random.default_rng(2)
    y = 0.3 * x**2 + rng.standard_normal(18)
    jac = np.stack([np.ones(18), x], axis=1)
    tangent = refit_tangent(y, jac, np.ones(18))
    assert tangent is not None
    plain = replace(tangent, clipped=tangent.raw)
    found = measure_lack_of_fit(plain, number_cells([x]), np.ones(18), y)
    assert found is not None
    means = y.reshape(6, 3).mean(axis=1)
    pure = float(((y.reshape(6, 3) - means[:, None]) ** 2).sum())
    lack = float(np.linalg.lstsq(jac, y, rcond=None)[1][0]) - pure
    ratio = (lack / 4) / (pure / 12)
    assert found.p == pytest.approx(float(stats.f.sf(ratio, 4, 12)), rel=1e-9)


def test_neighbours_have_the_right_size() -> None:
    """The approximate p-values are uniform on noise, small where residuals drift."""
    ps = []
    for seed in range(400):
        r, jac, x = line(16, seed)
        tangent = refit_tangent(r, jac, np.ones(16))
        assert tangent is not None
        ps.append(neighbour_p_value(tangent, x))
    assert float(stats.kstest(ps, "uniform").pvalue) > 1e-3
    r, jac, x = line(40)
    tangent = refit_tangent(0.2 * r + np.sin(12 * x), jac, np.ones(40))
    assert tangent is not None
    assert neighbour_p_value(tangent, x) < 1e-6


def test_ranks_share_their_place() -> None:
    np.testing.assert_allclose(
        scaled_ranks(np.array([3.0, 1.0, 1.0, 9.0])), [0.25, -0.5, -0.5, 0.75]
    )


def test_shapes_that_the_law_has_already_are_not_looked_for() -> None:
    _, jac, x = line()
    tangent = refit_tangent(np.random.default_rng(1).standard_normal(30), jac, np.ones(30))
    assert tangent is not None
    first = make_regressors(x, tangent.dof)[0]
    ranks_and_line = added_basis(first, tangent)
    assert ranks_and_line.shape[1] <= 2
    np.testing.assert_allclose(tangent.basis.T @ ranks_and_line, 0, atol=1e-12)
    assert added_basis(jac, tangent).shape[1] == 0


def test_widening_is_the_root_of_the_design_effect() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(200), 10)
    alike = rng.standard_normal(200)[groups] + 0.5 * rng.standard_normal(2000)
    assert narrowness(alike, groups) == pytest.approx(np.sqrt(1 + 9 * 0.8), rel=0.05)
    assert narrowness(rng.standard_normal(2000), groups) == pytest.approx(1.0, abs=0.1)


# On disk, on the command line, in the figure, in the plan


def test_the_misfit_comes_back(tmp_path: Path) -> None:
    table = evaluations()
    again = table[33:36].with_columns(loss=pl.col("loss") * 1.01)
    made = fit(CURVES, pl.concat([table, again]), draws=0)
    save(made, tmp_path / "fit.json")
    assert load(tmp_path / "fit.json").misfit == made.misfit
    recipe = fit(*recipes(), draws=0)
    save(recipe, tmp_path / "other.json")
    assert load(tmp_path / "other.json").misfit == recipe.misfit
    document = json.loads((tmp_path / "fit.json").read_text())
    assert document["misfit"]["typical_error"] == missed(made).typical_error
    del document["misfit"]
    (tmp_path / "old.json").write_text(json.dumps(document))
    assert load(tmp_path / "old.json").misfit is None
    assert read_misfit(None) is None


def test_a_document_with_a_broken_misfit_is_refused(tmp_path: Path) -> None:
    document = describe(fit("chinchilla", runs(), draws=0))
    document["misfit"] = {"typical_error": "large"}
    (tmp_path / "fit.json").write_text(json.dumps(document))
    with pytest.raises(
        BadTable, match=r"misfit\.typical_error must hold a number, but holds 'large'"
    ):
        load(tmp_path / "fit.json")


def command(words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", shlex.split(words))
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_the_command_says_the_misfit_under_the_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    double_descent().write_csv("dd.csv")
    words = "kleiber fit 'E + A/width**alpha' dd.csv --target error --draws 20"
    assert command(words, monkeypatch) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    at = next(k for k, text in enumerate(lines) if text.startswith("converged"))
    assert lines[at + 1].startswith("The law misses the table: residuals depend on width")
    assert out.count("The law misses the table") == 1
    assert command(f"{words} --json", monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["misfit"]["alarm"] is True


def test_the_figure_and_the_plan_repeat_an_alarm() -> None:
    law, table = recipes()
    made = fit(law, table, draws=20)
    assert missed(made).alarm
    assert missed(made).sentence not in caption.notes(fit_panels(made, table))
    said = "".join(text.get_text() for text in compose(fit_panels(made, table)).texts)
    assert missed(made).sentence.replace(" ", "") in said.replace(" ", "")
    assert missed(made).sentence in plan(made, 1e22).notes


# Units


def in_units(n: Any, d: Any) -> pl.DataFrame:
    table = runs(30, size=0.002)
    return table.with_columns(n_params=n(pl.col("n_params")), n_tokens=d(pl.col("n_tokens")))


@pytest.mark.parametrize("base", ["log10", "log"])
@pytest.mark.parametrize("law", ["chinchilla", "E + A*n_params**-a + B*n_tokens**-b"])
def test_logarithms_are_refused_with_the_command_that_undoes_them(
    law: str, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def log(column: pl.Expr) -> pl.Expr:
        return column.log10() if base == "log10" else column.log()

    monkeypatch.chdir(tmp_path)
    in_units(log, log).write_csv("logs.csv")
    with pytest.raises(BadTable, match="look like logarithms") as caught:
        fit(law, pl.read_csv("logs.csv"), draws=0)
    options = str(caught.value).partition("Undo them: ")[2].rstrip(".")
    words = f"kleiber fit '{law}' logs.csv --draws 0 -o fit.json"
    assert command(words, monkeypatch) == 2
    assert not Path("fit.json").exists()
    assert command(f"{words} {options}", monkeypatch) == 0
    params = load("fit.json").params
    exponents = [params[name] for name in params if name[0] in "ab"]
    assert exponents == pytest.approx([0.35, 0.37], rel=0.05)


def test_billions_and_millions_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = fit("chinchilla", in_units(lambda x: x / 1e9, lambda x: x / 1e9), draws=0)
    notes = [note for note in made.notes if "billions" in note]
    assert len(notes) == 2
    in_units(lambda x: x / 1e9, lambda x: x / 1e9).write_csv("b.csv")
    options = " ".join(re.findall(r"(--rename \S+ --with \"[^\"]*\")", " ".join(notes)))
    assert command(f"kleiber fit chinchilla b.csv --draws 0 -o f.json {options}", monkeypatch) == 0
    assert load("f.json").ranges["n_params"][1] > 1e9
    one = fit("chinchilla", in_units(lambda x: (x / 1e6).round() + 1, lambda x: x), draws=0)
    assert any("n_params seems to be in millions" in note for note in one.notes)


def test_counts_raise_no_note_about_units() -> None:
    for table in (runs(), read_table(EXAMPLE)):
        made = fit("chinchilla", table, draws=0)
        assert not any("seems to be in" in note or "--rename" in note for note in made.notes)


def test_an_exponent_far_outside_its_range_is_noted() -> None:
    x = np.geomspace(100, 1000, 12)
    noise = np.exp(0.01 * np.random.default_rng(0).standard_normal(12))
    table = {"n_data": x, "loss": (0.5 + (x / 200) ** -9.0) * noise}
    made = fit("power_law_floor", table, draws=0)
    assert any("lies far outside" in note for note in made.notes)


def test_a_device_of_36_flops_a_second_is_refused() -> None:
    with pytest.raises(BadPlan, match=r"write 35\.6e12 for 35\.6 TFLOP/s"):
        gpu_hours("6nd", flops_per_second=35.6, utilisation=0.4)
