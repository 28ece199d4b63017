"""One run typed wrong: the search ends no higher than a descent from the clean table's optimum."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kleiber import laws
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.engine.problem import Problem
from kleiber.fitting.engine.search import descend_fully, search
from kleiber.fitting.engine.starts import start_ranges
from kleiber.fitting.fit import fit
from kleiber.fitting.options import Options
from kleiber.fitting.table_problem import pose_rows, read_measurements
from kleiber.law import Law

ROBUST = [Noise("log", 1e-3), Noise("log", dof=4.0)]


def posed(law: Law, table: pl.DataFrame, noise: Noise) -> Problem:
    ask = Options(noise=noise, draws=0)
    return pose_rows(law, read_measurements(law, table, ask), ask)


def found(problem: Problem) -> tuple[np.ndarray, float]:
    """The search's optimum and objective."""
    ranges = start_ranges(problem.law, problem.columns, np.exp(problem.target))
    best = search(problem, ranges, 0)
    return best.point, best.objective


def misses(law: Law, table: pl.DataFrame, noise: Noise, rows: list[int]) -> list[tuple[int, float]]:
    """Rows and factors at which the search ends above a descent from the clean optimum."""
    clean, _ = found(posed(law, table, noise))
    missed: list[tuple[int, float]] = []
    for row in rows:
        for factor in (100.0, 0.1):
            loss = table["loss"].to_numpy().copy()
            loss[row] *= factor
            problem = posed(law, table.with_columns(pl.Series("loss", loss)), noise)
            _, objective = found(problem)
            other = descend_fully(problem, clean[None]).objective
            if objective > other + 1e-9 * abs(other):
                missed.append((row, factor))
    return missed


@pytest.fixture(scope="module")
def runs(data_path: Callable[[str], Path]) -> pl.DataFrame:
    """Chinchilla's 240 runs."""
    table = pl.read_csv(data_path("runs/chinchilla_epoch.csv")).filter(pl.col("epoch_kept"))
    return table.rename({"N": "n_params", "D": "n_tokens"}).select("n_params", "n_tokens", "loss")


@pytest.mark.parametrize("noise", ROBUST, ids=["huber", "student"])
def test_some_rows_of_chinchilla(noise: Noise, runs: pl.DataFrame) -> None:
    assert misses(laws.chinchilla, runs, noise, [5, 120]) == []


@pytest.mark.slow
@pytest.mark.parametrize("noise", ROBUST, ids=["huber", "student"])
def test_every_row_of_chinchilla(noise: Noise, runs: pl.DataFrame) -> None:
    assert misses(laws.chinchilla, runs, noise, list(range(240))) == []


def test_a_fit_with_a_wrong_row_is_that_without_it(runs: pl.DataFrame) -> None:
    clean = fit("chinchilla", runs, draws=0)
    loss = runs["loss"].to_numpy().copy()
    loss[5] *= 100
    wrong = fit("chinchilla", runs.with_columns(pl.Series("loss", loss)), draws=0)
    for name, value in clean.params.items():
        assert wrong.params[name] == pytest.approx(value, rel=0.05 if len(name) > 1 else 0.2)


def planted(law: Law, seed: int) -> pl.DataFrame:
    """A small table with 1% noise."""
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(12, 40))
    n = np.exp(rng.uniform(np.log(5e7), np.log(5e9), rows))
    d = np.exp(rng.uniform(np.log(1e9), np.log(5e11), rows))
    every = {"n_params": n, "n_tokens": d, "n_data": d}
    truth = {
        "chinchilla": {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37},
        "power_law_floor": {"E": 1.8, "A": 2100.0, "alpha": 0.37},
    }[law.name]
    columns = {name: every[name] for name in law.variables}
    return pl.DataFrame(
        {**columns, "loss": law(**columns, **truth) * np.exp(0.01 * rng.standard_normal(rows))}
    )


@pytest.mark.parametrize("law", [laws.chinchilla, laws.power_law_floor], ids=lambda x: x.name)
def test_small_tables_with_one_wrong_row(law: Law) -> None:
    for seed in range(4):
        table = planted(law, seed)
        row = int(np.random.default_rng(seed).integers(len(table)))
        assert misses(law, table, ROBUST[0], [row]) == []


@pytest.mark.parametrize("noise", [Noise("log", 1e-3), Noise("log")], ids=["huber", "least"])
@pytest.mark.parametrize("seed", range(3))
def test_units_do_not_matter(noise: Noise, seed: int) -> None:
    """Exponents agree to 1e-6 in parameters or millions, tokens or billions, nats or bits."""
    table = planted(laws.chinchilla, seed)
    whole = fit("chinchilla", table, noise=noise, draws=0)
    for factors in ((1e-6, 1e-9, 1.0), (1.0, 1e-9, 1 / np.log(2)), (3.0, 7.0, 1.0)):
        other = table.with_columns(
            pl.col(name) * factor
            for name, factor in zip(("n_params", "n_tokens", "loss"), factors, strict=True)
        )
        again = fit("chinchilla", other, noise=noise, draws=0)
        assert again.status == whole.status
        for name in ("alpha", "beta"):
            assert again.params[name] == pytest.approx(whole.params[name], rel=1e-6)
